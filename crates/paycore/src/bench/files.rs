//! A run's folder, and what lies where in it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::record::RunRecord;
use crate::exit;

/// Where runs go when nothing else is said.
const RUNS: &str = "runs";

/// The name of the newest run in [`RUNS`].
const LAST: &str = "last";

/// A run's folder.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    dir: PathBuf,
}

impl Files {
    /// Makes a folder for a new run: `out`, or one in `runs` named by time and workload.
    ///
    /// # Errors
    /// When it cannot be made, or has something in it already.
    pub(super) fn create(out: Option<&Path>, workload: &str) -> Result<Self, exit::Failure> {
        let named = || {
            let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
            Path::new(RUNS).join(format!("{now}-{workload}"))
        };
        let dir = out.map_or_else(named, Path::to_owned);
        let failed = |why: &std::io::Error| exit::Failure::io(dir.display(), why);
        fs::create_dir_all(&dir).map_err(|why| failed(&why))?;
        if fs::read_dir(&dir).map_err(|why| failed(&why))?.next().is_some() {
            let used =
                exit::Failure::usage(format!("{} has something in it already", dir.display()));
            return Err(used.with_hint("choose another folder with --out, or remove this one"));
        }
        let files = Self { dir };
        if out.is_none() {
            files.point_last();
        }
        Ok(files)
    }

    /// Opens the folder of a run that is over; `last` is the newest in `runs`.
    ///
    /// # Errors
    /// When it is not there.
    pub(crate) fn open(dir: &Path) -> Result<Self, exit::Failure> {
        let is_last = dir == Path::new(LAST) && !dir.exists();
        let dir = if is_last { Path::new(RUNS).join(LAST) } else { dir.to_owned() };
        let dir = fs::canonicalize(&dir).map_err(|why| exit::Failure::io(dir.display(), &why))?;
        Ok(Self { dir })
    }

    /// A link that cannot be made is missed by nobody but `last`.
    fn point_last(&self) {
        let link = Path::new(RUNS).join(LAST);
        if fs::symlink_metadata(&link).is_ok_and(|about| about.is_symlink()) {
            drop(fs::remove_file(&link));
        }
        if let Some(name) = self.dir.file_name() {
            drop(std::os::unix::fs::symlink(name, &link));
        }
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What callers did and were told, if there were not too many.
    pub(crate) fn history(&self) -> PathBuf {
        self.dir.join("history.jsonl")
    }

    /// What callers were told, if there were many.
    pub(crate) fn told(&self) -> PathBuf {
        self.dir.join("told.bin")
    }

    /// Every account's statement, if callers were many.
    pub(crate) fn statements(&self) -> PathBuf {
        self.dir.join("statements.bin")
    }

    /// What the run's requests were made from.
    pub(crate) fn record(&self) -> anyhow::Result<RunRecord> {
        let path = self.dir.join("run.json");
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no run", path.display()))
    }

    /// Writes one of the run's documents.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.dir.join(name);
        fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))
    }

    /// Writes one of the run's documents as JSON.
    pub(super) fn write_json(
        &self,
        name: &str,
        document: &impl serde::Serialize,
    ) -> anyhow::Result<()> {
        let mut bytes = serde_json::to_vec_pretty(document)?;
        bytes.push(b'\n');
        self.write(name, &bytes)
    }
}
