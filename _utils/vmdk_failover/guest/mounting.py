"""
Mounting a resource on this node: find its disks by UUID, activate its volume groups, look who they are, mount, verify,
start services.

Nothing half done is left: what was mounted before a failure is unmounted again. Never ``mkfs``, never a repair: the
journal is replayed by the mount itself, and a file system that needs more than that is for a person.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vmdk_failover.errors import Busy, CannotObserve
from vmdk_failover.guest import (
    children,
    devices,
    holder,
    identify,
    memory,
    mounts,
    namespace,
    refused_mount,
    rescan,
    trees,
    users,
)
from vmdk_failover.guest.children import Ended
from vmdk_failover.guest.devices import Holding
from vmdk_failover.guest.facts import behind_links, mount_state
from vmdk_failover.guest.hang import HangWatch
from vmdk_failover.guest.identify import FileSystem
from vmdk_failover.guest.latest import is_hung
from vmdk_failover.guest.lvm import TOOLS, Lvm, Tools, active_of
from vmdk_failover.guest.places import HERE, Places, read
from vmdk_failover.guest.refused_mount import KernelWords
from vmdk_failover.guest.steps import Course, GiveUp, Step
from vmdk_failover.guest.unmounting import Unmounting
from vmdk_failover.model import Mount, MountState, Resource

_RESCAN_EVERY_S, _RESCAN_S = 2.0, 5.0
_LVM_S = 60.0  # for one of LVM's tools; it waits for no journal
_BUSY_S, _UNDO_S = 2.0, 10.0


#: Seconds for a file system that was just unmounted to end before it counts as held alive by its users.
WRITE_OUT_S = 2.0


@dataclass(frozen=True)
class MountReport:
    """
    How a mount ended.

    :param ok: mounted, verified, services started.
    :param reason: one sentence.
    :param code: stable code if not ok: ``device_missing``, ``wrong_filesystem``, ``foreign_mount``, ``fs_check_needed``,
        ``device_busy``, ``superblock_alive``, ``mount_failed``, ``mount_stuck``, ``service_failed``, ``busy``,
        ``vg_conflict``, ``vg_missing``, ``vg_bound``, ``vg_inactive``, ``vg_active``, ``mount_namespace``.
    :param changed: something was mounted by this call.
    """

    ok: bool
    reason: str
    steps: tuple[Step, ...]
    code: str = ""
    changed: bool = False


def mount_all(
    resource: Resource,
    *,
    start_services: Callable[[], None],
    deadline_s: float,
    state_dir: Path,
    epoch: int = 0,
    stop_services: Callable[[], None] | None = None,
    places: Places = HERE,
    tools: Tools = TOOLS,
) -> MountReport:
    """
    Mount all file systems of a resource and start its services. Mounted already, it only starts the services.

    :param start_services: runs in a disposable child after the mounts; an exception means that they did not start.
    :param stop_services: runs before what was mounted is unmounted again, if the services did not start.
    :param deadline_s: seconds for the whole.
    :param epoch: epoch of the permit under which this is done; 0 if it has been noted already.
    """
    course = Course(deadline_s)
    work = _Mounting(resource, course, state_dir, places, tools)
    try:
        with memory.acting(state_dir, resource.name):
            work.begin(epoch)
            try:
                work.run(start_services)
            except GiveUp:
                work.undo(stop_services)
                raise
    except GiveUp as err:
        return MountReport(False, err.reason, tuple(course.done), err.code)
    except (Busy, CannotObserve) as err:
        return MountReport(False, err.reason, tuple(course.done), err.code)
    where = ", ".join(mount.mountpoint for mount in resource.mounts)
    words = "mounted" if work.mounted else "was mounted already"
    return MountReport(
        True, f"{resource.name} {words} on {where}", tuple(course.done), changed=bool(work.mounted)
    )


class _Mounting:
    def __init__(
        self, resource: Resource, course: Course, state_dir: Path, places: Places, tools: Tools
    ) -> None:
        self.resource, self.course, self.state_dir = resource, course, state_dir
        self.places, self.tools = places, tools
        self.boot_id = read(places.boot_id) or ""
        self.remembered = memory.Memory()
        self.mounted: list[Mount] = []
        self.activated = False

    def begin(self, epoch: int) -> None:
        self.remembered = memory.update(self.state_dir, self.resource.name, self.boot_id, epoch=epoch)
        if epoch and self.remembered.epoch > epoch:
            words = (
                f"the order is of epoch {epoch}, this node has acted under {self.remembered.epoch} meanwhile"
            )
            raise GiveUp(f"{words}; nothing was done", "overtaken")

    def look(self) -> Holding:
        return devices.holding(self.resource, self.places, self.remembered.blocks)

    def run(self, start_services: Callable[[], None]) -> None:
        with self.course.step("find disks") as words:
            holding = self._find()
            words.append(", ".join(device.name for device in holding.found))
        state = mount_state(holding, mounts.of_process(places=self.places), self.remembered, self.places)
        if state is not MountState.MOUNTED:
            self._mount_all(holding, state)
        with self.course.step("start services"):
            self._start(start_services)

    def _find(self) -> Holding:
        next_scan, tries = 0.0, 0
        while not (holding := self.look()).complete:
            if self.course.left <= 0:
                raise GiveUp(f"disk {holding.missing} has not appeared on this node", "device_missing")
            if self.course.clock() >= next_scan:
                self._rescan(holding, tries)
                next_scan, tries = self.course.clock() + _RESCAN_EVERY_S, tries + 1
            self.course.until(lambda: self.look().complete, 0.2, 0.01)
        return holding

    def _rescan(self, holding: Holding, tries: int) -> None:
        pairs = zip(holding.resource.disks, holding.devices, strict=True)
        missing = [disk for disk, device in pairs if device is None]
        wanted = {scan for disk in missing for scan in rescan.scans(disk, tries, self.places)}
        jobs = [partial(file.write_text, word) for file, word in sorted(wanted)]
        children.together(jobs, min(_RESCAN_S, self.course.left))

    def _mount_all(self, holding: Holding, state: MountState) -> None:
        lines = mounts.of_process(places=self.places)
        if state in (MountState.FOREIGN, MountState.UNKNOWN):
            raise GiveUp(self._foreign(holding, lines), "foreign_mount")
        if state is MountState.UNMOUNTED:  # by hand, a moment ago: the kernel may still write it out
            self.course.until(lambda: not holding.superblocks(self.places), WRITE_OUT_S)
        if state is MountState.UNMOUNTED and (alive := holding.superblocks(self.places)):
            words = (
                f"the file system on {alive[0]} is still alive from an earlier mount and not where it belongs"
            )
            raise GiveUp(words, "superblock_alive")
        self._can_be_seen()
        holder.let_go(self.remembered.holders)
        if self.resource.vgs:
            holding = self._activate(holding)
        found = self._identify(holding)
        for mount in sorted(self.resource.mounts, key=lambda one: one.mountpoint.count("/")):
            if mounts.visible(lines, mount.mountpoint) is None:
                with self.course.step(f"mount {mount.mountpoint}"):
                    self._mount(mount, found[mount.fs_uuid])

    def _can_be_seen(self) -> None:
        """What would be mounted where nobody finds it is not mounted at all."""
        if apart := namespace.fault(self.places):
            raise GiveUp(f"{apart}: {namespace.REMEDY}", "mount_namespace")
        if faults := behind_links(self.resource.mounts):
            raise GiveUp(faults[0], "mount_failed")

    def _foreign(self, holding: Holding, lines: Sequence[mounts.Line]) -> str:
        known = dict(self.remembered.uuids)
        for mount in self.resource.mounts:
            line = mounts.visible(lines, mount.mountpoint)
            if line is None:
                continue
            if not holding.is_ours(line):
                return f"{line.source} is mounted on {line.mountpoint}; unmount it first"
            if (other := known.get(line.number, mount.fs_uuid)) != mount.fs_uuid:
                return f"{line.source}, the file system {other}, is mounted on {line.mountpoint}; unmount it first"
            if other := trees.strange(mount, line):
                return f"on {line.mountpoint} {other}; unmount it first"
        return "what is mounted there has just changed; look again"

    def _activate(self, holding: Holding) -> Holding:
        with self.course.step("activate") as words:
            self._end_holders(holding)
            self.activated = not any(active_of(group, holding, self.places) for group in self.resource.vgs)
            memory.update(self.state_dir, self.resource.name, self.boot_id, released=None, holders=())
            words += self._lvm(self.course).activate(self.resource.vgs, self.look)
        return self.look()

    def _end_holders(self, holding: Holding) -> None:
        """Those of a release that was killed before it could remember them."""
        for device in holding.found:
            holder.let_go(holder.left(device, self.places))

    def _lvm(self, course: Course) -> Lvm:
        """LVM reads asynchronously and so sleeps interruptibly: what the disks do decides, not how it sleeps."""
        watch = self._hang_watch()
        return Lvm(
            lambda argv: children.command(argv, min(_LVM_S, course.left), lambda _: watch.look()),
            self.places,
            self.tools,
        )

    def _identify(self, holding: Holding) -> dict[str, FileSystem]:
        with self.course.step("identify") as words:
            found = identify.file_systems(holding, self.course, self._watch(), self.places)
            words += [f"{one.devices[0]} {one.note}" for one in found.values() if one.note]
            self._remember(holding, found)
            return found

    def _remember(self, holding: Holding, found: Mapping[str, FileSystem]) -> None:
        """From here on no earlier release holds any more."""
        blocks = {name: number for device in holding.found for name, number in device.stack}
        uuids = tuple((blocks[name], one.uuid) for one in found.values() for name in one.devices)
        changes = {"released": None, "blocks": tuple(blocks.items()), "uuids": uuids, "holders": ()}
        self.remembered = memory.update(self.state_dir, self.resource.name, self.boot_id, **changes)

    def _mount(self, mount: Mount, found: FileSystem) -> None:
        Path(mount.mountpoint).mkdir(parents=True, exist_ok=True)
        options = identify.options(mount, found, self.places)
        source = f"{self.places.dev}/{found.devices[0]}"
        argv = ["mount", "-t", mount.fstype, "-o", options, source, mount.mountpoint]
        kernel = KernelWords(self.places)
        ended = children.command(argv, self.course.left, self._watch())
        end = self.course.clock() + _BUSY_S
        while ended.value == 32 and _says_busy(ended) and self.course.clock() < end:
            self._end_holders(self.look())
            self.course.until(lambda: False, 0.02, 0.02)
            ended = children.command(argv, self.course.left, self._watch())
        said = kernel.about(found.devices, mount.fstype)
        if ended.error or ended.value != 0:
            raise self._failed(mount, found, ended, said)
        self.mounted.append(mount)
        self._verify(mount, found)

    def _hang_watch(self) -> HangWatch:
        return HangWatch(
            self.look(),
            lambda: is_hung(self.state_dir, self.resource.name, self.boot_id),
            0.5,
            self.resource.hang_timeout,
            self.places,
        )

    def _watch(self) -> Callable[[children.Child], str]:
        watch = self._hang_watch()
        return lambda child: watch.of_process(child.pid)

    def _failed(self, mount: Mount, found: FileSystem, ended: Ended, kernel: Sequence[str]) -> GiveUp:
        name = found.devices[0]
        said = ended.error or " ".join(ended.output.split()) or f"exit status {ended.value}"
        code = "mount_stuck" if ended.error else "device_busy" if _says_busy(ended) else "mount_failed"
        if code == "device_busy":
            paths = frozenset({f"{self.places.dev}/{name}"})
            said = ", ".join(map(str, users.openers(paths, self.places))) or said
        if kernel:
            said = f"{said} (the kernel: {'; '.join(kernel[-2:])})"
        if code == "mount_failed" and refused_mount.needs_check(ended.output, kernel):
            code = "fs_check_needed"
            said = f"{said}; {refused_mount.advice(mount.fstype, f'{self.places.dev}/{name}')}"
        return GiveUp(f"{name} cannot be mounted on {mount.mountpoint}: {said}", code)

    def _verify(self, mount: Mount, found: FileSystem) -> None:
        line = mounts.visible(namespace.of_machine(self.places), mount.mountpoint)
        if line is None or not self.look().is_ours(line):
            raise GiveUp(
                f"{mount.mountpoint} does not show {found.devices[0]} after the mount; look at mountinfo",
                "mount_failed",
            )
        if other := trees.strange(mount, line):
            raise GiveUp(f"after the mount on {mount.mountpoint} {other}", "mount_failed")

    def _start(self, start_services: Callable[[], None]) -> None:
        ended = children.call(start_services, self.course.left)
        if ended.error:
            raise GiveUp(
                f"the services of {self.resource.name} did not start: {ended.error}", "service_failed"
            )

    def undo(self, stop_services: Callable[[], None] | None) -> None:
        """Leave nothing half done. What cannot be undone shows in the steps and in the node's facts."""
        if not self.mounted and not self.activated:
            return
        course = Course(_UNDO_S, done=self.course.done)
        try:
            with course.step("undo") as words:
                if stop_services is not None and self.mounted:
                    words.append(children.call(stop_services, course.left / 2).error or "services stopped")
                Unmounting(course, self.look, lambda _: "", self.places).run()
                holding = self.look()
                course.until(lambda: not holding.superblocks(self.places))
                words += self._lvm(course).deactivate(self.resource.vgs, holding)
        except GiveUp:
            return  # its reason is in the steps


def _says_busy(ended: Ended) -> bool:
    return "already mounted" in ended.output or "busy" in ended.output
