//! The live audit's cuts: a consistent state of all shards, taken while money moves (Chandy–Lamport).
//!
//! A cut begins on one shard, which writes down its running totals and sends a *marker* down every channel. A shard that
//! meets a marker of a cut it does not know does the same. From then until a peer's marker comes, what arrives from
//! that peer was on its way when the cut was made: it is written down beside the totals. With the last marker the
//! shard's part of the cut is finished, and all parts together must add up:
//!
//! ```text
//! due-to(s → t) at s, less due-from(t ← s) at t  =  payments on their way from s to t, and those that t has
//!                                                   refused and s has not got back
//! ```
//!
//! A *whole* cut goes the same way with a marker of its own; whoever meets it keeps its accounts and holds beside the
//! totals ([`crate::cut_image`]). What is state is the same for both.
//!
//! A *state* cut is a backup's. Its markers go to the meta group too, and whoever meets it keeps an image of all of its
//! state, as it was before the first of them. All images together are a state of the cluster in which every message
//! between shards is either applied or still kept by its sender, and none is both or neither:
//! - what is applied in one was sent in the other, for a channel is in order and a marker goes before all that its sender
//!   sends behind the cut;
//! - what was dropped in one is applied in the other, for beside a message that goes before the marker nobody says more
//!   to be applied than was at the cut ([`crate::Ledger::acked_beside`]).
//!
//! Invariants:
//! - Everything that a batch has taken in before the cut is answered before the marker goes: an answer is on its side of
//!   the marker.
//! - Cuts are told apart by numbers that only grow: a late marker of a cut that was let go begins nothing.

use std::collections::{BTreeMap, BTreeSet};

use bincode::{Decode, Encode};

use crate::account::{AccountKind, Side};
use crate::amount::Currency;
use crate::channels::PeerSet;
use crate::hash;
use crate::id::Time;

/// Cuts that are kept at once; the oldest goes when another begins.
pub const CUTS_MAX: usize = 8;

/// How long a cut may take, in log time: then it is let go, finished or not.
pub const CUT_MS_MAX: u64 = 10_000;

/// Sums of money by peer and currency, in minor units.
type Sums = BTreeMap<(u16, Currency), i128>;

/// One shard's part of a cut.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Cut {
    /// When it was made, in log time.
    pub at: Time,
    /// The log index of the batch in which it was made.
    pub index: u64,
    /// The sum of all balances of a kind, per currency, each on its normal side.
    pub totals: BTreeMap<(Currency, AccountKind), i128>,
    /// Payments that were on their way from a peer.
    pub arriving: Sums,
    /// Payments to a peer that it had refused, and that were on their way back.
    pub returning: Sums,
    /// The peers whose marker has not come, in the order of their numbers.
    waits_for: Vec<u16>,
}

impl Cut {
    pub(crate) const fn new(
        (at, index): (Time, u64),
        totals: BTreeMap<(Currency, AccountKind), i128>,
        waits_for: Vec<u16>,
    ) -> Self {
        Self { at, index, totals, arriving: Sums::new(), returning: Sums::new(), waits_for }
    }

    /// Money that was on its way from a peer, beside what is known.
    pub(crate) fn arrives(&mut self, peer: u16, currency: Currency, minor: u64) {
        add(&mut self.arriving, (peer, currency), minor);
    }

    /// Money that was on its way back from a peer, beside what is known.
    pub(crate) fn returns(&mut self, peer: u16, currency: Currency, minor: u64) {
        add(&mut self.returning, (peer, currency), minor);
    }

    /// Whether every peer's marker has come.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.waits_for.is_empty()
    }
}

/// What does not add up in a cut; the last two only a whole one can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Discrepancy {
    /// I2: a shard's debits and credits differ.
    #[error("the books of shard {shard} are off by {by} minor units of {currency}")]
    TrialBalance {
        /// Which shard.
        shard: u16,
        /// In which currency.
        currency: Currency,
        /// Debit balances less credit balances.
        by: i128,
    },
    /// I3: what one shard owes another, less what that one says it is owed, is not what was on its way.
    #[error(
        "shard {from} owes shard {to} {owed} minor units of {currency} more than that one says, and {under_way} were on their way"
    )]
    Channel {
        /// Who owes.
        from: u16,
        /// Whom.
        to: u16,
        /// In which currency.
        currency: Currency,
        /// Due-to less due-from.
        owed: i128,
        /// The money found in the channel.
        under_way: i128,
    },
    /// The accounts of a kind do not have what the running total says.
    #[error(
        "the accounts of kind {kind:?} on shard {shard} have {accounts} minor units of {currency}, and the running total is {total}"
    )]
    Total {
        /// Which shard.
        shard: u16,
        /// In which currency.
        currency: Currency,
        /// Of which kind.
        kind: AccountKind,
        /// What the accounts have.
        accounts: i128,
        /// What the running total says.
        total: i128,
    },
    /// I4: accounts hold something else than their holds say.
    #[error(
        "the accounts of shard {shard} hold {accounts} minor units of {currency}, and their holds say {holds}"
    )]
    Held {
        /// Which shard.
        shard: u16,
        /// In which currency.
        currency: Currency,
        /// What the accounts hold.
        accounts: i128,
        /// What their holds say.
        holds: i128,
    },
}

/// Compares the parts of a cut, all of them and finished: what does not add up.
#[must_use]
pub fn compare(parts: &BTreeMap<u16, Cut>) -> Vec<Discrepancy> {
    let books = parts.iter().flat_map(|(shard, part)| trial_balance(*shard, part));
    let pairs = parts.keys().flat_map(|from| parts.keys().map(move |to| (*from, *to)));
    let channels = pairs.flat_map(|pair| channel(parts, pair));
    books.chain(channels).collect()
}

fn trial_balance(shard: u16, part: &Cut) -> Vec<Discrepancy> {
    let mut balances: BTreeMap<Currency, i128> = BTreeMap::new();
    for ((currency, kind), total) in &part.totals {
        let balance = balances.entry(*currency).or_default();
        *balance = match kind.side() {
            Side::Debit => balance.saturating_add(*total),
            Side::Credit => balance.saturating_sub(*total),
        };
    }
    let off = balances.into_iter().filter(|(_, by)| *by != 0);
    off.map(|(currency, by)| Discrepancy::TrialBalance { shard, currency, by }).collect()
}

fn channel(parts: &BTreeMap<u16, Cut>, (from, to): (u16, u16)) -> Vec<Discrepancy> {
    let (Some(home), Some(away)) = (parts.get(&from), parts.get(&to)) else { return Vec::new() };
    let total =
        |part: &Cut, currency, kind| part.totals.get(&(currency, kind)).copied().unwrap_or(0);
    let sum = |sums: &Sums, peer, currency| sums.get(&(peer, currency)).copied().unwrap_or(0);
    let all = [home, away].into_iter().flat_map(|part| {
        let known = part.totals.keys().map(|(currency, _)| *currency);
        known.chain(part.arriving.keys().map(|(_, currency)| *currency))
    });
    let currencies: BTreeSet<Currency> = all.collect();
    let gap = |currency: Currency| {
        let due_to = total(home, currency, AccountKind::DueTo(to));
        let owed = due_to.saturating_sub(total(away, currency, AccountKind::DueFrom(from)));
        let arriving = sum(&away.arriving, from, currency);
        let under_way = arriving.saturating_add(sum(&home.returning, to, currency));
        let gap = Discrepancy::Channel { from, to, currency, owed, under_way };
        (owed != under_way).then_some(gap)
    };
    currencies.into_iter().filter_map(gap).collect()
}

/// How much of a shard a cut keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The running totals: enough to see whether the books add up.
    Sums,
    /// Every account and every active hold beside them.
    Whole,
    /// The whole state.
    State,
}

/// What became of a marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marked {
    /// Nobody here knows the cut: make it.
    Begins,
    /// It was noted, or means nothing any more.
    Noted,
}

/// The cuts that a shard keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
pub(crate) struct Cuts {
    by_number: BTreeMap<u64, Cut>,
    /// The greatest number that was let go.
    let_go: u64,
}

impl Cuts {
    pub(crate) fn get(&self, number: u64) -> Option<&Cut> {
        self.by_number.get(&number)
    }

    /// Whether a cut of this number may still begin.
    pub(crate) fn is_new(&self, number: u64) -> bool {
        number > self.let_go && !self.by_number.contains_key(&number)
    }

    /// Whether nothing was ever cut.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_number.is_empty() && self.let_go == 0
    }

    /// A cut is made.
    pub(crate) fn begin(&mut self, number: u64, cut: Cut) {
        self.by_number.insert(number, cut);
        while self.by_number.len() > CUTS_MAX {
            if let Some((oldest, _)) = self.by_number.pop_first() {
                self.let_go = self.let_go.max(oldest);
            }
        }
    }

    /// A peer's marker has come.
    pub(crate) fn marked(&mut self, number: u64, peer: u16) -> Marked {
        match self.by_number.get_mut(&number) {
            Some(cut) => cut.waits_for.retain(|waited| *waited != peer),
            None if number > self.let_go => return Marked::Begins,
            None => {}
        }
        Marked::Noted
    }

    /// A payment has come from a peer.
    pub(crate) fn arrived(&mut self, peer: u16, currency: Currency, minor: u64) {
        self.note(peer, |cut| add(&mut cut.arriving, (peer, currency), minor));
    }

    /// A payment to a peer has come back refused.
    pub(crate) fn returned(&mut self, peer: u16, currency: Currency, minor: u64) {
        self.note(peer, |cut| add(&mut cut.returning, (peer, currency), minor));
    }

    fn note(&mut self, peer: u16, note: impl Fn(&mut Cut)) {
        let open = self.by_number.values_mut().filter(|cut| cut.waits_for.contains(&peer));
        open.for_each(note);
    }

    /// Lets go of cuts that have been there long enough.
    pub(crate) fn pass(&mut self, now: Time) {
        let is_old = |cut: &Cut| cut.at.plus_ms(CUT_MS_MAX) <= now;
        let old = self.by_number.iter().filter(|(_, cut)| is_old(cut)).map(|(number, _)| *number);
        if let Some(newest_old) = old.max() {
            self.let_go = self.let_go.max(newest_old);
            self.by_number.retain(|number, cut| *number > newest_old && !is_old(cut));
        }
    }

    /// Their part in the digest: none, as long as nothing was ever cut.
    pub(crate) fn digest(&self) -> u128 {
        if self.is_empty() { 0 } else { hash::part(&(b'k', self)) }
    }
}

fn add(sums: &mut Sums, to: (u16, Currency), minor: u64) {
    let sum = sums.entry(to).or_default();
    *sum = sum.saturating_add(i128::from(minor));
}

/// The groups from 0 up to and without `end` that a cut goes to from one of them.
pub(crate) fn peers(shard: u16, end: u16) -> PeerSet {
    let mut peers = PeerSet::default();
    (0..end).filter(|peer| *peer != shard).for_each(|peer| peers.insert(peer));
    peers
}
