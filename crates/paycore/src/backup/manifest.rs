//! The manifest: one JSON document whose last line is the checksum of all before it.

use std::fs::{self, File as Disk, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::exit::Failure;

/// Its name, and what it is called before it is whole.
const NAME: &str = "manifest.json";
const NAME_NEW: &str = "manifest.json.new";

/// The format of the folder. A release reads its own and those before it.
const FORMAT: u32 = 1;

/// What stands between the document and its checksum, and what ends it.
const SEAL: &str = ",\n  \"checksum\": \"";
const END: &str = "\"\n}\n";

/// The longest manifest that is read: 65 groups with a hundred volumes each take a megabyte.
const LEN_MAX: u64 = 64 << 20;

/// What a backup is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The folder's format.
    pub(crate) format: u32,
    /// The release that made it.
    pub(crate) release: String,
    /// What the cluster was called.
    pub(crate) cluster: String,
    /// When it was made, by the clock of the machine that made it.
    pub(crate) taken_at: String,
    /// The number of the cut.
    pub(crate) cut: u64,
    /// How many shards the cluster has; the meta group comes after them.
    pub(crate) shards: u16,
    /// What all of it comes to, by currency.
    pub(crate) sums: Vec<Sum>,
    /// Every group, in the order of their numbers.
    pub(crate) groups: Vec<Group>,
}

/// What the books of all shards come to in one currency, in minor units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sum {
    /// The currency.
    pub(crate) currency: String,
    /// What customers have.
    pub(crate) customers: i64,
    /// What was under way between shards.
    pub(crate) under_way: i64,
    /// What waits for somebody to look at it.
    pub(crate) suspense: i64,
    /// What was brought in when accounts were opened.
    pub(crate) opening: i64,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    /// Its number.
    pub(crate) group: u16,
    /// Its folder.
    pub(crate) folder: String,
    /// The log index at which the cut was made.
    pub(crate) index: u64,
    /// Log time at the cut, in milliseconds since 1970.
    pub(crate) log_time_ms: u64,
    /// The digest of its state.
    pub(crate) digest: String,
    /// How many accounts and active holds it has, and one.
    pub(crate) records: u64,
    /// How many outcomes, postings and other records that never change again.
    pub(crate) cold_records: u64,
    /// Its files, by their paths within the backup.
    pub(crate) files: Vec<File>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct File {
    /// Its path within the backup.
    pub(crate) name: String,
    /// Its length.
    pub(crate) bytes: u64,
    /// Its SHA-256, as `sha256sum` shows it.
    pub(crate) sha256: String,
}

impl Manifest {
    /// A manifest of this release.
    pub(crate) fn new(
        (cluster, taken_at): (String, String),
        (cut, shards): (u64, u16),
        (groups, sums): (Vec<Group>, Vec<Sum>),
    ) -> Self {
        let release = env!("CARGO_PKG_VERSION").to_owned();
        Self { format: FORMAT, release, cluster, taken_at, cut, shards, sums, groups }
    }

    /// Bytes of all files together.
    pub(crate) fn bytes(&self) -> u64 {
        let files = self.groups.iter().flat_map(|group| &group.files);
        files.map(|file| file.bytes).fold(0, u64::saturating_add)
    }
}

/// The name of a group's folder.
pub(crate) fn group_folder(group: u16, shards: u16) -> String {
    if group == shards { "meta".to_owned() } else { format!("shard-{group:02}") }
}

/// Begins a backup in a folder that is empty, not there, or has one that was never finished, which is removed.
pub(crate) fn begin(dir: &Path) -> Result<(), Failure> {
    fs::create_dir_all(dir).map_err(|why| Failure::io(dir.display(), &why))?;
    let list = |path: &Path| fs::read_dir(path)?.collect::<io::Result<Vec<_>>>();
    let entries = list(dir).map_err(|why| Failure::io(dir.display(), &why))?;
    let has = |name: &str| entries.iter().any(|entry| entry.file_name() == *name);
    let is_begun = has(NAME_NEW) && !has(NAME);
    let is_ours = |name: &str| name == NAME_NEW || name == "meta" || name.starts_with("shard-");
    let all_ours = entries.iter().all(|entry| entry.file_name().to_str().is_some_and(is_ours));
    let is_free = entries.is_empty() || (is_begun && all_ours);
    if !is_free {
        let what = format!("{} is not empty", dir.display());
        return Err(Failure::coded("DIRECTORY_NOT_EMPTY", what));
    }
    for entry in entries.iter().filter(|entry| entry.file_name() != *NAME_NEW) {
        let path = entry.path();
        fs::remove_dir_all(&path).map_err(|why| Failure::io(path.display(), &why))?;
    }
    let path = dir.join(NAME_NEW);
    let made = Disk::create(&path).and_then(|file| file.sync_all());
    made.and_then(|()| sync_dir(dir)).map_err(|why| Failure::io(path.display(), &why))
}

/// Writes the manifest, and gives it its name: from then on the folder is a backup.
pub(crate) fn write(dir: &Path, manifest: &Manifest) -> Result<(), Failure> {
    let (path, new) = (dir.join(NAME), dir.join(NAME_NEW));
    let text = seal(manifest)?;
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // The names of the groups' folders, before the one that vouches for them.
        sync_dir(dir)?;
        fs::rename(&new, &path)?;
        sync_dir(dir)?;
        dir.parent().filter(|above| !above.as_os_str().is_empty()).map_or(Ok(()), sync_dir)
    };
    write().map_err(|why| Failure::io(path.display(), &why))
}

/// Reads the manifest of a folder.
///
/// # Errors
/// `BACKUP_UNFINISHED` when there is none, `BACKUP_DAMAGED` when it is not as it was written.
pub(crate) fn read(dir: &Path) -> Result<Manifest, Failure> {
    let path = dir.join(NAME);
    let damaged =
        |what: &str| Failure::coded("BACKUP_DAMAGED", format!("{}: {what}", path.display()));
    match fs::metadata(&path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            let what = format!("{} has no {NAME}", dir.display());
            return Err(Failure::coded("BACKUP_UNFINISHED", what));
        }
        Err(why) => return Err(Failure::io(path.display(), &why)),
        Ok(about) if about.len() > LEN_MAX => return Err(damaged("it is too long")),
        Ok(_) => {}
    }
    let bytes = fs::read(&path).map_err(|why| Failure::io(path.display(), &why))?;
    let text = String::from_utf8(bytes).map_err(|_| damaged("it is no text"))?;
    let (covered, _) = text.rsplit_once(SEAL).ok_or_else(|| damaged("it has no checksum"))?;
    if text != sealed(covered) {
        return Err(damaged("its checksum differs"));
    }
    let manifest: Manifest =
        serde_json::from_str(&text).map_err(|why| damaged(&why.to_string()))?;
    if manifest.format > FORMAT {
        return Err(damaged("it was made by a later release"));
    }
    Ok(manifest)
}

fn seal(manifest: &Manifest) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(manifest)
        .map_err(|why| Failure::internal(format!("the manifest is no JSON: {why}")))?;
    let covered = text.strip_suffix("\n}");
    covered.map(sealed).ok_or_else(|| Failure::internal("the manifest is no object"))
}

fn sealed(covered: &str) -> String {
    format!("{covered}{SEAL}{}{END}", hex(&Sha256::digest(covered)))
}

/// Bytes for people.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        use std::fmt::Write as _;
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    Disk::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let file = File { name: "meta/pages".to_owned(), bytes: 7, sha256: hex(&[7; 32]) };
        let group = Group {
            group: 1,
            folder: group_folder(1, 1),
            index: 9,
            log_time_ms: 1,
            digest: hex(&[3; 16]),
            records: 1,
            cold_records: 0,
            files: vec![file],
        };
        let named = ("dev".to_owned(), "2026-01-01T00:00:00Z".to_owned());
        Manifest::new(named, (5, 1), (vec![group], Vec::new()))
    }

    #[test]
    fn a_backup_has_its_manifest_last_and_not_a_byte_of_it_may_differ() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("b");
        assert_eq!(read(&dir).unwrap_err().code(), Some("BACKUP_UNFINISHED"));
        begin(&dir).unwrap();
        assert_eq!(read(&dir).unwrap_err().code(), Some("BACKUP_UNFINISHED"));
        fs::create_dir(dir.join("shard-00")).unwrap();
        begin(&dir).unwrap();
        assert!(!dir.join("shard-00").exists(), "what was never finished is begun anew");
        write(&dir, &manifest()).unwrap();
        assert_eq!(read(&dir).unwrap(), manifest());
        assert_eq!(begin(&dir).unwrap_err().code(), Some("DIRECTORY_NOT_EMPTY"));

        let path = dir.join(NAME);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            let found = read(&dir).unwrap_err();
            assert_eq!(found.code(), Some("BACKUP_DAMAGED"), "byte {at}");
            assert!(found.message().contains(NAME));
        }
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert!(read(&dir).is_err());
    }

    #[test]
    fn nobody_elses_files_are_touched() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("letter.txt"), "dear").unwrap();
        assert_eq!(begin(home.path()).unwrap_err().code(), Some("DIRECTORY_NOT_EMPTY"));
        fs::write(home.path().join(NAME_NEW), "").unwrap();
        assert_eq!(begin(home.path()).unwrap_err().code(), Some("DIRECTORY_NOT_EMPTY"));
        assert!(home.path().join("letter.txt").exists());
    }
}
