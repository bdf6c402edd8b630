//! What the directory knows, each thing under its name.

use bincode::{Decode, Encode};

use crate::id::{AccountId, TenantId, Time};

/// Bytes of a table's, tenant's, key's or alias's name at the most.
pub const NAME_BYTES_MAX: usize = 64;

/// Bytes of a table at the most: a record of the log carries it whole.
pub const TABLE_BYTES_MAX: usize = 3_072;

/// Bytes of a node's address at the most: a host name's 253, and a port.
pub const ADDRESS_BYTES_MAX: usize = 260;

/// Members of one group that are written down at the most.
pub const MEMBERS_MAX: usize = 32;

/// Under which name something is known. Encoded: variants are only ever added at the end (A10).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Name {
    /// A node, by its id.
    Node(u64),
    /// Who keeps a shard, by its number; the meta group's own has the number of shards.
    Shard(u16),
    /// A tenant.
    Tenant(TenantId),
    /// An API key, by what the operator calls it.
    ApiKey(String),
    /// A tenant's readable name for an account, without its prefix.
    Alias(TenantId, String),
    /// A table, by its name and the log time from which on it is in force.
    Table(String, Time),
    /// The feature level.
    Level,
}

/// What is known under a name. Encoded: variants are only ever added at the end (A10).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Record {
    /// Nothing any more.
    Gone,
    /// A node.
    Node(NodeRecord),
    /// Who keeps a shard.
    Placement(Placement),
    /// A tenant.
    Tenant(TenantRecord),
    /// An API key.
    ApiKey(ApiKeyRecord),
    /// The account that an alias stands for.
    Alias(AccountId),
    /// A table's content, as whoever reads it wants it.
    Table(String),
    /// A feature level.
    Level(u32),
}

/// A node, as it reports itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct NodeRecord {
    /// What its data directory was born with. An id never comes back with another one.
    pub disk: [u8; 16],
    /// Where it listens for peers and gateways, as `host:port`.
    pub address: String,
    /// The greatest feature level that its release knows.
    pub level_max: u32,
    /// An operator has taken it out of the cluster, for good: whatever it says of itself later changes nothing.
    pub is_retired: bool,
}

/// Who keeps a shard, as its leader reports it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Placement {
    /// The index of the membership in the shard's own log: a later one wins.
    pub index: u64,
    /// Who votes, in the order of their ids.
    pub voters: Vec<u64>,
    /// Who follows without a vote.
    pub learners: Vec<u64>,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct TenantRecord {
    /// What the operator calls it; may be empty.
    pub label: String,
    /// Requests a second that it may send, and at once after a pause; as many as it likes without.
    pub rate: Option<(u32, u32)>,
}

/// An API key: not the key itself, but what recognises it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct ApiKeyRecord {
    /// Whose it is.
    pub tenant: TenantId,
    /// What it may do, a bit for each scope, as gateways read them.
    pub scopes: u8,
    /// Its keyed hash.
    pub mac: [u8; 32],
    /// From when on it is no longer good.
    pub expires: Option<Time>,
}

impl Name {
    /// Whether it has a form that the directory takes, and this record may stand under it: one of its own kind, or, where
    /// somebody may take it away, nothing any more.
    pub(crate) fn takes(&self, record: &Record) -> bool {
        self.is_sound()
            && match (self, record) {
                (
                    Self::Tenant(_) | Self::ApiKey(_) | Self::Alias(..) | Self::Table(..),
                    Record::Gone,
                )
                | (Self::ApiKey(_), Record::ApiKey(_))
                | (Self::Alias(..), Record::Alias(_))
                | (Self::Level, Record::Level(_)) => true,
                (Self::Node(_), Record::Node(node)) => {
                    (1..=ADDRESS_BYTES_MAX).contains(&node.address.len()) && node.level_max > 0
                }
                (Self::Shard(_), Record::Placement(placement)) => placement.is_sound(),
                (Self::Tenant(_), Record::Tenant(tenant)) => tenant.is_sound(),
                (Self::Table(..), Record::Table(content)) => {
                    (1..=TABLE_BYTES_MAX).contains(&content.len())
                }
                // A record of another kind.
                _ => false,
            }
    }

    fn is_sound(&self) -> bool {
        match self {
            Self::Node(_) | Self::Shard(_) | Self::Level => true,
            Self::Tenant(tenant) => *tenant != TenantId(0),
            Self::ApiKey(name) | Self::Alias(_, name) | Self::Table(name, _) => is_name(name),
        }
    }

    /// Whether shards are told of it: what decides in their ledgers; and the nodes and who keeps what, because every node
    /// keeps some shard, and tells whoever asks it for another one where to go.
    pub(crate) const fn is_for_shards(&self) -> bool {
        match self {
            Self::Node(_) | Self::Shard(_) | Self::Table(..) | Self::Level => true,
            Self::Tenant(_) | Self::ApiKey(_) | Self::Alias(..) => false,
        }
    }
}

impl TenantRecord {
    fn is_sound(&self) -> bool {
        let is_positive = |(rate, burst)| rate > 0 && burst > 0;
        self.label.len() <= NAME_BYTES_MAX && self.rate.is_none_or(is_positive)
    }
}

impl Placement {
    fn is_sound(&self) -> bool {
        let are_in_order =
            |nodes: &[u64]| nodes.iter().zip(nodes.iter().skip(1)).all(|(a, b)| a < b);
        !self.voters.is_empty()
            && self.voters.len().saturating_add(self.learners.len()) <= MEMBERS_MAX
            && are_in_order(&self.voters)
            && are_in_order(&self.learners)
    }
}

/// Whether a text can be a name: 1 to [`NAME_BYTES_MAX`] letters, digits, `_`, `-`, `.`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain)
}
