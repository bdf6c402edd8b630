//! Who waits: frames of which not every record is answered yet.
//!
//! A record is answered once; the first reply stands. A frame is answered when its last record is, or at its deadline.

use std::collections::BTreeSet;
use std::time::Instant;

use group_commit::Ticket;
use hashbrown::HashMap;
use wire::Reply;
use wire::reply::{self, REPLY_BYTES};

use crate::desk::{FrameIn, SessionId};

/// A frame's number on this desk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FrameNo(pub(crate) u64);

/// One record that waits for its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub(crate) frame: FrameNo,
    pub(crate) position: u32,
}

/// A frame whose every record is answered.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) session: SessionId,
    pub(crate) id: u64,
    pub(crate) replies: Vec<u8>,
    /// Whether a reply is NO_LEADER, so that the leader should be named.
    pub(crate) names_leader: bool,
}

/// A frame that waits.
#[derive(Debug)]
struct Pending {
    session: SessionId,
    id: u64,
    replies: Vec<Option<Reply>>,
    missing: usize,
    deadline_ms: u64,
    arrived: Instant,
    tickets: Vec<Ticket>,
    names_leader: bool,
}

/// The frames that wait.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    waiting: HashMap<FrameNo, Pending>,
    deadlines: BTreeSet<(u64, FrameNo)>,
    next: u64,
    /// A number that is to be had again.
    #[cfg(planted)]
    given_up: Option<FrameNo>,
}

impl Frames {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Begins to wait for `count` replies.
    pub(crate) fn begin(&mut self, frame: &FrameIn, count: usize) -> FrameNo {
        let FrameIn { session, id, deadline_ms, arrived, .. } = *frame;
        self.next = self.next.wrapping_add(1);
        let number = FrameNo(self.next);
        #[cfg(planted)]
        let number = self.given_up.take().unwrap_or(number);
        self.deadlines.insert((deadline_ms, number));
        let pending = Pending {
            session,
            id,
            replies: vec![None; count],
            missing: count,
            deadline_ms,
            arrived,
            tickets: Vec::new(),
            names_leader: false,
        };
        self.waiting.insert(number, pending);
        number
    }

    /// Remembers that part of a frame waits for a batch under this ticket.
    pub(crate) fn hold_ticket(&mut self, frame: FrameNo, ticket: Ticket) {
        if let Some(pending) = self.waiting.get_mut(&frame) {
            pending.tickets.push(ticket);
        }
    }

    pub(crate) fn is_waiting(&self, frame: FrameNo) -> bool {
        self.waiting.contains_key(&frame)
    }

    /// When a frame that waits arrived.
    pub(crate) fn arrived(&self, frame: FrameNo) -> Option<Instant> {
        self.waiting.get(&frame).map(|pending| pending.arrived)
    }

    /// How many records of a frame are not answered yet.
    pub(crate) fn missing(&self, frame: FrameNo) -> usize {
        self.waiting.get(&frame).map_or(0, |pending| pending.missing)
    }

    /// Writes a reply; gives the frame back when it was the last one. A reply to nobody is dropped.
    pub(crate) fn answer(&mut self, waiter: Waiter, reply: &Reply) -> Option<Answered> {
        let pending = self.waiting.get_mut(&waiter.frame)?;
        let position = usize::try_from(waiter.position).ok()?;
        let place = pending.replies.get_mut(position)?;
        if place.is_some() {
            return None;
        }
        *place = Some(*reply);
        pending.names_leader |= *reply == Reply::Failure(wire::Failure::NoLeader);
        pending.missing = pending.missing.saturating_sub(1);
        if pending.missing > 0 {
            return None;
        }
        self.end(waiter.frame)
    }

    /// The records of a frame that are not answered yet, all of them with the same reply.
    pub(crate) fn answer_rest(&mut self, frame: FrameNo, reply: &Reply) -> Option<Answered> {
        let count = self.waiting.get(&frame)?.replies.len();
        #[cfg(planted)]
        if ledger::Plant::StaleWaiter.is_on() {
            self.given_up = Some(frame);
        }
        let positions = 0..u32::try_from(count).unwrap_or(u32::MAX);
        positions
            .fold(None, |ended, position| self.answer(Waiter { frame, position }, reply).or(ended))
    }

    /// The next frame whose deadline has come, with the tickets under which parts of it may still wait.
    pub(crate) fn overdue(&self, now_ms: u64) -> Option<(FrameNo, Vec<Ticket>)> {
        let (deadline_ms, frame) = self.deadlines.first()?;
        if *deadline_ms > now_ms {
            return None;
        }
        let tickets = self.waiting.get(frame).map(|pending| pending.tickets.clone());
        Some((*frame, tickets.unwrap_or_default()))
    }

    /// Any frame that waits.
    pub(crate) fn any(&self) -> Option<FrameNo> {
        self.deadlines.first().map(|(_, frame)| *frame)
    }

    fn end(&mut self, frame: FrameNo) -> Option<Answered> {
        let Pending { session, id, replies, deadline_ms, names_leader, .. } =
            self.waiting.remove(&frame)?;
        self.deadlines.remove(&(deadline_ms, frame));
        let mut bytes = Vec::with_capacity(replies.len().saturating_mul(REPLY_BYTES));
        for reply in replies.iter().flatten() {
            reply::put(reply, &mut bytes);
        }
        let replies = bytes;
        Some(Answered { session, id, replies, names_leader })
    }
}
