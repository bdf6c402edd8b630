//! What clients do.

use std::collections::BTreeMap;
use std::fmt;

use crate::chance::Chance;

/// A kind of work. A run draws how much of each is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Money moves between random accounts, now and then by two copies of one request (W1).
    Transfer,
    /// One account is the payee of everything (W8).
    Hot,
    /// Copies of one request over several sessions at once, one in ten of them changed (W2).
    Storm,
    /// Money is held, and then posted, voided, or left to expire (W4).
    Hold,
    /// Accounts and outcomes are read from whoever leads (W5).
    Read,
    /// Transfers of several legs, all or nothing.
    Multi,
    /// Transfers are undone.
    Reverse,
}

impl Work {
    /// All of it.
    pub const ALL: [Self; 7] = [
        Self::Transfer,
        Self::Hot,
        Self::Storm,
        Self::Hold,
        Self::Read,
        Self::Multi,
        Self::Reverse,
    ];

    /// Its name, as it is written and read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transfer => "transfer",
            Self::Hot => "hot",
            Self::Storm => "storm",
            Self::Hold => "hold",
            Self::Read => "read",
            Self::Multi => "multi",
            Self::Reverse => "reverse",
        }
    }

    /// One kind, each as often as it weighs.
    pub(crate) fn pick(weights: &BTreeMap<Self, u64>, chance: &mut Chance) -> Self {
        let mut left = chance.below(weights.values().sum::<u64>().max(1));
        for (kind, weight) in weights {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return *kind,
            }
        }
        Self::Transfer
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
