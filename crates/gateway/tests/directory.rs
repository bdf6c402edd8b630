//! The directory at a gateway's doors: tenants, keys, aliases and tables, as the meta group decides and the gateway follows.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use gateway::keyring::{KeyEntry, Scope};
use gateway::{ApiKey, Keyring, MacKey};
use ledger::TenantId;
use support::http::Http;
use support::{Cluster, code, transfer};
use tokio::sync::watch;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use wire::proto::v1;
use wire::proto::v1::directory_client::DirectoryClient;

/// As long as anything here may take on a machine that has other work.
const PATIENCE: Duration = Duration::from_secs(30);

/// A gateway that asks for keys, and the operator's.
struct Guarded {
    cluster: Cluster,
    root: String,
    _source: watch::Sender<Arc<Keyring>>,
}

impl Guarded {
    async fn start() -> Self {
        let secret = MacKey::random().unwrap();
        let root = ApiKey::random().unwrap();
        let entry = KeyEntry {
            name: "root".to_owned(),
            tenant: TenantId(0),
            scopes: [Scope::Admin].into_iter().collect(),
            mac: root.mac(&secret),
            expires: None,
        };
        let keyring = Keyring::new(secret, vec![entry], BTreeMap::new()).unwrap();
        let (source, keys) = watch::channel(Arc::new(keyring));
        let cluster = Cluster::start_with_keys(keys).await;
        Self { cluster, root: root.reveal(), _source: source }
    }

    fn directory(&self) -> DirectoryClient<Channel> {
        directory(&self.cluster)
    }

    fn asked<T>(&self, message: T) -> Request<T> {
        with_key(&self.root, message)
    }

    async fn made(&self, name: &str, tenant: u32, scope: v1::ApiKeyScope) -> String {
        let name = name.to_owned();
        let wanted = v1::ApiKey { name, tenant, scope: scope.into(), expire_time: None };
        let request = v1::CreateApiKeyRequest { api_key: Some(wanted) };
        let made = self.directory().create_api_key(self.asked(request)).await.unwrap();
        made.into_inner().secret
    }
}

fn directory(cluster: &Cluster) -> DirectoryClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", cluster.address)).unwrap();
    DirectoryClient::new(endpoint.connect_lazy())
}

fn with_key<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = MetadataValue::try_from(format!("Bearer {key}")).unwrap();
    request.metadata_mut().insert("authorization", bearer);
    request
}

fn for_tenant<T>(mut request: Request<T>, tenant: u32) -> Request<T> {
    request.metadata_mut().insert("paycore-tenant", MetadataValue::from(tenant));
    request
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> &'static str {
    code(&answer.unwrap_err())
}

fn alias(key: &str, alias: &str, account: &str) -> v1::PutAliasRequest {
    let alias = v1::Alias { alias: alias.to_owned(), account: account.to_owned() };
    v1::PutAliasRequest { idempotency_key: key.to_owned(), alias: Some(alias) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_doors_from_when_it_is_made_until_it_is_revoked() {
    let guarded = Guarded::start().await;
    let shop = guarded.made("shop", 7, v1::ApiKeyScope::Tenant).await;
    let mut payments = guarded.cluster.client.clone();
    let open = |key: &str| v1::OpenAccountRequest {
        idempotency_key: key.to_owned(),
        currency_code: "CNY".into(),
        ..Default::default()
    };
    payments.open_account(with_key(&shop, open("one"))).await.unwrap();

    let again = v1::ApiKey { name: "shop".into(), tenant: 7, scope: 2, expire_time: None };
    let again = v1::CreateApiKeyRequest { api_key: Some(again) };
    let taken = guarded.directory().create_api_key(guarded.asked(again)).await;
    assert_eq!(refused(taken), "NAME_TAKEN");

    let revoke = v1::RevokeApiKeyRequest { idempotency_key: "r1".into(), name: "shop".into() };
    let revoked = guarded.directory().revoke_api_key(guarded.asked(revoke.clone())).await.unwrap();
    assert!(!revoked.into_inner().replayed);
    let again = guarded.directory().revoke_api_key(guarded.asked(revoke)).await.unwrap();
    assert!(again.into_inner().replayed, "the same key, the same answer");
    // Whoever asked for the change has seen it; the keyring follows in its own task.
    let mut payments = guarded.cluster.client.clone();
    let refused_at_last = async {
        while payments.open_account(with_key(&shop, open("two"))).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, refused_at_last).await.unwrap();
    let nobody = payments.open_account(with_key(&shop, open("three"))).await;
    assert_eq!(refused(nobody), "UNAUTHENTICATED");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_is_the_operators_but_for_a_tenants_own_aliases() {
    let guarded = Guarded::start().await;
    let shop = guarded.made("shop", 7, v1::ApiKeyScope::Tenant).await;
    let clerk = guarded.made("clerk", 7, v1::ApiKeyScope::Read).await;
    let mut directory = guarded.directory();
    let denied = "PERMISSION_DENIED";
    let show = || with_key(&shop, v1::GetDirectoryRequest {});
    assert_eq!(refused(directory.get_directory(show()).await), denied);
    let tenant = Some(v1::Tenant { tenant: 7, ..Default::default() });
    let put = v1::PutTenantRequest { idempotency_key: "t".into(), tenant };
    assert_eq!(refused(directory.put_tenant(with_key(&shop, put)).await), denied);
    let key = v1::CreateApiKeyRequest::default();
    assert_eq!(refused(directory.create_api_key(with_key(&shop, key)).await), denied);
    let revoke = v1::RevokeApiKeyRequest { idempotency_key: "r".into(), name: "clerk".into() };
    assert_eq!(refused(directory.revoke_api_key(with_key(&shop, revoke)).await), denied);
    let table = v1::PublishTableRequest { idempotency_key: "p".into(), table: None };
    assert_eq!(refused(directory.publish_table(with_key(&shop, table)).await), denied);
    let table = v1::WithdrawTableRequest { idempotency_key: "w".into(), ..Default::default() };
    assert_eq!(refused(directory.withdraw_table(with_key(&shop, table)).await), denied);
    let table = v1::GetTableRequest::default();
    assert_eq!(refused(directory.get_table(with_key(&shop, table)).await), denied);
    let level = v1::RaiseLevelRequest { idempotency_key: "l".into(), level: 2 };
    assert_eq!(refused(directory.raise_level(with_key(&shop, level)).await), denied);

    let account = format!("acc_{:032x}", 1);
    let named = alias("a", "acc_till", &account);
    assert_eq!(refused(directory.put_alias(with_key(&clerk, named.clone())).await), denied);
    assert_eq!(
        refused(directory.put_alias(for_tenant(with_key(&shop, named.clone()), 8)).await),
        denied
    );
    directory.put_alias(with_key(&shop, named)).await.unwrap();
    let asked = || v1::GetAliasRequest { alias: "acc_till".into() };
    let found = directory.get_alias(with_key(&clerk, asked())).await.unwrap().into_inner();
    assert_eq!(found.account, format!("accounts/{account}"));
    let other = guarded.made("other", 8, v1::ApiKeyScope::Tenant).await;
    let not_his = directory.get_alias(with_key(&other, asked())).await;
    assert_eq!(refused(not_his), "ALIAS_NOT_FOUND", "another tenant's name is nobody's");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_stands_for_its_account_at_both_doors() {
    let mut cluster = Cluster::start().await;
    let lin = cluster.wallet("lin", 1_000).await;
    let wang = cluster.wallet("wang", 0).await;
    let mut directory = directory(&cluster);
    directory.put_alias(alias("a1", "acc_lin", &lin)).await.unwrap();
    directory.put_alias(alias("a2", "accounts/acc_wang", &wang)).await.unwrap();
    assert_eq!(refused(directory.put_alias(alias("a3", "acc_lin", &wang)).await), "NAME_TAKEN");
    let hidden = alias("a4", &format!("acc_{:032x}", 7), &wang);
    assert_eq!(refused(directory.put_alias(hidden).await), "INVALID_FIELD", "it would hide an id");

    cluster.client.transfer(transfer("t1", "acc_lin", "accounts/acc_wang", 300)).await.unwrap();
    let to_nobody = cluster.client.transfer(transfer("t2", "acc_lin", "acc_nobody", 1)).await;
    assert_eq!(refused(to_nobody), "ALIAS_NOT_FOUND");
    let asked = v1::GetAccountRequest { name: "acc_wang".into(), stale_ok: false };
    let account = cluster.client.get_account(asked).await.unwrap().into_inner();
    assert_eq!((account.name, account.posted.unwrap().units_minor), (wang.clone(), 300));
    let page = v1::ListPostingsRequest { parent: "acc_lin".into(), ..Default::default() };
    let postings = cluster.client.list_postings(page).await.unwrap().into_inner().postings;
    assert_eq!(postings.len(), 2);

    let mut http = Http::connect(&cluster.http).await;
    let account = http.get("/v1/accounts/acc_wang", &[]).await;
    assert_eq!((account.status, account.text().contains(&wang[9..])), (200, true), "{account:?}");
    let unknown = http.get("/v1/accounts/acc_nobody", &[]).await;
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "ALIAS_NOT_FOUND"));

    let drop = v1::DeleteAliasRequest { idempotency_key: "d".into(), alias: "acc_lin".into() };
    directory.delete_alias(drop).await.unwrap();
    let gone = cluster.client.transfer(transfer("t3", "acc_lin", &wang, 1)).await;
    assert_eq!(refused(gone), "ALIAS_NOT_FOUND");
    assert_eq!(cluster.balance(&wang), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_published_ahead_and_shown_by_their_time() {
    let cluster = Cluster::start().await;
    let mut directory = directory(&cluster);
    let now = SystemTime::now();
    let at = |hours: u64| {
        let at = now + Duration::from_secs(hours * 3_600 + 60);
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        prost_types::Timestamp { seconds: i64::try_from(since.as_secs()).unwrap(), nanos: 0 }
    };
    let table = |hours, content: &str| v1::Table {
        name: "fees".into(),
        effective_time: Some(at(hours)),
        content: content.into(),
        version: 0,
    };
    let publish = |key: &str, table| v1::PublishTableRequest {
        idempotency_key: key.to_owned(),
        table: Some(table),
    };
    directory.publish_table(publish("p1", table(1, "{\"rate\": 1}"))).await.unwrap();
    directory.publish_table(publish("p2", table(3, "{\"rate\": 2}"))).await.unwrap();
    let soon = directory.publish_table(publish("p3", table(0, "{}"))).await;
    assert_eq!(refused(soon), "TABLE_TOO_SOON");
    let other = directory.publish_table(publish("p4", table(3, "{}"))).await;
    assert_eq!(refused(other), "NAME_TAKEN", "what is published never changes");
    let no_json = directory.publish_table(publish("p5", table(5, "rate = 1"))).await;
    assert_eq!(refused(no_json), "INVALID_FIELD");

    let get = |at_time| v1::GetTableRequest { name: "fees".into(), at_time };
    assert_eq!(refused(directory.get_table(get(None)).await), "TABLE_NOT_FOUND");
    for (hours, content) in [(1, "{\"rate\": 1}"), (2, "{\"rate\": 1}"), (3, "{\"rate\": 2}")] {
        let found = directory.get_table(get(Some(at(hours)))).await.unwrap().into_inner();
        assert_eq!(found.content, content, "in {hours} hours");
    }
    let withdraw = v1::WithdrawTableRequest {
        idempotency_key: "w".into(),
        name: "fees".into(),
        effective_time: Some(at(3)),
    };
    directory.withdraw_table(withdraw).await.unwrap();
    let found = directory.get_table(get(Some(at(9)))).await.unwrap().into_inner();
    assert_eq!(found.content, "{\"rate\": 1}");
    let level = v1::RaiseLevelRequest { idempotency_key: "l".into(), level: 2 };
    assert_eq!(
        refused(directory.raise_level(level).await),
        "LEVEL_NOT_READY",
        "no node has spoken"
    );

    let all = directory.get_directory(v1::GetDirectoryRequest {}).await.unwrap().into_inner();
    assert_eq!((all.level, all.tables.len(), all.aliases), (1, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_rate_holds_as_soon_as_it_is_put() {
    let guarded = Guarded::start().await;
    let shop = guarded.made("shop", 7, v1::ApiKeyScope::Tenant).await;
    let rate = Some(v1::RequestRate { requests_per_second: 1, burst: 2 });
    let tenant = v1::Tenant { tenant: 7, label: "shop".into(), rate };
    let put = v1::PutTenantRequest { idempotency_key: "t".into(), tenant: Some(tenant) };
    guarded.directory().put_tenant(guarded.asked(put)).await.unwrap();
    let mut payments = guarded.cluster.client.clone();
    let mut limited = false;
    for number in 0..1_000 {
        let open = v1::OpenAccountRequest {
            idempotency_key: format!("k{number}"),
            currency_code: "CNY".into(),
            ..Default::default()
        };
        if let Err(status) = payments.open_account(with_key(&shop, open)).await {
            assert_eq!(code(&status), "RATE_LIMITED");
            limited = true;
            break;
        }
    }
    assert!(limited);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_keys_makes_none() {
    let cluster = Cluster::start().await;
    let wanted = v1::ApiKey { name: "shop".into(), tenant: 7, scope: 2, expire_time: None };
    let request = v1::CreateApiKeyRequest { api_key: Some(wanted) };
    assert_eq!(refused(directory(&cluster).create_api_key(request).await), "KEYS_ABSENT");
}
