//! One of everything that is encoded, and a small life that leaves one of everything that is stored.

use std::fmt::Write as _;

use ledger::batch::put_record;
use ledger::codec::put_cold;
use ledger::directory::{ApiKeyRecord, Name, NodeRecord, Placement, Record, TenantRecord};
use ledger::{
    AccountId, AccountKind, Amount, Answer, Authority, Command, Currency, FreezeScope, HoldId,
    HoldState, JournalKind, Key, Leg, Message, Operation, Payment, Posted, Refusal, Rejection,
    Request, Slot, TenantId, Time, TransferId,
};

use crate::hex;
use crate::world::{BOOKS, World, account};

fn minor(amount: u64) -> Amount {
    Amount::from_minor(amount).unwrap()
}

fn hold(number: u128) -> HoldId {
    HoldId::in_slot(0x0192_1111_2222_7333_8444_0000_0000_0000 | number << 12, Slot::of(0))
}

fn transfer_id() -> TransferId {
    TransferId { shard: 3, index: 0x0102_0304_0506_0708, position: 2_047 }
}

/// Every command, by its name; those with an optional field with and without it.
pub(crate) fn commands() -> Vec<(&'static str, Command)> {
    let (debit, credit) = (account(1), account(2));
    let currency = Currency::CNY;
    let (kind, amount) = (AccountKind::Wallet, minor(0x0001_0203_0405_0607));
    let legs = vec![
        Leg { debit, credit, amount: minor(1) },
        Leg { debit: credit, credit: debit, amount: minor(1_000_000_000_000_000) },
    ];
    let timeout_ms = 0x0102_0304;
    let commands = vec![
        Command::Open { account: debit, currency, kind, opening: None },
        Command::Open { account: debit, currency, kind, opening: Some(amount) },
        Command::Freeze { account: debit, scope: FreezeScope::All, authority: Authority::Judicial },
        Command::Unfreeze { account: debit, authority: Authority::Risk },
        Command::Close { account: debit },
        Command::Transfer { debit, credit, amount, currency },
        Command::MultiTransfer { initiator: debit, currency, legs },
        Command::Hold { debit, hold: hold(1), credit, amount, currency, timeout_ms },
        Command::Post { hold: hold(1), amount: None, release_rest: false },
        Command::Post { hold: hold(1), amount: Some(amount), release_rest: true },
        Command::Void { hold: hold(1) },
        Command::Reverse { credit, transfer: transfer_id() },
        Command::ForgetKeys { books: debit, before: Time(1_767_225_600_000) },
        Command::Deliver { books: debit, from: 1, acked: 7, message: None },
        Command::Deliver { books: debit, from: 1, acked: 7, message: Some((8, pay())) },
        Command::Deliver { books: debit, from: 1, acked: 7, message: Some((9, settled())) },
        Command::Deliver {
            books: debit,
            from: 1,
            acked: 7,
            message: Some((10, Message::Marker(5))),
        },
        Command::Cut { books: debit, cut: 5 },
        Command::WholeCut { books: debit, cut: 6 },
        Command::Deliver {
            books: debit,
            from: 1,
            acked: 7,
            message: Some((11, Message::WholeMarker(6))),
        },
    ];
    let commands = commands.into_iter().chain(directory()).chain(state_cut(debit));
    commands.into_iter().map(|command| (name(&command), command)).collect()
}

/// A backup's cut, and its marker.
fn state_cut(books: AccountId) -> [Command; 2] {
    let marker = Message::StateMarker { cut: 7, inbox: 0x0102_0304 };
    let message = Some((15, marker));
    [Command::StateCut { books, cut: 7 }, Command::Deliver { books, from: 1, acked: 7, message }]
}

/// What is asked of the directory, one record of each kind, and what goes over the meta group's channels.
fn directory() -> Vec<Command> {
    let books = AccountId::from_u128(0);
    let text = |text: &str| text.to_owned();
    let node = NodeRecord {
        disk: [7; 16],
        address: text("n4.example.com:7101"),
        level_max: 2,
        is_retired: true,
    };
    let placement = Placement { index: 300, voters: vec![1, 2, 4], learners: vec![5] };
    let tenant = TenantRecord { label: text("shop"), rate: Some((1_000, 2_000)) };
    let tenant_id = TenantId(0x0a0b_0c0d);
    let key = ApiKeyRecord {
        tenant: tenant_id,
        scopes: 2,
        mac: [9; 32],
        expires: Some(Time(1_767_225_600_000)),
    };
    let table = Name::Table(text("fees"), Time(1_767_225_600_000));
    let known = [
        (Name::Tenant(tenant_id), Record::Tenant(tenant)),
        (Name::ApiKey(text("till")), Record::ApiKey(key)),
        (Name::Alias(tenant_id, text("lin")), Record::Alias(account(1))),
        (table.clone(), Record::Table(text("{}"))),
        (Name::Level, Record::Level(2)),
        (Name::ApiKey(text("till")), Record::Gone),
    ];
    let direct = |(name, record)| Command::Direct { books, name, record };
    let reports =
        [(Name::Node(4), Record::Node(node)), (Name::Shard(3), Record::Placement(placement))];
    let report = |(name, record)| Command::Report { books, name, record };
    let words = [
        Message::Record { name: table, version: 300, record: Record::Table(text("{}")) },
        Message::Told(Time(1_767_225_600_000)),
        Message::Heard { at: Time(1_767_225_600_000), version: 300 },
    ];
    let deliver =
        |message| Command::Deliver { books, from: 2, acked: 7, message: Some((11, message)) };
    let asked = known.into_iter().map(direct).chain(reports.into_iter().map(report));
    asked.chain(words.into_iter().map(deliver)).collect()
}

fn pay() -> Message {
    Message::Pay(Payment {
        transfer: transfer_id(),
        debit: account(1),
        credit: account(2),
        amount: minor(0x0001_0203_0405_0607),
        currency: Currency::CNY,
        kind: JournalKind::Reversal,
        leg: 3,
        is_whole: true,
        reverses: Some(transfer_id()),
    })
}

fn settled() -> Message {
    let refused = (4..).zip(Refusal::ALL).collect();
    Message::Settled { from: 3, to: 0x0102_0304, refused }
}

/// A command that is not named here does not compile: give it a sample above.
fn name(command: &Command) -> &'static str {
    match command {
        Command::Open { opening: None, .. } => "open",
        Command::Open { .. } => "open-with",
        Command::Freeze { .. } => "freeze",
        Command::Unfreeze { .. } => "unfreeze",
        Command::Close { .. } => "close",
        Command::Transfer { .. } => "transfer",
        Command::MultiTransfer { .. } => "multi-transfer",
        Command::Hold { .. } => "hold",
        Command::Post { amount: None, .. } => "post-rest",
        Command::Post { .. } => "post",
        Command::Void { .. } => "void",
        Command::Reverse { .. } => "reverse",
        Command::ForgetKeys { .. } => "forget-keys",
        Command::Deliver { message: None, .. } => "deliver-nothing",
        Command::Deliver { message: Some((_, Message::Pay(_))), .. } => "deliver-pay",
        Command::Deliver { message: Some((_, Message::Settled { .. })), .. } => "deliver-settled",
        Command::Deliver { message: Some((_, Message::Marker(_))), .. } => "deliver-marker",
        Command::Deliver { message: Some((_, Message::WholeMarker(_))), .. } => {
            "deliver-whole-marker"
        }
        Command::Deliver { message: Some((_, Message::StateMarker { .. })), .. } => {
            "deliver-state-marker"
        }
        Command::Cut { .. } => "cut",
        Command::Deliver { message: Some((_, Message::Record { .. })), .. } => "deliver-record",
        Command::Deliver { message: Some((_, Message::Told(_))), .. } => "deliver-told",
        Command::Deliver { message: Some((_, Message::Heard { .. })), .. } => "deliver-heard",
        Command::Direct { record, .. } | Command::Report { record, .. } => match record {
            Record::Gone => "direct-gone",
            Record::Node(_) => "report-node",
            Record::Placement(_) => "report-placement",
            Record::Tenant(_) => "direct-tenant",
            Record::ApiKey(_) => "direct-api-key",
            Record::Alias(_) => "direct-alias",
            Record::Table(_) => "direct-table",
            Record::Level(_) => "direct-level",
        },
        Command::WholeCut { .. } => "whole-cut",
        Command::StateCut { .. } => "state-cut",
    }
}

pub(crate) fn request(command: Command) -> Request {
    let key = Key::from_u128(0x0192_3456_789a_7bcd_8123_4567_89ab_cdef);
    Request { key, tenant: TenantId(0x0a0b_0c0d), command }
}

/// Every rejection, in the order of their numbers.
pub(crate) fn rejections() -> Vec<Rejection> {
    vec![
        Rejection::InvalidAmount,
        Rejection::UnknownCurrency,
        Rejection::AccountNotFound,
        Rejection::AccountExists,
        Rejection::AccountClosed,
        Rejection::AccountFrozen,
        Rejection::SameAccount,
        Rejection::CurrencyMismatch,
        Rejection::Insufficient { available: 250, requested: 1_000_000_000_000_000 },
        Rejection::BalanceLimit,
        Rejection::LegsTooFar,
        Rejection::HoldNotFound,
        Rejection::HoldExists,
        Rejection::HoldEnded,
        Rejection::HoldExceeded { remaining: 251, requested: 65_536 },
        Rejection::TooManyHolds,
        Rejection::TransferNotFound,
        Rejection::AlreadyReversed,
        Rejection::NotReversible,
        Rejection::TransferTooOld,
        Rejection::KeyReused,
        Rejection::KeyTooOld { cut_off: Time(1_767_225_600_000) },
        Rejection::CloseBlocked,
        Rejection::NotFrozen,
        Rejection::InvalidCommand,
        Rejection::Returned { why: Refusal::AccountClosed, legs: 5 },
        Rejection::TableTooSoon { earliest: Time(1_767_225_600_000) },
        Rejection::NameTaken,
        Rejection::RecordNotFound,
        Rejection::DirectoryFull,
        Rejection::LevelNotReady { level: 2, node: 251 },
    ]
}

pub(crate) fn answers() -> [(&'static str, Answer); 3] {
    let posted = Posted { transfer: transfer_id(), at: Time(1_767_225_600_000) };
    [
        ("posted", Answer { outcome: Ok(posted), replayed: false }),
        ("posted-replayed", Answer { outcome: Ok(posted), replayed: true }),
        ("rejected", Answer { outcome: Err(Rejection::InvalidCommand), replayed: true }),
    ]
}

fn all<T: bincode::Encode>(values: &[T]) -> Vec<u8> {
    let mut bytes = Vec::new();
    values.iter().for_each(|value| put_cold(value, &mut bytes));
    bytes
}

/// The numbers of the small enums' variants: new ones only ever come at the end.
pub(crate) fn small_enums() -> [(&'static str, Vec<u8>); 12] {
    let operations = [
        Operation::Open,
        Operation::Freeze,
        Operation::Unfreeze,
        Operation::Close,
        Operation::Transfer,
        Operation::Hold,
        Operation::Post,
        Operation::Void,
        Operation::Reverse,
        Operation::ForgetKeys,
    ];
    let journals =
        [JournalKind::Opening, JournalKind::Transfer, JournalKind::Post, JournalKind::Reversal];
    let kinds = [AccountKind::Wallet, AccountKind::Opening];
    let shared = [AccountKind::DueTo(3), AccountKind::DueFrom(0x0102), AccountKind::Suspense];
    let states = [HoldState::Active, HoldState::Posted, HoldState::Voided, HoldState::Expired];
    [
        ("account-kind", all(&kinds)),
        ("account-kind-between-shards", all(&shared)),
        ("authority", all(&[Authority::User, Authority::Risk, Authority::Judicial])),
        ("freeze-scope", all(&[FreezeScope::Debit, FreezeScope::All])),
        ("hold-state", all(&states)),
        ("journal-kind", all(&journals)),
        ("operation", all(&operations)),
        ("journal-kind-return", all(&[JournalKind::Return])),
        ("refusal", all(&Refusal::ALL)),
        ("operation-deliver", all(&[Operation::Deliver])),
        ("operation-cut", all(&[Operation::Cut])),
        ("operation-direct", all(&[Operation::Direct, Operation::Report])),
    ]
}

/// A life in which everything happens once: what it leaves is one of every kind of record.
pub(crate) fn live(world: &mut World) -> Vec<(Request, Answer)> {
    let mut life = Life { world, said: Vec::new(), key: 0 };
    let open = |number, code, opening| Command::Open {
        account: account(number),
        currency: Currency::from_code(code).unwrap(),
        kind: AccountKind::Wallet,
        opening,
    };
    life.ask(open(1, "CNY", Some(minor(100_000))));
    life.ask(open(2, "CNY", None));
    life.ask(open(3, "JPY", Some(minor(70_000))));
    life.ask(open(4, "KWD", None));
    life.ask(Command::Close { account: account(4) });
    let (debit, credit, currency) = (account(1), account(2), Currency::CNY);
    let transfer = |amount| Command::Transfer { debit, credit, amount: minor(amount), currency };
    let first = life.ask(transfer(300));
    life.ask(transfer(1_000_000));
    let legs = [(debit, credit, 250), (credit, debit, 251), (debit, credit, 65_536)];
    let legs = legs.map(|(debit, credit, amount)| Leg { debit, credit, amount: minor(amount) });
    life.ask(Command::MultiTransfer { initiator: debit, currency, legs: legs.to_vec() });
    life.ask(Command::Reverse { credit, transfer: first });
    for (number, timeout_ms) in [(1, 10_000), (2, 10_000), (3, 1), (4, 400 * 86_400_000)] {
        let amount = minor(1_000);
        life.ask(Command::Hold { debit, hold: hold(number), credit, amount, currency, timeout_ms });
    }
    life.ask(Command::Post { hold: hold(1), amount: Some(minor(400)), release_rest: true });
    life.ask(Command::Post { hold: hold(4), amount: Some(minor(1)), release_rest: false });
    life.ask(Command::Void { hold: hold(2) });
    life.ask(Command::Void { hold: hold(2) });
    for (scope, authority) in [
        (FreezeScope::All, Authority::User),
        (FreezeScope::Debit, Authority::Risk),
        (FreezeScope::Debit, Authority::Judicial),
    ] {
        life.ask(Command::Freeze { account: account(3), scope, authority });
    }
    life.ask(Command::Unfreeze { account: account(3), authority: Authority::Risk });
    life.ask(Command::Unfreeze { account: account(3), authority: Authority::Risk });
    let before = life.world.ledger.now().minus_ms(ledger::RETENTION_MS);
    life.ask(Command::ForgetKeys { books: debit, before });
    life.said
}

/// Asks one thing after another, each in its own batch.
struct Life<'a> {
    world: &'a mut World,
    said: Vec<(Request, Answer)>,
    key: u64,
}

impl Life<'_> {
    /// Asks under a UUIDv7 or a free-form key in turn; says where in the log it stands.
    fn ask(&mut self, command: Command) -> TransferId {
        self.key += 1;
        self.world.at = self.world.at.plus_ms(5);
        let mut request = crate::world::request(self.key, command);
        if self.key.is_multiple_of(2) {
            let made = u128::from(self.world.at.0) << 80;
            let bits = made | 7 << 76 | 0b10 << 62 | u128::from(self.key);
            request.key = Key::from_uuid_v7(bits).unwrap();
        }
        let [answer] = self.world.apply(vec![request.clone()]).try_into().unwrap();
        self.said.push((request, answer));
        TransferId { shard: BOOKS().shard, index: self.world.ledger.index(), position: 0 }
    }
}

/// The lines of an image: its pages, its volume's records, and every request with what it was answered.
pub(crate) fn write_image() -> String {
    let mut world = World::new();
    let said = live(&mut world);
    let image = world.ledger.freeze();
    let mut text = String::new();
    for (name, value) in image.pages() {
        writeln!(text, "page {} {}", hex::write(&name), hex::write(&value)).unwrap();
    }
    for record in image.cold_records() {
        writeln!(text, "cold {} {}", hex::write(&record.key), hex::write(&record.value)).unwrap();
    }
    for (request, answer) in said {
        let (mut record, mut outcome) = (Vec::new(), Vec::new());
        put_record(&request, &mut record).unwrap();
        put_cold(&answer.outcome, &mut outcome);
        writeln!(text, "said {} {}", hex::write(&record[2..]), hex::write(&outcome)).unwrap();
    }
    text
}
