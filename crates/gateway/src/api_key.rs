//! API keys: 32 random bytes that are shown once. What is kept of one is its MAC.
//!
//! A key is looked up by its MAC, so that how long the look-up takes says nothing about the key itself: whoever tries
//! keys cannot choose what their MACs begin with without knowing the secret under which they are made.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac as _};
use rand::TryRng;
use rand::rngs::{SysError, SysRng};
use sha2::Sha256;

/// What every key begins with, so that people and scanners for leaked secrets know one when they see it.
const PREFIX: &str = "pk_";

/// A caller's secret. It is never logged: its debug text hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey([u8; 32]);

/// The secret under which a keyring keeps its keys.
#[derive(Clone, PartialEq, Eq)]
pub struct MacKey([u8; 32]);

/// What is kept of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyMac([u8; 32]);

impl ApiKey {
    /// A new key, from the system's own randomness.
    ///
    /// # Errors
    /// When the system has none.
    pub fn random() -> Result<Self, SysError> {
        random().map(Self)
    }

    /// Reads a key as it was shown; `None` when it is none.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        read_hex(text.strip_prefix(PREFIX)?).map(Self)
    }

    /// The key as it is shown, once: `pk_` and 64 hexadecimal digits.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", hex(&self.0))
    }

    /// What is kept of it.
    #[must_use]
    pub fn mac(&self, under: &MacKey) -> KeyMac {
        let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&under.0);
        let mac = mac.expect("HMAC takes a key of any length").chain_update(self.0);
        KeyMac(mac.finalize().into_bytes().into())
    }
}

impl MacKey {
    /// A new secret, from the system's own randomness.
    ///
    /// # Errors
    /// When the system has none.
    pub fn random() -> Result<Self, SysError> {
        random().map(Self)
    }

    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        read_hex(text).map(Self)
    }

    /// The secret as it is kept.
    #[must_use]
    pub fn reveal(&self) -> String {
        hex(&self.0)
    }
}

impl KeyMac {
    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        read_hex(text).map(Self)
    }

    /// The MAC as it is.
    pub(crate) const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A MAC as it is.
    pub(crate) const fn of(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The MAC as it is kept.
    #[must_use]
    pub fn text(&self) -> String {
        hex(&self.0)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(hidden)")
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(hidden)")
    }
}

fn random() -> Result<[u8; 32], SysError> {
    let mut bytes = [0; 32];
    SysRng.try_fill_bytes(&mut bytes)?;
    Ok(bytes)
}

fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_hex(text: &str) -> Option<[u8; 32]> {
    let (pairs, odd) = text.as_bytes().as_chunks::<2>();
    let pairs: &[[u8; 2]; 32] = pairs.try_into().ok().filter(|_| odd.is_empty())?;
    let mut bytes = [0; 32];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

fn digit(ascii: u8) -> Option<u8> {
    char::from(ascii).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_shown_and_shown_to_nobody_else() {
        let key = ApiKey::random().unwrap();
        let shown = key.reveal();
        assert_eq!((shown.len(), ApiKey::read(&shown)), (67, Some(key.clone())));
        assert_ne!(ApiKey::random().unwrap(), key);
        assert_eq!(format!("{key:?} {:?}", MacKey([7; 32])), "ApiKey(hidden) MacKey(hidden)");
        for bad in ["", "pk_", &shown[3..], &shown[..66], &format!("{shown}0"), "pk_zz"] {
            assert_eq!(ApiKey::read(bad), None, "{bad}");
        }
        assert_eq!(ApiKey::read(&format!("pk_{}", "é".repeat(32))), None);
    }

    /// The MAC was made by another implementation of HMAC-SHA256.
    #[test]
    fn a_mac_depends_on_key_and_secret() {
        let mac = ApiKey([1; 32]).mac(&MacKey([2; 32]));
        assert_eq!(KeyMac::read(&mac.text()), Some(mac));
        assert_eq!(mac.text(), "a580c1f29ec1828ef7e5156878fe2a33b72125af667d11e447080fa414dd3ace");
        assert_ne!(ApiKey([1; 32]).mac(&MacKey([3; 32])), mac);
        assert_ne!(ApiKey([3; 32]).mac(&MacKey([2; 32])), mac);
    }
}
