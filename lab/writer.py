"""A program that trusts its disk: appends numbered records, waits for each fsync, then notes outside what is safe.

    python -m lab.writer --place /srv/pgdata --ack /run/lab/shared/ledger.ack --node labdb1

It goes on counting from what is on the disk. It ends with 1 on an I/O error and with 2 when nothing is mounted at the
place, as a database would.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path

from lab.ledger import FILE, acknowledgement, parse_ledger, record
from lab.mounts import parse_mounts


def _is_mounted(place: str) -> bool:
    table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    return any(mount.mountpoint == place for mount in parse_mounts(table))


def _open(place: str) -> tuple[int, int]:
    """The ledger, cut behind its last whole record, and the number to go on with."""
    fd = os.open(f"{place}/{FILE}", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with open(fd, "rb", closefd=False) as file:
        found = parse_ledger(file.read())
    os.ftruncate(fd, found.size)
    return fd, found.last + 1


def _write(ledger: int, ack: int, first: int, node: str, interval: float, stop: threading.Event) -> None:
    number = first
    while not stop.is_set():
        os.write(ledger, record(number, node))
        os.fsync(ledger)
        os.write(ack, acknowledgement(number, time.monotonic(), node))
        number += 1
        stop.wait(interval)


def main() -> int:
    """Write until told to stop."""
    parser = argparse.ArgumentParser(
        prog="python -m lab.writer", description="Append acknowledged records to a disk."
    )
    parser.add_argument("--place", required=True, help="the mount point")
    parser.add_argument("--ack", required=True, help="the list of acknowledged records, outside the disk")
    parser.add_argument("--node", required=True, help="who writes")
    parser.add_argument("--interval", type=float, default=0.02, help="seconds between records")
    parser.add_argument("--ready", help="a file that is made once the ledger is open")
    given = parser.parse_args()
    if not _is_mounted(given.place):
        print(f"nothing is mounted at {given.place}; mount the disk first", file=sys.stderr)
        return 2
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        ledger, first = _open(given.place)
        ack = os.open(given.ack, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        if given.ready:
            Path(given.ready).touch()
        _write(ledger, ack, first, given.node, given.interval, stop)
    except OSError as problem:
        print(f"the ledger at {given.place} failed: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
