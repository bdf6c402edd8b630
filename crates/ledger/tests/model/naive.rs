//! The ledger as one would explain it: maps, sums, and nothing clever. No pages, no eviction, no digest, no touching of
//! what nobody asked for: what is due has expired before a batch begins.

use std::collections::BTreeMap;

use ledger::batch::{HOLD_MS_MAX, LEGS_MAX};
use ledger::{
    AccountId, AccountKind, Amount, Answer, Authority, BALANCE_MAX, Books, Command, Currency,
    FreezeScope, HoldId, HoldState, JournalKind, KEY_SKEW_MS, Leg, Outcome, Posted, RETENTION_MS,
    Rejection, Request, ScopedKey, TenantId, Time, TransferId,
};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) tenant: TenantId,
    pub(crate) currency: Currency,
    pub(crate) posted: i128,
    pub(crate) freezes: BTreeMap<u8, FreezeScope>,
    pub(crate) closed: bool,
}

#[derive(Clone)]
pub(crate) struct Hold {
    pub(crate) tenant: TenantId,
    pub(crate) debit: AccountId,
    pub(crate) credit: AccountId,
    pub(crate) posted: u64,
    pub(crate) remaining: u64,
    pub(crate) expires_at: Time,
    pub(crate) state: HoldState,
    pub(crate) ended_at: Option<Time>,
}

#[derive(Clone)]
pub(crate) struct Journal {
    pub(crate) kind: JournalKind,
    pub(crate) legs: Vec<Leg>,
    pub(crate) at: Time,
    pub(crate) reverses: Option<TransferId>,
}

/// A line of a statement: amount, balance after it, why, and whether it is a credit.
pub(crate) type Line = (u64, i128, JournalKind, bool, Option<TransferId>);

/// A naive ledger: what the books say, and every outcome ever given.
pub(crate) struct Naive {
    pub(crate) state: State,
    outcomes: BTreeMap<ScopedKey, (Request, Outcome, Time)>,
}

#[derive(Clone)]
pub(crate) struct State {
    books: Books,
    pub(crate) now: Time,
    pub(crate) cut_off: Time,
    /// Log time at each log index; the first is 1.
    times: Vec<Time>,
    pub(crate) accounts: BTreeMap<AccountId, Account>,
    pub(crate) holds: BTreeMap<HoldId, Hold>,
    pub(crate) journals: BTreeMap<TransferId, Journal>,
}

impl Naive {
    pub(crate) fn new(books: Books) -> Self {
        let state = State {
            books,
            now: Time(0),
            cut_off: Time(0),
            times: vec![Time(0)],
            accounts: BTreeMap::new(),
            holds: BTreeMap::new(),
            journals: BTreeMap::new(),
        };
        Self { state, outcomes: BTreeMap::new() }
    }

    pub(crate) fn apply(&mut self, at: Time, requests: &[Request]) -> Vec<Answer> {
        self.state.passes(at);
        let mut answers = Vec::new();
        for (request, position) in requests.iter().zip(0..) {
            answers.push(self.answer(position, request));
        }
        answers
    }

    fn answer(&mut self, position: u16, request: &Request) -> Answer {
        let name = request.scoped_key();
        if let Some((first, outcome, at)) = self.outcomes.get(&name)
            && *at >= self.state.cut_off
        {
            return if first.command == request.command {
                Answer { outcome: *outcome, replayed: true }
            } else {
                Answer { outcome: Err(Rejection::KeyReused), replayed: false }
            };
        }
        let cut_off = self.state.cut_off;
        if let Some(made) = request.key.time()
            && cut_off > Time(0)
            && made < cut_off.plus_ms(KEY_SKEW_MS)
        {
            return Answer { outcome: Err(Rejection::KeyTooOld { cut_off }), replayed: false };
        }
        let at = self.state.now;
        let transfer = self.state.transfer_at(position);
        // What fails changes nothing: so it is tried on a copy.
        let mut after = self.state.clone();
        let outcome = match after.execute(transfer, request.tenant, &request.command) {
            Ok(()) => {
                self.state = after;
                Ok(Posted { transfer, at })
            }
            Err(rejection) => Err(rejection),
        };
        self.outcomes.insert(name, (request.clone(), outcome, at));
        Answer { outcome, replayed: false }
    }
}

impl State {
    fn passes(&mut self, at: Time) {
        self.now = self.now.max(at);
        self.times.push(self.now);
        for hold in self.holds.values_mut() {
            if hold.state == HoldState::Active && hold.expires_at <= self.now {
                hold.end(HoldState::Expired, self.now);
            }
        }
    }

    fn transfer_at(&self, position: u16) -> TransferId {
        let index = u64::try_from(self.times.len() - 1).unwrap();
        TransferId { shard: self.books.shard, index, position }
    }

    fn execute(
        &mut self,
        transfer: TransferId,
        tenant: TenantId,
        command: &Command,
    ) -> Result<(), Rejection> {
        match command {
            Command::Open { .. } => self.open(transfer, tenant, command),
            Command::Freeze { account, scope, authority } => {
                let account = self.owned(tenant, account)?.open()?;
                account.freezes.insert(place(*authority), *scope);
                Ok(())
            }
            Command::Unfreeze { account, authority } => {
                let account = self.owned(tenant, account)?.open()?;
                account.freezes.remove(&place(*authority)).map(|_| ()).ok_or(Rejection::NotFrozen)
            }
            Command::Close { account } => {
                let holds = self.active_holds(account);
                let account = self.owned(tenant, account)?.open()?;
                account.closed = account.posted == 0 && holds == 0;
                if account.closed { Ok(()) } else { Err(Rejection::CloseBlocked) }
            }
            Command::Transfer { debit, credit, amount, currency } => {
                let leg = Leg { debit: *debit, credit: *credit, amount: *amount };
                self.pay(tenant, *currency, leg)?;
                self.record(transfer, JournalKind::Transfer, &[leg], None);
                Ok(())
            }
            Command::MultiTransfer { initiator, currency, legs } => {
                if !legs.iter().any(|leg| leg.debit == *initiator) {
                    return Err(Rejection::InvalidCommand);
                }
                let strays = legs.iter().any(|leg| leg.debit.slot() != initiator.slot());
                if legs.len() > LEGS_MAX || strays {
                    return Err(Rejection::LegsTooFar);
                }
                for leg in legs {
                    self.pay(tenant, *currency, *leg)?;
                }
                self.record(transfer, JournalKind::Transfer, legs, None);
                Ok(())
            }
            Command::Hold { .. } => self.hold(tenant, command),
            Command::Post { .. } => self.post_hold(transfer, tenant, command),
            Command::Void { hold } => {
                self.active_hold(tenant, hold)?;
                let now = self.now;
                self.holds.get_mut(hold).unwrap().end(HoldState::Voided, now);
                Ok(())
            }
            Command::Reverse { credit, transfer: undone } => {
                self.reverse(transfer, tenant, (*credit, *undone))
            }
            Command::ForgetKeys { books, before } => {
                let too_young = before.plus_ms(RETENTION_MS) > self.now;
                if tenant != TenantId(0) || self.is_foreign(*books) || too_young {
                    return Err(Rejection::InvalidCommand);
                }
                self.cut_off = self.cut_off.max(Time(before.0 / DAY_MS * DAY_MS));
                Ok(())
            }
            Command::Deliver { .. }
            | Command::Cut { .. }
            | Command::Direct { .. }
            | Command::Report { .. }
            | Command::WholeCut { .. }
            | Command::StateCut { .. } => {
                unreachable!("`channels.rs` and `directory.rs` have many shards")
            }
        }
    }

    fn is_foreign(&self, id: AccountId) -> bool {
        self.books.shards.shard(id.slot()) != self.books.shard
    }

    fn open(
        &mut self,
        transfer: TransferId,
        tenant: TenantId,
        command: &Command,
    ) -> Result<(), Rejection> {
        let Command::Open { account, currency, kind, opening } = command else { unreachable!() };
        if kind.is_system() || AccountKind::reserves(*account) || self.is_foreign(*account) {
            return Err(Rejection::InvalidCommand);
        }
        if self.accounts.contains_key(account) {
            return Err(Rejection::AccountExists);
        }
        self.accounts.insert(*account, Account::new(tenant, *currency));
        if let Some(amount) = *opening {
            let slot = self.books.shards.first_slot(self.books.shard);
            let debit = AccountKind::Opening.system_id(*currency, slot);
            self.accounts.entry(debit).or_insert(Account::new(TenantId(0), *currency));
            let leg = Leg { debit, credit: *account, amount };
            self.post(transfer, JournalKind::Opening, leg);
        }
        Ok(())
    }

    fn post_hold(
        &mut self,
        transfer: TransferId,
        tenant: TenantId,
        command: &Command,
    ) -> Result<(), Rejection> {
        let Command::Post { hold, amount, release_rest } = command else { unreachable!() };
        let found = self.active_hold(tenant, hold)?;
        let requested = amount.map_or(found.remaining, Amount::minor);
        if requested > found.remaining {
            return Err(Rejection::HoldExceeded { remaining: found.remaining, requested });
        }
        let (debit, credit) = (found.debit, found.credit);
        let leg = Leg { debit, credit, amount: Amount::from_minor(requested)? };
        let payer = self.owned(found.tenant, &debit)?.open()?;
        if payer.freezes.contains_key(&place(Authority::Judicial)) {
            return Err(Rejection::AccountFrozen);
        }
        self.may_be_paid(&leg)?;
        let now = self.now;
        let found = self.holds.get_mut(hold).unwrap();
        found.posted += requested;
        found.remaining -= requested;
        if *release_rest || found.remaining == 0 {
            found.end(HoldState::Posted, now);
        }
        self.post(transfer, JournalKind::Post, leg);
        Ok(())
    }

    fn hold(&mut self, tenant: TenantId, command: &Command) -> Result<(), Rejection> {
        let Command::Hold { debit, hold, credit, amount, currency, timeout_ms } = command else {
            unreachable!()
        };
        if debit == credit {
            return Err(Rejection::SameAccount);
        }
        if *timeout_ms == 0 || *timeout_ms > HOLD_MS_MAX || hold.slot() != debit.slot() {
            return Err(Rejection::InvalidCommand);
        }
        if self.known_hold(hold).is_some() {
            return Err(Rejection::HoldExists);
        }
        let (available, holds) = (self.available(debit), self.active_holds(debit));
        let payer = self.owned(tenant, debit)?.clone();
        let mut payee = self.anybodys(credit)?.clone();
        payee.open()?;
        if payer.currency != *currency || payee.currency != *currency {
            return Err(Rejection::CurrencyMismatch);
        }
        payer.may_pay(available, amount.minor())?;
        assert!(holds < 100, "this small world never has 1,024");
        let placed = Hold {
            tenant,
            debit: *debit,
            credit: *credit,
            posted: 0,
            remaining: amount.minor(),
            expires_at: self.now.plus_ms(*timeout_ms),
            state: HoldState::Active,
            ended_at: None,
        };
        self.holds.insert(*hold, placed);
        Ok(())
    }

    fn reverse(
        &mut self,
        transfer: TransferId,
        tenant: TenantId,
        (credit, undone): (AccountId, TransferId),
    ) -> Result<(), Rejection> {
        self.owned(tenant, &credit)?;
        // Nothing ever came from another shard.
        if undone.shard != self.books.shard {
            return Err(Rejection::TransferNotFound);
        }
        if self.is_forgotten(undone.index) {
            return Err(Rejection::TransferTooOld);
        }
        let journal = self.journals.get(&undone).ok_or(Rejection::TransferNotFound)?.clone();
        if !journal.legs.iter().any(|leg| leg.credit == credit) {
            return Err(Rejection::TransferNotFound);
        }
        match journal.kind {
            JournalKind::Opening | JournalKind::Reversal | JournalKind::Return => {
                return Err(Rejection::NotReversible);
            }
            JournalKind::Transfer | JournalKind::Post => {}
        }
        if self.journals.values().any(|journal| journal.reverses == Some(undone)) {
            return Err(Rejection::AlreadyReversed);
        }
        if journal.at.plus_ms(RETENTION_MS) <= self.now {
            return Err(Rejection::TransferTooOld);
        }
        let back = |leg: &Leg| Leg { debit: leg.credit, credit: leg.debit, amount: leg.amount };
        let legs: Vec<Leg> = journal.legs.iter().rev().map(back).collect();
        for leg in &legs {
            let available = self.available(&leg.debit);
            self.owned(tenant, &leg.debit)?.clone().may_pay(available, leg.amount.minor())?;
            let payer = self.anybodys(&leg.credit)?.open()?;
            if payer.posted + i128::from(leg.amount.minor()) > BALANCE_MAX {
                return Err(Rejection::BalanceLimit);
            }
            self.move_money(leg);
        }
        self.record(transfer, JournalKind::Reversal, &legs, Some(undone));
        Ok(())
    }

    /// One leg of a transfer: checked, then moved.
    fn pay(&mut self, tenant: TenantId, currency: Currency, leg: Leg) -> Result<(), Rejection> {
        if leg.debit == leg.credit {
            return Err(Rejection::SameAccount);
        }
        let available = self.available(&leg.debit);
        let payer = self.owned(tenant, &leg.debit)?.clone();
        let payee = self.anybodys(&leg.credit)?.clone();
        if payer.currency != currency || payee.currency != currency {
            return Err(Rejection::CurrencyMismatch);
        }
        payer.may_pay(available, leg.amount.minor())?;
        self.may_be_paid(&leg)?;
        self.move_money(&leg);
        Ok(())
    }

    fn may_be_paid(&mut self, leg: &Leg) -> Result<(), Rejection> {
        let payee = self.anybodys(&leg.credit)?.open()?;
        if payee.freezes.values().any(|scope| *scope == FreezeScope::All) {
            return Err(Rejection::AccountFrozen);
        }
        if payee.posted + i128::from(leg.amount.minor()) > BALANCE_MAX {
            return Err(Rejection::BalanceLimit);
        }
        Ok(())
    }

    fn post(&mut self, transfer: TransferId, kind: JournalKind, leg: Leg) {
        self.move_money(&leg);
        self.record(transfer, kind, &[leg], None);
    }

    fn move_money(&mut self, leg: &Leg) {
        let minor = i128::from(leg.amount.minor());
        self.accounts.get_mut(&leg.debit).unwrap().posted -= minor;
        self.accounts.get_mut(&leg.credit).unwrap().posted += minor;
    }

    fn record(
        &mut self,
        transfer: TransferId,
        kind: JournalKind,
        legs: &[Leg],
        reverses: Option<TransferId>,
    ) {
        let journal = Journal { kind, legs: legs.to_vec(), at: self.now, reverses };
        assert!(self.journals.insert(transfer, journal).is_none());
    }

    fn is_forgotten(&self, index: u64) -> bool {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        self.times.get(index).is_some_and(|at| *at < self.cut_off)
    }

    fn known_hold(&self, id: &HoldId) -> Option<&Hold> {
        self.holds.get(id).filter(|hold| hold.ended_at.is_none_or(|at| at >= self.cut_off))
    }

    fn active_hold(&self, tenant: TenantId, id: &HoldId) -> Result<Hold, Rejection> {
        let hold = self.known_hold(id).filter(|hold| hold.tenant == tenant);
        let hold = hold.ok_or(Rejection::HoldNotFound)?;
        if hold.state == HoldState::Active { Ok(hold.clone()) } else { Err(Rejection::HoldEnded) }
    }

    fn owned(&mut self, tenant: TenantId, id: &AccountId) -> Result<&mut Account, Rejection> {
        let account = self.anybodys(id)?;
        if account.tenant == tenant { Ok(account) } else { Err(Rejection::AccountNotFound) }
    }

    fn anybodys(&mut self, id: &AccountId) -> Result<&mut Account, Rejection> {
        let account = self.accounts.get_mut(id).filter(|_| !AccountKind::reserves(*id));
        account.ok_or(Rejection::AccountNotFound)
    }

    /// Whose account or hold a command is about.
    pub(crate) fn owner(&self, command: &Command) -> Option<TenantId> {
        let hold = self.holds.get(&HoldId::from_u128(command.subject())).map(|hold| hold.tenant);
        let account = self.accounts.get(&AccountId::from_u128(command.subject()));
        hold.or(account.map(|account| account.tenant))
    }

    fn active_of(&self, account: &AccountId) -> impl Iterator<Item = &Hold> {
        let is_active = |hold: &&Hold| hold.state == HoldState::Active;
        self.holds.values().filter(is_active).filter(move |hold| hold.debit == *account)
    }

    pub(crate) fn active_holds(&self, account: &AccountId) -> usize {
        self.active_of(account).count()
    }

    pub(crate) fn held(&self, account: &AccountId) -> u64 {
        self.active_of(account).map(|hold| hold.remaining).sum()
    }

    pub(crate) fn available(&self, account: &AccountId) -> u64 {
        let posted = self.accounts.get(account).map_or(0, |account| account.posted);
        u64::try_from(posted - i128::from(self.held(account))).unwrap_or(0)
    }

    /// The account's statement, newest first.
    pub(crate) fn statement(&self, account: &AccountId) -> Vec<Line> {
        let grows_by_debit = AccountKind::reserves(*account);
        let mut balance = 0;
        let mut lines = Vec::new();
        for journal in self.journals.values() {
            for leg in &journal.legs {
                for (side, is_credit) in [(leg.debit, false), (leg.credit, true)] {
                    if side == *account {
                        let minor = i128::from(leg.amount.minor());
                        balance += if is_credit == grows_by_debit { -minor } else { minor };
                        let Journal { kind, reverses, .. } = *journal;
                        lines.push((leg.amount.minor(), balance, kind, is_credit, reverses));
                    }
                }
            }
        }
        lines.reverse();
        lines
    }
}

impl Account {
    fn new(tenant: TenantId, currency: Currency) -> Self {
        Self { tenant, currency, posted: 0, freezes: BTreeMap::new(), closed: false }
    }

    fn open(&mut self) -> Result<&mut Self, Rejection> {
        if self.closed { Err(Rejection::AccountClosed) } else { Ok(self) }
    }

    fn may_pay(mut self, available: u64, requested: u64) -> Result<(), Rejection> {
        self.open()?;
        if !self.freezes.is_empty() {
            return Err(Rejection::AccountFrozen);
        }
        if available < requested {
            return Err(Rejection::Insufficient { available, requested });
        }
        Ok(())
    }
}

impl Hold {
    fn end(&mut self, state: HoldState, at: Time) {
        self.remaining = 0;
        self.state = state;
        self.ended_at = Some(at);
    }
}

fn place(authority: Authority) -> u8 {
    match authority {
        Authority::User => 0,
        Authority::Risk => 1,
        Authority::Judicial => 2,
    }
}
