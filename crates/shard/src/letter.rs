//! Letters between shards: a run of one channel's messages, as the records that the peer's log will hold.
//!
//! ```text
//! letter   version 1 │ from 2 │ count 4 │ records, each with its length in front
//! answer   version 1 │ what 1 │ number 8        the last message applied, or the leader's node, or 0
//! ```
//!
//! Nodes write to the meta group too, of themselves and of the shards that they lead: such a letter has [`REPORTS`] for its
//! shard, and reports for its records.
//!
//! Numbers are little-endian. The records are encoded once, here; the peer's leader checks each of them and proposes
//! the bytes as they are.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use consensus::failpoint::{Traffic, loses_payment};
use ledger::batch::{BATCH_REQUESTS_MAX, get_record, put_record, records};
use ledger::directory::{Name, Record};
use ledger::{AccountId, Command, Key, Ledger, Message, Numbered, Request, Shards, Slot, TenantId};

use crate::proposer::ENTRY_BYTES_MAX;

/// The layout above. A node that reads another one answers that it cannot.
const VERSION: u8 = 1;

const HEAD_BYTES: usize = 7;

/// What stands for the shard in a letter of reports: no shard has it.
const REPORTS: u16 = u16::MAX;

/// Room for the next record: a message is never longer.
const RECORD_ROOM: usize = 4_096;

/// A letter as it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The shard that wrote it.
    pub from: u16,
    /// How many records it has.
    pub(crate) count: usize,
    /// The records.
    pub(crate) records: Bytes,
}

/// What becomes of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LetterAnswer {
    /// It was read: the shard has applied the writer's messages up to this one.
    Read(u64),
    /// Another node leads the shard; this one, if anybody knows.
    NotLeader(Option<u64>),
    /// Not now, or nobody can tell: write it again.
    Again,
}

/// Writes what a peer has not applied after a message, as much as one entry carries. `None` when there is nothing.
pub(crate) fn write(ledger: &Ledger, peer: u16, after: u64) -> Option<Bytes> {
    let books = ledger.books();
    let to = AccountId::in_slot(0, books.shards.first_slot(peer));
    let mut records = Vec::new();
    let mut count = 0_u32;
    for Numbered { number, message } in ledger.outbox(peer, after).take(BATCH_REQUESTS_MAX) {
        let lost = matches!(message, Message::Pay(_)) && loses_payment();
        let message = Some((number, if lost { Message::Marker(0) } else { message }));
        let acked = ledger.acked_beside(peer, number);
        let command = Command::Deliver { books: to, from: books.shard, acked, message };
        let request = Request { key: Key::from_u128(0), tenant: TenantId(0), command };
        put_record(&request, &mut records).expect("a message is shorter than a record may be");
        count = count.saturating_add(1);
        if records.len().saturating_add(RECORD_ROOM) > ENTRY_BYTES_MAX {
            break;
        }
    }
    (count > 0).then(|| seal(books.shard, count, &records))
}

/// Writes to the meta group what a node reports: a bounded number of short records, as one letter.
pub(crate) fn report(reports: &BTreeMap<Name, Record>) -> Bytes {
    let mut records = Vec::new();
    let mut count = 0_u32;
    for (name, record) in reports {
        let (name, record) = (name.clone(), record.clone());
        let command = Command::Report { books: AccountId::from_u128(0), name, record };
        let request = Request { key: Key::from_u128(0), tenant: TenantId(0), command };
        put_record(&request, &mut records).expect("a report is shorter than a record may be");
        count = count.saturating_add(1);
    }
    seal(REPORTS, count, &records)
}

fn seal(from: u16, count: u32, records: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(HEAD_BYTES.saturating_add(records.len()));
    bytes.put_u8(VERSION);
    bytes.put_u16_le(from);
    bytes.put_u32_le(count);
    bytes.put_slice(records);
    bytes.freeze()
}

/// What a letter carries.
pub(crate) fn traffic(letter: &[u8]) -> Traffic {
    Traffic::of(letter.get(HEAD_BYTES..).unwrap_or_default())
}

impl Letter {
    /// Reads a letter to a group. `None` when it is none: every record must be a message from the shard that the letter
    /// says, to this one, and nothing else; or, in the meta group, a node's report.
    #[must_use]
    pub fn read(bytes: &Bytes, (shards, shard): (Shards, u16)) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (from, rest) = rest.split_first_chunk::<2>()?;
        let (count, _) = rest.split_first_chunk::<4>()?;
        let from = u16::from_le_bytes(*from);
        let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
        let body = bytes.slice(HEAD_BYTES..);
        let is_sound = *version == VERSION
            && (1..=BATCH_REQUESTS_MAX).contains(&count)
            && body.len() <= ENTRY_BYTES_MAX
            && from != shard;
        if !is_sound {
            return None;
        }
        let mut read = 0_usize;
        for record in records(&body) {
            let Request { tenant, command, .. } = get_record(record.ok()?, read).ok()?;
            let is_meta = shard == shards.meta();
            let is_sound = if let Command::Deliver { books, from: writer, message, .. } = command {
                let is_ours = is_meta || shards.shard(Slot::of(books.to_u128())) == shard;
                writer == from && is_ours && message.is_some()
            } else {
                let is_report = matches!(command, Command::Report { .. });
                is_report && is_meta && from == REPORTS
            };
            if tenant != TenantId(0) || !is_sound {
                return None;
            }
            read = read.saturating_add(1);
        }
        (read == count).then_some(Self { from, count, records: body })
    }
}

impl LetterAnswer {
    /// As it travels.
    pub(crate) fn write(self) -> Bytes {
        let (what, number) = match self {
            Self::Read(applied) => (1, applied),
            Self::NotLeader(leader) => (2, leader.unwrap_or(0)),
            Self::Again => (3, 0),
        };
        let mut bytes = BytesMut::with_capacity(10);
        bytes.put_u8(VERSION);
        bytes.put_u8(what);
        bytes.put_u64_le(number);
        bytes.freeze()
    }

    /// Reads one; what cannot be read means nothing.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let number = || bytes.get(2..).and_then(|rest| rest.first_chunk::<8>().copied());
        match (bytes.first_chunk::<2>(), number().map(u64::from_le_bytes)) {
            (Some([VERSION, 1]), Some(applied)) => Self::Read(applied),
            (Some([VERSION, 2]), Some(leader)) => Self::NotLeader((leader != 0).then_some(leader)),
            _ => Self::Again,
        }
    }
}

#[cfg(test)]
mod tests {
    use ledger::{AccountKind, Amount, Batch, Books, Currency, Time};

    use super::*;
    use crate::mutants::Mutants;

    const SHARDS: fn() -> Shards = || Shards::new(2).unwrap();

    /// A ledger that owes its peer some payments.
    fn paying(count: u128) -> Ledger {
        let shards = SHARDS();
        let mut ledger = Ledger::new(Books { shard: 0, shards });
        let payer = AccountId::in_slot(1 << 20, shards.first_slot(0));
        let payee = AccountId::in_slot(2 << 20, shards.first_slot(1));
        let minor = |minor| Amount::from_minor(minor).unwrap();
        let (currency, kind) = (Currency::CNY, AccountKind::Wallet);
        let open =
            Command::Open { account: payer, currency, kind, opening: Some(minor(1_000_000)) };
        let pays = (0..count).map(|_| Command::Transfer {
            debit: payer,
            credit: payee,
            amount: minor(1),
            currency,
        });
        let commands: Vec<Command> = std::iter::once(open).chain(pays).collect();
        for (index, chunk) in (1..).zip(commands.chunks(2_000)) {
            let key =
                |n: usize| Key::from_digest((u128::from(index) << 32 | n as u128).to_be_bytes());
            let requests = chunk.iter().enumerate().map(|(n, command)| Request {
                key: key(n),
                tenant: TenantId(0),
                command: command.clone(),
            });
            let batch = Batch::new(Time(1_767_225_600_000), requests.collect()).unwrap();
            let fetched = ledger.begin_fetch();
            let decided = ledger.apply(index, &batch, &fetched);
            assert_eq!(decided.sent_to.iter().collect::<Vec<_>>(), [1]);
        }
        ledger
    }

    #[test]
    fn a_letter_is_read_as_it_was_written() {
        let ledger = paying(5_000);
        let place = (SHARDS(), 1);
        let mut after = 0;
        for count in [2_048, 2_048, 904] {
            let letter = Letter::read(&write(&ledger, 1, after).unwrap(), place).unwrap();
            assert_eq!((letter.from, letter.count), (0, count));
            after += count as u64;
        }
        assert_eq!(write(&ledger, 1, after), None);
    }

    #[test]
    fn what_is_no_letter_is_not_read() {
        let good = write(&paying(3), 1, 0).unwrap();
        let place = (SHARDS(), 1);
        assert!(Letter::read(&good, place).is_some());
        assert_eq!(Letter::read(&good, (SHARDS(), 0)), None, "somebody else's");
        for length in 0..good.len() {
            assert_eq!(Letter::read(&good.slice(..length), place), None, "cut at {length}");
        }
        let mut longer = good.to_vec();
        longer.extend_from_slice(&good[HEAD_BYTES..]);
        assert_eq!(Letter::read(&longer.into(), place), None, "more than it says");
        for (at, byte) in [(0, 9), (1, 1), (3, 0), (6, 1)] {
            let mut changed = good.to_vec();
            changed[at] = byte;
            assert_eq!(Letter::read(&changed.into(), place), None, "byte {at}");
        }
    }

    #[test]
    fn whatever_comes_is_read_as_it_was_written_or_not_at_all() {
        let place = (SHARDS(), 1);
        let good = [0, 1, 2].map(|after| write(&paying(3), 1, after).unwrap().to_vec());
        let mut mutants = Mutants::of(good);
        let mut read = 0_u32;
        for _ in 0..30_000 {
            let bytes = Bytes::from(mutants.next());
            let _answer = LetterAnswer::read(&bytes);
            let Some(letter) = Letter::read(&bytes, place) else { continue };
            read += 1;
            assert_eq!(letter.records, bytes.slice(HEAD_BYTES..));
            assert_eq!(records(&letter.records).count(), letter.count);
        }
        assert!(read > 300, "hardly anything is read: {read}");
    }

    #[test]
    fn reports_are_the_meta_groups_to_read() {
        let name = |node| Name::Node(node);
        let reports = BTreeMap::from([(name(1), Record::Gone), (name(2), Record::Gone)]);
        let letter = report(&reports);
        let read = Letter::read(&letter, (SHARDS(), 2)).unwrap();
        assert_eq!((read.from, read.count), (REPORTS, 2));
        assert_eq!(Letter::read(&letter, (SHARDS(), 1)), None, "no shard's");
        let mut by_shard = letter.to_vec();
        by_shard[1..3].copy_from_slice(&[1, 0]);
        assert_eq!(Letter::read(&by_shard.into(), (SHARDS(), 2)), None, "a shard reports nothing");
    }

    #[test]
    fn a_clients_request_is_no_message() {
        let shards = SHARDS();
        let account = AccountId::in_slot(1 << 20, shards.first_slot(1));
        let request = Request {
            key: Key::from_u128(0),
            tenant: TenantId(0),
            command: Command::Close { account },
        };
        let mut bytes = vec![VERSION, 0, 0, 1, 0, 0, 0];
        put_record(&request, &mut bytes).unwrap();
        assert_eq!(Letter::read(&bytes.into(), (shards, 1)), None);
    }

    #[test]
    fn answers_are_read_as_they_were_written() {
        let answers = [
            LetterAnswer::Read(u64::MAX),
            LetterAnswer::NotLeader(Some(3)),
            LetterAnswer::NotLeader(None),
            LetterAnswer::Again,
        ];
        for answer in answers {
            assert_eq!(LetterAnswer::read(&answer.write()), answer);
        }
        for noise in [&b""[..], &[1], &[1, 1, 0], &[2; 10]] {
            assert_eq!(LetterAnswer::read(noise), LetterAnswer::Again);
        }
    }
}
