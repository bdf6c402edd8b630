//! Flags that several commands share.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::config::Flag;
use crate::config::settings::Secret;
use crate::output::{Format, duration};

/// How output looks, and which settings hold. Every command takes these, anywhere on the line.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output and settings")]
pub(crate) struct Global {
    /// How data is written on stdout
    #[arg(short, long, value_name = "FORMAT", global = true, value_enum)]
    pub(crate) output: Option<Format>,
    /// Say only what went wrong
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Write without colours (as does NO_COLOR)
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
    /// The user's settings file, instead of ~/.config/paycore/config.toml
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
}

/// How a command reaches the cluster.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct Reach {
    /// A gateway's gRPC door [default: client.endpoint of the settings]
    #[arg(short, long, visible_alias = "cluster", value_name = "URL")]
    pub(crate) endpoint: Option<String>,
    /// How long the call may take, such as 500ms or 10s [default: client.timeout_ms of the settings]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) credentials: Credentials,
}

/// Who calls.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct Credentials {
    /// The API key to show, where a gateway asks for one; better kept in PAYCORE_API_KEY, which no list of processes
    /// shows [default: client.api_key of the settings]
    #[arg(long, value_name = "KEY")]
    pub(crate) api_key: Option<Secret>,
    /// Act for this tenant: operators only [default: client.tenant of the settings]
    #[arg(long, value_name = "N")]
    pub(crate) tenant: Option<u32>,
}

/// The name of a request that changes something.
#[derive(Clone, Debug, Args)]
pub(crate) struct KeyArg {
    /// The request's key, to repeat it; a new one is made and shown when absent
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
}

impl Global {
    /// These flags as settings.
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let mut flags = Vec::new();
        if let Some(format) = self.output {
            let value = match format {
                Format::Table => "table",
                Format::Json => "json",
                Format::Jsonl => "jsonl",
            };
            flags.push(Flag::new("--output", "output.format", value));
        }
        if self.no_color {
            flags.push(Flag::new("--no-color", "output.color", "never"));
        }
        flags
    }
}

impl Reach {
    /// These flags as settings.
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let endpoint = self.endpoint.iter().map(|endpoint| reach("--endpoint", endpoint));
        let timeout = self.timeout.iter().map(|timeout| {
            let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            Flag::new("--timeout", "client.timeout_ms", ms)
        });
        endpoint.chain(timeout).chain(self.credentials.flags()).collect()
    }
}

impl Credentials {
    /// These flags as settings.
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let api_key =
            self.api_key.iter().map(|key| Flag::new("--api-key", "client.api_key", key.reveal()));
        let tenant =
            self.tenant.iter().map(|tenant| Flag::new("--tenant", "client.tenant", *tenant));
        api_key.chain(tenant).collect()
    }
}

/// A flag that names a gateway, as a setting.
pub(crate) fn reach(flag: &'static str, endpoint: &str) -> Flag {
    Flag::new(flag, "client.endpoint", with_scheme(endpoint))
}

/// `localhost:7100` is what people write when they mean `http://localhost:7100`.
fn with_scheme(endpoint: &str) -> String {
    if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") }
}
