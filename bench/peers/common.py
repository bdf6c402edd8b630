"""What the peers have in common."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = Path(os.environ.get("PEERS", ROOT / "target/peers"))
PLACES = ("usr/lib/postgresql/15/bin", "usr/bin", "usr/sbin")


class Missing(Exception):
    """A peer that is not there. The row goes on without it, and says so."""


def program(name):
    """A program of the system, else the one that `bench/peers/install` brought."""
    found = shutil.which(name) or shutil.which(name, path=f"/{PLACES[0]}")
    for place in PLACES:
        found = found or shutil.which(name, path=str(INSTALLED / place))
    if not found:
        raise Missing(f"no {name}: run bench/peers/install")
    return found


def environment():
    """With the libraries that came along with the programs."""
    libraries = [str(INSTALLED / "usr/lib" / f"{os.uname().machine}-linux-gnu"), str(INSTALLED / "usr/lib")]
    inherited = os.environ.get("LD_LIBRARY_PATH")
    return os.environ | {"LD_LIBRARY_PATH": ":".join(libraries + ([inherited] if inherited else [])), "LC_ALL": "C"}


def nobody():
    """Whom a server runs as that will not run as root; None when we are not root."""
    if os.geteuid() != 0:
        return None
    return pwd.getpwnam("nobody")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(ready, process, what, seconds=60):
    """Until `ready()` is true. A server that ends before is an error with its last words."""
    until = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None:
            raise RuntimeError(f"{what} ended with {process.returncode} before it was ready")
        if time.monotonic() > until:
            raise RuntimeError(f"{what} was not ready within {seconds} s")
        time.sleep(0.05)


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def stop(process, how=signal.SIGTERM, seconds=60):
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def percentile(ordered, share):
    """Of values in rising order, the least that `share` of them do not exceed."""
    if not ordered:
        return None
    index = -(-len(ordered) * share // 1)
    return ordered[min(len(ordered), max(1, int(index))) - 1]


def outcome(posted, seconds, latency_us, server, servers_cpu_s, client_cpu_s, written, settings, checks):
    """A peer's run, in the form that ours has too."""
    return {
        "posted": posted,
        "seconds": seconds,
        "per_s": posted / seconds,
        "latency_us": latency_us,
        "cpu_s": {server: servers_cpu_s, "client": client_cpu_s},
        "written": written,
        "settings": settings,
        "checks": checks,
    }
