"""Redis 7, one server without a replica, its log synced before each answer; driven by its own redis-benchmark.

Its best, as `bench/run --tune redis` shows by trying:
- A Lua script, loaded once and called by its hash: one request and one answer for each transfer.
- A Unix socket (ours goes over TCP), one benchmark thread: the server is one thread too, and there are two cores.
- 256 connections for single transfers: each turn of the event loop answers all that wait after one sync, and 50 are fewer.
- 50 connections with 64 requests in a pipeline where many may be under way; longer pipelines and fewer connections do less.
- No snapshots and no rewriting of the log fall into a run; no I/O threads, which would take the client's core.
What is never turned off: appendfsync always.
"""

import re
import shutil
import subprocess
from pathlib import Path

from frame import proc

from . import common

NAME = "Redis 7, 1 server"
RANGE = 2**31 - 1  # As far as redis-benchmark draws. A key is made of two draws.
OPENED = 10**9
SETTINGS = {
    "appendonly": "yes", "appendfsync": "always", "save": '""', "auto-aof-rewrite-percentage": "0", "port": "0",
    "daemonize": "no", "no-appendfsync-on-rewrite": "no", "latency-monitor-threshold": "0",
}


def parse_benchmark(text):
    """Requests, seconds, and latencies in microseconds from redis-benchmark's long form."""
    text = text.replace("\r", "\n")
    count, seconds = re.search(r"(\d+) requests completed in ([0-9.]+) seconds", text).groups()
    spread = [(float(share), float(ms)) for share, ms in re.findall(r"^([0-9.]+)% <= ([0-9.]+) milliseconds \(cum", text, re.M)]

    def at(share):
        return next((round(ms * 1000) for reached, ms in spread if reached >= share), None)

    return int(count), float(seconds), {"p50": at(50), "p99": at(99), "p999": at(99.9)}


class Server:
    """A server on a folder of its own."""

    def __init__(self, folder, accounts, extra):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        self.socket = self.folder / "socket"
        self.environment = common.environment()
        settings = SETTINGS | extra | {"dir": str(self.folder), "unixsocket": str(self.socket)}
        file = self.folder / "redis.conf"
        file.write_text("".join(f"{name} {value}\n" for name, value in settings.items()), encoding="utf-8")
        self.log = open(self.folder / "log", "wb")
        self.process = subprocess.Popen(
            [common.program("redis-server"), str(file)], stdout=self.log, stderr=self.log, env=self.environment
        )
        try:
            common.wait_for(lambda: self.socket.exists(), self.process, "redis-server")
            self.ask("EVAL", f"for i = 0, {accounts - 1} do redis.call('SET', 'a:' .. i, {OPENED}) end", "0")
            script = Path(__file__).with_name("transfer.lua").read_text(encoding="utf-8")
            self.sha = self.ask("SCRIPT", "LOAD", script)
        except BaseException:
            self.close()
            raise

    def ask(self, *words):
        command = [common.program("redis-cli"), "-s", str(self.socket), *map(str, words)]
        done = subprocess.run(command, env=self.environment, text=True, capture_output=True, check=True)
        if done.stdout.startswith(("ERR", "(error)")):
            raise RuntimeError(done.stdout)
        return done.stdout.strip()

    def balances(self, accounts):
        sum_up = f"local sum = 0 for i = 0, {accounts - 1} do sum = sum + redis.call('GET', 'a:' .. i) end return sum"
        return int(self.ask("EVAL", sum_up, "0"))

    def close(self):
        common.stop(self.process)
        self.log.close()


def run(row, folder, seconds, warm_up_s):
    """The row's work for about `seconds`: redis-benchmark counts requests, and the warm-up tells how many that are."""
    connections, pipeline, accounts = row.get("connections", 50), row.get("pipeline", 1), row["accounts"]
    server = Server(folder, accounts, row.get("settings", {}))
    try:
        def drive(count, turn):
            command = [common.program("redis-benchmark"), "-s", str(server.socket), "-n", str(count)]
            command += ["-c", str(connections), "-P", str(pipeline), "-r", str(RANGE), "--precision", "3"]
            if row.get("threads", 1) > 1:
                command += ["--threads", str(row["threads"])]
            command += ["EVALSHA", server.sha, "0", *["__rand_int__"] * 5, str(accounts), str(row.get("hot", 0)), turn]
            return proc.run_client(command, env=server.environment)

        # A first guess of two thousand, then as many as the warm-up's time holds.
        guess = 2_000
        for turn, length in (("first", warm_up_s), ("warm", seconds)):
            count, took, _ = parse_benchmark(drive(guess, turn)[0])
            guess = max(connections * pipeline, round(count / max(took, 0.001) * length))
        before, cpu_before = int(server.ask("DBSIZE")), proc.cpu_s(server.process)
        disk_before = proc.written(server.folder)
        output, client_cpu_s = drive(guess, "measured")
        written = proc.difference(proc.written(server.folder), disk_before)
        cpu_s = proc.cpu_s(server.process) - cpu_before
        requests, length, latency_us = parse_benchmark(output)
        posted, kept = int(server.ask("DBSIZE")) - before, server.balances(accounts)
        # A pipeline is sent whole, so a few more than were asked for may have been made.
        if not requests <= posted <= requests + connections * pipeline:
            raise RuntimeError(f"{requests} were claimed, and there are {posted} records")
        if kept != accounts * OPENED:
            raise RuntimeError(f"the balances add up to {kept}")
        settings = {"connections": connections, "pipeline": pipeline, **row.get("settings", {})}
        checks = {"claimed": requests, "rows": posted, "balances": kept}
        return common.outcome(requests, length, latency_us, "redis", cpu_s, client_cpu_s, written, settings, checks)
    finally:
        server.close()
        shutil.rmtree(folder, ignore_errors=True)


# What was tried to find its best: `bench/run --tune redis`.
TUNE = [
    {"connections": 50}, {"connections": 256}, {"connections": 50, "threads": 2},
    {"connections": 50, "settings": {"io-threads": "2"}},
    {"connections": 4, "pipeline": 1024}, {"connections": 16, "pipeline": 256}, {"connections": 50, "pipeline": 64},
    {"connections": 50, "pipeline": 256},
]
