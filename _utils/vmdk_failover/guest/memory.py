"""
What a node remembers of a resource between calls: small files in a directory that should be on a tmpfs.

A record of another boot keeps only its epoch: a reboot has ended every mount, and so every release.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vmdk_failover.errors import Busy, CannotObserve

_LOCK_WAIT = 2.0


@dataclass(frozen=True)
class Memory:
    """
    One resource's record.

    :param epoch: highest epoch that this node has acted under.
    :param boot_id: boot that the rest of the record is of.
    :param released: epoch of the last proven clean release of this boot, ``None`` after the next mount.
    :param blocks: kernel name → ``major:minor`` of what it was last mounted from.
    :param uuids: ``major:minor`` → file system UUID that was read from the disk before it was mounted.
    :param holders: (pid, start time) of the processes that keep the released disks for themselves.
    """

    epoch: int = 0
    boot_id: str = ""
    released: int | None = None
    blocks: tuple[tuple[str, str], ...] = ()
    uuids: tuple[tuple[str, str], ...] = ()
    holders: tuple[tuple[int, int], ...] = ()


def _file(state_dir: Path, resource: str, suffix: str) -> Path:
    return state_dir / f"{quote(resource, safe='')}.{suffix}"


def load(state_dir: Path, resource: str, boot_id: str) -> Memory:
    """
    Read what is remembered; an empty record if there is none.

    :param boot_id: this boot; of an earlier one only the epoch counts.
    :raises CannotObserve: if there is a record that cannot be read.
    """
    path = _file(state_dir, resource, "json")
    try:
        found = _from_plain(json.loads(path.read_text()))
    except FileNotFoundError:
        return Memory(boot_id=boot_id)
    except (OSError, ValueError, TypeError, KeyError) as err:
        raise CannotObserve(
            f"what this node remembers of {resource} cannot be read ({err}); "
            f"look at {path}, and remove it if it is broken"
        ) from err
    return found if found.boot_id == boot_id else Memory(epoch=found.epoch, boot_id=boot_id)


def _from_plain(plain: dict[str, Any]) -> Memory:
    """A record of an older version knows less: an upgrade does not end what this boot has seen."""
    data = {f.name: plain[f.name] for f in fields(Memory) if f.name in plain}
    for key in ("blocks", "uuids", "holders"):
        data[key] = tuple((one, two) for one, two in data.get(key, ()))
    return Memory(**{**data, "epoch": int(data["epoch"]), "boot_id": str(data["boot_id"])})


def update(state_dir: Path, resource: str, boot_id: str, **changes: Any) -> Memory:
    """
    Change fields of the record, atomically; an epoch never falls.

    :raises CannotObserve: if the present record cannot be read.
    :raises OSError: if the directory cannot be written.
    """
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    words = f"the record of {resource} is being written by another process; try again"
    with _locked(_file(state_dir, resource, "lock"), _LOCK_WAIT, words):
        old = load(state_dir, resource, boot_id)
        changes["epoch"] = max(old.epoch, changes.get("epoch", 0))
        new = replace(old, **changes)
        write(_file(state_dir, resource, "json"), asdict(new))
        return new


def write(path: Path, plain: Any) -> None:
    """Write a value as JSON so that a reader sees either the old or the new one. Raises ``OSError``."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(json.dumps(plain))  # several times as fast as json.dump
    draft.replace(path)


@contextmanager
def acting(state_dir: Path, resource: str) -> Iterator[None]:
    """
    Be the only one on this node who acts on a resource.

    :raises Busy: if another process is at it.
    """
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    words = f"another process on this node is acting on {resource} right now; wait until it has ended"
    with _locked(_file(state_dir, resource, "acting"), 0.0, words):
        yield


@contextmanager
def _locked(path: Path, wait_s: float, words: str) -> Iterator[None]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        end = time.monotonic() + wait_s
        while not _try_lock(fd):
            if time.monotonic() >= end:
                raise Busy(words)
            time.sleep(0.005)
        yield
    finally:
        os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
