//! The ledger's own record, read back through the public door: every line of every account of the run.
//!
//! Accounts are read many at a time, each page by page from its newest line to its opening balance. Each page goes
//! straight to the checkers; nothing is gathered but what the run's files keep.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use futures::StreamExt;
use futures::stream;
use ledger::AccountId;
use prost::Message;
use wire::limits::PAGE_SIZE_MAX;
use wire::proto::v1;
use wire::status::Said;

use super::answers::read_transfer;
use super::gate::Gate;
use super::grpc::{CallError, MethodHead, encoded};
use super::history::Books;
use super::intents::{Intents, OPENING};
use super::lane::{Lane, RECONNECT_AFTER};
use super::load::LIVENESS;
use super::trial::{self, Before};
use crate::exit::Failure;
use crate::verify::{
    Balances, Chain, Check, Kept, Line, Once, Requests, StatementWriter, TransferIndex,
    TransferNumber, Verdict, report_shared,
};

/// Connections over which it is read.
const CONNECTIONS: usize = 4;

/// Accounts that are read at a time: enough to keep gateway and leader busy while each page makes its way.
const CONCURRENT: usize = 64;

/// Accounts whose balance is also asked for by name; of more, evenly spread, as many. Statements of all are read.
const BALANCES_MAX: u32 = 100_000;

/// As `ListPostingsResponse`, with what the checkers need.
#[derive(Clone, PartialEq, Message)]
struct PageAnswer {
    #[prost(message, repeated, tag = "1")]
    postings: Vec<PostingAnswer>,
    #[prost(string, tag = "2")]
    next_page_token: String,
}

/// As `Posting`.
#[derive(Clone, PartialEq, Message)]
struct PostingAnswer {
    #[prost(string, tag = "1")]
    transfer: String,
    #[prost(int32, tag = "3")]
    side: i32,
    #[prost(message, optional, tag = "4")]
    amount: Option<MinorAnswer>,
    #[prost(message, optional, tag = "5")]
    balance: Option<MinorAnswer>,
    #[prost(string, tag = "6")]
    counter_account: String,
    #[prost(int32, tag = "8")]
    kind: i32,
}

/// As `Account`.
#[derive(Clone, PartialEq, Message)]
struct AccountAnswer {
    #[prost(message, optional, tag = "4")]
    posted: Option<MinorAnswer>,
}

/// As `Money`, in the one currency of the run.
#[derive(Clone, Copy, PartialEq, Message)]
struct MinorAnswer {
    #[prost(int64, tag = "2")]
    units_minor: i64,
}

/// What of the record is kept.
pub(super) enum Keep {
    /// In memory, for the history.
    Books(Books),
    /// In a file of its own.
    File(StatementWriter),
}

/// Whose record it is.
#[derive(Clone, Copy)]
pub(super) struct Whose<'a> {
    /// Who reads it.
    pub(super) reader: &'a Reader,
    /// What the shards' own accounts had before, if the run has them for itself.
    pub(super) before: Option<&'a Before>,
}

/// Reads the record, and adds to the verdict what is wrong with it. Gives back what was kept.
pub(super) async fn check(
    Whose { reader, before }: Whose<'_>,
    kept: &Kept,
    intents: Intents,
    keep: Keep,
    verdict: &mut Verdict,
) -> anyhow::Result<Keep> {
    let openings = vec![i64::try_from(OPENING)?; usize::try_from(intents.accounts)?];
    let findings = RefCell::new(Findings {
        intents,
        index: TransferIndex::of(kept),
        once: Once::new(kept),
        balances: Balances::new(openings, false),
        chains: Check::of(
            "every statement is unbroken from its newest line to the opening balance",
        ),
        named: Check::of("a balance asked for by name is the one the statement ends with"),
        totals: BTreeMap::new(),
        keep,
        error: None,
    });
    let step = intents.accounts.div_ceil(BALANCES_MAX).max(1);
    let accounts = (0..intents.accounts).map(|account| {
        let ask_balance = account.checked_rem(step) == Some(0);
        read_account(reader, &findings, account, ask_balance)
    });
    // Every account's reader ends by itself; what it could not read is counted.
    stream::iter(accounts).buffer_unordered(CONCURRENT).for_each(|()| async {}).await;

    let findings = findings.into_inner();
    let totals = findings.totals;
    let unread = findings.balances.unread();
    report_shared(&findings.index, kept.count(), verdict);
    findings.once.finish().report(unread == 0, verdict);
    verdict.add(findings.chains, |verdict| &mut verdict.broken_books);
    verdict.add(findings.named, |verdict| &mut verdict.broken_books);
    findings.balances.report(verdict);
    if let (0, Some(before)) = (unread, before) {
        trial::balance(reader, before, &totals, verdict).await;
    }
    if let Some(error) = findings.error {
        bail!("the statements cannot be kept: {error:#}");
    }
    Ok(findings.keep)
}

struct Findings<'a> {
    intents: Intents,
    index: TransferIndex,
    once: Once<'a, Kept>,
    balances: Balances,
    chains: Check,
    named: Check,
    /// What the accounts of each shard have.
    totals: BTreeMap<u16, i128>,
    keep: Keep,
    error: Option<anyhow::Error>,
}

/// Reads one account. When it cannot be read its balance is not taken, and so it counts as undecided.
async fn read_account(
    reader: &Reader,
    findings: &RefCell<Findings<'_>>,
    account: u32,
    ask_balance: bool,
) {
    let id = findings.borrow().intents.account(account);
    let mut statement =
        Statement { account, chain: Chain::default(), lines: Vec::new(), opened: false };
    let mut token = String::new();
    loop {
        let Ok(page) = reader.page(id, token).await else { return };
        let Some(PageAnswer { postings, next_page_token }) = page else {
            let why = || format!("account {account} was opened, and is not there");
            findings.borrow_mut().chains.broken(why);
            return;
        };
        let taken = findings.borrow_mut().take(&mut statement, &postings);
        if let Err(why) = taken {
            findings.borrow_mut().chains.broken(|| format!("{why:#}"));
            return;
        }
        if next_page_token.is_empty() {
            break;
        }
        token = next_page_token;
    }
    let named = if ask_balance { reader.balance(id).await } else { Ok(None) };
    if let Ok(named) = named {
        findings.borrow_mut().end(&statement, named);
    }
}

/// A statement on its way from the newest line to the oldest.
struct Statement {
    account: u32,
    chain: Chain,
    lines: Vec<(TransferNumber, Line)>,
    opened: bool,
}

impl Findings<'_> {
    fn take(
        &mut self,
        statement: &mut Statement,
        postings: &[PostingAnswer],
    ) -> anyhow::Result<()> {
        for posting in postings {
            ensure!(
                !statement.opened,
                "account {}: a line before its opening balance",
                statement.account
            );
            let transfer = read_transfer(&posting.transfer).context("a transfer's name")?;
            let minor = |money: Option<MinorAnswer>| money.map(|money| money.units_minor);
            let amount = minor(posting.amount).and_then(|amount| u64::try_from(amount).ok());
            let balance = minor(posting.balance).context("a line without its balance")?;
            let side = v1::Side::try_from(posting.side).context("a line without its side")?;
            let is_opening = posting.kind == i32::from(v1::JournalKind::Opening);
            let counter = self.counter(&posting.counter_account)?;
            let line = Line {
                account: statement.account,
                counter: counter.unwrap_or(u32::MAX),
                amount: amount.context("a line without its amount")?,
                is_debit: side == v1::Side::Debit,
            };
            self.chains.looked_at(1);
            if let Err(why) = statement.chain.line(transfer, &line, i128::from(balance)) {
                self.chains.broken(|| why);
            }
            if is_opening || counter.is_none() {
                ensure!(
                    is_opening && line.amount == OPENING && !line.is_debit,
                    "account {}: money from outside the run: {line:?}",
                    statement.account
                );
                statement.opened = true;
                continue;
            }
            self.move_money(statement, transfer, line);
        }
        Ok(())
    }

    /// The number of the account on the other side. The bank's own accounts have none in the run.
    fn counter(&self, name: &str) -> anyhow::Result<Option<u32>> {
        let id: AccountId = name.strip_prefix("accounts/").unwrap_or(name).parse()?;
        Ok(self.intents.number(id))
    }

    fn move_money(&mut self, statement: &mut Statement, transfer: TransferNumber, line: Line) {
        self.balances.moved(&line);
        match self.index.owner(transfer) {
            Some(n) => self.once.known(n, &line),
            None => self.once.stranger(transfer.to_u64(), &line),
        }
        match &mut self.keep {
            Keep::Books(books) if line.is_debit => books.journal.push((transfer, line.transfer())),
            Keep::Books(_) => {}
            Keep::File(_) => statement.lines.push((transfer, line)),
        }
    }

    fn end(&mut self, statement: &Statement, named: Option<i64>) {
        let account = statement.account;
        let balance = match statement.chain.finish(account) {
            Ok(balance) => balance,
            Err(why) => {
                self.chains.broken(|| why);
                return;
            }
        };
        if let Some(named) = named {
            self.named.looked_at(1);
            if i128::from(named) != balance {
                self.named.broken(|| {
                    format!("account {account}: {named} by name, {balance} by statement")
                });
            }
        }
        self.balances.stands(account, balance);
        let total = self.totals.entry(self.intents.shard(account)).or_default();
        *total = total.saturating_add(balance);
        let kept = match &mut self.keep {
            Keep::Books(books) => {
                books.balances.push((account, balance));
                Ok(())
            }
            Keep::File(writer) => i64::try_from(balance)
                .map_err(anyhow::Error::from)
                .and_then(|balance| writer.put(account, balance, &statement.lines)),
        };
        if let Err(error) = kept {
            self.error.get_or_insert(error);
        }
    }
}

/// Asks questions until they are answered.
pub(super) struct Reader {
    lanes: Vec<Rc<Lane>>,
    next: Cell<usize>,
    /// How long a question is asked. Once nobody answered one for so long, the others are asked only once.
    patience: Cell<Duration>,
    postings: MethodHead,
    account: MethodHead,
    audit: MethodHead,
}

impl Reader {
    /// A reader at a door.
    pub(super) fn to(gate: &Gate) -> anyhow::Result<Self> {
        Ok(Self {
            lanes: (0..CONNECTIONS).map(|_| Lane::to(gate)).collect(),
            next: Cell::new(0),
            patience: Cell::new(LIVENESS),
            postings: MethodHead::new(gate, "/paycore.v1.Payments/ListPostings")?,
            account: MethodHead::new(gate, "/paycore.v1.Payments/GetAccount")?,
            audit: MethodHead::new(gate, "/paycore.v1.Admin/Audit")?,
        })
    }

    /// A page; `None` when there is no such account.
    async fn page(&self, id: AccountId, page_token: String) -> anyhow::Result<Option<PageAnswer>> {
        let question = v1::ListPostingsRequest {
            parent: id.to_string(),
            page_size: i32::try_from(PAGE_SIZE_MAX)?,
            page_token,
            stale_ok: false,
        };
        self.ask(&self.postings, &question).await
    }

    /// A balance; `None` when there is no such account.
    pub(super) async fn balance(&self, id: AccountId) -> anyhow::Result<Option<i64>> {
        let question = v1::GetAccountRequest { name: id.to_string(), stale_ok: false };
        let answer: Option<AccountAnswer> = self.ask(&self.account, &question).await?;
        Ok(answer.map(|answer| answer.posted.map_or(0, |money| money.units_minor)))
    }

    /// The live audit of the whole cluster, through whoever leads each shard now.
    pub(super) async fn audit(&self) -> anyhow::Result<v1::AuditResponse> {
        let answer = self.ask(&self.audit, &v1::AuditRequest {}).await?;
        answer.context("there is no audit")
    }

    /// Asks until somebody answers; a question that is refused is not asked again.
    async fn ask<A: Message + Default>(
        &self,
        method: &MethodHead,
        question: &impl Message,
    ) -> anyhow::Result<Option<A>> {
        let message = encoded(question);
        let began = Instant::now();
        loop {
            let turn = self.next.get();
            self.next.set(turn.wrapping_add(1));
            let lane = turn.checked_rem(self.lanes.len()).and_then(|at| self.lanes.get(at));
            let lane = lane.context("a connection")?;
            let why = match lane.call(method, message.clone()).await {
                Ok(answer) => return Ok(Some(A::decode(answer)?)),
                Err(CallError::Status(status)) if status.code() == tonic::Code::NotFound => {
                    return Ok(None);
                }
                Err(CallError::Status(status)) if is_refusal(status.code()) => {
                    return Err(refused(&status).into());
                }
                Err(why) => why,
            };
            if began.elapsed() > self.patience.get() {
                self.patience.set(Duration::ZERO);
                bail!("nobody answers: {why}");
            }
            tokio::time::sleep(RECONNECT_AFTER).await;
        }
    }
}

/// A refusal in the catalogue's words.
fn refused(status: &tonic::Status) -> Failure {
    match Said::read(status) {
        Said::Coded { entry, message, .. } => Failure::coded(entry.code, message),
        Said::NotConnected { message } | Said::Foreign { message } => Failure::internal(message),
    }
}

fn is_refusal(code: tonic::Code) -> bool {
    matches!(
        code,
        tonic::Code::InvalidArgument
            | tonic::Code::FailedPrecondition
            | tonic::Code::PermissionDenied
            | tonic::Code::Unauthenticated
            | tonic::Code::Unimplemented
    )
}
