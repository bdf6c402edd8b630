//! Opening, freezing and closing accounts.

use crate::account::{Account, AccountKind, Authority, FreezeScope, Side};
use crate::amount::{Amount, Currency};
use crate::id::{AccountId, TenantId};
use crate::journal::{Journal, JournalKind, PostedLeg};
use crate::ledger::Ledger;
use crate::rejection::Rejection;

impl Ledger {
    /// Opens an account. An opening balance is owed to its owner and comes from outside: the shard's opening account
    /// is debited.
    pub(crate) fn open(
        &mut self,
        position: u16,
        tenant: TenantId,
        (id, currency, kind): (AccountId, Currency, AccountKind),
        opening: Option<Amount>,
    ) -> Result<(), Rejection> {
        if kind.is_system() || AccountKind::reserves(id) || !self.is_here(&id) {
            return Err(Rejection::InvalidCommand);
        }
        if self.accounts.contains(&id) {
            return Err(Rejection::AccountExists);
        }
        let account = Account::new(id, tenant, currency, kind, self.now);
        let Some(amount) = opening else {
            self.write_account(account, None);
            return Ok(());
        };
        let debit =
            self.system_account(AccountKind::Opening, currency).moved(Side::Debit, amount)?;
        let credit = account.after_credit(amount)?;

        let legs = [PostedLeg::new(debit, credit, amount)];
        self.write(position, &Journal::new(JournalKind::Opening, &legs));
        Ok(())
    }

    pub(crate) fn freeze_account(
        &mut self,
        tenant: TenantId,
        id: AccountId,
        authority: Authority,
        scope: FreezeScope,
    ) -> Result<(), Rejection> {
        let account = self.owned(&id, tenant)?;
        account.check_open()?;

        self.write_account(account.after_freeze(authority, Some(scope)), None);
        Ok(())
    }

    pub(crate) fn unfreeze_account(
        &mut self,
        tenant: TenantId,
        id: AccountId,
        authority: Authority,
    ) -> Result<(), Rejection> {
        let account = self.owned(&id, tenant)?;
        account.check_open()?;
        account.freezes.of(authority).ok_or(Rejection::NotFrozen)?;

        self.write_account(account.after_freeze(authority, None), None);
        Ok(())
    }

    pub(crate) fn close(&mut self, tenant: TenantId, id: AccountId) -> Result<(), Rejection> {
        let account = self.owned(&id, tenant)?.after_close()?;
        if self.channels.has_pending(&id) {
            return Err(Rejection::CloseBlocked);
        }

        self.write_account(account, None);
        Ok(())
    }

    /// The shard's own account of a kind, as it is or as it will begin.
    pub(crate) fn system_account(&self, kind: AccountKind, currency: Currency) -> Account {
        let slot = self.books.shards.first_slot(self.books.shard);
        let id = kind.system_id(currency, slot);
        let begun = || Account::new(id, TenantId(0), currency, kind, self.now);
        self.accounts.get(&id).map_or_else(begun, |stored| stored.account)
    }
}
