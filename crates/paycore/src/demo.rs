//! `paycore demo`: three real replicas and a gateway in one process, for looking.
//!
//! Each node has a thread, a port, a log and a data directory of its own, and syncs what it writes; only the process is
//! shared. Two accounts are opened, and the screen shows what to type next.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ledger::AccountId;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};
use wire::proto::cluster::read_reply::Answer;
use wire::proto::cluster::read_request::Question;
use wire::proto::cluster::shard_client::ShardClient;
use wire::proto::cluster::{ReadRequest, ReplicaStatus, StatusQuestion};
use wire::proto::v1::directory_client::DirectoryClient;
use wire::proto::v1::payments_client::PaymentsClient;
use wire::proto::v1::{Alias, Money, OpenAccountRequest, PutAliasRequest};

use crate::cli::Invocation;
use crate::config::{Topology, Trace};
use crate::context::{self, Aliases};
use crate::exit::Failure;
use crate::server::gateway::Guests;
use crate::server::{Ports, Supervisor, gateway, node};

const NODES: u16 = 3;

/// How far the gateway's HTTP port lies above its gRPC port.
const HTTP_ABOVE: u16 = 100;

/// How long the cluster may take to agree on a leader before something is wrong.
const READY_MAX: Duration = Duration::from_secs(30);

/// How often the nodes are asked whether they have.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// The accounts of the demo: alias, and opening balance in fen.
const ACCOUNTS: [(&str, i64); 2] = [("acc_lin", 100_000), ("acc_wang", 50_000)];

/// How far above a process's door its admin port lies.
const ADMIN_ABOVE: u16 = 300;

/// Run three replicas and a gateway in one process, and show what to type next
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  paycore demo --random-ports")]
pub(crate) struct Args {
    /// The gateway's port; node N listens N above it, HTTP 100 above it, and every admin port is 300 above its door
    #[arg(long, value_name = "PORT", default_value_t = 7_100, conflicts_with = "random_ports")]
    base_port: u16,
    /// Let the system choose the ports
    #[arg(long)]
    random_ports: bool,
    /// Keep the data here instead of removing it on exit
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Runs the demo until it is asked to stop.
pub(crate) fn run(args: &Args, around: &Invocation) -> Result<(), Failure> {
    let mut log = around.settings.log.clone();
    if log.level == "info" {
        // The screen belongs to the demo; what goes wrong is still said, but for what is usual in a first second: a
        // node that knocks before the other has opened.
        log.level = "warn,openraft=error".to_owned();
    }
    crate::server::begin_logging(&log)?;
    let temporary =
        tempfile::tempdir().map_err(|why| Failure::io("a temporary directory", &why))?;
    let data = args.data.clone().unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&data).map_err(|why| Failure::io(data.display(), &why))?;
    let ports = ports(args)?;
    let topology = topology(&data, &ports)?;

    let (stop, stopping) = watch::channel(false);
    let threads = start(&topology, &data, &stopping)?;
    let shown = crate::cli::block_on(async {
        let statuses = ready(&topology, &threads).await?;
        open_accounts(&topology).await?;
        show(args, around, &topology, &statuses)?;
        tokio::select! {
            asked = crate::server::asked_to_stop() => asked,
            () = any_ended(&threads) => Ok(()),
        }
    });
    stop.send_replace(true);
    let ended = threads.into_iter().map(|thread| match thread.join() {
        Ok(ended) => ended,
        Err(_panic) => Err(Failure::internal("a part of the demo panicked")),
    });
    ended.fold(shown, Result::and)
}

/// The gateway's ports, then the nodes': of each the door, and the admin port; then the gateway's for HTTP.
fn ports(args: &Args) -> Result<Vec<u16>, Failure> {
    let mut held = Vec::new();
    let both = |number: u16| [number, number.saturating_add(ADMIN_ABOVE)];
    for above in (0..=NODES).flat_map(both).chain([HTTP_ABOVE]) {
        let wanted = if args.random_ports { 0 } else { args.base_port.saturating_add(above) };
        let listener = TcpListener::bind(("127.0.0.1", wanted)).map_err(|why| {
            Failure::io(format!("port {wanted}"), &why)
                .with_hint("choose others with --base-port PORT, or --random-ports")
        })?;
        held.push(listener);
    }
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    held.iter().map(port).collect::<Result<_, _>>().map_err(|why| Failure::io("a port", &why))
}

/// Writes the demo's topology where its data is, and reads it like any other.
fn topology(data: &Path, ports: &[u16]) -> Result<Topology, Failure> {
    use std::fmt::Write as _;
    let mut text = String::from("# The demo's own.\nname = \"demo\"\nshards = 1\n");
    let [doors @ .., http] = ports else {
        return Err(Failure::internal("the demo has too few ports"));
    };
    for (number, [grpc, admin]) in doors.as_chunks::<2>().0.iter().enumerate() {
        let head = match number {
            0 => format!("[[gateways]]\nhttp = \"127.0.0.1:{http}\""),
            id => format!("[[nodes]]\nid = {id}"),
        };
        let written =
            writeln!(text, "\n{head}\ngrpc = \"127.0.0.1:{grpc}\"\nadmin = \"127.0.0.1:{admin}\"");
        written.expect("writing to a string does not fail");
    }
    text.push_str("\n[tls]\nplaintext = true\n");
    let path = data.join("cluster.toml");
    std::fs::write(&path, text).map_err(|why| Failure::io(path.display(), &why))?;
    Topology::load(&path).map_err(|wrong| Failure::of_problems(&wrong))
}

type Part = JoinHandle<Result<(), Failure>>;

fn start(
    topology: &Topology,
    data: &Path,
    stopping: &watch::Receiver<bool>,
) -> Result<Vec<Part>, Failure> {
    let mut threads = Vec::new();
    let name = |what: &str| std::thread::Builder::new().name(what.to_owned());
    for spec in &topology.nodes {
        let data = data.join(format!("n{}", spec.id));
        let topology = topology.clone();
        let ports = Ports { admin: spec.admin.clone(), ..Ports::default() };
        let (joins, hands_over, files) = (false, false, None);
        let (id, listen) = (spec.id, None);
        let plan = node::Plan { topology, id, listen, data, ports, joins, hands_over, files };
        let asked = asked(stopping.clone());
        let thread = name(&format!("n{}", spec.id)).spawn(move || {
            actix::System::new().block_on(node::serve(plan, Supervisor::none(), asked))
        });
        threads.push(thread.map_err(|why| Failure::io("a thread", &why))?);
    }
    let (topology, asked) = (topology.clone(), asked(stopping.clone()));
    let thread = name("gateway").spawn(move || {
        let Some(doors) = topology.gateways.first().cloned() else { return Ok(()) };
        let (guests, trace) = (Guests::ThisMachine, Trace::default());
        let plan = gateway::Plan { topology, doors, trace, guests, files: None };
        crate::cli::block_on(gateway::serve(plan, Supervisor::none(), asked))
    });
    threads.push(thread.map_err(|why| Failure::io("a thread", &why))?);
    Ok(threads)
}

async fn asked(mut stopping: watch::Receiver<bool>) -> Result<(), Failure> {
    // The sender lives as long as the demo; without it there is nothing to run for.
    let _ = stopping.wait_for(|stop| *stop).await;
    Ok(())
}

fn gateway_address(topology: &Topology) -> &str {
    topology.gateways.first().map_or("", |gateway| &gateway.grpc)
}

/// Waits until one node leads and the others know it.
async fn ready(topology: &Topology, threads: &[Part]) -> Result<Vec<ReplicaStatus>, Failure> {
    let begun = Instant::now();
    loop {
        let mut statuses = Vec::new();
        for spec in &topology.nodes {
            statuses.extend(status(&spec.grpc).await);
        }
        let leader = statuses.iter().find(|status| status.leads).map(|status| status.node_id);
        let agreed = statuses.iter().all(|status| {
            leader.is_some() && status.leader.as_ref().map(|leader| leader.node_id) == leader
        });
        if agreed && statuses.len() == topology.nodes.len() {
            return Ok(statuses);
        }
        if threads.iter().any(JoinHandle::is_finished) {
            return Err(Failure::internal("a part of the demo could not start"));
        }
        if begun.elapsed() > READY_MAX {
            return Err(Failure::coded("NO_LEADER", "the nodes did not agree on a leader in time"));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

async fn connect(address: &str) -> Result<Channel, tonic::transport::Error> {
    Endpoint::from_shared(format!("http://{address}"))?.connect().await
}

/// How a node's replica does, if the node answers.
async fn status(address: &str) -> Option<ReplicaStatus> {
    let mut node = ShardClient::new(connect(address).await.ok()?);
    let question = Some(Question::Status(StatusQuestion {}));
    let ask = ReadRequest { shard: 0, stale_ok: true, timeout_ms: 1_000, question };
    match node.read(ask).await.ok()?.into_inner().answer? {
        Answer::Status(status) => Some(status),
        Answer::Account(_)
        | Answer::Hold(_)
        | Answer::Outcome(_)
        | Answer::Statement(_)
        | Answer::Cut(_)
        | Answer::Directory(_)
        | Answer::CutPage(_) => None,
    }
}

/// Opens the demo's accounts, under keys that name the same accounts every time.
async fn open_accounts(topology: &Topology) -> Result<(), Failure> {
    let connected = connect(gateway_address(topology)).await;
    let channel = connected
        .map_err(|why| Failure::internal(format!("the gateway does not answer: {why}")))?;
    let mut payments = PaymentsClient::new(channel.clone());
    let mut directory = DirectoryClient::new(channel);
    let mut aliases = Aliases::open(context::path()?)?;
    for (alias, opening) in ACCOUNTS {
        let request = OpenAccountRequest {
            idempotency_key: format!("paycore demo: {alias}"),
            currency_code: "CNY".to_owned(),
            opening_balance: Some(Money { currency_code: "CNY".to_owned(), units_minor: opening }),
            ..OpenAccountRequest::default()
        };
        let posted = payments.open_account(request).await.map_err(|status| {
            Failure::internal(format!("{alias} could not be opened: {status}"))
        })?;
        let name = posted.into_inner().resource;
        let id = name.trim_start_matches("accounts/").parse::<AccountId>();
        aliases.set(alias, id.map_err(|why| Failure::internal(format!("{name}: {why}")))?)?;
        let named = Alias { alias: alias.to_owned(), account: name };
        let request = PutAliasRequest {
            idempotency_key: format!("paycore demo: name {alias}"),
            alias: Some(named),
        };
        directory
            .put_alias(request)
            .await
            .map_err(|status| Failure::internal(format!("{alias} could not be named: {status}")))?;
    }
    Ok(())
}

fn show(
    args: &Args,
    around: &Invocation,
    topology: &Topology,
    statuses: &[ReplicaStatus],
) -> Result<(), Failure> {
    let (screen, paint) = (&around.screen, around.screen.paint());
    screen.line(&paint.bold("paycore demo: three replicas and a gateway in one process"))?;
    screen.line(&paint.dim("demo only – not for production"))?;
    screen.line("")?;
    for spec in &topology.nodes {
        let status = statuses.iter().find(|status| status.node_id == spec.id);
        let role = if status.is_some_and(|status| status.leads) { "leader" } else { "follower" };
        let term = status.map_or(0, |status| status.term);
        screen.line(&format!("  n{:<8}{role:<9}· term {term} · grpc {}", spec.id, spec.grpc))?;
    }
    screen.line(&format!(
        "  {:<9}{:<9}·        · grpc {}",
        "gateway",
        "",
        gateway_address(topology)
    ))?;
    let http = topology.gateways.first().and_then(|gateway| gateway.http.as_deref());
    if let Some(http) = http {
        screen.line(&format!("\nAPI docs http://{http}/docs"))?;
    }
    let admins = topology.nodes.iter().map(|node| node.admin.as_deref());
    let admins = admins.chain(topology.gateways.iter().map(|gateway| gateway.admin.as_deref()));
    let admins = admins.flatten().map(|admin| format!("http://{admin}/metrics"));
    screen.line(&format!("Metrics: {}", admins.collect::<Vec<_>>().join(" ")))?;
    let data = match &args.data {
        Some(kept) => format!("Data: {}", kept.display()),
        None => "Data: temporary, removed on exit (--data DIR keeps it)".to_owned(),
    };
    screen.line(&format!("{data}\n"))?;
    screen.line("Try in a second terminal:\n")?;
    let program = program();
    let door = if gateway_address(topology) == "127.0.0.1:7100" {
        String::new()
    } else {
        format!(" --endpoint http://{}", gateway_address(topology))
    };
    for line in [
        "transfer acc_lin acc_wang 8.88 --currency CNY",
        "balance acc_lin",
        "statement acc_wang",
        "hold place acc_lin acc_wang 20.00 --currency CNY --for 1h",
        "account open --alias acc_chen --currency CNY",
    ] {
        screen.line(&format!("  {program} {line}{door}"))?;
    }
    screen.line("\nCtrl-C ends it.")
}

/// How this program was called, so that the lines shown can be copied.
fn program() -> String {
    let called = std::env::current_exe().ok();
    let here = std::env::current_dir().ok();
    match (called, here) {
        (Some(called), Some(here)) => {
            called.strip_prefix(&here).unwrap_or(&called).display().to_string()
        }
        (_, _) => "paycore".to_owned(),
    }
}

/// Returns when a part has ended by itself.
async fn any_ended(threads: &[Part]) {
    while !threads.iter().any(JoinHandle::is_finished) {
        tokio::time::sleep(ASK_EVERY).await;
    }
}
