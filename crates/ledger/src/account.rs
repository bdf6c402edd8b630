//! One account: what it has, what is spoken for, and how a debit or a credit changes it.
//!
//! The functions here compute new values and write nothing: [`crate::journal`] alone writes accounts.
//!
//! Invariants:
//! - `available = posted − held ≥ 0` for every bounded account, at every log index (I4).
//! - A closed account has neither balance nor holds, and never changes again (I12).

use bincode::{Decode, Encode};

use crate::amount::{Amount, Currency};
use crate::id::{AccountId, TenantId, Time};
use crate::plant::Plant;
use crate::rejection::Rejection;
use crate::slots::{SLOT_BITS, Slot};

/// The most a bounded account may hold, in minor units: it must fit the wire's `int64` with room to add one amount.
pub const BALANCE_MAX: i128 = 1_000_000_000_000_000_000;

/// Which side makes the account grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A debit makes it grow: money we are owed, or have.
    Debit,
    /// A credit makes it grow: money we owe.
    Credit,
}

/// The first half of a system account's id: a UUIDv8 ("custom"), which no client's UUIDv7 can be.
const SYSTEM_MARK: u128 = 0x5359_5354_454d_8000;
const SYSTEM_MARK_SHIFT: u32 = 64;

/// What kind of account. Encoded: kinds are only ever added at the end (A10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum AccountKind {
    /// A customer's money (WAL 零钱): grows by credits, never below zero.
    Wallet,
    /// The other side of opening balances, once per shard and currency: grows by debits, without bound.
    Opening,
    /// What this shard owes a peer shard (XDT 应付他片): grows by credits, without bound.
    DueTo(u16),
    /// What a peer shard owes this one (XDF 应收他片): grows by debits, without bound.
    DueFrom(u16),
    /// Money that came back to a payer who is gone (SUS 挂账): grows by credits, without bound.
    Suspense,
}

impl AccountKind {
    /// The side that makes such an account grow.
    #[must_use]
    pub const fn side(self) -> Side {
        match self {
            Self::Wallet | Self::DueTo(_) | Self::Suspense => Side::Credit,
            Self::Opening | Self::DueFrom(_) => Side::Debit,
        }
    }

    /// Whether it may never go below zero.
    #[must_use]
    pub const fn is_bounded(self) -> bool {
        match self {
            Self::Wallet => true,
            Self::Opening | Self::DueTo(_) | Self::DueFrom(_) | Self::Suspense => false,
        }
    }

    /// Whether the shard owns it: made by the ledger on first use, never opened, frozen or closed by a request.
    #[must_use]
    pub const fn is_system(self) -> bool {
        match self {
            Self::Wallet => false,
            Self::Opening | Self::DueTo(_) | Self::DueFrom(_) | Self::Suspense => true,
        }
    }

    /// The id of the shard's own account of this kind. System accounts exist once per shard and currency, so that no
    /// posting ever crosses a shard for their sake.
    #[must_use]
    pub fn system_id(self, currency: Currency, slot: Slot) -> AccountId {
        let (kind, peer) = match self {
            Self::Wallet => (0_u128, 0),
            Self::Opening => (1, 0),
            Self::DueTo(peer) => (2, peer),
            Self::DueFrom(peer) => (3, peer),
            Self::Suspense => (4, 0),
        };
        let marked = SYSTEM_MARK << SYSTEM_MARK_SHIFT | 0b10 << 62;
        let currency = u128::from(currency.number());
        let named = marked | kind << 44 | currency << 28 | u128::from(peer) << SLOT_BITS;
        AccountId::in_slot(named, slot)
    }

    /// The peer shard that a due account's id names.
    #[must_use]
    pub const fn peer_of(id: AccountId) -> u16 {
        let [.., high, middle, _] = (id.to_u128() >> (SLOT_BITS - 8)).to_be_bytes();
        u16::from_be_bytes([high, middle])
    }

    /// Whether an id is of the shape that only the shard's own accounts have. Nobody may open such an account: it would
    /// take the place of one that the ledger has not made yet.
    #[must_use]
    pub const fn reserves(id: AccountId) -> bool {
        id.to_u128() >> SYSTEM_MARK_SHIFT == SYSTEM_MARK
    }
}

/// What a frozen account may no longer do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Hash)]
pub enum FreezeScope {
    /// Pay.
    Debit,
    /// Pay and be paid.
    All,
}

/// On whose authority an account is frozen. Each lifts only its own freeze.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Hash)]
pub enum Authority {
    /// The owner.
    User,
    /// The risk department. Like the owner's, it does not stop posting a hold that was placed before it.
    Risk,
    /// A court. It stops posting holds too.
    Judicial,
}

/// The freezes of an account, one place for each authority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Hash)]
pub struct Freezes {
    user: Option<FreezeScope>,
    risk: Option<FreezeScope>,
    judicial: Option<FreezeScope>,
}

impl Freezes {
    /// The freeze of one authority.
    #[must_use]
    pub const fn of(&self, authority: Authority) -> Option<FreezeScope> {
        match authority {
            Authority::User => self.user,
            Authority::Risk => self.risk,
            Authority::Judicial => self.judicial,
        }
    }

    /// These freezes with one authority's replaced.
    #[must_use]
    pub const fn with(mut self, authority: Authority, scope: Option<FreezeScope>) -> Self {
        match authority {
            Authority::User => self.user = scope,
            Authority::Risk => self.risk = scope,
            Authority::Judicial => self.judicial = scope,
        }
        self
    }

    /// Whether any freeze stops debits: every freeze does.
    #[must_use]
    pub const fn stops_debit(&self) -> bool {
        self.user.is_some() || self.risk.is_some() || self.judicial.is_some()
    }

    /// Whether any freeze stops credits.
    #[must_use]
    pub fn stops_credit(&self) -> bool {
        [self.user, self.risk, self.judicial].contains(&Some(FreezeScope::All))
    }
}

/// An account as the ledger keeps it: at most 128 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Hash)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// The sum of its journals on its normal side, in minor units. Unbounded kinds may be below zero.
    pub posted: i128,
    /// The sum of its active holds, in minor units.
    pub held: u64,
    /// How often it has changed.
    pub version: u64,
    /// When it was opened.
    pub opened_at: Time,
    /// Whose it is.
    pub tenant: TenantId,
    /// How many active holds it has.
    pub holds: u32,
    /// Its currency.
    pub currency: Currency,
    /// Its kind.
    pub kind: AccountKind,
    /// Who has frozen it.
    pub freezes: Freezes,
    /// Whether it is closed, for ever.
    pub closed: bool,
}

impl Account {
    /// A new account with nothing in it.
    #[must_use]
    pub const fn new(
        id: AccountId,
        tenant: TenantId,
        currency: Currency,
        kind: AccountKind,
        opened_at: Time,
    ) -> Self {
        Self {
            id,
            posted: 0,
            held: 0,
            version: 1,
            opened_at,
            tenant,
            holds: 0,
            currency,
            kind,
            freezes: Freezes { user: None, risk: None, judicial: None },
            closed: false,
        }
    }

    /// What it can pay now: posted less held, at least 0. An unbounded account shows its balance.
    #[must_use]
    pub fn available(&self) -> u64 {
        u64::try_from(self.posted.saturating_sub(i128::from(self.held))).unwrap_or(0)
    }

    /// The account after paying.
    ///
    /// # Errors
    /// Closed, frozen, or not enough available.
    pub fn after_debit(&self, amount: Amount) -> Result<Self, Rejection> {
        self.check_open()?;
        if self.freezes.stops_debit() {
            return Err(Rejection::AccountFrozen);
        }
        self.check_available(amount)?;
        self.moved(Side::Debit, amount)
    }

    /// The account after being paid.
    ///
    /// # Errors
    /// Closed, frozen for credits, or too rich.
    pub fn after_credit(&self, amount: Amount) -> Result<Self, Rejection> {
        self.check_open()?;
        if self.freezes.stops_credit() {
            return Err(Rejection::AccountFrozen);
        }
        self.moved(Side::Credit, amount)
    }

    /// The account after money was set aside.
    ///
    /// # Errors
    /// As [`Self::after_debit`], or too many holds.
    pub fn after_hold(&self, amount: Amount) -> Result<Self, Rejection> {
        self.check_open()?;
        if self.freezes.stops_debit() {
            return Err(Rejection::AccountFrozen);
        }
        self.check_available(amount)?;
        if self.holds >= crate::hold::HOLDS_PER_ACCOUNT_MAX {
            return Err(Rejection::TooManyHolds);
        }
        let less = u64::from(Plant::HoldOffByOne.is_on());
        let minor = amount.minor().saturating_sub(less);
        let held = self.held.checked_add(minor).ok_or(Rejection::BalanceLimit)?;
        Ok(Self { held, holds: self.holds.saturating_add(1), ..self.changed() })
    }

    /// The account after held money was moved. A freeze by user or risk does not stop it: the money was promised
    /// before. A judicial freeze does.
    ///
    /// # Errors
    /// Frozen by a court.
    pub fn after_post(&self, amount: Amount) -> Result<Self, Rejection> {
        self.check_open()?;
        if self.freezes.of(Authority::Judicial).is_some() {
            return Err(Rejection::AccountFrozen);
        }
        self.after_release(amount.minor(), false).moved(Side::Debit, amount)
    }

    /// The account after held money was released; `ended` when the hold is over.
    ///
    /// # Panics
    /// When more is released than is held: the holds and the account have parted (I4).
    #[must_use]
    pub fn after_release(&self, minor: u64, ended: bool) -> Self {
        let held = self.held.checked_sub(minor).expect("I4: an account holds what its holds say");
        let ended = u32::from(ended);
        let holds = self.holds.checked_sub(ended).expect("I4: an account counts its holds");
        Self { held, holds, ..self.changed() }
    }

    /// The account with one authority's freeze set or lifted.
    #[must_use]
    pub fn after_freeze(&self, authority: Authority, scope: Option<FreezeScope>) -> Self {
        Self { freezes: self.freezes.with(authority, scope), ..self.changed() }
    }

    /// The account, closed.
    ///
    /// # Errors
    /// It is closed already, or something blocks closing.
    pub fn after_close(&self) -> Result<Self, Rejection> {
        self.check_open()?;
        if self.posted != 0 || self.held != 0 || self.holds != 0 {
            return Err(Rejection::CloseBlocked);
        }
        Ok(Self { closed: true, ..self.changed() })
    }

    /// # Errors
    /// [`Rejection::AccountClosed`].
    pub const fn check_open(&self) -> Result<(), Rejection> {
        if self.closed {
            return Err(Rejection::AccountClosed);
        }
        Ok(())
    }

    /// The account after a leg on one side, whatever its freezes: [`crate::journal`] uses it for system accounts.
    pub(crate) fn moved(&self, side: Side, amount: Amount) -> Result<Self, Rejection> {
        let minor = i128::from(amount.minor());
        let signed = if side == self.kind.side() { minor } else { minor.wrapping_neg() };
        let posted = self.posted.checked_add(signed).ok_or(Rejection::BalanceLimit)?;
        if self.kind.is_bounded() && posted > BALANCE_MAX {
            return Err(Rejection::BalanceLimit);
        }
        Ok(Self { posted, ..self.changed() })
    }

    fn check_available(&self, amount: Amount) -> Result<(), Rejection> {
        let (available, requested) = (self.available(), amount.minor());
        if self.kind.is_bounded() && available < requested {
            return Err(Rejection::Insufficient { available, requested });
        }
        Ok(())
    }

    fn changed(&self) -> Self {
        Self { version: self.version.saturating_add(1), ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_fits_its_budget() {
        assert!(size_of::<Account>() <= 128, "{} bytes", size_of::<Account>());
    }
}
