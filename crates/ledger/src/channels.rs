//! Money between shards: two channels for each pair, one each way, settled like money between banks, without locks.
//!
//! ```text
//! home   Dr payer, Cr due-to(away); a payment joins the channel home → away, in the same entry     the key is pending
//! away   in turn, once: Dr due-from(home), Cr payee, or a refusal; the answer joins away → home
//! home   settled: posted, or the money goes back to the payer as a journal of its own              the key is final
//! ```
//!
//! A channel is first in, first out, and numbers its messages, so exactly-once between two shards costs one cursor: a
//! message is applied when its number is the cursor's next, ignored when it is not above the cursor, and refused when
//! there is a gap. Whoever carries the messages keeps no state that matters and may send anything twice.
//!
//! Invariants:
//! - A message joins its channel in the entry that moves the money, and the inbox cursor moves in the entry that applies
//!   the message (A6).
//! - A payment stays here until the other side has said what became of it: whoever asks for a return finds its payer.
//! - What is due to a peer is what was paid to it less what came back (I3, over both sides).

use std::collections::{BTreeMap, VecDeque};

use bincode::{Decode, Encode};

use crate::amount::{Amount, Currency};
use crate::batch::LEGS_MAX;
use crate::directory::{Name, Record};
use crate::hash;
use crate::id::{AccountId, Time, TransferId};
use crate::journal::JournalKind;
use crate::key::ScopedKey;
#[cfg(planted)]
use crate::plant::Plant;
use crate::rejection::Rejection;

/// Payments on a channel that may be unsettled at once. The shard's leader proposes no more for that peer beyond this
/// (`PEER_BEHIND`); what is in the log already is applied all the same.
pub const UNSETTLED_MAX: usize = 65_536;

/// Refused payments that one answer lists at the most: their returns are the legs of one journal.
pub(crate) const REFUSED_MAX: usize = LEGS_MAX;

/// Some of a shard's peers, a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerSet(u128);

impl PeerSet {
    /// Adds a peer.
    ///
    /// # Panics
    /// When there can be no shard of that number.
    pub fn insert(&mut self, peer: u16) {
        let bit = 1_u128.checked_shl(u32::from(peer));
        self.0 |= bit.expect("a cluster has at most 64 shards and the meta group");
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its peers, in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        (0..128_u16).filter(move |peer| self.0 >> peer & 1 == 1)
    }
}

/// Why a payment was refused on its payee's shard. Encoded: reasons are only ever added at the end (A10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Refusal {
    /// There is no such account.
    AccountNotFound,
    /// The account is closed.
    AccountClosed,
    /// The account is frozen for credits.
    AccountFrozen,
    /// The account has another currency.
    CurrencyMismatch,
    /// The account would hold too much.
    BalanceLimit,
}

impl Refusal {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 5] = [
        Self::AccountNotFound,
        Self::AccountClosed,
        Self::AccountFrozen,
        Self::CurrencyMismatch,
        Self::BalanceLimit,
    ];

    /// The rejection that the payer would have heard had the payee been on his shard.
    #[must_use]
    pub const fn rejection(self) -> Rejection {
        match self {
            Self::AccountNotFound => Rejection::AccountNotFound,
            Self::AccountClosed => Rejection::AccountClosed,
            Self::AccountFrozen => Rejection::AccountFrozen,
            Self::CurrencyMismatch => Rejection::CurrencyMismatch,
            Self::BalanceLimit => Rejection::BalanceLimit,
        }
    }
}

/// Money for an account of the peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Payment {
    /// The transfer it belongs to, by its name at home.
    pub transfer: TransferId,
    /// Who paid, at home.
    pub debit: AccountId,
    /// Who is paid.
    pub credit: AccountId,
    /// How much.
    pub amount: Amount,
    /// In what.
    pub currency: Currency,
    /// Why money moves.
    pub kind: JournalKind,
    /// Which of the transfer's legs it is.
    pub leg: u8,
    /// Whether it is the only one: only then can the payee's side undo it.
    pub is_whole: bool,
    /// The transfer that it undoes, if it does, by its name on the payee's shard.
    pub reverses: Option<TransferId>,
}

/// What one shard tells another. Encoded: variants are only ever added at the end (A10).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Message {
    /// Here is money.
    Pay(Payment),
    /// What became of the payments among the messages from one number to another: those listed were refused, the rest
    /// were credited. Every payment is settled once, in order.
    Settled {
        /// The number of the first of them.
        from: u64,
        /// The number of the last of them.
        to: u64,
        /// Those refused, in order, and why; a bounded number.
        refused: Vec<(u64, Refusal)>,
    },
    /// Here a consistent cut of this number was made: what comes before it belongs to the cut, what comes after does not.
    Marker(u64),
    /// The meta group to a shard: this is known from now on.
    Record {
        /// Under which name.
        name: Name,
        /// The version of the change.
        version: u64,
        /// What is known.
        record: Record,
    },
    /// The meta group to a shard: it is this late, and everything published before was sent before.
    Told(Time),
    /// A shard to the meta group: what it has heard.
    Heard {
        /// It was told that it is this late.
        at: Time,
        /// The version of the last change that it was told of.
        version: u64,
    },
    /// The same of a whole cut: whoever meets it keeps its accounts and holds too.
    WholeMarker(u64),
    /// The same of a state cut: whoever meets it keeps all of its state.
    StateMarker {
        /// The cut's number.
        cut: u64,
        /// The last message of the receiver's that the sender had applied when it made the cut.
        inbox: u64,
    },
}

/// A message on its way: its number in the channel, from 1 on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// Its number.
    pub number: u64,
    /// What it says.
    pub message: Message,
}

/// Both channels between this shard and one peer, as this end knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Channel {
    cursors: Cursors,
    /// What was sent and must still be known here, the oldest first.
    sent: VecDeque<Message>,
    /// A message that was applied, and that the cursor does not count yet.
    #[cfg(planted)]
    late: Option<u64>,
    /// The numbers of the state markers among them, each with the inbox that it tells: derived.
    markers: VecDeque<(u64, u64)>,
}

/// A channel's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
pub(crate) struct Cursors {
    /// The number of the last message that was dropped from the front.
    pub(crate) dropped: u64,
    /// The last message that the peer is known to have applied.
    pub(crate) acked: u64,
    /// The last message that is covered by the peer's answers.
    pub(crate) settled: u64,
    /// Payments sent and not settled.
    pub(crate) unsettled: u64,
    /// The peer's last message that was applied here.
    pub(crate) inbox: u64,
}

/// What a message is to this end of its channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Apply it.
    Next,
    /// It was applied before.
    Duplicate,
    /// One before it is missing.
    Gap,
}

impl Channel {
    /// What this end knows of the numbers.
    pub(crate) const fn cursors(&self) -> Cursors {
        self.cursors
    }

    /// The messages that are kept, the oldest first.
    pub(crate) const fn kept(&self) -> &VecDeque<Message> {
        &self.sent
    }

    /// A channel as it was written down.
    pub(crate) fn restored(cursors: Cursors, sent: VecDeque<Message>) -> Self {
        let numbers = cursors.dropped.saturating_add(1)..;
        let markers = numbers.zip(&sent).filter_map(|(number, message)| match message {
            Message::StateMarker { inbox, .. } => Some((number, *inbox)),
            Message::Pay(_)
            | Message::Settled { .. }
            | Message::Marker(_)
            | Message::Record { .. }
            | Message::Told(_)
            | Message::Heard { .. }
            | Message::WholeMarker(_) => None,
        });
        let markers = markers.collect();
        Self {
            cursors,
            sent,
            #[cfg(planted)]
            late: None,
            markers,
        }
    }

    /// The number of the last message sent.
    pub(crate) fn last(&self) -> u64 {
        self.cursors.dropped.saturating_add(len(self.sent.len()))
    }

    /// Sends a message.
    pub(crate) fn send(&mut self, message: Message) {
        if matches!(message, Message::Pay(_)) {
            self.cursors.unsettled = self.cursors.unsettled.saturating_add(1);
        }
        if let Message::StateMarker { inbox, .. } = message {
            self.markers.push_back((self.last().saturating_add(1), inbox));
        }
        self.sent.push_back(message);
    }

    /// The messages after a number that the peer is not known to have applied.
    pub(crate) fn after(&self, number: u64) -> impl Iterator<Item = Numbered> {
        let from = number.max(self.cursors.acked).max(self.cursors.dropped);
        let skip = usize::try_from(from.saturating_sub(self.cursors.dropped)).unwrap_or(usize::MAX);
        let rest = self.sent.range(skip.min(self.sent.len())..);
        let numbers = from.saturating_add(1)..;
        numbers.zip(rest).map(|(number, message)| Numbered { number, message: message.clone() })
    }

    /// What may be said beside the message of a number to have been applied here: all that was, but not beyond a state
    /// cut whose marker comes later. Whoever drops a message because it was applied then knows that it was applied on
    /// this side of the cut too.
    pub(crate) fn acked_beside(&self, number: u64) -> u64 {
        let behind = self.markers.partition_point(|(marker, _)| *marker <= number);
        self.markers.get(behind).map_or(self.cursors.inbox, |(_, inbox)| *inbox)
    }

    /// Whether it is a message's turn.
    pub(crate) const fn turn(&self, number: u64) -> Turn {
        let due = self.cursors.inbox.saturating_add(1);
        if number == due {
            Turn::Next
        } else if number < due {
            Turn::Duplicate
        } else {
            Turn::Gap
        }
    }

    /// A message of the peer's was applied.
    pub(crate) fn applied(&mut self, number: u64) {
        #[cfg(planted)]
        if Plant::CursorApart.is_on() {
            self.late = Some(number);
            return;
        }
        self.cursors.inbox = number;
    }

    /// The cursor counts what was applied before.
    #[cfg(planted)]
    pub(crate) fn catch_up(&mut self) {
        self.cursors.inbox = self.late.take().unwrap_or(self.cursors.inbox);
    }

    /// The peer has applied everything up to a number.
    pub(crate) fn acknowledge(&mut self, number: u64) {
        self.cursors.acked = self.cursors.acked.max(number.min(self.last()));
        self.drop_done();
    }

    /// The payments among the messages of a run of answers. `None` when the run is not the next one, reaches beyond what
    /// was sent, or refuses what is no payment in it: no ledger sends such a one.
    pub(crate) fn answered(
        &self,
        (from, to): (u64, u64),
        refused: &[(u64, Refusal)],
    ) -> Option<Vec<(u64, Payment)>> {
        if from <= self.cursors.settled || to < from || to > self.last() {
            return None;
        }
        let numbers = self.cursors.dropped.saturating_add(1)..;
        let mut payments = Vec::new();
        for (number, message) in numbers.zip(&self.sent).take_while(|(number, _)| *number <= to) {
            let Message::Pay(payment) = message else { continue };
            if number > self.cursors.settled && number < from {
                // An older payment would never be settled.
                return None;
            }
            if number >= from {
                payments.push((number, *payment));
            }
        }
        let is_in_order = refused.iter().zip(refused.iter().skip(1)).all(|(a, b)| a.0 < b.0);
        let are_payments = refused.iter().all(|(refused, _)| {
            payments.binary_search_by_key(refused, |(number, _)| *number).is_ok()
        });
        let is_bounded = refused.len() <= REFUSED_MAX;
        (is_in_order && are_payments && is_bounded).then_some(payments)
    }

    /// So many payments up to a number are settled.
    pub(crate) fn settle(&mut self, to: u64, payments: usize) {
        self.cursors.settled = to;
        self.cursors.unsettled = self.cursors.unsettled.saturating_sub(len(payments));
        self.cursors.acked = self.cursors.acked.max(to);
        self.drop_done();
    }

    /// The payments that are not settled.
    pub(crate) fn unsettled(&self) -> impl Iterator<Item = (u64, &Payment)> {
        let numbers = self.cursors.dropped.saturating_add(1)..;
        let settled = self.cursors.settled;
        numbers.zip(&self.sent).filter(move |(number, _)| *number > settled).filter_map(
            |(number, message)| match message {
                Message::Pay(payment) => Some((number, payment)),
                Message::Settled { .. }
                | Message::Marker(_)
                | Message::Record { .. }
                | Message::Told(_)
                | Message::Heard { .. }
                | Message::WholeMarker(_)
                | Message::StateMarker { .. } => None,
            },
        )
    }

    /// Drops from the front what the peer has applied and nobody will ask for.
    fn drop_done(&mut self) {
        while let Some(first) = self.sent.front() {
            let number = self.cursors.dropped.saturating_add(1);
            let is_settled = match first {
                Message::Pay(_) => number <= self.cursors.settled,
                Message::Settled { .. }
                | Message::Marker(_)
                | Message::Record { .. }
                | Message::Told(_)
                | Message::Heard { .. }
                | Message::WholeMarker(_)
                | Message::StateMarker { .. } => true,
            };
            if number > self.cursors.acked || !is_settled {
                return;
            }
            self.sent.pop_front();
            self.cursors.dropped = number;
            if self.markers.front().is_some_and(|(marker, _)| *marker <= number) {
                self.markers.pop_front();
            }
        }
    }

    /// Its part in the digest.
    pub(crate) fn digest(&self, peer: u16) -> u128 {
        let numbers = self.cursors.dropped.saturating_add(1)..;
        let messages = numbers.zip(&self.sent).map(|numbered| hash::part(&(peer, numbered)));
        messages.fold(hash::part(&(peer, &self.cursors)), u128::wrapping_add)
    }
}

/// A request whose outcome waits for other shards.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub(crate) struct Pending {
    /// Its key.
    pub(crate) scoped: ScopedKey,
    /// What its business fields hashed to.
    pub(crate) fingerprint: u128,
    /// The legs that are not settled, a bit for each.
    pub(crate) open: u64,
    /// The legs that came back, a bit for each.
    pub(crate) returned: u64,
    /// Why the first of them did.
    pub(crate) why: Option<Refusal>,
    /// The transfer that it undoes, if it does.
    pub(crate) reverses: Option<TransferId>,
}

/// All channels of a shard, and the requests that wait for them.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    peers: BTreeMap<u16, Channel>,
    pending: BTreeMap<TransferId, Pending>,
    /// The pending requests by key and by the transfer that they undo, and the unsettled payments of each payer: derived.
    by_key: BTreeMap<ScopedKey, TransferId>,
    by_payer: BTreeMap<AccountId, u32>,
    undoing: BTreeMap<TransferId, TransferId>,
    /// The peers to which something was sent since this was last asked.
    sent_to: PeerSet,
}

impl Channels {
    pub(crate) fn peer(&mut self, peer: u16) -> &mut Channel {
        self.peers.entry(peer).or_default()
    }

    pub(crate) fn get(&self, peer: u16) -> Option<&Channel> {
        self.peers.get(&peer)
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = (u16, &Channel)> {
        self.peers.iter().map(|(peer, channel)| (*peer, channel))
    }

    /// Puts in a channel as it was written down.
    pub(crate) fn put(&mut self, peer: u16, channel: Channel) {
        let payers: Vec<AccountId> =
            channel.unsettled().map(|(_, payment)| payment.debit).collect();
        payers.into_iter().for_each(|payer| self.count_payer(payer));
        self.peers.insert(peer, channel);
    }

    pub(crate) const fn all_pending(&self) -> &BTreeMap<TransferId, Pending> {
        &self.pending
    }

    /// The pending request under a key.
    pub(crate) fn by_key(&self, scoped: &ScopedKey) -> Option<(TransferId, &Pending)> {
        let transfer = self.by_key.get(scoped)?;
        self.pending.get(transfer).map(|pending| (*transfer, pending))
    }

    /// Whether an account has paid what is not settled yet.
    pub(crate) fn has_pending(&self, payer: &AccountId) -> bool {
        self.by_payer.contains_key(payer)
    }

    /// Whether a transfer is being undone.
    pub(crate) fn is_undoing(&self, transfer: &TransferId) -> bool {
        self.undoing.contains_key(transfer)
    }

    /// Sends a payment.
    pub(crate) fn pay(&mut self, peer: u16, payment: Payment) {
        self.count_payer(payment.debit);
        self.send(peer, Message::Pay(payment));
    }

    /// Sends a message.
    pub(crate) fn send(&mut self, peer: u16, message: Message) {
        self.sent_to.insert(peer);
        self.peer(peer).send(message);
    }

    /// The peers to which something was sent since this was last asked.
    pub(crate) fn take_sent_to(&mut self) -> PeerSet {
        std::mem::take(&mut self.sent_to)
    }

    fn count_payer(&mut self, payer: AccountId) {
        let payments = self.by_payer.entry(payer).or_default();
        *payments = payments.saturating_add(1);
    }

    /// Begins to wait.
    pub(crate) fn wait(&mut self, transfer: TransferId, pending: Pending) {
        self.by_key.insert(pending.scoped, transfer);
        if let Some(reverses) = pending.reverses {
            self.undoing.insert(reverses, transfer);
        }
        self.pending.insert(transfer, pending);
    }

    /// One leg of a transfer is settled. Gives the request back when it was the last.
    ///
    /// # Panics
    /// When nobody waits for that leg: a payment that is not settled has somebody.
    pub(crate) fn leg_settled(
        &mut self,
        payment: &Payment,
        refused: Option<Refusal>,
    ) -> Option<Pending> {
        let Payment { transfer, leg, debit, .. } = *payment;
        if let Some(payments) = self.by_payer.get_mut(&debit) {
            *payments = payments.saturating_sub(1);
            if *payments == 0 {
                self.by_payer.remove(&debit);
            }
        }
        let pending = self.pending.get_mut(&transfer).expect("a payment's request waits for it");
        let bit = 1_u64.checked_shl(u32::from(leg)).unwrap_or(0);
        assert!(pending.open & bit != 0, "{transfer}: leg {leg} is settled once");
        pending.open &= !bit;
        if let Some(why) = refused {
            pending.returned |= bit;
            pending.why.get_or_insert(why);
        }
        if pending.open != 0 {
            return None;
        }
        let pending = self.pending.remove(&transfer)?;
        self.by_key.remove(&pending.scoped);
        if let Some(reverses) = pending.reverses {
            self.undoing.remove(&reverses);
        }
        Some(pending)
    }

    /// Whether cursors, payments and the requests that wait for them agree.
    pub(crate) fn are_sound(&self) -> bool {
        let mut open: BTreeMap<TransferId, u64> = BTreeMap::new();
        let mut payers: BTreeMap<AccountId, u32> = BTreeMap::new();
        for channel in self.peers.values() {
            let Cursors { dropped, acked, settled, unsettled, .. } = channel.cursors;
            let last = channel.last();
            let is_ordered = dropped <= acked && acked <= last && settled <= last;
            if !is_ordered || len(channel.unsettled().count()) != unsettled {
                return false;
            }
            for (_, payment) in channel.unsettled() {
                let bit = 1_u64.checked_shl(u32::from(payment.leg)).unwrap_or(0);
                let legs = open.entry(payment.transfer).or_default();
                if *legs & bit != 0 {
                    return false;
                }
                *legs |= bit;
                let payments = payers.entry(payment.debit).or_default();
                *payments = payments.saturating_add(1);
            }
        }
        let waiting = self.pending.iter().map(|(transfer, pending)| (*transfer, pending.open));
        payers == self.by_payer
            && waiting.eq(open)
            && self.by_key.len() == self.pending.len()
            && self.pending.values().filter(|pending| pending.reverses.is_some()).count()
                == self.undoing.len()
    }

    /// Their part in the digest.
    pub(crate) fn digest(&self) -> u128 {
        let channels = self.peers.iter().map(|(peer, channel)| channel.digest(*peer));
        let pending = self.pending.iter().map(|waiting| hash::part(&waiting));
        channels.chain(pending).fold(0, u128::wrapping_add)
    }
}

fn len(len: usize) -> u64 {
    u64::try_from(len).expect("a length fits")
}
