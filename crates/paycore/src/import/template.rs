//! Account ids out of columns: `berka:acc:{2}` with column 2 being `17` names one account for ever.
//!
//! The text is hashed together with the map's namespace, and the hash shaped like every other id. Two different rows
//! must never name the same account by chance of spelling (`a:{1}:{2}` for `x:y`, `z` and for `x`, `y:z`), so a value
//! is written with every byte escaped that is not plain, and a template must keep two values apart by a byte that is
//! not plain either.

use ledger::{AccountId, Slot};
use sha2::{Digest, Sha256};

use super::error::BadRow;
use super::map::{Column, Columns};
use super::row::Fields;

/// Bytes of a template at the most.
const TEMPLATE_BYTES_MAX: usize = 256;

const VERSION_7: u128 = 7 << 76;
const VERSION_MASK: u128 = 0xf << 76;
const VARIANT: u128 = 0b10 << 62;
const VARIANT_MASK: u128 = 0b11 << 62;

/// A text with columns in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(Column),
}

impl Template {
    /// Reads a template. Between braces stands a column's number, or its name.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub(super) fn read(text: &str, columns: &Columns) -> Result<Self, String> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(format!("a template has at most {TEMPLATE_BYTES_MAX} bytes"));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, inside)) = rest.split_once('{') {
            let (name, after) =
                inside.split_once('}').ok_or_else(|| format!("`{text}`: a brace is not closed"))?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Value(columns.find(name)?));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        if !parts.iter().any(|part| matches!(part, Part::Value(_))) {
            return Err(format!(
                "`{text}` names no column, so every row would name the same account"
            ));
        }
        let template = Self { parts };
        if template.runs_together() {
            return Err(format!(
                "`{text}`: two columns need a separator between them, such as `:`"
            ));
        }
        Ok(template)
    }

    /// The text of one row.
    ///
    /// # Errors
    /// When a column is missing or has not the shape that the map asks for.
    pub(super) fn fill(&self, fields: Fields<'_>) -> Result<String, BadRow> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Value(column) => escape(fields.shaped(column)?, &mut text),
            }
        }
        Ok(text)
    }

    /// Whether two values stand side by side with nothing between them that a value cannot contain.
    fn runs_together(&self) -> bool {
        let mut open = false;
        for part in &self.parts {
            match part {
                Part::Value(_) if open => return true,
                Part::Value(_) => open = true,
                Part::Text(literal) => open = open && literal.bytes().all(may_be_in_value),
            }
        }
        false
    }
}

/// Writes a value so that it cannot be taken for anything but itself.
fn escape(value: &str, text: &mut String) {
    for byte in value.bytes() {
        if is_plain(byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// Bytes that stand in an id's text as they are.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// Bytes that a written value may consist of; any other byte separates two values.
const fn may_be_in_value(byte: u8) -> bool {
    is_plain(byte) || byte == b'%'
}

/// The account that a text names within a namespace, living where its owner's other accounts do.
pub(super) fn account_id(namespace: &str, account: &str, owner: &str) -> AccountId {
    let bits = hash(b"paycore/import/account", namespace, account) & !VERSION_MASK & !VARIANT_MASK;
    let slot = Slot::of(hash(b"paycore/import/owner", namespace, owner));
    AccountId::in_slot(bits | VERSION_7 | VARIANT, slot)
}

/// The namespace cannot contain the zero byte that ends it, so no other pair has the same bytes.
fn hash(purpose: &[u8], namespace: &str, text: &str) -> u128 {
    let digest = Sha256::new()
        .chain_update(purpose)
        .chain_update([0])
        .chain_update(namespace)
        .chain_update([0])
        .chain_update(text)
        .finalize();
    let half = digest.first_chunk::<16>().expect("a SHA-256 has 32 bytes");
    u128::from_be_bytes(*half)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::map::Shape;

    fn columns() -> Columns {
        Columns::declared([
            ("account", Column::at(2, "account", Shape::Digits)),
            ("bank", Column::at(3, "bank", Shape::Letters)),
        ])
    }

    fn fill(template: &str, fields: &[&str]) -> String {
        let record = csv::ByteRecord::from(fields.to_vec());
        let template = Template::read(template, &columns()).unwrap();
        template.fill(Fields::of(&record)).unwrap()
    }

    #[test]
    fn columns_stand_in_a_template_by_number_or_name() {
        assert_eq!(fill("berka:acc:{2}", &["9", "17", "YZ"]), "berka:acc:17");
        assert_eq!(fill("{bank}/{account}", &["9", "17", "YZ"]), "YZ/17");
        assert_eq!(fill("a:{1}", &["x:y%家"]), "a:x%3Ay%25%E5%AE%B6");
    }

    #[test]
    fn no_two_rows_are_spelt_alike() {
        let one = fill("a:{1}:{4}", &["x:y", "0", "a", "z"]);
        let other = fill("a:{1}:{4}", &["x", "0", "a", "y:z"]);
        assert_ne!(one, other);
        for bad in ["{1}{2}", "{1}-{2}", "{1}a%{2}", "plain", "", "{1", "{1}:{nobody}", "{0}"] {
            assert!(Template::read(bad, &columns()).is_err(), "{bad}");
        }
        assert!(Template::read("{1}:{2}", &columns()).is_ok());
    }

    #[test]
    fn an_id_is_the_same_for_ever() {
        // Golden: accounts that were opened under these ids must be found again by every later release.
        let id = account_id("berka", "berka:acc:17", "berka:acc:17");
        assert_eq!(id.to_string(), "acc_b4ae8fe234317e9fadd9c32c33a36ee1");
        assert_ne!(account_id("other", "berka:acc:17", "berka:acc:17"), id);
        let sibling = account_id("berka", "berka:acc:17:savings", "berka:acc:17");
        assert_eq!(sibling.slot(), id.slot(), "an owner's accounts live together");
        assert_ne!(sibling, id);
        assert_eq!(id.to_u128() >> 76 & 0xf, 7);
    }
}
