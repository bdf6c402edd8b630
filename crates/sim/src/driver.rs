//! An office's shell without actors: a loop that tells the office what comes, and does what it says.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use consensus::Leadership;
use runtime::simulated;
use shard::{Deed, Done, Office, Order, SessionId};
use tokio::sync::{mpsc, oneshot, watch};
use wire::proto::cluster::{Frame, FrameAnswer};

use crate::reigns::Reigns;
use crate::trace::Trace;

/// As often as the actor.
const TICK: Duration = Duration::from_millis(20);

/// What may wait for a driver; whoever asks waits for room.
const ASKS_MAX: usize = 4_096;

/// What comes to an office from outside.
pub(crate) enum Ask {
    /// A client's stream has begun.
    Begin(SessionId, mpsc::Sender<FrameAnswer>),
    /// A frame on it.
    Frame(SessionId, Frame),
    /// The stream has ended.
    End(SessionId),
    /// A letter, and who wants to know what became of it.
    Letter(Bytes, oneshot::Sender<Bytes>),
    /// Time has passed.
    Tick,
}

/// A shard's way in.
pub(crate) type Door = mpsc::Sender<Ask>;

/// Begins to drive an office within the life that is running now.
pub(crate) fn drive(
    office: Office,
    leadership: watch::Receiver<Leadership>,
    place: (u64, u16),
    (trace, reigns): (Trace, Reigns),
) -> Door {
    let (door, asks) = mpsc::channel(ASKS_MAX);
    let (ends, ended) = mpsc::unbounded_channel();
    let driver = Driver { office, ends, queues: BTreeMap::new(), place, trace, reigns };
    simulated::spawn(driver.run(leadership, asks, ended));
    let ticking = door.clone();
    simulated::spawn(async move {
        while ticking.send(Ask::Tick).await.is_ok() {
            simulated::sleep(TICK).await;
        }
    });
    door
}

struct Driver {
    office: Office,
    /// Bounded by the works under way, which the office bounds.
    ends: mpsc::UnboundedSender<Done>,
    /// What waits for contended accounts, and since which reign.
    queues: BTreeMap<u128, (u64, VecDeque<Order>)>,
    place: (u64, u16),
    trace: Trace,
    reigns: Reigns,
}

impl Driver {
    async fn run(
        mut self,
        mut leadership: watch::Receiver<Leadership>,
        mut asks: mpsc::Receiver<Ask>,
        mut ended: mpsc::UnboundedReceiver<Done>,
    ) {
        let now = *leadership.borrow_and_update();
        self.led_by(now);
        loop {
            tokio::select! {
                biased;
                changed = leadership.changed() => {
                    if changed.is_err() {
                        let deeds = self.office.end();
                        self.perform(deeds);
                        return;
                    }
                    let now = *leadership.borrow_and_update();
                    self.led_by(now);
                }
                Some(done) = ended.recv() => {
                    let deeds = self.office.done(done);
                    self.perform(deeds);
                }
                Some(ask) = asks.recv() => self.take(ask),
            }
        }
    }

    fn led_by(&mut self, leadership: Leadership) {
        if leadership.leads {
            let ((node, shard), term) = (self.place, leadership.term);
            self.trace.note(format_args!("node {node} leads shard {shard} in term {term}"));
            self.reigns.begin(shard, term, node);
        }
        let deeds = self.office.led_by(leadership);
        self.perform(deeds);
    }

    fn take(&mut self, ask: Ask) {
        let deeds = match ask {
            Ask::Begin(session, out) => {
                self.office.begin_session(session, out);
                return;
            }
            Ask::End(session) => {
                self.office.end_session(session);
                return;
            }
            Ask::Frame(session, frame) => self.office.execute(session, frame),
            Ask::Letter(letter, writer) => {
                let (deeds, answer) = self.office.deliver(&letter);
                simulated::spawn(async move {
                    // A writer that is gone writes again.
                    let _gone = writer.send(answer.await);
                });
                deeds
            }
            Ask::Tick => self.office.tick(),
        };
        self.perform(deeds);
    }

    fn perform(&mut self, deeds: Vec<Deed>) {
        for deed in deeds {
            match deed {
                Deed::Work(work) => {
                    let ends = self.ends.clone();
                    simulated::spawn(async move {
                        // The office is gone.
                        let _gone = ends.send(work.await);
                    });
                }
                Deed::Wait { account, orders, reign } => {
                    let (_, queue) =
                        self.queues.entry(account).or_insert_with(|| (reign, VecDeque::new()));
                    queue.extend(orders);
                }
                Deed::Room { account, orders, last } => self.make_room(account, orders, last),
                Deed::Forget => self.queues.clear(),
            }
        }
    }

    fn make_room(&mut self, account: u128, orders: u32, last: bool) {
        let Some((reign, queue)) = self.queues.get_mut(&account) else { return };
        let count = usize::try_from(orders).unwrap_or(usize::MAX).min(queue.len());
        let (reign, go) = (*reign, queue.drain(..count).collect());
        if last {
            self.queues.remove(&account);
        }
        let deeds = self.office.admit(reign, go);
        self.perform(deeds);
    }
}
