//! Do the replicas still agree? Each compares what the others' ledgers add up to at the same entry.
//!
//! At every thousandth entry a replica notes its ledger's digest; beats carry the newest few. Whoever differs from a
//! majority of the voters has a bug or bad memory behind it and stops. When all voters have spoken and no majority
//! agrees, nobody can tell who is right, and the shard takes no more writes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::messages::DigestAt;

/// Entries between two comparisons: rare enough to cost nothing, often enough that a difference is found within a
/// second of full load.
const COMPARE_EVERY: u64 = 1_000;

/// Digests that are kept: a follower that lags by as many comparisons is compared when it has caught up.
const KEPT_MAX: usize = 64;

/// Digests in one beat: the beats between two comparisons under full load, twice.
const TOLD_MAX: usize = 8;

/// Whether an entry is one at which digests are compared.
pub(crate) fn is_compared(index: u64) -> bool {
    index.is_multiple_of(COMPARE_EVERY)
}

/// What a replica makes of the digests it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nobody differs from a majority, as far as is known.
    Agreed,
    /// This replica does, after this entry.
    Alone { index: u64 },
    /// All voters have spoken about this entry, and no majority agrees.
    NoMajority { index: u64 },
}

/// The digests of one shard.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    own: VecDeque<DigestAt>,
    /// By index and node. Only indexes that are kept here, or may come.
    theirs: BTreeMap<u64, BTreeMap<u64, u128>>,
}

impl Digests {
    /// Notes this replica's digest.
    pub(crate) fn note_own(&mut self, at: DigestAt) {
        if self.own.len() >= KEPT_MAX {
            self.own.pop_front();
        }
        self.own.push_back(at);
    }

    /// Notes another node's digests.
    pub(crate) fn note(&mut self, node: u64, digests: &[DigestAt]) {
        for at in digests {
            self.theirs.entry(at.index).or_default().insert(node, at.digest);
        }
        while self.theirs.len() > KEPT_MAX {
            self.theirs.pop_first();
        }
    }

    /// The newest, to be told to others.
    pub(crate) fn newest(&self) -> Vec<DigestAt> {
        self.own.iter().rev().take(TOLD_MAX).copied().collect()
    }

    /// This replica's newest digest.
    pub(crate) fn last(&self) -> Option<DigestAt> {
        self.own.back().copied()
    }

    /// Compares, for every entry that this replica and others have spoken about.
    pub(crate) fn verdict(&self, node: u64, voters: &BTreeSet<u64>) -> Verdict {
        let majority = (voters.len() / 2).saturating_add(1);
        for own in &self.own {
            let Some(theirs) = self.theirs.get(&own.index) else { continue };
            let voices = theirs.iter().map(|(node, digest)| (*node, *digest));
            let voices =
                voices.chain([(node, own.digest)]).filter(|(node, _)| voters.contains(node));
            let mut counts = BTreeMap::<u128, usize>::new();
            let mut heard = 0_usize;
            for (_, digest) in voices {
                heard = heard.saturating_add(1);
                let count = counts.entry(digest).or_default();
                *count = count.saturating_add(1);
            }
            let winner = counts.into_iter().find(|(_, count)| *count >= majority);
            match winner.map(|(digest, _)| digest) {
                Some(digest) if digest != own.digest => return Verdict::Alone { index: own.index },
                None if heard == voters.len() => return Verdict::NoMajority { index: own.index },
                Some(_) | None => {}
            }
        }
        Verdict::Agreed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(own: u128, theirs: &[(u64, u128)], voters: &[u64]) -> Verdict {
        let mut digests = Digests::default();
        digests.note_own(DigestAt { index: 1_000, digest: 1 });
        digests.note_own(DigestAt { index: 2_000, digest: own });
        for (node, digest) in theirs {
            digests.note(*node, &[DigestAt { index: 2_000, digest: *digest }]);
        }
        digests.verdict(1, &voters.iter().copied().collect())
    }

    #[test]
    fn who_differs_from_a_majority_is_alone() {
        let three = &[1, 2, 3];
        assert_eq!(check(7, &[], three), Verdict::Agreed);
        assert_eq!(
            check(7, &[(2, 8)], three),
            Verdict::Agreed,
            "one against one: wait for the third"
        );
        assert_eq!(check(7, &[(2, 7), (3, 8)], three), Verdict::Agreed);
        assert_eq!(check(7, &[(2, 8), (3, 8)], three), Verdict::Alone { index: 2_000 });
        assert_eq!(check(7, &[(2, 8), (3, 9)], three), Verdict::NoMajority { index: 2_000 });
        assert_eq!(check(7, &[(2, 8), (3, 8), (4, 9)], &[1, 2, 3, 4, 5]), Verdict::Agreed);
        assert_eq!(check(7, &[(4, 8), (5, 8)], three), Verdict::Agreed, "learners have no voice");
        assert_eq!(
            check(7, &[(2, 8), (3, 8)], &[2, 3]),
            Verdict::Alone { index: 2_000 },
            "but listen"
        );
    }

    #[test]
    fn memory_is_bounded() {
        let mut digests = Digests::default();
        for index in 0..1_000 {
            digests.note_own(DigestAt { index, digest: 0 });
            digests.note(2, &[DigestAt { index, digest: 0 }]);
        }
        assert_eq!((digests.own.len(), digests.theirs.len()), (KEPT_MAX, KEPT_MAX));
        assert_eq!(digests.newest().len(), TOLD_MAX);
        assert_eq!(digests.newest()[0].index, 999);
    }
}
