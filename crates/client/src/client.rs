//! The client: one connection, and what can be sent over it.

use std::time::Duration;

use ledger::TenantId;
use prost::Message;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};
use wire::convert::Refusal;
use wire::limits::{BATCH_REQUESTS_MAX, DEADLINE_DEFAULT, MESSAGE_BYTES_MAX};
use wire::proto::v1;
use wire::proto::v1::request::Command;
use wire::status;

use crate::credentials::{AdminDoor, Credentials, DirectoryDoor, Door};
use crate::error::Error;
use crate::posted::Posted;
use crate::request::Request;
use crate::retry::Attempts;
use crate::session::Session;
use crate::tls::Tls;

/// How long making a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// How often a silent server is asked for a sign of life, and how long it may take: a dead one is noticed within a
/// call's usual deadline.
const PING_EVERY: Duration = Duration::from_secs(3);
const PING_MAX: Duration = Duration::from_secs(3);

/// Bytes that may be on their way to us unread: a few full answers.
const WINDOW_BYTES: u32 = 8 << 20;

/// A connection to a gateway. Clones share it; calls may overlap.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    credentials: Credentials,
    inner: Door,
    timeout: Duration,
}

impl Client {
    /// Connects to a gateway, such as `http://127.0.0.1:7100`.
    ///
    /// # Errors
    /// [`Error::NotConnected`].
    pub async fn connect(endpoint: impl Into<String>) -> Result<Self, Error> {
        Self::connected(to(endpoint.into())?).await
    }

    /// The same with TLS: the endpoint reads `https://…`, and whoever answers there must show a certificate for its host.
    ///
    /// # Errors
    /// [`Error::NotConnected`]; its message says so when one of the two does not trust the other.
    pub async fn connect_tls(endpoint: impl Into<String>, tls: Tls) -> Result<Self, Error> {
        let endpoint = to(endpoint.into())?.tls_config(tls.into_config());
        Self::connected(endpoint.map_err(|error| not_connected(&error))?).await
    }

    async fn connected(endpoint: Endpoint) -> Result<Self, Error> {
        let channel = endpoint.connect().await.map_err(|error| not_connected(&error))?;
        Ok(Self::over(channel))
    }

    /// The same, but the connection is made when the first request needs it, and again whenever it broke.
    ///
    /// # Errors
    /// [`Error::NotConnected`] when the endpoint is no address.
    pub fn connect_lazy(endpoint: impl Into<String>) -> Result<Self, Error> {
        Ok(Self::over(to(endpoint.into())?.connect_lazy()))
    }

    /// The same with TLS, as [`Client::connect_tls`].
    ///
    /// # Errors
    /// [`Error::NotConnected`] when the endpoint is no address.
    pub fn connect_lazy_tls(endpoint: impl Into<String>, tls: Tls) -> Result<Self, Error> {
        let endpoint = to(endpoint.into())?.tls_config(tls.into_config());
        Ok(Self::over(endpoint.map_err(|error| not_connected(&error))?.connect_lazy()))
    }

    /// A client over a connection that somebody else made.
    #[must_use]
    pub fn over(channel: Channel) -> Self {
        let credentials = Credentials::default();
        let inner = credentials.over(channel.clone());
        Self { channel, credentials, inner, timeout: DEADLINE_DEFAULT }
    }

    /// The same client, which shows this API key (`pk_…`) with every call.
    ///
    /// # Errors
    /// [`Error::Refused`] when the text cannot be a key.
    pub fn with_api_key(mut self, key: &str) -> Result<Self, Error> {
        self.credentials.set_key(key)?;
        self.inner = self.credentials.over(self.channel.clone());
        Ok(self)
    }

    /// The same client, on behalf of a tenant: for an operator's key, which may act for all.
    #[must_use]
    pub fn for_tenant(mut self, tenant: TenantId) -> Self {
        self.credentials.set_tenant(tenant);
        self.inner = self.credentials.over(self.channel.clone());
        self
    }

    /// The same client with another time-out for each call, its retries included. The default is 10 s.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends a request, and again while that makes sense, until its outcome is known or time is up.
    ///
    /// # Errors
    /// Why there is no good outcome. After [`Error::Unknown`], send the same request again.
    pub async fn send(&self, request: &Request) -> Result<Posted, Error> {
        let mut attempts = Attempts::new(self.timeout);
        let mut unknown_before = false;
        loop {
            let error = match self.attempt(request, attempts.left()).await {
                Ok(answer) => match Posted::read(answer.get_ref()) {
                    Ok(posted) => return Ok(posted),
                    Err(error) => error,
                },
                Err(status) => Error::of_status(&status),
            };
            let error = if unknown_before { error.after_unknown() } else { error };
            unknown_before = error.is_unknown();
            if !attempts.again(&error).await {
                return Err(error);
            }
        }
    }

    /// Sends 1 to 8,192 requests at once: each by itself, not all or nothing. Gives one result for each, in order;
    /// those that failed for now are sent again, as by [`Client::send`].
    pub async fn send_batch(&self, requests: &[Request]) -> Vec<Result<Posted, Error>> {
        let message = batch(requests.iter());
        if let Err(refused) = check_size(requests.len(), message.encoded_len()) {
            return vec![Err(refused); requests.len()];
        }
        let mut attempts = Attempts::new(self.timeout);
        let mut results: Vec<Option<Result<Posted, Error>>> = vec![None; requests.len()];
        loop {
            let open: Vec<usize> = places_to_send(&results);
            let batch: Vec<_> = open.iter().filter_map(|place| requests.get(*place)).collect();
            let answers = self.attempt_batch(&batch, attempts.left()).await;
            for (place, answer) in open.iter().zip(answers) {
                if let Some(result) = results.get_mut(*place) {
                    *result = Some(after(result.as_ref(), answer));
                }
            }
            let error = first_retryable(&results);
            let goes_on = match &error {
                Some(error) => attempts.again(error).await,
                None => false,
            };
            if !goes_on {
                let unanswered = || Error::Unknown { message: "no answer came".to_owned() };
                let results = results.into_iter();
                return results.map(|result| result.unwrap_or_else(|| Err(unanswered()))).collect();
            }
        }
    }

    /// Opens a session: a stream on which many frames of requests may be under way at once.
    #[must_use]
    pub fn session(&self) -> Session {
        Session::open(self.inner.clone(), self.timeout)
    }

    pub(crate) fn admin(&self) -> AdminDoor {
        self.credentials.admin_over(self.channel.clone())
    }

    pub(crate) fn directory_door(&self) -> DirectoryDoor {
        self.credentials.directory_over(self.channel.clone())
    }

    pub(crate) fn inner(&self) -> Door {
        self.inner.clone()
    }

    pub(crate) const fn timeout(&self) -> Duration {
        self.timeout
    }

    async fn attempt(
        &self,
        request: &Request,
        left: Duration,
    ) -> Result<Response<v1::Posted>, Status> {
        let mut inner = self.inner.clone();
        match request.command() {
            Command::Transfer(message) => inner.transfer(timed(message, left)).await,
            Command::MultiTransfer(message) => inner.multi_transfer(timed(message, left)).await,
            Command::ReverseTransfer(message) => inner.reverse_transfer(timed(message, left)).await,
            Command::PlaceHold(message) => inner.place_hold(timed(message, left)).await,
            Command::PostHold(message) => inner.post_hold(timed(message, left)).await,
            Command::VoidHold(message) => inner.void_hold(timed(message, left)).await,
            Command::OpenAccount(message) => inner.open_account(timed(message, left)).await,
            Command::FreezeAccount(message) => inner.freeze_account(timed(message, left)).await,
            Command::UnfreezeAccount(message) => inner.unfreeze_account(timed(message, left)).await,
            Command::CloseAccount(message) => inner.close_account(timed(message, left)).await,
        }
    }

    /// One result for each request, whatever comes back.
    async fn attempt_batch(
        &self,
        requests: &[&Request],
        left: Duration,
    ) -> Vec<Result<Posted, Error>> {
        let message = batch(requests.iter().copied());
        let mut inner = self.inner.clone();
        match inner.submit_batch(timed(message, left)).await {
            Ok(answer) if answer.get_ref().outcomes.len() == requests.len() => {
                answer.get_ref().outcomes.iter().map(Posted::of_outcome).collect()
            }
            Ok(_) => {
                let message = "the answer has another number of outcomes".to_owned();
                vec![Err(Error::Unknown { message }); requests.len()]
            }
            Err(status) => vec![Err(Error::of_status(&status)); requests.len()],
        }
    }
}

fn batch<'a>(requests: impl Iterator<Item = &'a Request>) -> v1::SubmitBatchRequest {
    v1::SubmitBatchRequest { requests: requests.map(Request::message).collect() }
}

/// Whether a gateway takes so many requests of so many bytes in one message.
///
/// # Errors
/// [`Error::Refused`], as the gateway would say it.
pub(crate) fn check_size(requests: usize, bytes: usize) -> Result<(), Error> {
    // A frame's number and time-out come on top.
    let fits = bytes.saturating_add(64) <= MESSAGE_BYTES_MAX;
    if fits && (1..=BATCH_REQUESTS_MAX).contains(&requests) {
        return Ok(());
    }
    Err(Error::of_status(&status::refusal(&Refusal::BatchTooLarge(requests))))
}

/// A request that says how long its caller waits.
pub(crate) fn timed<T>(message: T, left: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(left);
    request
}

/// What a result means after the one before it.
fn after(
    before: Option<&Result<Posted, Error>>,
    now: Result<Posted, Error>,
) -> Result<Posted, Error> {
    match before {
        Some(Err(Error::Unknown { .. })) => now.map_err(Error::after_unknown),
        Some(_) | None => now,
    }
}

/// The places whose request has not been sent yet, or is to be sent again.
fn places_to_send(results: &[Option<Result<Posted, Error>>]) -> Vec<usize> {
    let open = |result: &Option<Result<Posted, Error>>| match result {
        None => true,
        Some(Ok(_)) => false,
        Some(Err(error)) => error.is_retryable(),
    };
    let places = results.iter().enumerate().filter(|(_, result)| open(result));
    places.map(|(place, _)| place).collect()
}

/// The failure, among those worth another attempt, that asks for the shortest pause.
fn first_retryable(results: &[Option<Result<Posted, Error>>]) -> Option<Error> {
    let errors = results.iter().filter_map(|result| result.as_ref()?.as_ref().err());
    errors.filter(|error| error.is_retryable()).min_by_key(|error| error.retry_after()).cloned()
}

fn to(endpoint: String) -> Result<Endpoint, Error> {
    let endpoint = Endpoint::from_shared(endpoint).map_err(|error| not_connected(&error))?;
    Ok(endpoint
        .connect_timeout(CONNECT_MAX)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_MAX)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES))
}

fn not_connected(error: &tonic::transport::Error) -> Error {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(why) = source {
        message = format!("{message}: {why}");
        source = why.source();
    }
    Error::NotConnected { message }
}
