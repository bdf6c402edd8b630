//! The streams between gateways and nodes: they keep their order and double nothing, as TCP does, and they break.
//!
//! A stream's frames come one after the other. What the weather loses is sent again after a while, or breaks the stream. It
//! breaks too when its node dies or the nemesis wants it; and when the other end has given no sign of life for two seconds,
//! as when the power is gone, the process stands still or a way is cut. Both ends learn of it, but not what had arrived
//! before: of what was on its way, in half of all cases all still arrives, up to seconds late.
//!
//! On the node's side of a stream is what the gRPC service does there: each frame goes to its shard's door.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use consensus::simulated::Weather;
use futures::StreamExt;
use runtime::simulated::{self, Life};
use shard::SessionId;
use tokio::sync::{Notify, mpsc};
use tonic::Status;
use wire::proto::cluster::{Frame, FrameAnswer};

use crate::chance::Chance;
use crate::cluster::Cluster;
use crate::driver::{Ask, Door};
use crate::host::Host;

/// How long until what was lost is sent again: each time longer. After the last the stream breaks.
const AGAIN_AFTER_MS: [u64; 3] = [200, 400, 800];

/// Of a thousand losses, so many break a stream at once.
const LOSS_BREAKS: u64 = 250;

/// How often the other end is asked for a sign of life, and how long it may give none.
const PING_EVERY: Duration = Duration::from_millis(500);
const SILENCE_MAX: Duration = Duration::from_secs(2);

/// Of a thousand streams that break, on so many everything still arrives.
const AIR_ARRIVES: u64 = 500;

/// How much later, in milliseconds.
const AIR_LATE_MS: u64 = 2_500;

/// Answers that one stream may have on their way: as many as a node's service takes frames.
const ANSWERS_MAX: usize = 64;

/// All streams of a run. Clones are the same ones.
#[derive(Clone)]
pub(crate) struct Wires(Arc<Shared>);

struct Shared {
    /// The network's own: what it carries outlives whoever sent it.
    life: Life,
    state: Mutex<State>,
}

struct State {
    chance: Chance,
    opened: u64,
    /// The streams that are open: their gateway, their node, and how each is broken.
    open: BTreeMap<u64, (u64, u64, Arc<Notify>)>,
}

/// One stream's ends.
pub(crate) struct Ends {
    pub(crate) frames: mpsc::Sender<Frame>,
    pub(crate) answers: mpsc::Receiver<Result<FrameAnswer, Status>>,
}

impl Wires {
    /// None yet.
    pub(crate) fn new(chance: Chance) -> Self {
        let state = State { chance, opened: 0, open: BTreeMap::new() };
        Self(Arc::new(Shared { life: Life::default(), state: Mutex::new(state) }))
    }

    /// Breaks every stream for which this holds, given its gateway and its node. Says how many.
    pub(crate) fn break_all(&self, which: impl Fn(u64, u64) -> bool) -> usize {
        let state = self.lock();
        let broken = state.open.values().filter(|(gateway, node, _)| which(*gateway, *node));
        broken.map(|(_, _, wire)| wire.notify_one()).count()
    }

    /// Opens a stream from a gateway to a node, on which so many frames may wait; `None` when nobody is there.
    pub(crate) async fn open(
        &self,
        cluster: Cluster,
        (gateway, node): (u64, u64),
        frames: usize,
    ) -> Option<Ends> {
        self.carry(&cluster, (gateway, node)).await?;
        let host = cluster.host(node)?;
        // A process that stands still takes no stream.
        host.life.live(std::future::ready(())).await;
        self.carry(&cluster, (node, gateway)).await?;
        let (frames, outgoing) = mpsc::channel(frames);
        let (told, answers) = mpsc::channel(ANSWERS_MAX);
        let broken = Arc::new(Notify::new());
        let number = {
            let mut state = self.lock();
            state.opened = state.opened.saturating_add(1);
            let number = state.opened;
            state.open.insert(number, (gateway, node, Arc::clone(&broken)));
            number
        };
        cluster.plan.trace.note(format_args!("gateway {gateway}: stream {number} to node {node}"));
        let (wires, way) = (self.clone(), (gateway, node));
        let wire = Wire { wires, cluster, host, way, number, begun: BTreeMap::new() };
        self.0.life.spawn(wire.keep(broken, outgoing, told));
        Some(Ends { frames, answers })
    }

    /// Carries one thing one way, however often it must be sent. `None`: it never arrives.
    pub(crate) async fn carry(&self, cluster: &Cluster, (from, to): (u64, u64)) -> Option<()> {
        for again_after in AGAIN_AFTER_MS {
            if let Some(late) = cluster.sky.passage(from, to).copies.first() {
                simulated::sleep(*late).await;
                return Some(());
            }
            simulated::sleep(Duration::from_millis(again_after)).await;
            if self.lock().chance.happens(LOSS_BREAKS) {
                return None;
            }
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream that is open.
struct Wire {
    wires: Wires,
    cluster: Cluster,
    /// The process that took it.
    host: Arc<Host>,
    /// Its gateway and its node.
    way: (u64, u64),
    number: u64,
    /// The doors of the shards that it has spoken to.
    begun: BTreeMap<u32, Door>,
}

impl Wire {
    /// Its whole life.
    async fn keep(
        mut self,
        broken: Arc<Notify>,
        mut outgoing: mpsc::Receiver<Frame>,
        told: mpsc::Sender<Result<FrameAnswer, Status>>,
    ) {
        let (out, answered) = mpsc::channel(ANSWERS_MAX);
        let mut air = VecDeque::new();
        let (silence, back) = (self.silence(), self.back(answered, told));
        tokio::select! {
            biased;
            () = broken.notified() => {}
            () = silence => {}
            () = back => {}
            () = self.there(&mut outgoing, &mut air, &out) => {}
        }
        let (gateway, node) = self.way;
        let number = self.number;
        self.wires.lock().open.remove(&number);
        self.cluster
            .plan
            .trace
            .note(format_args!("gateway {gateway}: stream {number} to node {node} ends"));
        outgoing.close();
        let late = {
            let chance = &mut self.wires.lock().chance;
            chance.happens(AIR_ARRIVES).then(|| chance.time(0, AIR_LATE_MS))
        };
        if let Some(late) = late {
            simulated::sleep(late).await;
            while let Some(frame) = air.pop_front().or_else(|| outgoing.try_recv().ok()) {
                self.hand_on(frame, &out).await;
            }
        }
        for door in self.begun.values() {
            // A door that is gone has no streams any more.
            let _gone = door.try_send(Ask::End(self.session()));
        }
    }

    /// Ends when the node gives no sign of life.
    fn silence(&self) -> impl Future<Output = ()> + Send + use<> {
        let (cluster, host, (gateway, node)) =
            (self.cluster.clone(), Arc::clone(&self.host), self.way);
        async move {
            let mut silent = Duration::ZERO;
            while silent < SILENCE_MAX {
                simulated::sleep(PING_EVERY).await;
                let sky = &cluster.sky;
                let is_there = match cluster.host(node) {
                    // Whoever is there now knows nothing of it.
                    Some(other) if !Arc::ptr_eq(&other, &host) => return,
                    Some(_) => !host.life.is_paused(),
                    None => false,
                };
                let hears = is_there && sky.is_open(gateway, node) && sky.is_open(node, gateway);
                silent = if hears { Duration::ZERO } else { silent.saturating_add(PING_EVERY) };
            }
        }
    }

    /// Carries answers to the gateway, until one does not arrive or nobody hears.
    fn back(
        &self,
        mut answered: mpsc::Receiver<FrameAnswer>,
        told: mpsc::Sender<Result<FrameAnswer, Status>>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (wires, cluster, (gateway, node)) =
            (self.wires.clone(), self.cluster.clone(), self.way);
        async move {
            while let Some(answer) = answered.recv().await {
                let arrived = wires.carry(&cluster, (node, gateway)).await;
                if arrived.is_none() || told.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Carries frames to the node, until one does not arrive or is not taken. What is on its way stands in `air`.
    async fn there(
        &mut self,
        outgoing: &mut mpsc::Receiver<Frame>,
        air: &mut VecDeque<Frame>,
        out: &mpsc::Sender<FrameAnswer>,
    ) {
        while let Some(frame) = outgoing.recv().await {
            air.push_back(frame);
            if self.wires.carry(&self.cluster, self.way).await.is_none() {
                return;
            }
            let Some(frame) = air.pop_front() else { return };
            if !self.hand_on(frame, out).await {
                if self.cluster.host(self.way.1).is_none() {
                    // The power is gone: nobody says so.
                    std::future::pending::<()>().await;
                }
                return;
            }
        }
    }

    /// Hands a frame to its shard. `false`: nobody takes it here.
    async fn hand_on(&mut self, frame: Frame, out: &mpsc::Sender<FrameAnswer>) -> bool {
        let host = self.cluster.host(self.way.1).filter(|host| Arc::ptr_eq(host, &self.host));
        let shard = frame.shard;
        let door = u16::try_from(shard).ok().and_then(|shard| host?.door(shard));
        let Some(door) = door else { return false };
        let session = self.session();
        if self.begun.get(&shard).is_none_or(|begun| !begun.same_channel(&door)) {
            if door.send(Ask::Begin(session, out.clone())).await.is_err() {
                return false;
            }
            self.begun.insert(shard, door.clone());
        }
        door.send(Ask::Frame(session, frame)).await.is_ok()
    }

    /// A number that no stream of a client has.
    const fn session(&self) -> SessionId {
        SessionId(self.number | 1 << 63)
    }
}

/// A stream's answers, as a gateway reads them.
pub(crate) fn answers(
    mut of: mpsc::Receiver<Result<FrameAnswer, Status>>,
) -> futures::stream::BoxStream<'static, Result<FrameAnswer, Status>> {
    futures::stream::poll_fn(move |context| of.poll_recv(context)).boxed()
}
