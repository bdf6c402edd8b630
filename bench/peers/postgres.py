"""PostgreSQL 15, one server without a replica, each commit synced; driven by its own pgbench.

Its best, as `bench/run --tune postgres` shows by trying:
- pgbench with prepared statements over a Unix socket (ours goes over TCP), 32 clients for single transfers: 16 share a sync
  among fewer, 64 cost more and bring nothing on two cores.
- Three statements in one pipeline, which is one transaction: one packet each way. With `BEGIN` and `COMMIT` in it, it is about
  as fast; a function that does the same is slower. A key that is there already ends the transaction.
- For many transfers in one request a function that works by sets, 80 transfers at a time (as many as pgbench's parameters
  allow) from 4 clients; more clients wait for each other's accounts.
- No checkpoint falls into a run (`max_wal_size`), statistics and JIT are off, and the buffers hold everything.
- `commit_delay` is 0: with so many clients the sync itself gathers them; 100 µs changed nothing that could be seen.
What is never turned off: fsync, synchronous_commit, full_page_writes.
"""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

from frame import proc

from . import common

NAME = "PostgreSQL 15, 1 server"
BULK_MAX = 80  # pgbench takes 255 parameters, three for each transfer.
SETTINGS = {
    "fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "wal_sync_method": "fdatasync",
    "shared_buffers": "1GB", "wal_buffers": "64MB", "max_wal_size": "16GB", "min_wal_size": "2GB",
    "checkpoint_timeout": "1h", "max_connections": "300", "jit": "off", "track_activities": "off",
    "track_counts": "on", "listen_addresses": "", "commit_delay": "0", "autovacuum_naptime": "10s",
}


def script(form, hot, order, bulk):
    """What each pgbench client does again and again."""
    lines = ["\\set n :n + 1"]
    for i in range(bulk):
        pays = [f"\\set debit{i} random(1, :accounts - 1)"]
        # The merchant has the highest number, so its row is locked last, for as short as can be.
        other = f"\\set credit{i} random(1, :accounts - 1)"
        differ = f"\\set credit{i} CASE WHEN :credit{i} >= :debit{i} THEN :credit{i} + 1 ELSE :credit{i} END"
        if hot >= 100:
            pays.append(f"\\set credit{i} :accounts")
        else:
            pays += [other, differ]
            if hot > 0:
                pays.append(f"\\set credit{i} CASE WHEN random(1, 100) <= {hot} THEN :accounts ELSE :credit{i} END")
        pays.append(f"\\set amount{i} random(1, 1000)")
        lines += pays
    key = "\\set key (:n * 1024 + :client_id) * 128" if order == "ordered" else "\\set key random(1, 9000000000000000000)"
    lines.append(key)
    if bulk > 1:
        def array(name):
            return "ARRAY[" + ", ".join(f":{name}{i}" for i in range(bulk)) + "]"

        keys = f"ARRAY(SELECT :key::bigint + i FROM generate_series(0, {bulk - 1}) i)"
        lines.append(f"SELECT transfers({keys}, {array('debit')}::int[], {array('credit')}::int[], {array('amount')}::bigint[]);")
    elif form == "function":
        lines.append("SELECT transfer(:key, :debit0, :credit0, :amount0);")
    else:
        lines += [
            "\\set first least(:debit0, :credit0)",
            "\\set second greatest(:debit0, :credit0)",
            "\\set add CASE WHEN :first = :debit0 THEN 0 - :amount0 ELSE :amount0 END",
            "\\startpipeline",
            *(["BEGIN;"] if form == "block" else []),
            "INSERT INTO transfers VALUES (:key, :debit0, :credit0, :amount0);",
            "UPDATE accounts SET posted = posted + :add WHERE id = :first;",
            "UPDATE accounts SET posted = posted - :add WHERE id = :second;",
            *(["COMMIT;"] if form == "block" else []),
            "\\endpipeline",
        ]
    return "\n".join(lines) + "\n"


def parse_pgbench(text):
    """Transactions, and how long they took without connecting."""
    posted = int(re.search(r"^number of transactions actually processed: (\d+)", text, re.M)[1])
    rate = float(re.search(r"^tps = ([0-9.]+) \(without initial connection time\)", text, re.M)[1])
    failed = re.search(r"^number of failed transactions: (\d+)", text, re.M)
    return posted, posted / rate if rate else 0.0, int(failed[1]) if failed else 0


def parse_log(lines):
    """The latencies of pgbench's log, in microseconds and in rising order."""
    return sorted(int(line.split()[2]) for line in lines if line.split()[2].isdigit())


class Server:
    """A server on a data directory of its own."""

    def __init__(self, folder, accounts, extra):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        self.user = common.nobody()
        self.environment = common.environment()
        if self.user:
            os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)
        data = self.folder / "data"
        self._run("initdb", "-D", data, "-U", "bench", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        settings = SETTINGS | extra | {"unix_socket_directories": str(self.folder), "port": "5432"}
        with open(data / "postgresql.auto.conf", "a", encoding="utf-8") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        self.log = open(self.folder / "log", "wb")
        self.process = subprocess.Popen(
            [common.program("postgres"), "-D", str(data)], stdout=self.log, stderr=self.log, **self._who()
        )
        try:
            common.wait_for(self._is_ready, self.process, "postgres")
            sql = Path(__file__).with_name("postgres.sql").read_text(encoding="utf-8")
            self._run("psql", *self._address(), "-d", "postgres", "-q", "-v", "ON_ERROR_STOP=1", "-v", f"accounts={accounts}", input=sql)
            self.ask("VACUUM ANALYZE accounts")
            self.ask("CHECKPOINT")
        except BaseException:
            self.close()
            raise

    def _who(self):
        # A folder under somebody's home may be closed to others: they start in one that is open.
        who = {"env": self.environment, "cwd": self.folder}
        return who | ({"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if self.user else {})

    def _run(self, name, *arguments, **options):
        command = [common.program(name), *map(str, arguments)]
        done = subprocess.run(command, text=True, capture_output=True, check=False, **self._who(), **options)
        if done.returncode != 0:
            raise RuntimeError(f"{name} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        return done.stdout

    def _address(self):
        return ["-h", str(self.folder), "-U", "bench"]

    def _is_ready(self):
        command = [common.program("psql"), *self._address(), "-d", "postgres", "-c", "SELECT 1"]
        return subprocess.run(command, capture_output=True, check=False, **self._who()).returncode == 0

    def ask(self, question):
        return self._run("psql", *self._address(), "-d", "postgres", "-At", "-c", question).strip()

    def close(self):
        common.stop(self.process, signal.SIGINT)
        self.log.close()


def run(row, folder, seconds, warm_up_s):
    """The row's work for `seconds`, after a warm-up."""
    clients, threads = row.get("clients", 32), row.get("threads", 1)
    bulk, accounts = row.get("bulk", 1), row["accounts"]
    server = Server(folder, accounts, row.get("settings", {}))
    try:
        text = script(row.get("form", "pipeline"), row.get("hot", 0), row.get("keys", "ordered"), bulk)
        file = Path(folder) / "transfer.sql"
        file.write_text(text, encoding="utf-8")

        def drive(turn, length, *more):
            # The database stands last: to pgbench `-d` means debugging, and slow.
            command = [common.program("pgbench"), *server._address(), "-n", "-M", "prepared", "-f", str(file)]
            command += ["-c", str(clients), "-j", str(threads), "-T", str(max(1, round(length)))]
            command += ["-D", f"accounts={accounts}", "-D", f"n={turn * 10**9}", *more, "postgres"]
            return proc.run_client(command, **server._who())

        drive(0, warm_up_s)
        count = "SELECT count(*) FROM transfers"
        rows_before, cpu_before = int(server.ask(count)), proc.cpu_s(server.process)
        disk_before = proc.written(server.folder)
        output, client_cpu_s = drive(1, seconds, "-l", "--log-prefix", str(server.folder / "latency"))
        written = proc.difference(proc.written(server.folder), disk_before)
        cpu_s = proc.cpu_s(server.process) - cpu_before
        transactions, length, failed = parse_pgbench(output)
        posted = int(server.ask(count)) - rows_before
        kept = int(server.ask("SELECT sum(posted) FROM accounts"))
        # With random keys one in many millions may be drawn twice; it is answered, and moves nothing.
        if posted > transactions * bulk or posted < (transactions * bulk) * 0.9999 or failed:
            raise RuntimeError(f"{transactions} × {bulk} were claimed, {failed} failed, and there are {posted} rows")
        if kept != accounts * 10**12:
            raise RuntimeError(f"the balances add up to {kept}")
        lines = [line for log in server.folder.glob("latency.*") for line in log.read_text().splitlines()]
        latencies = parse_log(lines)
        at = {name: common.percentile(latencies, share) for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))}
        settings = {"clients": clients, "threads": threads, "form": "bulk" if bulk > 1 else row.get("form", "pipeline"),
                    "bulk": bulk, **row.get("settings", {})}
        checks = {"claimed": transactions * bulk, "rows": posted, "balances": kept}
        return common.outcome(posted, length, at, "postgres", cpu_s, client_cpu_s, written, settings, checks)
    finally:
        server.close()
        shutil.rmtree(folder, ignore_errors=True)


# What was tried to find its best: `bench/run --tune postgres`.
TUNE = [
    {"clients": 16}, {"clients": 32}, {"clients": 64}, {"clients": 32, "threads": 2},
    {"clients": 32, "form": "block"}, {"clients": 32, "form": "function"}, {"clients": 32, "settings": {"commit_delay": "100", "commit_siblings": "8"}},
    {"clients": 32, "settings": {"wal_sync_method": "open_datasync"}},
    {"clients": 4, "bulk": 50}, {"clients": 16, "bulk": 50}, {"clients": 4, "bulk": 80},
    {"clients": 8, "hot": 100}, {"clients": 32, "hot": 100}, {"clients": 32, "hot": 100, "form": "function"},
]
