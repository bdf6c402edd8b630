//! One connection of the session door: a stream of frames, so many of them open at a time.
//!
//! When the connection breaks, whatever was open on it may have been done: it is handed back and sent again under the
//! same keys, over this connection's successor or another.

use std::collections::{HashMap, VecDeque};

use h2::SendStream;
use prost::Message;

use super::answers::{FrameAnswer, Heard};
use super::gate::Gate;
use super::grpc::{Answers, CallError, Channel, MethodHead, put_message};
use super::lane::{ANSWER_TIMEOUT, RECONNECT_AFTER};
use super::load::{Item, SharedLoad, Turn};
use super::template::Template;

/// The door.
const PATH: &str = "/paycore.v1.Payments/Session";

/// As [`ANSWER_TIMEOUT`], on the run's clock.
const ANSWER_TIMEOUT_NS: u64 = ANSWER_TIMEOUT.as_secs() * 1_000_000_000;

/// How one connection sends.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    /// The gateway.
    pub(super) gate: Gate,
    /// Requests in one frame at the most.
    pub(super) batch: usize,
    /// Frames open at a time.
    pub(super) inflight: usize,
}

/// Sends until there is nothing to send any more.
pub(super) async fn run(load: SharedLoad, manner: Manner) {
    loop {
        if let Ok(mut session) = Session::open(&load, &manner).await {
            let end = session.drive().await;
            session.hand_back();
            if matches!(end, Ok(End::Over)) {
                return;
            }
        }
        if load.borrow_mut().is_over() {
            return;
        }
        tokio::time::sleep(RECONNECT_AFTER).await;
    }
}

enum End {
    Over,
    GivenUp,
}

struct Session<'a> {
    load: &'a SharedLoad,
    manner: &'a Manner,
    send: SendStream<bytes::Bytes>,
    answers: Answers,
    template: Template,
    open: HashMap<u64, Vec<Item>>,
    /// When each frame was sent, oldest first; those answered since are skipped.
    sent: VecDeque<(u64, u64)>,
    next_id: u64,
    _channel: Channel,
}

impl<'a> Session<'a> {
    async fn open(load: &'a SharedLoad, manner: &'a Manner) -> anyhow::Result<Self> {
        let channel = Channel::connect(&manner.gate).await?;
        let (send, answers) = channel.stream(&MethodHead::new(&manner.gate, PATH)?).await?;
        Ok(Self {
            load,
            manner,
            send,
            answers,
            template: Template::framed(),
            open: HashMap::new(),
            sent: VecDeque::new(),
            next_id: 1,
            _channel: channel,
        })
    }

    async fn drive(&mut self) -> Result<End, CallError> {
        loop {
            let turn = self.fill()?;
            if turn == Turn::Over && self.open.is_empty() {
                self.send.send_data(bytes::Bytes::new(), true)?;
                return Ok(End::Over);
            }
            let (clock, gives_up) = {
                let load = self.load.borrow();
                (load.clock, load.gives_up())
            };
            let wake = self.wake(turn, gives_up);
            tokio::select! {
                biased;
                message = self.answers.next() => {
                    let message = message?.ok_or(CallError::Nonsense("the stream ended"))?;
                    self.take(&message)?;
                }
                () = clock.sleep_until(wake) => {
                    let now = clock.now();
                    if self.load.borrow().gives_up().is_some_and(|gives_up| now >= gives_up) {
                        return Ok(End::GivenUp);
                    }
                    if self.oldest().is_some_and(|sent| now >= sent.saturating_add(ANSWER_TIMEOUT_NS)) {
                        return Err(CallError::Nonsense("no answer for too long"));
                    }
                }
            }
        }
    }

    /// Sends as many frames as may be open, all in one write.
    fn fill(&mut self) -> Result<Turn, CallError> {
        let mut bytes = Vec::new();
        let mut turn = Turn::Send;
        while self.open.len() < self.manner.inflight {
            let mut items = Vec::with_capacity(self.manner.batch);
            let mut load = self.load.borrow_mut();
            turn = load.take(self.manner.batch, &mut items);
            if turn != Turn::Send {
                break;
            }
            let id = self.next_id;
            self.next_id = id.saturating_add(1);
            put_message(&mut bytes, |to| {
                prost::encoding::uint64::encode(1, &id, to);
                for item in &items {
                    load.put(item.n, &self.template, to);
                }
            });
            self.sent.push_back((id, load.clock.now()));
            self.open.insert(id, items);
        }
        if !bytes.is_empty() {
            self.send.send_data(bytes.into(), false)?;
        }
        Ok(turn)
    }

    fn take(&mut self, message: &[u8]) -> Result<(), CallError> {
        let nonsense = CallError::Nonsense("no frame of answers");
        let Ok(FrameAnswer { id, outcomes }) = FrameAnswer::decode(message) else {
            return Err(nonsense);
        };
        let items =
            self.open.remove(&id).ok_or(CallError::Nonsense("an answer to no open frame"))?;
        if items.len() != outcomes.len() {
            self.open.insert(id, items);
            return Err(CallError::Nonsense("not one outcome for each request"));
        }
        let mut load = self.load.borrow_mut();
        let now = load.clock.now();
        for (item, outcome) in items.into_iter().zip(outcomes) {
            load.answered(item, &outcome.into(), now);
        }
        Ok(())
    }

    /// When the oldest frame that is open was sent.
    fn oldest(&mut self) -> Option<u64> {
        while let Some((id, sent)) = self.sent.front() {
            if self.open.contains_key(id) {
                return Some(*sent);
            }
            self.sent.pop_front();
        }
        None
    }

    /// When to look again though no answer has come.
    fn wake(&mut self, turn: Turn, gives_up: Option<u64>) -> u64 {
        let late = self.oldest().map(|sent| sent.saturating_add(ANSWER_TIMEOUT_NS));
        let next = match turn {
            Turn::Wait(then) => Some(then),
            Turn::Send | Turn::Over => None,
        };
        [late, next, gives_up].into_iter().flatten().min().unwrap_or(u64::MAX)
    }

    /// Whatever is open may have been done.
    fn hand_back(&mut self) {
        let mut load = self.load.borrow_mut();
        let now = load.clock.now();
        for item in self.open.drain().flat_map(|(_, items)| items) {
            load.answered(item, &Heard::nothing(), now);
        }
    }
}
