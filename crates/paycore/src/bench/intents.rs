//! What request `n` asks for: a function of the run's seed, so that nothing has to be remembered to know it.
//!
//! An account's id says its number too, between random bits: whoever reads a statement learns without a table who the
//! other side was.
//!
//! ```text
//! 48 bits  when the run began, in ms     2 bits  10
//!  4 bits  7                            18 bits  of a hash
//! 12 bits  of a hash                    32 bits  the account's number
//!                                       12 bits  of a hash: the slot
//! ```

use ledger::AccountId;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use crate::verify::Wanted;

/// What every account begins with, in fen: no run of ten million transfers can spend it, and a hundred million such
/// accounts still fit 64 bits.
pub(crate) const OPENING: u64 = 10_000_000_000;

/// The largest amount; the smallest is 1.
const AMOUNT_MAX: u32 = 1_000;

/// The merchant's account in transfer-hot.
const MERCHANT: u32 = 0;

const NUMBER_SHIFT: u32 = 12;
const VERSION_7: u128 = 7 << 76;
const VARIANT: u128 = 0b10 << 62;
/// The bits that a hash fills.
const RANDOM: u128 = 0xfff << 64 | 0x3_ffff << 44 | 0xfff;

/// Told apart from requests, which are hashed with the seed itself.
const ACCOUNT_SALT: u64 = 0x6163_636f_756e_7473;

/// A run's accounts and requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Intents {
    /// What everything is made from.
    pub(super) seed: u64,
    /// How many accounts there are, at least 2.
    pub(super) accounts: u32,
    /// How many of a hundred transfers pay the merchant.
    pub(super) hot: u8,
    /// When the run began, in milliseconds since 1970: part of every account's id, so that no two runs share one.
    pub(super) began_ms: u64,
}

impl Intents {
    /// What request `n` asks for.
    pub(crate) fn wanted(&self, n: u64) -> Wanted {
        let hash = xxh3_128_with_seed(&n.to_le_bytes(), self.seed);
        let [amount, hot, debit, credit] = quarters(hash);
        let amount = u64::from(scaled(amount, AMOUNT_MAX)).saturating_add(1);
        if scaled(hot, 100) < u32::from(self.hot) {
            let others = self.accounts.saturating_sub(1);
            let debit = scaled(debit, others).saturating_add(1);
            return Wanted { debit, credit: MERCHANT, amount };
        }
        let debit = scaled(debit, self.accounts);
        // Any account but the payer: so many steps on, round the circle.
        let steps = u64::from(scaled(credit, self.accounts.saturating_sub(1))).saturating_add(1);
        let credit = u64::from(debit).saturating_add(steps).checked_rem(u64::from(self.accounts));
        let credit = u32::try_from(credit.unwrap_or(0))
            .expect("a remainder is below the number of accounts");
        Wanted { debit, credit, amount }
    }

    /// An account's id.
    pub(crate) fn account(&self, number: u32) -> AccountId {
        let hash = xxh3_128_with_seed(&number.to_le_bytes(), self.seed ^ ACCOUNT_SALT);
        let time = u128::from(self.began_ms) << 80;
        let bits = time | VERSION_7 | VARIANT | hash & RANDOM | u128::from(number) << NUMBER_SHIFT;
        AccountId::from_u128(bits)
    }

    /// An id's account, if it is one of the run's.
    pub(crate) fn number(&self, id: AccountId) -> Option<u32> {
        let bits = id.to_u128() >> NUMBER_SHIFT & u128::from(u32::MAX);
        let number = u32::try_from(bits).expect("32 bits fit");
        (number < self.accounts && self.account(number) == id).then_some(number)
    }

    /// 64 bits of a request's own, for its key.
    pub(super) fn mark(&self, n: u64) -> u64 {
        xxh3_64_with_seed(&n.to_le_bytes(), self.seed)
    }
}

/// Four independent numbers of 32 bits.
fn quarters(hash: u128) -> [u32; 4] {
    let bytes = hash.to_le_bytes();
    let (words, _) = bytes.as_chunks::<4>();
    let mut quarters = [0; 4];
    for (quarter, word) in quarters.iter_mut().zip(words) {
        *quarter = u32::from_le_bytes(*word);
    }
    quarters
}

/// A number below `end`, evenly enough: a bias of one in four billion.
fn scaled(random: u32, end: u32) -> u32 {
    let wide = u64::from(random).wrapping_mul(u64::from(end)) >> 32;
    u32::try_from(wide).expect("below a number of 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intents(accounts: u32, hot: u8) -> Intents {
        Intents { seed: 7, accounts, hot, began_ms: 1_760_000_000_000 }
    }

    #[test]
    fn nobody_pays_themselves_and_amounts_are_in_range() {
        for (accounts, hot) in [(2, 0), (2, 80), (3, 100), (10_000, 80)] {
            let intents = intents(accounts, hot);
            for n in 0..10_000 {
                let Wanted { debit, credit, amount } = intents.wanted(n);
                assert!(debit != credit && debit < accounts && credit < accounts, "{n}");
                assert!((1..=1_000).contains(&amount), "{n}");
            }
        }
    }

    #[test]
    fn the_hot_merchant_gets_its_share_and_uniform_has_none() {
        let paid = |hot| {
            let intents = intents(10_000, hot);
            (0..100_000).filter(|n| intents.wanted(*n).credit == MERCHANT).count()
        };
        assert!((79_000..81_000).contains(&paid(80)), "{}", paid(80));
        assert!(paid(0) < 100, "{}", paid(0));
    }

    #[test]
    fn an_account_is_known_by_its_id_alone() {
        let intents = intents(10_000, 0);
        for number in [0, 1, 4_095, 9_999] {
            let id = intents.account(number);
            assert_eq!(intents.number(id), Some(number));
            let uuid = uuid::Uuid::from_u128(id.to_u128());
            assert_eq!((uuid.get_version_num(), uuid.get_variant()), (7, uuid::Variant::RFC4122));
        }
        assert_eq!(intents.number(AccountId::from_u128(5 << 12)), None, "somebody else's");
        let other_run = Intents { began_ms: 1, ..intents };
        assert_eq!(other_run.number(intents.account(5)), None);
        let slots: std::collections::HashSet<_> =
            (0..10_000).map(|n| intents.account(n).slot().number()).collect();
        assert!(slots.len() > 3_000, "accounts lie on all slots: {}", slots.len());
    }
}
