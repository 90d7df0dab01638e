"""Guests as the lab's nodes: what `lab.wishes.Guests` asks for."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.cell import LabError
from lab.cellinit import PLACE
from lab.disk import Disk
from lab.guest import vm
from lab.hypervisor import VcenterError
from lab.node import Identity
from lab.qemu import files, network, template
from lab.qemu.node import PATIENCE, Place, QemuNode
from lab.qemu.vmdk import make_vmdk

if TYPE_CHECKING:
    from lab.cluster import Lab

#: The master is reached by the guests' cables; its own times are those of machines that are ten times slower than real ones.
MASTER: Mapping[str, Any] = {
    "interface": "0.0.0.0",  # of a network namespace of the lab's own
    "gather_job_timeout": 60,  # or a job on a slow guest counts as lost
    "vmdk": {
        "defaults": {
            "node_timeout": 10,
            "hang_timeout": 4,
            "probe_interval": 1,
            "timeouts": {"ask": 20, "halt": 20},
        },
    },
}
LEAST: Mapping[str, float] = {"node_timeout": 10, "hang_timeout": 4}
#: Seconds without a sign of life after which vSphere shows the guest's heartbeat in that colour.
YELLOW_S, RED_S = 20.0, 40.0
_TOOLS = ("qemu-system-x86_64", "qemu-img", "setpriv", "ip", "mmdebstrap", "cpio")


class Guests:
    """Nodes that are QEMU guests. shown: moment, VM and colour of each heartbeat that the vCenter has shown."""

    patience = PATIENCE

    def __init__(self) -> None:
        self._template: template.Template | None = None
        self.shown: list[tuple[float, str, str]] = []

    def build(self, say: Callable[[str], None]) -> None:
        """Have the image. Raises LabError."""
        absent = [name for name in _TOOLS if shutil.which(name) is None]
        if absent:
            raise LabError(f"{', '.join(absent)} missing; run `scripts/system-packages.sh --guest`")
        vm.build(say=say)

    def prepare(self, say: Callable[[str], None]) -> None:
        """Have the saved state. Raises LabError."""
        self._template = template.ready(say)

    def master_options(self) -> Mapping[str, Any]:
        """The master's address and times."""
        return MASTER

    def policy(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a resource; none waits for less time than `LEAST` says."""
        return {**wanted, **{key: max(least, wanted[key]) for key, least in LEAST.items() if key in wanted}}

    def make_disk(self, directory: Path, path: str, fstype: str, size_mb: int) -> Disk:
        """A VMDK. Raises LabError."""
        return make_vmdk(directory, path, fstype, size_mb)

    def make_node(self, lab: Lab, identity: Identity, overrides: Mapping[str, Any]) -> QemuNode:
        """A guest that is off. Raises LabError."""
        assert self._template is not None, "prepare comes first"
        name = identity.minion_id
        directory = lab.run_dir / "n" / name
        if lab.wishes.salt:
            files.write(directory, identity, overrides, lab.wishes.synced)
            files.write_service(directory, name, lab.mountpoint())
        place = Place(
            lab.run_dir / "q" / name,
            directory if lab.wishes.salt else None,
            lab.run_dir / "shared" / "ledger.ack",
            tuple(lab.mountpoint(wish.name) for wish in lab.wishes.disks),
        )
        tap = network.make_cable(f"lab-{name}"[:15], identity.address)
        return QemuNode(identity, place, self._template, tap, lab.on_halt, lab.say)

    def settle(self, lab: Lab) -> None:
        """Have on the root disks what the nodes have written so far, as on machines that have run for long. Raises LabError."""
        for node in lab.nodes.values():
            done = node.run(["sync", "-f", PLACE])
            if done.code:
                raise LabError(f"the root disk of {node.minion_id} cannot be synced: {done.err.strip()}")

    @contextmanager
    def begin(self, lab: Lab) -> Iterator[None]:
        """Let the vCenter show the guests' heartbeats, as late as a real one does."""
        stop = threading.Event()
        thread = threading.Thread(target=_watch, args=(lab, stop, self.shown), name="heartbeats", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(5)


def colour(silent: float) -> str:
    """What vSphere shows of a running guest that has been silent for so many seconds."""
    return "red" if silent >= RED_S else "yellow" if silent >= YELLOW_S else "green"


def _watch(lab: Lab, stop: threading.Event, told: list[tuple[float, str, str]]) -> None:
    shown: dict[str, str] = {}
    while not stop.wait(0.5):
        for name, node in lab.nodes.items():
            now = colour(time.monotonic() - node.heard) if node.is_running else ""
            if now == shown.get(name):
                continue
            tools = "guestToolsNotRunning" if now == "red" else "guestToolsRunning"
            with suppress(VcenterError):  # it is told again half a second later
                if now:
                    lab.vcenter.guest(node.name, heartbeat=now, tools=tools)
                    told.append((time.monotonic(), node.name, now))
                shown[name] = now
