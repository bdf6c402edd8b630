//! A leader that is stopped in the middle of whatever it does, and goes on when others have another leader. Proof: the
//! kernel says `T`, and the shard has a leader that is not the stopped one.

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use super::{Bite, Nemesis};
use crate::hosts::Role;
use crate::hosts::process::Process;

/// How long a leader is kept stopped at the most until the others have another: a machine may be busy.
const ELECTION_MAX: Duration = Duration::from_secs(10);

impl Nemesis<'_> {
    pub(super) async fn pause_leader(&mut self, stays: Duration) -> anyhow::Result<Bite> {
        let shard = self.any_shard();
        let old = self.cluster.leader(shard).await?;
        let role = Role::Node(old);
        self.cluster.process(role, |process| process.signal(Signal::STOP))??;
        let paused = self.paused(shard, old, stays).await;
        // Whatever was seen meanwhile, nobody is left stopped.
        self.cluster.process(role, |process| process.signal(Signal::CONT))??;
        let (state, new) = paused?;
        let evidence = vec![
            format!("{role}: state {} while it was stopped", state.unwrap_or('?')),
            format!("shard {shard}: led by n{old} before, by {new:?} while it was stopped"),
        ];
        let bit = state == Some('T') && new.is_some_and(|new| new != old);
        Ok(Bite { targets: vec![role.to_string()], bit, evidence })
    }

    async fn paused(
        &self,
        shard: u16,
        old: u64,
        stays: Duration,
    ) -> anyhow::Result<(Option<char>, Option<u64>)> {
        let began = Instant::now();
        tokio::time::sleep(stays).await;
        let state = self.cluster.process(Role::Node(old), |process| Process::state(process))?;
        let mut new = self.cluster.leader(shard).await.ok();
        while new.is_none_or(|new| new == old) && began.elapsed() < ELECTION_MAX {
            new = self.cluster.leader(shard).await.ok();
        }
        Ok((state, new))
    }
}
