//! The gateway: everything put together, served until it is told to stop.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use wire::limits::MESSAGE_BYTES_MAX;
use wire::proto::DESCRIPTORS;
use wire::proto::v1::admin_server::AdminServer;
use wire::proto::v1::directory_server::DirectoryServer;
use wire::proto::v1::payments_server::{PaymentsServer, SERVICE_NAME};

use crate::audit::AdminDoors;
use crate::auth::Access;
use crate::budget::Budget;
use crate::config::{ConfigError, GatewayConfig};
use crate::dial::Dial;
use crate::directory::{DirectoryDoors, Follower};
use crate::grpc::Doors;
use crate::http;
use crate::incoming::connections;
use crate::keyring::Keyring;
use crate::keys::Keys;
use crate::link::{self, Link};
use crate::meter::{Meter, Standing, Vitals};
use crate::nodes::Nodes;
use crate::reads::Reads;
use crate::router::Router;
use crate::tls::{Door, Guests, Identity, TlsError};
use crate::trace::Sampling;
use crate::turn::Turns;

/// How long a gateway that was told to stop waits for what is under way: below the 30 s that a supervisor grants.
const DRAIN_MAX: Duration = Duration::from_secs(15);

/// How often a silent client is asked for a sign of life, and how long it may take: a client that vanished gives its
/// connection back within a minute.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_MAX: Duration = Duration::from_secs(20);

/// Bytes that a client may send unread on one stream, and on one connection: a full batch, and a few.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// A gateway. Its life is one call of [`Gateway::serve`].
#[derive(Debug)]
pub struct Gateway {
    config: GatewayConfig,
    keys: Option<watch::Receiver<Arc<Keyring>>>,
    door: Door,
    identity: Option<watch::Receiver<Arc<Identity>>>,
    http: Option<TcpListener>,
    meter: Arc<Meter>,
    budget: Arc<Budget>,
    standing: watch::Sender<Standing>,
    sampling: Sampling,
}

/// Why a gateway stopped that was not told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A bug: the descriptors are made by the build.
    #[error("the service cannot describe itself: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// Look at the listener's address and the process's limits.
    #[error("the gRPC server stopped: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// What the gateway's parts share.
struct Parts {
    router: Arc<Router>,
    reads: Arc<Reads>,
    /// The shards' links.
    links: Vec<Arc<Link>>,
    follower: Arc<Follower>,
    access: Access,
    /// The drivers, and the one who reports their health; they end with the gateway.
    tasks: JoinSet<()>,
}

impl Gateway {
    /// A gateway that does not run yet. Whoever reaches it is the operator, unless it is given keys.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn new(config: GatewayConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let (keys, door) = (None, Door::plaintext());
        let (identity, http) = (None, None);
        let budget = Budget::new(config.limits.requests_in_flight, config.limits.bytes_in_flight);
        let standing = watch::Sender::new(Standing::default());
        let (meter, sampling) = (Arc::default(), Sampling::default());
        Ok(Self { config, keys, door, identity, http, meter, budget, standing, sampling })
    }

    /// Serves HTTP/JSON too, on this listener.
    #[must_use]
    pub fn with_http(self, listener: TcpListener) -> Self {
        Self { http: Some(listener), ..self }
    }

    /// The same gateway, which lets in who has one of these keys, and nobody else. Each call is judged by the keyring
    /// that stands in the channel then.
    #[must_use]
    pub fn with_keys(mut self, keyring: watch::Receiver<Arc<Keyring>>) -> Self {
        self.keys = Some(keyring);
        self
    }

    /// The same gateway with TLS: it shows its certificate to callers and nodes, talks to nodes that show theirs, and
    /// lets those callers in. Each new connection is made with the identity that stands in the channel then.
    ///
    /// # Errors
    /// When the identity's files are not what they should be.
    pub fn with_tls(
        mut self,
        identity: watch::Receiver<Arc<Identity>>,
        callers: Guests,
    ) -> Result<Self, TlsError> {
        self.door = Door::of(identity.clone(), callers)?;
        self.identity = Some(identity);
        Ok(self)
    }

    /// The same, counting what it does.
    #[must_use]
    pub fn with_meter(self, meter: Meter) -> Self {
        Self { meter: Arc::new(meter), ..self }
    }

    /// The same, with spans for the calls whose callers ask for them, and for this part of the others. Spans go to
    /// OpenTelemetry's global tracer.
    #[must_use]
    pub fn with_traces(self, ratio: f64) -> Self {
        Self { sampling: Sampling::of(ratio), ..self }
    }

    /// How it stands, as long as it lives.
    #[must_use]
    pub fn vitals(&self) -> Vitals {
        Vitals { budget: Arc::clone(&self.budget), standing: self.standing.subscribe() }
    }

    /// Serves until `shutdown` is ready, then takes nothing new, answers what is under way, and returns.
    ///
    /// Runs on whatever runtime polls it; a `current_thread` one is the fastest.
    ///
    /// # Errors
    /// When the server cannot go on.
    pub async fn serve(
        mut self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let limits = self.config.limits;
        let (drain, draining) = watch::channel(false);
        let mut parts = self.parts();
        let (reporter, health) = tonic_health::server::health_reporter();
        let reporting = report(reporter, parts.links.clone(), draining.clone());
        parts.tasks.spawn(reporting);
        parts.tasks.spawn(show(self.standing.clone(), parts.links.clone(), draining.clone()));

        let doors = Self::doors(&parts, draining.clone());
        let web = http::serve(
            self.http.take().map(|listener| (listener, self.door.clone())),
            Arc::clone(&doors),
            limits.connections,
        );
        let router = Server::builder()
            .max_concurrent_streams(limits.streams_per_connection)
            .http2_keepalive_interval(Some(PING_EVERY))
            .http2_keepalive_timeout(Some(PING_MAX))
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .add_service(payments(Arc::clone(&doors)))
            .add_service(directory(doors, &parts))
            .add_service(admin(&parts))
            .add_service(health)
            .add_service(reflection().build_v1()?)
            .add_service(reflection().build_v1alpha()?);
        let incoming = connections(listener, limits.connections, self.door.clone());
        let grpc = router.serve_with_incoming_shutdown(incoming, told(draining));
        let server = async { tokio::try_join!(grpc, web.map(Ok)).map(|((), ())| ()) };
        tokio::pin!(server);
        tokio::select! {
            stopped = &mut server => return Ok(stopped?),
            () = shutdown => {}
        }

        parts.router.drain();
        drain.send_replace(true);
        match tokio::time::timeout(DRAIN_MAX, server).await {
            Ok(stopped) => Ok(stopped?),
            Err(_) => {
                tracing::warn!("connections are still open after the time for draining");
                Ok(())
            }
        }
    }

    fn parts(&self) -> Parts {
        let GatewayConfig { topology, limits } = &self.config;
        let nodes = Arc::new(Nodes::new(topology, self.identity.clone()));
        let dial: Arc<dyn Dial> = Arc::<Nodes>::clone(&nodes);
        let mut tasks = JoinSet::new();
        let mut begin = |group: u16| {
            let (link, driving) = link::begin(group, &dial, limits.frames_in_flight, &self.meter);
            tasks.spawn(driving);
            link
        };
        let shards = topology.shards();
        let links: Vec<_> = (0..shards.count()).map(&mut begin).collect();
        let to = (links.clone(), begin(shards.meta()));
        let router = Router::new(shards, to, Arc::clone(&self.budget));
        let router = Arc::new(router.watched(Arc::clone(&self.meter), self.sampling));
        let replicas = topology.replicas().iter();
        let replicas = replicas.map(|nodes| nodes.keys().copied().collect()).collect();
        let known = watch::Sender::new(Arc::default());
        let directory = known.subscribe();
        let reads =
            Reads::new(Arc::clone(&router), Arc::clone(&nodes), replicas, known.subscribe());
        let reads = Arc::new(reads);
        let follower = Arc::new(Follower::new(Arc::clone(&reads), nodes, known));
        tasks.spawn(Arc::clone(&follower).run());
        let keys = self.keys.clone().map(|file| Keys::new(file, directory.clone()));
        let access = Access { keys, directory };
        Parts { router, reads, links, follower, access, tasks }
    }

    fn doors(parts: &Parts, draining: watch::Receiver<bool>) -> Arc<Doors> {
        let (router, reads) = (Arc::clone(&parts.router), Arc::clone(&parts.reads));
        Arc::new(Doors { access: parts.access.clone(), router, reads, draining })
    }
}

fn payments(doors: Arc<Doors>) -> PaymentsServer<Doors> {
    PaymentsServer::from_arc(doors)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

fn directory(doors: Arc<Doors>, parts: &Parts) -> DirectoryServer<DirectoryDoors> {
    DirectoryServer::new(DirectoryDoors { doors, follower: Arc::clone(&parts.follower) })
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

fn admin(parts: &Parts) -> AdminServer<AdminDoors> {
    let (router, reads) = (Arc::clone(&parts.router), Arc::clone(&parts.reads));
    let turns = Turns::default();
    AdminServer::new(AdminDoors { access: parts.access.clone(), router, reads, turns })
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

async fn told(mut draining: watch::Receiver<bool>) {
    // A sender that is gone has told everything.
    let _ = draining.wait_for(|draining| *draining).await;
}

/// Reports SERVING while every shard has a leader; ends, and whoever watches with it, when the gateway drains.
async fn report(
    mut reporter: HealthReporter,
    links: Vec<Arc<Link>>,
    mut draining: watch::Receiver<bool>,
) {
    let mut leaders: Vec<_> = links.iter().map(|link| link.leader()).collect();
    loop {
        let led = leaders.iter_mut().all(|leader| leader.borrow_and_update().is_some());
        let draining_now = *draining.borrow_and_update();
        let serving = led && !draining_now;
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in ["", SERVICE_NAME] {
            reporter.set_service_status(service, status).await;
        }
        if draining_now {
            for service in ["", SERVICE_NAME] {
                reporter.clear_service_status(service).await;
            }
            return;
        }
        let changes = leaders.iter_mut().map(|leader| Box::pin(leader.changed()));
        tokio::select! {
            _ = futures::future::select_all(changes) => {}
            _ = draining.changed() => {}
        }
    }
}

/// Shows who leads the shards, as far as the gateway knows, and whether it drains; until it ends.
async fn show(
    shown: watch::Sender<Standing>,
    links: Vec<Arc<Link>>,
    mut draining: watch::Receiver<bool>,
) {
    let mut leaders: Vec<_> = links.iter().map(|link| link.leader()).collect();
    loop {
        shown.send_replace(Standing {
            leaders: leaders.iter_mut().map(|leader| *leader.borrow_and_update()).collect(),
            draining: *draining.borrow_and_update(),
        });
        let changes = leaders.iter_mut().map(|leader| Box::pin(leader.changed()));
        tokio::select! {
            _ = futures::future::select_all(changes) => {}
            changed = draining.changed() => if changed.is_err() { return },
        }
    }
}
