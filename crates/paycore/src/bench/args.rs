//! The command's flags.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::chaos::Blow;
use super::slo::Objective;
use crate::cli::options::{Credentials, reach};
use crate::config::Flag;
use crate::output::duration;

/// Puts load on a cluster through its public door, then proves that nothing was lost or doubled.
///
/// Starts three nodes and a gateway of its own, unless `--cluster` names one that is there. Leaves a folder with the
/// numbers, a page to look at, and everything that `paycore verify` needs.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  paycore bench transfer-uniform --spawn 3 --duration 30s")]
pub(crate) struct Args {
    /// What is done.
    pub(super) workload: Workload,
    /// Start so many node processes and a gateway on this machine, with their data in the run's folder. 3 if nothing
    /// is said.
    #[arg(long, value_name = "NODES", value_parser = clap::value_parser!(u8).range(1..=9))]
    pub(super) spawn: Option<u8>,
    /// Use a cluster that is there: one of its gateways' gRPC doors. Certificates and key are those of the settings. Only
    /// an operator's key will do: accounts are opened with money in them, and the books are audited.
    #[arg(long, value_name = "URL", conflicts_with = "spawn")]
    pub(super) cluster: Option<String>,
    #[command(flatten)]
    pub(super) credentials: Credentials,
    /// With --cluster: nobody else moves money there meanwhile, so that the trial balance of every shard is drawn up too.
    #[arg(long, requires = "cluster")]
    pub(super) alone: bool,
    /// How many shards the cluster has.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) shards: u16,
    /// What the nodes that are started keep their checkpoints in.
    #[arg(long, value_enum, default_value_t = Store::Sled)]
    pub(super) store: Store,
    /// How long requests are made. 30s if nothing is said.
    #[arg(long, value_parser = duration)]
    pub(super) duration: Option<Duration>,
    /// How many requests are made, instead of for how long.
    #[arg(long, conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: Option<u64>,
    /// How many accounts take part.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..=100_000_000))]
    pub(super) accounts: u32,
    /// Requests in one frame at the most. 8192 if nothing is said; 1 for transfer-single.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=8_192))]
    pub(super) batch: Option<u16>,
    /// How many connections. 4 if nothing is said; 256 for transfer-single.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=4_096))]
    pub(super) connections: Option<u16>,
    /// How many frames, or single calls, each connection keeps open.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16_384))]
    pub(super) inflight: u16,
    /// Requests a second, begun on time whether or not earlier ones are answered (open loop). Without it, each answer
    /// makes room for the next request (closed loop).
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(super) rate: Option<u64>,
    /// transfer-hot: how many of a hundred transfers pay the one merchant.
    #[arg(long, default_value = "80%", value_parser = percent)]
    pub(super) hot: u8,
    /// How many of a hundred transfers pay an account of another shard. As chance has it if nothing is said: with four
    /// shards, three of four.
    #[arg(long, value_name = "P%", value_parser = percent)]
    pub(super) cross: Option<u8>,
    /// How requests are carried. Single calls for transfer-single, else a session.
    #[arg(long, value_enum)]
    pub(super) door: Option<Door>,
    /// What idempotency keys look like: UUIDv7 in the order of time, or free-form without any order.
    #[arg(long, value_enum, default_value_t = KeyOrder::Ordered)]
    pub(super) keys: KeyOrder,
    /// Faults at times after the beginning, such as `leader-kill@10s,gateway-kill@20s`. Kinds: leader-kill, node-kill,
    /// gateway-kill, all-kill. What is killed is started again after 2 s.
    #[arg(long, value_name = "FAULT@TIME", value_delimiter = ',', conflicts_with = "cluster")]
    pub(super) chaos: Vec<Blow>,
    /// What the run's requests are made from. A new one if nothing is said; it is printed.
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// The run's folder. A new one in `runs` if nothing is said.
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// What must be reached, such as `p99<=100ms,pause_max<=5s,posted_per_s>=150000`.
    #[arg(long, value_name = "EXPR", value_delimiter = ',')]
    pub(super) slo: Vec<Objective>,
}

impl Args {
    /// The flags that are settings too, of a run that speaks to a cluster for a person.
    pub(crate) fn flags(&self) -> Option<Vec<Flag>> {
        let endpoint = self.cluster.as_ref()?;
        Some(
            std::iter::once(reach("--cluster", endpoint)).chain(self.credentials.flags()).collect(),
        )
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(clippy::enum_variant_names, reason = "as the command line names them")]
pub(super) enum Workload {
    /// Transfers between any two accounts.
    TransferUniform,
    /// Transfers of which most pay one merchant.
    TransferHot,
    /// Transfers between any two accounts, each a request of its own.
    TransferSingle,
}

/// What nodes keep their checkpoints in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Store {
    /// Files on disk.
    Sled,
    /// Nothing that survives the process.
    Memory,
}

/// How requests are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Door {
    /// One stream for each connection, whose frames carry many requests.
    Session,
    /// One call for each request.
    Unary,
}

/// What idempotency keys look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum KeyOrder {
    /// UUIDv7s of the time at which they are used, in rising order.
    Ordered,
    /// Free-form texts without time or order.
    Random,
}

/// Names a value as its flag does.
pub(super) fn flag(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Reads `80%` or `80`.
fn percent(text: &str) -> Result<u8, String> {
    let digits = text.strip_suffix('%').unwrap_or(text);
    let percent = digits.parse().ok().filter(|percent| *percent <= 100);
    percent.ok_or_else(|| format!("`{text}` is no percentage; write it as 80%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_read_as_written() {
        assert_eq!((percent("80%"), percent("100"), percent("0%")), (Ok(80), Ok(100), Ok(0)));
        assert!(percent("101%").is_err() && percent("%").is_err());
    }
}
