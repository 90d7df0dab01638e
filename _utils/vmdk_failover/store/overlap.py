"""
Open moves and maintenance that have a disk of another resource: its file was renamed, or the disk was given to another resource,
in their midst.

A move finishes as it began, also when its resource is configured no more. Lock, journal and a node's memory go by the name of
the resource, so nothing else would keep a second move, under another name, from the same disk meanwhile. Maintenance goes by it
too: that of a name which is configured no more goes on for its disks until somebody ends it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from vmdk_failover.errors import JournalError
from vmdk_failover.model import Resource
from vmdk_failover.store import durable

#: How the state of a resource without an open move begins; so much of it is read of each (bytes).
_CLOSED, _HEAD = b'"move": null', 4096

#: What maintenance remembers of its disks in the journal: a list of ``uuid`` and ``path``.
DISKS = "disks"


def told_of(pause: Mapping[str, Any]) -> dict[str, Any]:
    """What people are told of maintenance: all but its disks, which are for this module."""
    return {key: value for key, value in pause.items() if key != DISKS}


@contextlib.contextmanager
def alone(directory: Path, patience: float) -> Iterator[None]:
    """
    Look and write down as one act: of two names of one disk that begin a move in the same moment, the second sees the first.

    :raises OSError: another process of this master is at it for longer than ``patience`` (seconds), or it cannot be made.
    """
    place = durable.within(patience, lambda given_up: _taken_alone(directory, given_up))
    try:
        yield
    finally:
        os.close(place)


def _taken_alone(directory: Path, given_up: durable.GivenUp) -> int:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(place, fcntl.LOCK_EX)
    if given_up.by_now:  # nobody waits for it any more
        os.close(place)
    return place


def check(directory: Path, resource: Resource, patience: float) -> None:
    """:raises JournalError: one of the disks is in another open move, or whether it is cannot be read within ``patience``."""
    name = resource.name
    path = _sound(resource, "in another open move", lambda: taken(directory, resource), directory, patience)
    if path is None:
        return
    raise JournalError(
        f"a move of {path.stem} is open and has a disk that is {name}'s now; nothing is begun for {name} until that has ended: "
        f"'salt-run vmdk.status {path.stem}', and if need be 'salt-run vmdk.clear {path.stem}'"
    )


def check_maintenance(
    directory: Path, resource: Resource, configured: Collection[str], patience: float
) -> None:
    """
    Nobody has put one of the disks into maintenance under a name that the resource had before.

    :param configured: names of all resources that are.
    :raises JournalError: somebody has, or whether it is so cannot be read within ``patience`` (seconds).
    """
    name, what = resource.name, "in maintenance under another name"
    path = _sound(resource, what, lambda: _paused(directory, resource, configured), directory, patience)
    if path is None:
        return
    raise JournalError(
        f"{path.stem} is in maintenance, is not configured now, and had a disk that is {name}'s now (was it renamed?); nothing "
        f"is begun for {name} until 'salt-run vmdk.resume {path.stem}' has ended that; 'salt-run vmdk.pause {name}' first, if "
        "maintenance is to go on"
    )


def _sound(
    resource: Resource,
    what: str,
    look: Callable[[], tuple[Path, bool] | None],
    directory: Path,
    patience: float,
) -> Path | None:
    """The state that a look has found; :raises JournalError: it is damaged, or the journal cannot be read in time."""
    try:
        found = durable.within(patience, lambda _: look())
    except OSError as err:
        raise JournalError(
            f"{directory} cannot be read, so whether a disk of {resource.name} is {what} is not known: {err.strerror}"
        ) from err
    if found is not None and found[1]:
        raise JournalError(_damaged_words(found[0], resource.name))
    return found[0] if found else None


def _paused(directory: Path, resource: Resource, configured: Collection[str]) -> tuple[Path, bool] | None:
    """The state of a name that is configured no more and paused with one of the disks, and whether it is damaged."""
    names = _names(resource)
    for path in sorted(directory.glob("*.json")):
        if path.stem == resource.name or path.stem in configured:
            continue
        with contextlib.suppress(FileNotFoundError):  # given up or replaced a moment ago
            state = path.read_bytes()
            if any(json.dumps(one).encode() in state for one in names):
                try:
                    pause: Any = json.loads(state).get("pause") or {}
                    if any({disk["uuid"], disk["path"]} & names for disk in pause.get(DISKS, ())):
                        return path, False
                except (ValueError, KeyError, TypeError, AttributeError):
                    return path, True
    return None


def _names(resource: Resource) -> set[str]:
    """What the disks of a resource are known by."""
    return {disk.uuid for disk in resource.disks} | {disk.path for disk in resource.disks}


def _damaged_words(path: Path, name: str) -> str:
    return (
        f"the journal of {path.stem} ({path}) is damaged and has a disk that is {name}'s now, so a move of it may be open; "
        f"nothing is begun for {name} until you have made sure that no task of these VMs is under way in vCenter, and have "
        "moved that file away"
    )


def taken(directory: Path, resource: Resource) -> tuple[Path, bool] | None:
    """
    Who else is at work on a disk.

    :param directory: of the journal. :param resource: that a move is to begin for.
    :return: the state of another resource whose open move has one of the disks, and whether it is damaged; ``None`` if there is
        none.
    :raises OSError: the journal cannot be read.
    """
    for path in sorted(directory.glob("*.json")):
        if path.stem != resource.name and (found := _has_one(_open_move(path), resource)) is not None:
            return path, not found
    return None


def _open_move(path: Path) -> bytes:
    """The state of a resource with an open move, or one that is not understood; nothing of any other."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            return b"" if _CLOSED in head else head + file.read()
    except FileNotFoundError:  # given up or replaced a moment ago
        return b""


def _has_one(state: bytes, resource: Resource) -> bool | None:
    """Whether one of the disks is in it for sure; ``False`` if it is named in what is damaged, ``None`` if it is not there."""
    names = _names(resource)
    if not any(json.dumps(name).encode() in state for name in names):
        return None
    try:
        plain: Any = json.loads(state)
        disks = plain["move"]["resource"]["disks"] if plain.get("move") else ()
        return any({disk["uuid"], disk["path"]} & names for disk in disks) or None
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
