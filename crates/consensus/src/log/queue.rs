//! Requests on their way from the groups to the writer.
//!
//! **Invariant:** the bound is soft. A request that has changed its shelf is always taken, for a
//! shelf that shows an entry which nobody will write would be a lie; whoever can wait asks for room
//! first.

use std::{
    collections::BTreeMap,
    io,
    sync::{Condvar, Mutex, MutexGuard},
};

use bytes::Bytes;

use super::{error::Misuse, shelf::Change};

/// Called on the writer's thread when what was asked for is durable, or has failed. It must be
/// short: all groups wait for it.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// What a request costs in the queue beside its bodies.
const REQUEST_BYTES: u64 = 128;

pub(crate) struct Request {
    pub(crate) group: u32,
    /// `None` when there is nothing to do but to wait for the requests before it.
    pub(crate) change: Option<Change>,
    pub(crate) done: Done,
    pub(crate) bytes: u64,
}

impl Request {
    pub(crate) fn new(group: u32, change: Option<Change>, done: Done) -> Self {
        let bytes = change.as_ref().map_or(0, |change| match change {
            Change::Append { entries, .. } => {
                entries.iter().map(|(_, body)| body.len() as u64).sum()
            }
            Change::Truncate { .. } => 0,
            Change::Purge { point: body, .. } | Change::Vote(body) | Change::Committed(body) => {
                body.len() as u64
            }
        });
        Self { group, change, done, bytes: bytes.saturating_add(REQUEST_BYTES) }
    }
}

/// Called when the queue has room again.
pub(crate) type Room = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Waiting {
    requests: Vec<Request>,
    /// The latest for each group: it needs no sync of its own, and rides with the next request.
    committed: BTreeMap<u32, Bytes>,
    /// Of the requests here, and of those the writer has in hand.
    bytes: u64,
    room: Vec<Room>,
    is_writer_idle: bool,
    is_closing: bool,
    is_closed: bool,
}

impl Waiting {
    fn has_work(&self) -> bool {
        !self.requests.is_empty() || (self.is_closing && !self.committed.is_empty())
    }
}

pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    bytes_max: u64,
    on_work: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Queue {
    pub(crate) fn new(bytes_max: u64, on_work: Option<Box<dyn Fn() + Send + Sync>>) -> Self {
        Self { waiting: Mutex::default(), arrived: Condvar::new(), bytes_max, on_work }
    }

    /// Adds a request. Gives it back when the queue is closed.
    pub(crate) fn push(&self, request: Request) -> Result<(), (Done, Misuse)> {
        let mut waiting = self.lock();
        if waiting.is_closing {
            return Err((request.done, Misuse::Closed));
        }
        waiting.bytes = waiting.bytes.saturating_add(request.bytes);
        waiting.requests.push(request);
        // Waking a thread costs more than all the rest here, and a writer that is busy looks again
        // by itself.
        let wakes = std::mem::take(&mut waiting.is_writer_idle);
        drop(waiting);
        if wakes {
            self.arrived.notify_one();
        }
        if let Some(on_work) = &self.on_work {
            on_work();
        }
        Ok(())
    }

    pub(crate) fn put_committed(&self, group: u32, committed: Bytes) {
        self.lock().committed.insert(group, committed);
    }

    /// Takes all that waits. `batch` and `committed` must be empty; their space is used again.
    pub(crate) fn take(&self, batch: &mut Vec<Request>, committed: &mut BTreeMap<u32, Bytes>) {
        let mut waiting = self.lock();
        if waiting.has_work() {
            std::mem::swap(&mut waiting.requests, batch);
            std::mem::swap(&mut waiting.committed, committed);
        }
    }

    /// Waits for work. `false` when the queue is closed and all is done.
    pub(crate) fn wait(&self) -> bool {
        let mut waiting = self.lock();
        while !waiting.has_work() {
            if waiting.is_closing {
                waiting.is_closed = true;
                return false;
            }
            waiting.is_writer_idle = true;
            waiting = self.arrived.wait(waiting).expect("nothing panics while it holds the queue");
        }
        waiting.is_writer_idle = false;
        true
    }

    pub(crate) fn has_work(&self) -> bool {
        self.lock().has_work()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// The writer is done with requests of so many bytes.
    pub(crate) fn release(&self, bytes: u64) {
        let mut waiting = self.lock();
        waiting.bytes = waiting.bytes.saturating_sub(bytes);
        let has_room = waiting.bytes <= self.bytes_max;
        let room = if has_room { std::mem::take(&mut waiting.room) } else { Vec::new() };
        drop(waiting);
        room.into_iter().for_each(|call| call());
    }

    /// Calls when there is room, at once if there is.
    pub(crate) fn when_room(&self, call: Room) {
        let mut waiting = self.lock();
        if waiting.bytes <= self.bytes_max || waiting.is_closed {
            drop(waiting);
            call();
        } else {
            waiting.room.push(call);
        }
    }

    /// Takes no more requests. Those here are still written.
    pub(crate) fn close(&self) {
        self.lock().is_closing = true;
        self.arrived.notify_all();
    }

    /// The writer is gone, and with it all hope for what waits: whoever waits for a call learns of
    /// it by the call being dropped.
    pub(crate) fn abandon(&self) {
        let mut waiting = self.lock();
        (waiting.is_closing, waiting.is_closed) = (true, true);
        let dropped = (std::mem::take(&mut waiting.requests), std::mem::take(&mut waiting.room));
        drop(waiting);
        drop(dropped);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nothing panics while it holds the queue")
    }
}
