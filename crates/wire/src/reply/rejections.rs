//! Rejections as a number and two operands.

use ledger::{Refusal, Rejection, Time};

/// What a rejection says besides its name, as it travels.
trait Operand {
    fn to_word(&self) -> u64;
    fn from_word(word: u64) -> Self;
}

impl Operand for u64 {
    fn to_word(&self) -> u64 {
        *self
    }

    fn from_word(word: u64) -> Self {
        word
    }
}

impl Operand for Time {
    fn to_word(&self) -> u64 {
        self.0
    }

    fn from_word(word: u64) -> Self {
        Self(word)
    }
}

impl Operand for Refusal {
    fn to_word(&self) -> u64 {
        Self::ALL.iter().zip(0..).find(|(refusal, _)| *refusal == self).map_or(0, |(_, word)| word)
    }

    fn from_word(word: u64) -> Self {
        // A number that this release does not know is told by not being the same when it is written again.
        let known = usize::try_from(word).ok().and_then(|word| Self::ALL.get(word));
        known.copied().unwrap_or(Self::AccountNotFound)
    }
}

/// Writes both directions from one list, so that they cannot part.
macro_rules! numbered {
    ($($number:literal $name:ident $({ $x:ident $(, $y:ident)? })?;)*) => {
        /// A rejection as (number, first operand, second operand); operands it lacks are 0.
        #[expect(unused_mut, unused_assignments, reason = "most rejections have no operands")]
        pub(crate) fn to_words(rejection: &Rejection) -> (u16, u64, u64) {
            match rejection {
                $(Rejection::$name $({ $x $(, $y)? })? => {
                    let (mut first, mut second) = (0, 0);
                    $(first = $x.to_word(); $(second = $y.to_word();)?)?
                    ($number, first, second)
                })*
            }
        }

        /// What a rejection says besides its name: its operands by name.
        pub(crate) fn operands(rejection: &Rejection) -> impl Iterator<Item = (&'static str, u64)> {
            let mut said = [None; 2];
            match rejection {
                $(Rejection::$name $({ $x $(, $y)? })? => {
                    $(said = [
                        Some((stringify!($x), $x.to_word())),
                        None$(.or(Some((stringify!($y), $y.to_word()))))?,
                    ];)?
                })*
            }
            said.into_iter().flatten()
        }

        /// The rejection of (number, first operand, second operand); `None` for a number that this release does not
        /// know, and for operands where there are none.
        pub(crate) fn from_words(number: u16, first: u64, second: u64) -> Option<Rejection> {
            let rejection = match number {
                $($number => Rejection::$name $({
                    $x: Operand::from_word(first) $(, $y: Operand::from_word(second))?
                })?,)*
                _ => return None,
            };
            (to_words(&rejection) == (number, first, second)).then_some(rejection)
        }
    };
}

// Numbers are only ever added at the end (A10).
numbered! {
    0 InvalidAmount;
    1 UnknownCurrency;
    2 AccountNotFound;
    3 AccountExists;
    4 AccountClosed;
    5 AccountFrozen;
    6 SameAccount;
    7 CurrencyMismatch;
    8 Insufficient { available, requested };
    9 BalanceLimit;
    10 LegsTooFar;
    11 HoldNotFound;
    12 HoldExists;
    13 HoldEnded;
    14 HoldExceeded { remaining, requested };
    15 TooManyHolds;
    16 TransferNotFound;
    17 AlreadyReversed;
    18 NotReversible;
    19 TransferTooOld;
    20 KeyReused;
    21 KeyTooOld { cut_off };
    22 CloseBlocked;
    23 NotFrozen;
    24 InvalidCommand;
    25 Returned { why, legs };
    26 TableTooSoon { earliest };
    27 NameTaken;
    28 RecordNotFound;
    29 DirectoryFull;
    30 LevelNotReady { level, node };
}
