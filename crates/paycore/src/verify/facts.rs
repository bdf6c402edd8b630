//! What the checkers compare: what was asked, what callers were told, what the ledger's record says.
//!
//! Accounts and requests go by their numbers in the run, transfers by their place in the log: a checker holds millions
//! of each, so everything here is a few bytes.

use ledger::TransferId;

const SHARD_SHIFT: u32 = 56;
const INDEX_SHIFT: u32 = 12;
const INDEX_BITS: u32 = SHARD_SHIFT - INDEX_SHIFT;
const SHARD_MAX: u16 = 63;
const POSITION_MAX: u16 = (1 << INDEX_SHIFT) - 1;

/// A transfer's name in 62 bits: shard 6, log index 44, position 12. Within a shard, the order is the log's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TransferNumber(u64);

impl TransferNumber {
    /// Packs a name; `None` for one that no cluster of today can have given.
    pub(crate) fn pack(id: TransferId) -> Option<Self> {
        let fits =
            id.shard <= SHARD_MAX && id.index >> INDEX_BITS == 0 && id.position <= POSITION_MAX;
        let bits =
            u64::from(id.shard) << SHARD_SHIFT | id.index << INDEX_SHIFT | u64::from(id.position);
        fits.then_some(Self(bits))
    }

    /// The name.
    pub(crate) fn unpack(self) -> TransferId {
        let part = |shift: u32, mask: u64| (self.0 >> shift) & mask;
        TransferId {
            shard: u16::try_from(part(SHARD_SHIFT, 63)).expect("6 bits fit"),
            index: part(INDEX_SHIFT, (1 << INDEX_BITS) - 1),
            position: u16::try_from(part(0, u64::from(POSITION_MAX))).expect("12 bits fit"),
        }
    }

    /// Its shard and log index, which name the batch.
    pub(crate) const fn batch(self) -> u64 {
        self.0 >> INDEX_SHIFT
    }

    /// Its place in the batch.
    pub(crate) const fn position(self) -> u64 {
        self.0 & ((1 << INDEX_SHIFT) - 1)
    }

    /// As a number.
    pub(crate) const fn to_u64(self) -> u64 {
        self.0
    }

    /// Takes a number as it was kept.
    pub(crate) const fn from_u64(bits: u64) -> Self {
        Self(bits & ((1 << KIND_SHIFT) - 1))
    }
}

const KIND_SHIFT: u32 = 62;

/// What a caller was told at last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The ledger did it.
    Posted(TransferNumber),
    /// The ledger said no, for the reason of this number in the run's list of codes.
    Rejected(u16),
    /// No log ever held it; the last attempt failed for the reason of this number.
    NotDone(u16),
    /// Nothing final.
    Unknown,
}

impl Ending {
    /// In 8 bytes, two bits of which say which.
    pub(crate) fn to_u64(self) -> u64 {
        match self {
            Self::Posted(transfer) => transfer.to_u64(),
            Self::Rejected(code) => 1 << KIND_SHIFT | u64::from(code),
            Self::NotDone(code) => 2 << KIND_SHIFT | u64::from(code),
            Self::Unknown => 3 << KIND_SHIFT,
        }
    }

    /// Reads 8 bytes. Whatever is no ending was never told to anybody: unknown.
    pub(crate) fn from_u64(bits: u64) -> Self {
        let code = u16::try_from(bits & u64::from(u16::MAX)).expect("16 bits fit");
        match bits >> KIND_SHIFT {
            0 => Self::Posted(TransferNumber::from_u64(bits)),
            1 => Self::Rejected(code),
            2 => Self::NotDone(code),
            _ => Self::Unknown,
        }
    }
}

/// What a request asked for: one transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Wanted {
    /// Who pays.
    pub(crate) debit: u32,
    /// Who is paid.
    pub(crate) credit: u32,
    /// How much, in minor units.
    pub(crate) amount: u64,
}

/// One line of an account's statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Whose statement.
    pub(crate) account: u32,
    /// The account on the other side.
    pub(crate) counter: u32,
    /// How much, in minor units.
    pub(crate) amount: u64,
    /// Whether the account paid.
    pub(crate) is_debit: bool,
}

impl Line {
    /// The transfer that it is one side of.
    pub(crate) const fn transfer(&self) -> Wanted {
        let Self { account, counter, amount, is_debit } = *self;
        if is_debit {
            Wanted { debit: account, credit: counter, amount }
        } else {
            Wanted { debit: counter, credit: account, amount }
        }
    }

    /// What it does to the account's balance.
    pub(crate) fn change(&self) -> i128 {
        let amount = i128::from(self.amount);
        if self.is_debit { amount.wrapping_neg() } else { amount }
    }
}

/// A run's requests, by number from 0 on.
pub(crate) trait Requests {
    /// How many there were.
    fn count(&self) -> u64;
    /// What one asked for.
    fn wanted(&self, n: u64) -> Wanted;
    /// What its caller was told.
    fn ending(&self, n: u64) -> Ending;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_come_back_as_they_were() {
        let id = TransferId { shard: 63, index: (1 << 44) - 1, position: 4_095 };
        let transfer = TransferNumber::pack(id).unwrap();
        assert_eq!(transfer.unpack(), id);
        for ending in [
            Ending::Posted(transfer),
            Ending::Posted(
                TransferNumber::pack(TransferId { shard: 0, index: 1, position: 0 }).unwrap(),
            ),
            Ending::Rejected(7),
            Ending::NotDone(u16::MAX),
            Ending::Unknown,
        ] {
            assert_eq!(Ending::from_u64(ending.to_u64()), ending);
        }
    }

    #[test]
    fn a_name_that_does_not_fit_is_refused() {
        for id in [
            TransferId { shard: 64, index: 1, position: 0 },
            TransferId { shard: 0, index: 1 << 44, position: 0 },
            TransferId { shard: 0, index: 1, position: 4_096 },
        ] {
            assert_eq!(TransferNumber::pack(id), None, "{id}");
        }
    }
}
