//! Why the ledger says no. A rejection is deterministic, replicated, remembered under the key, and final.

use bincode::{Decode, Encode};

use crate::channels::Refusal;
use crate::id::Time;

/// A deterministic "no". Each variant says what its reader can do about it.
///
/// Encoded in the log's outcomes: variants are only ever added at the end (A10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error, Hash)]
pub enum Rejection {
    /// Send an amount of 1 … 10^15 minor units.
    #[error("an amount is 1 to 10^15 whole minor units")]
    InvalidAmount,
    /// Use a code of ISO 4217 that has a minor unit.
    #[error("no such currency")]
    UnknownCurrency,
    /// Check the account's id; it may belong to another tenant.
    #[error("no such account")]
    AccountNotFound,
    /// Use another id, or go on with the account that is there if you can read it: it may be another tenant's.
    #[error("the account exists already")]
    AccountExists,
    /// Nothing: a closed account stays closed.
    #[error("the account is closed")]
    AccountClosed,
    /// Ask whoever froze the account to lift the freeze, then try with a new key.
    #[error("the account is frozen")]
    AccountFrozen,
    /// Name two different accounts.
    #[error("debit and credit are the same account")]
    SameAccount,
    /// Use the accounts' own currency.
    #[error("the accounts and the amount differ in currency")]
    CurrencyMismatch,
    /// Top up, or ask for less, with a new key.
    #[error("{available} available, {requested} requested")]
    Insufficient {
        /// What the account could have paid, in minor units.
        available: u64,
        /// What was asked of it, in minor units.
        requested: u64,
    },
    /// Nothing sensible: the account would hold more than 10^18 minor units.
    #[error("the account would hold more than 10^18 minor units")]
    BalanceLimit,
    /// Split the request: its debits must share a slot, its number of legs has a bound, a reversal must find every
    /// leg on one shard.
    #[error("the legs are on several slots or shards")]
    LegsTooFar,
    /// Check the hold's id; it may belong to another tenant.
    #[error("no such hold")]
    HoldNotFound,
    /// Use another id for the hold.
    #[error("the hold exists already")]
    HoldExists,
    /// Nothing: the hold was posted whole, voided, or expired before.
    #[error("the hold has ended")]
    HoldEnded,
    /// Post at most what is left of the hold.
    #[error("{remaining} left of the hold, {requested} requested")]
    HoldExceeded {
        /// What is left of the hold, in minor units.
        remaining: u64,
        /// What was asked of it, in minor units.
        requested: u64,
    },
    /// End some of the account's holds first.
    #[error("the account has as many holds as it may have")]
    TooManyHolds,
    /// Check the transfer's id, and that the account named is one it credited.
    #[error("no such transfer on this account")]
    TransferNotFound,
    /// Nothing: it has been undone once.
    #[error("the transfer was reversed before")]
    AlreadyReversed,
    /// Nothing: a reversal, or an opening balance, cannot be reversed.
    #[error("this kind of journal cannot be reversed")]
    NotReversible,
    /// Settle it by a new transfer: the ledger keeps what a reversal needs for 400 days.
    #[error("the transfer is past retention")]
    TransferTooOld,
    /// Use a new key for a new intent.
    #[error("the key was used for another request")]
    KeyReused,
    /// Ask by account and key what became of it; do not send it anew before that. Keys made before the time given
    /// may have been forgotten.
    #[error("keys made before {} ms may have been forgotten", .cut_off.0)]
    KeyTooOld {
        /// Keys made before this are no longer known.
        cut_off: Time,
    },
    /// Clear what blocks closing: a balance, active holds, or transfers under way.
    #[error("the account still has a balance, holds, or transfers under way")]
    CloseBlocked,
    /// Name a freeze that is there.
    #[error("the account has no such freeze")]
    NotFrozen,
    /// Send a command whose fields are within their documented ranges.
    #[error("a field is out of its range")]
    InvalidCommand,
    /// The payee's shard refused the money, and it is back with its payer: see why. Of a transfer of several legs only
    /// those named came back; the others were posted.
    #[error("refused by the payee's shard, and returned: {}", .why.rejection())]
    Returned {
        /// Why the first of them was refused.
        why: Refusal,
        /// The legs that came back, a bit for each, the lowest for the first.
        legs: u64,
    },
    /// Let the table take effect later: shards must have heard of it before.
    #[error("a table is published, or withdrawn, an hour before it takes effect at the least: not before {} ms", .earliest.0)]
    TableTooSoon {
        /// When it may take effect.
        earliest: Time,
    },
    /// Use another name, or take away first what stands under it.
    #[error("something else is known under this name")]
    NameTaken,
    /// Check the name.
    #[error("nothing is known under this name")]
    RecordNotFound,
    /// Take names away that nobody uses, or use those that are there.
    #[error("the directory knows as many names as it may")]
    DirectoryFull,
    /// Upgrade the node, or remove it from the cluster, then try with a new key.
    #[error("node {node} does not know feature level {level}")]
    LevelNotReady {
        /// The level that was asked for.
        level: u64,
        /// The first node whose release does not know it; 0 when no node has reported itself yet.
        node: u64,
    },
}

impl Rejection {
    /// The code by which everybody outside knows it: stable for ever.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InvalidAmount => "INVALID_AMOUNT",
            Self::UnknownCurrency => "UNKNOWN_CURRENCY",
            Self::AccountNotFound => "ACCOUNT_NOT_FOUND",
            Self::AccountExists => "ACCOUNT_EXISTS",
            Self::AccountClosed => "ACCOUNT_CLOSED",
            Self::AccountFrozen => "ACCOUNT_FROZEN",
            Self::SameAccount => "SAME_ACCOUNT",
            Self::CurrencyMismatch => "CURRENCY_MISMATCH",
            Self::Insufficient { .. } => "INSUFFICIENT",
            Self::BalanceLimit => "BALANCE_LIMIT",
            Self::LegsTooFar => "LEGS_TOO_FAR",
            Self::HoldNotFound => "HOLD_NOT_FOUND",
            Self::HoldExists => "HOLD_EXISTS",
            Self::HoldEnded => "HOLD_ENDED",
            Self::HoldExceeded { .. } => "HOLD_EXCEEDED",
            Self::TooManyHolds => "TOO_MANY_HOLDS",
            Self::TransferNotFound => "TRANSFER_NOT_FOUND",
            Self::AlreadyReversed => "ALREADY_REVERSED",
            Self::NotReversible => "NOT_REVERSIBLE",
            Self::TransferTooOld => "TRANSFER_TOO_OLD",
            Self::KeyReused => "KEY_REUSED",
            Self::KeyTooOld { .. } => "KEY_TOO_OLD",
            Self::CloseBlocked => "CLOSE_BLOCKED",
            Self::NotFrozen => "NOT_FROZEN",
            Self::InvalidCommand => "INVALID_COMMAND",
            Self::Returned { .. } => "RETURNED",
            Self::TableTooSoon { .. } => "TABLE_TOO_SOON",
            Self::NameTaken => "NAME_TAKEN",
            Self::RecordNotFound => "RECORD_NOT_FOUND",
            Self::DirectoryFull => "DIRECTORY_FULL",
            Self::LevelNotReady { .. } => "LEVEL_NOT_READY",
        }
    }
}
