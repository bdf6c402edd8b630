//! Why an attempt brought no outcome. The ledger did not say no; nobody answered for it.
//!
//! A failure is either *not proposed* (no log holds the request) or *outcome unknown* (one may). Nothing is ever in
//! between: [`Failure::is_unknown`] is what decides whether a caller may forget the request.

use crate::catalogue;

/// Why an attempt brought no outcome. Each variant says what its reader can do about it.
///
/// Travels as a number: variants are only ever added at the end (A10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Failure {
    /// No log holds the request. Try again, here or at the leader.
    #[error("the shard has no leader, or it is another node")]
    NoLeader,
    /// No log holds the request. Try again, more slowly.
    #[error("a queue is full")]
    Overloaded,
    /// No log holds the request. Operators: give the shard's nodes more room.
    #[error("the shard's disks are nearly full")]
    DiskFull,
    /// No log holds the request. Set the clock of whoever makes the keys.
    #[error("the key's time is more than 10 minutes ahead of the cluster's clock")]
    KeyFromFuture,
    /// No log holds the request. Operators: compare the digests of the shard's replicas.
    #[error("the shard's replicas differ, and it has stopped writing")]
    Diverged,
    /// No log holds the request. Try again over another connection.
    #[error("this server is being shut down")]
    Draining,
    /// No log holds the request. Try again with more time.
    #[error("the deadline passed before the request was proposed")]
    DeadlinePassed,
    /// A log may hold the request. Ask again with the same key to learn the outcome.
    #[error("the outcome is not known yet")]
    OutcomeUnknown,
    /// No log holds the request. Operators: the gateway's release is newer than the node's.
    #[error("the node cannot read the request's record")]
    InvalidRecord,
    /// No log holds the request. Try again later.
    #[error("the channel to the payee's shard takes no more")]
    PeerBehind,
    /// No log holds the request. Try again, as slowly as was agreed.
    #[error("more requests a second than the tenant may send")]
    RateLimited,
    /// No log holds the request. Operators: the meta group has no leader, or its messages do not arrive.
    #[error("the shard has not heard from the meta group for an hour")]
    TablesStale,
    /// No log holds the request. Operators: raise the feature level, once every node's release knows it.
    #[error("the cluster's feature level is too low for the request")]
    LevelTooLow,
}

impl Failure {
    /// Every failure, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::NoLeader,
        Self::Overloaded,
        Self::DiskFull,
        Self::KeyFromFuture,
        Self::Diverged,
        Self::Draining,
        Self::DeadlinePassed,
        Self::OutcomeUnknown,
        Self::InvalidRecord,
        Self::PeerBehind,
        Self::RateLimited,
        Self::TablesStale,
        Self::LevelTooLow,
    ];

    /// The code by which everybody outside knows it: stable for ever.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoLeader => "NO_LEADER",
            Self::Overloaded => "OVERLOADED",
            Self::DiskFull => "DISK_FULL",
            Self::KeyFromFuture => "KEY_FROM_FUTURE",
            Self::Diverged => "DIVERGED",
            Self::Draining => "DRAINING",
            Self::DeadlinePassed => "DEADLINE_PASSED",
            Self::OutcomeUnknown => "OUTCOME_UNKNOWN",
            Self::InvalidRecord => "INVALID_RECORD",
            Self::PeerBehind => "PEER_BEHIND",
            Self::RateLimited => "RATE_LIMITED",
            Self::TablesStale => "TABLES_STALE",
            Self::LevelTooLow => "LEVEL_TOO_LOW",
        }
    }

    /// Whether a log may hold the request. If not, no log ever will, unless somebody sends it again.
    #[must_use]
    pub const fn is_unknown(self) -> bool {
        match self {
            Self::OutcomeUnknown => true,
            Self::NoLeader
            | Self::Overloaded
            | Self::DiskFull
            | Self::KeyFromFuture
            | Self::Diverged
            | Self::Draining
            | Self::DeadlinePassed
            | Self::InvalidRecord
            | Self::PeerBehind
            | Self::RateLimited
            | Self::TablesStale
            | Self::LevelTooLow => false,
        }
    }

    /// What the catalogue says about it.
    ///
    /// # Panics
    /// Never: a test compares the two.
    #[must_use]
    pub fn entry(self) -> &'static catalogue::Entry {
        catalogue::find(self.code()).expect("every failure is in the catalogue")
    }

    /// The number by which it travels inside the cluster.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::NoLeader => 0,
            Self::Overloaded => 1,
            Self::DiskFull => 2,
            Self::KeyFromFuture => 3,
            Self::Diverged => 4,
            Self::Draining => 5,
            Self::DeadlinePassed => 6,
            Self::OutcomeUnknown => 7,
            Self::InvalidRecord => 8,
            Self::PeerBehind => 9,
            Self::RateLimited => 10,
            Self::TablesStale => 11,
            Self::LevelTooLow => 12,
        }
    }

    /// The failure of a number; `None` when this release knows no such failure.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_names_its_failure() {
        for (number, failure) in (0..).zip(Failure::ALL) {
            assert_eq!(failure.number(), number);
            assert_eq!(Failure::from_number(number), Some(failure));
        }
        assert_eq!(Failure::from_number(13), None);
        assert_eq!(Failure::from_number(255), None);
    }

    #[test]
    fn the_catalogue_says_the_same_about_unknown_outcomes() {
        for failure in Failure::ALL {
            let kind = failure.entry().kind;
            assert_eq!(
                failure.is_unknown(),
                kind == catalogue::Kind::Unknown,
                "{}",
                failure.code()
            );
        }
    }
}
