//! A cluster of the run's own: real node processes and a gateway on this machine, with their data in the run's folder.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Serialize;

use super::args::Store;
use super::process::{Process, Usage};
use super::status;

/// How long a cluster may take to be ready: an election, and no data to read.
const READY_MAX: Duration = Duration::from_secs(60);

/// How often it is asked.
const READY_LOOK: Duration = Duration::from_millis(50);

/// Which process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// A node, by its id.
    Node(u64),
    /// The gateway.
    Gateway,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(id) => write!(f, "n{id}"),
            Self::Gateway => f.write_str("gateway"),
        }
    }
}

/// The processes of a cluster. Dropped, it kills them.
#[derive(Debug)]
pub(crate) struct Cluster {
    dir: PathBuf,
    shards: u16,
    gateway: String,
    nodes: BTreeMap<u64, String>,
    processes: RefCell<BTreeMap<Role, Process>>,
}

/// As `cluster-config/*.toml`.
#[derive(Serialize)]
struct Topology<'a> {
    name: &'a str,
    shards: u16,
    nodes: Vec<Node>,
    gateways: Vec<Gateway>,
    store: StoreKind,
    tls: Tls,
}

#[derive(Serialize)]
struct Node {
    id: u64,
    grpc: String,
}

#[derive(Serialize)]
struct Gateway {
    grpc: String,
}

#[derive(Serialize)]
struct Tls {
    plaintext: bool,
}

#[derive(Serialize)]
struct StoreKind {
    kind: Store,
}

impl Cluster {
    /// Writes down a cluster on free ports; nothing runs yet. `program` is `paycore` itself.
    pub(super) fn lay_out(
        program: &Path,
        dir: &Path,
        nodes: u8,
        shards: u16,
        store: Store,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir.join("logs"))?;
        let mut ports = free_ports(usize::from(nodes).saturating_add(1))?.into_iter();
        let mut address =
            || ports.next().map(|port| format!("127.0.0.1:{port}")).context("a free port");
        let mut listed = Vec::new();
        for id in 1..=u64::from(nodes) {
            listed.push(Node { id, grpc: address()? });
        }
        let gateway = Gateway { grpc: address()? };
        let mut cluster = Self {
            dir: dir.to_owned(),
            shards,
            gateway: gateway.grpc.clone(),
            nodes: listed.iter().map(|node| (node.id, node.grpc.clone())).collect(),
            processes: RefCell::default(),
        };
        let topology = Topology {
            name: "bench",
            shards,
            nodes: listed,
            gateways: vec![gateway],
            store: StoreKind { kind: store },
            tls: Tls { plaintext: true },
        };
        std::fs::write(cluster.topology(), toml::to_string(&topology)?)?;
        cluster.add_processes(program)?;
        Ok(cluster)
    }

    fn add_processes(&mut self, program: &Path) -> anyhow::Result<()> {
        let roles: Vec<Role> = self.nodes().map(Role::Node).chain([Role::Gateway]).collect();
        for role in roles {
            let log = self.dir.join("logs").join(format!("{role}.log"));
            let process = Process::new(program.to_owned(), self.command_line(role)?, log);
            self.processes.get_mut().insert(role, process);
        }
        Ok(())
    }

    fn command_line(&self, role: Role) -> anyhow::Result<Vec<String>> {
        let topology = text(&self.topology())?;
        let words = match role {
            Role::Node(id) => {
                let data = text(&self.data(id))?;
                vec![
                    "node".into(),
                    "--topology".into(),
                    topology,
                    "--id".into(),
                    id.to_string(),
                    "--data".into(),
                    data,
                ]
            }
            Role::Gateway => vec!["gateway".into(), "--topology".into(), topology],
        };
        Ok(words)
    }

    /// Starts everything.
    pub(super) fn start_all(&self) -> anyhow::Result<()> {
        for process in self.processes.borrow_mut().values_mut() {
            process.start()?;
        }
        Ok(())
    }

    /// Waits until every shard has a leader, and the gateway finds it.
    pub(super) async fn ready(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let Some(not_yet) = self.not_ready().await else { return Ok(()) };
            if let Some((role, how)) = self.died().into_iter().next() {
                bail!("{role} ended: {how}; see {}", self.log(role).display());
            }
            if began.elapsed() > READY_MAX {
                bail!("the cluster is not ready after {} s: {not_yet}", READY_MAX.as_secs());
            }
            tokio::time::sleep(READY_LOOK).await;
        }
    }

    async fn not_ready(&self) -> Option<String> {
        let mut led = 0;
        for shard in 0..self.shards {
            led = u16::saturating_add(led, u16::from(self.leader_of(shard).await.is_some()));
        }
        if led < self.shards {
            return Some(format!("{led} of {} shards have a leader", self.shards));
        }
        status::gateway_answers(&self.gateway)
            .await
            .err()
            .map(|why| format!("the gateway: {why:#}"))
    }

    /// The node that leads shard 0.
    pub(super) async fn leader(&self) -> Option<u64> {
        self.leader_of(0).await
    }

    async fn leader_of(&self, shard: u16) -> Option<u64> {
        for (id, address) in &self.nodes {
            let status = status::ask(address, &[shard]).await;
            if status.is_ok_and(|statuses| statuses.iter().any(|(_, status)| status.leads)) {
                return Some(*id);
            }
        }
        None
    }

    /// Kills a process. Gives the id that it had; `None` when it did not run.
    pub(super) fn kill(&self, role: Role) -> anyhow::Result<Option<u32>> {
        self.process(role, Process::kill)?
    }

    /// Starts a process that does not run. Gives its id.
    pub(super) fn start(&self, role: Role) -> anyhow::Result<u32> {
        self.process(role, Process::start)?
    }

    fn process<T>(&self, role: Role, change: impl FnOnce(&mut Process) -> T) -> anyhow::Result<T> {
        let mut processes = self.processes.borrow_mut();
        Ok(change(processes.get_mut(&role).with_context(|| format!("there is no {role}"))?))
    }

    /// Processes that ended without being told to, and how.
    pub(super) fn died(&self) -> Vec<(Role, String)> {
        let mut processes = self.processes.borrow_mut();
        let died = processes.iter_mut().flat_map(|(role, process)| {
            process.died().into_iter().map(|how| (*role, how.to_string()))
        });
        died.collect()
    }

    /// Stops everything: the gateway first, so that nothing new comes in.
    pub(super) async fn stop_all(&self) -> anyhow::Result<()> {
        // Taken out, because waiting must not hold them: nobody else touches them any more.
        let mut processes = std::mem::take(&mut *self.processes.borrow_mut());
        for roles in [vec![Role::Gateway], self.nodes().map(Role::Node).collect()] {
            for role in &roles {
                if let Some(process) = processes.get(role) {
                    process.ask_to_stop();
                }
            }
            for role in &roles {
                if let Some(process) = processes.get_mut(role) {
                    process.stopped().await?;
                }
            }
        }
        Ok(())
    }

    /// What each process used.
    pub(super) fn usage(&self) -> BTreeMap<String, Usage> {
        let processes = self.processes.borrow();
        processes.iter().map(|(role, process)| (role.to_string(), process.usage())).collect()
    }

    /// Bytes on disk that each node takes.
    pub(super) fn disk_bytes(&self) -> BTreeMap<String, u64> {
        self.nodes().map(|id| (Role::Node(id).to_string(), bytes_below(&self.data(id)))).collect()
    }

    /// Removes what the nodes kept. They have stopped.
    pub(super) fn remove_data(&self) -> anyhow::Result<()> {
        let data = self.dir.join("data");
        std::fs::remove_dir_all(&data).with_context(|| format!("removing {}", data.display()))
    }

    /// The nodes' ids.
    pub(super) fn nodes(&self) -> impl Iterator<Item = u64> + '_ {
        self.nodes.keys().copied()
    }

    /// The nodes' gRPC addresses.
    pub(super) const fn addresses(&self) -> &BTreeMap<u64, String> {
        &self.nodes
    }

    /// The gateway's gRPC address.
    pub(super) fn gateway(&self) -> &str {
        &self.gateway
    }

    fn topology(&self) -> PathBuf {
        self.dir.join("cluster.toml")
    }

    fn data(&self, id: u64) -> PathBuf {
        self.dir.join("data").join(Role::Node(id).to_string())
    }

    fn log(&self, role: Role) -> PathBuf {
        self.dir.join("logs").join(format!("{role}.log"))
    }
}

fn text(path: &Path) -> anyhow::Result<String> {
    path.to_str().map(str::to_owned).with_context(|| format!("{} is no UTF-8", path.display()))
}

/// Ports that nobody has. Somebody may take one before we do; then the process that was to have it says so.
fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    let sockets: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    sockets.iter().map(|socket| Ok(socket.local_addr()?.port())).collect()
}

/// What a directory takes on disk. Files may come and go meanwhile; what cannot be read counts nothing.
fn bytes_below(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let bytes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(about) if about.is_dir() => bytes_below(&entry.path()),
        Ok(about) => about.blocks().saturating_mul(512),
        Err(_) => 0,
    });
    bytes.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_laid_out_is_a_topology() {
        let dir = tempfile::tempdir().unwrap();
        let cluster =
            Cluster::lay_out(Path::new("paycore"), dir.path(), 3, 16, Store::Memory).unwrap();
        let read = crate::config::Topology::load(&cluster.topology()).unwrap();
        assert_eq!((&read.peers(), read.shards().count()), (cluster.addresses(), 16));
        assert_eq!(read.gateways.len(), 1);
    }
}
