//! Keys: functions of what they are for, so that whoever asks again asks the same.
//!
//! They are free-form on purpose. A UUIDv7 says when it was made, and the ledger may forget it sooner; these say
//! nothing, and a row that was paid in January is still known in July.
//!
//! What a payment's key is made of decides what counts as the same payment. By default that is the file, the row's
//! line in it, and the period: a corrected file is another file, and all its rows are paid anew. A map that says what
//! makes a row itself (`payment.identity`, say an order's number) gives rows keys that outlive the file.

use ledger::AccountId;
use sha2::{Digest, Sha256};

/// Makes the keys of one import.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    pub(super) namespace: String,
    pub(super) digest: [u8; 32],
}

impl Keys {
    /// The key of one row's payment in one period.
    pub(super) fn payment(&self, line: u64, identity: Option<&str>, period: u32) -> String {
        let hash = match identity {
            None => begin(b"paycore/import/row")
                .chain_update(self.digest)
                .chain_update(line.to_be_bytes()),
            Some(identity) => begin(b"paycore/import/identity")
                .chain_update(&self.namespace)
                .chain_update([0])
                .chain_update(identity)
                .chain_update([0]),
        };
        hex(hash.chain_update(period.to_be_bytes()))
    }

    /// The key under which an account is opened: one for ever, whatever file names the account first.
    pub(super) fn open(&self, account: AccountId) -> String {
        hex(begin(b"paycore/import/open")
            .chain_update(&self.namespace)
            .chain_update([0])
            .chain_update(account.to_u128().to_be_bytes()))
    }
}

/// Kinds of keys never meet, because none is the beginning of another followed by a zero byte.
fn begin(kind: &[u8]) -> Sha256 {
    Sha256::new().chain_update(kind).chain_update([0])
}

/// 64 digits: too long to be taken for a UUID.
fn hex(hash: Sha256) -> String {
    let mut text = String::with_capacity(64);
    for byte in hash.finalize() {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys { namespace: "berka".to_owned(), digest: [7; 32] }
    }

    #[test]
    fn keys_are_the_same_for_ever() {
        // Golden: a later release that made other keys would pay everything again.
        assert_eq!(
            keys().payment(1, None, 1),
            "cbe1c7dcde6a88cb36417f71f896a7eb890adddca41a6bcc5131ce9d6b10101b"
        );
        assert_eq!(
            keys().payment(1, Some("29401"), 1),
            "918b10d5b7983e4b75f3f3103f4ea1bf52adafdc2b5016a14796675df6d1f853"
        );
        assert_eq!(
            keys().open(AccountId::from_u128(5)),
            "24c2d9dbc1b8906778f6d60c76aa29de0db81106d82de27d608c3fdfd0a51cd1"
        );
    }

    #[test]
    fn every_row_and_period_has_a_key_of_its_own_that_has_no_time() {
        let keys = keys();
        let mut all: Vec<String> = Vec::new();
        for line in [1, 2, 256] {
            for period in [1, 2, 12] {
                all.push(keys.payment(line, None, period));
                all.push(keys.payment(line, Some(&line.to_string()), period));
            }
        }
        all.push(Keys { digest: [8; 32], ..keys.clone() }.payment(1, None, 1));
        all.push(keys.open(AccountId::from_u128(1)));
        let count = all.len();
        for key in &all {
            assert_eq!(wire::convert::key(key).unwrap().time(), None);
        }
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
        // With an identity, the file and the line do not matter.
        let other = Keys { digest: [8; 32], ..keys.clone() };
        assert_eq!(keys.payment(1, Some("a"), 1), other.payment(9, Some("a"), 1));
    }
}
