//! Merges a run of neighbouring volumes into one.
//!
//! Their intervals do not overlap and no key lies in two of them, so merging is sorting and nothing
//! else: what comes out has as many records as what went in, and the same sums.

use std::{ops, path::Path, sync::Arc};

use super::{
    FilterOf, Interval, Volume, VolumeFacts, VolumePlan, VolumeWriter, format::corrupt,
    range::Cursor,
};
use crate::store::{Files, StoreError};

/// At least so many neighbours become one volume. A record is rewritten about as often as volumes grow
/// eightfold, and fifty gigabytes lie in two dozen volumes.
const RUN_LEN_MIN: usize = 8;

/// At most so many are merged at once: each holds a block in memory.
const RUN_LEN_MAX: usize = 32;

/// A run is merged when it is so many times longer than its longest volume, so that sizes need not be
/// equal, and yet no record is rewritten before what it lies in has grown fourfold.
const GROWTH_MIN: u64 = 4;

/// Volumes below this count as equal: rewriting them costs nothing.
const SMALL_LEN: u64 = 1 << 20;

/// No merge makes a file longer than this: it needs that much free disk while both lie there.
const MERGED_LEN_MAX: u64 = 8 << 30;

/// Finds the neighbours to merge next: the newest run, because it is the shortest, and of those that end
/// together the longest, so that no small volume is left behind between large ones.
pub(in crate::store) fn due(volumes: &[VolumeFacts]) -> Option<ops::Range<usize>> {
    let ends = (RUN_LEN_MIN..=volumes.len()).rev();
    let mut runs = ends.flat_map(|end| {
        let starts = end.saturating_sub(RUN_LEN_MAX)..=end.saturating_sub(RUN_LEN_MIN);
        starts.map(move |start| start..end)
    });
    runs.find(|run| {
        let run = volumes.get(run.clone()).unwrap_or_default();
        let lens = run.iter().map(|volume| volume.len.max(SMALL_LEN));
        let longest = lens.clone().max().unwrap_or(0);
        let len = lens.fold(0, u64::saturating_add);
        (longest.saturating_mul(GROWTH_MIN)..=MERGED_LEN_MAX).contains(&len)
    })
}

/// Writes the union of a run, in log order, to a new file in `dir`.
pub(in crate::store) fn merge(
    files: &dyn Files,
    dir: &Path,
    run: &[Arc<Volume>],
    (number, filter_of): (u64, FilterOf),
) -> Result<VolumeFacts, StoreError> {
    let facts = || run.iter().map(|volume| *volume.facts());
    let Some(interval) = facts().map(|facts| facts.interval).reduce(Interval::until) else {
        return Err(corrupt(dir, 0, "nothing was to be merged"));
    };
    let filter_items_max = facts().fold(0_u64, |sum, facts| sum.saturating_add(facts.filter_items));
    let plan = VolumePlan { number, interval, filter_of, filter_items_max };
    let mut writer = VolumeWriter::create(files, dir, plan)?;
    add_all(&mut writer, run)?;
    let records = facts().fold(0_u64, |sum, facts| sum.saturating_add(facts.records));
    let sum = facts().fold(0, |sum: u128, facts| sum.wrapping_add(facts.sum));
    if (writer.records(), writer.sum()) != (records, sum) {
        return Err(corrupt(dir, 0, "a merged volume is not the union of its run"));
    }
    writer.finish(facts().fold(0, |digest: u128, facts| digest.wrapping_add(facts.digest)))
}

fn add_all(writer: &mut VolumeWriter, run: &[Arc<Volume>]) -> Result<(), StoreError> {
    let mut cursors = Vec::with_capacity(run.len());
    for volume in run {
        let mut cursor = Cursor::before(volume.clone(), &[]);
        if cursor.advance()? {
            cursors.push(cursor);
        }
    }
    // Highest key first: the next record is at the end, and finding a cursor's new place takes few
    // comparisons.
    cursors.sort_by(|a, b| b.key().cmp(a.key()));
    while let Some(mut cursor) = cursors.pop() {
        writer.add(cursor.key(), cursor.value())?;
        if cursor.advance()? {
            let place = cursors.partition_point(|other| other.key() > cursor.key());
            cursors.insert(place, cursor);
        }
    }
    Ok(())
}
