//! The proof of a backup: every file is the one that was written, every record decodes, each group's books add up, and the
//! groups belong together.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use consensus::backup::Folder;
use consensus::store::StoreError;
use ledger::{AccountKind, Books, Currency, Cut, Shards, Standing};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::manifest::{File, Group, Manifest, Sum, group_folder, hex};
use crate::exit::Failure;

/// How much of a file is read at once.
const READ_LEN: usize = 1 << 20;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    /// The file at fault, by its path within the backup; the backup itself, where it is no single file.
    pub(crate) file: String,
    /// What is wrong with it.
    pub(crate) what: String,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Proof {
    /// Everything that is not as it should be.
    pub(crate) problems: Vec<Problem>,
}

/// What a folder without a manifest turned out to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Proven {
    /// Every group.
    pub(crate) groups: Vec<Group>,
    /// What all of it comes to.
    pub(crate) sums: Vec<Sum>,
}

/// Proves what was just written, and says what it is. Blocks; takes the memory of the largest group.
///
/// # Errors
/// `BACKUP_DAMAGED`, with everything that is wrong.
pub(crate) fn prove(dir: &Path, shards: Shards) -> Result<Proven, Failure> {
    let mut found = Found::new(dir, shards);
    let mut groups = Vec::new();
    for group in shards.groups() {
        groups.extend(found.group(group));
    }
    let sums = found.compare();
    if found.problems.is_empty() {
        return Ok(Proven { groups, sums });
    }
    let problems =
        found.problems.iter().map(|problem| format!("{}: {}", problem.file, problem.what));
    let problems: Vec<String> = problems.collect();
    Err(Failure::coded("BACKUP_DAMAGED", problems.join("; ")))
}

/// Checks a backup against its manifest. Blocks; takes the memory of the largest group.
///
/// # Errors
/// When the manifest names no cluster that there can be.
pub(crate) fn check(dir: &Path, manifest: &Manifest) -> Result<Proof, Failure> {
    let shards = Shards::new(manifest.shards)
        .ok_or_else(|| Failure::coded("BACKUP_DAMAGED", "there is no such number of shards"))?;
    let mut found = Found::new(dir, shards);
    let is_whole = manifest.groups.iter().map(|group| group.group).eq(shards.groups());
    if !is_whole {
        found.problem("manifest.json", "it does not name every group once");
    }
    found.strangers(manifest);
    for named in &manifest.groups {
        let before = found.problems.len();
        named.files.iter().for_each(|file| found.file(file));
        if found.problems.len() > before {
            continue;
        }
        if let Some(group) = found.group(named.group)
            && group != *named
        {
            found.problem(&named.folder, "it is not the state that the manifest names");
        }
    }
    if found.problems.is_empty() {
        let sums = found.compare();
        if sums != manifest.sums {
            found.problem("manifest.json", "its sums are not those of the books");
        }
    }
    Ok(Proof { problems: found.problems })
}

/// What is found on the way.
struct Found<'a> {
    dir: &'a Path,
    shards: Shards,
    standings: BTreeMap<u16, Standing>,
    problems: Vec<Problem>,
}

impl<'a> Found<'a> {
    fn new(dir: &'a Path, shards: Shards) -> Self {
        Self { dir, shards, standings: BTreeMap::new(), problems: Vec::new() }
    }

    fn problem(&mut self, file: impl Into<String>, what: impl Into<String>) {
        self.problems.push(Problem { file: file.into(), what: what.into() });
    }

    /// Reads a group, and proves it.
    fn group(&mut self, group: u16) -> Option<Group> {
        let folder = group_folder(group, self.shards.count());
        match self.read_group(group, &folder) {
            Ok(group) => Some(group),
            Err(Wrong { path, what }) => {
                let path = path.as_deref().and_then(|path| path.strip_prefix(self.dir).ok());
                let file = path.map_or(folder, |path| path.display().to_string());
                self.problem(file, what);
                None
            }
        }
    }

    fn read_group(&mut self, group: u16, folder: &str) -> Result<Group, Wrong> {
        let opened = Folder::open(&self.dir.join(folder))?;
        let ledger = opened.read(Books { shard: group, shards: self.shards })?;
        self.standings.insert(group, ledger.standing());
        let log_time_ms = ledger.now().0;
        drop(ledger);
        let mut files = Vec::new();
        for file in opened.files()? {
            let name = format!("{folder}/{}", file.name);
            let (bytes, sha256) = digest(&self.dir.join(&name))?;
            files.push(File { name, bytes, sha256 });
        }
        Ok(Group {
            group,
            folder: folder.to_owned(),
            index: opened.index(),
            log_time_ms,
            digest: hex(&opened.digest().to_be_bytes()),
            records: opened.records(),
            cold_records: opened.cold_records(),
            files,
        })
    }

    /// Whether a file is the one that the manifest names.
    fn file(&mut self, file: &File) {
        match digest(&self.dir.join(&file.name)) {
            Ok((bytes, _)) if bytes != file.bytes => {
                let what = format!("it has {bytes} bytes, and had {}", file.bytes);
                self.problem(&file.name, what);
            }
            Ok((_, sha256)) if sha256 != file.sha256 => {
                self.problem(&file.name, "its checksum differs");
            }
            Ok(_) => {}
            Err(Wrong { what, .. }) => self.problem(&file.name, what),
        }
    }

    /// Files that the manifest does not name: none should be there.
    fn strangers(&mut self, manifest: &Manifest) {
        let files = manifest.groups.iter().flat_map(|group| &group.files);
        let mut named: BTreeSet<PathBuf> = files.map(|file| self.dir.join(&file.name)).collect();
        named.insert(self.dir.join("manifest.json"));
        match all_files(self.dir) {
            Ok(there) => {
                for path in there.difference(&named) {
                    let path = path.strip_prefix(self.dir).unwrap_or(path);
                    self.problem(path.display().to_string(), "it is not part of the backup");
                }
            }
            Err(why) => self.problem(".", why.to_string()),
        }
    }

    /// Compares the groups with one another, and adds up their books.
    fn compare(&mut self) -> Vec<Sum> {
        let parts = ledger::parts(&self.standings);
        let apart = ledger::disagreements(&self.standings);
        let apart: Vec<String> = apart.iter().map(ToString::to_string).collect();
        let off: Vec<String> = ledger::compare(&parts).iter().map(ToString::to_string).collect();
        for what in apart.into_iter().chain(off) {
            self.problem(".", what);
        }
        sums(&parts)
    }
}

/// What the parts of a cut come to.
fn sums(parts: &BTreeMap<u16, Cut>) -> Vec<Sum> {
    let totals = || parts.values().flat_map(|part| &part.totals);
    let currencies: BTreeSet<Currency> = totals().map(|((currency, _), _)| *currency).collect();
    let sum = |currency: Currency| {
        let of = |wanted: fn(AccountKind) -> bool| {
            let its = totals().filter(|((of, kind), _)| *of == currency && wanted(*kind));
            minor(its.map(|(_, total)| *total))
        };
        let under_way = parts.values().flat_map(|part| part.arriving.iter().chain(&part.returning));
        let under_way = under_way.filter(|((_, of), _)| *of == currency).map(|(_, sum)| *sum);
        Sum {
            currency: currency.code().to_owned(),
            customers: of(|kind| !kind.is_system()),
            under_way: minor(under_way),
            suspense: of(|kind| kind == AccountKind::Suspense),
            opening: of(|kind| kind == AccountKind::Opening),
        }
    };
    currencies.into_iter().map(sum).collect()
}

fn minor(sums: impl Iterator<Item = i128>) -> i64 {
    i64::try_from(sums.fold(0_i128, i128::saturating_add)).unwrap_or(i64::MAX)
}

/// Why a group or a file cannot be used.
struct Wrong {
    path: Option<PathBuf>,
    what: String,
}

impl From<StoreError> for Wrong {
    fn from(error: StoreError) -> Self {
        let path = match &error {
            StoreError::Io { path, .. }
            | StoreError::Corrupt { path, .. }
            | StoreError::Version { path, .. }
            | StoreError::Backend { path, .. }
            | StoreError::StillOpen { path }
            | StoreError::Unsorted { path } => Some(path.clone()),
            StoreError::TooLong { .. }
            | StoreError::Newer { .. }
            | StoreError::Refused { .. }
            | StoreError::Superseded
            | StoreError::Busy { .. }
            | StoreError::Stopped
            | StoreError::GivenUp
            | StoreError::Behind { .. }
            | StoreError::Rebuild { .. } => None,
        };
        Self { path, what: error.to_string() }
    }
}

/// A file's length and its SHA-256.
fn digest(path: &Path) -> Result<(u64, String), Wrong> {
    let read = || {
        let mut file = fs::File::open(path)?;
        let (mut hash, mut bytes) = (Sha256::new(), 0_u64);
        let mut buffer = vec![0; READ_LEN];
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return io::Result::Ok((bytes, hex(&hash.finalize())));
            }
            hash.update(buffer.get(..read).unwrap_or_default());
            bytes = bytes.saturating_add(read as u64);
        }
    };
    read().map_err(|why| Wrong { path: Some(path.to_path_buf()), what: why.to_string() })
}

fn all_files(dir: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![dir.to_path_buf()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                waiting.push(entry.path());
            } else {
                found.insert(entry.path());
            }
        }
    }
    Ok(found)
}
