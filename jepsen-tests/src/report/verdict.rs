//! `verdict.txt`: what came of a run, for a person.

use std::fmt::Write as _;

use super::Results;

/// Findings of one checker that are shown; the others are in `results.json`.
const SHOWN: usize = 10;

/// How a run ended, what was done, what went wrong on purpose and what by itself; some lines.
pub(crate) fn verdict(results: &Results) -> String {
    let meta = &results.meta;
    let (workloads, seconds) = (meta.workloads.join(","), meta.duration_ms / 1_000);
    let faults =
        if meta.faults.is_empty() { "no faults".to_owned() } else { meta.faults.join(",") };
    let mut text = format!(
        "{:?}: {workloads} under {faults} for {seconds} s, seed {}, {}; {}\n",
        results.ending, meta.seed, meta.hosts, results.version
    );
    let mut line = |words: String| {
        let _ = writeln!(text, "  {words}");
    };
    for why in &meta.refused {
        line(format!("cannot be had here: {why}"));
    }
    let counts = results.counts.iter().map(|(kind, count)| {
        format!("{kind} {}/{}/{}/{}", count.ok, count.rejected, count.fail, count.info)
    });
    let counts = counts.collect::<Vec<_>>().join(", ");
    let healed = results.healed_ms.map_or_else(|| "never".to_owned(), |ms| format!("{ms} ms"));
    line(format!("done/refused/failed/unknown: {counts}; healed after {healed}"));
    for fault in &results.faults {
        let took = fault.ended.saturating_sub(fault.began) / 1_000_000;
        let (name, at, proof) = (&fault.name, fault.began / 1_000_000, fault.evidence.join("; "));
        line(format!("{name} at {at} ms for {took} ms, bit: {}: {proof}", fault.bit));
    }
    for verdict in &results.verdicts {
        let (name, checked, found) = (&verdict.checker, verdict.checked, verdict.found);
        line(format!("{name}: looked at {checked}, found {found}"));
        for what in verdict.findings.iter().take(SHOWN) {
            line(format!("  {what}"));
        }
    }
    for why in &results.vacuous {
        line(format!("says nothing: {why}"));
    }
    text
}
