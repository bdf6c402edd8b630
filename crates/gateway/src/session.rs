//! The session door: frames of requests in, frames of outcomes out, many in flight.
//!
//! A session may outlive its caller's key: every frame is judged by the keyring of its moment.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Status, Streaming};
use wire::convert::{Intent, Refusal};
use wire::proto::v1::payments_server::SERVICE_NAME;
use wire::proto::v1::{Request, SessionRequest, SessionResponse};
use wire::{Failure, status};

use crate::auth::{Access, Grant};
use crate::call::{Caller, Finished, Way};
use crate::deadline;
use crate::grpc::check_batch;
use crate::router::{Halt, Router};
use crate::trace::{About, TRACEPARENT};

/// Requests that one session may have in flight or unread: four full frames. Past that its next frame is not read, and
/// its sender waits. One session alone cannot use up the gateway's budget.
const REQUESTS_IN_FLIGHT_MAX: u32 = 32_768;

/// A session's answers.
pub(crate) type Answers = Pin<Box<dyn Stream<Item = Result<SessionResponse, Status>> + Send>>;

type Told = mpsc::UnboundedSender<Result<(u64, Finished), Status>>;

/// Opens a session.
pub(crate) fn open(
    router: Arc<Router>,
    (access, grant): (Access, Grant),
    frames: Streaming<SessionRequest>,
    draining: watch::Receiver<bool>,
) -> Answers {
    // Unbounded in itself; what is in it holds room, and room is bounded.
    let (told, answers) = mpsc::unbounded_channel();
    let room = Arc::new(Semaphore::new(
        usize::try_from(REQUESTS_IN_FLIGHT_MAX).expect("32,768 fit everywhere"),
    ));
    let reader = Reader { router, access, grant, told, room };
    tokio::spawn(reader.run(frames, draining));
    UnboundedReceiverStream::new(answers)
        .map(|told| {
            told.map(|(id, finished)| SessionResponse { id, outcomes: finished.outcomes() })
        })
        .boxed()
}

/// Reads requests on a caller's behalf. Those past the tenant's rate go no further.
pub(crate) fn read_all(
    grant: &Grant,
    requests: Vec<Request>,
) -> impl ExactSizeIterator<Item = Result<Intent, Halt>> {
    let admitted = grant.charge(requests.len());
    requests.into_iter().enumerate().map(move |(place, wanted)| {
        if place >= admitted {
            return Err(Halt::Failed(Failure::RateLimited));
        }
        grant.read_one_of(&wanted).map_err(Halt::Refused)
    })
}

struct Reader {
    router: Arc<Router>,
    access: Access,
    grant: Grant,
    told: Told,
    room: Arc<Semaphore>,
}

impl Reader {
    /// Reads frames until the caller ends, hangs up, or the gateway drains. What is in flight is still answered.
    async fn run(self, mut frames: Streaming<SessionRequest>, mut draining: watch::Receiver<bool>) {
        loop {
            let frame = tokio::select! {
                frame = frames.message() => frame,
                () = self.told.closed() => return,
                _ = draining.wait_for(|draining| *draining) => return,
            };
            let Ok(Some(frame)) = frame else { return };
            let grant = match check_batch(frame.requests.len()).and_then(|()| self.renewed()) {
                Ok(grant) => grant,
                Err(refusal) => return self.refuse(&refusal).await,
            };
            if self.take(frame, &grant).await.is_none() {
                return;
            }
        }
    }

    fn renewed(&self) -> Result<Grant, Refusal> {
        let grant = self.access.renew(&self.grant)?;
        grant.check_moves()?;
        Ok(grant)
    }

    /// Sends a frame's requests on their way, once there is room for them; `None` when nobody listens any more.
    async fn take(&self, frame: SessionRequest, grant: &Grant) -> Option<()> {
        let deadline = deadline::of_frame(frame.timeout_ms);
        let requests = u32::try_from(frame.requests.len()).ok()?;
        let room = tokio::select! {
            room = Arc::clone(&self.room).acquire_many_owned(requests) => room.ok()?,
            () = self.told.closed() => return None,
        };
        let way = Way::Session { id: frame.id, answers: self.told.clone(), room };
        let about = || About::rpc(format!("{SERVICE_NAME}/Session frame"));
        let parent = frame.traceparent.as_deref();
        let said = |name: &str| parent.filter(|_| name == TRACEPARENT);
        let trace = self.router.sampling().begin(said, about);
        let caller = Caller { deadline, trace };
        let mut call = self.router.open(caller, frame.requests.len(), way);
        for (place, read) in read_all(grant, frame.requests).enumerate() {
            self.router.route(&mut call, place, read);
        }
        call.close();
        Some(())
    }

    /// Ends the session with an error, after everything in flight is answered.
    async fn refuse(&self, refusal: &Refusal) {
        tokio::select! {
            _ = self.room.acquire_many(REQUESTS_IN_FLIGHT_MAX) => {}
            () = self.told.closed() => {}
        }
        // Whoever hung up needs no error.
        let _ = self.told.send(Err(status::refusal(refusal)));
    }
}
