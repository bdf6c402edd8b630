//! The checkpoints of one shard: a directory that always holds a point to restart from.
//!
//! ```text
//! CURRENT                 names the last two checkpoints, see `current.rs`
//! gen-000017/             the whole state, sealed by the state store
//! vol-<first>-<last>-<n>  what left memory between two log indexes
//! incoming/               a snapshot on its way in, see `install.rs`
//! bad/                    what turned out bad, kept for study, see `aside.rs`
//! ```
//!
//! - **Invariant:** what `CURRENT` names is complete and lasts: it was synced before it was named.
//! - **Invariant:** what `CURRENT` names is never written, and is removed only after it is no longer
//!   named. Numbers are never used twice, so a new file never takes the place of an open one.
//! - **Invariant:** the log may be purged up to the older of two named checkpoints, no further: if the
//!   newer turns out bad, the older and the log still make the whole state.
//!
//! Writing ([`Checkpoints::begin`]), merging ([`Checkpoints::merge_once`]) and installing block for
//! seconds: each belongs on a thread of the caller's. They exclude each other only while they publish.
//! A failed publication is final: from then on this directory is only read.
//!
//! Whoever opens the directory anew, in the same process, [`Checkpoints::close`]s it first: two who do not know of each other
//! would draw the same numbers, and each remove what the other has written and not named yet.

use std::{
    mem,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
};

use super::{
    Checkpoint, Cold, Files, FilterOf, LogIndex, Pages, StateStore, StoreError, Volume,
    VolumeFacts, aside,
    current::{self, GENERATIONS_MAX, Manifest},
    pages::{self, Generation},
};

/// What the store is built on.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The disk.
    pub files: Arc<dyn Files>,
    /// The backend for generations.
    pub store: Arc<dyn StateStore>,
    /// What records in volumes are looked for by.
    pub filter_of: FilterOf,
}

/// One shard's directory.
#[derive(Debug)]
pub struct Checkpoints {
    pub(super) dir: PathBuf,
    pub(super) parts: Parts,
    pub(super) cold: Arc<Cold>,
    state: Mutex<State>,
    /// Told whenever a turn ends.
    turn_ended: Condvar,
    /// The generation that was opened last, while somebody reads it.
    open: Mutex<Option<(u64, Weak<Generation>)>>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) manifest: Manifest,
    next_number: u64,
    /// Counts installed snapshots: a checkpoint begun before one is of another history of files.
    pub(super) installs: u64,
    under_way: Vec<&'static str>,
    has_failed: bool,
    /// Nobody takes a turn any more.
    is_closed: bool,
    /// Files lie here that no checkpoint names and that nobody has looked at; the next one to be named replaces them.
    is_anew: bool,
}

/// What opening found.
#[derive(Debug)]
pub struct Opened<T> {
    /// The newest checkpoint that is whole, and what the caller made of it. `None`: a new directory.
    pub image: Option<(Checkpoint, T)>,
    /// Newer checkpoints that were not. What was bad of them is set aside; an alarm is in order.
    pub passed_over: Vec<PassedOver>,
}

/// A checkpoint that could not be used.
#[derive(Debug)]
pub struct PassedOver {
    /// Its log index.
    pub log_index: LogIndex,
    /// What is wrong with it.
    pub why: StoreError,
}

/// A checkpoint that is now the newest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// As `CURRENT` names it.
    pub checkpoint: Checkpoint,
    /// The log may be purged up to here, this entry included.
    pub purge_upto: Option<LogIndex>,
}

impl Checkpoints {
    /// Opens a shard's directory, or makes it in one that is there for good, and loads the newest checkpoint that is whole.
    ///
    /// `attempt` reads the pages into an image and checks its record count and digest; what it refuses
    /// (or what cannot be read) is passed over, and it is called again for the checkpoint before. If
    /// none is left the error is [`StoreError::Rebuild`], and nothing was changed. The caller must see
    /// to it that its log reaches back to the checkpoint it gets.
    pub fn open<T>(
        dir: &Path,
        parts: Parts,
        mut attempt: impl FnMut(&Checkpoint, &mut Pages<'_>) -> Result<T, StoreError>,
    ) -> Result<(Self, Opened<T>), StoreError> {
        let corrupt = |why| StoreError::Rebuild { dir: dir.to_path_buf(), why: Box::new(why) };
        let mut manifest = match current::read_or_create(&*parts.files, dir) {
            Err(why @ StoreError::Corrupt { .. }) => return Err(corrupt(why)),
            manifest => manifest?,
        };
        sweep(&parts, dir, &manifest)?;
        let (mut passed_over, mut bad) = (Vec::new(), Vec::new());
        let mut loaded = None;
        while let Some(checkpoint) = manifest.newest() {
            match load(&parts, dir, checkpoint, &mut attempt) {
                Ok((image, volumes)) => {
                    loaded = Some((checkpoint.clone(), image, volumes));
                    break;
                }
                Err(why) if !why.is_about_content() => return Err(why),
                Err(why) if manifest.checkpoints.len() == 1 => return Err(corrupt(why)),
                Err(why) => {
                    tracing::error!(%why, "a checkpoint is bad, falling back to the one before");
                    bad.push(why.path().map_or(dir.join(checkpoint.dir_name()), Path::to_path_buf));
                    passed_over.push(PassedOver { log_index: checkpoint.log_index, why });
                    manifest.checkpoints.pop();
                }
            }
        }
        let is_older_gone = drop_absent(&parts, dir, &mut manifest)?;
        let (image, volumes) = match loaded {
            Some((checkpoint, image, volumes)) => (Some((checkpoint, image)), volumes),
            None => (None, Vec::new()),
        };
        let checkpoints = Self::new(dir, parts, manifest);
        if passed_over.is_empty() && !is_older_gone {
            checkpoints.cold.set(volumes);
        } else {
            for bad in bad {
                aside::set_aside(&checkpoints.parts, dir, &bad)?;
            }
            let state = checkpoints.state();
            let without_bad = state.manifest.clone();
            checkpoints.publish(state, without_bad.clone(), volumes)?;
            sweep(&checkpoints.parts, dir, &without_bad)?;
        }
        Ok((checkpoints, Opened { image, passed_over }))
    }

    /// Opens a directory whose checkpoints cannot be used as if it were a new one. What `why` names is set aside; whatever
    /// else lies there stays until a checkpoint is named, a received one or the caller's own, and goes then: it may be the
    /// last of its kind.
    ///
    /// # Errors
    /// What the disk says.
    pub fn open_anew(dir: &Path, parts: Parts, why: &StoreError) -> Result<Self, StoreError> {
        let files = &*parts.files;
        files.create_dir(dir)?;
        if let Some(bad) = why.path() {
            aside::set_aside(&parts, dir, bad)?;
        }
        current::remove_half_written(files, dir)?;
        let names = files.list(dir)?.into_iter().map(|entry| entry.name);
        let names = names.chain(parts.store.list(dir)?);
        let last = names.filter_map(|name| current::number_of(&name)).max();
        let next_number = last.unwrap_or(0).saturating_add(1);
        let checkpoints = Self::new(dir, parts, Manifest { next_number, checkpoints: Vec::new() });
        checkpoints.state().is_anew = true;
        Ok(checkpoints)
    }

    /// Sets aside what an error says is corrupt, so that the next start does not believe it. What cannot be moved stays,
    /// and is found bad again.
    pub fn disown(&self, error: &StoreError) {
        let StoreError::Corrupt { path, .. } = error else { return };
        let is_known = |name: &str| current::number_of(name).is_some() || name == current::NAME;
        let inside = path.strip_prefix(&self.dir).ok().and_then(|rest| rest.components().next());
        if !inside.is_some_and(|name| is_known(&name.as_os_str().to_string_lossy())) {
            return;
        }
        if let Err(error) = aside::set_aside(&self.parts, &self.dir, path) {
            tracing::warn!(%error, "what is bad cannot be set aside");
        }
    }

    fn new(dir: &Path, parts: Parts, manifest: Manifest) -> Self {
        let state = State {
            next_number: manifest.next_number,
            manifest,
            installs: 0,
            under_way: Vec::new(),
            has_failed: false,
            is_closed: false,
            is_anew: false,
        };
        let (dir, cold, state) = (dir.to_path_buf(), Arc::default(), Mutex::new(state));
        Self { dir, parts, cold, state, turn_ended: Condvar::new(), open: Mutex::default() }
    }

    /// Waits until whatever is being written, merged or received has come to its end, and has nothing more begun. What is
    /// open stays readable. Blocks for seconds.
    pub fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        while !state.under_way.is_empty() {
            state = self.turn_ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The cold part of the state, as of the newest checkpoint; it follows each later one.
    #[must_use]
    pub fn cold(&self) -> Arc<Cold> {
        self.cold.clone()
    }

    /// The newest checkpoint.
    #[must_use]
    pub fn newest(&self) -> Option<Checkpoint> {
        self.state().manifest.newest().cloned()
    }

    /// The log may be purged up to here, this entry included: the older of two checkpoints. With one
    /// alone there would be nothing to fall back to, so nothing may go.
    #[must_use]
    pub fn purge_upto(&self) -> Option<LogIndex> {
        purge_upto(&self.state().manifest)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held ends the process in production; in tests the state is whole,
        // because it is changed only after `CURRENT` was.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a manifest the current one, shows its newest volumes to readers, and then removes what is
    /// no longer named.
    pub(super) fn publish(
        &self,
        mut state: MutexGuard<'_, State>,
        mut next: Manifest,
        volumes: Vec<Arc<Volume>>,
    ) -> Result<(), StoreError> {
        if mem::replace(&mut state.has_failed, true) {
            return Err(StoreError::Stopped);
        }
        next.next_number = state.next_number;
        current::write(&*self.parts.files, &self.dir, &next)?;
        state.has_failed = false;
        let before = mem::replace(&mut state.manifest, next.clone());
        let is_anew = mem::take(&mut state.is_anew);
        self.cold.set(volumes);
        drop(state);
        self.retire(&before, &next);
        if is_anew && let Err(error) = sweep(&self.parts, &self.dir, &next) {
            tracing::warn!(%error, "what was there before stays until the next start");
        }
        Ok(())
    }

    /// Removes what was named before and is not now. What fails to go takes room until the next start.
    fn retire(&self, before: &Manifest, now: &Manifest) {
        let named = now.volume_names();
        for name in before.volume_names().iter().filter(|name| !named.contains(name)) {
            self.discard(name);
        }
        let named = now.dir_names();
        for gone in before.checkpoints.iter().filter(|gone| !named.contains(&gone.dir_name())) {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let open = open.as_ref().filter(|(number, _)| *number == gone.number);
            match open.and_then(|(_, generation)| generation.upgrade()) {
                Some(generation) => generation.doom(),
                None => pages::remove(&*self.parts.store, &self.dir.join(gone.dir_name())),
            }
        }
    }

    /// Removes a volume that nothing names.
    pub(super) fn discard(&self, name: &str) {
        if let Err(error) = self.parts.files.remove(&self.dir.join(name)) {
            tracing::warn!(%error, "an old volume stays until the next start");
        }
    }

    /// The newest checkpoint with its volumes and its generation open, shared with who has them already.
    pub(super) fn open_newest(&self) -> Result<Option<OpenCheckpoint>, StoreError> {
        // Opening takes a while, and nothing but removing a generation waits for it. Until this lock is
        // free, what was the newest when it was asked for is not removed.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (newest, volumes) = {
            let state = self.state();
            (state.manifest.newest().cloned(), self.cold.volumes())
        };
        let Some(checkpoint) = newest else {
            return Ok(None);
        };
        let shared = open.as_ref().filter(|(number, _)| *number == checkpoint.number);
        if let Some(generation) = shared.and_then(|(_, generation)| generation.upgrade()) {
            return Ok(Some((checkpoint, generation, volumes)));
        }
        let path = self.dir.join(checkpoint.dir_name());
        let generation = Generation::open(&self.parts.store, path, checkpoint.pages.seal)?;
        let generation = Arc::new(generation);
        *open = Some((checkpoint.number, Arc::downgrade(&generation)));
        Ok(Some((checkpoint, generation, volumes)))
    }

    /// Takes a turn at a kind of work that is done by one at a time, until the turn is dropped.
    pub(super) fn turn(&self, what: &'static str) -> Result<Turn<'_>, StoreError> {
        let mut state = self.state();
        if state.has_failed || state.is_closed {
            return Err(StoreError::Stopped);
        }
        if state.under_way.contains(&what) {
            return Err(StoreError::Busy { what });
        }
        state.under_way.push(what);
        Ok(Turn { checkpoints: self, what })
    }
}

/// See [`Checkpoints::open_newest`].
type OpenCheckpoint = (Checkpoint, Arc<Generation>, Arc<[Arc<Volume>]>);

/// See [`Checkpoints::turn`].
pub(super) struct Turn<'a> {
    checkpoints: &'a Checkpoints,
    what: &'static str,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.checkpoints.state().under_way.retain(|what| *what != self.what);
        self.checkpoints.turn_ended.notify_all();
    }
}

impl State {
    /// A number that no file has, and none will have again once it was named.
    pub(super) fn take_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number = number.saturating_add(1);
        number
    }

    /// After a failed publication nobody knows what `CURRENT` names, so nothing may be removed.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }
}

impl StoreError {
    /// Whether this tells of a bad checkpoint. Anything else (a program too old, a second process) would
    /// be the same for every checkpoint, and must not cost a good one.
    fn is_about_content(&self) -> bool {
        match self {
            Self::Io { .. }
            | Self::Corrupt { .. }
            | Self::Backend { .. }
            | Self::Unsorted { .. }
            | Self::Refused { .. } => true,
            Self::Version { .. }
            | Self::Newer { .. }
            | Self::StillOpen { .. }
            | Self::TooLong { .. }
            | Self::Superseded
            | Self::Busy { .. }
            | Self::Stopped
            | Self::GivenUp
            | Self::Rebuild { .. }
            | Self::Behind { .. } => false,
        }
    }
}

pub(super) fn purge_upto(manifest: &Manifest) -> Option<LogIndex> {
    let is_full = manifest.checkpoints.len() == GENERATIONS_MAX;
    manifest.checkpoints.first().filter(|_| is_full).map(|checkpoint| checkpoint.log_index)
}

/// Opens the volumes that a checkpoint names.
fn open_volumes(
    files: &dyn Files,
    dir: &Path,
    facts: &[VolumeFacts],
) -> Result<Vec<Arc<Volume>>, StoreError> {
    facts.iter().map(|facts| Ok(Arc::new(Volume::open(files, dir, facts)?))).collect()
}

fn load<T>(
    parts: &Parts,
    dir: &Path,
    checkpoint: &Checkpoint,
    attempt: impl FnOnce(&Checkpoint, &mut Pages<'_>) -> Result<T, StoreError>,
) -> Result<(T, Vec<Arc<Volume>>), StoreError> {
    let volumes = open_volumes(&*parts.files, dir, &checkpoint.volumes)?;
    let path = dir.join(checkpoint.dir_name());
    let generation = Generation::open(&parts.store, path.clone(), checkpoint.pages.seal)?;
    Ok((read_image(&generation, &path, checkpoint, attempt)?, volumes))
}

/// Lets the caller read an image, and checks that it saw all pages as they were written.
pub(super) fn read_image<T>(
    generation: &Generation,
    path: &Path,
    checkpoint: &Checkpoint,
    attempt: impl FnOnce(&Checkpoint, &mut Pages<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut pages = Pages::new(generation);
    let image = attempt(checkpoint, &mut pages)?;
    pages.check(path, &checkpoint.pages)?;
    Ok(image)
}

/// Drops an older checkpoint of which something is not there: it was set aside when it was found bad. Says whether one was.
fn drop_absent(parts: &Parts, dir: &Path, manifest: &mut Manifest) -> Result<bool, StoreError> {
    let generations = parts.store.list(dir)?;
    let files: Vec<String> = parts.files.list(dir)?.into_iter().map(|entry| entry.name).collect();
    let (named, newest) = (manifest.checkpoints.len(), manifest.newest().map(|at| at.number));
    manifest.checkpoints.retain(|checkpoint| {
        let mut volumes = checkpoint.volumes.iter().map(VolumeFacts::file_name);
        let is_there = generations.contains(&checkpoint.dir_name())
            && volumes.all(|volume| files.contains(&volume));
        if !is_there {
            let index = checkpoint.log_index.0;
            tracing::error!(index, dir = %dir.display(), "the checkpoint before the newest is gone");
        }
        is_there || Some(checkpoint.number) == newest
    });
    Ok(manifest.checkpoints.len() < named)
}

/// Removes what a crash, or a bad checkpoint, left behind.
fn sweep(parts: &Parts, dir: &Path, manifest: &Manifest) -> Result<(), StoreError> {
    for entry in parts.files.list(dir)? {
        if !entry.is_dir && current::is_leftover_file(manifest, &entry.name) {
            parts.files.remove(&dir.join(&entry.name))?;
        }
    }
    let named = manifest.dir_names();
    for name in parts.store.list(dir)? {
        let is_generation = name.starts_with(current::GENERATION_PREFIX);
        if is_generation && !named.contains(&name) {
            parts.store.remove(&dir.join(name))?;
        }
    }
    parts.files.sync_dir(dir)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests count small things")]
mod kill_tests;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests count small things")]
mod tests;
