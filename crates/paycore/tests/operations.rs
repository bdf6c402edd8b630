//! A cluster of real processes that grows and shrinks while the bench runs, and loses nothing.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Instant;

use serde_json::Value;

use support::{Cluster, until};

const SHARDS: u16 = 4;

/// How long the bench asks for: longer than all that is done meanwhile.
const LOAD_FOR: &str = "60s";

/// The longest time for which a shard may answer nobody: an election, and what the machine's other work adds.
const OBJECTIVE: &str = "pause_max<=5s";

/// The bench itself, which knows of the cluster one gateway's address.
struct Load {
    bench: Child,
    said: PathBuf,
}

impl Load {
    fn begin(cluster: &Cluster) -> Self {
        let said = cluster.home.path().join("bench.log");
        let words = format!(
            "bench transfer-uniform --cluster {} --shards {SHARDS} --cross 50% --duration {LOAD_FOR} --accounts 200 \
             --connections 2 --batch 20 --alone --slo {OBJECTIVE} --out run",
            cluster.endpoint
        );
        let mut command = cluster.command(&words);
        command.stdout(Stdio::null()).stderr(File::create(&said).unwrap());
        Self { bench: command.spawn().unwrap(), said }
    }

    /// Waits until a second has passed in which money was moved: the load is alive.
    fn goes_on(&mut self) {
        let before = self.seconds().len();
        until("the load goes on", || {
            let ended = self.bench.try_wait().unwrap();
            assert_eq!(ended, None, "the bench has ended: {}", self.log());
            self.seconds().iter().skip(before).any(|posted| *posted > 0).then_some(())
        });
    }

    /// What was posted in each second so far.
    fn seconds(&self) -> Vec<u64> {
        let posted = |line: &str| {
            let (_, rest) = line.split_once(" s  posted ")?;
            rest.trim_start().split_once("/s")?.0.parse().ok()
        };
        self.log().lines().filter_map(posted).collect()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap()
    }

    /// Waits for the verdict.
    fn end(mut self, cluster: &Cluster) -> Value {
        assert_eq!(
            self.bench.try_wait().unwrap(),
            None,
            "--duration {LOAD_FOR} is not long enough"
        );
        let status = until("the bench has its verdict", || self.bench.try_wait().unwrap());
        assert!(status.success(), "{status}: {}", self.log());
        let summary = cluster.home.path().join("run/summary.json");
        serde_json::from_slice(&std::fs::read(summary).unwrap()).unwrap()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(self.bench.kill());
        drop(self.bench.wait());
    }
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
fn from_one_node_to_five_and_back_to_three_while_the_bench_runs_and_nothing_is_lost() {
    let mut cluster = Cluster::start_of("dev-1.toml", SHARDS, "");
    let began = Instant::now();
    let mut load = Load::begin(&cluster);
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

    let operated = began.elapsed();
    let summary = load.end(&cluster);
    let longest = summary["pause_max_us"].as_u64().unwrap() / 1_000;
    let posted = &summary["posted"];
    eprintln!("operated for {operated:?}; {posted} payments, the longest pause {longest} ms");
    let verdict = &summary["verdict"];
    assert_eq!(verdict["ok"], true, "{verdict}");
    // Both trial balances were drawn up: the bench's own, and that of the live audit.
    for claim in ["trial balance of every shard", "by the live audit, the books"] {
        let checks = verdict["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["claim"].as_str().unwrap().contains(claim));
        assert_eq!(check.unwrap()["facts"], SHARDS, "{verdict}");
    }
    agree(&cluster);
}
