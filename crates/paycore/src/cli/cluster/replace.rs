//! What a dead node kept goes to another one.

use super::drive::{Operator, PERHAPS_MAX, after, too_few};
use super::plan;
use super::view::View;
use crate::exit::Failure;

impl Operator {
    /// Gives everything that a dead node keeps to an heir, and has the directory say that the dead one never comes back.
    pub(super) async fn replace_node(
        &mut self,
        dead: u64,
        (heir, address): (u64, &str),
        yes: bool,
    ) -> Result<(), Failure> {
        if dead == heir {
            return Err(Failure::usage("a node that died is replaced by one with another id"));
        }
        self.meet(heir, address).await?;
        let view = self.is_dead(dead).await?;
        has_majorities(&view, dead)?;
        let steps = plan::without(&view, dead, Some(heir));
        let steps = steps.map_err(|shard| too_few(&view, shard, dead))?;
        self.agree(&steps, &format!("replace node {dead} for good"), yes)?;
        self.take_all(&steps).await?;
        self.retire(dead).await?;
        self.finish(&steps)
    }

    /// The cluster, once nobody in it hears from a node any more.
    async fn is_dead(&self, node: u64) -> Result<View, Failure> {
        let until = after(PERHAPS_MAX);
        loop {
            let view = self.look().await?;
            if view.status(node).is_some() {
                return Err(Failure::coded("NODE_ALIVE", format!("node {node} answers")));
            }
            let Some(other) = view.who_hears(node) else { return Ok(view) };
            let what = format!("node {node} does not answer here, but node {other} hears from it");
            if std::time::Instant::now() >= until {
                return Err(Failure::coded("NODE_ALIVE", what));
            }
            self.pause(&what).await?;
        }
    }
}

/// Whether every shard of which a dead node has a replica can do without it.
fn has_majorities(view: &View, dead: u64) -> Result<(), Failure> {
    for (shard, at) in &view.shards {
        // Of a shard of which nobody tells anything, everybody is down.
        let is_concerned = at.has(dead) || at.voters.is_empty();
        let (alive, voters) = (at.voters.iter().filter(|node| view.is_up(**node)), at.voters.len());
        let alive = alive.count();
        if is_concerned && alive <= voters / 2 {
            let what = format!("shard {shard}: only {alive} of {voters} voters are alive");
            return Err(Failure::coded("QUORUM_AT_RISK", what).with_hint(
                "start the voters that are down; without a majority nobody can be replaced",
            ));
        }
    }
    Ok(())
}
