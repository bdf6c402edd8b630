//! One run: a cluster is made, harmed, healed, and looked at.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use consensus::simulated;
use futures::future::{join, join_all};
use ledger::{AccountId, Shards};

use crate::accounts;
use crate::chance::Chance;
use crate::client::Client;
use crate::cluster::Cluster;
use crate::invariants::{self, View};
use crate::nemesis::{Faults, Nemesis};
use crate::oracle::Oracle;
use crate::trace::Trace;

const NODES: u64 = 3;
const SHARDS: u16 = 2;
const CLIENTS: u64 = 24;

/// How long harm is done.
const HARM: Duration = Duration::from_secs(15);

/// How long everything may take to be well, without harm: to begin with, and in the end.
const LIVENESS: Duration = Duration::from_secs(60);

/// How often it is looked whether everything has come to rest.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// What it was run from.
    pub seed: u64,
    /// What does not hold; nothing, in a good run.
    pub broken: Vec<String>,
    /// Requests that have an outcome, and answers that repeated one.
    pub acknowledged: (u64, u64),
    /// What went wrong on purpose.
    pub faults: Faults,
    /// The hash of everything that happened.
    pub trace: u128,
    /// How much that was.
    pub events: u64,
    /// How long it took, by the simulated clock.
    pub elapsed: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, broken, acknowledged: (acknowledged, replayed), faults, .. } = self;
        let kinds = faults.kinds();
        write!(f, "seed {seed}: trace {:032x}, {} events, ", self.trace, self.events)?;
        write!(f, "{acknowledged} acknowledged, {replayed} replayed, {kinds} kinds of fault, ")?;
        write!(f, "{} s", self.elapsed.as_secs())?;
        for what in broken {
            write!(f, "\n  {what}")?;
        }
        if !broken.is_empty() {
            write!(f, "\n  again: make sim SEED={seed}")?;
        }
        Ok(())
    }
}

/// Runs a cluster from a seed; `prints` what happens while it does.
#[must_use]
pub fn run(seed: u64, prints: bool) -> Report {
    simulated::run(seed, live(seed, prints))
}

async fn live(seed: u64, prints: bool) -> Report {
    let shards = Shards::new(SHARDS).expect("a cluster may have so many");
    let trace = Trace::new(prints);
    let (cluster, oracle) = (Cluster::new(seed, NODES, shards, trace.clone()), Oracle::default());
    let accounts = accounts::all(shards);
    let sessions = Arc::new(AtomicU64::new(1));
    let client = |number| {
        let around = (cluster.clone(), oracle.clone());
        Client::new(seed, number, around, Arc::clone(&sessions))
    };

    for id in cluster.ids() {
        if let Err(why) = cluster.start(id).await {
            oracle.accuses(why);
        }
    }
    let mut first = client(CLIENTS);
    if simulated::timeout(LIVENESS, first.open(&accounts)).await.is_none() {
        oracle.accuses("liveness: no accounts in a new cluster".to_owned());
    }

    let until = simulated::elapsed().saturating_add(HARM);
    let nemesis = Nemesis {
        chance: Chance::of(seed, "nemesis"),
        cluster: cluster.clone(),
        oracle: oracle.clone(),
        faults: Faults::default(),
    };
    let mut clients: Vec<Client> = (0..CLIENTS).map(client).collect();
    let working = join_all(clients.iter_mut().map(|client| client.work(&accounts, until)));
    let (faults, finished) = finish(nemesis.rage(until), working).await;
    if !finished {
        oracle.accuses("liveness: clients still wait for outcomes".to_owned());
    }
    if finished && simulated::timeout(LIVENESS, first.ask_again()).await.is_none() {
        oracle.accuses("liveness: what is known is not told again".to_owned());
    }
    rest(&cluster, &oracle).await;

    let view = View { cluster: &cluster, oracle: &oracle, accounts: &accounts };
    let broken = invariants::broken(&view);
    note_end(&cluster, &accounts, &trace);
    let (trace, events) = trace.sum();
    let (acknowledged, elapsed) = (oracle.counts(), simulated::elapsed());
    Report { seed, broken, acknowledged, faults, trace, events, elapsed }
}

/// Lets the clients work while harm is done, and for a while after that. Says whether they have finished.
async fn finish(
    harm: impl Future<Output = Faults> + Send,
    working: impl Future<Output = Vec<()>> + Send,
) -> (Faults, bool) {
    let (healed, told) = tokio::sync::oneshot::channel();
    let harm = async {
        let faults = harm.await;
        // Nobody waits any more when the clients were faster.
        let _gone = healed.send(());
        faults
    };
    let patience = async {
        let _healed = told.await;
        simulated::sleep(LIVENESS).await;
    };
    let working = async {
        tokio::select! {
            biased;
            _all = working => true,
            () = patience => false,
        }
    };
    join(harm, working).await
}

/// Waits until nothing is on its way any more.
async fn rest(cluster: &Cluster, oracle: &Oracle) {
    let resting = async {
        while !invariants::is_at_rest(cluster) {
            simulated::sleep(LOOK_EVERY).await;
        }
    };
    if simulated::timeout(LIVENESS, resting).await.is_none() {
        oracle.accuses("liveness: the cluster does not come to rest".to_owned());
    }
    for id in cluster.ids() {
        let Some(host) = cluster.host(id) else { continue };
        if let Some(reason) = host.stopped() {
            oracle.accuses(format!("node {id} stopped by itself: {reason}"));
        }
        if host.life.has_panicked() {
            oracle.accuses(format!("node {id} panicked"));
        }
    }
}

/// The ledgers as they are in the end are part of the trace.
fn note_end(cluster: &Cluster, accounts: &[AccountId], trace: &Trace) {
    for shard in cluster.plan.shards.groups() {
        for (node, replica) in cluster.replicas(shard) {
            let (index, digest) = replica.with_ledger(|ledger| (ledger.index(), ledger.digest()));
            trace.note(format_args!("shard {shard} on node {node}: {digest:032x} at {index}"));
        }
    }
    trace.note(format_args!("{} accounts", accounts.len()));
}
