//! Whether a file has changed: what is looked at before it is read again.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::SystemTime;

/// What tells one content of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    changed: Option<SystemTime>,
    bytes: u64,
    /// A file that is replaced whole is another file, however fast that goes.
    inode: u64,
}

impl Stamp {
    /// A file as it is now; `None` when there is none.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let about = std::fs::metadata(path).ok()?;
        Some(Self { changed: about.modified().ok(), bytes: about.len(), inode: about.ino() })
    }
}
