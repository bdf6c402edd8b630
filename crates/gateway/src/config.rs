//! What a gateway is told: where the shards are, whom it serves, and its bounds.

use std::collections::BTreeMap;

use ledger::Shards;

/// Replicas of one shard at the most: more than anybody runs, and each is asked when a leader is looked for.
const REPLICAS_MAX: usize = 16;

/// Where the shards and the meta group are: for each its replicas, by node id, each with the `host:port` of its gRPC door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    shards: Shards,
    replicas: Vec<BTreeMap<u64, String>>,
}

impl Topology {
    /// Any node may have a replica of any shard: who does is found out by asking.
    #[must_use]
    pub fn everywhere(shards: Shards, nodes: &BTreeMap<u64, String>) -> Self {
        let replicas = shards.groups().map(|_| nodes.clone()).collect();
        Self { shards, replicas }
    }

    /// Each shard has its own nodes, in the order of the shards; last comes the meta group.
    #[must_use]
    pub const fn placed(shards: Shards, replicas: Vec<BTreeMap<u64, String>>) -> Self {
        Self { shards, replicas }
    }

    /// How many shards there are.
    #[must_use]
    pub const fn shards(&self) -> Shards {
        self.shards
    }

    /// The replicas of each shard, in the order of the shards, and the meta group's.
    #[must_use]
    pub fn replicas(&self) -> &[BTreeMap<u64, String>] {
        &self.replicas
    }

    fn check(&self) -> Result<(), ConfigError> {
        let placed = self.replicas.len();
        if placed != self.shards.groups().count() {
            return Err(ConfigError::Placement { shards: self.shards.count(), placed });
        }
        for (shard, replicas) in (0_u16..).zip(&self.replicas) {
            if !(1..=REPLICAS_MAX).contains(&replicas.len()) {
                return Err(ConfigError::Replicas { shard, replicas: replicas.len() });
            }
            for (node, address) in replicas {
                if !is_address(address) {
                    return Err(ConfigError::Address { node: *node, address: address.clone() });
                }
            }
        }
        Ok(())
    }
}

/// Whether a text is `host:port`.
pub(crate) fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let plain = !host.is_empty() && !host.contains(['/', '@', ' ']);
    plain && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// What a gateway takes on at the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests that wait for their outcomes.
    pub requests_in_flight: usize,
    /// Bytes of their records.
    pub bytes_in_flight: usize,
    /// Frames on their way to one shard. A few are enough to keep the leader busy; more make smaller frames.
    pub frames_in_flight: usize,
    /// Calls and sessions at once on one connection.
    pub streams_per_connection: u32,
    /// Connections at once.
    pub connections: usize,
}

impl Default for Limits {
    /// Sixteen full batches, 64 MiB of records, four frames, 1,024 calls a connection, 4,096 connections.
    fn default() -> Self {
        Self {
            requests_in_flight: 16 * wire::limits::BATCH_REQUESTS_MAX,
            bytes_in_flight: 64 << 20,
            frames_in_flight: 4,
            streams_per_connection: 1_024,
            connections: 4_096,
        }
    }
}

impl Limits {
    fn check(&self) -> Result<(), ConfigError> {
        let Self {
            requests_in_flight,
            bytes_in_flight,
            frames_in_flight,
            streams_per_connection,
            connections,
        } = *self;
        let limits = [
            ("requests_in_flight", requests_in_flight, 1 << 24),
            ("bytes_in_flight", bytes_in_flight, 4 << 30),
            // A node answers at most 64 frames of one stream at once.
            ("frames_in_flight", frames_in_flight, 64),
            (
                "streams_per_connection",
                usize::try_from(streams_per_connection).unwrap_or(0),
                1 << 16,
            ),
            ("connections", connections, 1 << 16),
        ];
        for (name, value, max) in limits {
            if !(1..=max).contains(&value) {
                return Err(ConfigError::Limit { name, value, max });
            }
        }
        Ok(())
    }
}

/// What a gateway is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayConfig {
    /// Where the shards are.
    pub topology: Topology,
    /// What it takes on at the most.
    pub limits: Limits,
}

impl GatewayConfig {
    /// A gateway to these shards, with the usual bounds.
    #[must_use]
    pub fn new(topology: Topology) -> Self {
        Self { topology, limits: Limits::default() }
    }

    /// Whether a gateway can be made of it.
    ///
    /// # Errors
    /// What is wrong with it, and which setting to change.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.topology.check()?;
        self.limits.check()
    }
}

/// What is wrong with a gateway's configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Place each shard once.
    #[error("{shards} shards and the meta group, but replicas of {placed} are placed")]
    Placement {
        /// How many shards there are.
        shards: u16,
        /// How many are placed.
        placed: usize,
    },
    /// Give the shard 1 to 16 replicas.
    #[error("shard {shard} has {replicas} replicas; 1 to {REPLICAS_MAX} are possible")]
    Replicas {
        /// The shard.
        shard: u16,
        /// How many replicas it has.
        replicas: usize,
    },
    /// Write the address as host:port.
    #[error("node {node}: `{address}` is no host:port")]
    Address {
        /// The node.
        node: u64,
        /// What stands there.
        address: String,
    },
    /// Choose a limit within its range.
    #[error("limits.{name} is {value}; 1 to {max} are possible")]
    Limit {
        /// Which limit.
        name: &'static str,
        /// What it is.
        value: usize,
        /// What it may be at the most.
        max: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(address: &str) -> GatewayConfig {
        let nodes = BTreeMap::from([(1, address.to_owned())]);
        GatewayConfig::new(Topology::everywhere(Shards::new(2).unwrap(), &nodes))
    }

    #[test]
    fn a_configuration_is_checked_before_anything_runs() {
        for address in ["127.0.0.1:7101", "n1.example.com:7101", "[::1]:7101"] {
            assert_eq!(config(address).validate(), Ok(()), "{address}");
        }
        for address in ["", "n1", ":7101", "n1:0", "n1:http", "http://n1:7101", "n1:70000", "a b:1"]
        {
            let refused = ConfigError::Address { node: 1, address: address.to_owned() };
            assert_eq!(config(address).validate(), Err(refused), "{address}");
        }
        let nobody = Topology::everywhere(Shards::new(2).unwrap(), &BTreeMap::new());
        let refused = Err(ConfigError::Replicas { shard: 0, replicas: 0 });
        assert_eq!(GatewayConfig::new(nobody).validate(), refused);
        let half = Topology::placed(Shards::new(2).unwrap(), vec![BTreeMap::new()]);
        let refused = Err(ConfigError::Placement { shards: 2, placed: 1 });
        assert_eq!(GatewayConfig::new(half).validate(), refused);
        for frames_in_flight in [0, 65] {
            let mut config = config("n1:1");
            config.limits.frames_in_flight = frames_in_flight;
            assert!(config.validate().is_err(), "{frames_in_flight}");
        }
    }
}
