//! A disk in memory that keeps written and synced apart, and loses power on request.
//!
//! It does everything the contract of [`super::Disk`] allows a disk to do, and nothing at random
//! that its seed does not decide: no clock, no threads. Operations that change something are
//! counted, and each number is a point at which the power can go, or at which the operation can
//! fail.
//!
//! A handle is a view of one shared disk; clone it to keep hold of the disk while a log owns
//! another handle. Handles and files from before a loss of power, or a [`SimDisk::kill`], stay
//! dead: what a process that is gone had open cannot write again.

mod state;

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use super::disk::{Disk, DiskFile};
use state::{Contents, Fate, State, Unsynced};

/// What is left of unsynced writes and names after the power has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// None of them.
    Nothing,
    /// All of them.
    All,
    /// Those up to some moment, and a part of the one under way then.
    Torn,
    /// Any of them, each in any of its sectors.
    Reordered,
}

impl Keep {
    /// Every way to lose power.
    pub const ALL: [Self; 4] = [Self::Nothing, Self::All, Self::Torn, Self::Reordered];
}

/// A simulated disk. See the module.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    /// How many lives the disk had when this handle was made.
    life: u64,
}

/// An operation that changes something, and can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Making a file.
    Create,
    /// Removing a file.
    Remove,
    /// Writing to a file. A write that fails has written a part.
    Write,
    /// Syncing a file. A sync that fails makes some of the file's unsynced writes durable and gives
    /// up on the others: they can still be read, and no later sync covers them. That is what
    /// systems do.
    Sync,
    /// Syncing the directory.
    SyncDir,
}

/// The sector of a new disk: writes are torn and reordered in pieces of this size.
const SECTOR_BYTES: usize = 512;

impl SimDisk {
    /// An empty disk. Equal seeds and equal operations give equal disks.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State::new(seed, SECTOR_BYTES);
        Self { state: Arc::new(Mutex::new(state)), life: 0 }
    }

    /// A disk with smaller sectors, so that the small frames of a test are torn too.
    ///
    /// # Panics
    /// When `bytes` is 0.
    #[must_use]
    pub fn with_sector(self, bytes: usize) -> Self {
        assert!(bytes > 0, "a sector has bytes");
        self.lock().sector = bytes;
        self
    }

    /// A disk that holds these files, all durable.
    #[must_use]
    pub fn with_files(self, files: &BTreeMap<String, Vec<u8>>) -> Self {
        for (name, bytes) in files {
            self.put_file(name, bytes);
        }
        self
    }

    /// An independent copy, as it stands, whose later chances hang on another seed.
    #[must_use]
    pub fn fork(&self, seed: u64) -> Self {
        let state = State { random: seed, ..self.lock().clone() };
        Self { state: Arc::new(Mutex::new(state)), life: self.life }
    }

    /// A handle that works now, whatever became of this one.
    #[must_use]
    pub fn reopened(&self) -> Self {
        let life = self.lock().life;
        Self { state: Arc::clone(&self.state), life }
    }

    /// How many operations there were that change something.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Lets the power go during the operation with this number, counted from 0: it may be done in
    /// part, and its caller never hears.
    pub fn power_off_at(&self, operation: u64) {
        self.lock().power_off_at = Some(operation);
    }

    /// Lets the operation with this number, counted from 0, fail.
    pub fn fail_at(&self, operation: u64) {
        self.lock().fail_at = Some(operation);
    }

    /// Lets the next operation of this kind fail.
    pub fn fail_next(&self, operation: Operation) {
        self.lock().fail_next = Some(operation);
    }

    /// Whether an operation that is to fail has not come yet.
    #[must_use]
    pub fn awaits_failure(&self) -> bool {
        self.lock().fail_next.is_some()
    }

    /// Takes the power away now.
    pub fn power_off(&self) {
        self.lock().is_on = false;
    }

    /// Brings the power back. What was not synced is lost as `keep` says; returns a handle that
    /// works.
    #[must_use]
    pub fn power_on(&self, keep: Keep) -> Self {
        let mut state = self.lock();
        state.lose(keep);
        state.revive();
        drop(state);
        self.reopened()
    }

    /// Ends the process that uses the disk, but not the machine: everything written can still be
    /// read, and is as unsynced as it was. Returns a handle for the next process.
    #[must_use]
    pub fn kill(&self) -> Self {
        self.lock().revive();
        self.reopened()
    }

    /// All files, as a running process reads them.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.lock();
        let contents =
            |file| state.files.get(file).map(|file| file.seen.clone()).unwrap_or_default();
        state.names.iter().map(|(name, file)| (name.clone(), contents(file))).collect()
    }

    /// Puts a file in the place of whatever had its name, durably: a restored copy, an older state.
    pub fn put_file(&self, name: &str, bytes: &[u8]) {
        let mut state = self.lock();
        let file = state.next_file;
        state.next_file = file.saturating_add(1);
        state.files.insert(file, Contents { seen: bytes.to_vec(), durable: bytes.to_vec() });
        state.names.insert(name.to_owned(), file);
        state.durable_names.insert(name.to_owned(), file);
    }

    /// Makes a file disappear, durably, as no operation of the log would.
    pub fn lose_file(&self, name: &str) {
        let mut state = self.lock();
        state.names.remove(name);
        state.durable_names.remove(name);
    }

    /// Flips the bits of `mask` in one byte, durably. `false` when there is no such byte.
    pub fn flip(&self, name: &str, offset: usize, mask: u8) -> bool {
        let mut state = self.lock();
        let Some(file) = state.names.get(name).copied() else { return false };
        let Some(contents) = state.files.get_mut(&file) else { return false };
        let mut flipped = false;
        for bytes in [&mut contents.seen, &mut contents.durable] {
            if let Some(byte) = bytes.get_mut(offset) {
                *byte ^= mask;
                flipped = true;
            }
        }
        flipped
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the disk")
    }

    /// The disk, if this handle may still use it.
    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.lock();
        let is_alive = state.is_on && state.life == self.life;
        if is_alive { Ok(state) } else { Err(io::ErrorKind::NotConnected.into()) }
    }
}

fn failed() -> io::Error {
    io::Error::other("the simulated disk was told to fail")
}

fn unheard() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the simulated power is off")
}

impl Disk for SimDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.alive()?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let fate = state.fate(Operation::Create);
        if matches!(fate, Fate::Fails) {
            return Err(failed());
        }
        let file = state.next_file;
        state.next_file = file.saturating_add(1);
        state.files.insert(file, Contents::default());
        state.names.insert(name.to_owned(), file);
        state.unsynced.push(Unsynced::Create { name: name.to_owned(), file });
        if matches!(fate, Fate::Unheard) {
            return Err(unheard());
        }
        Ok(Arc::new(SimFile { disk: self.clone(), file }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.alive()?.names.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile { disk: self.clone(), file }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.alive()?;
        if !state.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let fate = state.fate(Operation::Remove);
        if matches!(fate, Fate::Fails) {
            return Err(failed());
        }
        state.names.remove(name);
        state.unsynced.push(Unsynced::Remove { name: name.to_owned() });
        if matches!(fate, Fate::Unheard) { Err(unheard()) } else { Ok(()) }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.alive()?.names.keys().cloned().collect())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.alive()?;
        match state.fate(Operation::SyncDir) {
            Fate::Done => {
                state.sync(None);
                Ok(())
            }
            Fate::Unheard => Err(unheard()),
            // The names stay unsynced, and a later sync may cover them: a directory's journal is
            // not given up in parts.
            Fate::Fails => Err(failed()),
        }
    }
}

struct SimFile {
    disk: SimDisk,
    file: u64,
}

impl DiskFile for SimFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.alive()?;
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        match state.fate(Operation::Write) {
            Fate::Done => state.write(self.file, offset, bytes.to_vec()),
            Fate::Unheard => {
                state.write(self.file, offset, bytes.to_vec());
                return Err(unheard());
            }
            Fate::Fails => {
                let part = state.below(bytes.len());
                state.write(self.file, offset, bytes.get(..part).unwrap_or_default().to_vec());
                return Err(failed());
            }
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let state = self.disk.alive()?;
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let contents = state.files.get(&self.file).ok_or(io::ErrorKind::NotFound)?;
        let end = offset.saturating_add(into.len());
        into.copy_from_slice(contents.seen.get(offset..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.alive()?;
        match state.fate(Operation::Sync) {
            Fate::Done => {
                state.sync(Some(self.file));
                Ok(())
            }
            Fate::Unheard => Err(unheard()),
            Fate::Fails => {
                let given_up = state.take_unsynced(Some(self.file));
                given_up.into_iter().for_each(|change| state.keep_some(change));
                Err(failed())
            }
        }
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.disk.alive()?;
        state
            .files
            .get(&self.file)
            .map(|file| file.seen.len() as u64)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
