//! The node's log writer: drains the requests of all groups into one log, writes once, syncs once,
//! and tells everybody.
//!
//! While the disk is busy with one frame the requests for the next gather, so the batch grows with
//! the load by itself. There is no timer: a request that finds the writer idle is written at once.
//!
//! **Invariant:** requests are written in the order in which they were made, votes and entries
//! alike, and each is told only after the sync. After a failure each is told of it, and nothing is
//! written.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    disk::Disk,
    error::LogError,
    failure::{Failure, Watcher},
    group_log::GroupLog,
    index::Index,
    queue::{Done, Queue, Request},
    shelf::Change,
    wal::Wal,
};

/// A frame is closed once it has this many bytes, and the rest of what was drained goes into the
/// next: a sync of more is not cheaper by the byte, and those who asked first are told first.
const FRAME_BYTES_AIM: u64 = 8 << 20;

/// Requests beyond this many bytes are taken, but there is no room for more. It is a quarter of a
/// second at 250 MB/s: who waits longer is better refused.
const QUEUE_BYTES_MAX: u64 = 64 << 20;

/// How a writer behaves.
pub struct WriterOptions {
    /// Where the soft bound of the queue lies.
    pub queue_bytes_max: u64,
    /// Told how long each commit took, write and sync together. Without it the writer asks no
    /// clock.
    pub on_commit: Option<Box<dyn Fn(Duration) + Send>>,
    /// Called after each request, from where it was made. A simulator learns by it that there is
    /// something to drain.
    pub on_work: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self { queue_bytes_max: QUEUE_BYTES_MAX, on_commit: None, on_work: None }
    }
}

/// Starts writers.
pub struct LogWriter;

impl LogWriter {
    /// Gives the log to a thread of its own, with a second one for making and removing segments.
    ///
    /// # Panics
    /// When the system has no thread left.
    #[must_use]
    pub fn start<D: Disk>(mut wal: Wal<D>, options: WriterOptions) -> Log {
        if let Err(error) = wal.hire_helper() {
            wal.failure().set(error);
        }
        let (log, mut core) = assemble(wal, options);
        let run = move || {
            let alarm =
                Alarm { queue: Arc::clone(&core.queue), failure: Arc::clone(core.wal.failure()) };
            while core.queue.wait() {
                core.turn();
            }
            drop(alarm);
        };
        let thread = std::thread::Builder::new().name("log-writer".into()).spawn(run);
        let thread = thread.expect("the system has a thread left when a node starts");
        *log.shared.thread.lock().expect("nothing panics while it holds the thread") = Some(thread);
        log
    }

    /// The same writer without threads: whoever holds the [`InlineWriter`] decides when it writes.
    #[must_use]
    pub fn inline<D: Disk>(wal: Wal<D>, options: WriterOptions) -> (Log, InlineWriter<D>) {
        let (log, core) = assemble(wal, options);
        (log, InlineWriter(core))
    }
}

/// A writer that is called instead of running.
pub struct InlineWriter<D: Disk>(Core<D>);

impl<D: Disk> InlineWriter<D> {
    /// Whether requests wait.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.0.queue.has_work()
    }

    /// Writes all that waits, and tells everybody. What they ask for in answer waits for the next
    /// call.
    pub fn drain(&mut self) {
        self.0.turn();
    }
}

/// The log of a node, for all its groups. Cheap to clone. When the last clone and the last
/// [`GroupLog`] are dropped, what waits is written, and the threads end.
#[derive(Clone)]
pub struct Log {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) index: Arc<Index>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) failure: Arc<Failure>,
    pub(crate) salt: u64,
    written: Arc<Written>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Written {
    frames: AtomicU64,
    bytes: AtomicU64,
}

impl Log {
    /// One group's part of the log.
    #[must_use]
    pub fn group(&self, group: u32) -> GroupLog {
        GroupLog::new(self.clone(), group, self.shared.index.shelf(group))
    }

    /// All groups that have asked for something, now or before the log was opened.
    #[must_use]
    pub fn groups(&self) -> Vec<u32> {
        self.shared.index.groups()
    }

    /// The failure that has stopped the log.
    #[must_use]
    pub fn failed(&self) -> Option<LogError> {
        self.shared.failure.get().cloned()
    }

    /// Calls once when the log fails, at once if it has. The node must stop then.
    pub fn on_failure(&self, watcher: Watcher) {
        self.shared.failure.watch(watcher);
    }

    /// Bytes of requests that are not durable yet.
    #[must_use]
    pub fn queued_bytes(&self) -> u64 {
        self.shared.queue.bytes()
    }

    /// Calls when the queue is within its bound, at once if it is. No request ever waits or is
    /// refused for want of room, so that nothing blocks a thread of an async runtime: whoever can
    /// wait, waits for this call before he asks.
    pub fn when_room(&self, call: Box<dyn FnOnce() + Send>) {
        self.shared.queue.when_room(call);
    }

    /// Frames written and synced since the log was opened.
    #[must_use]
    pub fn synced_frames(&self) -> u64 {
        self.shared.written.frames.load(Ordering::Relaxed)
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes_total(&self) -> u64 {
        self.shared.written.bytes.load(Ordering::Relaxed)
    }

    /// For each group, how many bytes of log it keeps from being removed. The largest is the group
    /// that needs a checkpoint.
    #[must_use]
    pub fn bytes_held(&self) -> BTreeMap<u32, u64> {
        let index = &self.shared.index;
        index
            .groups()
            .into_iter()
            .map(|group| (group, index.bytes_held(&index.shelf(group))))
            .collect()
    }

    /// Takes no more requests, writes those that wait, and ends the threads. With an
    /// [`InlineWriter`] the next drain writes them.
    pub fn close(&self) {
        self.shared.close();
    }
}

impl Shared {
    fn close(&self) {
        self.queue.close();
        let thread = self.thread.lock().expect("nothing panics while it holds the thread").take();
        // The last handle may be dropped by a callback, on the writer's own thread, which ends
        // right after.
        if let Some(thread) =
            thread.filter(|thread| thread.thread().id() != std::thread::current().id())
        {
            // A panic there has been set as the log's failure.
            let _ = thread.join();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close();
    }
}

/// Speaks when the writer's thread ends by a panic: no request may wait for ever.
struct Alarm {
    queue: Arc<Queue>,
    failure: Arc<Failure>,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.failure.set(LogError::Died { file: ".".to_owned(), offset: 0 });
        }
        self.queue.abandon();
    }
}

/// What drains, with or without a thread around it.
struct Core<D: Disk> {
    wal: Wal<D>,
    queue: Arc<Queue>,
    written: Arc<Written>,
    on_commit: Option<Box<dyn Fn(Duration) + Send>>,
    batch: Vec<Request>,
    committed: BTreeMap<u32, Bytes>,
    dones: Vec<Done>,
}

fn assemble<D: Disk>(wal: Wal<D>, options: WriterOptions) -> (Log, Core<D>) {
    let queue = Arc::new(Queue::new(options.queue_bytes_max, options.on_work));
    let written = Arc::new(Written::default());
    let shared = Shared {
        index: Arc::clone(wal.index()),
        queue: Arc::clone(&queue),
        failure: Arc::clone(wal.failure()),
        salt: wal.salt(),
        written: Arc::clone(&written),
        thread: Mutex::new(None),
    };
    let core = Core {
        wal,
        queue,
        written,
        on_commit: options.on_commit,
        batch: Vec::new(),
        committed: BTreeMap::new(),
        dones: Vec::new(),
    };
    (Log { shared: Arc::new(shared) }, core)
}

impl<D: Disk> Core<D> {
    /// Writes all that waits.
    fn turn(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        self.queue.take(&mut batch, &mut self.committed);
        let is_healthy = self.wal.failure().get().is_none();
        let mut bytes = 0_u64;
        for Request { group, change, done, bytes: its_bytes } in batch.drain(..) {
            if let Some(change) = change.filter(|_| is_healthy) {
                self.wal.put(group, change);
            }
            self.dones.push(done);
            bytes = bytes.saturating_add(its_bytes);
            if self.wal.bytes_pending() >= FRAME_BYTES_AIM {
                self.finish(std::mem::take(&mut bytes));
            }
        }
        // What is committed was appended before: so it goes last.
        for (group, committed) in std::mem::take(&mut self.committed) {
            if is_healthy {
                self.wal.put(group, Change::Committed(committed));
            }
        }
        self.finish(bytes);
        self.batch = batch;
    }

    fn finish(&mut self, bytes: u64) {
        let begun = self.on_commit.as_ref().map(|hook| (hook, Instant::now()));
        let result = self.wal.commit();
        if let Some((hook, begun)) = begun {
            hook(begun.elapsed());
        }
        let counts = self.wal.counts();
        self.written.frames.store(counts.frames, Ordering::Relaxed);
        self.written.bytes.store(counts.bytes, Ordering::Relaxed);
        self.queue.release(bytes);
        for done in self.dones.drain(..) {
            done(result.clone().map_err(Into::into));
        }
    }
}
