//! The one door: money moves in [`Ledger::apply`] and nowhere else (A2).
//!
//! Each request passes three questions. *Has its key an outcome?* Then that is the answer, for ever (A4). *What falls
//! due first?* The records it names are brought up to log time. *What does the command do?* Everything is checked,
//! then everything is changed; a "no" changes nothing and is remembered like a "yes".

use crate::batch::{Batch, Command, Request};
use crate::cold::{ColdName, KeptOutcome};
use crate::commands::Dispatch;
use crate::cuts::Extent;
use crate::fetched::Fetched;
use crate::hold::HoldState;
use crate::id::{AccountId, HoldId, Time};
use crate::key::{KEY_SKEW_MS, Key, Operation};
use crate::ledger::Ledger;
use crate::outcome::{Answer, Decided, Posted, Said};
use crate::plant::Plant;
use crate::rejection::Rejection;

/// Due records that one batch touches although nobody asked for them: a bounded piece of work beside the requests.
pub const TIMERS_PER_BATCH_MAX: usize = 256;

impl Ledger {
    /// Applies one committed batch: one answer per request, in order, and the outcomes that earlier ones waited for.
    ///
    /// # Panics
    /// When the log itself is wrong: an index that does not grow, or records fetched for another state. A replica that
    /// sees that must stop, not answer.
    pub fn apply(&mut self, index: u64, batch: &Batch, fetched: &Fetched) -> Decided {
        assert!(index > self.index, "entry {index} after entry {}", self.index);
        assert_eq!(
            fetched.evictions, self.evictions,
            "records left memory between fetch and apply"
        );
        self.index = index;
        // A stamp is a proposal: a new leader may stamp below an entry it has not applied yet (A7).
        self.now = self.now.max(batch.at());
        #[cfg(planted)]
        if Plant::WallClock.is_on() {
            self.now = self.now.plus_ms(crate::plant::wall_clock_ms());
        }
        self.retention.passes(self.now, index);
        self.cuts.pass(self.now);
        self.pass_image();

        let answers = batch
            .items()
            .zip(0_u16..)
            .map(|((request, fingerprint), position)| {
                self.apply_once(position, request, fingerprint, fetched)
            })
            .collect();
        self.expire_due();
        self.tell_due();
        self.answer_peers();
        self.answer_meta();
        self.settle_digest();
        let finals = std::mem::take(&mut self.finals);
        Decided { answers, finals, sent_to: self.channels.take_sent_to() }
    }

    /// Calls `ask` for every record that the batch names and memory lacks. The caller looks them up in the volumes and
    /// puts what it finds into [`Self::begin_fetch`]'s value; what it does not find does not exist.
    pub fn missing(&self, batch: &Batch, mut ask: impl FnMut(ColdName)) {
        for request in batch.requests() {
            let scoped = request.scoped_key();
            let is_known = self.recent.outcome(&scoped).is_some()
                || self.channels.by_key(&scoped).is_some()
                || matches!(scoped.operation, Operation::Deliver | Operation::Report);
            if !is_known {
                ask(ColdName::Outcome(scoped));
            }
            match &request.command {
                Command::Hold { hold, .. }
                | Command::Post { hold, .. }
                | Command::Void { hold } => {
                    if self.hold(hold).is_none() {
                        ask(ColdName::Hold(*hold));
                    }
                }
                #[cfg(next_level)]
                Command::Extend { hold, .. } => {
                    if self.hold(hold).is_none() {
                        ask(ColdName::Hold(*hold));
                    }
                }
                Command::Reverse { credit, transfer } => {
                    self.missing_transfer(*credit, *transfer, &mut ask);
                }
                Command::Open { .. }
                | Command::Freeze { .. }
                | Command::Unfreeze { .. }
                | Command::Close { .. }
                | Command::Transfer { .. }
                | Command::MultiTransfer { .. }
                | Command::ForgetKeys { .. }
                | Command::Deliver { .. }
                | Command::Cut { .. }
                | Command::Direct { .. }
                | Command::Report { .. }
                | Command::WholeCut { .. }
                | Command::StateCut { .. } => {}
            }
        }
    }

    /// Executes a request the first time it is seen, and repeats its outcome ever after.
    fn apply_once(
        &mut self,
        position: u16,
        request: &Request,
        fingerprint: u128,
        fetched: &Fetched,
    ) -> Said {
        if let Command::Deliver { from, acked, message, .. } = &request.command {
            let from = (*from, *acked);
            return Said::Now(self.deliver(position, request.tenant, from, message.as_ref()));
        }
        if let Command::Report { name, record, .. } = &request.command {
            return Said::Now(self.report(position, request.tenant, name, record));
        }
        let scoped = request.scoped_key();
        let now = |outcome| Said::Now(Answer { outcome, replayed: false });
        if let Some((_, pending)) = self.channels.by_key(&scoped) {
            let is_same = pending.fingerprint == fingerprint;
            return if is_same {
                Said::Later { replayed: true }
            } else {
                now(Err(Rejection::KeyReused))
            };
        }
        match self.kept(&scoped, fetched) {
            Some(kept) if kept.fingerprint == fingerprint => {
                Said::Now(Answer { outcome: kept.outcome, replayed: true })
            }
            Some(_) => now(Err(Rejection::KeyReused)),
            None => {
                if let Err(too_old) = self.check_key(request.key) {
                    return now(Err(too_old));
                }
                let outcome = match self.execute(position, request, fetched) {
                    Ok(Some(dispatch)) => {
                        self.dispatch(position, (scoped, fingerprint), dispatch);
                        return Said::Later { replayed: false };
                    }
                    Ok(None) => Ok(Posted { transfer: self.transfer_at(position), at: self.now }),
                    Err(rejection) => Err(rejection),
                };
                if outcome.is_ok() || !Plant::ForgetRejections.is_on() {
                    let kept = KeptOutcome { fingerprint, outcome, at: self.now };
                    self.recent.keep_outcome(scoped, kept);
                }
                now(outcome)
            }
        }
    }

    /// A key that says it was made before the cut-off may have been used and forgotten.
    fn check_key(&self, key: Key) -> Result<(), Rejection> {
        let cut_off = self.retention.cut_off();
        let too_old = |made| cut_off > Time(0) && made < cut_off.plus_ms(KEY_SKEW_MS);
        if key.time().is_some_and(too_old) { Err(Rejection::KeyTooOld { cut_off }) } else { Ok(()) }
    }

    /// What a command does. Money that leaves the shard is given back, to be dispatched.
    fn execute(
        &mut self,
        position: u16,
        request: &Request,
        fetched: &Fetched,
    ) -> Result<Option<Dispatch>, Rejection> {
        let Request { tenant, command, .. } = request;
        self.touch(command);
        match command {
            Command::Open { account, currency, kind, opening } => {
                self.open(position, *tenant, (*account, *currency, *kind), *opening)?;
            }
            Command::Freeze { account, scope, authority } => {
                self.freeze_account(*tenant, *account, *authority, *scope)?;
            }
            Command::Unfreeze { account, authority } => {
                self.unfreeze_account(*tenant, *account, *authority)?;
            }
            Command::Close { account } => self.close(*tenant, *account)?,
            Command::Transfer { debit, credit, amount, currency } => {
                let leg = crate::batch::Leg { debit: *debit, credit: *credit, amount: *amount };
                return self.transfer(position, *tenant, *currency, leg);
            }
            Command::MultiTransfer { initiator, currency, legs } => {
                return self.multi_transfer(position, *tenant, (*initiator, *currency), legs);
            }
            Command::Hold { .. } => self.place_hold(*tenant, command, fetched)?,
            Command::Post { .. } => return self.post_hold(position, *tenant, command, fetched),
            Command::Void { hold } => self.void_hold(*tenant, *hold, fetched)?,
            Command::Reverse { credit, transfer } => {
                return self.reverse(position, *tenant, (*credit, *transfer), fetched);
            }
            Command::ForgetKeys { books, before } => self.forget_keys(*tenant, *books, *before)?,
            Command::Cut { books, cut } => self.cut(*tenant, *books, *cut, Extent::Sums)?,
            Command::WholeCut { books, cut } => self.cut(*tenant, *books, *cut, Extent::Whole)?,
            Command::StateCut { books, cut } => self.cut(*tenant, *books, *cut, Extent::State)?,
            Command::Direct { name, record, .. } => self.direct(*tenant, name, record)?,
            #[cfg(next_level)]
            Command::Extend { hold, timeout_ms } => {
                self.extend_hold(*tenant, (*hold, *timeout_ms), fetched)?;
            }
            Command::Deliver { .. } | Command::Report { .. } => {
                unreachable!("taken in before keys are asked for")
            }
        }
        Ok(None)
    }

    /// Brings the records that a command names up to log time.
    fn touch(&mut self, command: &Command) {
        match command.operation() {
            Operation::Open
            | Operation::ForgetKeys
            | Operation::Deliver
            | Operation::Cut
            | Operation::Direct
            | Operation::Report => {}
            Operation::Post | Operation::Void => {
                self.touch_hold(HoldId::from_u128(command.subject()));
            }
            #[cfg(next_level)]
            Operation::Extend => self.touch_hold(HoldId::from_u128(command.subject())),
            Operation::Freeze
            | Operation::Unfreeze
            | Operation::Close
            | Operation::Transfer
            | Operation::Hold
            | Operation::Reverse => self.touch_account(AccountId::from_u128(command.subject())),
        }
        if let Command::MultiTransfer { legs, .. } = command {
            for leg in legs {
                self.touch_account(leg.debit);
            }
        }
    }

    pub(crate) fn touch_account(&mut self, id: AccountId) {
        let has_none = self.accounts.get(&id).is_none_or(|stored| stored.account.holds == 0);
        if has_none || Plant::DeadlineByTimer.is_on() {
            return;
        }
        loop {
            let first = self.holds.due_of(id, self.now).next().map(|hold| hold.id);
            let Some(due) = first else { return };
            self.expire(due);
        }
    }

    fn touch_hold(&mut self, id: HoldId) {
        let is_due = self.holds.get(&id).is_some_and(|hold| hold.expires_at <= self.now);
        if is_due && !Plant::DeadlineByTimer.is_on() {
            self.expire(id);
        }
    }

    /// Expires what nobody asked for, a bounded number: a late timer delays a notice, never a decision.
    fn expire_due(&mut self) {
        for _ in 0..TIMERS_PER_BATCH_MAX {
            let first = self.holds.first_due(self.now).map(|hold| hold.id);
            let Some(due) = first else { return };
            self.expire(due);
        }
    }

    fn expire(&mut self, id: HoldId) {
        let hold = *self.holds.get(&id).expect("only active holds fall due");
        let account = self.accounts.get(&hold.debit).expect("a hold's account exists").account;

        self.write_account(account.after_release(hold.remaining, true), None);
        self.end_hold(&hold, hold.ended(HoldState::Expired, self.now));
    }
}
