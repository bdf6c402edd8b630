//! What request `n` asks for: a function of the run's seed, so that nothing has to be remembered to know it.
//!
//! An account's id says its number too, between random bits: whoever reads a statement learns without a table who the
//! other side was.
//!
//! ```text
//! 48 bits  when the run began, in ms     2 bits  10
//!  4 bits  7                            18 bits  of a hash
//! 12 bits  of a hash                    32 bits  the account's number
//!                                       12 bits  of a hash: a slot of the account's shard
//! ```

use ledger::{AccountId, SLOTS, Shards, Slot};
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
const RANDOM: u128 = 0xfff << 64 | 0x3_ffff << 44;

/// For what says who pays another shard.
const CROSS_SALT: u64 = 0x6372_6f73_7369_6e67;

/// Told apart from requests, which are hashed with the seed itself.
const ACCOUNT_SALT: u64 = 0x6163_636f_756e_7473;

/// A run's accounts and requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Intents {
    /// What everything is made from.
    pub(super) seed: u64,
    /// How many accounts there are, at least 2.
    pub(super) accounts: u32,
    /// How many of a hundred transfers pay the merchant.
    pub(super) hot: u8,
    /// How many shards there are. Accounts are dealt out to them in turn.
    pub(super) shards: u16,
    /// How many of a hundred transfers pay another shard; `None` for as many as chance has it.
    pub(super) cross: Option<u8>,
    /// When the run began, in milliseconds since 1970: part of every account's id, so that no two runs share one.
    pub(super) began_ms: u64,
}

impl Default for Intents {
    /// One shard and two accounts.
    fn default() -> Self {
        Self { seed: 0, accounts: 2, hot: 0, shards: 1, cross: None, began_ms: 0 }
    }
}

impl Intents {
    /// What request `n` asks for.
    pub(crate) fn wanted(&self, n: u64) -> Wanted {
        let hash = xxh3_128_with_seed(&n.to_le_bytes(), self.seed);
        let [amount, hot, debit, credit] = quarters(hash);
        let amount = u64::from(scaled(amount, AMOUNT_MAX)).saturating_add(1);
        let is_hot = scaled(hot, 100) < u32::from(self.hot);
        if let Some(percent) = self.cross {
            let hash = xxh3_128_with_seed(&n.to_le_bytes(), self.seed ^ CROSS_SALT);
            let [crosses, shard, ..] = quarters(hash);
            let shard = (scaled(crosses, 100) < u32::from(percent)).then_some(shard);
            if is_hot {
                let debit = self.other(MERCHANT, shard, debit);
                return Wanted { debit, credit: MERCHANT, amount };
            }
            let debit = scaled(debit, self.accounts);
            return Wanted { debit, credit: self.other(debit, shard, credit), amount };
        }
        if is_hot {
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

    /// An account other than this one: of the same shard, or of another, which a random number then names.
    fn other(&self, account: u32, shard: Option<u32>, which: u32) -> u32 {
        let shards = u32::from(self.shards);
        let of = |number: u32| number.checked_rem(shards).unwrap_or(0);
        let place = account.checked_div(shards).unwrap_or(0);
        let accounts_of = |shard: u32| self.accounts.saturating_sub(shard).div_ceil(shards);
        let (shard, place) = match shard {
            Some(steps) => {
                let steps = scaled(steps, shards.saturating_sub(1)).saturating_add(1);
                let shard = of(of(account).saturating_add(steps));
                (shard, scaled(which, accounts_of(shard)))
            }
            None => {
                let shard = of(account);
                let others = accounts_of(shard);
                let steps = scaled(which, others.saturating_sub(1)).saturating_add(1);
                (shard, place.saturating_add(steps).checked_rem(others).unwrap_or(0))
            }
        };
        place.saturating_mul(shards).saturating_add(shard)
    }

    /// An account's id. Its slot is one of its shard's.
    pub(crate) fn account(&self, number: u32) -> AccountId {
        let hash = xxh3_128_with_seed(&number.to_le_bytes(), self.seed ^ ACCOUNT_SALT);
        let time = u128::from(self.began_ms) << 80;
        let bits = time | VERSION_7 | VARIANT | hash & RANDOM | u128::from(number) << NUMBER_SHIFT;
        AccountId::in_slot(bits, self.slot(number, hash))
    }

    /// An account's shard.
    pub(super) fn shard(&self, number: u32) -> u16 {
        let shard = number.checked_rem(u32::from(self.shards)).unwrap_or(0);
        u16::try_from(shard).expect("below the number of shards")
    }

    fn slot(&self, number: u32, hash: u128) -> Slot {
        let shards = Shards::new(self.shards).expect("a run has 1 to 64 shards");
        let shard = self.shard(number);
        let first = shards.first_slot(shard).number();
        let next = shard.saturating_add(1);
        let end = if next < self.shards { shards.first_slot(next).number() } else { SLOTS };
        let [random, ..] = quarters(hash);
        let step = scaled(random, u32::from(end.saturating_sub(first)));
        let slot = u32::from(first).saturating_add(step);
        Slot::new(u16::try_from(slot).expect("a slot")).expect("a slot of the shard")
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
        Intents { seed: 7, accounts, hot, began_ms: 1_760_000_000_000, ..Intents::default() }
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
    fn as_many_pay_another_shard_as_was_said() {
        for (shards, accounts, hot, cross) in
            [(4, 10_001, 0, 50), (4, 8, 0, 100), (3, 6, 0, 0), (16, 1_000, 80, 30), (1, 2, 0, 0)]
        {
            let intents = Intents { shards, cross: Some(cross), ..intents(accounts, hot) };
            let of = Shards::new(shards).unwrap();
            let shard = |number: u32| of.shard(intents.account(number).slot());
            let mut crossed = 0;
            for n in 0..10_000 {
                let Wanted { debit, credit, .. } = intents.wanted(n);
                assert!(debit != credit && debit < accounts && credit < accounts, "{n}");
                assert_eq!(u32::from(shard(debit)), debit % u32::from(shards));
                crossed += u32::from(shard(debit) != shard(credit));
            }
            let percent = u32::from(cross);
            assert!(crossed.abs_diff(percent * 100) < 300, "{crossed} of {percent} %");
        }
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
