//! A replica's ledger, shared between the one task that changes it and everybody who reads.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ledger::{CUT_IMAGE_MS_MAX, Image, Ledger, Time};
use tokio::sync::watch;

use crate::backup::StateImage;
use crate::checkpoint::Mark;
use crate::digest::{Digests, Verdict};
use crate::messages::DigestAt;

/// The ledger and what is known about it outside of it.
///
/// The lock is held for one batch or one read at a time, and never across an await. Only the state machine's task takes
/// it for writing, so it is all but uncontended.
#[derive(Debug)]
pub(crate) struct State {
    ledger: Mutex<Ledger>,
    /// Changes when a snapshot replaces the ledger: what was frozen before is of another life.
    life: AtomicU64,
    /// The image whose volume is durable, and the life it was taken in.
    durable: Mutex<Option<(u64, u64)>>,
    /// The newest checkpoint. The store knows it too, behind a lock that it holds while it waits for the disk.
    mark: Mutex<Option<Mark>>,
    /// The term of the last entry applied.
    pub(crate) applied_term: watch::Sender<u64>,
    applied_index: AtomicU64,
    /// How many images were written, well or not.
    pub(crate) images_written: watch::Sender<u64>,
    /// Bytes of batches applied since the last image was taken.
    bytes_since_image: AtomicU64,
    /// What the last state cut found, for a while.
    state_image: Mutex<Option<Arc<StateImage>>>,
    digests: Mutex<Digests>,
    voters: Mutex<BTreeSet<u64>>,
    /// No majority agrees on what the ledger is: nothing more is proposed.
    is_disputed: AtomicBool,
}

impl State {
    pub(crate) fn new(ledger: Ledger, mark: Option<Mark>) -> Self {
        Self {
            mark: Mutex::new(mark),
            ledger: Mutex::new(ledger),
            life: AtomicU64::new(0),
            durable: Mutex::new(None),
            applied_term: watch::Sender::new(0),
            applied_index: AtomicU64::new(0),
            images_written: watch::Sender::new(0),
            bytes_since_image: AtomicU64::new(0),
            state_image: Mutex::default(),
            digests: Mutex::default(),
            voters: Mutex::default(),
            is_disputed: AtomicBool::new(false),
        }
    }

    /// # Panics
    /// When the ledger has panicked: what it holds then may be half of a change, and nobody may read it.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("a ledger that panicked stops the node")
    }

    pub(crate) fn mark(&self) -> Option<Mark> {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_mark(&self, mark: Mark) {
        *self.mark.lock().unwrap_or_else(PoisonError::into_inner) = Some(mark);
    }

    pub(crate) fn digests(&self) -> MutexGuard<'_, Digests> {
        // Digests are only noted and compared: a panic between two notes leaves nothing half done.
        self.digests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in another node's digests, and compares.
    pub(crate) fn compare(&self, own: u64, node: u64, theirs: &[DigestAt]) -> Verdict {
        let voters = self.voters.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut digests = self.digests();
        digests.note(node, theirs);
        let verdict = digests.verdict(own, &voters);
        if let Verdict::NoMajority { .. } = verdict {
            self.is_disputed.store(true, Ordering::Release);
        }
        verdict
    }

    pub(crate) fn set_voters(&self, voters: BTreeSet<u64>) {
        *self.voters.lock().unwrap_or_else(PoisonError::into_inner) = voters;
    }

    pub(crate) fn is_disputed(&self) -> bool {
        self.is_disputed.load(Ordering::Acquire)
    }

    /// Notes that an entry was applied.
    pub(crate) fn applied(&self, term: u64, index: u64, bytes: usize) {
        self.applied_index.store(index, Ordering::Release);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes_since_image.fetch_add(bytes, Ordering::Relaxed);
        self.show_term(term);
        if crate::digest::is_compared(index) {
            let digest = self.ledger().digest();
            self.digests().note_own(DigestAt { index, digest });
        }
    }

    /// Notes where a ledger that came from a checkpoint stands.
    pub(crate) fn stands_at(&self, term: u64, index: u64) {
        self.applied_index.store(index, Ordering::Release);
        self.show_term(term);
    }

    pub(crate) fn applied_index(&self) -> u64 {
        self.applied_index.load(Ordering::Acquire)
    }

    pub(crate) fn bytes_since_image(&self) -> u64 {
        self.bytes_since_image.load(Ordering::Relaxed)
    }

    /// Takes an image, how many bytes of batches went into the interval behind it, and the life it belongs to.
    pub(crate) fn freeze(&self) -> Frozen {
        let image = self.ledger().freeze();
        let bytes = self.bytes_since_image.swap(0, Ordering::Relaxed);
        Frozen { image, bytes, life: self.life.load(Ordering::Acquire) }
    }

    /// Keeps what a state cut found, in the place of what an earlier one did, and not in that of a later one.
    pub(crate) fn keep_state_image(&self, image: StateImage) {
        let mut slot = self.state_image_slot();
        let is_later = |kept: &Arc<StateImage>| kept.cut() > image.cut();
        if !slot.as_ref().is_some_and(is_later) {
            let gone = slot.replace(Arc::new(image));
            drop((slot, gone));
        }
    }

    /// Lets go of what a state cut found, when its time is over. Whoever reads it keeps it.
    pub(crate) fn pass_state_image(&self, now: Time) {
        let mut slot = self.state_image_slot();
        let is_over = |kept: &Arc<StateImage>| kept.at().plus_ms(CUT_IMAGE_MS_MAX) <= now;
        let gone = if slot.as_ref().is_some_and(is_over) { slot.take() } else { None };
        drop((slot, gone));
    }

    /// What a state cut found, while it is kept.
    pub(crate) fn state_image(&self, cut: u64) -> Option<Arc<StateImage>> {
        self.state_image_slot().clone().filter(|kept| kept.cut() == cut)
    }

    fn state_image_slot(&self) -> MutexGuard<'_, Option<Arc<StateImage>>> {
        // It is replaced whole: a panic elsewhere leaves nothing half done.
        self.state_image.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An image is durable: its records may leave memory, between two batches.
    pub(crate) fn is_durable(&self, life: u64, image: u64) {
        *self.durable.lock().unwrap_or_else(PoisonError::into_inner) = Some((life, image));
    }

    /// Lets go of what is durable. Called between two batches, so that nothing a batch names leaves memory between its
    /// fetch and its apply.
    pub(crate) fn evict(&self) {
        let durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((life, image)) = durable
            && life == self.life.load(Ordering::Acquire)
        {
            self.ledger().evict(image);
        }
    }

    /// Puts another ledger in the place of this one.
    pub(crate) fn replace(&self, ledger: Ledger) {
        *self.ledger() = ledger;
        self.life.fetch_add(1, Ordering::AcqRel);
        self.bytes_since_image.store(0, Ordering::Relaxed);
    }

    fn show_term(&self, term: u64) {
        self.applied_term.send_if_modified(|shown| std::mem::replace(shown, term) != term);
    }
}

/// An image on its way to the disk.
#[derive(Debug)]
pub(crate) struct Frozen {
    pub(crate) image: Image,
    pub(crate) bytes: u64,
    pub(crate) life: u64,
}
