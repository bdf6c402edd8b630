use ledger::{
    Account, AccountId, AccountKind, Amount, Answer, Command, Currency, Freezes, HoldId,
    JournalKind, Key, Posted, Posting, PostingKey, Rejection, Slot, TenantId, Time, TransferId,
};
use proptest::prelude::*;
use prost::Message;
use prost_types::Duration;

use super::*;
use crate::proto::{cluster, v1};
use crate::reply::Reply;

const V7: &str = "01923456-789a-7bcd-8123-456789abcdef";
const TENANT: TenantId = TenantId(3);

fn lin() -> AccountId {
    AccountId::in_slot(0x0192_3456_789a_7bcd_8123_4567_89ab_c000, Slot::new(0x111).unwrap())
}

fn wang() -> AccountId {
    AccountId::in_slot(0x0192_3456_789a_7bcd_8123_4567_89ab_d000, Slot::new(0x222).unwrap())
}

fn yuan(units_minor: i64) -> Option<v1::Money> {
    Some(v1::Money { currency_code: "CNY".into(), units_minor })
}

fn transfer() -> v1::TransferRequest {
    v1::TransferRequest {
        idempotency_key: V7.into(),
        debit_account: account_name(lin()),
        credit_account: wang().to_string(),
        amount: yuan(888),
    }
}

fn place_hold() -> v1::PlaceHoldRequest {
    v1::PlaceHoldRequest {
        idempotency_key: "order 17".into(),
        debit_account: account_name(lin()),
        credit_account: account_name(wang()),
        amount: yuan(5),
        ttl: Some(Duration { seconds: 60, nanos: 1_000_000 }),
        ..Default::default()
    }
}

fn open() -> v1::OpenAccountRequest {
    v1::OpenAccountRequest {
        idempotency_key: V7.into(),
        currency_code: "CNY".into(),
        ..Default::default()
    }
}

/// The paths of the fields that are refused.
fn wrong(read: Result<Intent, Refusal>) -> Vec<String> {
    match read {
        Err(Refusal::InvalidField(violations)) => {
            violations.into_iter().map(|wrong| wrong.field.into_owned()).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_key_is_a_uuid_v7_or_a_hash() {
    let timed = key(V7).unwrap();
    assert_eq!(timed.time(), Some(Time(0x0192_3456_789a)));
    assert_eq!(key(&V7.to_uppercase()), Ok(timed));
    assert_eq!(key(&V7.replace('-', "")), Ok(timed));
    // Version 4, a UUIDv7 in other clothes, and plain text are hashed: no time is believed.
    for text in ["01923456-789a-4bcd-8123-456789abcdef", &format!("{{{V7}}}"), "order 17", "订单"]
    {
        assert_eq!(key(text).unwrap().time(), None, "{text}");
    }
    // SHA-256 of `order 17`, its first 16 bytes with version 8 and the variant of RFC 9562.
    assert_eq!(format!("{:?}", key("order 17").unwrap()), "0bcc920e393881b8ae3483fc9888c6d6");
    assert_ne!(key("order 17"), key("order 18"));
    assert_eq!(key(""), Err(Refusal::MissingKey));
    assert!(key(&"x".repeat(255)).is_ok());
    assert!(matches!(key(&"x".repeat(256)), Err(Refusal::InvalidField(_))));
}

#[test]
fn a_transfer_is_read_whole_or_refused_whole() {
    let read = transfer().to_intent(TENANT).unwrap();
    let command = Command::Transfer {
        debit: lin(),
        credit: wang(),
        amount: Amount::from_minor(888).unwrap(),
        currency: Currency::CNY,
    };
    assert_eq!(read.request.command, command);
    assert_eq!(
        (read.request.tenant, read.request.key, read.made),
        (TENANT, key(V7).unwrap(), None)
    );

    for units_minor in [0, -1, i64::MIN, 1_000_000_000_000_001, i64::MAX] {
        let bad = v1::TransferRequest { amount: yuan(units_minor), ..transfer() };
        assert_eq!(wrong(bad.to_intent(TENANT)), ["amount.units_minor"], "{units_minor}");
    }
    for code in ["", "cny", "XAU", "RMB", "CNYY"] {
        let amount = Some(v1::Money { currency_code: code.into(), units_minor: 1 });
        let bad = v1::TransferRequest { amount, ..transfer() };
        assert_eq!(wrong(bad.to_intent(TENANT)), ["amount.currency_code"], "{code}");
    }
    let bad = v1::TransferRequest {
        debit_account: "lin".into(),
        credit_account: String::new(),
        amount: None,
        ..transfer()
    };
    assert_eq!(wrong(bad.to_intent(TENANT)), ["debit_account", "credit_account", "amount"]);
    let keyless = v1::TransferRequest { idempotency_key: String::new(), ..transfer() };
    assert_eq!(keyless.to_intent(TENANT), Err(Refusal::MissingKey));
    assert_eq!(wrong(request(&v1::Request::default(), TENANT)), ["command"]);
}

#[test]
fn names_are_read_with_and_without_their_collection() {
    for name in [
        "acc_0192345678 9a7bcd8123456789abc111".replace(' ', ""),
        "accounts/acc_01923456-789a-7bcd-8123-456789abc111".to_owned(),
        "accounts/acc_0192345678 9A7BCD8123456789ABC111".replace(' ', ""),
    ] {
        assert_eq!(account_id("name", &name), Ok(lin()), "{name}");
    }
    for name in ["accounts/", "accounts/accounts/acc_", "holds/hold_00", "acc_", "acc_+1", "acc_é"]
    {
        assert!(account_id("name", name).is_err(), "{name}");
    }
    let hold = HoldId::from_u128(lin().to_u128());
    assert_eq!(hold_id("name", &hold_name(hold)), Ok(hold));
    assert!(hold_id("name", &account_name(lin())).is_err());
}

#[test]
fn many_legs_are_bounded_and_each_is_named() {
    let leg = v1::TransferLeg {
        debit_account: account_name(lin()),
        credit_account: account_name(wang()),
        units_minor: 1,
    };
    let multi = |legs| v1::MultiTransferRequest {
        idempotency_key: V7.into(),
        initiator_account: account_name(lin()),
        currency_code: "CNY".into(),
        legs,
    };
    let read = multi(vec![leg.clone(); 64]).to_intent(TENANT).unwrap();
    let Command::MultiTransfer { legs, .. } = read.request.command else { panic!("not legs") };
    assert_eq!(legs.len(), 64);
    assert_eq!(wrong(multi(vec![leg.clone(); 65]).to_intent(TENANT)), ["legs"]);
    assert_eq!(wrong(multi(Vec::new()).to_intent(TENANT)), ["legs"]);
    let free = v1::TransferLeg { units_minor: 0, ..leg.clone() };
    assert_eq!(wrong(multi(vec![leg, free]).to_intent(TENANT)), ["legs[1].units_minor"]);
    let many = multi(vec![v1::TransferLeg::default(); 10_000]);
    assert!(wrong(many.to_intent(TENANT)).len() <= 1 + 3 * 64, "complaints have a bound too");
}

#[test]
fn a_hold_without_a_name_gets_one_in_its_debit_accounts_slot() {
    let read = place_hold().to_intent(TENANT).unwrap();
    let Command::Hold { hold, timeout_ms, .. } = read.request.command else { panic!("no hold") };
    assert_eq!(read.made, Some(Made::Hold(hold)));
    assert_eq!(hold.slot(), lin().slot());
    assert_eq!(timeout_ms, 60_001);
    assert_eq!(
        place_hold().to_intent(TENANT).unwrap().made,
        read.made,
        "a retry names the same hold"
    );

    // The key's scope is the debit account: another one must not run into this hold.
    let other = v1::PlaceHoldRequest {
        debit_account: account_name(wang()),
        credit_account: account_name(lin()),
        ..place_hold()
    };
    let Some(Made::Hold(others)) = other.to_intent(TENANT).unwrap().made else { panic!("no hold") };
    assert_ne!(others.to_u128() >> 12, hold.to_u128() >> 12);

    let far = HoldId::in_slot(1, Slot::new(5).unwrap());
    let bad = v1::PlaceHoldRequest { hold: far.to_string(), ..place_hold() };
    assert_eq!(wrong(bad.to_intent(TENANT)), ["hold"]);
}

#[test]
fn a_holds_time_is_whole_milliseconds_up_to_400_days() {
    let days = 400 * 24 * 60 * 60;
    let read = |seconds, nanos| {
        let ttl = Some(Duration { seconds, nanos });
        v1::PlaceHoldRequest { ttl, ..place_hold() }.to_intent(TENANT)
    };
    for (seconds, nanos) in [(0, 1_000_000), (days, 0), (1, 0)] {
        assert!(read(seconds, nanos).is_ok(), "{seconds} s {nanos} ns");
    }
    let bad = [
        (0, 0),
        (0, 1),
        (0, 1_500_000),
        (days, 1_000_000),
        (-1, 0),
        (1, -1),
        (0, 1_000_000_000),
        (i64::MAX, 0),
    ];
    for (seconds, nanos) in bad {
        assert_eq!(wrong(read(seconds, nanos)), ["ttl"], "{seconds} s {nanos} ns");
    }
    assert_eq!(
        wrong(v1::PlaceHoldRequest { ttl: None, ..place_hold() }.to_intent(TENANT)),
        ["ttl"]
    );
}

#[test]
fn an_account_without_a_name_gets_one_from_its_key() {
    let opened =
        |request: &v1::OpenAccountRequest, tenant| match request.to_intent(tenant).unwrap().made {
            Some(Made::Account(id)) => id,
            other => panic!("{other:?}"),
        };
    let id = opened(&open(), TENANT);
    // Golden: an id that changed with a release would open a second account on a retry across the upgrade.
    assert_eq!(id.to_string(), "acc_01923456789a76ea949180de6668d082");
    let bits = id.to_u128();
    assert_eq!(bits >> 80, 0x0192_3456_789a, "the key's time");
    assert!(Key::from_uuid_v7(bits).is_some(), "shaped like a UUIDv7");
    assert_eq!(opened(&open(), TENANT), id, "a retry names the same account");
    assert_ne!(opened(&open(), TenantId(4)), id);
    let free = v1::OpenAccountRequest { idempotency_key: "lin's wallet".into(), ..open() };
    assert_eq!(opened(&free, TENANT).to_u128() >> 80, 0, "a hash has no time");

    let owned = v1::OpenAccountRequest { owner: "lin".into(), ..open() };
    let second = v1::OpenAccountRequest { idempotency_key: "2".into(), ..owned.clone() };
    assert_eq!(opened(&owned, TENANT).slot(), opened(&second, TENANT).slot());
    assert_ne!(opened(&owned, TENANT), opened(&second, TENANT));
    assert_eq!(opened(&owned, TENANT).slot(), owner_slot(TENANT, "lin"));

    let named = v1::OpenAccountRequest { account: account_name(lin()), ..open() };
    assert_eq!(opened(&named, TENANT), lin());
    let both = v1::OpenAccountRequest { owner: "lin".into(), ..named };
    assert_eq!(wrong(both.to_intent(TENANT)), ["owner"]);
}

#[test]
fn an_opening_balance_is_in_the_accounts_currency() {
    let rich = v1::OpenAccountRequest { opening_balance: yuan(7), ..open() };
    let Command::Open { opening, .. } = rich.to_intent(TENANT).unwrap().request.command else {
        panic!("not an opening");
    };
    assert_eq!(opening.map(Amount::minor), Some(7));
    let yen = v1::OpenAccountRequest { currency_code: "JPY".into(), ..rich };
    assert_eq!(wrong(yen.to_intent(TENANT)), ["opening_balance.currency_code"]);
    let nothing = v1::OpenAccountRequest { opening_balance: yuan(0), ..open() };
    assert_eq!(wrong(nothing.to_intent(TENANT)), ["opening_balance.units_minor"]);
    let bank = v1::OpenAccountRequest { kind: v1::AccountKind::Opening.into(), ..open() };
    assert_eq!(wrong(bank.to_intent(TENANT)), ["kind"]);
}

#[test]
fn the_other_requests_are_read() {
    let (k, name) = (V7.to_owned(), account_name(lin()));
    let hold = HoldId::from_u128(lin().to_u128());
    let freeze = v1::FreezeAccountRequest {
        idempotency_key: k.clone(),
        name: name.clone(),
        scope: v1::FreezeScope::All.into(),
        authority: v1::Authority::Risk.into(),
    };
    assert!(freeze.to_intent(TENANT).is_ok());
    let vague = v1::FreezeAccountRequest { scope: 0, authority: 77, ..freeze };
    assert_eq!(wrong(vague.to_intent(TENANT)), ["scope", "authority"]);
    let unfreeze =
        v1::UnfreezeAccountRequest { idempotency_key: k.clone(), name: name.clone(), authority: 1 };
    assert!(unfreeze.to_intent(TENANT).is_ok());
    let close = v1::CloseAccountRequest { idempotency_key: k.clone(), name: name.clone() };
    assert_eq!(close.to_intent(TENANT).unwrap().request.command, Command::Close { account: lin() });
    let post = v1::PostHoldRequest {
        idempotency_key: k.clone(),
        name: hold_name(hold),
        units_minor: None,
        release_rest: true,
    };
    let all = Command::Post { hold, amount: None, release_rest: true };
    assert_eq!(post.to_intent(TENANT).unwrap().request.command, all);
    let none = v1::PostHoldRequest { units_minor: Some(0), ..post };
    assert_eq!(wrong(none.to_intent(TENANT)), ["units_minor"]);
    let void = v1::VoidHoldRequest { idempotency_key: k.clone(), name: hold_name(hold) };
    assert_eq!(void.to_intent(TENANT).unwrap().request.command, Command::Void { hold });
    let transfer = TransferId { shard: 0, index: 1042, position: 7 };
    let reverse = v1::ReverseTransferRequest {
        idempotency_key: k,
        name: transfer_name(transfer),
        credit_account: name,
    };
    assert_eq!(
        reverse.to_intent(TENANT).unwrap().request.command,
        Command::Reverse { credit: lin(), transfer }
    );
}

#[test]
fn an_outcome_is_one_of_three_things() {
    let transfer = TransferId { shard: 1, index: 1042, position: 7 };
    let done = Posted { transfer, at: Time(1_700_000_000_123) };
    let answer = |outcome| Reply::Answer(Answer { outcome, replayed: true });
    let Some(v1::outcome::Result::Posted(posted)) =
        outcome(&answer(Ok(done)), Some(Made::Account(lin()))).result
    else {
        panic!("not posted");
    };
    assert_eq!(posted.transfer, "transfers/tr_1-1042-7");
    assert_eq!(posted.resource, account_name(lin()));
    assert_eq!(posted.post_time.unwrap().to_string(), "2023-11-14T22:13:20.123Z");
    assert!(posted.replayed);
    let short = Rejection::Insufficient { available: 3, requested: 9 };
    let Some(v1::outcome::Result::Rejected(no)) = outcome(&answer(Err(short)), None).result else {
        panic!("not rejected");
    };
    assert_eq!((no.code.as_str(), no.metadata["available"].as_str()), ("INSUFFICIENT", "3"));
    for failure in crate::Failure::ALL {
        let Some(v1::outcome::Result::Failed(failed)) =
            outcome(&Reply::Failure(failure), None).result
        else {
            panic!("not failed");
        };
        assert_eq!(failed.outcome_unknown, failure == crate::Failure::OutcomeUnknown);
    }
}

#[test]
fn times_are_written_to_the_end_of_time() {
    assert_eq!(timestamp(Time(0)).to_string(), "1970-01-01T00:00:00Z");
    assert_eq!(timestamp(Time(u64::MAX)).seconds, 18_446_744_073_709_551);
}

#[test]
fn a_token_leads_only_to_its_own_page() {
    let token = PageToken { account: lin(), cursor: vec![1, 2, 3, 4] };
    let text = token.text();
    assert_eq!(PageToken::read(&text, lin()), Ok(token));
    assert_eq!(PageToken::read("", lin()).unwrap().text(), "");
    for bad in [
        &text[1..],
        &text[..text.len() - 2],
        &text.to_uppercase(),
        &format!("{text}00"),
        "zz",
        "01",
    ] {
        assert_eq!(PageToken::read(bad, lin()), Err(Refusal::PageTokenInvalid), "{bad}");
    }
    assert_eq!(PageToken::read(&text, wang()), Err(Refusal::PageTokenInvalid), "another account's");
    assert!(PageToken::read(&"00".repeat(10_000), lin()).is_err());
}

#[test]
fn pages_are_never_larger_than_a_thousand() {
    let sizes: Vec<_> = [0, 1, 1_000, 1_001, i32::MAX].into_iter().map(page_size).collect();
    assert_eq!(sizes, [Ok(100), Ok(1), Ok(1_000), Ok(1_000), Ok(1_000)]);
    assert!(page_size(-1).is_err());
}

#[test]
fn a_page_travels_whole() {
    let posting = |index, line| Posting {
        key: PostingKey { account: lin(), index, position: 3, line },
        counter: wang(),
        amount: 5,
        balance: -7,
        at: Time(9),
        kind: JournalKind::Reversal,
        reverses: Some(TransferId { shard: 1, index: 2, position: 3 }),
        part_of: None,
    };
    let page = Page {
        postings: vec![posting(9, 1), posting(8, 4)],
        more: true,
        shard: 2,
        currency: Currency::CNY,
    };
    let travelling = cluster::StatementPage::from(&page);
    assert_eq!(get_cursor(lin(), &travelling.next), Some(posting(8, 4).key));
    assert_eq!(Page::read(&travelling, lin()).as_ref(), Some(&page));
    let last = Page { more: false, ..page };
    assert!(cluster::StatementPage::from(&last).next.is_empty());

    let shown = super::posting(&posting(8, 4), 2, Currency::CNY).unwrap();
    assert_eq!((shown.transfer.as_str(), shown.leg), ("transfers/tr_2-8-3", 2));
    assert_eq!(shown.side, i32::from(v1::Side::Debit));
    assert_eq!(shown.balance.unwrap().units_minor, -7);
    assert_eq!(shown.reverses, "transfers/tr_1-2-3");
    let debt = Posting { balance: i128::from(i64::MIN) - 1, ..posting(8, 4) };
    assert_eq!(super::posting(&debt, 2, Currency::CNY), Err(Refusal::BalanceUnrepresentable));
}

#[test]
fn an_account_is_shown_with_what_it_can_pay() {
    let mut ours = Account::new(lin(), TENANT, Currency::CNY, AccountKind::Wallet, Time(5));
    ours.posted = 100;
    ours.held = 30;
    ours.freezes =
        Freezes::default().with(ledger::Authority::Judicial, Some(ledger::FreezeScope::All));
    let shown = account(&ours, position(7, Time(8))).unwrap();
    let minor = |money: Option<v1::Money>| money.unwrap().units_minor;
    assert_eq!((minor(shown.posted), minor(shown.held), minor(shown.available)), (100, 30, 70));
    assert_eq!(shown.freezes.len(), 1);
    assert_eq!(shown.state, i32::from(v1::AccountState::Open));
    ours.posted = i128::MAX;
    assert_eq!(account(&ours, position(7, Time(8))), Err(Refusal::BalanceUnrepresentable));
}

#[test]
fn an_outcome_is_looked_up_by_what_the_request_was_about() {
    let asked = |subject: &str, operation: v1::Operation| v1::LookupOutcomeRequest {
        subject: subject.to_owned(),
        operation: operation.into(),
        idempotency_key: V7.into(),
    };
    let scoped = scoped_key(&asked(&account_name(lin()), v1::Operation::Transfer), TENANT).unwrap();
    assert_eq!(scoped, transfer().to_intent(TENANT).unwrap().request.scoped_key());
    assert!(scoped_key(&asked(&account_name(lin()), v1::Operation::VoidHold), TENANT).is_err());
    assert!(scoped_key(&asked(&account_name(lin()), v1::Operation::Unspecified), TENANT).is_err());
}

proptest! {
    #[test]
    fn a_transfers_name_is_its_id(shard in any::<u16>(), index in any::<u64>(), position in any::<u16>(), shift in 0_u32..64) {
        for index in [index, index >> shift, 0, 9, 10, u64::MAX] {
            let id = TransferId { shard, index, position };
            prop_assert_eq!(transfer_name(id), format!("transfers/{id}"));
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>(), cut in "[0-9a-f]{0,80}") {
        let _ = key(&text);
        for text in [&text, &format!("acc_{cut}"), &format!("accounts/acc_{text}"), &format!("hold_{cut}")] {
            let _ = account_id("name", text);
            let _ = hold_id("name", text);
            let _ = PageToken::read(text, lin());
        }
        let _ = PageToken::read(&cut, lin());
    }

    #[test]
    fn any_message_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(message) = v1::Request::decode(&bytes[..]) {
            let _ = request(&message, TENANT);
        }
        if let Ok(message) = v1::LookupOutcomeRequest::decode(&bytes[..]) {
            let _ = scoped_key(&message, TENANT);
        }
        if let Ok(page) = cluster::StatementPage::decode(&bytes[..]) {
            let _ = Page::read(&page, lin());
        }
        let _ = get_cursor(lin(), &bytes);
        let _ = sixteen(&bytes);
    }

    /// A right message with one byte changed: deeper than random bytes get.
    #[test]
    fn a_damaged_message_is_read_or_refused(place in 0_usize..200, byte in any::<u8>()) {
        let wanted = v1::request::Command::PlaceHold(place_hold());
        let mut bytes = v1::Request { command: Some(wanted) }.encode_to_vec();
        if let Some(at) = bytes.get_mut(place) {
            *at = byte;
        }
        if let Ok(message) = v1::Request::decode(&bytes[..]) {
            let _ = request(&message, TENANT);
        }
    }
}
