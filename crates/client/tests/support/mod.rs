//! A gateway that says what a test tells it to say.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part of it")]

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures::Stream;
use ledger::{Answer, Posted, Rejection, Time, TransferId};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use wire::proto::v1;
use wire::proto::v1::payments_server::{Payments, PaymentsServer};
use wire::{Failure, Reply, convert, status};

/// What the gateway says to one call, or to each request of one batch or frame in turn.
#[derive(Clone, Debug)]
pub enum Say {
    Posted,
    Rejected(Rejection),
    Failed(Failure),
    /// Something in between speaks.
    Foreign,
    /// The session's stream ends.
    Cut,
    /// Nothing, ever.
    Nothing,
}

#[derive(Clone, Default)]
pub struct Script {
    says: Arc<Mutex<VecDeque<Say>>>,
    /// The keys that came, in order.
    pub keys: Arc<Mutex<Vec<String>>>,
    /// How many streams were opened.
    pub sessions: Arc<Mutex<usize>>,
}

impl Script {
    /// Starts a gateway that says this, and POSTED ever after; gives its endpoint.
    pub async fn play(says: impl IntoIterator<Item = Say>) -> (Self, String) {
        let script = Self::default();
        script.says.lock().unwrap().extend(says);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let service = PaymentsServer::new(script.clone());
        let server = Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        (script, endpoint)
    }

    fn next(&self, key: &str) -> Say {
        self.keys.lock().unwrap().push(key.to_owned());
        self.says.lock().unwrap().pop_front().unwrap_or(Say::Posted)
    }

    fn outcomes(&self, requests: &[v1::Request]) -> Option<Vec<v1::Outcome>> {
        let outcome = |request: &v1::Request| {
            let Some(v1::request::Command::Transfer(transfer)) = &request.command else {
                panic!("only transfers are played");
            };
            let reply = match self.next(&transfer.idempotency_key) {
                Say::Posted => Reply::Answer(Answer { outcome: Ok(posted()), replayed: false }),
                Say::Rejected(no) => Reply::Answer(Answer { outcome: Err(no), replayed: false }),
                Say::Failed(failure) => Reply::Failure(failure),
                Say::Foreign | Say::Cut | Say::Nothing => return None,
            };
            Some(convert::outcome(&reply, None))
        };
        requests.iter().map(outcome).collect()
    }
}

pub fn posted() -> Posted {
    Posted { transfer: TransferId { shard: 0, index: 7, position: 3 }, at: Time(1_000) }
}

fn foreign() -> Status {
    Status::unavailable("something in between gave up")
}

type Answers = Pin<Box<dyn Stream<Item = Result<v1::SessionResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Payments for Script {
    type SessionStream = Answers;

    async fn transfer(
        &self,
        call: Request<v1::TransferRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        match self.next(&call.get_ref().idempotency_key) {
            Say::Posted => Ok(Response::new(convert::posted(&posted(), false, None))),
            Say::Rejected(no) => Err(status::rejection(&no, false)),
            Say::Failed(failure) => Err(status::failure(failure, None)),
            Say::Foreign | Say::Cut => Err(foreign()),
            Say::Nothing => std::future::pending().await,
        }
    }

    async fn submit_batch(
        &self,
        call: Request<v1::SubmitBatchRequest>,
    ) -> Result<Response<v1::SubmitBatchResponse>, Status> {
        let outcomes = self.outcomes(&call.get_ref().requests).ok_or_else(foreign)?;
        Ok(Response::new(v1::SubmitBatchResponse { outcomes }))
    }

    async fn session(
        &self,
        call: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Answers>, Status> {
        *self.sessions.lock().unwrap() += 1;
        let script = self.clone();
        let mut frames = call.into_inner();
        let (answers, stream) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(frame)) = frames.message().await {
                let Some(outcomes) = script.outcomes(&frame.requests) else {
                    drop(answers.send(Err(foreign())));
                    return;
                };
                drop(answers.send(Ok(v1::SessionResponse { id: frame.id, outcomes })));
            }
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(stream))))
    }

    async fn list_postings(
        &self,
        call: Request<v1::ListPostingsRequest>,
    ) -> Result<Response<v1::ListPostingsResponse>, Status> {
        let asked = call.into_inner();
        let from: i64 = asked.page_token.parse().unwrap_or(7);
        let to = (from - i64::from(asked.page_size)).max(0);
        let money = |units_minor| Some(v1::Money { currency_code: "CNY".into(), units_minor });
        let postings = (to + 1..=from).rev().map(|amount| v1::Posting {
            transfer: "transfers/tr_0-1-1".into(),
            leg: 0,
            side: v1::Side::Credit.into(),
            amount: money(amount),
            balance: money(-amount),
            counter_account: asked.parent.clone(),
            post_time: Some(convert::timestamp(Time(5))),
            kind: v1::JournalKind::Transfer.into(),
            reverses: String::new(),
        });
        let next_page_token = if to > 0 { to.to_string() } else { String::new() };
        let postings = postings.collect();
        Ok(Response::new(v1::ListPostingsResponse { postings, next_page_token, position: None }))
    }

    async fn open_account(
        &self,
        _: Request<v1::OpenAccountRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        Err(unplayed())
    }

    async fn get_account(
        &self,
        _: Request<v1::GetAccountRequest>,
    ) -> Result<Response<v1::Account>, Status> {
        Err(unplayed())
    }

    async fn freeze_account(
        &self,
        _: Request<v1::FreezeAccountRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        Err(unplayed())
    }

    async fn unfreeze_account(
        &self,
        _: Request<v1::UnfreezeAccountRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        Err(unplayed())
    }

    async fn close_account(
        &self,
        _: Request<v1::CloseAccountRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        Err(unplayed())
    }

    async fn multi_transfer(
        &self,
        _: Request<v1::MultiTransferRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        Err(unplayed())
    }

    async fn reverse_transfer(
        &self,
        _: Request<v1::ReverseTransferRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        Err(unplayed())
    }

    async fn place_hold(
        &self,
        _: Request<v1::PlaceHoldRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        Err(unplayed())
    }

    async fn get_hold(&self, _: Request<v1::GetHoldRequest>) -> Result<Response<v1::Hold>, Status> {
        Err(unplayed())
    }

    async fn post_hold(
        &self,
        _: Request<v1::PostHoldRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        Err(unplayed())
    }

    async fn void_hold(
        &self,
        _: Request<v1::VoidHoldRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        Err(unplayed())
    }

    async fn lookup_outcome(
        &self,
        _: Request<v1::LookupOutcomeRequest>,
    ) -> Result<Response<v1::Outcome>, Status> {
        Err(unplayed())
    }
}

fn unplayed() -> Status {
    Status::unimplemented("this is not played")
}
