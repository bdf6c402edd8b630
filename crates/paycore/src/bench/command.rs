//! The command: makes a plan, runs it, and says how it ended.

use anyhow::Context;
use tokio::task::LocalSet;

use super::args::{Args, flag};
use super::files::Files;
use super::plan::Plan;
use super::run::Stage;
use super::summary::Summary;
use crate::cli::{Invocation, block_on};
use crate::exit;

/// Exit code of a run that was interrupted, as shells give it.
const INTERRUPTED: u8 = 130;

/// Runs the bench.
///
/// # Errors
/// When the run could not be made, broke a claim, could not be judged, or missed an objective.
pub(crate) fn run(args: &Args, around: &Invocation) -> Result<(), exit::Failure> {
    let plan = Plan::of(args, &around.settings.client)?;
    let files = Files::create(args.out.as_deref(), &flag(&plan.workload))?;
    let program = std::env::current_exe().context("where this program is")?;
    let stage = Stage { plan: &plan, files: &files, screen: around.screen, program: &program };
    stage.announce();
    let local = LocalSet::new();
    let summary = block_on(local.run_until(async {
        let running = Box::pin(stage.run());
        // Dropping the run kills what it started.
        tokio::select! {
            summary = running => Ok(summary?),
            asked = crate::server::asked_to_stop() => {
                asked?;
                Err(exit::Failure::new(INTERRUPTED, "interrupted; nothing was measured"))
            }
        }
    }))?;
    around.screen.show(&summary)?;
    let dir = files.dir().display();
    around
        .screen
        .say(format_args!("report     {dir}/report.html\nagain      paycore verify {dir}"));
    conclude(args, &summary)
}

/// What must not have happened weighs more than what was not reached.
fn conclude(args: &Args, summary: &Summary) -> Result<(), exit::Failure> {
    crate::verify::conclude(&summary.verdict)?;
    let missed: Vec<String> =
        args.slo.iter().filter_map(|objective| objective.missed(summary)).collect();
    if missed.is_empty() {
        return Ok(());
    }
    Err(exit::Failure::slo_missed(missed.join("; ")))
}
