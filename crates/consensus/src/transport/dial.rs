//! Keeps the lanes of a link up: connect, greet, carry, and again when it breaks.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::sync::watch;
use tonic::transport::Endpoint;

use super::link::Waiting;
use super::proto::peer_client::PeerClient;
use super::service::{OTHER_CERTIFICATE, OTHER_DISK};
use super::tls::PeerTls;
use super::{
    FRAME_BYTES, Lane, Link, PARCEL_READ_BYTES_MAX, PROBE_EVERY, Parcel, WINDOW_BYTES, parcels,
};
use crate::raft::DiskId;
use crate::roster::{Roster, TurnedAway};
use crate::runtime;

/// How long connecting and greeting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The first pause after a failure, doubled up to the last: short enough that a restarted peer is found before an
/// election, long enough to cost nothing while it is away.
const PAUSE_MIN: Duration = Duration::from_millis(25);
const PAUSE_MAX: Duration = Duration::from_millis(800);

/// Why a lane is not up.
#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error("the peer's address is not known")]
    NoAddress,
    #[error(transparent)]
    Transport(#[from] tonic::transport::Error),
    #[error(transparent)]
    Status(#[from] tonic::Status),
    #[error(transparent)]
    TurnedAway(#[from] TurnedAway),
    #[error("no greeting in time")]
    Late,
    #[error("the peer ended the lane")]
    Ended,
}

/// Where peers are, and how they are reached.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) roster: Arc<Roster>,
    /// With TLS.
    pub(crate) tls: Option<PeerTls>,
}

impl Way {
    fn endpoint(&self, peer: u64) -> Result<Endpoint, DialError> {
        let address = self.roster.address(peer).ok_or(DialError::NoAddress)?;
        Ok(match &self.tls {
            None => Endpoint::from_shared(format!("http://{address}"))?,
            Some(tls) => {
                Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls.to(peer))?
            }
        })
    }
}

/// Keeps one lane up until `stop` changes or its sender goes.
pub(crate) async fn dial(link: Arc<Link>, lane: Lane, way: Way, mut stop: watch::Receiver<bool>) {
    let mut pause = PAUSE_MIN;
    let mut distrusts = false;
    while !*stop.borrow() {
        let outcome = tokio::select! {
            biased;
            _ = stop.changed() => break,
            outcome = run(&link, lane, &way) => outcome,
        };
        link.disconnect(lane);
        match outcome {
            Ok(()) => pause = PAUSE_MIN,
            Err(error) => {
                heed(&link, &way.roster, &error);
                // Said once, and not with every attempt, until something else is wrong.
                let is_news = !std::mem::replace(&mut distrusts, is_distrust(&error));
                if is_news && distrusts {
                    let why = told(&error);
                    tracing::warn!(
                        peer = link.peer,
                        ?lane,
                        why,
                        "no TLS with the peer that will do"
                    );
                }
                tracing::debug!(peer = link.peer, ?lane, %error, "lane is down");
                pause = pause.saturating_mul(2).min(PAUSE_MAX);
            }
        }
        // Peers that lost the same node do not all come back to it at the same moment.
        let spread = runtime::random_between(PAUSE_MIN..=pause);
        tokio::select! {
            biased;
            _ = stop.changed() => break,
            () = runtime::sleep(spread) => {}
        }
    }
    link.disconnect(lane);
}

/// Takes note when the peer knows this node with another data directory. It is only a peer's word when the peer itself is
/// the one that is known here: a node of a cluster that this one's was restored from knows others by these ids, and must
/// not stop anybody here.
fn heed(link: &Link, roster: &Roster, error: &DialError) {
    let DialError::Status(status) = error else { return };
    if status.code() != OTHER_DISK {
        return;
    }
    let theirs = DiskId::try_from(status.details()).ok();
    if theirs.is_some_and(|theirs| !roster.is_welcome(link.peer, theirs)) {
        tracing::debug!(peer = link.peer, "turned away by a node of another cluster");
        return;
    }
    link.set_turned_away();
    roster.tell();
}

/// One connection's life. `Ok` when it was up for a while.
async fn run(link: &Link, lane: Lane, way: &Way) -> Result<(), DialError> {
    let roster = &way.roster;
    let channel = way
        .endpoint(link.peer)?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .http2_keep_alive_interval(PROBE_EVERY)
        .keep_alive_timeout(PROBE_EVERY)
        .keep_alive_while_idle(true)
        .connect()
        .await?;
    let mut client = PeerClient::new(channel).max_decoding_message_size(PARCEL_READ_BYTES_MAX);

    let greeting = roster.greeting(link.peer, lane.number());
    let first = Parcel { greeting: Some(greeting), messages: Vec::new() };
    // The queue is made only once the peer has answered the greeting: until then the lane refuses.
    let (start, started) = tokio::sync::oneshot::channel();
    let rest = stream::once(async move { started.await.ok() })
        .filter_map(std::future::ready)
        .flat_map(parcels);
    let outbound = stream::once(std::future::ready(first)).chain(rest);

    let greeted = async {
        let mut inbound = client.lane(outbound).await?.into_inner();
        let parcel = inbound.message().await?.ok_or(DialError::Ended)?;
        let greeting = parcel.greeting.ok_or(DialError::Ended)?;
        let found = roster.admit_listener(link.peer, &greeting);
        link.set_found(found);
        found?;
        Ok::<_, DialError>(inbound)
    };
    let mut inbound =
        runtime::timeout(CONNECT_TIMEOUT, greeted).await.map_err(|_| DialError::Late)??;

    let (queue, waiting) = link.connect(lane);
    let _gone = start.send(queue);
    tracing::debug!(peer = link.peer, ?lane, "lane is up");
    while let Some(parcel) = inbound.message().await? {
        resolve(parcel, &waiting);
    }
    Ok(())
}

/// Whether an error says that one of the two does not trust the other: the peer says so, or it comes as data that cannot
/// be, where a network that fails breaks or refuses the connection.
fn is_distrust(error: &DialError) -> bool {
    if let DialError::Status(status) = error
        && status.code() == OTHER_CERTIFICATE
    {
        return true;
    }
    causes(error).any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::InvalidData)
    })
}

/// The innermost of an error's causes, which says what it was.
fn told(error: &DialError) -> String {
    causes(error).last().map_or_else(String::new, ToString::to_string)
}

fn causes(error: &DialError) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |error| error.source())
}

fn resolve(parcel: Parcel, waiting: &Waiting) {
    for answer in parcel.messages {
        waiting.resolve(answer);
    }
}
