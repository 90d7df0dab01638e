"""
The prober's own reads from the disks of one resource: which devices, when, and what they come to.

Every disk at the bottom is read from, whatever is stacked on it. A failed read is a doubt until a second one at the same
place has failed too: one that passes by moves nothing.
"""

from __future__ import annotations

import errno
import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from vmdk_failover.guest import superblock
from vmdk_failover.guest.devices import Holding
from vmdk_failover.guest.mounts import Line
from vmdk_failover.guest.places import Places, read
from vmdk_failover.guest.probe import Probe
from vmdk_failover.guest.verdict import Verdict
from vmdk_failover.model import Condition, Mount, Resource

#: Seconds after which a failed read is tried again, and good reads in a row that take back the word of an error.
CONFIRM_S, GOOD_READS = 0.05, 3
#: So many failed reads within so many seconds are an error even if each of them passed by.
OFTEN, OFTEN_S = 3, 60.0
_HANGS, _UUID = "probe hangs", "uuid"
_NO_WORD = frozenset({-errno.EAGAIN, -errno.EOPNOTSUPP, -errno.ENOMEM, -errno.EINTR})
_GONE = frozenset({errno.EIO, errno.ENXIO, errno.ENODEV})
_SECTOR = 512


class Probes:
    """
    One resource's. Every method is told the time (boot clock, seconds).

    :param failed: told the name of a disk and words when its reads fail.
    :param answered: told when all disks have answered well for some time.
    """

    def __init__(
        self,
        resource: Resource,
        verdict: Verdict,
        failed: Callable[[float, str, str], None],
        answered: Callable[[], None],
        log: Callable[[str], None],
    ) -> None:
        self._resource, self._verdict, self._log = resource, verdict, log
        self._failed, self._answered = failed, answered
        self._probes: tuple[Probe, ...] = ()
        self._next, self._again = 0.0, math.inf
        self._failures: deque[float] = deque(maxlen=OFTEN)

    # -- which

    def open(self, now: float, held: Holding, ours: Sequence[tuple[Mount, Line]], places: Places) -> None:
        """Read from the disks that are there and mounted now, and from no others."""
        self.close()
        marks: dict[str, dict[int, tuple[int, str]]] = {d.name: {} for d in held.found} if ours else {}
        for mount, line in ours:
            name, start = _bottom(device_of(held, line), held, places)
            labels = {start + at: (at, mount.fs_uuid) for at in superblock.BLOCKS}
            marks.setdefault(name, {}).update(labels)
        disks = {device.name for device in held.found}
        stacked = {name for device in held.found for name, _ in device.stack} - disks
        opened = (self._open_one(now, places.dev / name, marks[name], name in stacked) for name in marks)
        self._probes = tuple(one for one in opened if one is not None)
        self._next, self._again = 0.0, math.inf

    def _open_one(
        self, now: float, path: Path, marks: dict[int, tuple[int, str]], is_stacked: bool
    ) -> Probe | None:
        try:
            return Probe(str(path), marks, is_stacked)
        except OSError as err:
            if err.errno in _GONE:
                self._failed(now, path.name, f"{path.name} cannot be opened: {err.strerror}")
            self._log(f"{self._resource.name}: {path.name} is not probed: {err}")
            return None

    def __contains__(self, probe: Probe) -> bool:
        return probe in self._probes

    def are_ours(self, name: str, sector: int) -> bool:
        """Whether a read of a disk that failed at a sector was one of our own."""
        return any(probe.has_read(name, sector) for probe in self._probes)

    # -- when

    def hurry(self) -> None:
        """Read soon: something has happened to a disk."""
        self._next = 0.0

    @property
    def due_at(self) -> float:
        """When the next read is to be started; infinite if there is nothing to read from."""
        return min(self._next, self._again) if self._probes else math.inf

    def due(self, now: float) -> Iterator[Probe]:
        """What is to be read from now."""
        regular = now >= self._next
        if regular:
            self._next = now + self._resource.probe_interval
        if now >= self._again:
            self._again = math.inf
        elif not regular:
            return
        yield from (probe for probe in self._probes if probe.pending is None and (regular or probe.doubt))

    @property
    def pending(self) -> list[float]:
        """When the reads that are under way were started."""
        return [probe.pending for probe in self._probes if probe.pending is not None]

    def paused(self, since: Callable[[float], float]) -> None:
        """The prober itself was not running. since: when a wait counts as begun, for when it began."""
        for probe in self._probes:
            probe.pending = None if probe.pending is None else since(probe.pending)

    # -- what it comes to

    def overdue(self, now: float) -> None:
        """Judge the reads that are under way."""
        limit = self._resource.hang_timeout
        late = [(now - p.pending, p.name) for p in self._probes if p.pending and now - p.pending >= limit]
        if late:
            words = f"a read of {late[0][1]} has had no answer for {late[0][0]:.1f} s (own probe)"
            self._verdict.put(_HANGS, Condition.HUNG, words, now)
        else:
            self._verdict.clear(_HANGS)

    def ended(self, now: float, probe: Probe, result: int, data: bytes) -> None:
        """A read has ended; ``result`` is the number of bytes or ``-errno``."""
        probe.pending = None
        if result in _NO_WORD:  # a full queue says nothing
            self._again = now + CONFIRM_S if probe.doubt else self._again
            return
        if result <= 0:
            return self._judge_failure(
                now, probe, errno.errorcode.get(-result, str(-result)) if result else "no data"
            )
        if probe.doubt:
            words = f"a read of {probe.name} at {probe.offset} failed once with {probe.doubt}, and was good when tried again"
            self._verdict.remark(words)
            self._log(f"{self._resource.name}: {words}")
        found, wanted = probe.other_filesystem(data)
        if found:
            words = f"{probe.name} holds file system {found}, not {wanted} (own probe)"
            self._verdict.put(_UUID, Condition.WRONG_FILESYSTEM, words, now)
        probe.good, probe.doubt = probe.good + 1, ""
        if all(one.good >= GOOD_READS or one.identify_only for one in self._probes):
            self._answered()

    def _judge_failure(self, now: float, probe: Probe, what: str) -> None:
        words = f"a read of {probe.name} at {probe.offset} failed"
        in_doubt, probe.doubt = probe.doubt, ""
        if not in_doubt:
            self._failures.append(now)
        if in_doubt:
            self._accuse(now, probe, f"{words} twice: {what} (own probe)")
        elif len(self._failures) == OFTEN and now - self._failures[0] <= OFTEN_S:
            times = f"{OFTEN} within {now - self._failures[0]:.0f} s"
            self._accuse(now, probe, f"{words}: {what}, {times} (own probe)")
        else:
            probe.doubt, probe.good = what, 0
            self._again = now + CONFIRM_S
            self._verdict.remark(f"{words}: {what}, it is tried again (own probe)")

    def _accuse(self, now: float, probe: Probe, words: str) -> None:
        self._verdict.remark("")
        self._failed(now, probe.name, words)

    def renew(self) -> None:
        """An error was seen: good reads count from now on."""
        for probe in self._probes:
            probe.good = 0

    def begin(self) -> None:
        """Another mount: what was said of the one before is over."""
        self._failures.clear()
        self._verdict.clear(_HANGS, _UUID)
        self._verdict.remark("")

    def close(self) -> None:
        """Let go of all devices."""
        for probe in self._probes:
            probe.close()
        self._probes = ()


def device_of(held: Holding, line: Line) -> str:
    """Kernel name of what is mounted. btrfs shows a number of its own, but names its device."""
    names = {number: name for name, number in held.blocks.items()}
    return names.get(line.number) or os.path.basename(line.source)


def _bottom(name: str, held: Holding, places: Places) -> tuple[str, int]:
    """The disk that a partition is on, and the byte where it begins there; anything else is itself."""
    directory = places.block(name)
    disk = Path(os.path.realpath(directory)).parent.name
    start = read(directory / "start") or "" if (directory / "partition").exists() else ""
    if start.isdecimal() and disk in {device.name for device in held.found}:
        return disk, int(start) * _SECTOR
    return name, 0
