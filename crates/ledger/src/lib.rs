//! What money does: accounts, journals, holds, outcomes. No IO, no clock, no randomness, no await (A1).
//!
//! Exactly-once is a property of the ledger, not of the network. The ledger is a plain value with one function that
//! changes it; everything around it only decides *when* that function is called and *who hears* the outcome.
//!
//! The story of a transfer, as the ledger sees it:
//!
//! 1. Somebody, somewhere, wrote a [`Request`]: an idempotency [`Key`] and a [`Command`]. It reached the log in a
//!    [`Batch`], with a stamp. The log is the order; nothing here asks what was first.
//! 2. [`Ledger::missing`] names the records that the batch needs and memory lacks: the outcome of an old key, an ended
//!    hold, last year's transfer. Whoever drives the ledger reads them from the volumes into a [`Fetched`].
//! 3. [`Ledger::apply`] takes the batch. Log time becomes the greater of what it was and the stamp.
//! 4. Each request is asked for its key first. A key with an outcome is answered with it, `replayed`; with another
//!    fingerprint, by [`Rejection::KeyReused`]. Nothing else happens.
//! 5. A new key's command touches the records that it names: holds whose deadline has come expire now, before anything
//!    is decided.
//! 6. Everything is checked, then everything is changed. A transfer computes both accounts as they will be, and only
//!    when nothing can fail any more writes them as one balanced journal.
//! 7. Posted or rejected, the [`Outcome`] is kept under the key, and is the only one that it will ever have.
//!    A payee on another shard makes it *pending* first: the money waits in a channel, and the outcome comes with that
//!    shard's answer ([`Decided::finals`]).
//! 8. After the requests, a bounded number of records that fell due without being asked for are brought up to date.
//! 9. From time to time [`Ledger::freeze`] takes an [`Image`], which somebody writes to disk while the ledger goes on;
//!    then [`Ledger::evict`] lets what can no longer change leave memory. [`Restore`] is the way back.
//!
//! Every state a replica can be in is a function of the log's entries, so all replicas agree, and [`Ledger::digest`]
//! says whether they do.

mod account;
mod amount;
mod apply;
mod audit;
pub mod batch;
mod channels;
pub mod codec;
mod cold;
mod commands;
mod cut_image;
mod cuts;
pub mod directory;
mod fetched;
mod hash;
mod hold;
mod holds;
mod id;
mod image;
mod journal;
mod key;
mod ledger;
mod list;
mod outcome;
pub mod plant;
mod recent;
mod rejection;
mod retention;
mod slots;
mod standing;
mod table;

pub use account::{Account, AccountKind, Authority, BALANCE_MAX, FreezeScope, Freezes, Side};
pub use amount::{AMOUNT_MAX, Amount, Currency};
pub use apply::TIMERS_PER_BATCH_MAX;
pub use audit::Violation;
pub use batch::{Batch, BatchError, Command, Head, Leg, Request};
pub use channels::{Message, Numbered, Payment, PeerSet, Refusal, UNSETTLED_MAX};
pub use cold::{
    ColdName, ColdRecord, ColdValue, Corrupt, Incoming, KeptOutcome, cold_digest, posting_filter,
    posting_range,
};
#[cfg(next_level)]
pub use commands::{HOLD_MS_AT_ONCE_MAX, LEVEL_EXTEND};
pub use cut_image::{CUT_IMAGE_MS_MAX, CutImage, Recount};
pub use cuts::{CUT_MS_MAX, CUTS_MAX, Cut, Discrepancy, compare};
pub use directory::{Directory, LEVEL_MAX, LevelUnknown};
pub use fetched::Fetched;
pub use hold::{HOLDS_PER_ACCOUNT_MAX, Hold, HoldState};
pub use id::{AccountId, HoldId, IdError, TenantId, Time, TransferId};
pub use image::{Image, Restore};
pub use journal::{JournalKind, Posting, PostingKey};
pub use key::{KEY_SKEW_MS, Key, Operation, ScopedKey};
pub use ledger::{Books, Ledger};
pub use outcome::{Answer, Decided, Outcome, Posted, Said};
pub use plant::Plant;
pub use rejection::Rejection;
pub use retention::RETENTION_MS;
pub use slots::{SHARDS_MAX, SLOTS, Shards, Slot};
pub use standing::{Disagreement, Standing, disagreements, parts};
