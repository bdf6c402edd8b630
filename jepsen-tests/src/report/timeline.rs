//! `timeline.html`: every process's calls side by side, with the faults across them; and above it the verdict.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Results;
use super::plot::colour;
use crate::history::{End, History};

/// Calls that are drawn at the most: the first ones. A page with more is no page.
const CALLS_MAX: usize = 6_000;

/// Pixels a second, and a process.
const SECOND: u64 = 160;
const ROW: u64 = 7;

/// The page. It asks the network for nothing.
pub(super) fn page(history: &History, results: &Results) -> String {
    let mut page = String::from(
        "<!doctype html><meta charset=\"utf-8\"><title>jepsen</title><style>body{font:14px sans-serif;margin:1.5em}\
         table{border-collapse:collapse}td,th{padding:2px 10px;text-align:left;border-bottom:1px solid #ddd}\
         .bad{color:#b00}.scroll{overflow-x:auto;border:1px solid #ccc}</style>",
    );
    let meta = &results.meta;
    let _ = write!(
        page,
        "<h1>{:?}</h1><p>{} &middot; faults: {} &middot; seed {} &middot; {} &middot; {}</p><pre>{}</pre>",
        results.ending,
        meta.workloads.join(" "),
        meta.faults.join(" "),
        meta.seed,
        escape(&meta.hosts),
        escape(&results.version),
        escape(&results.command),
    );
    page.push_str("<table><tr><th>checker<th>promise<th>looked at<th>found</tr>");
    for verdict in &results.verdicts {
        let (name, promise) = (escape(&verdict.checker), escape(&verdict.promise));
        let (checked, found) = (verdict.checked, verdict.found);
        let _ = write!(page, "<tr><td>{name}<td>{promise}<td>{checked}<td>{found}");
        for what in verdict.findings.iter().chain(&verdict.undecided) {
            let _ = write!(page, "<div class=\"bad\">{}</div>", escape(what));
        }
        page.push_str("</tr>");
    }
    page.push_str("</table>");
    for why in meta.refused.iter().chain(&results.vacuous) {
        let _ = write!(page, "<p class=\"bad\">{}</p>", escape(why));
    }
    page.push_str("<h2>Faults</h2><table><tr><th>fault<th>from<th>to<th>bit<th>proof</tr>");
    for fault in &history.faults {
        let (began, ended) = (fault.began / 1_000_000, fault.ended / 1_000_000);
        let (name, bit, proof) = (&fault.name, fault.bit, escape(&fault.evidence.join("; ")));
        let _ = write!(page, "<tr><td>{name}<td>{began} ms<td>{ended} ms<td>{bit}<td>{proof}</tr>");
    }
    page.push_str(
        "</table><h2>Plots</h2><img src=\"latency.svg\"><br><img src=\"rate.svg\"><h2>Calls</h2>",
    );
    page.push_str(&calls(history));
    page
}

fn calls(history: &History) -> String {
    let drawn = history.ops.get(..CALLS_MAX).unwrap_or(&history.ops);
    let end = drawn.iter().map(|op| op.began).max().unwrap_or(0);
    let mut rows: BTreeMap<u64, u64> = BTreeMap::new();
    for op in drawn {
        rows.insert(op.process, 0);
    }
    for (row, at) in rows.values_mut().zip(0_u64..) {
        *row = at.saturating_mul(ROW);
    }
    let x = |time: u64| {
        let wide = u128::from(time.min(end)).saturating_mul(u128::from(SECOND)) / 1_000_000_000;
        u64::try_from(wide).unwrap_or(u64::MAX)
    };
    let width = x(end).saturating_add(SECOND);
    let tall = u64::try_from(rows.len()).unwrap_or(0).saturating_mul(ROW).saturating_add(ROW);
    let mut svg = format!(
        "<div class=\"scroll\"><svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{tall}\">"
    );
    for fault in &history.faults {
        let (from, to) = (x(fault.began), x(fault.ended));
        let (wide, name) = (to.saturating_sub(from), &fault.name);
        let _ = write!(
            svg,
            "<rect x=\"{from}\" y=\"0\" width=\"{wide}\" height=\"{tall}\" fill=\"#f4c7c3\"><title>{name}</title></rect>"
        );
    }
    for op in drawn {
        let from = x(op.began);
        let to = if op.end == End::Info { from.saturating_add(SECOND) } else { x(op.ended) };
        let (wide, y) =
            (to.saturating_sub(from).max(1), rows.get(&op.process).copied().unwrap_or(0));
        let about = match &op.end {
            End::Ok(_) => "ok".to_owned(),
            End::Fail(_, why) => why.clone(),
            End::Info => "nobody answered".to_owned(),
        };
        let title = escape(&format!("{}: {:?} by {}: {about}", op.index, op.call, op.process));
        let colour = colour(&op.end);
        let _ = write!(
            svg,
            "<rect x=\"{from}\" y=\"{y}\" width=\"{wide}\" height=\"5\" fill=\"{colour}\"><title>{title}</title></rect>"
        );
    }
    svg + "</svg></div>"
}

/// Text as a page may hold it.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
