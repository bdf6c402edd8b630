//! `paycore config`: what holds, and why.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::Serialize;

use super::certs;
use super::invocation::Invocation;
use crate::config::{Problem, Topology, check_file};
use crate::exit::Failure;
use crate::output::{Paint, Show};

/// Check configuration files, and show what holds
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check topology and settings files; a file with nodes is a topology
    #[command(after_help = "Example:\n  paycore config validate cluster-config/dev-3.toml")]
    Validate {
        /// The files
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
    Certs(certs::Args),
    /// Show the settings that hold
    #[command(after_help = "Example:\n  paycore config show --origin")]
    Show {
        /// Say where each value came from
        #[arg(long)]
        origin: bool,
    },
}

pub(crate) fn run(args: &Args, around: &Invocation) -> Result<(), Failure> {
    match &args.command {
        Command::Certs(args) => certs::run(args, around),
        Command::Validate { files } => validate(files, around),
        Command::Show { origin } => show(*origin, around),
    }
}

/// One file that was checked.
#[derive(Debug, Serialize)]
struct Checked {
    file: String,
    kind: &'static str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<String>,
    problems: Vec<String>,
}

impl Show for Checked {
    fn text(&self, paint: Paint) -> String {
        match &self.summary {
            Some(summary) => format!("{} {}: {summary}", paint.good("OK"), self.file),
            None => self.problems.join("\n"),
        }
    }
}

fn validate(files: &[PathBuf], around: &Invocation) -> Result<(), Failure> {
    let mut wrong = 0_usize;
    for file in files {
        let checked = check(file);
        wrong = wrong.saturating_add(usize::from(!checked.ok));
        around.screen.show(&checked)?;
    }
    if wrong > 0 {
        return Err(Failure::config(format!("{wrong} of {} files cannot be used", files.len())));
    }
    Ok(())
}

fn check(file: &Path) -> Checked {
    let (kind, result) = if is_topology(file) {
        ("topology", Topology::load(file).map(|topology| about(&topology)))
    } else {
        ("settings", check_file(file).map(|()| "settings".to_owned()))
    };
    let (summary, problems) = match result {
        Ok(summary) => (Some(summary), Vec::new()),
        Err(problems) => (None, problems),
    };
    Checked {
        file: file.display().to_string(),
        kind,
        ok: summary.is_some(),
        summary,
        problems: problems.iter().map(Problem::to_string).collect(),
    }
}

/// Settings have no nodes and no shards, and a topology is nothing without them.
fn is_topology(file: &Path) -> bool {
    let table =
        std::fs::read_to_string(file).ok().and_then(|text| text.parse::<toml::Table>().ok());
    table.is_some_and(|table| table.contains_key("nodes") || table.contains_key("shards"))
}

fn about(topology: &Topology) -> String {
    let nodes = topology.nodes.len();
    let spare = topology.spare_nodes();
    // An even number of nodes survives no more deaths than one node fewer.
    let even =
        if nodes.is_multiple_of(2) { "; an odd number would do as much with one less" } else { "" };
    format!(
        "topology {} of {nodes} nodes ({spare} may die{even}), {} gateways, {} shards",
        topology.name,
        topology.gateways.len(),
        topology.shards().count(),
    )
}

/// One setting.
#[derive(Debug, Serialize)]
struct Setting {
    key: String,
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
}

/// All settings.
#[derive(Debug, Serialize)]
struct AllSettings {
    settings: Vec<Setting>,
}

impl Show for AllSettings {
    fn text(&self, paint: Paint) -> String {
        let width = self.settings.iter().map(|setting| setting.key.len()).max().unwrap_or(0);
        let lines = self.settings.iter().map(|Setting { key, value, origin }| {
            let origin = origin.as_ref().map(|origin| paint.dim(&format!("  # {origin}")));
            format!("{key:width$} = {value}{}", origin.unwrap_or_default())
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn lines(&self) -> serde_json::Result<Vec<String>> {
        self.settings.iter().map(serde_json::to_string).collect()
    }
}

fn show(with_origin: bool, around: &Invocation) -> Result<(), Failure> {
    let settings = around
        .layers
        .origins()
        .into_iter()
        .map(|(key, value, origin)| Setting {
            key,
            value,
            origin: with_origin.then(|| origin.to_string()),
        })
        .collect();
    around.screen.show(&AllSettings { settings })
}
