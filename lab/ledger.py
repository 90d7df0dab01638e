"""The ledger: numbered records with a checksum, and the list of those that were acknowledged. Pure; no I/O."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

FILE = "ledger.log"


@dataclass(frozen=True)
class Ledger:
    """What a ledger file holds. records: number and writer of the good ones, in order. damaged: lines that are none. size: bytes
    up to the end of the last whole line; what follows is a torn record."""

    records: tuple[tuple[int, str], ...]
    damaged: int
    size: int

    @property
    def last(self) -> int:
        """The highest number; 0 when there is none."""
        return max((number for number, _ in self.records), default=0)


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


def _record(line: bytes) -> tuple[int, str] | None:
    words, _, checksum = line.rpartition(b" ")
    if f"{zlib.crc32(words):08x}".encode() != checksum:
        return None
    number, _, node = words.decode().partition(" ")
    return int(number), node


def parse_ledger(data: bytes) -> Ledger:
    """Read a ledger file."""
    whole = data[: data.rfind(b"\n") + 1]
    found = [_record(line) for line in whole.splitlines()]
    good = tuple(one for one in found if one is not None)
    return Ledger(good, len(found) - len(good), len(whole))


def acknowledgement(number: int, monotonic: float, node: str) -> bytes:
    """One line of the list of acknowledged records."""
    return f"{number} {monotonic:.6f} {node}\n".encode()


def parse_acknowledged(text: str) -> list[Acknowledged]:
    """Read the list of acknowledged records."""
    lines = [line.split() for line in text.splitlines() if line.count(" ") == 2]
    return [Acknowledged(int(number), float(monotonic), node) for number, monotonic, node in lines]


def lost(acknowledged: Iterable[Acknowledged], ledger: Ledger) -> list[int]:
    """
    The numbers that were acknowledged and are not on the disk.

    Each acknowledgement needs a record of its own, by the same writer: the next one goes on counting from what it finds, so after
    a loss the same numbers come again, and a number alone would be found.
    """
    told = Counter((one.number, one.node) for one in acknowledged)
    return sorted(number for number, _ in (told - Counter(ledger.records)).elements())


def longest_pause(acknowledged: Iterable[Acknowledged], since: float) -> float:
    """Seconds of the longest time without a new acknowledgement that ended after moment `since`."""
    moments = sorted(one.monotonic for one in acknowledged)
    return max((later - earlier for earlier, later in pairwise(moments) if later >= since), default=0.0)
