//! A transfer step by step, without a network between.

use std::path::Path;

use ledger::{Batch, Books, Ledger, Shards, Time};
use openraft::storage::RaftSnapshotBuilder;

use super::*;
use crate::checkpoint::Builder;
use crate::meter::Meter;
use crate::raft::{StoredMembership, log_id};
use crate::state::State;
use crate::stop::StopSwitch;
use crate::store::{Files, MemoryStore, Parts, RealFiles};

fn shard(dir: &Path) -> Shard {
    let files: Arc<dyn Files> = Arc::new(RealFiles);
    let parts =
        Parts { files, store: Arc::new(MemoryStore::default()), filter_of: checkpoint::filter_of };
    let books = Books { shard: 0, shards: Shards::new(1).unwrap() };
    let (checkpoints, _new) = checkpoint::open(dir, parts, books).unwrap();
    Shard {
        number: 0,
        books,
        state: Arc::new(State::new(Ledger::new(books), None)),
        checkpoints: Arc::new(checkpoints),
        offload: Offload::Inline,
        stop: StopSwitch::new(),
        meter: Meter::default(),
    }
}

/// A shard that has applied something and made a checkpoint of it.
async fn sender(dir: &Path) -> Shard {
    let shard = shard(dir);
    let batch = Batch::new(Time(1_000), Vec::new()).unwrap();
    {
        let mut ledger = shard.state.ledger();
        let fetched = ledger.begin_fetch();
        ledger.apply(7, &batch, &fetched);
    }
    let meta =
        Meta { last_log_id: Some(log_id(2, 7)), last_membership: StoredMembership::default() };
    Builder::new(shard.clone(), meta).build_snapshot().await.unwrap();
    shard
}

fn piece(of: &crate::store::Snapshot, Next(wanted): Next) -> (Bytes, Vec<u8>) {
    let (file, offset, len) = wanted.unwrap();
    // Small pieces, so that there are several.
    let len = chunk_len(len).min(40);
    let Chunk { file, offset, bytes, crc } = of.chunk(FileNumber(file), offset, len).unwrap();
    (codec::encode(&(file, offset, crc)), bytes)
}

#[tokio::test]
async fn a_transfer_goes_on_where_it_stopped_and_what_was_damaged_is_asked_for_again() {
    let dir = tempfile::tempdir().unwrap();
    let from = sender(&dir.path().join("from")).await;
    let to = shard(&dir.path().join("to"));
    let source = open(&from.checkpoints).unwrap();
    let offer = source.offer().encode();

    let mut receiver = Receiver::default();
    let head = codec::encode(&(FileNumber(0), 0_u64, 0_u32));
    assert!(receiver.piece(&to, 1, (&head, b"x")).await.is_err(), "a piece of no offer");
    assert!(receiver.offered(&to, (1, &offer[1..])).await.is_err(), "an offer that is damaged");
    let first = receiver.offered(&to, (1, &offer)).await.unwrap();
    let (head, mut body) = piece(&source, first);
    body[3] ^= 1;
    assert_eq!(receiver.piece(&to, 1, (&head, &body)).await.unwrap(), first, "damaged on its way");
    body[3] ^= 1;
    // A leader that is none any more is not listened to, and nobody installs a part.
    assert!(receiver.piece(&to, 2, (&head, &body)).await.is_err(), "another node's");
    assert!(receiver.finish(1).is_none() && receiver.finish(2).is_none(), "not all is here");
    let second = receiver.piece(&to, 1, (&head, &body)).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(receiver.piece(&to, 1, (&head, &body)).await.unwrap(), second, "it came twice");

    // Another attempt, even of another process, begins where this one ended.
    let mut receiver = Receiver::default();
    assert_eq!(receiver.offered(&to, (1, &offer)).await.unwrap(), second);
    let mut next = second;
    while next.0.is_some() {
        let (head, body) = piece(&source, next);
        next = receiver.piece(&to, 1, (&head, &body)).await.unwrap();
    }
    assert!(receiver.finish(2).is_none(), "another node's");
    let (meta, received) = receiver.finish(1).unwrap();
    assert_eq!(meta.last_log_id, Some(log_id(2, 7)));
    let (mark, ledger) = received.install(&to).await.unwrap();
    assert_eq!((mark.index, mark.purge_upto), (7, Some(7)));
    assert_eq!(ledger.digest(), from.state.ledger().digest());
    assert!(receiver.finish(1).is_none());

    // Whoever asked, and has not heard the answer, hears it again; until something else is on its way.
    let vote = |term| Vote::new_committed(term, 1);
    assert_eq!(receiver.answered(vote(2)), None);
    receiver.set_answered(vote(2), vote(3));
    assert_eq!(receiver.answered(vote(2)), Some(vote(3)));
    assert_eq!(receiver.answered(vote(1)), None, "somebody else");
    receiver.offered(&to, (1, &offer)).await.unwrap();
    assert_eq!(receiver.answered(vote(2)), None);
}
