//! Hold → post | void | expire: money spoken for, then moved, released, or timed out.
//!
//! A hold is *active* until it ends, and ends once. Whether it has expired is decided on touch: any command that names
//! the account or the hold first brings it up to log time, so a late timer never decides anything.
//!
//! Invariant: `posted + released + remaining = amount` (I4), and only an active hold has anything remaining.

use bincode::{Decode, Encode};

use crate::amount::{Amount, Currency};
use crate::id::{AccountId, HoldId, TenantId, Time};

/// Active holds of one account at the most: bringing an account up to log time is then a bounded piece of work.
pub const HOLDS_PER_ACCOUNT_MAX: u32 = 1_024;

/// Where a hold is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Hash)]
pub enum HoldState {
    /// Something is held.
    Active,
    /// Posted to the end.
    Posted,
    /// Released by request.
    Voided,
    /// Released by time.
    Expired,
}

/// A hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Hash)]
pub struct Hold {
    /// Its id.
    pub id: HoldId,
    /// Whose account pays.
    pub debit: AccountId,
    /// Whose account is paid.
    pub credit: AccountId,
    /// How much it began with.
    pub amount: Amount,
    /// How much has been posted, in minor units.
    pub posted: u64,
    /// How much is still held, in minor units.
    pub remaining: u64,
    /// When it expires: at this very millisecond it has.
    pub expires_at: Time,
    /// Whose it is.
    pub tenant: TenantId,
    /// In what.
    pub currency: Currency,
    /// Where it is in its life.
    pub state: HoldState,
    /// When it was put down as ended, in log time. For one that expired untouched, this is later than the deadline.
    pub ended_at: Option<Time>,
}

impl Hold {
    /// The hold, ended: nothing remains.
    #[must_use]
    pub const fn ended(&self, state: HoldState, at: Time) -> Self {
        Self { remaining: 0, state, ended_at: Some(at), ..*self }
    }

    /// The hold after `amount` of it was posted; it ends when nothing is left, or when the rest is released.
    #[must_use]
    pub const fn after_post(&self, minor: u64, release_rest: bool, at: Time) -> Self {
        let posted = self.posted.saturating_add(minor);
        let remaining = self.remaining.saturating_sub(minor);
        let after = Self { posted, remaining, ..*self };
        if remaining == 0 || release_rest { after.ended(HoldState::Posted, at) } else { after }
    }
}
