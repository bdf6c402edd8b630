//! Planted histories: each is wrong in one way, and the verdict must say which.

use super::*;

const META: &str = r#"{"type":"meta","accounts":{"A":100,"B":0,"C":0},"overdraft":false}"#;

fn invoke(process: u64, id: &str, amount: u64, time: u64) -> String {
    format!(
        r#"{{"type":"invoke","process":{process},"f":"transfer","value":{{"id":"{id}","from":"A","to":"B","amount":{amount}}},"time":{time}}}"#
    )
}

fn ended(how: &str, process: u64, error: &str, time: u64) -> String {
    format!(
        r#"{{"type":"{how}","process":{process},"f":"transfer","value":null,"error":"{error}","time":{time}}}"#
    )
}

fn journal(ids: &[(&str, u64)], a: i64, b: i64) -> String {
    let entries: Vec<String> = ids
        .iter()
        .map(|(id, amount)| format!(r#"{{"id":"{id}","from":"A","to":"B","amount":{amount}}}"#))
        .collect();
    format!(
        r#"{{"type":"final","balances":{{"A":{a},"B":{b},"C":0}},"journal":[{}]}}"#,
        entries.join(",")
    )
}

fn verdict(lines: &[String]) -> Verdict {
    let text = format!("{META}\n{}", lines.join("\n"));
    check_history(History::read(text.as_bytes()).unwrap())
}

/// t1 was done, t2 refused for want of money, nobody knows about t3.
fn told() -> Vec<String> {
    vec![
        invoke(1, "t1", 60, 1),
        invoke(2, "t2", 70, 2),
        ended("ok", 1, "", 3),
        ended("fail", 2, "insufficient", 4),
        invoke(1, "t3", 5, 5),
        ended("info", 1, "outcome_unknown", 6),
    ]
}

fn verdict_with(last: String) -> Verdict {
    let mut lines = told();
    lines.push(last);
    verdict(&lines)
}

#[test]
fn an_unknown_outcome_passes_either_way() {
    let absent = verdict_with(journal(&[("t1", 60)], 40, 60));
    assert!(absent.ok, "{:#?}", absent.lines());
    let applied = verdict_with(journal(&[("t1", 60), ("t3", 5)], 35, 65));
    assert!(applied.ok, "{:#?}", applied.lines());
}

#[test]
fn a_lost_transfer_is_seen() {
    let verdict = verdict_with(journal(&[], 100, 0));
    assert_eq!((verdict.lost, verdict.imbalance, verdict.ok), (1, 0, false));
}

#[test]
fn a_doubled_transfer_is_seen() {
    let verdict = verdict_with(journal(&[("t1", 60), ("t1", 60)], -20, 120));
    assert_eq!((verdict.doubled, verdict.negative), (2, 1));
}

#[test]
fn a_refused_transfer_that_was_done_is_seen() {
    let verdict = verdict_with(journal(&[("t1", 30), ("t2", 70)], 0, 100));
    assert_eq!((verdict.refused_applied, verdict.wrong), (1, 2), "t1 has another amount, too");
}

#[test]
fn money_that_appears_is_seen() {
    let verdict = verdict_with(journal(&[("t1", 60)], 40, 61));
    assert_eq!((verdict.imbalance, verdict.broken_books, verdict.ok), (1, 1, false));
}

#[test]
fn what_nobody_asked_for_is_seen() {
    let verdict = verdict_with(journal(&[("t1", 60), ("t9", 7)], 33, 67));
    assert_eq!(verdict.unexplained, 1);
}

#[test]
fn two_answers_to_one_request_are_seen() {
    let mut lines = told();
    lines.extend([invoke(3, "t2", 70, 7), ended("ok", 3, "", 8), journal(&[("t1", 60)], 40, 60)]);
    let verdict = verdict(&lines);
    assert_eq!(verdict.wrong, 1, "t2 was refused, then done");
}

#[test]
fn not_proposed_is_not_final() {
    let lines = [
        invoke(1, "t1", 60, 1),
        ended("fail", 1, "no_leader", 2),
        invoke(1, "t1", 60, 3),
        ended("ok", 1, "", 4),
        journal(&[("t1", 60)], 40, 60),
    ];
    assert!(verdict(&lines).ok);
}

#[test]
fn without_the_books_nothing_is_decided() {
    let verdict = verdict(&told());
    assert_eq!((verdict.undecided, verdict.ok, verdict.is_violated()), (1, false, false));
}

#[test]
fn a_history_that_is_none_decides_nothing() {
    let goes_back =
        verdict(&[invoke(1, "t1", 1, 9), ended("ok", 1, "", 8), journal(&[("t1", 1)], 99, 1)]);
    assert_eq!((goes_back.undecided, goes_back.is_violated()), (1, false));
    let after_info = verdict(&[
        invoke(1, "t1", 1, 1),
        ended("info", 1, "", 2),
        ended("ok", 1, "", 3),
        journal(&[("t1", 1)], 99, 1),
    ]);
    assert_eq!(after_info.undecided, 1);
}

#[test]
fn reads_in_between_are_checked() {
    let read = |f: &str, value: &str, time: u64| {
        [
            format!(r#"{{"type":"invoke","process":9,"f":"{f}","value":null,"time":{time}}}"#),
            format!(r#"{{"type":"ok","process":9,"f":"{f}","value":{value},"time":{time}}}"#),
        ]
    };
    let with = |f: &str, value: &str| {
        let mut lines = told();
        lines.extend(read(f, value, 7));
        lines.push(journal(&[("t1", 60)], 40, 60));
        verdict(&lines)
    };
    assert!(with("read", "40").ok);
    assert_eq!(with("read", "-1").negative, 1);
    assert!(with("read-all", r#"{"A":40,"B":60,"C":0}"#).ok);
    assert_eq!(with("read-all", r#"{"A":40,"B":60,"C":1}"#).imbalance, 1);
    assert!(with("statement", r#"["t1","t3"]"#).ok);
    assert_eq!(with("statement", r#"["t1","t1"]"#).doubled, 1);
    assert_eq!(with("statement", r#"["t2"]"#).unexplained, 1, "t2 was refused");
    assert_eq!(with("statement", "7").undecided, 1);
    let others = with("hold", "null");
    assert!(others.ok);
    assert!(others.lines().iter().any(|line| line.contains("not checked")), "{:?}", others.lines());
}
