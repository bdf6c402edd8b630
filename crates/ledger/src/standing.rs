//! What the groups' states say of one another, for whoever has the states of all of them: a backup.
//!
//! A ledger alone can be sound and yet not fit the others. Of all together, as one cut found them, must hold, for every
//! channel from one group to another:
//! - what the receiver has applied was sent, and what the sender has dropped was applied;
//! - every payment is settled, or its answer is on its way, or it is itself: exactly one of them (A6);
//! - due-to less due-from is the money under way (I3), which [`crate::compare`] checks over [`parts`].

use std::collections::BTreeMap;

use crate::account::AccountKind;
use crate::amount::Currency;
use crate::channels::{Channel, Message, Payment};
use crate::cuts::Cut;
use crate::id::Time;
use crate::ledger::{Books, Ledger};

/// What one group's state says of its sums and its channels.
#[derive(Clone, Debug)]
pub struct Standing {
    books: Books,
    at: Time,
    index: u64,
    totals: BTreeMap<(Currency, AccountKind), i128>,
    channels: BTreeMap<u16, Channel>,
}

/// Two states that do not belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    /// The receiver has applied what was not sent.
    #[error("group {to} has applied {applied} messages of group {from}, which has sent {sent}")]
    NotSent {
        /// Who sent.
        from: u16,
        /// To whom.
        to: u16,
        /// The last message that the receiver has applied.
        applied: u64,
        /// The last message that was sent.
        sent: u64,
    },
    /// The sender takes something for applied that the receiver has not.
    #[error(
        "group {from} takes {acked} messages for applied by group {to}, which has applied {applied}"
    )]
    NotApplied {
        /// Who sent.
        from: u16,
        /// To whom.
        to: u16,
        /// The last message that the sender takes for applied, or has dropped.
        acked: u64,
        /// The last message that the receiver has applied.
        applied: u64,
    },
    /// A payment was applied, and nobody will ever say what became of it.
    #[error("payment {number} from group {from} to group {to} was applied, and has no answer")]
    NoAnswer {
        /// Who paid.
        from: u16,
        /// Whom.
        to: u16,
        /// The payment's number in the channel.
        number: u64,
    },
}

impl Ledger {
    /// What this ledger says of its sums and its channels. It copies the messages that are kept.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            books: self.books,
            at: self.now,
            index: self.index,
            totals: self.totals.clone(),
            channels: self
                .channels
                .peers()
                .map(|(peer, channel)| (peer, channel.clone()))
                .collect(),
        }
    }
}

impl Standing {
    /// The log index of the last batch in it.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// The sum of all balances of a kind, per currency, each on its normal side.
    #[must_use]
    pub const fn totals(&self) -> &BTreeMap<(Currency, AccountKind), i128> {
        &self.totals
    }

    /// The last message of a peer's that was applied.
    fn inbox(&self, peer: u16) -> u64 {
        self.channels.get(&peer).map_or(0, |channel| channel.cursors().inbox)
    }

    /// What was sent to a peer and is kept, with its numbers.
    fn kept(&self, peer: u16) -> impl Iterator<Item = (u64, &Message)> {
        self.channels
            .get(&peer)
            .into_iter()
            .flat_map(|channel| (channel.cursors().dropped.saturating_add(1)..).zip(channel.kept()))
    }

    /// Runs of payments from a peer, of which this group has said what became, and the peer has not heard it.
    fn answers<'a>(
        &'a self,
        peer: &'a Self,
    ) -> impl Iterator<Item = (u64, u64, &'a [(u64, crate::channels::Refusal)])> {
        let heard = peer.inbox(self.books.shard);
        self.kept(peer.books.shard).filter(move |(number, _)| *number > heard).filter_map(
            |(_, message)| match message {
                Message::Settled { from, to, refused } => Some((*from, *to, refused.as_slice())),
                Message::Pay(_)
                | Message::Marker(_)
                | Message::WholeMarker(_)
                | Message::StateMarker { .. }
                | Message::Record { .. }
                | Message::Told(_)
                | Message::Heard { .. } => None,
            },
        )
    }

    /// The payments to a peer that are kept.
    fn payments(&self, peer: u16) -> impl Iterator<Item = (u64, &Payment)> {
        self.kept(peer).filter_map(|(number, message)| match message {
            Message::Pay(payment) => Some((number, payment)),
            Message::Settled { .. }
            | Message::Marker(_)
            | Message::WholeMarker(_)
            | Message::StateMarker { .. }
            | Message::Record { .. }
            | Message::Told(_)
            | Message::Heard { .. } => None,
        })
    }
}

/// The states of one cut as its finished parts, with the money that is under way.
#[must_use]
pub fn parts(standings: &BTreeMap<u16, Standing>) -> BTreeMap<u16, Cut> {
    let part = |(number, standing): (&u16, &Standing)| {
        let mut part = Cut::new((standing.at, standing.index), standing.totals.clone(), Vec::new());
        for (peer, other) in standings.iter().filter(|(peer, _)| *peer != number) {
            let applied = standing.inbox(*peer);
            for (_, payment) in other.payments(*number).filter(|(number, _)| *number > applied) {
                part.arrives(*peer, payment.currency, payment.amount.minor());
            }
            let refused: Vec<u64> = other
                .answers(standing)
                .flat_map(|(_, _, refused)| refused.iter().map(|(number, _)| *number))
                .collect();
            for (_, payment) in
                standing.payments(*peer).filter(|(number, _)| refused.binary_search(number).is_ok())
            {
                part.returns(*peer, payment.currency, payment.amount.minor());
            }
        }
        (*number, part)
    };
    standings.iter().map(part).collect()
}

/// Where the states of one cut do not belong together: nowhere, if they are of one cut.
#[must_use]
pub fn disagreements(standings: &BTreeMap<u16, Standing>) -> Vec<Disagreement> {
    let pairs = standings.values().flat_map(|from| standings.values().map(move |to| (from, to)));
    let pairs = pairs.filter(|(from, to)| from.books.shard != to.books.shard);
    pairs.flat_map(|(from, to)| channel(from, to)).collect()
}

fn channel(sender: &Standing, receiver: &Standing) -> Vec<Disagreement> {
    let (from, to) = (sender.books.shard, receiver.books.shard);
    let applied = receiver.inbox(from);
    let own = sender.channels.get(&to);
    let sent = own.map_or(0, Channel::last);
    let acked = own.map_or(0, |own| own.cursors().acked.max(own.cursors().dropped));
    let mut found = Vec::new();
    if applied > sent {
        found.push(Disagreement::NotSent { from, to, applied, sent });
    }
    if acked > applied {
        found.push(Disagreement::NotApplied { from, to, acked, applied });
    }
    let settled = own.map_or(0, |own| own.cursors().settled);
    let answered: Vec<(u64, u64)> =
        receiver.answers(sender).map(|(first, last, _)| (first, last)).collect();
    let is_answered = |number: u64| {
        let behind = answered.partition_point(|(_, last)| *last < number);
        answered.get(behind).is_some_and(|(first, _)| *first <= number)
    };
    let open = sender.payments(to).map(|(number, _)| number);
    let open = open.filter(|number| *number > settled && *number <= applied);
    found.extend(
        open.filter(|number| !is_answered(*number)).map(|number| Disagreement::NoAnswer {
            from,
            to,
            number,
        }),
    );
    found
}
