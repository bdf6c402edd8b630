//! A gateway with keys: rates, and sessions whose key changes. What each key may do is tried out against real nodes.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use gateway::keyring::{KeyEntry, Keyring, Scope, rate};
use gateway::{ApiKey, MacKey};
use ledger::TenantId;
use support::{Cluster, code, said, transfer, wanted};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;
use wire::proto::v1;
use wire::proto::v1::admin_client::AdminClient;

/// A keyring of one key of tenant 1, or of the operator, which may send so many requests at once and then one a second.
fn ring(key: &ApiKey, scope: Scope, burst: u32) -> Arc<Keyring> {
    let secret = MacKey::random().unwrap();
    let tenant = if scope == Scope::Admin { TenantId(0) } else { TenantId(1) };
    let mac = key.mac(&secret);
    let scopes = [scope].into_iter().collect();
    let entry = KeyEntry { name: "shop".into(), tenant, scopes, mac, expires: None };
    let rates = BTreeMap::from([(tenant, rate(tenant, 1, burst).unwrap())]);
    Arc::new(Keyring::new(secret, vec![entry], rates).unwrap())
}

fn shown<T>(key: &ApiKey, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let bearer = format!("Bearer {}", key.reveal()).parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    request
}

fn requests(count: usize, name: &str) -> Vec<v1::Request> {
    let account = |n: u8| format!("acc_{n:032x}");
    let key = |n: usize| format!("{name} {n}");
    (0..count).map(|n| wanted(transfer(&key(n), &account(1), &account(2), 1))).collect()
}

fn admin(cluster: &Cluster) -> AdminClient<Channel> {
    let address = Endpoint::from_shared(format!("http://{}", cluster.address)).unwrap();
    AdminClient::new(address.connect_lazy())
}

#[tokio::test]
async fn what_is_past_the_rate_is_refused_before_anything_is_proposed() {
    let key = ApiKey::random().unwrap();
    let (_source, keys) = watch::channel(ring(&key, Scope::Tenant, 100));
    let mut cluster = Cluster::start_with_keys(keys).await;
    let batch = v1::SubmitBatchRequest { requests: requests(300, "b") };
    let answer = cluster.client.submit_batch(shown(&key, batch)).await.unwrap().into_inner();
    let codes: Vec<_> = answer.outcomes.iter().map(said).collect();
    let passed = codes.iter().position(|code| *code == "RATE_LIMITED").unwrap();
    assert!((100..300).contains(&passed), "{passed}");
    assert!(codes[..passed].iter().all(|code| *code == "ACCOUNT_NOT_FOUND"));
    assert!(codes[passed..].iter().all(|code| *code == "RATE_LIMITED"), "the first ones pass");
    assert_eq!((cluster.seen("b 0"), cluster.seen("b 299")), (1, 0));

    // One by one: sooner or later the next one comes too early, and is told when to come again.
    let frames = || cluster.shared.frames.load(Ordering::SeqCst);
    let mut client = cluster.client.clone();
    let refused = loop {
        let before = frames();
        let asked = transfer("u", &format!("acc_{:032x}", 1), &format!("acc_{:032x}", 2), 1);
        let status = client.transfer(shown(&key, asked)).await.unwrap_err();
        if code(&status) == "RATE_LIMITED" {
            assert_eq!(frames(), before);
            break status;
        }
    };
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let wait = refused.get_error_details().retry_info().unwrap().retry_delay.unwrap();
    assert!(!wait.is_zero() && wait.as_millis() <= 1_000, "{wait:?}");
    let asked = v1::GetAccountRequest { name: format!("acc_{:032x}", 1), stale_ok: true };
    let mut codes = Vec::new();
    while !codes.contains(&"RATE_LIMITED") {
        codes.push(code(&client.get_account(shown(&key, asked.clone())).await.unwrap_err()));
    }
}

#[tokio::test]
async fn a_session_ends_when_its_key_does() {
    let key = ApiKey::random().unwrap();
    let (source, keys) = watch::channel(ring(&key, Scope::Tenant, 100));
    let mut cluster = Cluster::start_with_keys(keys).await;
    let (frames, outgoing) = mpsc::channel(4);
    let opened = cluster.client.session(shown(&key, ReceiverStream::new(outgoing)));
    let mut answers = opened.await.unwrap().into_inner();
    let frame = |id, count| {
        let requests = requests(count, &format!("s{id}"));
        v1::SessionRequest { id, requests, timeout_ms: 10_000, traceparent: None }
    };
    frames.send(frame(1, 300)).await.unwrap();
    let first = answers.message().await.unwrap().unwrap();
    assert_eq!(said(&first.outcomes[0]), "ACCOUNT_NOT_FOUND");
    assert_eq!(said(&first.outcomes[299]), "RATE_LIMITED", "each request of a frame counts");

    source.send_replace(ring(&ApiKey::random().unwrap(), Scope::Tenant, 100));
    frames.send(frame(2, 1)).await.unwrap();
    let ended = answers.message().await.unwrap_err();
    assert_eq!((code(&ended), ended.code()), ("UNAUTHENTICATED", Code::Unauthenticated));
    assert_eq!(cluster.seen("s2 0"), 0);
}

#[tokio::test]
async fn only_an_operator_audits_and_reads_everything() {
    for (scope, expected) in [
        (Scope::Read, Some("PERMISSION_DENIED")),
        (Scope::Tenant, Some("PERMISSION_DENIED")),
        (Scope::Admin, None),
    ] {
        let key = ApiKey::random().unwrap();
        let (_source, keys) = watch::channel(ring(&key, scope, 100));
        let cluster = Cluster::start_with_keys(keys).await;
        let mut door = admin(&cluster);
        let audited = door.audit(shown(&key, v1::AuditRequest {})).await;
        assert_eq!(audited.err().map(|status| code(&status)), expected, "{scope:?}");
        let all = v1::ReadAllRequest::default();
        let read = door.read_all(shown(&key, all.clone())).await;
        assert_eq!(read.err().map(|status| code(&status)), expected, "{scope:?}");
        let nobody = door.read_all(all).await.unwrap_err();
        assert_eq!(code(&nobody), "UNAUTHENTICATED");
        let frames = cluster.shared.frames.load(Ordering::SeqCst);
        assert_eq!(frames > 0, scope == Scope::Admin, "nothing is proposed for others");
    }
}

#[tokio::test]
async fn everything_is_read_in_a_currency_that_there_is() {
    let cluster = Cluster::start().await;
    let mut door = admin(&cluster);
    let refused = door.read_all(v1::ReadAllRequest { currency_code: "YEN".into() }).await;
    assert_eq!(code(&refused.unwrap_err()), "INVALID_FIELD");
    assert_eq!(cluster.shared.frames.load(Ordering::SeqCst), 0);
}
