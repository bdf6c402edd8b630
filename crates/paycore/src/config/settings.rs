//! What one machine or one person sets, and what holds where nothing is set.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::problem::Problem;
use crate::output::{Color, Format};

/// How long one call takes at the most when nothing is said: an election and a retry fit in.
const TIMEOUT_DEFAULT_MS: u64 = 10_000;

/// The longest time-out of one call: the server grants no more.
const TIMEOUT_MAX_MS: u64 = 60_000;

/// All settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// How a command reaches the cluster.
    pub(crate) client: Client,
    /// How output looks.
    pub(crate) output: Output,
    /// Which cluster a node or a gateway belongs to.
    pub(crate) cluster: Cluster,
    /// Which node this is.
    pub(crate) node: Node,
    /// What a process writes about itself.
    pub(crate) log: Log,
    /// Where a process's traces go.
    pub(crate) trace: Trace,
}

/// How a command reaches the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Client {
    /// The gateway's gRPC door.
    pub(crate) endpoint: String,
    /// How long one call may take, in milliseconds.
    pub(crate) timeout_ms: u64,
}

impl Default for Client {
    fn default() -> Self {
        Self { endpoint: "http://127.0.0.1:7100".to_owned(), timeout_ms: TIMEOUT_DEFAULT_MS }
    }
}

impl Client {
    /// How long one call may take.
    pub(crate) const fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

/// How output looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Output {
    /// How data is written on stdout.
    pub(crate) format: Format,
    /// When output is coloured.
    pub(crate) color: Color,
}

/// Which cluster a node or a gateway belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Cluster {
    /// The cluster's topology file.
    pub(crate) topology: PathBuf,
}

impl Default for Cluster {
    fn default() -> Self {
        Self { topology: PathBuf::from("/etc/paycore/cluster.toml") }
    }
}

/// Which node this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Node {
    /// Its id in the topology. There is no default: two nodes with one id would be a disaster.
    pub(crate) id: Option<u64>,
    /// Where it keeps its log and checkpoints.
    pub(crate) data_dir: PathBuf,
}

impl Default for Node {
    fn default() -> Self {
        Self { id: None, data_dir: PathBuf::from("/var/lib/paycore") }
    }
}

/// What a process writes about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    /// Which events: a `tracing` filter, such as `info` or `info,consensus=debug`.
    pub(crate) level: String,
    /// How they are written.
    pub(crate) format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::default() }
    }
}

/// Where a process's traces go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Trace {
    /// Who collects them, over OTLP's gRPC. Nothing is traced when nobody is named.
    pub(crate) otlp: Option<String>,
    /// Which part of the calls is traced of which their callers do not say, from 0 to 1.
    pub(crate) sample_ratio: f64,
}

impl Default for Trace {
    fn default() -> Self {
        Self { otlp: None, sample_ratio: 0.001 }
    }
}

/// How log lines are written, on stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

impl Settings {
    /// What no type can say: values that are well-formed and still cannot work.
    pub(super) fn check(&self) -> Result<(), (&'static str, Problem)> {
        let Client { endpoint, timeout_ms } = &self.client;
        if !is_http(endpoint) {
            let what = format!("`{endpoint}` is no endpoint; one reads http://127.0.0.1:7100");
            return Err(("client.endpoint", Problem::new("client.endpoint", what)));
        }
        if !(1..=TIMEOUT_MAX_MS).contains(timeout_ms) {
            let what = format!("{timeout_ms} ms; a call may take 1 to {TIMEOUT_MAX_MS} ms");
            return Err(("client.timeout_ms", Problem::new("client.timeout_ms", what)));
        }
        if let Some(otlp) = self.trace.otlp.as_ref().filter(|otlp| !is_http(otlp)) {
            let what = format!("`{otlp}` is no collector; one reads http://127.0.0.1:4317");
            return Err(("trace.otlp", Problem::new("trace.otlp", what)));
        }
        if !(0.0..=1.0).contains(&self.trace.sample_ratio) {
            let what = format!("{}; a part lies between 0 and 1", self.trace.sample_ratio);
            return Err(("trace.sample_ratio", Problem::new("trace.sample_ratio", what)));
        }
        if self.node.id == Some(0) {
            return Err(("node.id", Problem::new("node.id", "nodes are counted from 1")));
        }
        Ok(())
    }
}

fn is_http(address: &str) -> bool {
    let uri = address.parse::<http::Uri>();
    uri.is_ok_and(|uri| uri.scheme_str() == Some("http") && uri.authority().is_some())
}
