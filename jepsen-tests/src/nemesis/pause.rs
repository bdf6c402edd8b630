//! A leader that is stopped in the middle of whatever it does, and goes on when others have another leader. Proof: the
//! kernel says `T`, and the shard has a leader that is not the stopped one.

use std::time::Duration;

use rustix::process::Signal;

use super::{Bite, Nemesis};
use crate::hosts::Role;
use crate::hosts::process::Process;

/// How long a leader is stopped at the least: the others wait two seconds for it, and then elect.
const PAUSE_MIN: Duration = Duration::from_millis(4_000);

impl Nemesis<'_> {
    pub(super) async fn pause_leader(&mut self, stays: Duration) -> anyhow::Result<Bite> {
        let shard = self.any_shard();
        let old = self.cluster.leader(shard).await?;
        let role = Role::Node(old);
        self.cluster.process(role, |process| process.signal(Signal::STOP))??;
        tokio::time::sleep(stays.max(PAUSE_MIN)).await;
        let state = self.cluster.process(role, |process| Process::state(process));
        // Whatever was seen, nobody is left stopped.
        self.cluster.process(role, |process| process.signal(Signal::CONT))??;
        let (state, new) = (state?, self.cluster.leader(shard).await?);
        let evidence = vec![
            format!("{role}: state {} while it was stopped", state.unwrap_or('?')),
            format!("shard {shard}: led by n{old} before, and by n{new} as soon as it went on"),
        ];
        let bit = state == Some('T') && new != old;
        Ok(Bite { targets: vec![role.to_string()], bit, evidence })
    }
}
