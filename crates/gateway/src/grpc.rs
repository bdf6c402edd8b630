//! The public gRPC service: every method is a door to the router or to the reads, which the HTTP door shares.

use std::sync::Arc;

use tokio::sync::watch;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};
use wire::convert::{Intent, Refusal, ToIntent};
use wire::limits::BATCH_REQUESTS_MAX;
use wire::proto::v1;
use wire::proto::v1::payments_server::{Payments, SERVICE_NAME};
use wire::{Failure, status};

use crate::auth::{Access, Grant};
use crate::call::Caller;
use crate::deadline;
use crate::reads::Reads;
use crate::router::{Halt, Router};
use crate::session::{self, Answers, read_all};
use crate::trace::About;

/// The doors.
#[derive(Debug)]
pub(crate) struct Doors {
    pub(crate) access: Access,
    pub(crate) router: Arc<Router>,
    pub(crate) reads: Arc<Reads>,
    pub(crate) draining: watch::Receiver<bool>,
}

impl Doors {
    async fn one<T: ToIntent>(&self, call: Request<T>) -> Result<Response<v1::Posted>, Status> {
        let grant = self.mover(&call)?;
        grant.charge_one().map_err(status::rate_limited)?;
        let intent = grant.read(call.get_ref());
        let caller = self.caller(call.metadata(), method::<T>);
        self.carry_out(intent, caller).await.map(Response::new)
    }

    /// Carries one request out; both doors end here.
    pub(crate) async fn carry_out(
        &self,
        intent: Result<Intent, Refusal>,
        caller: impl Into<Caller>,
    ) -> Result<v1::Posted, Status> {
        let intent = intent.map_err(refused)?;
        let finished = self.router.send(caller, std::iter::once(Ok::<_, Refusal>(intent)));
        finished.await.map_err(|_| unknown())?.posted()
    }

    /// Carries many requests out, each by itself; both doors end here.
    pub(crate) async fn carry_out_all(
        &self,
        requests: impl ExactSizeIterator<Item = Result<Intent, impl Into<Halt>>>,
        caller: impl Into<Caller>,
    ) -> Result<Vec<v1::Outcome>, Status> {
        let finished = self.router.send(caller, requests).await.map_err(|_| unknown())?;
        Ok(finished.outcomes())
    }

    /// Who asks for a change.
    fn mover<T>(&self, call: &Request<T>) -> Result<Grant, Status> {
        let grant = self.access.grant_call(call.metadata()).map_err(refused)?;
        grant.check_moves().map_err(refused)?;
        Ok(grant)
    }

    /// Who asks a question: a question counts as a request.
    fn reader<T>(&self, call: &Request<T>) -> Result<(Grant, Caller), Status> {
        let grant = self.access.grant_call(call.metadata()).map_err(refused)?;
        grant.charge_one().map_err(status::rate_limited)?;
        Ok((grant, self.caller(call.metadata(), method::<T>)))
    }

    /// What a call that was let in is owed. Nobody else's is traced.
    fn caller(&self, metadata: &MetadataMap, name: impl FnOnce() -> String) -> Caller {
        let said = |name: &str| metadata.get(name).and_then(|said| said.to_str().ok());
        let trace = self.router.sampling().begin(said, || About::rpc(name()));
        Caller { deadline: deadline::of_call(metadata), trace }
    }
}

/// The full name of the method that takes this message: its last part is the message's, without `Request`.
fn method<T>() -> String {
    let message = std::any::type_name::<T>().rsplit("::").next().unwrap_or_default();
    format!("{SERVICE_NAME}/{}", message.trim_end_matches("Request"))
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn refused(refusal: Refusal) -> Status {
    status::refusal(&refusal)
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
        let grant = self.mover(&call)?;
        let caller = self.caller(call.metadata(), method::<v1::SubmitBatchRequest>);
        let requests = call.into_inner().requests;
        check_batch(requests.len()).map_err(refused)?;
        let outcomes = self.carry_out_all(read_all(&grant, requests), caller).await?;
        Ok(Response::new(v1::SubmitBatchResponse { outcomes }))
    }

    async fn session(
        &self,
        call: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let caller = (self.access.clone(), self.mover(&call)?);
        let (router, frames) = (Arc::clone(&self.router), call.into_inner());
        let answers = session::open(router, caller, frames, self.draining.clone());
        Ok(Response::new(answers))
    }

    async fn get_account(
        &self,
        call: Request<v1::GetAccountRequest>,
    ) -> Result<Response<v1::Account>, Status> {
        let (grant, Caller { deadline, trace: _traced }) = self.reader(&call)?;
        self.reads.account(grant.behalf(), &call.into_inner(), deadline).await.map(Response::new)
    }

    async fn get_hold(
        &self,
        call: Request<v1::GetHoldRequest>,
    ) -> Result<Response<v1::Hold>, Status> {
        let (grant, Caller { deadline, trace: _traced }) = self.reader(&call)?;
        self.reads.hold(grant.behalf(), &call.into_inner(), deadline).await.map(Response::new)
    }

    async fn list_postings(
        &self,
        call: Request<v1::ListPostingsRequest>,
    ) -> Result<Response<v1::ListPostingsResponse>, Status> {
        let (grant, Caller { deadline, trace: _traced }) = self.reader(&call)?;
        self.reads.postings(grant.behalf(), &call.into_inner(), deadline).await.map(Response::new)
    }

    async fn lookup_outcome(
        &self,
        call: Request<v1::LookupOutcomeRequest>,
    ) -> Result<Response<v1::Outcome>, Status> {
        let (grant, Caller { deadline, trace: _traced }) = self.reader(&call)?;
        self.reads.outcome(grant.behalf(), &call.into_inner(), deadline).await.map(Response::new)
    }
}

/// Whether so many requests may come at once.
pub(crate) fn check_batch(requests: usize) -> Result<(), Refusal> {
    match requests {
        1..=BATCH_REQUESTS_MAX => Ok(()),
        _ => Err(Refusal::BatchTooLarge(requests)),
    }
}
