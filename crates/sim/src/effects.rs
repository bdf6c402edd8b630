//! What the outcomes that were told leave behind: a second, naive ledger, made of what clients heard and nothing else.

use std::collections::BTreeMap;

use ledger::{AccountId, Command, HoldId, Leg, Rejection, Shards, Time, TransferId};

use crate::accounts::OPENING;
use crate::oracle::Promise;

/// What has become of a hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HoldEffect {
    pub(crate) debit: AccountId,
    credit: AccountId,
    pub(crate) amount: u64,
    /// From then on it has expired.
    pub(crate) expires_at: Time,
    /// What was posted, as far as it was said how much.
    posted: u64,
    /// Everything that was left was posted.
    is_posted_whole: bool,
    /// How often it was ended by request. More than once is one time too many.
    pub(crate) ends: u64,
    /// The latest log time at which somebody voided it, or posted of it to an account of the same shard.
    pub(crate) touched_at: Time,
}

impl HoldEffect {
    /// What is left of it while it is active.
    pub(crate) fn remaining(&self) -> Option<u64> {
        self.amount.checked_sub(self.posted)
    }

    /// Whether a request has ended it.
    pub(crate) fn has_ended(&self) -> bool {
        self.ends > 0 || self.remaining() == Some(0)
    }

    fn moved(&self) -> u64 {
        if self.is_posted_whole { self.amount } else { self.posted }
    }
}

/// All effects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Effects {
    /// What each account has.
    pub(crate) balances: BTreeMap<AccountId, i128>,
    pub(crate) holds: BTreeMap<HoldId, HoldEffect>,
    /// How often each transfer was undone.
    pub(crate) undone: BTreeMap<TransferId, u64>,
    /// Transfers by their names, with the legs that were posted.
    transfers: BTreeMap<TransferId, Vec<Leg>>,
}

impl Effects {
    /// The effects of all promises that were kept; `None` while something has no outcome, for then nobody can know.
    pub(crate) fn of(
        promises: &[Vec<Promise>],
        accounts: &[AccountId],
        shards: Shards,
    ) -> Option<Self> {
        if promises.iter().flatten().any(Promise::is_open) {
            return None;
        }
        let opening = |account: &AccountId| (*account, i128::from(OPENING));
        let balances = accounts.iter().map(opening).collect();
        let mut effects = Self { balances, ..Self::default() };
        // What is placed or transferred first, and then what names it: promises are in the order of their keys.
        for promise in promises.iter().flatten() {
            effects.begin(promise);
        }
        for promise in promises.iter().flatten() {
            effects.go_on(promise, shards);
        }
        let holds: Vec<HoldEffect> = effects.holds.values().copied().collect();
        for hold in holds {
            effects.moves(hold.debit, hold.credit, hold.moved());
        }
        Some(effects)
    }

    fn begin(&mut self, promise: &Promise) {
        let legs = match &promise.request.command {
            Command::Transfer { debit, credit, amount, .. } => {
                vec![Leg { debit: *debit, credit: *credit, amount: *amount }]
            }
            Command::MultiTransfer { legs, .. } => legs.clone(),
            Command::Hold { debit, hold, credit, amount, timeout_ms, .. } => {
                if let Some(Ok(placed)) = promise.outcome {
                    let effect = HoldEffect {
                        debit: *debit,
                        credit: *credit,
                        amount: amount.minor(),
                        expires_at: placed.at.plus_ms(*timeout_ms),
                        posted: 0,
                        is_posted_whole: false,
                        ends: 0,
                        touched_at: Time(0),
                    };
                    self.holds.insert(*hold, effect);
                }
                return;
            }
            Command::Open { .. }
            | Command::Freeze { .. }
            | Command::Unfreeze { .. }
            | Command::Close { .. }
            | Command::Post { .. }
            | Command::Void { .. }
            | Command::Reverse { .. }
            | Command::ForgetKeys { .. }
            | Command::Deliver { .. }
            | Command::Cut { .. }
            | Command::Direct { .. }
            | Command::Report { .. }
            | Command::WholeCut { .. }
            | Command::StateCut { .. } => return,
        };
        let came_back = match promise.outcome {
            Some(Ok(_)) => 0,
            // Of several legs only those named came back.
            Some(Err(Rejection::Returned { legs, .. })) => legs,
            Some(Err(_)) | None => return,
        };
        for (place, leg) in (0_u32..).zip(&legs) {
            if came_back.checked_shr(place).unwrap_or(0) & 1 == 0 {
                self.moves(leg.debit, leg.credit, leg.amount.minor());
            }
        }
        if let Some(Ok(posted)) = promise.outcome {
            self.transfers.insert(posted.transfer, legs);
        }
    }

    fn go_on(&mut self, promise: &Promise, shards: Shards) {
        let Some(Ok(done)) = promise.outcome else { return };
        match &promise.request.command {
            Command::Post { hold, amount, release_rest } => {
                let Some(hold) = self.holds.get_mut(hold) else { return };
                match amount {
                    Some(part) => hold.posted = hold.posted.saturating_add(part.minor()),
                    None => hold.is_posted_whole = true,
                }
                let ends = *release_rest || amount.is_none();
                hold.ends = hold.ends.saturating_add(u64::from(ends));
                // What another shard has a part in has its outcome later than its effect.
                if shards.shard(hold.debit.slot()) == shards.shard(hold.credit.slot()) {
                    hold.touched_at = hold.touched_at.max(done.at);
                }
            }
            Command::Void { hold } => {
                let Some(hold) = self.holds.get_mut(hold) else { return };
                hold.ends = hold.ends.saturating_add(1);
                hold.touched_at = hold.touched_at.max(done.at);
            }
            Command::Reverse { transfer, .. } => {
                let count = self.undone.entry(*transfer).or_default();
                *count = count.saturating_add(1);
                for leg in self.transfers.get(transfer).cloned().unwrap_or_default() {
                    self.moves(leg.credit, leg.debit, leg.amount.minor());
                }
            }
            Command::Open { .. }
            | Command::Freeze { .. }
            | Command::Unfreeze { .. }
            | Command::Close { .. }
            | Command::Transfer { .. }
            | Command::MultiTransfer { .. }
            | Command::Hold { .. }
            | Command::ForgetKeys { .. }
            | Command::Deliver { .. }
            | Command::Cut { .. }
            | Command::Direct { .. }
            | Command::Report { .. }
            | Command::WholeCut { .. }
            | Command::StateCut { .. } => {}
        }
    }

    fn moves(&mut self, debit: AccountId, credit: AccountId, minor: u64) {
        let mut change = |account, by: i128| {
            let balance = self.balances.entry(account).or_default();
            *balance = balance.saturating_add(by);
        };
        change(debit, i128::from(minor).saturating_neg());
        change(credit, i128::from(minor));
    }
}

#[cfg(test)]
mod tests {
    use ledger::{Amount, Key, Outcome, Posted, Request, TenantId};

    use super::*;
    use crate::accounts;

    fn promise(key: u128, command: Command, outcome: Outcome) -> Promise {
        let request = Request { key: Key::from_u128(key), tenant: TenantId(0), command };
        Promise { request, outcome: Some(outcome), is_given_up: false }
    }

    fn posted(index: u64) -> Outcome {
        Ok(Posted { transfer: TransferId { shard: 0, index, position: 0 }, at: Time(index) })
    }

    #[test]
    fn outcomes_add_up() {
        let shards = Shards::new(2).unwrap();
        let all = accounts::all(shards);
        let amount = |minor| Amount::from_minor(minor).unwrap();
        let leg = |minor| Leg { debit: all[0], credit: all[1], amount: amount(minor) };
        let hold = accounts::hold(leg(50), 1, 1_000);
        let Command::Hold { hold: id, .. } = hold else { unreachable!() };
        let part = Command::Post { hold: id, amount: Some(amount(20)), release_rest: false };
        let rest = Command::Post { hold: id, amount: None, release_rest: true };
        let promises = vec![
            vec![promise(1, accounts::transfer(leg(100)), posted(1))],
            vec![promise(2, accounts::transfer(leg(7)), Err(Rejection::KeyReused))],
            vec![promise(3, hold, posted(2))],
            vec![promise(4, part, posted(3))],
            vec![promise(5, rest, posted(4))],
            vec![promise(6, accounts::reverse(all[1], posted(1).unwrap().transfer), posted(5))],
        ];
        let effects = Effects::of(&promises, &all, shards).unwrap();
        let opening = i128::from(OPENING);
        assert_eq!(effects.balances[&all[0]], opening - 50);
        assert_eq!(effects.balances[&all[1]], opening + 50);
        let hold = effects.holds[&id];
        assert!(hold.has_ended() && hold.ends == 1 && hold.touched_at == Time(4));
        assert_eq!(hold.expires_at, Time(1_002));
        assert_eq!(effects.undone.values().copied().collect::<Vec<_>>(), [1]);
        let mut open = promises;
        open[0][0].outcome = None;
        assert!(Effects::of(&open, &all, shards).is_none());
        open[0][0].is_given_up = true;
        assert!(Effects::of(&open, &all, shards).is_some());
    }
}
