//! Making the next segment and removing old ones: slow work that no commit should wait for.
//!
//! Beside the writer thread a helper thread does it. Without threads, in the simulator and in
//! tests, the log does it itself, right after the commit that made it necessary, so that it happens
//! at the same operation on each run.

use std::{
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use super::{
    disk::{Disk, NamedFile, sync_dir, unlink},
    error::LogError,
    failure::Failure,
    format::segment_name,
};

/// A segment that is zeroed, synced and named, and holds nothing yet.
pub(crate) struct Spare {
    pub(crate) number: u32,
    pub(crate) file: NamedFile,
    pub(crate) len: u64,
}

/// Who does the slow work.
pub(crate) trait Housekeeping: Send {
    /// Asks for a segment to be made.
    fn prepare(&mut self, number: u32) -> Result<(), LogError>;

    /// The segment asked for. Waits until it is made.
    fn spare(&mut self, number: u32) -> Result<Spare, LogError>;

    /// Removes a segment, after those it was asked to remove before.
    fn unlink(&mut self, number: u32) -> Result<(), LogError>;

    /// Gives up the segment it has in hand, for its successor in the office.
    fn release(&mut self) -> Option<Spare>;
}

/// How long a log's first segment is; each of the next is twice as long as the one before, until
/// they have their full length. So a new node starts at once, and a small log is small.
const FIRST_SEGMENT_BYTES: u64 = 4 << 20;

/// The work itself.
pub(crate) struct Workshop<D> {
    pub(crate) disk: Arc<D>,
    /// The full length of a segment.
    pub(crate) segment_bytes: u64,
}

impl<D: Disk> Workshop<D> {
    /// Makes a segment of zeros, durable in bytes and name before anybody may use it.
    pub(crate) fn prepare(&self, number: u32) -> Result<Spare, LogError> {
        let file = NamedFile::create(&*self.disk, &segment_name(number))?;
        let len = self.len_of(number);
        file.zero(0, len)?;
        sync_dir(&*self.disk)?;
        Ok(Spare { number, file, len })
    }

    /// How long a segment is made, unless a frame needs a longer one.
    fn len_of(&self, number: u32) -> u64 {
        let doubled = 1_u64.checked_shl(number.saturating_sub(1)).unwrap_or(u64::MAX);
        FIRST_SEGMENT_BYTES.saturating_mul(doubled).min(self.segment_bytes)
    }

    fn unlink(&self, number: u32) -> Result<(), LogError> {
        unlink(&*self.disk, &segment_name(number))
    }
}

/// Does the work on the spot.
pub(crate) struct OnTheSpot<D> {
    pub(crate) workshop: Workshop<D>,
    pub(crate) spare: Option<Spare>,
}

impl<D: Disk> Housekeeping for OnTheSpot<D> {
    fn prepare(&mut self, number: u32) -> Result<(), LogError> {
        if self.spare.is_none() {
            self.spare = Some(self.workshop.prepare(number)?);
        }
        Ok(())
    }

    fn spare(&mut self, number: u32) -> Result<Spare, LogError> {
        match self.spare.take().filter(|spare| spare.number == number) {
            Some(spare) => Ok(spare),
            None => self.workshop.prepare(number),
        }
    }

    fn unlink(&mut self, number: u32) -> Result<(), LogError> {
        self.workshop.unlink(number)
    }

    fn release(&mut self) -> Option<Spare> {
        self.spare.take()
    }
}

enum Chore {
    Prepare(u32),
    Unlink(u32),
}

/// Lets a thread do the work. At most one segment is being made; removals wait in order, and are as
/// many as there are segments.
pub(crate) struct Helper {
    /// `None` only while the helper is being dropped.
    chores: Option<mpsc::Sender<Chore>>,
    made: mpsc::Receiver<Result<Spare, LogError>>,
    spare: Option<Spare>,
    is_asked: bool,
    thread: Option<JoinHandle<()>>,
}

impl Helper {
    /// Starts the thread. What fails there is set as the log's failure at once.
    pub(crate) fn start<D: Disk>(
        workshop: Workshop<D>,
        spare: Option<Spare>,
        failure: Arc<Failure>,
    ) -> Self {
        let (chores, todo) = mpsc::channel();
        let (report, made) = mpsc::channel();
        let work = move || {
            for chore in todo {
                match chore {
                    Chore::Prepare(number) => {
                        let spare = workshop
                            .prepare(number)
                            .inspect_err(|error| failure.set(error.clone()));
                        // Nobody listens when the log is closed meanwhile; the next start finds the
                        // segment.
                        let _ = report.send(spare);
                    }
                    Chore::Unlink(number) => {
                        if failure.get().is_none()
                            && let Err(error) = workshop.unlink(number)
                        {
                            failure.set(error);
                        }
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("log-helper".into()).spawn(work);
        let thread = thread.expect("the system has a thread left when a node starts");
        Self { chores: Some(chores), made, spare, is_asked: false, thread: Some(thread) }
    }

    fn ask(&self, number: u32, chore: Chore) -> Result<(), LogError> {
        let sent = self.chores.as_ref().and_then(|chores| chores.send(chore).ok());
        sent.ok_or_else(|| LogError::Died { file: segment_name(number), offset: 0 })
    }
}

impl Housekeeping for Helper {
    fn prepare(&mut self, number: u32) -> Result<(), LogError> {
        if self.spare.is_none() && !self.is_asked {
            self.ask(number, Chore::Prepare(number))?;
            self.is_asked = true;
        }
        Ok(())
    }

    fn spare(&mut self, number: u32) -> Result<Spare, LogError> {
        self.prepare(number)?;
        if let Some(spare) = self.spare.take() {
            return Ok(spare);
        }
        self.is_asked = false;
        self.made
            .recv()
            .unwrap_or_else(|_| Err(LogError::Died { file: segment_name(number), offset: 0 }))
    }

    fn unlink(&mut self, number: u32) -> Result<(), LogError> {
        self.ask(number, Chore::Unlink(number))
    }

    fn release(&mut self) -> Option<Spare> {
        self.spare.take()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.chores = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was its own report; what it left undone, the next start finds.
            let _ = thread.join();
        }
    }
}
