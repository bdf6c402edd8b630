//! A connection that is made again when it breaks.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex;

use super::gate::Gate;
use super::grpc::{CallError, Channel, MethodHead};

/// How long a call may go unanswered before its connection counts as dead: the gateway answers everything within its
/// own 10 seconds, with failures if need be.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(12);

/// How long to wait before the next attempt to connect.
pub(super) const RECONNECT_AFTER: Duration = Duration::from_millis(50);

/// A connection for single calls, shared by its callers.
#[derive(Debug)]
pub(super) struct Lane {
    gate: Gate,
    channel: Mutex<Option<Rc<Channel>>>,
}

impl Lane {
    /// A connection to a door, made when it is first used.
    pub(super) fn to(gate: &Gate) -> Rc<Self> {
        Rc::new(Self { gate: gate.clone(), channel: Mutex::new(None) })
    }

    /// The head of every call of a method.
    pub(super) fn method(&self, path: &str) -> anyhow::Result<MethodHead> {
        MethodHead::new(&self.gate, path)
    }

    /// One message there, one back.
    ///
    /// # Errors
    /// When none came. A connection that broke is made anew by the next call.
    pub(super) async fn call(
        &self,
        method: &MethodHead,
        message: Bytes,
    ) -> Result<Bytes, CallError> {
        let channel = self.channel().await.map_err(CallError::NotConnected)?;
        match tokio::time::timeout(ANSWER_TIMEOUT, channel.unary(method, message)).await {
            Ok(answer) => answer,
            Err(_) => {
                self.forget(&channel).await;
                Err(CallError::Nonsense("no answer for too long"))
            }
        }
    }

    /// The connection; whoever finds none makes it, and the others wait for that.
    async fn channel(&self) -> anyhow::Result<Rc<Channel>> {
        let mut held = self.channel.lock().await;
        if let Some(channel) = held.as_ref().filter(|channel| !channel.is_closed()) {
            return Ok(Rc::clone(channel));
        }
        *held = None;
        let channel = Rc::new(Channel::connect(&self.gate).await?);
        *held = Some(Rc::clone(&channel));
        Ok(channel)
    }

    async fn forget(&self, dead: &Rc<Channel>) {
        let mut held = self.channel.lock().await;
        if held.as_ref().is_some_and(|channel| Rc::ptr_eq(channel, dead)) {
            *held = None;
        }
    }
}
