//! Sessions: one stream, many frames of requests under way.
//!
//! A task owns the stream and every frame that is not answered. When the stream ends (a gateway restarts, a connection
//! breaks) the task opens another and sends the unanswered frames again, with the same keys; only when a frame's time is
//! up does its caller hear that the outcome is unknown. Of a frame that was sent again only the ledger's own answer counts:
//! that the last sending did nothing says nothing about the first.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use wire::proto::v1::{SessionRequest, SessionResponse};

use crate::client::check_size;
use crate::credentials::Door;
use crate::error::Error;
use crate::posted::Posted;
use crate::request::Request;

/// Requests that one session may have under way: as many as a gateway reads from one.
const REQUESTS_MAX: usize = 32_768;

/// Frames that may wait to go out; past that [`Session::send`] waits.
const FRAMES_WAITING_MAX: usize = 64;

/// How long opening a stream may take.
const OPEN_MAX: Duration = Duration::from_secs(5);

/// Pauses between attempts to open a stream again.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

type Results = Vec<Result<Posted, Error>>;

/// A stream of requests. Clones share it. It ends when the last clone is dropped and everything is answered.
#[derive(Clone, Debug)]
pub struct Session {
    frames: mpsc::Sender<Frame>,
    room: Arc<Semaphore>,
    timeout: Duration,
}

/// A frame under way: a future of one result for each of its requests, in order.
#[derive(Debug)]
pub struct Pending {
    results: oneshot::Receiver<Results>,
    requests: usize,
}

/// A frame whose caller waits.
#[derive(Debug)]
struct Frame {
    message: SessionRequest,
    deadline: Instant,
    results: oneshot::Sender<Results>,
    /// Whether it has gone out on some stream: then a log may hold its requests.
    is_sent: bool,
    /// Whether a stream broke on which it had gone out: then what is said of a later sending is not all that matters.
    was_lost: bool,
    _room: OwnedSemaphorePermit,
}

impl Session {
    pub(crate) fn open(client: Door, timeout: Duration) -> Self {
        let (frames, incoming) = mpsc::channel(FRAMES_WAITING_MAX);
        let driver = Driver { client, incoming, unanswered: BTreeMap::new(), next_id: 0 };
        tokio::spawn(driver.run());
        Self { frames, room: Arc::new(Semaphore::new(REQUESTS_MAX)), timeout }
    }

    /// Puts 1 to 8,192 requests on their way, as soon as there is room for them. The results come by themselves; they
    /// may overtake one another.
    ///
    /// # Errors
    /// [`Error::Refused`] when there are too many requests, or none, or they take more than 4 MiB.
    pub async fn send(&self, requests: &[Request]) -> Result<Pending, Error> {
        self.send_frame(requests, None).await
    }

    /// The same, as part of a trace: `traceparent` is the caller's name for it, as W3C's Trace Context has it. A gateway
    /// that traces nothing, or cannot read it, does not heed it.
    ///
    /// # Errors
    /// As [`Session::send`].
    pub async fn send_traced(
        &self,
        requests: &[Request],
        traceparent: impl Into<String>,
    ) -> Result<Pending, Error> {
        self.send_frame(requests, Some(traceparent.into())).await
    }

    async fn send_frame(
        &self,
        requests: &[Request],
        traceparent: Option<String>,
    ) -> Result<Pending, Error> {
        let count = requests.len();
        let message = SessionRequest {
            id: 0,
            requests: requests.iter().map(Request::message).collect(),
            timeout_ms: 0,
            traceparent,
        };
        // A frame that the gateway cannot take would end the stream, and everybody else's frames with it.
        check_size(count, message.encoded_len())?;
        let stopped =
            || Error::NotConnected { message: "the session's task was stopped".to_owned() };
        let permits = u32::try_from(count).expect("at most 8,192");
        let room = Arc::clone(&self.room).acquire_many_owned(permits).await;
        let now = Instant::now();
        let (sender, results) = oneshot::channel();
        let frame = Frame {
            message,
            deadline: now.checked_add(self.timeout).unwrap_or(now),
            results: sender,
            is_sent: false,
            was_lost: false,
            _room: room.map_err(|_| stopped())?,
        };
        self.frames.send(frame).await.map_err(|_| stopped())?;
        Ok(Pending { results, requests: count })
    }
}

impl Future for Pending {
    type Output = Results;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Results> {
        let requests = self.requests;
        Pin::new(&mut self.results).poll(context).map(|results| {
            results.unwrap_or_else(|_| unknown(requests, "the session's task was stopped"))
        })
    }
}

fn unknown(requests: usize, why: &str) -> Results {
    vec![Err(Error::Unknown { message: why.to_owned() }); requests]
}

/// Owns the stream.
struct Driver {
    client: Door,
    incoming: mpsc::Receiver<Frame>,
    /// Every frame that is not answered, in the order in which they were sent.
    unanswered: BTreeMap<u64, Frame>,
    next_id: u64,
}

/// What a stream ended with.
enum Ended {
    /// Nobody will send anything, and everything is answered.
    Done,
    /// It broke.
    Broken,
}

impl Driver {
    async fn run(mut self) {
        let pauses = || {
            ExponentialBuilder::new()
                .with_jitter()
                .with_min_delay(PAUSE_FIRST)
                .with_max_delay(PAUSE_MAX)
                .without_max_times()
                .build()
        };
        let mut pause = pauses();
        loop {
            // A stream is opened when there is something to send.
            if self.unanswered.is_empty() {
                let Some(frame) = self.incoming.recv().await else { return };
                self.take(frame);
            }
            match self.open().await {
                Ok((frames, answers)) => {
                    let answered_before = self.next_id;
                    if matches!(self.ride(frames, answers).await, Ended::Done) {
                        return;
                    }
                    if self.next_id != answered_before {
                        pause = pauses();
                    }
                }
                Err(refused @ Error::Refused { .. }) => self.give_up(&refused),
                Err(_) => {}
            }
            self.expire();
            sleep(pause.next().unwrap_or(PAUSE_MAX)).await;
        }
    }

    async fn open(
        &mut self,
    ) -> Result<(mpsc::Sender<SessionRequest>, Streaming<SessionResponse>), Error> {
        let (frames, outgoing) = mpsc::channel(FRAMES_WAITING_MAX);
        let opened = self.client.session(ReceiverStream::new(outgoing));
        let late = |_| Error::NotConnected { message: "no stream was opened in time".to_owned() };
        let answers = timeout(OPEN_MAX, opened).await.map_err(late)?;
        Ok((frames, answers.map_err(|status| Error::of_status(&status))?.into_inner()))
    }

    /// The gateway takes no session of this caller's: nobody waits for what it will refuse again.
    fn give_up(&mut self, refused: &Error) {
        for frame in std::mem::take(&mut self.unanswered).into_values() {
            let error = if frame.is_sent {
                Error::Unknown { message: refused.to_string() }
            } else {
                refused.clone()
            };
            drop(frame.results.send(vec![Err(error); frame.message.requests.len()]));
        }
    }

    /// Sends what is unanswered, then what comes, until the stream ends.
    async fn ride(
        &mut self,
        frames: mpsc::Sender<SessionRequest>,
        mut answers: Streaming<SessionResponse>,
    ) -> Ended {
        let mut unsent: Vec<u64> = self.unanswered.keys().copied().rev().collect();
        let mut open = true;
        loop {
            if !open && self.unanswered.is_empty() {
                return Ended::Done;
            }
            let (next, due) = (unsent.last().copied(), self.earliest());
            tokio::select! {
                biased;
                answer = answers.message() => match answer {
                    Ok(Some(answer)) => self.answer(&answer),
                    Ok(None) | Err(_) => return Ended::Broken,
                },
                room = frames.reserve(), if next.is_some() => {
                    let Ok(room) = room else { return Ended::Broken };
                    if let Some(message) = unsent.pop().and_then(|id| self.message(id)) {
                        room.send(message);
                    }
                }
                frame = self.incoming.recv(), if open && next.is_none() => match frame {
                    Some(frame) => unsent.push(self.take(frame)),
                    None => open = false,
                },
                () = until(due) => self.expire(),
            }
        }
    }

    fn take(&mut self, mut frame: Frame) -> u64 {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        frame.message.id = id;
        self.unanswered.insert(id, frame);
        id
    }

    /// A frame as it goes out now, with the time that is left.
    fn message(&mut self, id: u64) -> Option<SessionRequest> {
        let frame = self.unanswered.get_mut(&id)?;
        // On one stream it goes out once.
        frame.was_lost |= frame.is_sent;
        frame.is_sent = true;
        let left = frame.deadline.saturating_duration_since(Instant::now()).as_millis();
        let timeout_ms = u32::try_from(left).unwrap_or(u32::MAX).max(1);
        Some(SessionRequest { timeout_ms, ..frame.message.clone() })
    }

    fn answer(&mut self, answer: &SessionResponse) {
        // Whose time was up has heard so, and listens no more.
        let Some(frame) = self.unanswered.remove(&answer.id) else { return };
        let requests = frame.message.requests.len();
        let results = if answer.outcomes.len() == requests {
            let results = answer.outcomes.iter().map(Posted::of_outcome);
            let meaning = |error: Error| if frame.was_lost { error.after_unknown() } else { error };
            results.map(|result| result.map_err(meaning)).collect()
        } else {
            unknown(requests, "the answer has another number of outcomes")
        };
        drop(frame.results.send(results));
    }

    /// When the first frame's time is up. All have the same time-out, so the oldest is the first.
    fn earliest(&self) -> Option<Instant> {
        self.unanswered.first_key_value().map(|(_, frame)| frame.deadline)
    }

    fn expire(&mut self) {
        let now = Instant::now();
        while self.earliest().is_some_and(|deadline| deadline <= now) {
            let Some((_, frame)) = self.unanswered.pop_first() else { return };
            let results = unknown(frame.message.requests.len(), "no answer came in time");
            drop(frame.results.send(results));
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
