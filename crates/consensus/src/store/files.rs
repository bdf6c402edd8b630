//! The disk, as far as the store's safety hangs on it.
//!
//! Every create, write, sync, rename and unlink passes through [`Files`], so a test can stand in for
//! the disk, cut the power between any two of them, and keep or lose whatever was not synced.
//! Contract: bytes last after [`FileWriter::sync`], names after [`Files::sync_dir`] of their directory;
//! a rename is seen whole or not at all.

use std::{
    fmt, fs, io,
    num::NonZeroU64,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::StoreError;

/// A tree of files.
pub trait Files: Send + Sync + fmt::Debug {
    /// Makes a new file. It is an error if there is one.
    fn create(&self, path: &Path) -> Result<Box<dyn FileWriter>, StoreError>;
    /// Opens a file to write at its end.
    fn append(&self, path: &Path) -> Result<Box<dyn FileWriter>, StoreError>;
    /// Opens a file to read.
    fn open(&self, path: &Path) -> Result<Box<dyn FileReader>, StoreError>;
    /// What lies in a directory, by name. A directory that does not exist is empty.
    fn list(&self, dir: &Path) -> Result<Vec<Entry>, StoreError>;
    /// Makes a directory and those above it, if they are not there.
    fn create_dir(&self, path: &Path) -> Result<(), StoreError>;
    /// Gives a file another name, replacing the file of that name.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> Result<(), StoreError>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> Result<(), StoreError>;
    /// Makes the names in a directory last.
    fn sync_dir(&self, path: &Path) -> Result<(), StoreError>;
}

/// A file being written, from its end onwards.
pub trait FileWriter: Send {
    /// Writes all bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError>;
    /// Makes all bytes written so far last.
    fn sync(&mut self) -> Result<(), StoreError>;
}

/// A file being read. It stays readable after its name is gone.
pub trait FileReader: Send + Sync {
    /// Fills the buffer from an offset; a shorter file is an error.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), StoreError>;
    /// Length in bytes.
    fn file_len(&self) -> Result<u64, StoreError>;
    /// Asks whoever caches the disk to read these bytes from it the next time. Nothing hangs on it but how soon rot is
    /// found.
    fn forget(&self, _offset: u64, _len: u64) {}
}

/// Told after so many bytes were read; it may wait. When it says no, the rest is not read.
pub type Pace<'a> = dyn FnMut(u64) -> bool + 'a;

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The name, without the directory.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Length of a file in bytes.
    pub len: u64,
}

/// The machine's own disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFiles;

struct RealFile {
    file: fs::File,
    path: PathBuf,
}

/// Puts the operation and the path beside what the system said.
pub(super) fn io<'a>(
    doing: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |source| StoreError::Io { doing, path: path.to_path_buf(), source }
}

impl Files for RealFiles {
    fn create(&self, path: &Path) -> Result<Box<dyn FileWriter>, StoreError> {
        let file = fs::OpenOptions::new().write(true).create_new(true).open(path);
        let file = file.map_err(io("create", path))?;
        Ok(Box::new(RealFile { file, path: path.to_path_buf() }))
    }

    fn append(&self, path: &Path) -> Result<Box<dyn FileWriter>, StoreError> {
        let file = fs::OpenOptions::new().append(true).open(path).map_err(io("open", path))?;
        Ok(Box::new(RealFile { file, path: path.to_path_buf() }))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn FileReader>, StoreError> {
        let file = fs::File::open(path).map_err(io("open", path))?;
        Ok(Box::new(RealFile { file, path: path.to_path_buf() }))
    }

    fn list(&self, dir: &Path) -> Result<Vec<Entry>, StoreError> {
        let listed = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed.map_err(io("list", dir))?,
        };
        let about = |entry: io::Result<fs::DirEntry>| {
            let entry = entry?;
            let about = match entry.metadata() {
                // It was removed since it was named.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                about => about?,
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            Ok(Some(Entry { name, is_dir: about.is_dir(), len: about.len() }))
        };
        let entries: io::Result<Vec<_>> =
            listed.map(about).filter_map(io::Result::transpose).collect();
        let mut entries = entries.map_err(io("list", dir))?;
        entries.sort();
        Ok(entries)
    }

    fn create_dir(&self, path: &Path) -> Result<(), StoreError> {
        fs::create_dir_all(path).map_err(io("create", path))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        fs::rename(from, to).map_err(io("rename", from))
    }

    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        fs::remove_file(path).map_err(io("remove", path))
    }

    fn remove_dir(&self, path: &Path) -> Result<(), StoreError> {
        fs::remove_dir(path).map_err(io("remove", path))
    }

    fn sync_dir(&self, path: &Path) -> Result<(), StoreError> {
        fs::File::open(path).and_then(|dir| dir.sync_all()).map_err(io("sync", path))
    }
}

impl FileWriter for RealFile {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        io::Write::write_all(&mut self.file, bytes).map_err(io("write", &self.path))
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(io("sync", &self.path))
    }
}

impl FileReader for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), StoreError> {
        self.file.read_exact_at(buffer, offset).map_err(io("read", &self.path))
    }

    fn file_len(&self) -> Result<u64, StoreError> {
        Ok(self.file.metadata().map_err(io("read", &self.path))?.len())
    }

    fn forget(&self, offset: u64, len: u64) {
        let Some(len) = NonZeroU64::new(len) else { return };
        // Only advice, and a refusal of it no failure.
        let _ = rustix::fs::fadvise(&self.file, offset, Some(len), rustix::fs::Advice::DontNeed);
    }
}

/// How much of a file is read at once where a whole one is read: few calls, little memory.
const READ_LEN: usize = 1 << 20;

/// Hands a whole file to `visit`, piece by piece.
pub(crate) fn read_through(
    file: &dyn FileReader,
    visit: impl FnMut(&[u8]),
) -> Result<u64, StoreError> {
    read_at_pace(file, None, visit)
}

/// The same; with a pace, from the disk and not from its cache.
pub(super) fn read_at_pace(
    file: &dyn FileReader,
    mut pace: Option<&mut Pace<'_>>,
    mut visit: impl FnMut(&[u8]),
) -> Result<u64, StoreError> {
    let len = file.file_len()?;
    let mut buffer = Vec::new();
    let mut offset = 0;
    while offset < len {
        let want = usize::try_from(len.saturating_sub(offset)).unwrap_or(READ_LEN).min(READ_LEN);
        buffer.resize(want, 0);
        if pace.is_some() {
            file.forget(offset, want as u64);
        }
        file.read_at(&mut buffer, offset)?;
        visit(&buffer);
        offset = offset.saturating_add(want as u64);
        if pace.as_deref_mut().is_some_and(|pace| !pace(want as u64)) {
            return Err(StoreError::GivenUp);
        }
    }
    Ok(len)
}

/// Every file and directory under `root`: directories after what they hold, the root last.
pub(super) fn walk(files: &dyn Files, root: &Path) -> Result<Vec<(PathBuf, bool)>, StoreError> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_path_buf()];
    while let Some(dir) = waiting.pop() {
        for entry in files.list(&dir)? {
            let path = dir.join(&entry.name);
            if entry.is_dir {
                waiting.push(path);
            } else {
                found.push((path, false));
            }
        }
        found.push((dir, true));
    }
    // A name is longer than the names above it, so this puts every directory behind its content.
    found.sort_by_key(|(path, is_dir)| (*is_dir, std::cmp::Reverse(path.clone())));
    Ok(found)
}

/// Makes every file and every name under `root` last.
pub(super) fn sync_tree(files: &dyn Files, root: &Path) -> Result<(), StoreError> {
    for (path, is_dir) in walk(files, root)? {
        if is_dir {
            files.sync_dir(&path)?;
        } else {
            files.append(&path)?.sync()?;
        }
    }
    Ok(())
}

/// Gives everything under `from` a place under `to`, and removes `from`.
pub(super) fn move_tree(files: &dyn Files, from: &Path, to: &Path) -> Result<(), StoreError> {
    for (path, is_dir) in walk(files, from)? {
        let inside = path.strip_prefix(from).unwrap_or(&path);
        if is_dir {
            files.create_dir(&to.join(inside))?;
            files.remove_dir(&path)?;
        } else {
            let target = to.join(inside);
            files.create_dir(target.parent().unwrap_or(to))?;
            files.rename(&path, &target)?;
        }
    }
    Ok(())
}

/// Removes `root` and everything under it, if it is there.
pub(super) fn remove_tree(files: &dyn Files, root: &Path) -> Result<(), StoreError> {
    let above = root.parent().unwrap_or(root);
    let name = root.file_name().unwrap_or_default().to_string_lossy();
    if !files.list(above)?.iter().any(|entry| entry.name == name) {
        return Ok(());
    }
    for (path, is_dir) in walk(files, root)? {
        if is_dir {
            files.remove_dir(&path)?;
        } else {
            files.remove(&path)?;
        }
    }
    Ok(())
}
