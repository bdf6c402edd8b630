//! Nodes on loopback: checkpoints, replicas that fall behind, and disks that lost something.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests, and what they share"
)]

mod support;

use std::path::Path;

use consensus::{CheckpointOptions, Forgotten, StopReason};
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_begins_at_the_checkpoint_and_the_log_is_purged_up_to_the_older_of_two() {
    let mut cluster = cluster(1).await;
    history(&cluster, 10, 30).await;
    let first = cluster.replica(1, 0).checkpoint().await.unwrap();
    assert_eq!(
        cluster.replica(1, 0).status().purged,
        None,
        "one checkpoint is nothing to fall back to"
    );
    history(&cluster, 40, 30).await;
    let second = cluster.replica(1, 0).checkpoint().await.unwrap();
    assert!(first < second);
    eventually("the log is purged", || cluster.replica(1, 0).status().purged == Some(first)).await;
    // What a volume has leaves memory, and is still found.
    let memory_has = |number| {
        let scoped = transfer(key(number, NOON + number), 1, 2, 1).scoped_key();
        cluster.replica(1, 0).with_ledger(|ledger| ledger.outcome(&scoped).is_some())
    };
    assert_eq!((memory_has(12), memory_has(50)), (false, false));
    let paid = transfer(key(12, NOON + 12), 1, 2, 1);
    let again = cluster.propose(0, &batch(NOON, vec![paid])).await;
    assert!(answers(&again)[0].replayed, "{:?}", answers(&again));
    let last = history(&cluster, 70, 30).await;
    assert!(memory_has(75));

    cluster.stop(1).await;
    cluster.start_all().await;
    cluster.applied_everywhere(0, last).await;
    let replica = cluster.replica(1, 0);
    assert_eq!(replica.status().checkpoint, Some(second));
    assert_eq!(
        replica.with_ledger(|ledger| ledger.account(&account(2)).unwrap().posted),
        1_000_090
    );
    // A key whose outcome lies in a volume is still answered by it.
    let again = cluster.propose(0, &batch(NOON, vec![transfer(key(12, NOON + 12), 1, 2, 1)])).await;
    assert!(
        answers(&again)[0].replayed && answers(&again)[0].outcome.is_ok(),
        "{:?}",
        answers(&again)
    );
    let statement = replica.postings(account(2), None, 200).await.unwrap();
    assert_eq!(
        statement.len(),
        91,
        "the opening and ninety transfers, from memory and two volumes"
    );
    assert!(statement.is_sorted_by(|one, next| one.key > next.key));
    let page = replica.postings(account(2), Some(statement[40].key), 10).await.unwrap();
    assert_eq!(page, statement[41..51]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_checkpoint_falls_back_to_the_one_before() {
    let mut cluster = cluster(1).await;
    history(&cluster, 10, 20).await;
    let first = cluster.replica(1, 0).checkpoint().await.unwrap();
    history(&cluster, 30, 20).await;
    cluster.replica(1, 0).checkpoint().await.unwrap();
    let last = history(&cluster, 50, 20).await;
    let digest = cluster.replica(1, 0).with_ledger(ledger::Ledger::digest);
    cluster.stop(1).await;

    let shard = cluster.data_dir(1).join("shard-00");
    let mut generations: Vec<_> =
        std::fs::read_dir(&shard).unwrap().map(|entry| entry.unwrap().path()).collect();
    generations.retain(|path| path.is_dir() && path.to_string_lossy().contains("gen-"));
    generations.sort();
    flip_a_byte(&largest_file(generations.last().unwrap()));

    cluster.start_all().await;
    cluster.applied_everywhere(0, last).await;
    let replica = cluster.replica(1, 0);
    assert_eq!(replica.status().checkpoint, Some(first));
    // A new leader's first entry is no batch: the books are what they were.
    assert_eq!(replica.with_ledger(ledger::Ledger::digest), digest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_fell_behind_the_log_gets_a_snapshot_and_may_then_lead() {
    let mut cluster = cluster(3).await;
    history(&cluster, 10, 10).await;
    let away = (1..=3).find(|id| !cluster.replica(*id, 0).leadership().borrow().leads).unwrap();
    cluster.stop(away).await;
    // Both others purge what the third one lacks.
    for round in 1..=2 {
        let last = history(&cluster, 100 * round, 20).await;
        cluster.applied_everywhere(0, last).await;
        for id in cluster.nodes.keys() {
            cluster.replica(*id, 0).checkpoint().await.unwrap();
        }
    }
    for id in cluster.nodes.keys() {
        eventually("the log is purged", || cluster.replica(*id, 0).status().purged > Some(15))
            .await;
    }
    let last = history(&cluster, 300, 5).await;
    cluster.start(away).await.unwrap();
    cluster.applied_everywhere(0, last).await;
    cluster.agree(0);
    assert!(cluster.replica(away, 0).status().checkpoint.is_some(), "it came by a snapshot");

    // It leads, and knows keys that it never saw in its log.
    let old = cluster.leader(0).await;
    cluster.replica(old, 0).transfer_leadership(away).await;
    until(&cluster.replica(away, 0), |now| now.leads).await;
    for number in [10, 100, 215, 300] {
        let again = cluster
            .propose(0, &batch(NOON, vec![transfer(key(number, NOON + number), 1, 2, 1)]))
            .await;
        assert!(answers(&again)[0].replayed, "key {number}: {:?}", answers(&again));
    }
    let fresh = cluster.propose(0, &batch(NOON, vec![transfer(key(999, NOON), 1, 2, 1)])).await;
    cluster.applied_everywhere(0, fresh.index).await;
    cluster.agree(0);
    let statement = cluster.replica(away, 0).postings(account(1), None, 100).await.unwrap();
    assert_eq!(statement.len(), 57, "the opening, 10 + 20 + 20 + 5 transfers, and one more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checkpoints_are_made_by_themselves_when_enough_log_has_gathered() {
    let mut cluster = Cluster::planned(1, 1).await;
    let look_every = std::time::Duration::from_millis(5);
    cluster.checkpoint =
        CheckpointOptions { log_bytes_min: 2_000, look_every, ..CheckpointOptions::default() };
    let cluster = cluster.started().await;
    history(&cluster, 10, 40).await;
    eventually("a checkpoint", || cluster.replica(1, 0).status().checkpoint.is_some()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_went_backwards_is_noticed_before_it_votes() {
    let mut cluster = cluster(3).await;
    let early = history(&cluster, 10, 5).await;
    cluster.applied_everywhere(0, early).await;
    let follower = (1..=3).find(|id| !cluster.replica(*id, 0).leadership().borrow().leads).unwrap();

    // Keep what its disk holds now, let it acknowledge more, then put the old bytes back.
    cluster.stop(follower).await;
    let (dir, kept) = (cluster.data_dir(follower), cluster.dir.path().join("kept"));
    copy(&dir, &kept);
    cluster.start(follower).await.unwrap();
    let last = history(&cluster, 100, 5).await;
    cluster.applied_everywhere(0, last).await;
    let leader = cluster.leader(0).await;
    let acked = |id: u64| {
        let matched = cluster.replica(leader, 0).status().matched;
        matched.iter().any(|(node, matched)| *node == id && *matched >= Some(last))
    };
    eventually("the leader knows", || acked(follower)).await;
    cluster.stop(follower).await;
    std::fs::remove_dir_all(&dir).unwrap();
    copy(&kept, &dir);

    // The beat that carries what the leader knows is a matter of time; the node would wait as well.
    let refused = soon("the node is refused", async {
        loop {
            match cluster.start(follower).await {
                Err(reason) => break reason,
                Ok(()) => cluster.stop(follower).await,
            }
            std::fs::remove_dir_all(&dir).unwrap();
            copy(&kept, &dir);
        }
    })
    .await;
    assert!(
        matches!(
            refused,
            StopReason::Forgot {
                shard: 0,
                forgotten: Forgotten::Entries { .. } | Forgotten::Vote { .. }
            }
        ),
        "{refused:?}"
    );
    // The others go on.
    history(&cluster, 200, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_data_directory_is_turned_away() {
    let mut cluster = cluster(3).await;
    let last = history(&cluster, 10, 5).await;
    cluster.applied_everywhere(0, last).await;
    cluster.stop(2).await;
    std::fs::remove_dir_all(cluster.data_dir(2)).unwrap();
    let refused = cluster.start(2).await.unwrap_err();
    assert!(matches!(refused, StopReason::DiskReplaced), "{refused:?}");
    history(&cluster, 200, 2).await;
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn largest_file(dir: &Path) -> std::path::PathBuf {
    let mut files = vec![dir.to_path_buf()];
    let mut largest = (0, dir.to_path_buf());
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            largest = largest.max((path.metadata().unwrap().len(), path));
        }
    }
    largest.1
}

fn flip_a_byte(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.iter().rposition(|byte| *byte != 0).unwrap() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

/// A replica whose log was purged, whose checkpoints are gone, and whose peers have made none: one is made for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_state_comes_from_a_peer_that_makes_a_checkpoint_for_it() {
    let mut cluster = cluster(3).await;
    let follower = (1..=3).find(|id| !cluster.replica(*id, 0).leadership().borrow().leads).unwrap();
    for round in 1..=2 {
        let last = history(&cluster, 100 * round, 20).await;
        cluster.applied_everywhere(0, last).await;
        cluster.replica(follower, 0).checkpoint().await.unwrap();
    }
    eventually("the log is purged", || cluster.replica(follower, 0).status().purged > Some(15))
        .await;
    let others: Vec<u64> = (1..=3).filter(|id| *id != follower).collect();
    assert!(others.iter().all(|id| cluster.replica(*id, 0).status().checkpoint.is_none()));
    for lost in ["CURRENT", "shard-00"] {
        cluster.stop(follower).await;
        let shard = cluster.data_dir(follower).join("shard-00");
        if lost == "CURRENT" {
            std::fs::remove_file(shard.join("CURRENT")).unwrap();
        } else {
            std::fs::remove_dir_all(&shard).unwrap();
        }
        cluster.start(follower).await.unwrap();
        eventually("it runs again", || cluster.nodes[&follower].node.replica(0).is_some()).await;
        let last = history(&cluster, 1_000, 5).await;
        cluster.applied_everywhere(0, last).await;
        cluster.agree(0);
        let named = std::fs::read_dir(&shard).unwrap().map(|entry| entry.unwrap().file_name());
        let generations = named.filter(|name| name.to_string_lossy().starts_with("gen-")).count();
        assert_eq!(generations, 1, "what was there before is gone");
        // It goes on like any other: it makes a checkpoint, leads, and knows keys that it has from the peer alone.
        cluster.replica(follower, 0).checkpoint().await.unwrap();
        let old = batch(NOON, vec![transfer(key(110, NOON + 110), 1, 2, 1)]);
        assert!(answers(&cluster.propose(0, &old).await)[0].replayed);
    }
}

/// A leader counts itself towards the majority. When it dies at once and its disk has lost the end of its log, whoever has
/// heard of the commit knows what the leader had promised.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_went_backwards_is_found_out_by_who_heard_of_the_commit() {
    let mut cluster = cluster(3).await;
    let early = history(&cluster, 10, 5).await;
    cluster.applied_everywhere(0, early).await;
    let leader = cluster.leader(0).await;
    let (away, other) = match leader {
        1 => (2, 3),
        2 => (1, 3),
        _ => (1, 2),
    };
    // Only the leader and one more are left: without the leader's own sync nothing is committed.
    cluster.stop(away).await;
    let settled = history(&cluster, 100, 1).await;
    cluster.applied_everywhere(0, settled).await;
    let (dir, kept) = (cluster.data_dir(leader), cluster.dir.path().join("kept"));
    copy(&dir, &kept);
    let paid = history(&cluster, 200, 1).await;
    // It hears of the commit with the leader's next message, and not only with a beat.
    soon("the other applies", cluster.replica(other, 0).applied(paid)).await.unwrap();
    cluster.stop(leader).await;
    std::fs::remove_dir_all(&dir).unwrap();
    copy(&kept, &dir);

    let refused = cluster.start(leader).await.unwrap_err();
    assert!(
        matches!(
            refused,
            StopReason::Forgot {
                shard: 0,
                forgotten: Forgotten::Entries { promised, .. }
            } if promised >= paid
        ),
        "{refused:?}"
    );
}

/// When nobody can make anybody whole, everybody says so, instead of waiting for one another without a word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_state_that_nobody_has_says_so() {
    let mut cluster = cluster(3).await;
    for round in 1..=2 {
        let last = history(&cluster, 100 * round, 20).await;
        cluster.applied_everywhere(0, last).await;
        for id in 1..=3 {
            cluster.replica(id, 0).checkpoint().await.unwrap();
        }
    }
    for id in 1..=3 {
        eventually("the log is purged", || cluster.replica(id, 0).status().purged > Some(15)).await;
    }
    cluster.stop_all().await;
    let shard = |id: u64| cluster.data_dir(id).join("shard-00");
    let (shards, kept) = ((1..=3).map(shard).collect::<Vec<_>>(), cluster.dir.path().join("kept"));
    copy(&shards[2], &kept);
    for shard in &shards {
        std::fs::remove_dir_all(shard).unwrap();
    }
    cluster.start_all().await;
    for id in 1..=3 {
        let vitals = cluster.nodes[&id].node.vitals();
        eventually("it says so", || vitals.rebuilding() == Some((0, true))).await;
    }

    // One that has it again, from wherever, is enough for all.
    cluster.stop(3).await;
    std::fs::remove_dir_all(&shards[2]).unwrap();
    copy(&kept, &shards[2]);
    cluster.start(3).await.unwrap();
    for id in 1..=3 {
        eventually("it runs again", || cluster.nodes[&id].node.replica(0).is_some()).await;
    }
    let last = history(&cluster, 1_000, 5).await;
    cluster.applied_everywhere(0, last).await;
    cluster.agree(0);
}
