//! The directory: changes that are asked for → what the meta group is asked; what it knows → what the caller sees.

use ledger::directory::{
    ApiKeyRecord, NAME_BYTES_MAX, Name, Record, TABLE_BYTES_MAX, TenantRecord, is_name,
};
use ledger::{AccountId, Command, Directory, Key, Request, TenantId, Time};
use prost_types::Timestamp;

use super::answers::timestamp;
use super::behalf::{Behalf, read_alias};
use super::fields::Fields;
use super::names::key;
use super::refusal::Refusal;
use super::requests::{Intent, ToIntent};
use crate::proto::v1;

const NAME: &str = "1 to 64 letters, digits, `_`, `-`, `.`";
const ALIAS: &str =
    "`acc_` and 1 to 64 letters, digits, `_`, `-`, `.`, which are no 32 hexadecimal digits";
const TIME: &str = "a time from 1970 on, in whole milliseconds";

/// A change of the directory. Everything but a tenant's own aliases is the operator's.
fn direct(key: Key, tenant: TenantId, name: Name, record: Record) -> Intent {
    let command = Command::Direct { books: AccountId::from_u128(0), name, record };
    Intent { request: Request { key, tenant, command }, made: None }
}

const OPERATOR: TenantId = TenantId(0);

impl ToIntent for v1::PutTenantRequest {
    fn to_intent<'a>(&self, behalf: impl Into<Behalf<'a>>) -> Result<Intent, Refusal> {
        let key = key(&self.idempotency_key)?;
        let mut fields = Fields::of(behalf);
        let wanted = self.tenant.clone().unwrap_or_default();
        if wanted.tenant == 0 {
            fields.wrong("tenant.tenant", "1 or more: 0 is the operator");
        }
        if wanted.label.len() > NAME_BYTES_MAX {
            fields.wrong("tenant.label", "at most 64 bytes");
        }
        let rate = wanted.rate.map(|rate| (rate.requests_per_second, rate.burst));
        if rate.is_some_and(|(rate, burst)| rate == 0 || burst == 0) {
            fields.wrong("tenant.rate", "1 or more requests a second, and 1 or more at once");
        }
        fields.done(Some(()))?;
        let record = TenantRecord { label: wanted.label, rate };
        Ok(direct(key, OPERATOR, Name::Tenant(TenantId(wanted.tenant)), Record::Tenant(record)))
    }
}

impl ToIntent for v1::RevokeApiKeyRequest {
    fn to_intent<'a>(&self, behalf: impl Into<Behalf<'a>>) -> Result<Intent, Refusal> {
        let key = key(&self.idempotency_key)?;
        let mut fields = Fields::of(behalf);
        let name = named(&mut fields, "name", &self.name);
        Ok(direct(key, OPERATOR, Name::ApiKey(fields.done(name)?), Record::Gone))
    }
}

impl ToIntent for v1::PutAliasRequest {
    fn to_intent<'a>(&self, behalf: impl Into<Behalf<'a>>) -> Result<Intent, Refusal> {
        let behalf = behalf.into();
        let key = key(&self.idempotency_key)?;
        let mut fields = Fields::of(behalf);
        let wanted = self.alias.clone().unwrap_or_default();
        let alias = aliased(&mut fields, "alias.alias", &wanted.alias);
        let account = fields.account("alias.account", &wanted.account);
        let (alias, account) = fields.done(alias.zip(account))?;
        let tenant = behalf.tenant;
        Ok(direct(key, tenant, Name::Alias(tenant, alias), Record::Alias(account)))
    }
}

impl ToIntent for v1::DeleteAliasRequest {
    fn to_intent<'a>(&self, behalf: impl Into<Behalf<'a>>) -> Result<Intent, Refusal> {
        let behalf = behalf.into();
        let key = key(&self.idempotency_key)?;
        let mut fields = Fields::of(behalf);
        let alias = aliased(&mut fields, "alias", &self.alias);
        let tenant = behalf.tenant;
        Ok(direct(key, tenant, Name::Alias(tenant, fields.done(alias)?), Record::Gone))
    }
}

impl ToIntent for v1::PublishTableRequest {
    fn to_intent<'a>(&self, behalf: impl Into<Behalf<'a>>) -> Result<Intent, Refusal> {
        let key = key(&self.idempotency_key)?;
        let mut fields = Fields::of(behalf);
        let wanted = self.table.clone().unwrap_or_default();
        let name = named(&mut fields, "table.name", &wanted.name);
        let effective = timed(&mut fields, "table.effective_time", wanted.effective_time.as_ref());
        if !(1..=TABLE_BYTES_MAX).contains(&wanted.content.len()) {
            fields.wrong("table.content", "a JSON document of 1 to 3,072 bytes");
        }
        let (name, effective) = fields.done(name.zip(effective))?;
        Ok(direct(key, OPERATOR, Name::Table(name, effective), Record::Table(wanted.content)))
    }
}

impl ToIntent for v1::WithdrawTableRequest {
    fn to_intent<'a>(&self, behalf: impl Into<Behalf<'a>>) -> Result<Intent, Refusal> {
        let key = key(&self.idempotency_key)?;
        let mut fields = Fields::of(behalf);
        let name = named(&mut fields, "name", &self.name);
        let effective = timed(&mut fields, "effective_time", self.effective_time.as_ref());
        let (name, effective) = fields.done(name.zip(effective))?;
        Ok(direct(key, OPERATOR, Name::Table(name, effective), Record::Gone))
    }
}

impl ToIntent for v1::RaiseLevelRequest {
    fn to_intent<'a>(&self, _: impl Into<Behalf<'a>>) -> Result<Intent, Refusal> {
        let key = key(&self.idempotency_key)?;
        Ok(direct(key, OPERATOR, Name::Level, Record::Level(self.level)))
    }
}

/// What asks for a key with this hash: under a key of its own, because a second attempt makes another key.
///
/// # Errors
/// [`Refusal::InvalidField`] when the key cannot be one.
pub fn api_key_intent(
    wanted: &v1::ApiKey,
    mac: [u8; 32],
    request_key: Key,
) -> Result<Intent, Refusal> {
    let mut fields = Fields::of(OPERATOR);
    let name = named(&mut fields, "api_key.name", &wanted.name);
    let scopes = match wanted.scope() {
        v1::ApiKeyScope::Unspecified => {
            fields.wrong("api_key.scope", "READ, TENANT or ADMIN");
            0
        }
        v1::ApiKeyScope::Read => READ,
        v1::ApiKeyScope::Tenant => TENANT,
        v1::ApiKeyScope::Admin => ADMIN,
    };
    if scopes == ADMIN && wanted.tenant != 0 {
        fields.wrong("api_key.tenant", "0: only the operator's keys may be of scope ADMIN");
    }
    let expires = wanted.expire_time.as_ref();
    let expires = expires.and_then(|at| timed(&mut fields, "api_key.expire_time", Some(at)));
    let name = fields.done(name)?;
    let record = ApiKeyRecord { tenant: TenantId(wanted.tenant), scopes, mac, expires };
    Ok(direct(request_key, OPERATOR, Name::ApiKey(name), Record::ApiKey(record)))
}

/// Scopes as the directory keeps them, a bit for each.
const READ: u8 = 1;
const TENANT: u8 = 2;
const ADMIN: u8 = 4;

/// The widest scope among those of a key.
#[must_use]
pub const fn scope(scopes: u8) -> v1::ApiKeyScope {
    if scopes & ADMIN != 0 {
        v1::ApiKeyScope::Admin
    } else if scopes & TENANT != 0 {
        v1::ApiKeyScope::Tenant
    } else if scopes & READ != 0 {
        v1::ApiKeyScope::Read
    } else {
        v1::ApiKeyScope::Unspecified
    }
}

fn named(fields: &mut Fields<'_>, field: &'static str, name: &str) -> Option<String> {
    if !is_name(name) {
        fields.wrong(field, NAME);
        return None;
    }
    Some(name.to_owned())
}

fn aliased(fields: &mut Fields<'_>, field: &'static str, text: &str) -> Option<String> {
    let alias = read_alias(text);
    if alias.is_none() {
        fields.wrong(field, ALIAS);
    }
    alias.map(str::to_owned)
}

fn timed(fields: &mut Fields<'_>, field: &'static str, at: Option<&Timestamp>) -> Option<Time> {
    let read = at.and_then(read_time);
    if read.is_none() {
        fields.wrong(field, TIME);
    }
    read
}

/// A time as log time is written; `None` when it lies before 1970 or is no whole number of milliseconds.
#[must_use]
pub fn read_time(at: &Timestamp) -> Option<Time> {
    let nanos = u64::try_from(at.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    let whole = u64::try_from(at.seconds).ok()?.checked_mul(1_000)?;
    nanos.is_multiple_of(1_000_000).then_some(())?;
    whole.checked_add(nanos.checked_div(1_000_000)?).map(Time)
}

/// The table of a name that is in force at a time, as far as is published.
///
/// # Errors
/// [`Refusal::InvalidField`] when the time is none.
pub fn table(
    directory: &Directory,
    asked: &v1::GetTableRequest,
    now: Time,
) -> Result<Option<v1::Table>, Refusal> {
    let mut fields = Fields::of(OPERATOR);
    let name = named(&mut fields, "name", &asked.name);
    let at = match &asked.at_time {
        Some(at) => timed(&mut fields, "at_time", Some(at)),
        None => Some(now),
    };
    let (name, at) = fields.done(name.zip(at))?;
    Ok(directory.table_at(&name, at).map(|(effective, version, content)| v1::Table {
        name,
        effective_time: Some(timestamp(effective)),
        content: content.to_owned(),
        version,
    }))
}

/// Everything but the aliases.
#[must_use]
pub fn directory(directory: &Directory) -> v1::GetDirectoryResponse {
    let mut all = v1::GetDirectoryResponse {
        version: directory.version(),
        level: directory.level(),
        tell_time: Some(timestamp(directory.told())),
        ..Default::default()
    };
    let mut changes: Vec<_> = directory.changes(0).collect();
    changes.sort_unstable_by_key(|(_, name, _)| *name);
    for (version, name, record) in changes {
        show(&mut all, directory, (version, name), record);
    }
    all
}

fn show(
    all: &mut v1::GetDirectoryResponse,
    directory: &Directory,
    (version, name): (u64, &Name),
    record: &Record,
) {
    match (name, record) {
        (Name::Node(node), Record::Node(record)) => all.nodes.push(v1::DirectoryNode {
            node_id: *node,
            address: record.address.clone(),
            disk: record.disk.to_vec(),
            level_max: record.level_max,
            is_retired: record.is_retired,
        }),
        (Name::Shard(shard), Record::Placement(placement)) => {
            let heard = directory.heard().get(shard);
            all.shards.push(v1::DirectoryShard {
                shard: (*shard).into(),
                voters: placement.voters.clone(),
                learners: placement.learners.clone(),
                heard_time: heard.map(|heard| timestamp(heard.at)),
                heard_version: heard.map_or(0, |heard| heard.version),
            });
        }
        (Name::Tenant(tenant), Record::Tenant(record)) => all.tenants.push(v1::Tenant {
            tenant: tenant.0,
            label: record.label.clone(),
            rate: record
                .rate
                .map(|(requests_per_second, burst)| v1::RequestRate { requests_per_second, burst }),
        }),
        (Name::ApiKey(name), Record::ApiKey(record)) => all.api_keys.push(v1::ApiKey {
            name: name.clone(),
            tenant: record.tenant.0,
            scope: scope(record.scopes).into(),
            expire_time: record.expires.map(timestamp),
        }),
        (Name::Table(name, effective), Record::Table(_)) => all.tables.push(v1::Table {
            name: name.clone(),
            effective_time: Some(timestamp(*effective)),
            content: String::new(),
            version,
        }),
        (Name::Alias(..), Record::Alias(_)) => all.aliases = all.aliases.saturating_add(1),
        // The level stands in front; and what is gone is not shown.
        _ => {}
    }
}
