//! Bytes and requests that nobody sensible would send: every reader refuses them or reads them, and none panics, and
//! the ledger answers whatever can be read.

use ledger::batch::{BATCH_HEAD_BYTES, Head, get_record, put_record, records};
use ledger::{
    AccountId, AccountKind, Amount, Authority, Batch, ColdName, ColdValue, Command, Currency,
    FreezeScope, HoldId, Key, Ledger, Leg, Posting, Request, Restore, Said, Slot, TenantId, Time,
    TransferId, cold_digest,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::samples;
use crate::world::{BOOKS, World, account};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_refused_or_read(bytes in vec(any::<u8>(), 0..700), kind in any::<usize>()) {
        read_all(&bytes);
        // With a first byte that is right, readers get further.
        for first in [&b"ohrjp"[kind % 5..=kind % 5], &[1], &b"afh"[kind % 3..=kind % 3]] {
            read_all(&[first, &bytes].concat());
        }
    }

    #[test]
    fn damaged_bytes_are_refused_or_read(
        which in any::<prop::sample::Index>(),
        damage in vec((any::<prop::sample::Index>(), damage()), 1..4),
    ) {
        let (name, mut bytes) = which.get(&stored()).clone();
        for (at, damage) in damage {
            damage.inflict(&mut bytes, at);
        }
        read_all(&bytes);
        read_with_name(&name, &bytes);
    }

    #[test]
    fn the_ledger_answers_whatever_it_is_asked(requests in vec(request(), 1..12), stamp in stamp()) {
        let mut world = World::new();
        samples::live(&mut world);
        world.checkpoint();
        let asked = requests.len();
        prop_assert_eq!(world.decide(requests.clone()).answers.len(), asked);
        world.at = stamp;
        // What waits for another shard waits on.
        let settled = |said: &Said| match said {
            Said::Now(answer) => answer.replayed || answer.outcome.is_err(),
            Said::Later { replayed } => *replayed,
        };
        prop_assert!(world.decide(requests).answers.iter().all(settled));
        world.checkpoint();
    }
}

/// Every reader, on its own.
fn read_all(bytes: &[u8]) {
    if let Ok(batch) = Batch::decode(bytes) {
        assert_eq!(batch.encode().unwrap(), bytes, "what is read is what was written");
        let mut ledger = Ledger::new(BOOKS());
        let fetched = ledger.begin_fetch();
        assert_eq!(ledger.apply(1, &batch, &fetched).answers.len(), batch.requests().len());
        ledger.audit().unwrap();
    }
    for record in records(bytes).filter_map(Result::ok).chain([bytes]) {
        if let Ok(request) = get_record(record, 0) {
            // One request, one spelling: a fingerprint is taken of the bytes.
            let mut again = Vec::new();
            put_record(&request, &mut again).unwrap();
            assert_eq!(&again[2..], record);
            assert_eq!(Head::peek(record).unwrap().subject, request.command.subject());
        }
        let _ = Head::peek(record);
    }
    if let Ok(name) = ColdName::parse(bytes) {
        assert_eq!(name.key(), bytes);
    }
    for name in names() {
        read_with_name(&name, bytes);
    }
}

fn read_with_name(name: &[u8], bytes: &[u8]) {
    let _ = cold_digest(name, bytes);
    let _ = Posting::from_cold(name, bytes);
    if let Ok(parsed) = ColdName::parse(name) {
        let _ = ColdValue::read(&parsed, bytes);
        let _ = Ledger::new(BOOKS()).begin_fetch().put(parsed, bytes);
    }
    for page in [name, b"a", b"f", b"h"] {
        let mut restore = Restore::new(BOOKS());
        if restore.page(page, bytes).is_ok() {
            let _ = restore.finish();
        }
    }
}

fn names() -> Vec<Vec<u8>> {
    [
        &b"h0123456789abcdef"[..],
        b"r0123456789ab",
        b"j0123456789ab",
        b"o0123456789abcdef0123\x010123456789abcdef",
        b"p0123456789abcdef0123456789a",
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

/// Names and bytes as they are really stored: a batch, its records, pages, cold records and their names.
fn stored() -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut world = World::new();
    samples::live(&mut world);
    let image = world.ledger.freeze();
    let mut stored: Vec<(Vec<u8>, Vec<u8>)> = image.pages().collect();
    for record in image.cold_records() {
        stored.push((record.key.clone(), record.value));
        stored.push((Vec::new(), record.key));
    }
    let requests: Vec<_> =
        samples::commands().into_iter().map(|(_, command)| samples::request(command)).collect();
    let batch = Batch::new(Time(1), requests).unwrap().encode().unwrap();
    for record in records(&batch[BATCH_HEAD_BYTES..]) {
        stored.push((Vec::new(), record.unwrap().to_vec()));
    }
    stored.push((Vec::new(), batch));
    stored
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    Change(u8),
    Insert(u8),
    Remove,
    Cut,
    /// A length that nobody sent: the codec's longest integer.
    Huge,
}

const HUGE: [u8; 9] = [253, 255, 255, 255, 255, 255, 255, 255, 127];

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        any::<u8>().prop_map(Damage::Change),
        any::<u8>().prop_map(Damage::Insert),
        Just(Damage::Remove),
        Just(Damage::Cut),
        Just(Damage::Huge),
    ]
}

impl Damage {
    fn inflict(self, bytes: &mut Vec<u8>, at: prop::sample::Index) {
        if bytes.is_empty() {
            return;
        }
        let at = at.index(bytes.len());
        match self {
            Self::Change(byte) => bytes[at] = byte,
            Self::Insert(byte) => bytes.insert(at, byte),
            Self::Remove => drop(bytes.remove(at)),
            Self::Cut => bytes.truncate(at),
            Self::Huge => drop(bytes.splice(at..=at, HUGE)),
        }
    }
}

fn request() -> impl Strategy<Value = Request> {
    (any::<u128>(), prop_oneof![4 => Just(0), 1 => any::<u32>()], command()).prop_map(
        |(key, tenant, command)| Request {
            key: Key::from_digest(key.to_be_bytes()),
            tenant: TenantId(tenant),
            command,
        },
    )
}

fn command() -> impl Strategy<Value = Command> {
    let transfer =
        (any::<u16>(), 0_u64..40, any::<u16>()).prop_map(|(shard, index, position)| TransferId {
            shard: shard % 2,
            index: if index == 39 { u64::MAX } else { index },
            position: position % 2,
        });
    let legs = vec((id(), id(), amount()), 0..70).prop_map(|legs| {
        legs.into_iter()
            .map(|(debit, credit, amount)| Leg { debit, credit, amount })
            .collect::<Vec<_>>()
    });
    let kind = prop_oneof![Just(AccountKind::Wallet), Just(AccountKind::Opening)];
    prop_oneof![
        (id(), currency(), kind, prop::option::of(amount())).prop_map(
            |(account, currency, kind, opening)| Command::Open { account, currency, kind, opening }
        ),
        id().prop_map(|account| Command::Freeze {
            account,
            scope: FreezeScope::All,
            authority: Authority::User
        }),
        id().prop_map(|account| Command::Unfreeze { account, authority: Authority::User }),
        id().prop_map(|account| Command::Close { account }),
        (id(), id(), amount(), currency()).prop_map(|(debit, credit, amount, currency)| {
            Command::Transfer { debit, credit, amount, currency }
        }),
        (id(), currency(), legs).prop_map(|(initiator, currency, legs)| Command::MultiTransfer {
            initiator,
            currency,
            legs
        }),
        (id(), hold(), id(), amount(), currency(), any::<u64>()).prop_map(
            |(debit, hold, credit, amount, currency, timeout_ms)| Command::Hold {
                debit,
                hold,
                credit,
                amount,
                currency,
                timeout_ms
            }
        ),
        (hold(), prop::option::of(amount()), any::<bool>())
            .prop_map(|(hold, amount, release_rest)| Command::Post { hold, amount, release_rest }),
        hold().prop_map(|hold| Command::Void { hold }),
        (id(), transfer).prop_map(|(credit, transfer)| Command::Reverse { credit, transfer }),
        (id(), any::<u64>())
            .prop_map(|(books, before)| Command::ForgetKeys { books, before: Time(before) }),
    ]
}

/// Accounts that are there, the shard's own, and any number at all.
fn id() -> impl Strategy<Value = AccountId> {
    let own = |kind: AccountKind| kind.system_id(Currency::CNY, Slot::new(0).unwrap());
    prop_oneof![
        6 => (1..5_u128).prop_map(account),
        1 => Just(own(AccountKind::Opening)),
        1 => Just(own(AccountKind::Wallet)),
        1 => any::<u128>().prop_map(AccountId::from_u128),
    ]
}

fn hold() -> impl Strategy<Value = HoldId> {
    let known = 0x0192_1111_2222_7333_8444_0000_0000_0000_u128;
    prop_oneof![
        3 => (1..6_u128).prop_map(move |number| HoldId::from_u128(known | number << 12)),
        1 => any::<u128>().prop_map(HoldId::from_u128),
    ]
}

fn amount() -> impl Strategy<Value = Amount> {
    let minor = prop_oneof![2 => 1..300_u64, 1 => Just(ledger::AMOUNT_MAX)];
    minor.prop_map(|minor| Amount::from_minor(minor).unwrap())
}

fn currency() -> impl Strategy<Value = Currency> {
    let code = prop_oneof![4 => Just("CNY"), 1 => Just("JPY"), 1 => Just("KWD")];
    code.prop_map(|code| Currency::from_code(code).unwrap())
}

fn stamp() -> impl Strategy<Value = Time> {
    prop_oneof![Just(Time(0)), Just(Time(u64::MAX)), any::<u64>().prop_map(Time)]
}
