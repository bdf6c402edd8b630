//! Planted runs: each is wrong in one way, and the check must say which.

#![allow(clippy::arithmetic_side_effects, reason = "small numbers of a test")]

use super::super::facts::TransferNumber;
use super::*;

/// Three accounts; request n moves n + 1 from account 0 to account 1.
struct Planted(Vec<Ending>);

impl Requests for Planted {
    fn count(&self) -> u64 {
        self.0.len() as u64
    }

    fn wanted(&self, n: u64) -> Wanted {
        Wanted { debit: 0, credit: 1, amount: n + 1 }
    }

    fn ending(&self, n: u64) -> Ending {
        self.0[usize::try_from(n).unwrap()]
    }
}

fn posted(n: u64) -> Ending {
    Ending::Posted(TransferNumber::from_u64(n + 1))
}

fn sides(wanted: Wanted) -> [Line; 2] {
    let Wanted { debit, credit, amount } = wanted;
    [
        Line { account: debit, counter: credit, amount, is_debit: true },
        Line { account: credit, counter: debit, amount, is_debit: false },
    ]
}

/// What the ledger shows: the whole transfers of requests, by number.
fn verdict(endings: Vec<Ending>, known: &[u64], strangers: &[Wanted]) -> (Verdict, u64, u64) {
    let planted = Planted(endings);
    let mut once = Once::new(&planted);
    for n in known {
        for line in sides(planted.wanted(*n)) {
            once.known(*n, &line);
        }
    }
    for (transfer, wanted) in strangers.iter().enumerate() {
        for line in sides(*wanted) {
            once.stranger(1_000 + transfer as u64, &line);
        }
    }
    let found = once.finish();
    let unknown = (found.unknown_applied, found.unknown_absent);
    let mut verdict = Verdict::default();
    found.report(true, &mut verdict);
    (verdict.closed(), unknown.0, unknown.1)
}

#[test]
fn what_was_told_and_found_once_passes() {
    let (verdict, ..) = verdict(vec![posted(0), Ending::Rejected(0), posted(2)], &[0, 2], &[]);
    assert!(verdict.ok, "{verdict:?}");
    assert!(verdict.checks.iter().all(|check| check.facts > 0), "{verdict:?}");
}

#[test]
fn a_lost_transfer_is_seen() {
    let (verdict, ..) = verdict(vec![posted(0), posted(1)], &[0], &[]);
    assert_eq!((verdict.lost, verdict.doubled, verdict.ok), (1, 0, false));
}

#[test]
fn half_a_transfer_is_a_lost_one() {
    let planted = Planted(vec![posted(0)]);
    let mut once = Once::new(&planted);
    once.known(0, &sides(planted.wanted(0))[0]);
    let mut verdict = Verdict::default();
    once.finish().report(true, &mut verdict);
    assert_eq!(verdict.lost, 1);
}

#[test]
fn the_same_line_twice_is_a_doubled_one() {
    let (verdict, ..) = verdict(vec![posted(0)], &[0, 0], &[]);
    assert_eq!((verdict.lost, verdict.doubled), (0, 2));
}

#[test]
fn a_second_transfer_for_one_key_is_a_doubled_one() {
    let again = Wanted { debit: 0, credit: 1, amount: 1 };
    let (verdict, ..) = verdict(vec![posted(0)], &[0], &[again]);
    assert_eq!((verdict.doubled, verdict.unexplained), (1, 0));
}

#[test]
fn another_amount_or_payee_is_wrong() {
    let planted = Planted(vec![posted(0)]);
    for wrong in [
        Wanted { debit: 0, credit: 1, amount: 2 },
        Wanted { debit: 0, credit: 2, amount: 1 },
        Wanted { debit: 1, credit: 0, amount: 1 },
    ] {
        let mut once = Once::new(&planted);
        for line in sides(wrong) {
            once.known(0, &line);
        }
        let mut verdict = Verdict::default();
        once.finish().report(true, &mut verdict);
        assert_eq!(verdict.wrong, 2, "{wrong:?}");
    }
}

#[test]
fn a_refused_request_that_moved_money_is_seen() {
    let wanted = Wanted { debit: 0, credit: 1, amount: 1 };
    for refused in [Ending::Rejected(3), Ending::NotDone(3)] {
        let (by_name, ..) = verdict(vec![refused], &[0], &[]);
        let (by_fields, ..) = verdict(vec![refused], &[], &[wanted]);
        assert_eq!((by_name.refused_applied, by_fields.refused_applied), (1, 1));
    }
}

#[test]
fn an_unknown_outcome_may_turn_out_either_way_but_only_once() {
    let wanted = Wanted { debit: 0, credit: 1, amount: 1 };
    let (absent, applied, left) = verdict(vec![Ending::Unknown], &[], &[]);
    assert!(absent.ok);
    assert_eq!((applied, left), (0, 1));

    let (by_fields, applied, left) = verdict(vec![Ending::Unknown], &[], &[wanted]);
    assert!(by_fields.ok, "{by_fields:?}");
    assert_eq!((applied, left), (1, 0));

    let (by_name, applied, left) = verdict(vec![Ending::Unknown], &[0], &[]);
    assert!(by_name.ok);
    assert_eq!((applied, left), (1, 0));

    let (twice, ..) = verdict(vec![Ending::Unknown], &[], &[wanted, wanted]);
    assert!(!twice.ok);
    assert_eq!(twice.unexplained, 1);
}

#[test]
fn what_nobody_asked_for_is_unexplained() {
    let (verdict, ..) =
        verdict(vec![posted(0)], &[0], &[Wanted { debit: 2, credit: 1, amount: 9 }]);
    assert_eq!((verdict.unexplained, verdict.doubled), (1, 0));
}

#[test]
fn a_stranger_without_its_other_side_is_torn() {
    let planted = Planted(vec![Ending::Unknown]);
    let mut once = Once::new(&planted);
    once.stranger(7, &sides(planted.wanted(0))[1]);
    let mut verdict = Verdict::default();
    once.finish().report(true, &mut verdict);
    assert_eq!(verdict.lost, 1);
}

#[test]
fn what_could_not_be_read_is_not_called_lost() {
    let planted = Planted(vec![posted(0), posted(1)]);
    let mut once = Once::new(&planted);
    once.known(0, &sides(planted.wanted(0))[0]);
    let mut verdict = Verdict::default();
    once.finish().report(false, &mut verdict);
    assert_eq!((verdict.lost, verdict.undecided, verdict.is_violated()), (0, 2, false));
}
