//! Free disk: below a bound nothing more is proposed, while what is in flight, and reads, go on.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;

use crate::config::SpaceOptions;
use crate::meter::Meter;
use crate::offload::Offload;
use crate::runtime;

/// How often the disk is asked. At 200 MB/s a fifth of the reserve is written in between.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// What is free, and of how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    pub(crate) free_bytes: u64,
    pub(crate) total_bytes: u64,
}

impl Space {
    fn is_enough(self, options: SpaceOptions) -> bool {
        let SpaceOptions { free_bytes_min, free_percent_min } = options;
        let part = (self.total_bytes / 100).saturating_mul(free_percent_min.into());
        self.free_bytes >= free_bytes_min && self.free_bytes >= part
    }
}

/// What is free on the disk of a directory. Blocks.
pub(crate) fn ask(dir: &std::path::Path) -> std::io::Result<Space> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(Space {
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
    })
}

/// Keeps `has_room` up to date until the node stops.
pub(crate) async fn watch(
    (dir, options): (PathBuf, SpaceOptions),
    offload: Offload,
    (has_room, meter): (watch::Sender<bool>, Meter),
    mut stop: watch::Receiver<bool>,
) {
    while !*stop.borrow() {
        let path = dir.clone();
        match offload.run(move || ask(&path)).await {
            Ok(space) => {
                meter.disk(space.free_bytes, space.total_bytes);
                let is_enough = space.is_enough(options);
                let changed = has_room
                    .send_if_modified(|room| std::mem::replace(room, is_enough) != is_enough);
                if changed {
                    let Space { free_bytes, total_bytes } = space;
                    tracing::warn!(is_enough, free_bytes, total_bytes, "free disk");
                }
            }
            // A disk that cannot say what is free will say more when it is written.
            Err(error) => tracing::warn!(%error, "cannot learn what is free on the disk"),
        }
        tokio::select! {
            biased;
            _ = stop.changed() => return,
            () = runtime::sleep(ASK_EVERY) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gigabyte_and_a_twentieth_are_kept() {
        let enough = |free_bytes, total_bytes| {
            Space { free_bytes, total_bytes }.is_enough(SpaceOptions::default())
        };
        assert!(enough(1 << 30, 10 << 30));
        assert!(!enough((1 << 30) - 1, 10 << 30));
        assert!(enough(50 << 30, 1_000 << 30));
        assert!(!enough(49 << 30, 1_000 << 30));
        let none = SpaceOptions { free_bytes_min: 0, free_percent_min: 0 };
        assert!(Space { free_bytes: 0, total_bytes: 1 << 30 }.is_enough(none));
    }

    #[test]
    fn this_machine_can_be_asked() {
        let space = ask(std::path::Path::new("/")).unwrap();
        assert!(space.free_bytes <= space.total_bytes && space.total_bytes > 0);
    }
}
