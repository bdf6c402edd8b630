//! `paycore directory`: what the cluster knows of itself.

use clap::Subcommand;
use client::Client;
use serde::Serialize;
use wire::proto::v1;

use super::invocation::Invocation;
use super::options::{KeyArg, Reach};
use super::tables::when;
use super::teller::Teller;
use crate::exit::Failure;
use crate::output::{Paint, Show};

/// See what the cluster knows of itself, and raise its feature level
///
/// An operator's command.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show nodes, shards, tenants, keys and tables
    #[command(after_help = "Example:\n  paycore directory show")]
    Show {
        #[command(flatten)]
        reach: Reach,
    },
    /// Raise the feature level by one, once every node's release knows it; there is no way back
    #[command(after_help = "Example:\n  paycore directory raise-level 2")]
    RaiseLevel {
        /// The level
        #[arg(value_name = "LEVEL")]
        level: u32,
        #[command(flatten)]
        key: KeyArg,
        #[command(flatten)]
        reach: Reach,
    },
}

impl Args {
    pub(super) const fn reach(&self) -> &Reach {
        match &self.command {
            Command::Show { reach } | Command::RaiseLevel { reach, .. } => reach,
        }
    }
}

pub(super) fn run(args: &Args, around: &Invocation) -> Result<(), Failure> {
    let teller = Teller::new(around)?;
    match &args.command {
        Command::Show { .. } => super::block_on(async {
            let known = teller.connect().await?.directory().await?;
            teller.screen().show(&Known::new(&known))
        }),
        Command::RaiseLevel { level, key, .. } => {
            let level = *level;
            let ask = |client: Client, idempotency_key| async move {
                client.raise_level(v1::RaiseLevelRequest { idempotency_key, level }).await
            };
            teller.change(key, ask)
        }
    }
}

#[derive(Serialize)]
struct Known {
    version: u64,
    level: u32,
    told: String,
    nodes: Vec<NodeLine>,
    shards: Vec<ShardLine>,
    tenants: Vec<TenantLine>,
    api_keys: Vec<KeyLine>,
    tables: Vec<TableLine>,
    aliases: u64,
}

#[derive(Serialize)]
struct NodeLine {
    node: u64,
    address: String,
    level_max: u32,
    retired: bool,
}

#[derive(Serialize)]
struct ShardLine {
    shard: u32,
    voters: Vec<u64>,
    learners: Vec<u64>,
    /// `-` for the meta group, which tells itself nothing.
    heard: String,
    /// The last change that it has heard of, of those that concern shards.
    heard_version: u64,
}

#[derive(Serialize)]
struct TenantLine {
    tenant: u32,
    label: String,
    requests_per_second: Option<u32>,
    burst: Option<u32>,
}

#[derive(Serialize)]
struct KeyLine {
    name: String,
    tenant: u32,
    scope: &'static str,
    expires: String,
}

#[derive(Serialize)]
struct TableLine {
    name: String,
    effective_time: String,
    version: u64,
}

impl Known {
    fn new(known: &v1::GetDirectoryResponse) -> Self {
        let node = |node: &v1::DirectoryNode| NodeLine {
            node: node.node_id,
            address: node.address.clone(),
            level_max: node.level_max,
            retired: node.is_retired,
        };
        let shard = |shard: &v1::DirectoryShard| ShardLine {
            shard: shard.shard,
            voters: shard.voters.clone(),
            learners: shard.learners.clone(),
            heard: when(shard.heard_time.as_ref()),
            heard_version: shard.heard_version,
        };
        let tenant = |tenant: &v1::Tenant| TenantLine {
            tenant: tenant.tenant,
            label: tenant.label.clone(),
            requests_per_second: tenant.rate.as_ref().map(|rate| rate.requests_per_second),
            burst: tenant.rate.as_ref().map(|rate| rate.burst),
        };
        let key = |key: &v1::ApiKey| KeyLine {
            name: key.name.clone(),
            tenant: key.tenant,
            scope: scope(key.scope()),
            expires: when(key.expire_time.as_ref()),
        };
        let table = |table: &v1::Table| TableLine {
            name: table.name.clone(),
            effective_time: when(table.effective_time.as_ref()),
            version: table.version,
        };
        Self {
            version: known.version,
            level: known.level,
            told: when(known.tell_time.as_ref()),
            nodes: known.nodes.iter().map(node).collect(),
            shards: known.shards.iter().map(shard).collect(),
            tenants: known.tenants.iter().map(tenant).collect(),
            api_keys: known.api_keys.iter().map(key).collect(),
            tables: known.tables.iter().map(table).collect(),
            aliases: known.aliases,
        }
    }
}

const fn scope(scope: v1::ApiKeyScope) -> &'static str {
    match scope {
        v1::ApiKeyScope::Unspecified => "none",
        v1::ApiKeyScope::Read => "read",
        v1::ApiKeyScope::Tenant => "tenant",
        v1::ApiKeyScope::Admin => "admin",
    }
}

impl Show for Known {
    fn text(&self, paint: Paint) -> String {
        let Self { version, level, told, aliases, .. } = self;
        let mut lines = vec![format!(
            "version {version} · feature level {level} · shards told at {told} · aliases {aliases}"
        )];
        let last = self.shards.iter().map(|shard| shard.shard).max();
        lines.extend(self.nodes.iter().map(|node| {
            let state = if node.retired { " · retired" } else { "" };
            format!("node {} · {} · knows level {}{state}", node.node, node.address, node.level_max)
        }));
        lines.extend(self.shards.iter().map(|shard| {
            let name = match shard.heard.as_str() {
                "-" if Some(shard.shard) == last => "meta".to_owned(),
                _ => format!("shard {}", shard.shard),
            };
            let (voters, heard, version) = (&shard.voters, &shard.heard, shard.heard_version);
            format!("{name} · on {voters:?} · heard {heard}, v{version}")
        }));
        lines.extend(self.tenants.iter().map(|tenant| {
            let rate = tenant.requests_per_second.zip(tenant.burst);
            let rate = rate.map_or_else(
                || "any rate".to_owned(),
                |(rate, burst)| format!("{rate}/s, {burst} at once"),
            );
            format!("tenant {} · {} · {rate}", tenant.tenant, tenant.label)
        }));
        lines.extend(self.api_keys.iter().map(|key| {
            format!(
                "key {} · tenant {} · {} · until {}",
                key.name, key.tenant, key.scope, key.expires
            )
        }));
        lines.extend(self.tables.iter().map(|table| {
            format!("table {} · from {} · v{}", table.name, table.effective_time, table.version)
        }));
        match lines.split_first() {
            Some((first, rest)) => {
                rest.iter().fold(paint.bold(first), |text, line| text + "\n" + line)
            }
            None => String::new(),
        }
    }
}
