"""One resource under the prober's eyes: what is mounted, which disks are there, what they do and what is said of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from vmdk_failover.guest import devices, mounts, trees
from vmdk_failover.guest.attribute import Attribute
from vmdk_failover.guest.counters import READ, WRITE, Board
from vmdk_failover.guest.devices import Holding
from vmdk_failover.guest.error_trace import Failure
from vmdk_failover.guest.flags import Flags
from vmdk_failover.guest.kernel_log import FILE_SYSTEM, Complaint
from vmdk_failover.guest.motion import Motion
from vmdk_failover.guest.mounts import Line
from vmdk_failover.guest.places import Places
from vmdk_failover.guest.probe import Probe
from vmdk_failover.guest.probes import Probes, device_of
from vmdk_failover.guest.scsi_states import ScsiStates
from vmdk_failover.guest.trials import Trials
from vmdk_failover.guest.verdict import Verdict
from vmdk_failover.model import Condition, Mount, Resource

#: Seconds after which a file system that is mounted nowhere and still alive counts as lazily unmounted.
SETTLE_S = 0.3
#: Seconds without another failed write that take the word back, if writes were completed since.
QUIET_S = 10.0
#: Seconds for which the prober must not have run for a wait to start anew.
LONG_PAUSE_S = 2.0
_ERROR = {READ: "read error", WRITE: "write error"}
_DEVICE, _FS, _MOUNT, _OPTIONS = "device", "fs", "mount", "options"


class Watched:
    """
    The watch over one resource. Every method is told the time (boot clock, seconds).

    :param log: told what could not be done, for the prober's own log.
    """

    def __init__(self, resource: Resource, places: Places, log: Callable[[str], None]) -> None:
        self.resource, self.places, self._log = resource, places, log
        self.verdict = Verdict()
        self.probes = Probes(resource, self.verdict, self._reads_fail, self._reads_are_good, log)
        self.motion = Motion(resource, self.verdict)
        self.trials = Trials(resource, self.verdict, self._writes_fail)
        self.settling = 0.0
        self._holding = Holding(resource, ())
        self._remembered: dict[str, str] = {}
        self._flags = Flags(self.verdict)
        self._counts: dict[str, tuple[Attribute, int]] = {}
        self.states = ScsiStates(places)
        self._mount_ids: tuple[tuple[int, int], ...] = ()
        self.ours: tuple[tuple[Mount, Line], ...] = ()
        self._last_failed_write = 0.0
        self._written_at_error: Mapping[str, int] = {}
        self._failed_on: frozenset[str] = frozenset()
        self._seen_complete = False

    # -- who is there

    def look(self, now: float, lines: Sequence[Line]) -> None:
        """Look anew at what is mounted and which disks are there."""
        held = devices.holding(self.resource, self.places, self._remembered.items())
        if not held.complete and not self._remembered:
            self._remembered = dict(devices.orphans(held, lines, self.places))
            held = devices.holding(self.resource, self.places, self._remembered.items())
        self._hold(held)
        shown = [(mount, mounts.visible(lines, mount.mountpoint)) for mount in self.resource.mounts]
        ours = [(mount, line) for mount, line in shown if line is not None and held.is_ours(line)]
        self._note_mounts(now, ours)
        alive = bool(ours) or bool(held.superblocks(self.places))
        self.verdict.holds = alive or held.complete
        self._judge_device(now, alive, [line for _, line in ours])
        self._judge_mounts(now, shown, alive)
        if not alive:
            self._forget(held)

    def glance(self, now: float, lines: Sequence[Line]) -> None:
        """Judge by the states of the disks alone, which is much sooner done than a look at everything."""
        shown = [mounts.visible(lines, mount.mountpoint) for mount in self.resource.mounts]
        self._judge_state(now, any(line is not None and self._holding.is_ours(line) for line in shown))

    def _hold(self, held: Holding) -> None:
        self._holding = held
        self.states.keep({device.name for device in held.found})

    def _note_mounts(self, now: float, ours: Sequence[tuple[Mount, Line]]) -> None:
        """A new mount starts with a clean record: what was said of the one before is over."""
        ids = tuple((line.mount_id, self._generation(line)) for _, line in ours)
        self.ours, lines = tuple(ours), [line for _, line in ours]
        if ids == self._mount_ids:
            return self.trials.follow(lines)
        self._mount_ids = ids
        if ids:
            self.motion.begin()
            self.probes.begin()
            self.verdict.clear(*_ERROR.values(), _FS)
            self._remembered = self._holding.of_a_new_mount
            self._count_from_here()
        self.probes.open(now, self._holding, ours, self.places)
        self.trials.look(lines)
        self._flags.begin(lines)

    def _generation(self, line: Line) -> int:
        """The kernel gives the number of a mount to the next one: this tells them apart."""
        return mounts.generation(device_of(self._holding, line), line.fstype, self.places)

    def _count_from_here(self) -> None:
        self._forget_counts()
        for name in self._remembered:
            count = Attribute(self.places.sys / "fs/ext4" / name / "errors_count")
            self._counts[name] = (count, int(count.read() or 0))

    def _forget_counts(self) -> None:
        for count, _ in self._counts.values():
            count.close()
        self._counts = {}

    def _judge_device(self, now: float, alive: bool, lines: Sequence[Line]) -> None:
        held = self._holding
        self._seen_complete = held.complete or (self._seen_complete and alive)
        vanished = any(mounts.is_vanished(line, self.places) for line in lines)
        if alive and not held.complete and (self._seen_complete or vanished):
            words = f"disk {held.missing} ({', '.join(held.blocks)}) has left this node while in use (sysfs, by-id)"
            self.verdict.put(_DEVICE, Condition.DEVICE_GONE, words, now)
        elif not self._judge_state(now, alive):
            self.verdict.clear(_DEVICE)

    def _judge_state(self, now: float, alive: bool) -> bool:
        leaving, offline = self.states.leaving() if alive else [], self.states.offline()
        if leaving:
            words = f"the kernel is taking {leaving[0]} away from this node while in use (sysfs device/state)"
            self.verdict.put(_DEVICE, Condition.DEVICE_GONE, words, now)
        elif offline:
            words = f"the kernel has set {offline[0]} offline (sysfs device/state)"
            self.verdict.put(_DEVICE, Condition.DEVICE_OFFLINE, words, now)
        return bool(leaving or offline)

    def _judge_mounts(self, now: float, shown: Sequence[tuple[Mount, Line | None]], alive: bool) -> None:
        for mount, line in shown:
            if line is None:
                if self.verdict.holds:
                    return self._judge_missing(now, mount, alive and not self._mount_ids)
            elif self.verdict.holds and (words := trees.instead(mount, line, self._holding.is_ours(line))):
                return self.verdict.put(_MOUNT, Condition.WRONG_FILESYSTEM, f"{words} (mountinfo)", now)
        self.settling = 0.0
        self.verdict.clear(_MOUNT)
        self._flags.judge(now, [(mount, line) for mount, line in shown if line is not None])

    def _judge_missing(self, now: float, mount: Mount, alive: bool) -> None:
        """Gone from mountinfo is told at once. If the file system lives on, it is in use; until then it may be written out."""
        words = f"nothing is mounted on {mount.mountpoint}"
        self.settling = (self.settling or now) if alive else 0.0
        if alive and now - self.settling >= SETTLE_S:
            words = f"{words}, but its superblock is alive (mountinfo, sysfs)"
            return self.verdict.put(_MOUNT, Condition.LAZILY_UNMOUNTED, words, now)
        self.verdict.put(_MOUNT, Condition.UNMOUNTED, f"{words} (mountinfo)", now)

    @property
    def numbers(self) -> frozenset[str]:
        """``major:minor`` of all that belongs to it here."""
        return frozenset(number for number in self._holding.blocks.values() if number)

    @property
    def names(self) -> frozenset[str]:
        """Kernel names of the same."""
        return frozenset(self._holding.blocks)

    @property
    def disks(self) -> list[str]:
        """Kernel names of the disks at the bottom."""
        return [device.name for device in self._holding.found] or list(self._remembered)

    @property
    def is_complete(self) -> bool:
        """All its disks are here."""
        return self._holding.complete

    @property
    def is_settling(self) -> bool:
        """A mount has just gone and its file system is still alive: worth another look soon."""
        return bool(self.settling) and not self.verdict.says(_MOUNT, Condition.LAZILY_UNMOUNTED)

    def _forget(self, held: Holding) -> None:
        """No file system of it is alive: nothing that was said of the old one matters to the next."""
        self._remembered = {}
        self._forget_counts()
        self.probes.begin()
        self.verdict.clear(*_ERROR.values(), _FS, _OPTIONS)
        self.motion.end(gone=not held.complete)

    # -- what the disks do

    def sample(self, now: float, board: Board) -> None:
        """Judge the counters of the disks."""
        if self.motion.sample(now, board, self.disks):
            self._judge_write_error(now)

    def check(self, now: float) -> bool:
        """What tells nobody when it changes: ext4's count of errors, a disk's state. Returns whether to look anew."""
        for name, (attribute, before) in self._counts.items():
            count = int(attribute.read() or 0)
            if count > before:
                words = f"ext4 on {name} has counted {count - before} errors since it was mounted (sysfs errors_count)"
                self.verdict.put(_FS, Condition.FS_ERROR, words, now)
        return bool(self.verdict.signs) or self._flags.is_undecided or bool(self.states.offline())

    def _judge_write_error(self, now: float) -> None:
        written, before = self.motion.written, self._written_at_error
        if not self.verdict.has(_ERROR[WRITE]):
            self._written_at_error = written
        elif now - self._last_failed_write >= QUIET_S:
            moved = {name for name in before if written.get(name, 0) > before[name]}
            if moved & self._failed_on if self._failed_on & before.keys() else moved:
                self.verdict.clear(_ERROR[WRITE])

    @property
    def is_busy(self) -> bool:
        """Somebody uses a disk, or something is wrong: worth a closer look."""
        return self.motion.is_busy or bool(self.verdict.signs)

    @property
    def due_at(self) -> float:
        """When something is to be read or tried next."""
        return min(self.probes.due_at, self.trials.due_at)

    @property
    def hung_at(self) -> float:
        """When the disk counts as hung if nothing completes until then; infinite if all is well or it is hung already."""
        starts = [*self.motion.stalled(), *self.probes.pending, *self.trials.pending()]
        hung = self.verdict.current(0.0).condition == Condition.HUNG.value
        return min(starts) + self.resource.hang_timeout if starts and not hung else math.inf

    def paused(self, now: float, seconds: float) -> None:
        """
        The prober itself, perhaps the whole node, has not run for some seconds: they are no fault of the disk's.

        A wait goes on without them; after a long pause it starts anew, for the disk was perhaps paused longer than we.
        """
        limit = self.resource.hang_timeout
        short = seconds < LONG_PAUSE_S

        def since(began: float) -> float:
            is_hung = now - seconds - began >= limit
            return min(now, began + seconds) if short or is_hung else now

        for part in (self.motion, self.probes, self.trials):
            part.paused(since)

    # -- what is said of them

    def complain(self, now: float, complaint: Complaint) -> None:
        """The kernel has complained about a device; only an exact name is meant."""
        if complaint.name not in self._holding.blocks:
            return
        words = f"the kernel says: {complaint.text} (kmsg)"
        if complaint.about == FILE_SYSTEM:
            self.verdict.put(_FS, Condition.FS_ERROR, words, now)
        else:
            self._request_failed(now, complaint.about, complaint.name, complaint.sector, words)

    def reported(self, now: float, mountpoint: str, error: str) -> None:
        """A file system has reported an error of its own."""
        if any(line.mountpoint == mountpoint for _, line in self.ours):
            words = f"the file system on {mountpoint} reports {error} (fanotify)"
            self.verdict.put(_FS, Condition.FS_ERROR, words, now)

    def failed(self, now: float, failure: Failure) -> None:
        """A request has failed."""
        names = [name for name, number in self._holding.blocks.items() if number == failure.number]
        if names:
            words = f"a {failure.about} of {names[0]} failed: {failure.error} (block_rq_error)"
            self._request_failed(now, failure.about, names[0], failure.sector, words)

    def _request_failed(self, now: float, direction: str, name: str, sector: int, words: str) -> None:
        """Somebody has lost data, and that is enough; a read of our own is judged by its result."""
        if direction == WRITE:
            self._writes_fail(now, name, words)
        elif not self.probes.are_ours(name, sector):
            self._reads_fail(now, name, words)

    def _writes_fail(self, now: float, name: str, words: str) -> None:
        self._last_failed_write, self._failed_on = now, frozenset({name})
        self.verdict.put(_ERROR[WRITE], Condition.IO_ERROR, words, now)

    def _reads_fail(self, now: float, _: str, words: str) -> None:
        self.probes.renew()
        self.verdict.put(_ERROR[READ], Condition.IO_ERROR, words, now)

    def _reads_are_good(self) -> None:
        self.verdict.clear(_ERROR[READ])

    # -- what our own reads and writes say

    @property
    def is_waiting(self) -> bool:
        """A read or write of our own is under way."""
        return bool(self.probes.pending) or bool(self.trials.pending())

    def overdue(self, now: float) -> None:
        """Judge the reads and writes that are under way."""
        if self.is_waiting or self.verdict.signs:
            self.trials.overdue(now)
            self.probes.overdue(now)

    def read_ended(self, now: float, probe: Probe, result: int, data: bytes) -> None:
        """A read has ended."""
        self.motion.own_read()
        if probe in self.probes:  # else it was of an earlier mount
            self.probes.ended(now, probe, result, data)
            self.overdue(now)

    def close(self) -> None:
        """Let go of all devices."""
        self.probes.close()
        self._forget_counts()
        self.states.close()


def report(name: str, watched: Watched, now: float, boot_id: str, seq: int) -> Mapping[str, object]:
    """What is told of a resource."""
    sign = watched.verdict.current(now)
    return {
        "resource": name,
        "condition": sign.condition,
        "evidence": sign.evidence,
        "since": round(sign.since, 3),
        "seq": seq,
        "boot_id": boot_id,
    }
