//! The roster's file: what memberships have said about nodes and their data directories, beside the log.
//!
//! A checkpoint knows the newest membership of its own group and nothing of those before. Which data directory a node had
//! that has left, and which groups this node itself has left, stands here. The file is replaced whole: written beside
//! itself, synced, renamed, the directory synced. A crash leaves the old one or the new one; what the new one knew beyond
//! the old is applied again from the log, or asked for again.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::codec;
use crate::failpoint::Operation;
use crate::roster::{Known, Roster};
use crate::store::{Files, StoreError};

const NAME: &str = "ROSTER";
const NAME_NEW: &str = "ROSTER.new";

/// The longest file that is read: nine nodes and sixty-four groups take a few kilobytes.
const LEN_MAX: u64 = 1 << 20;

/// Writes the roster down.
pub(crate) struct Register {
    dir: PathBuf,
    files: Arc<dyn Files>,
    /// What was written last. Held while writing, so that a later state is never replaced by an earlier one.
    written: Mutex<Known>,
}

impl Register {
    /// Opens the register of a data directory, and reads what it says; nothing, when it is not there yet.
    pub(crate) fn open(dir: &Path, files: Arc<dyn Files>) -> Result<(Self, Known), StoreError> {
        files.create_dir(dir)?;
        let entries = files.list(dir)?;
        let has = |name: &str| entries.iter().any(|entry| entry.name == name);
        let is_there = has(NAME);
        if has(NAME_NEW) {
            // Whoever wrote it died before it had its name. It is made anew, and files are only made where there is none.
            files.remove(&dir.join(NAME_NEW))?;
        }
        let known = if is_there { read(&dir.join(NAME), &*files)? } else { Known::default() };
        let written = Mutex::new(known.clone());
        Ok((Self { dir: dir.to_owned(), files, written }, known))
    }

    /// Writes down what the roster knows now, unless that stands there already. Blocks.
    pub(crate) fn keep(&self, roster: &Roster) -> Result<(), StoreError> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let known = roster.known();
        if *written == known {
            return Ok(());
        }
        let (name, new) = (self.dir.join(NAME), self.dir.join(NAME_NEW));
        let mut file = self.files.create(&new)?;
        file.write(&codec::encode(&known))?;
        file.sync()?;
        drop(file);
        Operation::RosterWritten.reached();
        self.files.rename(&new, &name)?;
        Operation::RosterNamed.reached();
        self.files.sync_dir(&self.dir)?;
        *written = known;
        Ok(())
    }
}

fn read(path: &Path, files: &dyn Files) -> Result<Known, StoreError> {
    let file = files.open(path)?;
    let len = file.file_len()?;
    let len = usize::try_from(len.min(LEN_MAX)).unwrap_or_default();
    let mut bytes = vec![0; len];
    file.read_at(&mut bytes, 0)?;
    codec::decode(&bytes).map_err(|error| {
        tracing::error!(%error, file = %path.display(), "the roster's file");
        StoreError::Refused { what: "the roster's file cannot be read" }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ledger::Shards;

    use super::*;
    use crate::store::RealFiles;

    #[test]
    fn what_was_kept_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Register::open(dir.path(), Arc::new(RealFiles)).unwrap();
        let (register, known) = open();
        assert_eq!(known, Known::default());
        let configured = || (Shards::new(4).unwrap(), BTreeMap::new());
        let roster = Roster::new(1, [1; 16], configured(), known);
        roster.set_left(3, true);
        roster.settle();
        register.keep(&roster).unwrap();
        let again = Roster::new(1, [1; 16], configured(), open().1);
        assert_eq!(again.known(), roster.known());
        assert!(again.has_left(3) && !again.has_left(2) && again.is_settled());

        // Whoever died while it was written leaves a part of it.
        std::fs::write(dir.path().join(NAME_NEW), b"\x01half").unwrap();
        let (register, known) = open();
        assert_eq!(known, roster.known());
        roster.set_left(2, true);
        register.keep(&roster).unwrap();
        assert!(Roster::new(1, [1; 16], configured(), open().1).has_left(2));

        std::fs::write(dir.path().join(NAME), b"\x01nonsense").unwrap();
        assert!(Register::open(dir.path(), Arc::new(RealFiles)).is_err(), "nobody guesses");
    }
}
