//! Golden bytes: what is on disk today must be read for ever.

use crate::log::format::{
    FRAME_LEN, FrameHead, Front, Head, Kind, Record, Records, decode_identity, encode_identity,
    find_frame, salt, segment_name, segment_number,
};

const ID: [u8; 16] = *b"\x00\x01\x02\x03\x04\x05\x06\x07\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn record(kind: Kind, index: u64, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Record { kind, group: 3, index, body }.encode(&mut out);
    out
}

#[test]
fn the_bytes_are_these() {
    assert_eq!(hex(&encode_identity(ID)), GOLDEN[0]);
    let state = record(Kind::Reach, 9, b"");
    assert_eq!(hex(&Head { segment: 2, sequence: 5, state: &state }.encode(salt(ID))), GOLDEN[1]);
    let mut frame = vec![0; FRAME_LEN];
    frame.extend(record(Kind::Append, 9, b"body"));
    FrameHead::finish(&mut frame, 5, salt(ID));
    assert_eq!(hex(&frame), GOLDEN[2]);
    let kinds = [
        Kind::Append,
        Kind::Truncate,
        Kind::Purge,
        Kind::Vote,
        Kind::Committed,
        Kind::Begin,
        Kind::Reach,
    ];
    let codes: Vec<u8> = kinds.iter().map(|kind| record(*kind, 1, b"")[0]).collect();
    assert_eq!(codes, [1, 2, 3, 4, 5, 6, 7], "kinds only grow at the end");
}

/// Identity, head and frame, worked out by another program from the drawing.
const GOLDEN: [&str; 3] = [
    "504159432d49440a01000000000102030405060718191a1b1c1d1e1ff8a62941",
    "504159432d4c4f470100000002000000050000000000000018181818181818181800000011dfccdc07000000030000000900000000000000000000007db3f05a",
    "f7a35c9e1c0000000500000000000000181818181818181843fdf153a78b237101000000030000000900000000000000040000004736902e626f6479",
];

#[test]
fn what_was_encoded_decodes() {
    let bytes = encode_identity(ID);
    assert_eq!(decode_identity(&bytes), Front::Sound(ID));
    assert_eq!(decode_identity(&bytes[..31]), Front::Bad);

    let state = record(Kind::Vote, 0, b"vote");
    let head = Head { segment: 2, sequence: 5, state: &state };
    let bytes = head.encode(salt(ID));
    assert_eq!(bytes.len(), head.end());
    assert_eq!(Head::decode(&bytes, salt(ID)), Front::Sound(head));
    assert_eq!(Head::decode(&bytes, 1), Front::Foreign);
    assert_eq!(Head::claimed_salt(&bytes), Some(salt(ID)));

    let mut frame = vec![0; FRAME_LEN];
    frame.extend(record(Kind::Append, 9, b"body"));
    frame.extend(record(Kind::Truncate, 9, b""));
    FrameHead::finish(&mut frame, 5, 1);
    let head = FrameHead::decode(&frame, 1).expect("sound");
    assert_eq!(FrameHead::decode(&frame, 2), None, "another log's salt");
    let payload = head.payload(&frame[FRAME_LEN..]).expect("sound");
    let records: Vec<_> = Records(payload).map(|record| record.expect("sound").kind).collect();
    assert_eq!(records, [Kind::Append, Kind::Truncate]);
    let shifted = [&[0xF7, 0xA3, 0][..], &frame].concat();
    assert_eq!(find_frame(&shifted, 0, 1), Some(3));
    assert_eq!(find_frame(&shifted, 4, 1), None);
}

/// A sound checksum over another version is no damage.
#[test]
fn other_versions_are_told_from_damage() {
    let mut bytes = encode_identity(ID);
    bytes[8] = 2;
    assert_eq!(decode_identity(&bytes), Front::Bad);
    let crc = crc32fast::hash(&bytes[..28]).to_le_bytes();
    bytes[28..].copy_from_slice(&crc);
    assert_eq!(decode_identity(&bytes), Front::Version(2));
}

#[test]
fn a_segment_has_one_name() {
    assert_eq!(segment_number(&segment_name(7)), Some(7));
    for name in ["7.log", "0000000000.log", "+000000007.log", "0000000007.log~", "identity"] {
        assert_eq!(segment_number(name), None, "{name}");
    }
}
