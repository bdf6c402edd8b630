//! A blocked Bloom filter: "surely not in this volume", answered from memory with one cache miss.
//!
//! The high half of an item's hash chooses a block of 512 bits (a cache line), the low half the bits
//! in it. At twelve bits an item about 0.41 % of absent items are let through, against 0.31 % of a
//! plain Bloom filter that touches as many lines as it has probes.
//!
//! The size is chosen before the first item, from a bound on their number. Where the bound was too low,
//! more absent items are let through, but none that is there is ever denied. Where it was too high,
//! neighbouring blocks are folded into one: the choice of a block is the product of hash and number of
//! blocks, so halving the number is exactly what an item of the folded filter expects.

use xxhash_rust::xxh3::xxh3_128;

use super::FilterItem;

const BITS_PER_ITEM: u64 = 12;

/// The best number of probes at this size, by the Poisson mix of how many items a block gets.
const PROBES: usize = 7;

const BLOCK_LEN: usize = 64;
const BLOCK_BITS: u64 = 512;

/// Four foldings are possible, so a bound may be sixteen times too high before bits are wasted.
const BLOCKS_MULTIPLE: u64 = 16;

/// Past this many items (768 MiB) the filter lets more through instead of growing.
const ITEMS_MAX: u64 = 1 << 29;

/// A filter that was loaded or built.
#[derive(Debug)]
pub(super) struct Filter {
    bits: Vec<u8>,
}

/// A filter being fed.
#[derive(Debug)]
pub(super) struct FilterBuilder {
    filter: Filter,
    last: Option<FilterItem>,
    items: u64,
}

impl Filter {
    /// Takes the bytes of a filter. `None`: no filter has this length.
    pub(super) fn from_bytes(bits: Vec<u8>) -> Option<Self> {
        bits.len().is_multiple_of(BLOCK_LEN).then_some(Self { bits })
    }

    /// `false`: the item was never added.
    pub(super) fn may_contain(&self, item: FilterItem) -> bool {
        let (high, low) = halves(item);
        let block = self.bits.chunks_exact(BLOCK_LEN).nth(block_of(high, self.blocks()));
        block.is_some_and(|block| {
            probes(low).all(|(byte, bit)| block.get(byte).is_some_and(|byte| byte & bit != 0))
        })
    }

    fn blocks(&self) -> u64 {
        (self.bits.len() / BLOCK_LEN) as u64
    }
}

impl FilterBuilder {
    /// Makes room for up to `items_max` items.
    pub(super) fn new(items_max: u64) -> Self {
        // An empty filter would deny what a wrong bound did not announce.
        let bits = items_max.clamp(1, ITEMS_MAX).saturating_mul(BITS_PER_ITEM);
        let blocks = bits.div_ceil(BLOCK_BITS).next_multiple_of(BLOCKS_MULTIPLE);
        let blocks = usize::try_from(blocks).expect("768 MiB fit an address");
        let bits = vec![0; blocks.saturating_mul(BLOCK_LEN)];
        Self { filter: Filter { bits }, last: None, items: 0 }
    }

    /// Adds an item. One that follows itself costs nothing.
    pub(super) fn add(&mut self, item: FilterItem) {
        if self.last == Some(item) {
            return;
        }
        self.last = Some(item);
        self.items = self.items.saturating_add(1);
        let (high, low) = halves(item);
        let block = block_of(high, self.filter.blocks());
        if let Some(block) = self.filter.bits.chunks_exact_mut(BLOCK_LEN).nth(block) {
            for (byte, bit) in probes(low) {
                block.get_mut(byte).into_iter().for_each(|byte| *byte |= bit);
            }
        }
    }

    /// How many items were added.
    pub(super) fn items(&self) -> u64 {
        self.items
    }

    /// Folds what is not needed, and returns the bytes.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.items == 0 {
            return Vec::new();
        }
        let needed = self.items.saturating_mul(BITS_PER_ITEM).div_ceil(BLOCK_BITS);
        while self.filter.blocks().is_multiple_of(2) && needed <= self.filter.blocks() / 2 {
            self.filter.bits = fold(&self.filter.bits);
        }
        self.filter.bits
    }
}

fn fold(bits: &[u8]) -> Vec<u8> {
    let pairs =
        bits.chunks_exact(2 * BLOCK_LEN).filter_map(|pair| pair.split_at_checked(BLOCK_LEN));
    pairs.flat_map(|(left, right)| left.iter().zip(right).map(|(a, b)| a | b)).collect()
}

fn halves(item: FilterItem) -> (u64, u64) {
    let hash = xxh3_128(&item.0.to_le_bytes()).to_le_bytes();
    let (low, high) = hash.split_at(8);
    let half = |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    (half(high), half(low))
}

fn block_of(high: u64, blocks: u64) -> usize {
    let product = u128::from(high).wrapping_mul(u128::from(blocks));
    usize::try_from(product >> 64).unwrap_or(usize::MAX)
}

/// Byte and bit of each probe within a block: nine bits of a number that is stirred for each.
fn probes(low: u64) -> impl Iterator<Item = (usize, u8)> {
    let stirred =
        std::iter::successors(Some(low), |at| Some(at.wrapping_mul(STIR).rotate_left(31)));
    stirred.skip(1).take(PROBES).map(|at| {
        let position = usize::try_from(at % BLOCK_BITS).unwrap_or(0);
        (position / 8, 1 << (position % 8))
    })
}

/// Odd, with its bits well spread: 2^64 over the golden ratio.
const STIR: u64 = 0x9e37_79b9_7f4a_7c15;
