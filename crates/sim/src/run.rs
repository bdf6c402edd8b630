//! One run: a cluster is made, harmed, healed, and looked at.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures::future::{join, join_all};
use ledger::{AccountId, Posting};
use runtime::simulated;

use crate::accounts;
use crate::client::Client;
use crate::cluster::Cluster;
use crate::draw::Draw;
use crate::effects::Effects;
use crate::faults::Bites;
use crate::gateways::Gateways;
use crate::invariants::{self, View};
use crate::nemesis::Nemesis;
use crate::operator::Operator;
use crate::oracle::Oracle;
use crate::report::Report;
use crate::session::Session;
use crate::trace::Trace;

/// How long everything may take to be well, without harm: to begin with, and in the end.
const LIVENESS: Duration = Duration::from_secs(60);

/// How often it is looked whether everything has come to rest.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Lines of a statement that are read at once.
const PAGE: usize = 1_000;

/// Runs a cluster from a seed and what it was drawn to be; `prints` what happens while it does.
#[must_use]
pub fn run(seed: u64, draw: &Draw, prints: bool) -> Report {
    simulated::run(seed, live(seed, draw.clone(), prints))
}

async fn live(seed: u64, draw: Draw, prints: bool) -> Report {
    let trace = Trace::new(prints);
    trace.note(format_args!("{draw}"));
    let (cluster, oracle) = (Cluster::new(seed, &draw, trace.clone()), Oracle::default());
    let accounts = Arc::new(accounts::all(cluster.plan.shards));
    let (bites, streams) = (Bites::default(), Arc::new(AtomicU64::new(1)));
    let operator = Operator::new(cluster.clone(), bites.clone());
    let gateways = Gateways::new(seed, &draw, cluster.clone());
    let client = |number, goes_through: &[u64]| {
        let around = (cluster.clone(), gateways.clone(), oracle.clone());
        let session = Session::new((seed, number), around, Arc::clone(&streams), goes_through);
        Client::new(session, draw.clone(), Arc::clone(&accounts))
    };

    let mut first = client(draw.clients, &[]);
    begin(&cluster, &oracle, &mut first).await;
    for id in gateways.ids() {
        gateways.start(id).await;
    }
    simulated::spawn(operator.clone().work());
    let until = simulated::elapsed().saturating_add(draw.harm());
    let around = (cluster.clone(), gateways.clone(), oracle.clone());
    let nemesis = Nemesis::new(seed, around, operator.clone(), bites.clone());
    let mut clients: Vec<Client> =
        (0..draw.clients).map(|number| client(number, &gateways.ids())).collect();
    let working = join_all(clients.iter_mut().map(|client| client.work(until)));
    let finished = finish(nemesis.rage(&draw, until), working).await;
    if !finished {
        oracle.accuses("liveness: clients still wait for outcomes".to_owned());
    }
    if finished && simulated::timeout(LIVENESS, first.ask_again()).await.is_none() {
        oracle.accuses("liveness: what is known is not told again".to_owned());
    }
    if finished {
        rest(&cluster, &oracle, &operator).await;
    }
    if finished && simulated::timeout(LIVENESS, first.look_for_given_up()).await.is_none() {
        oracle.accuses("liveness: nobody says what became of a request".to_owned());
    }

    let statements = statements(&cluster, &accounts).await;
    let effects = Effects::of(&oracle.promises(), &accounts, cluster.plan.shards);
    let view = View {
        cluster: &cluster,
        oracle: &oracle,
        keepers: &operator.keepers(),
        accounts: &accounts,
        effects: effects.as_ref(),
        statements: &statements,
    };
    let broken = invariants::broken(&view);
    note_end(&cluster, &trace);
    let (trace, events) = trace.sum();
    Report {
        seed,
        draw,
        broken,
        acknowledged: oracle.acknowledged(),
        replayed: oracle.replayed(),
        given_up: oracle.given_up(),
        reads: u64::try_from(oracle.sights().len()).unwrap_or(u64::MAX),
        leader_changes: cluster.plan.reigns.changes(),
        bites: bites.counts(),
        trace,
        events,
        elapsed: simulated::elapsed(),
    }
}

/// Starts all nodes, and opens all accounts.
async fn begin(cluster: &Cluster, oracle: &Oracle, first: &mut Client) {
    for id in cluster.ids() {
        if let Err(error) = cluster.start(id).await {
            oracle.accuses(format!("node {id} does not open a new disk: {error}"));
        }
    }
    if simulated::timeout(LIVENESS, first.open()).await.is_none() {
        oracle.accuses("liveness: no accounts in a new cluster".to_owned());
    }
}

/// Lets the clients work while harm is done, and for a while after that. Says whether they have finished.
async fn finish(
    harm: impl Future<Output = ()> + Send,
    working: impl Future<Output = Vec<()>> + Send,
) -> bool {
    let (healed, told) = tokio::sync::oneshot::channel();
    let harm = async {
        harm.await;
        // Nobody waits any more when the clients were faster.
        let _gone = healed.send(());
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
    join(harm, working).await.1
}

/// Waits until nothing is on its way any more, and the operator has nothing to do.
async fn rest(cluster: &Cluster, oracle: &Oracle, operator: &Operator) {
    let resting = async {
        while !operator.is_done() || !invariants::is_at_rest(cluster, &operator.keepers()) {
            simulated::sleep(LOOK_EVERY).await;
        }
    };
    if simulated::timeout(LIVENESS, resting).await.is_none() {
        let is_done = operator.is_done();
        let what = format!("liveness: the cluster does not come to rest (operator: {is_done})");
        oracle.accuses(what);
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

/// What each account's shard tells of it, oldest first.
async fn statements(
    cluster: &Cluster,
    accounts: &[AccountId],
) -> BTreeMap<AccountId, Vec<Posting>> {
    let mut statements = BTreeMap::new();
    for account in accounts {
        let shard = cluster.plan.shards.shard(account.slot());
        let Some((host, replica)) = cluster.leader(shard) else { continue };
        let account = *account;
        let reading = host.life.live(async move {
            let mut lines: Vec<Posting> = Vec::new();
            loop {
                let before = lines.last().map(|line| line.key);
                let page = replica.postings(account, before, PAGE).await.ok()?;
                let is_last = page.len() < PAGE;
                lines.extend(page);
                if is_last {
                    lines.reverse();
                    return Some(lines);
                }
            }
        });
        let read = simulated::timeout(LIVENESS, reading).await.flatten();
        statements.extend(read.map(|lines| (account, lines)));
    }
    statements
}

/// The ledgers as they are in the end are part of the trace.
fn note_end(cluster: &Cluster, trace: &Trace) {
    for shard in cluster.plan.shards.groups() {
        for (node, replica) in cluster.replicas(shard) {
            let (index, digest) = replica.with_ledger(|ledger| (ledger.index(), ledger.digest()));
            trace.note(format_args!("shard {shard} on node {node}: {digest:032x} at {index}"));
        }
    }
}
