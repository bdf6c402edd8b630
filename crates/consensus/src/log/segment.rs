//! The inside of a segment, and which segments are still needed.
//!
//! **Invariant:** behind its last frame a segment is zero: it is filled with zeros before it is
//! used, and whatever is cut is zeroed. So every byte that is not zero was written for a reason,
//! and can be judged.

use std::collections::BTreeMap;

use super::{
    format::{FRAME_LEN, FrameHead, find_frame},
    standing::Standing,
};

/// Walks the frames of a segment, from the end of its head.
pub(crate) struct Walk<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) at: usize,
    pub(crate) salt: u64,
}

pub(crate) enum Step<'a> {
    /// A sound frame.
    Frame { at: usize, sequence: u64, payload: &'a [u8] },
    /// From here on all is zero.
    End { at: usize },
    /// Something stands here that is no sound frame.
    Bad { at: usize },
}

impl<'a> Walk<'a> {
    pub(crate) fn step(&mut self) -> Step<'a> {
        let at = self.at;
        let rest = self.bytes.get(at..).unwrap_or_default();
        let frame = FrameHead::decode(rest, self.salt).and_then(|head| {
            let payload = head.payload(rest.get(FRAME_LEN..)?)?;
            Some((head.sequence, payload))
        });
        match frame {
            Some((sequence, payload)) => {
                self.at = at.saturating_add(FRAME_LEN).saturating_add(payload.len());
                Step::Frame { at, sequence, payload }
            }
            None if written(rest) == 0 => Step::End { at },
            None => Step::Bad { at },
        }
    }
}

/// How many bytes there are up to the last that is not zero.
pub(crate) fn written(bytes: &[u8]) -> usize {
    const BLOCK: usize = 4096;
    let mut end = bytes.len();
    // Almost all of a tail is zero, and whole blocks compare many times faster than bytes.
    for block in bytes.rchunks(BLOCK) {
        if [0; BLOCK].get(..block.len()) != Some(block) {
            let last =
                block.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
            return end.saturating_sub(block.len()).saturating_add(last);
        }
        end = end.saturating_sub(block.len());
    }
    0
}

/// Whether the bad frame at `at` may be a torn write: `None` when something was written behind it.
/// Otherwise, where the torn bytes end.
///
/// A frame is written only after the sync of the one before it has returned. So whatever stands
/// behind a bad frame proves that it was synced, and has rotted. When the bad frame's head is sound
/// its extent is known, and any byte behind that is such a proof; else only the head of a later
/// frame is.
pub(crate) fn torn(bytes: &[u8], at: usize, salt: u64) -> Option<usize> {
    let end = written(bytes);
    let rest = bytes.get(at..)?;
    let is_torn = match FrameHead::decode(rest, salt) {
        Some(head) => {
            let len = usize::try_from(head.len).unwrap_or(usize::MAX);
            let extent = at.saturating_add(FRAME_LEN).saturating_add(len);
            end <= extent && extent <= bytes.len()
        }
        None => find_frame(bytes.get(..end)?, at.saturating_add(1), salt).is_none(),
    };
    is_torn.then_some(end)
}

/// The segments on disk, and the last entry of each group in each.
#[derive(Default)]
pub(crate) struct Retained(BTreeMap<u32, BTreeMap<u32, u64>>);

impl Retained {
    pub(crate) fn begin(&mut self, number: u32) {
        self.0.insert(number, BTreeMap::new());
    }

    /// The newest segment now holds entries of the group up to `last`.
    pub(crate) fn append(&mut self, group: u32, last: u64) {
        if let Some(mut newest) = self.0.last_entry() {
            newest.get_mut().insert(group, last);
        }
    }

    /// No segment holds entries of the group from `from` on that anybody needs.
    pub(crate) fn truncate(&mut self, group: u32, from: u64) {
        for lasts in self.0.values_mut() {
            match (lasts.get_mut(&group), from.checked_sub(1)) {
                (Some(last), Some(kept)) => *last = kept.min(*last),
                (Some(_), None) => drop(lasts.remove(&group)),
                (None, _) => {}
            }
        }
    }

    /// Takes off the oldest segment, if every entry in it is purged and it is not the newest. Only
    /// ever the oldest: a log without a segment in the middle is refused.
    pub(crate) fn take_done(&mut self, groups: &BTreeMap<u32, Standing>) -> Option<u32> {
        let newest = self.0.last_key_value().map(|(number, _)| *number);
        let oldest = self.0.first_entry().filter(|oldest| Some(*oldest.key()) != newest)?;
        let is_done = oldest
            .get()
            .iter()
            .all(|(group, last)| groups.get(group).is_none_or(|group| group.first > *last));
        is_done.then(|| oldest.remove_entry().0)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
