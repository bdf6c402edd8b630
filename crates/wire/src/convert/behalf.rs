//! On whose behalf something is read: what his aliases stand for.

use ledger::directory::{Name, Record};
use ledger::{AccountId, Directory, IdError, TenantId};

use super::names;

/// A caller's tenant, and where its aliases are looked up.
#[derive(Clone, Copy, Debug)]
pub struct Behalf<'a> {
    /// The tenant.
    pub tenant: TenantId,
    directory: Option<&'a Directory>,
}

impl From<TenantId> for Behalf<'_> {
    /// A tenant without aliases.
    fn from(tenant: TenantId) -> Self {
        Self { tenant, directory: None }
    }
}

impl<'a> Behalf<'a> {
    /// A tenant whose aliases stand in this directory.
    #[must_use]
    pub const fn new(tenant: TenantId, directory: &'a Directory) -> Self {
        Self { tenant, directory: Some(directory) }
    }

    /// Reads an account's id, or what an alias stands for: `acc_` and a name that is no 32 hexadecimal digits.
    pub(super) fn account(&self, text: &str) -> Result<AccountId, IdError> {
        names::read_account(text).or_else(|error| self.alias(text).ok_or(error))
    }

    fn alias(&self, text: &str) -> Option<AccountId> {
        let alias = Name::Alias(self.tenant, read_alias(text)?.to_owned());
        let Record::Alias(account) = self.directory?.get(&alias)? else { return None };
        Some(*account)
    }
}

/// The alias in a text such as `acc_lin`, with or without its collection in front. `None` when it is none: an account's
/// own id is never read as one.
#[must_use]
pub fn read_alias(text: &str) -> Option<&str> {
    let is_alias = names::read_account(text).is_err();
    let alias = names::bare_account(text).strip_prefix("acc_")?;
    (is_alias && ledger::directory::is_name(alias)).then_some(alias)
}
