//! What a release may not read, it leaves as it is.

use std::collections::BTreeMap;
use std::fs;

use ledger::Shards;

use super::*;
use crate::node::Ground;
use crate::raft::log_id;
use crate::store::{RealFiles, SledStore};

fn books() -> Books {
    Books { shard: 0, shards: Shards::new(1).unwrap() }
}

fn parts() -> Parts {
    let files = Arc::new(RealFiles);
    Ground::parts(files.clone(), Arc::new(SledStore::new(files)))
}

/// Every file below a directory, with its bytes.
fn content(dir: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut content = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            content.extend(self::content(&path));
        } else {
            content.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    content
}

/// A checkpoint of a release that knew the rules of `level`.
fn write_at(dir: &Path, (index, level): (u64, u32)) {
    let (checkpoints, opened) = open(dir, parts(), books()).unwrap();
    let mut ledger = opened.image.map_or_else(|| Ledger::new(books()), |(_, ledger)| ledger);
    let image = ledger.freeze();
    let meta = Meta { last_log_id: Some(log_id(1, index)), ..Meta::default() };
    let (at, nothing) = (LogTimeMs(0), LogIndex(index));
    let interval = Interval { first: nothing, last: nothing, first_ms: at, last_ms: at };
    let mut writer = checkpoints.begin(interval, 0).unwrap();
    for (name, value) in image.pages() {
        writer.page(name, value).unwrap();
    }
    let summary = Summary {
        log_index: LogIndex(index),
        meta: codec::encode(&meta).into(),
        records: image.records(),
        digest: image.digest(),
        volume_digest: 0,
        level,
    };
    writer.finish(summary).unwrap();
}

#[test]
fn the_state_of_a_newer_release_is_not_taken_for_a_bad_one() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("shard-00");
    write_at(&dir, (3, LEVEL_MAX));
    write_at(&dir, (5, LEVEL_MAX + 1));
    let before = content(&dir);
    let refused = open(&dir, parts(), books()).map(drop).unwrap_err();
    assert!(
        matches!(refused, StoreError::Newer { level, level_max: LEVEL_MAX } if level == LEVEL_MAX + 1),
        "{refused}"
    );
    assert_eq!(refused.advice(), "start the release that wrote it, or a newer one");
    assert!(before == content(&dir), "nothing was set aside, and nothing fell back");
}
