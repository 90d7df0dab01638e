"""
Is a resource's disk all right, here and now? Everything is tried at once in disposable children, with one deadline.

On a hung disk the children stay behind in the kernel; while they do, no more are started.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmdk_failover.guest import children, devices, memory, mounts, touch, trees, users
from vmdk_failover.guest.devices import Holding
from vmdk_failover.guest.mounts import Line
from vmdk_failover.guest.places import HERE, Places
from vmdk_failover.model import Condition, Mount, Resource

STANDBY = "standby"


@dataclass(frozen=True)
class Tried:
    """One thing that was tried: a phrase, whether it went well, what came of it, and how long it took."""

    what: str
    ok: bool
    said: str
    ms: float


@dataclass(frozen=True)
class Checked:
    """
    What came of it.

    :param ok: nothing is wrong; a backup without the disk is all right.
    :param condition: the prober's word for what was seen (docs/conditions.md), or ``standby``.
    """

    resource: str
    ok: bool
    condition: str
    sentence: str
    tried: tuple[Tried, ...] = ()


def check(
    resource: Resource,
    state_dir: Path,
    *,
    deadline_s: float = 2.0,
    write: bool = False,
    places: Places = HERE,
) -> Checked:
    """
    Try the disks and file systems of ``resource``.

    :param deadline_s: seconds for all of it.
    :param write: write a block to the hidden file of the write probe too.
    """
    stuck = still_stuck(state_dir, resource)
    if stuck:
        words = f"a check of before is still stuck on the disk (pid {stuck[0][0]}); nothing more was tried"
        return Checked(resource.name, False, Condition.HUNG.value, words)
    holding = devices.holding(resource, places)
    lines = mounts.of_process(places=places)
    shown = [(mount, mounts.visible(lines, mount.mountpoint)) for mount in resource.mounts]
    ours = [(mount, line) for mount, line in shown if line is not None and holding.is_ours(line)]
    if not holding.found and not ours:
        return Checked(resource.name, True, STANDBY, "this node does not have the disk")
    jobs = _jobs(holding, ours, write, places)
    ended = children.together([job for _, job in jobs], deadline_s)
    _note_stuck(state_dir, resource, ended)
    tried = tuple(_tried(what, one) for (what, _), one in zip(jobs, ended, strict=True))
    condition, sentence = _judge(shown, holding, tried, ended)
    return Checked(resource.name, condition is Condition.OK, condition.value, sentence, tried)


Job = tuple[str, Callable[[], Any]]


def _jobs(holding: Holding, ours: Sequence[tuple[Mount, Line]], write: bool, places: Places) -> list[Job]:
    """Everything that is tried: a read of each disk, a look into each file system, a write if it is wished."""
    jobs: list[Job] = []
    for device in holding.found:
        path = f"{places.dev}/{device.name}"
        jobs.append((f"read {path}", lambda path=path: touch.read(path)))  # type: ignore[misc]
    for mount, line in ours:
        where = (mount.mountpoint, line.mount_id)
        jobs.append((f"look into {where[0]}", lambda where=where: touch.used(*where)))  # type: ignore[misc]
        if write:
            jobs.append((f"write to {where[0]}", lambda where=where: touch.write(*where)))  # type: ignore[misc]
    return jobs


def _tried(what: str, ended: children.Ended) -> Tried:
    said = ended.error or "done"
    if not ended.error and isinstance(ended.value, float):
        said = f"{ended.value:.0f} % full"
    elif not ended.error and ended.value:
        said = f"holds file system {ended.value}"
    return Tried(what, not ended.error, said, round(ended.took * 1000, 1))


def _judge(
    shown: Sequence[tuple[Mount, Line | None]],
    holding: Holding,
    tried: Sequence[Tried],
    ended: Sequence[children.Ended],
) -> tuple[Condition, str]:
    bad = [(one, how) for one, how in zip(tried, ended, strict=True) if how.error]
    for one, how in bad:
        if "did not end" in how.error:
            return Condition.HUNG, f"to {one.what} had no answer within {how.took:.1f} s"
    if bad:
        one = bad[0][0]
        read_only = "Errno 30" in one.said
        return Condition.FS_ERROR if read_only else Condition.IO_ERROR, f"to {one.what} failed: {one.said}"
    if not holding.complete:
        return Condition.DEVICE_GONE, f"disk {holding.missing} is not in this node"
    for mount, line in shown:
        if line is None:
            return Condition.UNMOUNTED, f"nothing is mounted on {mount.mountpoint}, the disk answers"
        if words := trees.instead(mount, line, holding.is_ours(line)):
            return Condition.WRONG_FILESYSTEM, words
        if mounts.GIVEN_UP & line.options:
            return Condition.FS_ERROR, f"the kernel has given up the file system on {mount.mountpoint}"
    return Condition.OK, "mounted, and the disk answers"


def _file(state_dir: Path, resource: Resource) -> Path:
    return state_dir / f"{resource.name}.stuck"


def _note_stuck(state_dir: Path, resource: Resource, ended: Sequence[children.Ended]) -> None:
    stuck = [(one.value, users.started(one.value)) for one in ended if one.stuck]
    if stuck and state_dir.is_dir():
        memory.write(_file(state_dir, resource), stuck)


def still_stuck(state_dir: Path, resource: Resource) -> list[tuple[int, int]]:
    """Children of an earlier check that the kernel has not let go; the start time tells them from others."""
    try:
        noted = json.loads(_file(state_dir, resource).read_text())
    except (OSError, ValueError):
        return []
    return [(pid, at) for pid, at in noted if users.started(pid) == at and children.state(pid) == "D"]
