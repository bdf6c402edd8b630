//! Bugs on purpose, one at a time, for whoever doubts that the tests would notice.
//!
//! Only a build with `--cfg planted` has them, and there only the one that the process chose when it began. In every other
//! build [`Plant::is_on`] is `false` for all of them, and what they would do is not compiled. They are listed here, below
//! everybody who has one; a binary chooses first of all.

use std::fmt;
use std::str::FromStr;
#[cfg(planted)]
use std::sync::OnceLock;

/// A bug on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Plant {
    /// The log writes and never syncs.
    SkipSync,
    /// The log says that entries are durable before it has written them.
    AcknowledgeUnwritten,
    /// A vote is given and not written.
    VoteUnwritten,
    /// A log that is corrupt in its middle is cut there.
    CutCorruptMiddle,
    /// A disk that went backwards takes part as if nothing were missing.
    TrustAnyDisk,
    /// Outcomes that have left memory count as never given.
    DropOutcomes,
    /// A "no" is not remembered.
    ForgetRejections,
    /// A key is looked up from its own time on, whatever its maker's clock.
    SkewedKeys,
    /// The cursor of a channel moves with the message after the one that it counts.
    CursorApart,
    /// A message that was applied is applied again when it comes again.
    ApplyTwice,
    /// A relay goes on behind what was not answered, and whoever reads it does not mind.
    SkipGap,
    /// A payment that was refused is answered like one that was credited.
    LoseRefusal,
    /// A new leader does not look for what its predecessors left unread.
    ForgetUnread,
    /// The leader answers reads without asking whether it still leads.
    PlainRead,
    /// A frame that was given up leaves its number to the next.
    StaleWaiter,
    /// A hold holds one minor unit less than it says.
    HoldOffByOne,
    /// A deadline is decided when its timer comes, and not on touch.
    DeadlineByTimer,
    /// Apply looks at the wall clock.
    WallClock,
    /// What a gateway sends again after its stream broke, it sends under a new key.
    RecallAfresh,
    /// A gateway takes what was in flight when its stream broke for not proposed.
    ForgetFlight,
    /// A gateway takes the answers on a stream for those to its frames in their order.
    AnswerInTurn,
    /// A gateway says of what is in flight at its deadline that it was not proposed.
    ExpireFlight,
}

impl Plant {
    /// Every bug.
    pub const ALL: [Self; 22] = [
        Self::SkipSync,
        Self::AcknowledgeUnwritten,
        Self::VoteUnwritten,
        Self::CutCorruptMiddle,
        Self::TrustAnyDisk,
        Self::DropOutcomes,
        Self::ForgetRejections,
        Self::SkewedKeys,
        Self::CursorApart,
        Self::ApplyTwice,
        Self::SkipGap,
        Self::LoseRefusal,
        Self::ForgetUnread,
        Self::PlainRead,
        Self::StaleWaiter,
        Self::HoldOffByOne,
        Self::DeadlineByTimer,
        Self::WallClock,
        Self::RecallAfresh,
        Self::ForgetFlight,
        Self::AnswerInTurn,
        Self::ExpireFlight,
    ];

    /// Its name, as `PAYCORE_PLANT` says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SkipSync => "skip-sync",
            Self::AcknowledgeUnwritten => "acknowledge-unwritten",
            Self::VoteUnwritten => "vote-unwritten",
            Self::CutCorruptMiddle => "cut-corrupt-middle",
            Self::TrustAnyDisk => "trust-any-disk",
            Self::DropOutcomes => "drop-outcomes",
            Self::ForgetRejections => "forget-rejections",
            Self::SkewedKeys => "skewed-keys",
            Self::CursorApart => "cursor-apart",
            Self::ApplyTwice => "apply-twice",
            Self::SkipGap => "skip-gap",
            Self::LoseRefusal => "lose-refusal",
            Self::ForgetUnread => "forget-unread",
            Self::PlainRead => "plain-read",
            Self::StaleWaiter => "stale-waiter",
            Self::HoldOffByOne => "hold-off-by-one",
            Self::DeadlineByTimer => "deadline-by-timer",
            Self::WallClock => "wall-clock",
            Self::RecallAfresh => "recall-afresh",
            Self::ForgetFlight => "forget-flight",
            Self::AnswerInTurn => "answer-in-turn",
            Self::ExpireFlight => "expire-flight",
        }
    }

    /// Whether the process has it.
    #[cfg(planted)]
    #[must_use]
    pub fn is_on(self) -> bool {
        CHOSEN.get() == Some(&self)
    }

    /// Whether the process has it: no ordinary build has any.
    #[cfg(not(planted))]
    #[inline]
    #[must_use]
    pub const fn is_on(self) -> bool {
        false
    }

    /// The process has the bug that `PAYCORE_PLANT` names from now on; without it, none.
    ///
    /// # Panics
    /// When no bug has this name.
    #[cfg(planted)]
    #[expect(clippy::disallowed_methods, reason = "it is there to break rules")]
    pub fn choose() {
        if let Ok(name) = std::env::var("PAYCORE_PLANT") {
            let plant: Self = name.parse().expect("PAYCORE_PLANT names a bug");
            CHOSEN.get_or_init(|| plant);
        }
    }
}

#[cfg(planted)]
static CHOSEN: OnceLock<Plant> = OnceLock::new();

impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No bug has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no bug is called {0:?}")]
pub struct NoSuchPlant(pub String);

impl FromStr for Plant {
    type Err = NoSuchPlant;

    fn from_str(name: &str) -> Result<Self, NoSuchPlant> {
        let mut all = Self::ALL.into_iter();
        all.find(|plant| plant.name() == name).ok_or_else(|| NoSuchPlant(name.to_owned()))
    }
}

/// What a ledger that looks at the wall clock sees there.
#[cfg(planted)]
#[expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "it is there to break rules"
)]
pub(crate) fn wall_clock_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = since.map_or(0, |since| since.subsec_nanos());
    u64::from(nanos) % 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_has_a_name_of_its_own_and_none_is_on() {
        for plant in Plant::ALL {
            assert_eq!(plant.name().parse(), Ok(plant));
            assert!(!plant.is_on());
        }
        assert_eq!("none".parse::<Plant>(), Err(NoSuchPlant("none".to_owned())));
    }
}
