//! Where payments go, as the importer sees it: orders in, one verdict for each out.

use std::time::Duration;

use ledger::{AccountId, Amount, Currency};

/// Something that is to be done once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    /// The idempotency key, free-form.
    pub(crate) key: String,
    /// What is to be done.
    pub(crate) what: What,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Open an account.
    Open {
        /// The account.
        account: AccountId,
        /// Its currency.
        currency: Currency,
        /// What it begins with.
        opening: Option<Amount>,
    },
    /// Pay.
    Pay {
        /// Who pays.
        debit: AccountId,
        /// Who is paid.
        credit: AccountId,
        /// How much.
        amount: Amount,
        /// In what.
        currency: Currency,
        /// The line of the file that says so.
        line: u64,
        /// For which period, from 1 on.
        period: u32,
    },
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Done. Final.
    Posted {
        /// Whether it had been done before.
        replayed: bool,
    },
    /// The ledger said no. Final.
    Rejected {
        /// Why: a code of the catalogue.
        code: String,
        /// The same for a person.
        message: String,
    },
    /// Nobody answered for the ledger.
    Unheard(Unheard),
}

/// Why nobody answered for the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unheard {
    /// Why: a code of the catalogue.
    pub(crate) code: String,
    /// The same for a person.
    pub(crate) message: String,
    /// Whether it may have been done all the same.
    pub(crate) maybe_done: bool,
    /// Whether sending it again makes sense.
    pub(crate) retryable: bool,
}

/// Where payments go.
pub(crate) trait PaymentSink {
    /// Sends orders, each by itself, and waits for their verdicts no longer than `wait`: one for each, in their order.
    /// Dropped before it is done, it may have done any of them.
    fn submit(&self, orders: &[Order], wait: Duration) -> impl Future<Output = Vec<Verdict>>;
}
