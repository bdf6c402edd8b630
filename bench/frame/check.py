"""Checks every parser and the table maker against what programs printed once, kept in bench/samples.

TigerBeetle's sample is written after its source: no binary was at hand.
"""

import json
import unittest
import xml.etree.ElementTree
from pathlib import Path

import rows
from frame import environment, ours, plot, proc, table
from peers import common, etcd, postgres, redis, tigerbeetle

SAMPLES = Path(__file__).resolve().parents[1] / "samples"


def sample(name):
    return (SAMPLES / name).read_text(encoding="utf-8")


def made_up(per_s, cpu_s=1.0, p50=1000):
    """A run that never was."""
    return {"posted": 1_000_000, "seconds": 10.0, "per_s": per_s, "cpu_s": {"a": cpu_s, "b": cpu_s},
            "written": 250_000_000, "latency_us": {"p50": p50, "p99": 2000, "p999": None}, "settings": {}, "checks": {}}


class Parsers(unittest.TestCase):
    """What programs print."""

    def test_pgbench(self):
        posted, seconds, failed = postgres.parse_pgbench(sample("pgbench.txt"))
        self.assertEqual((posted, failed), (3877, 0))
        self.assertTrue(0.5 < seconds < 1.5)

    def test_pgbench_log_in_rising_order_without_what_failed(self):
        self.assertEqual(postgres.parse_log(sample("pgbench.log").splitlines()), [2210, 3951, 4120])

    def test_pgbench_scripts(self):
        single = postgres.script("pipeline", 0, "ordered", 1)
        self.assertEqual(single.count(";"), 3)
        self.assertIn("\\startpipeline\nINSERT", single)
        self.assertIn("\\set credit0 :accounts\n", postgres.script("function", 100, "random", 1))
        bulk = postgres.script("function", 0, "ordered", postgres.BULK_MAX)
        self.assertEqual(bulk.count("\\set debit"), postgres.BULK_MAX)
        parameters = bulk.splitlines()[-1].replace("::", "").count(":")
        self.assertLess(parameters, 256)

    def test_redis_benchmark(self):
        count, seconds, latency = redis.parse_benchmark(sample("redis-benchmark.txt"))
        self.assertGreater(count, 1000)
        self.assertGreater(seconds, 0)
        self.assertTrue(0 < latency["p50"] < latency["p99"] <= latency["p999"])

    def test_tigerbeetle(self):
        seconds, latency, validated = tigerbeetle.parse_benchmark(sample("tigerbeetle.txt"), 400_000)
        self.assertAlmostEqual(seconds, 3.02, places=2)
        self.assertEqual((latency, validated), ({"p50": 61_000, "p99": 126_000, "p999": None}, 400_000))
        with self.assertRaises(RuntimeError):
            tigerbeetle.parse_benchmark(sample("tigerbeetle.txt"), 400_001)

    def test_etcd_speaks_and_hears_its_wire_format(self):
        message = etcd.transaction(b"t1", 1, 2, 300)
        self.assertIn(b"t1", message)
        whole, rest = etcd.frames(etcd.frame(etcd.DATA, etcd.END_STREAM, 7, message) + b"\0\0")
        self.assertEqual(whole, [(etcd.DATA, etcd.END_STREAM, 7, message)])
        self.assertEqual(rest, 9 + len(message))
        header = etcd.field(1, etcd.field(2, 300))
        self.assertTrue(etcd.succeeded(b"\0\0\0\0\0" + header + etcd.field(2, 1)))
        self.assertFalse(etcd.succeeded(b"\0\0\0\0\0" + header))
        self.assertEqual(etcd.count_of(b"\0\0\0\0\0" + header + etcd.field(4, 70_000)), 70_000)

    def test_our_summary(self):
        summary = json.loads(sample("summary.json"))
        run = ours.parse_summary(summary)
        self.assertEqual(run["posted"], summary["posted"])
        self.assertAlmostEqual(run["per_s"], summary["posted_per_s"], delta=20)
        self.assertEqual(set(run["cpu_s"]), {"bench", "gateway", "n1", "n2", "n3"})
        for broken in ({"verdict": summary["verdict"] | {"ok": False}}, {"history_indexed": 1}, {"sync": None}):
            with self.assertRaises(RuntimeError):
                ours.parse_summary(summary | broken)

    def test_our_flags(self):
        flags, doors = ours.parse_flags(sample("help.txt"))
        self.assertLessEqual({"--spawn", "--keys", "--cross", "--inflight", "--out"}, flags)
        self.assertEqual(doors, {"session", "unary"})

    def test_processes_and_disk(self):
        parent, cpu_s = proc.parse_stat("7 (a) b) c) S 3 7 7 0 -1 4194560 1 2 0 0 100 50 10 5 20 0 1")
        self.assertEqual((parent, cpu_s), (3, 165 / proc.TICKS))
        self.assertEqual(proc.parse_disk("1 2 3 4 5 6 700 8 9 10 11\n"), 700 * 512)
        self.assertEqual([proc.written_at([(1, 100), (2, 300)], at) for at in (0, 1.5, 2, 9)], [100, 200, 300, 300])
        self.assertEqual(proc.difference(None, 1), None)

    def test_percentiles(self):
        thousand = list(range(1, 1001))
        self.assertEqual([common.percentile(thousand, share) for share in (0.5, 0.99, 0.999, 1)], [500, 990, 999, 1000])
        self.assertEqual(common.percentile([7], 0.5), 7)
        self.assertIsNone(common.percentile([], 0.5))

    def test_the_nearest_mount_counts(self):
        mounts = "a / ext4 rw 0 0\nb /proc proc rw 0 0\nc /procession tmpfs rw 0 0\n"
        self.assertEqual(environment.file_system(mounts, Path("/proc/1")), "proc")
        self.assertEqual(environment.file_system(mounts, Path("/home")), "ext4")


class Tables(unittest.TestCase):
    """What is made of the runs."""

    def setUp(self):
        first = {"name": "one", "title": "first", "peers": {}, "notes": ["etcd: not there"], "ours": [],
                 "runs": {"ours": [made_up(300), made_up(100), made_up(200)], "redis": [made_up(50, 2.0, None)] * 3}}
        others = [{"name": f"n-{x}", "group": "n", "x": x, "title": f"n {x}", "base": "one", "peers": {}, "notes": [],
                   "ours": [], "runs": {"ours": [made_up(100 * x)] * 3}} for x in (10, 1000)]
        alone = {"name": "two", "title": "theirs alone", "peers": {}, "notes": [], "ours": [],
                 "runs": {"redis": [made_up(50)], "etcd": [made_up(20)]}}
        self.rows = table.summarise([first, *others, alone])
        self.names = {"ours": "paycore", "redis": "Redis"}

    def test_ratios_are_of_medians(self):
        first, ten = self.rows[0], self.rows[1]
        self.assertEqual(first["digest"]["ours"]["per_s"], {"min": 100, "median": 200, "max": 300})
        self.assertEqual(first["ratios"]["redis"], {"per_s": 4.0, "cpu": 0.5})
        self.assertEqual(ten["to_base"]["per_s"], 5.0)
        self.assertEqual(first["digest"]["ours"]["cpu_us"]["all"]["median"], 2.0)
        self.assertEqual(first["digest"]["ours"]["written"]["median"], 250)

    def test_the_table(self):
        about = {"started": "2026-01-02T03:04:05", "commit": "0123456789", "cpu_model": "Some CPU", "cores": 2,
                 "memory_bytes": 2**34, "kernel": "6.1", "file_system": "ext4", "load_average": "0 0 0", "quiet": False}
        result = {"environment": about, "rounds": 3, "seconds": 10.0, "names": self.names, "rows": self.rows}
        text = table.markdown(result)
        self.assertIn("| first | **paycore** | 100 / 200 / 300 |  | 2 (a 1, b 1) | 250 | 1 / 2 / – |", text)
        self.assertIn("|  | Redis | 50 / 50 / 50 | 4.00 ×, CPU 0.50 × | 4 (a 2, b 2) | 250 | – / 2 / – |", text)
        self.assertIn("5.00 × one, CPU 1.00 ×", text)
        self.assertEqual(text.count("theirs alone"), 1)
        self.assertIn("- one: etcd: not there", text)
        self.assertIn("The machine was busy", text)

    def test_plots_are_sound_xml(self):
        plots = plot.all_plots(self.rows, self.names)
        self.assertEqual(set(plots), {"one.svg", "n.svg", "n-cpu.svg"})
        for drawing in plots.values():
            self.assertEqual(xml.etree.ElementTree.fromstring(drawing).tag, "{http://www.w3.org/2000/svg}svg")

    def test_axes_end_in_round_numbers(self):
        self.assertEqual([plot.round_up(value) for value in (0.7, 1, 10.1, 343_490, 0)], [0.8, 1, 20, 400_000, 1])

    def test_rows_are_found_by_name_and_group(self):
        self.assertEqual([row["name"] for row in rows.chosen(["cross", "full-hot"])], ["full-hot", "cross-0", "cross-100"])
        self.assertEqual(len(rows.chosen([])), len(rows.ROWS))
        with self.assertRaises(SystemExit):
            rows.chosen(["nothing"])

    def test_our_flags_are_known(self):
        flags, _ = ours.parse_flags(sample("help.txt"))
        for row in rows.ROWS:
            self.assertLessEqual({word for word in row["ours"] if word.startswith("--")}, flags, row["name"])


def main():
    suite = unittest.TestSuite(unittest.defaultTestLoader.loadTestsFromTestCase(case) for case in (Parsers, Tables))
    result = unittest.TextTestRunner(verbosity=1).run(suite)
    failed = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - failed} passed, {failed} failed")
    return 0 if result.wasSuccessful() else 1
