//! What a build without failpoints has in their place: nothing.

use super::{Moment, Operation};
use crate::raft::Membership;

/// What some records carry past the steps: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {}

impl Traffic {
    /// What a run of records carries.
    #[inline]
    #[must_use]
    pub const fn of(_run: &[u8]) -> Self {
        Self {}
    }

    /// What a batch carries.
    #[inline]
    #[must_use]
    pub const fn of_batch(_batch: &[u8]) -> Self {
        Self {}
    }

    /// What both carry.
    #[inline]
    #[must_use]
    pub const fn and(self, _other: Self) -> Self {
        self
    }

    /// It has come to a step, which is as good as any other.
    #[inline]
    pub const fn reaches(self, _moment: Moment) {}
}

impl Operation {
    /// The step is reached, which is as good as any other.
    #[inline]
    pub const fn reached(self) {}
}

/// Who is in a group: nobody asks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Crew {}

impl Crew {
    /// Takes in an entry's membership.
    #[inline]
    pub(crate) const fn next(&mut self, _membership: &Membership) -> Shift {
        Shift {}
    }
}

/// What an entry changes about who is in a group: nothing that anybody asks about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shift {}

impl Shift {
    /// What two runs of entries change.
    #[inline]
    pub(crate) const fn and(self, _other: Self) -> Self {
        self
    }

    /// This node's log has it.
    #[inline]
    pub(crate) const fn logged(self) {}

    /// A majority has it.
    #[inline]
    pub(crate) const fn committed(self) {}
}

/// Nothing is lost.
#[inline]
#[must_use]
pub const fn loses_payment() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_carried_along() {
        assert_eq!((size_of::<Traffic>(), size_of::<Crew>(), size_of::<Shift>()), (0, 0, 0));
    }
}
