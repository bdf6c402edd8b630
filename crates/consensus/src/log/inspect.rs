//! An account of a log's directory, for a person. It reads everything, judges as recovery does,
//! changes nothing, and goes on behind damage, where recovery refuses.

use std::fmt;

use super::{
    disk::{Disk, NamedFile, refused},
    error::{Action, LogError},
    format::{
        DiskId, FRAME_LEN, Front, Head, IDENTITY, Kind, RECORD_LEN, Records, decode_identity,
        find_frame, salt, segment_number,
    },
    segment::{Step, Walk, torn, written},
};

/// One thing found in the directory. Prints as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are what the printed line says")]
pub enum Finding {
    /// The identity file.
    Identity { disk_id: DiskId },
    /// There is no sound identity. Frames are then judged by what each segment says of itself.
    NoIdentity,
    /// A segment in use.
    Segment { file: String, sequence: u64, bytes: u64 },
    /// A segment that was prepared and not used.
    Spare { file: String, bytes: u64 },
    /// A frame.
    Frame { file: String, offset: u64, sequence: u64, bytes: u64 },
    /// A record of a head or a frame.
    Record { offset: u64, what: &'static str, group: u32, index: u64, bytes: u64 },
    /// The zeros after the last frame.
    End { file: String, offset: u64, free: u64 },
    /// A torn write at the end: the next start will cut it.
    Torn { file: String, offset: u64, bytes: u64 },
    /// Bytes that are not what was written.
    Damaged { file: String, offset: u64, what: &'static str },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity { disk_id } => {
                write!(f, "identity {:032x}", u128::from_be_bytes(*disk_id))
            }
            Self::NoIdentity => f.write_str("NO SOUND IDENTITY"),
            Self::Segment { file, sequence, bytes } => {
                write!(f, "segment {file}: {bytes} bytes, begins with frame {sequence}")
            }
            Self::Spare { file, bytes } => write!(f, "segment {file}: {bytes} bytes, not used yet"),
            Self::Frame { file, offset, sequence, bytes } => {
                write!(f, "  frame {sequence}: {file}, offset {offset}, {bytes} bytes")
            }
            Self::Record { offset, what, group, index, bytes } => {
                write!(f, "    {what} group {group} index {index}: offset {offset}, {bytes} bytes")
            }
            Self::End { file, offset, free } => {
                write!(f, "  end: {file}, offset {offset}, {free} bytes free")
            }
            Self::Torn { file, offset, bytes } => {
                write!(f, "  TORN: {file}, offset {offset}, {bytes} bytes")
            }
            Self::Damaged { file, offset, what } => {
                write!(f, "  DAMAGED {what}: {file}, offset {offset}")
            }
        }
    }
}

/// Walks the directory and tells what it finds, in order.
///
/// # Errors
/// Only what the disk says; damage is a finding.
pub fn inspect<D: Disk>(disk: &D, tell: &mut dyn FnMut(Finding)) -> Result<(), LogError> {
    let names = disk.list().map_err(|error| refused(".", 0, Action::List, error))?;
    let mut bytes = Vec::new();
    let mut disk_id = None;
    if names.iter().any(|name| name == IDENTITY) {
        NamedFile::open(disk, IDENTITY)?.read_all(&mut bytes)?;
        if let Front::Sound(found) = decode_identity(&bytes) {
            disk_id = Some(found);
        }
    }
    tell(disk_id.map_or(Finding::NoIdentity, |disk_id| Finding::Identity { disk_id }));

    let mut segments: Vec<&String> =
        names.iter().filter(|name| segment_number(name).is_some()).collect();
    segments.sort_unstable();
    for (at, name) in segments.iter().enumerate() {
        NamedFile::open(disk, name)?.read_all(&mut bytes)?;
        let salt = disk_id.map(salt).or_else(|| Head::claimed_salt(&bytes)).unwrap_or_default();
        let is_newest = at.saturating_add(1) == segments.len();
        segment(name, &bytes, salt, is_newest, tell);
    }
    Ok(())
}

fn segment(file: &str, bytes: &[u8], salt: u64, is_newest: bool, tell: &mut dyn FnMut(Finding)) {
    let file = || file.to_owned();
    let len = bytes.len() as u64;
    let damaged =
        |offset: usize, what| Finding::Damaged { file: file(), offset: offset as u64, what };
    let start = match Head::decode(bytes, salt) {
        Front::Sound(head) => {
            tell(Finding::Segment { file: file(), sequence: head.sequence, bytes: len });
            records(head.state, head.end().saturating_sub(head.state.len()), tell);
            Some(head.end())
        }
        Front::Bad if is_newest && written(bytes) == 0 => {
            return tell(Finding::Spare { file: file(), bytes: len });
        }
        Front::Version(_) => return tell(damaged(8, "unknown format version")),
        Front::Foreign => return tell(damaged(0, "segment of another log")),
        Front::Bad => {
            tell(damaged(0, "head"));
            find_frame(bytes, 0, salt)
        }
    };
    let Some(start) = start else { return };
    let mut walk = Walk { bytes, at: start, salt };
    loop {
        match walk.step() {
            Step::Frame { at, sequence, payload } => {
                let whole = payload.len().saturating_add(FRAME_LEN) as u64;
                tell(Finding::Frame { file: file(), offset: at as u64, sequence, bytes: whole });
                records(payload, at.saturating_add(FRAME_LEN), tell);
            }
            Step::End { at } => {
                let free = bytes.len().saturating_sub(at) as u64;
                return tell(Finding::End { file: file(), offset: at as u64, free });
            }
            Step::Bad { at } => {
                if let Some(end) = torn(bytes, at, salt).filter(|_| is_newest) {
                    let torn = end.saturating_sub(at) as u64;
                    return tell(Finding::Torn { file: file(), offset: at as u64, bytes: torn });
                }
                tell(damaged(at, "frame"));
                let Some(next) = find_frame(bytes, at.saturating_add(1), salt) else { return };
                walk.at = next;
            }
        }
    }
}

fn records(payload: &[u8], start: usize, tell: &mut dyn FnMut(Finding)) {
    let mut at = start;
    for record in Records(payload).flatten() {
        let what = match record.kind {
            Kind::Append => "append",
            Kind::Truncate => "truncate from",
            Kind::Purge => "purge up to",
            Kind::Vote => "vote",
            Kind::Committed => "committed",
            Kind::Begin => "begin at",
            Kind::Reach => "next is",
        };
        let bytes = record.body.len() as u64;
        tell(Finding::Record {
            offset: at as u64,
            what,
            group: record.group,
            index: record.index,
            bytes,
        });
        at = at.saturating_add(RECORD_LEN).saturating_add(record.body.len());
    }
}
