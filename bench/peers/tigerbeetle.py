"""TigerBeetle, when TIGERBEETLE_BIN names its binary; driven by its own `benchmark` command.

Its best: a replica's default sizes, its own largest batch (the flag is left out), its own client inside `benchmark`, and no
queries after the transfers. Four clients for full batches, as we have four connections: each keeps one batch under way.
`hot` is its debit side and ours the credit side: the same account is written. Its latencies are whole milliseconds.
It checks its own work: `--validate` looks up every transfer when the clock has stopped.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

from frame import proc

from . import common

NAME = "TigerBeetle"
MEASURED = "load accepted"


def binary():
    named = os.environ.get("TIGERBEETLE_BIN")
    if not named:
        raise common.Missing("TIGERBEETLE_BIN names no binary")
    return named


def parse_benchmark(text, count):
    """Seconds and latencies of what `benchmark` printed; it must have found every transfer again."""
    seconds = float(re.search(r"^\d+ batches in ([0-9.]+) s", text, re.M)[1])
    rate = int(re.search(r"^load accepted = (\d+) tx/s", text, re.M)[1])
    # The seconds have two digits behind the point, and the rate is whole: the finer of both.
    seconds = count / rate if rate > 100 else seconds
    validated = re.search(r"^validated (\d+) transfers", text, re.M)
    if not validated or int(validated[1]) < count:
        raise RuntimeError(f"{count} were claimed, and validated was {validated and validated[1]}")
    at = dict(re.findall(r"^batch latency p(\d+) +=? *(\d+)\+? ms", text, re.M))
    return seconds, {"p50": _us(at.get("50")), "p99": _us(at.get("99")), "p999": None}, int(validated[1])


def _us(ms):
    return None if ms is None else int(ms) * 1000


class Cluster:
    """Replicas on files of their own."""

    def __init__(self, folder, replicas):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        self.addresses = ",".join(f"127.0.0.1:{common.free_port()}" for _ in range(replicas))
        self.replicas, self.logs = [], []
        try:
            for index in range(replicas):
                file = self.folder / f"{index}.tigerbeetle"
                format_it = ["format", "--cluster=0", f"--replica={index}", f"--replica-count={replicas}", str(file)]
                subprocess.run([binary(), *format_it], check=True, capture_output=True)
                self.logs.append(open(self.folder / f"{index}.log", "wb"))
                command = [binary(), "start", f"--addresses={self.addresses}", str(file)]
                self.replicas.append(subprocess.Popen(command, stdout=self.logs[-1], stderr=self.logs[-1]))
            for replica, address in zip(self.replicas, self.addresses.split(",")):
                port = int(address.split(":")[1])
                common.wait_for(lambda port=port: common.answers(port), replica, "tigerbeetle")
        except BaseException:
            self.close()
            raise

    def cpu_s(self):
        return sum(proc.cpu_s(replica) for replica in self.replicas)

    def close(self):
        for replica in self.replicas:
            common.stop(replica)
        for log in self.logs:
            log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def measure(row, folder, count):
    """So many transfers into a new cluster: its accounts can be opened only once."""
    cluster = Cluster(folder, row["replicas"])
    try:
        command = [binary(), "benchmark", f"--addresses={cluster.addresses}", f"--transfer-count={count}", "--validate",
                   f"--account-count={row['accounts']}", f"--clients={row['clients']}", "--query-count=0",
                   f"--id-order={'random' if row.get('keys') == 'random' else 'sequential'}"]
        if row.get("hot"):
            command += ["--account-count-hot=1", f"--transfer-hot-percent={row['hot']}"]
        if "batch" in row:
            command.append(f"--transfer-batch-size={row['batch']}")
        cpu_before, disk_before = cluster.cpu_s(), proc.written(folder)
        client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said, used = [], None
        for line in client.stdout:
            said.append(line)
            if line.startswith(MEASURED):
                used = cluster.cpu_s() - cpu_before, proc.cpu_s(client), proc.difference(proc.written(folder), disk_before)
        client.stdout.close()
        if client.wait() != 0 or used is None:
            raise RuntimeError(f"tigerbeetle benchmark ended with {client.returncode}:\n{''.join(said[-20:])}")
        seconds, latency_us, validated = parse_benchmark("".join(said), count)
        settings = {name: row[name] for name in ("replicas", "clients", "batch", "keys", "hot") if name in row}
        checks = {"claimed": count, "rows": validated}
        return common.outcome(count, seconds, latency_us, "replicas", used[0], used[1], used[2], settings, checks)
    finally:
        cluster.close()


def run(row, folder, seconds, warm_up_s):
    """A first cluster warms the machine up and tells how many transfers fill the time; a second is measured."""
    binary()
    first = measure(row, f"{folder}-first", 500 if row.get("batch") == 1 else 400_000)
    return measure(row, folder, max(100, round(first["per_s"] * seconds)))


TUNE = [{"replicas": 3, "clients": n} for n in (1, 4, 8)]
