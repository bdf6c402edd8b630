//! Page tokens: where a statement goes on, as text that nobody should read.
//!
//! A token is the shard's cursor in hexadecimal behind a checksum over cursor and account, so that a token that was
//! cut, changed, or taken from another account's statement is refused instead of showing a wrong page. It hides
//! nothing, and is no permission for anything.

use ledger::AccountId;
use sha2::{Digest, Sha256};

use super::refusal::Refusal;

const VERSION: u8 = 1;
const CHECK_BYTES: usize = 8;
/// Bytes of a shard's cursor at the most: today's has 11, and what a caller sends must have a bound.
const CURSOR_BYTES_MAX: usize = 64;

/// Where the next page of one account's statement begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageToken {
    /// The account.
    pub account: AccountId,
    /// The shard's cursor; empty for the first page.
    pub cursor: Vec<u8>,
}

impl PageToken {
    /// Reads a token that was given out for this account; an empty one begins with the first page.
    ///
    /// # Errors
    /// [`Refusal::PageTokenInvalid`].
    pub fn read(text: &str, account: AccountId) -> Result<Self, Refusal> {
        if text.is_empty() {
            return Ok(Self { account, cursor: Vec::new() });
        }
        let cursor = read_cursor(text, account).ok_or(Refusal::PageTokenInvalid)?;
        Ok(Self { account, cursor })
    }

    /// The token as text; empty when there is no next page.
    #[must_use]
    pub fn text(&self) -> String {
        if self.cursor.is_empty() {
            return String::new();
        }
        let check = check(self.account, &self.cursor);
        let bytes = [VERSION].into_iter().chain(check).chain(self.cursor.iter().copied());
        bytes.map(|byte| format!("{byte:02x}")).collect()
    }
}

fn read_cursor(text: &str, account: AccountId) -> Option<Vec<u8>> {
    let bytes = read_hex(text)?;
    let (VERSION, rest) = bytes.split_first().map(|(version, rest)| (*version, rest))? else {
        return None;
    };
    let (said, cursor) = rest.split_first_chunk::<CHECK_BYTES>()?;
    let whole = !cursor.is_empty() && *said == check(account, cursor);
    whole.then(|| cursor.to_vec())
}

fn read_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, odd) = text.as_bytes().as_chunks::<2>();
    let too_long = pairs.len() > CURSOR_BYTES_MAX;
    if too_long || !odd.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

fn digit(ascii: u8) -> Option<u8> {
    let digit = char::from(ascii).to_digit(16)?;
    // One spelling for each token.
    (!ascii.is_ascii_uppercase()).then_some(u8::try_from(digit).ok()?)
}

fn check(account: AccountId, cursor: &[u8]) -> [u8; CHECK_BYTES] {
    let digest = Sha256::new()
        .chain_update([VERSION])
        .chain_update(account.to_u128().to_be_bytes())
        .chain_update(cursor)
        .finalize();
    let bytes: &[u8; 32] = digest.as_ref();
    *bytes.first_chunk::<CHECK_BYTES>().expect("32 bytes have 8 in front")
}
