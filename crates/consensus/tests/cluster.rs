//! Nodes on loopback: what a shard above may rely on while nothing is wrong, and when leaders come and go.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests, and what they share"
)]

mod support;

use bytes::Bytes;
use consensus::{ProposeError, Refused};
use futures::future::join_all;
use support::{Cluster, NOON, account, answers, batch, key, open, soon, transfer, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_applied_on_all_replicas() {
    let cluster = Cluster::new(3, 1).await;
    let opened = cluster
        .propose(0, &batch(NOON, vec![open(key(1, NOON), 1, 1_000), open(key(2, NOON), 2, 1_000)]))
        .await;
    assert!(answers(&opened).iter().all(|answer| answer.outcome.is_ok()), "{:?}", answers(&opened));
    let paid = cluster.propose(0, &batch(NOON + 1, vec![transfer(key(3, NOON), 1, 2, 400)])).await;
    assert!(paid.index > opened.index);
    cluster.applied_everywhere(0, paid.index).await;
    for id in 1..=3 {
        let replica = cluster.replica(id, 0);
        let balance =
            |number| replica.with_ledger(|ledger| ledger.account(&account(number)).unwrap().posted);
        assert_eq!((balance(1), balance(2)), (600, 1_400), "node {id}");
        assert_eq!(replica.status().voters, [1, 2, 3]);
    }
    cluster.agree(0);
    let leader = cluster.leader(0).await;
    cluster.replica(leader, 0).read_index().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_node_is_a_cluster() {
    let mut cluster = Cluster::new(1, 2).await;
    cluster.propose(0, &batch(NOON, vec![open(key(1, NOON), 1, 1_000)])).await;
    cluster.replica(1, 0).read_index().await.unwrap();
    cluster.stop(1).await;
    cluster.start_all().await;
    let again = cluster.propose(0, &batch(NOON, vec![open(key(1, NOON), 1, 1_000)])).await;
    assert!(answers(&again)[0].replayed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_enter_the_log_in_the_order_of_the_calls() {
    let cluster = Cluster::new(3, 1).await;
    let leader = cluster.leader(0).await;
    let replica = cluster.replica(leader, 0);
    let proposals = (0..200).map(|number| {
        let batch = batch(NOON, vec![open(key(number, NOON), u16::try_from(number).unwrap(), 1)]);
        replica.propose(Bytes::from(batch.encode().unwrap()))
    });
    let applied = soon("all are applied", join_all(proposals)).await;
    let indexes: Vec<u64> = applied.into_iter().map(|applied| applied.unwrap().index).collect();
    assert!(indexes.is_sorted_by(|one, next| one < next), "{indexes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_leads_when_the_leader_dies_and_nothing_is_lost() {
    let mut cluster = Cluster::new(3, 1).await;
    let before = cluster
        .propose(0, &batch(NOON, vec![open(key(1, NOON), 1, 1_000), open(key(2, NOON), 2, 0)]))
        .await;
    let old = cluster.leader(0).await;
    cluster.stop(old).await;
    let new = cluster.leader(0).await;
    assert_ne!(old, new);
    // Whoever leads now shows what was acknowledged before, after a read round.
    let replica = cluster.replica(new, 0);
    soon("the round", replica.read_index()).await.unwrap();
    assert_eq!(replica.with_ledger(|ledger| ledger.account(&account(1)).unwrap().posted), 1_000);
    let after = cluster.propose(0, &batch(NOON, vec![transfer(key(3, NOON), 1, 2, 10)])).await;
    assert!(after.index > before.index && after.term > before.term);
    // The old leader comes back as a follower, and catches up from the log.
    cluster.start(old).await.unwrap();
    cluster.applied_everywhere(0, after.index).await;
    cluster.agree(0);
    assert!(!cluster.replica(old, 0).leadership().borrow().leads);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_says_who_leads_and_proposes_nothing() {
    let cluster = Cluster::new(3, 1).await;
    let leader = cluster.leader(0).await;
    let follower = (1..=3).find(|id| *id != leader).unwrap();
    let replica = cluster.replica(follower, 0);
    until(&replica, |now| now.leader == Some(leader)).await;
    let bytes = Bytes::from(batch(NOON, vec![]).encode().unwrap());
    let refused = replica.propose(bytes).await.unwrap_err();
    assert_eq!(
        refused,
        ProposeError::NotProposed { leader: Some(leader), why: Refused::NotLeader }
    );
    assert_eq!(
        replica.read_index().await.unwrap_err(),
        consensus::ReadError::NotLeader { leader: Some(leader) }
    );
    let huge = Bytes::from(vec![1; consensus::BATCH_BYTES_MAX + 1]);
    let refused = cluster.replica(leader, 0).propose(huge).await.unwrap_err();
    assert!(matches!(refused, ProposeError::NotProposed { why: Refused::TooLarge, .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over_on_request() {
    let cluster = Cluster::new(3, 1).await;
    let opened = cluster.propose(0, &batch(NOON, vec![open(key(1, NOON), 1, 1_000)])).await;
    cluster.applied_everywhere(0, opened.index).await;
    let old = cluster.leader(0).await;
    let new = (1..=3).find(|id| *id != old).unwrap();
    cluster.replica(old, 0).transfer_leadership(new).await;
    until(&cluster.replica(new, 0), |now| now.leads).await;
    cluster.propose(0, &batch(NOON, vec![open(key(2, NOON), 2, 1_000)])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_may_stop_and_start_again() {
    let mut cluster = Cluster::new(3, 3).await;
    let mut last = [0; 3];
    for shard in 0..3 {
        for number in 0..20 {
            // Any account will do: which shard an id belongs to is the business of whoever routes.
            let opening = open(key(number, NOON), 1, 5);
            last[usize::from(shard)] =
                cluster.propose(shard, &batch(NOON + number, vec![opening])).await.index;
        }
    }
    for _ in 0..2 {
        cluster.stop_all().await;
        cluster.start_all().await;
        for shard in 0..3 {
            cluster.applied_everywhere(shard, last[usize::from(shard)]).await;
            let again = cluster.propose(shard, &batch(NOON, vec![open(key(3, NOON), 1, 5)])).await;
            assert!(answers(&again)[0].replayed, "shard {shard}: {:?}", answers(&again));
            cluster.applied_everywhere(shard, again.index).await;
            cluster.agree(shard);
        }
    }
}
