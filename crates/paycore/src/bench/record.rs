//! `run.json`: what a run's requests were made from. With it, request `n` and its key can be made again.

use serde::{Deserialize, Serialize};

use super::codes::Codes;
use super::intents::{Intents, OPENING};
use super::keys::Keys;

/// The record of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunRecord {
    /// The form of this document.
    schema: u32,
    /// What requests asked for.
    intents: Intents,
    /// What they were called.
    keys: Keys,
    /// The codes that they were answered with; `told.bin` names them by number.
    codes: Codes,
    /// How many there were.
    requests: u64,
}

impl RunRecord {
    /// The record of a run that is over.
    pub(super) const fn new(intents: Intents, keys: Keys, codes: Codes, requests: u64) -> Self {
        Self { schema: 1, intents, keys, codes, requests }
    }

    /// What requests asked for.
    pub(crate) const fn intents(&self) -> Intents {
        self.intents
    }

    /// What each account began with.
    pub(crate) fn openings(&self) -> Vec<i64> {
        let opening = i64::try_from(OPENING).expect("below 10^15");
        vec![
            opening;
            usize::try_from(self.intents.accounts).expect("a run's accounts fit in memory")
        ]
    }
}
