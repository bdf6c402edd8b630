"""Our side: `paycore bench`, which starts its own nodes and gateway, and judges its own run."""

import json
import os
import re
import resource
import shutil
import subprocess
import time
from pathlib import Path

from . import proc

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("PAYCORE", ROOT / "target/release/paycore"))
# What it says when the last outcome has come, and what follows is the verdict.
MEASURED = "reading the ledger's record"


class Unable(Exception):
    """This binary cannot do a row yet."""


def parse_flags(help_text):
    """The flags it knows, and the doors it offers."""
    doors = re.search(r"--door .*?Possible values:\n(.*?)(?:\n\n|\Z)", help_text, re.S)
    known = set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", help_text, re.M))
    return known, set(re.findall(r"^ +- ([a-z]+)", doors[1], re.M)) if doors else set()


def check_able(arguments):
    """Rows come before the flags that they need."""
    done = subprocess.run([BINARY, "bench", "--help"], capture_output=True, text=True, check=True)
    known, doors = parse_flags(done.stdout)
    for name, value in zip(arguments, [*arguments[1:], ""]):
        if name.startswith("--") and name not in known:
            raise Unable(f"this paycore has no {name}")
        if name == "--door" and value not in doors:
            raise Unable(f"this paycore has no --door {value}")


def parse_summary(summary):
    """A run of ours in the form that the peers' have too."""
    verdict = summary["verdict"]
    if not verdict["ok"]:
        raise RuntimeError(f"the verdict is not ok: {json.dumps(verdict)[:1000]}")
    if summary["sync"] != "fdatasync":
        raise RuntimeError(f"its nodes sync by {summary['sync']}")
    indexed = summary.get("history_indexed")
    if indexed is not None and indexed != 2 * summary["posted"]:
        raise RuntimeError(f"{summary['posted']} were posted, and {indexed} lines of statements are indexed")
    latency = summary["latency_us"]
    checked = next((c["facts"] for c in verdict["checks"] if c["claim"].startswith("every acknowledged transfer")), None)
    return {
        "posted": summary["posted"],
        "seconds": summary["duration_s"],
        "per_s": summary["posted"] / summary["duration_s"],
        "latency_us": {name: latency[name] for name in ("p50", "p99", "p999")},
        "cpu_s": summary["cpu_s"],
        "rss_bytes_max": summary["rss_bytes_max"],
        "settings": {name: summary[name] for name in
                     ("nodes", "shards", "batch", "connections", "inflight", "door", "keys", "accounts", "sync", "seed")},
        "checks": {"claimed": summary["posted"], "rows": checked, "lost": verdict["lost"], "doubled": verdict["doubled"],
                   "imbalance": verdict["imbalance"]},
    }


def run(row, folder, seconds):
    """The row's work for `seconds`. It opens its accounts before the clock starts, and has no other warm-up."""
    # Each connection is a file, at both ends.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536) if hard > 0 else 65_536, hard))
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = [str(BINARY), "bench", *row["ours"], "--duration", f"{seconds:g}s", "--out", str(folder)]
    watch = proc.Watch(folder.parent)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said, ended = [], None
        for line in process.stdout:
            said.append(line)
            if MEASURED in line:
                ended = time.monotonic()
        process.stdout.close()
        code = process.wait()
        watch.stop()
        if code != 0:
            raise RuntimeError(f"paycore bench ended with {code}:\n{''.join(said[-20:])}")
        profile = json.loads((folder / "env.json").read_text(encoding="utf-8"))["profile"]
        if profile != "release":
            raise RuntimeError(f"{BINARY} is a {profile} build")
        outcome = parse_summary(json.loads((folder / "summary.json").read_text(encoding="utf-8")))
        outcome["written"] = None if ended is None else watch.between(ended - outcome["seconds"], ended)
        outcome["command"] = " ".join(["paycore", "bench", *row["ours"], "--duration", f"{seconds:g}s"])
        return outcome
    finally:
        watch.stop()
        # Its nodes end with it.
        if process.poll() is None:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)
