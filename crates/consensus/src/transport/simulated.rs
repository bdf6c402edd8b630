//! A network in memory: lanes that open and break, and messages that are late, lost, doubled or overtaken, as the
//! [`Weather`] has it.
//!
//! The dialler's side and the listener's are the code that gRPC carries: [`Link`] and [`Listener`]. Between them every
//! message, question or answer, asks the weather. A lane is as long up as both its nodes are and nobody breaks it; what is
//! in the air when it breaks may still arrive at the listener, and no answer comes back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::runtime::simulated::elapsed;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::link::Waiting;
use super::listener::Listener;
use super::proto::Greeting;
use super::roads::{Network, Roads};
use super::{Lane, Link, Message, QUEUE_MESSAGES_MAX};
use crate::desk::{Asker, Desk};
use crate::roster::{Roster, TurnedAway};
use crate::runtime;

/// How long a greeting may take.
const GREETING_MAX: Duration = Duration::from_secs(2);

/// Between two attempts to open a lane.
const PAUSE_MIN: Duration = Duration::from_millis(25);
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// Calls that a node may not have answered yet.
const CALLS_MAX: usize = 256;

/// What becomes of one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passage {
    /// After how long each of its copies arrives; it is lost when there is none.
    pub copies: Vec<Duration>,
    /// It may arrive before what was sent earlier on the same lane.
    pub overtakes: bool,
}

/// What the network does to messages. Asked in the order in which they are sent.
pub trait Weather: Send + Sync {
    /// Whether a lane from one node to another can be opened now.
    fn is_open(&self, from: u64, to: u64) -> bool;

    /// What becomes of a message on its way.
    fn passage(&self, from: u64, to: u64) -> Passage;
}

/// A network of simulated nodes. Clones are the same one.
#[derive(Clone)]
pub struct SimNetwork(Arc<Shared>);

struct Shared {
    weather: Arc<dyn Weather>,
    /// Where the nodes that are there take calls.
    nodes: Mutex<BTreeMap<u64, mpsc::Sender<Call>>>,
    /// The lanes that are up: dialler, listener, lane; and how each is broken.
    lanes: Mutex<BTreeMap<(u64, u64, Lane), Arc<Notify>>>,
}

/// Somebody wants to open a lane.
struct Call {
    greeting: Greeting,
    questions: mpsc::Receiver<Message>,
    answers: mpsc::Sender<Message>,
    greeted: oneshot::Sender<Result<Greeting, TurnedAway>>,
}

impl std::fmt::Debug for SimNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimNetwork").finish_non_exhaustive()
    }
}

impl SimNetwork {
    /// A network without nodes.
    #[must_use]
    pub fn new(weather: Arc<dyn Weather>) -> Self {
        let (nodes, lanes) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Shared { weather, nodes, lanes }))
    }

    /// The ways of a node that is opened on it.
    #[must_use]
    pub fn roads(&self) -> Roads {
        Roads::over(Arc::new(self.clone()))
    }

    /// Breaks every lane for which this holds, given its dialler and its listener. Says how many.
    pub fn break_lanes(&self, which: impl Fn(u64, u64) -> bool) -> usize {
        let lanes = lock(&self.0.lanes);
        let broken = lanes.iter().filter(|((from, to, _), _)| which(*from, *to));
        broken.map(|(_, lane)| lane.notify_one()).count()
    }

    /// A node is gone: nobody reaches it, and its lanes break.
    pub fn lose(&self, node: u64) {
        lock(&self.0.nodes).remove(&node);
        self.break_lanes(|from, to| from == node || to == node);
    }

    /// One lane's life, from its greeting to its end.
    async fn keep(&self, link: &Link, lane: Lane, roster: &Roster) {
        let (from, to) = (roster.node, link.peer);
        let weather = &self.0.weather;
        let place = lock(&self.0.nodes).get(&to).cloned();
        let Some(place) = place.filter(|_| weather.is_open(from, to) && weather.is_open(to, from))
        else {
            return;
        };
        let (asks, questions) = mpsc::channel(QUEUE_MESSAGES_MAX);
        let (answers, answered) = mpsc::channel(QUEUE_MESSAGES_MAX);
        let (greeted, greeting) = oneshot::channel();
        let ours = roster.greeting(to, lane.number());
        let call = Call { greeting: ours, questions, answers, greeted };
        let greeting = async {
            place.send(call).await.ok()?;
            greeting.await.ok()
        };
        let greeting = match runtime::timeout(GREETING_MAX, greeting).await {
            Ok(Some(Ok(greeting))) => greeting,
            Ok(Some(Err(away))) => {
                if matches!(away, TurnedAway::OtherDisk(_)) {
                    link.set_turned_away();
                    roster.tell();
                }
                return;
            }
            Ok(None) | Err(_) => return,
        };
        let found = roster.admit_listener(to, &greeting);
        link.set_found(found);
        if found.is_err() {
            return;
        }

        let broken = Arc::new(Notify::new());
        lock(&self.0.lanes).insert((from, to, lane), Arc::clone(&broken));
        let (queue, waiting) = link.connect(lane);
        tokio::select! {
            biased;
            () = broken.notified() => {}
            () = self.carry((from, to), queue, Way::Ask(asks)) => {}
            () = self.carry((to, from), answered, Way::Answer(waiting)) => {}
        }
        lock(&self.0.lanes).remove(&(from, to, lane));
    }

    /// Carries what comes out of a queue until it ends.
    async fn carry(&self, (from, to): (u64, u64), mut queue: mpsc::Receiver<Message>, way: Way) {
        let mut last = elapsed();
        while let Some(message) = queue.recv().await {
            let Passage { copies, overtakes } = self.0.weather.passage(from, to);
            for copy in copies {
                let mut arrives = elapsed().saturating_add(copy);
                if !overtakes {
                    arrives = arrives.max(last);
                    last = arrives;
                }
                let (message, way) = (message.clone(), way.clone());
                runtime::spawn(async move {
                    runtime::sleep(arrives.saturating_sub(elapsed())).await;
                    way.arrive(message).await;
                });
            }
        }
    }
}

/// Where messages of one direction arrive.
#[derive(Clone)]
enum Way {
    Ask(mpsc::Sender<Message>),
    Answer(Arc<Waiting>),
}

impl Way {
    async fn arrive(&self, message: Message) {
        match self {
            Self::Ask(questions) => {
                // The listener has ended.
                let _gone = questions.send(message).await;
            }
            Self::Answer(waiting) => waiting.resolve(message),
        }
    }
}

impl Network for SimNetwork {
    fn lead_to(&self, desk: &Arc<Desk>) {
        let (calls, coming) = mpsc::channel(CALLS_MAX);
        lock(&self.0.nodes).insert(desk.roster.node, calls);
        runtime::spawn(take_calls(Arc::clone(desk), coming));
    }

    fn keep_up(
        &self,
        (link, lane): (Arc<Link>, Lane),
        roster: Arc<Roster>,
        mut stop: watch::Receiver<bool>,
    ) -> BoxFuture<'static, ()> {
        let network = self.clone();
        async move {
            while !*stop.borrow() {
                tokio::select! {
                    biased;
                    _ = stop.changed() => {}
                    () = network.keep(&link, lane, &roster) => {}
                }
                link.disconnect(lane);
                let pause = runtime::random_between(PAUSE_MIN..=PAUSE_MAX);
                tokio::select! {
                    biased;
                    _ = stop.changed() => {}
                    () = runtime::sleep(pause) => {}
                }
            }
        }
        .boxed()
    }
}

/// Greets whoever calls, and listens to him, as long as the node is there.
async fn take_calls(desk: Arc<Desk>, mut calls: mpsc::Receiver<Call>) {
    while let Some(Call { greeting, mut questions, answers, greeted }) = calls.recv().await {
        let admitted = desk.roster.admit_dialler(&greeting);
        let lane = Lane::from_number(greeting.lane);
        let (Ok(disk), Some(lane), false) = (admitted, lane, *desk.going_down.borrow()) else {
            // A node that goes down, or hears of a lane it does not know, answers nothing.
            let _gone = admitted.err().map(|away| greeted.send(Err(away)));
            continue;
        };
        let asker = Asker { node: greeting.node, disk };
        let mut listener = Listener::new(Arc::clone(&desk), (asker, lane), answers);
        let _gone = greeted.send(Ok(desk.roster.greeting(greeting.node, greeting.lane)));
        runtime::spawn(async move {
            let mut going_down = listener.going_down();
            loop {
                let question = tokio::select! {
                    biased;
                    () = listener.deserted() => break,
                    _ = going_down.changed() => break,
                    question = questions.recv() => question,
                };
                let Some(question) = question else { break };
                if !listener.hear(vec![question]).await {
                    break;
                }
            }
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is a single call: a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
