"""
Open moves that have a disk of another resource: its file was renamed, or the disk was given to another resource, in their midst.

A move finishes as it began, also when its resource is configured no more. Lock, journal and a node's memory go by the name of
the resource, so nothing else would keep a second move, under another name, from the same disk meanwhile.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vmdk_failover import durable
from vmdk_failover.errors import JournalError
from vmdk_failover.model import Resource

#: How the state of a resource without an open move begins; so much of it is read of each (bytes).
_CLOSED, _HEAD = b'"move": null', 4096


def check(directory: Path, resource: Resource, patience: float) -> None:
    """:raises JournalError: one of the disks is in another open move, or whether it is cannot be read within ``patience``."""
    name = resource.name
    try:
        other = durable.within(patience, lambda _: taken(directory, resource))
    except OSError as err:
        raise JournalError(
            f"{directory} cannot be read, so whether a disk of {name} is in another open move is not known: {err.strerror}"
        ) from err
    if other:
        raise JournalError(
            f"a move of {other} is open, or its journal is damaged, and has a disk that is {name}'s now; nothing is begun for "
            f"{name} until that has ended: 'salt-run vmdk.status {other}', and if need be 'salt-run vmdk.clear {other}'"
        )


def taken(directory: Path, resource: Resource) -> str:
    """
    Who else is at work on a disk.

    :param directory: of the journal. :param resource: that a move is to begin for.
    :return: name of another resource whose open move has one of the disks; ``""`` if there is none.
    :raises OSError: the journal cannot be read.
    """
    for path in sorted(directory.glob("*.json")):
        if path.stem != resource.name and _has_one(_open_move(path), resource):
            return path.stem
    return ""


def _open_move(path: Path) -> bytes:
    """The state of a resource with an open move, or one that is not understood; nothing of any other."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            return b"" if _CLOSED in head else head + file.read()
    except FileNotFoundError:  # given up or replaced a moment ago
        return b""


def _has_one(state: bytes, resource: Resource) -> bool:
    names = {disk.uuid for disk in resource.disks} | {disk.path for disk in resource.disks}
    if not any(json.dumps(name).encode() in state for name in names):
        return False
    try:
        plain: Any = json.loads(state)
        disks = plain["move"]["resource"]["disks"] if plain.get("move") else ()
        return any({disk["uuid"], disk["path"]} & names for disk in disks)
    except (ValueError, KeyError, TypeError, AttributeError):
        return True  # damaged, and a disk of this resource is named in it
