//! The Rust SDK: one key per intent, retries only what the catalogue calls retryable.
//!
//! A [`Request`] is one intent, and carries the idempotency key that it was given when it was made. Sending it, again or
//! for the first time, is [`Client::send`]; however often it is sent, it takes effect once. Within one call the client
//! sends it again by itself, as long as that makes sense and time is left; when a call ends with [`Error::Unknown`], the
//! same request may be sent again at any time to learn its outcome.
//!
//! ```no_run
//! # async fn example() -> Result<(), client::Error> {
//! use client::{Client, Currency, Money, Request};
//!
//! let client = Client::connect("http://127.0.0.1:7100").await?;
//! let opening = Money::parse("100.00", Currency::CNY).expect("a hundred yuan");
//! let lin = client.send(&Request::open_account(Currency::CNY).with_opening(opening.amount)).await?;
//! let wang = client.send(&Request::open_account(Currency::CNY)).await?;
//! let (lin, wang) = (lin.account.expect("it opened one"), wang.account.expect("it opened one"));
//!
//! let request = Request::transfer(lin, wang, Money::parse("8.88", Currency::CNY).expect("8.88 yuan"));
//! let posted = client.send(&request).await?;
//! assert_eq!(client.send(&request).await?.transfer, posted.transfer);
//! # Ok(())
//! # }
//! ```
//!
//! A gateway that asks for an API key gets it from [`Client::with_api_key`].
//!
//! Many requests at once go by [`Client::send_batch`], a steady stream of them by [`Client::session`].

mod audit;
mod client;
mod credentials;
mod directory;
mod error;
mod money;
mod posted;
mod read_all;
mod reads;
mod request;
mod retry;
mod session;
mod tls;
mod views;

pub use audit::{Audit, AuditSum};
pub use client::Client;
pub use error::Error;
pub use ledger::{
    AccountId, AccountKind, Amount, Authority, Currency, FreezeScope, HoldId, HoldState,
    JournalKind, Leg, Operation, Rejection, Side, TenantId, Time, TransferId,
};
pub use money::Money;
pub use posted::Posted;
pub use read_all::{ChannelMoney, Found, Piece, Summary};
pub use reads::{Freshness, Subject};
pub use request::Request;
pub use session::{Pending, Session};
pub use tls::Tls;
pub use views::{Account, Freeze, Hold, Position, Posting};
pub use wire::convert::FieldViolation;
