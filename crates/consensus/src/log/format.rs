//! The bytes of the log: identity, segment heads, frames, records. The drawing is in the module
//! above.
//!
//! All numbers are little-endian. Nothing here reads or writes a disk, and nothing panics on any
//! input: whatever does not decode is `None`, and the caller, who knows what lies before and after
//! it, judges what that means.

use crc32fast::Hasher;

/// The version in the identity and in each head. It says how frames and records are read; the
/// layout of identity and head never changes.
pub(crate) const VERSION: u32 = 1;

/// The name of the identity file.
pub(crate) const IDENTITY: &str = "identity";
pub(crate) const IDENTITY_LEN: usize = 32;
pub(crate) const HEAD_LEN: usize = 40;
pub(crate) const FRAME_LEN: usize = 32;
pub(crate) const RECORD_LEN: usize = 24;

const IDENTITY_MAGIC: [u8; 8] = *b"PAYC-ID\n";
const HEAD_MAGIC: [u8; 8] = *b"PAYC-LOG";
/// Not text, not zero, and no small number, so that bodies seldom contain it.
const FRAME_MAGIC: [u8; 4] = [0xF7, 0xA3, 0x5C, 0x9E];

/// The file of a segment.
pub(crate) fn segment_name(number: u32) -> String {
    format!("{number:010}.log")
}

/// The segment of a file.
pub(crate) fn segment_number(name: &str) -> Option<u32> {
    let number = name.strip_suffix(".log")?.parse().ok()?;
    (number > 0 && segment_name(number) == name).then_some(number)
}

/// What a magic-and-version block at the front of a file turns out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Front<T> {
    /// As it was written.
    Sound(T),
    /// Sound, but of a version this program does not know.
    Version(u32),
    /// Sound, but of another log.
    Foreign,
    /// Torn, rotted, or never written.
    Bad,
}

/// Sixteen random bytes that a data directory is born with.
pub type DiskId = [u8; 16];

/// Frames carry the salt of their log, so that bytes of an older log under the same disk blocks
/// never pass for frames of this one.
pub(crate) fn salt(disk_id: DiskId) -> u64 {
    let both = u128::from_le_bytes(disk_id);
    let (low, high) = (both & u128::from(u64::MAX), both >> 64);
    u64::try_from(low ^ high).expect("both halves are 64 bits wide")
}

pub(crate) fn encode_identity(disk_id: DiskId) -> Vec<u8> {
    let mut out = Vec::with_capacity(IDENTITY_LEN);
    out.extend_from_slice(&IDENTITY_MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&disk_id);
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

pub(crate) fn decode_identity(bytes: &[u8]) -> Front<DiskId> {
    let mut fields = Fields(bytes);
    let decoded = (|| {
        let magic = fields.take::<8>()?;
        let version = fields.u32()?;
        let disk_id = fields.take::<16>()?;
        let crc = fields.u32()?;
        let checked = bytes.get(..bytes.len().checked_sub(4)?)?;
        let is_sound =
            magic == IDENTITY_MAGIC && crc == crc32fast::hash(checked) && fields.0.is_empty();
        is_sound.then_some((version, disk_id))
    })();
    match decoded {
        Some((VERSION, disk_id)) => Front::Sound(disk_id),
        Some((version, _)) => Front::Version(version),
        None => Front::Bad,
    }
}

/// The front of a segment in use.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    pub(crate) segment: u32,
    /// The number of the first frame in this segment.
    pub(crate) sequence: u64,
    /// Records of every group's standing when the segment began.
    pub(crate) state: &'a [u8],
}

impl Head<'_> {
    /// The offset of the first frame.
    pub(crate) fn end(&self) -> usize {
        HEAD_LEN.saturating_add(self.state.len())
    }

    pub(crate) fn encode(&self, salt: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.end());
        out.extend_from_slice(&HEAD_MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.segment.to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&salt.to_le_bytes());
        let len =
            u32::try_from(self.state.len()).expect("a standing is a few hundred bytes a group");
        out.extend_from_slice(&len.to_le_bytes());
        let crc = crc_of(&out, self.state);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(self.state);
        out
    }

    /// How long a head with this front says it is, unchecked.
    pub(crate) fn len_of(front: &[u8]) -> Option<usize> {
        let len = Fields(front.get(32..)?).u32()?;
        HEAD_LEN.checked_add(usize::try_from(len).ok()?)
    }

    /// The salt that a segment says it has, unchecked.
    pub(crate) fn claimed_salt(bytes: &[u8]) -> Option<u64> {
        Fields(bytes.get(24..)?).u64()
    }

    pub(crate) fn decode(bytes: &[u8], salt: u64) -> Front<Head<'_>> {
        let mut fields = Fields(bytes);
        let decoded = (|| {
            let magic = fields.take::<8>()?;
            let version = fields.u32()?;
            let segment = fields.u32()?;
            let sequence = fields.u64()?;
            let its_salt = fields.u64()?;
            let len = fields.u32()?;
            let crc = fields.u32()?;
            let state = fields.0.get(..usize::try_from(len).ok()?)?;
            let checked = bytes.get(..HEAD_LEN.checked_sub(4)?)?;
            let is_sound = magic == HEAD_MAGIC && crc == crc_of(checked, state);
            is_sound.then_some((version, its_salt, Head { segment, sequence, state }))
        })();
        match decoded {
            Some((version, _, _)) if version != VERSION => Front::Version(version),
            Some((_, its_salt, _)) if its_salt != salt => Front::Foreign,
            Some((_, _, head)) => Front::Sound(head),
            None => Front::Bad,
        }
    }
}

/// The front of a frame. It has a checksum of its own, so that its length can be trusted when its
/// payload cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHead {
    /// Bytes of records.
    pub(crate) len: u32,
    pub(crate) sequence: u64,
    pub(crate) payload_crc: u32,
}

impl FrameHead {
    /// A frame is built behind room for its head: this fills that room.
    ///
    /// # Panics
    /// When `frame` has no such room, or is 4 GiB long.
    pub(crate) fn finish(frame: &mut [u8], sequence: u64, salt: u64) {
        let (head, payload) =
            frame.split_first_chunk_mut::<FRAME_LEN>().expect("a frame begins with its head");
        let len = u32::try_from(payload.len()).expect("a frame is bounded far below 4 GiB");
        let mut out = Vec::with_capacity(FRAME_LEN);
        out.extend_from_slice(&FRAME_MAGIC);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&sequence.to_le_bytes());
        out.extend_from_slice(&salt.to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        head.copy_from_slice(&out);
    }

    pub(crate) fn decode(bytes: &[u8], salt: u64) -> Option<Self> {
        let mut fields = Fields(bytes);
        let magic = fields.take::<4>()?;
        let len = fields.u32()?;
        let sequence = fields.u64()?;
        let its_salt = fields.u64()?;
        let payload_crc = fields.u32()?;
        let crc = fields.u32()?;
        let is_ours = magic == FRAME_MAGIC && its_salt == salt;
        let checked = bytes.get(..FRAME_LEN.checked_sub(4)?)?;
        (is_ours && crc == crc32fast::hash(checked)).then_some(Self { len, sequence, payload_crc })
    }

    /// The payload, if it is as it was written. `rest` is what follows the head.
    pub(crate) fn payload<'a>(&self, rest: &'a [u8]) -> Option<&'a [u8]> {
        let payload = rest.get(..usize::try_from(self.len).ok()?)?;
        (crc32fast::hash(payload) == self.payload_crc).then_some(payload)
    }
}

/// The first place in `bytes`, at or after `from`, where a sound frame head stands.
pub(crate) fn find_frame(bytes: &[u8], from: usize, salt: u64) -> Option<usize> {
    let [first, ..] = FRAME_MAGIC;
    let mut at = from;
    loop {
        let rest = bytes.get(at..)?;
        at = at.checked_add(rest.iter().position(|byte| *byte == first)?)?;
        if FrameHead::decode(bytes.get(at..)?, salt).is_some() {
            return Some(at);
        }
        at = at.checked_add(1)?;
    }
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `index` is an entry with this body.
    Append,
    /// Entries from `index` on are no more.
    Truncate,
    /// Entries up to `index` are no more; the body is the purge point.
    Purge,
    /// The body is the group's vote.
    Vote,
    /// The body is what the group knows to be committed.
    Committed,
    /// The empty log of the group begins at `index`.
    Begin,
    /// The next entry is `index`. In heads only.
    Reach,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Append => 1,
            Self::Truncate => 2,
            Self::Purge => 3,
            Self::Vote => 4,
            Self::Committed => 5,
            Self::Begin => 6,
            Self::Reach => 7,
        }
    }

    fn decode(code: u8) -> Option<Self> {
        [
            Self::Append,
            Self::Truncate,
            Self::Purge,
            Self::Vote,
            Self::Committed,
            Self::Begin,
            Self::Reach,
        ]
        .into_iter()
        .find(|kind| kind.code() == code)
    }
}

/// One thing said about one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) kind: Kind,
    pub(crate) group: u32,
    pub(crate) index: u64,
    pub(crate) body: &'a [u8],
}

impl<'a> Record<'a> {
    /// # Panics
    /// When the body is 4 GiB long.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let len = u32::try_from(self.body.len()).expect("a body is bounded by its frame");
        let start = out.len();
        out.extend_from_slice(&[self.kind.code(), 0, 0, 0]);
        out.extend_from_slice(&self.group.to_le_bytes());
        out.extend_from_slice(&self.index.to_le_bytes());
        out.extend_from_slice(&len.to_le_bytes());
        let crc = crc_of(out.get(start..).expect("out only grows"), self.body);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(self.body);
    }

    /// The record at the front of `bytes`, and what follows it.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut fields = Fields(bytes);
        let [code, 0, 0, 0] = fields.take::<4>()? else { return None };
        let group = fields.u32()?;
        let index = fields.u64()?;
        let len = fields.u32()?;
        let crc = fields.u32()?;
        let (body, rest) = fields.0.split_at_checked(usize::try_from(len).ok()?)?;
        let checked = bytes.get(..RECORD_LEN.checked_sub(4)?)?;
        let kind = Kind::decode(code).filter(|_| crc == crc_of(checked, body))?;
        Some((Self { kind, group, index, body }, rest))
    }
}

/// The records of a frame or a head, until the end or the first that makes no sense.
pub(crate) struct Records<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Option<Record<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let decoded = Record::decode(self.0);
        self.0 = decoded.map_or(&[], |(_, rest)| rest);
        Some(decoded.map(|(record, _)| record))
    }
}

fn crc_of(head: &[u8], body: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(head);
    hasher.update(body);
    hasher.finalize()
}

/// Reads fixed-size fields off the front.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}
