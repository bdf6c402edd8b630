//! What one machine or one person sets, and what holds where nothing is set.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::problem::Problem;
use crate::exit::Failure;
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
    /// The API key that is shown to the gateway, if it asks for one.
    pub(crate) api_key: Option<Secret>,
    /// The tenant that an operator acts for.
    pub(crate) tenant: Option<u32>,
    /// The certificate of the authority that an `https` endpoint is trusted by, as a PEM file.
    pub(crate) ca: Option<PathBuf>,
    /// The certificate to show there, if one is asked for, as a PEM file.
    pub(crate) cert: Option<PathBuf>,
    /// Its key, likewise.
    pub(crate) key: Option<PathBuf>,
}

/// A text that nothing shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(String);

impl Secret {
    /// The text itself, for whom it is meant.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// What stands where a secret would.
pub(crate) const HIDDEN: &str = "(hidden)";

/// The settings that are secrets.
pub(crate) const SECRETS: [&str; 1] = ["client.api_key"];

impl Default for Client {
    fn default() -> Self {
        Self {
            endpoint: "http://127.0.0.1:7100".to_owned(),
            timeout_ms: TIMEOUT_DEFAULT_MS,
            api_key: None,
            tenant: None,
            ca: None,
            cert: None,
            key: None,
        }
    }
}

impl Client {
    /// Whom to trust and what to show at an `https` endpoint; `None` for another one.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn tls(&self) -> Result<Option<client::Tls>, Failure> {
        let read =
            |file: &PathBuf| std::fs::read(file).map_err(|why| Failure::io(file.display(), &why));
        let Some(ca) = self.ca.as_ref().filter(|_| self.endpoint.starts_with("https:")) else {
            return Ok(None);
        };
        let tls = client::Tls::trusting(&read(ca)?);
        let Some((cert, key)) = self.cert.as_ref().zip(self.key.as_ref()) else {
            return Ok(Some(tls));
        };
        Ok(Some(tls.showing(&read(cert)?, &read(key)?)))
    }

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

/// Where a process's traces go. They say what was called and how long it took, never whose money moved, and travel in
/// plaintext whatever the topology's `[tls]` says: to a collector on this machine, or on a network that is closed.
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
        let Client { endpoint, timeout_ms, ca, cert, key, .. } = &self.client;
        let scheme = scheme_of(endpoint);
        if !matches!(scheme.as_deref(), Some("http" | "https")) {
            let what = format!("`{endpoint}` is no endpoint; one reads http://127.0.0.1:7100");
            return Err(("client.endpoint", Problem::new("client.endpoint", what)));
        }
        if scheme.as_deref() == Some("https") && ca.is_none() {
            let what = "an https endpoint needs `client.ca`, the authority that it is trusted by";
            return Err(("client.endpoint", Problem::new("client.endpoint", what)));
        }
        if cert.is_some() != key.is_some() {
            let what = "`client.cert` and `client.key` go together";
            return Err(("client.cert", Problem::new("client.cert", what)));
        }
        if !(1..=TIMEOUT_MAX_MS).contains(timeout_ms) {
            let what = format!("{timeout_ms} ms; a call may take 1 to {TIMEOUT_MAX_MS} ms");
            return Err(("client.timeout_ms", Problem::new("client.timeout_ms", what)));
        }
        let is_http = |address: &String| scheme_of(address).as_deref() == Some("http");
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

/// The scheme of an address that names a host.
fn scheme_of(address: &str) -> Option<String> {
    let uri = address.parse::<http::Uri>().ok().filter(|uri| uri.authority().is_some());
    uri.as_ref().and_then(http::Uri::scheme_str).map(str::to_owned)
}
