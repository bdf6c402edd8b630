"""etcd, one server without a replica, each commit synced: a side row, since it keeps no balances.

A transaction puts two accounts and one record, if the record is not there yet: its own benchmark's `txn-put` with three
operations, and a comparison for the key. It reads nothing and adds nothing up, so it does less than a transfer.
Debian has no benchmark of etcd's, so a small gRPC client of ours drives it. Its best, as `bench/run --tune etcd` shows by
trying: 4 connections with 64 calls open on each; 16 do a little less, and more connections only wait. No compaction and no
snapshot falls into a run. What is never turned off: fsync (it has `--unsafe-no-fsync`).
"""

import random
import selectors
import shutil
import socket
import struct
import subprocess
import time
from pathlib import Path

from frame import proc

from . import common

NAME = "etcd 3.4, 1 server"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
ACK, END_STREAM, END_HEADERS = 1, 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def field(number, value):
    """A protobuf field: bytes, or a number."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def transaction(key, payer, payee, amount):
    """etcdserverpb.TxnRequest: if `key` was never created, put it and both accounts."""
    value = struct.pack("<IIQ", payer, payee, amount)

    def put(name):
        return field(2, field(2, field(1, name) + field(2, value)))

    # Compare { target: CREATE, key, create_revision: 0 }; that it is EQUAL is the default.
    absent = field(1, field(2, 1) + field(3, key) + field(5, 0))
    return absent + put(b"a%08d" % payer) + put(b"a%08d" % payee) + put(key)


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def head(path):
    """A call's headers: literals that nobody has to remember, and no Huffman code."""
    def text(value):
        return bytes([len(value)]) + value

    return (b"\x83\x86" + b"\x04" + text(path) + b"\x01" + text(b"localhost")
            + b"\x0f\x10" + text(b"application/grpc") + b"\x00" + text(b"te") + text(b"trailers"))


def frames(buffer):
    """The whole frames at the beginning of `buffer`, and where the rest begins."""
    found, at = [], 0
    while len(buffer) - at >= 9:
        length = int.from_bytes(buffer[at:at + 3], "big")
        if len(buffer) - at < 9 + length:
            break
        kind, flags, stream = struct.unpack_from(">BBI", buffer, at + 3)
        found.append((kind, flags, stream & 0x7FFFFFFF, bytes(buffer[at + 9:at + 9 + length])))
        at += 9 + length
    return found, at


def succeeded(message):
    """TxnResponse.succeeded, behind the five bytes of gRPC's own: true is in the answer, false is left out."""
    at = 5
    while at < len(message):
        tag, at = read_varint(message, at)
        value, at = read_varint(message, at)
        if tag == 2 << 3:
            return value == 1
        if tag & 7 == 2:
            at += value
    return False


def read_varint(message, at):
    value, shift = 0, 0
    while True:
        byte = message[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at


class Connection:
    """One connection with several calls open."""

    def __init__(self, port, head_block):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.head, self.stream, self.buffer, self.begun, self.good = head_block, 1, bytearray(), {}, set()
        # Remember no headers, and let answers come as they like.
        settings = struct.pack(">HIHI", 1, 0, 4, 2**31 - 1)
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0, settings) + frame(WINDOW, 0, 0, struct.pack(">I", 2**30)))

    def call(self, message):
        body = b"\0" + struct.pack(">I", len(message)) + message
        self.begun[self.stream] = time.monotonic_ns()
        call = frame(HEADERS, END_HEADERS, self.stream, self.head) + frame(DATA, END_STREAM, self.stream, body)
        self.stream += 2
        return call

    def receive(self):
        """The calls that ended: how long each took, in ns, and whether it succeeded; and what to send back."""
        received = self.socket.recv(1 << 18)
        if not received:
            raise RuntimeError("etcd closed a connection")
        self.buffer += received
        whole, at = frames(self.buffer)
        del self.buffer[:at]
        ended, back = [], b""
        for kind, flags, stream, payload in whole:
            if kind == DATA and succeeded(payload):
                self.good.add(stream)
            elif kind == SETTINGS and not flags & ACK:
                back += frame(SETTINGS, ACK, 0)
            elif kind == PING and not flags & ACK:
                back += frame(PING, ACK, 0, payload)
            elif kind in (GOAWAY, RESET):
                raise RuntimeError(f"etcd gave up: {payload!r}")
            if kind in (DATA, HEADERS) and flags & END_STREAM:
                ended.append((time.monotonic_ns() - self.begun.pop(stream), stream in self.good))
                self.good.discard(stream)
        return ended, back


def drive(port, row, seconds, prefix):
    """Transactions until the time is over and all are answered: posted, seconds, latencies in ns."""
    draw = random.Random(prefix).randrange
    accounts, made, posted, refused, took = row["accounts"], 0, 0, 0, []

    def next_message():
        nonlocal made
        made += 1
        payer, payee = draw(accounts), draw(accounts - 1)
        return transaction(b"t%s%012d" % (prefix, made), payer, payee + (payee >= payer), draw(1000) + 1)

    selector = selectors.DefaultSelector()
    connections = [Connection(port, head(b"/etcdserverpb.KV/Txn")) for _ in range(row.get("connections", 4))]
    began = time.monotonic()
    for connection in connections:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        connection.socket.sendall(b"".join(connection.call(next_message()) for _ in range(row.get("inflight", 64))))
    while any(connection.begun for connection in connections):
        for key, _ in selector.select(timeout=10):
            ended, back = key.data.receive()
            for length, good in ended:
                took.append(length)
                posted, refused = posted + good, refused + (not good)
            if time.monotonic() - began < seconds:
                back += b"".join(key.data.call(next_message()) for _ in ended)
            if back:
                key.data.socket.sendall(back)
    length = time.monotonic() - began
    for connection in connections:
        connection.socket.close()
    selector.close()
    if refused:
        raise RuntimeError(f"{refused} transactions were refused")
    return posted, length, took


class Server:
    """A server on a folder of its own."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        self.port, peer = common.free_port(), common.free_port()
        client, other = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{peer}"
        command = [common.program("etcd"), "--name", "one", "--data-dir", str(self.folder / "data"),
                   "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", other,
                   "--initial-advertise-peer-urls", other, "--initial-cluster", f"one={other}",
                   "--snapshot-count", "100000000", "--quota-backend-bytes", str(8 << 30), "--log-level", "error"]
        self.log = open(self.folder / "log", "wb")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=common.environment())
        try:
            common.wait_for(lambda: common.answers(self.port), self.process, "etcd")
        except BaseException:
            self.close()
            raise

    def records(self):
        """How many keys begin with `t`: a range that asks for their count alone."""
        connection = Connection(self.port, head(b"/etcdserverpb.KV/Range"))
        connection.socket.sendall(connection.call(field(1, b"t") + field(2, b"u") + field(9, 1)))
        answer = b""
        while connection.begun:
            received = connection.socket.recv(1 << 16)
            connection.buffer += received
            whole, at = frames(connection.buffer)
            del connection.buffer[:at]
            for kind, flags, stream, payload in whole:
                answer += payload if kind == DATA else b""
                if kind in (DATA, HEADERS) and flags & END_STREAM:
                    connection.begun.pop(stream)
        connection.socket.close()
        return count_of(answer)

    def close(self):
        common.stop(self.process)
        self.log.close()


def count_of(message):
    """RangeResponse.count, the fourth field."""
    at = 5
    while at < len(message):
        tag, at = read_varint(message, at)
        value, at = read_varint(message, at)
        if tag == 4 << 3:
            return value
        if tag & 7 == 2:
            at += value
    return 0


def run(row, folder, seconds, warm_up_s):
    """The row's work for `seconds`, after a warm-up."""
    server = Server(folder)
    try:
        drive(server.port, row, warm_up_s, b"w")
        before, cpu_before, disk_before = server.records(), proc.cpu_s(server.process), proc.written(folder)
        mine = time.process_time()
        posted, length, took = drive(server.port, row, seconds, b"m")
        client_cpu_s = time.process_time() - mine
        written = proc.difference(proc.written(folder), disk_before)
        cpu_s = proc.cpu_s(server.process) - cpu_before
        kept = server.records() - before
        if kept != posted:
            raise RuntimeError(f"{posted} were claimed, and there are {kept} records")
        took.sort()
        at = {name: common.percentile(took, share) // 1000 for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))}
        settings = {"connections": row.get("connections", 4), "inflight": row.get("inflight", 64)}
        checks = {"claimed": posted, "rows": kept}
        return common.outcome(posted, length, at, "etcd", cpu_s, client_cpu_s, written, settings, checks)
    finally:
        server.close()
        shutil.rmtree(folder, ignore_errors=True)


# What was tried to find its best: `bench/run --tune etcd`.
TUNE = [{"connections": 4, "inflight": 16}, {"connections": 4, "inflight": 64}, {"connections": 16, "inflight": 64},
        {"connections": 64, "inflight": 4}]
