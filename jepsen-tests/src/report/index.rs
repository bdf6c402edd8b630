//! `index.html`: all runs of a folder.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;

use super::Results;
use super::timeline::escape;

/// Writes the page of all runs that lie in a folder.
///
/// # Errors
/// When the folder cannot be read or written.
pub(crate) fn write(dir: &Path) -> anyhow::Result<()> {
    let mut runs = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let entry = entry?;
        let Ok(text) = std::fs::read_to_string(entry.path().join("results.json")) else { continue };
        // What another release wrote is not listed.
        if let Ok(results) = serde_json::from_str::<Results>(&text) {
            runs.push((entry.file_name().to_string_lossy().into_owned(), results));
        }
    }
    runs.sort_by(|one, other| one.0.cmp(&other.0));
    let mut page = String::from(
        "<!doctype html><meta charset=\"utf-8\"><title>jepsen</title><style>body{font:14px sans-serif;margin:1.5em}\
         table{border-collapse:collapse}td,th{padding:2px 10px;text-align:left;border-bottom:1px solid #ddd}</style>\
         <h1>Runs</h1><table><tr><th>run<th>ending<th>workloads<th>faults<th>seed<th>calls done<th>findings</tr>",
    );
    for (name, results) in runs {
        let meta = &results.meta;
        let done = results.counts.values().map(|count| count.ok).fold(0, u64::saturating_add);
        let found =
            results.verdicts.iter().map(|verdict| verdict.found).fold(0, u64::saturating_add);
        let name = escape(&name);
        let _ = write!(
            page,
            "<tr><td><a href=\"{name}/timeline.html\">{name}</a><td>{:?}<td>{}<td>{}<td>{}<td>{done}<td>{found}</tr>",
            results.ending,
            meta.workloads.join(" "),
            meta.faults.join(" "),
            meta.seed,
        );
    }
    page.push_str("</table>\n");
    std::fs::write(dir.join("index.html"), page).context("writing index.html")
}
