//! A cluster of real processes that grows and shrinks while the bench runs, and loses nothing.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

mod support;

#[path = "operations/load.rs"]
mod load;
#[path = "operations/rolling.rs"]
mod rolling;
#[path = "operations/steps.rs"]
mod steps;
#[path = "operations/upgrade.rs"]
mod upgrade;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::Value;

use load::Load;
use support::{Cluster, until};

const SHARDS: u16 = 4;

/// How long the bench goes on: longer than all that is done meanwhile.
const LOAD_SECONDS: u64 = 60;

/// Clusters that are measured are measured one after the other.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
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

/// The same while somebody watches over the nodes. Gives who was started again.
fn operate_supervised(cluster: &mut Cluster, words: &str) -> Vec<u64> {
    let topology = cluster.topology().display().to_string();
    let words = format!("cluster {words} --topology {topology} --yes");
    let (code, out, err, restarted) = cluster.run_supervised(&words);
    eprintln!("{words}:\n{err}{out}");
    assert_eq!(code, 0, "{words}: {err}");
    restarted
}

/// The same with a hook.
fn with_hook(cluster: &mut Cluster, words: &str, hook: &str) -> Vec<u64> {
    let topology = cluster.topology().display().to_string();
    let mut command = cluster.command(&format!("cluster {words} --topology {topology} --yes"));
    let mut child = command.args(["--hook", hook]).stdout(Stdio::null()).spawn().unwrap();
    let restarted = cluster.supervise(|| child.try_wait().unwrap().is_none());
    assert!(child.wait().unwrap().success(), "{words}");
    restarted
}

/// The same of a command that is refused, with this code.
fn refused(cluster: &Cluster, words: &str, code: &str) {
    let topology = cluster.topology().display();
    let (exit, _, err) = cluster.run(&format!("cluster {words} --topology {topology} --yes"));
    assert!(exit != 0 && err.contains(code), "{words}: {exit}: {err}");
}

/// Nothing was lost, and nobody waited for too long. Says how long that was.
fn judge(load: Load, cluster: &Cluster) {
    let summary = load.end(cluster);
    let longest = summary["pause_max_us"].as_u64().unwrap() / 1_000;
    eprintln!("{} payments, the longest pause {longest} ms", summary["posted"]);
    let verdict = &summary["verdict"];
    assert_eq!(verdict["ok"], true, "{verdict}");
    // Both trial balances were drawn up: the bench's own, and that of the live audit.
    for claim in ["trial balance of every shard", "by the live audit, the books"] {
        let checks = verdict["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["claim"].as_str().unwrap().contains(claim));
        assert_eq!(check.unwrap()["facts"], SHARDS, "{verdict}");
    }
    agree(cluster);
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
fn from_one_node_to_five_and_back_to_three_while_the_bench_runs_and_nothing_is_lost() {
    let _turn = alone();
    let mut cluster = Cluster::start_of("dev-1.toml", SHARDS, "");
    let began = Instant::now();
    let mut load = Load::begin(&cluster, LOAD_SECONDS, None);
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

    eprintln!("operated for {:?}", began.elapsed());
    judge(load, &cluster);
}
