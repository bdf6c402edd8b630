//! What travels: the public protobuf, the frames inside the cluster, and the one error catalogue.
//!
//! - [`proto`] is what `proto/*.proto` says, as Rust.
//! - [`convert`] turns it into the ledger's words and back. Here, at the edge, a value that does not fit is refused,
//!   never rounded, cut or replaced.
//! - [`reply`] is the fixed layout in which a shard answers a frame, 24 bytes a record.
//! - [`catalogue`] knows every code, [`Failure`] is why nobody answered for the ledger, and [`status`] alone knows how
//!   both look in gRPC, in both directions.
//!
//! Nothing here does IO, and nothing here knows who sends.

pub mod catalogue;
pub mod convert;
mod failure;
pub mod limits;
mod obstacle;
pub mod proto;
pub mod reply;
pub mod status;

pub use failure::Failure;
pub use obstacle::Obstacle;
pub use reply::Reply;
