"""
Mounting a resource on this node: find its disks by UUID, look who they are, mount, verify, start services.

Nothing half done is left: what was mounted before a failure is unmounted again. Never ``mkfs``, never a repair: the
journal is replayed by the mount itself, and a file system that needs more than that is for a person.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vmdk_failover.errors import Busy, CannotObserve
from vmdk_failover.guest import children, devices, holder, memory, mounts, superblock, users
from vmdk_failover.guest.children import Ended
from vmdk_failover.guest.devices import Holding
from vmdk_failover.guest.facts import mount_state
from vmdk_failover.guest.hang import HangWatch
from vmdk_failover.guest.latest import is_hung
from vmdk_failover.guest.places import HERE, Places, names, read
from vmdk_failover.guest.steps import Course, GiveUp, Step
from vmdk_failover.guest.unmounting import Unmounting
from vmdk_failover.model import Mount, MountState, Resource

_RESCAN_EVERY_S, _RESCAN_S = 2.0, 5.0
_BUSY_S, _UNDO_S = 2.0, 10.0
_NEEDS_CHECK = ("structure needs cleaning", "needs_check", "bad superblock on")


@dataclass(frozen=True)
class MountReport:
    """
    How a mount ended.

    :param ok: mounted, verified, services started.
    :param reason: one sentence.
    :param code: stable code if not ok: ``device_missing``, ``wrong_filesystem``, ``foreign_mount``, ``fs_check_needed``,
        ``device_busy``, ``superblock_alive``, ``mount_failed``, ``mount_stuck``, ``service_failed``, ``busy``.
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
) -> MountReport:
    """
    Mount all file systems of a resource and start its services. Mounted already, it only starts the services.

    :param start_services: runs in a disposable child after the mounts; an exception means that they did not start.
    :param stop_services: runs before what was mounted is unmounted again, if the services did not start.
    :param deadline_s: seconds for the whole.
    :param epoch: epoch of the permit under which this is done; 0 if it has been noted already.
    """
    course = Course(deadline_s)
    work = _Mounting(resource, course, state_dir, places)
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
    def __init__(self, resource: Resource, course: Course, state_dir: Path, places: Places) -> None:
        self.resource, self.course, self.state_dir, self.places = resource, course, state_dir, places
        self.boot_id = read(places.boot_id) or ""
        self.remembered = memory.Memory()
        self.mounted: list[Mount] = []

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
        next_scan = 0.0
        while not (holding := self.look()).complete:
            if self.course.left <= 0:
                raise GiveUp(f"disk {holding.missing} has not appeared on this node", "device_missing")
            if self.course.clock() >= next_scan:
                self._rescan()
                next_scan = self.course.clock() + _RESCAN_EVERY_S
            self.course.until(lambda: self.look().complete, 0.2, 0.01)
        return holding

    def _rescan(self) -> None:
        hosts = self.places.sys / "class/scsi_host"
        files = [hosts / host / "scan" for host in names(hosts)]
        if files:
            children.call(
                lambda: [file.write_text("- - -") for file in files], min(_RESCAN_S, self.course.left)
            )

    def _mount_all(self, holding: Holding, state: MountState) -> None:
        lines = mounts.of_process(places=self.places)
        if state in (MountState.FOREIGN, MountState.UNKNOWN):
            seen = [mounts.visible(lines, mount.mountpoint) for mount in self.resource.mounts]
            other = next(line for line in seen if line is not None and not holding.is_ours(line))
            raise GiveUp(
                f"{other.source} is mounted on {other.mountpoint}; unmount it first", "foreign_mount"
            )
        if state is MountState.UNMOUNTED and (alive := holding.superblocks(self.places)):
            words = (
                f"the file system on {alive[0]} is still alive from an earlier mount and not where it belongs"
            )
            raise GiveUp(words, "superblock_alive")
        holder.let_go(self.remembered.holders)
        found = self._identify(holding)
        for mount in sorted(self.resource.mounts, key=lambda one: one.mountpoint.count("/")):
            if mounts.visible(lines, mount.mountpoint) is None:
                with self.course.step(f"mount {mount.mountpoint}"):
                    self._mount(mount, found)

    def _identify(self, holding: Holding) -> dict[str, str]:
        """Read every superblock. Returns file system UUID → kernel name; raises if one is missing or of another kind."""
        with self.course.step("identify"):
            kinds: dict[str, tuple[str, str]] = {}
            for device in holding.found:
                for name, _ in device.stack:
                    self._read_one(name, kinds)
            for mount in self.resource.mounts:
                self._check_kind(mount, kinds)
            self._remember(holding, kinds)
            return {uuid: name for uuid, (_, name) in kinds.items()}

    def _read_one(self, name: str, kinds: dict[str, tuple[str, str]]) -> None:
        path = f"{self.places.dev}/{name}"
        ended = children.call(lambda: superblock.of_device(path), self.course.left)
        if ended.error:
            raise GiveUp(
                f"{name} cannot be read: {ended.error}", "mount_stuck" if ended.stuck else "mount_failed"
            )
        if ended.value:
            kind, uuid = ended.value
            kinds[uuid] = (kind, name)

    def _check_kind(self, mount: Mount, kinds: Mapping[str, tuple[str, str]]) -> None:
        seen = ", ".join(f"{kind} {uuid} on {name}" for uuid, (kind, name) in kinds.items()) or "none"
        if mount.fs_uuid not in kinds or not superblock.same_kind(kinds[mount.fs_uuid][0], mount.fstype):
            raise GiveUp(
                f"{mount.fstype} file system {mount.fs_uuid} is not on the disks of {self.resource.name}; found: {seen}",
                "wrong_filesystem",
            )

    def _remember(self, holding: Holding, kinds: Mapping[str, tuple[str, str]]) -> None:
        """From here on no earlier release holds any more."""
        blocks = {name: number for device in holding.found for name, number in device.stack}
        uuids = tuple((blocks[name], uuid) for uuid, (_, name) in kinds.items())
        changes = {"released": None, "blocks": tuple(blocks.items()), "uuids": uuids, "holders": ()}
        self.remembered = memory.update(self.state_dir, self.resource.name, self.boot_id, **changes)

    def _mount(self, mount: Mount, found: Mapping[str, str]) -> None:
        name = found[mount.fs_uuid]
        Path(mount.mountpoint).mkdir(parents=True, exist_ok=True)
        options = mount.options or "defaults"
        argv = ["mount", "-t", mount.fstype, "-o", options, f"{self.places.dev}/{name}", mount.mountpoint]
        ended = children.command(argv, self.course.left, self._watch(name))
        end = self.course.clock() + _BUSY_S
        while ended.value == 32 and _says_busy(ended) and self.course.clock() < end:
            self.course.until(lambda: False, 0.02, 0.02)
            ended = children.command(argv, self.course.left, self._watch(name))
        if ended.error or ended.value != 0:
            raise self._failed(mount, name, ended)
        self.mounted.append(mount)
        self._verify(mount, name)

    def _watch(self, name: str) -> Callable[[children.Child], str]:
        watch = HangWatch(
            self.look(),
            lambda: is_hung(self.state_dir, self.resource.name, self.boot_id),
            0.5,
            self.resource.hang_timeout,
            self.places,
        )
        return lambda child: watch.of_process(child.pid)

    def _failed(self, mount: Mount, name: str, ended: Ended) -> GiveUp:
        said = ended.error or " ".join(ended.output.split()) or f"exit status {ended.value}"
        code = "mount_stuck" if ended.error else "device_busy" if _says_busy(ended) else "mount_failed"
        if any(word in ended.output.lower() for word in _NEEDS_CHECK[:2]):
            code = "fs_check_needed"
        if code == "device_busy":
            paths = frozenset({f"{self.places.dev}/{name}"})
            said = ", ".join(map(str, users.openers(paths, self.places))) or said
        return GiveUp(f"{name} cannot be mounted on {mount.mountpoint}: {said}", code)

    def _verify(self, mount: Mount, name: str) -> None:
        line = mounts.visible(mounts.of_process(places=self.places), mount.mountpoint)
        number = read(self.places.block(name) / "dev")
        right = line is not None and (line.number == number or Path(line.source).name == name)
        if not right:
            raise GiveUp(
                f"{mount.mountpoint} does not show {name} after the mount; look at mountinfo", "mount_failed"
            )

    def _start(self, start_services: Callable[[], None]) -> None:
        ended = children.call(start_services, self.course.left)
        if ended.error:
            raise GiveUp(
                f"the services of {self.resource.name} did not start: {ended.error}", "service_failed"
            )

    def undo(self, stop_services: Callable[[], None] | None) -> None:
        """Leave nothing half done. What cannot be undone shows in the steps and in the node's facts."""
        if not self.mounted:
            return
        course = Course(_UNDO_S, done=self.course.done)
        try:
            with course.step("undo") as words:
                if stop_services is not None:
                    words.append(children.call(stop_services, course.left / 2).error or "services stopped")
                Unmounting(course, self.look, lambda _: "", self.places).run()
        except GiveUp:
            return  # its reason is in the steps


def _says_busy(ended: Ended) -> bool:
    return "already mounted" in ended.output or "busy" in ended.output
