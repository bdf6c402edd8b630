//! Raises the cluster's feature level, and rolls a release out.

use ledger::directory::{Name, Record};
use ledger::{AccountId, Command, Key, Request, TenantId};

use super::confirm::confirm;
use super::drive::Operator;
use super::roll::{Due, Roll};
use super::view::View;
use crate::exit::Failure;

/// Whose request it is.
const OPERATOR: TenantId = TenantId(0);

impl Operator {
    /// Restarts every node whose release does not know a level, and raises the cluster to it unless it is to `stay`.
    pub(super) async fn upgrade(
        &mut self,
        (level, stay): (u32, bool),
        roll: &Roll,
        yes: bool,
    ) -> Result<(), Failure> {
        let roll = Roll { due: Due::Below(level), ..roll.clone() };
        let what = if stay {
            "restart these nodes, one after the other".to_owned()
        } else {
            format!("restart these nodes, one after the other, and raise the level to {level}")
        };
        let mut steps = self.roll(&roll, &what, yes).await?;
        if !stay {
            let agreed = yes || !steps.is_empty();
            steps.extend(self.raise(level, agreed).await?);
        }
        self.finish(&steps)
    }

    /// Raises the level.
    pub(super) async fn raise_level(&mut self, level: u32, yes: bool) -> Result<(), Failure> {
        let steps = self.raise(level, yes).await?;
        self.finish(&steps)
    }

    async fn raise(&mut self, level: u32, yes: bool) -> Result<Vec<String>, Failure> {
        let view = self.led().await?;
        is_known(&view, level)?;
        let now = in_force(&view);
        let steps: Vec<u32> = (now..level).map(|level| level.saturating_add(1)).collect();
        let told = steps.iter().map(|level| format!("raise the feature level to {level}"));
        let told: Vec<String> = told.collect();
        if steps.is_empty() {
            return Ok(told);
        }
        let what = format!("raise the feature level from {now} to {level}, with no way back");
        confirm(&self.screen, &what, &level.to_string(), yes)?;
        for (level, step) in steps.iter().zip(&told) {
            self.raise_one(*level, step).await?;
            self.screen.say(format_args!("  done: {step}"));
        }
        Ok(told)
    }

    /// Raises the level by one, and waits until every node has heard of it.
    async fn raise_one(&mut self, level: u32, step: &str) -> Result<(), Failure> {
        let mut perhaps_until = None;
        loop {
            self.in_time(step)?;
            let view = self.look_around().await?;
            let heard = |node: &u64| view.status(*node).is_some_and(|status| status.level >= level);
            if view.members().iter().all(heard) {
                return Ok(());
            }
            if in_force(&view) >= level {
                self.pause("a node has not heard of the level").await?;
                continue;
            }
            let leader = view.meta.and_then(|meta| Some((meta, view.shards.get(&meta)?.leader?)));
            let leader = leader.and_then(|(meta, leader)| Some((meta, view.nodes.get(&leader)?)));
            let Some((meta, leader)) = leader else {
                self.pause("the meta group has no leader").await?;
                continue;
            };
            let command = Command::Direct {
                books: AccountId::from_u128(0),
                name: Name::Level,
                record: Record::Level(level),
            };
            // What was refused once is refused for ever under its key.
            let request = Request { key: new_key(), tenant: OPERATOR, command };
            if let Err(failure) = self.doors.decide(&leader.address, meta, &request).await {
                self.later(&step, failure, &mut perhaps_until).await?;
            }
        }
    }
}

/// The greatest level that a node has heard of.
fn in_force(view: &View) -> u32 {
    let levels = view.nodes.values().filter_map(|seen| Some(seen.status.as_ref()?.level));
    levels.max().unwrap_or(0)
}

/// Whether every member answers, and its release knows a level: the directory may have heard of an earlier release last.
fn is_known(view: &View, level: u32) -> Result<(), Failure> {
    for node in view.members() {
        let what = match view.status(node) {
            None => format!("node {node} does not answer"),
            Some(status) if status.level_max < level => {
                format!("node {node} runs a release that knows levels up to {}", status.level_max)
            }
            Some(_) => continue,
        };
        return Err(Failure::coded("LEVEL_NOT_READY", what));
    }
    Ok(())
}

fn new_key() -> Key {
    Key::from_uuid_v7(uuid::Uuid::now_v7().as_u128()).expect("a UUIDv7 is a key")
}

#[cfg(next_level)]
impl Operator {
    /// Gives a hold of a tenant's another deadline: what the next release brings.
    pub(super) async fn extend_hold(
        &mut self,
        hold: ledger::HoldId,
        (timeout, tenant): (std::time::Duration, u32),
    ) -> Result<(), Failure> {
        let view = self.led().await?;
        let count = view.meta.and_then(ledger::Shards::new);
        let shard = count.map(|shards| shards.shard(hold.slot())).unwrap_or_default();
        let leader = view.shards.get(&shard).and_then(|at| at.leader);
        let leader = leader.and_then(|leader| view.nodes.get(&leader));
        let Some(leader) = leader else { return self.pause("a shard has no leader").await };
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let command = Command::Extend { hold, timeout_ms };
        let request = Request { key: new_key(), tenant: TenantId(tenant), command };
        self.doors.decide(&leader.address, shard, &request).await?;
        self.finish(&[format!("hold {hold} is extended")])
    }
}
