//! What only the HTTP door has: paths, methods, media types, JSON, headers, pages, and connections.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise"
)]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::Cluster;
use support::http::{Answer, Http};
use wire::catalogue::CATALOGUE;

const NOBODY: &str = "acc_01900000000070008000000000000abc";

fn pay(debit: &str, credit: &str, amount: &Value) -> Value {
    let amount = json!({ "amount": amount, "currency": "CNY" });
    json!({ "debit_account": debit, "credit_account": credit, "amount": amount })
}

/// What one call is refused with, and where it is wrong.
fn check(answer: &Answer, code: &str, places: &[&str]) {
    assert_eq!(answer.code(), code, "{}", answer.text());
    assert_eq!(answer.places(), places, "{}", answer.text());
}

#[tokio::test]
async fn paths_methods_and_media_types_are_refused_as_problems() {
    let cluster = Cluster::start().await;
    let mut http = Http::connect(&cluster.http).await;
    for target in [
        "/",
        "/v1",
        "/v1/nothing",
        "/v1/accounts/",
        "/v1/accounts/acc_1:melt",
        "/v2/accounts",
        "/docs/errors/NOT_A_CODE",
    ] {
        check(&http.get(target, &[]).await, "ROUTE_NOT_FOUND", &[]);
    }
    for (method, target, allow) in [
        ("GET", "/v1/transfers", "POST"),
        ("DELETE", "/v1/accounts/acc_1", "GET"),
        ("GET", "/v1/accounts/acc_1:freeze", "POST"),
        ("PUT", "/v1/accounts/acc_1/postings", "GET"),
        ("PATCH", "/openapi.json", "GET"),
    ] {
        let answer = http.send(method, target, &[], None).await;
        check(&answer, "METHOD_NOT_ALLOWED", &[]);
        assert_eq!(answer.header("allow"), Some(allow));
    }

    let body = pay(NOBODY, NOBODY, &json!(1)).to_string();
    let key = ("Idempotency-Key", "k");
    for headers in [
        &[key][..],
        &[key, ("Content-Type", "text/plain")],
        &[key, ("Content-Type", "application/x-www-form-urlencoded")],
        &[key, ("Content-Type", "application/json"), ("Content-Encoding", "gzip")],
    ] {
        let answer = http.send("POST", "/v1/transfers", headers, Some(body.as_bytes())).await;
        check(&answer, "MEDIA_TYPE_UNSUPPORTED", &[]);
    }
    let said = [key, ("Content-Type", "Application/JSON; charset=utf-8")];
    let answer = http.send("POST", "/v1/transfers", &said, Some(body.as_bytes())).await;
    assert_eq!(answer.code(), "SAME_ACCOUNT");

    let long = format!("{{\"x\":\"{}\"}}", "x".repeat(64 << 10));
    let answer = http.send("POST", "/v1/transfers", &said, Some(long.as_bytes())).await;
    check(&answer, "BODY_TOO_LARGE", &[]);
    let chunked = format!(
        "POST /v1/transfers HTTP/1.1\r\nHost: t\r\nIdempotency-Key: k\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n0\r\n\r\n",
        long.len()
    );
    let mut http = Http::connect(&cluster.http).await;
    http.write(chunked.as_bytes()).await;
    check(&http.read("POST").await, "BODY_TOO_LARGE", &[]);
}

#[tokio::test]
async fn json_is_read_strictly_and_what_is_wrong_is_pointed_at() {
    let cluster = Cluster::start().await;
    let mut http = Http::connect(&cluster.http).await;
    for (amount, part) in [
        (json!(1.5), "floating point `1.5`"),
        (json!(1.0), "floating point `1.0`"),
        (json!("1"), "string \"1\""),
        (json!(null), "null"),
        (json!(u64::MAX), "18446744073709551615"),
    ] {
        let answer = http.post("/v1/transfers", "k", &pay(NOBODY, NOBODY, &amount)).await;
        check(&answer, "INVALID_FIELD", &["/amount/amount"]);
        assert!(answer.json()["detail"].as_str().unwrap().contains(part), "{}", answer.text());
    }
    for (body, place) in [
        (json!({ "debit": "a" }), "/debit"),
        (json!({ "amount": { "amount": 1, "currency": "CNY", "scale": 2 } }), "/amount/scale"),
        (json!({ "amount": 100 }), "/amount"),
        (json!([]), ""),
        (json!({ "idempotency_key": "k" }), "/idempotency_key"),
    ] {
        check(&http.post("/v1/transfers", "k", &body).await, "INVALID_FIELD", &[place]);
    }
    let headers = [("Idempotency-Key", "k"), ("Content-Type", "application/json")];
    for (text, place) in [
        (&br#"{"amount":{"amount":1,"amount":2,"currency":"CNY"}}"#[..], "/amount/amount"),
        (br#"{"debit_account":"a""#, ""),
        (b"\xff\xfe", ""),
        (br#"{} {}"#, ""),
    ] {
        let answer = http.send("POST", "/v1/transfers", &headers, Some(text)).await;
        check(&answer, "INVALID_FIELD", &[place]);
    }

    // Everything that the shared conversion refuses is named at once, in this door's words.
    let all = ["/debit_account", "/credit_account", "/amount/currency", "/amount/amount"];
    let body = json!({ "amount": { "amount": 0, "currency": "" } });
    check(&http.post("/v1/transfers", "k", &body).await, "INVALID_FIELD", &all);
    let absent = http.send("POST", "/v1/transfers", &headers[..1], None).await;
    check(&absent, "INVALID_FIELD", &["/debit_account", "/credit_account", "/amount"]);
    let legs = json!([{ "debit_account": NOBODY, "credit_account": NOBODY, "units_minor": 0 }]);
    let body = json!({ "initiator_account": NOBODY, "currency_code": "CNY", "legs": legs });
    let answer = http.post("/v1/multi-transfers", "k", &body).await;
    check(&answer, "INVALID_FIELD", &["/legs/0/units_minor"]);
    let answer = http.post("/v1/accounts/nonsense:close", "k", &json!({})).await;
    check(&answer, "INVALID_FIELD", &["id"]);
    assert_eq!(cluster.shared.ledger.lock().unwrap().index(), 0, "nothing was proposed");
}

#[tokio::test]
async fn headers_and_parameters_are_read_strictly() {
    let cluster = Cluster::start().await;
    let mut http = Http::connect(&cluster.http).await;
    let json = ("Content-Type", "application/json");
    let body = pay(NOBODY, NOBODY, &json!(1)).to_string();
    for (headers, code) in [
        (&[json][..], "MISSING_KEY"),
        (&[json, ("Idempotency-Key", "\"\"")], "MISSING_KEY"),
        (&[json, ("Idempotency-Key", "\"open")], "INVALID_FIELD"),
        (&[json, ("Idempotency-Key", "a, b")], "INVALID_FIELD"),
        (&[json, ("Idempotency-Key", "a"), ("Idempotency-Key", "b")], "INVALID_FIELD"),
    ] {
        let answer = http.send("POST", "/v1/transfers", headers, Some(body.as_bytes())).await;
        check(&answer, code, &["Idempotency-Key"]);
    }
    // A wrong key is said before a wrong body, as on gRPC.
    let answer = http.send("POST", "/v1/transfers", &[json], Some(b"nonsense")).await;
    assert_eq!(answer.code(), "MISSING_KEY");

    let target = format!("/v1/accounts/{NOBODY}");
    check(
        &http.get(&target, &[("Grpc-Timeout", "soon")]).await,
        "INVALID_FIELD",
        &["Grpc-Timeout"],
    );
    let hasty = http.get(&target, &[("Grpc-Timeout", "0m")]).await;
    check(&hasty, "NO_LEADER", &[]);
    let headers = [json, ("Idempotency-Key", "hasty"), ("Grpc-Timeout", "0m")];
    let hasty = http.send("POST", "/v1/transfers", &headers, Some(body.as_bytes())).await;
    check(&hasty, "DEADLINE_PASSED", &[]);
    for (query, place) in [
        ("stale_ok=maybe", "stale_ok"),
        ("stale=true", "stale"),
        ("stale_ok=true&stale_ok=true", "stale_ok"),
    ] {
        let answer = http.get(&format!("{target}?{query}"), &[]).await;
        check(&answer, "INVALID_FIELD", &[place]);
    }
    let limit = http.get(&format!("{target}/postings?limit=ten"), &[]).await;
    check(&limit, "INVALID_FIELD", &["limit"]);
    let limit = http.get(&format!("{target}/postings?limit=-1"), &[]).await;
    check(&limit, "INVALID_FIELD", &["limit"]);
    let cursor = http.get(&format!("{target}/postings?cursor=00"), &[]).await;
    check(&cursor, "PAGE_TOKEN_INVALID", &["cursor"]);

    let named = http.get(&target, &[("X-Request-Id", "trace-me-17")]).await;
    assert_eq!(named.json()["request_id"], "trace-me-17");
    assert_eq!(named.json()["instance"], target);
    for strange in ["with space", &"x".repeat(129)] {
        let other = http.get(&target, &[("X-Request-Id", strange)]).await;
        assert_eq!(other.header("x-request-id").unwrap().len(), 36, "a name was made");
    }
}

#[tokio::test]
async fn a_batch_names_the_place_of_what_is_wrong_in_the_whole_body() {
    let cluster = Cluster::start().await;
    let mut http = Http::connect(&cluster.http).await;
    let transfer = pay(NOBODY, "x", &json!(0));
    let requests = json!([
        { "idempotency_key": "a", "transfer": transfer },
        { "transfer": transfer },
        { "idempotency_key": "b" },
        { "idempotency_key": "c", "transfer": transfer, "close_account": {}, "name": NOBODY },
        { "idempotency_key": "d", "transfer": transfer, "name": NOBODY },
        { "idempotency_key": "e", "void_hold": {} },
        { "idempotency_key": "f", "void_hold": {}, "close_account": {}, "name": NOBODY },
    ]);
    let answer = http.post("/v1/batches", "", &json!({ "requests": requests })).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let outcomes = answer.json()["outcomes"].as_array().unwrap().clone();
    let pointers = outcomes.iter().map(|outcome| {
        let errors = outcome["failed"]["errors"].as_array().unwrap();
        errors.iter().map(|wrong| wrong["pointer"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
    });
    assert_eq!(
        pointers.collect::<Vec<_>>(),
        [
            "/requests/0/transfer/credit_account /requests/0/transfer/amount/amount",
            "/requests/1/idempotency_key",
            "/requests/2",
            "/requests/3/name",
            "/requests/4/name",
            "/requests/5/name",
            "/requests/6",
        ]
    );
    let strange = json!({ "requests": [{}, { "transfer": { "amount": { "amount": 0.5 } } }] });
    let answer = http.post("/v1/batches", "", &strange).await;
    check(&answer, "INVALID_FIELD", &["/requests/1/transfer/amount/amount"]);
    let many = json!({ "requests": vec![json!({}); 100_000] });
    check(&http.post("/v1/batches", "", &many).await, "BATCH_TOO_LARGE", &["/requests"]);
    let large = format!("{{\"requests\":[{}]}}", " ".repeat(4 << 20));
    let headers = [("Content-Type", "application/json")];
    let answer = http.send("POST", "/v1/batches", &headers, Some(large.as_bytes())).await;
    check(&answer, "BODY_TOO_LARGE", &[]);
}

#[tokio::test]
async fn the_door_describes_itself_without_a_network() {
    let cluster = Cluster::start().await;
    let mut http = Http::connect(&cluster.http).await;
    let api = http.get("/openapi.json", &[]).await.json();
    assert_eq!(
        (&api["openapi"], &api["info"]["license"]["name"]),
        (&json!("3.1.0"), &json!("Apache-2.0"))
    );
    assert!(api["paths"].as_object().unwrap().len() >= 15);
    let text = api.to_string();
    for name in text.split("\"#/components/schemas/").skip(1).map(|rest| rest.split('"').next()) {
        assert!(api["components"]["schemas"].get(name.unwrap()).is_some(), "{name:?} is missing");
    }
    for (path, methods) in api["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            // Whatever becomes of it, somebody serves it.
            let target = path.replace("{id}", "x");
            let answer = http.send(&method.to_uppercase(), &target, &[], None).await;
            let code = answer.code();
            assert!(
                !["ROUTE_NOT_FOUND", "METHOD_NOT_ALLOWED"].contains(&code.as_str()),
                "{method} {path}: {code}"
            );
            let examples =
                &operation["responses"]["503"]["content"]["application/problem+json"]["examples"];
            assert_eq!(examples["NO_LEADER"]["value"]["code"], "NO_LEADER", "{method} {path}");
            let named = operation["parameters"].as_array().unwrap().iter();
            let is_keyed = named.filter(|named| named["name"] == "Idempotency-Key").count() == 1;
            assert_eq!(is_keyed, method == "post" && path != "/v1/batches", "{method} {path}");
        }
    }

    for entry in CATALOGUE {
        let page = http.get(&format!("/docs/errors/{}", entry.code), &[]).await;
        assert_eq!(
            (page.status, page.header("content-type")),
            (200, Some("text/html; charset=utf-8"))
        );
        assert!(page.text().contains(entry.code), "{}", entry.code);
    }
    assert!(http.get("/docs/errors", &[]).await.text().contains("KEY_REUSED"));
    let moved = http.get("/docs", &[]).await;
    assert_eq!((moved.status, moved.header("location")), (308, Some("/docs/")));
    let page = http.get("/docs/", &[]).await;
    assert_eq!(page.status, 200);
    for attribute in ["src=\"", "href=\""] {
        for address in
            page.text().split(attribute).skip(1).map(|rest| rest.split('"').next().unwrap())
        {
            assert!(!address.contains("//"), "{address} is elsewhere");
            let target = format!("/docs/{}", address.trim_start_matches("./"));
            assert_eq!(http.get(&target, &[]).await.status, 200, "{target}");
        }
    }
}

#[tokio::test]
async fn a_draining_gateway_answers_what_is_under_way_and_closes_what_is_idle() {
    let mut cluster = Cluster::start().await;
    let lin = cluster.wallet("open lin", 100).await;
    let wang = cluster.wallet("open wang", 0).await;
    let mut idle = Http::connect(&cluster.http).await;
    assert_eq!(idle.get("/docs/errors", &[]).await.status, 200);
    let mut silent = Http::connect(&cluster.http).await;

    cluster.elect(0);
    let mut busy = Http::connect(&cluster.http).await;
    let address = cluster.http.clone();
    let body = pay(&lin, &wang, &json!(7));
    let answer = tokio::spawn(async move {
        let answer = busy.post("/v1/transfers", "under-way", &body).await;
        (answer, busy.is_closed().await)
    });
    let seen = async {
        while cluster.seen("under-way") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), seen).await.expect("it reaches a node");
    cluster.tell_to_stop();
    assert!(idle.is_closed().await && silent.is_closed().await);
    cluster.elect(1);
    let (answer, is_closed) = answer.await.unwrap();
    assert_eq!((answer.status, is_closed), (200, true), "{}", answer.text());
    cluster.stop_gateway().await;
    assert_eq!(cluster.balance(&wang), 7);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn connections_are_counted_and_the_next_one_waits() {
    let cluster = Cluster::start_with(|config| config.limits.connections = 2).await;
    let mut first = Http::connect(&cluster.http).await;
    let mut second = Http::connect(&cluster.http).await;
    assert_eq!(first.get("/docs/errors", &[]).await.status, 200);
    assert_eq!(second.get("/docs/errors", &[]).await.status, 200);
    let mut third = Http::connect(&cluster.http).await;
    let soon = Duration::from_millis(300);
    assert!(tokio::time::timeout(soon, third.get("/docs/errors", &[])).await.is_err());
    drop(first);
    assert_eq!(third.read("GET").await.status, 200);
}
