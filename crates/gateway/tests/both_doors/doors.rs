//! The same question at either door, and what came back in words that both share.

use serde_json::{Map, Value, json};
use tonic::{Code, Status};
use wire::catalogue;
use wire::proto::v1;
use wire::proto::v1::payments_client::PaymentsClient;
use wire::proto::v1::request::Command;
use wire::status::{REPLAYED, Said};

use crate::support::http::{Answer, Http};

type Client = PaymentsClient<tonic::transport::Channel>;

/// A question.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// Carry one request out.
    Do(Command),
    /// Carry many out.
    All(Vec<v1::Request>),
    Account(v1::GetAccountRequest),
    Hold(v1::GetHoldRequest),
    Postings(v1::ListPostingsRequest),
    Outcome(v1::LookupOutcomeRequest),
}

/// A door.
pub(crate) enum Door {
    Grpc(Client),
    Http(Http),
}

impl Door {
    pub(crate) async fn ask(&mut self, ask: Ask) -> Value {
        match self {
            Self::Grpc(client) => match by_grpc(client, ask).await {
                Ok(shown) => shown,
                Err(status) => refused(&status),
            },
            Self::Http(http) => by_http(http, ask).await,
        }
    }
}

async fn by_grpc(client: &mut Client, ask: Ask) -> Result<Value, Status> {
    let posted = match ask {
        Ask::Do(Command::OpenAccount(m)) => client.open_account(m).await?,
        Ask::Do(Command::FreezeAccount(m)) => client.freeze_account(m).await?,
        Ask::Do(Command::UnfreezeAccount(m)) => client.unfreeze_account(m).await?,
        Ask::Do(Command::CloseAccount(m)) => client.close_account(m).await?,
        Ask::Do(Command::Transfer(m)) => client.transfer(m).await?,
        Ask::Do(Command::MultiTransfer(m)) => client.multi_transfer(m).await?,
        Ask::Do(Command::ReverseTransfer(m)) => client.reverse_transfer(m).await?,
        Ask::Do(Command::PlaceHold(m)) => client.place_hold(m).await?,
        Ask::Do(Command::PostHold(m)) => client.post_hold(m).await?,
        Ask::Do(Command::VoidHold(m)) => client.void_hold(m).await?,
        Ask::All(requests) => {
            let batch = v1::SubmitBatchRequest { requests };
            let answer = client.submit_batch(batch).await?.into_inner();
            return Ok(Value::Array(answer.outcomes.iter().map(outcome).collect()));
        }
        Ask::Account(m) => {
            return client.get_account(m).await.map(|a| account(a.get_ref()));
        }
        Ask::Hold(m) => return client.get_hold(m).await.map(|h| hold(h.get_ref())),
        Ask::Postings(m) => {
            return client.list_postings(m).await.map(|page| postings(page.get_ref()));
        }
        Ask::Outcome(m) => {
            return client.lookup_outcome(m).await.map(|o| outcome(o.get_ref()));
        }
    };
    Ok(json!({ "posted": done(posted.get_ref()) }))
}

/// A status, after looking at its gRPC code.
fn refused(status: &Status) -> Value {
    let Said::Coded { entry, metadata, violations, .. } = Said::read(status) else {
        panic!("{status:?}");
    };
    let code = match entry.grpc {
        "INVALID_ARGUMENT" => Code::InvalidArgument,
        "NOT_FOUND" => Code::NotFound,
        "FAILED_PRECONDITION" => Code::FailedPrecondition,
        "UNAVAILABLE" => Code::Unavailable,
        "DEADLINE_EXCEEDED" => Code::DeadlineExceeded,
        other => panic!("{other}"),
    };
    assert_eq!(status.code(), code);
    let replayed = metadata.iter().any(|(name, _)| name == REPLAYED);
    let numbers = metadata.into_iter().filter(|(name, _)| name != REPLAYED);
    let numbers: Map<_, _> = numbers.map(|(name, value)| (name, value.into())).collect();
    let wrong = if violations.is_empty() { "nothing" } else { "something" };
    json!({ "refused": entry.code, "replayed": replayed, "metadata": numbers, "wrong": wrong })
}

fn done(posted: &v1::Posted) -> Value {
    assert!(posted.post_time.is_some());
    let mut shown = json!({ "transfer": posted.transfer, "replayed": posted.replayed });
    if !posted.resource.is_empty() {
        shown["resource"] = posted.resource.clone().into();
    }
    shown
}

fn outcome(outcome: &v1::Outcome) -> Value {
    match outcome.result.as_ref().unwrap() {
        v1::outcome::Result::Posted(posted) => json!({ "posted": done(posted) }),
        v1::outcome::Result::Rejected(no) => json!({ "rejected": {
            "code": no.code, "message": no.message, "metadata": no.metadata, "replayed": no.replayed,
        }}),
        v1::outcome::Result::Failed(no) => json!({ "failed": {
            "code": no.code, "outcome_unknown": no.outcome_unknown, "retryable": no.retryable,
            "errors": no.field_violations.len(),
        }}),
    }
}

fn money(money: &Option<v1::Money>) -> Value {
    let money = money.as_ref().unwrap();
    json!({ "amount": money.units_minor, "currency": money.currency_code })
}

/// `HOLD_STATE_ACTIVE` → `active`.
fn small(name: &str, prefix: &str) -> Value {
    name.strip_prefix(prefix).unwrap().to_ascii_lowercase().into()
}

fn position(position: &Option<v1::Position>) -> Value {
    json!({ "index": position.as_ref().unwrap().index })
}

fn account(account: &v1::Account) -> Value {
    let freezes = account.freezes.iter().map(|freeze| {
        json!({
            "authority": small(freeze.authority().as_str_name(), "AUTHORITY_"),
            "scope": small(freeze.scope().as_str_name(), "FREEZE_SCOPE_"),
        })
    });
    json!({
        "name": account.name,
        "kind": small(account.kind().as_str_name(), "ACCOUNT_KIND_"),
        "state": small(account.state().as_str_name(), "ACCOUNT_STATE_"),
        "posted": money(&account.posted),
        "held": money(&account.held),
        "available": money(&account.available),
        "version": account.version,
        "freezes": freezes.collect::<Vec<_>>(),
        "active_holds": account.active_holds,
        "position": position(&account.position),
    })
}

fn hold(hold: &v1::Hold) -> Value {
    json!({
        "name": hold.name,
        "debit_account": hold.debit_account,
        "credit_account": hold.credit_account,
        "amount": money(&hold.amount),
        "posted": money(&hold.posted),
        "remaining": money(&hold.remaining),
        "state": small(hold.state().as_str_name(), "HOLD_STATE_"),
        "position": position(&hold.position),
    })
}

fn postings(page: &v1::ListPostingsResponse) -> Value {
    let data = page.postings.iter().map(|posting| {
        let mut shown = json!({
            "transfer": posting.transfer,
            "leg": posting.leg,
            "side": small(posting.side().as_str_name(), "SIDE_"),
            "amount": money(&posting.amount),
            "balance": money(&posting.balance),
            "counter_account": posting.counter_account,
            "kind": small(posting.kind().as_str_name(), "JOURNAL_KIND_"),
        });
        if !posting.reverses.is_empty() {
            shown["reverses"] = posting.reverses.clone().into();
        }
        shown
    });
    let next = Some(&page.next_page_token).filter(|token| !token.is_empty());
    json!({
        "data": data.collect::<Vec<_>>(),
        "next_cursor": next,
        "has_more": next.is_some(),
        "position": position(&page.position),
    })
}

async fn by_http(http: &mut Http, ask: Ask) -> Value {
    let mut headers = vec![("Content-Type", "application/json")];
    let answer = match ask {
        Ask::Do(command) => {
            let Single { target, key, body } = single(&command);
            let quoted = format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""));
            if !key.is_empty() {
                headers.push(("Idempotency-Key", &quoted));
            }
            let body = body.to_string();
            let answer = http.send("POST", &target, &headers, Some(body.as_bytes())).await;
            if answer.status < 300 {
                let posted = answer.json();
                let made = posted.get("resource").and_then(Value::as_str);
                assert_eq!(answer.status, if made.is_some() { 201 } else { 200 });
                let location = made.map(|made| format!("/v1/{made}"));
                assert_eq!(answer.header("location"), location.as_deref());
                let replayed = (posted["replayed"] == true).then_some("true");
                assert_eq!(answer.header("idempotent-replayed"), replayed);
                return json!({ "posted": without_times(posted) });
            }
            answer
        }
        Ask::All(requests) => {
            let requests: Vec<_> = requests.iter().map(item).collect();
            let body = json!({ "requests": requests }).to_string();
            let answer = http.send("POST", "/v1/batches", &headers, Some(body.as_bytes())).await;
            if answer.status == 200 {
                return without_times(answer.json()["outcomes"].take());
            }
            answer
        }
        Ask::Account(m) => {
            get(http, &headers, format!("accounts/{}?stale_ok={}", id(&m.name), m.stale_ok)).await
        }
        Ask::Hold(m) => {
            get(http, &headers, format!("holds/{}?stale_ok={}", id(&m.name), m.stale_ok)).await
        }
        Ask::Postings(m) => {
            let v1::ListPostingsRequest { parent, page_size, page_token, stale_ok } = m;
            let target = format!(
                "accounts/{}/postings?limit={page_size}&cursor={page_token}&stale_ok={stale_ok}",
                id(&parent)
            );
            get(http, &headers, target).await
        }
        Ask::Outcome(m) => {
            let operation = small(m.operation().as_str_name(), "OPERATION_");
            let key = m.idempotency_key.replace('%', "%25").replace(' ', "%20");
            let target = format!(
                "outcomes?subject={}&operation={}&idempotency_key={key}",
                m.subject,
                operation.as_str().unwrap()
            );
            get(http, &headers, target).await
        }
    };
    if answer.status == 200 { without_times(answer.json()) } else { problem(&answer) }
}

async fn get(http: &mut Http, headers: &[(&str, &str)], target: String) -> Answer {
    let answer = http.get(&format!("/v1/{target}"), headers).await;
    let next = answer.header("link").map(|link| {
        let (address, relation) = link.strip_prefix('<').unwrap().split_once('>').unwrap();
        assert_eq!(relation, "; rel=\"next\"");
        address.to_owned()
    });
    if let Some(next) = next {
        let cursor = answer.json()["next_cursor"].as_str().unwrap().to_owned();
        assert!(next.starts_with("/v1/accounts/") && next.contains(&cursor), "{next}");
    }
    answer
}

/// A problem in the words of [`refused`].
fn problem(answer: &Answer) -> Value {
    let (code, problem) = (answer.code(), answer.json());
    assert_eq!(catalogue::find(&code).unwrap().http, answer.status);
    let replayed = answer.header("idempotent-replayed") == Some("true");
    let wrong = if answer.places().is_empty() { "nothing" } else { "something" };
    json!({ "refused": code, "replayed": replayed, "metadata": problem["metadata"], "wrong": wrong })
}

/// Two clusters have different clocks; that there are times is checked, which they are is not. Nor is the text about
/// fields, which every door names as it calls them.
fn without_times(shown: Value) -> Value {
    match shown {
        Value::Object(fields) => {
            let mut kept = Map::new();
            let is_failure = fields.contains_key("outcome_unknown");
            for (name, value) in fields {
                if name.ends_with("_time") {
                    let text = value.as_str().unwrap();
                    assert!(text.starts_with("20") && text.ends_with('Z'), "{name}: {text}");
                } else if is_failure && name == "errors" {
                    kept.insert(name, value.as_array().unwrap().len().into());
                } else if !(is_failure && name == "message") {
                    kept.insert(name, without_times(value));
                }
            }
            Value::Object(kept)
        }
        Value::Array(list) => Value::Array(list.into_iter().map(without_times).collect()),
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => plain,
    }
}

struct Single {
    target: String,
    key: String,
    body: Value,
}

/// The id in a name.
fn id(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, id)| id)
}

/// Leaves out what is empty, as a person would.
fn object(fields: Vec<(&str, Value)>) -> Value {
    let said = fields.into_iter().filter(|(_, value)| !value.is_null() && *value != json!(""));
    Value::Object(said.map(|(name, value)| (name.to_owned(), value)).collect())
}

fn written(money: &Option<v1::Money>) -> Value {
    money.as_ref().map_or(
        Value::Null,
        |money| json!({ "amount": money.units_minor, "currency": money.currency_code }),
    )
}

/// A number of an enum as JSON writes it; nothing for 0, and nonsense for what there is not.
fn word(name: Option<&'static str>, prefix: &str) -> Value {
    match name.map(|name| small(name, prefix)) {
        Some(name) if name == "unspecified" => Value::Null,
        Some(name) => name,
        None => json!("nonsense"),
    }
}

fn scope(number: i32) -> Value {
    word(v1::FreezeScope::try_from(number).ok().map(|s| s.as_str_name()), "FREEZE_SCOPE_")
}

fn authority(number: i32) -> Value {
    word(v1::Authority::try_from(number).ok().map(|a| a.as_str_name()), "AUTHORITY_")
}

/// One request of a batch.
fn item(request: &v1::Request) -> Value {
    let Some(command) = &request.command else { return json!({ "idempotency_key": "none" }) };
    let (name, method) = match command {
        Command::OpenAccount(_) => ("", "open_account"),
        Command::Transfer(_) => ("", "transfer"),
        Command::MultiTransfer(_) => ("", "multi_transfer"),
        Command::PlaceHold(_) => ("", "place_hold"),
        Command::FreezeAccount(m) => (m.name.as_str(), "freeze_account"),
        Command::UnfreezeAccount(m) => (m.name.as_str(), "unfreeze_account"),
        Command::CloseAccount(m) => (m.name.as_str(), "close_account"),
        Command::ReverseTransfer(m) => (m.name.as_str(), "reverse_transfer"),
        Command::PostHold(m) => (m.name.as_str(), "post_hold"),
        Command::VoidHold(m) => (m.name.as_str(), "void_hold"),
    };
    let Single { key, body, .. } = single(command);
    object(vec![("idempotency_key", key.into()), ("name", name.into()), (method, body)])
}

/// A request by itself.
fn single(command: &Command) -> Single {
    let at =
        |collection: &str, name: &str, verb: &str| format!("/v1/{collection}/{}:{verb}", id(name));
    let (target, key, body) = match command {
        Command::OpenAccount(m) => {
            let kind = v1::AccountKind::try_from(m.kind).ok().map(|kind| kind.as_str_name());
            let fields = vec![
                ("account", m.account.clone().into()),
                ("owner", m.owner.clone().into()),
                ("currency_code", m.currency_code.clone().into()),
                ("kind", word(kind, "ACCOUNT_KIND_")),
                ("opening_balance", written(&m.opening_balance)),
            ];
            ("/v1/accounts".to_owned(), &m.idempotency_key, object(fields))
        }
        Command::FreezeAccount(m) => {
            let fields = vec![("scope", scope(m.scope)), ("authority", authority(m.authority))];
            (at("accounts", &m.name, "freeze"), &m.idempotency_key, object(fields))
        }
        Command::UnfreezeAccount(m) => {
            let fields = vec![("authority", authority(m.authority))];
            (at("accounts", &m.name, "unfreeze"), &m.idempotency_key, object(fields))
        }
        Command::CloseAccount(m) => {
            (at("accounts", &m.name, "close"), &m.idempotency_key, json!({}))
        }
        Command::Transfer(m) => {
            let fields = vec![
                ("debit_account", m.debit_account.clone().into()),
                ("credit_account", m.credit_account.clone().into()),
                ("amount", written(&m.amount)),
            ];
            ("/v1/transfers".to_owned(), &m.idempotency_key, object(fields))
        }
        Command::MultiTransfer(m) => {
            let legs = m.legs.iter().map(|leg| {
                object(vec![
                    ("debit_account", leg.debit_account.clone().into()),
                    ("credit_account", leg.credit_account.clone().into()),
                    ("units_minor", leg.units_minor.into()),
                ])
            });
            let fields = vec![
                ("initiator_account", m.initiator_account.clone().into()),
                ("currency_code", m.currency_code.clone().into()),
                ("legs", legs.collect()),
            ];
            ("/v1/multi-transfers".to_owned(), &m.idempotency_key, object(fields))
        }
        Command::ReverseTransfer(m) => {
            let fields = vec![("credit_account", m.credit_account.clone().into())];
            (at("transfers", &m.name, "reverse"), &m.idempotency_key, object(fields))
        }
        Command::PlaceHold(m) => {
            let ttl =
                m.ttl.as_ref().map(|ttl| ttl.seconds * 1_000 + i64::from(ttl.nanos / 1_000_000));
            let fields = vec![
                ("hold", m.hold.clone().into()),
                ("debit_account", m.debit_account.clone().into()),
                ("credit_account", m.credit_account.clone().into()),
                ("amount", written(&m.amount)),
                ("ttl_ms", ttl.into()),
            ];
            ("/v1/holds".to_owned(), &m.idempotency_key, object(fields))
        }
        Command::PostHold(m) => {
            let fields = vec![
                ("units_minor", m.units_minor.into()),
                ("release_rest", m.release_rest.into()),
            ];
            (at("holds", &m.name, "post"), &m.idempotency_key, object(fields))
        }
        Command::VoidHold(m) => (at("holds", &m.name, "void"), &m.idempotency_key, json!({})),
    };
    Single { target, key: key.clone(), body }
}
