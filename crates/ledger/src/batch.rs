//! The log's vocabulary: request, command, batch. Append-only: an old log must load for ever (A10).
//!
//! A request is encoded once, by the gateway, into a *record*; a batch in the log is a head and the records as they
//! came. Nobody encodes them again: the bytes that a client's gateway wrote are the bytes that every replica applies.
//!
//! ```text
//! batch    version 1 · stamp 8 · count 4 · then `count` records
//! record   length 2 · key 16 · tenant 4 · command's number 4 · subject 16 · the command's other fields
//! ```
//!
//! Integers are little-endian. Because every command begins with its subject (the account or hold that it is about),
//! a shard reads key, tenant, operation and subject at fixed places ([`Head::peek`]) and leaves the rest alone.

use bincode::{Decode, Encode};

use crate::account::{AccountKind, Authority, FreezeScope};
use crate::amount::{Amount, Currency};
use crate::channels::Message;
use crate::codec;
#[cfg(next_level)]
use crate::commands::LEVEL_EXTEND;
use crate::directory::{LEVEL_FIRST, Name, Record};
use crate::hash;
use crate::id::{AccountId, HoldId, TenantId, Time, TransferId};
use crate::key::{Key, Operation, ScopedKey};
use crate::retention::RETENTION_MS;

/// Requests in one batch at the most: where the price of a log entry has become small, and its delay has not yet.
pub const BATCH_REQUESTS_MAX: usize = 2_048;

/// Legs of one transfer at the most.
pub const LEGS_MAX: usize = 64;

/// Bytes of one encoded request at the most: 64 legs take about 2.7 kB.
pub const RECORD_BYTES_MAX: usize = 4_096;

/// How long a hold may last at the most: as long as keys are remembered.
pub const HOLD_MS_MAX: u64 = RETENTION_MS;

/// One debit and one credit of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Hash)]
pub struct Leg {
    /// Who pays.
    pub debit: AccountId,
    /// Who is paid.
    pub credit: AccountId,
    /// How much.
    pub amount: Amount,
}

/// What is asked of the ledger. Every variant's first field is its subject.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    /// Opens an account; an opening balance comes from the shard's opening account.
    Open {
        /// The new account.
        account: AccountId,
        /// Its currency, for ever.
        currency: Currency,
        /// What kind of account.
        kind: AccountKind,
        /// Its opening balance, if any.
        opening: Option<Amount>,
    },
    /// Freezes an account on somebody's authority. Freezing again replaces that authority's freeze.
    Freeze {
        /// The account.
        account: AccountId,
        /// What it may no longer do.
        scope: FreezeScope,
        /// Who says so.
        authority: Authority,
    },
    /// Lifts the freeze of one authority.
    Unfreeze {
        /// The account.
        account: AccountId,
        /// Whose freeze.
        authority: Authority,
    },
    /// Closes an account with no balance and no holds.
    Close {
        /// The account.
        account: AccountId,
    },
    /// Moves money from one account to another.
    Transfer {
        /// Who pays.
        debit: AccountId,
        /// Who is paid.
        credit: AccountId,
        /// How much.
        amount: Amount,
        /// In what; both accounts must have it.
        currency: Currency,
    },
    /// Moves money by up to [`LEGS_MAX`] legs, all or nothing. All debits share a slot.
    MultiTransfer {
        /// The account on whose behalf: one of those that are debited.
        initiator: AccountId,
        /// In what; all accounts must have it.
        currency: Currency,
        /// The legs, at least one.
        legs: Vec<Leg>,
    },
    /// Sets money aside until it is posted, voided, or the hold expires.
    Hold {
        /// Who will pay.
        debit: AccountId,
        /// The hold's id, in the debit account's slot.
        hold: HoldId,
        /// Who will be paid.
        credit: AccountId,
        /// How much at the most.
        amount: Amount,
        /// In what; both accounts must have it.
        currency: Currency,
        /// How long it lasts in log time, 1 … [`HOLD_MS_MAX`].
        timeout_ms: u64,
    },
    /// Moves held money. May be done several times while something is left.
    Post {
        /// The hold.
        hold: HoldId,
        /// How much; all that is left when absent.
        amount: Option<Amount>,
        /// Whether what is then left is released at once. Otherwise it stays held.
        release_rest: bool,
    },
    /// Releases what is left of a hold.
    Void {
        /// The hold.
        hold: HoldId,
    },
    /// Undoes a transfer, whole, once. Runs on the shard of the account that was credited.
    Reverse {
        /// An account that the transfer credited.
        credit: AccountId,
        /// The transfer.
        transfer: TransferId,
    },
    /// Housekeeping, by the operator alone: what was decided before a time decides nothing any more. The time is cut to
    /// the beginning of its day, and one that lies before the present cut-off changes nothing.
    ForgetKeys {
        /// Any id in a slot of the shard: it says whose books are meant, and is no account.
        books: AccountId,
        /// The new cut-off: at least [`RETENTION_MS`] before log time.
        before: Time,
    },
    /// A message from another shard, carried by its relay: no client's. It has no key, for its number is its name.
    Deliver {
        /// Any id in a slot of this shard, and no account.
        books: AccountId,
        /// From which shard.
        from: u16,
        /// The last message of this shard's that the other one has applied.
        acked: u64,
        /// The message's number, and what it says; without one it only acknowledges.
        message: Option<(u64, Message)>,
    },
    /// Begins a consistent cut of all shards for the live audit, by the operator alone.
    Cut {
        /// Any id in a slot of the shard: it says whose books are meant, and is no account.
        books: AccountId,
        /// Its number: greater than that of any cut before it.
        cut: u64,
    },
    /// Writes into the directory, or takes out of it: the operator's, and a tenant's for its own aliases. Only the meta
    /// group does it.
    Direct {
        /// Any id, and no account: the meta group has no slot.
        books: AccountId,
        /// Under which name.
        name: Name,
        /// What is known from now on.
        record: Record,
    },
    /// What a node says of itself, or of a shard that it leads, to the meta group: no client's. It has no key, because it
    /// may be said any number of times.
    Report {
        /// Any id, and no account: the meta group has no slot.
        books: AccountId,
        /// Under which name.
        name: Name,
        /// What is so.
        record: Record,
    },
    /// Begins a cut of which every shard keeps its accounts and holds too, by the operator alone.
    WholeCut {
        /// Any id in a slot of the shard: it says whose books are meant, and is no account.
        books: AccountId,
        /// Its number: greater than that of any cut before it.
        cut: u64,
    },
    /// Begins a cut at which every shard, and the meta group, keeps all of its state for a backup; by the operator alone.
    StateCut {
        /// Any id in a slot of the shard: it says whose books are meant, and is no account.
        books: AccountId,
        /// Its number: greater than that of any cut before it.
        cut: u64,
    },
    /// Gives an active hold another deadline, counted from now. Known from feature level [`LEVEL_EXTEND`] on.
    #[cfg(next_level)]
    Extend {
        /// The hold.
        hold: HoldId,
        /// How long it lasts from now on in log time, 1 … [`crate::HOLD_MS_AT_ONCE_MAX`].
        timeout_ms: u64,
    },
}

impl Command {
    /// What it does, as far as keys are concerned.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        match self {
            Self::Open { .. } => Operation::Open,
            Self::Freeze { .. } => Operation::Freeze,
            Self::Unfreeze { .. } => Operation::Unfreeze,
            Self::Close { .. } => Operation::Close,
            Self::Transfer { .. } | Self::MultiTransfer { .. } => Operation::Transfer,
            Self::Hold { .. } => Operation::Hold,
            Self::Post { .. } => Operation::Post,
            Self::Void { .. } => Operation::Void,
            Self::Reverse { .. } => Operation::Reverse,
            Self::ForgetKeys { .. } => Operation::ForgetKeys,
            Self::Deliver { .. } => Operation::Deliver,
            Self::Cut { .. } | Self::WholeCut { .. } | Self::StateCut { .. } => Operation::Cut,
            Self::Direct { .. } => Operation::Direct,
            Self::Report { .. } => Operation::Report,
            #[cfg(next_level)]
            Self::Extend { .. } => Operation::Extend,
        }
    }

    /// Whether only the cluster itself asks for it: at no door is it anybody's request.
    #[must_use]
    pub const fn is_internal(&self) -> bool {
        match self {
            Self::ForgetKeys { .. } | Self::Deliver { .. } | Self::Report { .. } => true,
            Self::Open { .. }
            | Self::Freeze { .. }
            | Self::Unfreeze { .. }
            | Self::Close { .. }
            | Self::Transfer { .. }
            | Self::MultiTransfer { .. }
            | Self::Hold { .. }
            | Self::Post { .. }
            | Self::Void { .. }
            | Self::Reverse { .. }
            | Self::Cut { .. }
            | Self::Direct { .. }
            | Self::WholeCut { .. }
            | Self::StateCut { .. } => false,
            #[cfg(next_level)]
            Self::Extend { .. } => false,
        }
    }

    /// From which feature level on it is known. Below it, nobody proposes it.
    #[must_use]
    pub const fn level(&self) -> u32 {
        match self {
            Self::Open { .. }
            | Self::Freeze { .. }
            | Self::Unfreeze { .. }
            | Self::Close { .. }
            | Self::Transfer { .. }
            | Self::MultiTransfer { .. }
            | Self::Hold { .. }
            | Self::Post { .. }
            | Self::Void { .. }
            | Self::Reverse { .. }
            | Self::ForgetKeys { .. }
            | Self::Deliver { .. }
            | Self::Cut { .. }
            | Self::Direct { .. }
            | Self::Report { .. }
            | Self::WholeCut { .. }
            | Self::StateCut { .. } => LEVEL_FIRST,
            #[cfg(next_level)]
            Self::Extend { .. } => LEVEL_EXTEND,
        }
    }

    /// Whether the meta group does it, and no shard.
    #[must_use]
    pub const fn is_for_meta(&self) -> bool {
        matches!(self, Self::Direct { .. } | Self::Report { .. })
    }

    /// Whether what it does depends on tables: of what is there today, nothing.
    #[must_use]
    pub const fn asks_tables(&self) -> bool {
        match self {
            Self::Open { .. }
            | Self::Freeze { .. }
            | Self::Unfreeze { .. }
            | Self::Close { .. }
            | Self::Transfer { .. }
            | Self::MultiTransfer { .. }
            | Self::Hold { .. }
            | Self::Post { .. }
            | Self::Void { .. }
            | Self::Reverse { .. }
            | Self::ForgetKeys { .. }
            | Self::Deliver { .. }
            | Self::Cut { .. }
            | Self::Direct { .. }
            | Self::Report { .. }
            | Self::WholeCut { .. }
            | Self::StateCut { .. } => false,
            #[cfg(next_level)]
            Self::Extend { .. } => false,
        }
    }

    /// The account or hold that it is about, as its 16 bytes: part of the key's scope, and what routing reads.
    #[must_use]
    pub const fn subject(&self) -> u128 {
        match self {
            Self::Open { account, .. }
            | Self::Freeze { account, .. }
            | Self::Unfreeze { account, .. }
            | Self::Close { account } => account.to_u128(),
            Self::Transfer { debit, .. } | Self::Hold { debit, .. } => debit.to_u128(),
            Self::MultiTransfer { initiator, .. } => initiator.to_u128(),
            Self::Post { hold, .. } | Self::Void { hold } => hold.to_u128(),
            #[cfg(next_level)]
            Self::Extend { hold, .. } => hold.to_u128(),
            Self::Reverse { credit, .. } => credit.to_u128(),
            Self::ForgetKeys { books, .. }
            | Self::Deliver { books, .. }
            | Self::Cut { books, .. }
            | Self::Direct { books, .. }
            | Self::Report { books, .. }
            | Self::WholeCut { books, .. }
            | Self::StateCut { books, .. } => books.to_u128(),
        }
    }
}

/// A key and a command: what a client wants done, once.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Request {
    /// The client's name for it.
    pub key: Key,
    /// Whose request it is.
    pub tenant: TenantId,
    /// What to do.
    pub command: Command,
}

impl Request {
    /// The key within its scope.
    #[must_use]
    pub const fn scoped_key(&self) -> ScopedKey {
        ScopedKey {
            key: self.key,
            subject: self.command.subject(),
            tenant: self.tenant,
            operation: self.command.operation(),
        }
    }
}

/// Why bytes are no batch or no record. In the log this means corruption, at a door it means a bad caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Written by a newer release, or not a batch at all.
    #[error("batch of format {0}, this release reads up to {format}", format = codec::FORMAT)]
    Format(u8),
    /// The bytes end in the middle of something.
    #[error("the bytes end in the middle of a record")]
    Short,
    /// More requests than a batch may carry, or a longer record than a request may have.
    #[error(
        "a batch carries at most {BATCH_REQUESTS_MAX} requests of at most {RECORD_BYTES_MAX} bytes"
    )]
    TooLarge,
    /// A record that is no request.
    #[error("record {position} is no request: {why}")]
    Record {
        /// Which one, counted from 0.
        position: usize,
        /// What the codec said.
        why: String,
    },
}

/// Appends a request to a run of records.
///
/// # Errors
/// [`BatchError::TooLarge`] when the request has too many legs for a record; nothing was appended.
pub fn put_record(request: &Request, to: &mut Vec<u8>) -> Result<(), BatchError> {
    let start = to.len();
    to.extend_from_slice(&[0, 0]);
    codec::put_hot(request, to);
    let length = to.len().saturating_sub(start).saturating_sub(2);
    let header = to.get_mut(start..).and_then(|record| record.first_chunk_mut::<2>());
    match (u16::try_from(length), header) {
        (Ok(short), Some(header)) if length <= RECORD_BYTES_MAX => *header = short.to_le_bytes(),
        _ => {
            to.truncate(start);
            return Err(BatchError::TooLarge);
        }
    }
    Ok(())
}

/// The records in a run, each without its length; an error ends the run.
pub fn records(mut bytes: &[u8]) -> impl Iterator<Item = Result<&[u8], BatchError>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let record = split_record(bytes);
        bytes = record.as_ref().map_or(&[], |(_, rest)| *rest);
        Some(record.map(|(record, _)| record))
    })
}

fn split_record(bytes: &[u8]) -> Result<(&[u8], &[u8]), BatchError> {
    let (length, rest) = bytes.split_first_chunk::<2>().ok_or(BatchError::Short)?;
    let length = usize::from(u16::from_le_bytes(*length));
    if length > RECORD_BYTES_MAX {
        return Err(BatchError::TooLarge);
    }
    rest.split_at_checked(length).ok_or(BatchError::Short)
}

/// Reads one record.
///
/// # Errors
/// [`BatchError::Record`] when it is no request, or a request whose fields are out of their ranges.
pub fn get_record(record: &[u8], position: usize) -> Result<Request, BatchError> {
    codec::get_hot(record).map_err(|error| BatchError::Record { position, why: error.to_string() })
}

/// What stands at fixed places in every record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The client's key.
    pub key: Key,
    /// Whose request it is.
    pub tenant: TenantId,
    /// The account or hold that it is about, as its 16 bytes.
    pub subject: u128,
}

impl Head {
    /// Reads the head of a record without reading the record.
    #[must_use]
    pub fn peek(record: &[u8]) -> Option<Self> {
        let (key, rest) = record.split_first_chunk::<16>()?;
        let (tenant, rest) = rest.split_first_chunk::<4>()?;
        let (_command, rest) = rest.split_first_chunk::<4>()?;
        let subject = rest.first_chunk::<16>()?;
        Some(Self {
            key: Key::from_u128(u128::from_le_bytes(*key)),
            tenant: TenantId(u32::from_le_bytes(*tenant)),
            subject: u128::from_le_bytes(*subject),
        })
    }
}

/// What one flush carries: a stamp and requests, in the order in which they are decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    at: Time,
    requests: Vec<Request>,
    fingerprints: Vec<u128>,
}

/// Bytes in front of a batch's records.
pub const BATCH_HEAD_BYTES: usize = 13;

impl Batch {
    /// The head of a batch of `count` records; the records follow it as they are.
    #[must_use]
    pub fn head(at: Time, count: u32) -> [u8; BATCH_HEAD_BYTES] {
        let mut head = [0; BATCH_HEAD_BYTES];
        let (version, rest) = head.split_at_mut(1);
        let (stamp, number) = rest.split_at_mut(8);
        version.copy_from_slice(&[codec::FORMAT]);
        stamp.copy_from_slice(&at.0.to_le_bytes());
        number.copy_from_slice(&count.to_le_bytes());
        head
    }

    /// A batch of requests, stamped. A batch without any only lets time pass.
    ///
    /// # Errors
    /// [`BatchError::TooLarge`] with more than [`BATCH_REQUESTS_MAX`] requests, or too long a request.
    pub fn new(at: Time, requests: Vec<Request>) -> Result<Self, BatchError> {
        if requests.len() > BATCH_REQUESTS_MAX {
            return Err(BatchError::TooLarge);
        }
        let mut fingerprints = Vec::with_capacity(requests.len());
        for request in &requests {
            let mut record = Vec::with_capacity(96);
            put_record(request, &mut record)?;
            fingerprints.push(fingerprint(record.get(2..).unwrap_or(&[])));
        }
        Ok(Self { at, requests, fingerprints })
    }

    /// The leader's proposal for log time; apply takes the maximum of it and what it had.
    #[must_use]
    pub const fn at(&self) -> Time {
        self.at
    }

    /// The requests.
    #[must_use]
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// The requests, each with the fingerprint of its business fields.
    pub(crate) fn items(&self) -> impl Iterator<Item = (&Request, u128)> {
        self.requests.iter().zip(self.fingerprints.iter().copied())
    }

    /// Encodes the whole. The hot path does not: it puts a head before records that are there already.
    ///
    /// # Errors
    /// [`BatchError::TooLarge`].
    pub fn encode(&self) -> Result<Vec<u8>, BatchError> {
        let count = u32::try_from(self.requests.len()).map_err(|_| BatchError::TooLarge)?;
        let mut bytes = Self::head(self.at, count).to_vec();
        for request in &self.requests {
            put_record(request, &mut bytes)?;
        }
        Ok(bytes)
    }

    /// Reads a batch, head and records.
    ///
    /// # Errors
    /// When the bytes are no batch, to the last one.
    pub fn decode(bytes: &[u8]) -> Result<Self, BatchError> {
        let (version, rest) = bytes.split_first().ok_or(BatchError::Short)?;
        if *version != codec::FORMAT {
            return Err(BatchError::Format(*version));
        }
        let (stamp, rest) = rest.split_first_chunk::<8>().ok_or(BatchError::Short)?;
        let (count, rest) = rest.split_first_chunk::<4>().ok_or(BatchError::Short)?;
        let count =
            usize::try_from(u32::from_le_bytes(*count)).map_err(|_| BatchError::TooLarge)?;
        if count > BATCH_REQUESTS_MAX {
            return Err(BatchError::TooLarge);
        }
        let mut requests = Vec::with_capacity(count);
        let mut fingerprints = Vec::with_capacity(count);
        for record in records(rest) {
            let record = record?;
            if requests.len() == count {
                return Err(BatchError::TooLarge);
            }
            requests.push(get_record(record, requests.len())?);
            fingerprints.push(fingerprint(record));
        }
        if requests.len() != count {
            return Err(BatchError::Short);
        }
        Ok(Self { at: Time(u64::from_le_bytes(*stamp)), requests, fingerprints })
    }
}

/// Bytes of a record that are its name, not its business: key and tenant.
const NAME_BYTES: usize = 20;

fn fingerprint(record: &[u8]) -> u128 {
    hash::fingerprint(record.get(NAME_BYTES..).unwrap_or(&[]))
}
