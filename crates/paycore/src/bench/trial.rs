//! The trial balance of each shard, and the money in its channels.
//!
//! Every shard keeps balanced books of its own: what its customers have and what it owes its peers is what its opening
//! account owes it and what its peers do. Once every request has its final outcome nothing is under way, so what a
//! shard owes a peer is what the peer says it is owed.
//!
//! On a cluster that was there before, only what the run itself has changed is compared: its shards' own accounts are
//! read before and after.

use std::collections::BTreeMap;

use anyhow::Context;
use ledger::{AccountId, AccountKind, Currency, Shards};

use super::statements::Reader;
use crate::verify::{Check, Verdict};

/// What the shards' own accounts had before the run.
#[derive(Clone, Debug)]
pub(super) struct Before {
    shards: Shards,
    had: BTreeMap<AccountId, i64>,
}

impl Before {
    /// Nothing: the cluster is the run's own.
    ///
    /// # Errors
    /// When there cannot be so many shards.
    pub(super) fn nothing(shards: u16) -> anyhow::Result<Self> {
        Ok(Self { shards: Shards::new(shards).context("1 to 64 shards")?, had: BTreeMap::new() })
    }

    /// What they have now.
    ///
    /// # Errors
    /// When nobody can say so.
    pub(super) async fn read(reader: &Reader, shards: u16) -> anyhow::Result<Self> {
        let mut before = Self::nothing(shards)?;
        for shard in 0..shards {
            let peers = (0..shards).filter(|peer| *peer != shard);
            let dues =
                peers.flat_map(|peer| [AccountKind::DueTo(peer), AccountKind::DueFrom(peer)]);
            for kind in [AccountKind::Suspense, AccountKind::Opening].into_iter().chain(dues) {
                let id = own(before.shards, kind, shard);
                let had = reader.balance(id).await?;
                before.had.extend(had.map(|had| (id, had)));
            }
        }
        Ok(before)
    }
}

/// One of a shard's own accounts.
fn own(shards: Shards, kind: AccountKind, shard: u16) -> AccountId {
    kind.system_id(Currency::CNY, shards.first_slot(shard))
}

/// Compares what the accounts of each shard have with what its own accounts say.
pub(super) async fn balance(
    reader: &Reader,
    before: &Before,
    totals: &BTreeMap<u16, i128>,
    verdict: &mut Verdict,
) {
    let shards = before.shards;
    let unread = Check::of("every shard's own accounts could be read");
    let mut books = Books { reader, before, unread };
    let mut trial = Check::of("the trial balance of every shard is zero");
    let mut channels = Check::of("no money is left in a channel between two shards");
    for shard in 0..shards.count() {
        let has = totals.get(&shard).copied().unwrap_or(0);
        let suspense = books.has(AccountKind::Suspense, shard).await;
        let opening = books.has(AccountKind::Opening, shard).await;
        let mut owes = has.saturating_add(suspense);
        let mut owed = opening;
        for peer in (0..shards.count()).filter(|peer| *peer != shard) {
            let due_to = books.has(AccountKind::DueTo(peer), shard).await;
            owes = owes.saturating_add(due_to);
            owed = owed.saturating_add(books.has(AccountKind::DueFrom(peer), shard).await);
            let due_from = books.has(AccountKind::DueFrom(shard), peer).await;
            channels.looked_at(1);
            if due_to != due_from {
                channels.broken(|| {
                    format!("shard {shard} owes {peer} {due_to}, which says {due_from}")
                });
            }
        }
        trial.looked_at(1);
        if owes != owed {
            trial.broken(|| format!("shard {shard} owes {owes}, and is owed {owed}"));
        }
    }
    let all_read = books.unread.violations == 0;
    verdict.add(books.unread, |verdict| &mut verdict.undecided);
    if all_read {
        verdict.add(trial, |verdict| &mut verdict.broken_books);
        verdict.add(channels, |verdict| &mut verdict.broken_books);
    }
}

struct Books<'a> {
    reader: &'a Reader,
    before: &'a Before,
    unread: Check,
}

impl Books<'_> {
    /// What has come to a shard's own account. One that was never used is not there, and has nothing.
    async fn has(&mut self, kind: AccountKind, shard: u16) -> i128 {
        self.unread.looked_at(1);
        let id = own(self.before.shards, kind, shard);
        let had = self.before.had.get(&id).copied().map_or(0, i128::from);
        match self.reader.balance(id).await {
            Ok(balance) => balance.map_or(0, i128::from).saturating_sub(had),
            Err(why) => {
                self.unread.broken(|| format!("shard {shard}, {kind:?}: {why:#}"));
                0
            }
        }
    }
}
