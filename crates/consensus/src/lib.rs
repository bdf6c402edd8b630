//! One Raft group per shard over a synced log of our own, checkpoints in sled.
//!
//! This crate decides *when* a ledger's one function is called, and nothing else: a batch is applied once a majority of
//! replicas has it on disk, in the same order everywhere. It knows no accounts and no money; what is above it knows
//! nothing of terms, votes and entries.
//!
//! ```text
//!  propose ─▶ replica ─▶ openraft ─▶ log_store ─▶ log: one file stream and one sync for all groups of a node
//!                            │
//!                            ├──▶ transport: four lanes to each peer, all groups in one parcel
//!                            ▼
//!                         machine: decode once ─▶ fetch what memory lacks ─▶ Ledger::apply ─▶ answers
//!                            │
//!                            └──▶ checkpoint: image ─▶ store: pages and volume ─▶ log purged, memory let go
//! ```
//!
//! - **Invariant:** nothing is answered before a majority has synced it (A8), and nothing is applied twice.
//! - **Invariant:** an error of a disk, an entry that cannot be read, or a ledger that panics stops the node; it never
//!   becomes an outcome. [`StopReason`] says which.
//! - **Invariant:** who forgets what he promised takes no part: a node asks its peers before it votes ([`Node::start`]).
//! - openraft is wrapped once, concretely: none of its types leaves this crate.

#[cfg(test)]
extern crate self as consensus;

pub mod backup;
mod beat;
mod checkpoint;
mod clock;
mod codec;
mod config;
mod desk;
mod digest;
pub mod failpoint;
mod leadership;
pub mod log;
mod log_store;
mod machine;
mod mail;
mod messages;
pub mod meter;
#[cfg(test)]
#[path = "../../ledger/tests/mutants/mod.rs"]
mod mutants;
mod node;
mod offload;
mod placement;
mod raft;
mod reads;
mod rebuild;
mod register;
mod replica;
mod roster;
mod runtime;
#[cfg(feature = "simulated")]
pub mod simulated;
mod snapshot;
mod space;
mod state;
mod stop;
pub mod store;
mod transport;
mod witness;

pub use checkpoint::CheckpointOptions;
pub use clock::{Clock, ClockAlarm, ClusterClock, Reading, SystemClocks, TimeSource};
pub use config::{NodeConfig, ScrubOptions, SpaceOptions, StoreKind, Timing};
pub use leadership::Leadership;
pub use mail::{Mail, MailError, Mailbox};
pub use meter::Meter;
pub use node::{
    AddressBook, Change, ChangeError, Changed, DrainError, Ground, Node, OpenError, Overview,
    PeerOverview, Replicas, Vitals,
};
pub use offload::Offload;
pub use raft::DiskId;
pub use reads::ReadError;
pub use replica::{
    Applied, BATCH_BYTES_MAX, ProposeError, Refused, Replica, ReplicaStatus, Stages,
};
pub use stop::StopReason;
pub use transport::{Certified, PeerService, PeerTls, Roads, tune};
pub use witness::Forgotten;
