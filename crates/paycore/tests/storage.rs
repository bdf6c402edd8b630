//! Nodes whose files have rotted, were cut, lost, or put back from an old copy: found, named, and made whole again.
//!
//! `PAYCORE_FLIPS=200` damages so many files, chosen by `PAYCORE_SEED`; without it each kind of damage is done once.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use consensus::log::{Finding, RealDisk, inspect};

use support::{Cluster, until};

/// Checkpoints and segments so small that a short load makes several of each.
const SMALL: &str = "\n[store]\ncheckpoint_log_bytes = 65536\nlog_segment_bytes = 1048576\n";

/// The same, and everything on the disk is read again all the time.
const SCRUBBED: &str = "\n[store]\ncheckpoint_log_bytes = 65536\nlog_segment_bytes = 1048576\n\
                        scrub_every_s = 1\nscrub_bytes_per_second = 268435456\n";

/// The same, and nothing is read again.
const NOT_SCRUBBED: &str = "\n[store]\ncheckpoint_log_bytes = 65536\nlog_segment_bytes = 1048576\n\
                            scrub_bytes_per_second = 0\n";

/// A file of a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Identity,
    Roster,
    /// A segment of the log that another follows.
    OldSegment,
    /// A frame of the log's newest segment that another follows.
    EarlyFrame,
    /// The last frame of the log.
    LastFrame,
    Current,
    NewGeneration,
    BothGenerations,
    Volume,
    /// The whole directory of a shard.
    Shard,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Flip,
    Cut,
    Gone,
    /// An old copy is in its place.
    Old,
}

/// What the node is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// It stops, names the file, and asks for an operator.
    Refused,
    /// It stops, or the damage took nothing that was promised.
    RefusedIfPromised,
    /// It goes on from the checkpoint before.
    FellBack,
    /// It has its state from its log or a peer, at once or after it has stopped by itself and was started again.
    Rebuilt,
}

const CASES: [(Which, Damage, Ends); 16] = [
    (Which::Identity, Damage::Flip, Ends::Refused),
    (Which::Identity, Damage::Gone, Ends::Refused),
    (Which::Roster, Damage::Flip, Ends::Refused),
    (Which::Roster, Damage::Gone, Ends::Refused),
    (Which::OldSegment, Damage::Flip, Ends::Refused),
    (Which::OldSegment, Damage::Gone, Ends::Refused),
    (Which::OldSegment, Damage::Cut, Ends::Refused),
    (Which::EarlyFrame, Damage::Flip, Ends::Refused),
    (Which::LastFrame, Damage::Flip, Ends::RefusedIfPromised),
    (Which::Current, Damage::Flip, Ends::Rebuilt),
    (Which::Current, Damage::Gone, Ends::Rebuilt),
    (Which::NewGeneration, Damage::Flip, Ends::FellBack),
    (Which::BothGenerations, Damage::Flip, Ends::Rebuilt),
    (Which::Volume, Damage::Flip, Ends::Rebuilt),
    (Which::Shard, Damage::Gone, Ends::Rebuilt),
    (Which::Shard, Damage::Old, Ends::Rebuilt),
];

/// Chance from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % count.max(1)
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

#[test]
fn whatever_rots_is_found_named_and_made_whole() {
    let mut dice = Dice(number("PAYCORE_SEED").unwrap_or(0x5eed_1e55));
    let rounds: Vec<_> = match number("PAYCORE_FLIPS") {
        Some(count) => (0..count).map(|_| CASES[dice.below(CASES.len() as u64) as usize]).collect(),
        None => CASES.to_vec(),
    };
    let mut cluster = Cluster::start("dev-3.toml", SMALL);
    let old = cluster.home.path().join("old-copy");
    grow_until(&cluster, "first", |at| at.purged_index > 0);
    copy(&cluster.data(1).join("shard-00"), &old);
    let mut ends: BTreeMap<String, u32> = BTreeMap::new();
    let mut left: std::collections::VecDeque<_> = rounds.iter().enumerate().collect();
    while let Some((number, (which, damage, expected))) = left.pop_front() {
        let victim = 1 + dice.below(3);
        grow(&cluster, victim, *which);
        let load = cluster.begin_load("--count 1500", &format!("load-{number}"));
        let before = applied(&cluster, victim);
        until("the load has begun", || (applied(&cluster, victim) > before + 1).then_some(()));
        cluster.kill_node(victim);
        let data = cluster.data(victim);
        let kept = cluster.home.path().join("kept");
        copy(&data, &kept);
        let place = strike(&data, (*which, *damage), &old, &mut dice);
        // What an earlier life has said says nothing of this one.
        let from = cluster.log_of(&format!("n{victim}")).len();
        cluster.start_node(victim);
        let ended = settle(&mut cluster, (victim, *expected, from), (&data, &kept), &place);
        cluster.end_load(load, &format!("load-{number}"));
        cluster.settled();
        std::fs::remove_dir_all(&kept).unwrap();
        eprintln!("{number}: {damage:?} of {which:?} at {place}, node {victim}: {ended}");
        if ended == NOTHING_LIVE {
            left.push_front((number, &rounds[number]));
        } else {
            *ends.entry(ended.to_owned()).or_default() += 1;
        }
    }
    eprintln!("{} damaged: {ends:?}; 0 lost, 0 differ", rounds.len());
}

/// What was damaged was of no use to anybody: the process had died before it named a file, and its next life removes it.
const NOTHING_LIVE: &str = "nothing live was in it, once more";

/// Waits for what is to become of the node, whose log of this life begins at `from`, and leaves it running. Says what did.
fn settle(
    cluster: &mut Cluster,
    (victim, expected, from): (u64, Ends, usize),
    (data, kept): (&Path, &Path),
    place: &str,
) -> &'static str {
    let name = format!("n{victim}");
    let file = place.split('+').next().unwrap().rsplit('/').next().unwrap().to_owned();
    match expected {
        Ends::Refused => {
            let code = cluster.end_of(victim).code();
            let said = cluster.log_of(&name);
            assert!(code == Some(70) && said.contains(&file), "{place}: {code:?}: {said}");
            restore(cluster, victim, (data, kept));
            "refused"
        }
        Ends::RefusedIfPromised => {
            let forgot = until("the node is judged", || {
                if cluster.status(victim).is_some_and(|at| at.applied_index > 0) {
                    return Some(false);
                }
                let (ended, status) = cluster.ended()?;
                let said = cluster.log_of(&name);
                assert_eq!((ended, status.code()), (victim, Some(70)), "{said}");
                assert!(said.contains("went backwards"), "{said}");
                Some(true)
            });
            if !forgot {
                return "nothing promised was in it";
            }
            restore(cluster, victim, (data, kept));
            "lost writes, found by its peers"
        }
        Ends::FellBack | Ends::Rebuilt => {
            let (mut stopped, mut live) = (false, true);
            until("the node has its state again", || {
                if let Some((ended, status)) = cluster.ended() {
                    let said = cluster.log_of(&name);
                    assert_eq!(
                        (ended, status.code(), stopped),
                        (victim, Some(70), false),
                        "{said}"
                    );
                    stopped = true;
                    cluster.start_node(victim);
                }
                let is_back = |id: u64| cluster.status(id).map(|at| at.applied_index);
                let there = is_back(victim)?;
                // A bad block of a volume is found when it is read: by the scrubber, soon after the start.
                let said = cluster.log_of(&name)[from..].to_owned();
                let path = Path::new(place.rsplit_once('+').unwrap().0);
                if there > 0 && path.is_absolute() && !path.exists() && !said.contains(&file) {
                    live = false;
                    return Some(());
                }
                // Only the older of two checkpoints may have needed it: that one goes with it, and nothing is to be had back.
                let was_spare = stopped && !path.exists();
                let is_whole = was_spare
                    || said.contains("the state is here again")
                    || said.contains("a bad checkpoint");
                (there > 0 && is_whole && said.contains(&file)).then_some(())
            });
            if !live {
                return NOTHING_LIVE;
            }
            let said = cluster.log_of(&name)[from..].to_owned();
            let fell_back = said.contains("a bad checkpoint");
            assert!(expected == Ends::Rebuilt || fell_back, "{place}: {said}");
            match (expected, stopped) {
                (Ends::FellBack, _) => "fell back",
                (_, true) => "stopped by itself, then whole",
                (_, false) => "rebuilt",
            }
        }
    }
}

/// Puts the files back as they were: the disk is not to blame.
fn restore(cluster: &mut Cluster, victim: u64, (data, kept): (&Path, &Path)) {
    std::fs::remove_dir_all(data).unwrap();
    copy(kept, data);
    cluster.start_node(victim);
}

/// Damages a file, and says which, and where.
fn strike(data: &Path, (which, damage): (Which, Damage), old: &Path, dice: &mut Dice) -> String {
    let shard = data.join("shard-00");
    if which == Which::Shard {
        std::fs::remove_dir_all(&shard).unwrap();
        if damage == Damage::Old {
            copy(old, &shard);
        }
        return "shard-00+0".to_owned();
    }
    let targets: Vec<(PathBuf, std::ops::Range<u64>)> = match which {
        Which::Identity => vec![whole(&data.join("log/identity"))],
        Which::Roster => vec![whole(&data.join("ROSTER"))],
        Which::OldSegment | Which::EarlyFrame | Which::LastFrame => vec![frame(data, which, dice)],
        Which::Current => vec![whole(&shard.join("CURRENT"))],
        Which::NewGeneration => vec![file_of(generations(&shard).last().unwrap(), dice)],
        Which::BothGenerations => {
            generations(&shard).iter().map(|path| file_of(path, dice)).collect()
        }
        Which::Volume => {
            let volumes = entries(&shard, "vol-");
            vec![whole(&volumes[dice.below(volumes.len() as u64) as usize])]
        }
        Which::Shard => unreachable!("see above"),
    };
    let mut struck = String::new();
    for (file, live) in targets {
        let at = live.start + dice.below(live.end - live.start);
        match damage {
            Damage::Flip => flip(&file, at),
            Damage::Cut => {
                std::fs::File::options().write(true).open(&file).unwrap().set_len(at).unwrap();
            }
            Damage::Gone => std::fs::remove_file(&file).unwrap(),
            Damage::Old => unreachable!("only of a whole shard"),
        }
        // Of two generations it is enough that one is named: the older one ends it.
        struck = if struck.is_empty() { format!("{}+{at}", file.display()) } else { struck };
    }
    struck
}

/// A frame of the log, in the bytes of which nothing is zero by chance alone.
fn frame(data: &Path, which: Which, dice: &mut Dice) -> (PathBuf, std::ops::Range<u64>) {
    let log = data.join("log");
    let mut frames = Vec::new();
    inspect(&RealDisk::look(&log).unwrap(), &mut |finding| {
        if let Finding::Frame { file, offset, bytes, .. } = finding {
            frames.push((file, offset..offset + bytes));
        }
    })
    .unwrap();
    let last = frames.pop().unwrap();
    let (newest, first) = (last.0.clone(), frames[0].0.clone());
    let of_newest = |(file, _): &(String, _)| *file == newest;
    let chosen = if which == Which::LastFrame {
        vec![last]
    } else if which == Which::OldSegment {
        // A missing segment in front of the rest is one that was let go: so it is one in the middle.
        frames.into_iter().filter(|frame| !of_newest(frame) && frame.0 != first).collect()
    } else {
        let early: Vec<_> = frames.iter().filter(|frame| of_newest(frame)).cloned().collect();
        if early.is_empty() { frames } else { early }
    };
    let (file, live) = chosen[dice.below(chosen.len() as u64) as usize].clone();
    (log.join(file), live)
}

fn whole(file: &Path) -> (PathBuf, std::ops::Range<u64>) {
    (file.to_owned(), 0..std::fs::metadata(file).unwrap().len())
}

/// Some file of a generation that has anything in it.
fn file_of(generation: &Path, dice: &mut Dice) -> (PathBuf, std::ops::Range<u64>) {
    let mut files = Vec::new();
    let mut waiting = vec![generation.to_owned()];
    while let Some(dir) = waiting.pop() {
        for path in entries(&dir, "") {
            if path.is_dir() {
                waiting.push(path);
            } else if std::fs::metadata(&path).unwrap().len() > 0 {
                files.push(path);
            }
        }
    }
    whole(&files[dice.below(files.len() as u64) as usize])
}

fn generations(shard: &Path) -> Vec<PathBuf> {
    entries(shard, "gen-")
}

/// What lies in a directory under such names, in order.
fn entries(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix));
    found.sort();
    found
}

fn flip(file: &Path, at: u64) {
    let file = std::fs::File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
    file.sync_all().unwrap();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for path in entries(from, "") {
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, target).unwrap();
        }
    }
}

fn applied(cluster: &Cluster, node: u64) -> u64 {
    cluster.status(node).map_or(0, |at| at.applied_index)
}

/// Makes transfers until something holds on every node.
fn grow_until(
    cluster: &Cluster,
    name: &str,
    holds: impl Fn(&wire::proto::cluster::ReplicaStatus) -> bool,
) {
    for round in 0..40 {
        cluster.load(4_000, &format!("{name}-{round}"));
        cluster.settled();
        if cluster.ids().into_iter().all(|id| cluster.status(id).is_some_and(|at| holds(&at))) {
            return;
        }
    }
    panic!("{name}: not after 160,000 transfers");
}

/// Makes transfers until there is such a file on a node.
fn grow(cluster: &Cluster, node: u64, which: Which) {
    let shard = cluster.data(node).join("shard-00");
    let is_there = || match which {
        Which::OldSegment => entries(&cluster.data(node).join("log"), "0").len() >= 4,
        Which::NewGeneration | Which::BothGenerations => generations(&shard).len() == 2,
        Which::Volume => !entries(&shard, "vol-").is_empty(),
        Which::Identity
        | Which::Roster
        | Which::EarlyFrame
        | Which::LastFrame
        | Which::Current
        | Which::Shard => true,
    };
    for round in 0..40 {
        if is_there() {
            return;
        }
        cluster.load(2_000, &format!("grow-{which:?}-{node}-{round}"));
    }
    panic!("{which:?}: not after 80,000 transfers");
}

/// What nobody reads is read by the scrubber: while the node runs, and within a pass.
#[test]
fn what_rots_while_a_node_runs_is_found_by_the_scrubber() {
    let mut cluster = Cluster::start("dev-3.toml", SCRUBBED);
    grow_until(&cluster, "first", |at| at.purged_index > 0);
    let mut dice = Dice(11);
    for (victim, which) in [(1, Which::Volume), (2, Which::BothGenerations), (3, Which::OldSegment)]
    {
        grow(&cluster, victim, which);
        let passes = cluster.settled();
        let data = cluster.data(victim);
        let place = if which == Which::BothGenerations {
            // The older one: nothing but the scrubber would ever look at it.
            let (file, live) = file_of(&generations(&data.join("shard-00"))[0], &mut dice);
            flip(&file, live.start + dice.below(live.end - live.start));
            format!("{}+0", file.display())
        } else {
            strike(&data, (which, Damage::Flip), &data, &mut dice)
        };
        let code = cluster.end_of(victim).code();
        let said = cluster.log_of(&format!("n{victim}"));
        let file = place.split('+').next().unwrap().rsplit('/').next().unwrap();
        assert!(code == Some(70) && said.contains(file), "{place}: {code:?}: {said}");
        if which == Which::OldSegment {
            // Only what was damaged is put back: an older copy of the whole is found out as one.
            let (file, at) = place.split_once('+').unwrap();
            flip(Path::new(file), at.parse().unwrap());
            cluster.start_node(victim);
        } else {
            let bad = entries(&data.join("shard-00"), "bad");
            assert_eq!(entries(&bad[0], "").len(), 1, "{place}: it is kept for study");
            cluster.start_node(victim);
        }
        assert_eq!(cluster.settled(), passes, "{place}");
        eprintln!("{which:?} at {place}, node {victim}: found while it ran");
    }
    cluster.load(1_000, "after");
    cluster.settled();
    let page = cluster.ask("n1", "/metrics").unwrap().1;
    let read = page.lines().find_map(|line| line.strip_prefix("paycore_scrub_bytes_total "));
    assert!(read.unwrap().parse::<f64>().unwrap() > 0.0, "{page}");
}

/// Without a peer that keeps the shard there is nobody to ask: the node says so, and changes nothing.
#[test]
fn a_lone_node_whose_state_is_lost_says_that_only_a_backup_helps() {
    let mut cluster = Cluster::start("dev-1.toml", NOT_SCRUBBED);
    grow_until(&cluster, "first", |at| at.purged_index > 0);
    cluster.kill_node(1);
    let data = cluster.data(1);
    let current = data.join("shard-00/CURRENT");
    let whole = std::fs::read(&current).unwrap();
    flip(&current, 20);
    cluster.start_node(1);
    let code = cluster.end_of(1).code();
    let said = cluster.log_of("n1");
    assert_eq!(code, Some(70), "{said}");
    assert!(said.contains("CURRENT") && said.contains("backup"), "{said}");
    // All that it had is still there.
    std::fs::write(&current, whole).unwrap();
    cluster.start_node(1);
    cluster.load(500, "after");
    cluster.settled();
}

/// Whatever a node keeps is bounded, however long it runs and however often it dies in the middle of something.
/// `PAYCORE_ENDLESS=100` goes on for so many rounds.
#[test]
fn nothing_grows_without_a_bound() {
    let rounds = number("PAYCORE_ENDLESS").unwrap_or(8);
    let bounded = format!("{SMALL}checkpoint_behind_bytes = 4194304\n");
    let mut cluster = Cluster::start("dev-3.toml", &bounded);
    let mut dice = Dice(number("PAYCORE_SEED").unwrap_or(0xb0_0bed));
    cluster.load(2_000, "first");
    let mut largest: BTreeMap<&str, u64> = BTreeMap::new();
    let mut resident = Vec::new();
    for round in 0..rounds {
        let name = format!("load-{round}");
        let load = cluster.begin_load("--count 20000", &name);
        let victim = 1 + dice.below(3);
        std::thread::sleep(std::time::Duration::from_millis(500 + dice.below(1_500)));
        cluster.kill_node(victim);
        if round % 3 == 2 {
            // So that it needs a snapshot when it comes back, or has to have its state from a peer.
            std::fs::remove_dir_all(cluster.data(victim).join("shard-00")).unwrap();
        }
        cluster.start_node(victim);
        cluster.end_load(load, &name);
        cluster.settled();
        resident
            .push(cluster.ids().into_iter().map(|id| resident_bytes(&cluster, id)).max().unwrap());
        for id in cluster.ids() {
            let (data, shard) = (cluster.data(id), cluster.data(id).join("shard-00"));
            let count = |prefix: &str| entries(&shard, prefix).len() as u64;
            let seen = [
                ("generations", count("gen-")),
                ("volumes", count("vol-")),
                ("other files", entries(&shard, "").len() as u64 - count("gen-") - count("vol-")),
                ("segments", entries(&data.join("log"), "0").len() as u64),
                ("log bytes", bytes_under(&data.join("log"))),
                ("bad", bytes_under(&shard.join("bad"))),
                ("incoming", bytes_under(&shard.join("incoming"))),
            ];
            for (what, seen) in seen {
                let largest = largest.entry(what).or_default();
                *largest = seen.max(*largest);
            }
        }
    }
    eprintln!("{rounds} rounds of 20000 transfers: {largest:?}, resident {resident:?}");
    // Two generations, and one in the making; CURRENT, its successor, `incoming` and `bad`.
    for (what, most) in
        [("generations", 3), ("other files", 4), ("segments", 16), ("log bytes", 16 << 20)]
    {
        assert!(largest[what] <= most, "{what}: {largest:?}");
    }
    // Eight neighbours make one, while they are small.
    assert!(largest["volumes"] <= 32, "{largest:?}");
    // The log's cache, sled's, and what threads keep of what they freed.
    assert!(resident.iter().all(|bytes| *bytes < 640 << 20), "it grows: {resident:?}");
}

fn bytes_under(path: &Path) -> u64 {
    if !path.is_dir() {
        return std::fs::metadata(path).map_or(0, |about| about.len());
    }
    // What is listed may be gone before it is looked at.
    let inside = std::fs::read_dir(path).into_iter().flatten().flatten();
    inside.map(|entry| bytes_under(&entry.path())).sum()
}

/// How much of a node lies in memory.
fn resident_bytes(cluster: &Cluster, node: u64) -> u64 {
    let (_, page) = cluster.ask(&format!("n{node}"), "/metrics").unwrap();
    let line =
        page.lines().find_map(|line| line.strip_prefix("paycore_process_resident_memory_bytes "));
    line.unwrap_or_else(|| panic!("{page}")).parse().unwrap()
}
