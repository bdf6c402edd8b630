//! Account → slot → shard: a fixed table, the same on every node and in every gateway.
//!
//! There are 4,096 slots. A cluster is made with a number of shards and keeps it; it grows by moving shards onto new
//! nodes, never by moving slots between shards.

use std::fmt;

/// Bits of an id that name its slot.
pub(crate) const SLOT_BITS: u32 = 12;

/// Number of slots.
pub const SLOTS: u16 = 1 << SLOT_BITS;

/// The most shards a cluster may have.
pub const SHARDS_MAX: u16 = 64;

/// A unit of placement, 0 … 4,095: everything of one owner shares one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// A slot by its number; `None` from 4,096 on.
    #[must_use]
    pub fn new(number: u16) -> Option<Self> {
        (number < SLOTS).then_some(Self(number))
    }

    /// The slot of an owner without an id: its hash's last bits.
    #[must_use]
    pub fn of(bits: u128) -> Self {
        let last = bits & u128::from(SLOTS.wrapping_sub(1));
        Self(u16::try_from(last).expect("12 bits fit"))
    }

    /// The slot's number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// How many shards a cluster has: 1 … [`SHARDS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shards(u16);

impl Shards {
    /// A number of shards; `None` outside 1 … [`SHARDS_MAX`].
    #[must_use]
    pub fn new(count: u16) -> Option<Self> {
        (1..=SHARDS_MAX).contains(&count).then_some(Self(count))
    }

    /// How many.
    #[must_use]
    pub const fn count(self) -> u16 {
        self.0
    }

    /// The number of the meta group: the one after the shards'. It has a ledger and channels like theirs, and no slot.
    #[must_use]
    pub const fn meta(self) -> u16 {
        self.0
    }

    /// All groups of a cluster: its shards, and the meta group.
    pub fn groups(self) -> impl Iterator<Item = u16> {
        0..=self.0
    }

    /// The shard of a slot: slots are dealt out in even runs.
    #[must_use]
    pub fn shard(self, slot: Slot) -> u16 {
        // 4,095 × 64 at the most.
        let shard = u32::from(slot.0).wrapping_mul(u32::from(self.0)) >> SLOT_BITS;
        u16::try_from(shard).expect("below the number of shards")
    }

    /// The first slot of a shard: where the shard's own system accounts live.
    #[must_use]
    pub fn first_slot(self, shard: u16) -> Slot {
        let slots = u32::from(SLOTS);
        let first = u32::from(shard).wrapping_mul(slots).div_ceil(u32::from(self.0));
        Slot(u16::try_from(first.min(slots.wrapping_sub(1))).expect("below 4,096"))
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_owns_an_even_run_that_begins_with_its_first_slot() {
        for count in [1, 2, 3, 7, 16, 64] {
            let shards = Shards::new(count).unwrap();
            let mut owned = vec![0_u32; usize::from(count)];
            for number in 0..SLOTS {
                owned[usize::from(shards.shard(Slot(number)))] += 1;
            }
            let (least, most) = (owned.iter().min().unwrap(), owned.iter().max().unwrap());
            assert!(most - least <= 1, "{count} shards: {least} … {most} slots");
            for shard in 0..count {
                let first = shards.first_slot(shard);
                assert_eq!(shards.shard(first), shard);
                assert!(first.0 == 0 || shards.shard(Slot(first.0 - 1)) == shard - 1);
            }
        }
        assert_eq!(Shards::new(2).unwrap().groups().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(Shards::new(0), None);
        assert_eq!(Shards::new(65), None);
    }
}
