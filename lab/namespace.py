"""The node that is a group of namespaces on this machine."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lab import guard, linux
from lab.cell import Cell, CellSpec, Done, LabError
from lab.disk import Disk
from lab.faultdisk import DiskError, Disks, FaultDisk
from lab.mounts import Mount, parse_mounts
from lab.node import Identity, Locked, Node, Slot

_END_LIMIT = 10.0
_TURN_LIMIT = 20.0


class NamespaceNode(Node):
    """A node made of namespaces on this machine: power-off is the end of every process in it, stuck or not.

    spec: of its cell. disks: where its disks are served. on_halt: called in a thread with this node and `o` or `b`
    after the guest has halted or reset itself.
    """

    def __init__(
        self, identity: Identity, spec: CellSpec, disks: Disks, on_halt: Callable[[NamespaceNode, str], None]
    ) -> None:
        super().__init__(identity)
        self._spec, self._host, self._on_halt = spec, disks, on_halt
        self._lock = threading.RLock()
        self._cell: Cell | None = None
        self._slots: dict[str, Slot] = {}
        self._attached: dict[str, FaultDisk] = {}
        self._removed: list[FaultDisk] = []  # taken away while it ran; may still be mounted
        self._pipe: guard.HaltPipe | None = None
        self._frozen = False

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One operation at a time; who waits too long for its turn is told so."""
        if not self._lock.acquire(timeout=_TURN_LIMIT):
            raise LabError(
                f"node {self.name} is busy with another operation for {_TURN_LIMIT:.0f} s; see the lab's log"
            )
        try:
            yield
        finally:
            self._lock.release()

    # -- power

    @property
    def is_running(self) -> bool:
        cell = self._cell
        return cell is not None and cell.alive()

    @property
    def is_frozen(self) -> bool:
        return self._frozen

    @property
    def cell(self) -> Cell:
        """Its cell. Raises LabError while it is off."""
        if self._cell is None:
            raise LabError(f"node {self.name} is powered off")
        return self._cell

    def power_on(self) -> None:
        with self._turn():
            if self.is_running:
                return self.thaw()
            self._cell = cell = Cell(self._spec, self._ended)
            try:
                self._boot(cell)
            except BaseException:
                self.power_off()
                raise

    def _boot(self, cell: Cell) -> None:
        fifo = self._spec.directory / "sysrq"
        for slot in self._slots.values():
            self._plug(slot)
        guard.check(self.name, cell.root, fifo)
        if self._pipe is None:
            self._pipe = guard.HaltPipe(fifo, self.halt_itself)
        linux.add_address(self._label, self.identity.address)
        cell.boot()

    @property
    def _label(self) -> int:
        return int(self.identity.address.rsplit(".", 1)[1])

    def power_off(self) -> None:
        with self._turn():
            cell, self._cell = self._cell, None
            self._frozen = False
            linux.drop_address(self._label)
            # first the disks stand still, then everything dies, then the disks go: so a dying program can neither
            # write nor see an error that a machine without power could not have seen
            for disk in self._attached.values():
                disk.stop()
            if cell is not None:
                cell.kill()
            for disk in self._attached.values():
                disk.drop()
            gone = [*self._attached.values(), *self._removed]
            self._attached, self._removed = {}, []
            self._wait_nothing_left(cell, gone)

    def _wait_nothing_left(self, cell: Cell | None, gone: Sequence[FaultDisk]) -> None:
        deadline = time.monotonic() + _END_LIMIT
        if cell is not None and not cell.wait_end(_END_LIMIT):
            raise LabError(
                f"node {self.name} has processes that did not die within {_END_LIMIT:.0f} s: {cell.processes()}"
            )
        for disk in gone:
            if not disk.wait_gone(max(0.0, deadline - time.monotonic())):
                raise LabError(
                    f"node {self.name}: the file system of /dev/{disk.loop} outlived it by {_END_LIMIT:.0f} s"
                )

    def _ended(self, status: int) -> None:
        """Process 1 has ended: by power_off, or because the guest called reboot(2)."""
        if self._cell is not None and not self._cell.alive():
            self.halt_itself("b" if status == 100 + signal.SIGHUP else "o")

    def halt_itself(self, word: str) -> None:
        # it is off at once, then whoever wanted to know is told
        self.power_off()
        self._on_halt(self, word)

    def freeze(self) -> None:
        with self._turn():
            self._frozen = True
            linux.drop_address(self._label)
            for disk in self._attached.values():
                disk.stop()
            self.cell.signal_all(signal.SIGSTOP)

    def unreachable(self) -> None:
        with self._turn():
            linux.drop_address(self._label)

    def reachable(self) -> None:
        with self._turn():
            if self.is_running and not self._frozen:
                linux.add_address(self._label, self.identity.address)

    def isolate(self) -> None:
        # its loopback is the lab's: what would be cut off at the cable is stopped
        self.signal_agent(signal.SIGSTOP)
        self.unreachable()

    def rejoin(self) -> None:
        self.reachable()
        if self.is_running:
            self.signal_agent(signal.SIGCONT)

    def die(self) -> None:
        os.kill(self.cell.pid, signal.SIGKILL)

    def signal_agent(self, sign: int) -> None:
        for _ in range(3):  # those included that are born meanwhile
            for pid in self._agents():
                with suppress(OSError):  # it has ended meanwhile
                    os.kill(pid, sign)

    def has_agent(self) -> bool:
        return bool(self._agents())

    def start_agent(self) -> None:
        for command in self._spec.boot:
            self.cell.start(command.argv)

    def _agents(self) -> list[int]:
        found = []
        for pid in self.cell.processes():
            with suppress(OSError):  # it has ended meanwhile
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                if (b"salt-minion" in line or b"prober.py" in line) and b"lab.cellinit" not in line:
                    found.append(pid)
        return found

    def thaw(self) -> None:
        with self._turn():
            if not self._frozen:
                return
            self._frozen = False
            for disk in self._attached.values():
                disk.go_on()
            self.cell.signal_all(signal.SIGCONT)
            linux.add_address(self._label, self.identity.address)

    def close(self) -> None:
        try:
            self.power_off()
        finally:
            if self._pipe is not None:
                self._pipe.close()

    # -- disks

    def slots(self) -> list[Slot]:
        return list(self._slots.values())

    def fault_disk(self, disk: Disk) -> FaultDisk:
        """The disk as it is attached here, to hurt it. Raises LabError."""
        if disk.uuid not in self._attached:
            raise LabError(f"disk {disk.path} is not attached to node {self.name}, or the node is off")
        return self._attached[disk.uuid]

    def hurt(self, disk: Disk, words: str) -> Any:
        return self.fault_disk(disk).set(words)

    def attach(self, disk: Disk, bus: int, unit: int) -> None:
        with self._turn():
            slot = Slot(disk, bus, unit)
            if disk.uuid in self._slots:
                raise LabError(f"disk {disk.path} is in the configuration of node {self.name} already")
            if self.is_running:
                self._plug(slot)
            self._slots[disk.uuid] = slot

    def _plug(self, slot: Slot) -> None:
        name = f"{self.minion_id}.{slot.disk.name}"
        try:
            attached = self._host.attach(name, str(slot.disk.backing))
        except DiskError as problem:
            if problem.code == "locked":
                raise Locked(f"{slot.disk.path} cannot be attached to node {self.name}: {problem}") from None
            raise LabError(f"{slot.disk.path} cannot be attached to node {self.name}: {problem}") from None
        self._attached[slot.disk.uuid] = attached
        _appear(self.cell.root / "dev", attached, slot.disk)

    def detach(self, disk: Disk) -> None:
        with self._turn():
            if self._slots.pop(disk.uuid, None) is None:
                raise LabError(f"disk {disk.path} is not in the configuration of node {self.name}")
            attached = self._attached.pop(disk.uuid, None)
            if attached is None:
                return
            _vanish(self.cell.root / "dev", attached, disk)
            attached.drop()
            self._removed.append(attached)

    # -- inside

    def run(self, argv: Sequence[str], seconds: float = 10.0) -> Done:
        return self.cell.run(argv, seconds)

    def tell(self, script: str) -> None:
        self.cell.start(["sh", "-c", script])

    def mounts(self) -> list[Mount]:
        cell = self._cell
        if cell is None:
            return []
        try:
            return parse_mounts(
                Path(f"/proc/{cell.pid}/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
            )
        except OSError as problem:
            if problem.errno in (errno.ENOENT, errno.ESRCH, errno.EINVAL):
                return []
            raise

    def device_of(self, disk: Disk) -> int | None:
        attached = self._attached.get(disk.uuid)
        return None if attached is None else attached.devno


def _links(dev: Path, disk: Disk) -> list[Path]:
    digits = disk.uuid.replace("-", "").lower()
    return [dev / "disk/by-id" / f"wwn-0x{digits}", dev / "disk/by-id" / f"scsi-3{digits}"]


def _appear(dev: Path, attached: FaultDisk, disk: Disk) -> None:
    os.mknod(dev / attached.loop, 0o060660, attached.devno)
    for link in _links(dev, disk):
        link.symlink_to(f"../../{attached.loop}")


def _vanish(dev: Path, attached: FaultDisk, disk: Disk) -> None:
    for path in (*_links(dev, disk), dev / attached.loop):
        with suppress(FileNotFoundError):
            path.unlink()
