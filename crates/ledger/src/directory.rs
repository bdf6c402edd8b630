//! The directory: what a cluster knows of itself.
//!
//! It is kept by the *meta group*, one more ledger beside those of the shards, with channels to all of them and no
//! accounts: nodes and who keeps what, as these report it; tenants, their API keys' hashes and their aliases; tables
//! that take effect at a time of their own; and the feature level. Gateways follow the whole of it. What decides inside a
//! shard's ledger (tables and the level) goes to every shard over its channel, so that each shard's log says itself what
//! was in force at each of its entries; and so does who the nodes are and who keeps
//! what, so that each can tell whoever asks the wrong one.
//!
//! A table is published at least an hour before it takes effect, and the meta group tells every shard the time every ten
//! minutes. So a shard that has heard from it within the hour knows every table that is in force: which tables a journal
//! was made under is a function of its log time, and needs no bytes of its own. A shard that has heard nothing for an hour
//! refuses what asks a table.
//!
//! Invariants:
//! - Each change has a version of its own, greater than all before it: whoever has seen everything up to one version needs
//!   only what came later.
//! - A table that is in force, or will be within the hour, never changes.
//! - The feature level only rises, one at a time, and never above what every node's release knows.

mod record;

use std::collections::BTreeMap;
use std::ops::Bound;

use bincode::{Decode, Encode};

use crate::hash;
use crate::id::{TenantId, Time};

pub use record::{
    ADDRESS_BYTES_MAX, ApiKeyRecord, MEMBERS_MAX, NAME_BYTES_MAX, Name, NodeRecord, Placement,
    Record, TABLE_BYTES_MAX, TenantRecord, is_name,
};

/// Names that one directory knows at the most, those included that stand for nothing any more: some 30 MB.
pub const RECORDS_MAX: usize = 100_000;

/// Aliases among them at the most: tenants give them, and must not take the room of what the operator has to write.
pub const ALIASES_MAX: usize = 80_000;

/// Aliases of one tenant at the most, so that none takes the others' room.
pub const ALIASES_OF_TENANT_MAX: usize = 10_000;

/// How long before it takes effect a table is published at the least.
pub const TABLE_NOTICE_MS: u64 = 60 * 60 * 1_000;

/// How old what the meta group said last may be before a shard refuses what asks a table.
pub const TABLES_AGE_MS_MAX: u64 = TABLE_NOTICE_MS;

/// How often the meta group tells the shards the time: several of these may be missed.
pub const TELL_EVERY_MS: u64 = 10 * 60 * 1_000;

/// The feature level of a cluster in which nobody has raised it.
pub const LEVEL_FIRST: u32 = 1;

/// The greatest feature level that this release knows.
pub const LEVEL_MAX: u32 = if cfg!(next_level) { 2 } else { 1 };

/// A feature level that this release does not know: what was decided since it was raised would be read wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("feature level {level} is not known to this release, which knows up to {}", LEVEL_MAX)]
pub struct LevelUnknown {
    /// The level.
    pub level: u32,
}

/// What a cluster knows of itself: all of it in the meta group, what concerns it in a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    head: Head,
    records: BTreeMap<Name, (u64, Record)>,
    /// The names by the version of their last change: derived.
    by_version: BTreeMap<u64, Name>,
    /// How many aliases each tenant has ever given: derived.
    aliases: BTreeMap<TenantId, usize>,
    /// The parts of the records in the digest: derived.
    digest: u128,
}

/// What stands in front of the records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
pub(crate) struct Head {
    /// The version of the last change.
    version: u64,
    /// In the meta group, when the shards were last told the time; in a shard, the last time that it was told.
    told: Time,
    /// In the meta group, what each shard has said last that it has heard.
    heard: BTreeMap<u16, Heard>,
}

/// What a shard has said that it has heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Heard {
    /// The last time that it was told.
    pub at: Time,
    /// The version of the last change that it was told of.
    pub version: u64,
}

/// A record with its name and the version of its last change.
pub(crate) type Row = (Name, u64, Record);

impl Directory {
    /// The version of the last change; 0 when there was none.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.head.version
    }

    /// In the meta group, when the shards were last told the time; in a shard, the last time that it was told.
    #[must_use]
    pub const fn told(&self) -> Time {
        self.head.told
    }

    /// In the meta group, what each shard has said last that it has heard.
    #[must_use]
    pub const fn heard(&self) -> &BTreeMap<u16, Heard> {
        &self.head.heard
    }

    /// What is known under a name; nothing when it was never known, or is no longer.
    #[must_use]
    pub fn get(&self, name: &Name) -> Option<&Record> {
        self.records.get(name).map(|(_, record)| record).filter(|record| **record != Record::Gone)
    }

    /// What has changed after a version, the oldest change first, each name once. A name that stands for nothing any more
    /// is among them.
    pub fn changes(&self, after: u64) -> impl Iterator<Item = (u64, &Name, &Record)> {
        let later = self.by_version.range((Bound::Excluded(after), Bound::Unbounded));
        later.filter_map(|(version, name)| {
            self.records.get(name).map(|(_, record)| (*version, name, record))
        })
    }

    /// The table of a name that is in force at a log time: since when, its version, and its content.
    #[must_use]
    pub fn table_at(&self, name: &str, at: Time) -> Option<(Time, u64, &str)> {
        let from = Name::Table(name.to_owned(), Time(0));
        let to = Name::Table(name.to_owned(), at);
        let mut published = self.records.range(from..=to).rev();
        published.find_map(|(name, (version, record))| match (name, record) {
            (Name::Table(_, since), Record::Table(content)) => {
                Some((*since, *version, content.as_str()))
            }
            _ => None,
        })
    }

    /// The feature level.
    #[must_use]
    pub fn level(&self) -> u32 {
        match self.get(&Name::Level) {
            Some(Record::Level(level)) => *level,
            Some(_) | None => LEVEL_FIRST,
        }
    }

    /// The nodes, as they reported themselves, those included that were retired.
    pub fn nodes(&self) -> impl Iterator<Item = (u64, &NodeRecord)> {
        let nodes = self.records.range(Name::Node(0)..=Name::Node(u64::MAX));
        nodes.filter_map(|(name, (_, record))| match (name, record) {
            (Name::Node(node), Record::Node(record)) => Some((*node, record)),
            _ => None,
        })
    }

    /// Who keeps each shard, and the meta group, as their leaders reported.
    pub fn placements(&self) -> impl Iterator<Item = (u16, &Placement)> {
        let shards = self.records.range(Name::Shard(0)..=Name::Shard(u16::MAX));
        shards.filter_map(|(name, (_, record))| match (name, record) {
            (Name::Shard(shard), Record::Placement(placement)) => Some((*shard, placement)),
            _ => None,
        })
    }

    /// Whether a node keeps something, as far as leaders have reported.
    pub(crate) fn is_placed(&self, node: u64) -> bool {
        self.placements().any(|(_, placement)| {
            placement.voters.contains(&node) || placement.learners.contains(&node)
        })
    }

    /// Whether a name that is not known yet can be taken in.
    pub(crate) fn has_room(&self, name: &Name) -> bool {
        if self.records.contains_key(name) {
            return true;
        }
        let is_alias_room = |tenant: &TenantId| {
            let own = self.aliases.get(tenant).copied().unwrap_or(0);
            own < ALIASES_OF_TENANT_MAX && self.aliases.values().sum::<usize>() < ALIASES_MAX
        };
        let has_own = !matches!(name, Name::Alias(tenant, _) if !is_alias_room(tenant));
        has_own && self.records.len() < RECORDS_MAX
    }

    /// Whether nothing was ever known here.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.head == Head::default()
    }

    /// Writes a record, as a change of its own. Gives the change's version.
    pub(crate) fn write(&mut self, name: Name, record: Record) -> u64 {
        let version = self.head.version.saturating_add(1);
        self.take(name, version, record);
        version
    }

    /// Writes a record as the meta group has written it: what its followers do, whoever they are.
    pub fn take(&mut self, name: Name, version: u64, record: Record) {
        self.head.version = self.head.version.max(version);
        self.digest = self.digest.wrapping_add(part(&name, version, &record));
        if let Some((before, was)) = self.records.get(&name) {
            self.by_version.remove(before);
            self.digest = self.digest.wrapping_sub(part(&name, *before, was));
        } else if let Name::Alias(tenant, _) = &name {
            let given = self.aliases.entry(*tenant).or_default();
            *given = given.saturating_add(1);
        }
        self.by_version.insert(version, name.clone());
        self.records.insert(name, (version, record));
    }

    /// The meta group has told the time.
    pub(crate) fn tell(&mut self, at: Time) {
        self.head.told = self.head.told.max(at);
    }

    /// A shard has said what it has heard.
    pub(crate) fn hear(&mut self, shard: u16, heard: Heard) {
        self.head.heard.insert(shard, heard);
    }

    /// What the meta group told and heard, as its followers learn it.
    pub fn follow(&mut self, told: Time, heard: impl IntoIterator<Item = (u16, Heard)>) {
        self.tell(told);
        heard.into_iter().for_each(|(shard, heard)| self.hear(shard, heard));
    }

    pub(crate) const fn head(&self) -> &Head {
        &self.head
    }

    /// All records, in the order of their names.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> {
        let rows = self.records.iter();
        rows.map(|(name, (version, record))| (name.clone(), *version, record.clone()))
    }

    /// Takes in what was written down of one, in any order of its rows.
    pub(crate) fn restore_head(&mut self, head: Head) {
        self.head = head;
    }

    /// Its part in the digest: none, as long as nothing was ever known.
    pub(crate) fn digest(&self) -> u128 {
        if self.is_empty() {
            return 0;
        }
        self.digest.wrapping_add(hash::part(&(b'd', &self.head)))
    }

    /// Whether what is derived says what the records say.
    pub(crate) fn is_sound(&self) -> bool {
        let by_version = self.records.iter().map(|(name, (version, _))| (*version, name));
        let mut by_version: Vec<_> = by_version.collect();
        by_version.sort_unstable();
        let records = self.records.iter();
        let digest = records.fold(0_u128, |sum, (name, (version, record))| {
            sum.wrapping_add(part(name, *version, record))
        });
        digest == self.digest
            && by_version.last().is_none_or(|(last, _)| *last <= self.head.version)
            && by_version.iter().map(|(version, name)| (version, *name)).eq(&self.by_version)
    }
}

fn part(name: &Name, version: u64, record: &Record) -> u128 {
    hash::part(&(b'd', name, version, record))
}
