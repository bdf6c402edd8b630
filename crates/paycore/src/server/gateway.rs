//! `paycore gateway`: a door to a cluster. It keeps nothing; any number of them will do.

use std::path::PathBuf;

use gateway::tls::Identity;
use gateway::{Gateway, GatewayConfig};
use tokio::net::TcpListener;

use crate::cli::Invocation;
use crate::config::{GatewaySpec, Topology};
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
}

/// What a gateway is to be.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Its cluster.
    pub(crate) topology: Topology,
    /// Where it listens.
    pub(crate) doors: GatewaySpec,
    /// Whom it lets in.
    pub(crate) guests: Guests,
    /// What it shows, and whom it trusts; `None` for plaintext.
    pub(crate) identity: Option<Identity>,
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
    let identity = crate::config::tls::identity(&topology, &process, args.plaintext)?;
    let http = args.http.clone().or_else(|| spec.and_then(|spec| spec.http.clone()));
    let doors = GatewaySpec { grpc, http };
    let plan = Plan { topology, doors, guests, identity };
    crate::cli::block_on(serve(plan, super::asked_to_stop()))
}

/// Runs a gateway until `asked` is done.
///
/// # Errors
/// When it cannot start, or its server ends by itself.
pub(crate) async fn serve(
    plan: Plan,
    asked: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let Plan { topology, doors, guests, identity } = plan;
    let listener = listen(&doors.grpc).await?;
    let web = match &doors.http {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
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
    let gateway = match &identity {
        None => gateway,
        Some(identity) => gateway
            .with_tls(identity, topology.tls.callers())
            .map_err(|why| Failure::config(why.to_string()))?,
    };
    let gateway = match web {
        None => gateway,
        Some(listener) => gateway.with_http(listener),
    };
    tracing::info!(grpc = doors.grpc, http = doors.http, tls = identity.is_some(), "opened");
    let shutdown = async {
        if let Err(why) = asked.await {
            tracing::error!(why = why.message(), "cannot hear signals; stopping");
        }
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
