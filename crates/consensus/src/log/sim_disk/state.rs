//! What a simulated disk holds, and what of it is lost.
//!
//! **Invariant:** what a file shows is what is durable of it with its unsynced writes on top, but for
//! writes that a failed sync gave up on: they are shown, and no sync covers them.

use std::collections::BTreeMap;

use super::{Keep, Operation};

/// A change that no sync has covered yet.
#[derive(Clone)]
pub(super) enum Unsynced {
    Write { file: u64, offset: usize, bytes: Vec<u8> },
    Create { name: String, file: u64 },
    Remove { name: String },
}

#[derive(Clone, Default)]
pub(super) struct Contents {
    /// As a running process reads it.
    pub(super) seen: Vec<u8>,
    /// As it is after a loss of power that keeps nothing.
    pub(super) durable: Vec<u8>,
}

#[derive(Clone)]
pub(super) struct State {
    pub(super) random: u64,
    pub(super) sector: usize,
    pub(super) files: BTreeMap<u64, Contents>,
    pub(super) names: BTreeMap<String, u64>,
    pub(super) durable_names: BTreeMap<String, u64>,
    pub(super) unsynced: Vec<Unsynced>,
    pub(super) next_file: u64,
    pub(super) life: u64,
    pub(super) operations: u64,
    pub(super) is_on: bool,
    pub(super) power_off_at: Option<u64>,
    pub(super) fail_at: Option<u64>,
    pub(super) fail_next: Option<Operation>,
}

/// How an operation ends.
pub(super) enum Fate {
    Done,
    /// It happens, but nobody hears: the power goes.
    Unheard,
    Fails,
}

impl State {
    pub(super) fn new(seed: u64, sector: usize) -> Self {
        Self {
            random: seed,
            sector,
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced: Vec::new(),
            next_file: 0,
            life: 0,
            operations: 0,
            is_on: true,
            power_off_at: None,
            fail_at: None,
            fail_next: None,
        }
    }

    /// Counts an operation and decides its fate.
    pub(super) fn fate(&mut self, operation: Operation) -> Fate {
        let number = self.operations;
        self.operations = number.saturating_add(1);
        if self.power_off_at == Some(number) {
            self.is_on = false;
            return Fate::Unheard;
        }
        let fails = self.fail_at == Some(number) || self.fail_next == Some(operation);
        if self.fail_next == Some(operation) {
            self.fail_next = None;
        }
        if fails { Fate::Fails } else { Fate::Done }
    }

    pub(super) fn revive(&mut self) {
        self.life = self.life.saturating_add(1);
        self.is_on = true;
        self.power_off_at = None;
        self.fail_at = None;
        self.fail_next = None;
    }

    pub(super) fn write(&mut self, file: u64, offset: usize, bytes: Vec<u8>) {
        if let Some(contents) = self.files.get_mut(&file) {
            overwrite(&mut contents.seen, offset, &bytes);
            self.unsynced.push(Unsynced::Write { file, offset, bytes });
        }
    }

    fn make_durable(&mut self, change: Unsynced) {
        match change {
            Unsynced::Write { file, offset, bytes } => {
                if let Some(contents) = self.files.get_mut(&file) {
                    overwrite(&mut contents.durable, offset, &bytes);
                }
            }
            Unsynced::Create { name, file } => {
                self.durable_names.insert(name, file);
            }
            Unsynced::Remove { name } => {
                self.durable_names.remove(&name);
            }
        }
    }

    /// Takes the unsynced changes of one file, or of the directory.
    pub(super) fn take_unsynced(&mut self, of: Option<u64>) -> Vec<Unsynced> {
        let is_meant = |change: &Unsynced| match change {
            Unsynced::Write { file, .. } => of == Some(*file),
            Unsynced::Create { .. } | Unsynced::Remove { .. } => of.is_none(),
        };
        let (taken, left) = std::mem::take(&mut self.unsynced).into_iter().partition(is_meant);
        self.unsynced = left;
        taken
    }

    pub(super) fn sync(&mut self, of: Option<u64>) {
        self.take_unsynced(of).into_iter().for_each(|change| self.make_durable(change));
    }

    pub(super) fn lose(&mut self, keep: Keep) {
        let unsynced = std::mem::take(&mut self.unsynced);
        match keep {
            Keep::Nothing => {}
            Keep::All => unsynced.into_iter().for_each(|change| self.make_durable(change)),
            Keep::Torn => {
                let whole = self.below(unsynced.len().saturating_add(1));
                for (at, change) in unsynced.into_iter().enumerate().take(whole.saturating_add(1)) {
                    let kept = if at < whole { Some(change) } else { self.front_of(change) };
                    kept.into_iter().for_each(|change| self.make_durable(change));
                }
            }
            Keep::Reordered => unsynced.into_iter().for_each(|change| self.keep_some(change)),
        }
        self.names.clone_from(&self.durable_names);
        let named: Vec<u64> = self.names.values().copied().collect();
        self.files.retain(|file, _| named.contains(file));
        for contents in self.files.values_mut() {
            contents.seen.clone_from(&contents.durable);
        }
    }

    /// A part of a write, from its front. A name is there or not.
    fn front_of(&mut self, change: Unsynced) -> Option<Unsynced> {
        match change {
            Unsynced::Write { file, offset, mut bytes } => {
                bytes.truncate(self.below(bytes.len()));
                Some(Unsynced::Write { file, offset, bytes })
            }
            Unsynced::Create { .. } | Unsynced::Remove { .. } => None,
        }
    }

    /// Makes some sectors of a write durable, or perhaps a name.
    pub(super) fn keep_some(&mut self, change: Unsynced) {
        match change {
            Unsynced::Write { file, mut offset, bytes } => {
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    let into = offset.checked_rem(self.sector).unwrap_or_default();
                    let len = self.sector.saturating_sub(into).min(rest.len());
                    let (piece, after) = rest.split_at_checked(len).unwrap_or((rest, &[]));
                    if self.below(2) == 0 {
                        self.make_durable(Unsynced::Write { file, offset, bytes: piece.to_vec() });
                    }
                    (rest, offset) = (after, offset.saturating_add(len));
                }
            }
            Unsynced::Create { .. } | Unsynced::Remove { .. } => {
                if self.below(2) == 0 {
                    self.make_durable(change);
                }
            }
        }
    }

    /// A number below `bound`; 0 when there is none. The generator is splitmix64.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        let drawn = mixed.checked_rem(bound as u64).unwrap_or_default();
        usize::try_from(drawn).unwrap_or_default()
    }
}

fn overwrite(target: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let end = offset.saturating_add(bytes.len());
    if target.len() < end {
        target.resize(end, 0);
    }
    if let Some(place) = target.get_mut(offset..end) {
        place.copy_from_slice(bytes);
    }
}
