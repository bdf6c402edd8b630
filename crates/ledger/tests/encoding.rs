//! The bytes that an old log, an old checkpoint and an old volume are made of. They never change: what stands in
//! `golden/` was written once, and every later release reads it and would write it again.
//!
//! `UPDATE_GOLDENFILES=1 cargo test -p ledger --test encoding` adds what is new to `golden/encoding.txt`; a line that
//! is there already is never replaced by it.

#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test that panics has said what it had to say"
)]

#[path = "encoding/hex.rs"]
mod hex;
#[path = "encoding/samples.rs"]
mod samples;
#[path = "encoding/strange.rs"]
mod strange;
mod world;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use ledger::batch::{Head, get_record, put_record, records};
use ledger::codec::{get_cold, get_hot, put_cold, put_hot, take_cold};
use ledger::{
    Answer, Batch, ColdName, ColdValue, Command, Outcome, Posting, Rejection, Restore, Said, Time,
    cold_digest, posting_filter,
};
use samples::{answers, commands, rejections, request};
use world::{BOOKS, World};

const GOLDEN: &str = "tests/golden/encoding.txt";

/// The golden bytes by name, and what was new.
struct Golden {
    lines: BTreeMap<String, String>,
    is_written: bool,
}

impl Golden {
    fn read() -> Self {
        let text = std::fs::read_to_string(GOLDEN).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let lines = lines.map(|(name, bytes)| (name.to_owned(), bytes.to_owned())).collect();
        let is_written = std::env::var_os("UPDATE_GOLDENFILES").is_some();
        Self { lines, is_written }
    }

    /// Checks that these bytes are what they were.
    fn check(&mut self, name: &str, bytes: &[u8]) {
        let now = hex::write(bytes);
        match self.lines.get(name) {
            Some(golden) => assert_eq!(*golden, now, "{name} is written otherwise than before"),
            None if self.is_written => drop(self.lines.insert(name.to_owned(), now)),
            None => panic!("{name} has no golden bytes"),
        }
    }

    fn finish(&self) {
        if self.is_written {
            let mut text = String::new();
            for (name, bytes) in &self.lines {
                writeln!(text, "{name} {bytes}").unwrap();
            }
            std::fs::write(GOLDEN, text).unwrap();
        }
    }
}

#[test]
fn everything_is_written_as_it_was() {
    let mut golden = Golden::read();
    check_log(&mut golden);
    check_answers(&mut golden);
    check_enums(&mut golden);
    check_world(&mut golden);
    golden.check("posting-filter", &posting_filter(world::account(1)).to_be_bytes());
    golden.finish();
}

fn check_log(golden: &mut Golden) {
    let mut requests = Vec::new();
    for (name, command) in commands() {
        let mut bytes = Vec::new();
        put_hot(&command, &mut bytes);
        golden.check(&format!("command/{name}"), &bytes);
        assert_eq!(get_hot::<Command>(&bytes).unwrap(), command);

        let request = request(command);
        let mut record = Vec::new();
        put_record(&request, &mut record).unwrap();
        golden.check(&format!("record/{name}"), &record);
        let read: Vec<_> = records(&record).collect::<Result<_, _>>().unwrap();
        assert_eq!(get_record(read[0], 0).unwrap(), request);
        let head = Head::peek(read[0]).unwrap();
        assert_eq!((head.key, head.tenant), (request.key, request.tenant));
        assert_eq!(head.subject, request.command.subject(), "{name}");
        requests.push(request);
    }
    // The first is as it was first written; what came later stands in the others.
    let mut later = requests.split_off(13);
    let mut latest = later.split_off(3);
    let mut whole = latest.split_off(2);
    let mut directory = whole.split_off(2);
    let state = directory.split_off(11);
    let batches = [
        ("batch", requests),
        ("batch-2", later),
        ("batch-3", latest),
        ("batch-4", whole),
        ("batch-5", directory),
        ("batch-6", state),
    ];
    for (name, requests) in batches {
        let batch = Batch::new(Time(1_767_225_600_123), requests).unwrap();
        let bytes = batch.encode().unwrap();
        golden.check(name, &bytes);
        assert_eq!(Batch::decode(&bytes).unwrap(), batch);
    }
}

fn check_answers(golden: &mut Golden) {
    for rejection in rejections() {
        let mut bytes = Vec::new();
        put_cold(&rejection, &mut bytes);
        golden.check(&format!("rejection/{}", rejection.code()), &bytes);
        assert_eq!(get_cold::<Rejection>(&bytes).unwrap(), rejection);
    }
    for (name, answer) in answers() {
        let mut bytes = Vec::new();
        put_cold(&answer, &mut bytes);
        golden.check(&format!("answer/{name}"), &bytes);
        assert_eq!(get_cold::<Answer>(&bytes).unwrap(), answer);
        assert_eq!(take_cold::<Outcome>(&bytes).unwrap().0, answer.outcome);
    }
}

fn check_enums(golden: &mut Golden) {
    for (name, bytes) in samples::small_enums() {
        golden.check(&format!("enum/{name}"), &bytes);
    }
}

/// Pages and cold records as a small world writes them, and the digests by which replicas compare themselves.
fn check_world(golden: &mut Golden) {
    let mut world = World::new();
    samples::live(&mut world);
    golden.check("digest/ledger", &world.ledger.digest().to_be_bytes());
    let image = world.ledger.freeze();
    let mut kinds = BTreeMap::new();
    for (name, value) in image.pages() {
        golden.check(&format!("page/{}", String::from_utf8_lossy(&name[..1])), &value);
        kinds.insert(name[0], ());
    }
    for (number, record) in image.cold_records().enumerate() {
        let kind = char::from(record.key[0]);
        golden.check(&format!("cold/{number:02}/{kind}/key"), &record.key);
        golden.check(&format!("cold/{number:02}/{kind}/value"), &record.value);
        let digest = cold_digest(&record.key, &record.value).unwrap();
        golden.check(&format!("cold/{number:02}/{kind}/digest"), &digest.to_be_bytes());
        assert_eq!(ColdName::parse(&record.key).unwrap().key(), record.key);
        kinds.insert(record.key[0], ());
    }
    let kinds: String = kinds.into_keys().map(char::from).collect();
    assert_eq!(kinds, "afhjopr", "every kind of page and record was there");
}

/// Every number that a rejection can have in an old volume is one of the samples, and no sample is missing.
#[test]
fn every_rejection_is_among_the_samples() {
    let mut seen = 0;
    for number in 0..=250 {
        let mut bytes = vec![0; 64];
        bytes[0] = number;
        if take_cold::<Rejection>(&bytes).is_ok() {
            seen += 1;
        }
    }
    assert_eq!(seen, rejections().len());
    let codes: std::collections::BTreeSet<_> = rejections().iter().map(Rejection::code).collect();
    assert_eq!(codes.len(), seen, "codes are unique");
}

/// The image that the first release wrote. It must load for ever, and its volume must still be understood.
#[test]
fn an_old_image_loads_for_ever() {
    let path = Path::new("tests/golden/image-1.txt");
    if !path.exists() && std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        std::fs::write(path, samples::write_image()).unwrap();
    }
    let text = std::fs::read_to_string(path).unwrap();
    let mut restore = Restore::new(BOOKS());
    let mut sum = 0_u128;
    let mut cold = BTreeMap::new();
    let mut said = BTreeMap::new();
    for line in text.lines() {
        let [what, name, value] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let (name, value) = (hex::read(name), hex::read(value));
        match what {
            "page" => restore.page(&name, &value).unwrap(),
            "cold" => {
                sum = sum.wrapping_add(cold_digest(&name, &value).unwrap());
                cold.insert(name, value);
            }
            "said" => drop(said.insert(name, value)),
            other => panic!("no such line: {other}"),
        }
    }
    let mut ledger = restore.finish().unwrap();
    ledger.audit().unwrap();
    let payer = ledger.account(&world::account(1)).unwrap();
    assert_eq!((payer.posted, payer.held, payer.holds), (34_064, 999, 1));
    assert_eq!((payer.opened_at, payer.version), (Time(1_767_225_600_005), 18));
    assert_eq!(ledger.now(), Time(1_767_225_600_115));
    // What every key was answered then, it is answered now.
    let mut requests = Vec::new();
    for (record, answer) in &said {
        requests.push((get_record(record, 0).unwrap(), get_cold::<Outcome>(answer).unwrap()));
    }
    let batch = requests.iter().map(|(request, _)| request.clone()).collect();
    let batch = Batch::new(Time(0), batch).unwrap();
    let mut names = Vec::new();
    ledger.missing(&batch, |name| names.push(name));
    let mut fetched = ledger.begin_fetch();
    for name in names {
        if let Some(value) = cold.get(&name.key()) {
            fetched.put(name, value).unwrap();
        }
    }
    let answers = ledger.apply(ledger.index() + 1, &batch, &fetched).answers;
    assert!(answers.len() >= 20);
    for ((request, outcome), answer) in requests.iter().zip(answers) {
        let said = Said::Now(Answer { outcome: *outcome, replayed: true });
        assert_eq!(answer, said, "{request:?}");
    }
    for (key, value) in &cold {
        let name = ColdName::parse(key).unwrap();
        if let ColdValue::Posting(posting) = ColdValue::read(&name, value).unwrap() {
            assert_eq!(Posting::from_cold(key, value).unwrap(), posting);
            assert!(ledger.account(&posting.key.account).is_some());
        }
    }
    assert_ne!(sum, 0);
}
