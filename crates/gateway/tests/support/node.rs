//! One fake node.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::StreamExt;
use futures::stream::BoxStream;
use ledger::codec::{get_hot, put_cold, put_hot};
use ledger::{AccountId, HoldId, ScopedKey};
use tokio::runtime::{Builder, Runtime};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};
use wire::convert::{Page, get_cursor, sixteen};
use wire::proto::cluster::read_reply::Answer as Told;
use wire::proto::cluster::read_request::Question;
use wire::proto::cluster::shard_server::{Shard, ShardServer};
use wire::proto::cluster::{
    CutPage, CutPageQuestion, CutRows, DirectoryPage, Frame, FrameAnswer, ReadReply, ReadRequest,
    ReplicaStatus, StatementPage, StatementQuestion,
};
use wire::{Failure, Reply, reply, status};

use super::{Fault, Shared};

pub(super) struct Node {
    pub(super) address: String,
    runtime: Option<Runtime>,
}

impl Node {
    pub(super) fn start(id: u64, shared: Arc<Shared>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            let service = ShardServer::new(Doors { id, shared });
            Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
        Self { address, runtime: Some(runtime) }
    }
}

impl Drop for Node {
    /// Ends it as `kill -9` does: whatever it was doing, its connections break.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Doors {
    id: u64,
    shared: Arc<Shared>,
}

#[tonic::async_trait]
impl Shard for Doors {
    type SessionStream = BoxStream<'static, Result<FrameAnswer, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (id, shared) = (self.id, Arc::clone(&self.shared));
        // A swallowed frame gets no answer; after a cut nothing comes any more.
        let answers = request.into_inner().map(move |frame| answer(id, &shared, &frame?));
        let answers = answers.filter_map(|answer| async { answer.transpose() });
        Ok(Response::new(answers.boxed()))
    }

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<ReadReply>, Status> {
        let asked = request.into_inner();
        let question = asked.question.unwrap();
        let status = matches!(question, Question::Status(_));
        if !asked.stale_ok && !status && !self.shared.leads(self.id) {
            return Err(status::failure(Failure::NoLeader, self.shared.leader().as_ref()));
        }
        let answer = self.answer(question);
        let ledger = self.shared.ledger.lock().unwrap();
        let reply = ReadReply { index: ledger.index(), time_ms: ledger.now().0, answer };
        Ok(Response::new(reply))
    }
}

fn answer(id: u64, shared: &Shared, frame: &Frame) -> Result<Option<FrameAnswer>, Status> {
    let requests = shared.read(&frame.records);
    assert_eq!(requests.len(), usize::try_from(frame.count).unwrap());
    if frame.shard == 1 {
        let failed = || vec![Reply::Failure(Failure::NoLeader); requests.len()];
        let decided = || shared.direct(&requests).into_iter().map(Reply::Answer).collect();
        let replies = if shared.leads(id) { decided() } else { failed() };
        return Ok(Some(told(frame, &replies, shared)));
    }
    shared.frames.fetch_add(1, Ordering::SeqCst);
    if !shared.leads(id) {
        let replies = vec![Reply::Failure(Failure::NoLeader); requests.len()];
        return Ok(Some(told(frame, &replies, shared)));
    }
    let answers = |requests: &[_]| -> Vec<_> {
        shared.apply(requests).into_iter().map(Reply::Answer).collect()
    };
    let cut = || Err(Status::unavailable("the stream was cut on purpose"));
    let replies = match shared.next_fault() {
        Fault::None => answers(&requests),
        Fault::CutBefore => return cut(),
        Fault::CutAfter => {
            answers(&requests);
            return cut();
        }
        Fault::Fail(failure) => vec![Reply::Failure(failure); requests.len()],
        Fault::FailHalf(failure) => {
            let half = requests.iter().enumerate().map(|(place, request)| match place % 2 {
                0 => answers(std::slice::from_ref(request))[0],
                _ => Reply::Failure(failure),
            });
            half.collect()
        }
        Fault::ApplyAndFail(failure) => {
            answers(&requests);
            vec![Reply::Failure(failure); requests.len()]
        }
        Fault::Swallow => return Ok(None),
        Fault::Garble => {
            let mut garbled = told(frame, &answers(&requests), shared);
            garbled.answers.truncate(garbled.answers.len() - 1);
            return Ok(Some(garbled));
        }
    };
    Ok(Some(told(frame, &replies, shared)))
}

fn told(frame: &Frame, replies: &[Reply], shared: &Shared) -> FrameAnswer {
    let is_led_elsewhere = replies.contains(&Reply::Failure(Failure::NoLeader));
    FrameAnswer {
        id: frame.id,
        answers: reply::encode(replies.iter()).into(),
        leader: is_led_elsewhere.then(|| shared.leader()).flatten(),
    }
}

impl Doors {
    fn answer(&self, question: Question) -> Option<Told> {
        let ledger = self.shared.ledger.lock().unwrap();
        let mut bytes = Vec::new();
        match question {
            Question::Account(asked) => {
                let account = ledger.account(&AccountId::from_u128(sixteen(&asked.account)?))?;
                put_hot(&account, &mut bytes);
                Some(Told::Account(bytes.into()))
            }
            Question::Hold(asked) => {
                let hold = ledger.hold(&HoldId::from_u128(sixteen(&asked.hold)?))?;
                put_hot(&hold, &mut bytes);
                Some(Told::Hold(bytes.into()))
            }
            Question::Outcome(asked) => {
                let scoped: ScopedKey = get_hot(&asked.scoped_key).unwrap();
                let outcome = ledger.outcome(&scoped)?;
                reply::put(&Reply::Answer(ledger::Answer { outcome, replayed: true }), &mut bytes);
                Some(Told::Outcome(bytes.into()))
            }
            Question::Statement(asked) => statement(&ledger, &asked).map(Told::Statement),
            Question::Cut(asked) => {
                put_cold(ledger.cut_of(asked.cut)?, &mut bytes);
                Some(Told::Cut(bytes.into()))
            }
            Question::Directory(asked) => {
                let meta = self.shared.meta.lock().unwrap();
                let changes = meta.directory().changes(asked.after).take(asked.limit as usize);
                let changes = changes.map(|(version, name, record)| {
                    let mut bytes = Vec::new();
                    put_cold(&(name, version, record), &mut bytes);
                    bytes.into()
                });
                Some(Told::Directory(DirectoryPage {
                    version: meta.directory().version(),
                    changes: changes.collect(),
                    ..Default::default()
                }))
            }
            Question::CutPage(asked) => {
                let left = self.shared.pages_left.fetch_sub(1, Ordering::SeqCst);
                cut_page(&ledger, &asked).filter(|_| left > 0).map(Told::CutPage)
            }
            Question::Status(_) => Some(Told::Status(ReplicaStatus {
                node_id: self.id,
                leads: self.shared.leads(self.id),
                leader: self.shared.leader(),
                ..Default::default()
            })),
        }
    }
}

fn cut_page(ledger: &ledger::Ledger, asked: &CutPageQuestion) -> Option<CutPage> {
    let image = ledger.cut_image(asked.cut)?;
    let after = sixteen(&asked.after);
    // Small pages, so that a few accounts are many.
    let limit = 2;
    let mut rows = Vec::new();
    match asked.rows() {
        CutRows::Unspecified => return None,
        CutRows::Accounts => {
            for account in image.accounts_after(after.map(AccountId::from_u128), limit) {
                let mut bytes = Vec::new();
                put_hot(&account, &mut bytes);
                rows.push(bytes.into());
            }
        }
        CutRows::Holds => {
            for hold in image.holds_after(after.map(HoldId::from_u128), limit) {
                let mut bytes = Vec::new();
                put_hot(&hold, &mut bytes);
                rows.push(bytes.into());
            }
        }
    }
    Some(CutPage { more: rows.len() == limit, rows })
}

fn statement(ledger: &ledger::Ledger, asked: &StatementQuestion) -> Option<StatementPage> {
    let id = AccountId::from_u128(sixteen(&asked.account)?);
    let account = ledger.account(&id)?;
    let before = get_cursor(id, &asked.before);
    let limit = usize::try_from(asked.limit).unwrap();
    let postings = ledger.postings(&id, before, limit);
    let more = postings.len() == limit;
    let page = Page { postings, more, shard: 0, currency: account.currency };
    Some(StatementPage::from(&page))
}
