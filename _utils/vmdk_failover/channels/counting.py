"""
Counts on their way to the metrics: one datagram each, to whoever listens; nobody waits and nothing is kept.

Every process of the product may count, also one that was forked a moment ago or has a second to live. Where metrics are not
asked for nobody listens, and a count costs some microseconds.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NAME = "metrics.sock"
#: No count is longer (bytes).
LONGEST = 4096


@dataclass(frozen=True)
class Count:
    """So much more of something, or so many seconds for something. ``labels`` in the order of their names."""

    name: str
    amount: float
    labels: tuple[tuple[str, str], ...]


class Counts:
    """Sends counts. :param state_dir: the master's."""

    def __init__(self, state_dir: Path) -> None:
        self._path = str(state_dir / NAME)

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Count; never raises, never waits."""
        said = json.dumps({"name": name, "amount": amount, "labels": labels}).encode()
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.setblocking(False)
            line.sendto(said[:LONGEST], self._path)


def receive(state_dir: Path) -> Iterator[Count]:
    """
    Take counts for ever; one that makes no sense is passed over.

    :raises OSError: there cannot be such a socket.
    """
    path = state_dir / NAME
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(path))
        path.chmod(0o600)
        while True:
            count = _read(line.recv(LONGEST))
            if count is not None:
                yield count


def _read(said: bytes) -> Count | None:
    try:
        plain = json.loads(said)
        labels = tuple(sorted((str(k), str(v)) for k, v in plain["labels"].items()))
        amount = float(plain["amount"])
        return Count(str(plain["name"]), amount, labels) if 0 <= amount < 1e9 else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
