//! How a shard answers a frame: one reply of 24 bytes for each record, in the records' order.
//!
//! ```text
//! 0 kind   0 posted · 1 rejected · 2 failure
//! 1 flags  bit 0: replayed
//! 2 a      posted: shard · rejected: number · failure: number      u16
//! 4 b      posted: position                                        u16
//! 6        zero                                                    u16
//! 8 x      posted: log index · rejected: first operand             u64
//! 16 y     posted: log time in ms · rejected: second operand       u64
//! ```
//!
//! Integers are little-endian; what a kind does not use is zero, and bytes that break this are refused. The layout is
//! fixed so that an answer's place says whose it is, and costs neither parsing nor allocation.

use ledger::{Answer, Posted, Rejection, Time, TransferId};

use crate::failure::Failure;

mod rejections;
#[cfg(test)]
mod tests;

pub(crate) use rejections::operands;

/// Bytes of one reply.
pub const REPLY_BYTES: usize = 24;

/// What a shard says to one request: the ledger's answer, or why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The ledger answered.
    Answer(Answer),
    /// Nobody answered for the ledger.
    Failure(Failure),
}

impl Reply {
    /// A failure as a reply.
    #[must_use]
    pub const fn failed(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Why bytes are no replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// Not a whole number of replies, or not as many as there were requests.
    #[error("{bytes} bytes are not {count} replies of {REPLY_BYTES}")]
    Length {
        /// How many bytes came.
        bytes: usize,
        /// How many replies should have come.
        count: usize,
    },
    /// A reply that this release does not know; its node is newer.
    #[error("a reply of a kind that this release does not know")]
    Unknown,
}

const POSTED: u8 = 0;
const REJECTED: u8 = 1;
const FAILED: u8 = 2;
const REPLAYED: u8 = 1;

/// One reply's fields as they lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Words {
    kind: u8,
    flags: u8,
    a: u16,
    b: u16,
    x: u64,
    y: u64,
}

/// Appends one reply.
pub fn put(reply: &Reply, to: &mut Vec<u8>) {
    let Words { kind, flags, a, b, x, y } = Words::of(reply);
    let head = u64::from(kind) | u64::from(flags) << 8 | u64::from(a) << 16 | u64::from(b) << 32;
    to.extend_from_slice(&head.to_le_bytes());
    to.extend_from_slice(&x.to_le_bytes());
    to.extend_from_slice(&y.to_le_bytes());
}

/// Lays out the replies to one frame.
#[must_use]
pub fn encode<'a>(replies: impl ExactSizeIterator<Item = &'a Reply>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(replies.len().saturating_mul(REPLY_BYTES));
    for reply in replies {
        put(reply, &mut bytes);
    }
    bytes
}

/// Reads one reply.
///
/// # Errors
/// [`ReplyError::Unknown`].
pub fn get(bytes: &[u8; REPLY_BYTES]) -> Result<Reply, ReplyError> {
    let (head, rest) = bytes.split_first_chunk::<8>().ok_or(ReplyError::Unknown)?;
    let (x, rest) = rest.split_first_chunk::<8>().ok_or(ReplyError::Unknown)?;
    let y = rest.first_chunk::<8>().ok_or(ReplyError::Unknown)?;
    let [kind, flags, a0, a1, b0, b1, 0, 0] = *head else {
        return Err(ReplyError::Unknown);
    };
    let words = Words {
        kind,
        flags,
        a: u16::from_le_bytes([a0, a1]),
        b: u16::from_le_bytes([b0, b1]),
        x: u64::from_le_bytes(*x),
        y: u64::from_le_bytes(*y),
    };
    words.reply().ok_or(ReplyError::Unknown)
}

/// Reads the replies to a frame of `count` records.
///
/// # Errors
/// When there are not exactly `count`, at once; [`ReplyError::Unknown`] for each reply that is none.
pub fn decode(
    bytes: &[u8],
    count: usize,
) -> Result<impl Iterator<Item = Result<Reply, ReplyError>>, ReplyError> {
    let (replies, rest) = bytes.as_chunks::<REPLY_BYTES>();
    if replies.len() != count || !rest.is_empty() {
        return Err(ReplyError::Length { bytes: bytes.len(), count });
    }
    Ok(replies.iter().map(get))
}

impl Words {
    fn of(reply: &Reply) -> Self {
        match reply {
            Reply::Answer(Answer { outcome: Ok(posted), replayed }) => Self {
                kind: POSTED,
                flags: if *replayed { REPLAYED } else { 0 },
                a: posted.transfer.shard,
                b: posted.transfer.position,
                x: posted.transfer.index,
                y: posted.at.0,
            },
            Reply::Answer(Answer { outcome: Err(rejection), replayed }) => {
                let (a, x, y) = rejections::to_words(rejection);
                let flags = if *replayed { REPLAYED } else { 0 };
                Self { kind: REJECTED, flags, a, b: 0, x, y }
            }
            Reply::Failure(failure) => {
                Self { kind: FAILED, a: u16::from(failure.number()), ..Self::default() }
            }
        }
    }

    fn reply(self) -> Option<Reply> {
        let Self { kind, flags, a, b, x, y } = self;
        let replayed = match flags {
            0 => false,
            REPLAYED => true,
            _ => return None,
        };
        match kind {
            POSTED => {
                let transfer = TransferId { shard: a, index: x, position: b };
                let outcome = Ok(Posted { transfer, at: Time(y) });
                Some(Reply::Answer(Answer { outcome, replayed }))
            }
            REJECTED if b == 0 => {
                let outcome = Err(rejections::from_words(a, x, y)?);
                Some(Reply::Answer(Answer { outcome, replayed }))
            }
            FAILED if (replayed, b, x, y) == (false, 0, 0, 0) => {
                Failure::from_number(u8::try_from(a).ok()?).map(Reply::Failure)
            }
            _ => None,
        }
    }
}

/// Every rejection there is, with operands of 0: what tests of the catalogue go through.
pub fn every_rejection() -> impl Iterator<Item = Rejection> {
    (0..).map_while(|number| rejections::from_words(number, 0, 0))
}

/// The rejection of a code, its operands looked up by name; `None` when this release does not know the code, or an
/// operand is missing.
pub fn rejection(code: &str, operand: impl Fn(&str) -> Option<u64>) -> Option<Rejection> {
    let known = every_rejection().find(|known| known.code() == code)?;
    let (number, ..) = rejections::to_words(&known);
    let mut words = operands(&known).map(|(name, _)| operand(name));
    let (first, second) = (words.next().unwrap_or(Some(0))?, words.next().unwrap_or(Some(0))?);
    rejections::from_words(number, first, second)
}
