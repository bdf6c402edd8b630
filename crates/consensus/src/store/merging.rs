//! Keeps the number of volumes small: merges a run of neighbours when one is due.

use std::{ops, sync::Arc};

use super::{Checkpoints, StoreError, Volume, VolumeFacts, volume};

impl Checkpoints {
    /// Merges the next run that is due, if any, and returns the new volume. Call it again until there is
    /// none. Blocks for as long as the run takes to be read and written.
    ///
    /// The new volume takes the run's place in every checkpoint that names all of it; a checkpoint that
    /// names a part keeps its own. An error about the run's bytes stops the node, like any other read.
    pub fn merge_once(&self) -> Result<Option<VolumeFacts>, StoreError> {
        let _turn = self.turn("merge")?;
        let volumes = self.cold.volumes();
        let facts: Vec<_> = volumes.iter().map(|volume| *volume.facts()).collect();
        let Some(run) = volume::due(&facts).and_then(|run| volumes.get(run)) else {
            return Ok(None);
        };
        let merged = self.merge_run(run)?;
        let run: Vec<_> = run.iter().map(|volume| *volume.facts()).collect();
        let facts = *merged.facts();

        let state = self.state();
        let mut manifest = state.manifest.clone();
        for checkpoint in &mut manifest.checkpoints {
            if let Some(place) = place_of(&run, &checkpoint.volumes) {
                checkpoint.volumes.splice(place, [facts]);
            }
        }
        let mut volumes = self.cold.volumes().to_vec();
        let named: Vec<_> = volumes.iter().map(|volume| *volume.facts()).collect();
        let Some(place) = place_of(&run, &named) else {
            // A snapshot was installed meanwhile.
            drop(state);
            self.discard(&facts.file_name());
            return Ok(None);
        };
        volumes.splice(place, [Arc::new(merged)]);
        self.publish(state, manifest, volumes)?;
        Ok(Some(facts))
    }

    /// Writes the union of a run, lasting but not named.
    fn merge_run(&self, run: &[Arc<Volume>]) -> Result<Volume, StoreError> {
        let number = self.state().take_number();
        let files = &*self.parts.files;
        let facts = volume::merge(files, &self.dir, run, (number, self.parts.filter_of))?;
        files.sync_dir(&self.dir)?;
        Volume::open(files, &self.dir, &facts)
    }
}

/// Where a run lies in a list. `None`: the list does not hold all of it.
fn place_of(run: &[VolumeFacts], volumes: &[VolumeFacts]) -> Option<ops::Range<usize>> {
    let first = volumes.windows(run.len()).position(|window| window == run)?;
    Some(first..first.saturating_add(run.len()))
}
