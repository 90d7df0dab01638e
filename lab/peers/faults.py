"""The faults that every product is struck by, on the same disks and nodes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lab.cluster import Lab
from lab.namespace import NamespaceNode
from lab.scenarios import FIRST, SCENARIOS, SECOND

Act = Callable[[Lab], None]


@dataclass(frozen=True)
class Fault:
    """What goes wrong. ours: the fault here; theirs: in the cluster, None if it is the same. expected: who serves then."""

    name: str
    description: str
    ours: Act
    theirs: Act | None = None
    expected: str = SECOND
    needs_heartbeat: bool = False


def writers(node: NamespaceNode) -> list[int]:
    """The processes of the service on a node."""
    found = []
    for pid in node.cell.processes():
        with suppress(OSError):
            if b"lab.writer" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def _unmount(lab: Lab) -> None:
    """The service is ended and the file system unmounted, as by a person's mistake."""
    for pid in writers(lab.nodes[FIRST]):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    lab.nodes[FIRST].run(["umount", "-l", lab.mountpoint()])


def _cut(lab: Lab) -> None:
    lab.nodes[FIRST].unreachable()


def _scenario(name: str) -> Act:
    return SCENARIOS[name].fault


FAULTS = (
    Fault("I/O error", "every request to the disk fails", _scenario("eio-switchover")),
    Fault("hang", "the disk answers nothing any more", _scenario("hang-switchover")),
    Fault("power-off", "the VM of the node is powered off", _scenario("power-off")),
    Fault("freeze", "the guest stands still, its VM stays powered on", _scenario("guest-freezes"), needs_heartbeat=True),
    Fault("umount", "the service is killed, the file system unmounted", _unmount, expected=FIRST),
    Fault("switchover", "a person asks for a planned move", _scenario("switchover")),
    Fault("network cut", "the node's network is gone, its guest goes on writing", _scenario("isolated"), _cut,
          needs_heartbeat=True),
)  # fmt: skip
