//! A public door over a ledger in memory, on a thread of its own; it can lie.

#![allow(clippy::arithmetic_side_effects, reason = "small numbers of a test")]

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures::{Stream, StreamExt};
use ledger::{
    Answer, Batch, Books, Command, Ledger, Posting, PostingKey, Rejection, Request as Wanted,
    Shards, TenantId, Time,
};
use tonic::{Request, Response, Status, Streaming};
use wire::convert::{self, ToIntent};
use wire::proto::v1;
use wire::proto::v1::admin_server::{Admin, AdminServer};
use wire::proto::v1::payments_server::{Payments, PaymentsServer};
use wire::{Failure, Reply, status};

/// What is wrong with a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    /// Nothing.
    None,
    /// Now and then nobody answers, or the connection breaks, before or after the deed.
    Flaky,
    /// One transfer is acknowledged and not made.
    Lose,
    /// One transfer is made twice.
    Double,
    /// One transfer is refused and made.
    RefuseAndApply,
    /// One transfer is made with another amount.
    WrongAmount,
    /// One line is missing from a statement.
    HideLine,
    /// One account's balance is not what its statement says.
    WrongBalance,
    /// A key that was used is new the next time.
    ForgetKeys,
    /// Some accounts are not there any more when their statements are asked for.
    HideAccounts,
    /// Its own books do not add up, and it says so when it is audited.
    BadBooks,
}

/// The request that a lie is about, counted over the transfers.
const LIED_ABOUT: u64 = 1_234;

/// A door that is open until dropped.
pub(super) struct Door {
    address: String,
    _shutdown: tokio::sync::oneshot::Sender<()>,
}

impl Door {
    pub(super) fn open(lie: Lie) -> Self {
        let (shutdown, closing) = tokio::sync::oneshot::channel::<()>();
        let (opened, address) = std::sync::mpsc::channel::<SocketAddr>();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                opened.send(listener.local_addr().unwrap()).unwrap();
                let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
                let shop = Shop::new(lie);
                let server = tonic::transport::Server::builder()
                    .add_service(AdminServer::new(shop.clone()))
                    .add_service(PaymentsServer::new(shop));
                let close = async { drop(closing.await) };
                tokio::select! {
                    served = server.serve_with_incoming(incoming) => served.unwrap(),
                    () = close => {}
                }
            });
        });
        let address = address.recv().unwrap().to_string();
        Self { address, _shutdown: shutdown }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }
}

#[derive(Clone)]
struct Shop {
    lie: Lie,
    books: Arc<Mutex<State>>,
}

struct State {
    ledger: Ledger,
    index: u64,
    transfers: u64,
    frames: u64,
}

impl Shop {
    fn new(lie: Lie) -> Self {
        let ledger = Ledger::new(Books { shard: 0, shards: Shards::new(1).unwrap() });
        let state = State { ledger, index: 0, transfers: 0, frames: 0 };
        Self { lie, books: Arc::new(Mutex::new(state)) }
    }

    /// How a frame ends: well, or as a flaky door has it.
    fn mood(&self) -> Mood {
        let mut state = self.books.lock().unwrap();
        state.frames += 1;
        match (self.lie, state.frames % 23) {
            (Lie::Flaky, 7) => Mood::NotProposed,
            (Lie::Flaky, 11) => Mood::DoneAndUnknown,
            (Lie::Flaky, 17) => Mood::DoneAndGone,
            (Lie::Flaky, 19) => Mood::Gone,
            _ => Mood::Good,
        }
    }

    fn carry_out(&self, wanted: Vec<Wanted>) -> Vec<Reply> {
        let mut state = self.books.lock().unwrap();
        wanted.into_iter().map(|wanted| Reply::Answer(state.one(wanted, self.lie))).collect()
    }
}

impl State {
    fn one(&mut self, wanted: Wanted, lie: Lie) -> Answer {
        let Command::Transfer { debit, credit, amount, currency } = wanted.command else {
            return self.apply(wanted);
        };
        let with = |key: u128, amount: u64| Wanted {
            key: ledger::Key::from_u128(key),
            tenant: wanted.tenant,
            command: Command::Transfer {
                debit,
                credit,
                amount: ledger::Amount::from_minor(amount).unwrap(),
                currency,
            },
        };
        let is_new = self.ledger.outcome(&wanted.scoped_key()).is_none();
        self.transfers += u64::from(is_new);
        let (key, other) = (wanted.key.to_u128(), wanted.key.to_u128() ^ 1);
        match lie {
            Lie::ForgetKeys => {
                self.transfers += 1;
                self.apply(with(
                    key.wrapping_add(u128::from(self.transfers) << 100),
                    amount.minor(),
                ))
            }
            _ if self.transfers != LIED_ABOUT || !is_new => self.apply(wanted),
            Lie::Lose => {
                let transfer =
                    ledger::TransferId { shard: 0, index: self.index + 1_000_000, position: 0 };
                Answer {
                    outcome: Ok(ledger::Posted { transfer, at: self.ledger.now() }),
                    replayed: false,
                }
            }
            Lie::Double => {
                self.apply(with(other, amount.minor()));
                self.apply(wanted)
            }
            Lie::RefuseAndApply => {
                self.apply(with(other, amount.minor()));
                let outcome = Err(Rejection::AccountFrozen);
                Answer { outcome, replayed: false }
            }
            Lie::WrongAmount => self.apply(with(key, amount.minor() + 1)),
            Lie::None
            | Lie::Flaky
            | Lie::HideLine
            | Lie::WrongBalance
            | Lie::HideAccounts
            | Lie::BadBooks => self.apply(wanted),
        }
    }

    fn apply(&mut self, wanted: Wanted) -> Answer {
        self.index += 1;
        let batch = Batch::new(Time(1_760_000_000_000 + self.index), vec![wanted]).unwrap();
        let fetched = self.ledger.begin_fetch();
        self.ledger.apply(self.index, &batch, &fetched).answers.pop().unwrap().now().unwrap()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Good,
    NotProposed,
    DoneAndUnknown,
    DoneAndGone,
    Gone,
}

fn intent(wanted: &impl ToIntent) -> Result<convert::Intent, Status> {
    wanted.to_intent(TenantId(0)).map_err(|refusal| status::refusal(&refusal))
}

impl Shop {
    fn batch(&self, requests: &[v1::Request]) -> Vec<v1::Outcome> {
        let intents = requests.iter().map(|wanted| convert::request(wanted, TenantId(0)).unwrap());
        let replies = self.carry_out(intents.map(|intent| intent.request).collect());
        replies.iter().map(|reply| convert::outcome(reply, None)).collect()
    }

    fn frame(&self, frame: &v1::SessionRequest) -> Option<v1::SessionResponse> {
        let failed = |failure| {
            let outcome = convert::outcome(&Reply::failed(failure), None);
            vec![outcome; frame.requests.len()]
        };
        let outcomes = match self.mood() {
            Mood::Good => self.batch(&frame.requests),
            Mood::NotProposed => failed(Failure::NoLeader),
            Mood::DoneAndUnknown => {
                self.batch(&frame.requests);
                failed(Failure::OutcomeUnknown)
            }
            Mood::DoneAndGone => {
                self.batch(&frame.requests);
                return None;
            }
            Mood::Gone => return None,
        };
        Some(v1::SessionResponse { id: frame.id, outcomes })
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<v1::SessionResponse, Status>> + Send>>;

fn absent<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not behind this door"))
}

#[tonic::async_trait]
impl Admin for Shop {
    type ReadAllStream = Pin<Box<dyn Stream<Item = Result<v1::ReadAllResponse, Status>> + Send>>;

    async fn read_all(
        &self,
        _: Request<v1::ReadAllRequest>,
    ) -> Result<Response<Self::ReadAllStream>, Status> {
        absent()
    }

    async fn audit(
        &self,
        _: Request<v1::AuditRequest>,
    ) -> Result<Response<v1::AuditResponse>, Status> {
        let detail = "shard 0: debits and credits differ".to_owned();
        let found = v1::AuditDiscrepancy { detail, ..v1::AuditDiscrepancy::default() };
        let is_off = self.lie == Lie::BadBooks;
        Ok(Response::new(v1::AuditResponse {
            parts: vec![v1::AuditPart::default()],
            discrepancies: is_off.then_some(found).into_iter().collect(),
            ..v1::AuditResponse::default()
        }))
    }
}

#[tonic::async_trait]
impl Payments for Shop {
    type SessionStream = Answers;

    async fn session(
        &self,
        frames: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let shop = self.clone();
        let answers = frames.into_inner().map(move |frame| {
            shop.frame(&frame?).ok_or_else(|| Status::unavailable("the connection broke"))
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn transfer(
        &self,
        call: Request<v1::TransferRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        let wanted = intent(call.get_ref())?.request;
        let mood = self.mood();
        if mood == Mood::NotProposed {
            return Err(status::failure(Failure::NoLeader, None));
        }
        if mood == Mood::Gone {
            return Err(Status::unavailable("the connection broke"));
        }
        let reply = self.carry_out(vec![wanted]).remove(0);
        match (mood, reply) {
            (Mood::DoneAndUnknown, _) => Err(status::failure(Failure::OutcomeUnknown, None)),
            (Mood::DoneAndGone, _) => Err(Status::unavailable("the connection broke")),
            (_, Reply::Answer(Answer { outcome: Ok(posted), replayed })) => {
                Ok(Response::new(convert::posted(&posted, replayed, None)))
            }
            (_, Reply::Answer(Answer { outcome: Err(rejection), replayed })) => {
                Err(status::rejection(&rejection, replayed))
            }
            (_, Reply::Failure(failure)) => Err(status::failure(failure, None)),
        }
    }

    async fn submit_batch(
        &self,
        call: Request<v1::SubmitBatchRequest>,
    ) -> Result<Response<v1::SubmitBatchResponse>, Status> {
        let outcomes = self.batch(&call.get_ref().requests);
        Ok(Response::new(v1::SubmitBatchResponse { outcomes }))
    }

    async fn get_account(
        &self,
        call: Request<v1::GetAccountRequest>,
    ) -> Result<Response<v1::Account>, Status> {
        let refused = |refusal| status::refusal(&refusal);
        let id = convert::account_id("name", &call.get_ref().name).map_err(refused)?;
        let state = self.books.lock().unwrap();
        let mut account = state
            .ledger
            .account(&id)
            .ok_or_else(|| status::rejection(&Rejection::AccountNotFound, false))?;
        if self.lie == Lie::WrongBalance && account.version % 7 == 0 {
            account.posted += 1;
        }
        let position = convert::position(state.index, state.ledger.now());
        convert::account(&account, position).map(Response::new).map_err(refused)
    }

    async fn list_postings(
        &self,
        call: Request<v1::ListPostingsRequest>,
    ) -> Result<Response<v1::ListPostingsResponse>, Status> {
        let refused = |refusal| status::refusal(&refusal);
        let asked = call.into_inner();
        let account = convert::account_id("parent", &asked.parent).map_err(refused)?;
        let limit = convert::page_size(asked.page_size).map_err(refused)?;
        if self.lie == Lie::HideAccounts && account.to_u128() >> 12 & 7 == 3 {
            return Err(status::rejection(&Rejection::AccountNotFound, false));
        }
        // A page is small here, so that every statement has several.
        let limit = usize::try_from(limit).unwrap().min(37);
        let before = asked.page_token.split_once('-').map(|(index, line)| PostingKey {
            account,
            index: index.parse().unwrap(),
            position: 0,
            line: line.parse().unwrap(),
        });
        let state = self.books.lock().unwrap();
        let lines: Vec<Posting> = state.ledger.postings(&account, before, limit);
        let more = lines.last().filter(|_| lines.len() == limit);
        let next_page_token = more.map(|last| format!("{}-{}", last.key.index, last.key.line));
        let currency = ledger::Currency::CNY;
        let shown =
            lines.iter().filter(|line| self.lie != Lie::HideLine || line.key.index != LIED_ABOUT);
        let postings = shown.map(|line| convert::posting(line, 0, currency).map_err(refused));
        Ok(Response::new(v1::ListPostingsResponse {
            postings: postings.collect::<Result<_, _>>()?,
            next_page_token: next_page_token.unwrap_or_default(),
            position: None,
        }))
    }

    async fn open_account(
        &self,
        _: Request<v1::OpenAccountRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        absent()
    }

    async fn freeze_account(
        &self,
        _: Request<v1::FreezeAccountRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        absent()
    }

    async fn unfreeze_account(
        &self,
        _: Request<v1::UnfreezeAccountRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        absent()
    }

    async fn close_account(
        &self,
        _: Request<v1::CloseAccountRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        absent()
    }

    async fn multi_transfer(
        &self,
        _: Request<v1::MultiTransferRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        absent()
    }

    async fn reverse_transfer(
        &self,
        _: Request<v1::ReverseTransferRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        absent()
    }

    async fn place_hold(
        &self,
        _: Request<v1::PlaceHoldRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        absent()
    }

    async fn get_hold(&self, _: Request<v1::GetHoldRequest>) -> Result<Response<v1::Hold>, Status> {
        absent()
    }

    async fn post_hold(
        &self,
        _: Request<v1::PostHoldRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        absent()
    }

    async fn void_hold(
        &self,
        _: Request<v1::VoidHoldRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        absent()
    }

    async fn lookup_outcome(
        &self,
        _: Request<v1::LookupOutcomeRequest>,
    ) -> Result<Response<v1::Outcome>, Status> {
        absent()
    }
}
