//! The ledger: a plain value with one function that changes it, [`Ledger::apply`].

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::account::{Account, AccountKind};
use crate::amount::Currency;
use crate::channels::{Channel, Channels, Numbered, PeerSet, Refusal};
use crate::cold::{ColdName, ColdValue, KeptOutcome};
use crate::cut_image::CutImage;
use crate::cuts::{Cut, Cuts};
use crate::directory::Directory;
use crate::fetched::Fetched;
use crate::hash;
use crate::hold::{Hold, HoldState};
use crate::holds::Holds;
use crate::id::{AccountId, HoldId, TenantId, Time, TransferId};
use crate::image::Image;
use crate::journal::{Journal, LinePlace, Links, Posting, PostingKey, Row};
use crate::key::ScopedKey;
use crate::outcome::Outcome;
use crate::plant::Plant;
use crate::recent::Recent;
use crate::rejection::Rejection;
use crate::retention::Retention;
use crate::slots::Shards;
use crate::table::Table;

/// Accounts that may have changed since their part of the digest was last counted: past this they are counted anew.
const UNCOUNTED_MAX: usize = 4_096;

/// Which shard's books these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Books {
    /// This shard.
    pub shard: u16,
    /// Of how many.
    pub shards: Shards,
}

/// An account in memory: beside what it is, where its newest line lies and whether the digest knows it as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    pub(crate) account: Account,
    pub(crate) last_line: LinePlace,
    pub(crate) counted: bool,
}

/// One shard's books: accounts, holds, history and outcomes, and the log time up to which they stand.
#[derive(Debug)]
pub struct Ledger {
    pub(crate) books: Books,
    pub(crate) index: u64,
    pub(crate) now: Time,
    pub(crate) retention: Retention,
    pub(crate) accounts: Table<AccountId, Stored>,
    pub(crate) holds: Holds,
    pub(crate) recent: Recent,
    pub(crate) totals: BTreeMap<(Currency, AccountKind), i128>,
    pub(crate) counted: u128,
    pub(crate) uncounted: Vec<AccountId>,
    pub(crate) sealed: u128,
    pub(crate) evictions: u64,
    pub(crate) channels: Channels,
    pub(crate) cuts: Cuts,
    /// Shared with images until it changes, which is seldom.
    pub(crate) directory: Arc<Directory>,
    /// Whether the batch that is being applied has heard from the meta group.
    pub(crate) heard_meta: bool,
    /// Memory, and no state: not in the digest, not in an image of the ledger.
    pub(crate) cut_image: Option<Arc<CutImage>>,
    /// What the last state cut found, until somebody takes it. Memory, and no state.
    pub(crate) state_image: Option<(u64, Image)>,
    /// What became final in the batch that is being applied, and had waited for other shards.
    pub(crate) finals: Vec<(ScopedKey, Outcome)>,
    /// The payments that this batch took in, by channel and number, and why those refused were.
    pub(crate) unanswered: Vec<(u16, u64, Option<Refusal>)>,
}

impl Ledger {
    /// Books in which nothing has happened.
    #[must_use]
    pub fn new(books: Books) -> Self {
        Self {
            books,
            index: 0,
            now: Time(0),
            retention: Retention::default(),
            accounts: Table::new(),
            holds: Holds::new(),
            recent: Recent::new(),
            totals: BTreeMap::new(),
            counted: 0,
            uncounted: Vec::new(),
            sealed: 0,
            evictions: 0,
            channels: Channels::default(),
            cuts: Cuts::default(),
            directory: Arc::default(),
            heard_meta: false,
            cut_image: None,
            state_image: None,
            finals: Vec::new(),
            unanswered: Vec::new(),
        }
    }

    /// Which shard's books these are.
    #[must_use]
    pub const fn books(&self) -> Books {
        self.books
    }

    /// Log time: the greatest stamp applied.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.now
    }

    /// The digest of the records that lie in volumes.
    #[must_use]
    pub const fn sealed(&self) -> u128 {
        self.sealed
    }

    /// The log index of the last batch applied.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// How many accounts there are, system accounts included.
    #[must_use]
    pub fn accounts_len(&self) -> usize {
        self.accounts.len()
    }

    /// An account as of log time: what has expired is no longer held.
    #[must_use]
    pub fn account(&self, id: &AccountId) -> Option<Account> {
        let mut account = self.accounts.get(id)?.account;
        if account.holds > 0 {
            for hold in self.holds.due_of(*id, self.now) {
                account = account.after_release(hold.remaining, true);
            }
        }
        Some(account)
    }

    /// A hold as of log time, if memory has it: an active one always, an ended one until it lies in a volume.
    #[must_use]
    pub fn hold(&self, id: &HoldId) -> Option<Hold> {
        let hold = *self.holds.get(id).or_else(|| self.recent.hold(id))?;
        let expired = hold.state == HoldState::Active
            && hold.expires_at <= self.now
            && !Plant::DeadlineByTimer.is_on();
        Some(if expired { hold.ended(HoldState::Expired, hold.expires_at) } else { hold })
    }

    /// The outcome of a key, if memory has it.
    #[must_use]
    pub fn outcome(&self, scoped: &ScopedKey) -> Option<Outcome> {
        self.recent.outcome(scoped).map(|kept| kept.outcome)
    }

    /// The transfer under way that a key names, if its outcome waits for other shards.
    #[must_use]
    pub fn pending(&self, scoped: &ScopedKey) -> Option<TransferId> {
        self.channels.by_key(scoped).map(|(transfer, _)| transfer)
    }

    /// The messages to a peer after a number that it is not known to have applied, the oldest first.
    pub fn outbox(&self, peer: u16, after: u64) -> impl Iterator<Item = Numbered> {
        self.channels.get(peer).into_iter().flat_map(move |channel| channel.after(after))
    }

    /// The peers that are not known to have applied everything that was sent to them.
    #[must_use]
    pub fn unread(&self) -> PeerSet {
        let mut peers = PeerSet::default();
        for (peer, channel) in self.channels.peers() {
            if channel.cursors().acked < channel.last() {
                peers.insert(peer);
            }
        }
        peers
    }

    /// Messages to all peers together that they are not known to have applied.
    #[must_use]
    pub fn unread_len(&self) -> u64 {
        let unread =
            |(_, channel): (u16, &Channel)| channel.last().saturating_sub(channel.cursors().acked);
        self.channels.peers().map(unread).fold(0, u64::saturating_add)
    }

    /// This shard's part of a cut, while it is kept.
    #[must_use]
    pub fn cut_of(&self, number: u64) -> Option<&Cut> {
        self.cuts.get(number)
    }

    /// This shard's accounts and holds as a whole cut found them, while they are kept. A ledger that was restored from
    /// an image taken after the cut never has them.
    #[must_use]
    pub fn cut_image(&self, number: u64) -> Option<Arc<CutImage>> {
        self.cut_image.clone().filter(|kept| kept.number() == number)
    }

    /// All of the state as a state cut found it, with the cut's number: once, for whoever asks first after the batch that
    /// met the cut. It shares its pages with the ledger, which copies one before it writes it.
    pub fn take_state_image(&mut self) -> Option<(u64, Image)> {
        self.state_image.take()
    }

    /// What a letter may say beside the message of a number to a peer: the last message of the peer's that was applied
    /// here, or, before the marker of a state cut, that had been when the cut was made. Beside no message it is what may be
    /// said beside number 0.
    #[must_use]
    pub fn acked_beside(&self, peer: u16, number: u64) -> u64 {
        self.channels.get(peer).map_or(0, |channel| channel.acked_beside(number))
    }

    /// The last message of a peer's that was applied here.
    #[must_use]
    pub fn inbox(&self, peer: u16) -> u64 {
        self.channels.get(peer).map_or(0, |channel| channel.cursors().inbox)
    }

    /// How many payments to a peer are not settled.
    #[must_use]
    pub fn unsettled(&self, peer: u16) -> u64 {
        self.channels.get(peer).map_or(0, |channel| channel.cursors().unsettled)
    }

    /// What was decided before this log time has been forgotten; the beginning of time, when nothing has. Volumes whose
    /// last record is older decide nothing any more.
    #[must_use]
    pub const fn cut_off(&self) -> Time {
        self.retention.cut_off()
    }

    /// An account's postings that memory has, newest first, older than `before`. The rest lie in volumes, and all of
    /// them are older than these.
    #[must_use]
    pub fn postings(
        &self,
        account: &AccountId,
        before: Option<PostingKey>,
        limit: usize,
    ) -> Vec<Posting> {
        let mut place =
            self.accounts.get(account).map_or(LinePlace::NOWHERE, |stored| stored.last_line);
        let mut postings = Vec::new();
        while postings.len() < limit {
            let Some((number, is_credit)) = place.row() else { break };
            let Some((row, links)) = self.recent.row(number) else { break };
            let posting =
                if is_credit { row.credit_posting(links) } else { row.debit_posting(links) };
            place = if is_credit { row.credit_before } else { row.debit_before };
            if before.is_none_or(|before| posting.key < before) {
                postings.push(posting);
            }
        }
        postings
    }

    /// The sum of all balances of a kind, per currency, each on its normal side.
    #[must_use]
    pub const fn totals(&self) -> &BTreeMap<(Currency, AccountKind), i128> {
        &self.totals
    }

    /// When something next falls due.
    #[must_use]
    pub fn next_timer(&self) -> Option<Time> {
        let timers = self.holds.next_deadline().into_iter().chain(self.next_telling());
        timers.min()
    }

    /// The digest of everything that can change an answer, wherever it lies: equal on all replicas at equal index.
    #[must_use]
    pub fn digest(&self) -> u128 {
        let uncounted = self.uncounted.iter().filter_map(|id| self.accounts.get(id));
        let accounts = uncounted
            .fold(self.counted, |sum, stored| sum.wrapping_add(hash::part(&stored.account)));
        accounts.wrapping_add(self.rest_digest())
    }

    /// The digest of everything but accounts and active holds.
    pub(crate) fn rest_digest(&self) -> u128 {
        let facts = hash::part(&(self.now, &self.retention));
        let (channels, cuts) = (self.channels.digest(), self.cuts.digest());
        let rest = [self.recent.digest(), channels, cuts, self.directory.digest(), facts];
        rest.into_iter().fold(self.sealed, u128::wrapping_add)
    }

    /// Begins to gather what [`Self::missing`] names. Good until something leaves memory.
    #[must_use]
    pub fn begin_fetch(&self) -> Fetched {
        Fetched::new(self.evictions)
    }

    /// Writes a journal: every account it names, its rows of history, and the totals.
    pub(crate) fn write(&mut self, position: u16, journal: &Journal<'_>) {
        for (leg, posted) in journal.legs.iter().enumerate() {
            let number = self.recent.next_row();
            let debit_before = self.write_account(posted.debit, Some(LinePlace::debit(number)));
            let credit_before = self.write_account(posted.credit, Some(LinePlace::credit(number)));
            let row = Row {
                debit: posted.debit.id,
                credit: posted.credit.id,
                debit_balance: posted.debit.posted,
                credit_balance: posted.credit.posted,
                amount: posted.amount,
                at: self.now,
                index: self.index,
                debit_before,
                credit_before,
                position,
                leg: u8::try_from(leg).expect("a journal has at most 64 legs"),
                kind: journal.kind,
            };
            let links = Links { reverses: journal.reverses, remote: posted.remote };
            self.recent.keep_row(row, links);
            self.count_totals(posted);
        }
        self.keep_legs(position, journal);
    }

    /// Writes an account, and returns where its newest line was. With a `line` its newest line is now that; without, it
    /// stays.
    pub(crate) fn write_account(&mut self, account: Account, line: Option<LinePlace>) -> LinePlace {
        let Self { accounts, counted, uncounted, .. } = self;
        let mut line_before = LinePlace::NOWHERE;
        accounts.change(account.id, |before| {
            if before.is_none_or(|stored| stored.counted) {
                uncounted.push(account.id);
            }
            if let Some(before) = before {
                line_before = before.last_line;
                if before.counted {
                    *counted = counted.wrapping_sub(hash::part(&before.account));
                }
            }
            Stored { account, last_line: line.unwrap_or(line_before), counted: false }
        });
        line_before
    }

    /// Counts the changed accounts into the digest, once there are many.
    pub(crate) fn settle_digest(&mut self) {
        if self.uncounted.len() < UNCOUNTED_MAX {
            return;
        }
        let Self { accounts, counted, uncounted, .. } = self;
        for id in uncounted.drain(..) {
            accounts.change(id, |stored| {
                let stored = stored.expect("accounts are never removed");
                *counted = counted.wrapping_add(hash::part(&stored.account));
                Stored { counted: true, ..*stored }
            });
        }
    }

    /// Writes an active hold, and its change into the digest.
    pub(crate) fn write_hold(&mut self, hold: Hold) {
        if let Some(before) = self.holds.get(&hold.id) {
            self.counted = self.counted.wrapping_sub(hash::part(before));
        }
        self.counted = self.counted.wrapping_add(hash::part(&hold));
        self.holds.put(hold);
    }

    /// Ends a hold: it becomes history.
    pub(crate) fn end_hold(&mut self, before: &Hold, ended: Hold) {
        self.counted = self.counted.wrapping_sub(hash::part(before));
        self.holds.remove(before);
        self.recent.keep_hold(self.now, ended);
    }

    /// The account, if it is the tenant's. Another tenant's account does not exist for this one.
    pub(crate) fn owned(&self, id: &AccountId, tenant: TenantId) -> Result<Account, Rejection> {
        self.payee(id).and_then(|account| {
            if account.tenant == tenant { Ok(account) } else { Err(Rejection::AccountNotFound) }
        })
    }

    /// The account, whose ever it is. The shard's own accounts are nobody's payees.
    pub(crate) fn payee(&self, id: &AccountId) -> Result<Account, Rejection> {
        let stored = self.accounts.get(id).ok_or(Rejection::AccountNotFound)?;
        if stored.account.kind.is_system() {
            return Err(Rejection::AccountNotFound);
        }
        Ok(stored.account)
    }

    pub(crate) fn is_here(&self, id: &AccountId) -> bool {
        self.books.shards.shard(id.slot()) == self.books.shard
    }

    pub(crate) fn kept(&self, scoped: &ScopedKey, fetched: &Fetched) -> Option<KeptOutcome> {
        let cold = || {
            let kept = fetched.outcome(scoped).filter(|kept| !self.retention.forgets(kept.at));
            kept.filter(|_| !Plant::DropOutcomes.is_on()).copied()
        };
        self.recent.outcome(scoped).or_else(cold)
    }

    fn count_totals(&mut self, leg: &crate::journal::PostedLeg) {
        let key = |account: &Account| (account.currency, account.kind);
        if key(&leg.debit) == key(&leg.credit) {
            return;
        }
        let minor = i128::from(leg.amount.minor());
        for (account, grows_by) in
            [(&leg.debit, crate::account::Side::Debit), (&leg.credit, crate::account::Side::Credit)]
        {
            let change = if account.kind.side() == grows_by { minor } else { minor.wrapping_neg() };
            let total = self.totals.entry(key(account)).or_default();
            *total = total.checked_add(change).expect("a total of 10^18 accounts fits");
        }
    }

    fn keep_legs(&mut self, position: u16, journal: &Journal<'_>) {
        if journal.legs.len() < 2 {
            return;
        }
        let legs = journal.legs.iter().map(|leg| crate::batch::Leg {
            debit: leg.debit.id,
            credit: leg.credit.id,
            amount: leg.amount,
        });
        let name = ColdName::Legs(self.transfer_at(position));
        let value = ColdValue::Legs(legs.collect(), self.now, journal.kind);
        self.recent.keep_legs(self.now, name, value);
    }

    pub(crate) const fn transfer_at(&self, position: u16) -> crate::id::TransferId {
        crate::id::TransferId { shard: self.books.shard, index: self.index, position }
    }

    /// Calls `ask` for the names of a reversal that memory lacks.
    pub(crate) fn missing_transfer(
        &self,
        credit: AccountId,
        transfer: crate::id::TransferId,
        ask: &mut impl FnMut(ColdName),
    ) {
        let is_local = transfer.shard == self.books.shard;
        if is_local && self.retention.forgets_index(transfer.index) {
            return;
        }
        if !is_local {
            if self.recent.incoming(&transfer).is_none() {
                ask(ColdName::Incoming(transfer));
            }
            if self.recent.reversal(&transfer).is_none() {
                ask(ColdName::Reversal(transfer));
            }
            return;
        }
        if self.recent.reversal(&transfer).is_none() {
            ask(ColdName::Reversal(transfer));
        }
        if self.recent.legs(&transfer).is_empty() {
            ask(ColdName::Legs(transfer));
            ask(ColdName::Posting(single_credit(credit, transfer)));
        }
    }
}

/// Where the credit of a transfer with one leg stands.
pub(crate) const fn single_credit(
    account: AccountId,
    transfer: crate::id::TransferId,
) -> PostingKey {
    PostingKey { account, index: transfer.index, position: transfer.position, line: 1 }
}
