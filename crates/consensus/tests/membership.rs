//! Nodes on loopback that come and go: who keeps a shard changes while it works.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests, and what they share"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consensus::{Change, ChangeError, CheckpointOptions, Mailbox, StopReason};
use support::{
    Cluster, NOON, account, answers, batch, eventually, key, open, soon, transfer, until,
};

/// A cluster whose checkpoints are made on request only.
async fn cluster(nodes: u64) -> Cluster {
    let mut cluster = Cluster::planned(nodes, 1).await;
    cluster.checkpoint =
        CheckpointOptions { log_bytes_min: u64::MAX, ..CheckpointOptions::default() };
    cluster.started().await
}

/// Two accounts with money, and `count` transfers from the first to the second; the last entry's index.
async fn history(cluster: &Cluster, first_key: u64, count: u64) -> u64 {
    let accounts = vec![open(key(1, NOON), 1, 1_000_000), open(key(2, NOON), 2, 1_000_000)];
    let mut last = cluster.propose(0, &batch(NOON, accounts)).await.index;
    for number in first_key..first_key + count {
        let pay = transfer(key(number, NOON + number), 1, 2, 1);
        last = cluster.propose(0, &batch(NOON + number, vec![pay])).await.index;
    }
    last
}

/// Waits until a node keeps a shard and has applied an entry.
async fn catches_up(cluster: &Cluster, node: u64, index: u64) {
    eventually("the replica is opened", || cluster.nodes[&node].node.replica(0).is_some()).await;
    soon("it applies", cluster.replica(node, 0).applied(index)).await.unwrap();
}

/// Waits until something holds that has to be asked for.
async fn holds(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    soon(what, async {
        let mut look = tokio::time::interval(std::time::Duration::from_millis(20));
        while !ask().await {
            look.tick().await;
        }
    })
    .await;
}

async fn lead(cluster: &Cluster, node: u64) {
    // A node that has just come has heard no clock but its own yet.
    holds("the node may lead", async || match cluster.change(0, Change::Lead { node }).await {
        Ok(_) => true,
        Err(ChangeError::MustNotLead(_)) => false,
        Err(error) => panic!("node {node}: {error}"),
    })
    .await;
    until(&cluster.replica(node, 0), |now| now.leads).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_grows_from_one_node_to_three_and_its_newest_node_may_lead() {
    let mut cluster = cluster(1).await;
    history(&cluster, 10, 20).await;
    for node in [2, 3] {
        cluster.join(node).await.unwrap();
        assert!(cluster.nodes[&node].node.replicas().is_empty(), "nobody has given it anything");
        cluster.add_voter(0, node).await;
    }
    let last = history(&cluster, 100, 5).await;
    for node in 1..=3 {
        catches_up(&cluster, node, last).await;
        assert_eq!(cluster.replica(node, 0).status().voters, [1, 2, 3]);
    }
    cluster.agree(0);
    lead(&cluster, 3).await;
    // The first node goes: two of three are a majority.
    cluster.stop(1).await;
    let last = history(&cluster, 200, 5).await;
    catches_up(&cluster, 2, last).await;
    cluster.agree(0);

    // All start again, from what they remember of one another.
    cluster.stop_all().await;
    cluster.start_all().await;
    let again = cluster.propose(0, &batch(NOON, vec![transfer(key(12, NOON + 12), 1, 2, 1)])).await;
    assert!(answers(&again)[0].replayed, "{:?}", answers(&again));
    cluster.applied_everywhere(0, again.index).await;
    cluster.agree(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_may_come_by_snapshot() {
    let mut cluster = cluster(1).await;
    for round in 1..=2 {
        history(&cluster, 100 * round, 20).await;
        cluster.replica(1, 0).checkpoint().await.unwrap();
    }
    eventually("the log is purged", || cluster.replica(1, 0).status().purged.is_some()).await;
    cluster.join(2).await.unwrap();
    cluster.add_voter(0, 2).await;
    let last = history(&cluster, 300, 5).await;
    catches_up(&cluster, 2, last).await;
    assert!(cluster.replica(2, 0).status().checkpoint.is_some(), "it came by a snapshot");
    cluster.agree(0);
    lead(&cluster, 2).await;
    let again =
        cluster.propose(0, &batch(NOON, vec![transfer(key(105, NOON + 105), 1, 2, 1)])).await;
    assert!(answers(&again)[0].replayed, "{:?}", answers(&again));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_so_already_is_done_already_and_what_cannot_be_is_refused() {
    let mut cluster = cluster(3).await;
    history(&cluster, 10, 5).await;
    let leader = cluster.leader(0).await;
    let other = if leader == 1 { 2 } else { 1 };
    let is_new = |changed: Result<consensus::Changed, ChangeError>| changed.unwrap().is_new;
    let voters = |add, remove| Change::Voters { add, remove };
    assert!(!is_new(cluster.change(0, voters(Some(other), None)).await));
    assert!(!is_new(cluster.change(0, Change::Lead { node: leader }).await));
    assert!(!is_new(cluster.change(0, Change::Remove { node: 9 }).await));
    assert_eq!(
        cluster.change(0, voters(None, Some(leader))).await,
        Err(ChangeError::Leads(leader))
    );
    assert_eq!(cluster.change(0, voters(Some(9), None)).await, Err(ChangeError::WrongRole(9)));
    assert_eq!(
        cluster.change(0, Change::Remove { node: other }).await,
        Err(ChangeError::WrongRole(other)),
        "a voter is not let go"
    );
    let nobody = Change::AddLearner { node: 9, address: "127.0.0.1:1".to_owned() };
    let node = &cluster.nodes[&leader].node;
    let (first, second) =
        tokio::join!(node.change(0, nobody), node.change(0, Change::Lead { node: other }));
    assert_eq!(first, Err(ChangeError::Unreachable(9)));
    assert_eq!(second, Err(ChangeError::UnderWay), "one change at a time");
    let asked = cluster.nodes[&other].node.change(0, Change::Lead { node: other }).await;
    assert_eq!(asked, Err(ChangeError::NotLeader { leader: Some(leader) }));

    // One of three is down: without another one, one of two would be alive.
    let third = 6 - leader - other;
    cluster.stop(third).await;
    holds("it is noticed", async || {
        let peers = cluster.nodes[&leader].node.overview().await.peers;
        peers.iter().any(|peer| peer.node == third && !peer.is_up)
    })
    .await;
    assert_eq!(
        cluster.change(0, voters(None, Some(other))).await,
        Err(ChangeError::AtRisk { alive: 1, voters: 2 })
    );
    assert!(is_new(cluster.change(0, voters(None, Some(third))).await), "the dead one may go");
    history(&cluster, 20, 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_replica_ends_and_one_that_was_away_hears_it_and_disturbs_nobody() {
    let mut cluster = cluster(3).await;
    history(&cluster, 10, 20).await;
    lead(&cluster, 1).await;

    // Node 2 is there when it is removed.
    cluster.remove(0, 2).await;
    eventually("its replica ends", || cluster.nodes[&2].node.replica(0).is_none()).await;
    // It starts again, and keeps nothing.
    cluster.stop(2).await;
    cluster.start(2).await.unwrap();
    assert!(cluster.nodes[&2].node.replica(0).is_none());
    cluster.add_voter(0, 2).await;

    // Node 3 is away when it is removed.
    cluster.stop(3).await;
    history(&cluster, 100, 5).await;
    cluster.remove(0, 3).await;
    let term = cluster.replica(1, 0).status().term;
    cluster.start(3).await.unwrap();
    eventually("its replica ends", || cluster.nodes[&3].node.replica(0).is_none()).await;
    let last = history(&cluster, 200, 20).await;
    assert_eq!(cluster.replica(1, 0).status().term, term, "nobody was disturbed");

    // It comes back, with what it had.
    cluster.add_voter(0, 3).await;
    catches_up(&cluster, 3, last).await;
    lead(&cluster, 3).await;
    let last = history(&cluster, 300, 5).await;
    cluster.applied_everywhere(0, last).await;
    cluster.agree(0);
    assert_eq!(
        cluster.replica(3, 0).with_ledger(|ledger| ledger.account(&account(2)).unwrap().posted),
        1_000_050
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_id_is_not_taken_with_another_disk_even_after_its_node_has_left() {
    let mut cluster = cluster(1).await;
    history(&cluster, 10, 5).await;
    cluster.join(2).await.unwrap();
    cluster.add_voter(0, 2).await;
    lead(&cluster, 1).await;
    cluster.remove(0, 2).await;
    eventually("its replica ends", || cluster.nodes[&2].node.replica(0).is_none()).await;
    cluster.stop(2).await;
    // The first node forgets nothing over a restart and a checkpoint.
    cluster.replica(1, 0).checkpoint().await.unwrap();
    cluster.stop(1).await;
    cluster.start(1).await.unwrap();

    std::fs::remove_dir_all(cluster.data_dir(2)).unwrap();
    // It hears so before it takes part; or soon after, when nobody has answered it for a second.
    let reason = match cluster.join(2).await {
        Err(reason) => Some(reason),
        Ok(()) => {
            let mut stopped = cluster.nodes[&2].node.stopped();
            soon("it stops", stopped.wait_for(Option::is_some)).await.unwrap().clone()
        }
    };
    assert!(matches!(reason, Some(StopReason::DiskReplaced)), "{reason:?}");
    let address = cluster.peers[&2].clone();
    let refused = cluster.change(0, Change::AddLearner { node: 2, address }).await;
    assert_eq!(refused, Err(ChangeError::OtherDisk(2)));
    assert_eq!(cluster.replica(1, 0).status().voters, [1]);
    history(&cluster, 20, 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_a_leaders_death_cut_short_is_completed_by_asking_again() {
    let mut cluster = cluster(3).await;
    history(&cluster, 10, 10).await;
    cluster.join(4).await.unwrap();
    lead(&cluster, 1).await;
    let address = cluster.peers[&4].clone();
    cluster.change(0, Change::AddLearner { node: 4, address }).await.unwrap();
    let swap = Change::Voters { add: Some(4), remove: Some(2) };
    // The leader is gone before the second half can be committed: at every moment between, sooner or later.
    let cut_short = {
        let node = &cluster.nodes[&1].node;
        tokio::select! {
            done = node.change(0, swap.clone()) => Some(done),
            () = until_changing(&cluster, 3) => None,
        }
    };
    cluster.stop(1).await;
    assert!(matches!(cut_short, None | Some(Ok(_))), "{cut_short:?}");
    history(&cluster, 50, 10).await;
    if cluster.leader(0).await == 2 {
        lead(&cluster, 3).await;
    }
    cluster.change(0, swap.clone()).await.unwrap();
    let leader = cluster.leader(0).await;
    let status = cluster.replica(leader, 0).status();
    assert_eq!((status.voters, status.is_changing), (vec![1, 3, 4], false));

    // And back, by asking for the opposite.
    cluster.start(1).await.unwrap();
    if cluster.leader(0).await == 4 {
        lead(&cluster, 3).await;
    }
    cluster.change(0, Change::Voters { add: Some(2), remove: Some(4) }).await.unwrap();
    let leader = cluster.leader(0).await;
    assert_eq!(cluster.replica(leader, 0).status().voters, [1, 2, 3]);
    let last = history(&cluster, 90, 5).await;
    cluster.applied_everywhere(0, last).await;
    cluster.agree(0);
}

/// Waits until a follower has the first half of a change.
async fn until_changing(cluster: &Cluster, node: u64) {
    eventually("the change begins", || cluster.replica(node, 0).status().is_changing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_share_no_group_write_to_each_other() {
    let mut cluster = Cluster::new(3, 2).await;
    holds("node 2 leads", async || cluster.change(1, Change::Lead { node: 2 }).await.is_ok()).await;
    cluster.remove(1, 1).await;
    eventually("its replica ends", || cluster.nodes[&1].node.replica(1).is_none()).await;
    // Nobody has ever told node 1 of this one: it is in no topology of its, and in no group of its.
    cluster.join(4).await.unwrap();
    cluster.add_voter(1, 4).await;
    for node in [1, 4] {
        let mailbox: Mailbox = Arc::new(|_, letter| Box::pin(std::future::ready(letter)));
        cluster.nodes[&node].node.read_mail(mailbox);
    }
    for (from, to, shard) in [(1, 4, 1), (4, 1, 0)] {
        let mail = cluster.nodes[&from].node.mail();
        holds("a letter is answered", async || {
            let letter = Bytes::from_static(b"letter");
            mail.send(to, shard, letter.clone(), Duration::from_secs(1)).await == Ok(letter)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_leads_nothing_until_it_is_undrained() {
    let mut cluster = cluster(3).await;
    history(&cluster, 10, 5).await;
    lead(&cluster, 1).await;
    // Nodes that have just come have heard no clock but their own yet, and are no heirs.
    holds("it is drained", async || cluster.nodes[&1].node.set_drained(true).await == Ok(true))
        .await;
    assert!(!cluster.nodes[&1].node.set_drained(true).await.unwrap(), "it is drained already");
    until(&cluster.replica(1, 0), |now| now.leader.is_some_and(|leader| leader != 1)).await;
    let wants = Change::Lead { node: 1 };
    holds("the others hear of it", async || {
        let leader = cluster.leader(0).await;
        let changed = cluster.nodes[&leader].node.change(0, wants.clone()).await;
        changed == Err(ChangeError::MustNotLead(1))
    })
    .await;
    cluster.stop(1).await;
    cluster.start(1).await.unwrap();
    assert!(cluster.nodes[&1].node.is_drained(), "a restart changes nothing");
    // Nobody else is alive enough to lead: the last two cannot both be drained.
    let leader = cluster.leader(0).await;
    assert!(cluster.nodes[&1].node.set_drained(false).await.unwrap());
    assert_ne!(leader, 1);
    holds("it may lead again", async || cluster.change(0, wants.clone()).await.is_ok()).await;
    history(&cluster, 20, 5).await;
}
