//! A gateway before a cluster of fake nodes, each a real gRPC server in a thread of its own, on loopback.
//!
//! The nodes share one real ledger, as if replication took no time: what a test sees is what the ledger did, and which
//! records reached it how often. A test says which node leads, and what goes wrong with the next frames.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part of it")]

pub mod http;
mod node;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use gateway::{Gateway, GatewayConfig, Keyring, Topology};
use ledger::batch::{BATCH_REQUESTS_MAX, get_record, records};
use ledger::{Answer, Batch, Books, Key, Ledger, Request, Said, Shards, Time};
use tokio::sync::{oneshot, watch};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use wire::Failure;
use wire::proto::cluster::Leader;
use wire::proto::v1;
use wire::proto::v1::payments_client::PaymentsClient;

/// What goes wrong with one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: the frame is applied and answered.
    None,
    /// The stream ends before the frame is applied.
    CutBefore,
    /// The frame is applied, and the stream ends before its answer.
    CutAfter,
    /// Every record is refused so, and none is applied.
    Fail(Failure),
    /// Every second record is refused so; the others are applied.
    FailHalf(Failure),
    /// The frame is applied, and every record answered so.
    ApplyAndFail(Failure),
    /// Nothing is applied or answered.
    Swallow,
    /// The answer is cut short.
    Garble,
}

/// What a node that does not lead says about who does.
#[derive(Clone, Copy, Debug)]
pub enum Hints {
    /// Who leads.
    True,
    /// Nothing.
    None,
    /// This node, which does not lead either.
    Wrong(u64),
}

/// What the nodes share.
pub struct Shared {
    pub ledger: Mutex<Ledger>,
    /// The meta group's.
    pub meta: Mutex<Ledger>,
    /// The node that leads; 0 is nobody.
    leader: AtomicU64,
    /// What a node that does not lead says about who does.
    pub hints: Mutex<Hints>,
    addresses: Mutex<BTreeMap<u64, String>>,
    faults: Mutex<VecDeque<Fault>>,
    /// How often each key reached a node, whatever became of it.
    pub seen: Mutex<HashMap<Key, usize>>,
    /// How many frames reached a node.
    pub frames: AtomicU64,
    /// How many more pages of a whole cut there are before the nodes have lost it.
    pub pages_left: AtomicU64,
}

impl Shared {
    fn new(shards: Shards) -> Self {
        Self {
            ledger: Mutex::new(Ledger::new(Books { shard: 0, shards })),
            meta: Mutex::new(Ledger::new(Books { shard: shards.meta(), shards })),
            leader: AtomicU64::new(0),
            hints: Mutex::new(Hints::True),
            addresses: Mutex::default(),
            faults: Mutex::default(),
            seen: Mutex::default(),
            frames: AtomicU64::new(0),
            pages_left: AtomicU64::new(u64::MAX),
        }
    }

    pub fn leads(&self, node: u64) -> bool {
        self.leader.load(Ordering::SeqCst) == node
    }

    pub fn leader(&self) -> Option<Leader> {
        let node_id = match *self.hints.lock().unwrap() {
            Hints::True => self.leader.load(Ordering::SeqCst),
            Hints::None => return None,
            Hints::Wrong(node) => node,
        };
        let address = self.addresses.lock().unwrap().get(&node_id)?.clone();
        Some(Leader { node_id, address })
    }

    fn next_fault(&self) -> Fault {
        self.faults.lock().unwrap().pop_front().unwrap_or(Fault::None)
    }

    fn read(&self, frame: &[u8]) -> Vec<Request> {
        let read = |(place, record): (usize, Result<&[u8], _>)| get_record(record.unwrap(), place);
        let requests: Result<Vec<_>, _> = records(frame).enumerate().map(read).collect();
        let requests = requests.expect("a gateway sends only what can be read");
        for request in &requests {
            *self.seen.lock().unwrap().entry(request.key).or_default() += 1;
        }
        requests
    }

    fn direct(&self, requests: &[Request]) -> Vec<Answer> {
        apply(&mut self.meta.lock().unwrap(), requests)
    }

    fn apply(&self, requests: &[Request]) -> Vec<Answer> {
        let mut ledger = self.ledger.lock().unwrap();
        let batches = requests.chunks(BATCH_REQUESTS_MAX);
        batches.flat_map(|requests| apply(&mut ledger, requests)).collect()
    }
}

fn apply(ledger: &mut Ledger, requests: &[Request]) -> Vec<Answer> {
    let batch = Batch::new(now(), requests.to_vec()).unwrap();
    let fetched = ledger.begin_fetch();
    let decided = ledger.apply(ledger.index() + 1, &batch, &fetched);
    let now = |said: &Said| said.now().expect("one shard waits for nobody");
    decided.answers.iter().map(now).collect()
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Time(u64::try_from(since.as_millis()).unwrap())
}

/// A gateway and its nodes.
pub struct Cluster {
    pub shared: Arc<Shared>,
    nodes: BTreeMap<u64, node::Node>,
    pub address: String,
    /// The HTTP door.
    pub http: String,
    pub client: PaymentsClient<Channel>,
    stop: Option<oneshot::Sender<()>>,
    gateway: Option<std::thread::JoinHandle<()>>,
}

impl Cluster {
    /// Three nodes, the first of which leads, and a gateway that has found it.
    pub async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// The same with another configuration of the gateway.
    pub async fn start_with(configure: impl FnOnce(&mut GatewayConfig)) -> Self {
        let cluster = Self::start_leaderless(configure).await;
        cluster.elect(1);
        cluster.wait_for(ServingStatus::Serving).await;
        cluster
    }

    /// The same with a gateway that asks for keys.
    pub async fn start_with_keys(keys: watch::Receiver<Arc<Keyring>>) -> Self {
        let cluster = Self::begin(|_| (), |gateway| gateway.with_keys(keys));
        cluster.elect(1);
        cluster.wait_for(ServingStatus::Serving).await;
        cluster
    }

    /// Three nodes, none of which leads.
    pub async fn start_leaderless(configure: impl FnOnce(&mut GatewayConfig)) -> Self {
        Self::begin(configure, |gateway| gateway)
    }

    fn begin(
        configure: impl FnOnce(&mut GatewayConfig),
        equip: impl FnOnce(Gateway) -> Gateway,
    ) -> Self {
        let shards = Shards::new(1).unwrap();
        let shared = Arc::new(Shared::new(shards));
        let nodes: BTreeMap<_, _> =
            (1..=3).map(|id| (id, node::Node::start(id, Arc::clone(&shared)))).collect();
        let addresses: BTreeMap<_, _> =
            nodes.iter().map(|(id, node)| (*id, node.address.clone())).collect();
        shared.addresses.lock().unwrap().clone_from(&addresses);
        let mut config = GatewayConfig::new(Topology::everywhere(shards, &addresses));
        configure(&mut config);
        let ([address, http], stop, gateway) = serve(equip(Gateway::new(config).unwrap()));
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let client = PaymentsClient::new(endpoint.connect_lazy());
        Self { shared, nodes, address, http, client, stop: Some(stop), gateway: Some(gateway) }
    }

    /// Makes a node lead; 0 is nobody.
    pub fn elect(&self, node: u64) {
        self.shared.leader.store(node, Ordering::SeqCst);
    }

    /// What goes wrong with the next frames, one after the other.
    pub fn inject(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.faults.lock().unwrap().extend(faults);
    }

    /// Ends a node as `kill -9` does: its connections break.
    pub fn kill(&mut self, node: u64) {
        drop(self.nodes.remove(&node).unwrap());
    }

    /// How often a key reached a node.
    pub fn seen(&self, key: &str) -> usize {
        let key = wire::convert::key(key).unwrap();
        self.shared.seen.lock().unwrap().get(&key).copied().unwrap_or(0)
    }

    /// Waits until the gateway reports so.
    pub async fn wait_for(&self, status: ServingStatus) {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        let mut health = HealthClient::new(endpoint.connect_lazy());
        let service = "paycore.v1.Payments".to_owned();
        let watch = health.watch(HealthCheckRequest { service }).await.unwrap();
        let mut statuses = watch.into_inner();
        let reported = async {
            while let Some(told) = statuses.message().await.unwrap() {
                if told.status() == status {
                    return;
                }
            }
            panic!("the gateway ended before it reported {status:?}");
        };
        tokio::time::timeout(Duration::from_secs(20), reported).await.expect("in time");
    }

    /// Opens a wallet and gives its name.
    pub async fn wallet(&mut self, key: &str, opening: i64) -> String {
        let request = v1::OpenAccountRequest {
            idempotency_key: key.to_owned(),
            currency_code: "CNY".into(),
            opening_balance: (opening > 0).then(|| yuan(opening)),
            ..Default::default()
        };
        self.client.open_account(request).await.unwrap().into_inner().resource
    }

    /// What an account has, as the ledger knows it.
    pub fn balance(&self, name: &str) -> i128 {
        let id = wire::convert::account_id("name", name).unwrap();
        self.shared.ledger.lock().unwrap().account(&id).unwrap().posted
    }

    /// Tells the gateway to stop, and waits for its thread.
    pub async fn stop_gateway(&mut self) {
        self.tell_to_stop();
        let gateway = self.gateway.take().unwrap();
        tokio::task::spawn_blocking(move || gateway.join().unwrap()).await.unwrap();
    }

    /// Tells the gateway to stop.
    pub fn tell_to_stop(&mut self) {
        drop(self.stop.take());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Whoever failed has said why; the books must stand whatever happened.
        if !std::thread::panicking() {
            self.shared.ledger.lock().unwrap().audit().expect("the books stand");
        }
    }
}

/// Runs a gateway in a thread of its own, as the binary does.
fn serve(gateway: Gateway) -> ([String; 2], oneshot::Sender<()>, std::thread::JoinHandle<()>) {
    let listeners = [0, 1].map(|_| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        listener
    });
    let addresses = listeners.each_ref().map(|door| door.local_addr().unwrap().to_string());
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let [grpc, http] =
                listeners.map(|door| tokio::net::TcpListener::from_std(door).unwrap());
            let gateway = gateway.with_http(http);
            gateway.serve(grpc, async { drop(stopped.await) }).await.unwrap();
        });
    });
    (addresses, stop, thread)
}

pub fn yuan(units_minor: i64) -> v1::Money {
    v1::Money { currency_code: "CNY".into(), units_minor }
}

pub fn transfer(key: &str, debit: &str, credit: &str, units_minor: i64) -> v1::TransferRequest {
    v1::TransferRequest {
        idempotency_key: key.to_owned(),
        debit_account: debit.to_owned(),
        credit_account: credit.to_owned(),
        amount: Some(yuan(units_minor)),
    }
}

pub fn wanted(request: v1::TransferRequest) -> v1::Request {
    v1::Request { command: Some(v1::request::Command::Transfer(request)) }
}

/// What an outcome says: `posted`, or a code.
pub fn said(outcome: &v1::Outcome) -> &str {
    match outcome.result.as_ref().unwrap() {
        v1::outcome::Result::Posted(_) => "posted",
        v1::outcome::Result::Rejected(no) => &no.code,
        v1::outcome::Result::Failed(no) => &no.code,
    }
}

/// The code of a status.
pub fn code(status: &tonic::Status) -> &'static str {
    let said = wire::status::Said::read(status);
    let wire::status::Said::Coded { entry, .. } = said else { panic!("{said:?}") };
    entry.code
}

/// A request with a deadline.
pub fn within<T>(timeout: Duration, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(timeout);
    request
}
