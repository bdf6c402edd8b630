//! The whole bench against a door of our own: what an honest ledger gets, and what each kind of lie gets.

mod door;

use std::path::Path;
use std::time::Duration;

use door::{Door as FakeDoor, Lie};
use tokio::task::LocalSet;

use super::args::{Door, KeyOrder, Workload};
use super::files::Files;
use super::gate::Gate;
use super::plan::{Plan, Target, Until};
use super::run::Stage;
use super::summary::Summary;
use crate::output::{Color, Format, Screen, Streams};

fn plan(address: &str) -> Plan {
    Plan {
        workload: Workload::TransferUniform,
        target: Target::Cluster { gate: Gate::plain(address), is_alone: true },
        shards: 1,
        until: Until::Count(5_000),
        accounts: 50,
        batch: 500,
        connections: 3,
        inflight: 2,
        rate: None,
        hot: 0,
        cross: None,
        door: Door::Session,
        keys: KeyOrder::Ordered,
        chaos: Vec::new(),
        seed: 42,
        calls_max: 100_000,
    }
}

/// Runs a plan against a door that lies in one way; gives what came of it, as the exit code sees it.
fn run(
    lie: Lie,
    change: impl FnOnce(&mut Plan),
) -> (Summary, serde_json::Value, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::create(Some(dir.path()), "test").unwrap();
    let door = FakeDoor::open(lie);
    let mut plan = plan(door.address());
    change(&mut plan);
    let streams = Streams { out_is_tty: false, err_is_tty: false, no_color: true };
    let screen = Screen::new(Format::Table, Color::Never, true, streams);
    let stage = Stage { plan: &plan, files: &files, screen, program: Path::new("unused") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let summary = runtime.block_on(LocalSet::new().run_until(stage.run())).unwrap();
    let json = serde_json::to_value(&summary).unwrap();
    (summary, json, dir)
}

fn verdict_of(lie: Lie) -> serde_json::Value {
    let (summary, json, _dir) = run(lie, |_| {});
    assert!(!summary.verdict.ok, "{:#?}", summary.verdict.lines());
    json["verdict"].clone()
}

#[test]
fn an_honest_door_passes_by_every_way_in() {
    for (door, batch, keys, hot) in [
        (Door::Session, 500, KeyOrder::Ordered, 0),
        (Door::Session, 1, KeyOrder::Random, 80),
        (Door::Unary, 1, KeyOrder::Ordered, 0),
    ] {
        let (summary, json, dir) = run(Lie::None, |plan| {
            (plan.door, plan.batch, plan.keys, plan.hot) = (door, batch, keys, hot);
            plan.inflight = 20;
        });
        assert!(summary.verdict.ok, "{:#?}", summary.verdict.lines());
        assert_eq!((json["posted"].as_u64(), json["unknown"].as_u64()), (Some(5_000), Some(0)));
        assert_eq!(json["loop"], "closed");
        for name in
            ["summary.json", "report.html", "latency.hdr", "history.jsonl", "env.json", "run.json"]
        {
            assert!(dir.path().join(name).metadata().unwrap().len() > 100, "{name}");
        }
    }
}

#[test]
fn what_a_run_keeps_is_checked_again_offline() {
    let (_, _, dir) = run(Lie::None, |_| {});
    let files = Files::open(dir.path()).unwrap();
    let verdict = crate::verify::check(&files).unwrap();
    assert!(verdict.ok, "{:#?}", verdict.lines());

    let history = std::fs::read_to_string(files.history()).unwrap();
    let forged = history.replacen("\"journal\":[{\"id\":\"t", "\"journal\":[{\"id\":\"u", 1);
    assert_ne!(forged, history);
    std::fs::write(files.history(), forged).unwrap();
    let verdict = crate::verify::check(&files).unwrap();
    assert_eq!((verdict.lost, verdict.wrong), (1, 1), "{:#?}", verdict.lines());
}

#[test]
fn a_run_too_long_for_a_history_is_checked_again_offline() {
    let (summary, _, dir) = run(Lie::None, |plan| plan.calls_max = 4_999);
    assert!(summary.verdict.ok, "{:#?}", summary.verdict.lines());
    let files = Files::open(dir.path()).unwrap();
    assert!(!files.history().exists());
    let verdict = crate::verify::check(&files).unwrap();
    assert!(verdict.ok, "{:#?}", verdict.lines());
    assert!(
        verdict.checks.iter().any(|check| check.facts == 10_000),
        "both sides of every transfer"
    );

    // Request 7's caller was told what request 8's was.
    let mut told = std::fs::read(files.told()).unwrap();
    told.copy_within(64..72, 56);
    std::fs::write(files.told(), &told).unwrap();
    let verdict = crate::verify::check(&files).unwrap();
    assert!(verdict.lost >= 1 && verdict.wrong >= 1, "{:#?}", verdict.lines());
}

#[test]
fn an_open_loop_keeps_its_rate() {
    let (summary, json, _dir) = run(Lie::None, |plan| {
        plan.until = Until::Time(Duration::from_millis(1_500));
        plan.rate = Some(2_000);
    });
    assert!(summary.verdict.ok, "{:#?}", summary.verdict.lines());
    let posted = json["posted"].as_u64().unwrap();
    assert!((2_900..=3_000).contains(&posted), "{posted}");
    assert_eq!(json["loop"], "open");
}

#[test]
fn failures_and_broken_connections_are_sent_again_until_known() {
    for (door, broken) in [(Door::Session, "CONNECTION_LOST"), (Door::Unary, "FOREIGN_STATUS")] {
        let (summary, json, _dir) = run(Lie::Flaky, |plan| {
            plan.door = door;
            plan.batch = if door == Door::Unary { 1 } else { 100 };
            plan.until = Until::Count(2_000);
            plan.inflight = 10;
        });
        assert!(summary.verdict.ok, "{:#?}", summary.verdict.lines());
        assert_eq!(json["posted"], 2_000);
        assert!(json["retries"].as_u64().unwrap() > 0);
        for code in ["NO_LEADER", "OUTCOME_UNKNOWN", broken] {
            assert!(
                json["failed"][code].as_u64().is_some_and(|count| count > 0),
                "{code}: {}",
                json["failed"]
            );
        }
    }
}

#[test]
fn an_acknowledged_transfer_that_was_not_made_is_lost() {
    assert_eq!(verdict_of(Lie::Lose)["lost"], 1);
}

#[test]
fn a_transfer_that_was_made_twice_is_doubled() {
    let verdict = verdict_of(Lie::Double);
    assert_eq!((&verdict["doubled"], &verdict["lost"]), (&1.into(), &0.into()));
}

#[test]
fn a_refusal_that_moved_money_is_seen() {
    assert_eq!(verdict_of(Lie::RefuseAndApply)["refused_applied"], 1);
}

#[test]
fn another_amount_than_asked_is_seen() {
    assert_eq!(verdict_of(Lie::WrongAmount)["wrong"], 2, "on both sides");
}

#[test]
fn a_line_missing_from_a_statement_is_seen() {
    let verdict = verdict_of(Lie::HideLine);
    assert!(verdict["lost"].as_u64().unwrap() >= 1);
    assert!(verdict["broken_books"].as_u64().unwrap() >= 1);
}

#[test]
fn a_balance_that_no_statement_explains_is_seen() {
    assert!(verdict_of(Lie::WrongBalance)["broken_books"].as_u64().unwrap() >= 1);
}

#[test]
fn a_repeated_request_that_is_answered_anew_is_seen() {
    let verdict = verdict_of(Lie::ForgetKeys);
    assert!(verdict["wrong"].as_u64().unwrap() >= 1_000, "answered otherwise");
    assert!(verdict["doubled"].as_u64().unwrap() >= 1_000, "and done again");
}

#[test]
fn an_account_that_is_gone_is_seen_and_its_lines_are_not_called_lost() {
    let verdict = verdict_of(Lie::HideAccounts);
    assert!(verdict["broken_books"].as_u64().unwrap() >= 6, "accounts 3, 11, 19, …");
    assert!(verdict["undecided"].as_u64().unwrap() > 0);
    assert_eq!(verdict["lost"], 0);
}

#[test]
fn books_that_do_not_add_up_by_their_own_audit_are_seen() {
    assert_eq!(verdict_of(Lie::BadBooks)["broken_books"], 1);
}
