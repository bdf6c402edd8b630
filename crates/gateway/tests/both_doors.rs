//! One script of more than two hundred calls, through gRPC and through HTTP, each with a cluster of its own, compared
//! answer by answer: what is good, what the ledger rejects, what the edge refuses, keys used twice, replays, look-ups,
//! statements, and what nodes fail to do.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test stops at the first surprise, and a script is as long as its story"
)]

#[path = "both_doors/doors.rs"]
mod doors;
mod support;

use std::collections::BTreeSet;

use doors::{Ask, Door};
use serde_json::Value;
use support::http::Http;
use support::{Cluster, Fault, transfer, yuan};
use wire::Failure;
use wire::proto::v1;
use wire::proto::v1::request::Command;

/// A door to a cluster, and what was heard there.
struct Run {
    cluster: Cluster,
    door: Door,
    heard: Vec<(String, Value)>,
}

impl Run {
    async fn ask(&mut self, ask: Ask) -> Value {
        let answer = self.door.ask(ask.clone()).await;
        self.heard.push((format!("{ask:?}"), answer.clone()));
        answer
    }

    async fn act(&mut self, command: Command) -> Value {
        self.ask(Ask::Do(command)).await
    }

    async fn pay(&mut self, key: &str, from: &str, to: &str, units_minor: i64) -> Value {
        self.act(Command::Transfer(transfer(key, from, to, units_minor))).await
    }

    async fn open(&mut self, key: &str, currency: &str, opening: i64) -> String {
        let balance = v1::Money { currency_code: currency.into(), units_minor: opening };
        let request = v1::OpenAccountRequest {
            idempotency_key: key.into(),
            currency_code: currency.into(),
            owner: "one household".into(),
            opening_balance: (opening > 0).then_some(balance),
            ..Default::default()
        };
        let answer = self.act(Command::OpenAccount(request)).await;
        answer["posted"]["resource"].as_str().unwrap().to_owned()
    }

    async fn show(&mut self, name: &str) -> Value {
        let stale_ok = self.heard.len().is_multiple_of(2);
        self.ask(Ask::Account(v1::GetAccountRequest { name: name.into(), stale_ok })).await
    }

    async fn look_up(&mut self, subject: &str, operation: v1::Operation, key: &str) -> Value {
        let asked = v1::LookupOutcomeRequest {
            subject: subject.into(),
            operation: operation.into(),
            idempotency_key: key.into(),
        };
        self.ask(Ask::Outcome(asked)).await
    }

    /// A statement to its end, or so many pages.
    async fn read(&mut self, parent: &str, page_size: i32) {
        let mut page_token = String::new();
        for _ in 0..12 {
            let asked = v1::ListPostingsRequest {
                parent: parent.into(),
                page_size,
                page_token,
                stale_ok: false,
            };
            let page = self.ask(Ask::Postings(asked)).await;
            let Some(next) = page["next_cursor"].as_str() else { return };
            page_token = next.to_owned();
        }
    }
}

fn hold(key: &str, debit: &str, credit: &str, units_minor: i64) -> v1::PlaceHoldRequest {
    v1::PlaceHoldRequest {
        idempotency_key: key.into(),
        hold: String::new(),
        debit_account: debit.into(),
        credit_account: credit.into(),
        amount: Some(yuan(units_minor)),
        ttl: Some(prost_types::Duration { seconds: 3_600, nanos: 0 }),
    }
}

fn post(key: &str, name: &str, units_minor: Option<i64>, release_rest: bool) -> Command {
    let (idempotency_key, name) = (key.to_owned(), name.to_owned());
    Command::PostHold(v1::PostHoldRequest { idempotency_key, name, units_minor, release_rest })
}

fn void(key: &str, name: &str) -> Command {
    Command::VoidHold(v1::VoidHoldRequest { idempotency_key: key.into(), name: name.into() })
}

fn close(key: &str, name: &str) -> Command {
    Command::CloseAccount(v1::CloseAccountRequest {
        idempotency_key: key.into(),
        name: name.into(),
    })
}

fn freeze(key: &str, name: &str, scope: i32, authority: i32) -> Command {
    let (idempotency_key, name) = (key.to_owned(), name.to_owned());
    Command::FreezeAccount(v1::FreezeAccountRequest { idempotency_key, name, scope, authority })
}

fn unfreeze(key: &str, name: &str, authority: i32) -> Command {
    let (idempotency_key, name) = (key.to_owned(), name.to_owned());
    Command::UnfreezeAccount(v1::UnfreezeAccountRequest { idempotency_key, name, authority })
}

fn reverse(key: &str, name: &str, credit_account: &str) -> Command {
    Command::ReverseTransfer(v1::ReverseTransferRequest {
        idempotency_key: key.into(),
        name: name.into(),
        credit_account: credit_account.into(),
    })
}

fn multi(key: &str, initiator: &str, legs: Vec<v1::TransferLeg>) -> Command {
    Command::MultiTransfer(v1::MultiTransferRequest {
        idempotency_key: key.into(),
        initiator_account: initiator.into(),
        currency_code: "CNY".into(),
        legs,
    })
}

fn leg(debit: &str, credit: &str, units_minor: i64) -> v1::TransferLeg {
    let (debit_account, credit_account) = (debit.to_owned(), credit.to_owned());
    v1::TransferLeg { debit_account, credit_account, units_minor }
}

const NOBODY: &str = "accounts/acc_01900000000070008000000000000abc";
const NO_HOLD: &str = "holds/hold_01900000000070008000000000000abc";
const UUID: &str = "019b8f2e-7c00-7a51-9d3e-4b5c6d7e8f90";

async fn money(run: &mut Run, lin: &str, wang: &str, euro: &str) {
    for n in 0..20 {
        run.pay(&format!("pay {n}"), lin, wang, 10 + n).await;
    }
    for n in 0..5 {
        run.pay(&format!("pay {n}"), lin, wang, 10 + n).await;
        run.pay(&format!("pay {n}"), lin, wang, 11 + n).await;
    }
    for key in [
        UUID,
        &UUID.replace('-', ""),
        &UUID.to_uppercase(),
        "红包 \"1\" \\",
        "a/b?c=d&e",
        &"k".repeat(255),
    ] {
        run.pay(key, lin, wang, 1).await;
        run.pay(key, lin, wang, 1).await;
    }
    run.pay("poor", wang, lin, 900_000).await;
    run.pay("poor", wang, lin, 900_000).await;
    run.pay("same", lin, lin, 1).await;
    run.pay("nobody pays", NOBODY, lin, 1).await;
    run.pay("nobody is paid", lin, NOBODY, 1).await;
    run.pay("other currency", lin, euro, 1).await;
    run.pay(
        "bare ids",
        lin.strip_prefix("accounts/").unwrap(),
        wang.strip_prefix("accounts/").unwrap(),
        1,
    )
    .await;

    let legs = vec![leg(lin, wang, 5), leg(lin, wang, 6), leg(wang, lin, 1)];
    let done = run.act(multi("legs", lin, legs.clone())).await;
    run.act(multi("legs", lin, legs.clone())).await;
    run.act(multi("legs", lin, legs[..2].to_vec())).await;
    run.act(multi("legs of another", euro, legs.clone())).await;
    run.act(multi("too dear", lin, vec![leg(lin, wang, 1), leg(lin, wang, 900_000_000)])).await;
    let many = done["posted"]["transfer"].as_str().unwrap();
    run.act(reverse("undo many", many, wang)).await;

    let paid = run.pay("a mistake", lin, wang, 77).await;
    let paid = paid["posted"]["transfer"].as_str().unwrap();
    run.act(reverse("undo", paid, euro)).await;
    let undone = run.act(reverse("undo it", paid, wang)).await;
    run.act(reverse("undo it", paid, wang)).await;
    run.act(reverse("undo again", paid, wang)).await;
    let undone = undone["posted"]["transfer"].as_str().unwrap();
    run.act(reverse("undo the undoing", undone, lin)).await;
    run.act(reverse("undo nothing", "transfers/tr_0-999999-0", wang)).await;
    run.act(reverse("undo nonsense", "tr_x", wang)).await;
}

async fn holds(run: &mut Run, lin: &str, wang: &str, euro: &str) {
    let placed = run.act(Command::PlaceHold(hold("hold", lin, wang, 400))).await;
    run.act(Command::PlaceHold(hold("hold", lin, wang, 400))).await;
    run.act(Command::PlaceHold(hold("hold", lin, wang, 401))).await;
    let name = placed["posted"]["resource"].as_str().unwrap().to_owned();
    let show = |stale_ok| Ask::Hold(v1::GetHoldRequest { name: name.clone(), stale_ok });
    run.ask(show(false)).await;
    run.act(post("post some", &name, Some(150), false)).await;
    run.act(post("post some", &name, Some(150), false)).await;
    run.act(post("post too much", &name, Some(251), false)).await;
    run.ask(show(true)).await;
    run.show(lin).await;
    run.act(post("post the rest", &name, None, false)).await;
    run.act(post("post more", &name, Some(1), true)).await;
    run.act(void("void what is over", &name)).await;
    run.ask(show(false)).await;
    let placed = run.act(Command::PlaceHold(hold("another", lin, wang, 9))).await;
    let another = placed["posted"]["resource"].as_str().unwrap().to_owned();
    let named = v1::PlaceHoldRequest { hold: another.clone(), ..hold("named", lin, wang, 9) };
    run.act(Command::PlaceHold(named)).await;
    run.act(void("void", &another)).await;
    run.act(void("void", &another)).await;
    run.act(void("void again", &another)).await;
    run.act(post("no such hold", NO_HOLD, None, false)).await;
    run.act(void("no such hold", NO_HOLD)).await;
    run.ask(Ask::Hold(v1::GetHoldRequest { name: NO_HOLD.into(), stale_ok: false })).await;
    run.act(Command::PlaceHold(hold("hold too much", lin, wang, 900_000_000))).await;
    run.act(Command::PlaceHold(hold("hold for euros", lin, euro, 1))).await;
    run.act(Command::PlaceHold(hold("hold of nobody", NOBODY, wang, 1))).await;
    let strange = v1::PlaceHoldRequest { hold: NO_HOLD.into(), ..hold("far", lin, wang, 9) };
    run.act(Command::PlaceHold(strange)).await;
    for (n, (seconds, nanos)) in
        [(0, 0), (-1, 0), (34_560_001, 0), (i64::MAX / 1_000, 0)].into_iter().enumerate()
    {
        let ttl = Some(prost_types::Duration { seconds, nanos });
        let request = v1::PlaceHoldRequest { ttl, ..hold(&format!("ttl {n}"), lin, wang, 9) };
        run.act(Command::PlaceHold(request)).await;
    }
    run.act(Command::PlaceHold(v1::PlaceHoldRequest { ttl: None, ..hold("no ttl", lin, wang, 9) }))
        .await;
}

async fn accounts(run: &mut Run, lin: &str, wang: &str) {
    let gone = run.open("open to close", "CNY", 0).await;
    let again = v1::OpenAccountRequest {
        idempotency_key: "the same account".into(),
        account: gone.clone(),
        currency_code: "CNY".into(),
        ..Default::default()
    };
    run.act(Command::OpenAccount(again)).await;
    run.act(close("close", &gone)).await;
    run.act(close("close", &gone)).await;
    run.act(close("close again", &gone)).await;
    run.act(close("close a full one", lin)).await;
    run.act(close("close nobody", NOBODY)).await;
    run.pay("to one closed", lin, &gone, 1).await;
    run.show(&gone).await;
    run.show(NOBODY).await;
    for (scope, authority) in [(1, 1), (2, 2), (1, 3)] {
        run.act(freeze(&format!("freeze {authority}"), wang, scope, authority)).await;
        run.show(wang).await;
        run.pay(&format!("from one frozen {authority}"), wang, lin, 1).await;
        run.pay(&format!("to one frozen {authority}"), lin, wang, 1).await;
        run.act(unfreeze(&format!("unfreeze {authority}"), wang, authority)).await;
        run.act(unfreeze(&format!("unfreeze again {authority}"), wang, authority)).await;
    }
    run.act(freeze("freeze nobody", NOBODY, 1, 1)).await;
    for (scope, authority) in [(0, 1), (1, 0), (0, 0), (9, 1), (1, 9)] {
        run.act(freeze(&format!("bad freeze {scope} {authority}"), wang, scope, authority)).await;
        run.act(unfreeze(
            &format!("bad unfreeze {scope}"),
            wang,
            if authority == 1 { 0 } else { authority },
        ))
        .await;
    }
}

async fn bad_fields(run: &mut Run, lin: &str, wang: &str) {
    run.pay("", lin, wang, 1).await;
    run.pay(&"k".repeat(256), lin, wang, 1).await;
    for (n, amount) in [0, -1, i64::MIN, 1_000_000_000_000_001, i64::MAX].into_iter().enumerate() {
        run.pay(&format!("bad amount {n}"), lin, wang, amount).await;
    }
    for (n, name) in ["", "lin", "acc_", "acc_xyz", "holds/hold_01900000000070008000000000000abc"]
        .iter()
        .enumerate()
    {
        run.pay(&format!("bad payer {n}"), name, wang, 1).await;
        run.pay(&format!("bad payee {n}"), lin, name, 1).await;
        if !name.is_empty() {
            run.act(close(&format!("bad name {n}"), name)).await;
            run.show(name).await;
        }
    }
    for (n, code) in ["", "cny", "XXX", "RMB", "人民币"].iter().enumerate() {
        let amount = Some(v1::Money { currency_code: (*code).into(), units_minor: 1 });
        let request = transfer(&format!("bad currency {n}"), lin, wang, 1);
        run.act(Command::Transfer(v1::TransferRequest { amount, ..request })).await;
        let open = v1::OpenAccountRequest {
            idempotency_key: format!("open bad {n}"),
            currency_code: (*code).into(),
            ..Default::default()
        };
        run.act(Command::OpenAccount(open)).await;
    }
    let request = transfer("no amount", lin, wang, 1);
    run.act(Command::Transfer(v1::TransferRequest { amount: None, ..request })).await;
    let nothing = v1::TransferRequest { idempotency_key: "nothing".into(), ..Default::default() };
    run.act(Command::Transfer(nothing)).await;
    run.act(multi("no legs", lin, Vec::new())).await;
    run.act(multi("too many legs", lin, vec![leg(lin, wang, 1); 65])).await;
    run.act(multi("bad legs", lin, vec![leg("x", wang, 0), leg(lin, "", -1)])).await;
    run.act(post("post nothing", NO_HOLD, Some(0), false)).await;
    for kind in [1, 2, 3, 4, 5, 77] {
        let open = v1::OpenAccountRequest {
            idempotency_key: format!("open kind {kind}"),
            currency_code: "CNY".into(),
            kind,
            ..Default::default()
        };
        run.act(Command::OpenAccount(open)).await;
    }
    let open = v1::OpenAccountRequest {
        idempotency_key: "open too much".into(),
        currency_code: "CNY".into(),
        account: NOBODY.into(),
        owner: "both".into(),
        opening_balance: Some(v1::Money { currency_code: "EUR".into(), units_minor: 0 }),
        ..Default::default()
    };
    run.act(Command::OpenAccount(open)).await;
}

async fn look_ups(run: &mut Run, lin: &str, wang: &str) {
    run.look_up(lin, v1::Operation::Transfer, "pay 1").await;
    run.look_up(wang, v1::Operation::Transfer, "poor").await;
    run.look_up(lin, v1::Operation::Transfer, UUID).await;
    run.look_up(lin, v1::Operation::OpenAccount, "open lin").await;
    run.look_up(lin, v1::Operation::PlaceHold, "hold").await;
    run.look_up(lin, v1::Operation::Transfer, "never sent").await;
    run.look_up(wang, v1::Operation::Transfer, "pay 1").await;
    run.look_up(lin, v1::Operation::PostHold, "hold").await;
    run.look_up(lin, v1::Operation::Unspecified, "pay 1").await;
    run.look_up("nonsense", v1::Operation::Transfer, "pay 1").await;
    run.look_up(lin, v1::Operation::Transfer, "").await;
    run.read(lin, 7).await;
    run.read(wang, 0).await;
    run.read(wang, 1_000_000).await;
    run.read(NOBODY, 1).await;
    run.read("nonsense", 1).await;
    run.read(lin, -1).await;
    for page_token in ["00", "nonsense", "7"] {
        let page_token = page_token.to_owned();
        let asked =
            v1::ListPostingsRequest { parent: lin.into(), page_token, ..Default::default() };
        run.ask(Ask::Postings(asked)).await;
    }
}

async fn batches(run: &mut Run, lin: &str, wang: &str) {
    let wanted = |command| v1::Request { command: Some(command) };
    let pay = |key: &str, units| wanted(Command::Transfer(transfer(key, lin, wang, units)));
    run.ask(Ask::All(vec![
        pay("batch 1", 3),
        v1::Request::default(),
        pay("batch 1", 3),
        pay("batch 1", 4),
        pay("", 3),
        pay("batch poor", 900_000_000),
        pay("batch bad", 0),
        wanted(multi("batch legs", lin, vec![leg(lin, "x", 1), leg(lin, wang, 0)])),
        wanted(Command::PlaceHold(hold("batch hold", lin, wang, 1))),
        wanted(void("batch void", "")),
        wanted(void("batch void", NO_HOLD)),
        wanted(post("batch post", NO_HOLD, Some(-5), true)),
        wanted(close("batch close", NOBODY)),
        wanted(freeze("batch freeze", wang, 1, 2)),
        wanted(unfreeze("batch unfreeze", wang, 2)),
        wanted(reverse("batch reverse", "transfers/tr_0-1-0", wang)),
    ]))
    .await;
    run.ask(Ask::All(Vec::new())).await;
    run.ask(Ask::All(vec![pay("once", 1); 8_193])).await;
    run.ask(Ask::All((0..100).map(|n| pay(&format!("many {n}"), 1)).collect())).await;
}

/// What nodes fail to do.
async fn failures(run: &mut Run, lin: &str, wang: &str) {
    for failure in [
        Failure::DiskFull,
        Failure::KeyFromFuture,
        Failure::Diverged,
        Failure::PeerBehind,
        Failure::InvalidRecord,
    ] {
        run.cluster.inject([Fault::Fail(failure)]);
        run.pay(failure.code(), lin, wang, 1).await;
    }
    run.cluster.inject([Fault::CutAfter]);
    run.pay("carried through", lin, wang, 1).await;
    // Nobody names a deadline: a client that did would keep it itself, and not wait for the gateway's word.
    run.cluster.inject([Fault::Swallow]);
    run.pay("swallowed", lin, wang, 1).await;
    run.cluster.inject([Fault::Fail(Failure::Overloaded); 200]);
    run.pay("too busy", lin, wang, 1).await;
    run.cluster.elect(0);
    let name = lin.to_owned();
    run.ask(Ask::Account(v1::GetAccountRequest { name, stale_ok: false })).await;
}

async fn script(mut run: Run) -> Vec<(String, Value)> {
    let lin = run.open("open lin", "CNY", 1_000_000).await;
    let wang = run.open("open wang", "CNY", 0).await;
    let euro = run.open("open euro", "EUR", 500).await;
    assert_eq!(run.open("open lin", "CNY", 1_000_000).await, lin);
    money(&mut run, &lin, &wang, &euro).await;
    holds(&mut run, &lin, &wang, &euro).await;
    accounts(&mut run, &lin, &wang).await;
    bad_fields(&mut run, &lin, &wang).await;
    look_ups(&mut run, &lin, &wang).await;
    batches(&mut run, &lin, &wang).await;
    for name in [&lin, &wang, &euro] {
        run.show(name).await;
    }
    failures(&mut run, &lin, &wang).await;
    run.heard
}

#[tokio::test]
async fn every_call_is_answered_the_same_by_both_doors() {
    let grpc = Cluster::start().await;
    let door = Door::Grpc(grpc.client.clone());
    let by_grpc = script(Run { cluster: grpc, door, heard: Vec::new() });
    let http = Cluster::start().await;
    let door = Door::Http(Http::connect(&http.http).await);
    let by_http = script(Run { cluster: http, door, heard: Vec::new() });
    let (by_grpc, by_http) = tokio::join!(by_grpc, by_http);

    for ((asked, grpc), (asked_too, http)) in by_grpc.iter().zip(&by_http) {
        assert_eq!(asked, asked_too);
        assert_eq!(grpc, http, "{asked}");
    }
    assert_eq!(by_grpc.len(), by_http.len());
    assert!(by_grpc.len() >= 200, "{} calls", by_grpc.len());

    // The script is worth something only while it provokes what it is meant to.
    let mut codes = BTreeSet::new();
    for (_, answer) in &by_grpc {
        codes.insert(answer["refused"].as_str().unwrap_or("done").to_owned());
    }
    for code in [
        "done",
        "ACCOUNT_NOT_FOUND",
        "ACCOUNT_EXISTS",
        "ACCOUNT_CLOSED",
        "ACCOUNT_FROZEN",
        "SAME_ACCOUNT",
        "CURRENCY_MISMATCH",
        "INSUFFICIENT",
        "HOLD_NOT_FOUND",
        "HOLD_EXISTS",
        "HOLD_ENDED",
        "HOLD_EXCEEDED",
        "TRANSFER_NOT_FOUND",
        "ALREADY_REVERSED",
        "NOT_REVERSIBLE",
        "KEY_REUSED",
        "CLOSE_BLOCKED",
        "NOT_FROZEN",
        "NO_LEADER",
        "OVERLOADED",
        "DISK_FULL",
        "KEY_FROM_FUTURE",
        "PEER_BEHIND",
        "DIVERGED",
        "OUTCOME_UNKNOWN",
        "INVALID_FIELD",
        "MISSING_KEY",
        "BATCH_TOO_LARGE",
        "PAGE_TOKEN_INVALID",
        "OUTCOME_NOT_FOUND",
        "INVALID_RECORD",
    ] {
        assert!(codes.contains(code), "nothing provoked {code}: {codes:?}");
    }
}
