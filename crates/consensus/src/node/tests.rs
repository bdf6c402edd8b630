//! Nodes on loopback, looked at from within: what only a fault that is put in by hand can show.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests, and what they share"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use ledger::{Books, Ledger};

use super::open::ground;
use super::start::Readiness;
use super::*;
use crate::clock::{Reading, SystemClocks, TimeSource};
use crate::messages::Recalled;
use crate::replica::{ProposeError, Refused};

#[path = "../../tests/support/mod.rs"]
mod support;

use support::{Cluster, NOON, batch, key, open, soon, transfer, until};

/// As many entries as it takes to reach a comparison of digests.
async fn reach_a_comparison(cluster: &Cluster) -> u64 {
    let leader = cluster.leader(0).await;
    let replica = cluster.replica(leader, 0);
    let bytes = |number: u64| {
        Bytes::from(batch(NOON, vec![transfer(key(number, NOON), 1, 2, 1)]).encode().unwrap())
    };
    let proposals = (100..1_100).map(|number| replica.propose(bytes(number)));
    let applied = soon("all are applied", join_all(proposals)).await;
    applied.into_iter().map(|applied| applied.unwrap().index).max().unwrap()
}

fn accounts() -> ledger::Batch {
    batch(NOON, vec![open(key(1, NOON), 1, 1_000_000), open(key(2, NOON), 2, 1)])
}

/// A ledger that has opened an account with another amount than everybody else's.
fn other_ledger(books: Books) -> Ledger {
    let mut ledger = Ledger::new(books);
    let accounts = vec![open(key(1, NOON), 1, 1_000_001), open(key(2, NOON), 2, 1)];
    let fetched = ledger.begin_fetch();
    ledger.apply(1, &batch(NOON, accounts), &fetched);
    ledger
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_differs_from_a_majority_stops() {
    let cluster = Cluster::new(3, 1).await;
    let opened = cluster.propose(0, &accounts()).await;
    cluster.applied_everywhere(0, opened.index).await;
    let leader = cluster.leader(0).await;
    let odd = (1..=3).find(|id| *id != leader).unwrap();
    let shard = cluster.replica(odd, 0).host.shard.clone();
    shard.state.replace(other_ledger(shard.books));

    let last = reach_a_comparison(&cluster).await;
    let mut stopped = cluster.nodes[&odd].node.stopped();
    let reason = soon("it stops", stopped.wait_for(Option::is_some)).await.unwrap().clone();
    assert!(matches!(reason, Some(StopReason::Diverged { shard: 0, index: 1_000 })), "{reason:?}");
    for id in (1..=3).filter(|id| *id != odd) {
        soon("the others go on", cluster.replica(id, 0).applied(last)).await.unwrap();
        assert!(cluster.nodes[&id].node.stopped().borrow().is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_nothing_more_is_written() {
    let cluster = Cluster::new(3, 1).await;
    let opened = cluster.propose(0, &accounts()).await;
    cluster.applied_everywhere(0, opened.index).await;
    let leader = cluster.leader(0).await;
    // The one goes wrong in one way, the other in another.
    for (id, is_empty) in (1..=3).filter(|id| *id != leader).zip([false, true]) {
        let shard = cluster.replica(id, 0).host.shard.clone();
        let ledger = if is_empty { Ledger::new(shard.books) } else { other_ledger(shard.books) };
        shard.state.replace(ledger);
    }
    reach_a_comparison(&cluster).await;
    let state = Arc::clone(&cluster.replica(leader, 0).host.shard.state);
    support::eventually("it is noticed", || state.is_disputed()).await;
    let bytes = Bytes::from(accounts().encode().unwrap());
    let refused = cluster.replica(leader, 0).propose(bytes).await.unwrap_err();
    assert!(
        matches!(refused, ProposeError::NotProposed { why: Refused::Diverged, .. }),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_full_disk_takes_no_more_and_still_answers() {
    // On one thread, as nodes run in production.
    let cluster = Cluster::new(1, 1).await;
    cluster.propose(0, &accounts()).await;
    let node = &cluster.nodes[&1].node.0;
    let bytes = Bytes::from(accounts().encode().unwrap());
    node.has_room.send_replace(false);
    let refused = cluster.replica(1, 0).propose(bytes.clone()).await.unwrap_err();
    assert!(matches!(refused, ProposeError::NotProposed { why: Refused::DiskFull, .. }));
    cluster.replica(1, 0).read_index().await.unwrap();
    node.has_room.send_replace(true);
    cluster.replica(1, 0).propose(bytes).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_made_only_of_voters_that_all_have_nothing() {
    let cluster = Cluster::planned(3, 2).await;
    let running = cluster.open(1).await;
    let node = &running.node.0;
    let pristine = |disk| Recalled { disk: [disk; 16], ..Recalled::default() };
    let mut answers = BTreeMap::from([(2, pristine(2))]);
    assert!(matches!(node.readiness(0, &answers), Readiness::Waiting), "a majority is not enough");
    answers.insert(3, pristine(3));
    let Readiness::Ready(members) = node.readiness(0, &answers) else {
        panic!("all have answered")
    };
    assert_eq!(members.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((members[&2].disk, members[&3].disk), ([2; 16], [3; 16]));
    assert_eq!(members[&1].disk, node.peers.roster.disk);
    answers.insert(3, Recalled { traces: BTreeSet::from([0]), ..pristine(3) });
    assert!(matches!(node.readiness(0, &answers), Readiness::Exists));
    assert!(matches!(node.readiness(1, &answers), Readiness::Ready(_)));
    running.stop().await;
}

/// A machine whose clock is five minutes fast.
struct Fast(SystemClocks);

impl TimeSource for Fast {
    fn read(&self) -> Reading {
        let reading = self.0.read();
        Reading { wall_ms: reading.wall_ms + 300_000, ..reading }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_wrong_clock_hands_over_what_it_leads() {
    let mut cluster = Cluster::planned(3, 1).await;
    // The first voter makes the group, and leads it at first.
    let config = cluster.config(1);
    let found = ground(&config, Offload::Threads).unwrap();
    let ground = Ground { clocks: Arc::new(Fast(SystemClocks::default())), ..found };
    let wrong = cluster.serve(1, Node::open_on(config, ground).await.unwrap()).await;
    let others = [cluster.open(2).await, cluster.open(3).await];
    let all = [&wrong, &others[0], &others[1]];
    let starting = all.map(|running| async {
        running.node.start().await.unwrap();
        running.node.initialize().await.unwrap();
    });
    soon("the cluster starts", join_all(starting)).await;
    for (id, running) in (1..).zip([wrong].into_iter().chain(others)) {
        cluster.nodes.insert(id, running);
    }
    let right = cluster.replica(2, 0);
    until(&right, |now| matches!(now.leader, Some(2 | 3))).await;
    assert!(cluster.nodes[&1].node.clock().alarm().is_some());
    // Its stamps, had it any to give, would be the cluster's and not its own.
    let (ours, theirs) = (cluster.nodes[&1].node.clock().now(), right.clock().now());
    assert!(ours.0.abs_diff(theirs.0) < 1_000, "{ours:?} {theirs:?}");
    cluster.propose(0, &accounts()).await;
}
