//! Names of things as text: keys and resource names.

use ledger::{AccountId, HoldId, IdError, Key, TransferId};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::refusal::Refusal;
use crate::limits::TEXT_BYTES_MAX;

const ACCOUNTS: &str = "accounts/";
const HOLDS: &str = "holds/";
const TRANSFERS: &str = "transfers/";

/// Reads an idempotency key: a UUIDv7 in its usual text form (36 characters, or 32 without hyphens, in either case)
/// keeps its time; anything else is hashed, and gets none.
///
/// # Errors
/// [`Refusal::MissingKey`] when empty, [`Refusal::InvalidField`] past 255 bytes.
pub fn key(text: &str) -> Result<Key, Refusal> {
    match text.len() {
        0 => return Err(Refusal::MissingKey),
        32 | 36 => {
            let timed = Uuid::try_parse_ascii(text.as_bytes()).ok();
            if let Some(key) = timed.and_then(|uuid| Key::from_uuid_v7(uuid.as_u128())) {
                return Ok(key);
            }
        }
        1..=TEXT_BYTES_MAX => {}
        _ => return Err(Refusal::field("idempotency_key", "1 to 255 bytes; best is a UUIDv7")),
    }
    Ok(Key::from_digest(half(Sha256::digest(text.as_bytes()).as_ref())))
}

/// The first half of a SHA-256.
pub(super) fn half(digest: &[u8; 32]) -> [u8; 16] {
    *digest.first_chunk::<16>().expect("32 bytes have a first half")
}

/// `accounts/acc_…`
#[must_use]
pub fn account_name(id: AccountId) -> String {
    format!("{ACCOUNTS}{id}")
}

/// `holds/hold_…`
#[must_use]
pub fn hold_name(id: HoldId) -> String {
    format!("{HOLDS}{id}")
}

/// `transfers/tr_…`
#[must_use]
pub fn transfer_name(id: TransferId) -> String {
    // Every outcome carries one: written digit by digit, it costs a tenth of what formatting does.
    let mut name = String::with_capacity(TRANSFER_NAME_BYTES);
    name.push_str(TRANSFERS);
    name.push_str("tr_");
    push_decimal(&mut name, id.shard.into());
    name.push('-');
    push_decimal(&mut name, id.index);
    name.push('-');
    push_decimal(&mut name, id.position.into());
    name
}

/// Bytes of a transfer's name, unless its log index is longer than a trillion.
const TRANSFER_NAME_BYTES: usize = 40;

fn push_decimal(to: &mut String, number: u64) {
    let mut digits = [0_u8; 20];
    let mut left = number;
    let mut first = 0;
    for (place, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' | u8::try_from(left % 10).expect("one digit");
        left /= 10;
        first = place;
        if left == 0 {
            break;
        }
    }
    to.extend(digits.iter().skip(first).map(|digit| char::from(*digit)));
}

/// Reads an account's name, with or without its collection in front.
pub(super) fn read_account(text: &str) -> Result<AccountId, IdError> {
    let id = bare_account(text);
    match quick(id, "acc_") {
        Some(bits) => Ok(AccountId::from_u128(bits)),
        None => id.parse(),
    }
}

/// An account's name without its collection in front.
pub(super) fn bare_account(text: &str) -> &str {
    text.strip_prefix(ACCOUNTS).unwrap_or(text)
}

/// Reads a hold's name, with or without its collection in front.
pub(super) fn read_hold(text: &str) -> Result<HoldId, IdError> {
    let id = text.strip_prefix(HOLDS).unwrap_or(text);
    match quick(id, "hold_") {
        Some(bits) => Ok(HoldId::from_u128(bits)),
        None => id.parse(),
    }
}

/// Reads a transfer's name, with or without its collection in front.
pub(super) fn read_transfer(text: &str) -> Result<TransferId, IdError> {
    text.strip_prefix(TRANSFERS).unwrap_or(text).parse()
}

/// Reads the 32 digits that nearly every id has, without allocating; the ledger's own reader says what is wrong with
/// the others.
fn quick(id: &str, prefix: &str) -> Option<u128> {
    let digits = id.strip_prefix(prefix).filter(|digits| digits.len() == 32)?;
    Uuid::try_parse_ascii(digits.as_bytes()).ok().map(|uuid| uuid.as_u128())
}
