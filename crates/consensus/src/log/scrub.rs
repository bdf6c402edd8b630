//! Reading what was synced long ago, to find what has rotted since while there are others who still have it.
//!
//! Recovery proves every byte of a log once, at the start; a node that runs for a year would learn of a bad segment when
//! it starts again, perhaps together with others. So everything up to the last synced frame is read now and then, from
//! the disk and not from the system's cache, and judged by the checksums that recovery goes by.

use super::{
    disk::NamedFile,
    error::{Damage, LogError},
    format::{FRAME_LEN, FrameHead, Front, HEAD_LEN, Head},
    writer::Log,
};

/// How much of a frame is read at once.
const READ_LEN: u64 = 256 << 10;

impl Log {
    /// Reads everything up to the last synced frame. `pace` is told after so many bytes and may wait; when it says no,
    /// the rest is left. A finding is the log's failure, which stops it.
    ///
    /// Blocks for as long as that takes.
    ///
    /// # Errors
    /// What is bad, by file and offset, or what the disk says.
    pub fn scrub(&self, pace: &mut dyn FnMut(u64) -> bool) -> Result<(), LogError> {
        // Read before the segments: a segment that is begun meanwhile lies behind it.
        let end = self.shared.index.end();
        let segments = self.shared.index.segments();
        let ends = segments.iter().skip(1).map(|segment| segment.start).chain([end]);
        for (segment, end) in segments.iter().zip(ends) {
            let len = end.saturating_sub(segment.start);
            let mut scrubbing = Scrubbing { file: &segment.file, salt: self.shared.salt, pace };
            match scrubbing.segment(len) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => {
                    self.shared.failure.set(error.clone());
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

struct Scrubbing<'a> {
    file: &'a NamedFile,
    salt: u64,
    pace: &'a mut dyn FnMut(u64) -> bool,
}

impl Scrubbing<'_> {
    /// Reads the first `len` bytes, which are a head and whole frames. `false` when it is given up.
    fn segment(&mut self, len: u64) -> Result<bool, LogError> {
        if len == 0 {
            return Ok(true);
        }
        let mut head = vec![0; HEAD_LEN];
        self.read(0, &mut head)?;
        let whole = Head::len_of(&head).filter(|whole| *whole as u64 <= len);
        head.resize(whole.ok_or_else(|| self.corrupt(0, Damage::Head))?, 0);
        self.read(0, &mut head)?;
        if !matches!(Head::decode(&head, self.salt), Front::Sound(_)) {
            return Err(self.corrupt(0, Damage::Head));
        }
        let mut at = head.len() as u64;
        while at < len {
            let Some(next) = self.frame(at, len)? else { return Ok(false) };
            at = next;
        }
        Ok(true)
    }

    /// Reads the frame at an offset, and says where it ends; nothing, when it is given up.
    fn frame(&mut self, at: u64, len: u64) -> Result<Option<u64>, LogError> {
        let mut head = [0; FRAME_LEN];
        self.read(at, &mut head)?;
        let bad = || self.corrupt(at, Damage::Frame);
        let head = FrameHead::decode(&head, self.salt).ok_or_else(bad)?;
        let mut from = at.saturating_add(FRAME_LEN as u64);
        let end = from.saturating_add(head.len.into());
        if end > len {
            return Err(self.corrupt(at, Damage::Frame));
        }
        let mut hasher = crc32fast::Hasher::new();
        let mut piece = Vec::new();
        while from < end {
            let step = end.saturating_sub(from).min(READ_LEN);
            piece.resize(usize::try_from(step).unwrap_or_default(), 0);
            self.read(from, &mut piece)?;
            hasher.update(&piece);
            from = from.saturating_add(step);
            if !(self.pace)(step) {
                return Ok(None);
            }
        }
        if hasher.finalize() != head.payload_crc {
            return Err(self.corrupt(at, Damage::Frame));
        }
        Ok(Some(end))
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), LogError> {
        self.file.forget(offset, into.len() as u64);
        self.file.read(offset, into)
    }

    fn corrupt(&self, offset: u64, damage: Damage) -> LogError {
        LogError::Corrupt { file: self.file.name.to_string(), offset, damage }
    }
}
