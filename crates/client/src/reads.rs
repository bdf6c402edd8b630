//! Reads: accounts, holds, statements, and what became of a request.

use futures::{Stream, TryStreamExt, stream};
use ledger::{AccountId, HoldId, Operation};
use tonic::{Response, Status};
use wire::convert::{account_name, hold_name};
use wire::proto::v1;

use crate::client::{Client, timed};
use crate::error::Error;
use crate::posted::Posted;
use crate::retry::Attempts;
use crate::views::{Account, Hold, Posting};

/// How fresh an answer must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Freshness {
    /// It shows everything acknowledged before the question.
    #[default]
    Linearizable,
    /// It may lag behind; its position says how far it goes.
    StaleOk,
}

impl Freshness {
    const fn stale_ok(self) -> bool {
        match self {
            Self::Linearizable => false,
            Self::StaleOk => true,
        }
    }
}

/// What a request was about, as its key's scope has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An account: the one opened, frozen, closed, debited, or, for a reversal, credited.
    Account(AccountId),
    /// A hold that was posted or voided.
    Hold(HoldId),
}

impl Client {
    /// Reads an account.
    ///
    /// # Errors
    /// [`Error::Rejected`] with `ACCOUNT_NOT_FOUND` when there is none, and why there is no answer.
    pub async fn account(&self, id: AccountId, freshness: Freshness) -> Result<Account, Error> {
        let name = account_name(id);
        let request = v1::GetAccountRequest { name, stale_ok: freshness.stale_ok() };
        let answer =
            self.read(request, |client, request| async move {
                client.inner().get_account(request).await
            })
            .await?;
        Account::read(&answer).ok_or(Error::Unreadable("account"))
    }

    /// Reads a hold.
    ///
    /// # Errors
    /// [`Error::Rejected`] with `HOLD_NOT_FOUND` when there is none, and why there is no answer.
    pub async fn hold(&self, id: HoldId, freshness: Freshness) -> Result<Hold, Error> {
        let name = hold_name(id);
        let request = v1::GetHoldRequest { name, stale_ok: freshness.stale_ok() };
        let answer = self
            .read(request, |client, request| async move { client.inner().get_hold(request).await })
            .await?;
        Hold::read(&answer).ok_or(Error::Unreadable("hold"))
    }

    /// An account's statement, newest first, as far back as it goes: pages of `page_size` (1 to 1,000) are fetched as
    /// they are needed. A posting written meanwhile does not appear, and none appears twice.
    pub fn postings(
        &self,
        id: AccountId,
        page_size: u32,
        freshness: Freshness,
    ) -> impl Stream<Item = Result<Posting, Error>> + Send + use<> {
        let client = self.clone();
        let request = v1::ListPostingsRequest {
            parent: account_name(id),
            page_size: i32::try_from(page_size).unwrap_or(i32::MAX),
            page_token: String::new(),
            stale_ok: freshness.stale_ok(),
        };
        let pages = stream::try_unfold(Some(request), move |request| {
            let client = client.clone();
            async move {
                let Some(request) = request else { return Ok::<_, Error>(None) };
                let page = client.page(request.clone()).await?;
                let token = page.next_page_token;
                let next = if token.is_empty() {
                    None
                } else {
                    Some(v1::ListPostingsRequest { page_token: token, ..request })
                };
                let postings = page
                    .postings
                    .iter()
                    .map(|posting| Posting::read(posting).ok_or(Error::Unreadable("posting")));
                let postings: Vec<_> = postings.collect();
                Ok(Some((stream::iter(postings), next)))
            }
        });
        pages.try_flatten()
    }

    /// What became of a request that was sent under this key, without sending it again.
    ///
    /// # Errors
    /// [`Error::Refused`] with `OUTCOME_NOT_FOUND` when nothing was done under it so far; the rejection, when the ledger
    /// said no; and why there is no answer.
    pub async fn outcome(
        &self,
        subject: Subject,
        operation: Operation,
        key: &str,
    ) -> Result<Posted, Error> {
        let subject = match subject {
            Subject::Account(id) => account_name(id),
            Subject::Hold(id) => hold_name(id),
        };
        let request = v1::LookupOutcomeRequest {
            subject,
            operation: asked(operation).into(),
            idempotency_key: key.to_owned(),
        };
        let answer =
            self.read(request, |client, request| async move {
                client.inner().lookup_outcome(request).await
            })
            .await?;
        Posted::of_outcome(&answer)
    }

    /// One page of a statement, as the wire has it: for who keeps the token himself.
    ///
    /// # Errors
    /// [`Error::Rejected`] with `ACCOUNT_NOT_FOUND` when there is none, and why there is no answer.
    pub async fn page(
        &self,
        request: v1::ListPostingsRequest,
    ) -> Result<v1::ListPostingsResponse, Error> {
        self.read(
            request,
            |client, request| async move { client.inner().list_postings(request).await },
        )
        .await
    }

    /// Asks until there is an answer or time is up: a read may always be repeated.
    pub(crate) async fn read<Q: Clone, A, F>(
        &self,
        question: Q,
        ask: impl Fn(Self, tonic::Request<Q>) -> F,
    ) -> Result<A, Error>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut attempts = Attempts::new(self.timeout());
        loop {
            let request = timed(question.clone(), attempts.left());
            let error = match ask(self.clone(), request).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => Error::of_status(&status),
            };
            if !attempts.again(&error).await {
                return Err(error);
            }
        }
    }
}

const fn asked(operation: Operation) -> v1::Operation {
    match operation {
        Operation::Open => v1::Operation::OpenAccount,
        Operation::Freeze => v1::Operation::FreezeAccount,
        Operation::Unfreeze => v1::Operation::UnfreezeAccount,
        Operation::Close => v1::Operation::CloseAccount,
        Operation::Transfer => v1::Operation::Transfer,
        Operation::Hold => v1::Operation::PlaceHold,
        Operation::Post => v1::Operation::PostHold,
        Operation::Void => v1::Operation::VoidHold,
        Operation::Reverse => v1::Operation::ReverseTransfer,
        // Housekeeping has no public name; the server will refuse to look it up.
        Operation::ForgetKeys
        | Operation::Deliver
        | Operation::Cut
        | Operation::Direct
        | Operation::Report => v1::Operation::Unspecified,
        #[cfg(next_level)]
        Operation::Extend => v1::Operation::Unspecified,
    }
}
