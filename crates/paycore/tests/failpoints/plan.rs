//! What is asked in each case, and what everybody's books say afterwards.

use std::time::Duration;

use client::{AccountId, Amount, Authority, Currency, FreezeScope, JournalKind, Leg, Money};
use client::{Rejection, Request, Side};
use ledger::Refusal;

use crate::bank::Bank;

/// What a payer begins with.
const OPENING: u64 = 1_000;

/// How long a hold lasts: longer than the test.
const HOLD_FOR: Duration = Duration::from_secs(86_400);

/// Money that crosses from one shard to another, in each of the ways in which it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// A transfer that is posted.
    Posted,
    /// One whose payee cannot be paid.
    Refused(Refused),
    /// Three legs: one here, two away, of which the second is refused.
    Legs(Refused),
    /// A hold that is posted in part; the rest is released.
    Hold,
    /// The undoing of a transfer that came from the other shard.
    Reversal,
}

/// Why a payee cannot be paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Somebody has frozen the account.
    Frozen,
    /// It is closed.
    Closed,
    /// There is none.
    Unknown,
}

impl Operation {
    /// All of them. Each passes every step; why a payee is refused changes nothing on the way, so that each step meets
    /// one of the reasons, and each reason several steps.
    pub(crate) fn all(step: usize) -> [Self; 5] {
        let why = |number: usize| match number % 3 {
            0 => Refused::Frozen,
            1 => Refused::Closed,
            _ => Refused::Unknown,
        };
        [
            Self::Posted,
            Self::Refused(why(step)),
            Self::Legs(why(step + 1)),
            Self::Hold,
            Self::Reversal,
        ]
    }
}

/// A request, and what becomes of it.
pub(crate) struct Plan {
    pub(crate) request: Request,
    pub(crate) expected: Result<(), Rejection>,
    pub(crate) books: Vec<Book>,
}

/// An account as it must be afterwards.
pub(crate) struct Book {
    pub(crate) account: AccountId,
    pub(crate) is_there: bool,
    /// The newest first.
    pub(crate) lines: Vec<Line>,
}

/// A line of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) kind: JournalKind,
    pub(crate) side: Side,
    pub(crate) amount: u64,
    /// Who is on the other side; of an opening it is the shard.
    pub(crate) counter: Option<AccountId>,
    /// Whether it belongs to the request that is tried, and not to what was done before.
    pub(crate) is_tried: bool,
}

/// The stage of a case: who pays is at home on one shard, who is paid on another.
pub(crate) struct Stage<'a> {
    pub(crate) bank: &'a mut Bank,
    pub(crate) home: u16,
    pub(crate) away: u16,
}

impl Stage<'_> {
    /// Prepares what an operation needs.
    pub(crate) fn plan(&mut self, operation: Operation) -> Plan {
        match operation {
            Operation::Posted => self.posted(),
            Operation::Refused(why) => self.refused(why),
            Operation::Legs(why) => self.legs(why),
            Operation::Hold => self.hold(),
            Operation::Reversal => self.reversal(),
        }
    }

    fn posted(&mut self) -> Plan {
        let payer = self.bank.opened(self.home, OPENING);
        let payee = self.bank.opened(self.away, 0);
        let paid = JournalKind::Transfer;
        Plan {
            request: Request::transfer(payer, payee, cny(250)),
            expected: Ok(()),
            books: vec![
                book(payer, vec![debit(paid, 250, payee), opening()]),
                book(payee, vec![credit(paid, 250, payer)]),
            ],
        }
    }

    fn refused(&mut self, why: Refused) -> Plan {
        let payer = self.bank.opened(self.home, OPENING);
        let (payee, reason) = self.unpayable(why);
        let back = credit(JournalKind::Return, 250, payee);
        let lines = vec![back, debit(JournalKind::Transfer, 250, payee), opening()];
        Plan {
            request: Request::transfer(payer, payee, cny(250)),
            expected: Err(Rejection::Returned { why: reason, legs: 0b1 }),
            books: vec![book(payer, lines), untouched(payee, why)],
        }
    }

    fn legs(&mut self, why: Refused) -> Plan {
        let payer = self.bank.opened(self.home, OPENING);
        let near = self.bank.opened(self.home, 0);
        let far = self.bank.opened(self.away, 0);
        let (payee, reason) = self.unpayable(why);
        let leg = |credit, minor| Leg { debit: payer, credit, amount: amount(minor) };
        let legs = [leg(near, 100), leg(far, 200), leg(payee, 300)];
        let paid = JournalKind::Transfer;
        let lines = vec![
            credit(JournalKind::Return, 300, payee),
            debit(paid, 300, payee),
            debit(paid, 200, far),
            debit(paid, 100, near),
            opening(),
        ];
        Plan {
            request: Request::multi_transfer(payer, Currency::CNY, &legs),
            expected: Err(Rejection::Returned { why: reason, legs: 0b100 }),
            books: vec![
                book(payer, lines),
                book(near, vec![credit(paid, 100, payer)]),
                book(far, vec![credit(paid, 200, payer)]),
                untouched(payee, why),
            ],
        }
    }

    fn hold(&mut self) -> Plan {
        let payer = self.bank.opened(self.home, OPENING);
        let payee = self.bank.opened(self.away, 0);
        let placed = Request::place_hold(payer, payee, cny(400), HOLD_FOR);
        let hold = self.bank.done(&placed).hold.unwrap();
        let posted = JournalKind::Post;
        Plan {
            request: Request::post_hold(hold, Some(amount(250)), true),
            expected: Ok(()),
            books: vec![
                book(payer, vec![debit(posted, 250, payee), opening()]),
                book(payee, vec![credit(posted, 250, payer)]),
            ],
        }
    }

    /// Who was paid is at home here: it is he who pays back.
    fn reversal(&mut self) -> Plan {
        let payer = self.bank.opened(self.away, OPENING);
        let payee = self.bank.opened(self.home, 0);
        let paid = self.bank.done(&Request::transfer(payer, payee, cny(250))).transfer;
        let before = |line: Line| Line { is_tried: false, ..line };
        let (there, back) = (JournalKind::Transfer, JournalKind::Reversal);
        let payers = vec![credit(back, 250, payee), before(debit(there, 250, payee)), opening()];
        let payees = vec![debit(back, 250, payer), before(credit(there, 250, payer))];
        Plan {
            request: Request::reverse_transfer(paid, payee),
            expected: Ok(()),
            books: vec![book(payer, payers), book(payee, payees)],
        }
    }

    /// A payee away who cannot be paid.
    fn unpayable(&mut self, why: Refused) -> (AccountId, Refusal) {
        match why {
            Refused::Frozen => {
                let payee = self.bank.opened(self.away, 0);
                let (scope, authority) = (FreezeScope::All, Authority::Risk);
                self.bank.done(&Request::freeze_account(payee, scope, authority));
                (payee, Refusal::AccountFrozen)
            }
            Refused::Closed => {
                let payee = self.bank.opened(self.away, 0);
                self.bank.done(&Request::close_account(payee));
                (payee, Refusal::AccountClosed)
            }
            Refused::Unknown => (self.bank.fresh(self.away), Refusal::AccountNotFound),
        }
    }
}

fn amount(minor: u64) -> Amount {
    Amount::from_minor(minor).unwrap()
}

fn cny(minor: u64) -> Money {
    Money { amount: amount(minor), currency: Currency::CNY }
}

const fn book(account: AccountId, lines: Vec<Line>) -> Book {
    Book { account, is_there: true, lines }
}

fn untouched(account: AccountId, why: Refused) -> Book {
    Book { is_there: why != Refused::Unknown, ..book(account, Vec::new()) }
}

const fn debit(kind: JournalKind, amount: u64, to: AccountId) -> Line {
    Line { kind, side: Side::Debit, amount, counter: Some(to), is_tried: true }
}

const fn credit(kind: JournalKind, amount: u64, from: AccountId) -> Line {
    Line { kind, side: Side::Credit, amount, counter: Some(from), is_tried: true }
}

const fn opening() -> Line {
    let (kind, side) = (JournalKind::Opening, Side::Credit);
    Line { kind, side, amount: OPENING, counter: None, is_tried: false }
}
