//! How a gateway reaches nodes: what links need of a network, and nothing else.
//!
//! In production the network is tonic's (`nodes.rs`); a simulation has one of its own. A stream keeps its order and doubles
//! nothing; it may break at any moment, and what was on it may still arrive.

use std::fmt;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::sync::mpsc;
use tonic::Status;
use wire::proto::cluster::{Frame, FrameAnswer, Leader, ReadReply, ReadRequest};

/// The ways to the nodes.
pub trait Dial: fmt::Debug + Send + Sync {
    /// Every node that is known, in the order of their ids.
    fn ids(&self) -> Vec<u64>;

    /// Learns of a node that somebody named, unless it is known.
    fn learn(&self, named: &Leader);

    /// Asks a node one question. It may take for ever: whoever asks has a deadline.
    fn ask(
        &self,
        node: u64,
        question: ReadRequest,
    ) -> BoxFuture<'static, Result<ReadReply, Status>>;

    /// Opens a stream to a node, on which so many frames may wait to go out; `None` when it cannot be opened. It may take
    /// for ever.
    fn open(&self, node: u64, frames: usize) -> BoxFuture<'static, Option<Wire>>;
}

/// A stream to a node.
pub struct Wire {
    /// The node.
    pub node: u64,
    /// Frames out.
    pub frames: mpsc::Sender<Frame>,
    /// Answers in: an error, or the end, when it breaks.
    pub answers: BoxStream<'static, Result<FrameAnswer, Status>>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("node", &self.node).finish_non_exhaustive()
    }
}
