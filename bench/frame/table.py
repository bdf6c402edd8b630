"""The table: for each row ours and each peer, as min / median / max of the runs, and the ratios."""

from statistics import median


def spread(values):
    """Least, middle and greatest; None where nothing is known."""
    known = [value for value in values if value is not None]
    return {"min": min(known), "median": median(known), "max": max(known)} if known else None


def digest(runs):
    """One side's runs in numbers."""
    processes = sorted({name for run in runs for name in run["cpu_s"]})
    return {
        "runs": len(runs),
        "per_s": spread([run["per_s"] for run in runs]),
        "cpu_us": {
            name: spread([run["cpu_s"].get(name, 0) * 1e6 / run["posted"] for run in runs]) for name in processes
        } | {"all": spread([sum(run["cpu_s"].values()) * 1e6 / run["posted"] for run in runs])},
        "written": spread([None if run["written"] is None else run["written"] / run["posted"] for run in runs]),
        "latency_us": {at: spread([run["latency_us"].get(at) for run in runs]) for at in ("p50", "p99", "p999")},
    }


def summarise(rows):
    """Adds to each row what its runs come to, and the ratios: to each peer, and to the row of ours it is held against."""
    for row in rows:
        row["digest"] = {who: digest(runs) for who, runs in row["runs"].items() if runs}
    ours = {row["name"]: row["digest"].get("ours") for row in rows}
    for row in rows:
        mine, base = row["digest"].get("ours"), ours.get(row.get("base"))
        row["ratios"] = {
            who: ratio(mine, other) for who, other in row["digest"].items() if mine and who != "ours"
        }
        row["to_base"] = ratio(mine, base) if mine and base else None
    return rows


def ratio(mine, other):
    """Of the medians: how many times as many a second, and how many times the CPU for each."""
    return {
        "per_s": mine["per_s"]["median"] / other["per_s"]["median"],
        "cpu": mine["cpu_us"]["all"]["median"] / other["cpu_us"]["all"]["median"] if other["cpu_us"]["all"]["median"] else None,
    }


def number(value):
    """Three digits that count, with separators; whole above a hundred."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def three(values, scale=1.0):
    if values is None:
        return "–"
    return " / ".join(number(values[at] * scale) for at in ("min", "median", "max"))


def middle(values, scale=1.0):
    return "–" if values is None else number(values["median"] * scale)


def held_against(held, what=""):
    """A ratio in words: transfers a second, then the CPU of each."""
    if not held:
        return ""
    cpu = "" if held["cpu"] is None else f", CPU {held['cpu']:.2f} ×"
    return f"{held['per_s']:.2f} ×{what}{cpu}"


def row_lines(row, names):
    """A row of the report for each side."""
    for index, (who, side) in enumerate(row["digest"].items()):
        latency = " / ".join(middle(side["latency_us"][at], 1e-3) for at in ("p50", "p99", "p999"))
        cpu = ", ".join(
            f"{name} {middle(value)}" for name, value in side["cpu_us"].items() if name != "all" and len(side["cpu_us"]) > 2
        )
        times = held_against(row["to_base"], f" {row.get('base')}") if who == "ours" else held_against(row["ratios"].get(who))
        total = middle(side["cpu_us"]["all"])
        yield (f"| {'' if index else row['title']} | {f'**{names[who]}**' if who == 'ours' else names.get(who, who)} "
               f"| {three(side['per_s'])} | {times} | {total}{f' ({cpu})' if cpu else ''} "
               f"| {middle(side['written'])} | {latency} |")


def markdown(result):
    """`table.md`."""
    about = result["environment"]
    lines = [
        f"# {about['started'][:10]}, commit {about['commit']}",
        "",
        f"{about['cpu_model']}, {about['cores']} cores, {about['memory_bytes'] / 2**30:.0f} GiB, Linux {about['kernel']}, "
        f"{about['file_system']}. Load average at the beginning: {about['load_average']}. "
        f"{result['rounds']} rounds of {result['seconds']:g} s each, in turn. Every commit is synced.",
        "",
        "The ratio is ours to the peer's by their medians, or to another row of ours: transfers a second (more is better), and CPU "
        "for each (less is better). CPU is user and system "
        "time of every process, in µs a transfer; bytes are the whole disk's, a transfer; latency is p50 / p99 / p99.9 in ms, "
        "of a request: of a batch where transfers go in batches.",
        "",
    ]
    if about.get("quiet") is False:
        lines += ["**The machine was busy when this began: these figures check the scripts and claim nothing.**", ""]
    lines += [
        "| work | who | transfers/s, min / median / max | ratio | CPU µs | bytes | latency ms |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in result["rows"]:
        lines += row_lines(row, result["names"])
    notes = [f"- {row['name']}: {note}" for row in result["rows"] for note in row["notes"]]
    if notes:
        lines += ["", "Not measured:", "", *notes]
    lines += ["", "How each row is made: `bench/run --list`. All runs and their settings: `results.json`.", ""]
    return "\n".join(lines)
