use wire::proto::cluster::NodeStatus;

use super::*;
use crate::cli::cluster::view::Seen;

/// A cluster in which these nodes are up; each shard by its leader and its voters.
fn view(nodes: u64, replication: usize, shards: &[(u64, &[u64])]) -> View {
    let seen = |node: u64| {
        let status = NodeStatus { node_id: node, is_started: true, ..NodeStatus::default() };
        (node, Seen { address: format!("host-{node}:7100"), status: Some(status) })
    };
    let shards = (0..).zip(shards).map(|(shard, (leader, voters))| {
        let lag = voters.iter().map(|node| (*node, 0)).collect();
        let voters = voters.iter().copied().collect();
        (shard, ShardView { leader: Some(*leader), voters, lag, ..ShardView::default() })
    });
    let nodes = (1..=nodes).map(seen).collect();
    View { nodes, shards: shards.collect(), meta: None, replication }
}

/// Does what a leader would do when it is asked.
fn obey(view: &mut View, shard: u16, ask: &Ask) {
    let at = view.shards.get_mut(&shard).unwrap();
    match ask {
        Ask::AddLearner(node, _) => {
            at.learners.insert(*node);
            at.lag.insert(*node, 0);
        }
        Ask::Voters { add, remove } => {
            assert_ne!(*remove, at.leader, "a leader does not demote itself");
            if let Some(node) = add {
                assert!(at.learners.remove(node) || at.voters.contains(node));
                at.voters.insert(*node);
            }
            if let Some(node) = remove {
                at.voters.remove(node);
                at.learners.insert(*node);
            }
            at.is_changing = false;
        }
        Ask::RemoveLearner(node) => {
            assert!(at.learners.remove(node));
        }
        Ask::Lead(node) => {
            assert!(at.voters.contains(node));
            at.leader = Some(*node);
        }
    }
}

fn carry_out(view: &mut View, steps: &[Step]) {
    for step in steps {
        for _ in 0..10 {
            match next(view, *step) {
                Next::Ask(ask) => obey(view, step.shard(), &ask),
                Next::Done => break,
                Next::Wait | Next::NoHeir => panic!("{step}: {view:?}"),
            }
        }
        assert_eq!(next(view, *step), Next::Done, "{step}");
    }
}

fn nodes(view: &View) -> BTreeSet<u64> {
    view.nodes.keys().copied().collect()
}

#[test]
fn from_one_node_to_five_every_node_gets_its_share() {
    let mut view = view(5, 3, &[(1, &[1]), (1, &[1]), (1, &[1]), (1, &[1])]);
    for count in 2..=5 {
        let members = (1..=count).collect();
        let steps = spread(&view, &members);
        carry_out(&mut view, &steps);
        let wanted = usize::try_from(count.min(3)).unwrap();
        for (shard, at) in &view.shards {
            assert_eq!((at.voters.len(), at.learners.len()), (wanted, 0), "{count}: {shard}");
        }
        let loads: Vec<usize> = members.iter().map(|node| view.load(*node)).collect();
        let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
        assert!(most - least <= 1, "{count} nodes: {loads:?}");
        assert_eq!(spread(&view, &members), [], "a plan that was carried out is none any more");
    }
    let steps = spread_leaders(&view);
    carry_out(&mut view, &steps);
    assert!((1..=5).all(|node| view.leads(node) <= 1), "{view:?}");

    for node in [5, 4] {
        let steps = without(&view, node, None).unwrap();
        carry_out(&mut view, &steps);
        assert_eq!(view.load(node), 0);
        assert!(view.shards.values().all(|at| at.voters.len() == 3));
    }
    assert!(without(&view, 3, None).is_err(), "nobody is left to take its replicas");
}

#[test]
fn a_plan_that_was_cut_short_anywhere_is_made_again_and_ends_the_same() {
    let begun = view(4, 3, &[(1, &[1, 2, 3]), (2, &[1, 2, 3]), (3, &[1, 2, 3]), (1, &[1, 2, 3])]);
    for cut in 0..40 {
        let mut view = begun.clone();
        let mut left = cut;
        'first: for step in spread(&view, &nodes(&begun)) {
            while let Next::Ask(ask) = next(&view, step) {
                if left == 0 {
                    break 'first;
                }
                left -= 1;
                obey(&mut view, step.shard(), &ask);
            }
        }
        let steps = spread(&view, &nodes(&begun));
        carry_out(&mut view, &steps);
        assert!(view.shards.values().all(|at| at.voters.len() == 3 && at.learners.is_empty()));
        assert!((1..=4).all(|node| view.load(node) == 3), "cut after {cut}: {view:?}");
    }
}

#[test]
fn nothing_moves_before_it_has_caught_up_and_a_leader_hands_over_first() {
    let mut view = view(3, 2, &[(1, &[1, 2])]);
    let step = Step::Move { shard: 0, from: 1, to: 3 };
    let address = "host-3:7100".to_owned();
    assert_eq!(next(&view, step), Next::Ask(Ask::AddLearner(3, address)));
    obey(&mut view, 0, &Ask::AddLearner(3, String::new()));
    view.shards.get_mut(&0).unwrap().lag.insert(3, LAG_MAX + 1);
    assert_eq!(next(&view, step), Next::Wait);
    view.shards.get_mut(&0).unwrap().lag.insert(3, 5);
    assert_eq!(next(&view, step), Next::Ask(Ask::Lead(2)));
    obey(&mut view, 0, &Ask::Lead(2));
    let swap = Ask::Voters { add: Some(3), remove: Some(1) };
    assert_eq!(next(&view, step), Next::Ask(swap.clone()));
    obey(&mut view, 0, &swap);
    assert_eq!(next(&view, step), Next::Ask(Ask::RemoveLearner(1)));
    view.shards.get_mut(&0).unwrap().leader = None;
    assert_eq!(next(&view, step), Next::Wait, "nobody leads");
}

#[test]
fn the_only_voter_hands_over_to_the_newcomer_once_it_votes() {
    let mut view = view(2, 1, &[(1, &[1])]);
    let step = Step::Move { shard: 0, from: 1, to: 2 };
    carry_out(&mut view, &[step]);
    let at = &view.shards[&0];
    assert_eq!((at.leader, at.voters.clone(), at.has(1)), (Some(2), BTreeSet::from([2]), false));
    view.nodes.get_mut(&1).unwrap().status = None;
    let back = Step::Drop { shard: 0, from: 2 };
    assert_eq!(next(&view, back), Next::NoHeir);
}

#[test]
fn who_is_drained_is_given_no_lead() {
    let mut view = view(3, 3, &[(1, &[1, 2, 3]), (1, &[1, 2, 3]), (1, &[1, 2, 3])]);
    view.nodes.get_mut(&2).unwrap().status.as_mut().unwrap().is_drained = true;
    let steps = spread_leaders(&view);
    assert!(
        !steps.is_empty() && steps.iter().all(|step| matches!(step, Step::Lead { node: 3, .. }))
    );
}
