"""
Releasing a resource on this node, with proof that this node can no longer write to its disks.

*Clean* means: every mount is gone from every mount namespace, no superblock is alive, its volume groups are inactive and
nothing else is stacked on the disk,
nothing is in flight, the disk is open exclusively to a process of ours, and then removed from the guest's bus. It says
nothing about data that the disk itself refused: after I/O errors, what was not yet written is lost, and the release may
be clean all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vmdk_failover.errors import Busy, CannotObserve
from vmdk_failover.guest import children, counters, devices, holder, memory, mounts, users
from vmdk_failover.guest.devices import Device, Holding
from vmdk_failover.guest.hang import HangWatch
from vmdk_failover.guest.latest import is_hung
from vmdk_failover.guest.lvm import TOOLS, Lvm, Tools
from vmdk_failover.guest.places import HERE, Places, read
from vmdk_failover.guest.steps import Course, GiveUp, Step
from vmdk_failover.guest.unmounting import Unmounting
from vmdk_failover.model import Resource

_EXCLUSIVE_S = 2.0
_DELETE_S = 5.0


@dataclass(frozen=True)
class ReleaseReport:
    """
    How a release ended.

    :param clean: this node can no longer write to the resource's disks; nothing but that.
    :param reason: one sentence; what was seen, or why it is not clean.
    :param code: stable code if it is not clean, such as ``hung``, ``in_use``, ``unmount_stuck``.
    :param steps: (name, seconds taken, outcome) in order.
    """

    clean: bool
    reason: str
    steps: tuple[Step, ...]
    code: str = ""


def release(
    resource: Resource,
    *,
    stop_services: Callable[[], None],
    deadline_s: float,
    state_dir: Path,
    epoch: int,
    hung: Callable[[], bool] | None = None,
    grace_s: float = 0.5,
    places: Places = HERE,
    tools: Tools = TOOLS,
) -> ReleaseReport:
    """
    Stop services, end users, unmount, and prove that this node has let go. Never blocks for longer than the deadline.

    :param stop_services: stops what runs on the file system; runs in a disposable child.
    :param deadline_s: seconds for the whole.
    :param epoch: epoch of the permit under which this is done.
    :param hung: the prober's word on whether the disk is hung; by default from its file in ``state_dir``.
    :param grace_s: seconds for which nothing may complete on a disk that the prober calls hung before this gives up.
    """
    course = Course(deadline_s)
    boot_id = read(places.boot_id) or ""
    says_hung = hung or (lambda: is_hung(state_dir, resource.name, boot_id))
    work = _Release(resource, course, places, tools)
    try:
        with memory.acting(state_dir, resource.name):
            work.remembered = memory.update(state_dir, resource.name, boot_id, epoch=epoch)
            if work.remembered.epoch > epoch:
                words = f"the order is of epoch {epoch}, this node has acted under a newer one"
                raise GiveUp(f"{words}; nothing was done", "overtaken")
            work.run(stop_services, says_hung, grace_s)
            changes = {"released": epoch, "blocks": (), "uuids": (), "holders": tuple(work.holders)}
            memory.update(state_dir, resource.name, boot_id, **changes)
    except GiveUp as err:
        holder.let_go(work.holders)
        return ReleaseReport(False, err.reason, tuple(course.done), err.code)
    except (Busy, CannotObserve) as err:
        return ReleaseReport(False, err.reason, tuple(course.done), err.code)
    return ReleaseReport(True, work.words(), tuple(course.done))


class _Release:
    def __init__(self, resource: Resource, course: Course, places: Places, tools: Tools) -> None:
        self.resource, self.course, self.places, self.tools = resource, course, places, tools
        self.remembered = memory.Memory()
        self.holders: list[tuple[int, int]] = []
        self.removed: list[str] = []
        self.orphans: tuple[tuple[str, str], ...] = ()

    def look(self) -> Holding:
        return devices.holding(self.resource, self.places, (*self.remembered.blocks, *self.orphans))

    def words(self) -> str:
        gone = f" and {', '.join(self.removed)} removed from the bus" if self.removed else ""
        return f"{self.resource.name} is unmounted, its disks are in nobody's use{gone}"

    def run(self, stop_services: Callable[[], None], says_hung: Callable[[], bool], grace_s: float) -> None:
        self.orphans = devices.orphans(self.look(), mounts.of_process(places=self.places), self.places)
        holding = self.look()
        watch = HangWatch(holding, says_hung, grace_s, self.resource.hang_timeout, self.places)
        self._refuse_hung(watch)
        self._stop(stop_services, watch)
        self._unmount(watch)
        self._deactivate(watch)
        holding = self.look()
        self._prove(holding, watch)
        self._remove(holding)

    def _refuse_hung(self, watch: HangWatch) -> None:
        with self.course.step("look"):
            seen = watch.at_once()
            if seen:
                raise GiveUp(f"{seen}; nothing was stopped or unmounted", "hung")

    def _stop(self, stop_services: Callable[[], None], watch: HangWatch) -> None:
        """What does not stop is ended with the other users; only a hung disk ends the release here."""
        with self.course.step("stop services") as words:
            limit = max(self.course.left / 2, self.course.left - 10.0)
            ended = children.call(stop_services, limit, lambda _: watch.look())
            if ended.error:
                words.append(ended.error)
            if ended.error and (seen := watch.look()):
                raise GiveUp(f"the services do not stop: {seen}", "hung")

    def _unmount(self, watch: HangWatch) -> None:
        with self.course.step("unmount") as words:
            work = Unmounting(self.course, self.look, watch.of_process, self.places)
            work.run()
            words.extend(work.evicted)

    def _deactivate(self, watch: HangWatch) -> None:
        if not self.resource.vgs:
            return
        with self.course.step("deactivate") as words:
            self._superblock_gone(self.look(), watch)

            def run(argv: Sequence[str]) -> children.Ended:
                ended = children.command(argv, self.course.left / 2, lambda _: watch.look())
                if ended.error and (seen := watch.look()):
                    raise GiveUp(f"the volume group cannot be deactivated: {seen}", "hung")
                return ended

            words += Lvm(run, self.places, self.tools).deactivate(self.resource.vgs, self.look())

    def _prove(self, holding: Holding, watch: HangWatch) -> None:
        with self.course.step("prove") as words:
            if not holding.complete:
                words.append(self._absent(holding))
            self._superblock_gone(holding, watch)
            holder.let_go(self.remembered.holders)
            for device in holding.found:
                self._nothing_stacked(device)
                self._keep(device)
                self._nothing_in_flight(device, watch)
            self._nobody_sees(holding)

    def _absent(self, holding: Holding) -> str:
        """A disk that is not found is proof only if every disk here says who it is."""
        if not devices.all_disks_identified(self.places):
            words = f"disk {holding.missing} is not found on this node, which has disks without identity"
            raise GiveUp(f"{words}; set disk.EnableUUID", "unidentified_disk")
        return "not all disks are in this node"

    def _superblock_gone(self, holding: Holding, watch: HangWatch) -> None:
        def gone() -> bool:
            reason = watch.look()
            if reason:
                raise GiveUp(f"the file system is unmounted but still alive, and {reason}", "hung")
            return not holding.superblocks(self.places)

        if not self.course.until(gone):
            names = ", ".join(holding.superblocks(self.places))
            raise GiveUp(
                f"the file system on {names} is unmounted but still alive in the kernel", "superblock_alive"
            )

    def _nothing_stacked(self, device: Device) -> None:
        above = devices.holders(device, self.places)
        if above:
            raise GiveUp(f"{', '.join(above)} is stacked on {device.name}; release it first", "stacked")

    def _keep(self, device: Device) -> None:
        end = self.course.clock() + _EXCLUSIVE_S
        while True:
            ended = holder.take(device, self.course.left, self.places)
            if ended.error:
                raise GiveUp(f"{device.name} cannot be opened exclusively: {ended.error}")
            if ended.value:
                self.holders.append(ended.value)
                return
            holder.let_go(holder.left(device, self.places))
            if self.course.clock() >= min(end, self.course.end):
                raise GiveUp(f"{device.name} is held exclusively: {self._who(device)}", "in_use")

    def _who(self, device: Device) -> str:
        paths = frozenset(f"{self.places.dev}/{name}" for name, _ in device.stack)
        return ", ".join(map(str, users.openers(paths, self.places))) or "by nobody who is in /proc"

    def _nothing_in_flight(self, device: Device, watch: HangWatch) -> None:
        def idle() -> bool:
            reason = watch.look()
            if reason:
                raise GiveUp(reason, "hung")
            counts = counters.sample(device.name, self.places)
            return counts is None or not any(count.flying for count in counts.values())

        if not self.course.until(idle):
            raise GiveUp(f"{device.name} has requests in flight", "in_flight")

    def _nobody_sees(self, holding: Holding) -> None:
        lines = mounts.of_process(places=self.places)
        if any(holding.is_ours(line) for line in lines):
            raise GiveUp("the file system was mounted again meanwhile", "in_use")
        for namespace in users.namespaces(holding.is_ours, self.places):
            raise GiveUp(f"the mount namespace of pid {namespace.pid} still sees the file system", "in_use")

    def _remove(self, holding: Holding) -> None:
        with self.course.step("remove") as words:
            for device in holding.found:
                path = self.places.block(device.name) / "device/delete"
                if path.exists():
                    self._delete(device, path)
                else:
                    self._no_writer(device)
            words.append(f"removed {', '.join(self.removed)}" if self.removed else "not on a bus")

    def _delete(self, device: Device, path: Path) -> None:
        ended = children.call(lambda: path.write_text("1"), min(_DELETE_S, self.course.left))
        directory = self.places.block(device.name)
        if ended.error or not self.course.until(lambda: not directory.exists(), _DELETE_S):
            why = ended.error or "it is still there"
            raise GiveUp(f"{device.name} cannot be removed from the bus: {why}", "not_removed")
        self.removed.append(device.name)

    def _no_writer(self, device: Device) -> None:
        """A disk that stays in the node is only safe while nobody has it open for writing."""
        paths = frozenset(f"{self.places.dev}/{name}" for name, _ in device.stack)
        writers = [str(opener) for opener in users.openers(paths, self.places) if opener.writes]
        if writers:
            raise GiveUp(f"{writers[0]} for writing; end it", "in_use")
