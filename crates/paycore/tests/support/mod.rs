//! A cluster of real processes: nodes and a gateway, each the binary itself, with files on the disk.

#![allow(dead_code, reason = "each of several test binaries uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that cannot go on has failed"
)]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tonic::transport::Endpoint;
use wire::proto::cluster::read_reply::Answer;
use wire::proto::cluster::read_request::Question;
use wire::proto::cluster::shard_client::ShardClient;
use wire::proto::cluster::{ReadRequest, ReplicaStatus, StatusQuestion};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_paycore");

/// As long as anything here may take on a machine that has other work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

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
    pub(crate) home: tempfile::TempDir,
    topology: PathBuf,
    addresses: BTreeMap<u64, String>,
    nodes: BTreeMap<u64, Child>,
    gateway: Option<Child>,
    pub(crate) endpoint: String,
    /// Every process's admin port, by the process's name.
    admin: BTreeMap<String, String>,
    /// What is in every process's environment.
    environment: Vec<(String, String)>,
    runtime: tokio::runtime::Runtime,
}

impl Cluster {
    /// Starts what one of the project's topologies describes, on ports that are free, with `more` at its end.
    pub(crate) fn start(file: &str, more: &str) -> Self {
        Self::start_in(file, more, &[])
    }

    /// The same, with variables in every process's environment.
    pub(crate) fn start_in(file: &str, more: &str, environment: &[(&str, &str)]) -> Self {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cluster-config");
        let mut text = std::fs::read_to_string(dir.join(file)).unwrap();
        let mut moved = BTreeMap::new();
        for port in 7_100..7_110_u16 {
            let old = format!("\"127.0.0.1:{port}\"");
            if text.contains(&old) {
                let new = TcpListener::bind("127.0.0.1:0").unwrap();
                moved.insert(port, new.local_addr().unwrap().to_string());
                text = text.replace(&old, &format!("\"{}\"", new.local_addr().unwrap()));
            }
        }
        text.push_str(more);
        let home = tempfile::tempdir().unwrap();
        let topology = home.path().join("cluster.toml");
        std::fs::write(&topology, text).unwrap();
        let endpoint = moved.remove(&7_100).unwrap();
        let addresses = (1..).zip(moved.into_values()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut cluster = Self {
            home,
            topology,
            addresses,
            nodes: BTreeMap::new(),
            gateway: None,
            endpoint,
            admin: BTreeMap::new(),
            environment: environment.collect(),
            runtime,
        };
        for id in cluster.ids() {
            cluster.start_node(id);
        }
        cluster.start_gateway();
        until("the gateway opens its door", || TcpStream::connect(&cluster.endpoint).ok());
        cluster
    }

    /// Every node's id.
    pub(crate) fn ids(&self) -> Vec<u64> {
        self.addresses.keys().copied().collect()
    }

    /// Every address that somebody listens on.
    pub(crate) fn doors(&self) -> Vec<String> {
        self.addresses.values().chain([&self.endpoint]).cloned().collect()
    }

    /// Where a node keeps what it knows.
    pub(crate) fn data(&self, id: u64) -> PathBuf {
        self.home.path().join(format!("n{id}"))
    }

    /// What a process has said about itself.
    pub(crate) fn log_of(&self, name: &str) -> String {
        std::fs::read_to_string(self.home.path().join(format!("{name}.log"))).unwrap()
    }

    /// Starts a node, for the first time or again.
    pub(crate) fn start_node(&mut self, id: u64) {
        let (topology, data) = (self.topology.to_str().unwrap().to_owned(), self.data(id));
        let (number, data) = (id.to_string(), data.to_str().unwrap().to_owned());
        let args = ["node", "--topology", &topology, "--id", &number, "--data", &data];
        let child = self.spawn(&format!("n{id}"), &args);
        assert!(self.nodes.insert(id, child).is_none(), "node {id} runs already");
    }

    /// Starts the gateway, for the first time or again.
    pub(crate) fn start_gateway(&mut self) {
        let topology = self.topology.to_str().unwrap().to_owned();
        let gateway = self.spawn("gateway", &["gateway", "--topology", &topology]);
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

    /// How a node says it does, if it answers.
    pub(crate) fn status(&self, id: u64) -> Option<ReplicaStatus> {
        let address = Endpoint::from_shared(format!("http://{}", self.addresses[&id])).unwrap();
        self.runtime.block_on(async {
            let mut node = ShardClient::new(address.connect().await.ok()?);
            let question = Some(Question::Status(StatusQuestion {}));
            let asked = ReadRequest { shard: 0, stale_ok: true, timeout_ms: 1_000, question };
            let answer = node.read(asked).await.ok()?.into_inner().answer?;
            let Answer::Status(status) = answer else {
                panic!("asked for its status, a node says {answer:?}");
            };
            Some(status)
        })
    }

    /// Who leads, once somebody does.
    pub(crate) fn leader(&self) -> u64 {
        until("somebody leads", || {
            self.nodes.keys().copied().find(|id| self.status(*id).is_some_and(|at| at.leads))
        })
    }

    /// Waits until all nodes that run have applied the same entries, and gives their one digest.
    pub(crate) fn settled(&self) -> Vec<u8> {
        until("replicas at the same index have the same digest", || {
            let all: Option<Vec<_>> = self.nodes.keys().map(|id| self.status(*id)).collect();
            let all = all?;
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

    /// A command line of the project's, which speaks to the gateway.
    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = self.process();
        command.env("PAYCORE__CLIENT__ENDPOINT", format!("http://{}", self.endpoint));
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

    fn spawn(&mut self, name: &str, args: &[&str]) -> Child {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let admin = self.admin.entry(name.to_owned()).or_insert_with(free).clone();
        let path = self.home.path().join(format!("{name}.log"));
        let log = std::fs::File::options().create(true).append(true).open(path).unwrap();
        let mut command = self.process();
        command
            .args(args)
            .args(["--admin", &admin])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        command.spawn().unwrap()
    }

    fn process(&self) -> Command {
        let mut command = Command::new(BINARY);
        let home = self.home.path();
        command.env_clear().env("HOME", home).env("TMPDIR", home).current_dir(home);
        command.envs(self.environment.iter().cloned());
        command
    }
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
