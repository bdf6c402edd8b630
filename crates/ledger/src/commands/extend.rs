//! What the next release adds: holds that are given another deadline, and therefore last less long at once.
//!
//! It is compiled into the next release alone, so that this one can be tried out against it: what a level brings is decided
//! by the level in the state, and not by who reads it.

use crate::fetched::Fetched;
use crate::hold::Hold;
use crate::id::{HoldId, TenantId};
use crate::ledger::Ledger;
use crate::rejection::Rejection;

/// The feature level from which on holds can be extended, and last at most [`HOLD_MS_AT_ONCE_MAX`] at once.
pub const LEVEL_EXTEND: u32 = 2;

/// How long a hold may last at once from [`LEVEL_EXTEND`] on: 30 days. Who needs it longer says so again.
pub const HOLD_MS_AT_ONCE_MAX: u64 = 30 * 86_400_000;

impl Ledger {
    /// Gives an active hold another deadline, counted from now. What is held stays as it is.
    pub(crate) fn extend_hold(
        &mut self,
        tenant: TenantId,
        (id, timeout_ms): (HoldId, u64),
        fetched: &Fetched,
    ) -> Result<(), Rejection> {
        if self.directory.level() < LEVEL_EXTEND {
            return Err(Rejection::LevelNotReady { level: LEVEL_EXTEND.into(), node: 0 });
        }
        if !(1..=HOLD_MS_AT_ONCE_MAX).contains(&timeout_ms) {
            return Err(Rejection::InvalidCommand);
        }
        let hold = self.active_hold(tenant, &id, fetched)?;

        self.holds.take_from_orders(&hold);
        self.write_hold(Hold { expires_at: self.now.plus_ms(timeout_ms), ..hold });
        Ok(())
    }
}
