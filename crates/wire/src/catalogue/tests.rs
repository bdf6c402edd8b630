use std::collections::BTreeSet;
use std::fmt::Write;

use super::*;
use crate::convert::Refusal;
use crate::failure::Failure;
use crate::obstacle::Obstacle;
use crate::reply::every_rejection;

/// The published table: a change here is a change of the contract.
#[test]
fn the_catalogue_is_as_published() {
    let mut table = String::new();
    for entry in CATALOGUE {
        let Entry { code, kind, grpc, http, exit, retryable, retry_after_ms, .. } = entry;
        let delay = retry_after_ms.map_or_else(|| "-".to_owned(), |ms| ms.to_string());
        writeln!(table, "{code} {kind:?} {grpc} {http} {exit} {retryable} {delay}").unwrap();
    }
    let golden = include_str!("../../tests/golden/catalogue.txt");
    assert_eq!(table, golden, "tests/golden/catalogue.txt says otherwise");
}

#[test]
fn codes_are_unique_and_well_formed() {
    let codes: BTreeSet<_> = CATALOGUE.iter().map(|entry| entry.code).collect();
    assert_eq!(codes.len(), CATALOGUE.len(), "a code stands there twice");
    for entry in CATALOGUE {
        let code = entry.code;
        let shaped =
            code.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        assert!(shaped && code.len() <= 63, "{code}");
        assert!(entry.action.ends_with('.') && entry.action.len() > 10, "{code}");
    }
}

/// The catalogue and the three enums name the same codes, each of the right kind: none is missing, none is left over.
#[test]
fn every_code_is_said_by_somebody() {
    let mut said = BTreeSet::new();
    for rejection in every_rejection() {
        let entry =
            find(rejection.code()).unwrap_or_else(|| panic!("{} is missing", rejection.code()));
        assert_eq!(entry.kind, Kind::Rejection, "{}", entry.code);
        said.insert(entry.code);
    }
    for failure in Failure::ALL {
        let entry = find(failure.code()).unwrap_or_else(|| panic!("{} is missing", failure.code()));
        let kind = match failure {
            Failure::OutcomeUnknown => Kind::Unknown,
            Failure::InvalidRecord | Failure::LevelTooLow => Kind::Refusal,
            Failure::NoLeader
            | Failure::Overloaded
            | Failure::DiskFull
            | Failure::KeyFromFuture
            | Failure::Diverged
            | Failure::PeerBehind
            | Failure::Draining
            | Failure::DeadlinePassed
            | Failure::RateLimited
            | Failure::TablesStale => Kind::NotProposed,
        };
        assert_eq!(entry.kind, kind, "{}", entry.code);
        said.insert(entry.code);
    }
    for refusal in Refusal::every() {
        let entry = find(refusal.code()).unwrap_or_else(|| panic!("{} is missing", refusal.code()));
        assert_eq!(entry.kind, Kind::Refusal, "{}", entry.code);
        said.insert(entry.code);
    }
    for obstacle in Obstacle::every() {
        let entry = obstacle.entry();
        assert!(matches!(entry.kind, Kind::NotProposed | Kind::Refusal), "{}", entry.code);
        said.insert(entry.code);
    }
    for entry in CATALOGUE {
        assert!(said.contains(entry.code), "nobody says {}", entry.code);
    }
}

/// The rows of the conventions' table, by kind.
#[test]
fn each_kind_looks_the_same_everywhere() {
    for entry in CATALOGUE {
        let Entry { code, kind, grpc, http, exit, retryable, retry_after_ms, .. } = *entry;
        match kind {
            Kind::NotProposed => {
                let (row, status) = match code {
                    "RATE_LIMITED" => ("RESOURCE_EXHAUSTED", 429),
                    _ => ("UNAVAILABLE", 503),
                };
                assert_eq!((grpc, http, exit, retryable), (row, status, 75, true), "{code}");
                assert!(retry_after_ms.is_some(), "{code} says not how long to wait");
            }
            Kind::Unknown => {
                assert_eq!(
                    (grpc, http, exit, retryable),
                    ("DEADLINE_EXCEEDED", 504, 76, true),
                    "{code}"
                );
                assert_eq!(retry_after_ms, None, "{code}");
            }
            Kind::Rejection | Kind::Refusal => {
                let row = match (grpc, http, exit) {
                    ("INVALID_ARGUMENT", 400, 2)
                    | ("NOT_FOUND", 404, 4)
                    | ("UNAUTHENTICATED", 401, 77)
                    | ("PERMISSION_DENIED", 403, 77) => true,
                    ("UNIMPLEMENTED", 405, 2) | ("INVALID_ARGUMENT", 413 | 415, 2) => {
                        kind == Kind::Refusal
                    }
                    ("FAILED_PRECONDITION", 422, 5) => code == "KEY_REUSED",
                    ("FAILED_PRECONDITION", 422, 3) => code != "KEY_REUSED",
                    _ => false,
                };
                assert!(row, "{code}: {grpc} {http} {exit} is no row of the table");
                assert!(!retryable && retry_after_ms.is_none(), "{code}: a no stays a no");
            }
        }
    }
}
