//! Tests of the whole log, through its doors, on a simulated disk and a real one.
//!
//! A [`Model`] is what a log should hold, in plain maps. A script is a list of steps, run against
//! log and model at once; after a crash the log must be the model as of the last commit that was
//! acknowledged, or as of the one under way, and nothing else.

#![allow(
    clippy::arithmetic_side_effects,
    reason = "small numbers of our own making; an overflow panics, which fails the test"
)]

mod crash;
mod damage;
mod format;
mod inspection;
mod model;
mod random;
mod real;
mod shelf;
mod writer;

use bytes::Bytes;

use super::{DiskId, LogError, Options, Recovered, SimDisk, Wal};
use model::Model;

const ID: DiskId = *b"sixteen bytes id";

/// Segments so small that a script of a few dozen frames rotates many times.
const SMALL: Options = Options { segment_bytes: 640, cache_bytes: 400 };

/// Sectors so small that a frame of a few dozen bytes is torn in many ways.
const SECTOR: usize = 16;

#[derive(Clone, Debug)]
enum Step {
    /// Adds entries with bodies of a size.
    Append {
        group: u32,
        count: u64,
        size: usize,
    },
    /// Drops so many entries from the end.
    Truncate {
        group: u32,
        count: u64,
    },
    /// Purges so many entries from the front; more than there are means beyond the end.
    Purge {
        group: u32,
        count: u64,
    },
    Vote {
        group: u32,
    },
    Committed {
        group: u32,
    },
    Commit,
    /// Closes the log properly and opens it again.
    Reopen,
}

fn open(disk: &SimDisk) -> Result<(Wal<SimDisk>, Recovered), LogError> {
    Wal::open(disk.clone(), SMALL, ID)
}

/// A log, the disk below it, and what it should hold.
struct Run {
    disk: SimDisk,
    wal: Option<Wal<SimDisk>>,
    /// As of the last commit that returned.
    acknowledged: Model,
    /// With what was put since.
    attempted: Model,
    /// Makes each body different from all others.
    written: u64,
}

impl Run {
    fn new(disk: SimDisk) -> Self {
        let (acknowledged, attempted) = Default::default();
        Self { disk, wal: None, acknowledged, attempted, written: 0 }
    }

    /// Runs until the end, or until the disk fails.
    fn steps(&mut self, steps: &[Step]) -> Result<(), LogError> {
        if self.wal.is_none() {
            self.wal = Some(open(&self.disk)?.0);
        }
        steps.iter().try_for_each(|step| self.step(step))
    }

    fn step(&mut self, step: &Step) -> Result<(), LogError> {
        let body = self.body(8);
        let wal = self.wal.as_mut().expect("a log is open");
        match *step {
            Step::Append { group, count, size } => {
                let from = self.attempted.group(group).due();
                let bodies: Vec<Bytes> = (0..count).map(|_| self.body(size)).collect();
                let entries: Vec<(u64, Bytes)> = (from..).zip(bodies).collect();
                self.attempted.append(group, &entries);
                let wal = self.wal.as_mut().expect("a log is open");
                wal.append(group, entries).expect("the model knows what is due");
            }
            Step::Truncate { group, count } => {
                let last = self.attempted.group(group).last_after_dropping(count);
                self.attempted.truncate_after(group, last);
                wal.truncate_after(group, last).expect("the model never goes below the purge");
            }
            Step::Purge { group, count } => {
                let index = self.attempted.group(group).purged_after(count);
                self.attempted.purge(group, index, body.clone());
                wal.purge(group, index, body);
            }
            Step::Vote { group } => {
                self.attempted.vote(group, body.clone());
                wal.vote(group, body);
            }
            Step::Committed { group } => {
                self.attempted.committed(group, body.clone());
                wal.committed(group, body);
            }
            Step::Commit => {
                wal.commit()?;
                self.acknowledged = self.attempted.clone();
            }
            Step::Reopen => {
                wal.commit()?;
                self.acknowledged = self.attempted.clone();
                self.wal = None;
                self.wal = Some(open(&self.disk)?.0);
            }
        }
        Ok(())
    }

    fn body(&mut self, size: usize) -> Bytes {
        self.written += 1;
        let mut body = self.written.to_le_bytes().to_vec();
        body.resize(size.max(8), 0xAB);
        Bytes::from(body)
    }

    /// Goes on with what a disk turned out to hold.
    fn resume(disk: SimDisk, wal: Wal<SimDisk>, holds: &Model) -> Self {
        let (acknowledged, attempted) = (holds.clone(), holds.clone());
        Self { disk, wal: Some(wal), acknowledged, attempted, written: 1 << 32 }
    }

    fn wal(&self) -> &Wal<SimDisk> {
        self.wal.as_ref().expect("a log is open")
    }
}

/// Several groups, rotations, truncations, purges within and beyond the log, votes, a frame larger
/// than a segment, a group that lags for long and one that stops, and a restart.
fn script() -> Vec<Step> {
    let mut steps = vec![Step::Vote { group: 1 }, Step::Commit];
    for round in 0..28_u64 {
        steps.push(Step::Append { group: 1, count: 2, size: 20 });
        steps.push(Step::Append { group: 2, count: 1 + round % 2, size: 12 });
        steps.push(Step::Commit);
        match round % 14 {
            1 => steps.push(Step::Append { group: 3, count: 2, size: 10 }),
            2 => steps.push(Step::Vote { group: 2 }),
            3 => steps.push(Step::Truncate { group: 1, count: 3 }),
            4 => steps.push(Step::Committed { group: 1 }),
            5 => steps.push(Step::Append { group: 2, count: 1, size: 900 }),
            6 => steps.push(Step::Purge { group: 1, count: 4 }),
            7 if round > 14 => steps.push(Step::Purge { group: 3, count: 9 }),
            8 => steps.extend([Step::Purge { group: 2, count: 6 }, Step::Vote { group: 3 }]),
            9 if round < 14 => steps.push(Step::Reopen),
            10 => steps.extend([Step::Truncate { group: 2, count: 2 }, Step::Vote { group: 1 }]),
            11 => steps.push(Step::Purge { group: 1, count: 12 }),
            12 => steps.push(Step::Append { group: 3, count: 1, size: 30 }),
            13 => steps.push(Step::Purge { group: 2, count: 5 }),
            _ => {}
        }
    }
    steps.push(Step::Commit);
    steps
}
