//! Ids of new things whose maker named none.
//!
//! A retry must name the same account as the first attempt, so the id is a function of what a retry repeats: the
//! tenant, the idempotency key, and, for a hold, its debit account. It is the SHA-256 of these, shaped like a UUIDv7:
//!
//! ```text
//! 48 bits  the key's time in ms; 0 for a free-form key
//!  4 bits  7
//! 12 bits  of the hash
//!  2 bits  10
//! 50 bits  of the hash
//! 12 bits  the slot: of the owner if one is named, of the debit account for a hold, else of the hash
//! ```
//!
//! Two different requests get the same id only if 62 bits of their hashes agree in the same slot and millisecond;
//! then the ledger refuses the second (`ACCOUNT_EXISTS`, `HOLD_EXISTS`), and no money is in danger.

use ledger::{AccountId, HoldId, Key, Slot, TenantId};
use sha2::{Digest, Sha256};

use super::names::half;

const VERSION_7: u128 = 7 << 76;
const VARIANT: u128 = 0b10 << 62;
const TIME_SHIFT: u32 = 80;
/// The bits of a UUIDv7 that are neither time, version nor variant.
const RANDOM: u128 = (0xfff << 64) | ((1 << 62) - 1);

/// The account that an `OpenAccount` without an id opens. `owner` is what the caller calls its owner, if anything:
/// accounts of one owner share a slot.
#[must_use]
pub fn derived_account(tenant: TenantId, key: Key, owner: &str) -> AccountId {
    let hash = hash(b"paycore/open", tenant, &key.to_u128().to_be_bytes());
    let slot = if owner.is_empty() { Slot::of(hash) } else { owner_slot(tenant, owner) };
    AccountId::in_slot(shaped(hash, key), slot)
}

/// The hold that a `PlaceHold` without an id makes.
#[must_use]
pub fn derived_hold(tenant: TenantId, key: Key, debit: AccountId) -> HoldId {
    let scope = [key.to_u128().to_be_bytes(), debit.to_u128().to_be_bytes()].concat();
    HoldId::in_slot(shaped(hash(b"paycore/hold", tenant, &scope), key), debit.slot())
}

/// Where an owner's things live.
#[must_use]
pub fn owner_slot(tenant: TenantId, owner: &str) -> Slot {
    Slot::of(hash(b"paycore/home", tenant, owner.as_bytes()))
}

fn hash(purpose: &[u8; 12], tenant: TenantId, name: &[u8]) -> u128 {
    let digest = Sha256::new()
        .chain_update(purpose)
        .chain_update(tenant.0.to_be_bytes())
        .chain_update(name)
        .finalize();
    u128::from_be_bytes(half(digest.as_ref()))
}

fn shaped(hash: u128, key: Key) -> u128 {
    let time = key.time().map_or(0, |time| u128::from(time.0));
    time << TIME_SHIFT | VERSION_7 | VARIANT | hash & RANDOM
}
