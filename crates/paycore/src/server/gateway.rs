//! `paycore gateway`: a door to a cluster. It keeps nothing; any number of them will do.

use std::path::PathBuf;

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
    let http = args.http.clone().or_else(|| spec.and_then(|spec| spec.http.clone()));
    crate::cli::block_on(serve(&topology, &GatewaySpec { grpc, http }, super::asked_to_stop()))
}

/// Runs a gateway until `asked` is done.
///
/// # Errors
/// When it cannot start, or its server ends by itself.
pub(crate) async fn serve(
    topology: &Topology,
    doors: &GatewaySpec,
    asked: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let listener = listen(&doors.grpc).await?;
    let places = gateway::Topology::everywhere(topology.shards(), &topology.peers());
    let mut gateway =
        Gateway::new(GatewayConfig::new(places)).map_err(|why| Failure::config(why.to_string()))?;
    if let Some(address) = &doors.http {
        gateway = gateway.with_http(listen(address).await?);
    }
    tracing::info!(grpc = doors.grpc, http = doors.http, "opened");
    let shutdown = async {
        if let Err(why) = asked.await {
            tracing::error!(why = why.message(), "cannot hear signals; stopping");
        }
    };
    gateway.serve(listener, shutdown).await.map_err(|why| Failure::internal(why.to_string()))
}

async fn listen(address: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .await
        .map_err(|why| Failure::io(format!("the gateway cannot listen on {address}"), &why))
}
