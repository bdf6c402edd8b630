//! What a batch names and memory lacks, read from the volumes before the batch is applied.

use hashbrown::HashMap;

use crate::cold::{ColdName, ColdValue, Corrupt, Incoming, KeptOutcome};
use crate::hash::Fixed;
use crate::hold::Hold;
use crate::id::{HoldId, TransferId};
use crate::key::ScopedKey;

/// The cold records that one batch names.
///
/// Invariant: whoever fills it has asked the volumes for *every* name that [`crate::Ledger::missing`] gave, so what is
/// neither in memory nor here does not exist. It is good only as long as nothing leaves memory
/// ([`crate::Ledger::evict`]); apply checks that.
#[derive(Debug)]
pub struct Fetched {
    pub(crate) evictions: u64,
    found: HashMap<ColdName, ColdValue, Fixed>,
}

const READ_BY_NAME: &str = "a value is read as what its name says";

impl Fetched {
    pub(crate) fn new(evictions: u64) -> Self {
        Self { evictions, found: HashMap::with_hasher(Fixed) }
    }

    /// Puts in a record that a volume has.
    ///
    /// # Errors
    /// When the bytes are no such record: the node must stop.
    pub fn put(&mut self, name: ColdName, value: &[u8]) -> Result<(), Corrupt> {
        self.found.insert(name, ColdValue::read(&name, value)?);
        Ok(())
    }

    pub(crate) fn outcome(&self, scoped: &ScopedKey) -> Option<&KeptOutcome> {
        let value = self.found.get(&ColdName::Outcome(*scoped))?;
        let ColdValue::Outcome(kept) = value else { unreachable!("{READ_BY_NAME}") };
        Some(kept)
    }

    pub(crate) fn hold(&self, hold: &HoldId) -> Option<&Hold> {
        let value = self.found.get(&ColdName::Hold(*hold))?;
        let ColdValue::Hold(hold) = value else { unreachable!("{READ_BY_NAME}") };
        Some(hold)
    }

    pub(crate) fn has_reversal(&self, transfer: &TransferId) -> bool {
        self.found.contains_key(&ColdName::Reversal(*transfer))
    }

    pub(crate) fn incoming(&self, transfer: &TransferId) -> Option<&Incoming> {
        let value = self.found.get(&ColdName::Incoming(*transfer))?;
        let ColdValue::Incoming(incoming) = value else { unreachable!("{READ_BY_NAME}") };
        Some(incoming)
    }

    pub(crate) fn get(&self, name: &ColdName) -> Option<&ColdValue> {
        self.found.get(name)
    }
}
