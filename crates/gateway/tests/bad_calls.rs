//! Calls that were sound once: whatever was changed in them, both doors answer, with a code, and never with a failure of
//! their own.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise"
)]

#[path = "../../ledger/tests/mutants/mod.rs"]
mod mutants;
mod support;

use std::collections::BTreeMap;

use mutants::Mutants;
use prost::Message;
use serde_json::json;
use support::http::Http;
use support::{Cluster, said, transfer, wanted, yuan};
use wire::proto::v1;

/// Calls of each door.
const CALLS: usize = 6_000;

#[tokio::test]
async fn over_http() {
    let mut cluster = Cluster::start().await;
    let (debit, credit) = (cluster.wallet("a", 1_000_000).await, cluster.wallet("b", 0).await);
    let mut http = Http::connect(&cluster.http).await;
    let amount = json!({ "amount": 5, "currency": "CNY" });
    let calls = [
        (
            "POST",
            "/v1/transfers",
            json!({ "debit_account": debit, "credit_account": credit, "amount": amount }),
        ),
        (
            "POST",
            "/v1/holds",
            json!({ "debit_account": debit, "credit_account": credit, "amount": amount, "ttl": "60s" }),
        ),
        ("POST", "/v1/accounts", json!({ "currency": "CNY", "kind": "wallet", "owner": "lin" })),
    ];
    let targets = [
        "/v1/transfers".to_owned(),
        "/v1/holds".to_owned(),
        "/v1/accounts".to_owned(),
        format!("/v1/accounts/{debit}"),
        format!("/v1/accounts/{debit}/postings?page_size=5"),
        format!("/v1/accounts/{debit}:freeze"),
        "/openapi.json".to_owned(),
    ];
    let mut targets = Mutants::of(targets);
    let mut keys = Mutants::of(["0192f0a1-3c5e-7d10-8a2b-5f1e9c7d4b21", "rent 2026-11"]);
    let mut bodies: Vec<Mutants> =
        calls.iter().map(|(_, _, body)| Mutants::of([body.to_string()])).collect();
    let mut met: BTreeMap<u16, usize> = BTreeMap::new();
    for _ in 0..CALLS {
        let call = targets.below(calls.len());
        let (method, sound, _) = &calls[call];
        let is_bent = targets.below(4) == 0;
        let target = if is_bent { path(&targets.next()) } else { (*sound).to_owned() };
        let method = if targets.below(16) == 0 { "GET" } else { *method };
        let key = printable(&keys.next());
        let headers = [("Idempotency-Key", key.as_str()), ("Content-Type", "application/json")];
        let body = bodies[call].next();
        let answer = http.send(method, &target, &headers, Some(&body)).await;
        *met.entry(answer.status).or_default() += 1;
        assert!(answer.status < 500, "{method} {target} {key:?} {body:?}: {}", answer.text());
        if answer.header("content-type").is_none() {
            // It was no HTTP, and the connection is over.
            assert_eq!((answer.status, answer.body.len()), (400, 0), "{target}");
            http = Http::connect(&cluster.http).await;
        } else if answer.status >= 400 {
            assert!(!answer.code().is_empty());
        }
    }
    assert!(met.keys().any(|status| *status < 300), "nothing gets through: {met:?}");
    assert!(met.keys().any(|status| *status >= 400), "nothing is refused: {met:?}");
    // Whatever was asked, it was double entry.
    assert!(cluster.shared.ledger.lock().unwrap().audit().is_ok());
    cluster.stop_gateway().await;
}

/// A path, whatever comes after its slash: with anything else in its place it is not HTTP.
fn path(bytes: &[u8]) -> String {
    let text = printable(bytes);
    if text.starts_with('/') { text } else { format!("/{text}") }
}

/// What an HTTP client can write into a line.
fn printable(bytes: &[u8]) -> String {
    let shown = bytes.iter().map(|byte| match byte {
        b'!'..=b'~' => char::from(*byte),
        _ => '~',
    });
    shown.collect()
}

#[tokio::test]
async fn over_grpc() {
    let mut cluster = Cluster::start().await;
    let (debit, credit) = (cluster.wallet("a", 1_000_000).await, cluster.wallet("b", 0).await);
    let hold = v1::PlaceHoldRequest {
        idempotency_key: "h".to_owned(),
        debit_account: debit.clone(),
        credit_account: credit.clone(),
        amount: Some(yuan(7)),
        ttl: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
        ..Default::default()
    };
    let hold = v1::Request { command: Some(v1::request::Command::PlaceHold(hold)) };
    let sound =
        [wanted(transfer("0192f0a1-3c5e-7d10-8a2b-5f1e9c7d4b21", &debit, &credit, 5)), hold];
    let mut mutants = Mutants::of(sound.map(|request| request.encode_to_vec()));
    let (mut posted, mut refused, mut sent) = (0_usize, 0_usize, 0_usize);
    while sent < CALLS {
        let requests: Vec<v1::Request> = std::iter::from_fn(|| Some(mutants.next()))
            .filter_map(|bytes| v1::Request::decode(&bytes[..]).ok())
            .take(50)
            .collect();
        sent += requests.len();
        let answer = cluster.client.submit_batch(v1::SubmitBatchRequest { requests });
        let outcomes = answer.await.unwrap().into_inner().outcomes;
        assert_eq!(outcomes.len(), 50);
        for outcome in &outcomes {
            match outcome.result.as_ref().unwrap() {
                v1::outcome::Result::Posted(_) => posted += 1,
                v1::outcome::Result::Rejected(_) | v1::outcome::Result::Failed(_) => {
                    let code = said(outcome);
                    assert!(wire::catalogue::find(code).is_some(), "{code}");
                    refused += 1;
                }
            }
        }
    }
    assert!(posted > 0 && refused > CALLS / 20, "{posted} posted, {refused} refused");
    assert!(cluster.shared.ledger.lock().unwrap().audit().is_ok());
    cluster.stop_gateway().await;
}
