//! `catalogue.toml` → a Rust table.

use std::fmt::Write;

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalogue {
    code: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    code: String,
    kind: Kind,
    grpc: String,
    http: u16,
    exit: u8,
    retryable: bool,
    retry_after_ms: Option<u64>,
    action: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Rejection,
    NotProposed,
    Unknown,
    Refusal,
}

/// The table as an expression, in the file's order.
pub(crate) fn table(toml: &str) -> Result<String, Box<dyn std::error::Error>> {
    let catalogue: Catalogue = toml::from_str(toml)?;
    let mut table = String::from("&[\n");
    for entry in catalogue.code {
        let Entry { code, kind, grpc, http, exit, retryable, retry_after_ms, action } = entry;
        writeln!(
            table,
            "    Entry {{ code: {code:?}, kind: Kind::{kind:?}, grpc: {grpc:?}, http: {http}, exit: {exit}, \
             retryable: {retryable}, retry_after_ms: {retry_after_ms:?}, action: {action:?} }},"
        )?;
    }
    table.push(']');
    Ok(table)
}
