//! A whole cluster in one file: its nodes, its gateways, and how they deal with one another.
//!
//! The same file lies on every machine. A process is told which of the nodes it is, and finds everybody else here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use figment::Figment;
use figment::providers::{Format as _, Toml};
use ledger::{SHARDS_MAX, Shards};
use serde::Deserialize;

use super::problem::{Problem, check_toml};
use super::tls::Tls;

/// Nodes of one cluster at the most: past nine voters every write waits for five of them, and gains no safety worth it.
const NODES_MAX: usize = 9;

/// Gateways of one cluster at the most; each keeps a stream to every node.
const GATEWAYS_MAX: usize = 64;

/// Replicas of a shard: one may die, and the rest still outvote it.
const fn three() -> usize {
    3
}

/// A name's length at the most, as in DNS.
const NAME_MAX: usize = 63;

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Topology {
    /// What it is called, in logs and metrics.
    pub(crate) name: String,
    /// How many shards its accounts are dealt out to. For ever: a cluster keeps the number it was made with.
    shards: u16,
    /// How many replicas each shard has, as far as there are nodes.
    #[serde(default = "three")]
    pub(crate) replicas: usize,
    /// Its nodes.
    pub(crate) nodes: Vec<NodeSpec>,
    /// Its gateways. They keep nothing, so any number of them will do.
    pub(crate) gateways: Vec<GatewaySpec>,
    /// How its nodes agree.
    #[serde(default)]
    pub(crate) consensus: Consensus,
    /// How its nodes keep what they agreed on.
    #[serde(default)]
    pub(crate) store: Store,
    /// How its processes know one another.
    #[serde(default)]
    pub(crate) tls: Tls,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeSpec {
    /// Its id, from 1 on. Never used again for another disk.
    pub(crate) id: u64,
    /// Where peers and gateways reach it, as `host:port`.
    pub(crate) grpc: String,
    /// Where it is asked how it does (`/livez`, `/readyz`, `/metrics`), as `host:port`; nowhere when absent. Always in
    /// plaintext and without keys, whatever `[tls]` says: probes and scrapers have no certificates, and nothing can be
    /// changed there. So it belongs on loopback, or where only they reach it.
    #[serde(default)]
    pub(crate) admin: Option<String>,
}

/// One gateway.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GatewaySpec {
    /// The public gRPC door, as `host:port`.
    pub(crate) grpc: String,
    /// The public HTTP/JSON door, as `host:port`; none when absent.
    #[serde(default)]
    pub(crate) http: Option<String>,
    /// Where it is asked how it does, as for a node.
    #[serde(default)]
    pub(crate) admin: Option<String>,
}

/// How nodes agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Consensus {
    /// How often a leader says that it is there, in milliseconds.
    pub(crate) heartbeat_ms: u64,
    /// How long a follower hears nothing before it stands for election, at the least, in milliseconds.
    pub(crate) election_min_ms: u64,
    /// The same, at the most. Each election's time-out is drawn between the two, so that rivals seldom meet.
    pub(crate) election_max_ms: u64,
}

impl Default for Consensus {
    fn default() -> Self {
        Self { heartbeat_ms: 200, election_min_ms: 1_600, election_max_ms: 2_000 }
    }
}

/// How nodes keep what they agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Store {
    /// What checkpoints are kept in.
    pub(crate) kind: StoreKind,
    /// A checkpoint is made when a shard's log has grown by so many bytes since the last (or twice its image, if that
    /// is more).
    pub(crate) checkpoint_log_bytes: u64,
    /// A checkpoint is also made when a shard's oldest entry lies so many bytes of the node's log behind.
    pub(crate) checkpoint_behind_bytes: u64,
    /// How long a segment of the log is, once the log has grown.
    pub(crate) log_segment_bytes: u64,
    /// With less than so many bytes free a node proposes nothing more (`DISK_FULL`).
    pub(crate) free_bytes_min: u64,
    /// Nor with less than so many parts in a hundred.
    pub(crate) free_percent_min: u8,
    /// From the beginning of one reading of everything on the disk to the next, in seconds.
    pub(crate) scrub_every_s: u64,
    /// How fast it is read at the most, in bytes a second; never, when it is 0.
    pub(crate) scrub_bytes_per_second: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            kind: StoreKind::Sled,
            checkpoint_log_bytes: 256 << 20,
            checkpoint_behind_bytes: 1 << 30,
            log_segment_bytes: 64 << 20,
            free_bytes_min: 1 << 30,
            free_percent_min: 5,
            scrub_every_s: 24 * 60 * 60,
            scrub_bytes_per_second: 16 << 20,
        }
    }
}

/// A smaller segment would be begun several times a second.
const SEGMENT_BYTES_MIN: u64 = 1 << 20;

/// A larger one would keep space for ever that was let go long ago.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// What checkpoints are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StoreKind {
    /// Files on disk.
    Sled,
    /// Nothing that survives the process: for tests only.
    Memory,
}

impl Topology {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// With everything that is wrong with it.
    pub(crate) fn load(path: &Path) -> Result<Self, Vec<Problem>> {
        let text = std::fs::read_to_string(path)
            .map_err(|why| vec![Problem::new(path.display().to_string(), why.to_string())])?;
        Self::read(path, &text)
    }

    /// Reads and checks a text that came from `path`.
    fn read(path: &Path, text: &str) -> Result<Self, Vec<Problem>> {
        let place = path.display();
        check_toml(path, text).map_err(|problem| vec![problem])?;
        let mut read: Self = Figment::from(Toml::string(text)).extract().map_err(|error| {
            error.into_iter().map(|error| Problem::in_file(path, text, &error)).collect::<Vec<_>>()
        })?;
        read.tls.directory = path.parent().map(Path::to_path_buf).unwrap_or_default();
        let wrong = read.wrong();
        if wrong.is_empty() {
            return Ok(read);
        }
        Err(wrong.into_iter().map(|what| Problem::new(place.to_string(), what)).collect())
    }

    /// How many shards there are.
    pub(crate) fn shards(&self) -> Shards {
        Shards::new(self.shards).expect("checked when the topology was read")
    }

    /// One node by its id.
    pub(crate) fn node(&self, id: u64) -> Option<&NodeSpec> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// Every node's gRPC address by its id.
    pub(crate) fn peers(&self) -> BTreeMap<u64, String> {
        self.nodes.iter().map(|node| (node.id, node.grpc.clone())).collect()
    }

    /// Whether all its doors are on one machine, where nobody else can reach them. An admin port is no door: it is in
    /// plaintext wherever it is.
    pub(crate) fn is_on_loopback(&self) -> bool {
        let nodes = self.nodes.iter().map(|node| node.grpc.as_str());
        let gateways = self.gateways.iter();
        let gateways = gateways
            .flat_map(|gateway| [Some(gateway.grpc.as_str()), gateway.http.as_deref()])
            .flatten();
        nodes.chain(gateways).all(|address| {
            let host = address.rsplit_once(':').map_or(address, |(host, _port)| host);
            let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
            ip.map_or(host == "localhost", |ip| ip.is_loopback())
        })
    }

    /// How many replicas each shard of a new cluster gets.
    pub(crate) fn replication(&self) -> usize {
        self.replicas.min(self.nodes.len())
    }

    /// How many nodes may die without a write being refused for longer than an election.
    pub(crate) fn spare_nodes(&self) -> usize {
        self.replication().saturating_sub(1) / 2
    }

    /// Everything that cannot work.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let named =
            self.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if self.name.is_empty() || self.name.len() > NAME_MAX || !named {
            wrong.push(format!(
                "`name` is `{}`; a name has 1 to {NAME_MAX} small letters, digits and hyphens",
                self.name
            ));
        }
        if Shards::new(self.shards).is_none() {
            wrong.push(format!("`shards` is {}; a cluster has 1 to {SHARDS_MAX}", self.shards));
        }
        if !(1..=NODES_MAX).contains(&self.replicas) {
            wrong.push(format!("`replicas` is {}; a shard has 1 to {NODES_MAX}", self.replicas));
        }
        wrong.extend(self.wrong_members());
        wrong.extend(self.consensus.wrong());
        wrong.extend(self.tls.wrong());
        if self.store.checkpoint_log_bytes == 0 || self.store.checkpoint_behind_bytes == 0 {
            wrong.push("`store`: a checkpoint after 0 bytes would never end".to_owned());
        }
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.store.log_segment_bytes) {
            wrong.push(format!(
                "`store.log_segment_bytes` is {}; a segment has {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX} bytes",
                self.store.log_segment_bytes
            ));
        }
        if self.store.free_percent_min > 90 {
            wrong.push(
                "`store.free_percent_min`: a disk of which so much is kept free is no disk"
                    .to_owned(),
            );
        }
        wrong
    }

    fn wrong_members(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if !(1..=NODES_MAX).contains(&self.nodes.len()) {
            wrong.push(format!("{} nodes; a cluster has 1 to {NODES_MAX}", self.nodes.len()));
        }
        if !(1..=GATEWAYS_MAX).contains(&self.gateways.len()) {
            wrong.push(format!(
                "{} gateways; a cluster has 1 to {GATEWAYS_MAX}",
                self.gateways.len()
            ));
        }
        let mut ids = BTreeSet::new();
        for NodeSpec { id, .. } in &self.nodes {
            if *id == 0 {
                wrong.push("node 0: nodes are counted from 1".to_owned());
            }
            if !ids.insert(*id) {
                wrong.push(format!("node {id} is there twice"));
            }
        }
        let mut taken = BTreeSet::new();
        for (whose, address) in self.addresses() {
            if !is_address(address) {
                wrong.push(format!("{whose} is `{address}`; an address reads host:port"));
            } else if !taken.insert(address) {
                wrong.push(format!("{whose} is `{address}`, which something else has"));
            }
        }
        wrong
    }

    /// Every address, and whose it is.
    fn addresses(&self) -> impl Iterator<Item = (String, &str)> {
        let nodes = self.nodes.iter().flat_map(|node| {
            let of = |door: &str| format!("node {}'s `{door}`", node.id);
            let admin = node.admin.as_deref().map(|admin| (of("admin"), admin));
            [(of("grpc"), node.grpc.as_str())].into_iter().chain(admin)
        });
        let gateways = self.gateways.iter().zip(1_usize..).flat_map(|(gateway, number)| {
            let of = |door: &str| format!("gateway {number}'s `{door}`");
            let http = gateway.http.as_deref().map(|http| (of("http"), http));
            let admin = gateway.admin.as_deref().map(|admin| (of("admin"), admin));
            [(of("grpc"), gateway.grpc.as_str())].into_iter().chain(http).chain(admin)
        });
        nodes.chain(gateways)
    }
}

impl Consensus {
    fn wrong(&self) -> Option<String> {
        let Self { heartbeat_ms, election_min_ms, election_max_ms } = *self;
        // Half of the time is the leader's lease; in the other, one lost heartbeat must not start an election.
        let earliest_ms = (election_max_ms / 2).saturating_add(heartbeat_ms.saturating_mul(3));
        if heartbeat_ms == 0 || election_min_ms < earliest_ms {
            return Some(format!(
                "`consensus`: elections after {election_min_ms} to {election_max_ms} ms, heartbeats every \
                 {heartbeat_ms} ms; the earliest must be three heartbeats past half of the latest"
            ));
        }
        (election_max_ms <= election_min_ms).then(|| {
            format!(
                "`consensus`: elections after {election_min_ms} to {election_max_ms} ms; \
                 without a spread, rivals meet again and again"
            )
        })
    }
}

/// Whether a text reads `host:port`.
fn is_address(text: &str) -> bool {
    text.parse::<http::uri::Authority>().is_ok_and(|authority| {
        let port = authority.port_u16().is_some_and(|port| port > 0);
        port && !authority.host().is_empty() && !text.contains('@')
    })
}

#[cfg(test)]
mod tests;
