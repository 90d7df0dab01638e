"""
The prober: one process per node that watches all resources' disks, and that nobody ever waits for.

Started by ``watch.py`` as a program, in a session of its own and without inherited descriptors. One epoll: mountinfo,
uevents, the kernel's log, ends of its own reads, and its readers. It may get stuck in the kernel and is then left behind;
its silence is a report in itself. It ends when nobody has read from it for some seconds.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import math
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # started as a file: what lies beside it is part of a package
    sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

from vmdk_failover import __version__
from vmdk_failover.guest import channel, memory, mounts
from vmdk_failover.guest.aio import Reader
from vmdk_failover.guest.counters import Board
from vmdk_failover.guest.errands import Answer, Errand, Errands
from vmdk_failover.guest.error_trace import Failure
from vmdk_failover.guest.kernel_log import Complaint
from vmdk_failover.guest.latest import FILE
from vmdk_failover.guest.places import boot_clock, read
from vmdk_failover.guest.probe import Probe
from vmdk_failover.guest.sources import Sources
from vmdk_failover.guest.watched import Watched, report
from vmdk_failover.model import resource_from_plain

#: Seconds between two looks at the counters while all is well, and while something does not move.
TICK_S, CLOSE_S = 0.5, 0.1
HEARTBEAT_S, SOON_S = 1.0, 0.01
#: Seconds after which everything is looked at although nothing says that it has changed.
ANEW_S = 10.0
ALONE_S = 5.0


def _log(words: str) -> None:
    sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {words}\n")


class Prober:
    """
    The watch over all resources of a node.

    :param state_dir: where the configuration is, and socket and latest word are put.
    :param slot: 0, or 1 for the replacement of a prober that is stuck.
    """

    def __init__(self, state_dir: Path, slot: int) -> None:
        self._dir, self._slot = state_dir, slot
        self._sources = Sources(_log)
        self._watched: dict[str, Watched] = {}
        self._plain: dict[str, Any] = {}
        self._due: dict[str, float] = {}
        self._told: dict[str, tuple[str, str]] = {}
        self._last: dict[str, dict[str, Any]] = {}
        self._seq = 0
        self._tag = 0
        self._reads: dict[int, tuple[Watched, Probe]] = {}
        self._busy: set[str] = set()
        self._table, self._looked_at, self._settling = b"", 0.0, False
        self._links_at, self._links_again = 0, False
        self._config: dict[str, Any] = {}
        self._alone_since = boot_clock()
        self._reader = Reader()
        self._errands = Errands(self._sources.listen, self._sources.forget)
        self._readers = channel.Server(state_dir, slot)
        self._board = Board()

    # -- sources

    def _open_sources(self) -> None:
        self._sources.open_mountinfo(self._places.proc / "self/mountinfo", self._look)
        self._sources.open_uevents(self._devices_changed)
        self._sources.open_log(self._kernel_complains)
        self._sources.open_fs_errors(self._filesystem_reports)
        self._sources.open_vanishing(self._places.dev, self._something_vanished)
        self._sources.listen(self._reader.eventfd, self._reads_ended)
        self._sources.listen(self._readers.fileno(), self._readers_speak)

    def _devices_changed(self, names: frozenset[str] | None) -> None:
        """Our own disks are looked at once; others with the next tick, if one may be a disk that is not here yet."""
        if names is None or any(names & one.names for one in self._watched.values()):
            self._look()
        elif names and not all(one.is_complete for one in self._watched.values()):
            self._links_at = 0

    def _kernel_complains(self, complaints: Sequence[Complaint]) -> None:
        now = boot_clock()
        for one in self._watched.values():
            for complaint in complaints:
                one.complain(now, complaint)
        self._tell(now)

    def _filesystem_reports(self, mountpoint: str, error: str) -> None:
        now = boot_clock()
        for one in self._watched.values():
            one.reported(now, mountpoint, error)
        self._tell(now)

    def _something_vanished(self, name: str) -> None:
        if not name or any(name in one.names for one in self._watched.values()):
            self._look()

    def _requests_failed(self, failures: Sequence[Failure]) -> None:
        now = boot_clock()
        for one in self._watched.values():
            for failure in failures:
                one.failed(now, failure)
        self._tell(now)

    # -- configuration

    def configure(self) -> None:
        """Read the configuration file; resources that are the same as before are watched on undisturbed."""
        self._config = channel.read_config(self._dir)
        self._places = channel.places_of(self._config)
        self._boot_id = read(self._places.boot_id) or ""
        wanted = self._config["resources"]
        for name in [name for name in self._watched if self._plain.get(name) != wanted.get(name)]:
            self._watched.pop(name).close()
            self._due.pop(name, None)
            self._last.pop(name, None)
            self._told.pop(name, None)
        for name, plain in wanted.items():
            if name not in self._watched:
                self._watched[name] = Watched(resource_from_plain(plain), self._places, _log)
        self._plain = dict(wanted)

    # -- watching

    def _look(self) -> None:
        now = self._looked_at = boot_clock()
        self._table = self._sources.table()
        lines = mounts.parse(self._table.decode(errors="surrogateescape"))
        for one in self._watched.values():
            one.look(now, lines)
        numbers = frozenset[str]().union(*(one.numbers for one in self._watched.values()))
        self._sources.trace(numbers, self._requests_failed)
        self._sources.follow([line for one in self._watched.values() for line in one.lines])
        self._settling = any(one.is_settling for one in self._watched.values())
        self._tell(now)

    def _links_changed(self) -> bool:
        try:
            at = os.stat(self._places.by_id).st_mtime_ns
        except OSError:
            at = -1
        changed, again = at != self._links_at, self._links_again
        self._links_at, self._links_again = (
            at,
            changed,
        )  # a change in the same clock tick shows no new time: look twice
        return changed or again

    def _tick(self) -> None:
        if self._links_changed():
            self._look()
        now = boot_clock()
        self._board.refresh()
        for name, one in self._watched.items():
            one.sample(now, self._board)
            one.overdue(now)
            if now >= self._due.get(name, 0.0):
                self._due[name] = now + one.resource.probe_interval
                self._probe(now, one)
            self._try(now, one)
        self._errands.turn(now)
        self._tell(now)

    def _try(self, now: float, one: Watched) -> None:
        for errand in one.trials.due(now):

            def then(answer: Answer, errand: Errand = errand) -> None:
                one.trials.ended(boot_clock(), errand, answer)
                self._tell(boot_clock(), [one])

            self._errands.send(now, errand, then)

    def _probe(self, now: float, one: Watched) -> None:
        for probe in one.probes.values():  # one read per disk, even if the one before is of an earlier mount
            if probe.pending is None and probe.name not in self._busy:
                self._tag += 1
                try:
                    self._reader.start(self._tag, probe.fd, probe.next_offset())
                except OSError as err:
                    one.probed(now, probe, -(err.errno or errno.EIO), b"")
                else:
                    probe.pending = now
                    self._reads[self._tag] = (one, probe)
                    self._busy.add(probe.name)

    def _reads_ended(self) -> None:
        now, touched = boot_clock(), []
        for tag, result, data in self._reader.ended():
            one, probe = self._reads.pop(tag)
            self._busy.discard(probe.name)
            touched.append(one)
            if probe in one.probes.values():  # else it was of an earlier mount
                one.probed(now, probe, result, data)
                one.overdue(now)
        self._tell(now, touched)

    # -- telling

    def _tell(self, now: float, ones: Iterable[Watched] | None = None) -> None:
        """Push what has changed, of some or of all."""
        changed = []
        for one in self._watched.values() if ones is None else ones:
            name = one.resource.name
            if self._watched.get(name) is not one:
                continue
            sign = one.verdict.current(now)
            if self._told.get(name) != (sign.condition, sign.evidence):
                self._told[name] = (sign.condition, sign.evidence)
                self._seq += 1
                self._last[name] = dict(report(name, one, now, self._boot_id, self._seq))
                changed.append(self._last[name])
        if changed:
            self._write(now)
            for one_report in changed:
                self._readers.push(one_report)

    def _write(self, now: float) -> None:
        of_itself = {"pid": os.getpid(), "version": __version__, "sources": self._sources.live}
        memory.write(
            self._dir / FILE, {"boot_id": self._boot_id, "at": now, "reports": self._last, **of_itself}
        )

    def _readers_speak(self) -> None:
        for word in self._readers.serve(lambda: list(self._last.values())):
            if word == channel.RELOAD:
                self.configure()
                self._look()

    def _beat(self) -> None:
        now = boot_clock()
        wishes = [one.check(now) for one in self._watched.values()]
        table = self._sources.table()  # some flags of a superblock change without an event
        if any(wishes) or table != self._table or now - self._looked_at >= ANEW_S:
            self._look()
        else:
            self._tell(now)
        self._readers.catch_up(list(self._last.values()))
        self._readers.push({"heartbeat": round(now, 3), "boot_id": self._boot_id})
        self._write(now)

    def run(self) -> None:
        """Watch until nobody reads any more."""
        self._open_sources()
        self._look()
        next_tick = next_beat = boot_clock()
        while not self._is_forgotten():
            settling = self._settling
            soon = boot_clock() + SOON_S if settling else math.inf
            self._sources.wait(min(next_tick, next_beat, soon))
            now = boot_clock()
            if settling:
                self._look()
            if now >= next_tick:
                self._tick()
                next_tick = self._next_tick(now)
            if now >= next_beat:
                next_beat = now + HEARTBEAT_S
                self._beat()
        self._errands.close()

    def _next_tick(self, now: float) -> float:
        """Soon while something does not move, and exactly when it would count as hung."""
        suspects = [one for one in self._watched.values() if one.motion.is_suspect or one.is_waiting]
        soonest = min((one.hung_at() for one in suspects), default=math.inf)
        return max(now + SOON_S, min(now + (CLOSE_S if suspects else TICK_S), soonest))

    def _is_forgotten(self) -> bool:
        now = boot_clock()
        if self._readers.count:
            self._alone_since = now
        return now - self._alone_since > ALONE_S


def _settle_in() -> None:
    """No page of ours may have to be fetched from a disk that is dead, and nobody should kill us for memory."""
    ctypes.CDLL(None).mlockall(3)
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("-900")
    except OSError as err:
        _log(f"the prober is not spared when memory runs out: {err}")


def main(state_dir: Path, slot: int) -> int:
    """Be the node's prober; ends at once if there is one."""
    lock = os.open(state_dir / channel.name("lock", slot), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    _settle_in()
    prober = Prober(state_dir, slot)
    prober.configure()
    prober.run()
    os.close(lock)  # before the exit, which may wait for a read that hangs
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
