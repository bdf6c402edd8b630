//! An append-only list in segments: it grows without ever moving what it holds.
//!
//! A plain vector of a million rows stalls when it grows, for as long as copying a hundred megabytes takes.

/// Rows in a segment.
const SEGMENT_ROWS: usize = 4_096;

/// An append-only list.
#[derive(Clone, Debug)]
pub(crate) struct List<T> {
    segments: Vec<Vec<T>>,
}

impl<T> List<T> {
    pub(crate) const fn new() -> Self {
        Self { segments: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        let full = self.segments.len().saturating_sub(1).saturating_mul(SEGMENT_ROWS);
        self.segments.last().map_or(0, |last| full.saturating_add(last.len()))
    }

    /// Appends a row and says its number.
    pub(crate) fn push(&mut self, row: T) -> usize {
        let number = self.len();
        if self.segments.last().is_none_or(|last| last.len() == SEGMENT_ROWS) {
            self.segments.push(Vec::with_capacity(SEGMENT_ROWS.min(number.max(16))));
        }
        self.segments.last_mut().expect("just made sure of one").push(row);
        number
    }

    pub(crate) fn get(&self, number: usize) -> Option<&T> {
        self.segments.get(number / SEGMENT_ROWS)?.get(number % SEGMENT_ROWS)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.segments.iter().flatten()
    }

    /// The first row for which `is_before` is false, when all rows for which it is true come first.
    pub(crate) fn partition_point(&self, is_before: impl Fn(&T) -> bool) -> usize {
        let segment = self.segments.partition_point(|rows| rows.last().is_some_and(&is_before));
        let Some(rows) = self.segments.get(segment) else { return self.len() };
        segment.saturating_mul(SEGMENT_ROWS).saturating_add(rows.partition_point(is_before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_number_and_by_search() {
        let mut list = List::new();
        assert_eq!(list.partition_point(|row: &usize| *row < 5), 0);
        for row in 0..10_000 {
            assert_eq!(list.push(row * 2), row);
        }
        assert_eq!(list.len(), 10_000);
        assert_eq!(list.get(9_999), Some(&19_998));
        assert_eq!(list.get(10_000), None);
        assert_eq!(list.iter().count(), 10_000);
        for target in [0, 1, 8_190, 8_192, 8_193, 19_998] {
            assert_eq!(list.partition_point(|row| *row < target), target.div_ceil(2));
        }
        assert_eq!(list.partition_point(|row| *row < 50_000), 10_000);
    }
}
