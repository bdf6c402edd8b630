//! A node as it is seen from outside: how far it has come, and what can be read off it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use consensus::{ClockAlarm, Replica, ReplicaStatus, Vitals};
use ledger::{AccountKind, Time};
use shard::{ShardDoors, Shards};

use super::Supervisor;
use super::admin::{self, Admin, Metrics, Ports, Pulse, Reading, Sample, flag, float, series};
use crate::exit::Failure;

/// Committed entries that a replica may still have to apply and yet count as caught up: what a busy shard commits in
/// a few round trips.
const BEHIND_MAX: u64 = 1_000;

/// How far a node has come.
#[derive(Default)]
pub(crate) struct Life {
    /// There once its disk has been read.
    vitals: OnceLock<Vitals>,
    /// There once it takes part: the shards that it keeps, as they come and go.
    doors: OnceLock<Shards>,
    draining: AtomicBool,
}

impl Life {
    /// Opens the admin port of a node that does nothing else yet.
    ///
    /// # Errors
    /// As [`Admin::open`].
    pub(crate) fn open_admin(
        self: &Arc<Self>,
        ports: &Ports,
        metrics: &Metrics,
        supervisor: &Supervisor,
    ) -> Result<Admin, Failure> {
        let (pulse, asked) = Pulse::new();
        let life = Arc::clone(self);
        tokio::spawn(admin::answer(asked, move || life.sample()));
        Admin::open(ports, metrics.clone(), pulse, supervisor.share())
    }

    /// The disk was read.
    pub(crate) fn opened(&self, vitals: Vitals) {
        // A node is opened once.
        let _ = self.vitals.set(vitals);
    }

    /// It takes part, behind these doors.
    pub(crate) fn takes_part(&self, doors: Shards) {
        // It begins to once.
        let _ = self.doors.set(doors);
    }

    /// It takes nothing new any more.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    fn sample(&self) -> Sample {
        let draining = self.draining.load(Ordering::Relaxed);
        let mut readings = vec![Reading::new(series::DRAINING, flag(draining))];
        let mut waits =
            self.vitals.get().and_then(Vitals::rebuilding).map(|(shard, is_lost)| match is_lost {
                true => format!("every replica of shard {shard} has lost its state"),
                false => format!("shard {shard} has its state from a peer"),
            });
        let own = if let Some(vitals) = self.vitals.get() {
            read_node(vitals, &mut readings);
            vitals.id()
        } else {
            waits = Some("reading its disk".to_owned());
            0
        };
        match self.doors.get() {
            Some(doors) => {
                // Those that it keeps: a node that keeps none, because it has just joined or has been emptied, lacks nothing.
                for ShardDoors { replica, depth, .. } in doors.borrow().values() {
                    let status = replica.status();
                    let in_touch = replica.is_in_touch(own, &status);
                    waits = waits.or_else(|| lacks(&status, in_touch));
                    read_replica(replica, (&status, in_touch), &mut readings);
                    read_ledger(replica, &mut readings);
                    let shard = status.shard;
                    let of = |name, value| Reading::new(name, float(value)).with("shard", &shard);
                    readings.push(of(series::MAILBOX, depth.messages()));
                    readings.push(of(series::WAITING, depth.requests()));
                }
            }
            None => {
                waits = waits.or_else(|| Some("waiting for a majority of its peers".to_owned()));
            }
        }
        if draining {
            waits = Some("draining".to_owned());
        }
        Sample { ready: waits.map_or(Ok(()), Err), readings }
    }
}

/// What a replica lacks to be of use.
fn lacks(status: &ReplicaStatus, in_touch: bool) -> Option<String> {
    let ReplicaStatus { shard, leader, cluster_committed, applied, .. } = status;
    if leader.is_none() {
        return Some(format!("no leader of shard {shard} is known"));
    }
    if !in_touch {
        return Some(format!(
            "shard {shard} does not hear its leader, or a majority of its voters"
        ));
    }
    match cluster_committed {
        None => Some(format!("nothing is known of what shard {shard} has committed")),
        Some(committed) if applied.saturating_add(BEHIND_MAX) < *committed => {
            Some(format!("shard {shard} has applied {applied} of {committed} entries"))
        }
        Some(_) => None,
    }
}

fn read_node(vitals: &Vitals, readings: &mut Vec<Reading>) {
    let (frames, bytes) = vitals.log_written();
    let alarm = vitals.clock_alarm();
    let (state, by_ms) = match alarm {
        None => ("none", 0),
        Some(ClockAlarm::Off { by_ms }) => ("off", by_ms),
        Some(ClockAlarm::Disagree { by_ms }) => ("disagree", by_ms),
        Some(ClockAlarm::Jump { by_ms }) => ("jump", by_ms),
    };
    readings.extend([
        Reading::new(series::LOG_FRAMES, float(frames)),
        Reading::new(series::LOG_BYTES, float(bytes)),
        Reading::new(series::ROOM, flag(vitals.has_room())),
        Reading::new(series::CLOCK_OFF, std::time::Duration::from_millis(by_ms).as_secs_f64()),
    ]);
    for possible in ["off", "disagree", "jump"] {
        let raised = flag(state == possible);
        readings.push(Reading::new(series::CLOCK, raised).with("alarm", &possible));
    }
}

fn read_replica(
    replica: &Replica,
    (status, in_touch): (&ReplicaStatus, bool),
    readings: &mut Vec<Reading>,
) {
    let of = |name, value| Reading::new(name, value).with("shard", &status.shard);
    let leads = replica.leadership().borrow().leads;
    let behind = status.applied.saturating_sub(status.checkpoint.unwrap_or(0));
    readings.extend([
        of(series::TERM, float(status.term)),
        of(series::LEADER, flag(leads)),
        of(series::LEADER_KNOWN, flag(in_touch)),
        of(series::COMMIT_INDEX, float(status.committed.unwrap_or(0))),
        of(series::APPLIED_INDEX, float(status.applied)),
        of(series::CHECKPOINT_LAG, float(behind)),
        of(series::SHARD_LOG, float(status.log_bytes)),
        of(series::DISPUTED, flag(replica.is_disputed())),
    ]);
    // Every peer, and 0 unless this node leads: what an earlier reign knew must not stand there for ever.
    let last = status.last_log.unwrap_or(0);
    for peer in &status.voters {
        let matched = status.matched.iter().find(|(node, _)| node == peer).map(|(_, at)| *at);
        let lag =
            matched.filter(|_| status.is_leader).map(|at| last.saturating_sub(at.unwrap_or(0)));
        readings.push(of(series::LAG, float(lag.unwrap_or(0))).with("peer", &peer));
    }
}

fn read_ledger(replica: &Replica, readings: &mut Vec<Reading>) {
    let (imbalances, totals) =
        replica.with_ledger(|ledger| (ledger.imbalances(), ledger.totals().clone()));
    let (accounts, unread, now) =
        replica.with_ledger(|ledger| (ledger.accounts_len(), ledger.unread_len(), ledger.now()));
    let told = replica.with_ledger(|ledger| ledger.directory().told());
    let of = |name, value| Reading::new(name, value).with("shard", &replica.shard());
    for (currency, by) in imbalances {
        readings.push(of(series::IMBALANCE, minor(by)).with("currency", &currency));
    }
    for ((currency, kind), total) in totals {
        let kind = match kind {
            AccountKind::Wallet => "wallet",
            AccountKind::Opening => "opening",
            AccountKind::DueTo(_) => "due_to",
            AccountKind::DueFrom(_) => "due_from",
            AccountKind::Suspense => "suspense",
        };
        let reading =
            of(series::TOTAL, minor(total)).with("currency", &currency).with("kind", &kind);
        add(readings, reading);
    }
    readings.push(of(series::ACCOUNTS, float(u64::try_from(accounts).unwrap_or(u64::MAX))));
    readings.push(of(series::OUTBOX, float(unread)));
    let seconds = |at: Time| std::time::Duration::from_millis(at.0).as_secs_f64();
    readings.push(of(series::LOG_TIME, seconds(now)));
    readings.push(of(series::TOLD, seconds(told)));
}

/// Adds a reading to the one that has the same labels: one for each peer would be too many.
#[expect(clippy::float_arithmetic, reason = "a gauge's float; the ledger counts in whole units")]
fn add(readings: &mut Vec<Reading>, reading: Reading) {
    let same = |other: &&mut Reading| other.name == reading.name && other.labels == reading.labels;
    match readings.iter_mut().find(same) {
        Some(other) => other.value += reading.value,
        None => readings.push(reading),
    }
}

/// Money as a gauge shows it: exact up to 2^53 minor units, and never 0 for what is not.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
const fn minor(amount: i128) -> f64 {
    amount as f64
}
