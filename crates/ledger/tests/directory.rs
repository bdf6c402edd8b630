//! The directory: what the meta group decides, and what two shards hear of it over channels that lose, double and delay.

#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test that panics has said what it had to say"
)]

mod world;

use ledger::directory::{
    ALIASES_MAX, ALIASES_OF_TENANT_MAX, ApiKeyRecord, LEVEL_FIRST, Name, NodeRecord, Placement,
    RECORDS_MAX, Record, TABLE_BYTES_MAX, TABLE_NOTICE_MS, TELL_EVERY_MS, TenantRecord,
};
use ledger::{
    AccountId, AccountKind, Answer, Books, Command, Currency, Key, Message, Rejection, Request,
    Said, Shards, TenantId, Time,
};
use proptest::collection::vec;
use proptest::prelude::*;
use world::{START, World};

const SHARDS: u16 = 2;
const META: u16 = SHARDS;
const OPERATOR: TenantId = TenantId(0);

/// The meta group and its shards: their numbers are their places.
struct Cluster {
    groups: Vec<World>,
    keys: u128,
}

impl Cluster {
    fn new() -> Self {
        let shards = Shards::new(SHARDS).unwrap();
        let groups = shards.groups().map(|shard| World::of(Books { shard, shards })).collect();
        Self { groups, keys: 0 }
    }

    fn meta(&mut self) -> &mut World {
        &mut self.groups[usize::from(META)]
    }

    fn ask(&mut self, tenant: TenantId, command: Command) -> Answer {
        self.keys += 1;
        let request = Request { key: Key::from_u128(self.keys), tenant, command };
        self.meta().apply(vec![request])[0]
    }

    fn direct(&mut self, name: Name, record: Record) -> Result<(), Rejection> {
        let answer = self.ask(OPERATOR, direct(name, record));
        answer.outcome.map(|_| ())
    }

    fn report(&mut self, name: Name, record: Record) -> Result<(), Rejection> {
        let answer = self.ask(OPERATOR, report(name, record));
        answer.outcome.map(|_| ())
    }

    fn pass(&mut self, ms: u64) {
        for group in &mut self.groups {
            group.at = group.at.plus_ms(ms);
        }
    }

    /// Carries some of what one group wrote to another.
    fn carry(&mut self, (from, to): (u16, u16), skip: u64, count: usize) {
        let after = self.groups[usize::from(to)].ledger.inbox(from) + skip;
        let sender = &self.groups[usize::from(from)].ledger;
        let acked = sender.inbox(to);
        let messages: Vec<_> = sender.outbox(to, after.saturating_sub(1)).take(count).collect();
        let books = AccountId::from_u128(0);
        let requests = messages.into_iter().map(|numbered| Request {
            key: Key::from_u128(0),
            tenant: OPERATOR,
            command: Command::Deliver {
                books,
                from,
                acked,
                message: Some((numbered.number, numbered.message)),
            },
        });
        let requests: Vec<_> = requests.collect();
        if !requests.is_empty() {
            self.groups[usize::from(to)].apply(requests);
        }
    }

    fn settle(&mut self) {
        self.meta().apply(Vec::new());
        for _ in 0..3 {
            for shard in 0..SHARDS {
                self.carry((META, shard), 1, usize::MAX);
                self.carry((shard, META), 1, usize::MAX);
            }
        }
    }

    /// What a group knows of what is for shards.
    fn for_shards(&self, group: u16) -> Vec<(u64, Name, Record)> {
        let directory = self.groups[usize::from(group)].ledger.directory();
        let known = directory.changes(0).filter(|(_, name, _)| {
            matches!(name, Name::Table(..) | Name::Level | Name::Node(_) | Name::Shard(_))
        });
        known.map(|(version, name, record)| (version, name.clone(), record.clone())).collect()
    }
}

fn direct(name: Name, record: Record) -> Command {
    Command::Direct { books: AccountId::from_u128(0), name, record }
}

fn report(name: Name, record: Record) -> Command {
    Command::Report { books: AccountId::from_u128(0), name, record }
}

fn table(name: &str, effective: Time) -> Name {
    Name::Table(name.to_owned(), effective)
}

fn content(text: &str) -> Record {
    Record::Table(text.to_owned())
}

fn node(disk: u8, level_max: u32) -> Record {
    Record::Node(NodeRecord {
        disk: [disk; 16],
        address: format!("n{disk}:7101"),
        level_max,
        is_retired: false,
    })
}

fn retired(disk: u8) -> Record {
    Record::Node(NodeRecord {
        disk: [disk; 16],
        address: format!("n{disk}:7101"),
        level_max: 1,
        is_retired: true,
    })
}

fn placed(index: u64, voters: &[u64]) -> Record {
    Record::Placement(Placement { index, voters: voters.to_vec(), learners: Vec::new() })
}

#[test]
fn a_table_is_published_an_hour_before_and_never_changes() {
    let mut cluster = Cluster::new();
    let soon = START.plus_ms(TABLE_NOTICE_MS);
    let early = START.plus_ms(TABLE_NOTICE_MS - 1);
    let too_soon = Err(Rejection::TableTooSoon { earliest: soon });
    assert_eq!(cluster.direct(table("fees", early), content("{}")), too_soon);
    assert_eq!(cluster.direct(table("fees", soon), content("{}")), Ok(()));
    assert_eq!(cluster.direct(table("fees", soon), content("{}")), Ok(()), "it is so already");
    assert_eq!(cluster.direct(table("fees", soon), content("[]")), Err(Rejection::NameTaken));
    let late = soon.plus_ms(5_000);
    assert_eq!(cluster.direct(table("fees", late), content("[1]")), Ok(()));
    assert_eq!(cluster.direct(table("other", late), Record::Gone), Err(Rejection::RecordNotFound));

    cluster.pass(1_000);
    // The first can be withdrawn no more, the second can.
    let earliest = soon.plus_ms(1_000);
    let too_soon = Err(Rejection::TableTooSoon { earliest });
    assert_eq!(cluster.direct(table("fees", soon), Record::Gone), too_soon);
    assert_eq!(cluster.direct(table("fees", late), Record::Gone), Ok(()));
    assert_eq!(cluster.direct(table("fees", late), content("[2]")), Ok(()));

    cluster.settle();
    for group in 0..=META {
        let directory = cluster.groups[usize::from(group)].ledger.directory();
        let at = |time| directory.table_at("fees", time).map(|(_, _, content)| content);
        assert_eq!(at(early), None, "group {group}");
        assert_eq!((at(soon), at(late)), (Some("{}"), Some("[2]")), "group {group}");
        assert_eq!(at(Time(u64::MAX)), Some("[2]"), "group {group}");
        assert_eq!(directory.table_at("none", late), None);
    }
}

#[test]
fn what_has_no_form_is_refused_and_changes_nothing() {
    let mut cluster = Cluster::new();
    let late = START.plus_ms(2 * TABLE_NOTICE_MS);
    let before = cluster.meta().ledger.directory().clone();
    let tenant = |label: String, rate| Record::Tenant(TenantRecord { label, rate });
    let bad = [
        (table("", late), content("{}")),
        (table("a b", late), content("{}")),
        (table(&"a".repeat(65), late), content("{}")),
        (table("fees", late), content("")),
        (table("fees", late), content(&"a".repeat(TABLE_BYTES_MAX + 1))),
        (table("fees", late), Record::Level(2)),
        (Name::Tenant(OPERATOR), tenant(String::new(), None)),
        (Name::Tenant(TenantId(7)), tenant("a".repeat(65), None)),
        (Name::Tenant(TenantId(7)), tenant(String::new(), Some((0, 1)))),
        (Name::Level, Record::Gone),
        (Name::Level, Record::Level(3)),
        (Name::Level, Record::Level(LEVEL_FIRST)),
        // Nodes and shards speak for themselves.
        (Name::Node(1), node(1, 1)),
        (Name::Shard(0), placed(1, &[1])),
        (Name::Node(1), Record::Gone),
    ];
    for (name, record) in bad {
        let refused = cluster.direct(name.clone(), record.clone());
        assert_eq!(refused, Err(Rejection::InvalidCommand), "{name:?} {record:?}");
    }
    let reports = [
        (Name::Shard(META + 1), placed(1, &[1])),
        (Name::Shard(0), placed(1, &[])),
        (Name::Shard(0), placed(1, &[2, 1])),
        (Name::Level, Record::Level(2)),
    ];
    for (name, record) in reports {
        let refused = cluster.report(name.clone(), record.clone());
        assert_eq!(refused, Err(Rejection::InvalidCommand), "{name:?} {record:?}");
    }
    let after = cluster.meta().ledger.directory();
    assert_eq!(after.changes(0).count(), before.changes(0).count());
}

#[test]
fn names_belong_to_whoever_has_them() {
    let mut cluster = Cluster::new();
    let alias = |tenant| Name::Alias(TenantId(tenant), "lin".to_owned());
    let account = |bits| Record::Alias(AccountId::from_u128(bits));
    let ask = |cluster: &mut Cluster, tenant, name, record| {
        cluster.ask(TenantId(tenant), direct(name, record)).outcome.map(|_| ())
    };
    assert_eq!(ask(&mut cluster, 7, alias(7), account(1)), Ok(()));
    assert_eq!(ask(&mut cluster, 7, alias(7), account(2)), Err(Rejection::NameTaken));
    assert_eq!(ask(&mut cluster, 7, alias(8), account(1)), Err(Rejection::InvalidCommand));
    assert_eq!(ask(&mut cluster, 8, alias(8), account(3)), Ok(()), "each tenant has its own");
    assert_eq!(ask(&mut cluster, 0, alias(7), Record::Gone), Ok(()), "the operator may");
    assert_eq!(ask(&mut cluster, 7, alias(7), account(2)), Ok(()));

    let key = |mac| {
        let tenant = TenantId(7);
        Record::ApiKey(ApiKeyRecord { tenant, scopes: 2, mac: [mac; 32], expires: None })
    };
    let named = || Name::ApiKey("till".to_owned());
    assert_eq!(cluster.direct(named(), key(1)), Ok(()));
    assert_eq!(cluster.direct(named(), key(2)), Err(Rejection::NameTaken));
    assert_eq!(ask(&mut cluster, 7, named(), Record::Gone), Err(Rejection::InvalidCommand));
    assert_eq!(cluster.direct(named(), Record::Gone), Ok(()));
    assert_eq!(cluster.direct(named(), Record::Gone), Err(Rejection::RecordNotFound));
    assert_eq!(cluster.meta().ledger.directory().get(&named()), None);
}

#[test]
fn the_directory_has_a_bound_and_tenants_do_not_take_it_from_others() {
    let mut cluster = Cluster::new();
    let record = Record::Alias(AccountId::from_u128(1));
    let alias = |tenant, number: usize| Name::Alias(TenantId(tenant), format!("a{number}"));
    let names = |tenant: u32| (0..ALIASES_OF_TENANT_MAX).map(move |number| alias(tenant, number));
    let tenants = u32::try_from(ALIASES_MAX / ALIASES_OF_TENANT_MAX).unwrap();
    for (chunk, tenant) in (1..=tenants).enumerate() {
        for (part, names) in names(tenant).collect::<Vec<_>>().chunks(2_000).enumerate() {
            let key =
                |number: usize| (1 << 64) + (chunk * 10 + part) as u128 * 2_000 + number as u128;
            let requests = names.iter().enumerate().map(|(number, name)| Request {
                key: Key::from_digest(key(number).to_be_bytes()),
                tenant: OPERATOR,
                command: direct(name.clone(), record.clone()),
            });
            // Audited once, at the end: it goes through all of them.
            let batch = ledger::Batch::new(START, requests.collect()).unwrap();
            let ledger = &mut cluster.meta().ledger;
            let fetched = ledger.begin_fetch();
            let decided = ledger.apply(ledger.index() + 1, &batch, &fetched);
            let is_done = |said: &Said| said.now().unwrap().outcome.is_ok();
            assert!(decided.answers.iter().all(is_done));
        }
        let one_more = cluster.direct(alias(tenant, ALIASES_OF_TENANT_MAX), record.clone());
        assert_eq!(one_more, Err(Rejection::DirectoryFull), "tenant {tenant}");
    }
    let full = Err(Rejection::DirectoryFull);
    assert_eq!(
        cluster.direct(alias(tenants + 1, 0), record.clone()),
        full,
        "all of them have enough"
    );
    assert_eq!(cluster.direct(alias(1, 7), Record::Gone), Ok(()));
    assert_eq!(cluster.direct(alias(1, ALIASES_OF_TENANT_MAX), record.clone()), full);
    assert_eq!(cluster.direct(alias(1, 7), record), Ok(()), "a name that was there has its room");
    let tenant = Record::Tenant(TenantRecord { label: String::new(), rate: None });
    assert_eq!(cluster.direct(Name::Tenant(TenantId(1)), tenant), Ok(()), "the operator goes on");
    const { assert!(ALIASES_MAX < RECORDS_MAX) };
}

#[test]
fn nodes_report_themselves_and_an_id_keeps_its_disk() {
    let mut cluster = Cluster::new();
    assert_eq!(cluster.report(Name::Node(1), node(1, 1)), Ok(()));
    let version = cluster.meta().ledger.directory().version();
    assert_eq!(cluster.report(Name::Node(1), node(1, 1)), Ok(()));
    assert_eq!(cluster.meta().ledger.directory().version(), version, "nothing new was said");
    assert_eq!(cluster.report(Name::Node(1), node(9, 1)), Err(Rejection::InvalidCommand));

    assert_eq!(cluster.report(Name::Shard(0), placed(5, &[1, 2])), Ok(()));
    assert_eq!(cluster.report(Name::Shard(0), placed(4, &[3])), Ok(()), "old news");
    let shard = cluster.meta().ledger.directory().get(&Name::Shard(0)).cloned();
    assert_eq!(shard, Some(placed(5, &[1, 2])));

    assert_eq!(
        cluster.report(Name::Node(1), retired(1)),
        Err(Rejection::InvalidCommand),
        "it keeps"
    );
    assert_eq!(cluster.report(Name::Shard(0), placed(6, &[2])), Ok(()));
    assert_eq!(cluster.report(Name::Node(1), retired(1)), Ok(()));
    assert_eq!(cluster.report(Name::Node(1), node(9, 1)), Err(Rejection::InvalidCommand));
    let comes_back = cluster.report(Name::Node(1), node(1, 1));
    assert_eq!(comes_back, Err(Rejection::InvalidCommand), "who has left has left for good");
    assert_eq!(cluster.report(Name::Node(1), retired(1)), Ok(()), "which may be said again");
    cluster.settle();
    assert_eq!(cluster.for_shards(0), cluster.for_shards(META));
}

#[test]
fn the_level_waits_for_every_node() {
    let mut cluster = Cluster::new();
    let raise = |cluster: &mut Cluster| cluster.direct(Name::Level, Record::Level(2));
    assert_eq!(raise(&mut cluster), Err(Rejection::LevelNotReady { level: 2, node: 0 }));
    for (id, level_max) in [(1_u8, 2), (2, 1), (3, 2)] {
        cluster.report(Name::Node(id.into()), node(id, level_max)).unwrap();
    }
    assert_eq!(raise(&mut cluster), Err(Rejection::LevelNotReady { level: 2, node: 2 }));
    assert_eq!(cluster.meta().ledger.directory().level(), LEVEL_FIRST);
    cluster.report(Name::Node(2), retired(2)).unwrap();
    // Every node is ready; this release itself is not, and it stops before it parts from the others.
    if ledger::LEVEL_MAX == LEVEL_FIRST {
        let raised = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| raise(&mut cluster)));
        let why = raised.unwrap_err();
        assert_eq!(why.downcast_ref(), Some(&ledger::LevelUnknown { level: 2 }));
    }
}

#[test]
fn shards_hear_the_time_every_ten_minutes_and_say_so() {
    let mut cluster = Cluster::new();
    assert_eq!(cluster.meta().ledger.next_timer(), Some(Time(0)));
    cluster.settle();
    assert_eq!(cluster.groups[0].ledger.directory().told(), START);
    let heard = cluster.meta().ledger.directory().heard().clone();
    let heard: Vec<_> = heard.into_iter().map(|(shard, heard)| (shard, heard.at)).collect();
    assert_eq!(heard, [(0, START), (1, START)]);
    assert_eq!(cluster.meta().ledger.next_timer(), Some(START.plus_ms(TELL_EVERY_MS)));
    for _ in 0..50 {
        cluster.pass(TELL_EVERY_MS);
        cluster.settle();
        for shard in 0..SHARDS {
            let unread = cluster.meta().ledger.outbox(shard, 0).count();
            assert!(unread <= 1, "what was heard leaves memory, {unread} messages are there");
        }
    }
    let told = START.plus_ms(50 * TELL_EVERY_MS);
    assert_eq!(cluster.groups[1].ledger.directory().told(), told);
}

#[test]
fn money_is_no_business_of_the_meta_group_and_the_directory_none_of_a_shard() {
    let mut cluster = Cluster::new();
    let account = AccountId::from_u128(1 << 20);
    let (currency, kind) = (Currency::CNY, AccountKind::Wallet);
    let refused = |answer: Answer| assert_eq!(answer.outcome, Err(Rejection::InvalidCommand));
    refused(cluster.ask(OPERATOR, Command::Open { account, currency, kind, opening: None }));
    refused(cluster.ask(OPERATOR, Command::Cut { books: account, cut: 1 }));
    let name = Name::Tenant(TenantId(7));
    let record = Record::Tenant(TenantRecord { label: String::new(), rate: None });
    for command in [direct(name.clone(), record.clone()), report(Name::Node(1), node(1, 1))] {
        let request = Request { key: Key::from_u128(99), tenant: OPERATOR, command };
        refused(cluster.groups[0].apply(vec![request])[0]);
    }
    // Nobody but the meta group tells a shard anything, and shards tell it nothing but that they heard.
    let at = Time(START.0 + 1);
    let words = [
        (0, 1, Message::Told(at)),
        (0, 1, Message::Record { name: Name::Level, version: 1, record: Record::Level(2) }),
        (0, 1, Message::Heard { at, version: 0 }),
        (META, 0, Message::Heard { at, version: 0 }),
        (0, META, Message::Told(at)),
        (0, META, Message::Record { name, version: 9, record }),
    ];
    for (from, to, message) in words {
        let books = AccountId::from_u128(0);
        let command = Command::Deliver { books, from, acked: 0, message: Some((1, message)) };
        let request = Request { key: Key::from_u128(0), tenant: OPERATOR, command };
        refused(cluster.groups[usize::from(to)].apply(vec![request])[0]);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Publish(u8, u64, u8),
    Withdraw(usize),
    Report(u8, u32),
    Pass(u64),
    Carry { shard: u16, home: bool, skip: u64, count: usize },
    Checkpoint(u16),
    Restart(u16, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let carry = (0..SHARDS, any::<bool>(), 0..3_u64, 1..4_usize)
        .prop_map(|(shard, home, skip, count)| Step::Carry { shard, home, skip, count });
    prop_oneof![
        4 => (0..3_u8, 0..8_u64, 0..4_u8).prop_map(|(name, hours, text)| Step::Publish(name, hours, text)),
        2 => any::<usize>().prop_map(Step::Withdraw),
        2 => (1..4_u8, 1..3_u32).prop_map(|(id, level)| Step::Report(id, level)),
        2 => (0..3 * TABLE_NOTICE_MS).prop_map(Step::Pass),
        8 => carry,
        1 => (0..=META).prop_map(Step::Checkpoint),
        1 => (0..=META, any::<bool>()).prop_map(|(group, older)| Step::Restart(group, older)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Whoever carries it, every shard hears everything, once, in order.
    #[test]
    fn what_is_in_force_in_the_meta_group_is_in_force_in_every_shard(steps in vec(step(), 1..60)) {
        let mut cluster = Cluster::new();
        let mut published = Vec::new();
        for step in steps {
            match step {
                Step::Publish(name, hours, text) => {
                    let effective = cluster.meta().at.plus_ms(hours * TABLE_NOTICE_MS);
                    let name = table(&format!("t{name}"), effective);
                    let _refused = cluster.direct(name.clone(), content(&text.to_string()));
                    published.push(name);
                }
                Step::Withdraw(which) if !published.is_empty() => {
                    let name = published[which % published.len()].clone();
                    let _refused = cluster.direct(name, Record::Gone);
                }
                Step::Withdraw(_) => {}
                Step::Report(id, level) => {
                    let _refused = cluster.report(Name::Node(id.into()), node(id, level));
                }
                Step::Pass(ms) => {
                    cluster.pass(ms);
                    cluster.meta().apply(Vec::new());
                }
                Step::Carry { shard, home, skip, count } => {
                    let way = if home { (shard, META) } else { (META, shard) };
                    cluster.carry(way, skip, count);
                }
                Step::Checkpoint(group) => cluster.groups[usize::from(group)].checkpoint(),
                Step::Restart(group, older) => {
                    cluster.groups[usize::from(group)].restart(usize::from(older));
                }
            }
        }
        cluster.pass(TELL_EVERY_MS);
        cluster.settle();
        let decided = cluster.for_shards(META);
        for shard in 0..SHARDS {
            assert_eq!(cluster.for_shards(shard), decided, "shard {shard}");
            let told = cluster.groups[usize::from(shard)].ledger.directory().told();
            assert_eq!(told, cluster.meta().at);
            let meta = cluster.meta().ledger.directory();
            let last = decided.last().map_or(0, |(version, _, _)| *version);
            assert_eq!(meta.heard()[&shard].version, last);
        }
    }
}
