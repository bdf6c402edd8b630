//! A process that writes checkpoints into sled on the real disk is killed, over and over, at many
//! different moments. What it had published is there at the next start.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use super::tests::sled_parts;
use crate::store::sample::{self, step_of, write};

const DIR: &str = "PAYCORE_TEST_KILLED_IN";

/// Where a life ends: when a name like this is seen, after so many checkpoints of that life.
const ENDS: [(&str, usize); 8] = [
    ("CURRENT", 0),
    ("gen-", 0),
    ("vol-", 1),
    ("CURRENT.new", 2),
    (".generating", 1),
    ("blobs", 3),
    ("snap.", 2),
    ("db", 3),
];

/// Some names come and go too fast to be seen; then the life ends after so many looks.
const POLLS_MAX: usize = 20_000;

/// Not a test of its own: the process that is killed. Without its directory it does nothing.
#[test]
fn the_process_that_is_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let (checkpoints, opened) = sample::open(sled_parts(), Path::new(&dir)).expect("it opens");
    let mut step = step_of(&checkpoints, &opened);
    loop {
        step += 1;
        write(&checkpoints, step).expect("a whole disk");
        while checkpoints.merge_once().expect("a whole disk").is_some() {}
        writeln!(std::io::stdout(), "published {step}").expect("somebody listens");
    }
}

#[test]
fn a_killed_process_leaves_what_it_published() {
    let root = tempfile::tempdir().expect("a directory");
    let dir = root.path().join("shard");
    let (mut published, mut met) = (0_u64, 0);
    for (name, after) in ENDS {
        let mut child = start(&dir);
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut steps =
            lines.filter_map(|line| line.ok()?.split_once("published ")?.1.parse().ok());
        published = steps.by_ref().take(after).last().unwrap_or(published);
        let has_come = (0..POLLS_MAX).any(|_| is_there(&dir, name));
        child.kill().expect("it runs");
        child.wait().expect("it is ours");
        published = steps.last().unwrap_or(published);
        met += usize::from(has_come);

        let (checkpoints, opened) = sample::open(sled_parts(), &dir).expect("it opens");
        assert!(opened.passed_over.is_empty(), "killed at {name}: {:?}", opened.passed_over);
        let step = step_of(&checkpoints, &opened);
        assert!(step >= published, "killed at {name}: {step} of {published}");
        published = step;
    }
    assert!(published > 5 && met > 5, "it got somewhere: {published}, {met}");
}

fn start(dir: &Path) -> Child {
    let name = "checkpoints::kill_tests::the_process_that_is_killed";
    Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", &format!("store::{name}"), "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts")
}

/// Whether a name is there, in the shard's directory or in its last generation.
fn is_there(dir: &Path, name: &str) -> bool {
    let names = |dir: &Path| -> Vec<_> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let mut found = names(dir);
    if let Some(newest) = found.iter().filter(|name| name.starts_with("gen-")).max() {
        let newest = dir.join(newest);
        found.extend(names(&newest));
    }
    found.iter().any(|found| found.contains(name))
}
