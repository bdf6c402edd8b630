//! Reads: linearizable by default, or from this replica's own state when that will do.

use bytes::Bytes;
use consensus::{ReadError, Replica};
use ledger::{
    Account, AccountId, Answer, ColdName, ColdValue, CutImage, Hold, HoldId, ScopedKey, TenantId,
    codec,
};
use wire::convert::{Page, get_cursor};
use wire::proto::cluster::read_reply::Answer as ReplyAnswer;
use wire::proto::cluster::read_request::Question;
use wire::proto::cluster::{
    AccountQuestion, CutPage, CutPageQuestion, CutQuestion, CutRows, DirectoryHeard, DirectoryPage,
    DirectoryQuestion, HoldQuestion, Leader, OutcomeQuestion, ReadReply, ReadRequest,
    ReplicaStatus, StatementPage, StatementQuestion,
};
use wire::{Failure, Reply};

/// Answers a question to a shard on this node, which knows that leader.
///
/// # Errors
/// When nobody can answer for the ledger now, or the question is none.
pub async fn answer(
    (node_id, leader): (u64, Option<Leader>),
    replica: &Replica,
    request: ReadRequest,
) -> Result<ReadReply, Failure> {
    let question = request.question.ok_or(Failure::InvalidRecord)?;
    if !request.stale_ok && !matches!(question, Question::Status(_)) {
        replica.read_index().await.map_err(failure)?;
    }
    let (index, time) = replica.with_ledger(|ledger| (ledger.index(), ledger.now()));
    let answer = match question {
        Question::Account(question) => account(replica, &question)?,
        Question::Hold(question) => hold(replica, &question).await?,
        Question::Outcome(question) => outcome(replica, &question).await?,
        Question::Statement(question) => statement(replica, &question).await?,
        Question::Status(_) => Some(status(node_id, leader, replica)),
        Question::Cut(CutQuestion { cut }) => replica.with_ledger(|ledger| {
            let mut bytes = Vec::new();
            codec::put_cold(ledger.cut_of(cut)?, &mut bytes);
            Some(ReplyAnswer::Cut(bytes.into()))
        }),
        Question::Directory(question) => Some(directory(replica, &question)),
        Question::CutPage(question) => cut_page(replica, &question).await?,
    };
    Ok(ReadReply { index, time_ms: time.0, answer })
}

fn account(replica: &Replica, question: &AccountQuestion) -> Result<Option<ReplyAnswer>, Failure> {
    let id = AccountId::from_u128(read_u128(&question.account)?);
    let account = find_account(replica, id, TenantId(question.tenant));
    Ok(account.map(|account| ReplyAnswer::Account(account_bytes(&account))))
}

fn find_account(replica: &Replica, id: AccountId, tenant: TenantId) -> Option<Account> {
    replica.with_ledger(|ledger| ledger.account(&id)).filter(|account| account.tenant == tenant)
}

async fn hold(replica: &Replica, question: &HoldQuestion) -> Result<Option<ReplyAnswer>, Failure> {
    let id = HoldId::from_u128(read_u128(&question.hold)?);
    let hold = match replica.with_ledger(|ledger| ledger.hold(&id)) {
        Some(hold) => Some(hold),
        None => match cold(replica, ColdName::Hold(id)).await? {
            Some(ColdValue::Hold(hold)) => Some(hold),
            Some(_) | None => None,
        },
    };
    let hold: Option<Hold> = hold.filter(|hold| hold.tenant == TenantId(question.tenant));
    Ok(hold.map(|hold| ReplyAnswer::Hold(hold_bytes(&hold))))
}

async fn outcome(
    replica: &Replica,
    question: &OutcomeQuestion,
) -> Result<Option<ReplyAnswer>, Failure> {
    let key: ScopedKey =
        codec::get_hot(&question.scoped_key).map_err(|_| Failure::InvalidRecord)?;
    if replica.with_ledger(|ledger| ledger.pending(&key)).is_some() {
        let reply = Reply::Failure(Failure::OutcomeUnknown);
        return Ok(Some(ReplyAnswer::Outcome(wire::reply::encode([reply].iter()).into())));
    }
    let outcome = match replica.with_ledger(|ledger| ledger.outcome(&key)) {
        Some(outcome) => Some(outcome),
        None => match cold(replica, ColdName::Outcome(key)).await? {
            Some(ColdValue::Outcome(kept)) => Some(kept.outcome),
            Some(_) | None => None,
        },
    };
    Ok(outcome.map(|outcome| {
        let reply = Reply::Answer(Answer { outcome, replayed: true });
        ReplyAnswer::Outcome(wire::reply::encode([reply].iter()).into())
    }))
}

async fn cold(replica: &Replica, name: ColdName) -> Result<Option<ColdValue>, Failure> {
    let found = replica.look_up(vec![name]).await.map_err(failure)?;
    Ok(found.into_iter().next().map(|(_, value)| value))
}

async fn statement(
    replica: &Replica,
    question: &StatementQuestion,
) -> Result<Option<ReplyAnswer>, Failure> {
    let id = AccountId::from_u128(read_u128(&question.account)?);
    let Some(account) = find_account(replica, id, TenantId(question.tenant)) else {
        return Ok(None);
    };
    let limit = question.limit.clamp(1, wire::limits::PAGE_SIZE_MAX);
    let limit = usize::try_from(limit).map_err(|_| Failure::InvalidRecord)?;
    let before = match question.before.as_ref() {
        [] => None,
        cursor => Some(get_cursor(id, cursor).ok_or(Failure::InvalidRecord)?),
    };
    let postings = replica.postings(id, before, limit).await.map_err(failure)?;
    let page = Page {
        more: postings.len() == limit,
        postings,
        shard: replica.shard(),
        currency: account.currency,
    };
    Ok(Some(ReplyAnswer::Statement(StatementPage::from(&page))))
}

/// Whoever reads an image first sorts it, and every page is encoded: that is no work for the thread that applies.
async fn cut_page(
    replica: &Replica,
    question: &CutPageQuestion,
) -> Result<Option<ReplyAnswer>, Failure> {
    let Some(image) = replica.with_ledger(|ledger| ledger.cut_image(question.cut)) else {
        return Ok(None);
    };
    let rows = question.rows();
    let limit = question.limit.clamp(1, wire::limits::CUT_PAGE_MAX);
    let limit = usize::try_from(limit).map_err(|_| Failure::InvalidRecord)?;
    let after = match question.after.as_ref() {
        [] => None,
        id => Some(read_u128(id)?),
    };
    let read = tokio::task::spawn_blocking(move || cut_rows(&image, rows, after, limit));
    let rows = match read.await {
        Ok(rows) => rows.ok_or(Failure::InvalidRecord)?,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The node is going down.
            Err(_cancelled) => return Err(Failure::NoLeader),
        },
    };
    Ok(Some(ReplyAnswer::CutPage(CutPage { more: rows.len() == limit, rows })))
}

/// Reads and encodes a page; `None` when it is not said of what.
fn cut_rows(
    image: &CutImage,
    rows: CutRows,
    after: Option<u128>,
    limit: usize,
) -> Option<Vec<Bytes>> {
    match rows {
        CutRows::Unspecified => None,
        CutRows::Accounts => {
            let page = image.accounts_after(after.map(AccountId::from_u128), limit);
            Some(page.iter().map(account_bytes).collect())
        }
        CutRows::Holds => {
            let page = image.holds_after(after.map(HoldId::from_u128), limit);
            Some(page.iter().map(hold_bytes).collect())
        }
    }
}

fn account_bytes(account: &Account) -> Bytes {
    let mut bytes = Vec::with_capacity(128);
    codec::put_hot(account, &mut bytes);
    bytes.into()
}

fn hold_bytes(hold: &Hold) -> Bytes {
    let mut bytes = Vec::with_capacity(128);
    codec::put_hot(hold, &mut bytes);
    bytes.into()
}

/// Why a read brought no answer, in the words of the wire.
fn failure(error: ReadError) -> Failure {
    match error {
        ReadError::NotLeader { .. } | ReadError::NoQuorum | ReadError::Stopped => Failure::NoLeader,
        ReadError::Overloaded => Failure::Overloaded,
    }
}

fn status(node_id: u64, leader: Option<Leader>, replica: &Replica) -> ReplyAnswer {
    let status = replica.status();
    // No entry is applied between the two: apply runs on this thread.
    let digest = replica.with_ledger(ledger::Ledger::digest);
    ReplyAnswer::Status(ReplicaStatus {
        node_id,
        term: status.term,
        leader,
        leads: replica.leadership().borrow().leads,
        last_log_index: status.last_log.unwrap_or(0),
        committed_index: status.committed.unwrap_or(0),
        applied_index: status.applied,
        checkpoint_index: status.checkpoint.unwrap_or(0),
        digest: digest.to_be_bytes().to_vec().into(),
        log_bytes: status.log_bytes,
        purged_index: status.purged.unwrap_or(0),
    })
}

/// What has changed in the directory, a bounded number of changes.
fn directory(replica: &Replica, question: &DirectoryQuestion) -> ReplyAnswer {
    let limit = question.limit.clamp(1, wire::limits::PAGE_SIZE_MAX);
    let limit = usize::try_from(limit).unwrap_or(1);
    replica.with_ledger(|ledger| {
        let directory = ledger.directory();
        let changes =
            directory.changes(question.after).take(limit).map(|(version, name, record)| {
                let mut bytes = Vec::new();
                codec::put_cold(&(name, version, record), &mut bytes);
                bytes.into()
            });
        let heard = directory.heard().iter().map(|(shard, heard)| DirectoryHeard {
            shard: (*shard).into(),
            time_ms: heard.at.0,
            version: heard.version,
        });
        ReplyAnswer::Directory(DirectoryPage {
            version: directory.version(),
            changes: changes.collect(),
            told_ms: directory.told().0,
            heard: heard.collect(),
        })
    })
}

fn read_u128(bytes: &[u8]) -> Result<u128, Failure> {
    let bytes: [u8; 16] = bytes.try_into().map_err(|_| Failure::InvalidRecord)?;
    Ok(u128::from_be_bytes(bytes))
}
