//! Clients: each does one piece of work after the other, and asks again until it hears.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{join, join_all};
use ledger::{Account, AccountId, Amount, Command, HoldId, Key, Leg, Request, TenantId, codec};
use runtime::simulated;
use wire::Reply;
use wire::proto::cluster::read_reply::Answer;
use wire::proto::cluster::read_request::Question;
use wire::proto::cluster::{AccountQuestion, OutcomeQuestion};

use crate::accounts::{self, OPENING};
use crate::draw::Draw;
use crate::oracle::{Floor, Oracle, Sight};
use crate::session::Session;
use crate::work::Work;

/// Requests that are asked again together in the end.
const AGAIN: usize = 64;

/// Holds that one client may place, so that their numbers are nobody else's.
const HOLDS_MAX: u64 = 1_000_000;

/// Transfers from which one is drawn to be undone.
const UNDONE_OF: usize = 40;

/// How far a client's clock may be ahead: a little less than what is allowed.
const KEY_AHEAD_MS: u64 = 8 * 60 * 1_000;

/// A client.
pub(crate) struct Client {
    session: Session,
    draw: Draw,
    accounts: Arc<Vec<AccountId>>,
    /// Requests so far.
    asked: u64,
}

impl Client {
    /// A client that works on these accounts.
    pub(crate) fn new(session: Session, draw: Draw, accounts: Arc<Vec<AccountId>>) -> Self {
        Self { session, draw, accounts, asked: 0 }
    }

    /// Opens all accounts.
    pub(crate) async fn open(&mut self) {
        let named = (0_u128..).zip(self.accounts.iter());
        let opening = named.map(|(n, account)| request(u128::MAX ^ n, accounts::open(*account)));
        let outcomes = self.session.ask_all(opening.collect()).await;
        for (account, outcome) in self.accounts.iter().zip(outcomes) {
            if outcome.is_err() {
                self.oracle().accuses(format!("account {account:?} was not opened: {outcome:?}"));
            }
        }
    }

    /// Works until a time has passed.
    pub(crate) async fn work(&mut self, until: Duration) {
        while simulated::elapsed() < until {
            match Work::pick(&self.draw.work, &mut self.session.chance) {
                Work::Transfer => self.transfer().await,
                Work::Hot => self.pay_one().await,
                Work::Storm => self.storm().await,
                Work::Hold => self.hold().await,
                Work::Read => self.read().await,
                Work::Multi => self.multi().await,
                Work::Reverse => self.reverse().await,
            }
            let pause = self.session.chance.time(0, 250);
            simulated::sleep(pause).await;
        }
    }

    /// Asks once more for everything that was ever asked: the answers must be the same.
    pub(crate) async fn ask_again(&mut self) {
        let promises = self.oracle().promises();
        let requests: Vec<Request> = promises
            .into_iter()
            .flatten()
            .filter(|promise| !promise.is_given_up)
            .map(|promise| promise.request)
            .collect();
        for some in requests.chunks(AGAIN) {
            let _compared = self.session.ask_all(some.to_vec()).await;
        }
    }

    /// Asks what became of what was given up: nothing, for ever.
    pub(crate) async fn look_for_given_up(&mut self) {
        let promises = self.oracle().promises();
        for promise in promises.into_iter().flatten().filter(|promise| promise.is_given_up) {
            let key = promise.request.scoped_key();
            let told = loop {
                if let Some(told) = self.what_became_of(&promise.request).await {
                    break told;
                }
            };
            if let Some(reply) = told {
                let what = format!("A4: {key:?} was certainly not done, and there is {reply:?}");
                self.oracle().accuses(what);
            }
        }
    }

    fn oracle(&self) -> &Oracle {
        &self.session.oracle
    }

    fn request(&mut self, command: Command) -> Request {
        self.asked = self.asked.saturating_add(1);
        request(u128::from(self.session.number) << 64 | u128::from(self.asked), command)
    }

    /// The same with a key whose maker's clock is ahead, by as much as it may be.
    fn request_from_ahead(&mut self, command: Command) -> Request {
        let slot = ledger::Slot::of(command.subject());
        let shard = self.session.cluster.plan.shards.shard(slot);
        let now = self.oracle().floor(shard).time;
        let mut request = self.request(command);
        let made = now.plus_ms(self.session.chance.below(KEY_AHEAD_MS));
        let who = self.session.number << 40 | self.asked & 0xff_ffff_ffff;
        let bits =
            u128::from(made.0) << 80 | 7 << 76 | 0b10 << 62 | u128::from(who & (u64::MAX >> 2));
        request.key = Key::from_uuid_v7(bits).expect("its version and variant are a UUIDv7's");
        request
    }

    fn account(&mut self) -> AccountId {
        self.session.chance.pick(&self.accounts).expect("there are accounts")
    }

    fn other_than(&mut self, one: AccountId) -> AccountId {
        let others: Vec<AccountId> =
            self.accounts.iter().copied().filter(|other| *other != one).collect();
        self.session.chance.pick(&others).expect("there are others")
    }

    /// Another account of the same slot.
    fn neighbour(&mut self, of: AccountId) -> AccountId {
        let others = self.accounts.iter().copied();
        let others: Vec<AccountId> =
            others.filter(|other| *other != of && other.slot() == of.slot()).collect();
        self.session.chance.pick(&others).expect("slots are shared")
    }

    /// A payment; one in twenty asks for more than there can be.
    fn leg(&mut self) -> Leg {
        let debit = self.account();
        let credit = self.other_than(debit);
        let is_much = self.session.chance.happens(50);
        let most = if is_much { OPENING.saturating_mul(20) } else { OPENING / 10 };
        Leg { debit, credit, amount: self.amount(most) }
    }

    fn amount(&mut self, most: u64) -> Amount {
        Amount::from_minor(self.session.chance.between(1, most)).expect("at least one")
    }

    /// One transfer; one in twenty is to an account that was never opened.
    fn payment(&mut self) -> Request {
        let leg = self.leg();
        let credit = if self.session.chance.happens(50) {
            accounts::nobody(leg.credit.slot())
        } else {
            leg.credit
        };
        let command = accounts::transfer(Leg { credit, ..leg });
        if self.session.chance.happens(300) {
            self.request_from_ahead(command)
        } else {
            self.request(command)
        }
    }

    async fn transfer(&mut self) {
        let count = self.session.chance.between(1, 5);
        let requests: Vec<Request> = (0..count).map(|_| self.payment()).collect();
        if self.session.chance.happens(100) {
            let mut twin = self.session.clone();
            let both = join(self.session.ask_all(requests.clone()), twin.ask_all(requests));
            let _same = both.await;
        } else {
            self.session.ask_or_give_up(requests).await;
        }
    }

    /// Everybody pays one account, and now and then it pays somebody.
    async fn pay_one(&mut self) {
        let hot = self.accounts.first().copied().expect("there are accounts");
        let other = self.other_than(hot);
        let amount = self.amount(OPENING / 20);
        let pays = self.session.chance.happens(200);
        let (debit, credit) = if pays { (hot, other) } else { (other, hot) };
        let request = self.request(accounts::transfer(Leg { debit, credit, amount }));
        self.session.ask_or_give_up(vec![request]).await;
    }

    async fn storm(&mut self) {
        let leg = self.leg();
        let first = self.request(accounts::transfer(leg));
        let copies = self.session.chance.between(3, 6);
        let requests: Vec<Request> =
            (0..copies).map(|_| self.perhaps_changed(&first, leg)).collect();
        let asking = requests.into_iter().map(|request| {
            let mut session = self.session.clone();
            async move { session.ask(request).await }
        });
        let _remembered = join_all(asking).await;
    }

    /// The same request; or, one time in ten, one with another amount or payee under the same key.
    fn perhaps_changed(&mut self, first: &Request, leg: Leg) -> Request {
        if !self.session.chance.happens(100) {
            return first.clone();
        }
        let changed = if self.session.chance.happens(500) {
            let more = leg.amount.minor().saturating_add(1);
            Leg { amount: Amount::from_minor(more).expect("little more"), ..leg }
        } else {
            Leg { credit: self.other_than(leg.debit), ..leg }
        };
        Request { command: accounts::transfer(changed), ..first.clone() }
    }

    async fn hold(&mut self) {
        let leg = self.leg();
        let is_short = self.session.chance.happens(400);
        // Of a hold within one shard, its outcome says when it was posted.
        let leg = if is_short { Leg { credit: self.neighbour(leg.debit), ..leg } } else { leg };
        let timeout_ms = if is_short { self.session.chance.between(300, 2_500) } else { 3_600_000 };
        let number = self.session.number.saturating_mul(HOLDS_MAX).saturating_add(self.asked);
        let placed = self.request(accounts::hold(leg, number, timeout_ms));
        let Command::Hold { hold, .. } = placed.command else { return };
        if self.session.ask(placed).await.is_err() {
            return;
        }
        if is_short && self.session.chance.happens(500) {
            // The answer took a while: so it is about to expire then, or just has.
            let about = timeout_ms.saturating_sub(self.session.chance.below(25));
            simulated::sleep(Duration::from_millis(about)).await;
        } else {
            let pause = self.session.chance.time(0, 800);
            simulated::sleep(pause).await;
        }
        let part = self.amount(leg.amount.minor());
        match self.session.chance.below(6) {
            // It expires, or stays.
            0 => {}
            1 => self.ask(Command::Void { hold }).await,
            2 => self.ask(post(hold, None, true)).await,
            3 => {
                self.ask(post(hold, Some(part), false)).await;
                let (rest, releases) = (self.amount(OPENING), self.session.chance.happens(500));
                self.ask(post(hold, Some(rest), releases)).await;
            }
            4 => {
                let posts = self.request(post(hold, None, true));
                let voids = self.request(Command::Void { hold });
                let mut other = self.session.clone();
                let _one_of_both = join(self.session.ask(posts), other.ask(voids)).await;
            }
            _ => {
                self.ask(post(hold, Some(part), true)).await;
                self.ask(Command::Void { hold }).await;
            }
        }
    }

    async fn ask(&mut self, command: Command) {
        let request = self.request(command);
        let _remembered = self.session.ask(request).await;
    }

    /// Two to five legs, from accounts that share a slot to any.
    async fn multi(&mut self) {
        let first = self.leg();
        let slot = first.debit.slot();
        let payers: Vec<AccountId> =
            self.accounts.iter().copied().filter(|account| account.slot() == slot).collect();
        let mut legs = vec![first];
        for _ in 0..self.session.chance.between(1, 4) {
            let debit = self.session.chance.pick(&payers).expect("the first one's payer");
            let credit = self.other_than(debit);
            legs.push(Leg { debit, credit, amount: self.amount(OPENING / 20) });
        }
        let request = self.request(accounts::multi(legs));
        self.session.ask_or_give_up(vec![request]).await;
    }

    /// Undoes a transfer; one time in five by two keys at once, of which one must be too late.
    async fn reverse(&mut self) {
        let posted = self.oracle().posted(UNDONE_OF);
        let places: Vec<usize> = (0..posted.len()).collect();
        let drawn = self.session.chance.pick(&places).and_then(|at| posted.get(at));
        let Some((command, posted)) = drawn else { return };
        let credit = match command {
            Command::Transfer { credit, .. } => Some(*credit),
            Command::MultiTransfer { legs, .. } => legs.first().map(|leg| leg.credit),
            Command::Open { .. }
            | Command::Freeze { .. }
            | Command::Unfreeze { .. }
            | Command::Close { .. }
            | Command::Hold { .. }
            | Command::Post { .. }
            | Command::Void { .. }
            | Command::Reverse { .. }
            | Command::ForgetKeys { .. }
            | Command::Deliver { .. }
            | Command::Cut { .. }
            | Command::Direct { .. }
            | Command::Report { .. }
            | Command::WholeCut { .. }
            | Command::StateCut { .. } => None,
        };
        let Some(credit) = credit else { return };
        let undo = self.request(accounts::reverse(credit, posted.transfer));
        if self.session.chance.happens(200) {
            let again = self.request(accounts::reverse(credit, posted.transfer));
            let mut other = self.session.clone();
            let _one_of_both = join(self.session.ask(undo), other.ask(again)).await;
        } else {
            let _remembered = self.session.ask(undo).await;
        }
    }

    /// Reads an account, or what became of a request.
    async fn read(&mut self) {
        if self.session.chance.happens(600) {
            self.read_account().await;
        } else {
            self.read_outcome().await;
        }
    }

    async fn read_account(&mut self) {
        let account = self.account();
        let shard = self.session.cluster.plan.shards.shard(account.slot());
        let floor = self.oracle().floor(shard);
        let id = account.to_u128().to_be_bytes().to_vec().into();
        let question = Question::Account(AccountQuestion { account: id, tenant: 0 });
        let Some(reply) = self.session.read(shard, question).await else { return };
        let after = Floor { index: reply.index, time: ledger::Time(reply.time_ms) };
        self.oracle().saw(shard, floor, after);
        let found = match reply.answer {
            Some(Answer::Account(bytes)) => codec::get_hot::<Account>(&bytes).ok(),
            Some(_) | None => None,
        };
        match found {
            Some(found) => {
                let (index, posted) = (reply.index, found.posted);
                self.session.cluster.plan.trace.note(format_args!(
                    "client {}: {account:?} has {posted} at {index}",
                    self.session.number
                ));
                self.oracle().saw_account(Sight { account, index, posted });
            }
            None => self.oracle().accuses(format!("read: {account:?} is not there")),
        }
    }

    /// An outcome that was told once is there for whoever asks.
    async fn read_outcome(&mut self) {
        let drawn = self.session.chance.draw();
        let Some((request, outcome)) = self.oracle().known(drawn) else { return };
        let Some(told) = self.what_became_of(&request).await else { return };
        match told {
            Some(Reply::Answer(answer)) if answer.outcome == outcome => {}
            other => {
                let key = request.scoped_key();
                let what = format!("read: {key:?} was {outcome:?}, and a read says {other:?}");
                self.oracle().accuses(what);
            }
        }
    }

    /// What a shard says became of a request: nothing, or a reply. `None`: nobody answered for the ledger.
    async fn what_became_of(&mut self, request: &Request) -> Option<Option<Reply>> {
        let slot = ledger::Slot::of(request.command.subject());
        let shard = self.session.cluster.plan.shards.shard(slot);
        let mut scoped_key = Vec::new();
        codec::put_hot(&request.scoped_key(), &mut scoped_key);
        let question = Question::Outcome(OutcomeQuestion { scoped_key: scoped_key.into() });
        let reply = self.session.read(shard, question).await?;
        Some(match reply.answer {
            Some(Answer::Outcome(bytes)) => {
                wire::reply::decode(&bytes, 1).ok().and_then(|mut replies| replies.next()?.ok())
            }
            Some(_) | None => None,
        })
    }
}

const fn post(hold: HoldId, amount: Option<Amount>, release_rest: bool) -> Command {
    Command::Post { hold, amount, release_rest }
}

fn request(key: u128, command: Command) -> Request {
    Request { key: Key::from_digest(key.to_be_bytes()), tenant: TenantId(0), command }
}
