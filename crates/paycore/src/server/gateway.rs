//! `paycore gateway`: a door to a cluster. It keeps nothing; any number of them will do.

use std::path::PathBuf;

use gateway::{Gateway, GatewayConfig, Meter, Standing, Vitals};
use tokio::net::TcpListener;

use super::admin::{self, Admin, Metrics, Pulse, Reading, Sample, flag, float, series};
use super::{Ports, Supervisor};

use crate::cli::Invocation;
use crate::config::tls::Files;
use crate::config::{GatewaySpec, Topology, Trace};
use crate::exit::Failure;

/// Run a gateway to a cluster
///
/// A gateway keeps nothing: it may be killed and started again at any time, and there may be many side by side.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  paycore gateway --topology cluster-config/dev-3.toml")]
pub(crate) struct Args {
    /// The cluster's topology file
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
    /// Which of its gateways this is, counted from 1
    #[arg(long, value_name = "N", default_value_t = 1)]
    number: usize,
    /// Where to listen for gRPC instead of where the topology says, as HOST:PORT
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where to listen for HTTP/JSON instead of where the topology says, as HOST:PORT
    #[arg(long, value_name = "ADDRESS")]
    http: Option<String>,
    /// The file of API keys, as `paycore keys new` makes it; who has none of them is turned away
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Take everybody who can reach this gateway for the operator, even from other machines
    #[arg(long, conflicts_with = "keys")]
    open: bool,
    /// Do without TLS, even towards other machines
    #[arg(long)]
    plaintext: bool,
    /// Where to be asked how it does (/livez, /readyz, /metrics; always in plaintext) instead of where the topology says,
    /// as HOST:PORT
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
}

/// What a gateway is to be.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Its cluster.
    pub(crate) topology: Topology,
    /// Where it listens.
    pub(crate) doors: GatewaySpec,
    /// Where its traces go.
    pub(crate) trace: Trace,
    /// Whom it lets in.
    pub(crate) guests: Guests,
    /// What it shows, and whom it trusts; `None` for plaintext.
    pub(crate) files: Option<Files>,
}

/// Whom a gateway lets in.
#[derive(Clone, Debug)]
pub(crate) enum Guests {
    /// Who has a key of this file.
    Keys(PathBuf),
    /// Everybody on this machine, as the operator.
    ThisMachine,
    /// Everybody, as the operator.
    Everybody,
}

/// Runs the gateway until it is asked to stop.
pub(crate) fn run(args: &Args, around: &Invocation) -> Result<(), Failure> {
    let settings = &around.settings;
    super::begin_logging(&settings.log)?;
    let topology = args.topology.as_ref().unwrap_or(&settings.cluster.topology);
    let topology = Topology::load(topology).map_err(|wrong| Failure::of_problems(&wrong))?;
    let spec = args.number.checked_sub(1).and_then(|number| topology.gateways.get(number));
    let grpc =
        args.listen.clone().or_else(|| spec.map(|spec| spec.grpc.clone())).ok_or_else(|| {
            Failure::usage(format!("the topology has no gateway {}", args.number))
        })?;
    let guests = match (&args.keys, args.open) {
        (Some(file), _) => Guests::Keys(file.clone()),
        (None, true) => Guests::Everybody,
        (None, false) => Guests::ThisMachine,
    };
    let process = format!("gateway-{}", args.number);
    let files = crate::config::tls::files(&topology, &process, args.plaintext)?;
    let http = args.http.clone().or_else(|| spec.and_then(|spec| spec.http.clone()));
    let admin = args.admin.clone().or_else(|| spec.and_then(|spec| spec.admin.clone()));
    let (doors, trace) = (GatewaySpec { grpc, http, admin }, settings.trace.clone());
    let plan = Plan { topology, doors, trace, guests, files };
    crate::cli::block_on(serve(plan, Supervisor::of_environment(), super::asked_to_stop()))
}

/// Runs a gateway until `asked` is done.
///
/// # Errors
/// When it cannot start, or its server ends by itself.
pub(crate) async fn serve(
    plan: Plan,
    supervisor: Supervisor,
    asked: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let Plan { topology, doors, trace, guests, files } = plan;
    let mut asked = std::pin::pin!(asked);
    // The first look begins to listen: who is told that the door is open may ask to close it at once.
    if let std::task::Poll::Ready(asked) = futures::poll!(asked.as_mut()) {
        return asked;
    }
    let identity = files.map(Files::follow).transpose()?;
    let with_tls = identity.is_some();
    let listener = listen(&doors.grpc).await?;
    let web = match &doors.http {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let metrics = Metrics::new(&[("cluster", topology.name.clone()), ("role", "gateway".into())])?;
    let places = gateway::Topology::everywhere(topology.shards(), &topology.peers());
    let gateway =
        Gateway::new(GatewayConfig::new(places)).map_err(|why| Failure::config(why.to_string()))?;
    let gateway = match guests {
        Guests::Keys(file) => gateway.with_keys(crate::keys::follow(&file)?),
        Guests::ThisMachine => {
            let is_open = |listener: &&TcpListener| !is_private(listener);
            if let Some(door) = std::iter::once(&listener).chain(&web).find(is_open) {
                return Err(too_open(door));
            }
            gateway
        }
        Guests::Everybody => gateway,
    };
    let gateway = match identity {
        None => gateway,
        Some(identity) => gateway
            .with_tls(identity, topology.tls.callers())
            .map_err(|why| Failure::config(why.to_string()))?,
    };
    let gateway = match web {
        None => gateway,
        Some(listener) => gateway.with_http(listener),
    };
    let gateway = gateway.with_meter(Meter::new(&*metrics.recorder()));
    let gateway = match trace.otlp {
        Some(_) => gateway.with_traces(trace.sample_ratio),
        None => gateway,
    };
    let (pulse, asked_how) = Pulse::new();
    let vitals = gateway.vitals();
    tokio::spawn(admin::answer(asked_how, move || sample(&vitals)));
    let ports = Ports { admin: doors.admin, trace };
    let _admin = Admin::open(&ports, metrics, pulse, supervisor.share())?;
    tracing::info!(grpc = doors.grpc, http = doors.http, tls = with_tls, "opened");
    supervisor.ready();
    let shutdown = async {
        if let Err(why) = asked.await {
            tracing::error!(why = why.message(), "cannot hear signals; stopping");
        }
        supervisor.stopping();
        tracing::info!("asked to stop");
    };
    gateway.serve(listener, shutdown).await.map_err(|why| Failure::internal(why.to_string()))
}

/// Whether only this machine reaches a listener.
fn is_private(listener: &TcpListener) -> bool {
    listener.local_addr().is_ok_and(|address| address.ip().is_loopback())
}

fn too_open(listener: &TcpListener) -> Failure {
    let address = listener.local_addr().map_or_else(|_| "it".to_owned(), |at| at.to_string());
    let what = format!("without keys, whoever reaches {address} could move all money");
    Failure::config(what).with_hint(
        "give it a key file with --keys FILE, or say --open if the network itself lets nobody else in",
    )
}

async fn listen(address: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .await
        .map_err(|why| Failure::io(format!("the gateway cannot listen on {address}"), &why))
}

/// How the gateway does, as its own thread sees it.
fn sample(vitals: &Vitals) -> Sample {
    let Standing { leaders, draining } = vitals.standing();
    let count = |number: usize| float(u64::try_from(number).unwrap_or(u64::MAX));
    let mut readings = vec![
        Reading::new(series::GATEWAY_REQUESTS, count(vitals.requests_in_flight())),
        Reading::new(series::GATEWAY_BYTES, count(vitals.bytes_in_flight())),
        Reading::new(series::DRAINING, flag(draining)),
    ];
    for (shard, leader) in leaders.iter().enumerate() {
        let known = flag(leader.is_some());
        readings.push(Reading::new(series::GATEWAY_LEADER, known).with("shard", &shard));
    }
    let ready = if draining {
        Err("draining".to_owned())
    } else {
        match leaders.iter().position(Option::is_none) {
            Some(shard) => Err(format!("no leader of shard {shard} is known")),
            None if leaders.is_empty() => Err("starting".to_owned()),
            None => Ok(()),
        }
    };
    Sample { ready, readings }
}
