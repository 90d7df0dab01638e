"""The prober's reads that are under way: one per disk, gathered when they end."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable

from vmdk_failover.guest.aio import open_reads
from vmdk_failover.guest.places import boot_clock
from vmdk_failover.guest.probe import Probe
from vmdk_failover.guest.sources import Sources
from vmdk_failover.guest.watched import Watched

#: Seconds that further ends are waited for after the first.
GATHER_S = 0.002


class Reading:
    """
    All reads of the prober.

    :param ended: told the time and whose reads have ended, after those were told themselves.
    """

    def __init__(self, sources: Sources, ended: Callable[[float, Iterable[Watched]], None]) -> None:
        self._sources, self._ended = sources, ended
        self._reads, no_aio = open_reads()
        sources.note("aio", no_aio)
        sources.listen_once(self._reads.eventfd, self._hear)
        self._under_way: dict[int, tuple[Watched, Probe]] = {}
        self._busy: set[str] = set()
        self._tag = 0

    def start(self, now: float, ones: Iterable[Watched]) -> None:
        """Start the reads that are due, one per disk, even if the one before is of an earlier mount."""
        due = [(one, probe) for one in ones for probe in one.probes.due(now) if probe.name not in self._busy]
        for one, probe in due:
            self._start(now, one, probe)
        if due:
            self._sources.again(self._reads.eventfd)

    def _start(self, now: float, one: Watched, probe: Probe) -> None:
        offset = probe.next_offset()
        if offset is None:
            return
        self._tag += 1
        try:
            self._reads.start(self._tag, probe.fd, offset)
        except OSError as err:
            return one.read_ended(now, probe, -(err.errno or errno.EIO), b"")
        probe.pending = now
        self._under_way[self._tag] = (one, probe)
        self._busy.add(probe.name)

    def _hear(self) -> None:
        now, touched = boot_clock(), dict[str, Watched]()
        for tag, result, data in self._reads.ended():
            one, probe = self._under_way.pop(tag)
            self._busy.discard(probe.name)
            one.read_ended(now, probe, result, data)
            touched[one.resource.name] = one
        if self._under_way:
            self._sources.again(self._reads.eventfd, now + GATHER_S)
        self._ended(now, touched.values())
