//! Who calls, on whose behalf, and whether he may.
//!
//! Every door asks [`Access::grant`] once for each call, with what the caller sent; nothing behind a door knows of keys.
//! What a [`Grant`] allows is checked before anything is proposed: a tenant's accounts are then the ledger's own affair,
//! which knows no other tenant's.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ledger::{Command, Directory, TenantId};
use tokio::sync::watch;
use tonic::metadata::MetadataMap;
use wire::convert::{Behalf, CredentialFault, Forbidden, Intent, Refusal, ToIntent, request};
use wire::proto::v1;

use crate::api_key::{ApiKey, KeyMac};
use crate::keyring::{KeyEntry, Keyring, Scope, Scopes};
use crate::keys::Keys;
use crate::rate::Bucket;

/// Where a caller's key stands: `Bearer pk_…`.
pub(crate) const AUTHORIZATION: &str = "authorization";

/// Where the operator says for which tenant a call is. Others need not say it, and may name themselves only.
pub(crate) const TENANT: &str = "paycore-tenant";

/// Whom a gateway lets in.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// Who has one of these keys. Without keys whoever reaches the gateway is the operator: for one that only its own
    /// machine reaches.
    pub(crate) keys: Option<Keys>,
    /// What callers' aliases stand for.
    pub(crate) directory: watch::Receiver<Arc<Directory>>,
}

/// What a caller may do.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    /// On whose behalf the call is.
    pub(crate) tenant: TenantId,
    scopes: Scopes,
    mac: Option<KeyMac>,
    bucket: Option<Arc<Bucket>>,
    directory: Arc<Directory>,
}

impl Access {
    /// What the caller may do who sent this with a gRPC call.
    ///
    /// # Errors
    /// As [`Self::grant`].
    pub(crate) fn grant_call(&self, metadata: &MetadataMap) -> Result<Grant, Refusal> {
        let value = |name| metadata.get(name).map(|value| value.as_bytes());
        self.grant(value(AUTHORIZATION), value(TENANT))
    }

    /// What the caller may do who sent these headers.
    ///
    /// # Errors
    /// [`Refusal::Unauthenticated`] without a key that is good here, [`Refusal::PermissionDenied`] when it names a
    /// tenant that is not its own, [`Refusal::InvalidField`] when what it names is no tenant.
    pub(crate) fn grant(
        &self,
        authorization: Option<&[u8]>,
        tenant: Option<&[u8]>,
    ) -> Result<Grant, Refusal> {
        let named = tenant.map(read_tenant).transpose()?;
        let Some(keys) = &self.keys else {
            return Ok(Grant {
                tenant: named.unwrap_or_default(),
                scopes: [Scope::Admin].into_iter().collect(),
                mac: None,
                bucket: None,
                directory: Arc::clone(&self.directory.borrow()),
            });
        };
        let missing = Refusal::Unauthenticated(CredentialFault::Missing);
        let key = read_bearer(authorization.ok_or(missing)?)
            .ok_or(Refusal::Unauthenticated(CredentialFault::Malformed))?;
        let keyring = keys.now();
        self.judge(&keyring, keyring.mac(&key), named)
    }

    /// The same grant again: for a stream that outlives a key, or a change of what it may do.
    ///
    /// # Errors
    /// As [`Self::grant`].
    pub(crate) fn renew(&self, grant: &Grant) -> Result<Grant, Refusal> {
        match (&self.keys, grant.mac) {
            (Some(keys), Some(mac)) => self.judge(&keys.now(), mac, Some(grant.tenant)),
            (None, _) | (Some(_), None) => {
                let directory = Arc::clone(&self.directory.borrow());
                Ok(Grant { directory, ..grant.clone() })
            }
        }
    }

    fn judge(
        &self,
        keyring: &Keyring,
        mac: KeyMac,
        named: Option<TenantId>,
    ) -> Result<Grant, Refusal> {
        let unknown = Refusal::Unauthenticated(CredentialFault::Unknown);
        let key: &KeyEntry = keyring.find(&mac).ok_or(unknown)?;
        if !key.is_good_at(SystemTime::now()) {
            return Err(Refusal::Unauthenticated(CredentialFault::Expired));
        }
        let tenant = named.unwrap_or(key.tenant);
        if tenant != key.tenant && !key.scopes.allow(Scope::Admin) {
            return Err(Refusal::PermissionDenied(Forbidden::OtherTenant));
        }
        // Whoever sends is who uses up the gateway, on whosever behalf.
        let bucket = keyring.bucket(key.tenant);
        let directory = Arc::clone(&self.directory.borrow());
        Ok(Grant { tenant, scopes: key.scopes.clone(), mac: Some(mac), bucket, directory })
    }
}

fn read_bearer(header: &[u8]) -> Option<ApiKey> {
    let (scheme, key) = std::str::from_utf8(header).ok()?.split_once(' ')?;
    ApiKey::read(key.trim()).filter(|_| scheme.eq_ignore_ascii_case("bearer"))
}

fn read_tenant(header: &[u8]) -> Result<TenantId, Refusal> {
    let read = std::str::from_utf8(header).ok().and_then(|text| text.parse().ok());
    read.map(TenantId).ok_or_else(|| Refusal::field(TENANT, "a tenant's number"))
}

impl Grant {
    /// On whose behalf the call is, and what his aliases stand for.
    pub(crate) fn behalf(&self) -> Behalf<'_> {
        Behalf::new(self.tenant, &self.directory)
    }

    /// Whether the caller may ask for what changes something.
    ///
    /// # Errors
    /// [`Refusal::PermissionDenied`].
    pub(crate) fn check_moves(&self) -> Result<(), Refusal> {
        if self.scopes.allow(Scope::Tenant) {
            return Ok(());
        }
        Err(Refusal::PermissionDenied(Forbidden::ReadOnly))
    }

    /// Whether the caller may ask what concerns the whole cluster.
    ///
    /// # Errors
    /// [`Refusal::PermissionDenied`].
    pub(crate) fn check_operates(&self) -> Result<(), Refusal> {
        if self.scopes.allow(Scope::Admin) {
            return Ok(());
        }
        Err(Refusal::PermissionDenied(Forbidden::Operators))
    }

    /// Reads a request on the caller's behalf.
    ///
    /// # Errors
    /// When it cannot be read, or the caller may not ask for it.
    pub(crate) fn read<T: ToIntent>(&self, wanted: &T) -> Result<Intent, Refusal> {
        self.allow(wanted.to_intent(self.behalf())?)
    }

    /// Reads one request of a batch or a frame on the caller's behalf.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn read_one_of(&self, wanted: &v1::Request) -> Result<Intent, Refusal> {
        self.allow(request(wanted, self.behalf())?)
    }

    /// Counts one request against the tenant's rate; or says how long to wait.
    pub(crate) fn charge_one(&self) -> Result<(), Duration> {
        self.bucket.as_ref().map_or(Ok(()), |bucket| bucket.take_one())
    }

    /// Counts requests against the tenant's rate. So many of them, the first ones, may go on.
    pub(crate) fn charge(&self, requests: usize) -> usize {
        self.bucket.as_ref().map_or(requests, |bucket| bucket.take(requests))
    }

    /// An opening balance comes from the bank's own books, which are the operator's.
    fn allow(&self, intent: Intent) -> Result<Intent, Refusal> {
        let is_operators =
            matches!(&intent.request.command, Command::Open { opening: Some(_), .. });
        if is_operators && !self.scopes.allow(Scope::Admin) {
            return Err(Refusal::PermissionDenied(Forbidden::OpeningBalance));
        }
        Ok(intent)
    }
}

#[cfg(test)]
mod tests;
