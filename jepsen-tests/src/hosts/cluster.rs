//! The cluster under test: its topology, its processes, and what its own command line says of it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use client::{Client, Tls};
use rustix::process::Signal;
use serde::Deserialize;

use super::Role;
use super::disks::{Disks, FREE_BYTES_MIN};
use super::net::{Net, ip};
use super::process::Process;
use super::proxy::Proxies;
use super::shell::{run, text};
use super::wires::Wires;

/// How long a cluster may take until every shard is led.
const READY_MAX: Duration = Duration::from_secs(120);

/// How long a shard may be without a leader until it is not looked for any more.
const ELECTED_MAX: Duration = Duration::from_secs(15);

/// How often it is asked.
const READY_LOOK: Duration = Duration::from_millis(200);

/// How long a command of the operator may take.
const COMMAND_MAX: &str = "60s";

/// Small enough that a run of half a minute writes checkpoints.
const CHECKPOINT_BYTES: u64 = 64 << 10;

/// On a small disk, segments of the log are small too.
const SEGMENT_BYTES: u64 = 4 << 20;

/// The most nodes that a topology names.
const TOPOLOGY_NODES_MAX: u64 = 9;

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The binary under test.
    pub(crate) binary: PathBuf,
    /// The run's folder.
    pub(crate) dir: PathBuf,
    /// Shards of accounts.
    pub(crate) shards: u16,
    /// Nodes at the beginning.
    pub(crate) nodes: u64,
    /// Gateways.
    pub(crate) gateways: u64,
    /// Namespaces; loopback without.
    pub(crate) net: Option<Net>,
    /// Whether each node has a disk of its own.
    pub(crate) has_disks: bool,
}

/// What `paycore cluster status` says.
#[derive(Debug, Deserialize)]
pub(crate) struct Status {
    /// Every node.
    pub(crate) nodes: Vec<NodeStatus>,
    /// Every shard, the meta group among them.
    pub(crate) shards: Vec<ShardStatus>,
}

/// A node.
#[derive(Debug, Deserialize)]
pub(crate) struct NodeStatus {
    /// Its id.
    pub(crate) node: u64,
    /// Whether it answers.
    pub(crate) up: bool,
    /// What is wrong with its clock.
    pub(crate) clock_alarm: Option<String>,
    /// What is free on its disk, as it says.
    pub(crate) free_bytes: Option<u64>,
}

/// A shard.
#[derive(Debug, Deserialize)]
pub(crate) struct ShardStatus {
    /// Which.
    pub(crate) shard: u16,
    /// Who leads.
    pub(crate) leader: Option<u64>,
    /// Who keeps it.
    pub(crate) replicas: Vec<ReplicaStatus>,
}

/// A replica.
#[derive(Debug, Deserialize)]
pub(crate) struct ReplicaStatus {
    /// On which node.
    pub(crate) node: u64,
}

/// The processes. Dropped, they are killed.
#[derive(Debug)]
pub(crate) struct Cluster {
    plan: Plan,
    wires: Wires,
    addresses: BTreeMap<Role, String>,
    /// Where nodes listen whom others reach through a proxy.
    behind: BTreeMap<Role, SocketAddr>,
    /// The nodes that belong to it now.
    members: RefCell<BTreeSet<u64>>,
    processes: RefCell<BTreeMap<Role, Process>>,
    /// Dropped after the processes that use them.
    disks: Option<Disks>,
}

impl Status {
    /// How many shards a node leads.
    pub(crate) fn led_by(&self, node: u64) -> usize {
        self.shards.iter().filter(|shard| shard.leader == Some(node)).count()
    }

    /// How many replicas a node keeps.
    pub(crate) fn kept_by(&self, node: u64) -> usize {
        let keeps = |shard: &&ShardStatus| shard.replicas.iter().any(|at| at.node == node);
        self.shards.iter().filter(keeps).count()
    }
}

impl Cluster {
    /// Writes down a cluster, and makes what its processes live in; nothing runs yet. `spare` nodes can join later.
    ///
    /// # Errors
    /// When files or namespaces cannot be made.
    pub(crate) fn lay_out(plan: Plan, spare: u64) -> anyhow::Result<Self> {
        std::fs::create_dir_all(plan.dir.join("logs"))?;
        std::fs::create_dir_all(plan.dir.join("data"))?;
        let last = plan.nodes.saturating_add(spare);
        let nodes = (1..=last).map(Role::Node);
        let roles: Vec<Role> = nodes.chain((1..=plan.gateways).map(Role::Gateway)).collect();
        let (wires, addresses, behind) = match &plan.net {
            Some(net) => {
                let later = |role: &&Role| matches!(role, Role::Node(id) if *id > plan.nodes);
                roles.iter().filter(|role| !later(role)).try_for_each(|role| net.join(*role))?;
                let address = |role: &Role| (*role, format!("{}:7100", ip(*role)));
                let addresses = roles.iter().map(address).collect();
                (Wires::Net(net.clone()), addresses, BTreeMap::new())
            }
            None => on_loopback(&roles)?,
        };
        let disks = plan.has_disks.then(|| Disks::create(plan.dir.join("disks"))).transpose()?;
        let members = RefCell::new((1..=plan.nodes).collect());
        let processes = RefCell::default();
        let cluster = Self { plan, wires, addresses, behind, members, processes, disks };
        if cluster.plan.net.is_some() {
            cluster.make_certificates(last)?;
        }
        cluster.write_topology(cluster.nodes())?;
        for role in roles {
            cluster.add(role);
        }
        if let Some(disks) = &cluster.disks {
            cluster.nodes().into_iter().try_for_each(|node| disks.give(node))?;
        }
        Ok(cluster)
    }

    /// Makes certificates for everybody who is, or may be: the first so many nodes. A topology names few nodes, so that
    /// there are several authorities, each of which everybody trusts.
    fn make_certificates(&self, nodes: u64) -> anyhow::Result<()> {
        let all = self.plan.dir.join("certs");
        std::fs::create_dir(&all)?;
        let mut authorities = String::new();
        let mut next = 1;
        while next <= nodes {
            let last = nodes.min(next.saturating_add(TOPOLOGY_NODES_MAX).saturating_sub(1));
            self.write_topology(next..=last)?;
            let made = self.plan.dir.join(format!("certs-{next}"));
            let (topology, binary) = (text(&self.topology()), text(&self.plan.binary));
            run(&[&binary, "config", "certs", "--out", &text(&made), "--topology", &topology])?;
            authorities.push_str(&std::fs::read_to_string(made.join("ca.pem"))?);
            for file in std::fs::read_dir(&made)? {
                let file = file?;
                // Gateways and the operator have theirs from the first authority.
                if next == 1 || file.file_name().to_string_lossy().starts_with("node-") {
                    std::fs::rename(file.path(), all.join(file.file_name()))?;
                }
            }
            std::fs::remove_dir_all(made)?;
            next = last.saturating_add(1);
        }
        std::fs::write(all.join("ca.pem"), authorities).context("writing who is trusted")
    }

    /// Starts a node that is to join, with an empty disk. Gives its process's id.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn join(&self, node: u64) -> anyhow::Result<u32> {
        if let Some(net) = &self.plan.net {
            net.join(Role::Node(node))?;
        }
        if let Some(disks) = &self.disks {
            disks.give(node)?;
        }
        self.write_topology(self.nodes().into_iter().chain([node]))?;
        self.process(Role::Node(node), Process::start)?
    }

    /// A node belongs to the cluster no more, and another perhaps does.
    ///
    /// # Errors
    /// When its process cannot be ended, or the topology not be written.
    pub(crate) fn forget(&self, gone: u64, instead: Option<u64>) -> anyhow::Result<()> {
        self.process(Role::Node(gone), Process::kill)??;
        {
            let mut members = self.members.borrow_mut();
            members.remove(&gone);
            members.extend(instead);
        }
        self.write_topology(self.nodes())
    }

    /// Names these nodes, and all gateways.
    fn write_topology(&self, nodes: impl IntoIterator<Item = u64>) -> anyhow::Result<()> {
        let addresses = &self.addresses;
        let mut text = format!("name = \"jepsen\"\nshards = {}\n", self.plan.shards);
        for id in nodes {
            let address = addresses.get(&Role::Node(id)).context("a node has an address")?;
            let _ = write!(text, "\n[[nodes]]\nid = {id}\ngrpc = \"{address}\"\n");
        }
        for number in 1..=self.plan.gateways {
            let address = addresses.get(&Role::Gateway(number)).context("so has a gateway")?;
            let _ = write!(text, "\n[[gateways]]\ngrpc = \"{address}\"\n");
        }
        let _ = write!(text, "\n[store]\ncheckpoint_log_bytes = {CHECKPOINT_BYTES}\n");
        if self.disks.is_some() {
            let _ = writeln!(text, "log_segment_bytes = {SEGMENT_BYTES}");
            let _ = write!(text, "free_bytes_min = {FREE_BYTES_MIN}\nfree_percent_min = 0\n");
        }
        text.push_str(match self.plan.net {
            Some(_) => {
                "\n[tls]\nca = \"certs/ca.pem\"\ncert = \"certs/{id}.pem\"\nkey = \"certs/{id}.key\"\n\
                 clients = \"optional\"\n"
            }
            None => "\n[tls]\nplaintext = true\n",
        });
        std::fs::write(self.topology(), text).context("writing the topology")
    }

    fn add(&self, role: Role) {
        let mut words = Vec::new();
        if let Some(net) = &self.plan.net {
            words.extend(["ip", "netns", "exec"].map(str::to_owned));
            words.push(net.of(role));
        }
        words.push(text(&self.plan.binary));
        let topology = text(&self.topology());
        match role {
            Role::Node(id) => {
                words.extend(["node".to_owned(), "--topology".to_owned(), topology]);
                words.extend(["--id".to_owned(), id.to_string()]);
                words.extend(["--data".to_owned(), text(&self.data(id))]);
                words.extend((id > self.plan.nodes).then(|| "--join".to_owned()));
                if let Some(behind) = self.behind.get(&role) {
                    words.extend(["--listen".to_owned(), behind.to_string()]);
                }
            }
            Role::Gateway(number) => {
                words.extend(["gateway".to_owned(), "--topology".to_owned(), topology]);
                words.extend(["--number".to_owned(), number.to_string(), "--open".to_owned()]);
            }
        }
        let log = self.plan.dir.join("logs").join(format!("{role}.log"));
        let clock = ("PAYCORE_CLOCK_FILE".to_owned(), text(&self.clock_file(role)));
        self.processes.borrow_mut().insert(role, Process::new(words, vec![clock], log));
    }

    /// Starts the nodes and the gateways, and waits until every shard is led and every gateway answers.
    ///
    /// # Errors
    /// When that takes too long.
    pub(crate) async fn start(&self) -> anyhow::Result<()> {
        for role in self.roles() {
            self.process(role, Process::start)??;
        }
        let began = Instant::now();
        loop {
            match self.is_ready().await {
                Ok(true) => return Ok(()),
                Ok(false) | Err(_) if began.elapsed() < READY_MAX => {}
                Ok(false) => anyhow::bail!("no leader of every shard after {READY_MAX:?}"),
                Err(why) => return Err(why.context(format!("not ready after {READY_MAX:?}"))),
            }
            tokio::time::sleep(READY_LOOK).await;
        }
    }

    async fn is_ready(&self) -> anyhow::Result<bool> {
        let status = self.status().await?;
        let led = status.shards.iter().filter(|shard| shard.leader.is_some()).count();
        if led < usize::from(self.plan.shards).saturating_add(1) {
            return Ok(false);
        }
        for number in 1..=self.plan.gateways {
            let client = self.client(number)?.with_timeout(Duration::from_secs(2));
            if client.audit().await.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The processes that belong to the cluster.
    pub(crate) fn roles(&self) -> Vec<Role> {
        let nodes = self.nodes().into_iter().map(Role::Node);
        nodes.chain((1..=self.plan.gateways).map(Role::Gateway)).collect()
    }

    /// The nodes that belong to it.
    pub(crate) fn nodes(&self) -> Vec<u64> {
        self.members.borrow().iter().copied().collect()
    }

    /// What it is made of.
    pub(crate) const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Where a process listens.
    pub(crate) fn address(&self, role: Role) -> Option<String> {
        self.addresses.get(&role).cloned()
    }

    /// Does something to a process.
    pub(crate) fn process<T>(
        &self,
        role: Role,
        change: impl FnOnce(&mut Process) -> T,
    ) -> anyhow::Result<T> {
        let mut processes = self.processes.borrow_mut();
        let process = processes.get_mut(&role).with_context(|| format!("there is no {role}"))?;
        let changed = change(process);
        if let (Wires::Proxies(proxies), Some(pid)) = (&self.wires, process.pid()) {
            proxies.know(role, pid);
        }
        Ok(changed)
    }

    /// The nodes' own disks.
    ///
    /// # Errors
    /// When they have none.
    pub(crate) fn disks(&self) -> anyhow::Result<&Disks> {
        self.disks.as_ref().context("nodes have no disks of their own here")
    }

    /// What joins the processes.
    pub(crate) const fn wires(&self) -> &Wires {
        &self.wires
    }

    /// A client of a gateway; it connects when it is first used, and again whenever that broke.
    pub(crate) fn client(&self, gateway: u64) -> anyhow::Result<Client> {
        let address = self.address(Role::Gateway(gateway)).context("there is no such gateway")?;
        if self.plan.net.is_none() {
            return Ok(Client::connect_lazy(format!("http://{address}"))?);
        }
        let authority = std::fs::read(self.plan.dir.join("certs/ca.pem"))?;
        Ok(Client::connect_lazy_tls(format!("https://{address}"), Tls::trusting(&authority))?)
    }

    /// What the command line says of the cluster.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) async fn status(&self) -> anyhow::Result<Status> {
        let said = self.command(&["status", "-o", "json"]).await?;
        Ok(serde_json::from_str(&said)?)
    }

    /// Who leads a shard, once somebody does.
    ///
    /// # Errors
    /// When nobody does for long.
    pub(crate) async fn leader(&self, shard: u16) -> anyhow::Result<u64> {
        let began = Instant::now();
        loop {
            let status = self.status().await?;
            let found = status.shards.iter().find(|at| at.shard == shard);
            if let Some(leader) = found.and_then(|at| at.leader) {
                return Ok(leader);
            }
            anyhow::ensure!(began.elapsed() < ELECTED_MAX, "nobody leads shard {shard}");
            tokio::time::sleep(READY_LOOK).await;
        }
    }

    /// Runs `paycore cluster …`.
    ///
    /// # Errors
    /// With what it said.
    pub(crate) async fn command(&self, words: &[&str]) -> anyhow::Result<String> {
        let (topology, binary) = (text(&self.topology()), &self.plan.binary);
        let output = tokio::process::Command::new(binary)
            .arg("cluster")
            .args(words)
            .args(["--topology", &topology, "--timeout", COMMAND_MAX])
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("running {}", binary.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "cluster {}: {}", words.join(" "), said.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Stops everything, the gateways first.
    pub(crate) async fn stop(&self) -> anyhow::Result<()> {
        // Taken out, because waiting must not hold them: nobody else touches them any more.
        let mut processes = std::mem::take(&mut *self.processes.borrow_mut());
        for process in processes.values_mut().rev() {
            // One that is paused hears nothing; one that does not run needs not.
            let _ = process.signal(Signal::CONT);
            process.stop().await?;
        }
        *self.processes.borrow_mut() = processes;
        self.disks.as_ref().map_or(Ok(()), |disks| disks.keep(&self.plan.dir.join("data")))
    }

    /// Every process that ended by itself, and how.
    pub(crate) fn deaths(&self) -> Vec<String> {
        let mut processes = self.processes.borrow_mut();
        let died = processes.iter_mut().flat_map(|(role, process)| {
            let log = process.log().display().to_string();
            let deaths = process.deaths().iter();
            deaths
                .map(|how| format!("{role} ended by itself: {how}; see {log}"))
                .collect::<Vec<_>>()
        });
        died.collect()
    }

    /// The topology's file.
    pub(crate) fn topology(&self) -> PathBuf {
        self.plan.dir.join("cluster.toml")
    }

    /// Where a node keeps what it knows.
    pub(crate) fn data(&self, id: u64) -> PathBuf {
        if let Some(disks) = &self.disks {
            return disks.data(id);
        }
        self.plan.dir.join("data").join(format!("n{id}"))
    }

    /// The file that says how wrong a process's clock is; only a planted build reads it.
    pub(crate) fn clock_file(&self, role: Role) -> PathBuf {
        self.plan.dir.join(format!("{role}.clock"))
    }
}

/// What joins the processes, where others reach each, and where those listen that are reached through a proxy.
type Places = (Wires, BTreeMap<Role, String>, BTreeMap<Role, SocketAddr>);

/// Ports of this machine for everybody; a proxy before every node. Somebody else may take one before we do; then the
/// process that was to have it says so.
fn on_loopback(roles: &[Role]) -> anyhow::Result<Places> {
    let proxies = Proxies::new();
    let (mut addresses, mut behind) = (BTreeMap::new(), BTreeMap::new());
    let mut sockets = Vec::new();
    for role in roles {
        let socket = TcpListener::bind("127.0.0.1:0")?;
        let address = socket.local_addr()?;
        match role {
            Role::Node(_) => {
                let door = TcpListener::bind("127.0.0.1:0")?;
                addresses.insert(*role, door.local_addr()?.to_string());
                proxies.stand_before(*role, door, address)?;
                behind.insert(*role, address);
            }
            Role::Gateway(_) => {
                addresses.insert(*role, address.to_string());
            }
        }
        sockets.push(socket);
    }
    Ok((Wires::Proxies(proxies), addresses, behind))
}
