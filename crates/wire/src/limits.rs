//! Bounds that both ends of a wire must agree on.

use std::time::Duration;

/// Requests in one public batch or session frame at the most: past a few thousand, a request's price no longer falls.
pub const BATCH_REQUESTS_MAX: usize = 8_192;

/// Requests in one frame to a shard at the most: a whole client batch fits.
pub const FRAME_REQUESTS_MAX: usize = BATCH_REQUESTS_MAX;

/// Bytes of records in one frame at the most: 8,192 transfers take a third of it, and with its header it stays below
/// the message limit that gRPC libraries start with, 4 MiB.
pub const FRAME_BYTES_MAX: usize = 2 << 20;

/// Bytes of one message in public at the most, both ways.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Postings of one page at the most.
pub const PAGE_SIZE_MAX: u32 = 1_000;

/// Postings of one page when the caller does not say.
pub const PAGE_SIZE_DEFAULT: u32 = 100;

/// Accounts, or holds, of one page of a whole cut at the most: about half a megabyte in public.
pub const CUT_PAGE_MAX: u32 = 2_048;

/// Bytes of an idempotency key at the most, and of an owner's name.
pub const TEXT_BYTES_MAX: usize = 255;

/// How long a request may take when its caller does not say.
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(10);

/// How long a request may take at the most, whatever its caller says: what waits holds memory.
pub const DEADLINE_MAX: Duration = Duration::from_secs(60);
