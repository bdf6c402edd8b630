//! A cluster of nodes in one process, on loopback and in temporary directories.

#![allow(
    dead_code,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "test support; each test file uses its part"
)]

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use consensus::{
    Applied, Change, ChangeError, Changed, CheckpointOptions, Leadership, Node, NodeConfig,
    ProposeError, Replica, StopReason, Timing, tune,
};
use futures::StreamExt;
use ledger::{
    AccountId, AccountKind, Amount, Batch, Command, Currency, Key, Request, Shards, Slot, TenantId,
    Time,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

/// Nothing here takes longer, unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for something that must happen.
pub(crate) async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, happens)
        .await
        .unwrap_or_else(|_| panic!("{what}: it did not happen"))
}

pub(crate) struct Running {
    pub(crate) node: Node,
    server: JoinHandle<()>,
}

pub(crate) struct Cluster {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) peers: BTreeMap<u64, String>,
    pub(crate) shards: u16,
    pub(crate) checkpoint: CheckpointOptions,
    pub(crate) nodes: BTreeMap<u64, Running>,
    /// Ports that no other test shall get before the node opens.
    held: Mutex<BTreeMap<u64, TcpListener>>,
}

impl Cluster {
    /// Addresses for a cluster of `count` nodes, none of which runs yet.
    pub(crate) async fn planned(count: u64, shards: u16) -> Self {
        let mut peers = BTreeMap::new();
        let mut held = BTreeMap::new();
        for id in 1..=count {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            peers.insert(id, listener.local_addr().unwrap().to_string());
            held.insert(id, listener);
        }
        let dir = tempfile::tempdir().unwrap();
        let (checkpoint, held) = (CheckpointOptions::default(), Mutex::new(held));
        Self { dir, peers, shards, checkpoint, nodes: BTreeMap::new(), held }
    }

    /// A cluster that has just been made.
    pub(crate) async fn new(count: u64, shards: u16) -> Self {
        Self::planned(count, shards).await.started().await
    }

    /// Starts all nodes at once, and makes the cluster if it is new.
    pub(crate) async fn started(mut self) -> Self {
        self.start_all().await;
        self
    }

    pub(crate) async fn start_all(&mut self) {
        let ids: Vec<u64> =
            self.peers.keys().copied().filter(|id| !self.nodes.contains_key(id)).collect();
        let mut opened = Vec::new();
        for id in ids {
            opened.push((id, self.open(id).await));
        }
        let starting = opened.iter().map(|(_, running)| async {
            running.node.start().await.unwrap();
            running.node.initialize().await.unwrap();
        });
        soon("the cluster starts", futures::future::join_all(starting)).await;
        self.nodes.extend(opened);
    }

    pub(crate) fn data_dir(&self, id: u64) -> PathBuf {
        self.dir.path().join(format!("node-{id}"))
    }

    pub(crate) fn config(&self, id: u64) -> NodeConfig {
        let shards = Shards::new(self.shards).unwrap();
        let mut config = NodeConfig::new(id, self.data_dir(id), self.peers.clone(), shards);
        config.checkpoint = self.checkpoint;
        config.log.segment_bytes = 4 << 20;
        config.timing = Timing {
            election_min_ms: 800,
            election_max_ms: 1_000,
            heartbeat_ms: 100,
            ..config.timing
        };
        config
    }

    /// Opens a node and lets its peers in; it has not started.
    pub(crate) async fn open(&self, id: u64) -> Running {
        let node = Node::open(self.config(id)).await.unwrap();
        self.serve(id, node).await
    }

    /// Lets a node's peers in.
    pub(crate) async fn serve(&self, id: u64, node: Node) -> Running {
        let address: SocketAddr = self.peers[&id].parse().unwrap();
        let held = self.held.lock().unwrap().remove(&id);
        let listener = match held {
            Some(listener) => listener,
            None => TcpListener::bind(address).await.unwrap(),
        };
        let incoming = TcpListenerStream::new(listener).map(|stream| {
            let stream = stream?;
            stream.set_nodelay(true)?;
            std::io::Result::Ok(stream)
        });
        let serving =
            tune(Server::builder()).add_service(node.peer_service()).serve_with_incoming(incoming);
        let server = tokio::spawn(async move { serving.await.unwrap() });
        Running { node, server }
    }

    /// Starts a node that is to join a running cluster, and has a disk of its own.
    pub(crate) async fn join(&mut self, id: u64) -> Result<(), StopReason> {
        self.add_address(id).await;
        let config = NodeConfig { joins: true, ..self.config(id) };
        let running = self.serve(id, Node::open(config).await.unwrap()).await;
        soon("the node starts", running.node.start()).await?;
        self.nodes.insert(id, running);
        Ok(())
    }

    /// Gives a node that was not planned an address.
    pub(crate) async fn add_address(&mut self, id: u64) {
        if self.peers.contains_key(&id) {
            return;
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.peers.insert(id, listener.local_addr().unwrap().to_string());
        self.held.lock().unwrap().insert(id, listener);
    }

    /// Changes a shard, asking whoever leads, until it is done or refused for good.
    pub(crate) async fn change(&self, shard: u16, change: Change) -> Result<Changed, ChangeError> {
        soon("a change is decided", async {
            loop {
                let leader = self.leader(shard).await;
                match self.nodes[&leader].node.change(shard, change.clone()).await {
                    Err(
                        ChangeError::NotLeader { .. }
                        | ChangeError::UnderWay
                        | ChangeError::Behind { .. }
                        | ChangeError::Unknown,
                    ) => tokio::time::sleep(Duration::from_millis(20)).await,
                    decided => return decided,
                }
            }
        })
        .await
    }

    /// Gives a node a replica that votes.
    pub(crate) async fn add_voter(&self, shard: u16, node: u64) {
        let address = self.peers[&node].clone();
        self.change(shard, Change::AddLearner { node, address }).await.unwrap();
        self.change(shard, Change::Voters { add: Some(node), remove: None }).await.unwrap();
    }

    /// Takes a node's replica away; it does not lead.
    pub(crate) async fn remove(&self, shard: u16, node: u64) {
        self.change(shard, Change::Voters { add: None, remove: Some(node) }).await.unwrap();
        self.change(shard, Change::Remove { node }).await.unwrap();
    }

    /// Starts a node that is part of a running cluster.
    pub(crate) async fn start(&mut self, id: u64) -> Result<(), StopReason> {
        let running = self.open(id).await;
        let started = soon("the node starts", running.node.start()).await;
        if started.is_err() {
            running.stop().await;
            return started;
        }
        self.nodes.insert(id, running);
        Ok(())
    }

    /// Takes a node down in good order.
    pub(crate) async fn stop(&mut self, id: u64) {
        self.nodes.remove(&id).unwrap().stop().await;
    }

    pub(crate) async fn stop_all(&mut self) {
        for (_, running) in std::mem::take(&mut self.nodes) {
            running.stop().await;
        }
    }

    pub(crate) fn replica(&self, id: u64, shard: u16) -> Arc<Replica> {
        self.nodes[&id].node.replica(shard).unwrap()
    }

    /// The node that leads a shard, once one does.
    pub(crate) async fn leader(&self, shard: u16) -> u64 {
        let replicas =
            self.nodes.iter().filter_map(|(id, running)| Some((*id, running.node.replica(shard)?)));
        let watching = replicas.map(|(id, replica)| {
            let mut leadership = replica.leadership();
            Box::pin(async move {
                if leadership.wait_for(|now| now.leads).await.is_err() {
                    // The node keeps it no more.
                    std::future::pending::<()>().await;
                }
                id
            })
        });
        soon("somebody leads", futures::future::select_all(watching)).await.0
    }

    /// Proposes to whoever leads, until it is applied. Only what was certainly not proposed is tried again.
    pub(crate) async fn propose(&self, shard: u16, batch: &Batch) -> Applied {
        let bytes = Bytes::from(batch.encode().unwrap());
        soon("a proposal is applied", async {
            loop {
                let leader = self.leader(shard).await;
                match self.replica(leader, shard).propose(bytes.clone()).await {
                    Ok(applied) => return applied,
                    Err(ProposeError::NotProposed { .. }) => tokio::task::yield_now().await,
                    Err(ProposeError::Unknown) => panic!("the outcome is unknown"),
                }
            }
        })
        .await
    }

    /// Waits until every running node has applied an entry.
    pub(crate) async fn applied_everywhere(&self, shard: u16, index: u64) {
        for id in self.nodes.keys() {
            soon("a replica applies", self.replica(*id, shard).applied(index)).await.unwrap();
        }
    }

    /// Whether all running replicas add up to the same.
    pub(crate) fn agree(&self, shard: u16) {
        let digests: BTreeMap<u64, (u64, u128)> = self
            .nodes
            .keys()
            .map(|id| {
                (
                    *id,
                    self.replica(*id, shard)
                        .with_ledger(|ledger| (ledger.index(), ledger.digest())),
                )
            })
            .collect();
        let mut values = digests.values();
        let first = values.next().unwrap();
        assert!(values.all(|digest| digest == first), "{digests:?}");
    }
}

impl Running {
    pub(crate) async fn stop(self) {
        self.server.abort();
        let _aborted = self.server.await;
        soon("the node goes down", self.node.shutdown()).await;
    }
}

/// Waits until a replica's leadership is as wanted.
pub(crate) async fn until(
    replica: &Replica,
    wanted: impl FnMut(&Leadership) -> bool,
) -> Leadership {
    let mut leadership = replica.leadership();
    *soon("the leadership changes", leadership.wait_for(wanted)).await.unwrap()
}

/// Waits until something holds that nobody announces, looking again and again.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    soon(what, async {
        let mut look = tokio::time::interval(Duration::from_millis(5));
        while !holds() {
            look.tick().await;
        }
    })
    .await;
}

/// An account of shard 0 in a cluster of one shard, by number.
pub(crate) fn account(number: u16) -> AccountId {
    AccountId::in_slot(u128::from(number) << 16, Slot::new(number % 4_096).unwrap())
}

/// A key of the given number, made at a log time.
pub(crate) fn key(number: u64, at_ms: u64) -> Key {
    let bits = u128::from(at_ms) << 80 | 7 << 76 | 2 << 62 | u128::from(number);
    Key::from_uuid_v7(bits).unwrap()
}

pub(crate) fn yuan() -> Currency {
    Currency::from_code("CNY").unwrap()
}

pub(crate) fn request(key: Key, command: Command) -> Request {
    Request { key, tenant: TenantId(1), command }
}

/// Opens an account with money in it.
pub(crate) fn open(key: Key, number: u16, minor: u64) -> Request {
    let opening = Amount::from_minor(minor).ok();
    let account = account(number);
    request(key, Command::Open { account, currency: yuan(), kind: AccountKind::Wallet, opening })
}

/// Moves money.
pub(crate) fn transfer(key: Key, debit: u16, credit: u16, minor: u64) -> Request {
    let amount = Amount::from_minor(minor).unwrap();
    let (debit, credit) = (account(debit), account(credit));
    request(key, Command::Transfer { debit, credit, amount, currency: yuan() })
}

/// Some time.
pub(crate) const NOON: u64 = 1_800_000_000_000;

/// A batch with a stamp.
pub(crate) fn batch(at_ms: u64, requests: Vec<Request>) -> Batch {
    Batch::new(Time(at_ms), requests).unwrap()
}

/// The answers of one shard that waits for no other.
pub(crate) fn answers(applied: &Applied) -> Vec<ledger::Answer> {
    let answers = applied.decided.answers.iter();
    answers.map(|answer| answer.now().expect("nothing here waits for another shard")).collect()
}
