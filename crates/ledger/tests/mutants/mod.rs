//! What comes in when something is wrong on the other side: sound bytes, changed at random, the same ones in every run.
//! Other crates' tests use it too.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    dead_code,
    reason = "a test that panics has said what it had to say, and each uses its part"
)]

/// Changes samples, a few bytes at a time.
pub(crate) struct Mutants {
    samples: Vec<Vec<u8>>,
    state: u64,
}

impl Mutants {
    /// Of samples, one at least.
    pub(crate) fn of(samples: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        let samples: Vec<Vec<u8>> = samples.into_iter().map(Into::into).collect();
        assert!(!samples.is_empty());
        Self { samples, state: 0x9e37_79b9_7f4a_7c15 }
    }

    /// A number below a bound (xorshift64*; Vigna, "An experimental exploration of Marsaglia's xorshift generators").
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let drawn = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(drawn).unwrap() % bound.max(1)
    }

    /// The next one: one to four changes of a sample.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        let which = self.below(self.samples.len());
        let mut bytes = self.samples[which].clone();
        for _ in 0..=self.below(4) {
            self.change(&mut bytes);
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        match self.below(7) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
            1 if !bytes.is_empty() => {
                bytes[at] = [0, 1, 0x7f, 0x80, 0xfb, 0xfd, 0xff][self.below(7)];
            }
            2 => bytes.truncate(at),
            3 => bytes.insert(at, u8::try_from(self.below(256)).unwrap()),
            4 if !bytes.is_empty() => drop(bytes.remove(at)),
            5 => {
                // A piece of another sample in the place of its own.
                let other = self.below(self.samples.len());
                let piece = &self.samples[other];
                let from = at.min(piece.len());
                let to = from + (piece.len() - from).min(16);
                let piece = piece[from..to].to_vec();
                let end = (at + piece.len()).min(bytes.len());
                drop(bytes.splice(at..end, piece));
            }
            _ => {
                // A length that is enormous.
                let end = (at + 8).min(bytes.len());
                bytes[at..end].fill(0xff);
            }
        }
    }
}
