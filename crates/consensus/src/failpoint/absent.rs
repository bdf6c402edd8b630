//! What a build without failpoints has in their place: nothing.

use super::Moment;

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
        assert_eq!(size_of::<Traffic>(), 0);
    }
}
