//! The disk as the log sees it: one flat directory of files.
//!
//! *Everything* the log does to a disk passes through these two traits, so a simulated disk can
//! stop the world at each single operation, and what is tested there is the code that runs.
//!
//! **Invariant:** what a disk promises is only this: after `sync` returns, the bytes written to
//! that file before are durable, if the file's name is; after `sync_dir` returns, the names are.
//! Before that anything may be lost, in any order, in parts. Bytes already durable are not harmed
//! by a later write beside them.

use std::{
    io,
    sync::{Arc, LazyLock},
};

use super::error::{Action, Damage, LogError};

/// A directory of files.
pub trait Disk: Send + Sync + 'static {
    /// Makes an empty file. Fails when the name is taken.
    ///
    /// # Errors
    /// What the disk says.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file that exists.
    ///
    /// # Errors
    /// What the disk says.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Removes a name. Whoever has the file open can go on reading it.
    ///
    /// # Errors
    /// What the disk says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// All names, in no particular order.
    ///
    /// # Errors
    /// What the disk says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes all changes of names durable.
    ///
    /// # Errors
    /// What the disk says. Nobody then knows which names are durable.
    fn sync_dir(&self) -> io::Result<()>;
}

/// An open file.
#[expect(clippy::len_without_is_empty, reason = "a file is not a collection, and nobody asks it")]
pub trait DiskFile: Send + Sync + 'static {
    /// Writes all the bytes, growing the file when they reach beyond its end.
    ///
    /// # Errors
    /// What the disk says. Any part of the bytes may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Fills the buffer.
    ///
    /// # Errors
    /// What the disk says; `UnexpectedEof` when the file ends before the buffer is full.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Makes the bytes and the length durable (`fdatasync`).
    ///
    /// # Errors
    /// What the disk says. Nobody then knows which bytes are durable, and asking again does not
    /// tell.
    fn sync(&self) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    /// What the disk says.
    fn len(&self) -> io::Result<u64>;

    /// Asks whoever caches the disk to read these bytes from it the next time. Nothing hangs on it but how soon rot is
    /// found.
    fn forget(&self, _offset: u64, _len: u64) {}
}

/// Zeros are written and synced in steps of this size: a helper that floods the device would make
/// the writer's syncs wait.
const ZERO_STEP: u64 = 4 << 20;

static ZEROS: LazyLock<Vec<u8>> =
    LazyLock::new(|| vec![0; usize::try_from(ZERO_STEP).expect("4 MiB fit")]);

/// A file with its name, so that an error can say where.
#[derive(Clone)]
pub(crate) struct NamedFile {
    pub(crate) name: Arc<str>,
    file: Arc<dyn DiskFile>,
}

impl NamedFile {
    pub(crate) fn create(disk: &impl Disk, name: &str) -> Result<Self, LogError> {
        let file = disk.create(name).map_err(|e| refused(name, 0, Action::Create, e))?;
        Ok(Self { name: name.into(), file })
    }

    pub(crate) fn open(disk: &impl Disk, name: &str) -> Result<Self, LogError> {
        let file = disk.open(name).map_err(|e| refused(name, 0, Action::Open, e))?;
        Ok(Self { name: name.into(), file })
    }

    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), LogError> {
        self.file.write_at(offset, bytes).map_err(|e| refused(&self.name, offset, Action::Write, e))
    }

    pub(crate) fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), LogError> {
        self.file.read_at(offset, into).map_err(|e| refused(&self.name, offset, Action::Read, e))
    }

    pub(crate) fn forget(&self, offset: u64, len: u64) {
        self.file.forget(offset, len);
    }

    pub(crate) fn sync(&self) -> Result<(), LogError> {
        self.file.sync().map_err(|e| refused(&self.name, 0, Action::Sync, e))
    }

    /// Overwrites `from..to` with zeros, and syncs them. A file that is zeroed beforehand syncs a
    /// third faster than one whose space is only reserved, because no sync has to change the file's
    /// metadata.
    pub(crate) fn zero(&self, from: u64, to: u64) -> Result<(), LogError> {
        let mut at = from;
        while at < to {
            let step = to.saturating_sub(at).min(ZERO_STEP);
            let zeros = usize::try_from(step).ok().and_then(|step| ZEROS.get(..step));
            self.write(at, zeros.expect("a step is at most as long as the zeros"))?;
            self.sync()?;
            at = at.saturating_add(step);
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> Result<u64, LogError> {
        self.file.len().map_err(|e| refused(&self.name, 0, Action::Length, e))
    }

    /// Reads the whole file into `buffer`, which is reused from file to file.
    pub(crate) fn read_all(&self, buffer: &mut Vec<u8>) -> Result<(), LogError> {
        let len = self.len()?;
        let too_large =
            || LogError::Corrupt { file: self.name.to_string(), offset: 0, damage: Damage::Size };
        // Places in the index are 32 bits wide, and no segment is made larger than that.
        let len = u32::try_from(len).map_err(|_| too_large())?;
        buffer.clear();
        buffer.resize(usize::try_from(len).map_err(|_| too_large())?, 0);
        self.read(0, buffer)
    }
}

/// Syncs the directory.
pub(crate) fn sync_dir(disk: &impl Disk) -> Result<(), LogError> {
    disk.sync_dir().map_err(|e| refused(".", 0, Action::Sync, e))
}

/// Removes one file and syncs the directory before anything else may happen: were two names removed
/// under one sync, a power cut could bring the earlier one back without the later.
pub(crate) fn unlink(disk: &impl Disk, name: &str) -> Result<(), LogError> {
    disk.remove(name).map_err(|e| refused(name, 0, Action::Remove, e))?;
    sync_dir(disk)
}

/// Names the place where the disk said no.
pub(crate) fn refused(name: &str, offset: u64, action: Action, source: io::Error) -> LogError {
    LogError::Disk { file: name.to_owned(), offset, action, source: Arc::new(source) }
}
