//! What this node has seen others promise: the cluster's memory of a disk that went backwards.
//!
//! A follower that acknowledged an entry, or granted a vote, has promised to remember it. If its disk loses the end of
//! its log it cannot know that it forgot, but whoever received the promise can. So leaders note what their followers
//! acknowledged and candidates what votes they were granted; all tell each other in their beats; and a node that starts
//! asks for what it promised before it takes part.
//!
//! The memory is volatile on purpose. A disk that goes backwards is one machine's accident; when a whole cluster was off,
//! there is nobody to remember and each log stands.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::failpoint::Plant;
use crate::raft::{DiskId, LogId};

/// What a node has promised within one group, as far as somebody saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Promise {
    /// The data directory that made it.
    pub(crate) disk: DiskId,
    /// The highest term in which it voted or acknowledged.
    pub(crate) term: u64,
    /// The term of the leader it last acknowledged to, and the last entry that it acknowledged to it.
    pub(crate) acked: Option<(u64, LogId)>,
}

impl Promise {
    /// Both promises hold: the later counts.
    fn join(&mut self, other: &Self) {
        self.term = self.term.max(other.term);
        self.acked = self.acked.max(other.acked);
    }
}

/// What a node finds on its own disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) vote_term: u64,
    pub(crate) last_log: Option<LogId>,
}

/// How what is on the disk falls short of what was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forgotten {
    /// The node voted or acknowledged in a later term than its disk knows.
    #[error("promised itself in term {promised}, the disk knows term {kept}")]
    Vote {
        /// The term it promised.
        promised: u64,
        /// The term on its disk.
        kept: u64,
    },
    /// The node acknowledged entries that its disk does not have.
    #[error("acknowledged entry {promised}, the disk ends with {kept}")]
    Entries {
        /// The last entry it acknowledged.
        promised: u64,
        /// The last entry on its disk; 0 when there is none.
        kept: u64,
    },
}

impl Kept {
    /// Judges what the disk holds by what was promised.
    ///
    /// A follower may rightly lose entries that it acknowledged: a later leader truncates them. It has then stored a vote
    /// of that later leader's term first, so a later vote excuses a shorter log; the log is one stream, and who still has
    /// the vote has everything before it.
    pub(crate) fn judge(&self, promise: &Promise) -> Result<(), Forgotten> {
        if Plant::TrustAnyDisk.is_on() {
            return Ok(());
        }
        if self.vote_term < promise.term {
            return Err(Forgotten::Vote { promised: promise.term, kept: self.vote_term });
        }
        match promise.acked {
            Some((leader_term, acked))
                if self.vote_term <= leader_term && self.last_log < Some(acked) =>
            {
                let kept = self.last_log.map_or(0, |last| last.index);
                Err(Forgotten::Entries { promised: acked.index, kept })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// The promises this node knows of, its own excepted.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    /// By group and node.
    promises: Mutex<BTreeMap<(u16, u64), Promise>>,
}

impl Witness {
    /// Notes a promise, by somebody who saw it or heard of it.
    pub(crate) fn note(&self, group: u16, node: u64, promise: &Promise) {
        let mut promises = self.lock();
        let known = promises.entry((group, node)).or_insert(*promise);
        if known.disk == promise.disk {
            known.join(promise);
        } else {
            // The node was replaced; the directory that is spoken of last is the one that is there.
            *known = *promise;
        }
    }

    /// What a node promised from this data directory, by group.
    pub(crate) fn of(&self, node: u64, disk: DiskId) -> BTreeMap<u16, Promise> {
        let promises = self.lock();
        let its =
            promises.iter().filter(|((_, whose), promise)| *whose == node && promise.disk == disk);
        its.map(|((group, _), promise)| (*group, *promise)).collect()
    }

    /// What the nodes of a group have acknowledged to the leader of a term.
    pub(crate) fn acked_to(&self, group: u16, leader_term: u64) -> Vec<(u64, LogId)> {
        let promises = self.lock();
        let of_group = promises.range((group, 0)..=(group, u64::MAX));
        let acked = of_group.filter_map(|((_, node), promise)| Some((*node, promise.acked?)));
        acked
            .filter(|(_, (term, _))| *term == leader_term)
            .map(|(node, (_, last))| (node, last))
            .collect()
    }

    /// Everything, to be passed on.
    pub(crate) fn all(&self) -> Vec<(u16, u64, Promise)> {
        self.lock().iter().map(|((group, node), promise)| (*group, *node, *promise)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(u16, u64), Promise>> {
        // Each promise is written whole: a panic elsewhere leaves nothing half done.
        self.promises.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::log_id;

    fn promise(term: u64, acked: Option<(u64, LogId)>) -> Promise {
        Promise { disk: [1; 16], term, acked }
    }

    #[test]
    fn a_shorter_log_is_forgetting_unless_a_later_leader_cut_it() {
        let acked = promise(2, Some((2, log_id(2, 100))));
        let kept = |vote_term, term, index| Kept { vote_term, last_log: Some(log_id(term, index)) };
        assert_eq!(kept(2, 2, 100).judge(&acked), Ok(()));
        assert_eq!(kept(2, 2, 140).judge(&acked), Ok(()));
        assert_eq!(
            kept(2, 2, 99).judge(&acked),
            Err(Forgotten::Entries { promised: 100, kept: 99 })
        );
        let empty = Kept { vote_term: 2, last_log: None };
        assert_eq!(empty.judge(&acked), Err(Forgotten::Entries { promised: 100, kept: 0 }));
        // A leader of term 3 cut entries 91 to 100: before or after it wrote its own first one.
        assert_eq!(kept(3, 2, 90).judge(&acked), Ok(()));
        assert_eq!(kept(3, 3, 91).judge(&acked), Ok(()));
        assert_eq!(kept(1, 1, 140).judge(&acked), Err(Forgotten::Vote { promised: 2, kept: 1 }));
    }

    #[test]
    fn promises_add_up_and_a_new_directory_owes_nothing() {
        let witness = Witness::default();
        witness.note(0, 2, &promise(3, Some((3, log_id(3, 50)))));
        witness.note(0, 2, &promise(4, None));
        witness.note(0, 2, &promise(2, Some((2, log_id(2, 80)))));
        let known = witness.of(2, [1; 16]);
        assert_eq!(known.get(&0), Some(&promise(4, Some((3, log_id(3, 50))))));
        assert!(witness.of(2, [9; 16]).is_empty());
        assert!(witness.of(3, [1; 16]).is_empty());
        witness.note(0, 2, &Promise { disk: [9; 16], term: 1, acked: None });
        assert!(witness.of(2, [1; 16]).is_empty());
    }

    #[test]
    fn a_leader_says_what_was_acknowledged_to_it_and_nothing_of_an_earlier_one() {
        let witness = Witness::default();
        witness.note(0, 1, &promise(4, Some((4, log_id(4, 9)))));
        witness.note(0, 2, &promise(4, Some((3, log_id(3, 8)))));
        witness.note(0, 3, &promise(4, None));
        witness.note(1, 2, &promise(4, Some((4, log_id(4, 7)))));
        assert_eq!(witness.acked_to(0, 4), [(1, log_id(4, 9))]);
        assert_eq!(witness.acked_to(0, 3), [(2, log_id(3, 8))]);
        assert_eq!(witness.acked_to(2, 4), []);
    }
}
