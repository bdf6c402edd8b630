//! The trial balance of each shard, and the money in its channels.
//!
//! Every shard keeps balanced books of its own: what its customers have and what it owes its peers is what its opening
//! account owes it and what its peers do. Once every request has its final outcome nothing is under way, so what a
//! shard owes a peer is what the peer says it is owed.

use std::collections::BTreeMap;

use anyhow::Context;
use ledger::{AccountKind, Currency, Shards};

use super::statements::Reader;
use crate::verify::{Check, Verdict};

/// Compares what the accounts of each shard have with what its own accounts say.
pub(super) async fn balance(
    reader: &Reader,
    shards: u16,
    totals: &BTreeMap<u16, i128>,
    verdict: &mut Verdict,
) -> anyhow::Result<()> {
    let shards = Shards::new(shards).context("1 to 64 shards")?;
    let mut books =
        Books { reader, shards, unread: Check::of("every shard's own accounts could be read") };
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
    Ok(())
}

struct Books<'a> {
    reader: &'a Reader,
    shards: Shards,
    unread: Check,
}

impl Books<'_> {
    /// What a shard's own account has. One that was never used is not there, and has nothing.
    async fn has(&mut self, kind: AccountKind, shard: u16) -> i128 {
        self.unread.looked_at(1);
        let id = kind.system_id(Currency::CNY, self.shards.first_slot(shard));
        match self.reader.balance(id).await {
            Ok(balance) => balance.map_or(0, i128::from),
            Err(why) => {
                self.unread.broken(|| format!("shard {shard}, {kind:?}: {why:#}"));
                0
            }
        }
    }
}
