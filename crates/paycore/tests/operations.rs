//! A cluster of real processes that grows and shrinks under load, and loses nothing.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use client::{AccountId, Amount, Client, Currency, Freshness, Money, Request};
use ledger::Shards;
use serde_json::Value;

use support::{Cluster, until};

const SHARDS: u16 = 4;

/// The longest time without an acknowledgement: an election, and what the machine's other work adds.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What one payer saw.
struct Paid {
    payee: AccountId,
    acknowledged: u64,
    longest_pause: Duration,
}

/// Payers that each pay one payee of their shard, again and again, each payment under its own key until it is known.
struct Load {
    ends: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    payers: Vec<JoinHandle<Paid>>,
}

impl Load {
    fn begin(endpoint: &str) -> Self {
        let (ends, acknowledged) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let payers = (0..SHARDS).map(|shard| {
            let (endpoint, ends) = (format!("http://{endpoint}"), Arc::clone(&ends));
            let acknowledged = Arc::clone(&acknowledged);
            std::thread::spawn(move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(pay(&endpoint, shard, &ends, &acknowledged))
            })
        });
        let payers = payers.collect();
        Self { ends, acknowledged, payers }
    }

    /// Waits until more payments have been made: the load is alive.
    fn goes_on(&self) {
        let before = self.acknowledged.load(Ordering::Relaxed);
        until("the load goes on", || {
            (self.acknowledged.load(Ordering::Relaxed) > before + 20).then_some(())
        });
    }

    fn end(self) -> Vec<Paid> {
        self.ends.store(true, Ordering::Relaxed);
        self.payers.into_iter().map(|payer| payer.join().unwrap()).collect()
    }
}

async fn pay(endpoint: &str, shard: u16, ends: &AtomicBool, acknowledged: &AtomicU64) -> Paid {
    let client = Client::connect_lazy(endpoint).unwrap().with_timeout(Duration::from_secs(60));
    let yuan = Currency::from_code("CNY").unwrap();
    let slot = Shards::new(SHARDS).unwrap().first_slot(shard);
    let [payer, payee] = [1_u128, 2].map(|number| AccountId::in_slot(number << 16, slot));
    let rich = Amount::from_minor(1_000_000_000).unwrap();
    for (account, opening) in [(payer, Some(rich)), (payee, None)] {
        let mut open = Request::open_account(yuan).with_account(account);
        if let Some(opening) = opening {
            open = open.with_opening(opening);
        }
        client.send(&open).await.unwrap();
    }
    let one = Money::minor(1, yuan).unwrap();
    let (mut count, mut longest_pause, mut last) = (0, Duration::ZERO, Instant::now());
    while !ends.load(Ordering::Relaxed) {
        let request = Request::transfer(payer, payee, one);
        // Whatever is not known yet is asked for again, under the same key.
        while let Err(error) = client.send(&request).await {
            assert!(error.is_retryable(), "{error}");
        }
        longest_pause = longest_pause.max(last.elapsed());
        last = Instant::now();
        count += 1;
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    Paid { payee, acknowledged: count, longest_pause }
}

/// `paycore cluster …` with the newest topology.
fn operate(cluster: &Cluster, words: &str) {
    let topology = cluster.topology().display();
    let (code, out, err) = cluster.run(&format!("cluster {words} --topology {topology} --yes"));
    eprintln!("cluster {words}:\n{err}{out}");
    assert_eq!(code, 0, "{words}: {err}");
}

fn status(cluster: &Cluster) -> Value {
    cluster.json(&format!("cluster status --topology {}", cluster.topology().display()))
}

/// The nodes that have a replica of each shard.
fn placement(cluster: &Cluster) -> BTreeMap<u64, Vec<u64>> {
    let status = status(cluster);
    let shards = status["shards"].as_array().unwrap().iter().map(|shard| {
        let replicas = shard["replicas"].as_array().unwrap().iter();
        assert_eq!(shard["changing"], false, "{shard}");
        let nodes = replicas.map(|replica| {
            assert_ne!(replica["role"], "learner", "{shard}");
            replica["node"].as_u64().unwrap()
        });
        (shard["shard"].as_u64().unwrap(), nodes.collect())
    });
    shards.collect()
}

/// Every shard has so many replicas, and no node has two more than another.
fn is_even(cluster: &Cluster, nodes: &[u64], replicas: usize) {
    let placement = placement(cluster);
    assert!(placement.values().all(|on| on.len() == replicas), "{placement:?}");
    let load = |node: &u64| placement.values().filter(|on| on.contains(node)).count();
    let loads: Vec<usize> = nodes.iter().map(load).collect();
    // The meta group is spread with the shards.
    assert_eq!(loads.iter().sum::<usize>(), replicas * (usize::from(SHARDS) + 1), "{placement:?}");
    assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1, "{placement:?}");
}

/// All replicas of each shard have the same entries, and add up to the same.
fn agree(cluster: &Cluster) {
    for (shard, nodes) in placement(cluster) {
        until("replicas agree", || {
            let shard = u32::try_from(shard).unwrap();
            let all: Option<Vec<_>> =
                nodes.iter().map(|node| cluster.status_of(*node, shard)).collect();
            let all = all?;
            let first = &all[0];
            if all.iter().any(|at| at.applied_index != first.applied_index) {
                return None;
            }
            assert!(all.iter().all(|at| at.digest == first.digest), "replicas differ: {all:?}");
            Some(())
        });
    }
}

#[test]
fn from_one_node_to_five_and_back_to_three_under_load_and_nothing_is_lost() {
    let mut cluster = Cluster::start_of("dev-1.toml", SHARDS, "");
    let load = Load::begin(&cluster.endpoint);
    load.goes_on();

    for node in [2, 3] {
        let address = cluster.join_node(node);
        operate(&cluster, &format!("add-node {node} {address}"));
        load.goes_on();
    }
    is_even(&cluster, &[1, 2, 3], 3);
    operate(&cluster, "rebalance");
    let leaders = status(&cluster);
    let leads = |node: usize| leaders["nodes"][node]["leads"].as_u64().unwrap();
    assert!((0..3).all(|node| leads(node) >= 1), "{leaders}");

    // Whoever operates it dies in between, and is started again.
    let address = cluster.join_node(4);
    let topology = cluster.topology().display().to_string();
    let words = format!("cluster add-node 4 {address} --topology {topology} --yes");
    let mut killed = cluster.command(&words).stderr(Stdio::null()).spawn().unwrap();
    until("the first learner is there", || {
        let at = status(&cluster);
        let has_four = |shard: &Value| {
            shard["replicas"].as_array().unwrap().iter().any(|replica| replica["node"] == 4)
        };
        at["shards"].as_array().unwrap().iter().any(has_four).then_some(())
    });
    killed.kill().unwrap();
    killed.wait().unwrap();
    operate(&cluster, &format!("add-node 4 {address}"));
    is_even(&cluster, &[1, 2, 3, 4], 3);
    let address = cluster.join_node(5);
    operate(&cluster, &format!("add-node 5 {address}"));
    operate(&cluster, "rebalance --replicas");
    is_even(&cluster, &[1, 2, 3, 4, 5], 3);
    load.goes_on();

    operate(&cluster, "drain 2");
    assert_eq!(status(&cluster)["nodes"][1]["leads"], 0);
    operate(&cluster, "undrain 2");

    // The newest goes, and then the very first, which is the only one that the gateway was told of.
    for node in [5, 1] {
        operate(&cluster, &format!("remove-node {node}"));
        assert!(cluster.stop_node(node).success(), "{}", cluster.log_of(&format!("n{node}")));
        load.goes_on();
    }
    is_even(&cluster, &[2, 3, 4], 3);
    let refused = format!("cluster remove-node 4 --topology {topology} --yes");
    let (code, _, err) = cluster.run(&refused);
    assert!(code == 3 && err.contains("REPLICATION_AT_RISK"), "{code}: {err}");

    let paid = load.end();
    agree(&cluster);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for Paid { payee, acknowledged, longest_pause } in paid {
        eprintln!("{acknowledged} payments, the longest pause {longest_pause:?}");
        let account = runtime.block_on(async {
            let client = Client::connect_lazy(format!("http://{}", cluster.endpoint)).unwrap();
            client.account(payee, Freshness::Linearizable).await.unwrap()
        });
        let available = u64::try_from(account.available).unwrap();
        assert_eq!(available, acknowledged, "none lost, none doubled");
        assert!(longest_pause <= PAUSE_MAX, "{longest_pause:?} without an acknowledgement");
    }
}
