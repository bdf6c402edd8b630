use ledger::Time;
use tonic_types::pb;

use super::*;
use crate::catalogue::CATALOGUE;
use crate::reply::every_rejection;
use prost::Message;

fn statuses() -> Vec<(&'static str, Status)> {
    let rejections = every_rejection().map(|said| (said.code(), rejection(&said, false)));
    let failures = Failure::ALL.into_iter().map(|said| (said.code(), failure(said, None)));
    let refusals = Refusal::every().into_iter().map(|said| (said.code(), refusal(&said)));
    let obstacles = Obstacle::every().into_iter().map(|said| (said.code(), obstacle(said)));
    rejections.chain(failures).chain(refusals).chain(obstacles).collect()
}

#[test]
fn every_name_in_the_catalogue_is_a_grpc_code() {
    for entry in CATALOGUE {
        assert!(code_of(entry.grpc).is_some(), "{}: {}", entry.code, entry.grpc);
    }
}

/// AIP-193: exactly one `ErrorInfo`, and at most one of each other kind.
#[test]
fn every_status_carries_exactly_one_error_info() {
    for (code, status) in statuses() {
        let details = pb::Status::decode(status.details()).expect("a google.rpc.Status").details;
        let count = |name: &str| details.iter().filter(|any| any.type_url.ends_with(name)).count();
        assert_eq!(count("google.rpc.ErrorInfo"), 1, "{code}");
        assert!(
            count("google.rpc.RetryInfo") <= 1 && count("google.rpc.BadRequest") <= 1,
            "{code}"
        );
        let kinds = ["ErrorInfo", "RetryInfo", "BadRequest"].map(count);
        assert_eq!(kinds.iter().sum::<usize>(), details.len(), "{code}: nothing else");
    }
}

#[test]
fn what_is_written_is_read_back() {
    for (code, status) in statuses() {
        let Said::Coded { entry, message, retry_after, .. } = Said::read(&status) else {
            panic!("{code} is not understood");
        };
        assert_eq!(entry.code, code);
        assert_eq!(message, status.message());
        assert_eq!(retry_after, entry.retry_after_ms.map(Duration::from_millis), "{code}");
        assert_eq!(Said::read(&status).is_unknown(), code == "OUTCOME_UNKNOWN", "{code}");
    }
    for known in Failure::ALL {
        assert_eq!(Said::read(&failure(known, None)).failure(), Some(known));
    }
}

#[test]
fn numbers_in_a_message_are_also_in_the_metadata() {
    let short = rejection(&Rejection::Insufficient { available: 3, requested: 9 }, true);
    let old = rejection(&Rejection::KeyTooOld { cut_off: Time(17) }, false);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let metadata = |status: &Status| {
        let Said::Coded { metadata, .. } = Said::read(status) else { panic!("{status:?}") };
        metadata
    };
    let expected = [pair("available", "3"), pair("replayed", "true"), pair("requested", "9")];
    assert_eq!(metadata(&short), expected);
    assert_eq!(metadata(&old), [pair("cut_off", "17")]);
}

#[test]
fn the_leader_is_named_where_it_is_known() {
    let leader = Leader { node_id: 2, address: "127.0.0.1:7102".to_owned() };
    let said = Said::read(&failure(Failure::NoLeader, Some(&leader)));
    assert_eq!(said.leader(), Some(leader));
    assert_eq!(Said::read(&failure(Failure::NoLeader, None)).leader(), None);
}

#[test]
fn wrong_fields_are_named() {
    let status = refusal(&Refusal::field("amount.units_minor", "1 to 10^15 minor units"));
    let Said::Coded { violations, .. } = Said::read(&status) else { panic!("not coded") };
    assert_eq!(violations.len(), 1);
    assert_eq!(violations[0].field, "amount.units_minor");
}

/// Something in between spoke: whoever hears it must not believe that nothing happened.
#[test]
fn a_foreign_status_leaves_the_outcome_unknown() {
    let foreign = [
        Status::unavailable("a proxy gave up"),
        Status::cancelled("Timeout expired"),
        Status::internal("h2 protocol error"),
        Status::with_error_details(
            Code::Unavailable,
            "another domain",
            ErrorDetails::with_error_info("NO_LEADER", "example.com", HashMap::new()),
        ),
        Status::with_error_details(
            Code::Unavailable,
            "a code of a later release",
            ErrorDetails::with_error_info("NOT_YET_KNOWN", DOMAIN, HashMap::new()),
        ),
        Status::with_details(Code::Unavailable, "no details at all", vec![0xff, 0x01].into()),
    ];
    for status in foreign {
        let said = Said::read(&status);
        assert!(matches!(said, Said::Foreign { .. }), "{said:?}");
        assert!(said.is_unknown());
    }
}
