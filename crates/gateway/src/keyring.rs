//! The keyring: which API keys there are, what each may do, and how often its tenant may ask.
//!
//! A keyring is a value that never changes. Its sources are a file, which has the secret and the operator's first key, and
//! the cluster's directory; when one of them changes, a new keyring is made, and the next call is judged by it. What a tenant has used of its rate
//! goes over to the next keyring, so that changing a key gives nobody a fresh allowance.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ledger::directory::{ApiKeyRecord, Name, Record};
use ledger::{Directory, TenantId};
use wire::proto::v1;

use crate::api_key::{ApiKey, KeyMac, MacKey};
use crate::rate::Bucket;

pub use crate::rate::Rate;

/// Keys of one keyring at the most: it is read whole, and every key takes a few hundred bytes.
pub const KEYS_MAX: usize = 10_000;

/// A key's name at the most, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// The operator: the tenant of keys that may act for all.
const OPERATOR: TenantId = TenantId(0);

/// Something that a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Read its tenant's accounts, holds and outcomes.
    Read,
    /// That, and move its tenant's money.
    Tenant,
    /// That for whichever tenant the call names, and whatever concerns the whole cluster.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::Read, Self::Tenant, Self::Admin];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Tenant => "tenant",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Scope {
    type Err = KeyringError;

    fn from_str(name: &str) -> Result<Self, KeyringError> {
        let mut all = Self::ALL.into_iter();
        all.find(|scope| scope.name() == name).ok_or_else(|| KeyringError::Scope(name.to_owned()))
    }
}

/// What a key may do: everything that one of its scopes allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(BTreeSet<Scope>);

impl Scopes {
    /// Whether they allow what a scope stands for.
    #[must_use]
    pub fn allow(&self, scope: Scope) -> bool {
        self.0.last().is_some_and(|widest| *widest >= scope)
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Self {
        Self(scopes.into_iter().collect())
    }
}

/// A key, as a keyring knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    /// What the operator calls it.
    pub name: String,
    /// Whose it is.
    pub tenant: TenantId,
    /// What it may do.
    pub scopes: Scopes,
    /// What is kept of it.
    pub mac: KeyMac,
    /// From when on it is no longer good.
    pub expires: Option<SystemTime>,
}

impl KeyEntry {
    /// Whether it is good at a time.
    pub(crate) fn is_good_at(&self, now: SystemTime) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    fn check(&self) -> Result<(), KeyringError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        let is_named = (1..=NAME_BYTES_MAX).contains(&self.name.len());
        if !is_named || !self.name.bytes().all(plain) {
            return Err(KeyringError::Name(self.name.clone()));
        }
        if self.scopes.0.is_empty() {
            return Err(KeyringError::NoScope(self.name.clone()));
        }
        if self.scopes.allow(Scope::Admin) && self.tenant != OPERATOR {
            return Err(KeyringError::AdminOfTenant(self.name.clone()));
        }
        Ok(())
    }
}

/// The keys of a gateway, and the rates of their tenants.
#[derive(Debug)]
pub struct Keyring {
    mac_key: MacKey,
    keys: HashMap<KeyMac, KeyEntry>,
    buckets: BTreeMap<TenantId, Arc<Bucket>>,
}

impl Keyring {
    /// A keyring. A tenant without a rate may ask as often as it likes.
    ///
    /// # Errors
    /// What is wrong with one of the keys.
    pub fn new(
        mac_key: MacKey,
        entries: Vec<KeyEntry>,
        rates: BTreeMap<TenantId, Rate>,
    ) -> Result<Self, KeyringError> {
        if entries.len() > KEYS_MAX {
            return Err(KeyringError::TooMany(entries.len()));
        }
        let mut names = BTreeSet::new();
        let mut keys = HashMap::with_capacity(entries.len());
        for entry in entries {
            entry.check()?;
            if !names.insert(entry.name.clone()) {
                return Err(KeyringError::Twice(entry.name));
            }
            if let Some(other) = keys.insert(entry.mac, entry) {
                return Err(KeyringError::SameKey(other.name));
            }
        }
        let bucket = |(tenant, rate)| (tenant, Arc::new(Bucket::new(rate)));
        Ok(Self { mac_key, keys, buckets: rates.into_iter().map(bucket).collect() })
    }

    /// The same keyring as the successor of another one: tenants whose rate is the same go on where they are.
    #[must_use]
    pub fn after(mut self, before: &Self) -> Self {
        for (tenant, bucket) in &mut self.buckets {
            if let Some(old) = before.buckets.get(tenant)
                && old.rate() == bucket.rate()
            {
                *bucket = Arc::clone(old);
            }
        }
        self
    }

    /// This keyring and what the directory has beside it. Where both know a name or a tenant, this keyring wins: its file is
    /// the operator's way in when the directory cannot be changed.
    #[must_use]
    pub fn with(&self, directory: &Directory) -> Self {
        let names: BTreeSet<&str> = self.keys.values().map(|key| key.name.as_str()).collect();
        let (mut keys, mut buckets) = (self.keys.clone(), BTreeMap::new());
        for (_, name, record) in directory.changes(0) {
            match (name, record) {
                (Name::ApiKey(name), Record::ApiKey(record)) if !names.contains(name.as_str()) => {
                    let entry = entry(name, record);
                    if entry.check().is_ok() {
                        keys.entry(entry.mac).or_insert(entry);
                    }
                }
                (Name::Tenant(tenant), Record::Tenant(record)) => {
                    let rate = record
                        .rate
                        .and_then(|(per_second, burst)| rate(*tenant, per_second, burst).ok());
                    buckets.extend(rate.map(|rate| (*tenant, Arc::new(Bucket::new(rate)))));
                }
                _ => {}
            }
        }
        buckets.extend(self.buckets.iter().map(|(tenant, own)| (*tenant, Arc::clone(own))));
        Self { mac_key: self.mac_key.clone(), keys, buckets }
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key: then nobody is let in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// What is kept of a key here.
    pub(crate) fn mac(&self, key: &ApiKey) -> KeyMac {
        key.mac(&self.mac_key)
    }

    /// A key, if it is one of these.
    pub(crate) fn find(&self, mac: &KeyMac) -> Option<&KeyEntry> {
        self.keys.get(mac)
    }

    /// What a tenant has left of its rate, if it has one.
    pub(crate) fn bucket(&self, tenant: TenantId) -> Option<Arc<Bucket>> {
        self.buckets.get(&tenant).cloned()
    }
}

/// A key as the directory has it.
fn entry(name: &str, record: &ApiKeyRecord) -> KeyEntry {
    let scope = match wire::convert::scope(record.scopes) {
        v1::ApiKeyScope::Unspecified => None,
        v1::ApiKeyScope::Read => Some(Scope::Read),
        v1::ApiKeyScope::Tenant => Some(Scope::Tenant),
        v1::ApiKeyScope::Admin => Some(Scope::Admin),
    };
    let expires = record.expires.and_then(|at| UNIX_EPOCH.checked_add(Duration::from_millis(at.0)));
    KeyEntry {
        name: name.to_owned(),
        tenant: record.tenant,
        scopes: scope.into_iter().collect(),
        mac: KeyMac::of(record.mac),
        expires,
    }
}

/// What is wrong with a keyring.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// Give the key 1 to 64 letters, digits, `_`, `-`, `.` as its name.
    #[error("`{0}` is no key's name: 1 to {NAME_BYTES_MAX} letters, digits, `_`, `-`, `.`")]
    Name(String),
    /// Use `read`, `tenant` or `admin`.
    #[error("`{0}` is no scope; there are `read`, `tenant` and `admin`")]
    Scope(String),
    /// Give the key a scope.
    #[error("key `{0}` has no scope")]
    NoScope(String),
    /// Only keys of tenant 0, the operator, may be of scope `admin`.
    #[error("key `{0}` has the scope `admin`, but its tenant is not the operator (0)")]
    AdminOfTenant(String),
    /// Name every key differently.
    #[error("two keys are called `{0}`")]
    Twice(String),
    /// Take one of the two entries out.
    #[error("key `{0}` is there twice, under two names")]
    SameKey(String),
    /// Take keys out that nobody uses.
    #[error("{0} keys; a keyring holds {KEYS_MAX} at the most")]
    TooMany(usize),
    /// Let the tenant send 1 or more requests a second, and 1 or more at once.
    #[error("tenant {0}'s rate: at least 1 request a second, and 1 at once")]
    Rate(u32),
}

/// Reads a rate as it is written.
///
/// # Errors
/// [`KeyringError::Rate`] when a number is 0.
pub fn rate(tenant: TenantId, per_second: u32, burst: u32) -> Result<Rate, KeyringError> {
    let read = NonZeroU32::new(per_second).zip(NonZeroU32::new(burst));
    let (per_second, burst) = read.ok_or(KeyringError::Rate(tenant.0))?;
    Ok(Rate { per_second, burst })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, tenant: u32, scope: Scope) -> KeyEntry {
        KeyEntry {
            name: name.to_owned(),
            tenant: TenantId(tenant),
            scopes: [scope].into_iter().collect(),
            mac: ApiKey::random().unwrap().mac(&MacKey::random().unwrap()),
            expires: None,
        }
    }

    fn refused(entries: Vec<KeyEntry>) -> KeyringError {
        Keyring::new(MacKey::random().unwrap(), entries, BTreeMap::new()).unwrap_err()
    }

    #[test]
    fn a_keyring_is_checked_whole() {
        let shop = entry("shop", 7, Scope::Tenant);
        let same = KeyEntry { name: "other".into(), ..shop.clone() };
        assert_eq!(refused(vec![shop.clone(), same]), KeyringError::SameKey("shop".into()));
        let twice = vec![shop.clone(), entry("shop", 8, Scope::Read)];
        assert_eq!(refused(twice), KeyringError::Twice("shop".into()));
        let admin = entry("boss", 7, Scope::Admin);
        assert_eq!(refused(vec![admin]), KeyringError::AdminOfTenant("boss".into()));
        let useless = KeyEntry { scopes: Scopes::default(), ..shop };
        assert_eq!(refused(vec![useless]), KeyringError::NoScope("shop".into()));
        for bad in ["", "a b", "\"", &"a".repeat(65)] {
            let refused = refused(vec![entry(bad, 7, Scope::Read)]);
            assert_eq!(refused, KeyringError::Name(bad.to_owned()));
        }
        assert_eq!(rate(TenantId(7), 0, 1), Err(KeyringError::Rate(7)));
    }

    #[test]
    fn a_wider_scope_allows_what_a_narrower_one_does() {
        let scopes = |scope| [scope].into_iter().collect::<Scopes>();
        for (has, wants, allowed) in [
            (Scope::Read, Scope::Read, true),
            (Scope::Read, Scope::Tenant, false),
            (Scope::Tenant, Scope::Read, true),
            (Scope::Tenant, Scope::Tenant, true),
            (Scope::Tenant, Scope::Admin, false),
            (Scope::Admin, Scope::Tenant, true),
            (Scope::Admin, Scope::Admin, true),
        ] {
            assert_eq!(scopes(has).allow(wants), allowed, "{has:?} {wants:?}");
        }
        assert!(!Scopes::default().allow(Scope::Read));
        assert_eq!("Admin".parse::<Scope>(), Err(KeyringError::Scope("Admin".into())));
    }

    #[test]
    fn a_new_keyring_gives_nobody_a_fresh_allowance() {
        let keyring = |burst| {
            let rates = BTreeMap::from([(TenantId(7), rate(TenantId(7), 1, burst).unwrap())]);
            Keyring::new(MacKey::random().unwrap(), Vec::new(), rates).unwrap()
        };
        let first = keyring(100);
        assert_eq!(first.bucket(TenantId(7)).unwrap().take(200), 100);
        let same = keyring(100).after(&first);
        assert!(same.bucket(TenantId(7)).unwrap().take(200) < 100);
        let other = keyring(200).after(&same);
        assert_eq!(other.bucket(TenantId(7)).unwrap().take(200), 200, "another rate begins anew");
        assert!(other.bucket(TenantId(8)).is_none());
    }
}
