#![allow(clippy::arithmetic_side_effects, reason = "tests with small numbers")]

use std::collections::BTreeSet;

use ledger::Shards;
use tokio::sync::mpsc;

use super::*;
use crate::raft::{Entry, StoredMembership, log_id};
use crate::transport::link::Waiting;

/// Node 1's way to node 2 in a group of three, with a lane for entries that is up.
struct Way {
    peers: Arc<Peers>,
    flushed: Flushed,
    outbound: mpsc::Receiver<Message>,
    waiting: Arc<Waiting>,
}

impl Way {
    fn new() -> Self {
        let configured = (Shards::new(1).unwrap(), BTreeMap::new());
        let roster = Roster::new(1, [1; 16], configured, Default::default());
        let member = |node: u8| (node.into(), Member { address: String::new(), disk: [node; 16] });
        let voters = vec![BTreeSet::from([1, 2, 3])];
        let nodes: BTreeMap<u64, Member> = (1..=3).map(member).collect();
        let membership = openraft::Membership::new(voters, nodes).unwrap();
        roster.record(0, &StoredMembership::new(Some(log_id(1, 1)), membership));
        let peers = Arc::new(Peers::new(Arc::new(roster), Arc::default(), Offload::Inline));
        let (outbound, waiting) = peers.link(2).connect(Lane::Bulk);
        Self { peers, flushed: Flushed::default(), outbound, waiting }
    }

    fn network(&self) -> Network {
        let (peers, flushed) = (Arc::clone(&self.peers), self.flushed.clone());
        GroupPeers { group: 0, peers, flushed }.network(2, Lane::Bulk)
    }

    /// What the leader says beside the next request, and the request's number.
    async fn said(&mut self) -> (u64, Option<Acked>) {
        let sent = self.outbound.recv().await.unwrap();
        let acked = (!sent.acked.is_empty()).then(|| codec::decode(&sent.acked).unwrap());
        (sent.request, acked)
    }
}

/// A leader's request of term 4, with one entry.
fn request(index: u64) -> AppendEntriesRequest {
    let payload = openraft::EntryPayload::Blank;
    AppendEntriesRequest {
        vote: Vote::new_committed(4, 1),
        prev_log_id: Some(log_id(4, index - 1)),
        leader_commit: None,
        entries: vec![Entry { log_id: log_id(4, index), payload }],
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_behind_it_gives_no_request_more_time() {
    let way = Way::new();
    let every_second = stream::unfold(10, |index| async move {
        runtime::sleep(Duration::from_secs(1)).await;
        Some((request(index), index + 1))
    });
    let begun = tokio::time::Instant::now();
    let mut network = way.network();
    let option = RPCOption::new(Duration::from_millis(200));
    let mut answers = network.stream_append(Box::pin(every_second), option).await.unwrap();
    assert!(matches!(answers.next().await, Some(Err(_))), "the first is never answered");
    assert_eq!(begun.elapsed(), Duration::from_secs(1) + APPEND_TIMEOUT);
    assert!(answers.next().await.is_none(), "the session is over");
}

#[tokio::test(start_paused = true)]
async fn whoever_answers_one_after_the_other_may_take_his_time() {
    let mut way = Way::new();
    let mut network = way.network();
    let input = stream::iter((10..13).map(request)).chain(stream::pending());
    let option = RPCOption::new(Duration::from_millis(200));
    let mut answers = network.stream_append(input, option).await.unwrap();
    let answering = async {
        for index in 10..13 {
            let (number, _) = way.said().await;
            runtime::sleep(APPEND_TIMEOUT - Duration::from_secs(1)).await;
            let matched = codec::encode(&AppendAnswer::Matched(Some(log_id(4, index))));
            way.waiting.resolve(Message::answer(0, number, Ok(matched)));
        }
    };
    let heard = async {
        for _ in 0..3 {
            assert!(matches!(answers.next().await, Some(Ok(Ok(_)))));
        }
    };
    tokio::join!(answering, heard);
}

#[tokio::test]
async fn what_is_on_the_disks_is_said_with_the_next_request() {
    let mut way = Way::new();
    let (requests, input) = mpsc::channel(8);
    let mut network = way.network();
    let input = tokio_stream::wrappers::ReceiverStream::new(input);
    let option = RPCOption::new(Duration::from_millis(200));
    let mut answers = network.stream_append(input, option).await.unwrap();

    // Of its own disk a leader says what it has synced in its own term.
    way.flushed.set(Some(log_id(3, 9)));
    requests.send(request(10)).await.unwrap();
    let (first, said) = tokio::join!(async { answers.next().await }, async {
        let (number, said) = way.said().await;
        let matched = codec::encode(&AppendAnswer::Matched(Some(log_id(4, 10))));
        way.waiting.resolve(Message::answer(0, number, Ok(matched)));
        said
    });
    assert!(matches!(first, Some(Ok(Ok(_)))));
    assert_eq!(said, None);

    // And of its followers' what they have said, by the next request.
    way.flushed.set(Some(log_id(4, 10)));
    requests.send(request(11)).await.unwrap();
    let said = tokio::select! {
        _ = answers.next() => None,
        (_, said) = way.said() => said,
    };
    let by = vec![(2, log_id(4, 10)), (1, log_id(4, 10))];
    assert_eq!(said, Some(Acked { term: 4, by }));
}

/// The answer to entries may be lost; then a question without any hears that they are there, and the leader counts it.
#[tokio::test]
async fn what_a_follower_says_to_a_question_without_entries_is_remembered_too() {
    let mut way = Way::new();
    let (requests, input) = mpsc::channel(8);
    let mut network = way.network();
    let input = tokio_stream::wrappers::ReceiverStream::new(input);
    let option = RPCOption::new(Duration::from_millis(200));
    let mut answers = network.stream_append(input, option).await.unwrap();
    requests.send(AppendEntriesRequest { entries: Vec::new(), ..request(11) }).await.unwrap();
    let (answer, ()) = tokio::join!(async { answers.next().await }, async {
        let (number, _) = way.said().await;
        let matched = codec::encode(&AppendAnswer::Matched(Some(log_id(4, 10))));
        way.waiting.resolve(Message::answer(0, number, Ok(matched)));
    });
    assert!(matches!(answer, Some(Ok(Ok(_)))));
    assert_eq!(way.peers.witness.acked_to(0, 4), [(2, log_id(4, 10))]);
}
