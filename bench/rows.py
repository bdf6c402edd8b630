"""The rows: what we do, and what the peers do beside it.

`ours` are the arguments of `paycore bench`. Rows of one `group` take turns with each other too; `base` is the row of ours
that a row is held against. A row runs by its own name or its group's.
"""

ACCOUNTS = 10_000


def _postgres(**row):
    return {"accounts": ACCOUNTS, **row}


def _redis(**row):
    return {"accounts": ACCOUNTS, **row}


def _tigerbeetle(**row):
    return {"accounts": ACCOUNTS, "replicas": 3, "clients": 4, **row}


SPAWN = ["--spawn", "3"]
ONE_CALL = ["transfer-single", *SPAWN]

# Many transfers in one request: PostgreSQL's best are sets of 80 in one transaction, Redis's are pipelines.
MANY = {"postgres": _postgres(bulk=80, clients=4), "redis": _redis(connections=50, pipeline=64)}
# One transfer a request.
ONE = {"postgres": _postgres(clients=32), "redis": _redis(connections=256)}

ROWS = [
    {"name": "full-uniform", "title": "full batches, uniform", "ours": ["transfer-uniform", *SPAWN],
     "peers": {"tigerbeetle": _tigerbeetle(), **MANY}},
    {"name": "full-hot", "title": "full batches, 80 % to one merchant", "ours": ["transfer-hot", *SPAWN],
     "base": "full-uniform",
     "peers": {"tigerbeetle": _tigerbeetle(hot=80), "postgres": _postgres(bulk=80, clients=4, hot=80),
               "redis": _redis(connections=50, pipeline=64, hot=80)}},
    {"name": "full-one-replica", "title": "full batches, one replica", "ours": ["transfer-uniform", "--spawn", "1"],
     "base": "full-uniform", "peers": {"tigerbeetle": _tigerbeetle(replicas=1), **MANY}},
    {"name": "full-random-keys", "title": "full batches, random keys, one replica",
     "ours": ["transfer-uniform", "--spawn", "1", "--keys", "random"], "base": "full-one-replica",
     "peers": {"tigerbeetle": _tigerbeetle(replicas=1, keys="random"),
               "postgres": _postgres(bulk=80, clients=4, keys="random"), "redis": MANY["redis"]}},
    {"name": "single-unary-4", "title": "single calls, 256 callers on 4 connections, gRPC",
     "ours": [*ONE_CALL, "--connections", "4", "--inflight", "64"],
     "peers": {"postgres": ONE["postgres"], "redis": ONE["redis"], "etcd": {"accounts": ACCOUNTS},
               "tigerbeetle": _tigerbeetle(clients=32, batch=1)}},
    {"name": "single-grpc-256", "title": "single calls, 256 connections, gRPC", "ours": [*ONE_CALL, "--connections", "256"],
     "peers": ONE},
    {"name": "single-http-256", "title": "single calls, 256 connections, HTTP/1.1 JSON",
     "ours": [*ONE_CALL, "--connections", "256", "--door", "http"], "peers": ONE},
    {"name": "session-1024", "title": "session streams, 4 connections, 1,024 in flight",
     "ours": [*ONE_CALL, "--door", "session", "--connections", "4", "--inflight", "1024"],
     "peers": {"postgres": ONE["postgres"], "redis": MANY["redis"]}},
    {"name": "single-merchant", "title": "single calls, all to one merchant",
     "ours": ["transfer-hot", *SPAWN, "--hot", "100%", "--door", "unary", "--connections", "4", "--inflight", "64"],
     "base": "single-unary-4",
     "peers": {"postgres": _postgres(clients=32, hot=100), "redis": _redis(connections=256, hot=100)}},
    {"name": "one-at-a-time", "title": "one session, one transfer at a time",
     "ours": [*ONE_CALL, "--door", "session", "--connections", "1", "--inflight", "1"],
     "peers": {"tigerbeetle": _tigerbeetle(clients=1, batch=1), "postgres": _postgres(clients=1),
               "redis": _redis(connections=1)}},
    {"name": "bulk-50", "title": "bulk of 50, 4 connections, 16 in flight",
     "ours": ["transfer-uniform", *SPAWN, "--batch", "50", "--connections", "4", "--inflight", "16"],
     "peers": {"postgres": _postgres(bulk=50, clients=4), "redis": _redis(connections=64, pipeline=50)}},
    # Nobody else has money that moves between shards: held against the same without.
    {"name": "cross-0", "group": "cross", "title": "2 shards, none across",
     "ours": ["transfer-uniform", *SPAWN, "--shards", "2", "--cross", "0%"], "peers": {}},
    {"name": "cross-100", "group": "cross", "title": "2 shards, all across", "base": "cross-0",
     "ours": ["transfer-uniform", *SPAWN, "--shards", "2", "--cross", "100%"], "peers": {}},
]


def _series(group, title, values, arguments, base):
    for value, words in values:
        name = f"{group}-{words}"
        one = value == 1 and title.endswith("{} " + group)
        words_of_title = title.format(words).removesuffix("s" if one else "")
        row = {"name": name, "group": group, "x": value, "title": words_of_title, "ours": arguments(str(value)),
               "peers": {}}
        ROWS.append(row | ({"base": f"{group}-{base}"} if words != base else {}))


_series("shards", "full batches, {} shards", [(n, str(n)) for n in (1, 2, 4, 8)],
        lambda n: ["transfer-uniform", *SPAWN, "--shards", n, "--cross", "0%"], "1")
_series("accounts", "full batches, {} accounts",
        [(1_000, "1k"), (10_000, "10k"), (100_000, "100k"), (1_000_000, "1m"), (10_000_000, "10m")],
        lambda n: ["transfer-uniform", *SPAWN, "--accounts", n], "1k")
_series("connections", "single calls, {} connections", [(n, str(n)) for n in (1, 16, 64, 256, 1024)],
        lambda n: [*ONE_CALL, "--connections", n], "256")
_series("batch", "batches of {}, 4 connections", [(n, str(n)) for n in (1, 10, 100, 1_000, 8_192)],
        lambda n: ["transfer-uniform", *SPAWN, "--batch", n], "8192")

BY_NAME = {row["name"]: row for row in ROWS}
assert len(BY_NAME) == len(ROWS) and all(row.get("base", row["name"]) in BY_NAME for row in ROWS)


def chosen(names):
    """The rows of these names and groups, in the order of the list."""
    unknown = [name for name in names if not any(name in (row["name"], row.get("group")) for row in ROWS)]
    if unknown:
        raise SystemExit(f"no row is named {', '.join(unknown)}; bench/run --list names all")
    return [row for row in ROWS if not names or row["name"] in names or row.get("group") in names]
