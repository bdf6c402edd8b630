//! Opening a log: believing exactly what was synced, and nothing else.
//!
//! A log may be cut in one place only, its very end, and only if nothing shows that the bytes there
//! were ever synced. Everything else that is not as it was written is refused, with file and
//! offset, and *nothing is changed*: all judging comes before the first write. What no log can know
//! alone, that its last synced frames are gone altogether, its peers must tell it; so a cut is
//! reported.
//!
//! **Invariant:** what recovery returns is durable. After a crash of the process alone, the
//! system's cache may show a frame that no sync has covered, or one whose sync has failed. So the
//! last frame, the only one without proof, is written once more and synced.

use std::collections::BTreeMap;

use super::{
    disk::{Disk, NamedFile, refused, sync_dir, unlink},
    error::{Action, Damage, LogError},
    format::{
        DiskId, Front, HEAD_LEN, Head, IDENTITY, decode_identity, encode_identity, salt,
        segment_name, segment_number,
    },
    housekeeping::Workshop,
    index::Index,
    replay::{End, Fresh, InLog, Replay, Revived},
    segment::{Retained, written},
    shelf::Shelf,
    standing::Standing,
    wal::Active,
};

/// What opening a log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// What the directory was born with: the given id only if `is_new`.
    pub disk_id: DiskId,
    /// The directory was born just now.
    pub is_new: bool,
    /// A torn write that was cut off. As a rule it was never acknowledged, but a last frame that
    /// rotted looks the same: the node must ask its peers what they remember before it votes.
    pub cut: Option<Cut>,
    /// How many segments are in use.
    pub segments: u32,
    /// How many frames they hold.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A torn write that was overwritten with zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The newest segment, or the one prepared after it.
    pub file: String,
    /// Where the cut begins.
    pub offset: u64,
    /// How many bytes were overwritten.
    pub bytes: u64,
    /// The number of the frame that was due there.
    pub sequence: u64,
}

/// Everything that [`super::wal::Wal`] goes on from.
pub(crate) struct Restored {
    pub(crate) salt: u64,
    pub(crate) groups: BTreeMap<u32, Standing>,
    pub(crate) index: Index,
    pub(crate) retained: Retained,
    pub(crate) active: Active,
    pub(crate) sequence: u64,
    pub(crate) stream_end: u64,
    /// The last frame says something, and nothing proves it.
    pub(crate) needs_seal: bool,
    pub(crate) recovered: Recovered,
}

/// Opens or makes the log.
pub(crate) fn restore<D: Disk>(
    workshop: &Workshop<D>,
    birth_id: DiskId,
) -> Result<Restored, LogError> {
    let disk = &*workshop.disk;
    let (identity, mut numbers) = survey(disk)?;
    let (disk_id, is_new) = match identity {
        Some(Front::Sound(_)) if numbers.is_empty() => {
            return Err(LogError::MissingLog { file: IDENTITY.to_owned(), offset: 0 });
        }
        Some(Front::Sound(disk_id)) => (disk_id, false),
        Some(Front::Version(found)) => {
            return Err(LogError::Version { file: IDENTITY.to_owned(), offset: 8, found });
        }
        Some(Front::Bad | Front::Foreign) => {
            if !is_unborn(disk, &numbers)? || numbers.is_empty() {
                return Err(LogError::Corrupt {
                    file: IDENTITY.to_owned(),
                    offset: 0,
                    damage: Damage::Identity,
                });
            }
            unlink(disk, IDENTITY)?;
            (birth_id, true)
        }
        None if is_unborn(disk, &numbers)? => (birth_id, true),
        None => {
            let oldest = numbers.first().copied().unwrap_or_default();
            return Err(LogError::MissingIdentity { file: segment_name(oldest), offset: 0 });
        }
    };
    if is_new {
        give_birth(workshop, disk_id, !numbers.is_empty())?;
        numbers = vec![1];
    }
    contiguous(&numbers)?;

    let mut replay = Replay::new(disk, salt(disk_id));
    let fresh = replay.classify_newest(&mut numbers)?;
    let is_succeeded = fresh.as_ref().is_some_and(|fresh| fresh.dirty > 0);
    for number in &numbers {
        replay.segment(*number, InLog { is_succeeded, is_alone: numbers.len() == 1 })?;
    }
    replay.check_absent(numbers.first().copied().unwrap_or(1))?;
    let mut restored = finish(replay, fresh)?;
    restored.recovered.disk_id = disk_id;
    restored.recovered.is_new = is_new;
    Ok(restored)
}

/// The identity, if there is such a file, and the segments' numbers, in order.
fn survey<D: Disk>(disk: &D) -> Result<(Option<Front<DiskId>>, Vec<u32>), LogError> {
    let names = disk.list().map_err(|error| refused(".", 0, Action::List, error))?;
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();
    for name in names.iter().filter(|name| *name != IDENTITY && segment_number(name).is_none()) {
        tracing::warn!(name, "a file in the log's directory is none of the log's");
    }
    if !names.iter().any(|name| name == IDENTITY) {
        return Ok((None, numbers));
    }
    let mut bytes = Vec::new();
    NamedFile::open(disk, IDENTITY)?.read_all(&mut bytes)?;
    Ok((Some(decode_identity(&bytes)), numbers))
}

/// Whether the directory is empty, or holds what a birth that was cut short leaves: a first segment
/// with no byte behind its head.
fn is_unborn<D: Disk>(disk: &D, numbers: &[u32]) -> Result<bool, LogError> {
    let mut bytes = Vec::new();
    if let Some(oldest) = numbers.first() {
        NamedFile::open(disk, &segment_name(*oldest))?.read_all(&mut bytes)?;
    }
    Ok(matches!(numbers, [] | [1]) && written(&bytes) <= HEAD_LEN)
}

/// Makes the first segment and the identity. The segment is whole and durable before the identity
/// is made: so no crash leaves an identity without a log, and whoever finds an identity knows that
/// there was one.
fn give_birth<D: Disk>(
    workshop: &Workshop<D>,
    disk_id: DiskId,
    has_segment: bool,
) -> Result<(), LogError> {
    let disk = &*workshop.disk;
    if has_segment {
        unlink(disk, &segment_name(1))?;
    }
    let first = workshop.prepare(1)?;
    first.file.write(0, &Head { segment: 1, sequence: 1, state: &[] }.encode(salt(disk_id)))?;
    first.file.sync()?;
    // It becomes durable with everything else that recovery has found, before any frame is written.
    NamedFile::create(disk, IDENTITY)?.write(0, &encode_identity(disk_id))
}

/// Refuses a log that lacks a segment in the middle.
fn contiguous(numbers: &[u32]) -> Result<(), LogError> {
    for (here, next) in numbers.iter().zip(numbers.iter().skip(1)) {
        let due = here.saturating_add(1);
        if *next != due {
            return Err(LogError::MissingSegment { file: segment_name(due), offset: 0 });
        }
    }
    Ok(())
}

/// All is judged: cuts what is torn, makes durable what is shown, and hands over.
fn finish<D: Disk>(replay: Replay<'_, D>, fresh: Option<Fresh>) -> Result<Restored, LogError> {
    let end = replay.end.as_ref();
    let end = end.expect("the newest segment is taken off the list only if there is another");
    let mut cut = make_durable(&replay, end)?;
    let active = Active {
        number: end.number,
        file: end.file.clone(),
        end: end.at as u64,
        len: replay.bytes.len() as u64,
    };
    let needs_seal = end.needs_seal;
    if let Some(Fresh { number, file, dirty }) = fresh {
        if dirty > 0 {
            let sequence = replay.sequence;
            cut = Some(Cut { file: file.name.to_string(), offset: 0, bytes: dirty, sequence });
        }
        // Whether its zeros are durable nobody can tell any more. What it could prove is proven and durable by now.
        unlink(replay.disk, &segment_name(number))?;
    }
    sync_dir(replay.disk)?;

    let mut groups = BTreeMap::new();
    for (group, Revived { standing, places, .. }) in replay.groups {
        replay.index.put_shelf(group, Shelf::recovered(standing.clone(), places));
        groups.insert(group, standing);
    }
    let recovered = Recovered {
        disk_id: DiskId::default(),
        is_new: false,
        cut,
        segments: u32::try_from(replay.retained.len()).unwrap_or(u32::MAX),
        frames: replay.frames,
        bytes: replay.stream_end,
    };
    Ok(Restored {
        salt: replay.salt,
        groups,
        index: replay.index,
        retained: replay.retained,
        active,
        sequence: replay.sequence,
        stream_end: replay.stream_end,
        needs_seal,
        recovered,
    })
}

/// Cuts what is torn, and makes durable what only a cache may hold.
fn make_durable<D: Disk>(replay: &Replay<'_, D>, end: &End) -> Result<Option<Cut>, LogError> {
    if replay.frames == 0 {
        // Then it was made just now, or by a process that died before it was durable.
        let identity = NamedFile::open(replay.disk, IDENTITY)?;
        let mut bytes = Vec::new();
        identity.read_all(&mut bytes)?;
        identity.write(0, &bytes)?;
        identity.sync()?;
    }
    let last = replay.bytes.get(end.last..end.at).unwrap_or_default();
    end.file.write(end.last as u64, last)?;
    end.file.zero(end.at as u64, end.torn as u64)?;
    end.file.sync()?;
    let bytes = end.torn.saturating_sub(end.at) as u64;
    let (file, offset) = (end.file.name.to_string(), end.at as u64);
    Ok((bytes > 0).then_some(Cut { file, offset, bytes, sequence: replay.sequence }))
}
