//! State cuts: what the groups keep of one is a state of the whole cluster, whatever was under way. Three groups (two
//! shards and the meta group), random payments, letters that are written and arrive much later, doubled or half;
//! checkpoints and restarts. Each cut's images are made a cluster of their own, and there everything arrives.

#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test that panics has said what it had to say"
)]

mod world;

use std::collections::BTreeMap;

use ledger::{
    AccountId, AccountKind, Amount, Books, Command, Currency, Image, Ledger, Message, Request,
    Restore, Shards, Standing,
};
use proptest::collection::vec;
use proptest::prelude::*;
use world::{World, request};

const GROUPS: u16 = 3;
const META: u16 = 2;
const ACCOUNTS: u128 = 4;
const OPENING: u64 = 1_000;

#[derive(Clone, Debug)]
enum Step {
    /// Somebody pays somebody, perhaps nobody: then it comes back.
    Pay(u16, u128, u16, u128, u64),
    /// A letter is written, with so many messages from the last one that the writer knows to be applied.
    Write(u16, u16, usize),
    /// A letter that was written some time ago arrives, and perhaps again later.
    Arrive(usize, bool),
    Cut(u16),
    Checkpoint(u16),
    Restart(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let shard = || 0..META;
    let group = || 0..GROUPS;
    prop_oneof![
        6 => (shard(), 0..ACCOUNTS, shard(), 0..=ACCOUNTS, 1..50_u64)
            .prop_map(|(a, b, c, d, minor)| Step::Pay(a, b, c, d, minor)),
        8 => (group(), group(), 1..5_usize).prop_map(|(a, b, count)| Step::Write(a, b, count)),
        8 => (any::<usize>(), prop::bool::weighted(0.2)).prop_map(|(which, again)| Step::Arrive(which, again)),
        2 => shard().prop_map(Step::Cut),
        1 => group().prop_map(Step::Checkpoint),
        1 => group().prop_map(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_images_of_a_cut_are_a_cluster_in_which_everything_arrives(steps in vec(step(), 1..120)) {
        assert_eq!(play(&steps, acked_beside), [""; 0]);
    }
}

/// What is said beside a message to have been applied.
type Acked = fn(&Ledger, u16, u64) -> u64;

fn acked_beside(ledger: &Ledger, peer: u16, number: u64) -> u64 {
    ledger.acked_beside(peer, number)
}

/// What a letter must not say: that something was applied which was not when the cut was made.
#[test]
fn a_letter_that_says_too_much_before_the_marker_spoils_the_cut() {
    let steps = || {
        let pay = |from, to| Step::Pay(from, 0, to, 0, 5);
        vec![
            // Shard 1 has something to say before the cut, and makes it; then it hears of a payment made before it.
            pay(0, 1),
            pay(1, 0),
            Step::Cut(1),
            Step::Write(0, 1, 9),
            Step::Arrive(0, false),
            // Shard 0 hears of that before it meets the marker.
            Step::Write(1, 0, 9),
            Step::Arrive(0, false),
        ]
    };
    let found = play(&steps(), acked_beside);
    assert!(found.is_empty(), "{found:?}");
    let found = play(&steps(), |ledger, peer, _| ledger.inbox(peer));
    assert!(!found.is_empty(), "shard 0 has forgotten what shard 1's image waits for");
}

/// Plays, and gives what the cuts' images disagree about; nothing may be, when letters say what they should.
fn play(steps: &[Step], acked: Acked) -> Vec<String> {
    let mut run = Run::new(acked);
    for step in steps {
        run.step(step);
    }
    run.drain();
    let mut found = Vec::new();
    // Where one letter brought two markers, the later image alone was kept.
    let whole = run.images.values().filter(|images| images.len() == usize::from(GROUPS));
    for images in whole {
        found.extend(check(images));
    }
    assert!(run.cuts == 0 || run.images.get(&run.cuts).is_some_and(|last| last.len() == 3));
    found
}

/// What an image is written as, and the digest that its ledger had.
struct Kept {
    pages: Vec<(Vec<u8>, Vec<u8>)>,
    books: Books,
    digest: u128,
}

impl Kept {
    fn of(image: &Image, books: Books) -> Self {
        Self { pages: image.pages().collect(), books, digest: image.digest() }
    }

    fn restore(&self) -> Ledger {
        let mut restore = Restore::new(self.books);
        for (name, value) in &self.pages {
            restore.page(name, value).unwrap();
        }
        let ledger = restore.finish().unwrap();
        assert_eq!(ledger.digest(), self.digest);
        ledger
    }
}

fn check(images: &BTreeMap<u16, Kept>) -> Vec<String> {
    let ledgers: BTreeMap<u16, Ledger> =
        images.iter().map(|(group, kept)| (*group, kept.restore())).collect();
    let standings: BTreeMap<u16, Standing> =
        ledgers.iter().map(|(group, ledger)| (*group, ledger.standing())).collect();
    let mut found: Vec<String> =
        ledger::disagreements(&standings).iter().map(ToString::to_string).collect();
    found.extend(ledger::compare(&ledger::parts(&standings)).iter().map(ToString::to_string));
    if found.is_empty() {
        arrive(ledgers);
    }
    found
}

/// A cluster of restored ledgers delivers everything, and has all the money.
fn arrive(ledgers: BTreeMap<u16, Ledger>) {
    let mut run = Run::new(acked_beside);
    run.worlds.clear();
    for (group, ledger) in ledgers {
        let mut world = World::of(ledger.books());
        world.at = ledger.now();
        world.ledger = ledger;
        assert_eq!(run.worlds.len(), usize::from(group));
        run.worlds.push(world);
    }
    run.drain();
    run.check_settled();
}

struct Run {
    worlds: Vec<World>,
    /// Letters under way: to whom, and what.
    letters: Vec<(u16, Vec<Request>)>,
    images: BTreeMap<u64, BTreeMap<u16, Kept>>,
    cuts: u64,
    keys: u64,
    acked: Acked,
}

impl Run {
    fn new(acked: Acked) -> Self {
        let shards = Shards::new(META).unwrap();
        let worlds = (0..GROUPS).map(|shard| World::of(Books { shard, shards })).collect();
        let (letters, images) = (Vec::new(), BTreeMap::new());
        let mut run = Self { worlds, letters, images, cuts: 0, keys: 0, acked };
        for shard in 0..META {
            for number in 0..ACCOUNTS {
                let (account, kind) = (id(shard, number), AccountKind::Wallet);
                let opening = Some(minor(OPENING));
                run.ask(shard, Command::Open { account, currency: Currency::CNY, kind, opening });
            }
        }
        run
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Pay(from, payer, to, payee, amount) => {
                let (debit, credit, amount) = (id(*from, *payer), id(*to, *payee), minor(*amount));
                self.ask(
                    *from,
                    Command::Transfer { debit, credit, amount, currency: Currency::CNY },
                );
            }
            Step::Write(from, to, count) => {
                let letter = self.write(*from, *to, *count);
                self.letters.extend((!letter.is_empty()).then_some((*to, letter)));
            }
            Step::Arrive(which, again) if !self.letters.is_empty() => {
                let which = which % self.letters.len();
                let (to, letter) =
                    if *again { self.letters[which].clone() } else { self.letters.remove(which) };
                self.decide(to, letter);
            }
            Step::Arrive(..) => {}
            Step::Cut(shard) => {
                self.cuts += 1;
                let (books, cut) = (id(*shard, 0), self.cuts);
                self.ask(*shard, Command::StateCut { books, cut });
            }
            Step::Checkpoint(group) => self.worlds[usize::from(*group)].checkpoint(),
            Step::Restart(group) => self.worlds[usize::from(*group)].restart(0),
        }
    }

    fn ask(&mut self, shard: u16, command: Command) {
        self.keys += 1;
        let key = self.keys;
        self.decide(shard, vec![request(key, command)]);
    }

    fn decide(&mut self, group: u16, requests: Vec<Request>) {
        let world = &mut self.worlds[usize::from(group)];
        world.at = world.at.plus_ms(1);
        world.decide(requests);
        if let Some((cut, image)) = world.ledger.take_state_image() {
            let kept = Kept::of(&image, world.ledger.books());
            let kept_before = self.images.entry(cut).or_default().insert(group, kept);
            // After a restart the log was applied again, and met the cut again.
            let again = self.images[&cut][&group].digest;
            assert!(kept_before.is_none_or(|before| before.digest == again));
        }
    }

    /// Writes a letter as a relay does.
    fn write(&self, from: u16, to: u16, count: usize) -> Vec<Request> {
        if from == to {
            return Vec::new();
        }
        let ledger = &self.worlds[usize::from(from)].ledger;
        let first = ledger::Slot::new(if to == META { 0 } else { to }).unwrap();
        let books = if to == META { AccountId::in_slot(0, first) } else { id(to, 0) };
        let outbox = ledger.outbox(to, 0).take(count);
        let deliver = outbox.map(|numbered| {
            let acked = (self.acked)(ledger, to, numbered.number);
            let message: Option<(u64, Message)> = Some((numbered.number, numbered.message));
            request(0, Command::Deliver { books, from, acked, message })
        });
        deliver.collect()
    }

    /// Carries everything until there is nothing left to carry.
    fn drain(&mut self) {
        for _ in 0..12 {
            for from in 0..GROUPS {
                for to in 0..GROUPS {
                    let letter = self.write(from, to, usize::MAX);
                    if !letter.is_empty() {
                        self.decide(to, letter);
                    }
                }
            }
        }
    }

    fn check_settled(&self) {
        let mut money = 0;
        for world in &self.worlds {
            let ledger = &world.ledger;
            ledger.audit().unwrap();
            for peer in 0..GROUPS {
                assert_eq!(ledger.unsettled(peer), 0, "every payment has its answer");
            }
            for ((_, kind), total) in ledger.totals() {
                match kind {
                    AccountKind::Wallet | AccountKind::Suspense => money += total,
                    AccountKind::DueTo(peer) => {
                        let own = AccountKind::DueFrom(ledger.books().shard);
                        let there = self.worlds[usize::from(*peer)].ledger.totals();
                        let owed = there.get(&(Currency::CNY, own)).copied().unwrap_or(0);
                        assert_eq!(*total, owed, "I3");
                    }
                    AccountKind::DueFrom(_) | AccountKind::Opening => {}
                }
            }
        }
        let opened = u64::try_from(ACCOUNTS).unwrap() * u64::from(META) * OPENING;
        assert_eq!(money, i128::from(opened), "all the money is there");
    }
}

fn id(shard: u16, number: u128) -> AccountId {
    let slot = Shards::new(META).unwrap().first_slot(shard);
    AccountId::in_slot(0x0192_0000_0000_7000_8000_0000_0000_0000 | number << 12, slot)
}

fn minor(amount: u64) -> Amount {
    Amount::from_minor(amount).unwrap()
}
