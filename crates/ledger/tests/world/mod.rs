//! A ledger with a shelf of volumes beside it: what a replica is, less the network and the disk.

#![allow(dead_code, reason = "shared by several test binaries, each of which uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test that panics has said what it had to say"
)]

use std::collections::BTreeMap;

use ledger::{
    AccountId, Answer, Batch, Books, ColdName, ColdValue, Command, Decided, Image, Key, Ledger,
    Posting, Request, Restore, Said, Shards, Slot, TenantId, Time, cold_digest, posting_range,
};

/// The books of the first of two shards.
pub(crate) const BOOKS: fn() -> Books = || Books { shard: 0, shards: Shards::new(2).unwrap() };

/// 2026-01-01T00:00:00Z.
pub(crate) const START: Time = Time(1_767_225_600_000);

/// A record in a volume, and the log time of the volume's last record.
#[derive(Clone)]
struct Filed {
    value: Vec<u8>,
    volume_ended: Time,
}

/// What a restart begins with: pages, volumes, and how much of the log they cover.
#[derive(Clone)]
struct Generation {
    pages: Vec<(Vec<u8>, Vec<u8>)>,
    cold: BTreeMap<Vec<u8>, Filed>,
    covers: usize,
    cut_off: Time,
}

pub(crate) struct World {
    books: Books,
    pub(crate) ledger: Ledger,
    pub(crate) at: Time,
    cold: BTreeMap<Vec<u8>, Filed>,
    log: Vec<(Vec<u8>, Decided)>,
    image: Option<Image>,
    /// The newest last. Two are kept, as a node keeps them.
    generations: Vec<Generation>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::of(BOOKS())
    }

    pub(crate) fn of(books: Books) -> Self {
        Self {
            books,
            ledger: Ledger::new(books),
            at: START,
            cold: BTreeMap::new(),
            log: Vec::new(),
            image: None,
            generations: Vec::new(),
        }
    }

    /// Applies one batch as a replica does: encoded, decoded, what it names fetched; then audits.
    pub(crate) fn apply(&mut self, requests: Vec<Request>) -> Vec<Answer> {
        let decided = self.decide(requests);
        let now = |said: Said| said.now().expect("nothing here waits for another shard");
        decided.answers.into_iter().map(now).collect()
    }

    /// The same, where requests may wait for other shards.
    pub(crate) fn decide(&mut self, requests: Vec<Request>) -> Decided {
        let bytes = Batch::new(self.at, requests).unwrap().encode().unwrap();
        let decided = self.apply_entry(&bytes);
        self.ledger.audit().unwrap();
        self.log.push((bytes, decided.clone()));
        decided
    }

    fn apply_entry(&mut self, bytes: &[u8]) -> Decided {
        let batch = Batch::decode(bytes).unwrap();
        let mut names = Vec::new();
        self.ledger.missing(&batch, |name| names.push(name));
        let mut fetched = self.ledger.begin_fetch();
        for name in names {
            if let Some(value) = self.look_up(&name) {
                fetched.put(name, value).unwrap();
            }
        }
        let index = self.ledger.index() + 1;
        self.ledger.apply(index, &batch, &fetched)
    }

    /// As a store does: volumes that ended before the record can have been written are passed over.
    fn look_up(&self, name: &ColdName) -> Option<&[u8]> {
        let filed = self.cold.get(&name.key())?;
        let skipped = name.not_before().is_some_and(|time| filed.volume_ended < time);
        (!skipped).then_some(filed.value.as_slice())
    }

    /// Writes a checkpoint, lets memory go, and goes on from what was written.
    pub(crate) fn checkpoint(&mut self) {
        self.freeze();
        self.seal();
        self.restart(0);
    }

    /// Takes an image, unless one is being written.
    pub(crate) fn freeze(&mut self) {
        if self.image.is_none() {
            self.image = Some(self.ledger.freeze());
        }
    }

    /// Forgets the image that was being written, as when the disk refused it.
    pub(crate) fn abandon(&mut self) {
        self.image = None;
    }

    /// Finishes writing the image, if there is one: from now on it is durable, and memory lets go of its records.
    pub(crate) fn seal(&mut self) {
        let Some(image) = self.image.take() else { return };
        let volume_ended = image.times().map_or(Time(0), |(_, last)| last);
        let mut sum = 0_u128;
        let mut before = Vec::new();
        for record in image.cold_records() {
            assert!(record.key > before, "records come in the order of their names, each once");
            before.clone_from(&record.key);
            sum = sum.wrapping_add(cold_digest(&record.key, &record.value).unwrap());
            let filed = Filed { value: record.value, volume_ended };
            if let Some(older) = self.cold.insert(record.key.clone(), filed) {
                let at = decided_at(&record.key, &older.value).expect("history is written once");
                assert!(at < self.ledger.cut_off(), "only a forgotten name is used anew");
            }
        }
        assert_eq!(sum, image.cold_digest());
        self.generations.push(Generation {
            pages: image.pages().collect(),
            cold: self.cold.clone(),
            covers: usize::try_from(image.index()).unwrap(),
            cut_off: image.cut_off(),
        });
        if self.generations.len() > 2 {
            self.generations.remove(0);
        }
        let digest = self.ledger.digest();
        self.ledger.evict(image.number());
        assert_eq!(self.ledger.digest(), digest, "what leaves memory stays in the digest");
    }

    /// Begins anew from the newest generation, or an older one, and the log behind it.
    pub(crate) fn restart(&mut self, generations_back: usize) {
        let digest = self.ledger.digest();
        self.image = None;
        let from = self.generations.len().checked_sub(generations_back + 1);
        let covers = match from.map(|from| self.generations[from].clone()) {
            Some(Generation { pages, cold, covers, .. }) => {
                let mut restore = Restore::new(self.books);
                // In any order: the store's is not the image's.
                for (name, value) in pages.iter().rev() {
                    restore.page(name, value).unwrap();
                }
                self.ledger = restore.finish().unwrap();
                self.cold = cold;
                covers
            }
            None => {
                self.ledger = Ledger::new(self.books);
                self.cold.clear();
                0
            }
        };
        self.generations.truncate(from.map_or(0, |from| from + 1));
        let log = std::mem::take(&mut self.log);
        for (bytes, decided) in &log[covers..] {
            assert_eq!(self.apply_entry(bytes), *decided, "a replay answers as before");
        }
        self.log = log;
        assert_eq!(self.ledger.digest(), digest, "a restart changes nothing");
    }

    /// Drops what is forgotten from the volumes, as far as `chosen` says: replicas do it at different moments. What the
    /// newest checkpoint had not forgotten stays: a restart from it may look it up.
    pub(crate) fn drop_forgotten(&mut self, mut chosen: impl FnMut() -> bool) {
        let cut_off = self.generations.last().map_or(Time(0), |newest| newest.cut_off);
        self.cold.retain(|key, filed| {
            decided_at(key, &filed.value).is_none_or(|at| at >= cut_off) || !chosen()
        });
    }

    /// The account's whole statement, newest first, from memory and volumes.
    pub(crate) fn statement(&self, account: AccountId) -> Vec<Posting> {
        let mut postings = self.ledger.postings(&account, None, usize::MAX);
        let (from, to) = posting_range(account);
        let cold = self.cold.range(from..to).rev();
        postings.extend(cold.map(|(key, filed)| Posting::from_cold(key, &filed.value).unwrap()));
        postings
    }

    /// A record in the volumes.
    pub(crate) fn cold(&self, name: &ColdName) -> Option<ColdValue> {
        let filed = self.cold.get(&name.key())?;
        Some(ColdValue::read(name, &filed.value).unwrap())
    }
}

/// When an outcome or the end of a hold was decided; `None` for history.
fn decided_at(key: &[u8], value: &[u8]) -> Option<Time> {
    let name = ColdName::parse(key).unwrap();
    match ColdValue::read(&name, value).unwrap() {
        ColdValue::Outcome(kept) => Some(kept.at),
        ColdValue::Hold(hold) => hold.ended_at,
        ColdValue::Reversal(_)
        | ColdValue::Legs(..)
        | ColdValue::Posting(_)
        | ColdValue::Incoming(_) => None,
    }
}

/// A request of the operator under a free-form key.
pub(crate) fn request(key: u64, command: Command) -> Request {
    let mut digest = [0x5a; 16];
    digest[..8].copy_from_slice(&key.to_be_bytes());
    Request { key: Key::from_digest(digest), tenant: TenantId(0), command }
}

/// An account by a small number, all in one slot.
pub(crate) fn account(number: u128) -> AccountId {
    AccountId::in_slot(0x0192_0000_0000_7000_8000_0000_0000_0000 | number << 12, Slot::of(0))
}
