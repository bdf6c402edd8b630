use std::{path::PathBuf, sync::Arc};

use super::*;
use crate::store::{
    FileNumber, GenerationReader, GenerationWriter, LogTimeMs, MemoryStore, Page, RealFiles,
    SledStore, Summary,
    sample::{
        self, ACCOUNTS, Records, STEP, all_of, dir, filter_of, histories, history, image, interval,
        item, key, memory_parts, sim_parts, step_of, summary, write,
    },
    sim_files::SimFiles,
};

fn shard(disk: &SimFiles, steps: u64) -> Checkpoints {
    let (checkpoints, _) = sample::open(sim_parts(disk), &dir()).expect("a whole disk");
    for step in 1..=steps {
        write(&checkpoints, step).expect("a whole disk");
    }
    checkpoints
}

pub(super) fn sled_parts() -> Parts {
    let files: Arc<dyn Files> = Arc::new(RealFiles);
    Parts { store: Arc::new(SledStore::new(files.clone())), files, filter_of }
}

fn names(disk: &SimFiles) -> Vec<String> {
    disk.list(&dir()).expect("a list").into_iter().map(|entry| entry.name).collect()
}

#[test]
fn a_new_directory_has_no_image() {
    let disk = SimFiles::default();
    for _ in 0..2 {
        let (checkpoints, opened) = sample::open(sim_parts(&disk), &dir()).expect("new, or empty");
        assert!(opened.image.is_none() && opened.passed_over.is_empty());
        assert_eq!((checkpoints.newest(), checkpoints.purge_upto()), (None, None));
        assert!(checkpoints.snapshot().expect("readable").is_none());
    }
    assert_eq!(names(&disk), ["CURRENT"]);
}

#[test]
fn two_are_named_and_the_log_goes_up_to_the_older() {
    let disk = SimFiles::default();
    let (checkpoints, _) = sample::open(sim_parts(&disk), &dir()).expect("a whole disk");
    for step in 1..=4 {
        let published = write(&checkpoints, step).expect("a whole disk");
        let purge_upto = (step > 1).then(|| LogIndex((step - 1) * STEP));
        assert_eq!(published.purge_upto, purge_upto, "with one there is nothing to fall back to");
        assert_eq!(checkpoints.purge_upto(), purge_upto);
        assert_eq!(checkpoints.newest().as_ref(), Some(&published.checkpoint));
        let generations = names(&disk).iter().filter(|name| name.starts_with("gen-")).count();
        assert_eq!(generations as u64, step.min(2));
        assert_eq!(all_of(&checkpoints.cold()), histories(step));
    }
    drop(checkpoints);
    let (checkpoints, opened) = sample::open(sim_parts(&disk), &dir()).expect("a whole disk");
    assert_eq!(step_of(&checkpoints, &opened), 4);
    assert_eq!(checkpoints.purge_upto(), Some(LogIndex(3 * STEP)));
}

/// A directory is opened anew in the same process when a shard comes back that has just left.
#[test]
fn closing_waits_for_whoever_writes_and_lets_nobody_begin() {
    let disk = SimFiles::default();
    let checkpoints = shard(&disk, 1);
    let writer = checkpoints.begin(interval(2), 8).expect("nobody else writes");
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| checkpoints.close());
        while !checkpoints.state().is_closed {
            std::thread::yield_now();
        }
        assert!(!closing.is_finished(), "somebody still writes");
        assert!(matches!(checkpoints.merge_once(), Err(StoreError::Stopped)));
        drop(writer);
        closing.join().expect("it panics nowhere");
    });
    assert!(matches!(write(&checkpoints, 2), Err(StoreError::Stopped)));
    let (again, opened) = sample::open(sim_parts(&disk), &dir()).expect("a whole disk");
    assert_eq!(step_of(&again, &opened), 1);
    write(&again, 2).expect("this one is open");
    assert_eq!(all_of(&checkpoints.cold()), histories(1), "what was open is read on");
}

#[test]
fn the_whole_way_in_sled_on_a_real_disk() {
    let root = tempfile::tempdir().expect("a directory");
    let dir = root.path().join("shard");
    let (checkpoints, _) = sample::open(sled_parts(), &dir).expect("a new directory");
    for step in 1..=9 {
        write(&checkpoints, step).expect("a whole disk");
    }
    assert!(checkpoints.merge_once().expect("mergeable").is_some());
    assert_eq!(all_of(&checkpoints.cold()), histories(9));
    let newest = checkpoints.newest().expect("nine were written");
    drop(checkpoints);

    let (checkpoints, opened) = sample::open(sled_parts(), &dir).expect("a whole disk");
    assert_eq!(step_of(&checkpoints, &opened), 9);
    drop(checkpoints);
    flip(&dir.join(newest.dir_name()).join("db"));
    let (checkpoints, opened) = sample::open(sled_parts(), &dir).expect("the older one is whole");
    assert_eq!(opened.passed_over.len(), 1);
    assert_eq!(step_of(&checkpoints, &opened), 8);
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).expect("writable");
}

/// Each way in which the newest checkpoint can be bad.
#[test]
fn a_bad_newest_falls_back_and_is_forgotten() {
    let newest_pages: fn(&Checkpoint) -> PathBuf =
        |newest| dir().join(newest.dir_name()).join("pages");
    let newest_volume: fn(&Checkpoint) -> PathBuf =
        |newest| dir().join(newest.volumes.last().expect("one").file_name());
    for path in [newest_pages, newest_volume] {
        let disk = SimFiles::default();
        let newest = shard(&disk, 3).newest().expect("three were written");
        // The end of a volume is its footer; blocks are checked when they are read.
        let len = disk.open(&path(&newest)).and_then(|file| file.file_len()).expect("a file");
        disk.flip(&path(&newest), usize::try_from(len).expect("small") - 3);
        let (checkpoints, opened) = sample::open(sim_parts(&disk), &dir()).expect("the older one");
        assert_eq!(opened.passed_over[0].log_index, LogIndex(3 * STEP));
        assert!(matches!(opened.passed_over[0].why, StoreError::Corrupt { .. }));
        assert_eq!(step_of(&checkpoints, &opened), 2);
        assert_eq!(checkpoints.purge_upto(), None, "nothing is left to fall back to");
        assert!(!disk.content().contains_key(&path(&newest)));

        // Its interval is written anew, with another end.
        let mut writer = checkpoints.begin(interval(3), 0).expect("free");
        writer.record(b"another", b"history").expect("in order");
        let summary = Summary { records: 0, digest: 7, ..summary(3) };
        writer.finish(summary).expect("a whole disk");
        drop(checkpoints);
        let (checkpoints, opened) = sample::open(sim_parts(&disk), &dir()).expect("a whole disk");
        assert!(opened.passed_over.is_empty());
        assert!(all_of(&checkpoints.cold()).contains_key(b"another".as_slice()));
    }
}

#[test]
fn an_image_that_the_caller_refuses_falls_back() {
    let disk = SimFiles::default();
    drop(shard(&disk, 3));
    let mut seen = Vec::new();
    let (_, opened) = Checkpoints::open(&dir(), sim_parts(&disk), |checkpoint, pages| {
        seen.push(checkpoint.log_index.0 / STEP);
        let image = sample::read(checkpoint, pages)?;
        let refused = StoreError::Refused { what: "digest" };
        if image == sample::image(3) { Err(refused) } else { Ok(image) }
    })
    .expect("the older one");
    assert_eq!(seen, [3, 2]);
    assert!(matches!(opened.passed_over[0].why, StoreError::Refused { what: "digest" }));
    assert_eq!(opened.image.expect("step 2").1, image(2));
}

#[test]
fn pages_that_the_caller_did_not_read_are_checked_too() {
    let disk = SimFiles::default();
    drop(shard(&disk, 2));
    let store = Arc::new(Odd { store: sim_parts(&disk).store, is_open_elsewhere: false });
    let parts = Parts { store, ..sim_parts(&disk) };
    let opened = Checkpoints::open(&dir(), parts, |_, _| Ok(()));
    assert!(matches!(opened, Err(StoreError::Rebuild { .. })));
}

/// A backend that loses the last page, or finds every generation open elsewhere.
#[derive(Debug)]
struct Odd {
    store: Arc<dyn StateStore>,
    is_open_elsewhere: bool,
}

struct OddReader(Box<dyn GenerationReader>);

impl StateStore for Odd {
    fn create(&self, path: &Path) -> Result<Box<dyn GenerationWriter>, StoreError> {
        self.store.create(path)
    }

    fn open(&self, path: &Path, seal: u128) -> Result<Box<dyn GenerationReader>, StoreError> {
        if self.is_open_elsewhere {
            return Err(StoreError::StillOpen { path: path.to_path_buf() });
        }
        Ok(Box::new(OddReader(self.store.open(path, seal)?)))
    }

    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        self.store.remove(path)
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, StoreError> {
        self.store.list(dir)
    }
}

impl GenerationReader for OddReader {
    fn scan<'a>(&'a self, from: &[u8]) -> Box<dyn Iterator<Item = Result<Page, StoreError>> + 'a> {
        let mut pages: Vec<_> = self.0.scan(from).collect();
        pages.pop();
        Box::new(pages.into_iter())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(key)
    }
}

#[test]
fn a_second_process_costs_no_checkpoint() {
    let disk = SimFiles::default();
    drop(shard(&disk, 2));
    let before = disk.content();
    let store = Arc::new(Odd { store: sim_parts(&disk).store, is_open_elsewhere: true });
    let refused = sample::open(Parts { store, ..sim_parts(&disk) }, &dir());
    assert!(matches!(refused, Err(StoreError::StillOpen { .. })));
    assert_eq!(disk.content(), before, "it would be the same for the one before");
}

#[test]
fn when_both_are_bad_the_peers_must_help_and_nothing_is_touched() {
    let disk = SimFiles::default();
    let checkpoints = shard(&disk, 3);
    for checkpoint in checkpoints.state().manifest.checkpoints.clone() {
        disk.flip(&dir().join(checkpoint.dir_name()).join("pages"), 9);
    }
    drop(checkpoints);
    let before = disk.content();
    for _ in 0..2 {
        let refused = sample::open(sim_parts(&disk), &dir());
        assert!(matches!(refused, Err(StoreError::Rebuild { .. })));
    }
    assert_eq!(disk.content(), before);
}

#[test]
fn every_flipped_bit_of_current_and_its_loss_are_refused() {
    let disk = SimFiles::default();
    drop(shard(&disk, 2));
    let path = dir().join("CURRENT");
    let before = disk.content();
    for offset in 0..before[&path].len() {
        disk.flip(&path, offset);
        let refused = sample::open(sim_parts(&disk), &dir());
        assert!(matches!(refused, Err(StoreError::Rebuild { .. })), "byte {offset}");
        disk.flip(&path, offset);
    }
    disk.remove(&path).expect("removable");
    let refused = sample::open(sim_parts(&disk), &dir());
    assert!(
        matches!(refused, Err(StoreError::Rebuild { .. })),
        "no CURRENT is not a new directory"
    );
    assert_eq!(disk.content().len() + 1, before.len(), "nothing was swept away");
}

#[test]
fn a_program_too_old_refuses_and_changes_nothing() {
    let disk = SimFiles::default();
    drop(shard(&disk, 1));
    let path = dir().join("CURRENT");
    let mut bytes = disk.content()[&path].clone();
    bytes.truncate(bytes.len() - 8);
    bytes[7] += 1;
    let sum = xxhash_rust::xxh3::xxh3_64(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    disk.remove(&path).expect("removable");
    disk.create(&path).and_then(|mut file| file.write(&bytes)).expect("writable");
    let before = disk.content();
    let refused = sample::open(sim_parts(&disk), &dir());
    assert!(matches!(refused, Err(StoreError::Version { version: 2, .. })));
    assert_eq!(disk.content(), before);
}

#[test]
fn a_merge_takes_the_place_of_the_run_wherever_all_of_it_is_named() {
    let disk = SimFiles::default();
    let checkpoints = shard(&disk, 8);
    let merged = checkpoints.merge_once().expect("mergeable").expect("eight are a run");
    assert_eq!(merged.interval, interval(1).until(interval(8)));
    let digests = (1..=8).map(|step| sample::digest(&history(step)));
    assert_eq!(merged.digest, digests.fold(0, u128::wrapping_add));
    {
        let state = checkpoints.state();
        let named: Vec<_> = state.manifest.checkpoints.iter().map(|c| c.volumes.len()).collect();
        assert_eq!(named, [7, 1], "the older one has only seven of them, and keeps those");
    }
    assert_eq!(all_of(&checkpoints.cold()), histories(8));
    assert!(checkpoints.merge_once().expect("mergeable").is_none());
    drop(checkpoints);
    let newest = sample::open(sim_parts(&disk), &dir()).expect("whole").0.newest().expect("eight");
    disk.flip(&dir().join(newest.dir_name()).join("pages"), 9);
    let (checkpoints, opened) = sample::open(sim_parts(&disk), &dir()).expect("the older one");
    assert_eq!(step_of(&checkpoints, &opened), 7);
    drop(checkpoints);

    let disk = SimFiles::default();
    let checkpoints = shard(&disk, 8);
    let mut writer = checkpoints.begin(interval(9), 0).expect("free");
    image(9).into_iter().for_each(|(key, value)| writer.page(key, value).expect("writable"));
    writer.finish(Summary { volume_digest: 0, ..summary(9) }).expect("a whole disk");
    checkpoints.merge_once().expect("mergeable").expect("eight are a run");
    let state = checkpoints.state();
    assert!(state.manifest.checkpoints.iter().all(|c| c.volumes == [c.volumes[0]]), "in both");
    let volumes = names(&disk).into_iter().filter(|name| name.starts_with("vol-"));
    assert_eq!(volumes.count(), 1, "nobody names the run any more");
}

#[test]
fn cold_asks_the_volumes_that_may_have_it() {
    let disk = SimFiles::default();
    let checkpoints = shard(&disk, 3);
    let cold = checkpoints.cold();
    for (key, value) in histories(3) {
        assert_eq!(cold.get(&key, item(&key), None).expect("readable"), Some(value));
        assert!(cold.maybe(item(&key), None));
    }
    let old = key(1, 2);
    let (in_time, too_late) = (LogTimeMs(STEP * 1000), LogTimeMs(STEP * 1000 + 1));
    assert!(cold.get(&old, item(&old), Some(in_time)).expect("readable").is_some());
    assert!(cold.get(&old, item(&old), Some(too_late)).expect("readable").is_none());
    assert!(cold.maybe(item(&old), Some(in_time)) && !cold.maybe(item(&old), Some(too_late)));
    let absent = (0..1000).map(|n| key(99, n)).filter(|key| cold.maybe(item(key), None)).count();
    assert!(absent < 50, "{absent} absent keys would be read for");
    assert!(cold.get(&key(99, 1), item(&key(99, 1)), None).expect("readable").is_none());
}

#[test]
fn a_statement_runs_backwards_over_all_volumes() {
    let disk = SimFiles::default();
    let checkpoints = shard(&disk, 3);
    let cold = checkpoints.cold();
    let all: Records = histories(3);
    for account in 0..ACCOUNTS {
        let (lower, upper) = (key(account, 2), key(account, 2 * STEP + 2));
        let mut expected: Vec<_> = all.range(lower.clone()..upper.clone()).collect();
        expected.reverse();
        for limit in [0, 1, 5, 1000] {
            let found = cold.scan_rev(&upper, &lower, limit).expect("readable");
            let expected = expected.iter().take(limit);
            assert!(found.iter().map(|(k, v)| (k, v)).eq(expected.copied()), "{limit}");
        }
    }
    let refused = cold.scan_rev(&key(9, 0), &key(0, 0), 1000);
    assert!(matches!(refused, Err(StoreError::Unsorted { .. })), "two accounts are no statement");
}

#[test]
fn a_list_that_is_being_read_outlives_its_files() {
    let disk = SimFiles::default();
    let checkpoints = shard(&disk, 9);
    let held = checkpoints.cold().volumes();
    let snapshot = checkpoints.snapshot().expect("readable").expect("there is one");
    checkpoints.merge_once().expect("mergeable").expect("a run");
    for step in 10..=12 {
        write(&checkpoints, step).expect("a whole disk");
    }
    assert!(!names(&disk).contains(&held[4].facts().file_name()));
    assert_eq!(held[4].range(&[], &[0xff]).count() as u64, STEP * ACCOUNTS);
    assert_eq!(snapshot.offer().checkpoint.volumes.len(), 9);
}

/// Sled opens blobs when it reads them, so the directory must stay until the last reader is gone.
#[test]
fn a_generation_that_is_being_sent_stays_until_it_is_let_go() {
    let root = tempfile::tempdir().expect("a directory");
    let dir = root.path().join("shard");
    let (checkpoints, _) = sample::open(sled_parts(), &dir).expect("a new directory");
    write(&checkpoints, 1).expect("a whole disk");
    let first = dir.join(checkpoints.newest().expect("one").dir_name());
    let sent = [(); 2].map(|()| checkpoints.snapshot().expect("readable").expect("there is one"));
    write(&checkpoints, 2).expect("a whole disk");
    write(&checkpoints, 3).expect("a whole disk");
    for snapshot in sent {
        assert!(first.exists());
        let chunk = snapshot.chunk(FileNumber(0), 0, 1 << 20).expect("readable");
        assert_eq!(chunk.bytes.len() as u64, snapshot.offer().checkpoint.pages.stream_len);
    }
    assert!(!first.exists());
    assert_eq!(std::fs::read_dir(&dir).expect("a list").count(), 2 + 3 + 1);
}

#[test]
fn one_at_a_time_and_what_is_dropped_leaves_nothing() {
    let disk = SimFiles::default();
    let checkpoints = shard(&disk, 1);
    let before = disk.content();
    let mut writer = checkpoints.begin(interval(2), 10).expect("free");
    assert!(matches!(checkpoints.begin(interval(2), 10), Err(StoreError::Busy { .. })));
    writer.page(b"p".to_vec(), b"v".to_vec()).expect("writable");
    writer.record(b"r", b"v").expect("writable");
    drop(writer);
    assert_eq!(disk.content(), before);
    write(&checkpoints, 2).expect("free again");
}

#[test]
fn a_checkpoint_never_goes_back() {
    let disk = SimFiles::default();
    let checkpoints = shard(&disk, 3);
    let before = disk.content();
    assert!(matches!(write(&checkpoints, 2), Err(StoreError::Superseded)));
    assert!(matches!(write(&checkpoints, 3), Err(StoreError::Superseded)), "the interval overlaps");
    let mut writer = checkpoints.begin(interval(5), 1).expect("free");
    writer.record(b"from the future", b"").expect("writable");
    let refused = writer.finish(summary(4));
    assert!(matches!(refused, Err(StoreError::Superseded)), "the interval ends past the image");
    let refused = checkpoints.begin(interval(2), 0).expect("free").finish(summary(2));
    assert!(matches!(refused, Err(StoreError::Superseded)), "an older image, without history");
    assert_eq!(disk.content(), before);
    let published = checkpoints.begin(interval(4), 0).expect("free").finish(summary(3));
    assert!(published.is_ok(), "the same index again, without history");
}

#[test]
fn the_simulator_restarts_on_its_memory_store() {
    let (disk, store) = (SimFiles::default(), MemoryStore::default());
    let (checkpoints, _) = sample::open(memory_parts(&disk, &store), &dir()).expect("new");
    for step in 1..=4 {
        write(&checkpoints, step).expect("a whole disk");
    }
    drop(checkpoints);
    assert_eq!(store.list(&dir()).expect("a list").len(), 2);
    let disk = disk.after_power_cut(crate::store::sim_files::Lost::All);
    let (checkpoints, opened) = sample::open(memory_parts(&disk, &store), &dir()).expect("whole");
    assert_eq!(step_of(&checkpoints, &opened), 4);
}

/// The names under `bad/`, without their numbers.
fn aside(disk: &SimFiles) -> Vec<String> {
    let names = disk.list(&dir().join("bad")).expect("a list").into_iter();
    names.map(|entry| entry.name.split_once('-').expect("a number").1.to_owned()).collect()
}

#[test]
fn what_is_bad_is_set_aside_and_only_so_much_of_it_is_kept() {
    let disk = SimFiles::default();
    drop(shard(&disk, 3));
    let mut bad = Vec::new();
    for step in 4..=7 {
        let (checkpoints, _) = sample::open(sim_parts(&disk), &dir()).expect("a whole disk");
        write(&checkpoints, step).expect("a whole disk");
        let newest = checkpoints.newest().expect("just written").dir_name();
        drop(checkpoints);
        disk.flip(&dir().join(&newest).join("pages"), 9);
        let (checkpoints, opened) = sample::open(sim_parts(&disk), &dir()).expect("the older one");
        assert_eq!(opened.passed_over.len(), 1);
        bad.push(newest);
        assert_eq!(aside(&disk), bad[bad.len().saturating_sub(2)..], "the last two");
        // The same step again, for its interval is free.
        write(&checkpoints, step).expect("a whole disk");
    }
}

#[test]
fn a_directory_is_opened_anew_and_what_was_there_goes_when_something_is_named() {
    for lost in ["CURRENT", "both generations"] {
        let disk = SimFiles::default();
        let checkpoints = shard(&disk, 3);
        let generations: Vec<String> =
            checkpoints.state().manifest.checkpoints.iter().map(Checkpoint::dir_name).collect();
        drop(checkpoints);
        if lost == "CURRENT" {
            disk.flip(&dir().join("CURRENT"), 9);
        } else {
            generations.iter().for_each(|name| disk.flip(&dir().join(name).join("pages"), 9));
        }
        // Whoever is killed before something is named begins again where he was.
        for _ in 0..2 {
            let why =
                sample::open(sim_parts(&disk), &dir()).map(|_| ()).expect_err("nothing whole");
            let checkpoints =
                Checkpoints::open_anew(&dir(), sim_parts(&disk), &why).expect("a whole disk");
            assert_eq!((checkpoints.newest(), checkpoints.purge_upto()), (None, None));
            assert!(names(&disk).iter().filter(|name| name.starts_with("vol-")).count() == 3);
            assert_eq!(aside(&disk).len(), 1, "{lost}");
        }
        let why = sample::open(sim_parts(&disk), &dir()).map(|_| ()).expect_err("nothing whole");
        let checkpoints =
            Checkpoints::open_anew(&dir(), sim_parts(&disk), &why).expect("a whole disk");
        let mut writer = checkpoints.begin(interval(1), 0).expect("free");
        image(5).into_iter().for_each(|(key, value)| writer.page(key, value).expect("writable"));
        writer.finish(Summary { volume_digest: 0, ..summary(5) }).expect("a whole disk");
        assert_eq!(
            names(&disk).len(),
            3,
            "{lost}: CURRENT, one generation, bad: {:?}",
            names(&disk)
        );
        drop(checkpoints);
        let (_, opened) = sample::open(sim_parts(&disk), &dir()).expect("a whole disk");
        assert_eq!(opened.image.expect("step 5").1, image(5), "{lost}");
    }
}

#[test]
fn whatever_rots_is_found_by_reading_everything_again() {
    let disk = SimFiles::default();
    let checkpoints = shard(&disk, 3);
    let mut bytes = 0;
    let scrub = |bytes: &mut u64| {
        checkpoints.scrub(&mut |read| {
            *bytes += read;
            true
        })
    };
    scrub(&mut bytes).expect("a whole disk");
    assert!(bytes > 1_000, "volumes are read: {bytes}");
    checkpoints.scrub(&mut |_| false).expect("giving up is no finding");
    for (path, content) in disk.content() {
        // Every place of a small file, every tenth of a larger one.
        for at in (0..content.len()).step_by(content.len().div_ceil(40).max(1)) {
            disk.flip(&path, at);
            let error = scrub(&mut 0).expect_err("something is bad");
            let named = error.path().expect("a file");
            assert!(path.starts_with(named), "{} at {at}: {error}", path.display());
            disk.flip(&path, at);
        }
    }
    scrub(&mut 0).expect("all is as it was");
    let older = checkpoints.state().manifest.checkpoints[0].dir_name();
    disk.flip(&dir().join(&older).join("pages"), 9);
    checkpoints.disown(&scrub(&mut 0).expect_err("the older one is bad"));
    drop(checkpoints);
    let (checkpoints, opened) =
        sample::open(sim_parts(&disk), &dir()).expect("the newest is whole");
    assert_eq!((step_of(&checkpoints, &opened), checkpoints.purge_upto()), (3, None));
    let scrub = |bytes: &mut u64| {
        checkpoints.scrub(&mut |read| {
            *bytes += read;
            true
        })
    };
    scrub(&mut 0).expect("it is not missed");

    let volume = dir().join(checkpoints.newest().expect("three").volumes[0].file_name());
    disk.flip(&volume, 30);
    let error = scrub(&mut 0).expect_err("a block is bad");
    checkpoints.disown(&error);
    assert!(!disk.content().contains_key(&volume), "it is set aside, and not believed again");
    drop(checkpoints);
    let refused = sample::open(sim_parts(&disk), &dir());
    assert!(matches!(refused, Err(StoreError::Rebuild { .. })), "the only checkpoint named it");
}
