//! Files that turned out bad, kept for study beside what is good.
//!
//! ```text
//! shard-03/bad/000001-vol-000000000001-000000000930-000004
//! shard-03/bad/000002-CURRENT
//! ```
//!
//! Nothing in here is ever read again. The number in front is the order in which things were found bad; the last two
//! are kept, and whoever wants to keep more takes them away.

use std::path::{Component, Path};

use super::{Files, Parts, StoreError, files};

/// Under this name they lie in the shard's directory.
pub(super) const DIR_NAME: &str = "bad";

/// How many are kept: each may be as large as the whole state.
const KEPT_MAX: usize = 2;

/// Moves what `bad` lies in, a file or a generation's directory, out of a shard's directory. Says whether it was there.
///
/// Names are synced, so that a crash does not bring it back once something else has taken its place. A crash before that
/// leaves it, or a part of it, where it was: then it is found bad again.
pub(super) fn set_aside(parts: &Parts, dir: &Path, bad: &Path) -> Result<bool, StoreError> {
    let files = &*parts.files;
    let inside = bad.strip_prefix(dir).ok().and_then(|rest| rest.components().next());
    let Some(Component::Normal(name)) = inside else { return Ok(false) };
    let name = name.to_string_lossy();
    let Some(entry) = files.list(dir)?.into_iter().find(|entry| entry.name == name) else {
        return Ok(false);
    };
    let aside = dir.join(DIR_NAME);
    files.create_dir(&aside)?;
    files.sync_dir(dir)?;
    let number = make_room(files, &aside)?;
    let (from, to) = (dir.join(&entry.name), aside.join(format!("{number:06}-{name}")));
    if entry.is_dir {
        files::move_tree(files, &from, &to)?;
    } else {
        files.rename(&from, &to)?;
    }
    files.sync_dir(&aside)?;
    files.sync_dir(dir)?;
    tracing::error!(file = %from.display(), to = %to.display(), "set aside, for it is bad");
    Ok(true)
}

/// Lets the oldest go until one more may come, and gives its number.
fn make_room(files: &dyn Files, aside: &Path) -> Result<u64, StoreError> {
    let mut kept: Vec<_> = files.list(aside)?;
    kept.sort();
    let number = |name: &str| name.split('-').next().and_then(|number| number.parse::<u64>().ok());
    let last = kept.iter().filter_map(|entry| number(&entry.name)).max().unwrap_or(0);
    let excess = kept.len().saturating_add(1).saturating_sub(KEPT_MAX);
    for entry in kept.iter().take(excess) {
        let path = aside.join(&entry.name);
        if entry.is_dir {
            files::remove_tree(files, &path)?;
        } else {
            files.remove(&path)?;
        }
    }
    Ok(last.saturating_add(1))
}
