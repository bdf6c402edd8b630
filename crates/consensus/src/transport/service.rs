//! The listening end of a lane: greets, reads questions, and sends what the desk answers.
//!
//! Questions on the control, mail and snapshot lanes are answered concurrently, entries in order within their session
//! ([`super::lanes`]). A lane whose node turns out to have another data directory than its group records is cut.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use tokio::sync::{Semaphore, mpsc};
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status, Streaming};

use super::lanes::Sessions;
use super::proto::peer_server::{Peer, PeerServer};
use super::tls::Certified;
use super::{
    FRAME_BYTES, Kind, Lane, Message, PARCEL_READ_BYTES_MAX, PROBE_EVERY, Parcel,
    QUEUE_MESSAGES_MAX, Refusal, WINDOW_BYTES, parcels,
};
use crate::desk::{Asker, Desk};
use crate::roster::TurnedAway;

/// Questions of one lane that are worked on at a time. Past it the lane is read no further, and its sender's queue
/// fills: 64 groups with a vote, a heartbeat and a read each, with room to spare.
const CONCURRENT_MAX: usize = 512;

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
                TurnedAway::OtherDisk(_) => Status::new(OTHER_DISK, away.to_string()),
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
        tokio::spawn(read(Arc::clone(&self.desk), (asker, lane), inbound, answers));

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

/// Reads a lane to its end. Dropping `answers` then ends the other direction.
async fn read(
    desk: Arc<Desk>,
    (asker, lane): (Asker, Lane),
    mut inbound: Streaming<Parcel>,
    answers: mpsc::Sender<Message>,
) {
    let mut sessions = Sessions::default();
    let room = Arc::new(Semaphore::new(CONCURRENT_MAX));
    let mut going_down = desk.going_down.clone();
    loop {
        let parcel = tokio::select! {
            parcel = inbound.message() => parcel,
            () = answers.closed() => break,
            _ = going_down.changed() => break,
        };
        let parcel = match parcel {
            Ok(Some(parcel)) => parcel,
            Ok(None) => break,
            Err(status) => {
                tracing::debug!(node = asker.node, ?lane, %status, "lane broke");
                break;
            }
        };
        if !desk.roster.is_welcome(asker.node, asker.disk) {
            tracing::error!(node = asker.node, "a node's data directory is not the one recorded");
            break;
        }
        for question in parcel.messages {
            if Kind::from_number(question.kind) == Some(Kind::Append) {
                sessions.take(&desk, question, &answers).await;
            } else {
                let Ok(turn) = Arc::clone(&room).acquire_owned().await else { return };
                let (desk, answers) = (Arc::clone(&desk), answers.clone());
                tokio::spawn(async move {
                    answer(&desk, asker, question, &answers).await;
                    drop(turn);
                });
            }
        }
    }
}

async fn answer(desk: &Desk, asker: Asker, question: Message, answers: &mpsc::Sender<Message>) {
    let (group, request) = (question.group, question.request);
    let answer = match (Kind::from_number(question.kind), u16::try_from(group)) {
        (Some(kind), Ok(group)) => {
            desk.answer(asker, group, kind, (question.head, question.bodies)).await
        }
        (None, _) | (_, Err(_)) => Err(Refusal::Unreadable),
    };
    // Nobody is left to hear it when the lane has ended.
    let _gone = answers.send(Message::answer(group, request, answer)).await;
}
