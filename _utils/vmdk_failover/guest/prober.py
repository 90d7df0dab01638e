"""
The prober: one process per node that watches all resources' disks, and that nobody ever waits for.

Started by ``watch.py`` as a program, in a session of its own and without inherited descriptors. One epoll: mountinfo,
uevents, the kernel's log, ends of its own reads, and its readers. It may get stuck in the kernel and is then left behind;
its silence is a report in itself. It ends when nobody has read from it for some seconds.
"""

from __future__ import annotations

import ctypes
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

from vmdk_failover.guest import channel, mounts
from vmdk_failover.guest.counters import Board
from vmdk_failover.guest.errands import Answer, Errand, Errands
from vmdk_failover.guest.error_trace import Failure
from vmdk_failover.guest.kernel_log import Complaint
from vmdk_failover.guest.places import boot_clock, read
from vmdk_failover.guest.reading import Reading
from vmdk_failover.guest.sources import Sources
from vmdk_failover.guest.telling import Telling
from vmdk_failover.guest.watched import Watched
from vmdk_failover.model import resource_from_plain

#: Seconds between two looks at the counters of disks that nobody uses, and that somebody does.
TICK_S, BUSY_S = 1.0, 0.4
HEARTBEAT_S, SOON_S = 1.0, 0.01
#: Seconds after which everything is looked at although nothing says that it has changed; flags of mounts; the same
#: while a source is not live.
ANEW_S, FLAGS_S, BLIND_S = 30.0, 3.0, 1.0
#: After a device has come or gone or a file system is ending: seconds after which is looked again.
AGAIN_S = (0.01, 0.03, 0.1, 0.3, 1.0)
ALONE_S = 5.0
#: Seconds of lateness from which on we have not been running.
LATE_S = 0.3


def _log(words: str) -> None:
    sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {words}\n")


class Prober:
    """
    The watch over all resources of a node.

    :param state_dir: where the configuration is, and socket and latest word are put.
    :param slot: 0, or 1 for the replacement of a prober that is stuck.
    """

    def __init__(self, state_dir: Path, slot: int) -> None:
        self._dir = state_dir
        self._sources = Sources(_log)
        self._watched: dict[str, Watched] = {}
        self._plain: dict[str, Any] = {}
        self._planned = math.inf
        self._next_tick = self._next_beat = 0.0
        self._again: list[float] = []
        self._table, self._table_at, self._looked_at, self._settling = b"", 0.0, 0.0, False
        self._links_at, self._links_again = 0, False
        self._config: dict[str, Any] = {}
        self._alone_since, self._is_over = boot_clock(), False
        self._telling = Telling(state_dir, slot, self._sources.live)
        self._reading = Reading(self._sources, self._reads_ended)
        self._errands = Errands(self._sources.listen, self._sources.forget, _log)
        self._board = Board()
        self._disks: frozenset[str] = frozenset()

    # -- sources

    def _open_sources(self) -> None:
        self._sources.open_mountinfo(self._places.proc / "self/mountinfo", self._look)
        self._sources.open_uevents(self._devices_changed, self._disk_leaves)
        self._sources.open_log(self._kernel_complains)
        self._sources.open_fs_errors(self._filesystem_reports)
        self._sources.open_vanishing(self._places.dev, self._places.by_id, self._something_vanished)
        self._sources.listen(self._telling.fileno(), self._readers_speak)

    def _devices_changed(self, names: frozenset[str] | None) -> None:
        """Our own disks are looked at and read from at once; others later, if one may be a disk that is not here yet."""
        now = boot_clock()
        ours = [one for one in self._watched.values() if names is None or names & one.names]
        for one in ours:
            one.probes.hurry()
        if ours:
            self._next_tick = now
            self._look()
        if ours or (names and not all(one.is_complete for one in self._watched.values())):
            self._look_again()

    def _disk_leaves(self) -> None:
        """Told before the kernel announces that the disk has gone: first it ends what is under way there."""
        leaving = [one for one in self._watched.values() if one.states.leaving()]
        if leaving:
            now, lines = boot_clock(), mounts.parse(self._sources.table().decode(errors="surrogateescape"))
            for one in leaving:
                one.glance(now, lines)
            self._tell(now, leaving)
            self._look_again()

    def _look_again(self) -> None:
        """The kernel says first that something ends, and ends it then; udev takes its time."""
        self._again = [boot_clock() + pause for pause in AGAIN_S]

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
            self._look_again()

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
        self._telling.boot_id = read(self._places.boot_id) or ""
        wanted = self._config["resources"]
        for name in [name for name in self._watched if self._plain.get(name) != wanted.get(name)]:
            self._watched.pop(name).close()
            self._telling.forget(name)
        for name, plain in wanted.items():
            if name not in self._watched:
                self._watched[name] = Watched(resource_from_plain(plain), self._places, _log)
        self._plain = dict(wanted)

    # -- watching

    def _look(self) -> None:
        self._sources.catch_up()
        now = self._looked_at = self._table_at = boot_clock()
        self._table = self._sources.table()
        lines = mounts.parse(self._table.decode(errors="surrogateescape"))
        for one in self._watched.values():
            one.look(now, lines)
        numbers = frozenset[str]().union(*(one.numbers for one in self._watched.values()))
        self._sources.trace(numbers, self._requests_failed)
        self._sources.follow([pair for one in self._watched.values() for pair in one.ours])
        self._disks = frozenset(name for one in self._watched.values() for name in one.disks)
        self._settling = any(one.is_settling for one in self._watched.values())
        self._next_tick = min(self._next_tick, self._tick_at(now))
        self._tell(now)

    def _links_changed(self) -> bool:
        try:
            at = os.stat(self._places.by_id).st_mtime_ns
        except OSError:
            at = -1
        changed, again = at != self._links_at, self._links_again
        # a change in the same clock tick shows no new time: look twice
        self._links_at, self._links_again = at, changed
        return changed or again

    def _tick(self) -> None:
        now = boot_clock()
        self._board.refresh(self._disks)
        for one in self._watched.values():
            one.sample(now, self._board)
            one.overdue(now)
            self._try(now, one)
        self._reading.start(now, self._watched.values())
        self._errands.turn(now)
        self._tell(now)

    def _try(self, now: float, one: Watched) -> None:
        for errand in one.trials.due(now):

            def begun(at: float, errand: Errand = errand) -> None:
                one.trials.begun(at, errand)

            def then(answer: Answer, errand: Errand = errand) -> None:
                if one.trials.ended(boot_clock(), errand, answer):
                    self._look()
                self._tell(boot_clock(), [one])

            self._errands.send(now, errand, then, begun)

    def _reads_ended(self, now: float, ones: Iterable[Watched]) -> None:
        for one in ones:
            soon = now + SOON_S if one.verdict.signs else math.inf  # what hung moves again, perhaps
            self._next_tick = min(self._next_tick, one.probes.due_at, soon)
        self._tell(now, ones)

    # -- telling

    def _tell(self, now: float, ones: Iterable[Watched] | None = None) -> None:
        """Push what has changed, of some or of all that are still watched."""
        present = self._watched.values()
        still = None if ones is None else [one for one in ones if self._watched.get(one.resource.name) is one]
        self._telling.tell(now, present if still is None else still)

    def _readers_speak(self) -> None:
        for word in self._telling.words():
            if word == channel.RELOAD:
                self.configure()
                self._look()
            elif word == channel.END:
                self._is_over = True

    def _beat(self) -> None:
        now = boot_clock()
        wishes = [one.check(now) for one in self._watched.values()]
        wishes += [self._links_changed(), self._flags_changed(now), now - self._looked_at >= ANEW_S]
        if any(wishes):
            self._look()
        else:
            self._tell(now)
        self._telling.beat(now)

    def _flags_changed(self, now: float) -> bool:
        """Some flags of a superblock change without an event."""
        if now - self._table_at < (BLIND_S if self._sources.is_blind else FLAGS_S) - SOON_S:
            return False
        self._table_at = now
        return self._sources.table() != self._table

    # -- the loop

    def run(self) -> None:
        """Watch until nobody reads any more."""
        self._open_sources()
        self._look()
        while not self._is_forgotten():
            self._planned = self._wake_at(boot_clock())
            self._sources.wait(self._planned, self._mind_pause)
            self._turn(boot_clock())
        self._errands.close()

    def _wake_at(self, now: float) -> float:
        soon = now + SOON_S if self._settling else math.inf
        return min(self._next_tick, self._next_beat, soon, *self._again)

    def _turn(self, now: float) -> None:
        if self._settling or (self._again and now >= self._again[0]):
            self._again = [at for at in self._again if at > now]
            self._look()
        if now >= self._next_tick:
            self._next_tick = now + TICK_S
            self._tick()
            self._next_tick = self._tick_at(now)
        if now >= self._next_beat - SOON_S:
            self._next_beat = now + HEARTBEAT_S
            self._beat()

    def _mind_pause(self) -> None:
        """If we come much later than planned, we were stopped, or the whole node was: waits have not lasted that long."""
        now = boot_clock()
        if now - self._planned > LATE_S:
            for one in self._watched.values():
                one.paused(now, now - self._planned)

    def _tick_at(self, now: float) -> float:
        """When the next tick is worth while: when something is due, or would count as hung."""
        ones = self._watched.values()
        pause = BUSY_S if any(one.is_busy for one in ones) else TICK_S
        due = min((min(one.hung_at, one.due_at) for one in ones), default=math.inf)
        return max(now + SOON_S, min(now + pause, due, self._errands.turn_at))

    def _is_forgotten(self) -> bool:
        now = boot_clock()
        if self._telling.has_readers:
            self._alone_since = now
        return self._is_over or now - self._alone_since > ALONE_S


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
