//! Carries a call out through the SDK, and says how it ended in a history's words.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use client::{
    Account, AccountId, AccountKind, Amount, Authority, Client, Currency, Error, FreezeScope,
    Freshness, Hold, HoldId, HoldState, JournalKind, Money, Operation, Piece, Posted, Posting,
    Request, Side, Subject,
};
use futures::TryStreamExt as _;

use crate::history::{
    AccountSeen, Answer, Call, Done, End, HoldSeen, HoldStage, LineKind, Picture, Refusal,
    StatementLine,
};

/// How long a caller waits for a request, the SDK's own retries included: about as long as a change of leaders, so
/// that some are left without an answer.
const REQUEST_MAX: Duration = Duration::from_millis(2_500);

/// How long it waits for what it reads: as long as a pause, so that what a paused leader says late is heard.
const READ_MAX: Duration = Duration::from_secs(5);

/// How long it waits for a whole picture, for which all shards must be led.
const PICTURE_MAX: Duration = Duration::from_secs(10);

/// Lines of a page.
const PAGE: u32 = 1_000;

/// What short names stand for, and the requests made so far.
#[derive(Default)]
pub(crate) struct Book {
    accounts: BTreeMap<String, AccountId>,
    names: BTreeMap<AccountId, String>,
    holds: BTreeMap<String, HoldId>,
    hold_names: BTreeMap<HoldId, String>,
    keys: BTreeMap<String, String>,
    /// Which shard has an account.
    shards: BTreeMap<String, u16>,
}

impl Book {
    /// An account has this name from now on.
    pub(crate) fn name_account(&mut self, name: &str, id: AccountId) {
        self.accounts.insert(name.to_owned(), id);
        self.names.insert(id, name.to_owned());
    }

    /// The accounts of a shard, as far as a picture has told.
    pub(crate) fn accounts_of(&self, shard: u16) -> Vec<String> {
        let of = self.shards.iter().filter(|(_, at)| **at == shard);
        of.map(|(name, _)| name.clone()).collect()
    }

    /// How many shards have accounts.
    pub(crate) fn shards(&self) -> usize {
        self.shards.values().collect::<std::collections::BTreeSet<_>>().len()
    }

    /// Whether a hold is known to have been placed.
    pub(crate) fn knows_hold(&self, name: &str) -> bool {
        self.holds.contains_key(name)
    }

    fn account(&self, name: &str) -> anyhow::Result<AccountId> {
        self.accounts.get(name).copied().with_context(|| format!("no account {name}"))
    }

    fn hold(&self, name: &str) -> anyhow::Result<HoldId> {
        self.holds.get(name).copied().with_context(|| format!("no hold {name}"))
    }

    fn name(&self, id: AccountId) -> String {
        self.names.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    /// The same key for the same short name, for ever.
    fn key(&mut self, id: &str) -> String {
        let fresh = || uuid::Uuid::now_v7().to_string();
        self.keys.entry(id.to_owned()).or_insert_with(fresh).clone()
    }

    fn request(&mut self, call: &Call) -> anyhow::Result<Option<Request>> {
        let request = match call {
            Call::Transfer { from, to, amount, .. } => {
                Request::transfer(self.account(from)?, self.account(to)?, money(*amount)?)
            }
            Call::Hold { from, to, amount, ttl_ms, .. } => Request::place_hold(
                self.account(from)?,
                self.account(to)?,
                money(*amount)?,
                Duration::from_millis(*ttl_ms),
            ),
            Call::Post { hold, amount, release, .. } => {
                Request::post_hold(self.hold(hold)?, Some(money(*amount)?.amount), *release)
            }
            Call::Void { hold, .. } => Request::void_hold(self.hold(hold)?),
            Call::Freeze { account, .. } => {
                Request::freeze_account(self.account(account)?, FreezeScope::All, Authority::Risk)
            }
            Call::Unfreeze { account, .. } => {
                Request::unfreeze_account(self.account(account)?, Authority::Risk)
            }
            Call::Lookup { .. }
            | Call::Read { .. }
            | Call::ReadStale { .. }
            | Call::ReadHold { .. }
            | Call::Statement { .. }
            | Call::ReadAll => return Ok(None),
        };
        let key = call.id().map(|id| self.key(id)).context("a change has a key")?;
        Ok(Some(request.with_key(key)))
    }
}

/// How a call ended, and in words why nobody knows.
pub(crate) type Ended = (End, String);

/// Carries out a call.
///
/// # Errors
/// When the call names what is not there: a mistake of ours.
pub(crate) async fn carry_out(
    client: &Client,
    book: &RefCell<Book>,
    call: &Call,
    of: &BTreeMap<String, Call>,
) -> anyhow::Result<Ended> {
    let request = book.borrow_mut().request(call)?;
    if let Some(request) = request {
        let told = client.clone().with_timeout(REQUEST_MAX).send(&request).await;
        if let (Call::Hold { id, .. }, Ok(Posted { hold: Some(hold), .. })) = (call, &told) {
            let mut book = book.borrow_mut();
            book.holds.insert(id.clone(), *hold);
            book.hold_names.insert(*hold, id.clone());
        }
        return Ok(changed(call, told));
    }
    let client = client.clone().with_timeout(READ_MAX);
    let told = match call {
        Call::Read { account } => {
            let id = book.borrow().account(account)?;
            let told = client.account(id, Freshness::Linearizable).await;
            told.map(|seen| Answer::Read(account_seen(&book.borrow(), &seen)))
        }
        Call::ReadStale { account } => {
            let id = book.borrow().account(account)?;
            let told = client.account(id, Freshness::StaleOk).await;
            told.map(|seen| Answer::ReadStale(account_seen(&book.borrow(), &seen)))
        }
        Call::ReadHold { hold } => {
            let id = book.borrow().hold(hold)?;
            let told = client.hold(id, Freshness::Linearizable).await;
            told.map(|seen| Answer::ReadHold(hold_seen(&book.borrow(), &seen)))
        }
        Call::Statement { account } => {
            let id = book.borrow().account(account)?;
            let told: Result<Vec<Posting>, Error> =
                client.postings(id, PAGE, Freshness::Linearizable).try_collect().await;
            told.map(|lines| {
                let book = book.borrow();
                Answer::Statement(lines.iter().rev().map(|line| line_seen(&book, line)).collect())
            })
        }
        Call::ReadAll => {
            read_all(&client.clone().with_timeout(PICTURE_MAX), book).await.map(Answer::ReadAll)
        }
        Call::Lookup { id } => {
            let (subject, operation) = subject(&book.borrow(), of.get(id))?;
            let key = book.borrow_mut().key(id);
            client
                .outcome(subject, operation, &key)
                .await
                .map(|posted| Answer::Lookup(done(&posted)))
        }
        Call::Transfer { .. }
        | Call::Hold { .. }
        | Call::Post { .. }
        | Call::Void { .. }
        | Call::Freeze { .. }
        | Call::Unfreeze { .. } => anyhow::bail!("a change has a request"),
    };
    Ok(match told {
        Ok(answer) => (End::Ok(answer), String::new()),
        // A read changes nothing: whoever was told nothing has done nothing.
        Err(error) => (failed(&error, matches!(call, Call::Lookup { .. })), String::new()),
    })
}

fn changed(call: &Call, told: Result<Posted, Error>) -> Ended {
    let posted = match told {
        Ok(posted) => done(&posted),
        Err(error @ Error::Unknown { .. }) => return (End::Info, error.to_string()),
        Err(error) => return (failed(&error, true), String::new()),
    };
    let answer = match call {
        Call::Hold { .. } => Answer::Hold(posted),
        Call::Post { .. } => Answer::Post(posted),
        Call::Void { .. } => Answer::Void(posted),
        Call::Freeze { .. } => Answer::Freeze(posted),
        Call::Unfreeze { .. } => Answer::Unfreeze(posted),
        Call::Transfer { .. }
        | Call::Lookup { .. }
        | Call::Read { .. }
        | Call::ReadStale { .. }
        | Call::ReadHold { .. }
        | Call::Statement { .. }
        | Call::ReadAll => Answer::Transfer(posted),
    };
    (End::Ok(answer), String::new())
}

/// A failure; of a change, the ledger's no is final.
fn failed(error: &Error, is_change: bool) -> End {
    let code = error.code().map_or_else(|| "no_answer".to_owned(), str::to_lowercase);
    let refusal = match error {
        Error::Rejected { replayed, .. } => Refusal { rejected: is_change, replayed: *replayed },
        Error::NotProposed { .. }
        | Error::NotConnected { .. }
        | Error::Unknown { .. }
        | Error::Refused { .. }
        | Error::Unreadable(_) => Refusal::default(),
    };
    End::Fail(refusal, code)
}

fn done(posted: &Posted) -> Done {
    Done { transfer: posted.transfer.to_string(), replayed: posted.replayed }
}

/// What a key's request was about.
fn subject(book: &Book, call: Option<&Call>) -> anyhow::Result<(Subject, Operation)> {
    Ok(match call.context("a key is looked up that nobody used")? {
        Call::Transfer { from, .. } => (Subject::Account(book.account(from)?), Operation::Transfer),
        Call::Hold { from, .. } => (Subject::Account(book.account(from)?), Operation::Hold),
        Call::Post { hold, .. } => (Subject::Hold(book.hold(hold)?), Operation::Post),
        Call::Void { hold, .. } => (Subject::Hold(book.hold(hold)?), Operation::Void),
        Call::Freeze { account, .. } => {
            (Subject::Account(book.account(account)?), Operation::Freeze)
        }
        Call::Unfreeze { account, .. } => {
            (Subject::Account(book.account(account)?), Operation::Unfreeze)
        }
        Call::Lookup { .. }
        | Call::Read { .. }
        | Call::ReadStale { .. }
        | Call::ReadHold { .. }
        | Call::Statement { .. }
        | Call::ReadAll => anyhow::bail!("a read has no key"),
    })
}

async fn read_all(client: &Client, book: &RefCell<Book>) -> Result<Picture, Error> {
    let pieces: Vec<Piece> = client.read_all(None).await?.try_collect().await?;
    let mut picture = Picture::default();
    let mut book = book.borrow_mut();
    for piece in pieces {
        match piece {
            Piece::Accounts(found) => {
                for found in found {
                    let account = found.record;
                    match account.kind {
                        AccountKind::Wallet => {
                            let seen = account_seen(&book, &account);
                            book.shards.insert(seen.account.clone(), found.shard);
                            picture.accounts.push(seen);
                        }
                        AccountKind::Suspense => {
                            picture.suspense = picture.suspense.saturating_add(account.posted);
                        }
                        AccountKind::Opening | AccountKind::DueTo(_) | AccountKind::DueFrom(_) => {}
                    }
                }
            }
            Piece::Holds(found) => {
                picture.holds.extend(found.iter().map(|found| hold_seen(&book, &found.record)));
            }
            Piece::Channels(channels) => {
                let money = |sum: i64, at: &client::ChannelMoney| {
                    sum.saturating_add(at.arriving).saturating_add(at.returning)
                };
                picture.under_way = channels.iter().fold(picture.under_way, money);
            }
            Piece::Summary(summary) => picture.discrepancies = summary.audit.discrepancies,
        }
    }
    Ok(picture)
}

fn account_seen(book: &Book, account: &Account) -> AccountSeen {
    AccountSeen {
        account: book.name(account.id),
        posted: account.posted,
        held: account.held,
        available: account.available,
        version: account.version,
        at: account.position.index,
    }
}

fn hold_seen(book: &Book, hold: &Hold) -> HoldSeen {
    let name = book.hold_names.get(&hold.id).cloned();
    HoldSeen {
        hold: name.unwrap_or_else(|| hold.id.to_string()),
        from: book.name(hold.debit),
        stage: match hold.state {
            HoldState::Active => HoldStage::Active,
            HoldState::Posted => HoldStage::Posted,
            HoldState::Voided => HoldStage::Voided,
            HoldState::Expired => HoldStage::Expired,
        },
        amount: hold.amount,
        posted: hold.posted,
        remaining: hold.remaining,
    }
}

fn line_seen(book: &Book, line: &Posting) -> StatementLine {
    let amount = i64::try_from(line.amount.minor()).unwrap_or(i64::MAX);
    let amount = match line.side {
        Side::Debit => amount.saturating_neg(),
        Side::Credit => amount,
    };
    StatementLine {
        transfer: line.transfer.to_string(),
        leg: line.leg,
        amount,
        balance: line.balance,
        counter: book.name(line.counter),
        kind: match line.kind {
            JournalKind::Opening => LineKind::Opening,
            JournalKind::Transfer => LineKind::Transfer,
            JournalKind::Post => LineKind::Post,
            JournalKind::Reversal => LineKind::Reversal,
            JournalKind::Return => LineKind::Return,
        },
        at_ms: line.at.0,
    }
}

/// Opens a wallet, however often that takes.
///
/// # Errors
/// When it cannot be opened.
pub(crate) async fn open(
    client: &Client,
    book: &RefCell<Book>,
    name: &str,
    opening: i64,
) -> anyhow::Result<()> {
    let request = Request::open_account(Currency::CNY).with_opening(money(opening)?.amount);
    let request = request.with_owner(format!("owner of {name}"));
    let client = client.clone().with_timeout(Duration::from_secs(30));
    let opened = client.send(&request).await.with_context(|| format!("opening {name}"))?;
    let id = opened.account.context("an opening names its account")?;
    book.borrow_mut().name_account(name, id);
    Ok(())
}

fn money(amount: i64) -> anyhow::Result<Money> {
    let amount = Amount::from_minor(u64::try_from(amount)?);
    let amount = amount.map_err(|why| anyhow::anyhow!("no amount: {why:?}"))?;
    Ok(Money { amount, currency: Currency::CNY })
}
