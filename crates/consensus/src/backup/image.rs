//! What a replica keeps of a state cut, and how it is sent.

use std::sync::Arc;

use ledger::{Image, Time};

use super::{End, Head, Piece};
use crate::codec;
use crate::store::{self, PagesFacts, StoreError, Volume};

/// Bytes of a piece, about: few messages, little memory.
const PIECE_LEN: usize = 512 << 10;

/// One group's whole state as a state cut found it: pages that are shared with the ledger, and volumes that stay readable
/// after their files are gone. It costs memory as the ledger writes its pages, at the most once more what it had.
#[derive(Debug)]
pub struct StateImage {
    shard: u16,
    cut: u64,
    pub(super) image: Image,
    pub(super) volumes: Vec<Arc<Volume>>,
}

impl StateImage {
    /// An image with the volumes that belong to it. `None` when those are not among the ones that there are: then a
    /// snapshot has replaced them.
    pub(crate) fn new(
        (shard, cut): (u16, u64),
        image: Image,
        volumes: &[Arc<Volume>],
    ) -> Option<Self> {
        let volumes = belonging(image.sealed_before(), volumes)?;
        Some(Self { shard, cut, image, volumes })
    }

    /// The cut's number.
    #[must_use]
    pub const fn cut(&self) -> u64 {
        self.cut
    }

    /// Log time when the cut was made.
    #[must_use]
    pub const fn at(&self) -> Time {
        self.image.now()
    }

    /// The log index at which the cut was made.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.image.index()
    }

    /// Hands out the pieces in order, until `take` says that nobody takes them any more.
    pub(crate) fn send(&self, mut take: impl FnMut(Piece) -> bool) -> Result<(), StoreError> {
        if !take(Piece::Head(codec::encode(&self.head()).into())) {
            return Ok(());
        }
        for volume in &self.volumes {
            if !send_volume(volume, &mut take)? {
                return Ok(());
            }
        }
        let mut pages = PagesFacts::default();
        let frames = self.image.pages().map(|page| {
            pages.add(&page.0, &page.1);
            store::frame(&page)
        });
        if !send_frames(frames, Piece::Pages, &mut take) {
            return Ok(());
        }
        let mut recent = 0_u64;
        let frames = self.image.cold_records().map(|record| {
            recent = recent.saturating_add(1);
            store::frame(&(record.key, record.value))
        });
        if send_frames(frames, Piece::Records, &mut take) {
            take(Piece::End(codec::encode(&End { pages, recent }).into()));
        }
        Ok(())
    }

    fn head(&self) -> Head {
        let image = &self.image;
        let (first, last) = image.times().unwrap_or_default();
        Head {
            shard: self.shard,
            cut: self.cut,
            index: image.index(),
            records: image.records(),
            digest: image.digest(),
            volumes: self.volumes.iter().map(|volume| *volume.facts()).collect(),
            recent_ms: (first.0, last.0),
            recent_digest: image.cold_digest(),
            recent_max: image.cold_records_max(),
            level: image.level(),
        }
    }
}

/// The first of the volumes, those whose records an image counts as sealed. A checkpoint may have sealed one more that it
/// still has in memory.
fn belonging(sealed: u128, volumes: &[Arc<Volume>]) -> Option<Vec<Arc<Volume>>> {
    let mut sum = 0_u128;
    let mut behind = 0_usize;
    let mut ends = std::iter::once((0, 0)).chain(volumes.iter().map(|volume| {
        sum = sum.wrapping_add(volume.facts().digest);
        behind = behind.saturating_add(1);
        (behind, sum)
    }));
    let (count, _) = ends.find(|(_, sum)| *sum == sealed)?;
    Some(volumes.iter().take(count).cloned().collect())
}

fn send_volume(volume: &Volume, take: &mut impl FnMut(Piece) -> bool) -> Result<bool, StoreError> {
    let (len, mut at) = (volume.facts().len, 0_u64);
    while at < len {
        let left = usize::try_from(len.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(PIECE_LEN)];
        volume.read_raw(&mut bytes, at)?;
        at = at.saturating_add(bytes.len() as u64);
        if !take(Piece::Volume(bytes)) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn send_frames(
    frames: impl Iterator<Item = Vec<u8>>,
    piece: fn(Vec<u8>) -> Piece,
    take: &mut impl FnMut(Piece) -> bool,
) -> bool {
    let mut gathered = Vec::with_capacity(PIECE_LEN);
    for frame in frames {
        gathered.extend_from_slice(&frame);
        if gathered.len() >= PIECE_LEN
            && !take(piece(std::mem::replace(&mut gathered, Vec::with_capacity(PIECE_LEN))))
        {
            return false;
        }
    }
    gathered.is_empty() || take(piece(gathered))
}
