//! The public service: every method is a door to the router or to the reads.

use std::sync::Arc;

use tokio::sync::watch;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};
use wire::convert::{Intent, Refusal, ToIntent, request};
use wire::limits::BATCH_REQUESTS_MAX;
use wire::proto::v1;
use wire::proto::v1::payments_server::{Payments, SERVICE_NAME};
use wire::{Failure, status};

use crate::call::Caller;
use crate::deadline;
use crate::reads::Reads;
use crate::router::Router;
use crate::session::{self, Answers};

/// The doors.
#[derive(Debug)]
pub(crate) struct Doors {
    pub(crate) router: Arc<Router>,
    pub(crate) reads: Reads,
    pub(crate) draining: watch::Receiver<bool>,
}

impl Doors {
    async fn one<T: ToIntent>(&self, call: Request<T>) -> Result<Response<v1::Posted>, Status> {
        let intent: Intent = call
            .get_ref()
            .to_intent(self.router.tenant())
            .map_err(|refusal| status::refusal(&refusal))?;
        let caller = self.caller(call.metadata(), method::<T>);
        let finished = self.router.send(caller, std::iter::once(Ok(intent)));
        finished.await.map_err(|_| unknown())?.posted().map(Response::new)
    }

    fn caller(&self, metadata: &MetadataMap, name: impl FnOnce() -> String) -> Caller {
        let trace = self.router.sampling().begin(Some(metadata), name);
        Caller { deadline: deadline::of_call(metadata), trace }
    }
}

/// The full name of the method that takes this message: its last part is the message's, without `Request`.
fn method<T>() -> String {
    let message = std::any::type_name::<T>().rsplit("::").next().unwrap_or_default();
    format!("{SERVICE_NAME}/{}", message.trim_end_matches("Request"))
}

/// The gateway stopped before it heard.
fn unknown() -> Status {
    status::failure(Failure::OutcomeUnknown, None)
}

#[tonic::async_trait]
impl Payments for Doors {
    type SessionStream = Answers;

    async fn open_account(
        &self,
        call: Request<v1::OpenAccountRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        self.one(call).await
    }

    async fn freeze_account(
        &self,
        call: Request<v1::FreezeAccountRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        self.one(call).await
    }

    async fn unfreeze_account(
        &self,
        call: Request<v1::UnfreezeAccountRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        self.one(call).await
    }

    async fn close_account(
        &self,
        call: Request<v1::CloseAccountRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        self.one(call).await
    }

    async fn transfer(
        &self,
        call: Request<v1::TransferRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        self.one(call).await
    }

    async fn multi_transfer(
        &self,
        call: Request<v1::MultiTransferRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        self.one(call).await
    }

    async fn reverse_transfer(
        &self,
        call: Request<v1::ReverseTransferRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        self.one(call).await
    }

    async fn place_hold(
        &self,
        call: Request<v1::PlaceHoldRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        self.one(call).await
    }

    async fn post_hold(
        &self,
        call: Request<v1::PostHoldRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        self.one(call).await
    }

    async fn void_hold(
        &self,
        call: Request<v1::VoidHoldRequest>,
    ) -> Result<Response<v1::Posted>, Status> {
        self.one(call).await
    }

    async fn submit_batch(
        &self,
        call: Request<v1::SubmitBatchRequest>,
    ) -> Result<Response<v1::SubmitBatchResponse>, Status> {
        let caller = self.caller(call.metadata(), method::<v1::SubmitBatchRequest>);
        let requests = call.into_inner().requests;
        check_batch(requests.len()).map_err(|refusal| status::refusal(&refusal))?;
        let tenant = self.router.tenant();
        let reads = requests.into_iter().map(|wanted| request(&wanted, tenant));
        let finished = self.router.send(caller, reads).await.map_err(|_| unknown())?;
        Ok(Response::new(v1::SubmitBatchResponse { outcomes: finished.outcomes() }))
    }

    async fn session(
        &self,
        call: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let frames = call.into_inner();
        let answers = session::open(Arc::clone(&self.router), frames, self.draining.clone());
        Ok(Response::new(answers))
    }

    async fn get_account(
        &self,
        call: Request<v1::GetAccountRequest>,
    ) -> Result<Response<v1::Account>, Status> {
        let deadline = deadline::of_call(call.metadata());
        self.reads.account(&call.into_inner(), deadline).await.map(Response::new)
    }

    async fn get_hold(
        &self,
        call: Request<v1::GetHoldRequest>,
    ) -> Result<Response<v1::Hold>, Status> {
        let deadline = deadline::of_call(call.metadata());
        self.reads.hold(&call.into_inner(), deadline).await.map(Response::new)
    }

    async fn list_postings(
        &self,
        call: Request<v1::ListPostingsRequest>,
    ) -> Result<Response<v1::ListPostingsResponse>, Status> {
        let deadline = deadline::of_call(call.metadata());
        self.reads.postings(&call.into_inner(), deadline).await.map(Response::new)
    }

    async fn lookup_outcome(
        &self,
        call: Request<v1::LookupOutcomeRequest>,
    ) -> Result<Response<v1::Outcome>, Status> {
        let deadline = deadline::of_call(call.metadata());
        self.reads.outcome(&call.into_inner(), deadline).await.map(Response::new)
    }
}

/// Whether so many requests may come at once.
pub(crate) fn check_batch(requests: usize) -> Result<(), Refusal> {
    match requests {
        1..=BATCH_REQUESTS_MAX => Ok(()),
        _ => Err(Refusal::BatchTooLarge(requests)),
    }
}
