"""On what a run ran. A number without it means nothing."""

import datetime
import os
import platform
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Above so much load per core something else runs too.
QUIET = 0.3


def gather(data):
    data.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()
    cores = len(os.sched_getaffinity(0))
    return {
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "cpu_model": _field("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": cores,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "file_system": file_system(Path("/proc/mounts").read_text(encoding="utf-8"), data.resolve()),
        "load_average": " ".join(f"{value:.2f}" for value in load),
        "quiet": load[0] <= QUIET * cores,
    }


def commit():
    """Of the work tree; what is changed and not committed is said."""
    def git(*words):
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    # Earlier results that are not committed yet change nothing of what is measured.
    changed = git("status", "--porcelain", "--", ".", ":!bench/results")
    return (git("rev-parse", "HEAD")[:10] or "unknown") + ("-changed" if changed else "")


def file_system(mounts, folder):
    """The type of what is mounted nearest above `folder`."""
    best = ("", "unknown")
    for line in mounts.splitlines():
        _, point, kind = line.split()[:3]
        if (folder == Path(point) or Path(point) in folder.parents) and len(point) >= len(best[0]):
            best = (point, kind)
    return best[1]


def _field(path, name):
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return None
