//! `paycore gateway`: a door to a cluster. It keeps nothing; any number of them will do.

use std::path::PathBuf;

use gateway::{Gateway, GatewayConfig, Meter, Standing, Vitals};
use tokio::net::TcpListener;

use super::admin::{self, Admin, Metrics, Pulse, Reading, Sample, flag, float, series};
use super::{Ports, Supervisor};

use crate::cli::Invocation;
use crate::config::Topology;
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
    /// Where to listen instead of where the topology says, as HOST:PORT
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where to be asked how it does (/livez, /readyz, /metrics) instead of where the topology says, as HOST:PORT
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
}

/// Runs the gateway until it is asked to stop.
pub(crate) fn run(args: &Args, around: &Invocation) -> Result<(), Failure> {
    let settings = &around.settings;
    super::begin_logging(&settings.log)?;
    let topology = args.topology.as_ref().unwrap_or(&settings.cluster.topology);
    let topology = Topology::load(topology).map_err(|wrong| Failure::of_problems(&wrong))?;
    let spec = args.number.checked_sub(1).and_then(|number| topology.gateways.get(number));
    let place = Place {
        listen: args.listen.clone().or_else(|| spec.map(|spec| spec.grpc.clone())).ok_or_else(
            || Failure::usage(format!("the topology has no gateway {}", args.number)),
        )?,
        ports: Ports {
            admin: args.admin.clone().or_else(|| spec.and_then(|spec| spec.admin.clone())),
            trace: settings.trace.clone(),
        },
        supervisor: Supervisor::of_environment(),
    };
    crate::cli::block_on(serve(&topology, place, super::asked_to_stop()))
}

/// Where a gateway stands.
pub(crate) struct Place {
    /// Its door.
    pub(crate) listen: String,
    /// Where it says how it does.
    pub(crate) ports: Ports,
    /// Who is told when the door is open.
    pub(crate) supervisor: Supervisor,
}

/// Runs a gateway until `asked` is done.
///
/// # Errors
/// When it cannot start, or its server ends by itself.
pub(crate) async fn serve(
    topology: &Topology,
    place: Place,
    asked: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let Place { listen, ports, supervisor } = place;
    let mut asked = std::pin::pin!(asked);
    // The first look begins to listen: who is told that the door is open may ask to close it at once.
    if let std::task::Poll::Ready(asked) = futures::poll!(asked.as_mut()) {
        return asked;
    }
    let listener = TcpListener::bind(&listen)
        .await
        .map_err(|why| Failure::io(format!("the gateway cannot listen on {listen}"), &why))?;
    let metrics = Metrics::new(&[("cluster", topology.name.clone()), ("role", "gateway".into())])?;
    let places = gateway::Topology::everywhere(topology.shards(), &topology.peers());
    let gateway =
        Gateway::new(GatewayConfig::new(places)).map_err(|why| Failure::config(why.to_string()))?;
    let mut gateway = gateway.with_meter(Meter::new(&*metrics.recorder()));
    if ports.trace.otlp.is_some() {
        gateway = gateway.with_traces(ports.trace.sample_ratio);
    }
    let (pulse, asked_how) = Pulse::new();
    let vitals = gateway.vitals();
    tokio::spawn(admin::answer(asked_how, move || sample(&vitals)));
    let _admin = Admin::open(&ports, metrics, pulse, supervisor.share())?;
    tracing::info!(address = listen, "opened");
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
