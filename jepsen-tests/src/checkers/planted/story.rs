//! A history made by hand: two accounts, `a` and `b`, with 100 each, and books that follow what is told of them.

use std::collections::BTreeMap;

use crate::history::{
    AccountSeen, Answer, Call, Done, Event, History, HoldSeen, HoldStage, LineKind, Meta, Picture,
    Refusal, StatementLine,
};

/// What each account begins with.
const OPENING: i64 = 100;

/// A transfer: its key, who pays, who is paid, how much.
pub(super) type Pay<'a> = (&'a str, &'a str, &'a str, i64);

/// A history that is being told.
pub(super) struct Story {
    events: Vec<Event>,
    time: u64,
    process: u64,
    log: u64,
    books: BTreeMap<String, Vec<StatementLine>>,
    holds: BTreeMap<String, (HoldSeen, String)>,
    held: BTreeMap<String, i64>,
    other: Option<AccountSeen>,
    late: u64,
}

impl Story {
    /// The beginning.
    pub(super) fn new() -> Self {
        let accounts = ["a", "b"].map(|account| (account.to_owned(), OPENING));
        let opening = |(account, amount): &(String, i64)| {
            let line = StatementLine {
                transfer: format!("tr_0-0-{account}"),
                leg: 0,
                amount: *amount,
                balance: *amount,
                counter: "opening".to_owned(),
                kind: LineKind::Opening,
                at_ms: 0,
            };
            (account.clone(), vec![line])
        };
        let books = accounts.iter().map(opening).collect();
        let meta = Meta { accounts: accounts.into(), ..Meta::default() };
        Self {
            events: vec![Event::Meta(meta)],
            time: 0,
            process: 0,
            log: 0,
            books,
            holds: BTreeMap::new(),
            held: BTreeMap::new(),
            other: None,
            late: 0,
        }
    }

    /// The end: every statement and every hold is read once more.
    pub(super) fn history(mut self) -> anyhow::Result<History> {
        self.phase("liveness");
        self.time = self.time.saturating_add(self.late);
        self.phase("final");
        for account in ["a", "b"] {
            self.statement(account);
        }
        for hold in self.holds.keys().cloned().collect::<Vec<_>>() {
            self.read_hold(&hold);
        }
        for seen in
            ["a", "b"].map(|account| self.seen(account)).into_iter().chain(self.other.take())
        {
            self.read_as(seen);
        }
        self.phase("end");
        History::of(&self.events)
    }

    /// Something of the run itself.
    pub(super) fn phase(&mut self, name: &str) {
        let (name, time) = (name.to_owned(), self.tick());
        self.events.push(Event::Phase { name, time });
    }

    /// At the end, somebody reads this too.
    pub(super) fn read_at_the_end(&mut self, seen: AccountSeen) {
        self.other = Some(seen);
    }

    /// The end takes so long.
    pub(super) fn late(&mut self, nanoseconds: u64) {
        self.late = nanoseconds;
    }

    /// A transfer as it should be; gives its name.
    pub(super) fn transfer(&mut self, id: &str, from: &str, to: &str, amount: i64) -> String {
        let process = self.begin_transfer(id, from, to, amount);
        let transfer = self.move_money(from, to, amount);
        self.end_transfer(process, &transfer);
        transfer
    }

    pub(super) fn begin_transfer(&mut self, id: &str, from: &str, to: &str, amount: i64) -> u64 {
        self.begin(transfer(id, from, to, amount))
    }

    pub(super) fn end_transfer(&mut self, process: u64, transfer: &str) {
        let done = Done { transfer: transfer.to_owned(), replayed: false };
        self.ok(process, Answer::Transfer(done));
    }

    /// Somebody is told of a transfer, whatever the books say.
    pub(super) fn told(&mut self, (id, from, to, amount): Pay<'_>, name: &str, replayed: bool) {
        let process = self.begin(transfer(id, from, to, amount));
        self.ok(process, Answer::Transfer(Done { transfer: name.to_owned(), replayed }));
    }

    /// The ledger says no.
    pub(super) fn refused(&mut self, (id, from, to, amount): Pay<'_>, code: &str) {
        let process = self.begin(transfer(id, from, to, amount));
        self.fail(process, true, code);
    }

    /// Nothing was done.
    pub(super) fn not_done(&mut self, id: &str, from: &str, to: &str, amount: i64) {
        let process = self.begin(transfer(id, from, to, amount));
        self.fail(process, false, "no_leader");
    }

    /// Nobody answers.
    pub(super) fn unanswered(&mut self, id: &str, from: &str, to: &str, amount: i64) {
        let process = self.begin(transfer(id, from, to, amount));
        let (time, index) = (self.tick(), self.index());
        let f = "transfer".to_owned();
        self.events.push(Event::Info { process, time, index, f, error: "no answer".to_owned() });
    }

    /// Money leaves, and comes back.
    pub(super) fn came_back(&mut self, id: &str, from: &str, to: &str, amount: i64) {
        let name = self.name();
        self.line((from, to), &name, amount.saturating_neg(), LineKind::Transfer);
        self.line((from, to), &name, amount, LineKind::Return);
        self.refused((id, from, to, amount), "returned");
    }

    /// What a key became, after all.
    pub(super) fn lookup(&mut self, id: &str, name: &str) {
        let process = self.begin(Call::Lookup { id: id.to_owned() });
        self.ok(process, Answer::Lookup(Done { transfer: name.to_owned(), replayed: true }));
    }

    /// A key was refused, after all.
    pub(super) fn lookup_refused(&mut self, id: &str, code: &str) {
        let process = self.begin(Call::Lookup { id: id.to_owned() });
        self.fail(process, true, code);
    }

    /// As if the last call had never been made.
    pub(super) fn forget_last_call(&mut self) {
        self.events.truncate(self.events.len().saturating_sub(2));
    }

    /// The books show a transfer.
    pub(super) fn move_money(&mut self, from: &str, to: &str, amount: i64) -> String {
        let name = self.name();
        self.line((from, to), &name, amount.saturating_neg(), LineKind::Transfer);
        self.line((to, from), &name, amount, LineKind::Transfer);
        name
    }

    /// Money is gone, and only one account knows.
    pub(super) fn lose(&mut self, account: &str, amount: i64) {
        let name = self.name();
        self.line((account, "nobody"), &name, amount.saturating_neg(), LineKind::Transfer);
    }

    /// An account as it is.
    pub(super) fn seen(&self, account: &str) -> AccountSeen {
        let lines = self.books.get(account).map(Vec::as_slice).unwrap_or_default();
        let posted = lines.last().map_or(0, |line| line.balance);
        let held = self.held.get(account).copied().unwrap_or(0);
        let version = u64::try_from(lines.len()).unwrap_or(0);
        let available = posted.saturating_sub(held);
        AccountSeen { account: account.to_owned(), posted, held, available, version, at: self.log }
    }

    pub(super) fn read(&mut self, account: &str) {
        self.read_as(self.seen(account));
    }

    pub(super) fn read_as(&mut self, seen: AccountSeen) {
        let process = self.begin(Call::Read { account: seen.account.clone() });
        self.ok(process, Answer::Read(seen));
    }

    pub(super) fn read_stale(&mut self, account: &str) {
        self.read_stale_as(self.seen(account));
    }

    pub(super) fn read_stale_as(&mut self, seen: AccountSeen) {
        let process = self.begin(Call::ReadStale { account: seen.account.clone() });
        self.ok(process, Answer::ReadStale(seen));
    }

    /// A statement as it is.
    pub(super) fn lines(&self, account: &str) -> Vec<StatementLine> {
        self.books.get(account).cloned().unwrap_or_default()
    }

    pub(super) fn statement(&mut self, account: &str) {
        self.statement_as(account, self.lines(account));
    }

    pub(super) fn statement_as(&mut self, account: &str, lines: Vec<StatementLine>) {
        let process = self.begin(Call::Statement { account: account.to_owned() });
        self.ok(process, Answer::Statement(lines));
    }

    /// Everything as it is.
    pub(super) fn everything(&self) -> Picture {
        let holds = self.holds.values().map(|(hold, _)| hold.clone());
        Picture {
            accounts: ["a", "b"].map(|account| self.seen(account)).into(),
            holds: holds.filter(|hold| hold.stage == HoldStage::Active).collect(),
            ..Picture::default()
        }
    }

    pub(super) fn picture(&mut self) {
        self.picture_as(self.everything());
    }

    pub(super) fn picture_as(&mut self, picture: Picture) {
        let process = self.begin(Call::ReadAll);
        self.ok(process, Answer::ReadAll(picture));
    }

    pub(super) fn hold(&mut self, id: &str, from: &str, to: &str, amount: i64) {
        let (hold, from, to) = (id.to_owned(), from.to_owned(), to.to_owned());
        let call =
            Call::Hold { id: hold.clone(), from: from.clone(), to: to.clone(), amount, ttl_ms: 9 };
        let process = self.begin(call);
        let done = Done { transfer: self.name(), replayed: false };
        self.ok(process, Answer::Hold(done));
        let stage = HoldStage::Active;
        let seen =
            HoldSeen { hold, from: from.clone(), stage, amount, posted: 0, remaining: amount };
        self.held.insert(from, amount);
        self.holds.insert(id.to_owned(), (seen, to));
    }

    pub(super) fn post(&mut self, id: &str, hold: &str, amount: i64, release: bool) {
        let Some((mut seen, to)) = self.holds.get(hold).cloned() else { return };
        let call = Call::Post { id: id.to_owned(), hold: hold.to_owned(), amount, release };
        let process = self.begin(call);
        let transfer = self.name();
        self.line(
            (seen.from.as_str(), to.as_str()),
            &transfer,
            amount.saturating_neg(),
            LineKind::Post,
        );
        self.line((to.as_str(), seen.from.as_str()), &transfer, amount, LineKind::Post);
        self.ok(process, Answer::Post(Done { transfer, replayed: false }));
        seen.posted = seen.posted.saturating_add(amount);
        seen.remaining = if release { 0 } else { seen.remaining.saturating_sub(amount) };
        seen.stage = if release { HoldStage::Posted } else { seen.stage };
        self.held.insert(seen.from.clone(), seen.remaining);
        self.holds.insert(hold.to_owned(), (seen, to));
    }

    /// Part of a hold is posted, and whoever asked is not told. Gives the transfer's name.
    pub(super) fn unanswered_post(&mut self, id: &str, hold: &str, amount: i64) -> String {
        self.post(id, hold, amount, false);
        let Some(Event::Ok { process, time, index, answer }) = self.events.pop() else {
            return String::new();
        };
        let (f, error) = ("post".to_owned(), "no answer".to_owned());
        self.events.push(Event::Info { process, time, index, f, error });
        match answer {
            Answer::Post(done) => done.transfer,
            Answer::Transfer(_)
            | Answer::Hold(_)
            | Answer::Void(_)
            | Answer::Freeze(_)
            | Answer::Unfreeze(_)
            | Answer::Lookup(_)
            | Answer::Read(_)
            | Answer::ReadStale(_)
            | Answer::ReadHold(_)
            | Answer::Statement(_)
            | Answer::ReadAll(_) => String::new(),
        }
    }

    /// Somebody is told of a post, as of the first.
    pub(super) fn told_of_post(&mut self, (id, hold, amount): (&str, &str, i64), transfer: &str) {
        let (id, hold, transfer) = (id.to_owned(), hold.to_owned(), transfer.to_owned());
        let process = self.begin(Call::Post { id, hold, amount, release: false });
        self.ok(process, Answer::Post(Done { transfer, replayed: false }));
    }

    pub(super) fn void(&mut self, id: &str, hold: &str) {
        let process = self.begin(Call::Void { id: id.to_owned(), hold: hold.to_owned() });
        let done = Done { transfer: self.name(), replayed: false };
        self.ok(process, Answer::Void(done));
        self.end_hold(hold, HoldStage::Voided);
    }

    pub(super) fn expire(&mut self, hold: &str) {
        self.end_hold(hold, HoldStage::Expired);
    }

    fn end_hold(&mut self, hold: &str, stage: HoldStage) {
        if let Some((seen, _)) = self.holds.get_mut(hold) {
            (seen.remaining, seen.stage) = (0, stage);
            self.held.remove(&seen.from);
        }
    }

    /// A hold is gone, and its account does not know.
    pub(super) fn forget_hold(&mut self, hold: &str) {
        self.holds.remove(hold);
    }

    pub(super) fn hold_seen(&self, hold: &str) -> Option<HoldSeen> {
        self.holds.get(hold).map(|(seen, _)| seen.clone())
    }

    pub(super) fn read_hold(&mut self, hold: &str) {
        self.read_hold_as(self.hold_seen(hold));
    }

    pub(super) fn read_hold_as(&mut self, seen: Option<HoldSeen>) {
        let Some(seen) = seen else { return };
        let process = self.begin(Call::ReadHold { hold: seen.hold.clone() });
        self.ok(process, Answer::ReadHold(seen));
    }

    fn line(
        &mut self,
        (account, counter): (&str, &str),
        transfer: &str,
        amount: i64,
        kind: LineKind,
    ) {
        let lines = self.books.entry(account.to_owned()).or_default();
        let balance = lines.last().map_or(0, |line| line.balance).saturating_add(amount);
        let (transfer, counter) = (transfer.to_owned(), counter.to_owned());
        lines.push(StatementLine {
            transfer,
            leg: 0,
            amount,
            balance,
            counter,
            kind,
            at_ms: self.log,
        });
    }

    fn name(&mut self) -> String {
        self.log = self.log.saturating_add(1);
        format!("tr_0-{}-0", self.log)
    }

    fn tick(&mut self) -> u64 {
        self.time = self.time.saturating_add(1);
        self.time
    }

    fn index(&self) -> u64 {
        u64::try_from(self.events.len()).unwrap_or(u64::MAX)
    }

    fn begin(&mut self, call: Call) -> u64 {
        self.process = self.process.saturating_add(1);
        let (process, time, index) = (self.process, self.tick(), self.index());
        self.events.push(Event::Invoke { process, time, index, call });
        process
    }

    fn ok(&mut self, process: u64, answer: Answer) {
        let (time, index) = (self.tick(), self.index());
        self.events.push(Event::Ok { process, time, index, answer });
    }

    fn fail(&mut self, process: u64, rejected: bool, code: &str) {
        let (time, index) = (self.tick(), self.index());
        let value = Refusal { rejected, replayed: false };
        let (f, error) = (String::new(), code.to_owned());
        self.events.push(Event::Fail { process, time, index, f, value, error });
    }
}

fn transfer(id: &str, from: &str, to: &str, amount: i64) -> Call {
    Call::Transfer { id: id.to_owned(), from: from.to_owned(), to: to.to_owned(), amount }
}
