//! The way to one peer: questions out, answers back under their numbers.
//!
//! A link has four lanes; each is up or down. A lane that is down refuses at once, so that whoever asks can back off by
//! its own rules; when a lane breaks, everybody who waits on it hears so at once. Nothing is sent twice here: whether a
//! lost question may be repeated, only the asker knows.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::{Kind, Lane, Message, QUEUE_MESSAGES_MAX, Refusal};
use crate::raft::DiskId;
use crate::roster::TurnedAway;
use crate::runtime;

/// Answers that may be outstanding on one lane. The askers bound themselves far below.
const OUTSTANDING_MAX: usize = 65_536;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// Nothing was sent.
    #[error("the peer cannot be reached")]
    Unreachable,
    /// The question may have arrived.
    #[error("the connection broke before the answer")]
    Broken,
    /// The question may have arrived.
    #[error("no answer in time")]
    TimedOut,
    /// The peer answered that it has no answer.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The answer cannot be read.
    #[error("the answer makes no sense")]
    Unreadable,
}

/// Everything this node sends to one peer passes here.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: u64,
    next_request: AtomicU64,
    lanes: [Mutex<Option<Connection>>; 4],
    is_turned_away: AtomicBool,
    /// What the peer last was: its data directory, or why it is not welcome.
    found: Mutex<Option<Result<DiskId, TurnedAway>>>,
    /// The peer said that it may lead.
    may_lead: AtomicBool,
}

/// One lane while it is up.
#[derive(Clone, Debug)]
struct Connection {
    queue: mpsc::Sender<Message>,
    waiting: Arc<Waiting>,
}

/// Who waits for which answer; nobody can any more once the connection has ended. Then all of them hear it, in their order.
#[derive(Debug)]
pub(super) struct Waiting(Mutex<Option<BTreeMap<u64, oneshot::Sender<Message>>>>);

impl Waiting {
    fn new() -> Self {
        Self(Mutex::new(Some(BTreeMap::new())))
    }

    fn lock(&self) -> MutexGuard<'_, Option<BTreeMap<u64, oneshot::Sender<Message>>>> {
        // The map is changed by single calls: a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, request: u64) -> Option<oneshot::Receiver<Message>> {
        let mut waiting = self.lock();
        let waiting = waiting.as_mut().filter(|waiting| waiting.len() < OUTSTANDING_MAX)?;
        let (sender, answer) = oneshot::channel();
        waiting.insert(request, sender);
        Some(answer)
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lock().as_ref().map_or(0, BTreeMap::len)
    }

    fn leave(&self, request: u64) -> Option<oneshot::Sender<Message>> {
        self.lock().as_mut()?.remove(&request)
    }

    /// Hands an answer to whoever waits for it, if anybody still does.
    pub(super) fn resolve(&self, answer: Message) {
        if let Some(waiter) = self.leave(answer.request) {
            let _gone = waiter.send(answer);
        }
    }
}

/// A question under way. Dropping it forgets the question.
#[derive(Debug)]
pub(crate) struct Asked {
    request: u64,
    waiting: Arc<Waiting>,
    answer: oneshot::Receiver<Message>,
}

impl Asked {
    /// Waits for the answer's head.
    pub(crate) async fn answer(&mut self) -> Result<Bytes, CallError> {
        let answer = (&mut self.answer).await.map_err(|_| CallError::Broken)?;
        match Kind::from_number(answer.kind) {
            Some(Kind::Answer) => Ok(answer.head),
            Some(Kind::Refusal) => {
                let refusal = answer.head.first().copied().and_then(Refusal::from_number);
                Err(refusal.map_or(CallError::Unreadable, CallError::Refused))
            }
            _ => Err(CallError::Unreadable),
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.waiting.leave(self.request);
    }
}

impl Link {
    pub(crate) fn new(peer: u64) -> Self {
        Self {
            peer,
            next_request: AtomicU64::new(1),
            lanes: [const { Mutex::new(None) }; 4],
            is_turned_away: AtomicBool::new(false),
            found: Mutex::new(None),
            may_lead: AtomicBool::new(true),
        }
    }

    /// Whether questions can be sent.
    pub(crate) fn is_up(&self, lane: Lane) -> bool {
        self.lane(lane).is_some()
    }

    /// The peer's data directory, or why it is not welcome; nothing before it has answered.
    pub(crate) fn found(&self) -> Option<Result<DiskId, TurnedAway>> {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_found(&self, found: Result<DiskId, TurnedAway>) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
    }

    /// Whether the peer may lead, as far as it has said.
    pub(crate) fn may_lead(&self) -> bool {
        self.may_lead.load(Ordering::Acquire)
    }

    pub(crate) fn set_may_lead(&self, may_lead: bool) {
        self.may_lead.store(may_lead, Ordering::Release);
    }

    /// The peer knows this node with another data directory.
    pub(crate) fn is_turned_away(&self) -> bool {
        self.is_turned_away.load(Ordering::Acquire)
    }

    pub(super) fn set_turned_away(&self) {
        self.is_turned_away.store(true, Ordering::Release);
    }

    /// Sends a question, waiting only for room in the queue. Questions of one lane arrive in the order of these calls.
    pub(crate) async fn ask(&self, lane: Lane, mut question: Message) -> Result<Asked, CallError> {
        let connection = self.lane(lane).clone().ok_or(CallError::Unreachable)?;
        let request = self.next_request.fetch_add(1, Ordering::Relaxed);
        question.request = request;
        let answer = connection.waiting.enter(request).ok_or(CallError::Unreachable)?;
        let asked = Asked { request, waiting: connection.waiting, answer };
        connection.queue.send(question).await.map_err(|_| CallError::Unreachable)?;
        Ok(asked)
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn call(
        &self,
        lane: Lane,
        question: Message,
        within: Duration,
    ) -> Result<Bytes, CallError> {
        let both = async { self.ask(lane, question).await?.answer().await };
        runtime::timeout(within, both).await.unwrap_or(Err(CallError::TimedOut))
    }

    /// Puts a lane into service. The caller carries what comes out of the queue to the peer, and the peer's answers to
    /// [`Waiting::resolve`], until the connection ends and it calls [`Self::disconnect`].
    pub(super) fn connect(&self, lane: Lane) -> (mpsc::Receiver<Message>, Arc<Waiting>) {
        let (queue, outbound) = mpsc::channel(QUEUE_MESSAGES_MAX);
        let waiting = Arc::new(Waiting::new());
        *self.lane(lane) = Some(Connection { queue, waiting: Arc::clone(&waiting) });
        (outbound, waiting)
    }

    /// Takes a lane out of service: everybody who waits on it hears that it broke.
    pub(super) fn disconnect(&self, lane: Lane) {
        let connection = self.lane(lane).take();
        if let Some(connection) = connection {
            connection.waiting.lock().take();
        }
    }

    fn lane(&self, lane: Lane) -> MutexGuard<'_, Option<Connection>> {
        let [bulk, control, snapshot, mail] = &self.lanes;
        let slot = match lane {
            Lane::Bulk => bulk,
            Lane::Control => control,
            Lane::Snapshot => snapshot,
            Lane::Mail => mail,
        };
        slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
