//! The HTTP/JSON door: what gRPC offers, for everybody who has no gRPC.
//!
//! A path and a body become the same protobuf message that gRPC carries, and go through the same conversion to the same
//! router. So the two doors cannot disagree about what is right, what is refused, and under which code; a test asks both
//! and compares. What only HTTP can get wrong (a path, a method, a media type, JSON that is none) is refused here.
//!
//! - **Keys.** Every mutating call carries `Idempotency-Key`, after draft 07 of the IETF's document of that name: a quoted
//!   string, or a bare token. A replayed answer says `Idempotent-Replayed: true`.
//! - **Errors** are `application/problem+json` (RFC 9457), made from the catalogue. 504 is the one status after which
//!   nobody knows: `outcome` is `unknown`, and the same key may be sent again.
//! - **Numbers.** Amounts are whole minor units. A fraction is refused, also one like `1.0`; so is a field that nobody
//!   knows, and one that is there twice.
//! - **Deadlines.** `Grpc-Timeout`, the header that gateways from HTTP to gRPC read already, with gRPC's own syntax: one
//!   to eight digits and a unit, such as `500m`; 10 s when it is absent, never more than a minute.
//! - **Traces.** `traceparent`, W3C's, in; and out with the answer to a call that is traced.
//!
//! **Threads.** Everything runs on the thread that polls [`serve`]. actix-web's own server would start a thread that
//! accepts and one that works, and each request would cross over to the router's thread and back. Here the connections
//! are tasks of a `LocalSet` on the gateway's thread, and actix's HTTP/1.1 dispatcher and routing run as they are.
//!
//! Invariants:
//! - Connections, heads (actix's 128 KiB and 96 fields), bodies, batches being read, and idle time have bounds (A11).
//! - Whose request it is, is decided in one place: `extract::tenant_of`.

mod accounts;
mod app;
mod around;
mod batch;
mod extract;
mod holds;
mod json;
mod key;
mod openapi;
mod outcome;
mod pages;
mod place;
mod problem;
mod requests;
mod server;
mod statement;
mod trace;
mod transfers;
mod views;

pub(crate) use server::serve;
