"""What was used: CPU time of processes from /proc, and bytes written from the disk's own counter.

A process that ended and was waited for is counted with its parent: the kernel adds its times to `cutime` and `cstime`. So a
tree's sum never falls while its root lives.
Bytes are those of the whole disk, since the kernel counts a process's bytes by the folio that it touched: a commit of 200
bytes may count as 64 KiB. So the machine has to be quiet, as for everything else here. A journal's bytes are counted too.
"""

import os
import subprocess
import threading
import time

TICKS = os.sysconf("SC_CLK_TCK")
SECTOR = 512  # Bytes, whatever the disk's own sectors are.


def parse_stat(text):
    """Parent and CPU seconds, children that were waited for included. The name may hold anything but ends with `)`."""
    fields = text.rpartition(")")[2].split()
    return int(fields[1]), sum(int(ticks) for ticks in fields[11:15]) / TICKS


def tree(root):
    """The CPU seconds of each living process at and under `root`."""
    parents, used = {}, {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                parents[int(pid)], used[int(pid)] = parse_stat(file.read())
        except (FileNotFoundError, ProcessLookupError):
            continue
    inside = {root}
    # A child's number may be lower than its parent's, so until nothing is added any more.
    while more := {pid for pid, parent in parents.items() if parent in inside and pid not in inside}:
        inside |= more
    return {pid: used[pid] for pid in inside & used.keys()}


def cpu_s(process):
    """What the tree under a process has used."""
    return sum(tree(process.pid).values())


def parse_disk(text):
    """Bytes written since the machine began."""
    return int(text.split()[6]) * SECTOR


def written(folder):
    """Bytes written to the disk under a folder; None where the file system is not on one."""
    device = os.stat(folder).st_dev
    try:
        with open(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat", encoding="ascii") as file:
            return parse_disk(file.read())
    except FileNotFoundError:
        return None


def difference(after, before):
    return None if after is None or before is None else after - before


class Watch:
    """Looks at the disk ten times a second: when what we measure began is known only when it ends."""

    EVERY_S = 0.1

    def __init__(self, folder):
        self.samples = []
        self._folder = folder
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._over.wait(self.EVERY_S):
            if (bytes_written := written(self._folder)) is not None:
                self.samples.append((time.monotonic(), bytes_written))

    def stop(self):
        self._over.set()
        self._thread.join()

    def between(self, begin, end):
        """Bytes written between two times; None if nothing could be seen."""
        if len(self.samples) < 2:
            return None
        return written_at(self.samples, end) - written_at(self.samples, begin)


def written_at(samples, when):
    """On the straight line between the samples before and after `when`."""
    before = None
    for at, bytes_written in samples:
        if at >= when:
            if before is None:
                return bytes_written
            share = (when - before[0]) / (at - before[0])
            return round(before[1] + share * (bytes_written - before[1]))
        before = (at, bytes_written)
    return before[1]


def run_client(command, **options):
    """Runs a client to its end: what it printed, and the CPU seconds that it used."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    try:
        output = process.stdout.read()
    finally:
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}:\n{output[-2000:]}")
    return output, usage.ru_utime + usage.ru_stime
