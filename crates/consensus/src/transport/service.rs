//! The listening end of a lane as a gRPC service: greets, reads questions, and sends what the listener answers.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use tokio::sync::mpsc;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status, Streaming};

use super::listener::Listener;
use super::proto::peer_server::{Peer, PeerServer};
use super::tls::Certified;
use super::{
    FRAME_BYTES, Lane, PARCEL_READ_BYTES_MAX, PROBE_EVERY, Parcel, QUEUE_MESSAGES_MAX,
    WINDOW_BYTES, parcels,
};
use crate::desk::{Asker, Desk};
use crate::roster::TurnedAway;
use crate::runtime;

/// How a node is told that its data directory is not the one it is known by.
pub(super) const OTHER_DISK: Code = Code::PermissionDenied;

/// How a node is told that its certificate does not say that it is this node.
pub(super) const OTHER_CERTIFICATE: Code = Code::Unauthenticated;

/// Where peers' lanes end. Mount it on the node's gRPC server.
#[derive(Clone, Debug)]
pub struct PeerService {
    desk: Arc<Desk>,
    with_tls: bool,
}

impl PeerService {
    /// With TLS, every lane comes with what its certificate says.
    pub(crate) fn new(desk: Arc<Desk>, with_tls: bool) -> PeerServer<Self> {
        PeerServer::new(Self { desk, with_tls }).max_decoding_message_size(PARCEL_READ_BYTES_MAX)
    }
}

/// Gives a gRPC server what the lanes between nodes need: no delay, wide windows, probes of silent connections.
///
/// A server that is handed its connections must switch off Nagle's algorithm on each of them itself.
#[must_use]
pub fn tune<L>(server: Server<L>) -> Server<L> {
    server
        .tcp_nodelay(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .http2_keepalive_interval(Some(PROBE_EVERY))
        .http2_keepalive_timeout(Some(Duration::from_secs(2)))
}

#[tonic::async_trait]
impl Peer for PeerService {
    type LaneStream = Pin<Box<dyn Stream<Item = Result<Parcel, Status>> + Send>>;

    async fn lane(
        &self,
        request: Request<Streaming<Parcel>>,
    ) -> Result<Response<Self::LaneStream>, Status> {
        if *self.desk.going_down.borrow() {
            return Err(Status::unavailable("the node is going down"));
        }
        let certified = request.extensions().get().copied();
        let mut inbound = request.into_inner();
        let first = inbound.message().await?.and_then(|parcel| parcel.greeting);
        let greeting = first.ok_or_else(|| Status::invalid_argument("no greeting"))?;
        let roster = &self.desk.roster;
        let admitted =
            self.compare(greeting.node, certified).and_then(|()| roster.admit_dialler(&greeting));
        let disk = admitted.map_err(|away| {
            tracing::warn!(node = greeting.node, %away, "turned a node away");
            match away {
                // With whom it dealt: it may know another node here, and then it is not for it to go.
                TurnedAway::OtherDisk(_) => {
                    let own = Bytes::copy_from_slice(&roster.disk);
                    Status::with_details(OTHER_DISK, away.to_string(), own)
                }
                TurnedAway::OtherCertificate { .. } => {
                    Status::new(OTHER_CERTIFICATE, away.to_string())
                }
                TurnedAway::WrongNode(_)
                | TurnedAway::UnknownNode(_)
                | TurnedAway::OtherCluster => Status::failed_precondition(away.to_string()),
            }
        })?;
        let lane = Lane::from_number(greeting.lane)
            .ok_or_else(|| Status::invalid_argument("no such lane"))?;

        let (answers, outbound) = mpsc::channel(QUEUE_MESSAGES_MAX);
        let asker = Asker { node: greeting.node, disk };
        let listener = Listener::new(Arc::clone(&self.desk), (asker, lane), answers);
        runtime::spawn(read(listener, inbound));

        let ours = Parcel {
            greeting: Some(roster.greeting(greeting.node, greeting.lane)),
            messages: Vec::new(),
        };
        let stream = stream::once(std::future::ready(ours)).chain(parcels(outbound)).map(Ok);
        Ok(Response::new(Box::pin(stream)))
    }
}

impl PeerService {
    /// Whether a node that greets as this one has shown that it is.
    fn compare(&self, node: u64, certified: Option<Certified>) -> Result<(), TurnedAway> {
        let named = certified.and_then(|certified| certified.node);
        if self.with_tls && named != Some(node) {
            return Err(TurnedAway::OtherCertificate { node, named });
        }
        Ok(())
    }
}

/// Reads a lane to its end. Dropping the listener then ends the other direction.
async fn read(mut listener: Listener, mut inbound: Streaming<Parcel>) {
    let mut going_down = listener.going_down();
    loop {
        let parcel = tokio::select! {
            biased;
            () = listener.deserted() => break,
            _ = going_down.changed() => break,
            parcel = inbound.message() => parcel,
        };
        match parcel {
            Ok(Some(parcel)) => {
                if !listener.hear(parcel.messages).await {
                    break;
                }
            }
            Ok(None) => break,
            Err(status) => {
                tracing::debug!(?listener, %status, "lane broke");
                break;
            }
        }
    }
}
