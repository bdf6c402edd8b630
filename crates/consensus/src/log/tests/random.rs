//! Random scripts, against the model, with and without a loss of power.

use proptest::{collection::vec, prelude::*};

use super::{Model, Run, SECTOR, SimDisk, Step, open};
use crate::log::sim_disk::Keep;

fn step() -> impl Strategy<Value = Step> {
    let group = 1_u32..4;
    prop_oneof![
        6 => (group.clone(), 0_u64..4, 0_usize..60)
            .prop_map(|(group, count, size)| Step::Append { group, count, size }),
        1 => (group.clone(), Just(1), 300_usize..1500)
            .prop_map(|(group, count, size)| Step::Append { group, count, size }),
        2 => (group.clone(), 0_u64..5).prop_map(|(group, count)| Step::Truncate { group, count }),
        2 => (group.clone(), 0_u64..9).prop_map(|(group, count)| Step::Purge { group, count }),
        1 => group.clone().prop_map(|group| Step::Vote { group }),
        1 => group.prop_map(|group| Step::Committed { group }),
        6 => Just(Step::Commit),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Everything put can be read at once, and still after a restart; the bodies come from memory
    /// or from disk, and are the same.
    #[test]
    fn a_log_holds_what_the_model_holds(steps in vec(step(), 1..80)) {
        let mut run = Run::new(SimDisk::new(1).with_sector(SECTOR));
        for step in &steps {
            run.steps(std::slice::from_ref(step)).expect("the disk works");
            prop_assert_eq!(Model::of(run.wal()).without_votes(), run.attempted.trimmed().without_votes());
        }
        run.steps(&[Step::Reopen]).expect("the disk works");
        prop_assert_eq!(Model::of(run.wal()), run.attempted.trimmed());
    }

    #[test]
    fn any_log_survives_a_loss_of_power(
        steps in vec(step(), 1..60), at in any::<u64>(), seed in any::<u64>(), keep in 0_usize..4,
    ) {
        let whole = SimDisk::new(1);
        Run::new(whole.clone()).steps(&steps).expect("the disk works");
        let disk = SimDisk::new(seed).with_sector(SECTOR);
        disk.power_off_at(at % whole.operations());
        let mut run = Run::new(disk.clone());
        let _ = run.steps(&steps);
        run.wal = None;
        let (wal, _) = open(&disk.power_on(Keep::ALL[keep])).expect("it was torn, not corrupt");
        let holds = Model::of(&wal);
        prop_assert!(
            [run.acknowledged.trimmed(), run.attempted.trimmed()].contains(&holds),
            "holds {:#?}, acknowledged {:#?}", holds, run.acknowledged
        );
    }
}
