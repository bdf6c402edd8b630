//! Configuration: what a process is told before it starts.
//!
//! Two kinds, kept apart because they have different owners:
//! - [`Settings`] belong to one machine or one person: which endpoint, which node this is, how output looks. They come
//!   in layers, each above the one before: defaults, `/etc/paycore/config.toml`, the user's own file, the environment
//!   (`PAYCORE__SECTION__KEY`, and `PAYCORE_API_KEY`), flags. [`Layers`] remembers where each value came from.
//! - A [`Topology`] belongs to a cluster: its nodes, gateways, and how they deal with one another. It is one file, the
//!   same on every machine, with no layers above it.
//!
//! Both are strict: a key that nobody knows is an error that says which key was probably meant. A misspelt setting
//! that is silently ignored is the dearest kind.

mod layers;
mod problem;
pub(crate) mod settings;
pub(crate) mod tls;
pub(crate) mod topology;

pub(crate) use layers::{Flag, Layers, check_file, config_home};
pub(crate) use problem::{Problem, check_toml, nearest};
pub(crate) use settings::{Log, LogFormat, Settings, Trace};
pub(crate) use topology::{GatewaySpec, StoreKind, Topology};
