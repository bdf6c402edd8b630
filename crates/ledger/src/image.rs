//! An image of the ledger at one log index, taken in a moment and written at leisure.
//!
//! It has two parts. The *generation* is what still changes: accounts, active holds, and the ledger's own facts, in
//! pages. The *volume* is what never changes again: the outcomes, postings, ended holds and reversals of the chunks that
//! no volume has yet. An image shares its pages with the ledger, which copies a page before it writes one that an image
//! holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use bincode::{Decode, Encode};

use crate::account::Account;
use crate::account::AccountKind;
use crate::amount::Currency;
use crate::channels::{Channel, Cursors, Message, Pending};
use crate::codec;
use crate::cold::{ColdName, ColdRecord, Corrupt, Incoming, KeptOutcome};
use crate::cuts::Cuts;
use crate::directory::{Directory, Head, Row};
use crate::hash;
use crate::hold::Hold;
use crate::id::{AccountId, TenantId, Time, TransferId};
use crate::journal::{JournalKind, LinePlace, Posting};
use crate::key::{Key, Operation, ScopedKey};
use crate::ledger::{Books, Ledger, Stored};
use crate::recent::Chunk;
use crate::retention::Retention;
use crate::slots::Shards;
use crate::table::Page;

/// The ledger's own facts, beside its records.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct Facts {
    shard: u16,
    shards: u16,
    index: u64,
    now: Time,
    retention: Retention,
    totals: Vec<(Currency, AccountKind, i128)>,
    accounts: u64,
    holds: u64,
    sealed: u128,
    next_chunk: u64,
    digest: u128,
}

const FACTS: &[u8] = b"f";

/// Messages, or waiting requests, in one page.
const PAGE_MESSAGES: usize = 128;

/// Rows of the directory in one page: with the longest tables it takes a fifth of a mebibyte.
const PAGE_ROWS: usize = 64;

/// The ledger at one log index.
#[derive(Debug)]
pub struct Image {
    facts: Facts,
    accounts: Vec<Arc<Page<Stored>>>,
    holds: Vec<Arc<Page<Hold>>>,
    channels: Vec<(u16, Channel)>,
    pending: Vec<(TransferId, Pending)>,
    cuts: Cuts,
    directory: Arc<Directory>,
    chunks: Vec<Arc<Chunk>>,
    shard: u16,
}

impl Ledger {
    /// Takes an image. What happens from now on gathers in a new chunk.
    pub fn freeze(&mut self) -> Image {
        let digest = self.digest();
        let chunks = self.recent.freeze();
        let sealing = chunks.iter().fold(0_u128, |sum, chunk| sum.wrapping_add(chunk.digest));
        let totals = self.totals.iter().map(|((currency, kind), sum)| (*currency, *kind, *sum));
        let count = |len: usize| u64::try_from(len).expect("a length fits");
        let facts = Facts {
            shard: self.books.shard,
            shards: self.books.shards.count(),
            index: self.index,
            now: self.now,
            retention: self.retention.clone(),
            totals: totals.collect(),
            accounts: count(self.accounts.len()),
            holds: count(self.holds.len()),
            sealed: self.sealed.wrapping_add(sealing),
            next_chunk: self.recent.open_number(),
            digest,
        };
        Image {
            shard: self.books.shard,
            facts,
            accounts: self.accounts.image(),
            holds: self.holds.image(),
            channels: self
                .channels
                .peers()
                .map(|(peer, channel)| (peer, channel.clone()))
                .collect(),
            pending: self
                .channels
                .all_pending()
                .iter()
                .map(|(id, waiting)| (*id, waiting.clone()))
                .collect(),
            cuts: self.cuts.clone(),
            directory: Arc::clone(&self.directory),
            chunks,
        }
    }

    /// Lets go of the records that an image's volume has, once it is durable.
    pub fn evict(&mut self, image: u64) {
        self.evictions = self.evictions.saturating_add(1);
        self.sealed = self.sealed.wrapping_add(self.recent.evict(image));
    }
}

impl Image {
    /// The log index at which it was taken.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.facts.index
    }

    /// Its number: what to tell [`Ledger::evict`] when it is durable.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.facts.next_chunk.saturating_sub(1)
    }

    /// How many records the generation has.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.facts.accounts.saturating_add(self.facts.holds).saturating_add(1)
    }

    /// The feature level by which it was written: a release that does not know it must not read its pages.
    #[must_use]
    pub fn level(&self) -> u32 {
        self.directory.level()
    }

    /// The digest of the whole ledger, wherever its records lie.
    #[must_use]
    pub const fn digest(&self) -> u128 {
        self.facts.digest
    }

    /// What was decided before this log time has been forgotten when the image was taken. The checkpoint, and what comes
    /// after it in the log, need no volume whose last record is older.
    #[must_use]
    pub const fn cut_off(&self) -> Time {
        self.facts.retention.cut_off()
    }

    /// The digest of the records that this image's volume will have.
    #[must_use]
    pub fn cold_digest(&self) -> u128 {
        self.chunks.iter().fold(0, |sum: u128, chunk| sum.wrapping_add(chunk.digest))
    }

    /// The digest of the records that lay in volumes when it was taken: what is neither in its generation nor in its
    /// volume.
    #[must_use]
    pub fn sealed_before(&self) -> u128 {
        self.facts.sealed.wrapping_sub(self.cold_digest())
    }

    /// Log time when it was taken.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.facts.now
    }

    /// A bound on the records of the volume: there are never more.
    #[must_use]
    pub fn cold_records_max(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.records_max()).fold(0, u64::saturating_add)
    }

    /// The log times of the first and the last record of the volume; `None` when it would be empty.
    #[must_use]
    pub fn times(&self) -> Option<(Time, Time)> {
        let times = self.chunks.iter().filter_map(|chunk| chunk.times);
        times.reduce(|(first, _), (_, last)| (first, last))
    }

    /// The pages of the generation, in the order of their names.
    pub fn pages(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        let accounts = (0_u32..).zip(&self.accounts).map(|(number, page)| {
            let rows: Vec<Account> = page.iter().flatten().map(|stored| stored.account).collect();
            (page_name(b'a', number), page_bytes(&rows))
        });
        let holds = (0_u32..).zip(&self.holds).map(|(number, page)| {
            let rows: Vec<Hold> = page.iter().flatten().copied().collect();
            (page_name(b'h', number), page_bytes(&rows))
        });
        let facts = std::iter::once_with(|| (FACTS.to_vec(), page_bytes(&self.facts)));
        let waiting = (0_u32..)
            .zip(self.pending.chunks(PAGE_MESSAGES))
            .map(|(number, waiting)| (page_name(b'w', number), page_bytes(&waiting.to_vec())));
        let cuts = Some(&self.cuts).filter(|cuts| !cuts.is_empty());
        let cuts = cuts.map(|cuts| (page_name(b'k', 0), page_bytes(cuts)));
        accounts
            .chain(self.channel_pages())
            .chain(self.directory_pages())
            .chain(facts)
            .chain(holds)
            .chain(cuts)
            .chain(waiting)
    }

    /// First the head, then the rows; nothing, as long as nothing was ever known.
    fn directory_pages(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        let known = Some(&self.directory).filter(|directory| !directory.is_empty());
        known.into_iter().flat_map(|directory| {
            let head = (page_name(b'd', 0), page_bytes(directory.head()));
            let rows: Vec<Row> = directory.rows().collect();
            let pages: Vec<_> = (1_u32..)
                .zip(rows.chunks(PAGE_ROWS))
                .map(|(number, rows)| (page_name(b'd', number), page_bytes(&rows.to_vec())))
                .collect();
            std::iter::once(head).chain(pages)
        })
    }

    /// Of each channel first its cursors, then its messages.
    fn channel_pages(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        self.channels.iter().flat_map(|(peer, channel)| {
            let cursors = (channel_name(*peer, 0), page_bytes(&channel.cursors()));
            let messages: Vec<&Message> = channel.kept().iter().collect();
            let pages: Vec<_> = (1_u32..)
                .zip(messages.chunks(PAGE_MESSAGES))
                .map(|(number, messages)| (channel_name(*peer, number), page_bytes(&messages)))
                .collect();
            std::iter::once(cursors).chain(pages)
        })
    }

    /// The records of the volume, in the order of their names.
    pub fn cold_records(&self) -> impl Iterator<Item = ColdRecord> {
        let holds = self.ended_holds().map(|hold| ColdRecord::new(&ColdName::Hold(hold.id), &hold));
        let legs = self.legs().map(|(transfer, (legs, at, kind))| {
            ColdRecord::new(&ColdName::Legs(transfer), &(legs, at, kind))
        });
        let outcomes = self
            .outcomes()
            .map(|(scoped, kept)| ColdRecord::new(&ColdName::Outcome(scoped), &kept));
        let postings = self.postings().map(|posting| ColdRecord::posting(&posting));
        let reversals = self
            .reversals()
            .map(|(transfer, by)| ColdRecord::new(&ColdName::Reversal(transfer), &by));
        let incoming = self
            .incoming()
            .map(|(transfer, incoming)| ColdRecord::new(&ColdName::Incoming(transfer), &incoming));
        holds.chain(incoming).chain(legs).chain(outcomes).chain(postings).chain(reversals)
    }

    fn ended_holds(&self) -> impl Iterator<Item = Hold> {
        let mut holds: Vec<Hold> =
            self.chunks.iter().flat_map(|chunk| chunk.holds.values().copied()).collect();
        holds.sort_unstable_by_key(|hold| hold.id);
        holds.into_iter()
    }

    fn legs(
        &self,
    ) -> impl Iterator<Item = (TransferId, (Vec<crate::batch::Leg>, Time, JournalKind))> {
        self.chunks
            .iter()
            .flat_map(|chunk| {
                chunk.rows.iter().filter(|row| row.leg == 1).map(move |row| (chunk, row))
            })
            .map(|(chunk, row)| {
                let legs = chunk.legs(row.index, row.position).map(|row| crate::batch::Leg {
                    debit: row.debit,
                    credit: row.credit,
                    amount: row.amount,
                });
                (row.transfer(self.shard), (legs.collect(), row.at, row.kind))
            })
    }

    fn outcomes(&self) -> impl Iterator<Item = (ScopedKey, KeptOutcome)> {
        let mut order: Vec<(TenantId, u128, Operation, Key, Place)> = Vec::new();
        for (chunk, chunk_number) in self.chunks.iter().zip(0..) {
            order.extend(chunk.outcome_keys().map(|(row, scoped)| {
                let ScopedKey { key, subject, tenant, operation } = scoped;
                (tenant, subject, operation, key, Place { chunk: chunk_number, row })
            }));
        }
        order.sort_unstable();
        order.into_iter().map(|(tenant, subject, operation, key, place)| {
            let kept = self.chunk(place).outcome_at(place.row).expect("a row lies in its chunk");
            (ScopedKey { key, subject, tenant, operation }, kept)
        })
    }

    fn postings(&self) -> impl Iterator<Item = Posting> {
        let mut order: Vec<(AccountId, Place, bool)> = Vec::new();
        for (chunk, chunk_number) in self.chunks.iter().zip(0..) {
            for (row, number) in chunk.rows.iter().zip(0..) {
                let place = Place { chunk: chunk_number, row: number };
                order.push((row.debit, place, false));
                order.push((row.credit, place, true));
            }
        }
        // Rows are in the order of the log, so an account's postings are in the order of their places.
        order.sort_unstable();
        order.into_iter().map(|(_, place, is_credit)| {
            let chunk = self.chunk(place);
            let row = chunk.rows.get(index(place.row)).expect("a row lies in its chunk");
            let links = chunk.links(row);
            if is_credit { row.credit_posting(links) } else { row.debit_posting(links) }
        })
    }

    fn chunk(&self, place: Place) -> &Chunk {
        self.chunks.get(index(place.chunk)).expect("a place names a chunk")
    }

    fn incoming(&self) -> impl Iterator<Item = (TransferId, Incoming)> {
        let chunks = self.chunks.iter();
        let mut incoming: Vec<(TransferId, Incoming)> = chunks
            .flat_map(|chunk| {
                chunk.incoming.iter().map(|(transfer, incoming)| (*transfer, *incoming))
            })
            .collect();
        incoming.sort_unstable_by_key(|(transfer, _)| *transfer);
        incoming.into_iter()
    }

    fn reversals(&self) -> impl Iterator<Item = (TransferId, TransferId)> {
        let mut reversals: Vec<(TransferId, TransferId)> = self
            .chunks
            .iter()
            .flat_map(|chunk| chunk.reversals.iter().map(|(transfer, by)| (*transfer, *by)))
            .collect();
        reversals.sort_unstable();
        reversals.into_iter()
    }
}

/// Where a record lies in the chunks of an image. Sorting names with these moves a third of what the records are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    chunk: u32,
    row: u32,
}

fn index(number: u32) -> usize {
    usize::try_from(number).expect("32 bits fit")
}

fn page_name(kind: u8, number: u32) -> Vec<u8> {
    let mut name = vec![kind];
    name.extend_from_slice(&number.to_be_bytes());
    name
}

fn channel_name(peer: u16, number: u32) -> Vec<u8> {
    let mut name = vec![b'c'];
    name.extend_from_slice(&peer.to_be_bytes());
    name.extend_from_slice(&number.to_be_bytes());
    name
}

/// A page is a whole that is stored by itself: a version byte stands in front.
fn page_bytes(content: &impl Encode) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16 << 10);
    bytes.push(codec::FORMAT);
    codec::put_cold(content, &mut bytes);
    bytes
}

fn read_page<T: Decode<()>>(value: &[u8]) -> Result<T, Corrupt> {
    let (version, content) =
        value.split_first().ok_or_else(|| Corrupt::new("page", "it is empty"))?;
    if *version != codec::FORMAT {
        return Err(Corrupt::new("page", format!("it is of format {version}")));
    }
    codec::get_cold(content).map_err(|error| Corrupt::new("page", error.to_string()))
}

/// A ledger on its way back from a generation's pages.
#[derive(Debug)]
pub struct Restore {
    ledger: Ledger,
    facts: Option<Facts>,
    cursors: BTreeMap<u16, Cursors>,
    messages: BTreeMap<(u16, u32), Vec<Message>>,
    directory_head: Head,
}

impl Restore {
    /// Begins with nothing.
    #[must_use]
    pub fn new(books: Books) -> Self {
        Self {
            ledger: Ledger::new(books),
            facts: None,
            cursors: BTreeMap::new(),
            messages: BTreeMap::new(),
            directory_head: Head::default(),
        }
    }

    /// Takes a page, in any order.
    ///
    /// # Errors
    /// When it is no page of ours.
    pub fn page(&mut self, name: &[u8], value: &[u8]) -> Result<(), Corrupt> {
        match name.first() {
            Some(b'a') => {
                for account in read_page::<Vec<Account>>(value)? {
                    let part = hash::part(&account);
                    self.ledger.counted = self.ledger.counted.wrapping_add(part);
                    let stored = Stored { account, last_line: LinePlace::NOWHERE, counted: true };
                    self.ledger.accounts.put(account.id, stored);
                }
            }
            Some(b'h') => {
                for hold in read_page::<Vec<Hold>>(value)? {
                    if hold.state != crate::hold::HoldState::Active {
                        return Err(Corrupt::new("hold", "it has ended"));
                    }
                    self.ledger.counted = self.ledger.counted.wrapping_add(hash::part(&hold));
                    self.ledger.holds.put(hold);
                }
            }
            Some(b'c') => self.channel_page(name, value)?,
            Some(b'w') => {
                for (transfer, pending) in read_page::<Vec<(TransferId, Pending)>>(value)? {
                    self.ledger.channels.wait(transfer, pending);
                }
            }
            Some(b'd') => self.directory_page(name, value)?,
            Some(b'k') => self.ledger.cuts = read_page(value)?,
            Some(b'f') => self.facts = Some(read_page(value)?),
            Some(_) | None => return Err(Corrupt::new("page", "its name is of no known kind")),
        }
        Ok(())
    }

    fn directory_page(&mut self, name: &[u8], value: &[u8]) -> Result<(), Corrupt> {
        if name == page_name(b'd', 0) {
            self.directory_head = read_page(value)?;
            return Ok(());
        }
        let directory = Arc::make_mut(&mut self.ledger.directory);
        for (name, version, record) in read_page::<Vec<Row>>(value)? {
            directory.take(name, version, record);
        }
        Ok(())
    }

    fn channel_page(&mut self, name: &[u8], value: &[u8]) -> Result<(), Corrupt> {
        let corrupt = || Corrupt::new("page", "its name is no channel's");
        let (peer, number) = name
            .get(1..)
            .and_then(|rest| rest.split_first_chunk::<2>())
            .and_then(|(peer, number)| Some((*peer, <[u8; 4]>::try_from(number).ok()?)))
            .ok_or_else(corrupt)?;
        let (peer, number) = (u16::from_be_bytes(peer), u32::from_be_bytes(number));
        if number == 0 {
            self.cursors.insert(peer, read_page(value)?);
        } else {
            self.messages.insert((peer, number), read_page(value)?);
        }
        Ok(())
    }

    /// The ledger, once every page was taken.
    ///
    /// # Errors
    /// When pages are missing, are another shard's, or do not add up to the digest they were written with.
    pub fn finish(self) -> Result<Ledger, Corrupt> {
        let Self { mut ledger, facts, cursors, messages, directory_head } = self;
        Arc::make_mut(&mut ledger.directory).restore_head(directory_head);
        for (peer, cursors) in cursors {
            let pages = messages.range((peer, 0)..=(peer, u32::MAX));
            let sent = pages.flat_map(|(_, page)| page.iter().cloned()).collect();
            ledger.channels.put(peer, Channel::restored(cursors, sent));
        }
        let facts =
            facts.ok_or_else(|| Corrupt::new("generation", "the page of facts is missing"))?;
        let shards = Shards::new(facts.shards).ok_or_else(|| Corrupt::new("facts", "no shards"))?;
        if ledger.books != (Books { shard: facts.shard, shards }) {
            return Err(Corrupt::new("generation", "it belongs to another shard"));
        }
        let count = |len: usize| u64::try_from(len).expect("a length fits");
        if count(ledger.accounts.len()) != facts.accounts
            || count(ledger.holds.len()) != facts.holds
        {
            return Err(Corrupt::new("generation", "records are missing, or there are too many"));
        }
        ledger.index = facts.index;
        ledger.now = facts.now;
        ledger.retention = facts.retention;
        ledger.sealed = facts.sealed;
        ledger.recent.begin_at(facts.next_chunk);
        for (currency, kind, sum) in facts.totals {
            ledger.totals.insert((currency, kind), sum);
        }
        if ledger.digest() != facts.digest {
            return Err(Corrupt::new("generation", "its records do not add up to its digest"));
        }
        ledger.audit().map_err(|violation| Corrupt::new("generation", violation.to_string()))?;
        Ok(ledger)
    }
}
