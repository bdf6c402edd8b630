use std::collections::BTreeMap;

use super::*;
use crate::api_key::MacKey;

/// A keyring of one key of each kind, and the keys.
fn ring() -> (Access, watch::Sender<Arc<Keyring>>, BTreeMap<&'static str, ApiKey>) {
    let secret = MacKey::random().unwrap();
    let now = SystemTime::now();
    let hour = Duration::from_secs(3_600);
    let mut keys = BTreeMap::new();
    let mut entry = |name: &'static str, tenant, scope, expires| {
        let key = ApiKey::random().unwrap();
        let mac = key.mac(&secret);
        keys.insert(name, key);
        let scopes = [scope].into_iter().collect();
        KeyEntry { name: name.to_owned(), tenant: TenantId(tenant), scopes, mac, expires }
    };
    let entries = vec![
        entry("boss", 0, Scope::Admin, None),
        entry("shop", 7, Scope::Tenant, now.checked_add(hour)),
        entry("clerk", 7, Scope::Read, None),
        entry("old", 7, Scope::Tenant, now.checked_sub(hour)),
    ];
    let rates = BTreeMap::from([(TenantId(7), crate::keyring::rate(TenantId(7), 1, 100).unwrap())]);
    let keyring = Keyring::new(secret, entries, rates).unwrap();
    let (source, keyring) = watch::channel(Arc::new(keyring));
    let directory = nothing_known();
    let ring = Some(Keys::new(keyring, directory.clone()));
    (Access { keys: ring, directory }, source, keys)
}

fn nothing_known() -> watch::Receiver<Arc<Directory>> {
    watch::Sender::default().subscribe()
}

fn bearer(key: &ApiKey) -> Vec<u8> {
    format!("Bearer {}", key.reveal()).into_bytes()
}

fn code(refused: Result<Grant, Refusal>) -> &'static str {
    refused.map_or_else(|refusal| refusal.code(), |_| "granted")
}

#[test]
fn only_a_good_key_is_somebody() {
    let (access, _source, keys) = ring();
    let shown = |name: &str| bearer(&keys[name]);
    for name in ["boss", "shop", "clerk"] {
        assert_eq!(code(access.grant(Some(&shown(name)), None)), "granted", "{name}");
    }
    let lower = shown("shop").to_ascii_lowercase();
    assert_eq!(code(access.grant(Some(&lower), None)), "granted", "a scheme has no case");
    let faults: [(Option<&[u8]>, _); 6] = [
        (None, CredentialFault::Missing),
        (Some(b"Bearer"), CredentialFault::Malformed),
        (Some(b"Basic cGF5OmNvcmU="), CredentialFault::Malformed),
        (Some(b"Bearer pk_123"), CredentialFault::Malformed),
        (Some(&bearer(&ApiKey::random().unwrap())), CredentialFault::Unknown),
        (Some(&shown("old")), CredentialFault::Expired),
    ];
    for (header, fault) in faults {
        let refused = access.grant(header, None).unwrap_err();
        assert_eq!(refused, Refusal::Unauthenticated(fault));
    }
}

#[test]
fn the_operator_acts_for_the_tenant_that_a_call_names_and_others_for_themselves() {
    let (access, _source, keys) = ring();
    let grant =
        |name: &str, tenant: Option<&[u8]>| access.grant(Some(&bearer(&keys[name])), tenant);
    assert_eq!(grant("boss", None).unwrap().tenant, TenantId(0));
    assert_eq!(grant("boss", Some(b"9")).unwrap().tenant, TenantId(9));
    assert_eq!(grant("shop", None).unwrap().tenant, TenantId(7));
    assert_eq!(grant("shop", Some(b"7")).unwrap().tenant, TenantId(7));
    for other in [b"0", b"8"] {
        assert_eq!(code(grant("shop", Some(other))), "PERMISSION_DENIED");
    }
    for bad in [&b""[..], b"-1", b"shop", b"4294967296", b"\xff"] {
        assert_eq!(code(grant("boss", Some(bad))), "INVALID_FIELD");
    }
    let open = Access { keys: None, directory: nothing_known() };
    assert_eq!(open.grant(None, Some(b"9")).unwrap().tenant, TenantId(9));
}

#[test]
fn a_reader_moves_nothing_and_only_the_operator_gives_opening_balances() {
    let (access, _source, keys) = ring();
    let grant = |name: &str| access.grant(Some(&bearer(&keys[name])), None).unwrap();
    assert!(grant("boss").check_moves().is_ok() && grant("shop").check_moves().is_ok());
    let read_only = Refusal::PermissionDenied(Forbidden::ReadOnly);
    assert_eq!(grant("clerk").check_moves(), Err(read_only));

    let poor = v1::OpenAccountRequest {
        idempotency_key: "k".into(),
        currency_code: "CNY".into(),
        ..Default::default()
    };
    let money = v1::Money { currency_code: "CNY".into(), units_minor: 1 };
    let rich = v1::OpenAccountRequest { opening_balance: Some(money), ..poor.clone() };
    let command = v1::request::Command::OpenAccount(rich.clone());
    let one_of = v1::Request { command: Some(command) };
    assert!(grant("shop").read(&poor).is_ok());
    let operators = Refusal::PermissionDenied(Forbidden::OpeningBalance);
    assert_eq!(grant("shop").read(&rich), Err(operators.clone()));
    assert_eq!(grant("shop").read_one_of(&one_of), Err(operators));
    assert!(grant("boss").read(&rich).is_ok() && grant("boss").read_one_of(&one_of).is_ok());
}

#[test]
fn a_stream_ends_with_its_key() {
    let (access, source, keys) = ring();
    let grant = access.grant(Some(&bearer(&keys["boss"])), Some(b"9")).unwrap();
    assert_eq!(access.renew(&grant).unwrap().tenant, TenantId(9));
    let empty = Keyring::new(MacKey::random().unwrap(), Vec::new(), BTreeMap::new()).unwrap();
    source.send_replace(Arc::new(empty));
    assert_eq!(code(access.renew(&grant)), "UNAUTHENTICATED");
}

#[test]
fn all_keys_of_a_tenant_share_its_rate() {
    let (access, _source, keys) = ring();
    let grant = |name: &str| access.grant(Some(&bearer(&keys[name])), None).unwrap();
    assert_eq!(grant("shop").charge(60), 60);
    let rest = grant("clerk").charge(1_000);
    assert!((40..100).contains(&rest), "{rest}");
    assert_eq!(grant("boss").charge(1_000_000), 1_000_000, "no rate, no bound");
}
