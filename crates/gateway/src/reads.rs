//! Reads: one question to a shard's leader, or to any replica when a stale answer will do.
//!
//! A read changes nothing, so it is asked again, at whoever leads now, until somebody answers or its caller stops
//! waiting.

use std::sync::Arc;
use std::time::Duration;

use ledger::directory::{Name, Record};
use ledger::{Account, AccountId, Cut, Directory, Hold, HoldId, Rejection, Slot, Time};
use runtime::{Instant, sleep, timeout, timeout_at};
use tokio::sync::watch;
use tonic::Status;
use wire::convert::{self, Behalf, Page, PageToken, Refusal};
use wire::proto::cluster::read_reply::Answer;
use wire::proto::cluster::read_request::Question;
use wire::proto::cluster::shard_client::ShardClient;
use wire::proto::cluster::{
    AccountQuestion, CutPage, CutPageQuestion, CutQuestion, DirectoryPage, DirectoryQuestion,
    HoldQuestion, Leader, OutcomeQuestion, ReadReply, ReadRequest, StatementQuestion,
};
use wire::proto::v1;
use wire::status::Said;
use wire::{Failure, Reply, status};

use crate::link::{Link, Suspicion, pause};
use crate::nodes::Nodes;
use crate::router::Router;

/// How often a question is asked at the most: as often as a request is sent.
const ASKS_MAX: u32 = 48;

/// How long one node may take to answer before another is asked: well above a loaded leader's, well below a caller's
/// patience.
const ASK_MAX: Duration = Duration::from_secs(2);

/// Asks the shards.
#[derive(Debug)]
pub(crate) struct Reads {
    router: Arc<Router>,
    nodes: Arc<Nodes>,
    /// The nodes that were configured to have a replica of each shard, in the order of the shards.
    replicas: Vec<Vec<u64>>,
    /// The directory, as far as it is known.
    known: watch::Receiver<Arc<Directory>>,
}

/// One question, and how it may be answered.
struct Ask {
    link: Arc<Link>,
    stale_ok: bool,
    question: Question,
    deadline: Instant,
}

impl Reads {
    pub(crate) const fn new(
        router: Arc<Router>,
        nodes: Arc<Nodes>,
        replicas: Vec<Vec<u64>>,
        known: watch::Receiver<Arc<Directory>>,
    ) -> Self {
        Self { router, nodes, replicas, known }
    }

    pub(crate) async fn account(
        &self,
        behalf: Behalf<'_>,
        asked: &v1::GetAccountRequest,
        deadline: Instant,
    ) -> Result<v1::Account, Status> {
        let id = convert::named_account("name", &asked.name, behalf).map_err(refused)?;
        let question = Question::Account(AccountQuestion {
            account: sixteen(id.to_u128()),
            tenant: behalf.tenant.0,
        });
        let ask = Ask { link: self.link(id.slot()), stale_ok: asked.stale_ok, question, deadline };
        let reply = self.ask(ask).await?;
        let position = convert::position(reply.index, Time(reply.time_ms));
        match reply.answer {
            Some(Answer::Account(bytes)) => {
                let account: Account = read(ledger::codec::get_hot(&bytes).ok())?;
                convert::account(&account, position).map_err(refused)
            }
            None => Err(status::rejection(&Rejection::AccountNotFound, false)),
            Some(
                Answer::Hold(_)
                | Answer::Outcome(_)
                | Answer::Statement(_)
                | Answer::Status(_)
                | Answer::Cut(_)
                | Answer::Directory(_)
                | Answer::CutPage(_),
            ) => read(None),
        }
    }

    pub(crate) async fn hold(
        &self,
        behalf: Behalf<'_>,
        asked: &v1::GetHoldRequest,
        deadline: Instant,
    ) -> Result<v1::Hold, Status> {
        let id: HoldId = convert::hold_id("name", &asked.name).map_err(refused)?;
        let question =
            Question::Hold(HoldQuestion { hold: sixteen(id.to_u128()), tenant: behalf.tenant.0 });
        let ask = Ask { link: self.link(id.slot()), stale_ok: asked.stale_ok, question, deadline };
        let reply = self.ask(ask).await?;
        let position = convert::position(reply.index, Time(reply.time_ms));
        match reply.answer {
            Some(Answer::Hold(bytes)) => {
                let hold: Hold = read(ledger::codec::get_hot(&bytes).ok())?;
                convert::hold(&hold, position).map_err(refused)
            }
            None => Err(status::rejection(&Rejection::HoldNotFound, false)),
            Some(
                Answer::Account(_)
                | Answer::Outcome(_)
                | Answer::Statement(_)
                | Answer::Status(_)
                | Answer::Cut(_)
                | Answer::Directory(_)
                | Answer::CutPage(_),
            ) => read(None),
        }
    }

    pub(crate) async fn outcome(
        &self,
        behalf: Behalf<'_>,
        asked: &v1::LookupOutcomeRequest,
        deadline: Instant,
    ) -> Result<v1::Outcome, Status> {
        let scoped = convert::scoped_key(asked, behalf).map_err(refused)?;
        let mut bytes = Vec::new();
        ledger::codec::put_hot(&scoped, &mut bytes);
        let question = Question::Outcome(OutcomeQuestion { scoped_key: bytes.into() });
        let link = self.link(Slot::of(scoped.subject));
        let reply = self.ask(Ask { link, stale_ok: false, question, deadline }).await?;
        match reply.answer {
            Some(Answer::Outcome(bytes)) => {
                let bytes = <&[u8; wire::reply::REPLY_BYTES]>::try_from(bytes.as_ref()).ok();
                let reply: Reply = read(bytes.and_then(|bytes| wire::reply::get(bytes).ok()))?;
                Ok(convert::outcome(&reply, None))
            }
            None => Err(refused(Refusal::OutcomeNotFound)),
            Some(
                Answer::Account(_)
                | Answer::Hold(_)
                | Answer::Statement(_)
                | Answer::Status(_)
                | Answer::Cut(_)
                | Answer::Directory(_)
                | Answer::CutPage(_),
            ) => read(None),
        }
    }

    pub(crate) async fn postings(
        &self,
        behalf: Behalf<'_>,
        asked: &v1::ListPostingsRequest,
        deadline: Instant,
    ) -> Result<v1::ListPostingsResponse, Status> {
        let account = convert::named_account("parent", &asked.parent, behalf).map_err(refused)?;
        let limit = convert::page_size(asked.page_size).map_err(refused)?;
        let token = PageToken::read(&asked.page_token, account).map_err(refused)?;
        let question = Question::Statement(StatementQuestion {
            account: sixteen(account.to_u128()),
            tenant: behalf.tenant.0,
            before: token.cursor.into(),
            limit,
        });
        let ask =
            Ask { link: self.link(account.slot()), stale_ok: asked.stale_ok, question, deadline };
        let reply = self.ask(ask).await?;
        let position = convert::position(reply.index, Time(reply.time_ms));
        match reply.answer {
            Some(Answer::Statement(page)) => {
                let next = PageToken { account, cursor: page.next.to_vec() };
                let page = read(Page::read(&page, account))?;
                show(&page, account, &next, position)
            }
            None => Err(status::rejection(&Rejection::AccountNotFound, false)),
            Some(
                Answer::Account(_)
                | Answer::Hold(_)
                | Answer::Outcome(_)
                | Answer::Status(_)
                | Answer::Cut(_)
                | Answer::Directory(_)
                | Answer::CutPage(_),
            ) => read(None),
        }
    }

    /// A shard's part of a cut, once it has one.
    pub(crate) async fn cut(
        &self,
        slot: Slot,
        cut: u64,
        deadline: Instant,
    ) -> Result<Option<Cut>, Status> {
        let question = Question::Cut(CutQuestion { cut });
        let link = self.link(slot);
        let reply = self.ask(Ask { link, stale_ok: false, question, deadline }).await?;
        match reply.answer {
            Some(Answer::Cut(bytes)) => read(ledger::codec::get_cold(&bytes).ok()).map(Some),
            None => Ok(None),
            Some(
                Answer::Account(_)
                | Answer::Hold(_)
                | Answer::Outcome(_)
                | Answer::Statement(_)
                | Answer::Status(_)
                | Answer::Directory(_)
                | Answer::CutPage(_),
            ) => read(None),
        }
    }

    /// A page of what a shard keeps of a whole cut; `None` when it does not keep it.
    pub(crate) async fn cut_page(
        &self,
        slot: Slot,
        question: CutPageQuestion,
        deadline: Instant,
    ) -> Result<Option<CutPage>, Status> {
        let question = Question::CutPage(question);
        let reply =
            self.ask(Ask { link: self.link(slot), stale_ok: false, question, deadline }).await?;
        match reply.answer {
            Some(Answer::CutPage(page)) => Ok(Some(page)),
            None => Ok(None),
            Some(
                Answer::Account(_)
                | Answer::Hold(_)
                | Answer::Outcome(_)
                | Answer::Statement(_)
                | Answer::Status(_)
                | Answer::Cut(_)
                | Answer::Directory(_),
            ) => read(None),
        }
    }

    /// What has changed in the directory after a version, a page of it: everything that was decided before this is asked.
    pub(crate) async fn directory(
        &self,
        after: u64,
        deadline: Instant,
    ) -> Result<DirectoryPage, Status> {
        let limit = wire::limits::PAGE_SIZE_MAX;
        let question = Question::Directory(DirectoryQuestion { after, limit });
        let link = Arc::clone(self.router.meta());
        let reply = self.ask(Ask { link, stale_ok: false, question, deadline }).await?;
        match reply.answer {
            Some(Answer::Directory(page)) => Ok(page),
            None
            | Some(
                Answer::Account(_)
                | Answer::Hold(_)
                | Answer::Outcome(_)
                | Answer::Statement(_)
                | Answer::Status(_)
                | Answer::Cut(_)
                | Answer::CutPage(_),
            ) => read(None),
        }
    }

    fn link(&self, slot: Slot) -> Arc<Link> {
        Arc::clone(self.router.link(slot))
    }

    /// The nodes that have a replica of a shard: as its leader reported, or as configured.
    fn replicas(&self, shard: u16) -> Vec<u64> {
        let reported = self.known.borrow().get(&Name::Shard(shard)).and_then(|record| {
            let Record::Placement(placement) = record else { return None };
            Some(placement.voters.clone())
        });
        let configured = || self.replicas.get(usize::from(shard)).cloned().unwrap_or_default();
        reported.unwrap_or_else(configured)
    }

    /// Asks until somebody answers.
    async fn ask(&self, ask: Ask) -> Result<ReadReply, Status> {
        let link = &ask.link;
        let mut hint: Option<Leader> = None;
        let mut last = Failure::NoLeader;
        for attempt in 0..ASKS_MAX {
            let left = ask.deadline.saturating_duration_since(Instant::now());
            let wait = pause(attempt).min(left);
            if !wait.is_zero() {
                sleep(wait).await;
            }
            let left = ask.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let node = match hint.take() {
                Some(named) => {
                    self.nodes.learn(&named);
                    Some(named.node_id)
                }
                // Replicas move: one that is not where it was is looked for everywhere.
                None if ask.stale_ok && attempt > 0 => any(&self.nodes.ids()),
                None if ask.stale_ok => any(&self.replicas(link.shard())),
                None => leader(link, ask.deadline).await,
            };
            let Some(node) = node else { continue };
            match self.ask_node(node, link.shard(), &ask, left).await {
                Ok(reply) => return Ok(reply),
                Err(Miss::Final(status)) => return Err(*status),
                Err(Miss::Failed(failure)) => last = failure,
                Err(Miss::NotLeader(instead)) => {
                    last = Failure::NoLeader;
                    hint.clone_from(&instead);
                    link.suspect(Suspicion { node, instead });
                }
            }
        }
        Err(status::failure(last, None))
    }

    async fn ask_node(
        &self,
        node: u64,
        shard: u16,
        ask: &Ask,
        left: Duration,
    ) -> Result<ReadReply, Miss> {
        let channel = self.nodes.channel(node).ok_or(Miss::Failed(Failure::NoLeader))?;
        let patience = left.min(ASK_MAX);
        let request = ReadRequest {
            shard: shard.into(),
            stale_ok: ask.stale_ok,
            timeout_ms: u32::try_from(patience.as_millis()).unwrap_or(u32::MAX),
            question: Some(ask.question.clone()),
        };
        let mut client = ShardClient::new(channel);
        let answered = timeout(patience, client.read(request)).await;
        let status = match answered {
            Ok(Ok(reply)) => return Ok(reply.into_inner()),
            Ok(Err(status)) => status,
            Err(_) => return Err(Miss::Failed(Failure::DeadlinePassed)),
        };
        let said = Said::read(&status);
        match said.failure() {
            Some(Failure::NoLeader) => Err(Miss::NotLeader(said.leader())),
            Some(
                failure @ (Failure::Overloaded
                | Failure::Draining
                | Failure::DeadlinePassed
                | Failure::OutcomeUnknown),
            ) => Err(Miss::Failed(failure)),
            Some(
                Failure::DiskFull
                | Failure::KeyFromFuture
                | Failure::Diverged
                | Failure::PeerBehind
                | Failure::RateLimited
                | Failure::TablesStale
                | Failure::LevelTooLow
                | Failure::InvalidRecord,
            ) => Err(Miss::Final(Box::new(status))),
            None => match said {
                Said::Coded { .. } => Err(Miss::Final(Box::new(status))),
                Said::NotConnected { .. } | Said::Foreign { .. } => {
                    Err(Miss::Failed(Failure::NoLeader))
                }
            },
        }
    }
}

/// Why a node did not answer.
enum Miss {
    /// It does not lead; whom it names instead.
    NotLeader(Option<Leader>),
    /// It could not, now.
    Failed(Failure),
    /// Nobody ever will.
    Final(Box<Status>),
}

/// The shard's leader, as soon as there is one.
async fn leader(link: &Link, deadline: Instant) -> Option<u64> {
    let mut leader = link.leader();
    let known = timeout_at(deadline, leader.wait_for(Option::is_some)).await.ok()?;
    known.ok().and_then(|known| *known)
}

fn any(replicas: &[u64]) -> Option<u64> {
    let last = replicas.len().checked_sub(1)?;
    replicas.get(rand::random_range(0..=last)).copied()
}

fn show(
    page: &Page,
    account: AccountId,
    next: &PageToken,
    position: v1::Position,
) -> Result<v1::ListPostingsResponse, Status> {
    debug_assert!(page.postings.iter().all(|posting| posting.key.account == account));
    let postings =
        page.postings.iter().map(|posting| convert::posting(posting, page.shard, page.currency));
    Ok(v1::ListPostingsResponse {
        postings: postings.collect::<Result<_, _>>().map_err(refused)?,
        next_page_token: next.text(),
        position: Some(position),
    })
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
pub(crate) fn refused(refusal: Refusal) -> Status {
    status::refusal(&refusal)
}

/// An answer that this release cannot read is no answer: its node is newer.
pub(crate) fn read<T>(answer: Option<T>) -> Result<T, Status> {
    answer.ok_or_else(|| status::failure(Failure::InvalidRecord, None))
}

pub(crate) fn sixteen(bits: u128) -> bytes::Bytes {
    bits.to_be_bytes().to_vec().into()
}
