//! A table of records by id, in pages that a checkpoint can keep while the ledger goes on.
//!
//! Records lie in pages of [`PAGE_ROWS`]; an image of the table is a copy of the pages' handles, and a page is copied
//! only when it is written while an image still holds it. So taking an image of ten million accounts costs about a
//! millisecond, and each page then costs one copy of a few kilobytes, once.

use std::hash::Hash;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::hash::Fixed;

/// Rows in a page: about 16 KiB of accounts, and what one copy on write moves.
pub(crate) const PAGE_ROWS: usize = 128;

/// One page: a row is empty after its record was removed.
pub(crate) type Page<V> = Vec<Option<V>>;

/// Records by id. Its order is the order of insertion, never the hash's.
#[derive(Clone, Debug)]
pub(crate) struct Table<K, V> {
    rows: HashMap<K, u32, Fixed>,
    pages: Vec<Arc<Page<V>>>,
    free: Vec<u32>,
}

impl<K: Hash + Eq + Copy, V: Clone> Table<K, V> {
    pub(crate) fn new() -> Self {
        Self { rows: HashMap::with_hasher(Fixed), pages: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn contains(&self, id: &K) -> bool {
        self.rows.contains_key(id)
    }

    pub(crate) fn get(&self, id: &K) -> Option<&V> {
        let (page, row) = place(*self.rows.get(id)?);
        self.pages.get(page)?.get(row)?.as_ref()
    }

    /// Writes a record, new or not.
    ///
    /// # Panics
    /// At 2^32 records.
    pub(crate) fn put(&mut self, id: K, record: V) {
        self.change(id, |_| record);
    }

    /// Writes what becomes of a record, which may not have been there: one look-up instead of two.
    ///
    /// # Panics
    /// At 2^32 records.
    pub(crate) fn change(&mut self, id: K, becomes: impl FnOnce(Option<&V>) -> V) {
        let row = match self.rows.get(&id) {
            Some(row) => *row,
            None => {
                let row = self.free_row();
                self.rows.insert(id, row);
                row
            }
        };
        let cell = self.cell(row);
        *cell = Some(becomes(cell.as_ref()));
    }

    pub(crate) fn remove(&mut self, id: &K) -> Option<V> {
        let row = self.rows.remove(id)?;
        self.free.push(row);
        self.cell(row).take()
    }

    /// All records, in the order of their rows.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.pages.iter().flat_map(|page| page.iter().flatten())
    }

    /// The pages as they are now: cheap, and unchanged by what is written later.
    pub(crate) fn image(&self) -> Vec<Arc<Page<V>>> {
        self.pages.clone()
    }

    fn free_row(&mut self) -> u32 {
        if let Some(row) = self.free.pop() {
            return row;
        }
        let full = self.pages.last().is_none_or(|page| page.len() == PAGE_ROWS);
        if full {
            self.pages.push(Arc::new(Vec::with_capacity(PAGE_ROWS)));
        }
        let before = self.pages.len().saturating_sub(1).saturating_mul(PAGE_ROWS);
        let page = Arc::make_mut(self.pages.last_mut().expect("just made sure of one"));
        page.push(None);
        let row = before.saturating_add(page.len()).saturating_sub(1);
        u32::try_from(row).expect("a shard holds fewer than 2^32 records of a kind")
    }

    fn cell(&mut self, row: u32) -> &mut Option<V> {
        let (page, row) = place(row);
        let page = self.pages.get_mut(page).expect("a row lies in a page");
        Arc::make_mut(page).get_mut(row).expect("a row lies in its page")
    }
}

/// The record in a row of an image.
pub(crate) fn in_row<V>(image: &[Arc<Page<V>>], row: u32) -> Option<&V> {
    let (page, row) = place(row);
    image.get(page)?.get(row)?.as_ref()
}

/// The records of an image, each with its row.
pub(crate) fn rows<V>(image: &[Arc<Page<V>>]) -> impl Iterator<Item = (u32, &V)> {
    // Every page but the last one is full.
    let rows = image.iter().flat_map(|page| page.iter());
    (0_u32..).zip(rows).filter_map(|(row, record)| Some((row, record.as_ref()?)))
}

fn place(row: u32) -> (usize, usize) {
    let row = usize::try_from(row).expect("32 bits fit");
    (row / PAGE_ROWS, row % PAGE_ROWS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_does_not_see_what_is_written_later() {
        let mut table = Table::new();
        for id in 0..300_u32 {
            table.put(id, id);
        }
        let image = table.image();
        table.put(7, 1_000);
        table.remove(&200);
        table.put(999, 999);
        let seen: Vec<u32> = image.iter().flat_map(|page| page.iter().flatten().copied()).collect();
        assert_eq!(seen, (0..300).collect::<Vec<_>>());
        assert_eq!(table.get(&7), Some(&1_000));
        assert_eq!(table.get(&200), None);
        assert_eq!(table.get(&999), Some(&999));
        let rows: usize = table.image().iter().map(|page| page.len()).sum();
        assert_eq!(rows, 300, "the freed row is used again");
        assert_eq!(table.len(), 300);
        assert_eq!(table.values().count(), 300);
    }
}
