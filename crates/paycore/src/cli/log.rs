//! `paycore log`: what lies in a node's log, for an operator who has to know.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use consensus::log::{Finding, RealDisk, inspect};
use serde::Serialize;

use super::invocation::Invocation;
use crate::exit::Failure;
use crate::output::{Format, Paint, Screen, Show};

/// Look into a node's log
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Walk a log's directory and tell what lies in it, damage included; nothing is changed
    #[command(after_help = "Example:\n  paycore log inspect /var/lib/paycore/log")]
    Inspect {
        /// The directory with the log's segments
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Tell only of segments, ends, and what is damaged
        #[arg(long)]
        brief: bool,
    },
}

pub(super) fn run(args: &Args, around: &Invocation) -> Result<(), Failure> {
    let Command::Inspect { directory, brief } = &args.command;
    walk(directory, *brief, &around.screen)
}

/// One thing that was found.
#[derive(Debug, Serialize)]
struct Found {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    damage: bool,
    found: String,
}

impl Show for Found {
    fn text(&self, paint: Paint) -> String {
        if self.damage { paint.bad(&self.found) } else { self.found.clone() }
    }
}

/// A log may hold millions of records, so each is told as it is found; a JSON document of all of them would not do.
fn walk(directory: &Path, brief: bool, screen: &Screen) -> Result<(), Failure> {
    if screen.format() == Format::Json {
        return Err(Failure::usage("a log is told record by record").with_hint("use -o jsonl"));
    }
    let disk = RealDisk::look(directory).map_err(|why| Failure::io(directory.display(), &why))?;
    let mut damages = 0_u64;
    let mut shown = Ok(());
    inspect(&disk, &mut |finding| {
        let damage = is_damage(&finding);
        damages = damages.saturating_add(u64::from(damage));
        if shown.is_ok() && (damage || !(brief && is_detail(&finding))) {
            let found = finding.to_string();
            let found = if screen.format() == Format::Jsonl {
                found.trim_start().to_owned()
            } else {
                found
            };
            shown = screen.show(&Found { damage, found });
        }
    })
    .map_err(|why| Failure::new(crate::exit::IO, why.to_string()))?;
    shown?;
    if damages > 0 {
        let what = format!("{damages} damaged places; a node would refuse to start from here");
        return Err(Failure::new(crate::exit::IO, what));
    }
    Ok(())
}

/// What recovery would not get past. A torn end is none: every crash may leave one.
const fn is_damage(finding: &Finding) -> bool {
    match finding {
        Finding::NoIdentity | Finding::Damaged { .. } => true,
        Finding::Identity { .. }
        | Finding::Segment { .. }
        | Finding::Spare { .. }
        | Finding::Frame { .. }
        | Finding::Record { .. }
        | Finding::End { .. }
        | Finding::Torn { .. } => false,
    }
}

const fn is_detail(finding: &Finding) -> bool {
    match finding {
        Finding::Frame { .. } | Finding::Record { .. } => true,
        Finding::Identity { .. }
        | Finding::NoIdentity
        | Finding::Segment { .. }
        | Finding::Spare { .. }
        | Finding::End { .. }
        | Finding::Torn { .. }
        | Finding::Damaged { .. } => false,
    }
}
