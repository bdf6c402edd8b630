//! What is looked at while a run goes on: once a second the counters, and how the nodes say they do.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::cluster::Cluster;
use super::load::{Clock, SharedLoad};
use super::status;
use super::tally::{Second, per_second};
use crate::output::Screen;

/// How often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Who led shard 0, from when on.
    pub(super) leaders: Vec<Leader>,
    /// Checkpoints that were finished while somebody looked, on all nodes together.
    pub(super) checkpoints: u64,
    /// Each replica's newest checkpoint, by node and its place among the node's answers.
    newest: BTreeMap<(u64, usize), u64>,
}

/// A reign.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Leader {
    /// When it was first seen, in milliseconds after the beginning.
    pub(super) at_ms: u64,
    /// The node.
    pub(super) node: u64,
    /// Its term.
    pub(super) term: u64,
}

/// Ends a second every second, and says what it was like, until dropped.
pub(super) async fn seconds(load: SharedLoad, seen: &RefCell<Seen>, screen: Screen) {
    let mut every = tokio::time::interval(LOOK_EVERY);
    every.tick().await;
    loop {
        every.tick().await;
        let mut load = load.borrow_mut();
        let now_ms = load.clock.now_ms();
        let second = load.tally.tick(now_ms);
        let leader = seen.borrow().leaders.last().map(|leader| leader.node);
        screen.say(format_args!("{}", line(&second, load.open(), leader)));
    }
}

/// One second in fixed columns.
fn line(second: &Second, open: u64, leader: Option<u64>) -> String {
    let rate = |count| per_second(count, second.length_ms);
    let leader = leader.map_or(String::new(), |node| format!("  leader n{node}"));
    format!(
        "{:>4} s  posted {:>8}/s  attempts {:>8}/s  rejected {:>6}/s  failed {:>6}/s  \
         p50 {:>8} ms  p99 {:>8} ms  open {open:>6}{leader}",
        second.at_ms / 1_000,
        rate(second.posted),
        rate(second.attempts),
        rate(second.rejected),
        rate(second.failed),
        ms(second.p50_us),
        ms(second.p99_us),
    )
}

/// Microseconds as milliseconds with one digit behind the point.
pub(super) fn ms(micros: u64) -> String {
    format!("{}.{}", micros / 1_000, micros % 1_000 / 100)
}

/// Asks the nodes every second, until dropped. A node that does not answer is asked again later.
pub(super) async fn nodes(cluster: &Cluster, shards: u16, clock: Clock, seen: &RefCell<Seen>) {
    let shards: Vec<u16> = (0..shards).collect();
    let mut every = tokio::time::interval(LOOK_EVERY);
    loop {
        every.tick().await;
        for (node, address) in cluster.addresses() {
            let Ok(statuses) = status::ask(address, &shards).await else { continue };
            let mut seen = seen.borrow_mut();
            for (shard, status) in &statuses {
                if *shard == 0 && status.leads {
                    seen.leads(clock.now_ms(), *node, status.term);
                }
                seen.checkpoint((*node, usize::from(*shard)), status.checkpoint_index);
            }
        }
    }
}

impl Seen {
    fn leads(&mut self, at_ms: u64, node: u64, term: u64) {
        // Two may believe that they lead; the later term is right.
        if self.leaders.last().is_none_or(|last| last.term < term) {
            self.leaders.push(Leader { at_ms, node, term });
        }
    }

    fn checkpoint(&mut self, replica: (u64, usize), index: u64) {
        let before = self.newest.insert(replica, index);
        // What was there when we first looked was not made now; a node that restarted may have gone back to an older.
        if before.is_some_and(|before| index > before) {
            self.checkpoints = self.checkpoints.saturating_add(1);
        }
    }
}
