//! Every way in which money crosses between two shards, with a node that dies at every step of its way.
//!
//! Needs a build of the binary that has failpoints: `make failpoints` makes it and runs this.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

mod support;

#[path = "failpoints/bank.rs"]
mod bank;
#[path = "failpoints/plan.rs"]
mod plan;

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

use client::{AccountId, AccountKind, Currency, Error, JournalKind, Money, Posted, Posting};
use client::{Rejection, Request, Side, Time, TransferId};
use consensus::failpoint::{Moment, Part, Step};
use rustix::process::Signal;

use bank::Bank;
use plan::{Book, Line, Operation, Plan, Stage};
use support::{Cluster, until};

/// With some more shards than nodes, there are always two whose leaders are different nodes.
const SHARDS: u16 = 6;

/// Elections in half of the usual time: the test waits for one in every case.
const QUICK: &str =
    "\n[consensus]\nheartbeat_ms = 100\nelection_min_ms = 800\nelection_max_ms = 1000\n";

/// What each shard's till begins with.
const TILL: u64 = 1_000_000;

#[test]
fn whoever_dies_between_two_steps_money_moves_once() {
    let Some(program) = std::env::var_os("PAYCORE_PLANTED") else {
        eprintln!("skipped: set PAYCORE_PLANTED to a binary built with --cfg planted");
        return;
    };
    let only = std::env::var("PAYCORE_PLANTED_CASE").unwrap_or_default();
    let mut scene = Scene::open(&std::fs::canonicalize(program).unwrap());
    for (number, (step, operation)) in cases().enumerate() {
        let name = format!("{step} {operation:?}");
        if name.contains(&only) {
            eprintln!("case {number}: PAYCORE_PLANTED_CASE='{name}' repeats it alone");
            scene.play(number, step, operation);
        }
    }
    scene.close();
}

#[test]
fn a_payment_that_is_lost_on_its_way_is_found_by_the_audit() {
    let Some(program) = std::env::var_os("PAYCORE_PLANTED") else {
        eprintln!("skipped: set PAYCORE_PLANTED to a binary built with --cfg planted");
        return;
    };
    let scene = Scene::open(&std::fs::canonicalize(program).unwrap());
    assert_eq!(scene.bank.audit().discrepancies, Vec::<String>::new());
    std::fs::write(scene.cluster.failpoints().join("lose-payment"), "").unwrap();
    let money = Money::minor(7, Currency::CNY).unwrap();
    let lost = Request::transfer(scene.tills[0].0, scene.tills[1].0, money);
    let outcome = scene.bank.ask_once(&lost);
    assert!(matches!(outcome, Err(Error::Unknown { .. })), "{outcome:?}");
    let found = scene.bank.audit().discrepancies;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("shard 0 owes shard 1 7 minor units of CNY more"), "{found:?}");
}

/// Every operation passes every step: none is left out.
fn cases() -> impl Iterator<Item = (Step, Operation)> {
    let of = |(number, step)| Operation::all(number).map(|operation| (step, operation));
    Step::all().enumerate().flat_map(of)
}

/// One cluster for all cases.
struct Scene {
    cluster: Cluster,
    bank: Bank,
    /// An account on each shard, and what it has.
    tills: Vec<(AccountId, u64)>,
}

impl Scene {
    fn open(program: &Path) -> Self {
        let cluster = Cluster::start_program(program, "dev-3.toml", SHARDS, QUICK);
        let mut bank = Bank::open(&cluster.endpoint, SHARDS);
        let tills = (0..SHARDS).map(|shard| (bank.opened(shard, TILL), TILL)).collect();
        Self { cluster, bank, tills }
    }

    fn play(&mut self, number: usize, step: Step, operation: Operation) {
        let (home, away) = self.two_shards(number);
        let mut stage = Stage { bank: &mut self.bank, home, away };
        let plan = stage.plan(operation);
        self.hush(home, away);
        let first = self.ask_while_one_dies(number, step, (home, away), &plan.request);
        let again = self.bank.ask(&plan.request);
        assert_eq!(said(&first), said(&again), "one outcome");
        assert!(is_replayed(&again), "the second time: {again:?}");
        self.check(home, &first, &plan);
        for shard in [home, away] {
            self.cluster.settled_of(shard.into());
        }
        self.check_dues(home, away);
        assert_eq!(self.cluster.ended(), None, "one file is one death");
    }

    /// Two shards with different leaders; another pair in each case.
    fn two_shards(&mut self, number: usize) -> (u16, u16) {
        loop {
            let leaders: Vec<_> =
                (0..SHARDS).map(|shard| self.cluster.leader_of(shard.into())).collect();
            let pairs = (0..SHARDS).flat_map(|home| (0..SHARDS).map(move |away| (home, away)));
            let apart = |(home, away): &(u16, u16)| {
                leaders[usize::from(*home)] != leaders[usize::from(*away)]
            };
            let pairs: Vec<_> = pairs.filter(apart).collect();
            if !pairs.is_empty() {
                return pairs[number * 7 % pairs.len()];
            }
            self.cluster.kill_node(leaders[0]);
            self.cluster.start_node(leaders[0]);
        }
    }

    /// Leaves nothing on its way between two shards. A transfer and its answer go last through both channels, behind
    /// whatever the leaders wrote again when they began.
    fn hush(&mut self, home: u16, away: u16) {
        let [payer, payee] = [home, away].map(usize::from);
        let money = Money::minor(1, Currency::CNY).unwrap();
        self.bank.done(&Request::transfer(self.tills[payer].0, self.tills[payee].0, money));
        self.tills[payer].1 -= 1;
        self.tills[payee].1 += 1;
        for shard in [home, away] {
            self.cluster.settled_of(shard.into());
        }
    }

    /// Sends a request on whose way somebody is to die, and sends it again until it has a final outcome.
    fn ask_while_one_dies(
        &mut self,
        number: usize,
        step: Step,
        (home, away): (u16, u16),
        request: &Request,
    ) -> Result<Posted, Error> {
        let (bank, cluster) = (&self.bank, &mut self.cluster);
        let shard = u32::from(if is_at_home(step) { home } else { away });
        let leader = cluster.leader_of(shard);
        let order = match step.moment {
            // Followers come there too.
            Moment::Logged | Moment::Committed => format!("{step}@n{leader}"),
            Moment::Written
            | Moment::Taken
            | Moment::Proposed
            | Moment::Applied
            | Moment::Told
            | Moment::Heard => step.to_string(),
        };
        let order = cluster.failpoints().join(order);
        std::fs::write(&order, "").unwrap();
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| bank.ask(request));
            let (dead, status) = until("the step is reached", || cluster.ended());
            assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "node {dead}: {status}");
            assert!(!order.exists(), "node {dead} died of something else");
            // In every other case the dead node is started before anybody has taken over.
            if number.is_multiple_of(2) {
                cluster.leader_of(shard);
            }
            cluster.start_node(dead);
            asking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Compares the outcome and everybody's books with the plan.
    fn check(&self, home: u16, outcome: &Result<Posted, Error>, plan: &Plan) {
        let outcome = said(outcome);
        assert_eq!(outcome.map(|_| ()), plan.expected);
        let statements = plan.books.iter().map(|book| match self.bank.account(book.account) {
            Some(account) => {
                assert!(book.is_there);
                assert_eq!(account.posted, balance(book), "{}", book.account);
                assert_eq!((account.held, account.active_holds), (0, 0), "{}", book.account);
                self.bank.statement(book.account)
            }
            None => {
                assert!(!book.is_there, "{} is gone", book.account);
                Vec::new()
            }
        });
        let statements: Vec<_> = statements.collect();
        // Of one that came back no client hears the name: it is that of the payer's newest line.
        let tried = outcome.map_or_else(|_| statements[0][0].transfer, |(transfer, _)| transfer);
        assert_eq!(tried.shard, home, "it is called by its name at home");
        for (book, statement) in plan.books.iter().zip(&statements) {
            let lines: Vec<_> = statement.iter().map(|posting| line(posting, tried)).collect();
            assert_eq!(lines, book.lines, "{}", book.account);
            assert_eq!(statement.first().map_or(0, |newest| newest.balance), balance(book));
            check_links(statement);
        }
    }

    /// What a shard owes a peer is what the peer says that it is owed: no money is left between them.
    fn check_dues(&self, one: u16, other: u16) {
        for (payer, payee) in [(one, other), (other, one)] {
            let due_to = self.bank.own(AccountKind::DueTo(payee), payer);
            let due_from = self.bank.own(AccountKind::DueFrom(payer), payee);
            assert_eq!(due_to, due_from, "shard {payer} owes {payee}");
        }
    }

    /// Looks at all that the cases have in common.
    fn close(&self) {
        for (till, has) in &self.tills {
            let account = self.bank.account(*till).unwrap();
            assert_eq!(u64::try_from(account.posted).unwrap(), *has, "{till}");
        }
        for shard in 0..SHARDS {
            self.cluster.settled_of(shard.into());
            (0..shard).for_each(|other| self.check_dues(shard, other));
        }
        let audit = self.bank.audit();
        assert_eq!(audit.discrepancies, [""; 0]);
        let [sum] = audit.sums[..] else { panic!("one currency: {audit:?}") };
        assert_eq!((sum.under_way, sum.suspense, sum.customers), (0, 0, sum.opening));
    }
}

/// Whether it is the leader at home that dies at a step, and not the one away.
const fn is_at_home(step: Step) -> bool {
    let writes = matches!(step.moment, Moment::Written | Moment::Heard);
    match step.part {
        Part::Request => true,
        Part::Payment => writes,
        Part::Answer => !writes,
    }
}

/// A final outcome without whether it is a repetition.
fn said(outcome: &Result<Posted, Error>) -> Result<(TransferId, Time), Rejection> {
    let posted = outcome.as_ref().map(|posted| (posted.transfer, posted.at));
    posted.map_err(|error| error.rejection().unwrap_or_else(|| panic!("{error:?}")))
}

const fn is_replayed(outcome: &Result<Posted, Error>) -> bool {
    match outcome {
        Ok(posted) => posted.replayed,
        Err(Error::Rejected { replayed, .. }) => *replayed,
        Err(_) => false,
    }
}

fn balance(book: &Book) -> i64 {
    let amounts = book.lines.iter().map(|line| match line.side {
        Side::Debit => -i64::try_from(line.amount).unwrap(),
        Side::Credit => i64::try_from(line.amount).unwrap(),
    });
    amounts.sum()
}

fn line(posting: &Posting, tried: TransferId) -> Line {
    let is_opening = posting.kind == JournalKind::Opening;
    Line {
        kind: posting.kind,
        side: posting.side,
        amount: posting.amount.minor(),
        counter: (!is_opening).then_some(posting.counter),
        is_tried: posting.transfer == tried,
    }
}

/// A reversal names what it undoes: the line before it.
fn check_links(statement: &[Posting]) {
    for (at, posting) in statement.iter().enumerate() {
        let is_reversal = posting.kind == JournalKind::Reversal;
        let undone = statement.get(at + 1).filter(|_| is_reversal);
        assert_eq!(posting.reverses, undone.map(|undone| undone.transfer));
    }
}
