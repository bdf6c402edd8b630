//! The task that takes a link's frames to the leader and their answers back.
//!
//! A frame goes out when fewer than a few are in flight; no timer waits for more. When the stream ends, whatever was in
//! flight is *perhaps proposed*: it goes first on the next stream, with the same keys, and the ledger's answer is the
//! same as if the stream had held.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use ledger::Plant;
use runtime::{Instant, sleep_until};
use wire::Failure;
use wire::proto::cluster::{FrameAnswer, Leader};

use super::frame::Frame;
use super::search::{Search, pause};
use super::{Link, Suspicion};
use crate::dial::Wire;
use crate::meter::Meter;

/// How long the frames in flight may still be answered after the node has said that it does not lead: an answer now is
/// worth more than a repetition elsewhere, but the leader's callers wait.
const LINGER: Duration = Duration::from_millis(50);

/// How much sooner than its callers a node stops waiting at the most: what it then says arrives in time.
const MARGIN_MAX: Duration = Duration::from_millis(20);

/// How long after its last caller's deadline a frame may stay unanswered before its stream counts as broken: a node
/// answers each frame by then, so this one never will.
const OVERDUE: Duration = Duration::from_secs(1);

/// Drives one link.
#[derive(Debug)]
pub(crate) struct Driver {
    link: Arc<Link>,
    search: Arc<Search>,
    in_flight: VecDeque<(u64, Frame)>,
    in_flight_max: usize,
    next_id: u64,
    /// Whom the last leader named in its place.
    hint: Option<Leader>,
    /// Attempts to find a leader since one last answered.
    failed: u32,
    /// When a stream whose node does not lead any more is left.
    leave_at: Option<Instant>,
    meter: Arc<Meter>,
}

/// Why a stream is left.
enum Leave {
    /// It broke, or its node made no sense.
    Broken,
    /// Its node does not lead.
    NotLeader,
}

impl Driver {
    pub(crate) fn new(link: Arc<Link>, search: Arc<Search>, in_flight_max: usize) -> Self {
        Self {
            link,
            search,
            in_flight: VecDeque::new(),
            in_flight_max,
            next_id: 0,
            hint: None,
            failed: 0,
            leave_at: None,
            meter: Arc::default(),
        }
    }

    /// The same, counting what it does.
    pub(crate) fn with_meter(self, meter: Arc<Meter>) -> Self {
        Self { meter, ..self }
    }

    /// Runs until it is dropped.
    pub(crate) async fn run(mut self) {
        let shard = self.link.shard;
        loop {
            let stream = self.find().await;
            let node = stream.node;
            tracing::info!(shard, node, "the shard's leader is found");
            self.link.leader.send_replace(Some(node));
            match self.ride(stream).await {
                Leave::Broken => tracing::warn!(shard, node, "the stream to the leader broke"),
                Leave::NotLeader => tracing::info!(shard, node, "the node does not lead any more"),
            }
            self.link.leader.send_replace(None);
            self.recall();
        }
    }

    /// Looks for the leader until there is one. Meanwhile deadlines go on passing.
    async fn find(&mut self) -> Wire {
        loop {
            // The first attempt after an answer is free; two nodes that name each other are not asked in a circle.
            let pause = pause(self.failed);
            self.failed = self.failed.saturating_add(1);
            let search = Arc::clone(&self.search);
            let looking = search.leader(self.hint.take(), pause);
            tokio::pin!(looking);
            let found = loop {
                tokio::select! {
                    biased;
                    found = &mut looking => break found,
                    () = self.until(self.link.lock().deadline()) => {
                        self.expire(Failure::NoLeader);
                    }
                }
            };
            if let Some(stream) = found {
                return stream;
            }
        }
    }

    /// Carries frames and answers until the stream is left.
    async fn ride(&mut self, mut stream: Wire) -> Leave {
        self.link.lock().suspicion = None;
        loop {
            if let Some(leave) = self.turn(&stream) {
                return leave;
            }
            tokio::select! {
                biased;
                answer = stream.answers.next() => match answer {
                    Some(Ok(answer)) => {
                        if self.land(&answer).is_none() {
                            return Leave::Broken;
                        }
                    }
                    Some(Err(_)) | None => return Leave::Broken,
                },
                () = self.until(self.due()) => {}
            }
        }
    }

    /// What there is to do besides waiting.
    fn turn(&mut self, stream: &Wire) -> Option<Leave> {
        let now = Instant::now();
        self.expire(Failure::DeadlinePassed);
        self.heed_suspicion(stream.node);
        let overdue = |(_, frame): &(u64, Frame)| {
            frame.latest.checked_add(OVERDUE).is_some_and(|at| at <= now)
        };
        if self.in_flight.iter().any(overdue) {
            return Some(Leave::Broken);
        }
        match self.leave_at {
            Some(at) if at <= now || self.in_flight.is_empty() => return Some(Leave::NotLeader),
            Some(_) => return None,
            None => {}
        }
        while self.in_flight.len() < self.in_flight_max {
            let Some(frame) = self.link.lock().next(now) else { break };
            if let Some(leave) = self.send(stream, frame, now) {
                return Some(leave);
            }
        }
        None
    }

    /// Sends a frame; the stream is to be left when it takes none.
    fn send(&mut self, stream: &Wire, mut frame: Frame, now: Instant) -> Option<Leave> {
        self.next_id = self.next_id.wrapping_add(1);
        let left = frame.latest.saturating_duration_since(now);
        let margin = left.checked_div(10).unwrap_or(left).min(MARGIN_MAX);
        let left = left.saturating_sub(margin).as_millis();
        let message = wire::proto::cluster::Frame {
            id: self.next_id,
            shard: self.link.shard.into(),
            timeout_ms: u32::try_from(left).unwrap_or(u32::MAX),
            count: u32::try_from(frame.len()).expect("a frame has a bound"),
            records: frame.records.clone(),
            traceparents: frame.traces().filter_map(|traced| traced.parent()).collect(),
        };
        self.meter.sent(if frame.sends > 0 { frame.len() } else { 0 });
        frame.sends = frame.sends.saturating_add(1);
        frame.sent = Some(now);
        self.in_flight.push_back((self.next_id, frame));
        stream.frames.try_send(message).err().map(|_| Leave::Broken)
    }

    /// Takes an answer; `None` when it makes no sense, and the stream with it.
    fn land(&mut self, answer: &FrameAnswer) -> Option<()> {
        let is_its = |(id, _): &(u64, Frame)| *id == answer.id || Plant::AnswerInTurn.is_on();
        let at = self.in_flight.iter().position(is_its)?;
        let count = self.in_flight.get(at).map(|(_, frame)| frame.len())?;
        let replies = wire::reply::decode(&answer.answers, count).ok()?;
        let replies = replies.collect::<Result<Vec<_>, _>>().ok()?;
        let (_, mut frame) = self.in_flight.remove(at)?;

        let now = Instant::now();
        if let Some(sent) = frame.sent {
            self.meter.heard(now.saturating_duration_since(sent));
            frame.traces().for_each(|traced| traced.heard(sent, frame.sends, self.link.shard));
        }
        let heard = frame.hear(&replies, now);
        if heard.answered {
            self.failed = 0;
        }
        if heard.not_leader {
            self.leave(answer.leader.clone(), now);
        }
        if let Some(mut rest) = frame.rest() {
            // What is not taken elsewhere waits: the node is full, or going.
            let wait = if heard.not_leader { Duration::ZERO } else { pause(rest.sends.into()) };
            rest.not_before = now.checked_add(wait);
            self.link.lock().push_again(rest);
        }
        Some(())
    }

    /// The node does not lead: nothing more goes there.
    fn leave(&mut self, instead: Option<Leader>, now: Instant) {
        self.hint = instead.or_else(|| self.hint.take());
        if self.leave_at.is_none() {
            self.leave_at = now.checked_add(LINGER);
        }
    }

    fn heed_suspicion(&mut self, node: u64) {
        let suspicion = self.link.lock().suspicion.take();
        if let Some(Suspicion { node: suspect, instead }) = suspicion
            && suspect == node
        {
            self.leave(instead, Instant::now());
        }
    }

    /// Takes back what was in flight on a stream that is left.
    fn recall(&mut self) {
        self.leave_at = None;
        let lost = self.in_flight.drain(..).filter_map(|(_, mut frame)| {
            frame.lose();
            frame.rest()
        });
        self.link.lock().recall(lost.collect::<Vec<_>>().into_iter());
    }

    /// Tells those whose deadline has come what is known; `otherwise`, of what was never sent.
    fn expire(&mut self, otherwise: Failure) {
        let now = Instant::now();
        for (_, frame) in &mut self.in_flight {
            frame.expire(now, if_in_flight());
        }
        self.link.lock().expire(now, otherwise);
    }

    /// When something is next to be done without anybody asking, on a stream.
    fn due(&self) -> Option<Instant> {
        let frames = self.in_flight.iter().map(|(_, frame)| frame);
        let deadlines = frames.clone().filter_map(|frame| frame.earliest);
        let overdue = frames.filter_map(|frame| frame.latest.checked_add(OVERDUE));
        let queue = self.link.lock();
        // Without room the end of a pause changes nothing; an answer makes room.
        let has_room = self.in_flight.len() < self.in_flight_max && self.leave_at.is_none();
        let pause_end = has_room.then(|| queue.pause_end()).flatten();
        deadlines.chain(overdue).chain(self.leave_at).chain(pause_end).chain(queue.deadline()).min()
    }

    /// Until then, or until something new is pushed.
    async fn until(&self, due: Option<Instant>) {
        let then = async {
            match due {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.link.wake.notified() => {}
            () = then => {}
        }
    }
}

/// What is known of a request that is in flight when its deadline comes.
fn if_in_flight() -> Failure {
    if Plant::ExpireFlight.is_on() { Failure::DeadlinePassed } else { Failure::OutcomeUnknown }
}
