//! One call at a door: a place for each of its requests, until all have their replies.

use std::sync::{Arc, Mutex, MutexGuard};

use ledger::Answer;
use runtime::Instant;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tonic::Status;
use wire::convert::{self, Made, Refusal};
use wire::proto::v1;
use wire::{Failure, Reply, status};

use crate::budget::Permit;
use crate::meter::{Door, Meter, Told};
use crate::trace::Traced;

/// What stands at one place of a call.
#[derive(Debug)]
enum Place {
    /// Nothing yet.
    Waiting,
    /// What came from the shard, or why nothing did.
    Replied(Reply),
    /// The edge's own refusal.
    Refused(Refusal),
}

impl Place {
    fn told(&self) -> Told {
        match self {
            Self::Replied(Reply::Answer(Answer { outcome: Ok(_), .. })) => Told::Posted,
            Self::Replied(Reply::Answer(Answer { outcome: Err(_), .. })) => Told::Rejected,
            Self::Replied(Reply::Failure(failure)) if !failure.is_unknown() => Told::Failed,
            Self::Replied(Reply::Failure(_)) | Self::Waiting => Told::Unknown,
            Self::Refused(_) => Told::Refused,
        }
    }
}

/// Where a finished call goes.
#[derive(Debug)]
pub(crate) enum Way {
    /// To the one who waits for it.
    Once(oneshot::Sender<Finished>),
    /// Onto a session's stream of answers.
    Session {
        /// The frame's number.
        id: u64,
        /// The stream of answers; `room` bounds it.
        answers: mpsc::UnboundedSender<Result<(u64, Finished), Status>>,
        /// The frame's share of what its session may have in flight.
        room: OwnedSemaphorePermit,
    },
}

impl Way {
    const fn door(&self) -> Door {
        match self {
            Self::Once(_) => Door::Call,
            Self::Session { .. } => Door::Session,
        }
    }
}

/// What a call's caller is owed besides the answer.
#[derive(Debug)]
pub(crate) struct Caller {
    /// When its caller stops waiting.
    pub(crate) deadline: Instant,
    /// Its trace, if it has one.
    pub(crate) trace: Option<Arc<Traced>>,
}

impl From<Instant> for Caller {
    /// A caller whose call is not traced.
    fn from(deadline: Instant) -> Self {
        Self { deadline, trace: None }
    }
}

/// A call whose requests wait for their replies.
#[derive(Debug)]
pub(crate) struct Call {
    /// When its caller stops waiting.
    pub(crate) deadline: Instant,
    /// Its trace, if it has one.
    pub(crate) trace: Option<Arc<Traced>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    places: Vec<Place>,
    /// Places that wait, and one more while the call is being opened.
    missing: usize,
    /// What happens when nothing is missing; there once every request is on its way.
    end: Option<End>,
}

#[derive(Debug)]
struct End {
    made: Vec<(usize, Made)>,
    permit: Permit,
    way: Way,
    begun: Instant,
    meter: Arc<Meter>,
}

/// A call whose requests are being routed: it cannot finish before [`Opening::close`].
#[derive(Debug)]
pub(crate) struct Opening {
    call: Arc<Call>,
    end: End,
}

impl Opening {
    pub(crate) fn new(
        caller: impl Into<Caller>,
        requests: usize,
        (permit, meter): (Permit, Arc<Meter>),
        way: Way,
    ) -> Self {
        let places = std::iter::repeat_with(|| Place::Waiting).take(requests).collect();
        let missing = requests.saturating_add(1);
        let state = Mutex::new(State { places, missing, end: None });
        let Caller { deadline, trace } = caller.into();
        let call = Arc::new(Call { deadline, trace, state });
        let end = End { made: Vec::new(), permit, way, begun: Instant::now(), meter };
        Self { call, end }
    }

    pub(crate) const fn call(&self) -> &Arc<Call> {
        &self.call
    }

    /// Takes a share of the budget for one more request.
    #[must_use]
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        self.end.permit.grow(bytes)
    }

    /// Remembers what the request at this place makes. Places come in order.
    pub(crate) fn makes(&mut self, place: usize, made: Option<Made>) {
        self.end.made.extend(made.map(|made| (place, made)));
    }

    /// The edge refuses the request at this place.
    pub(crate) fn refuse(&self, place: usize, refusal: Refusal) {
        let mut state = self.call.lock();
        state.put(place, Place::Refused(refusal));
        Call::finish(state);
    }

    /// Every request is on its way or refused.
    pub(crate) fn close(self) {
        let mut state = self.call.lock();
        state.end = Some(self.end);
        state.missing = state.missing.saturating_sub(1);
        Call::finish(state);
    }
}

impl State {
    /// The first word at a place stands.
    fn put(&mut self, place: usize, with: Place) {
        if let Some(at @ Place::Waiting) = self.places.get_mut(place) {
            *at = with;
            self.missing = self.missing.saturating_sub(1);
        }
    }
}

impl Call {
    /// Writes the replies to requests at these places.
    pub(crate) fn reply(&self, replies: impl IntoIterator<Item = (usize, Reply)>) {
        let mut state = self.lock();
        for (place, reply) in replies {
            state.put(place, Place::Replied(reply));
        }
        Self::finish(state);
    }

    fn finish(mut state: MutexGuard<'_, State>) {
        if state.missing > 0 {
            return;
        }
        let Some(End { made, permit, way, begun, meter }) = state.end.take() else { return };
        let places = std::mem::take(&mut state.places);
        drop(state);
        meter.answered(way.door(), begun.elapsed(), places.iter().map(Place::told));
        let finished = |room| Finished { places, made, _held: (permit, room) };
        // A receiver that is gone has hung up, and nobody needs the answer.
        match way {
            Way::Once(to) => drop(to.send(finished(None))),
            Way::Session { id, answers, room } => {
                drop(answers.send(Ok((id, finished(Some(room))))));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds a call")
    }
}

/// A call that has every reply. Until it is dropped it counts as in flight: a slow reader's answers take memory too.
#[derive(Debug)]
pub(crate) struct Finished {
    places: Vec<Place>,
    made: Vec<(usize, Made)>,
    _held: (Permit, Option<OwnedSemaphorePermit>),
}

impl Finished {
    /// What became of the only request of a unary call.
    pub(crate) fn posted(mut self) -> Result<v1::Posted, Status> {
        let made = self.made.first().map(|(_, made)| *made);
        match self.places.pop() {
            Some(Place::Replied(Reply::Answer(Answer { outcome: Ok(posted), replayed }))) => {
                Ok(convert::posted(&posted, replayed, made))
            }
            Some(Place::Replied(Reply::Answer(Answer { outcome: Err(no), replayed }))) => {
                Err(status::rejection(&no, replayed))
            }
            Some(Place::Replied(Reply::Failure(failure))) => Err(status::failure(failure, None)),
            Some(Place::Refused(refusal)) => Err(status::refusal(&refusal)),
            Some(Place::Waiting) | None => Err(status::failure(Failure::OutcomeUnknown, None)),
        }
    }

    /// What became of each request, in order, as a link would say it.
    #[cfg(feature = "simulated")]
    pub(crate) fn replies(&self) -> Vec<Reply> {
        let said = |place: &Place| match place {
            Place::Replied(reply) => *reply,
            Place::Refused(_) => Reply::Failure(Failure::InvalidRecord),
            Place::Waiting => Reply::Failure(Failure::OutcomeUnknown),
        };
        self.places.iter().map(said).collect()
    }

    /// What became of each request, in order.
    pub(crate) fn outcomes(&self) -> Vec<v1::Outcome> {
        let mut made = self.made.iter().peekable();
        let outcome = |(place, said): (usize, &Place)| {
            let made = made.next_if(|(at, _)| *at == place).map(|(_, made)| *made);
            match said {
                Place::Replied(reply) => convert::outcome(reply, made),
                Place::Refused(refusal) => v1::Outcome::from(refusal),
                Place::Waiting => convert::outcome(&Reply::Failure(Failure::OutcomeUnknown), made),
            }
        };
        self.places.iter().enumerate().map(outcome).collect()
    }
}
