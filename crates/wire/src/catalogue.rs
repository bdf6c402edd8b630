//! Every code that leaves paycore, and how each looks from outside.
//!
//! The table is `catalogue.toml`; nothing about a code is written down anywhere else. Codes are stable for ever, so
//! entries are added and never renamed.

/// Which of the ways of not being done it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The ledger said no: stored under the key, final.
    Rejection,
    /// No log holds the request.
    NotProposed,
    /// A log may hold the request.
    Unknown,
    /// The request was not understood, or names what is not there; nothing was proposed.
    Refusal,
}

/// One code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The code: UPPER_SNAKE, at most 63 characters, stable for ever.
    pub code: &'static str,
    /// Which of the ways of not being done it is.
    pub kind: Kind,
    /// The name of the gRPC status code.
    pub grpc: &'static str,
    /// The HTTP status.
    pub http: u16,
    /// The command line's exit code.
    pub exit: u8,
    /// Whether a client sends the request again by itself, with the same key.
    pub retryable: bool,
    /// How long it should wait first, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// What to do about it.
    pub action: &'static str,
}

/// Every code, in the order of `catalogue.toml`.
pub const CATALOGUE: &[Entry] = include!(concat!(env!("OUT_DIR"), "/catalogue_table.rs"));

/// Looks a code up; `None` when this release knows no such code.
#[must_use]
pub fn find(code: &str) -> Option<&'static Entry> {
    CATALOGUE.iter().find(|entry| entry.code == code)
}

#[cfg(test)]
mod tests;
