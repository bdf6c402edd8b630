//! Reading what was written long ago, to find what has rotted since.
//!
//! A generation is read when a node starts or sends it, a volume's block when somebody asks for what is in it, which may
//! be never. So all that `CURRENT` names is read now and then, from the disk and not from its cache.

use std::collections::BTreeSet;

use super::{Checkpoint, Checkpoints, Pace, StoreError, Volume, VolumeFacts, current};

impl Checkpoints {
    /// Reads everything that `CURRENT` names, and `CURRENT` itself. `pace` is told how much was read, and may wait; when
    /// it says no, the rest is left. Blocks for as long as that takes, and is in nobody's way.
    ///
    /// # Errors
    /// What is bad, by file and offset, or what the disk says.
    pub fn scrub(&self, pace: &mut Pace<'_>) -> Result<(), StoreError> {
        match self.scrub_named(pace) {
            Err(StoreError::GivenUp) => Ok(()),
            scrubbed => scrubbed,
        }
    }

    fn scrub_named(&self, pace: &mut Pace<'_>) -> Result<(), StoreError> {
        let named = {
            let state = self.state();
            if state.has_failed() || state.manifest.checkpoints.is_empty() {
                return Ok(());
            }
            // While it is compared nobody replaces it.
            current::check(&*self.parts.files, &self.dir, &state.manifest)?;
            state.manifest.checkpoints.clone()
        };
        let mut seen = BTreeSet::new();
        for checkpoint in &named {
            for facts in &checkpoint.volumes {
                if seen.insert(facts.number) {
                    self.scrub_volume(facts, pace)?;
                }
            }
            self.scrub_generation(checkpoint, pace)?;
        }
        Ok(())
    }

    fn scrub_volume(&self, facts: &VolumeFacts, pace: &mut Pace<'_>) -> Result<(), StoreError> {
        let opened = Volume::open(&*self.parts.files, &self.dir, facts);
        let found = opened.and_then(|volume| volume.check(pace));
        let is_named = || {
            let names = self.state().manifest.volume_names();
            names.contains(&facts.file_name())
        };
        // What was merged meanwhile may be gone.
        found.or_else(|error| if is_named() { Err(error) } else { Ok(()) })
    }

    fn scrub_generation(
        &self,
        checkpoint: &Checkpoint,
        pace: &mut Pace<'_>,
    ) -> Result<(), StoreError> {
        let path = self.dir.join(checkpoint.dir_name());
        let found = self.parts.store.check(&path, checkpoint.pages.seal, pace);
        let is_named = || self.state().manifest.dir_names().contains(&checkpoint.dir_name());
        found.or_else(|error| if is_named() { Err(error) } else { Ok(()) })
    }
}
