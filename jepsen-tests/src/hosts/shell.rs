//! Commands of the operating system.

use std::path::Path;
use std::process::Command;

use anyhow::Context;

/// Runs a command, and gives what it wrote.
///
/// # Errors
/// When it is not there, or does not succeed; with what it wrote.
pub(crate) fn run(words: &[&str]) -> anyhow::Result<String> {
    let (program, args) = words.split_first().context("a command has a name")?;
    let output =
        Command::new(program).args(args).output().with_context(|| format!("running {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "`{}`: {}", words.join(" "), said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a command succeeds.
pub(crate) fn works(words: &[&str]) -> bool {
    run(words).is_ok()
}

/// A path as a command's word.
pub(crate) fn text(path: &Path) -> String {
    path.display().to_string()
}
