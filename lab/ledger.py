"""The ledger: numbered records with a checksum, and the list of those that were acknowledged. Pure; no I/O."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

FILE = "ledger.log"


@dataclass(frozen=True)
class Ledger:
    """What a ledger file holds. numbers: of the good records, in order. damaged: lines that are none. size: bytes
    up to the end of the last whole line; what follows is a torn record."""

    numbers: tuple[int, ...]
    damaged: int
    size: int

    @property
    def last(self) -> int:
        """The highest number; 0 when there is none."""
        return max(self.numbers, default=0)


@dataclass(frozen=True)
class Acknowledged:
    """One record that its writer was told is safe. monotonic: seconds, of the one clock of the machine."""

    number: int
    monotonic: float
    node: str


def record(number: int, node: str) -> bytes:
    """One line of the ledger."""
    words = f"{number:010d} {node}"
    return f"{words} {zlib.crc32(words.encode()):08x}\n".encode()


def _number(line: bytes) -> int | None:
    words, _, checksum = line.rpartition(b" ")
    if f"{zlib.crc32(words):08x}".encode() != checksum:
        return None
    return int(words.split(b" ")[0])


def parse_ledger(data: bytes) -> Ledger:
    """Read a ledger file."""
    whole = data[: data.rfind(b"\n") + 1]
    found = [_number(line) for line in whole.splitlines()]
    good = tuple(number for number in found if number is not None)
    return Ledger(good, len(found) - len(good), len(whole))


def acknowledgement(number: int, monotonic: float, node: str) -> bytes:
    """One line of the list of acknowledged records."""
    return f"{number} {monotonic:.6f} {node}\n".encode()


def parse_acknowledged(text: str) -> list[Acknowledged]:
    """Read the list of acknowledged records."""
    lines = [line.split() for line in text.splitlines() if line.count(" ") == 2]
    return [Acknowledged(int(number), float(monotonic), node) for number, monotonic, node in lines]


def lost(acknowledged: Iterable[Acknowledged], ledger: Ledger) -> list[int]:
    """The numbers that were acknowledged and are not on the disk."""
    return sorted({one.number for one in acknowledged} - set(ledger.numbers))


def longest_pause(acknowledged: Iterable[Acknowledged], since: float) -> float:
    """Seconds of the longest time without a new acknowledgement that ended after moment `since`."""
    moments = sorted(one.monotonic for one in acknowledged)
    return max((later - earlier for earlier, later in pairwise(moments) if later >= since), default=0.0)
