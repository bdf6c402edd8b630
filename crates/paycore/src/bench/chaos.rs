//! What goes wrong on purpose during a run, and when.

use std::str::FromStr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use tokio::sync::Notify;

use super::cluster::{Cluster, Role};
use super::load::Clock;
use crate::output::duration;

/// How long what was killed stays dead.
const DEAD_FOR: Duration = Duration::from_secs(2);

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(clippy::enum_variant_names, reason = "as the command line names them")]
pub(super) enum Fault {
    /// The node that leads shard 0 is killed.
    LeaderKill,
    /// Some node is killed.
    NodeKill,
    /// The gateway is killed.
    GatewayKill,
    /// Every process is killed.
    AllKill,
}

/// A fault, and when it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blow {
    /// What.
    pub(super) fault: Fault,
    /// When, after the beginning.
    pub(super) at: Duration,
}

impl FromStr for Blow {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (fault, at) = text.split_once('@').ok_or("write a fault as leader-kill@10s")?;
        let fault = match fault.trim() {
            "leader-kill" => Fault::LeaderKill,
            "node-kill" => Fault::NodeKill,
            "gateway-kill" => Fault::GatewayKill,
            "all-kill" => Fault::AllKill,
            other => {
                let kinds = "leader-kill, node-kill, gateway-kill, all-kill";
                return Err(format!("no fault is called `{other}`; there are {kinds}"));
            }
        };
        Ok(Self { fault, at: duration(at)? })
    }
}

/// A fault that struck, with the proof.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Struck {
    /// What.
    pub(super) fault: Fault,
    /// When, in milliseconds after the beginning.
    pub(super) at_ms: u64,
    /// When everything ran again.
    pub(super) healed_ms: u64,
    /// Whom it struck.
    pub(super) victims: Vec<Victim>,
}

/// A process that was killed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Victim {
    /// Which.
    pub(super) process: String,
    /// Its process id before.
    pub(super) pid: u32,
    /// Its process id after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) new_pid: Option<u32>,
}

/// Strikes when it is time, and heals after a while, until there are no more requests to trouble.
pub(super) async fn strike(
    blows: &[Blow],
    seed: u64,
    cluster: &Cluster,
    clock: Clock,
    over: &Notify,
) -> anyhow::Result<Vec<Struck>> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut struck = Vec::new();
    for blow in blows {
        tokio::select! {
            () = clock.sleep_until(u64::try_from(blow.at.as_nanos()).unwrap_or(u64::MAX)) => {}
            () = over.notified() => break,
        }
        let roles = victims(blow.fault, cluster, &mut rng).await;
        let mut killed = Vec::new();
        for role in &roles {
            if let Some(pid) = cluster.kill(*role)? {
                killed.push(Victim { process: role.to_string(), pid, new_pid: None });
            }
        }
        let mut blow =
            Struck { fault: blow.fault, at_ms: clock.now_ms(), healed_ms: 0, victims: killed };
        tokio::time::sleep(DEAD_FOR).await;
        for role in &roles {
            let pid = cluster.start(*role)?;
            let name = role.to_string();
            for victim in blow.victims.iter_mut().filter(|victim| victim.process == name) {
                victim.new_pid = Some(pid);
            }
        }
        blow.healed_ms = clock.now_ms();
        struck.push(blow);
    }
    Ok(struck)
}

async fn victims(fault: Fault, cluster: &Cluster, rng: &mut impl Rng) -> Vec<Role> {
    let nodes: Vec<Role> = cluster.nodes().map(Role::Node).collect();
    match fault {
        Fault::LeaderKill => {
            // Between two leaders there is none; then any node will do.
            let leader = cluster.leader().await.map(Role::Node);
            leader.or_else(|| nodes.choose(rng).copied()).into_iter().collect()
        }
        Fault::NodeKill => nodes.choose(rng).copied().into_iter().collect(),
        Fault::GatewayKill => vec![Role::Gateway],
        Fault::AllKill => nodes.into_iter().chain([Role::Gateway]).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_as_written() {
        let blow: Blow = "leader-kill@10s".parse().unwrap();
        assert_eq!(blow, Blow { fault: Fault::LeaderKill, at: Duration::from_secs(10) });
        for wrong in ["leader-kill", "@10s", "leader-kill@", "leader-killed@1s", "all-kill@10"] {
            assert!(wrong.parse::<Blow>().is_err(), "{wrong}");
        }
    }
}
