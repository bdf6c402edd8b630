//! A directory of the operating system as a [`Disk`].

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    num::NonZeroU64,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::disk::{Disk, DiskFile};

/// A directory on a real disk.
///
/// While it lives it holds a lock on the directory: two processes that append to one log would
/// destroy it.
pub struct RealDisk {
    path: PathBuf,
    dir: File,
    is_writable: bool,
}

impl RealDisk {
    /// Takes a directory, making it when it is missing.
    ///
    /// # Errors
    /// `ResourceBusy` when another process, or another log of this one, holds the directory;
    /// otherwise what the system says.
    pub fn new(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let missing: Vec<&Path> = path.ancestors().take_while(|dir| !dir.exists()).collect();
        std::fs::create_dir_all(&path)?;
        for parent in missing.iter().filter_map(|dir| dir.parent()) {
            // A directory whose own name is lost takes a synced log with it.
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            File::open(parent)?.sync_all()?;
        }
        let disk = Self { is_writable: true, ..Self::look(&path)? };
        match disk.dir.try_lock() {
            Ok(()) => Ok(disk),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::ResourceBusy.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Takes a directory that exists, without locking it and without leave to write, for a look at
    /// it.
    ///
    /// # Errors
    /// What the system says.
    pub fn look(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let dir = File::open(&path)?;
        Ok(Self { path, dir, is_writable: false })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Disk for RealDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(self.path.join(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(self.is_writable).open(self.path.join(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(&self.path)?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.dir.sync_all()
    }
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(into, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn forget(&self, offset: u64, len: u64) {
        let Some(len) = NonZeroU64::new(len) else { return };
        // Only advice, and a refusal of it no failure.
        let _ = rustix::fs::fadvise(&self.0, offset, Some(len), rustix::fs::Advice::DontNeed);
    }
}
