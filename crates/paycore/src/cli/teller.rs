//! Who takes a person's request to the cluster, and brings the answer back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use client::{Account, AccountId, Client, Freshness, Money, Posted, Request};
use ledger::{Currency, Rejection, TenantId};
use serde::Serialize;

use super::invocation::Invocation;
use super::options::KeyArg;
use crate::context::Aliases;
use crate::exit::Failure;
use crate::output::{Screen, money};

/// How long the balances may take that are shown with what was done. Whoever waits for a yes should not wait for them.
const READ_BACK_MAX: Duration = Duration::from_secs(2);

/// Takes requests to the cluster, and knows what people call their accounts.
pub(super) struct Teller<'a> {
    around: &'a Invocation,
    aliases: Aliases,
}

/// What was decided of something that is no money.
#[derive(Debug, Serialize)]
pub(super) struct Asked {
    /// Where in the meta group's log it stands.
    pub(super) transfer: String,
    pub(super) replayed: bool,
    pub(super) idempotency_key: String,
}

/// What was done, and how it was asked for.
pub(super) struct Sent {
    pub(super) posted: Posted,
    pub(super) key: String,
    pub(super) elapsed: Duration,
    pub(super) client: Client,
}

impl<'a> Teller<'a> {
    /// Opens the counter: reads the context, and connects to nothing yet.
    ///
    /// # Errors
    /// When the context file is spoilt.
    pub(super) fn new(around: &'a Invocation) -> Result<Self, Failure> {
        Ok(Self { around, aliases: around.aliases()? })
    }

    pub(super) const fn screen(&self) -> &Screen {
        &self.around.screen
    }

    pub(super) const fn aliases(&self) -> &Aliases {
        &self.aliases
    }

    /// The account that a person means: by its id, by a name of this machine's, or by one that the cluster keeps. Not to be
    /// asked inside another call.
    ///
    /// # Errors
    /// When nobody can say which.
    pub(super) fn account(&self, text: &str) -> Result<AccountId, Failure> {
        let unknown = match self.aliases.resolve(text) {
            Ok(account) => return Ok(account),
            Err(unknown) if wire::convert::read_alias(text).is_none() => return Err(unknown),
            Err(unknown) => unknown,
        };
        super::block_on(async {
            let asked = self.connect().await?.alias(text).await;
            asked.map_err(|error| match error.code() {
                Some("ALIAS_NOT_FOUND") => unknown,
                Some(_) | None => error.into(),
            })
        })
    }

    /// Asks for a change that is no money, under the key that was given or one of its own, and shows what was decided.
    ///
    /// # Errors
    /// As the cluster says.
    pub(super) fn change<F>(
        &self,
        key: &KeyArg,
        ask: impl FnOnce(Client, String) -> F,
    ) -> Result<(), Failure>
    where
        F: Future<Output = Result<Posted, client::Error>>,
    {
        let made = || uuid::Uuid::now_v7().to_string();
        let key = key.idempotency_key.clone().unwrap_or_else(made);
        let asked = super::block_on(async { Ok(ask(self.connect().await?, key.clone()).await?) });
        let posted = asked.map_err(|failure| failure.with_key(&key))?;
        self.screen().show(&Asked {
            transfer: posted.transfer.to_string(),
            replayed: posted.replayed,
            idempotency_key: key,
        })
    }

    /// What a person calls an account.
    pub(super) fn name(&self, account: AccountId) -> String {
        self.aliases.alias_of(account).map_or_else(|| account.to_string(), str::to_owned)
    }

    /// Connects.
    ///
    /// # Errors
    /// When nobody answers at the endpoint, or the API key cannot be one.
    pub(super) async fn connect(&self) -> Result<Client, Failure> {
        let settings = &self.around.settings.client;
        let tls = settings.tls()?;
        let connecting = async {
            match tls {
                None => Client::connect(&settings.endpoint).await,
                Some(tls) => Client::connect_tls(&settings.endpoint, tls).await,
            }
        };
        let Ok(client) = tokio::time::timeout(settings.timeout(), connecting).await else {
            let message = format!("{} does not answer", settings.endpoint);
            return Err(client::Error::NotConnected { message }.into());
        };
        let mut client = client?.with_timeout(settings.timeout());
        if let Some(key) = &settings.api_key {
            client = client.with_api_key(key.reveal())?;
        }
        if let Some(tenant) = settings.tenant {
            client = client.for_tenant(TenantId(tenant));
        }
        Ok(client)
    }

    /// Sends a request under the key that was given, or one of its own. A refusal names amounts in `currency`.
    ///
    /// Whatever happens, the key is told: with the answer, with the failure, or, where nobody sits before the screen
    /// who could be told later, before anything is sent.
    ///
    /// # Errors
    /// As the ledger or the cluster says, and when a person interrupts it.
    pub(super) async fn send(
        &self,
        request: Request,
        currency: Option<Currency>,
        key: &KeyArg,
    ) -> Result<Sent, Failure> {
        let request = match &key.idempotency_key {
            Some(key) => request.with_key(key),
            None => request,
        };
        let made = request.key().to_owned();
        if key.idempotency_key.is_none() && !self.screen().progress_is_live() {
            self.screen().say(format_args!("idempotency key {made}"));
        }
        let sending = async {
            let client = self.connect().await?;
            let began = Instant::now();
            let posted = client.send(&request).await.map_err(|error| told(error, currency))?;
            Ok((posted, began.elapsed(), client))
        };
        let sent: Result<_, Failure> = tokio::select! {
            sent = sending => sent,
            () = interrupted() => Err(Failure::coded(
                "OUTCOME_UNKNOWN",
                "interrupted; it may have been done all the same",
            )),
        };
        let (posted, elapsed, client) = sent.map_err(|failure| failure.with_key(&made))?;
        Ok(Sent { posted, key: made, elapsed, client })
    }

    /// Accounts as they are after a request, for showing. One may be another tenant's, or the cluster may just then
    /// have lost its leader; what was done stays done, so nothing that goes wrong here is an error.
    pub(super) async fn read_back(
        client: &Client,
        accounts: BTreeSet<AccountId>,
    ) -> BTreeMap<AccountId, Account> {
        let client = client.clone().with_timeout(READ_BACK_MAX);
        let reads = accounts.into_iter().map(|id| client.account(id, Freshness::Linearizable));
        let read = futures::future::join_all(reads).await;
        read.into_iter().flatten().map(|account| (account.id, account)).collect()
    }
}

/// A failure in a person's words: the ledger counts minor units, people do not.
fn told(error: client::Error, currency: Option<Currency>) -> Failure {
    let rejection = error.rejection();
    let failure = Failure::from(error);
    let Some(currency) = currency else { return failure };
    let money = |minor: u64| money(i128::from(minor), currency);
    match rejection {
        Some(Rejection::Insufficient { available, requested }) => failure.saying(format!(
            "{} available, {} requested",
            money(available),
            money(requested)
        )),
        Some(Rejection::HoldExceeded { remaining, requested }) => failure.saying(format!(
            "{} left of the hold, {} requested",
            money(remaining),
            money(requested)
        )),
        _ => failure,
    }
}

/// Comes when the process is asked to stop.
pub(super) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};

    // Where a signal cannot be listened to it does what it always did: it ends the process.
    let hear = async |kind| match signal(kind) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        () = hear(SignalKind::interrupt()) => {}
        () = hear(SignalKind::terminate()) => {}
    }
}

/// An amount that a person wrote, in a currency that a person wrote.
///
/// # Errors
/// When it is none: finer than the currency's minor unit, not above 0, or too large.
pub(super) fn read_money(amount: &str, currency: &str) -> Result<Money, Failure> {
    let currency = read_currency(currency)?;
    Money::parse(amount, currency).map_err(|rejection| {
        let most = currency.display(i128::from(ledger::AMOUNT_MAX));
        Failure::coded(rejection.code(), format!("`{amount}` is no amount of {currency}"))
            .with_hint(format!(
                "write it with at most {} decimals, above 0, and up to {most}",
                currency.exponent()
            ))
    })
}

/// A currency that a person wrote, in either case.
///
/// # Errors
/// When ISO 4217 does not know it.
pub(super) fn read_currency(code: &str) -> Result<Currency, Failure> {
    Currency::from_code(&code.to_ascii_uppercase())
        .map_err(|rejection| Failure::coded(rejection.code(), format!("`{code}` is no currency")))
}
