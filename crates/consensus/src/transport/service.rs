//! The listening end of a lane as a gRPC service: greets, reads questions, and sends what the listener answers.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use tokio::sync::mpsc;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status, Streaming};

use super::listener::Listener;
use super::proto::peer_server::{Peer, PeerServer};
use super::{
    FRAME_BYTES, Lane, PARCEL_READ_BYTES_MAX, PROBE_EVERY, Parcel, QUEUE_MESSAGES_MAX,
    WINDOW_BYTES, parcels,
};
use crate::desk::{Asker, Desk};
use crate::roster::TurnedAway;
use crate::runtime;

/// How a node is told that its data directory is not the one it is known by.
pub(super) const OTHER_DISK: Code = Code::PermissionDenied;

/// Where peers' lanes end. Mount it on the node's gRPC server.
#[derive(Clone, Debug)]
pub struct PeerService {
    desk: Arc<Desk>,
}

impl PeerService {
    pub(crate) fn new(desk: Arc<Desk>) -> PeerServer<Self> {
        PeerServer::new(Self { desk }).max_decoding_message_size(PARCEL_READ_BYTES_MAX)
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
        let mut inbound = request.into_inner();
        let first = inbound.message().await?.and_then(|parcel| parcel.greeting);
        let greeting = first.ok_or_else(|| Status::invalid_argument("no greeting"))?;
        let roster = &self.desk.roster;
        let disk = roster.admit_dialler(&greeting).map_err(|away| {
            tracing::warn!(node = greeting.node, %away, "turned a node away");
            match away {
                TurnedAway::OtherDisk(_) => Status::new(OTHER_DISK, away.to_string()),
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
