//! A cluster of real processes: nodes and a gateway, each the binary itself, with files on the disk.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that cannot go on has failed; each test file uses its part"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use wire::proto::cluster::read_reply::Answer;
use wire::proto::cluster::read_request::Question;
use wire::proto::cluster::shard_client::ShardClient;
use wire::proto::cluster::{ReadRequest, ReplicaStatus, StatusQuestion};

/// What is tested. Nodes and gateways are of `PAYCORE_TEST_BINARY`, when that names another build of it: long campaigns
/// run on what is released.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_paycore");

/// As long as anything here may take on a machine that has other work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// How a node ends that an operator has restarted.
const ASKS_TO_BE_RESTARTED: i32 = 75;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Waits for a condition; `what` says which when it does not come.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(LOOK);
    }
}

/// A cluster. Dropped, it is killed.
pub(crate) struct Cluster {
    program: PathBuf,
    pub(crate) home: tempfile::TempDir,
    topology: PathBuf,
    addresses: BTreeMap<u64, String>,
    nodes: BTreeMap<u64, Child>,
    /// Nodes that are started with `--join`.
    joining: BTreeSet<u64>,
    gateway: Option<Child>,
    pub(crate) endpoint: String,
    /// How a gateway of a cluster with TLS speaks to its nodes.
    tls: Option<ClientTlsConfig>,
    /// The gateway's HTTP door.
    pub(crate) http: String,
    /// The gateway's own flags.
    flags: Vec<String>,
    /// Every process's admin port, by the process's name.
    admin: BTreeMap<String, String>,
    /// What is in every process's environment.
    environment: Vec<(String, String)>,
    runtime: tokio::runtime::Runtime,
}

impl Cluster {
    /// Starts what one of the project's topologies describes, on ports that are free, with `more` at its end.
    pub(crate) fn start(file: &str, more: &str) -> Self {
        Self::start_of(file, 1, more)
    }

    /// The same, with variables in every process's environment.
    pub(crate) fn start_in(file: &str, more: &str, environment: &[(&str, &str)]) -> Self {
        let mut cluster = Self::lay_out(file, |text| text + more);
        let environment = environment.iter();
        cluster.environment =
            environment.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        cluster.start_all(|_| Vec::new());
        cluster
    }

    /// The same, with so many shards.
    pub(crate) fn start_of(file: &str, shards: u16, more: &str) -> Self {
        let many = format!("shards = {shards}\n");
        let mut cluster = Self::lay_out(file, |text| text.replace("shards = 1\n", &many) + more);
        cluster.start_all(|_| Vec::new());
        cluster
    }

    /// The same; before anything is started, `prepare` sees the directory in which each node's own will be.
    pub(crate) fn start_prepared(file: &str, more: &str, prepare: impl FnOnce(&Path)) -> Self {
        let mut cluster = Self::lay_out(file, |text| text + more);
        prepare(cluster.home.path());
        cluster.start_all(|_| Vec::new());
        cluster
    }

    /// The same, of another build of the binary. Each process finds in its environment what it is called, and a folder
    /// for failpoints.
    pub(crate) fn start_program(program: &Path, file: &str, shards: u16, more: &str) -> Self {
        let many = format!("shards = {shards}\n");
        let mut cluster = Self::lay_out(file, |text| text.replace("shards = 1\n", &many) + more);
        cluster.program = program.to_owned();
        cluster.start_all(|_| Vec::new());
        cluster
    }

    /// The same, with a bug on purpose: of a planted build.
    pub(crate) fn start_planted(
        (program, plant): (&Path, &str),
        file: &str,
        shards: u16,
        more: &str,
    ) -> Self {
        let many = format!("shards = {shards}\n");
        let mut cluster = Self::lay_out(file, |text| text.replace("shards = 1\n", &many) + more);
        cluster.program = program.to_owned();
        cluster.environment = vec![("PAYCORE_PLANT".to_owned(), plant.to_owned())];
        cluster.start_all(|_| Vec::new());
        cluster
    }

    /// The same, with flags for the gateway; they are chosen when the cluster's directory is there.
    pub(crate) fn start_with(
        file: &str,
        more: &str,
        flags: impl FnOnce(&Path) -> Vec<String>,
    ) -> Self {
        let mut cluster = Self::lay_out(file, |text| text + more);
        cluster.start_all(flags);
        cluster
    }

    /// The same, of a topology that somebody changes first.
    pub(crate) fn start_edited(
        file: &str,
        edit: impl FnOnce(String) -> String,
        flags: impl FnOnce(&Path) -> Vec<String>,
    ) -> Self {
        let mut cluster = Self::lay_out(file, edit);
        cluster.start_all(flags);
        cluster
    }

    /// A cluster of so many nodes and shards, whose nodes' directories somebody prepares before they are started; what he
    /// gives are the gateway's flags.
    pub(crate) fn prepared(
        file: &str,
        (nodes, shards): (u64, u16),
        prepare: impl FnOnce(&Self) -> Vec<String>,
    ) -> Self {
        let many = format!("shards = {shards}\n");
        let mut cluster = Self::lay_out(file, |text| text.replace("shards = 1\n", &many));
        let first = u64::try_from(cluster.addresses.len()).unwrap() + 1;
        for id in first..=nodes {
            cluster.name_node(id);
        }
        cluster.joining.clear();
        let flags = prepare(&cluster);
        cluster.start_all(|_| flags);
        cluster
    }

    /// The same with TLS and certificates of its own. `clients` says whether callers must show one.
    pub(crate) fn start_tls(file: &str, clients: &str) -> Self {
        Self::start_tls_with(file, clients, |_| Vec::new())
    }

    /// The same, with flags for the gateway.
    pub(crate) fn start_tls_with(
        file: &str,
        clients: &str,
        flags: impl FnOnce(&Path) -> Vec<String>,
    ) -> Self {
        let section = format!(
            "ca = \"certs/ca.pem\"\ncert = \"certs/{{id}}.pem\"\nkey = \"certs/{{id}}.key\"\n\
             clients = \"{clients}\"\n"
        );
        let mut cluster = Self::lay_out(file, |text| text.replace("plaintext = true\n", &section));
        cluster.make_certs("certs");
        cluster.read_certs();
        cluster.start_all(flags);
        cluster
    }

    /// Speaks to nodes with the certificates that lie there now.
    pub(crate) fn read_certs(&mut self) {
        let read = |name: &str| std::fs::read(self.home.path().join("certs").join(name)).unwrap();
        let identity = Identity::from_pem(read("gateway-1.pem"), read("gateway-1.key"));
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read("ca.pem")));
        self.tls = Some(tls.identity(identity));
    }

    /// Makes an authority and certificates for everybody, in a directory of the cluster's.
    pub(crate) fn make_certs(&self, directory: &str) {
        let words = ["config", "certs", "--out", directory, "--topology", "cluster.toml"];
        assert!(self.process().args(words).output().unwrap().status.success());
    }

    /// Where a node listens.
    pub(crate) fn address(&self, id: u64) -> String {
        self.addresses[&id].clone()
    }

    fn lay_out(file: &str, edit: impl FnOnce(String) -> String) -> Self {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cluster-config");
        let mut text = std::fs::read_to_string(dir.join(file)).unwrap();
        let mut moved = BTreeMap::new();
        for port in (7_100..7_110).chain(7_200..7_210_u16) {
            let old = format!("\"127.0.0.1:{port}\"");
            if text.contains(&old) {
                let new = free();
                text = text.replace(&old, &format!("\"{new}\""));
                moved.insert(port, new);
            }
        }
        let text = edit(text);
        let home = tempfile::tempdir().unwrap();
        let topology = home.path().join("cluster.toml");
        std::fs::write(&topology, text).unwrap();
        let endpoint = moved.remove(&7_100).unwrap();
        let http = moved.remove(&7_200).unwrap();
        let addresses = (1..).zip(moved.into_values()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self {
            program: std::env::var_os("PAYCORE_TEST_BINARY").map_or(BINARY.into(), PathBuf::from),
            home,
            topology,
            addresses,
            nodes: BTreeMap::new(),
            joining: BTreeSet::new(),
            gateway: None,
            endpoint,
            tls: None,
            http,
            flags: Vec::new(),
            admin: BTreeMap::new(),
            environment: Vec::new(),
            runtime,
        }
    }

    fn start_all(&mut self, flags: impl FnOnce(&Path) -> Vec<String>) {
        std::fs::create_dir(self.failpoints()).unwrap();
        for id in self.ids() {
            self.start_node(id);
        }
        self.flags = flags(self.home.path());
        self.start_gateway();
        until("the gateway opens its door", || TcpStream::connect(&self.endpoint).ok());
    }

    /// Every node's id.
    pub(crate) fn ids(&self) -> Vec<u64> {
        self.addresses.keys().copied().collect()
    }

    /// Every address that somebody listens on.
    pub(crate) fn doors(&self) -> Vec<String> {
        self.addresses.values().chain([&self.endpoint, &self.http]).cloned().collect()
    }

    /// Where a node keeps what it knows.
    pub(crate) fn data(&self, id: u64) -> PathBuf {
        self.home.path().join(format!("n{id}"))
    }

    /// Where files say at which failpoint a process is to die.
    pub(crate) fn failpoints(&self) -> PathBuf {
        self.home.path().join("failpoints")
    }

    /// What a process has said about itself.
    pub(crate) fn log_of(&self, name: &str) -> String {
        std::fs::read_to_string(self.home.path().join(format!("{name}.log"))).unwrap()
    }

    /// Starts a node, for the first time or again.
    pub(crate) fn start_node(&mut self, id: u64) {
        let (topology, data) = (self.topology.to_str().unwrap().to_owned(), self.data(id));
        let (number, data) = (id.to_string(), data.to_str().unwrap().to_owned());
        let mut args = vec!["node", "--topology", &topology, "--id", &number, "--data", &data];
        args.extend(self.joining.contains(&id).then_some("--join"));
        let child = self.spawn(&format!("n{id}"), &args);
        let pid = self.home.path().join(format!("n{id}.pid"));
        std::fs::write(pid, child.id().to_string()).unwrap();
        assert!(self.nodes.insert(id, child).is_none(), "node {id} runs already");
    }

    /// Starts a node that is to join: the topology names it from now on. Gives its address.
    pub(crate) fn join_node(&mut self, id: u64) -> String {
        let address = self.name_node(id);
        self.start_node(id);
        until("the node opens its door", || TcpStream::connect(&address).ok());
        address
    }

    /// Has the topology name a node that is to join, whenever it is started. Gives its address.
    pub(crate) fn name_node(&mut self, id: u64) -> String {
        let free = free();
        let text = std::fs::read_to_string(&self.topology).unwrap();
        std::fs::write(&self.topology, text + &named(id, &free)).unwrap();
        self.addresses.insert(id, free.clone());
        self.joining.insert(id);
        free
    }

    /// Has the topology name a node no more that has left, and stops it.
    pub(crate) fn retire_node(&mut self, id: u64) -> ExitStatus {
        self.forget_node(id);
        self.stop_node(id)
    }

    /// Has the topology name a node no more that has left or is dead.
    pub(crate) fn forget_node(&mut self, id: u64) {
        let address = self.addresses.remove(&id).unwrap();
        let text = std::fs::read_to_string(&self.topology).unwrap();
        let is_its = |table: &&str| {
            table.starts_with("nodes]]") && table.contains(&format!("grpc = \"{address}\""))
        };
        let others = text.split("[[").filter(|table| !is_its(table));
        let others: Vec<&str> = others.collect();
        assert_eq!(others.len() + 1, text.split("[[").count(), "one node is named no more");
        std::fs::write(&self.topology, others.join("[[")).unwrap();
    }

    /// The topology's file.
    pub(crate) fn topology(&self) -> &Path {
        &self.topology
    }

    /// Starts the gateway, for the first time or again.
    pub(crate) fn start_gateway(&mut self) {
        let topology = self.topology.to_str().unwrap().to_owned();
        let flags = self.flags.clone();
        let mut words = vec!["gateway", "--topology", &topology];
        words.extend(flags.iter().map(String::as_str));
        let gateway = self.spawn("gateway", &words);
        assert!(self.gateway.replace(gateway).is_none(), "the gateway runs already");
    }

    /// Asks the gateway to stop, and waits until it has.
    pub(crate) fn stop_gateway(&mut self) -> ExitStatus {
        stop(self.gateway.take().unwrap())
    }

    /// What a process says at its admin port: the status, and the body.
    pub(crate) fn ask(&self, name: &str, path: &str) -> Option<(u16, String)> {
        get(self.admin_of(name), path)
    }

    /// Where a process's admin port is.
    pub(crate) fn admin_of(&self, name: &str) -> &str {
        &self.admin[name]
    }

    /// Kills a node as a power cut would.
    pub(crate) fn kill_node(&mut self, id: u64) {
        let mut child = self.nodes.remove(&id).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks a node to stop, and waits until it has.
    pub(crate) fn stop_node(&mut self, id: u64) -> ExitStatus {
        stop(self.nodes.remove(&id).unwrap())
    }

    /// Waits until a node ends by itself.
    pub(crate) fn end_of(&mut self, id: u64) -> ExitStatus {
        let mut child = self.nodes.remove(&id).unwrap();
        until("the node ends by itself", || child.try_wait().unwrap())
    }

    /// A node that has ended by itself, if one has.
    pub(crate) fn ended(&mut self) -> Option<(u64, ExitStatus)> {
        let mut nodes = self.nodes.iter_mut();
        let ended = nodes.find_map(|(id, child)| Some((*id, child.try_wait().unwrap()?)));
        ended.inspect(|(id, _)| drop(self.nodes.remove(id)))
    }

    /// Starts processes of another build from now on.
    pub(crate) fn set_program(&mut self, program: &Path) {
        program.clone_into(&mut self.program);
    }

    /// Watches over the nodes as a supervisor does, as long as `goes_on` says: who ends in good order, or asks to be
    /// started again, is started again. Gives who that was, in turn.
    pub(crate) fn supervise(&mut self, mut goes_on: impl FnMut() -> bool) -> Vec<u64> {
        let began = Instant::now();
        let mut restarted = Vec::new();
        loop {
            let goes_on = goes_on();
            if let Some((id, status)) = self.ended() {
                let is_well = matches!(status.code(), Some(0 | ASKS_TO_BE_RESTARTED));
                assert!(is_well, "node {id}: {status}: {}", self.log_of(&format!("n{id}")));
                self.start_node(id);
                restarted.push(id);
            } else if !goes_on {
                return restarted;
            }
            assert!(began.elapsed() < 3 * PATIENCE, "not within {:?}", 3 * PATIENCE);
            std::thread::sleep(LOOK);
        }
    }

    /// Runs a command while somebody watches over the nodes: exit code, stdout, stderr, and who was started again.
    pub(crate) fn run_supervised(&mut self, words: &str) -> (i32, String, String, Vec<u64>) {
        let mut command = self.command(words);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let restarted = self.supervise(|| child.try_wait().unwrap().is_none());
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap();
        (code, text(output.stdout), text(output.stderr), restarted)
    }

    /// How a node says it does, if it answers.
    pub(crate) fn status(&self, id: u64) -> Option<ReplicaStatus> {
        self.status_of(id, 0)
    }

    /// How a node says its replica of a shard does, if it answers and has one.
    pub(crate) fn status_of(&self, id: u64, shard: u32) -> Option<ReplicaStatus> {
        let scheme = self.scheme();
        let address = Endpoint::from_shared(format!("{scheme}://{}", self.addresses[&id])).unwrap();
        let address = match &self.tls {
            Some(tls) => address.tls_config(tls.clone()).unwrap(),
            None => address,
        };
        self.runtime.block_on(async {
            let mut node = ShardClient::new(address.connect().await.ok()?);
            let question = Some(Question::Status(StatusQuestion {}));
            let asked = ReadRequest { shard, stale_ok: true, timeout_ms: 1_000, question };
            let answer = node.read(asked).await.ok()?.into_inner().answer?;
            let Answer::Status(status) = answer else {
                panic!("asked for its status, a node says {answer:?}");
            };
            Some(status)
        })
    }

    /// Who leads, once somebody does.
    pub(crate) fn leader(&self) -> u64 {
        self.leader_of(0)
    }

    /// Who leads a shard, once somebody does.
    pub(crate) fn leader_of(&self, shard: u32) -> u64 {
        let leads = |id: &u64| self.status_of(*id, shard).is_some_and(|at| at.leads);
        until("somebody leads", || self.nodes.keys().copied().find(leads))
    }

    /// Waits until all nodes that run have applied the same entries, and gives their one digest.
    pub(crate) fn settled(&self) -> Vec<u8> {
        self.settled_of(0)
    }

    /// The same of a shard's replicas.
    pub(crate) fn settled_of(&self, shard: u32) -> Vec<u8> {
        until("replicas at the same index have the same digest", || {
            let all = self.nodes.keys().map(|id| self.status_of(*id, shard));
            let all = all.collect::<Option<Vec<_>>>()?;
            let (index, digest) = (all[0].applied_index, all[0].digest.clone());
            let same_index = all.iter().all(|at| at.applied_index == index);
            let same_log = all.iter().all(|at| at.last_log_index == index);
            if !(same_index && same_log) {
                return None;
            }
            assert!(all.iter().all(|at| at.digest == digest), "replicas differ: {all:?}");
            Some(digest.to_vec())
        })
    }

    /// Waits until the directory knows everybody, and every shard has heard from it: until then it changes by itself.
    pub(crate) fn introduced(&self) {
        let nodes = self.ids().len();
        until("the directory knows everybody", || {
            let known = self.json("directory show");
            let shards = known["shards"].as_array()?;
            let (_meta, shards) = shards.split_last().filter(|(_, shards)| !shards.is_empty())?;
            let hears = |shard: &Value| shard["heard_version"] == known["version"];
            let all = known["nodes"].as_array()?.len() == nodes && shards.iter().all(hears);
            all.then_some(())
        });
    }

    /// A command line of the project's, which speaks to the gateway.
    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = self.process();
        let endpoint = format!("{}://{}", self.scheme(), self.endpoint);
        command.env("PAYCORE__CLIENT__ENDPOINT", endpoint);
        if self.tls.is_some() {
            for (setting, file) in [("CA", "ca.pem"), ("CERT", "admin.pem"), ("KEY", "admin.key")] {
                let file = self.home.path().join("certs").join(file);
                command.env(format!("PAYCORE__CLIENT__{setting}"), file);
            }
        }
        command.args(words.split_whitespace());
        command
    }

    /// Runs a command: exit code, stdout, stderr.
    pub(crate) fn run(&self, words: &str) -> (i32, String, String) {
        let output = self.command(words).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// Runs a command that succeeds, and reads its JSON.
    pub(crate) fn json(&self, words: &str) -> Value {
        let (code, out, err) = self.run(&format!("{words} -o json"));
        assert_eq!(code, 0, "{words}: {err}");
        serde_json::from_str(&out).unwrap()
    }

    /// Makes so many transfers between a hundred accounts, and has them verified.
    pub(crate) fn load(&self, count: u64, name: &str) {
        let out = self.home.path().join(name);
        let words = format!(
            "bench transfer-uniform --cluster {} --count {count} --accounts 100 --batch 500 --out {}",
            self.endpoint,
            out.display()
        );
        let (code, _, err) = self.run(&words);
        assert_eq!(code, 0, "{err}");
    }

    /// Begins to make transfers between a hundred accounts, as long as `how` says, to be verified at the end.
    pub(crate) fn begin_load(&self, how: &str, name: &str) -> Child {
        let out = self.home.path().join(name);
        let words = format!(
            "bench transfer-uniform --cluster {} {how} --accounts 100 --batch 100 --out {}",
            self.endpoint,
            out.display()
        );
        let said = std::fs::File::create(self.home.path().join(format!("{name}.log"))).unwrap();
        let mut command = self.command(&words);
        command.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said);
        command.spawn().unwrap()
    }

    /// Waits for a load that was begun, and has nothing lost and nothing doubled.
    pub(crate) fn end_load(&self, mut load: Child, name: &str) {
        let ended = until("the load ends", || load.try_wait().unwrap());
        assert!(ended.success(), "{name}: {ended}: {}", self.log_of(name));
    }

    pub(crate) const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    fn spawn(&mut self, name: &str, args: &[&str]) -> Child {
        let admin = self.admin.entry(name.to_owned()).or_insert_with(free).clone();
        let path = self.home.path().join(format!("{name}.log"));
        let log = std::fs::File::options().create(true).append(true).open(path).unwrap();
        let mut command = self.process();
        command.env("PAYCORE_FAIL_DIR", self.failpoints()).env("PAYCORE_FAIL_AS", name);
        command
            .args(args)
            .args(["--admin", &admin])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        command.spawn().unwrap()
    }

    pub(crate) fn process(&self) -> Command {
        let mut command = Command::new(&self.program);
        let home = self.home.path();
        command.env_clear().env("HOME", home).env("TMPDIR", home).current_dir(home);
        command.envs(self.environment.iter().cloned());
        command
    }
}

/// A node in a topology.
fn named(id: u64, address: &str) -> String {
    format!("\n[[nodes]]\nid = {id}\ngrpc = \"{address}\"\n")
}

/// An address where nobody listens, below the ports that the system gives to whoever connects: of those, one could be taken
/// before the process that is to listen there has begun.
fn free() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test binaries that run side by side begin far apart.
    let first = std::process::id().wrapping_mul(997);
    let mut addresses = std::iter::repeat_with(|| {
        let port = 10_000 + (first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed))) % 22_000;
        format!("127.0.0.1:{port}")
    });
    let is_free = |address: &String| TcpListener::bind(address).is_ok();
    addresses.by_ref().take(22_000).find(is_free).unwrap()
}

/// Asks a process to stop, and waits until it has.
fn stop(mut child: Child) -> ExitStatus {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    until("a process that is asked to stop ends", || child.try_wait().unwrap())
}

/// One HTTP request: the status, and the body; `None` when nobody listens, or hangs up.
pub(crate) fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split_whitespace().nth(1)?.parse().ok()?, body.to_owned()))
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for mut child in std::mem::take(&mut self.nodes).into_values().chain(self.gateway.take()) {
            drop(child.kill());
            drop(child.wait());
        }
        if std::thread::panicking() {
            // Its logs say why.
            self.home.disable_cleanup(true);
            eprintln!("the cluster's files are left in {}", self.home.path().display());
        }
    }
}
