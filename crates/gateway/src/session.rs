//! The session door: frames of requests in, frames of outcomes out, many in flight.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Status, Streaming};
use wire::convert::{Refusal, request};
use wire::proto::v1::payments_server::SERVICE_NAME;
use wire::proto::v1::{SessionRequest, SessionResponse};
use wire::status;

use crate::call::{Caller, Finished, Way};
use crate::deadline;
use crate::grpc::check_batch;
use crate::router::Router;

/// Requests that one session may have in flight or unread: four full frames. Past that its next frame is not read, and
/// its sender waits. One session alone cannot use up the gateway's budget.
const REQUESTS_IN_FLIGHT_MAX: u32 = 32_768;

/// A session's answers.
pub(crate) type Answers = Pin<Box<dyn Stream<Item = Result<SessionResponse, Status>> + Send>>;

type Told = mpsc::UnboundedSender<Result<(u64, Finished), Status>>;

/// Opens a session.
pub(crate) fn open(
    router: Arc<Router>,
    frames: Streaming<SessionRequest>,
    draining: watch::Receiver<bool>,
) -> Answers {
    // Unbounded in itself; what is in it holds room, and room is bounded.
    let (told, answers) = mpsc::unbounded_channel();
    let room = Arc::new(Semaphore::new(
        usize::try_from(REQUESTS_IN_FLIGHT_MAX).expect("32,768 fit everywhere"),
    ));
    let reader = Reader { router, told, room };
    tokio::spawn(reader.run(frames, draining));
    UnboundedReceiverStream::new(answers)
        .map(|told| {
            told.map(|(id, finished)| SessionResponse { id, outcomes: finished.outcomes() })
        })
        .boxed()
}

struct Reader {
    router: Arc<Router>,
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
            if let Err(refusal) = check_batch(frame.requests.len()) {
                return self.refuse(&refusal).await;
            }
            if self.take(frame).await.is_none() {
                return;
            }
        }
    }

    /// Sends a frame's requests on their way, once there is room for them; `None` when nobody listens any more.
    async fn take(&self, frame: SessionRequest) -> Option<()> {
        let deadline = deadline::of_frame(frame.timeout_ms);
        let requests = u32::try_from(frame.requests.len()).ok()?;
        let room = tokio::select! {
            room = Arc::clone(&self.room).acquire_many_owned(requests) => room.ok()?,
            () = self.told.closed() => return None,
        };
        let way = Way::Session { id: frame.id, answers: self.told.clone(), room };
        let trace = self.router.sampling().begin(None, || format!("{SERVICE_NAME}/Session frame"));
        let caller = Caller { deadline, trace };
        let mut call = self.router.open(caller, frame.requests.len(), way);
        let tenant = self.router.tenant();
        for (place, wanted) in frame.requests.into_iter().enumerate() {
            self.router.route(&mut call, place, request(&wanted, tenant));
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
