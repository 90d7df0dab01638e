"""The node that is a guest: its own kernel, devices and minion; power-off is the end of its QEMU."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.cell import Done, LabError
from lab.disk import Disk
from lab.linux import wait_until
from lab.mounts import Mount, parse_mounts
from lab.node import Identity, Node, Slot
from lab.qemu import files, network
from lab.qemu.line import Acknowledgements
from lab.qemu.machine import Hardware, Machine, Started, overlay
from lab.qemu.template import Template
from lab.qemu.vmdk import Drive, serial
from lab.saltconf import MINION_ROOT

#: How many times longer than for a namespace one waits for a guest: everything in it takes ten times longer than in earnest.
PATIENCE = 8.0
_TURN_LIMIT = 120.0
#: Seconds: until a guest has halted or reset itself; for an order of its agent's; silence by which it does not answer.
_HALT_LIMIT, _ANSWER_LIMIT, _SILENT_S = 60.0, 60.0, 20.0
_MINION = {
    "arguments": ["-c", MINION_ROOT, "-l", "quiet", "--disable-keepalive"],
    "log": f"{MINION_ROOT}/console.log",
}

#: Salt names its processes anew: what tells a minion from the zygote that it is a fork of is its session, as the agent has it.
_HAS_AGENT = (
    "me=$(echo $(ps -o sid= -p $$)); "
    "ps -eo sid=,args= | awk -v me=$me '$1 != me && /zygote|prober[.]py/ { found = 1 } END { exit !found }'"
)


@dataclass(frozen=True)
class Place:
    """Where a node's files are. folder: short, for sockets. files: what its guest is given; empty without Salt.
    acknowledged: the file for its writer's words. directories: made in the guest at each boot."""

    folder: Path
    files: Path | None
    acknowledged: Path
    directories: tuple[str, ...] = ()


class QemuNode(Node):
    """A node made of a QEMU process.

    on_halt: called in a thread with this node and `o` when the guest has ended by itself; a reset ends nothing: the guest
    boots anew in the same machine. tap: its cable.
    """

    def __init__(
        self, identity: Identity, place: Place, template: Template, tap: str,
        on_halt: Callable[[QemuNode, str], None], say: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        super().__init__(identity)
        self._place, self._template, self._on_halt, self._say = place, template, on_halt, say
        self._lock = threading.RLock()
        self._machine: Machine | None = None
        self._acks: Acknowledgements | None = None
        self._slots: dict[str, Slot] = {}
        self._drives: dict[str, Drive] = {}
        self._frozen = self._known = self._settled = False
        self._count = 0
        self.resets: list[float] = []
        self._parsed: tuple[str, list[Mount]] = ("", [])
        # QEMU ends with the thread that started it, so that a killed lab leaves none behind
        self._keeper = ThreadPoolExecutor(1, f"keeper of {self.name}")
        self._keeper.submit(os.getpid).result()
        root = place.folder / "root.qcow2"
        place.folder.mkdir(parents=True, exist_ok=True)
        overlay(template.root, "qcow2", root)
        self.hardware = Hardware(
            place.folder,
            self.name,
            identity.uuid,
            tap,
            template.kernel,
            template.initrd,
            template.payload,
            root,
        )

    def _spawn(self, begin: Callable[[], Started]) -> Started:
        return self._keeper.submit(begin).result()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=_TURN_LIMIT):
            raise LabError(f"node {self.name} is busy with another operation for {_TURN_LIMIT:.0f} s")
        try:
            yield
        finally:
            self._lock.release()

    # -- power

    @property
    def is_running(self) -> bool:
        machine = self._machine
        return machine is not None and machine.alive

    @property
    def is_frozen(self) -> bool:
        return self._frozen

    @property
    def machine(self) -> Machine:
        """Its QEMU. Raises LabError while it is off."""
        if self._machine is None:
            raise LabError(f"node {self.name} is powered off")
        return self._machine

    @property
    def heard(self) -> float:
        """When its guest last gave a sign of life, as VMware Tools do."""
        machine = self._machine
        return machine.agent.heard if machine is not None else 0.0

    @property
    def spent(self) -> float:
        """Seconds of processor time that its machine has taken since it was powered on; 0 while it is off."""
        machine = self._machine
        try:
            words = (
                Path(f"/proc/{machine.pid}/stat").read_text().rpartition(")")[2].split() if machine else []
            )
        except OSError:  # it has just ended
            return 0.0
        return sum(map(int, words[11:13])) / os.sysconf("SC_CLK_TCK")

    def power_on(self) -> None:
        """The first time it goes on from the saved state, as if it had just booted; later it really boots."""
        with self._turn():
            if self.is_running:
                return self.thaw()
            known, self._known = self._known, True
            memory = None if known else self._template.memory
            self._machine = Machine(
                self.hardware, memory, self._hear, self._booted, spawn=self._spawn, incoming=not known
            )
            try:
                self._acks = Acknowledgements(self.hardware.folder / "ack", self._place.acknowledged)
                (self._boot if known else self._restore)(self._machine)
            except BaseException:
                self.power_off()
                raise

    def _boot(self, machine: Machine) -> None:
        for slot in self._slots.values():
            self._plug(slot)
        machine.start()

    def _restore(self, machine: Machine) -> None:
        machine.restore(self._template.state)
        machine.agent.ready.set()
        words = {
            "now": time.time(),
            "seed": os.urandom(32).hex(),
            "boot_id": str(uuid.uuid4()),
            "uuid": self.identity.uuid,
        }
        machine.agent.must("wake", **words)
        for slot in self._slots.values():  # a disk does not go with a saved state
            self._plug(slot)
        if self._place.files is not None:
            machine.agent.must("place", data=files.packed(self._place.files))
        self._settle(machine)

    def _booted(self) -> None:
        """A guest has booted by itself: name, address and minion. In a thread: there is nobody to raise to."""
        machine = self._machine
        try:
            if machine is not None:
                self._settle(machine)
        except LabError as problem:
            self._say(f"{self.name} booted, but: {problem}")

    def _settle(self, machine: Machine) -> None:
        who = self.identity
        machine.agent.must(
            "appear", hostname=who.minion_id, address=who.address, directories=self._place.directories,
            machine_id=uuid.uuid5(uuid.NAMESPACE_OID, who.minion_id).hex,
        )  # fmt: skip
        if self._place.files is not None:
            machine.agent.must("minion", **_MINION)
        self._settled = True

    def power_off(self) -> None:
        with self._turn():
            machine, self._machine = self._machine, None
            acks, self._acks = self._acks, None
            self._frozen = self._settled = False
            self._drives = {}
            if machine is not None:
                machine.cut()
            if acks is not None:
                acks.close()

    def _hear(self, event: str, data: dict[str, Any]) -> None:
        machine = self._machine
        if event == "RESET" and machine is not None:
            self._settled = False
            self.resets.append(time.monotonic())
            machine.agent.ready.clear()
            machine.agent.sight = {"mounts": "", "disks": {}}
        elif event == "EOF" and machine is not None:
            threading.Thread(
                target=self._ended, args=(machine,), name=f"end of {self.name}", daemon=True
            ).start()

    def _ended(self, machine: Machine) -> None:
        """QEMU has ended by itself: the guest has powered it off."""
        with self._turn():
            if self._machine is not machine:
                return
            self.power_off()
        self._on_halt(self, "o")

    def freeze(self) -> None:
        with self._turn():
            self.machine.monitor("stop")
            self._frozen = True

    def thaw(self) -> None:
        with self._turn():
            if self._frozen:
                self._frozen = False
                self.machine.monitor("cont")

    @property
    def answers(self) -> bool:
        machine = self._machine
        if machine is None or not super().answers or not self._settled:
            return False
        return time.monotonic() - machine.agent.heard < _SILENT_S

    def isolate(self) -> None:
        self.machine.monitor("set_link", name="nic0", up=False)

    def rejoin(self) -> None:
        if self.is_running:
            self.machine.monitor("set_link", name="nic0", up=True)

    def unreachable(self) -> None:
        if self.is_running:
            self.isolate()

    def reachable(self) -> None:
        self.rejoin()

    def close(self) -> None:
        """Power it off for good."""
        try:
            self.power_off()
        finally:
            self._keeper.shutdown(wait=False)
            network.drop_cable(self.hardware.tap)

    # -- disks

    def slots(self) -> list[Slot]:
        return list(self._slots.values())

    def attach(self, disk: Disk, bus: int, unit: int) -> None:
        with self._turn():
            slot = Slot(disk, bus, unit)
            if disk.uuid in self._slots:
                raise LabError(f"disk {disk.path} is in the configuration of node {self.name} already")
            if self.is_running:
                self._plug(slot)
            self._slots[disk.uuid] = slot

    def _plug(self, slot: Slot) -> None:
        self._count += 1
        self._drives[slot.disk.uuid] = Drive(self.machine.monitor, slot, f"{slot.disk.name}-{self._count}")

    def detach(self, disk: Disk) -> None:
        with self._turn():
            if self._slots.pop(disk.uuid, None) is None:
                raise LabError(f"disk {disk.path} is not in the configuration of node {self.name}")
            drive = self._drives.pop(disk.uuid, None)
            if drive is not None:
                drive.unplug()

    def pull(self, disk: Disk) -> None:
        """Take a disk out of the machine and leave it in the configuration, as where its storage has lost it."""
        with self._turn():
            self._drives.pop(disk.uuid).unplug()

    def put_back(self, disk: Disk) -> None:
        """The storage has a pulled disk again, if it is still in the configuration. Raises Locked."""
        with self._turn():
            slot = self._slots.get(disk.uuid)
            if slot is not None and self.is_running and disk.uuid not in self._drives:
                self._plug(slot)

    def hurt(self, disk: Disk, words: str) -> Any:
        with self._turn():
            drive = self._drives.get(disk.uuid)
            if drive is None:
                raise LabError(f"disk {disk.path} is not attached to node {self.name}, or the node is off")
            return drive.hurt(words)

    def device_of(self, disk: Disk) -> int | None:
        return next(iter(self.devices_of(disk)), None)

    def devices_of(self, disk: Disk) -> tuple[int, ...]:
        machine = self._machine
        sight = machine.agent.sight if machine is not None else {"disks": {}}
        found = sight["disks"].get(serial(disk))
        numbers = () if found is None else (found, *sight.get("above", {}).get(found, ()))
        return tuple(os.makedev(*map(int, number.split(":"))) for number in numbers)

    # -- inside

    def run(self, argv: Sequence[str], seconds: float = 10.0) -> Done:
        machine, seconds = self.machine, seconds * PATIENCE
        if not machine.agent.ready.wait(seconds):
            raise LabError(f"the guest of {self.name} has not booted within {seconds:g} s")
        return machine.agent.ask("run", seconds, argv=list(argv))

    def tell(self, script: str, seconds: float = 1.0) -> None:
        threading.Thread(target=self._try, args=(script, seconds), daemon=True).start()

    def _try(self, script: str, seconds: float) -> None:
        try:
            self.run(["sh", "-c", script], seconds)
        except LabError:
            return  # as was to be expected

    def die(self) -> None:
        self.tell("echo o >/proc/sysrq-trigger")

    def halt_itself(self, word: str) -> None:
        machine, resets = self.machine, len(self.resets)
        self.tell(f"echo {word} >/proc/sysrq-trigger")
        if not wait_until(
            lambda: len(self.resets) > resets if word == "b" else self._machine is not machine,
            _HALT_LIMIT,
            0.05,
        ):
            raise LabError(f"the guest of {self.name} did not halt by {word!r} within {_HALT_LIMIT:.0f} s")

    def signal_agent(self, sign: int) -> None:
        self.machine.agent.must("signal", seconds=_ANSWER_LIMIT, signal=int(sign))

    def has_agent(self) -> bool:
        return self.run(["sh", "-c", _HAS_AGENT]).code == 0

    def start_agent(self) -> None:
        self.machine.agent.must("minion", **_MINION)

    def mounts(self) -> list[Mount]:
        machine = self._machine
        text = machine.agent.sight["mounts"] if machine is not None else ""
        if self._parsed[0] != text:
            self._parsed = text, parse_mounts(text)
        return self._parsed[1]
