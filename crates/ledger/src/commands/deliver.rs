//! Messages from other shards: money for accounts here, and what became of money from here.
//!
//! A message is applied when it is its turn, and then whole: its money, its cursor and its answer are one entry (A6).

use crate::account::{Account, AccountKind, Side};
use crate::channels::{Message, Payment, REFUSED_MAX, Refusal, Turn};
use crate::cold::{Incoming, KeptOutcome};
use crate::commands::transfer::Draft;
use crate::cuts::Extent;
use crate::id::TenantId;
use crate::journal::{Journal, JournalKind, PostedLeg, Remote};
use crate::ledger::Ledger;
use crate::outcome::{Answer, Posted};
use crate::plant::Plant;
use crate::rejection::Rejection;

impl Ledger {
    /// Takes a message in, or lets it lie: a duplicate is answered as `replayed`, and one that comes before its turn as
    /// [`Rejection::InvalidCommand`]; neither changes anything.
    pub(crate) fn deliver(
        &mut self,
        position: u16,
        tenant: TenantId,
        (from, acked): (u16, u64),
        message: Option<&(u64, Message)>,
    ) -> Answer {
        let refused = Answer { outcome: Err(Rejection::InvalidCommand), replayed: false };
        let is_peer = from != self.books.shard && from <= self.books.shards.meta();
        if tenant != TenantId(0) || !is_peer {
            return refused;
        }
        let posted = Posted { transfer: self.transfer_at(position), at: self.now };
        let taken = Answer { outcome: Ok(posted), replayed: false };
        #[cfg(planted)]
        self.channels.peer(from).catch_up();
        let Some((number, message)) = message else {
            self.channels.peer(from).acknowledge(acked);
            return taken;
        };
        match self.channels.peer(from).turn(*number) {
            Turn::Gap if Plant::SkipGap.is_on() => {}
            Turn::Gap => return refused,
            Turn::Duplicate if Plant::ApplyTwice.is_on() => {}
            Turn::Duplicate => return Answer { replayed: true, ..taken },
            Turn::Next => {}
        }
        match message {
            Message::Pay(payment) => {
                self.cuts.arrived(from, payment.currency, payment.amount.minor());
                let refusal = self.take_payment(position, from, payment).err();
                self.unanswered.push((from, *number, refusal));
            }
            Message::Settled { from: first, to: last, refused: back } => {
                let run = (*first, *last);
                let Some(payments) = self.channels.peer(from).answered(run, back) else {
                    return refused;
                };
                self.channels.peer(from).settle(*last, payments.len());
                self.settle(position, from, &payments, back);
            }
            Message::Record { .. } | Message::Told(_) | Message::Heard { .. } => {
                if self.take_word(from, message).is_err() {
                    return refused;
                }
            }
            Message::Marker(cut) => self.meet_cut(*cut, Extent::Sums, from),
            Message::WholeMarker(cut) => self.meet_cut(*cut, Extent::Whole, from),
            Message::StateMarker { cut, .. } => self.meet_cut(*cut, Extent::State, from),
        }
        self.channels.peer(from).applied(*number);
        self.channels.peer(from).acknowledge(acked);
        taken
    }

    /// Money from another shard: its shard owes us, and we owe the payee. Of a reversal the payee was the payer: he gets
    /// his money even when he is frozen, and it stays frozen with the rest.
    fn take_payment(&mut self, position: u16, from: u16, payment: &Payment) -> Result<(), Refusal> {
        let Payment { transfer, debit, credit, amount, currency, kind, reverses, .. } = *payment;
        let payee = self.payee(&credit).map_err(refusal)?;
        if payee.currency != currency {
            return Err(Refusal::CurrencyMismatch);
        }
        let credited = match kind {
            JournalKind::Reversal => {
                payee.check_open().and_then(|()| payee.moved(Side::Credit, amount))
            }
            JournalKind::Transfer
            | JournalKind::Post
            | JournalKind::Opening
            | JournalKind::Return => payee.after_credit(amount),
        };
        let credited = credited.map_err(refusal)?;
        let due = self.system_account(AccountKind::DueFrom(from), currency);
        let due = due.moved(Side::Debit, amount).map_err(refusal)?;

        let legs = [PostedLeg {
            debit: due,
            credit: credited,
            amount,
            remote: Some(Remote { account: debit, transfer: Some(transfer) }),
        }];
        let mut journal = Journal::new(kind, &legs);
        journal.reverses = reverses;
        self.write(position, &journal);
        if payment.is_whole && kind.is_reversible() {
            let at = self.now;
            self.recent.keep_incoming(transfer, Incoming { debit, credit, amount, kind, at });
        }
        Ok(())
    }

    /// What became of payments from here: those refused go back to their payers, as the legs of one journal.
    fn settle(
        &mut self,
        position: u16,
        from: u16,
        payments: &[(u64, Payment)],
        refused: &[(u64, Refusal)],
    ) {
        let mut returned = Vec::new();
        let mut refused = refused.iter().peekable();
        for (number, payment) in payments {
            let refusal = refused.next_if(|(refused, _)| refused == number).map(|(_, why)| *why);
            if refusal.is_some() {
                self.cuts.returned(from, payment.currency, payment.amount.minor());
                returned.push(*payment);
            }
            self.leg_settled(payment, refusal);
        }
        if !returned.is_empty() {
            self.give_back(position, from, &returned);
        }
    }

    /// A journal of its own: the due account is debited, and the payer, whatever has frozen him, gets his money back. A
    /// payer who is gone does not: it waits in suspense.
    fn give_back(&mut self, position: u16, from: u16, returned: &[Payment]) {
        let mut draft = Draft { ledger: self, accounts: Vec::new() };
        let mut legs = Vec::with_capacity(returned.len());
        for payment in returned {
            let Payment { transfer, debit, credit, amount, currency, .. } = *payment;
            let due = draft.system(AccountKind::DueTo(from), currency);
            let due = due.moved(Side::Debit, amount).expect("a due account has no bound");
            let due = draft.put(due);
            let payer = draft.account(&debit).and_then(|payer| back_to(&payer, payment));
            let payee = payer.unwrap_or_else(|_| {
                let suspense = draft.system(AccountKind::Suspense, currency);
                suspense.moved(Side::Credit, amount).expect("suspense has no bound")
            });
            let payee = draft.put(payee);
            let remote = Some(Remote { account: credit, transfer: Some(transfer) });
            legs.push(PostedLeg { debit: due, credit: payee, amount, remote });
        }
        self.write(position, &Journal::new(JournalKind::Return, &legs));
    }

    /// One leg of a request is settled; with the last one the request has its outcome.
    fn leg_settled(&mut self, payment: &Payment, refused: Option<Refusal>) {
        let transfer = payment.transfer;
        let Some(done) = self.channels.leg_settled(payment, refused) else { return };
        let outcome = match done.why {
            Some(why) => Err(Rejection::Returned { why, legs: done.returned }),
            None => Ok(Posted { transfer, at: self.now }),
        };
        if let (Some(reversed), Ok(_)) = (done.reverses, outcome) {
            self.recent.keep_reversal(self.now, reversed, transfer);
        }
        let kept = KeptOutcome { fingerprint: done.fingerprint, outcome, at: self.now };
        self.recent.keep_outcome(done.scoped, kept);
        self.finals.push((done.scoped, outcome));
    }

    /// Answers the payments that this batch took in, each channel's in runs.
    pub(crate) fn answer_peers(&mut self) {
        let unanswered = std::mem::take(&mut self.unanswered);
        let mut peers: Vec<u16> = unanswered.iter().map(|(peer, _, _)| *peer).collect();
        peers.sort_unstable();
        peers.dedup();
        for peer in peers {
            let mut run: Option<Run> = None;
            for (_, number, refusal) in unanswered.iter().filter(|(from, _, _)| *from == peer) {
                let open =
                    run.get_or_insert(Run { from: *number, to: *number, refused: Vec::new() });
                open.to = *number;
                let refusal = refusal.filter(|_| !Plant::LoseRefusal.is_on());
                open.refused.extend(refusal.map(|why| (*number, why)));
                if open.refused.len() >= REFUSED_MAX {
                    self.answer_run(peer, run.take());
                }
            }
            self.answer_run(peer, run);
        }
    }

    fn answer_run(&mut self, peer: u16, run: Option<Run>) {
        if let Some(Run { from, to, refused }) = run {
            self.channels.send(peer, Message::Settled { from, to, refused });
        }
    }
}

/// Payments that are answered together.
struct Run {
    from: u64,
    to: u64,
    refused: Vec<(u64, Refusal)>,
}

fn back_to(payer: &Account, payment: &Payment) -> Result<Account, Rejection> {
    payer.check_open()?;
    payer.moved(Side::Credit, payment.amount)
}

/// Why a payee cannot be paid, as its payer's shard hears it.
fn refusal(rejection: Rejection) -> Refusal {
    let all = Refusal::ALL.into_iter();
    let mut same = all.filter(|refusal| refusal.rejection() == rejection);
    same.next().expect("a payee is refused for one of these reasons")
}
