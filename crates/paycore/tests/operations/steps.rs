//! As many random steps of operating a cluster as are asked for, while the bench runs; then a release is rolled out.
//!
//! `PAYCORE_MEMBERSHIP_STEPS=24` asks for them, `PAYCORE_MEMBERSHIP_SEED` repeats a run, and `PAYCORE_NEXT_LEVEL` names the
//! next release's binary.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::upgrade::next_release;
use super::{SHARDS, alone, judge, operate, operate_supervised, placement, status};
use crate::load::Load;
use crate::support::Cluster;

/// Requests a second: enough that every shard works all the time.
const RATE: u64 = 500;

/// What a step takes at the most on a machine that has other work, and what comes after the last.
const STEP_SECONDS: u64 = 15;
const REST: Duration = Duration::from_secs(90);

/// As many nodes as there are at once at the most, and at the least.
const NODES: std::ops::RangeInclusive<usize> = 3..=5;

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Add,
    Move,
    Lead,
    Drain,
    Undrain,
    Rebalance,
    Remove,
    Replace,
    Restart,
}

const DEEDS: [Deed; 9] = [
    Deed::Add,
    Deed::Move,
    Deed::Lead,
    Deed::Drain,
    Deed::Undrain,
    Deed::Rebalance,
    Deed::Remove,
    Deed::Replace,
    Deed::Restart,
];

#[test]
fn random_steps_of_operating_a_cluster_while_the_bench_runs_lose_nothing() {
    let steps = std::env::var("PAYCORE_MEMBERSHIP_STEPS").ok().map(|steps| steps.parse().unwrap());
    let Some(steps) = steps else {
        eprintln!("skipped: set PAYCORE_MEMBERSHIP_STEPS to their number");
        return;
    };
    let _turn = alone();
    let seed = std::env::var("PAYCORE_MEMBERSHIP_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("PAYCORE_MEMBERSHIP_SEED={seed} repeats these");
    let cluster = Cluster::start_of("dev-3.toml", SHARDS, "");
    cluster.introduced();
    let mut load = Load::begin(&cluster, STEP_SECONDS * steps + REST.as_secs(), Some(RATE));
    load.goes_on();
    let mut walk = Walk::new(cluster, seed);
    while walk.taken.values().sum::<u64>() < steps || load.remains() > REST {
        walk.step();
        load.goes_on();
    }
    eprintln!("{:?}", walk.taken);
    walk.undrain();
    let mut cluster = walk.cluster;
    if let Some(next) = next_release() {
        cluster.set_program(&next);
        operate_supervised(&mut cluster, "upgrade 2");
    }
    judge(load, &cluster);
}

/// A cluster that changes at random.
struct Walk {
    cluster: Cluster,
    chance: u64,
    nodes: BTreeSet<u64>,
    /// The id of the node that came last.
    last: u64,
    drained: Option<u64>,
    taken: BTreeMap<Deed, u64>,
}

impl Walk {
    fn new(cluster: Cluster, seed: u64) -> Self {
        let nodes = BTreeSet::from([1, 2, 3]);
        Self { cluster, chance: seed, nodes, last: 3, drained: None, taken: BTreeMap::new() }
    }

    /// One of so many, at random: splitmix64.
    fn below(&mut self, count: usize) -> usize {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.chance ^ (self.chance >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(count).unwrap()).unwrap()
    }

    fn pick(&mut self, nodes: &[u64]) -> u64 {
        nodes[self.below(nodes.len())]
    }

    /// Does one of the things that can be done now.
    fn step(&mut self) {
        let can: Vec<Deed> = DEEDS.into_iter().filter(|deed| self.can(*deed)).collect();
        // Each is done once before any is done twice.
        let least = can.iter().map(|deed| self.taken.get(deed).copied().unwrap_or(0)).min();
        let rare: Vec<Deed> = can
            .into_iter()
            .filter(|deed| self.taken.get(deed).copied().unwrap_or(0) <= least.unwrap() + 1)
            .collect();
        let deed = rare[self.below(rare.len())];
        eprintln!("-- {deed:?} on {:?}", self.nodes);
        match deed {
            Deed::Add => {
                let (node, address) = self.newcomer();
                operate(&self.cluster, &format!("add-node {node} {address}"));
            }
            Deed::Move => self.move_replica(),
            Deed::Lead => self.lead(),
            Deed::Drain => {
                let node = self.any();
                operate(&self.cluster, &format!("drain {node}"));
                self.drained = Some(node);
            }
            Deed::Undrain => self.undrain(),
            Deed::Rebalance => operate(&self.cluster, "rebalance --replicas"),
            Deed::Remove => {
                let node = self.any();
                operate(&self.cluster, &format!("remove-node {node}"));
                assert!(self.cluster.retire_node(node).success());
                self.nodes.remove(&node);
            }
            Deed::Replace => {
                let node = self.any();
                self.cluster.kill_node(node);
                self.nodes.remove(&node);
                let (heir, address) = self.newcomer();
                operate(&self.cluster, &format!("replace-node {node} {heir} {address}"));
                self.cluster.forget_node(node);
            }
            Deed::Restart => {
                let node = self.any();
                let restarted = operate_supervised(&mut self.cluster, &format!("restart {node}"));
                assert_eq!(restarted, [node]);
            }
        }
        *self.taken.entry(deed).or_default() += 1;
    }

    fn can(&self, deed: Deed) -> bool {
        let is_calm = self.drained.is_none();
        match deed {
            Deed::Add => self.nodes.len() < *NODES.end(),
            Deed::Remove => is_calm && self.nodes.len() > *NODES.start(),
            Deed::Move => self.nodes.len() > *NODES.start(),
            Deed::Lead | Deed::Rebalance => true,
            Deed::Drain | Deed::Replace | Deed::Restart => is_calm,
            Deed::Undrain => !is_calm,
        }
    }

    fn any(&mut self) -> u64 {
        let nodes: Vec<u64> = self.nodes.iter().copied().collect();
        self.pick(&nodes)
    }

    fn newcomer(&mut self) -> (u64, String) {
        self.last += 1;
        let address = self.cluster.join_node(self.last);
        self.nodes.insert(self.last);
        (self.last, address)
    }

    fn move_replica(&mut self) {
        let shard = self.below(usize::from(SHARDS) + 1);
        let on = placement(&self.cluster)[&u64::try_from(shard).unwrap()].clone();
        let others: Vec<u64> =
            self.nodes.iter().copied().filter(|node| !on.contains(node)).collect();
        let (from, to) = (self.pick(&on), self.pick(&others));
        operate(&self.cluster, &format!("move-replica {shard} {from} {to}"));
    }

    fn lead(&mut self) {
        let shard = self.below(usize::from(SHARDS) + 1);
        let mut on = placement(&self.cluster)[&u64::try_from(shard).unwrap()].clone();
        on.retain(|node| Some(*node) != self.drained);
        let node = self.pick(&on);
        operate(&self.cluster, &format!("transfer-leader {shard} {node}"));
    }

    fn undrain(&mut self) {
        if let Some(node) = self.drained.take() {
            operate(&self.cluster, &format!("undrain {node}"));
            assert!(
                status(&self.cluster)["nodes"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|node| node["drained"] == false)
            );
        }
    }
}
