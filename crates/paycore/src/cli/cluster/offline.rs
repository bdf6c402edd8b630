//! `paycore cluster check-backup` and `paycore cluster restore`: what is done with a backup, without any cluster.

use std::path::{Path, PathBuf};

use consensus::NodeConfig;
use consensus::backup::{Birth, Folder, RestoreError, restore_node};
use serde::Serialize;

use crate::backup::{self, Manifest};
use crate::cli::invocation::Invocation;
use crate::config::{StoreKind, Topology};
use crate::exit::Failure;
use crate::output::{Paint, Show};

/// A backup that was checked.
#[derive(Debug, Serialize)]
struct Checked {
    folder: PathBuf,
    sound: bool,
    problems: Vec<Line>,
    manifest: Manifest,
}

#[derive(Debug, Serialize)]
struct Line {
    file: String,
    what: String,
}

impl Show for Checked {
    fn text(&self, paint: Paint) -> String {
        let Manifest { taken_at, cut, groups, .. } = &self.manifest;
        if self.sound {
            let bytes = self.manifest.bytes();
            let groups = groups.len();
            return format!(
                "{} {} · of {taken_at} · cut {cut} · {groups} groups · {bytes} bytes",
                paint.good("SOUND"),
                self.folder.display(),
            );
        }
        let lines = self.problems.iter().map(|line| format!("{}: {}", line.file, line.what));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Checks a backup: every byte, every record, the books.
pub(super) fn check(dir: &Path, around: &Invocation) -> Result<(), Failure> {
    let manifest = backup::read(dir)?;
    let backup::Proof { problems } = backup::check(dir, &manifest)?;
    let line = |problem: backup::Problem| Line { file: problem.file, what: problem.what };
    let problems: Vec<Line> = problems.into_iter().map(line).collect();
    let first = problems.first().map(|line| format!("{}: {}", line.file, line.what));
    let (folder, sound) = (dir.to_path_buf(), problems.is_empty());
    around.screen.show(&Checked { folder, sound, problems, manifest })?;
    first.map_or(Ok(()), |first| Err(Failure::coded("BACKUP_DAMAGED", first)))
}

/// What is to be restored where.
#[derive(Clone, Debug)]
pub(super) struct Order<'a> {
    /// The backup.
    pub(super) dir: &'a Path,
    /// Which node of the new cluster.
    pub(super) node: u64,
    /// Its data directory.
    pub(super) data: &'a Path,
    /// What the first node's restoration said, on all others.
    pub(super) birth: Option<Birth>,
}

/// A node's directory that was made.
#[derive(Debug, Serialize)]
struct Ready {
    node: u64,
    data: PathBuf,
    birth: String,
    cut: u64,
    groups: Vec<Group>,
}

#[derive(Debug, Serialize)]
struct Group {
    group: u16,
    index: u64,
    digest: String,
}

impl Show for Ready {
    fn text(&self, paint: Paint) -> String {
        let Self { node, data, birth, cut, groups } = self;
        format!(
            "{} node {node} in {} · cut {cut} · {} groups\nevery other node of this cluster: --birth {birth}",
            paint.good("restored"),
            data.display(),
            groups.len(),
        )
    }
}

/// Makes one node's data directory from a backup.
pub(super) fn restore(
    order: &Order<'_>,
    topology: &Topology,
    around: &Invocation,
) -> Result<(), Failure> {
    let manifest = backup::read(order.dir)?;
    let config = config(order, topology)?;
    if config.shards.count() != manifest.shards {
        let (has, wants) = (manifest.shards, config.shards.count());
        let what = format!("the backup has {has} shards, and the topology {wants}");
        return Err(Failure::coded("BACKUP_MISMATCH", what));
    }
    let folders = folders(order.dir, &manifest)?;
    let birth = order.birth.unwrap_or_else(|| Birth(rand::random()));
    let restored = restore_node(&config, birth, &folders).map_err(|why| not_restored(&why))?;
    let groups = restored.into_iter().map(|restored| Group {
        group: restored.group,
        index: restored.index,
        digest: backup::hex(&restored.digest.to_be_bytes()),
    });
    around.screen.show(&Ready {
        node: order.node,
        data: order.data.to_path_buf(),
        birth: backup::hex(&birth.0),
        cut: manifest.cut,
        groups: groups.collect(),
    })
}

fn config(order: &Order<'_>, topology: &Topology) -> Result<NodeConfig, Failure> {
    if topology.node(order.node).is_none() {
        let what = format!("the topology has no node {}", order.node);
        return Err(Failure::config(what));
    }
    if topology.store.kind == StoreKind::Memory {
        return Err(Failure::config(
            "a node that keeps its checkpoints in memory has nothing to restore to",
        ));
    }
    let (peers, shards) = (topology.peers(), topology.shards());
    let mut config = NodeConfig::new(order.node, order.data.to_path_buf(), peers, shards);
    config.replicas = topology.replication();
    Ok(config)
}

/// The groups' folders, each the one that the manifest names.
fn folders(dir: &Path, manifest: &Manifest) -> Result<Vec<Folder>, Failure> {
    let open = |named: &backup::Group| {
        let damaged = |what: String| Failure::coded("BACKUP_DAMAGED", what);
        let folder =
            Folder::open(&dir.join(&named.folder)).map_err(|why| damaged(why.to_string()))?;
        let digest = backup::hex(&folder.digest().to_be_bytes());
        if (folder.index(), &digest) != (named.index, &named.digest) {
            return Err(damaged(format!(
                "{}: it is another state than the manifest names",
                named.folder
            )));
        }
        Ok(folder)
    };
    manifest.groups.iter().map(open).collect()
}

fn not_restored(why: &RestoreError) -> Failure {
    match why {
        RestoreError::NotEmpty(_) => Failure::coded("DIRECTORY_NOT_EMPTY", why.to_string()),
        RestoreError::NotANode(_) => Failure::config(why.to_string()),
        RestoreError::Store(_) => Failure::coded("BACKUP_DAMAGED", why.to_string()),
        RestoreError::Log(_) | RestoreError::Disk(_) => {
            Failure::new(crate::exit::IO, why.to_string())
        }
    }
}

/// Reads what another node's restoration said: 32 hexadecimal digits.
pub(super) fn birth(text: &str) -> Result<Birth, String> {
    let number = u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32);
    number
        .map(|number| Birth(number.to_be_bytes()))
        .ok_or_else(|| "32 hexadecimal digits".to_owned())
}
