use ledger::{Answer, Posted, Rejection, Time, TransferId};
use proptest::prelude::*;

use super::*;

fn check(reply: Reply, golden: &str) {
    let mut bytes = Vec::new();
    put(&reply, &mut bytes);
    let written: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(written, golden.replace(' ', ""), "{reply:?}");
    let bytes: [u8; REPLY_BYTES] = bytes.try_into().expect("24 bytes");
    assert_eq!(get(&bytes), Ok(reply));
}

fn answer(outcome: ledger::Outcome, replayed: bool) -> Reply {
    Reply::Answer(Answer { outcome, replayed })
}

#[test]
fn replies_are_written_so_for_ever() {
    let transfer = TransferId { shard: 0x0102, index: 0x1112_1314_1516_1718, position: 0x0304 };
    let posted = Posted { transfer, at: Time(0x2122_2324_2526_2728) };
    check(answer(Ok(posted), false), "0000 0201 0403 0000 1817161514131211 2827262524232221");
    check(answer(Ok(posted), true), "0001 0201 0403 0000 1817161514131211 2827262524232221");
    let short = Rejection::Insufficient { available: 3_000, requested: 9_900 };
    check(answer(Err(short), false), "0100 0800 0000 0000 b80b000000000000 ac26000000000000");
    let exceeded = Rejection::HoldExceeded { remaining: 1, requested: 2 };
    check(answer(Err(exceeded), true), "0101 0e00 0000 0000 0100000000000000 0200000000000000");
    let old = Rejection::KeyTooOld { cut_off: Time(7) };
    check(answer(Err(old), false), "0100 1500 0000 0000 0700000000000000 0000000000000000");
    for (number, failure) in (0_u8..).zip(Failure::ALL) {
        let golden = format!("0200 {number:02x}00 0000 0000 0000000000000000 0000000000000000");
        check(Reply::Failure(failure), &golden);
    }
}

#[test]
fn rejections_keep_their_numbers() {
    let names = [
        "INVALID_AMOUNT",
        "UNKNOWN_CURRENCY",
        "ACCOUNT_NOT_FOUND",
        "ACCOUNT_EXISTS",
        "ACCOUNT_CLOSED",
        "ACCOUNT_FROZEN",
        "SAME_ACCOUNT",
        "CURRENCY_MISMATCH",
        "INSUFFICIENT",
        "BALANCE_LIMIT",
        "LEGS_TOO_FAR",
        "HOLD_NOT_FOUND",
        "HOLD_EXISTS",
        "HOLD_ENDED",
        "HOLD_EXCEEDED",
        "TOO_MANY_HOLDS",
        "TRANSFER_NOT_FOUND",
        "ALREADY_REVERSED",
        "NOT_REVERSIBLE",
        "TRANSFER_TOO_OLD",
        "KEY_REUSED",
        "KEY_TOO_OLD",
        "CLOSE_BLOCKED",
        "NOT_FROZEN",
        "INVALID_COMMAND",
        "RETURNED",
        "TABLE_TOO_SOON",
        "NAME_TAKEN",
        "RECORD_NOT_FOUND",
        "DIRECTORY_FULL",
        "LEVEL_NOT_READY",
    ];
    let codes: Vec<_> = every_rejection().map(|rejection| rejection.code()).collect();
    assert_eq!(codes, names);
}

#[test]
fn what_a_kind_does_not_use_is_zero() {
    let mut failure = Vec::new();
    put(&Reply::Failure(Failure::NoLeader), &mut failure);
    let mut frozen = Vec::new();
    put(&answer(Err(Rejection::AccountFrozen), false), &mut frozen);
    for (bytes, spare) in [(failure, 1..24), (frozen, 4..24)] {
        for place in spare.filter(|place| *place != 2) {
            let mut broken: [u8; REPLY_BYTES] = bytes.clone().try_into().expect("24 bytes");
            // Bit 0 of the flags means something for a rejection, no other bit does.
            broken[place] |= 0x82;
            assert_eq!(get(&broken), Err(ReplyError::Unknown), "byte {place} of {bytes:?}");
        }
    }
}

#[test]
fn a_frame_has_as_many_replies_as_records() {
    let replies = [Reply::Failure(Failure::Overloaded); 3];
    let bytes = encode(replies.iter());
    assert_eq!(bytes.len(), 72);
    let read: Result<Vec<_>, _> = decode(&bytes, 3).unwrap().collect();
    assert_eq!(read.as_deref(), Ok(&replies[..]));
    assert!(decode(&bytes, 2).is_err());
    assert!(decode(&bytes, 4).is_err());
    assert!(decode(&bytes[..71], 3).is_err());
    assert!(decode(&[], 0).is_ok());
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::array::uniform24(any::<u8>())) {
        if let Ok(reply) = get(&bytes) {
            let mut again = Vec::new();
            put(&reply, &mut again);
            prop_assert_eq!(&again[..], &bytes[..], "one spelling for each reply");
        }
    }

    // Random bytes seldom have a known kind: these do.
    #[test]
    fn nearly_right_bytes_are_read_or_refused(
        kind in 0_u8..4, flags in 0_u8..3, a in 0_u16..40, b in 0_u16..2, x in 0_u64..2, y in 0_u64..2,
    ) {
        let mut bytes = [0; REPLY_BYTES];
        bytes[0] = kind;
        bytes[1] = flags;
        bytes[2..4].copy_from_slice(&a.to_le_bytes());
        bytes[4..6].copy_from_slice(&b.to_le_bytes());
        bytes[8..16].copy_from_slice(&x.to_le_bytes());
        bytes[16..].copy_from_slice(&y.to_le_bytes());
        if let Ok(reply) = get(&bytes) {
            let mut again = Vec::new();
            put(&reply, &mut again);
            prop_assert_eq!(&again[..], &bytes[..]);
        }
    }

    #[test]
    fn any_frame_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100), count in 0_usize..6) {
        if let Ok(replies) = decode(&bytes, count) {
            prop_assert_eq!(replies.count(), count);
        }
    }
}
