//! Changes of the directory, and what the shards hear of them.
//!
//! The meta group decides; a shard takes what comes over the channel as it is.

use std::collections::BTreeMap;
use std::panic::panic_any;
use std::sync::Arc;

use crate::channels::Message;
use crate::directory::{
    Directory, Heard, LEVEL_MAX, LevelUnknown, Name, NodeRecord, Placement, Record,
    TABLE_NOTICE_MS, TELL_EVERY_MS,
};
use crate::id::{TenantId, Time};
use crate::ledger::Ledger;
use crate::outcome::{Answer, Posted};
use crate::rejection::Rejection;

impl Ledger {
    /// What the cluster knows of itself: all of it in the meta group, what concerns it in a shard.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// When the meta group is next to tell the shards the time; never, in a shard.
    pub(crate) fn next_telling(&self) -> Option<Time> {
        self.is_meta().then(|| match self.directory.told() {
            Time(0) => Time(0),
            told => told.plus_ms(TELL_EVERY_MS),
        })
    }

    /// Whether this is the meta group's ledger.
    pub(crate) fn is_meta(&self) -> bool {
        self.books.shard == self.books.shards.meta()
    }

    /// Writes a record on somebody's word: a tenant's for its own aliases, the operator's for everything.
    pub(crate) fn direct(
        &mut self,
        tenant: TenantId,
        name: &Name,
        record: &Record,
    ) -> Result<(), Rejection> {
        if !self.is_meta() || !name.takes(record) {
            return Err(Rejection::InvalidCommand);
        }
        let is_own = matches!(name, Name::Alias(owner, _) if *owner == tenant);
        if tenant != TenantId(0) && !is_own {
            return Err(Rejection::InvalidCommand);
        }
        let is_known = self.directory.get(name);
        if is_known == Some(record) {
            return Ok(());
        }
        if is_known.is_none() && *record == Record::Gone {
            return Err(Rejection::RecordNotFound);
        }
        self.check_record(name, record)?;
        if !self.directory.has_room(name) {
            return Err(Rejection::DirectoryFull);
        }

        self.write_record(name, record);
        Ok(())
    }

    /// What a name's kind asks beyond its form. The record is another than the one that is there.
    fn check_record(&self, name: &Name, record: &Record) -> Result<(), Rejection> {
        let is_taken = self.directory.get(name).is_some() && *record != Record::Gone;
        match name {
            // Nodes and shards speak for themselves.
            Name::Node(_) | Name::Shard(_) => Err(Rejection::InvalidCommand),
            Name::Tenant(_) => Ok(()),
            // Whoever wants another account or key under a name first takes the old one away.
            Name::ApiKey(_) | Name::Alias(..) => {
                if is_taken {
                    Err(Rejection::NameTaken)
                } else {
                    Ok(())
                }
            }
            Name::Table(_, effective) => {
                let earliest = self.now.plus_ms(TABLE_NOTICE_MS);
                if *effective < earliest {
                    Err(Rejection::TableTooSoon { earliest })
                } else if is_taken {
                    Err(Rejection::NameTaken)
                } else {
                    Ok(())
                }
            }
            Name::Level => self.check_level(record),
        }
    }

    fn check_level(&self, record: &Record) -> Result<(), Rejection> {
        let Record::Level(level) = *record else { return Err(Rejection::InvalidCommand) };
        if level != self.directory.level().saturating_add(1) {
            return Err(Rejection::InvalidCommand);
        }
        let mut nodes = self.directory.nodes().filter(|(_, node)| !node.is_retired).peekable();
        let nobody = nodes.peek().is_none();
        match nodes.find(|(_, node)| node.level_max < level) {
            Some((node, _)) => Err(Rejection::LevelNotReady { level: level.into(), node }),
            None if nobody => Err(Rejection::LevelNotReady { level: level.into(), node: 0 }),
            None => Ok(()),
        }
    }

    /// Takes what a node says of itself, or of a shard that it leads. It has no key: what is known already, or is older
    /// than what is known, changes nothing.
    pub(crate) fn report(
        &mut self,
        position: u16,
        tenant: TenantId,
        name: &Name,
        record: &Record,
    ) -> Answer {
        let outcome = if tenant == TenantId(0) && self.is_meta() && name.takes(record) {
            self.check_report(name, record)
        } else {
            Err(Rejection::InvalidCommand)
        };
        let outcome = outcome.map(|is_new| {
            if is_new {
                self.write_record(name, record);
            }
            Posted { transfer: self.transfer_at(position), at: self.now }
        });
        Answer { outcome, replayed: false }
    }

    /// Begins anew with other nodes, as a cluster that was restored from a backup: those that there were are retired, but
    /// for the ids that come back, and who keeps what is as it is said here. Every shard hears of it. No money moves.
    pub fn settle_in(
        &mut self,
        nodes: &BTreeMap<u64, NodeRecord>,
        placements: &BTreeMap<u16, Placement>,
    ) {
        let old: Vec<(u64, NodeRecord)> = self
            .directory
            .nodes()
            .filter(|(node, record)| !nodes.contains_key(node) && !record.is_retired)
            .map(|(node, record)| (node, NodeRecord { is_retired: true, ..record.clone() }))
            .collect();
        for (node, record) in old.iter().map(|(node, record)| (node, record)).chain(nodes) {
            self.write_record(&Name::Node(*node), &Record::Node(record.clone()));
        }
        for (group, placement) in placements {
            self.write_record(&Name::Shard(*group), &Record::Placement(placement.clone()));
        }
    }

    /// Whether a report says anything new.
    fn check_report(&self, name: &Name, record: &Record) -> Result<bool, Rejection> {
        let known = self.directory.get(name);
        match (name, record, known) {
            (Name::Node(node), Record::Node(new), known) => {
                let is_too_old = !new.is_retired && new.level_max < self.directory.level();
                let is_kept = new.is_retired && self.directory.is_placed(*node);
                let is_other = match known {
                    // Who has left for good has left for good.
                    Some(Record::Node(NodeRecord { disk, is_retired, .. })) => {
                        *disk != new.disk || (*is_retired && !new.is_retired)
                    }
                    Some(_) | None => false,
                };
                if is_too_old || is_kept || is_other {
                    return Err(Rejection::InvalidCommand);
                }
            }
            (Name::Shard(shard), Record::Placement(new), known) => {
                if *shard > self.books.shards.meta() {
                    return Err(Rejection::InvalidCommand);
                }
                if let Some(Record::Placement(old)) = known
                    && new.index <= old.index
                {
                    return Ok(false);
                }
            }
            _ => return Err(Rejection::InvalidCommand),
        }
        if !self.directory.has_room(name) {
            return Err(Rejection::DirectoryFull);
        }
        Ok(known != Some(record))
    }

    fn write_record(&mut self, name: &Name, record: &Record) {
        let version = Arc::make_mut(&mut self.directory).write(name.clone(), record.clone());
        check_known(record);
        if name.is_for_shards() {
            let (name, record) = (name.clone(), record.clone());
            self.tell_shards(&Message::Record { name, version, record });
        }
    }

    /// The meta group tells the shards the time, when it is due.
    pub(crate) fn tell_due(&mut self) {
        if self.next_telling().is_some_and(|due| due <= self.now) && self.now > Time(0) {
            Arc::make_mut(&mut self.directory).tell(self.now);
            self.tell_shards(&Message::Told(self.now));
        }
    }

    /// Says to the meta group what this batch has heard of it: once, however much it was.
    pub(crate) fn answer_meta(&mut self) {
        if std::mem::take(&mut self.heard_meta) {
            let (at, version) = (self.directory.told(), self.directory.version());
            self.channels.send(self.books.shards.meta(), Message::Heard { at, version });
        }
    }

    fn tell_shards(&mut self, message: &Message) {
        for shard in 0..self.books.shards.count() {
            self.channels.send(shard, message.clone());
        }
    }

    /// Takes what came over a channel. Whoever it is not meant for is told nothing by anybody.
    pub(crate) fn take_word(&mut self, from: u16, message: &Message) -> Result<(), Rejection> {
        let is_from_meta = from == self.books.shards.meta();
        match (message, is_from_meta) {
            (Message::Record { name, version, record }, true) => {
                let directory = Arc::make_mut(&mut self.directory);
                directory.take(name.clone(), *version, record.clone());
                check_known(record);
                self.heard_meta = true;
            }
            (Message::Told(at), true) => {
                Arc::make_mut(&mut self.directory).tell(*at);
                self.heard_meta = true;
            }
            (Message::Heard { at, version }, false) if self.is_meta() => {
                let heard = Heard { at: *at, version: *version };
                Arc::make_mut(&mut self.directory).hear(from, heard);
            }
            // A word that is not for this group, or from one that has none to give.
            _ => return Err(Rejection::InvalidCommand),
        }
        Ok(())
    }
}

/// # Panics
/// With [`LevelUnknown`], when the level is above what this release knows: a replica that went on would part from the
/// others.
fn check_known(record: &Record) {
    if let Record::Level(level) = record
        && *level > LEVEL_MAX
    {
        panic_any(LevelUnknown { level: *level });
    }
}
