#![allow(clippy::arithmetic_side_effects, reason = "tests with small numbers")]

use std::collections::{BTreeMap, BTreeSet};

use ledger::{Batch, Time};

use super::*;
use crate::checkpoint::Meta;
use crate::messages::{AppendAnswer, AppendRequest, Beat, Recalled};
use crate::mutants::Mutants;
use crate::raft::{AppendEntriesRequest, Member, Vote};
use crate::roster::Known;

fn membership() -> openraft::Membership<u64, Member> {
    let member = Member { address: "10.0.0.1:7000".into(), disk: [3; 16] };
    let nodes: BTreeMap<u64, Member> = [(1, member.clone()), (2, member)].into();
    openraft::Membership::new(vec![BTreeSet::from([1, 2])], nodes).unwrap()
}

fn entries() -> Vec<Entry> {
    let batch = Batch::head(Time(5), 0).to_vec();
    vec![
        Entry { log_id: log_id(3, 8), payload: EntryPayload::Blank },
        Entry { log_id: log_id(3, 9), payload: EntryPayload::Normal(BatchBytes(batch.into())) },
        Entry { log_id: log_id(4, 10), payload: EntryPayload::Membership(membership()) },
    ]
}

#[test]
fn entries_are_read_as_they_were_written() {
    for entry in entries() {
        let body = encode_entry(&entry);
        assert_eq!(decode_entry(entry.log_id.index, &body).unwrap(), entry);
    }
    assert!(decode_entry(1, &Bytes::from_static(&[1, 2, 3])).is_err(), "shorter than a term");
    assert!(decode_payload(&Bytes::from_static(&[MEMBERSHIP, FORMAT, 1])).is_err());
}

#[test]
fn the_bytes_in_the_log_stay_as_they_are() {
    let golden = ["0300000000000000", "0300000000000000010500000000000000", "0400000000000000ff01"];
    for (entry, golden) in entries().iter().zip(golden) {
        let hex: String = encode_entry(entry).iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(hex.starts_with(golden), "{hex}");
    }
    let vote = Vote::new_committed(7, 2);
    let hex: String = encode(&vote).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "0107000000000000000102000000000000000 1".replace(' ', ""));
    let hex: String = encode(&log_id(7, 9)).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "0107000000000000000900000000000000");
}

#[test]
fn a_payload_is_not_copied_on_its_way() {
    let entry = entries().remove(1);
    let body = encode_entry(&entry);
    let EntryPayload::Normal(batch) = decode_entry(9, &body).unwrap().payload else {
        panic!("a batch")
    };
    assert_eq!(batch.0.as_ptr(), body[8..].as_ptr());
    assert_eq!(encode_payload(&EntryPayload::Normal(batch.clone())).as_ptr(), batch.0.as_ptr());
}

#[test]
fn requests_travel_whole() {
    let request = AppendEntriesRequest {
        vote: Vote::new_committed(4, 2),
        prev_log_id: Some(log_id(2, 7)),
        leader_commit: Some(log_id(2, 6)),
        entries: entries(),
    };
    let (head, bodies) = AppendRequest::encode(&request, 11);
    let back = AppendRequest::decode(&head, bodies.clone()).unwrap();
    assert_eq!(back.session, 11);
    assert_eq!(format!("{:?}", back.request), format!("{request:?}"));
    assert!(AppendRequest::decode(&head, bodies[1..].to_vec()).is_err(), "a body is missing");
    assert!(AppendRequest::decode(&head[..head.len() - 1], bodies).is_err(), "cut short");
    // A log that begins: its first entry has index 0.
    let first = Entry { log_id: log_id(0, 0), payload: EntryPayload::Blank };
    let request =
        AppendEntriesRequest { prev_log_id: None, entries: vec![first.clone()], ..request };
    let (head, bodies) = AppendRequest::encode(&request, 11);
    assert_eq!(AppendRequest::decode(&head, bodies).unwrap().request.entries, [first]);
}

#[test]
fn what_is_newer_or_longer_is_refused() {
    let answer = encode(&AppendAnswer::Matched(None));
    assert!(decode::<AppendAnswer>(&answer).is_ok());
    let newer: Vec<u8> =
        answer.iter().enumerate().map(|(at, byte)| if at == 0 { 2 } else { *byte }).collect();
    assert!(matches!(decode::<AppendAnswer>(&newer), Err(CodecError::Format(2))));
    let longer = [&answer[..], &[0]].concat();
    assert!(matches!(decode::<AppendAnswer>(&longer), Err(CodecError::Length)));
    assert!(matches!(decode::<AppendAnswer>(&[]), Err(CodecError::Length)));
}

/// Inputs for each decoder.
const INPUTS: usize = 20_000;

#[test]
fn whatever_comes_is_read_or_refused() {
    let entries = entries();
    let mut bodies = Mutants::of(entries.iter().map(encode_entry));
    for _ in 0..INPUTS {
        let body = Bytes::from(bodies.next());
        if let Ok(entry) = decode_entry(9, &body) {
            assert_eq!(decode_entry(9, &encode_entry(&entry)).unwrap(), entry);
        }
    }
    let request = AppendEntriesRequest {
        vote: Vote::new_committed(7, 2),
        prev_log_id: Some(log_id(3, 7)),
        leader_commit: Some(log_id(3, 6)),
        entries,
    };
    let (head, _) = AppendRequest::encode(&request, 5);
    let mut heads = Mutants::of([head]);
    let mut values = Mutants::of([
        encode(&Beat::default()),
        encode(&Recalled::default()),
        encode(&Meta::default()),
    ]);
    for _ in 0..INPUTS {
        let bodies = (0..heads.below(4)).map(|_| Bytes::from(bodies.next())).collect();
        let _request = AppendRequest::decode(&heads.next(), bodies);
        let bytes = values.next();
        let _values = (
            decode::<Beat>(&bytes),
            decode::<Recalled>(&bytes),
            decode::<AppendAnswer>(&bytes),
            decode::<Known>(&bytes),
            Meta::decode(&bytes),
        );
    }
}
