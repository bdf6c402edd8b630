//! Following a log's records from the oldest segment to the newest, and judging each byte on the
//! way.
//!
//! Nothing here writes. What each group's records add up to is checked at every head, and at the
//! end against its purge point.

use std::collections::{BTreeMap, VecDeque};

use super::{
    disk::{Disk, NamedFile},
    error::{Damage, LogError},
    format::{
        FRAME_LEN, Front, HEAD_LEN, Head, Kind, RECORD_LEN, Record, Records, find_frame,
        segment_name,
    },
    index::{Index, OpenSegment},
    segment::{Retained, Step, Walk, torn, written},
    shelf::Place,
    standing::Standing,
};
use crate::failpoint::Plant;

/// The newest segment file, when no frame was ever written to it.
pub(super) struct Fresh {
    pub(super) number: u32,
    pub(super) file: NamedFile,
    /// How many bytes a torn write of its head left in it.
    pub(super) dirty: u64,
}

/// A group while its records are followed.
#[derive(Default)]
pub(super) struct Revived {
    pub(super) standing: Standing,
    /// Entries below this lay in segments that are gone.
    pub(super) absent: u64,
    pub(super) places: VecDeque<Place>,
}

/// The end of the newest segment in use.
pub(super) struct End {
    pub(super) file: NamedFile,
    pub(super) number: u32,
    pub(super) at: usize,
    /// Where the last frame begins; the head, when there is none.
    pub(super) last: usize,
    /// Where torn bytes end; the same as `at` when there are none.
    pub(super) torn: usize,
    pub(super) needs_seal: bool,
}

/// What its neighbours say about a segment.
#[derive(Clone, Copy)]
pub(super) struct InLog {
    /// The segment after it was begun, so this one was synced to its end.
    pub(super) is_succeeded: bool,
    /// No other is in use. If it is not the first, its elders were unlinked, and that was after the
    /// sync of a frame in it.
    pub(super) is_alone: bool,
}

pub(super) struct Replay<'d, D> {
    pub(super) disk: &'d D,
    pub(super) salt: u64,
    pub(super) groups: BTreeMap<u32, Revived>,
    pub(super) retained: Retained,
    pub(super) index: Index,
    pub(super) sequence: u64,
    pub(super) frames: u64,
    pub(super) stream_end: u64,
    /// The segment that is being followed, and at last the newest.
    pub(super) bytes: Vec<u8>,
    pub(super) end: Option<End>,
}

impl<'d, D: Disk> Replay<'d, D> {
    pub(super) fn new(disk: &'d D, salt: u64) -> Self {
        Self {
            disk,
            salt,
            groups: BTreeMap::new(),
            retained: Retained::default(),
            index: Index::default(),
            sequence: 1,
            frames: 0,
            stream_end: 0,
            bytes: Vec::new(),
            end: None,
        }
    }

    /// Takes the newest segment off the list when it was prepared and not yet used. A head is
    /// synced before a frame is written behind it: so without a sound head and without any frame it
    /// is a torn beginning, and with a frame it is corrupt.
    pub(super) fn classify_newest(
        &mut self,
        numbers: &mut Vec<u32>,
    ) -> Result<Option<Fresh>, LogError> {
        let Some(number) = numbers.last().copied() else { return Ok(None) };
        let file = NamedFile::open(self.disk, &segment_name(number))?;
        file.read_all(&mut self.bytes)?;
        if Head::decode(&self.bytes, self.salt) != Front::Bad {
            return Ok(None);
        }
        // The first segment had its head before the identity was made, and any other was in use
        // before its elders were unlinked.
        let was_used = numbers.len() == 1;
        if was_used || find_frame(&self.bytes, 0, self.salt).is_some() {
            return Err(corrupt(&file, 0, Damage::Head));
        }
        numbers.pop();
        let dirty = written(&self.bytes) as u64;
        Ok(Some(Fresh { number, file, dirty }))
    }

    /// Follows one segment in use.
    pub(super) fn segment(&mut self, number: u32, place: InLog) -> Result<(), LogError> {
        let file = NamedFile::open(self.disk, &segment_name(number))?;
        let mut bytes = std::mem::take(&mut self.bytes);
        file.read_all(&mut bytes)?;
        let head = match Head::decode(&bytes, self.salt) {
            Front::Sound(head) if head.segment == number => head,
            Front::Sound(_) => return Err(corrupt(&file, 0, Damage::HeadState)),
            Front::Version(found) => {
                return Err(LogError::Version { file: file.name.to_string(), offset: 8, found });
            }
            Front::Foreign => {
                return Err(LogError::Foreign { file: file.name.to_string(), offset: 0 });
            }
            Front::Bad => return Err(corrupt(&file, 0, Damage::Head)),
        };
        self.head(&file, &head)?;

        let mut walk = Walk { bytes: &bytes, at: head.end(), salt: self.salt };
        let mut end = End {
            file: file.clone(),
            number,
            at: head.end(),
            last: 0,
            torn: head.end(),
            needs_seal: false,
        };
        loop {
            match walk.step() {
                Step::Frame { at, sequence, payload } => {
                    if sequence != self.sequence {
                        return Err(corrupt(&file, at, Damage::FrameOrder));
                    }
                    self.frame(&file, number, at.saturating_add(FRAME_LEN), payload)?;
                    (end.last, end.at, end.torn) = (at, walk.at, walk.at);
                    end.needs_seal = !payload.is_empty();
                }
                Step::End { .. } => break,
                Step::Bad { at } => {
                    let torn = torn(&bytes, at, self.salt).filter(|_| !place.is_succeeded);
                    let torn = torn.or(Plant::CutCorruptMiddle.is_on().then_some(bytes.len()));
                    end.torn = torn.ok_or_else(|| corrupt(&file, at, Damage::Frame))?;
                    break;
                }
            }
        }
        if place.is_alone && number != 1 && end.last == 0 {
            return Err(corrupt(&file, end.at, Damage::Frame));
        }
        self.index.open_segment(number, OpenSegment { file, start: self.stream_end });
        self.stream_end = self.stream_end.saturating_add(end.at as u64);
        self.end = Some(end);
        self.bytes = bytes;
        Ok(())
    }

    /// The oldest segment's head is where the groups begin. Every other head must say what the
    /// segments before it add up to.
    fn head(&mut self, file: &NamedFile, head: &Head<'_>) -> Result<(), LogError> {
        let is_oldest = self.end.is_none();
        if let Some(end) = &self.end {
            if end.torn != end.at {
                return Err(corrupt(&end.file, end.at, Damage::Frame));
            }
            if head.sequence != self.sequence {
                return Err(corrupt(&end.file, end.at, Damage::FramesMissing));
            }
        }
        if is_oldest && head.segment != 1 {
            self.sequence = head.sequence;
            for record in Records(head.state) {
                let record = record.ok_or_else(|| corrupt(file, HEAD_LEN, Damage::Record))?;
                let group = self.groups.entry(record.group).or_default();
                if !group.standing.take(&record) {
                    return Err(corrupt(file, HEAD_LEN, Damage::Record));
                }
                group.absent = group.standing.next;
            }
        }
        let mut state = Vec::new();
        self.groups.iter().for_each(|(group, revived)| revived.standing.encode(*group, &mut state));
        if state != head.state || head.sequence != self.sequence {
            return Err(corrupt(file, 0, Damage::HeadState));
        }
        self.retained.begin(head.segment);
        Ok(())
    }

    fn frame(
        &mut self,
        file: &NamedFile,
        segment: u32,
        start: usize,
        payload: &[u8],
    ) -> Result<(), LogError> {
        let mut at = start;
        for record in Records(payload) {
            let nonsense = || corrupt(file, at, Damage::Record);
            let record = record.ok_or_else(nonsense)?;
            let (Ok(offset), Ok(len)) = (u32::try_from(at), u32::try_from(record.body.len()))
            else {
                return Err(nonsense());
            };
            let group = self.groups.entry(record.group).or_default();
            if !group.follow(&record, Place { segment, offset, len }) {
                return Err(nonsense());
            }
            match record.kind {
                Kind::Append => self.retained.append(record.group, record.index),
                Kind::Truncate => self.retained.truncate(record.group, record.index),
                Kind::Purge | Kind::Vote | Kind::Committed | Kind::Begin | Kind::Reach => {}
            }
            at = at.saturating_add(RECORD_LEN).saturating_add(record.body.len());
        }
        self.sequence = self.sequence.saturating_add(1);
        self.frames = self.frames.saturating_add(1);
        Ok(())
    }

    /// A log that begins in its middle is right only if what came before was purged.
    pub(super) fn check_absent(&self, oldest: u32) -> Result<(), LogError> {
        for (group, Revived { standing, absent, .. }) in &self.groups {
            if *absent > standing.first {
                let (file, first, last) =
                    (segment_name(oldest), standing.first, absent.saturating_sub(1));
                return Err(LogError::MissingEntries {
                    file,
                    offset: 0,
                    group: *group,
                    first,
                    last,
                });
            }
        }
        Ok(())
    }
}

impl Revived {
    /// Follows a record, and keeps one place for each entry that is here.
    fn follow(&mut self, record: &Record<'_>, place: Place) -> bool {
        let held_from = self.standing.first.max(self.absent);
        if !self.standing.follow(record) {
            return false;
        }
        match record.kind {
            Kind::Append => self.places.push_back(place),
            Kind::Truncate => {
                self.absent = self.absent.min(record.index);
                let keep = record.index.saturating_sub(held_from);
                self.places.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
            }
            Kind::Purge | Kind::Begin => {
                let dropped = self.standing.first.max(self.absent).saturating_sub(held_from);
                let dropped = usize::try_from(dropped).unwrap_or(usize::MAX).min(self.places.len());
                self.places.drain(..dropped);
            }
            Kind::Vote | Kind::Committed | Kind::Reach => {}
        }
        true
    }
}

fn corrupt(file: &NamedFile, at: usize, damage: Damage) -> LogError {
    LogError::Corrupt { file: file.name.to_string(), offset: at as u64, damage }
}
