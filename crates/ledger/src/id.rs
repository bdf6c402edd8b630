//! Names of things: 16 bytes, shaped like a UUIDv7, the owner's slot in the last 12 bits.
//!
//! Routing reads the id and nothing else: id → slot → shard. An owner's accounts and holds share the slot, so they
//! share the shard, and what concerns one owner is one entry on one log.

use std::fmt;
use std::str::FromStr;

use bincode::{Decode, Encode};

use crate::slots::{SLOT_BITS, Slot};

/// Log time: milliseconds since 1970-01-01 UTC, as stamped by leaders and decided by apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Time(pub u64);

impl Time {
    /// This time and `ms` milliseconds; the end of time when that overflows.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// This time less `ms` milliseconds; the beginning of time when that underflows.
    #[must_use]
    pub const fn minus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_sub(ms))
    }
}

/// Whose accounts they are. Tenant 0 is the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct TenantId(pub u32);

/// Why a text is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Write the prefix of the kind of thing that is meant, such as `acc_`.
    #[error("an id of this kind begins with `{0}`")]
    Prefix(&'static str),
    /// After the prefix stand 32 hexadecimal digits; hyphens are allowed.
    #[error("an id has 32 hexadecimal digits after its prefix")]
    Digits,
    /// A transfer's id has three numbers: shard, log index, position.
    #[error("a transfer's id reads `tr_SHARD-INDEX-POSITION`")]
    Transfer,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        pub struct $name(u128);

        impl $name {
            /// Takes the 16 bytes as they are. Any value is an id; which exist, the ledger knows.
            #[must_use]
            pub const fn from_u128(bits: u128) -> Self {
                Self(bits)
            }

            /// Gives a fresh UUIDv7's bits the owner's slot.
            #[must_use]
            pub fn in_slot(uuid: u128, slot: Slot) -> Self {
                Self(uuid & !((1 << SLOT_BITS) - 1) | u128::from(slot.number()))
            }

            /// The 16 bytes as a number.
            #[must_use]
            pub const fn to_u128(self) -> u128 {
                self.0
            }

            /// Where it lives.
            #[must_use]
            pub fn slot(self) -> Slot {
                Slot::of(self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{:032x}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let digits = text.strip_prefix($prefix).ok_or(IdError::Prefix($prefix))?;
                read_hex(digits).map(Self)
            }
        }
    };
}

id! {
    /// An account.
    AccountId, "acc_"
}
id! {
    /// A hold. It shares its debit account's slot.
    HoldId, "hold_"
}

fn read_hex(text: &str) -> Result<u128, IdError> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(IdError::Digits);
    }
    u128::from_str_radix(&digits, 16).map_err(|_| IdError::Digits)
}

/// A transfer, named by where its journal stands: it says itself which shard's log to ask, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct TransferId {
    /// The shard whose log holds the journal.
    pub shard: u16,
    /// The log index of the batch.
    pub index: u64,
    /// The request's place in the batch.
    pub position: u16,
}

impl fmt::Display for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tr_{}-{}-{}", self.shard, self.index, self.position)
    }
}

impl FromStr for TransferId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let numbers = text.strip_prefix("tr_").ok_or(IdError::Prefix("tr_"))?;
        let mut parts = numbers.split('-');
        let mut next = || parts.next().ok_or(IdError::Transfer);
        let (shard, index, position) = (next()?, next()?, next()?);
        let id = Self {
            shard: shard.parse().map_err(|_| IdError::Transfer)?,
            index: index.parse().map_err(|_| IdError::Transfer)?,
            position: position.parse().map_err(|_| IdError::Transfer)?,
        };
        if parts.next().is_some() {
            return Err(IdError::Transfer);
        }
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        let id = AccountId::in_slot(
            0x0192_0000_0000_7000_8000_0000_dead_beef,
            Slot::new(0x123).unwrap(),
        );
        assert_eq!(id.to_string(), "acc_019200000000700080000000deadb123");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.slot().number(), 0x123);
        assert_eq!("acc_12".parse::<AccountId>(), Err(IdError::Digits));
        assert_eq!(
            "acc_+1920000000070008000000000deadb1".parse::<AccountId>(),
            Err(IdError::Digits)
        );
        assert_eq!("hold_12".parse::<AccountId>(), Err(IdError::Prefix("acc_")));
        let transfer = TransferId { shard: 3, index: 1042, position: 7 };
        assert_eq!(transfer.to_string(), "tr_3-1042-7");
        assert_eq!("tr_3-1042-7".parse(), Ok(transfer));
        for bad in ["tr_3-1042", "tr_3-1042-7-1", "tr_3-1042-99999", "tr_--", "3-1042-7"] {
            assert!(bad.parse::<TransferId>().is_err(), "{bad}");
        }
    }
}
