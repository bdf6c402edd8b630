//! The roster's file: what memberships have said about nodes and their data directories, beside the log.
//!
//! A checkpoint knows the newest membership of its own group and nothing of those before. Which data directory a node had
//! that has left, and which groups this node itself has left, stands here. The file is replaced whole: written beside
//! itself, synced, renamed, the directory synced. A crash leaves the old one or the new one; what the new one knew beyond
//! the old is applied again from the log, or asked for again.
//!
//! - **Invariant:** the file is there before the log holds anything. So a log that holds something and has no such file
//!   beside it has lost it, and with it the memory of which groups this node has left: it is refused.
//! - Every byte of it is under a checksum: a flipped bit must not become another node's directory.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::codec;
use crate::failpoint::Operation;
use crate::roster::{Known, Roster};
use crate::store::{Files, StoreError, seal, unseal};

const NAME: &str = "ROSTER";
const NAME_NEW: &str = "ROSTER.new";
const MAGIC: [u8; 7] = *b"PAYROST";

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
    /// Opens the register of a data directory, and reads what it says. Only beside a log that holds nothing it may be
    /// missing; then it is made, and says nothing.
    pub(crate) fn open(
        dir: &Path,
        files: Arc<dyn Files>,
        is_log_empty: bool,
    ) -> Result<(Self, Known), StoreError> {
        files.create_dir(dir)?;
        let entries = files.list(dir)?;
        let has = |name: &str| entries.iter().any(|entry| entry.name == name);
        let is_there = has(NAME);
        if has(NAME_NEW) {
            // Whoever wrote it died before it had its name. It is made anew, and files are only made where there is none.
            files.remove(&dir.join(NAME_NEW))?;
        }
        let known = if is_there { read(&dir.join(NAME), &*files)? } else { Known::default() };
        if !is_there && !is_log_empty {
            let what = "it is missing, though the log holds something";
            return Err(StoreError::Corrupt { path: dir.join(NAME), offset: 0, what });
        }
        let written = Mutex::new(known.clone());
        let register = Self { dir: dir.to_owned(), files, written };
        if !is_there {
            // What begins with it is a birth, and no change: nothing stops there on purpose.
            register.write(&known, |_step| ())?;
        }
        Ok((register, known))
    }

    /// Writes down what the roster knows now, unless that stands there already. Blocks.
    pub(crate) fn keep(&self, roster: &Roster) -> Result<(), StoreError> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let known = roster.known();
        if *written == known {
            return Ok(());
        }
        self.write(&known, Operation::reached)?;
        *written = known;
        Ok(())
    }

    fn write(&self, known: &Known, pass: impl Fn(Operation)) -> Result<(), StoreError> {
        let (name, new) = (self.dir.join(NAME), self.dir.join(NAME_NEW));
        let mut file = self.files.create(&new)?;
        file.write(&seal(MAGIC, known))?;
        file.sync()?;
        drop(file);
        pass(Operation::RosterWritten);
        self.files.rename(&new, &name)?;
        pass(Operation::RosterNamed);
        self.files.sync_dir(&self.dir)
    }
}

fn read(path: &Path, files: &dyn Files) -> Result<Known, StoreError> {
    let file = files.open(path)?;
    let len = file.file_len()?;
    let len = usize::try_from(len.min(LEN_MAX)).unwrap_or_default();
    let mut bytes = vec![0; len];
    file.read_at(&mut bytes, 0)?;
    if bytes.first() == Some(&codec::FORMAT) {
        // As it was written before it had a checksum; no single flip makes one of the other.
        return codec::decode(&bytes).map_err(|error| {
            tracing::error!(%error, file = %path.display(), "the roster's file");
            StoreError::Corrupt { path: path.to_owned(), offset: 0, what: "it does not decode" }
        });
    }
    unseal(MAGIC, &bytes, path)
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
        let open = || Register::open(dir.path(), Arc::new(RealFiles), true).unwrap();
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
        assert!(Register::open(dir.path(), Arc::new(RealFiles), true).is_err(), "nobody guesses");
    }

    #[test]
    fn no_flip_and_no_loss_is_taken_for_a_roster() {
        let dir = tempfile::tempdir().unwrap();
        let open = |is_log_empty| Register::open(dir.path(), Arc::new(RealFiles), is_log_empty);
        let (register, known) = open(true).unwrap();
        let (name, configured) =
            (dir.path().join(NAME), (Shards::new(4).unwrap(), BTreeMap::new()));
        assert!(name.exists(), "it is there before the log holds anything");
        let roster = Roster::new(1, [1; 16], configured, known);
        roster.set_left(3, true);
        register.keep(&roster).unwrap();

        let whole = std::fs::read(&name).unwrap();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                std::fs::write(&name, &flipped).unwrap();
                let error = open(false).map(|(_, known)| known).unwrap_err();
                assert_eq!(error.path(), Some(name.as_path()), "byte {at}, bit {bit}: {error}");
            }
            std::fs::write(&name, &whole[..at]).unwrap();
            assert!(open(false).is_err(), "cut at {at}");
        }
        std::fs::remove_file(&name).unwrap();
        let error = open(false).map(|(_, known)| known).unwrap_err();
        assert_eq!(error.path(), Some(name.as_path()), "{error}");
        // What was written before there was a checksum.
        std::fs::write(&name, codec::encode(&roster.known())).unwrap();
        assert_eq!(open(false).unwrap().1, roster.known());
    }
}
