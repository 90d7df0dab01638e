"""What can go wrong, one value each: what is done to the lab, and where the file system must be mounted in the end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lab.cell import LabError
from lab.cluster import Lab
from lab.linux import wait_until

DISK, FIRST, SECOND = "pgdata", "labdb1", "labdb2"
_HEARD_LIMIT = 20.0
Act = Callable[[Lab], None]


def _nothing(_: Lab) -> None:
    """Nothing has to be prepared."""


@dataclass(frozen=True)
class Scenario:
    """One thing that goes wrong.

    fault: does it, and returns at once. policy: options of the resource. expected: the minion id of the node that must
    have the disk mounted at the end. prepare: done before the clock starts. limit: seconds until it counts as failed.
    held: the rule by which the product must hold, if nothing may move.
    """

    name: str
    description: str
    fault: Act
    expected: str = SECOND
    policy: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    prepare: Act = _nothing
    limit: float = 60.0
    held: int = 0


def _hurt(words: str) -> Act:
    def act(lab: Lab) -> None:
        lab.fault(FIRST, DISK, words)

    return act


def _unmount(lab: Lab) -> None:
    lab.nodes[FIRST].run(["umount", "-l", lab.mountpoint()])


def _stop_ledger(lab: Lab) -> None:
    lab.master.local(FIRST, "service.stop", "ledger")


def _power_off(lab: Lab) -> None:
    lab.nodes[FIRST].power_off()
    lab.vcenter.guest_power(lab.nodes[FIRST].name, "poweredOff")


def _die(lab: Lab) -> None:
    """Process 1 of the guest is killed: all of it ends, and the vCenter sees a VM that powered itself off."""
    os.kill(lab.nodes[FIRST].cell.pid, signal.SIGKILL)


def _freeze(lab: Lab) -> None:
    """All its processors stand still; its address answers no more, and the vCenter hears nothing of its tools."""
    lab.nodes[FIRST].freeze()
    lab.vcenter.guest(lab.nodes[FIRST].name, heartbeat="gray")


def _signal_agent(lab: Lab, sign: signal.Signals) -> None:
    """Send a signal to the minion and all that belongs to it, and to nothing else on the node."""
    for pid in lab.nodes[FIRST].cell.processes():
        with suppress(OSError):  # it has ended meanwhile
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
            if (b"salt-minion" in line or b"prober.py" in line) and b"lab.cellinit" not in line:
                os.kill(pid, sign)


def _agent_dies(lab: Lab) -> None:
    _signal_agent(lab, signal.SIGKILL)


def _isolate(lab: Lab) -> None:
    """The node's network is gone: neither Salt nor an echo gets through, and the guest goes on writing."""
    _signal_agent(lab, signal.SIGSTOP)
    lab.nodes[FIRST].unreachable()


def _switchover(lab: Lab) -> None:
    lab.master.start("salt-run", "vmdk.switchover", DISK)


def _all_off(lab: Lab) -> None:
    for name in (SECOND, FIRST):
        lab.nodes[name].power_off()
        lab.vcenter.guest_power(lab.nodes[name].name, "poweredOff")


def _all_on(lab: Lab) -> None:
    for node in lab.nodes.values():
        node.power_on()
        lab.vcenter.guest_power(node.name, "poweredOn")


def _be_heard(lab: Lab) -> None:
    """A node that the engine has never heard since its start is given more time; here it has been."""
    if not lab.master.events.wait(f"vmdk-heartbeat/{FIRST}", _HEARD_LIMIT, 0.0):
        raise LabError(f"{FIRST} sent no heartbeat within {_HEARD_LIMIT:.0f} s; see its minion.log")
    note = lab.master.root / "var/lib/salt/vmdk/reachable.json"
    if not wait_until(lambda: note.exists() and FIRST in note.read_text(), _HEARD_LIMIT, 0.05):
        raise LabError(
            f"the engine has not found out within {_HEARD_LIMIT:.0f} s whether {FIRST} can be reached"
        )


def _highstates(lab: Lab) -> None:
    for name in lab.nodes:
        lab.master.send(name, "state.highstate")


SCENARIOS = {
    one.name: one
    for one in (
        Scenario("unmounted", "Somebody unmounts the file system; it is mounted again where it was.", _unmount, FIRST,
                 prepare=_stop_ledger),
        Scenario("eio-switchover", "Every request to the disk fails; the resource moves.", _hurt("all=eio"),
                 policy={"on_error": "switchover"}),
        Scenario("hang-switchover", "The disk answers nothing any more; the resource moves.", _hurt("all=hang"),
                 policy={"on_error": "switchover"}),
        Scenario("hang-halt", "The disk answers nothing any more; the node halts itself first.", _hurt("all=hang"),
                 policy={"on_error": "halt"}),
        Scenario("power-off", "The VM that holds the disk is powered off.", _power_off),
        Scenario("minion-dies", "The guest ends by itself, with its minion and all that is in it.", _die),
        Scenario("guest-freezes", "The guest stands still: no answer, no address, no heartbeat of its tools.", _freeze,
                 policy={"node_timeout": 3}, prepare=_be_heard),
        Scenario("isolated", "The node's network is gone while its guest goes on writing.", _isolate,
                 policy={"node_timeout": 3}, prepare=_be_heard),
        Scenario("agent-dies", "Minion and prober are killed, the machine is well: nothing may move.", _agent_dies, FIRST,
                 policy={"node_timeout": 3}, prepare=_be_heard, limit=30.0, held=644),
        Scenario("switchover", "A person asks for a planned move.", _switchover),
        Scenario("cold-start", "All VMs boot; the holder of the disk mounts it.", _all_on, FIRST, prepare=_all_off,
                 limit=120.0),
        Scenario("busy-highstate", "The disk hangs while both nodes are busy with a highstate of a minute.",
                 _hurt("all=hang"), policy={"on_error": "switchover"}, prepare=_highstates),
    )
}  # fmt: skip
