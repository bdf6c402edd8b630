//! The edge: gRPC and HTTP in, fixed records out, one stream to each shard's leader.
//!
//! Three gRPC doors (unary, batch, session) and the HTTP door lead to one router. A request is checked, encoded once, in
//! the layout that the log keeps, straight into what waits for its shard's leader, and forgotten: what comes back is 24
//! bytes at the same place of the same frame.
//!
//! ```text
//! unary ──┐                 ┌─▶ link of shard 0 ══ stream of frames ══▶ its leader
//! batch ──┼─▶ router ───────┼─▶ link of shard 1 ══ …
//! session ┤    ▲            └─▶ …
//! HTTP ───┘    │
//!              └── replies, each to its place in its call
//! ```
//!
//! A link sends a frame whenever fewer than a few are in flight, and no timer waits: what arrives meanwhile is the next
//! frame. When the leader changes, or the stream breaks, the same records go to the new leader with the same keys, until
//! their callers' deadlines. That is safe because exactly-once is the ledger's work, not the network's.
//!
//! Invariants:
//! - A gateway keeps nothing that a restart would miss (A9).
//! - A request that may have been proposed is never answered as if it had not been: once a frame went out and its stream
//!   broke, only the ledger's own answer or `OUTCOME_UNKNOWN` will do.
//! - Whoever calls is looked up before anything else, and what he asks for is asked on his tenant's behalf alone.
//! - Everything that waits is counted against one budget, and the budget has a bound (A11).

mod api_key;
mod audit;
mod auth;
mod budget;
mod call;
mod config;
mod deadline;
mod dial;
mod directory;
mod gateway;
mod grpc;
mod http;
mod incoming;
pub mod keyring;
mod keys;
mod link;
pub mod meter;
mod nodes;
mod rate;
mod read_all;
mod reads;
mod router;
mod session;
#[cfg(feature = "simulated")]
pub mod simulated;
pub mod tls;
mod trace;
mod turn;

pub use api_key::{ApiKey, KeyMac, MacKey};
pub use config::{ConfigError, GatewayConfig, Limits, Topology};
pub use dial::{Dial, Wire};
pub use gateway::{Gateway, ServeError};
pub use incoming::{Connection, Shown, connections};
pub use keyring::Keyring;
pub use meter::{Meter, Standing, Vitals};
