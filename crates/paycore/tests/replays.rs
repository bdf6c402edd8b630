//! Twenty thousand requests of every kind, all asked again after each thing that could make a cluster forget: its leader
//! dies, a replica is born from a snapshot and leads, every process is restarted. One effect, one answer.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use client::{
    Account, AccountId, Amount, Authority, Client, Currency, Error, FreezeScope, Hold, HoldId, Leg,
    Money, Pending, Piece, Position, Posted, Request, Session, Time, TransferId,
};
use futures::TryStreamExt as _;
use ledger::Shards;

use support::{Cluster, PATIENCE, until};

const SHARDS: u16 = 3;

/// How many requests are made, and asked again each time.
const REQUESTS: usize = 20_000;

/// How many are drawn from what is known, and sent, before the next are: later ones build on holds and transfers.
const ROUND: usize = 2_000;

/// Requests of a frame, and frames under way.
const FRAME: usize = 250;
const FRAMES: usize = 8;

/// Checkpoints so close together that all but the last answers leave memory, and the log's beginning is cut.
const OFTEN: &str = "\n[store]\ncheckpoint_log_bytes = 131072\n";

/// Accounts of each shard, and what each begins with: now and then less than is asked of it.
const ACCOUNTS: u16 = 16;
const OPENING: u64 = 20_000;

/// Longer than the test.
const HOLD_FOR: Duration = Duration::from_secs(30 * 86_400);

/// How long one frame's answers may take, elections and the machine's other work included.
const FRAME_MAX: Duration = Duration::from_secs(20);

/// What was answered: the ledger's yes or its no, whole.
type Answer = Result<Posted, Error>;

#[test]
fn twenty_thousand_requests_have_one_effect_and_one_answer_whatever_happens() {
    let mut cluster = Cluster::start_of("dev-3.toml", SHARDS, OFTEN);
    cluster.introduced();
    let bank = Bank::open(&cluster.endpoint);
    let all = Everything::ask(&bank);
    all.count();
    let books = bank.books();

    let dead = cluster.leader_of(0);
    cluster.kill_node(dead);
    all.ask_again(&bank, "the leader of shard 0 was killed");
    assert_eq!(bank.books(), books, "after the leader's death");

    let heir = replace(&mut cluster, dead);
    lead_everywhere(&cluster, heir);
    all.ask_again(&bank, "a replica that came by snapshot leads");
    for shard in 0..SHARDS {
        assert_eq!(cluster.leader_of(shard.into()), heir, "it still leads shard {shard}");
    }
    assert_eq!(bank.books(), books, "under the new leader");

    let ids = cluster.ids();
    for id in &ids {
        cluster.kill_node(*id);
    }
    for id in &ids {
        cluster.start_node(*id);
    }
    all.ask_again(&bank, "every node was restarted");
    assert_eq!(bank.books(), books, "after the restart");
    for shard in 0..SHARDS {
        cluster.settled_of(shard.into());
    }
}

/// Has a new node take over what a dead one kept. Nobody has the log's beginning any more, so it comes by snapshots.
fn replace(cluster: &mut Cluster, dead: u64) -> u64 {
    let heir = cluster.ids().into_iter().max().unwrap() + 1;
    let alive: Vec<u64> = cluster.ids().into_iter().filter(|id| *id != dead).collect();
    for shard in 0..SHARDS.into() {
        let is_cut = |id: &u64| cluster.status_of(*id, shard).is_some_and(|at| at.purged_index > 0);
        until("the log's beginning is cut", || alive.iter().all(is_cut).then_some(()));
    }
    let address = cluster.join_node(heir);
    operate(cluster, &format!("replace-node {dead} {heir} {address}"));
    cluster.forget_node(dead);
    for shard in 0..SHARDS.into() {
        let keeps = || cluster.status_of(heir, shard).filter(|at| at.applied_index > 0);
        let at = until("it keeps the shard", keeps);
        assert!(at.purged_index > 0, "shard {shard} did not come by a snapshot: {at:?}");
    }
    heir
}

/// Hands every shard over to a node.
fn lead_everywhere(cluster: &Cluster, node: u64) {
    for shard in 0..SHARDS.into() {
        until("it leads", || {
            if cluster.leader_of(shard) == node {
                return Some(());
            }
            // One that is still behind, or whose peers have not heard of it, may lead a little later.
            try_to(cluster, &format!("transfer-leader {shard} {node}"));
            None
        });
    }
}

fn operate(cluster: &Cluster, words: &str) {
    until(words, || try_to(cluster, words).then_some(()));
}

/// Gives an operator's command, and says whether it succeeded.
fn try_to(cluster: &Cluster, words: &str) -> bool {
    let topology = cluster.topology().display();
    let (code, _, said) = cluster.run(&format!("cluster {words} --topology {topology} --yes"));
    if code != 0 {
        eprintln!("cluster {words}: {said}");
    }
    code == 0
}

/// Every request, with what was answered the first time.
struct Everything {
    asked: Vec<(Kind, Request, Answer)>,
}

/// What a request is, for whoever counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Within,
    Across,
    Legs,
    Hold,
    Post,
    Void,
    Reverse,
    Freeze,
}

impl Everything {
    /// Makes all requests, and remembers what becomes of each.
    fn ask(bank: &Bank) -> Self {
        let began = Instant::now();
        let mut draw = Draw::new(bank);
        let mut asked = Vec::new();
        while asked.len() < REQUESTS {
            let drawn: Vec<_> = (0..ROUND).map(|_| draw.next()).collect();
            let requests: Vec<&Request> = drawn.iter().map(|(_, request)| request).collect();
            let answers = bank.answers(&requests);
            for ((kind, request), answer) in drawn.into_iter().zip(answers) {
                draw.learn(kind, &answer);
                asked.push((kind, request, answer));
            }
        }
        eprintln!("{} requests in {:?}", asked.len(), began.elapsed());
        Self { asked }
    }

    /// There were enough of each kind, and of each kind of answer.
    fn count(&self) {
        let mut kinds: BTreeMap<Kind, usize> = BTreeMap::new();
        let mut ends: BTreeMap<String, usize> = BTreeMap::new();
        for (kind, _, answer) in &self.asked {
            *kinds.entry(*kind).or_default() += 1;
            let end = answer.as_ref().err().and_then(Error::code).unwrap_or("posted");
            *ends.entry(end.to_owned()).or_default() += 1;
        }
        eprintln!("{kinds:?}, {ends:?}");
        assert!(kinds.len() == 8 && kinds.values().all(|count| *count >= 200), "{kinds:?}");
        for end in
            ["posted", "INSUFFICIENT", "RETURNED", "ACCOUNT_FROZEN", "HOLD_ENDED", "HOLD_EXCEEDED"]
        {
            assert!(ends.get(end).is_some_and(|count| *count >= 50), "{end}: {ends:?}");
        }
    }

    /// Asks everything again: each answer is the first one, and says that it is.
    fn ask_again(&self, bank: &Bank, when: &str) {
        let began = Instant::now();
        let requests: Vec<&Request> = self.asked.iter().map(|(_, request, _)| request).collect();
        let answers = bank.answers(&requests);
        assert_eq!(answers.len(), REQUESTS);
        let expected = self.asked.iter().map(|(_, _, first)| replayed(first.clone()));
        let mut wrong =
            self.asked.iter().zip(&answers).zip(expected).filter(|((_, now), then)| *now != then);
        if let Some((((kind, request, _), now), then)) = wrong.next() {
            let others = wrong.count();
            panic!(
                "{when}: {kind:?} {request:?} was answered {then:?}, and now {now:?}; so were {others} more"
            );
        }
        eprintln!("{when}: {REQUESTS} replays in {:?}, each with its one answer", began.elapsed());
    }
}

/// An answer as it must be the second time.
fn replayed(first: Answer) -> Answer {
    match first {
        Ok(posted) => Ok(Posted { replayed: true, ..posted }),
        Err(Error::Rejected { code, message, metadata, .. }) => {
            Err(Error::Rejected { code, message, metadata, replayed: true })
        }
        Err(other) => panic!("this is no outcome: {other:?}"),
    }
}

/// Draws requests.
struct Draw {
    chance: u64,
    accounts: Vec<AccountId>,
    /// Nobody has opened these.
    nobodies: Vec<AccountId>,
    shards: Shards,
    holds: VecDeque<HoldId>,
    transfers: VecDeque<(TransferId, AccountId)>,
    /// Whom the transfers that have no answer yet credit, in turn.
    credits: VecDeque<AccountId>,
}

impl Draw {
    fn new(bank: &Bank) -> Self {
        let shards = Shards::new(SHARDS).unwrap();
        let id = |number: u128, shard: u16| {
            AccountId::in_slot((number + 1) << 64, shards.first_slot(shard))
        };
        let of_all = |number: u128| (0..SHARDS).map(move |shard| id(number, shard));
        let accounts: Vec<AccountId> = (0..ACCOUNTS.into()).flat_map(of_all).collect();
        let opening = Money::minor(OPENING, Currency::CNY).unwrap().amount;
        let open = |account: &AccountId| {
            Request::open_account(Currency::CNY).with_account(*account).with_opening(opening)
        };
        let opens: Vec<Request> = accounts.iter().map(open).collect();
        for opened in bank.answers(&opens.iter().collect::<Vec<_>>()) {
            opened.unwrap();
        }
        Self {
            chance: 0x2545_f491_4f6c_dd1d,
            accounts,
            nobodies: of_all(ACCOUNTS.into()).collect(),
            shards,
            holds: VecDeque::new(),
            transfers: VecDeque::new(),
            credits: VecDeque::new(),
        }
    }

    fn below(&mut self, count: usize) -> usize {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        usize::try_from(self.chance % u64::try_from(count).unwrap()).unwrap()
    }

    fn account(&mut self) -> AccountId {
        let place = self.below(self.accounts.len());
        self.accounts[place]
    }

    /// Mostly what an account has, sometimes more.
    fn money(&mut self) -> Money {
        let most = if self.below(8) == 0 { 100_000 } else { 1_000 };
        Money::minor(1 + u64::try_from(self.below(most)).unwrap(), Currency::CNY).unwrap()
    }

    fn next(&mut self) -> (Kind, Request) {
        match self.below(20) {
            0..10 => self.transfer(),
            10..12 => self.legs(),
            12..15 => self.hold(),
            15 | 16 => self.post(),
            17 => self.void(),
            18 => self.reverse(),
            _ => self.freeze(),
        }
    }

    fn transfer(&mut self) -> (Kind, Request) {
        let from = self.account();
        let mut to = self.account();
        while to == from {
            to = self.account();
        }
        if self.below(10) == 0 {
            let place = self.below(self.nobodies.len());
            to = self.nobodies[place];
        }
        self.credits.push_back(to);
        let is_within = self.shards.shard(from.slot()) == self.shards.shard(to.slot());
        let kind = if is_within { Kind::Within } else { Kind::Across };
        (kind, Request::transfer(from, to, self.money()))
    }

    /// Two or three payees, one of whom nobody has opened now and then.
    fn legs(&mut self) -> (Kind, Request) {
        let debit = self.account();
        let mut legs = Vec::new();
        while legs.len() < 2 + self.below(2) {
            let credit = if self.below(20) == 0 { self.nobodies[0] } else { self.account() };
            if credit != debit {
                legs.push(Leg { debit, credit, amount: self.money().amount });
            }
        }
        (Kind::Legs, Request::multi_transfer(debit, Currency::CNY, &legs))
    }

    fn hold(&mut self) -> (Kind, Request) {
        let from = self.account();
        let mut to = self.account();
        while to == from {
            to = self.account();
        }
        (Kind::Hold, Request::place_hold(from, to, self.money(), HOLD_FOR))
    }

    /// Some of a hold, or all of it; now and then more, or of one that has ended.
    fn post(&mut self) -> (Kind, Request) {
        let Some(hold) = self.some_hold() else { return self.hold() };
        let some = Amount::from_minor(1 + u64::try_from(self.below(1_200)).unwrap()).unwrap();
        let amount = (self.below(3) > 0).then_some(some);
        (Kind::Post, Request::post_hold(hold, amount, self.below(2) == 0))
    }

    fn void(&mut self) -> (Kind, Request) {
        let Some(hold) = self.some_hold() else { return self.hold() };
        (Kind::Void, Request::void_hold(hold))
    }

    /// One of the last ones, whatever has become of it.
    fn some_hold(&mut self) -> Option<HoldId> {
        let place = self.below(self.holds.len().max(1));
        self.holds.get(place).copied()
    }

    fn reverse(&mut self) -> (Kind, Request) {
        let place = self.below(self.transfers.len().max(1));
        let Some((transfer, credit)) = self.transfers.get(place).copied() else {
            return self.hold();
        };
        (Kind::Reverse, Request::reverse_transfer(transfer, credit))
    }

    /// One account is frozen, or not; those who ask it to pay are refused.
    fn freeze(&mut self) -> (Kind, Request) {
        let account = self.accounts[0];
        let request = if self.below(2) == 0 {
            Request::freeze_account(account, FreezeScope::All, Authority::Risk)
        } else {
            Request::unfreeze_account(account, Authority::Risk)
        };
        (Kind::Freeze, request)
    }

    /// Later requests build on what became of this one.
    fn learn(&mut self, kind: Kind, answer: &Answer) {
        match kind {
            Kind::Within | Kind::Across => {
                let credit = self.credits.pop_front().unwrap();
                if let Ok(posted) = answer {
                    self.transfers.push_back((posted.transfer, credit));
                }
            }
            Kind::Hold => self.holds.extend(answer.as_ref().ok().and_then(|posted| posted.hold)),
            Kind::Legs | Kind::Post | Kind::Void | Kind::Reverse | Kind::Freeze => {}
        }
        for _ in 200..self.holds.len() {
            self.holds.pop_front();
        }
        for _ in 2_000..self.transfers.len() {
            self.transfers.pop_front();
        }
    }
}

/// Accounts, and active holds, without the place in the log up to which they are so.
type Books = (Vec<Account>, Vec<Hold>);

/// No place.
const NOWHERE: Position = Position { index: 0, time: Time(0) };

/// The test's side of the counter.
struct Bank {
    client: Client,
    session: Session,
    runtime: tokio::runtime::Runtime,
}

impl Bank {
    fn open(endpoint: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (client, session) = {
            let _inside = runtime.enter();
            let client = Client::connect_lazy(format!("http://{endpoint}")).unwrap();
            let client = client.with_timeout(FRAME_MAX);
            (client.clone(), client.session())
        };
        Self { client, session, runtime }
    }

    /// The outcome of each request, in order; what has none yet is sent again, with the same key.
    fn answers(&self, requests: &[&Request]) -> Vec<Answer> {
        let began = Instant::now();
        let mut answers: Vec<Option<Answer>> = vec![None; requests.len()];
        let mut open: Vec<usize> = (0..requests.len()).collect();
        while !open.is_empty() {
            assert!(began.elapsed() < PATIENCE, "{} have no outcome", open.len());
            self.runtime.block_on(self.send(requests, &open, &mut answers));
            open.retain(|place| answers[*place].is_none());
        }
        answers.into_iter().map(Option::unwrap).collect()
    }

    async fn send(&self, requests: &[&Request], open: &[usize], answers: &mut [Option<Answer>]) {
        let mut frames = open.chunks(FRAME);
        let mut waiting: VecDeque<(&[usize], Pending)> = VecDeque::new();
        loop {
            if waiting.len() < FRAMES
                && let Some(frame) = frames.next()
            {
                let of: Vec<Request> = frame.iter().map(|place| requests[*place].clone()).collect();
                waiting.push_back((frame, self.session.send(&of).await.unwrap()));
                continue;
            }
            let Some((frame, pending)) = waiting.pop_front() else { return };
            for (place, answer) in frame.iter().zip(pending.await) {
                let is_final = !answer.as_ref().is_err_and(Error::is_retryable);
                answers[*place] = is_final.then_some(answer);
            }
        }
    }

    /// Everything that the cluster keeps of accounts and holds, as of one instant.
    fn books(&self) -> Books {
        until("everything can be read", || {
            let pieces = self.runtime.block_on(async {
                self.client.read_all(None).await?.try_collect::<Vec<Piece>>().await
            });
            let (mut accounts, mut holds) = (Vec::new(), Vec::new());
            for piece in pieces.ok()? {
                match piece {
                    Piece::Accounts(found) => {
                        let still = |record| Account { position: NOWHERE, ..record };
                        accounts.extend(found.into_iter().map(|found| still(found.record)));
                    }
                    Piece::Holds(found) => {
                        let still = |record| Hold { position: NOWHERE, ..record };
                        holds.extend(found.into_iter().map(|found| still(found.record)));
                    }
                    Piece::Channels(channels) => {
                        // Nothing is asked any more; what is still on its way arrives.
                        if !channels.is_empty() {
                            return None;
                        }
                    }
                    Piece::Summary(summary) => {
                        assert_eq!(summary.audit.discrepancies, [""; 0], "the books add up");
                    }
                }
            }
            Some((accounts, holds))
        })
    }
}
