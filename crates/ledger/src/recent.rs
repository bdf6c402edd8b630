//! What has happened since the last checkpoints, still in memory: outcomes, rows of history, ended holds, reversals.
//!
//! Records here never change. They gather in an open *chunk*; a checkpoint freezes it, writes it into a volume, and
//! then lets it go. A look-up asks the open chunk, then the frozen ones; what none of them has may be in a volume.
//!
//! Outcomes and ended holds that are forgotten before any checkpoint came are taken out, so that their names can be used
//! anew and no volume ever has a name twice.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{HashMap, HashTable};

use crate::cold::{ColdName, ColdValue, Incoming, KeptOutcome, posting_part};
use crate::hash::{self, Fixed};
use crate::hold::Hold;
use crate::id::{HoldId, TenantId, Time, TransferId};
use crate::journal::{JournalKind, Links, Remote, Row};
use crate::key::{Key, Operation, ScopedKey};
use crate::list::List;
use crate::outcome::Outcome;
use crate::retention::Retention;

/// Parts of the index of outcomes. Each grows by itself, so that no growth takes longer than a sixty-fourth of all.
const PARTS: usize = 64;

/// Keys for which room is made beforehand at the most: as many take 10 MB.
const EXPECTED_MAX: usize = 1 << 20;

/// A key with its outcome, laid out without gaps: there are millions.
#[derive(Clone, Copy, Debug)]
struct OutcomeRow {
    key: Key,
    subject: u128,
    fingerprint: u128,
    outcome: Outcome,
    at: Time,
    tenant: TenantId,
    operation: Operation,
}

impl OutcomeRow {
    const fn new(scoped: ScopedKey, kept: KeptOutcome) -> Self {
        let ScopedKey { key, subject, tenant, operation } = scoped;
        let KeptOutcome { fingerprint, outcome, at } = kept;
        Self { key, subject, fingerprint, outcome, at, tenant, operation }
    }

    const fn scoped(&self) -> ScopedKey {
        let Self { key, subject, tenant, operation, .. } = *self;
        ScopedKey { key, subject, tenant, operation }
    }

    const fn kept(&self) -> KeptOutcome {
        let Self { fingerprint, outcome, at, .. } = *self;
        KeptOutcome { fingerprint, outcome, at }
    }

    fn digest(&self) -> u128 {
        cold_part(ColdName::Outcome(self.scoped()), ColdValue::Outcome(self.kept()))
    }
}

/// The outcomes of one chunk, in order of execution, and an index of them.
#[derive(Clone, Debug)]
struct Outcomes {
    rows: List<OutcomeRow>,
    /// Rows before this one are forgotten.
    first: usize,
    parts: Vec<HashTable<u32>>,
}

impl Outcomes {
    /// With room for `expected` keys in the index, as long as that is not too many: growing means hashing all anew.
    fn new(expected: usize) -> Self {
        let room = expected.min(EXPECTED_MAX) / PARTS;
        let parts = (0..PARTS).map(|_| HashTable::with_capacity(room)).collect();
        Self { rows: List::new(), first: 0, parts }
    }

    fn get(&self, scoped: &ScopedKey) -> Option<KeptOutcome> {
        let hash = Fixed.hash_one(scoped);
        let is_it = |row: &u32| self.row(*row).is_some_and(|row| row.scoped() == *scoped);
        let found = self.parts.get(part_of(hash))?.find(hash, is_it);
        found.and_then(|row| self.row(*row)).map(OutcomeRow::kept)
    }

    fn insert(&mut self, row: OutcomeRow) {
        let hash = Fixed.hash_one(row.scoped());
        let number = u32::try_from(self.rows.push(row)).expect("a chunk is far below 2^32 rows");
        let rows = &self.rows;
        let rehash = |number: &u32| {
            let number = usize::try_from(*number).expect("32 bits fit");
            rows.get(number).map_or(0, |row| Fixed.hash_one(row.scoped()))
        };
        let part = self.parts.get_mut(part_of(hash)).expect("six bits name a part");
        part.insert_unique(hash, number, rehash);
    }

    /// Takes out the rows that are forgotten, which are the first ones, and returns their parts of the digest.
    fn forget(&mut self, retention: &Retention) -> u128 {
        let end = self.rows.partition_point(|row| retention.forgets(row.at));
        let forgotten = self.iter().take(end.saturating_sub(self.first));
        let digest = forgotten.fold(0_u128, |sum, row| sum.wrapping_add(row.digest()));
        self.first = end;
        digest
    }

    fn iter(&self) -> impl Iterator<Item = &OutcomeRow> {
        self.rows.iter().skip(self.first)
    }

    fn row(&self, number: u32) -> Option<&OutcomeRow> {
        let number = usize::try_from(number).expect("32 bits fit");
        self.rows.get(number).filter(|_| number >= self.first)
    }
}

fn cold_part(name: ColdName, value: ColdValue) -> u128 {
    hash::part(&(name, value))
}

/// Bits 40 … 45: the tables use the lowest and the highest ones themselves.
fn part_of(hash: u64) -> usize {
    usize::try_from((hash >> 40) & 63).expect("six bits fit")
}

/// What happened between two checkpoints.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) number: u64,
    pub(crate) first_row: u64,
    pub(crate) rows: List<Row>,
    reverses: HashMap<(u64, u16), TransferId, Fixed>,
    pub(crate) holds: HashMap<HoldId, Hold, Fixed>,
    pub(crate) reversals: HashMap<TransferId, TransferId, Fixed>,
    pub(crate) incoming: HashMap<TransferId, Incoming, Fixed>,
    /// What due accounts stand for, by row.
    remotes: HashMap<(u64, u16, u8), Remote, Fixed>,
    pub(crate) times: Option<(Time, Time)>,
    pub(crate) digest: u128,
    outcomes: Outcomes,
}

impl Chunk {
    fn new(number: u64, first_row: u64, outcomes: usize) -> Self {
        Self {
            number,
            first_row,
            rows: List::new(),
            reverses: HashMap::with_hasher(Fixed),
            holds: HashMap::with_hasher(Fixed),
            reversals: HashMap::with_hasher(Fixed),
            incoming: HashMap::with_hasher(Fixed),
            remotes: HashMap::with_hasher(Fixed),
            times: None,
            digest: 0,
            outcomes: Outcomes::new(outcomes),
        }
    }

    /// A bound on its records: a row has two postings, and its journal perhaps a record of its legs.
    pub(crate) fn records_max(&self) -> u64 {
        let rows = self.rows.len().saturating_mul(3);
        let others = [self.holds.len(), self.reversals.len(), self.incoming.len()];
        let records = others.into_iter().fold(rows, usize::saturating_add);
        u64::try_from(records.saturating_add(self.outcomes.rows.len())).unwrap_or(u64::MAX)
    }

    /// The keys that have an outcome here, each with the number of its row.
    pub(crate) fn outcome_keys(&self) -> impl Iterator<Item = (u32, ScopedKey)> {
        let rows = (0..).zip(self.outcomes.rows.iter()).skip(self.outcomes.first);
        rows.map(|(number, row)| (number, row.scoped()))
    }

    /// An outcome by the number of its row.
    pub(crate) fn outcome_at(&self, row: u32) -> Option<KeptOutcome> {
        self.outcomes.row(row).map(OutcomeRow::kept)
    }

    /// What a row of this chunk knows of elsewhere.
    pub(crate) fn links(&self, row: &Row) -> Links {
        let reverses = match row.kind {
            JournalKind::Reversal => self.reverses.get(&(row.index, row.position)).copied(),
            JournalKind::Opening
            | JournalKind::Transfer
            | JournalKind::Post
            | JournalKind::Return => None,
        };
        let place = (row.index, row.position, row.leg);
        let remote = row.may_be_remote().then(|| self.remotes.get(&place).copied()).flatten();
        Links { reverses, remote }
    }

    /// The rows of one transfer.
    pub(crate) fn legs(&self, index: u64, position: u16) -> impl Iterator<Item = &Row> {
        let at = (index, position);
        let first = self.rows.partition_point(|row| (row.index, row.position) < at);
        (first..)
            .map_while(|number| self.rows.get(number))
            .take_while(move |row| (row.index, row.position) == at)
    }

    fn is_empty(&self) -> bool {
        self.outcomes.rows.len() == 0
            && self.rows.len() == 0
            && self.holds.is_empty()
            && self.reversals.is_empty()
    }

    fn has_forgotten(&self, retention: &Retention) -> bool {
        self.times.is_some_and(|(first, _)| retention.forgets(first))
    }

    /// Takes out outcomes and holds that are forgotten, and returns their parts of the digest. Postings stay: they are
    /// history, and are looked up no more.
    fn forget(&mut self, retention: &Retention) -> u128 {
        let mut digest = self.outcomes.forget(retention);
        self.holds.retain(|id, hold| {
            let is_forgotten = hold.ended_at.is_some_and(|at| retention.forgets(at));
            if is_forgotten {
                digest =
                    digest.wrapping_add(cold_part(ColdName::Hold(*id), ColdValue::Hold(*hold)));
            }
            !is_forgotten
        });
        self.digest = self.digest.wrapping_sub(digest);
        digest
    }

    fn count(&mut self, at: Time, part: u128) {
        self.digest = self.digest.wrapping_add(part);
        let first = self.times.map_or(at, |(first, _)| first);
        self.times = Some((first, at));
    }
}

/// The recent records.
#[derive(Debug)]
pub(crate) struct Recent {
    frozen: VecDeque<Arc<Chunk>>,
    open: Chunk,
}

impl Recent {
    pub(crate) fn new() -> Self {
        Self { frozen: VecDeque::new(), open: Chunk::new(0, 0, 0) }
    }

    pub(crate) fn outcome(&self, scoped: &ScopedKey) -> Option<KeptOutcome> {
        self.chunks().find_map(|chunk| chunk.outcomes.get(scoped))
    }

    pub(crate) fn hold(&self, hold: &HoldId) -> Option<&Hold> {
        self.chunks().find_map(|chunk| chunk.holds.get(hold))
    }

    pub(crate) fn reversal(&self, transfer: &TransferId) -> Option<&TransferId> {
        self.chunks().find_map(|chunk| chunk.reversals.get(transfer))
    }

    pub(crate) fn incoming(&self, transfer: &TransferId) -> Option<&Incoming> {
        self.chunks().find_map(|chunk| chunk.incoming.get(transfer))
    }

    /// The rows of one transfer, if memory has them.
    pub(crate) fn legs(&self, transfer: &TransferId) -> Vec<Row> {
        let legs = |chunk: &Chunk| {
            let legs: Vec<Row> = chunk.legs(transfer.index, transfer.position).copied().collect();
            (!legs.is_empty()).then_some(legs)
        };
        self.chunks().find_map(legs).unwrap_or_default()
    }

    /// A row of history by its number, while memory has it.
    pub(crate) fn row(&self, number: u64) -> Option<(&Row, Links)> {
        let chunk = self.chunks().find(|chunk| chunk.first_row <= number)?;
        let inside = number.checked_sub(chunk.first_row)?;
        let row = chunk.rows.get(usize::try_from(inside).ok()?)?;
        Some((row, chunk.links(row)))
    }

    /// The number that the next row of history will have.
    pub(crate) fn next_row(&self) -> u64 {
        let rows = u64::try_from(self.open.rows.len()).expect("a length fits");
        self.open.first_row.saturating_add(rows)
    }

    /// The sum of the records' parts of the digest.
    pub(crate) fn digest(&self) -> u128 {
        self.chunks().fold(0, |sum: u128, chunk| sum.wrapping_add(chunk.digest))
    }

    pub(crate) fn keep_outcome(&mut self, scoped: ScopedKey, kept: KeptOutcome) {
        let row = OutcomeRow::new(scoped, kept);
        self.open.count(kept.at, row.digest());
        self.open.outcomes.insert(row);
    }

    pub(crate) fn keep_hold(&mut self, at: Time, hold: Hold) {
        self.open.count(at, cold_part(ColdName::Hold(hold.id), ColdValue::Hold(hold)));
        self.open.holds.insert(hold.id, hold);
    }

    pub(crate) fn keep_reversal(&mut self, at: Time, transfer: TransferId, by: TransferId) {
        self.open.count(at, cold_part(ColdName::Reversal(transfer), ColdValue::Reversal(by)));
        self.open.reversals.insert(transfer, by);
    }

    pub(crate) fn keep_incoming(&mut self, transfer: TransferId, incoming: Incoming) {
        let (name, value) = (ColdName::Incoming(transfer), ColdValue::Incoming(incoming));
        self.open.count(incoming.at, cold_part(name, value));
        self.open.incoming.insert(transfer, incoming);
    }

    pub(crate) fn keep_row(&mut self, row: Row, links: Links) {
        for posting in [row.debit_posting(links), row.credit_posting(links)] {
            self.open.count(row.at, posting_part(&posting));
        }
        if let Some(transfer) = links.reverses {
            self.open.reverses.insert((row.index, row.position), transfer);
        }
        if let Some(remote) = links.remote {
            self.open.remotes.insert((row.index, row.position, row.leg), remote);
        }
        self.open.rows.push(row);
    }

    /// Counts the record that a journal of several legs will have of its own.
    pub(crate) fn keep_legs(&mut self, at: Time, name: ColdName, value: ColdValue) {
        self.open.count(at, cold_part(name, value));
    }

    /// Freezes the open chunk, and says which chunks a checkpoint must write.
    pub(crate) fn freeze(&mut self) -> Vec<Arc<Chunk>> {
        // The next one will hold about as much as this one.
        let outcomes = self.open.outcomes.rows.len();
        let next = Chunk::new(self.open.number.saturating_add(1), self.next_row(), outcomes);
        let full = std::mem::replace(&mut self.open, next);
        if !full.is_empty() {
            self.frozen.push_back(Arc::new(full));
        }
        self.frozen.iter().cloned().collect()
    }

    /// Lets go of the frozen chunks up to `number`, and says what they were worth in the digest.
    pub(crate) fn evict(&mut self, number: u64) -> u128 {
        let mut digest = 0_u128;
        while let Some(chunk) = self.frozen.front().filter(|chunk| chunk.number <= number) {
            digest = digest.wrapping_add(chunk.digest);
            self.frozen.pop_front();
        }
        digest
    }

    /// Takes out what is forgotten, and says what it was worth in the digest. An image that is being written keeps what
    /// it had.
    pub(crate) fn forget(&mut self, retention: &Retention) -> u128 {
        let mut digest = self.open.forget(retention);
        for chunk in self.frozen.iter_mut().filter(|chunk| chunk.has_forgotten(retention)) {
            digest = digest.wrapping_add(Arc::make_mut(chunk).forget(retention));
        }
        digest
    }

    /// The number of the chunk that is gathering.
    pub(crate) const fn open_number(&self) -> u64 {
        self.open.number
    }

    /// Begins the numbers of chunks where an image left off.
    pub(crate) fn begin_at(&mut self, number: u64) {
        self.open.number = number;
    }

    /// Newest first.
    fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        std::iter::once(&self.open).chain(self.frozen.iter().rev().map(Arc::as_ref))
    }
}
