//! `paycore cluster backup`: the state of every group as one cut found it, into a folder, while the cluster works.
//!
//! The command begins a state cut on the first shard and asks one replica of every group for what the cut found, a
//! follower where there is one. All are asked at once, so that all keep it; then one after the other is read, as fast as
//! this disk takes it. What was written is read back and proven before the backup has its name. When a group's state is
//! gone (its node died, or another cut came in between), all of it begins anew with another cut.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use consensus::backup::{FolderWriter, Piece};
use consensus::store::StoreError;
use futures::future::join_all;
use ledger::Shards;
use serde::Serialize;
use tokio::sync::mpsc;
use tonic::Streaming;
use wire::proto::cluster::{StatePiece, state_piece};

use super::drive::Operator;
use super::view::View;
use crate::backup::{self, Manifest, group_folder};
use crate::exit::Failure;
use crate::output::{Paint, Show};

/// How often a backup is begun before it is given up.
const ATTEMPTS_MAX: u32 = 5;

/// Between two attempts: a new leader is there within two seconds.
const PAUSE: Duration = Duration::from_secs(2);

/// Pieces that wait for the disk: half a mebibyte each.
const PIECES_WAITING_MAX: usize = 4;

/// A backup that was made.
#[derive(Debug, Serialize)]
struct Made {
    folder: PathBuf,
    cut: u64,
    groups: usize,
    bytes: u64,
    took_ms: u64,
    manifest: Manifest,
}

impl Show for Made {
    fn text(&self, paint: Paint) -> String {
        let Self { folder, cut, groups, bytes, took_ms, .. } = self;
        format!(
            "{} {} · cut {cut} · {groups} groups · {bytes} bytes · read back and proven · {took_ms} ms",
            paint.good("backup"),
            folder.display(),
        )
    }
}

impl Operator {
    /// Makes a backup in a folder.
    pub(super) async fn backup(&self, dir: &Path, cluster: &str) -> Result<(), Failure> {
        let began = Instant::now();
        let mut attempt = 1_u32;
        let manifest = loop {
            backup::begin(dir)?;
            let made = tokio::time::timeout(self.left(), self.try_backup(dir, cluster)).await;
            match made.unwrap_or_else(|_late| Err(too_late())) {
                Ok(manifest) => break manifest,
                Err(failure) if is_passing(&failure) && attempt < ATTEMPTS_MAX => {
                    self.screen.say(format_args!("{failure}; it is begun anew"));
                }
                Err(failure) => return Err(failure),
            }
            attempt = attempt.saturating_add(1);
            tokio::time::sleep(PAUSE).await;
        };
        self.screen.show(&Made {
            folder: dir.to_path_buf(),
            cut: manifest.cut,
            groups: manifest.groups.len(),
            bytes: manifest.bytes(),
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            manifest,
        })
    }

    async fn try_backup(&self, dir: &Path, cluster: &str) -> Result<Manifest, Failure> {
        let view = self.look().await?;
        let shards = view.meta.and_then(Shards::new);
        let shards = shards.ok_or_else(|| Failure::coded("NODE_UNREACHABLE", "no node answers"))?;
        let cut = now_us();
        self.begin_state_cut(&view, shards, cut).await?;
        let asked = shards.groups().map(|group| self.ask_for_state(&view, group, cut));
        let streams = join_all(asked).await;
        for (group, stream) in shards.groups().zip(streams) {
            let folder = dir.join(group_folder(group, shards.count()));
            self.screen.say(format_args!("group {group} of {}", shards.meta()));
            receive(stream?, folder).await?;
        }
        let written = dir.to_path_buf();
        let proving = tokio::task::spawn_blocking(move || backup::prove(&written, shards));
        let proven = proving.await.map_err(|why| Failure::internal(why.to_string()))??;
        let named = (cluster.to_owned(), jiff::Timestamp::now().to_string());
        let all = (proven.groups, proven.sums);
        let manifest = Manifest::new(named, (cut, shards.count()), all);
        backup::write(dir, &manifest)?;
        Ok(manifest)
    }

    /// Begins the cut on the first shard.
    async fn begin_state_cut(&self, view: &View, shards: Shards, cut: u64) -> Result<(), Failure> {
        let leader = view.shards.get(&0).and_then(|shard| shard.leader);
        let address = leader.and_then(|leader| view.nodes.get(&leader));
        let address = address.ok_or_else(|| Failure::coded("NO_LEADER", "nobody leads shard 0"))?;
        self.doors.begin_state_cut(&address.address, shards, cut).await
    }

    /// Asks the replicas of a group in turn, followers first, until one has the state.
    async fn ask_for_state(
        &self,
        view: &View,
        group: u16,
        cut: u64,
    ) -> Result<Streaming<StatePiece>, Failure> {
        let mut why = Failure::coded("NO_LEADER", format!("nobody keeps group {group}"));
        for node in sources(view, group) {
            let Some(seen) = view.nodes.get(&node) else { continue };
            match self.doors.read_state(&seen.address, group, cut).await {
                Ok(stream) => return Ok(stream),
                Err(failure) => why = failure,
            }
        }
        Err(why)
    }
}

/// Whom to ask for a group's state: its followers that answer, the least behind first among those of equal load; its
/// leader last.
fn sources(view: &View, group: u16) -> Vec<u64> {
    let Some(shard) = view.shards.get(&group) else { return Vec::new() };
    let mut nodes: Vec<u64> =
        shard.voters.iter().copied().filter(|node| view.is_up(*node)).collect();
    // Groups begin at different nodes, so that no node sends everything.
    let first = usize::from(group).checked_rem(nodes.len()).unwrap_or(0);
    nodes.rotate_left(first);
    nodes.sort_by_key(|node| shard.leader == Some(*node));
    nodes
}

/// Writes what comes into a group's folder, on a thread of its own, as fast as the disk takes it.
async fn receive(mut stream: Streaming<StatePiece>, folder: PathBuf) -> Result<(), Failure> {
    let (pieces, mut waiting) = mpsc::channel::<Piece>(PIECES_WAITING_MAX);
    let shown = folder.clone();
    let writing = tokio::task::spawn_blocking(move || {
        let mut writer = FolderWriter::create(&folder)?;
        while let Some(piece) = waiting.blocking_recv() {
            writer.take(&piece)?;
        }
        writer.finish()
    });
    let broken = |why: tonic::Status| super::door::failure(&why);
    while let Some(piece) = stream.message().await.map_err(broken)? {
        let Some(piece) = piece.piece.map(off_the_wire) else { continue };
        if pieces.send(piece).await.is_err() {
            // The writer has failed, and says why.
            break;
        }
    }
    drop(pieces);
    let written = writing.await.map_err(|why| Failure::internal(why.to_string()))?;
    written.map_err(|error| not_written(&shown, &error))
}

/// What was damaged or cut off on its way is worth another attempt; what a disk says is not.
fn not_written(folder: &Path, error: &StoreError) -> Failure {
    let what = format!("{}: {error}", folder.display());
    match error {
        StoreError::Refused { .. } => Failure::coded("CUT_GONE", what),
        StoreError::Io { .. }
        | StoreError::Corrupt { .. }
        | StoreError::Version { .. }
        | StoreError::Newer { .. }
        | StoreError::Backend { .. }
        | StoreError::StillOpen { .. }
        | StoreError::TooLong { .. }
        | StoreError::Unsorted { .. }
        | StoreError::Superseded
        | StoreError::Busy { .. }
        | StoreError::Stopped
        | StoreError::GivenUp
        | StoreError::Behind { .. }
        | StoreError::Rebuild { .. } => Failure::new(crate::exit::IO, what),
    }
}

fn off_the_wire(piece: state_piece::Piece) -> Piece {
    match piece {
        state_piece::Piece::Head(bytes) => Piece::Head(bytes.into()),
        state_piece::Piece::Volume(bytes) => Piece::Volume(bytes.into()),
        state_piece::Piece::Pages(bytes) => Piece::Pages(bytes.into()),
        state_piece::Piece::Records(bytes) => Piece::Records(bytes.into()),
        state_piece::Piece::End(bytes) => Piece::End(bytes.into()),
    }
}

/// Whether another attempt may go better.
fn is_passing(failure: &Failure) -> bool {
    matches!(
        failure.code(),
        Some("CUT_GONE" | "NO_LEADER" | "NODE_UNREACHABLE" | "OUTCOME_UNKNOWN" | "OVERLOADED")
    )
}

fn too_late() -> Failure {
    Failure::new(crate::exit::TEMPORARY, "the backup was not made in time")
        .with_hint("give it longer with --timeout")
}

/// The cut's number is the time: greater than that of any cut before it.
fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
