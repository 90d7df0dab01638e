"""One resource under the prober's eyes: what is mounted, which disks are there, what they do and what is said of them."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable, Mapping, Sequence

from vmdk_failover.guest import devices, mounts, options
from vmdk_failover.guest.counters import READ, WRITE, Board
from vmdk_failover.guest.devices import Holding
from vmdk_failover.guest.error_trace import Failure
from vmdk_failover.guest.kernel_log import FILE_SYSTEM, Complaint
from vmdk_failover.guest.motion import Motion
from vmdk_failover.guest.mounts import Line
from vmdk_failover.guest.places import Places, read
from vmdk_failover.guest.probe import Probe
from vmdk_failover.guest.trials import Trials
from vmdk_failover.guest.verdict import Verdict
from vmdk_failover.model import Condition, Mount, Resource

#: Seconds in which a mount that has just gone may still be written out before it counts as lazily unmounted.
SETTLE_S = 0.3
#: After an error: good reads in a row, and seconds without another failed write, that take the word back.
GOOD_READS, QUIET_S = 3, 10.0
_ERROR = {READ: "read error", WRITE: "write error"}
_DEVICE, _FS, _MOUNT, _UUID, _PROBE = "device", "fs", "mount", "uuid", "probe hangs"
_OPTIONS = "options"
_OFFLINE = frozenset({"offline", "transport-offline"})


class Watched:
    """
    The watch over one resource. Every method is told the time (boot clock, seconds).

    :param log: told what could not be done, for the prober's own log.
    """

    def __init__(self, resource: Resource, places: Places, log: Callable[[str], None]) -> None:
        self.resource, self.places, self._log = resource, places, log
        self.verdict = Verdict()
        self.probes: dict[str, Probe] = {}
        self.motion = Motion(resource, self.verdict)
        self.trials = Trials(resource, self.verdict, self._error)
        self.settling = 0.0
        self._holding = Holding(resource, ())
        self._remembered: dict[str, str] = {}
        self._first_options: dict[int, frozenset[str]] = {}
        self._baseline: dict[str, int] = {}
        self._mount_ids: tuple[int, ...] = ()
        self.lines: tuple[Line, ...] = ()
        self._last_error = {READ: 0.0, WRITE: 0.0}
        self._written_at_error = 0
        self._seen_complete = False

    # -- who is there

    def look(self, now: float, lines: Sequence[Line]) -> None:
        """Look anew at what is mounted and which disks are there."""
        held = devices.holding(self.resource, self.places, self._remembered.items())
        if not held.complete and not self._remembered:
            self._remembered = dict(devices.orphans(held, lines, self.places))
            held = devices.holding(self.resource, self.places, self._remembered.items())
        self._holding = held
        shown = [(mount, mounts.visible(lines, mount.mountpoint)) for mount in self.resource.mounts]
        ours = [(mount, line) for mount, line in shown if line is not None and held.is_ours(line)]
        self._note_mounts(now, ours)
        alive = bool(ours) or bool(held.superblocks(self.places))
        self.verdict.holds = alive or held.complete
        self._judge_device(now, alive, [line for _, line in ours])
        self._judge_mounts(now, shown, alive)
        if not alive:
            self._forget(held)

    def _note_mounts(self, now: float, ours: Sequence[tuple[Mount, Line]]) -> None:
        """A new mount starts with a clean record: what was said of the one before is over."""
        ids = tuple(line.mount_id for _, line in ours)
        self.lines = tuple(line for _, line in ours)
        if ids == self._mount_ids:
            return
        self._mount_ids = ids
        self._open_probes(now, ours)
        self.trials.look(ours)
        self._first_options = {line.mount_id: line.of_fs for _, line in ours}
        if ids:
            self._remembered = self._holding.blocks
            self._baseline = {name: self._errors_count(name) for name in self._remembered}
            self.motion.begin()
            self.verdict.clear(*_ERROR.values(), _FS, _UUID, _PROBE)

    def _open_probes(self, now: float, ours: Sequence[tuple[Mount, Line]]) -> None:
        for probe in self.probes.values():
            probe.close()
        self.probes = {}
        for mount, line in ours:
            name = self._device_of(line)
            try:
                self.probes[name] = Probe(f"{self.places.dev}/{name}", mount)
            except OSError as err:
                if err.errno in (errno.EIO, errno.ENXIO, errno.ENODEV):
                    self._error(now, READ, f"{name} cannot be opened: {err.strerror}")
                self._log(f"{self.resource.name}: {name} is not probed: {err}")

    def _device_of(self, line: Line) -> str:
        names = {number: name for name, number in self._holding.blocks.items()}
        return names.get(line.number) or os.path.basename(line.source)

    def _judge_device(self, now: float, alive: bool, lines: Sequence[Line]) -> None:
        held = self._holding
        self._seen_complete = held.complete or (self._seen_complete and alive)
        vanished = any(mounts.is_vanished(line, self.places) for line in lines)
        offline = [d.name for d in held.found if read(self.places.block(d.name) / "device/state") in _OFFLINE]
        if alive and not held.complete and (self._seen_complete or vanished):
            words = f"disk {held.missing} ({', '.join(held.blocks)}) has left this node while in use (sysfs, by-id)"
            self.verdict.put(_DEVICE, Condition.DEVICE_GONE, words, now)
        elif offline:
            words = f"the kernel has set {offline[0]} offline (sysfs device/state)"
            self.verdict.put(_DEVICE, Condition.DEVICE_OFFLINE, words, now)
        else:
            self.verdict.clear(_DEVICE)

    def _judge_mounts(self, now: float, shown: Sequence[tuple[Mount, Line | None]], alive: bool) -> None:
        for mount, line in shown:
            if line is not None and not self._holding.is_ours(line):
                if self.verdict.holds:
                    words = f"{line.source} ({line.fstype}) is mounted on {mount.mountpoint} (mountinfo)"
                    return self.verdict.put(_MOUNT, Condition.WRONG_FILESYSTEM, words, now)
            elif line is None and self.verdict.holds:
                return self._judge_missing(now, mount, alive and not self._mount_ids)
        self.settling = 0.0
        self.verdict.clear(_MOUNT)
        self._judge_options(now, [(mount, line) for mount, line in shown if line is not None])

    def _judge_missing(self, now: float, mount: Mount, alive: bool) -> None:
        """Gone from mountinfo is not yet unmounted: the kernel may still be writing, or users keep it alive."""
        if not alive:
            self.settling = 0.0
            words = f"nothing is mounted on {mount.mountpoint} (mountinfo)"
            return self.verdict.put(_MOUNT, Condition.UNMOUNTED, words, now)
        if not self.settling:
            self.settling = now
        if now - self.settling >= SETTLE_S:
            words = (
                f"nothing is mounted on {mount.mountpoint}, but its superblock is alive (mountinfo, sysfs)"
            )
            self.verdict.put(_MOUNT, Condition.LAZILY_UNMOUNTED, words, now)

    @property
    def numbers(self) -> frozenset[str]:
        """``major:minor`` of all that belongs to it here."""
        return frozenset(number for number in self._holding.blocks.values() if number)

    @property
    def names(self) -> frozenset[str]:
        """Kernel names of the same."""
        return frozenset(self._holding.blocks)

    @property
    def is_complete(self) -> bool:
        """All its disks are here."""
        return self._holding.complete

    @property
    def is_settling(self) -> bool:
        """A mount has just gone and its file system is still alive: worth another look soon."""
        return bool(self.settling) and not self.verdict.has(_MOUNT)

    def _judge_options(self, now: float, ours: Sequence[tuple[Mount, Line]]) -> None:
        changes = []
        for mount, line in ours:
            if bad := options.given_up(line):
                words = f"the kernel shows {bad} on {line.mountpoint} (mountinfo)"
                self.verdict.put(_FS, Condition.FS_ERROR, words, now)
            if new := options.changed(mount, line, self._first_options.get(line.mount_id, line.of_fs)):
                changes.append(f"on {line.mountpoint} {new} (mountinfo)")
        if changes:
            self.verdict.put(_OPTIONS, Condition.OPTIONS_CHANGED, "; ".join(changes), now)
        else:
            self.verdict.clear(_OPTIONS)

    def _forget(self, held: Holding) -> None:
        """No file system of it is alive: nothing that was said of the old one matters to the next."""
        self._remembered, self._baseline = {}, {}
        self.verdict.clear(*_ERROR.values(), _FS, _UUID, _PROBE, _OPTIONS)
        self.motion.end(gone=not held.complete)

    # -- what the disks do

    def sample(self, now: float, board: Board) -> None:
        """Judge the counters of the disks."""
        if self.motion.sample(now, board, self._disks()):
            self._judge_write_error(now, self.motion.written)

    def _disks(self) -> list[str]:
        return [device.name for device in self._holding.found] or list(self._remembered)

    def check(self, now: float) -> bool:
        """What tells nobody when it changes: ext4's count of errors, a disk's state. Returns whether to look anew."""
        for name in self._remembered:
            self._judge_errors_count(now, name)
        block = f"{self.places.sys}/class/block"
        states = (read(f"{block}/{device.name}/device/state") for device in self._holding.found)
        return bool(self.verdict.signs) or any(state in _OFFLINE for state in states)

    def _judge_write_error(self, now: float, done: int) -> None:
        if not self.verdict.has(_ERROR[WRITE]):
            self._written_at_error = done
        elif now - self._last_error[WRITE] >= QUIET_S and done > self._written_at_error:
            self.verdict.clear(_ERROR[WRITE])

    def _errors_count(self, name: str) -> int:
        return int(read(f"{self.places.sys}/fs/ext4/{name}/errors_count") or 0)

    def _judge_errors_count(self, now: float, name: str) -> None:
        count, before = self._errors_count(name), self._baseline.get(name, 0)
        if count > before:
            words = f"ext4 on {name} has counted {count - before} errors since it was mounted (sysfs errors_count)"
            self.verdict.put(_FS, Condition.FS_ERROR, words, now)

    def hung_at(self) -> float:
        """When the disk counts as hung if nothing completes until then; infinite if all is well or it is hung already."""
        starts = self.motion.stalled()
        starts += [probe.pending for probe in self.probes.values() if probe.pending]
        starts += self.trials.pending()
        hung = self.verdict.current(0.0).condition == Condition.HUNG.value
        return min(starts) + self.resource.hang_timeout if starts and not hung else math.inf

    # -- what is said of them

    def complain(self, now: float, complaint: Complaint) -> None:
        """The kernel has complained about a device; only an exact name is meant."""
        if complaint.name not in self._holding.blocks:
            return
        words = f"the kernel says: {complaint.text} (kmsg)"
        if complaint.about == FILE_SYSTEM:
            self.verdict.put(_FS, Condition.FS_ERROR, words, now)
        else:
            self._error(now, complaint.about, words)

    def reported(self, now: float, mountpoint: str, error: str) -> None:
        """A file system has reported an error of its own."""
        if any(line.mountpoint == mountpoint for line in self.lines):
            words = f"the file system on {mountpoint} reports {error} (fanotify)"
            self.verdict.put(_FS, Condition.FS_ERROR, words, now)

    def failed(self, now: float, failure: Failure) -> None:
        """A request has failed."""
        names = [name for name, number in self._holding.blocks.items() if number == failure.number]
        if names:
            words = f"a {failure.about} of {names[0]} failed: {failure.error} (block_rq_error)"
            self._error(now, failure.about, words)

    def _error(self, now: float, direction: str, words: str) -> None:
        self._last_error[direction] = now
        for probe in self.probes.values():
            probe.good = 0
        self.verdict.put(_ERROR[direction], Condition.IO_ERROR, words, now)

    # -- what our own reads say

    @property
    def is_waiting(self) -> bool:
        """A read or write of our own is under way."""
        return any(probe.pending for probe in self.probes.values()) or bool(self.trials.pending())

    def overdue(self, now: float) -> None:
        """Judge the reads and writes that are under way."""
        if not self.is_waiting and not self.verdict.signs:
            return
        self.trials.overdue(now)
        late = [
            p for p in self.probes.values() if p.pending and now - p.pending >= self.resource.hang_timeout
        ]
        if late and late[0].pending:
            words = (
                f"a read of {late[0].name} has had no answer for {now - late[0].pending:.1f} s (own probe)"
            )
            self.verdict.put(_PROBE, Condition.HUNG, words, now)
        else:
            self.verdict.clear(_PROBE)

    def probed(self, now: float, probe: Probe, result: int, data: bytes) -> None:
        """A read has ended."""
        probe.pending = None
        if result in (-errno.EAGAIN, -errno.EOPNOTSUPP):
            return  # a full queue says nothing
        if result <= 0:
            what = errno.errorcode.get(-result, str(-result)) if result else "no data"
            return self._error(
                now, READ, f"a read of {probe.name} at {probe.offset} failed: {what} (own probe)"
            )
        if other := probe.other_filesystem(data):
            words = f"{probe.name} holds file system {other}, not {probe.mount.fs_uuid} (own probe)"
            self.verdict.put(_UUID, Condition.WRONG_FILESYSTEM, words, now)
        probe.good += 1
        if all(one.good >= GOOD_READS for one in self.probes.values()):
            self.verdict.clear(_ERROR[READ])

    def close(self) -> None:
        """Let go of all devices."""
        for probe in self.probes.values():
            probe.close()
        self.probes = {}


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
