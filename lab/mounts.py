"""Mount tables, parsed. The product is not asked: the lab judges it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache

_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """One line of a mount table. devno: as os.makedev makes it. writable: the mount and its superblock are rw."""

    mountpoint: str
    devno: int
    fstype: str
    source: str
    writable: bool


def _plain(word: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), word)


@lru_cache(1024)  # the witness reads the same lines fifty times a second
def _parse(line: str) -> Mount:
    before, _, after = line.partition(" - ")
    fields, (fstype, source, options) = before.split(" "), after.split(" ", 2)
    major, minor = fields[2].split(":")
    writable = "rw" in fields[5].split(",") and "rw" in options.split(",")
    return Mount(_plain(fields[4]), os.makedev(int(major), int(minor)), fstype, _plain(source), writable)


def parse_mounts(text: str) -> list[Mount]:
    """The lines of a mountinfo file, in their order: the last one of a mount point is the one that is seen."""
    return [_parse(line) for line in text.splitlines() if " - " in line]
