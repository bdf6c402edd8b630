//! Forgetting: the operator moves the cut-off, and what lies before it decides nothing any more.

use crate::id::{AccountId, TenantId, Time};
use crate::ledger::Ledger;
use crate::rejection::Rejection;
use crate::retention::RETENTION_MS;

impl Ledger {
    pub(crate) fn forget_keys(
        &mut self,
        tenant: TenantId,
        books: AccountId,
        before: Time,
    ) -> Result<(), Rejection> {
        let is_operators = tenant == TenantId(0);
        if !is_operators || !self.is_here(&books) || before > self.now.minus_ms(RETENTION_MS) {
            return Err(Rejection::InvalidCommand);
        }

        self.retention.forget(before);
        // The digest counts what ever was: what is forgotten in memory counts like what a volume may have dropped.
        self.sealed = self.sealed.wrapping_add(self.recent.forget(&self.retention));
        Ok(())
    }
}
