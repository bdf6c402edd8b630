//! The codes that a run hears, each with a number: a million requests remember two bytes instead of a text.

use serde::{Deserialize, Serialize};

/// Codes in the order in which they were first heard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Codes(Vec<String>);

impl Codes {
    /// A code's number.
    pub(super) fn number(&mut self, code: &str) -> u16 {
        let place = self.0.iter().position(|known| known == code).unwrap_or_else(|| {
            self.0.push(code.to_owned());
            self.0.len().saturating_sub(1)
        });
        u16::try_from(place).expect("the catalogue has fewer codes than 2^16")
    }

    /// A number's code.
    pub(super) fn text(&self, number: u16) -> &str {
        self.0.get(usize::from(number)).map_or("", String::as_str)
    }
}
