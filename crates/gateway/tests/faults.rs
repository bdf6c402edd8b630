//! What a gateway does when leaders change, streams break, queues are full and time runs out.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise"
)]

mod support;

use std::time::{Duration, Instant};

use futures::future::join_all;
use support::{Cluster, Fault, Hints, code, said, transfer, wanted, within};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic_health::pb::health_check_response::ServingStatus;
use wire::Failure;
use wire::proto::v1;

/// A cluster with money in the first wallet and none in the second.
async fn rich(configure: impl FnOnce(&mut gateway::GatewayConfig)) -> (Cluster, String, String) {
    let mut cluster = Cluster::start_with(configure).await;
    let lin = cluster.wallet("open lin", 100_000).await;
    let wang = cluster.wallet("open wang", 0).await;
    (cluster, lin, wang)
}

/// What becomes of one transfer within so many milliseconds. It goes by a session: a unary call's own client stops
/// waiting at the same time, and on a busy machine sooner.
async fn submit(cluster: &Cluster, request: v1::TransferRequest, timeout_ms: u32) -> String {
    let frame = v1::SessionRequest {
        id: 1,
        requests: vec![wanted(request)],
        timeout_ms,
        traceparent: None,
    };
    let mut client = cluster.client.clone();
    let mut answers = client.session(futures::stream::iter([frame])).await.unwrap().into_inner();
    said(&answers.message().await.unwrap().unwrap().outcomes[0]).to_owned()
}

/// One transfer of 1 under each of these faults: it is posted, and money moves once.
async fn check_carried_through(faults: &[Fault], times_seen: usize, replayed: bool) {
    let (mut cluster, lin, wang) = rich(|_| ()).await;
    cluster.inject(faults.iter().copied());
    let posted = cluster.client.transfer(transfer("t", &lin, &wang, 1)).await.unwrap().into_inner();
    assert_eq!(posted.replayed, replayed, "{faults:?}");
    assert_eq!(cluster.seen("t"), times_seen, "{faults:?}");
    assert_eq!(cluster.balance(&wang), 1, "{faults:?}");
}

#[tokio::test]
async fn a_broken_stream_is_followed_by_the_same_records_with_the_same_keys() {
    check_carried_through(&[Fault::CutBefore], 2, false).await;
    check_carried_through(&[Fault::CutAfter], 2, true).await;
    check_carried_through(&[Fault::CutBefore, Fault::CutAfter, Fault::CutBefore], 4, true).await;
    check_carried_through(&[Fault::Garble], 2, true).await;
}

#[tokio::test]
async fn passing_failures_are_tried_again() {
    for failure in [Failure::Overloaded, Failure::Draining, Failure::NoLeader] {
        check_carried_through(&[Fault::Fail(failure); 3], 4, false).await;
    }
    check_carried_through(&[Fault::Fail(Failure::OutcomeUnknown)], 2, false).await;
    check_carried_through(&[Fault::ApplyAndFail(Failure::OutcomeUnknown)], 2, true).await;
}

#[tokio::test]
async fn lasting_failures_are_passed_on_at_once() {
    let (mut cluster, lin, wang) = rich(|_| ()).await;
    for failure in [
        Failure::DiskFull,
        Failure::KeyFromFuture,
        Failure::Diverged,
        Failure::PeerBehind,
        Failure::RateLimited,
        Failure::DeadlinePassed,
        Failure::InvalidRecord,
    ] {
        cluster.inject([Fault::Fail(failure)]);
        let key = failure.code();
        let refused = cluster.client.transfer(transfer(key, &lin, &wang, 1)).await.unwrap_err();
        assert_eq!((code(&refused), cluster.seen(key)), (failure.code(), 1));
    }
    assert_eq!(cluster.balance(&wang), 0);
}

#[tokio::test]
async fn a_batch_of_which_half_was_refused_is_carried_through() {
    let (mut cluster, lin, wang) = rich(|_| ()).await;
    cluster.inject([Fault::FailHalf(Failure::Overloaded)]);
    let keys: Vec<_> = (0..100).map(|n| format!("n{n}")).collect();
    let requests = keys.iter().map(|key| wanted(transfer(key, &lin, &wang, 1))).collect();
    let batch = v1::SubmitBatchRequest { requests };
    let outcomes = cluster.client.submit_batch(batch).await.unwrap().into_inner().outcomes;
    assert!(outcomes.iter().all(|outcome| said(outcome) == "posted"));
    assert_eq!(cluster.balance(&wang), 100);
    let seen: Vec<_> = keys.iter().map(|key| cluster.seen(key)).collect();
    let expected: Vec<_> = (0..100).map(|n| 1 + n % 2).collect();
    assert_eq!(seen, expected, "what was answered is not sent again");
}

#[tokio::test]
async fn a_hint_leads_to_the_new_leader() {
    let (mut cluster, lin, wang) = rich(|_| ()).await;
    for (n, leader) in [2, 3, 1, 3].into_iter().enumerate() {
        cluster.elect(leader);
        let key = format!("t{n}");
        cluster.client.transfer(transfer(&key, &lin, &wang, 1)).await.unwrap();
        assert_eq!(cluster.seen(&key), 2, "once at the old leader, once at the new one");
    }
    assert_eq!(cluster.balance(&wang), 4);
}

#[tokio::test]
async fn without_a_hint_every_node_is_asked() {
    let (mut cluster, lin, wang) = rich(|_| ()).await;
    *cluster.shared.hints.lock().unwrap() = Hints::None;
    cluster.elect(3);
    cluster.client.transfer(transfer("t", &lin, &wang, 1)).await.unwrap();
    assert_eq!((cluster.balance(&wang), cluster.seen("t")), (1, 2));
}

#[tokio::test]
async fn nodes_that_name_one_another_are_not_asked_in_a_circle() {
    let (cluster, lin, wang) = rich(|_| ()).await;
    *cluster.shared.hints.lock().unwrap() = Hints::Wrong(2);
    cluster.elect(0);
    assert_eq!(submit(&cluster, transfer("t", &lin, &wang, 1), 1_000).await, "NO_LEADER");
    let seen = cluster.seen("t");
    assert!((2..=20).contains(&seen), "sent {seen} times in a second");
}

#[tokio::test]
async fn a_killed_leader_is_replaced() {
    let (mut cluster, lin, wang) = rich(|_| ()).await;
    cluster.client.transfer(transfer("t1", &lin, &wang, 1)).await.unwrap();
    cluster.kill(1);
    cluster.elect(2);
    cluster.client.transfer(transfer("t2", &lin, &wang, 1)).await.unwrap();
    cluster.kill(2);
    cluster.elect(3);
    let read = v1::GetAccountRequest { name: wang.clone(), stale_ok: false };
    cluster.client.get_account(read).await.unwrap();
    for n in 0..10 {
        let read = v1::GetAccountRequest { name: wang.clone(), stale_ok: true };
        cluster.client.get_account(read).await.unwrap_or_else(|status| panic!("{n}: {status}"));
    }
    assert_eq!(cluster.balance(&wang), 2);
}

#[tokio::test]
async fn without_a_leader_the_deadline_says_so() {
    let (mut cluster, lin, wang) = rich(|_| ()).await;
    cluster.elect(0);
    let begun = Instant::now();
    let request = within(Duration::from_secs(1), transfer("t", &lin, &wang, 1));
    let refused = cluster.client.transfer(request).await.unwrap_err();
    assert_eq!((code(&refused), refused.code()), ("NO_LEADER", tonic::Code::Unavailable));
    assert!(begun.elapsed() >= Duration::from_millis(900), "it waited for a leader");
    let read = v1::GetAccountRequest { name: lin.clone(), stale_ok: false };
    let refused = cluster.client.get_account(within(Duration::from_secs(1), read)).await;
    assert_eq!(code(&refused.unwrap_err()), "NO_LEADER");
    let stale = v1::GetAccountRequest { name: lin.clone(), stale_ok: true };
    assert!(cluster.client.get_account(stale).await.is_ok(), "a stale answer needs no leader");

    cluster.elect(2);
    assert!(cluster.client.transfer(transfer("t", &lin, &wang, 1)).await.is_ok());
    assert_eq!(cluster.balance(&wang), 1);
}

/// The first attempt may be in the log: that nobody leads now does not undo it.
#[tokio::test]
async fn what_may_have_been_proposed_is_never_said_not_to_be() {
    for lost in [Fault::CutBefore, Fault::CutAfter, Fault::Fail(Failure::OutcomeUnknown)] {
        for then in [Failure::NoLeader, Failure::Overloaded, Failure::DiskFull, Failure::Draining] {
            let (cluster, lin, wang) = rich(|_| ()).await;
            cluster.inject([lost]);
            cluster.inject([Fault::Fail(then); 100]);
            let said = submit(&cluster, transfer("t", &lin, &wang, 1), 300).await;
            assert_eq!(said, "OUTCOME_UNKNOWN", "{lost:?}, then {then:?}");
        }
    }
}

#[tokio::test]
async fn a_silent_leader_leaves_the_outcome_unknown_and_is_left() {
    let (mut cluster, lin, wang) = rich(|_| ()).await;
    // As many as may be in flight: nothing more goes out until the stream is given up.
    cluster.inject([Fault::Swallow; 4]);
    for n in 0..4 {
        let key = format!("t{n}");
        let said = submit(&cluster, transfer(&key, &lin, &wang, 1), 100).await;
        assert_eq!((said.as_str(), cluster.seen(&key)), ("OUTCOME_UNKNOWN", 1));
    }
    cluster.client.transfer(transfer("after", &lin, &wang, 1)).await.unwrap();
    assert_eq!(cluster.balance(&wang), 1, "nobody waits for the four, so nobody sends them again");
}

#[tokio::test]
async fn what_was_not_sent_in_time_is_said_not_to_be() {
    let (mut cluster, lin, wang) = rich(|config| config.limits.frames_in_flight = 1).await;
    // The only frame that may be in flight is not answered: what comes after it waits, and is late.
    cluster.inject([Fault::Swallow]);
    let slow = submit(&cluster, transfer("slow", &lin, &wang, 1), 800);
    let behind = async {
        while cluster.seen("slow") == 0 {
            tokio::task::yield_now().await;
        }
        submit(&cluster, transfer("behind", &lin, &wang, 1), 100).await
    };
    let said = tokio::join!(slow, behind);
    assert_eq!(said, ("OUTCOME_UNKNOWN".to_owned(), "DEADLINE_PASSED".to_owned()));
    let after = cluster.client.transfer(transfer("after", &lin, &wang, 1)).await;
    assert!(after.is_ok());
    assert_eq!(cluster.seen("behind"), 0);
}

#[tokio::test]
async fn a_sessions_frame_has_its_own_deadline() {
    let (mut cluster, lin, wang) = rich(|_| ()).await;
    cluster.inject([Fault::Swallow]);
    let frame = v1::SessionRequest {
        id: 9,
        requests: vec![wanted(transfer("t", &lin, &wang, 1))],
        timeout_ms: 100,
        traceparent: None,
    };
    let stream = futures::stream::iter([frame]);
    let mut answers = cluster.client.session(stream).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    assert_eq!((answer.id, said(&answer.outcomes[0])), (9, "OUTCOME_UNKNOWN"));
    assert!(answers.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_full_gateway_says_so() {
    let (mut cluster, lin, wang) = rich(|config| config.limits.requests_in_flight = 5).await;
    cluster.elect(0);
    let mut client = cluster.client.clone();
    let first = transfer("first", &lin, &wang, 1);
    let first = tokio::spawn(async move { client.transfer(first).await });
    // It is taken, and waits: the gateway notices with it that nobody leads.
    cluster.wait_for(ServingStatus::NotServing).await;
    let requests = (0..10).map(|n| wanted(transfer(&format!("n{n}"), &lin, &wang, 1))).collect();
    let batch = within(Duration::from_secs(1), v1::SubmitBatchRequest { requests });
    let outcomes = cluster.client.submit_batch(batch).await.unwrap().into_inner().outcomes;
    let codes: Vec<_> = outcomes.iter().map(said).collect();
    assert_eq!(codes[..4], ["NO_LEADER"; 4]);
    assert_eq!(codes[4..], ["OVERLOADED"; 6]);
    cluster.elect(1);
    assert!(first.await.unwrap().is_ok());
    // What was taken was given back.
    let all = (0..5).map(|n| wanted(transfer(&format!("m{n}"), &lin, &wang, 1))).collect();
    let batch = v1::SubmitBatchRequest { requests: all };
    let outcomes = cluster.client.submit_batch(batch).await.unwrap().into_inner().outcomes;
    assert!(outcomes.iter().all(|outcome| said(outcome) == "posted"));
}

#[tokio::test]
async fn an_idle_link_learns_of_a_new_leader_from_a_read() {
    let (mut cluster, lin, _) = rich(|_| ()).await;
    cluster.elect(2);
    let read = v1::GetAccountRequest { name: lin, stale_ok: false };
    cluster.client.get_account(read).await.unwrap();
    // The read's suspicion made the link look: nobody has sent it anything.
    cluster.elect(0);
    cluster.kill(2);
    cluster.wait_for(ServingStatus::NotServing).await;
}

/// Everything at once, from a seed: whatever goes wrong, each key's money moves once, and an answer is the truth.
#[tokio::test]
async fn in_foul_weather_every_key_has_one_effect() {
    for seed in 0..6 {
        foul_weather(seed).await;
    }
}

async fn foul_weather(seed: u64) {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let (mut cluster, lin, wang) = rich(|_| ()).await;
    let faults: Vec<_> = (0..120)
        .map(|_| match next(10) {
            0 => Fault::CutBefore,
            1 | 2 => Fault::CutAfter,
            3 => Fault::Fail(Failure::Overloaded),
            4 => Fault::FailHalf(Failure::NoLeader),
            5 => Fault::ApplyAndFail(Failure::OutcomeUnknown),
            6 => Fault::Garble,
            7 => Fault::FailHalf(Failure::Draining),
            _ => Fault::None,
        })
        .collect();
    cluster.inject(faults);

    let (sender, stream) = mpsc::channel(64);
    let mut answers =
        cluster.client.session(ReceiverStream::new(stream)).await.unwrap().into_inner();
    for id in 0..60 {
        // Every key comes in two frames.
        let keys = (0..5).map(|n| format!("s{}", id / 2 * 5 + n));
        let requests = keys.map(|key| wanted(transfer(&key, &lin, &wang, 1))).collect();
        sender
            .send(v1::SessionRequest { id, requests, timeout_ms: 0, traceparent: None })
            .await
            .unwrap();
    }
    let singles = (0..60).map(|n| {
        let mut client = cluster.client.clone();
        let request = transfer(&format!("u{}", n / 2), &lin, &wang, 1);
        async move { client.transfer(request).await }
    });
    let change_leaders = async {
        for leader in [2, 3, 1, 2] {
            tokio::task::yield_now().await;
            cluster.elect(leader);
        }
    };
    let (singles, ()) = tokio::join!(join_all(singles), change_leaders);
    for (n, answer) in singles.into_iter().enumerate() {
        answer.unwrap_or_else(|status| panic!("seed {seed}: single {n}: {status}"));
    }
    for _ in 0..60 {
        let answer = answers.message().await.unwrap().unwrap();
        let codes: Vec<_> = answer.outcomes.iter().map(said).collect();
        assert_eq!(codes, ["posted"; 5], "seed {seed}: frame {}", answer.id);
    }
    assert_eq!(cluster.balance(&wang), 30 * 5 + 30, "seed {seed}");
}
