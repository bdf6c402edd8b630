//! Payments to other shards that are on their way into the log: with those that the ledger knows and nobody has settled
//! yet, they are what a channel carries at once, and that has a bound.

use std::collections::BTreeMap;

use ledger::{AccountId, Command, HoldId, Ledger, Shards, Time, UNSETTLED_MAX};

/// What the desk asks of the ledger: how full a channel is, and whom a hold will pay.
pub trait Books {
    /// How many payments to a peer are not settled.
    fn unsettled(&self, peer: u16) -> u64;
    /// Whom an active hold will pay.
    fn payee_of(&self, hold: HoldId) -> Option<AccountId>;
    /// When the meta group last told the time.
    fn told(&self) -> Time;
    /// The cluster's feature level, as the shard's log says it.
    fn level(&self) -> u32;
}

impl Books for Ledger {
    fn unsettled(&self, peer: u16) -> u64 {
        Self::unsettled(self, peer)
    }

    fn payee_of(&self, hold: HoldId) -> Option<AccountId> {
        self.hold(&hold).map(|hold| hold.credit)
    }

    fn told(&self) -> Time {
        self.directory().told()
    }

    fn level(&self) -> u32 {
        self.directory().level()
    }
}

/// The payments of one request to each peer; of most requests there are none.
pub(crate) type Away = Vec<(u16, u32)>;

/// Payments on their way into the log, by peer.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    by_peer: BTreeMap<u16, u32>,
}

impl Outgoing {
    /// Whether the channels have room for a request's payments.
    pub(crate) fn has_room(&self, away: &Away, books: &impl Books) -> bool {
        away.iter().all(|(peer, payments)| {
            let on_their_way = self.by_peer.get(peer).copied().unwrap_or(0);
            let wanted = u64::from(on_their_way).saturating_add(u64::from(*payments));
            books.unsettled(*peer).saturating_add(wanted) <= UNSETTLED_MAX as u64
        })
    }

    /// A request's payments are on their way.
    pub(crate) fn begin(&mut self, away: &Away) {
        for (peer, payments) in away {
            let on_their_way = self.by_peer.entry(*peer).or_default();
            *on_their_way = on_their_way.saturating_add(*payments);
        }
    }

    /// They have arrived, or never will.
    pub(crate) fn end(&mut self, away: &Away) {
        for (peer, payments) in away {
            if let Some(on_their_way) = self.by_peer.get_mut(peer) {
                *on_their_way = on_their_way.saturating_sub(*payments);
            }
        }
    }
}

/// The payments of a command to other shards than `place`'s.
pub(crate) fn away(command: &Command, place: (Shards, u16), books: &impl Books) -> Away {
    let mut away = Away::new();
    let mut pays_shard = |peer: u16| {
        if peer == place.1 || peer >= place.0.count() {
            return;
        }
        match away.iter_mut().find(|(known, _)| *known == peer) {
            Some((_, payments)) => *payments = payments.saturating_add(1),
            None => away.push((peer, 1)),
        }
    };
    let shard = |id: &AccountId| place.0.shard(id.slot());
    match command {
        Command::Transfer { credit, .. } => pays_shard(shard(credit)),
        Command::MultiTransfer { legs, .. } => {
            legs.iter().for_each(|leg| pays_shard(shard(&leg.credit)));
        }
        Command::Post { hold, .. } => {
            books.payee_of(*hold).iter().for_each(|credit| pays_shard(shard(credit)));
        }
        // Who paid from another shard gets his money back there.
        Command::Reverse { transfer, .. } => pays_shard(transfer.shard),
        Command::Open { .. }
        | Command::Freeze { .. }
        | Command::Unfreeze { .. }
        | Command::Close { .. }
        | Command::Hold { .. }
        | Command::Void { .. }
        | Command::ForgetKeys { .. }
        | Command::Deliver { .. }
        | Command::Cut { .. }
        | Command::Direct { .. }
        | Command::Report { .. }
        | Command::WholeCut { .. }
        | Command::StateCut { .. } => {}
        #[cfg(next_level)]
        Command::Extend { .. } => {}
    }
    away
}
