//! Trouble in the net: who does not hear whom. Proof: packets that rules dropped, counted by the kernel; or, on loopback,
//! bytes that our proxies held back.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;

use super::{Bite, Nemesis, Trouble};
use crate::hosts::Role;
use crate::hosts::wires::Wires;

/// Of a hundred packets, so many are lost.
const LOST_PERCENT: u64 = 20;

/// How long a flapping link is down, and then up.
const FLAP: Duration = Duration::from_millis(400);

/// Who does not hear whom: from, to.
type Cuts = BTreeSet<(Role, Role)>;

impl Nemesis<'_> {
    pub(super) async fn trouble_the_net(
        &mut self,
        trouble: Trouble,
        stays: Duration,
    ) -> anyhow::Result<Bite> {
        let wires = self.cluster.wires().clone();
        let cuts = self.cuts(trouble).await?;
        let done = match trouble {
            Trouble::Flap => flap(&wires, &cuts, stays).await,
            Trouble::Delay => delay(&wires, self.cluster.nodes(), stays).await,
            Trouble::Loss => {
                let net = wires.net()?;
                let lose = |(from, to): &(Role, Role)| net.lose(*from, *to, LOST_PERCENT);
                cuts.iter().try_for_each(lose)?;
                tokio::time::sleep(stays).await;
                counted(&wires, &cuts)
            }
            Trouble::CutLeader
            | Trouble::CutNode
            | Trouble::Bridge
            | Trouble::Ring
            | Trouble::CutLeaders
            | Trouble::Mute
            | Trouble::Deaf => {
                cuts.iter().try_for_each(|(from, to)| wires.cut(*from, *to))?;
                tokio::time::sleep(stays).await;
                counted(&wires, &cuts)
            }
        };
        for role in self.cluster.roles() {
            wires.heal(role)?;
        }
        done
    }

    /// Who does not hear whom under a fault.
    async fn cuts(&mut self, trouble: Trouble) -> anyhow::Result<Cuts> {
        let nodes = self.cluster.nodes();
        let shard = self.any_shard();
        let mut cuts = Cuts::new();
        match trouble {
            Trouble::CutLeader => {
                let leader = self.cluster.leader(shard).await?;
                self.apart(leader, &mut cuts);
            }
            Trouble::CutNode | Trouble::Flap => {
                let node = self.any_node();
                self.apart(node, &mut cuts);
            }
            Trouble::Bridge => {
                let one = self.cluster.leader(shard).await?;
                let other = nodes.iter().copied().find(|node| *node != one);
                both(Role::Node(one), Role::Node(other.context("another node")?), &mut cuts);
            }
            Trouble::Ring => ring(&nodes, &mut cuts),
            Trouble::CutLeaders => {
                let status = self.cluster.status().await?;
                let leaders: BTreeSet<u64> =
                    status.shards.iter().filter_map(|shard| shard.leader).collect();
                for (one, other) in pairs(&leaders.into_iter().collect::<Vec<_>>()) {
                    both(Role::Node(one), Role::Node(other), &mut cuts);
                }
                anyhow::ensure!(!cuts.is_empty(), "one node leads all shards");
            }
            Trouble::Mute | Trouble::Deaf => {
                let leader = self.cluster.leader(shard).await?;
                for other in self.others(&[leader]) {
                    let leader = Role::Node(leader);
                    let hears = trouble == Trouble::Mute;
                    cuts.insert(if hears { (leader, other) } else { (other, leader) });
                }
            }
            Trouble::Loss => {
                for (one, other) in pairs(&nodes) {
                    both(Role::Node(one), Role::Node(other), &mut cuts);
                }
            }
            Trouble::Delay => {}
        }
        Ok(cuts)
    }

    /// A node and the first gateway on one side, everybody else on the other: so there are callers on both.
    fn apart(&self, node: u64, cuts: &mut Cuts) {
        let small = [Role::Node(node), Role::Gateway(1)];
        let large: Vec<Role> =
            self.cluster.roles().into_iter().filter(|role| !small.contains(role)).collect();
        for one in small {
            for other in &large {
                both(one, *other, cuts);
            }
        }
    }
}

fn both(one: Role, other: Role, cuts: &mut Cuts) {
    cuts.extend([(one, other), (other, one)]);
}

fn pairs(nodes: &[u64]) -> Vec<(u64, u64)> {
    let all = nodes.iter().flat_map(|one| nodes.iter().map(move |other| (*one, *other)));
    all.filter(|(one, other)| one < other).collect()
}

/// Only neighbours hear each other. Of three nodes all are neighbours: then two of them part.
fn ring(nodes: &[u64], cuts: &mut Cuts) {
    let last = nodes.len().saturating_sub(1);
    for (one, from) in nodes.iter().enumerate() {
        for (other, to) in nodes.iter().enumerate().skip(one.saturating_add(2)) {
            let closes = one == 0 && other == last;
            if !closes || nodes.len() < 4 {
                both(Role::Node(*from), Role::Node(*to), cuts);
            }
        }
    }
}

async fn flap(wires: &Wires, cuts: &Cuts, stays: Duration) -> anyhow::Result<Bite> {
    let (began, mut times) = (Instant::now(), 0_u64);
    let mut bite = Bite { bit: true, ..Bite::default() };
    while began.elapsed() < stays {
        cuts.iter().try_for_each(|(from, to)| wires.cut(*from, *to))?;
        tokio::time::sleep(FLAP).await;
        bite = counted(wires, cuts)?;
        for to in cuts.iter().map(|(_, to)| *to).collect::<BTreeSet<_>>() {
            wires.heal(to)?;
        }
        tokio::time::sleep(FLAP).await;
        times = times.saturating_add(1);
    }
    bite.evidence.insert(0, format!("down {times} times; the last time:"));
    Ok(bite)
}

async fn delay(wires: &Wires, nodes: Vec<u64>, stays: Duration) -> anyhow::Result<Bite> {
    let net = wires.net()?;
    let mut bite = Bite::default();
    for node in &nodes {
        let how = net.delay(Role::Node(*node))?;
        bite.evidence.push(format!("n{node}: {how}"));
    }
    tokio::time::sleep(stays).await;
    let mut late = 0_u64;
    for node in nodes {
        let (times, text) = net.delayed(Role::Node(node))?;
        late = late.saturating_add(times);
        bite.targets.push(format!("n{node}"));
        bite.evidence.push(format!("n{node}: {text}"));
    }
    bite.bit = late > 0;
    Ok(bite)
}

/// What has not been heard.
fn counted(wires: &Wires, cuts: &Cuts) -> anyhow::Result<Bite> {
    let mut bite = Bite::default();
    let mut all = 0_u64;
    for to in cuts.iter().map(|(_, to)| *to).collect::<BTreeSet<_>>() {
        let (dropped, what) = wires.missed(to)?;
        all = all.saturating_add(dropped);
        let from = cuts.iter().filter(|(_, other)| *other == to).map(|(from, _)| from.to_string());
        let from = from.collect::<Vec<_>>().join(" ");
        bite.targets.push(to.to_string());
        bite.evidence.push(format!("{to}: {dropped} {what} of {from} not heard"));
    }
    bite.bit = all > 0;
    Ok(bite)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_ring_only_neighbours_hear_each_other() {
        let mut cuts = Cuts::new();
        ring(&[1, 2, 3, 4, 5], &mut cuts);
        assert_eq!(cuts.len(), 10, "five chords, in both directions");
        assert!(!cuts.contains(&(Role::Node(1), Role::Node(5))));
        let mut cuts = Cuts::new();
        ring(&[1, 2, 3], &mut cuts);
        assert_eq!(cuts.len(), 2, "of three nodes, two part");
    }
}
