"""What can go wrong, one value each: what is done to the lab, and where the file system must be mounted in the end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from lab.cell import LabError
from lab.cluster import Lab
from lab.linux import wait_until
from lab.wishes import DiskWish

DISK, FIRST, SECOND = "pgdata", "labdb1", "labdb2"
_HEARD_LIMIT = 20.0
_SLOW_FENCE_MS = 5000
Act = Callable[[Lab], None]


def _nothing(_: Lab) -> None:
    """Nothing has to be prepared."""


@dataclass(frozen=True)
class Scenario:
    """One thing that goes wrong.

    fault: does it, and returns at once. policy: options of the resource. expected: the minion id of the node that must
    have the disk mounted at the end. prepare: done before the clock starts. limit: seconds until it counts as failed.
    held: the rule by which the product must hold, if nothing may move. check: done at the end; raises LabError with what is
    wrong. more: further disks of the resource. protect: makes the resource out of the lab's disks, where it is more than a
    file system on the first of them, and has it protected; done as soon as the nodes are there.
    """

    name: str
    description: str
    fault: Act
    expected: str = SECOND
    policy: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    prepare: Act = _nothing
    limit: float = 60.0
    held: int = 0
    check: Act = _nothing
    more: tuple[DiskWish, ...] = ()
    protect: Act | None = None


def hurt(words: str) -> Act:
    """Hurt the holder's disk."""

    def act(lab: Lab) -> None:
        lab.fault(lab.source, DISK, words)

    return act


def _unmount(lab: Lab) -> None:
    lab.nodes[lab.source].run(["umount", "-l", lab.mountpoint()])


def _stop_ledger(lab: Lab) -> None:
    lab.master.local(lab.source, "service.stop", "ledger", seconds=10.0 * lab.patience)


def power_off(lab: Lab) -> None:
    """Cut the power of the holder, and let the vCenter see it."""
    lab.nodes[lab.source].power_off()
    lab.vcenter.guest_power(lab.nodes[lab.source].name, "poweredOff")


def _die(lab: Lab) -> None:
    """Process 1 of the guest is killed: all of it ends, and the vCenter sees a VM that powered itself off."""
    lab.nodes[lab.source].die()


def _freeze(lab: Lab) -> None:
    """All its processors stand still; its address answers no more, and the vCenter hears nothing of its tools."""
    lab.nodes[lab.source].freeze()
    if lab.wishes.guests is None:  # where there are tools of a guest's own, their silence shows when it shows
        lab.vcenter.guest(lab.nodes[lab.source].name, heartbeat="gray")


def _agent_dies(lab: Lab) -> None:
    lab.nodes[lab.source].signal_agent(signal.SIGKILL)


def _slow_fence(lab: Lab) -> None:
    """A guest is slower than the emulated vCenter: without this the power-off would be there before the halt."""
    if lab.wishes.guests is not None:
        lab.vcenter.delays(poweroff=_SLOW_FENCE_MS)


def _has_halted(lab: Lab) -> None:
    """The guest has ended by its own hand, before the fence; only one with a kernel of its own can show it."""
    if lab.wishes.guests is not None and not lab.nodes[lab.source].resets:
        raise LabError(f"{lab.source} has not reset itself")


def _isolate(lab: Lab) -> None:
    """The node's network is gone: neither Salt nor an echo gets through, and the guest goes on writing."""
    lab.nodes[lab.source].isolate()


def _switchover(lab: Lab) -> None:
    lab.master.start("salt-run", "vmdk.switchover", DISK)


def _all_off(lab: Lab) -> None:
    for name in (lab.target, lab.source):
        lab.nodes[name].power_off()
        lab.vcenter.guest_power(lab.nodes[name].name, "poweredOff")


def _all_on(lab: Lab) -> None:
    for node in lab.nodes.values():
        node.power_on()
        lab.vcenter.guest_power(node.name, "poweredOn")


def be_heard(lab: Lab) -> None:
    """A node that the engine has never heard since its start is given more time; here it has been."""
    limit = _HEARD_LIMIT * lab.patience
    if not lab.master.events.wait(f"vmdk-heartbeat/{lab.source}", limit, 0.0):
        raise LabError(f"{lab.source} sent no heartbeat within {limit:.0f} s; see its minion.log")
    note = lab.master.root / "var/lib/salt/vmdk/reachable.json"
    if not wait_until(lambda: note.exists() and lab.source in note.read_text(), limit, 0.05):
        raise LabError(
            f"the engine has not found out within {limit:.0f} s whether {lab.source} can be reached"
        )


def _highstates(lab: Lab) -> None:
    for name in lab.nodes:
        lab.master.send(name, "state.highstate")


SCENARIOS = {
    one.name: one
    for one in (
        Scenario("unmounted", "Somebody unmounts the file system; it is mounted again where it was.", _unmount, FIRST,
                 prepare=_stop_ledger),
        Scenario("eio-switchover", "Every request to the disk fails; the resource moves.", hurt("all=eio"),
                 policy={"on_error": "switchover"}),
        Scenario("hang-switchover", "The disk answers nothing any more; the resource moves.", hurt("all=hang"),
                 policy={"on_error": "switchover"}),
        Scenario("hang-halt", "The disk answers nothing any more; the node halts itself first.", hurt("all=hang"),
                 policy={"on_error": "halt"}, prepare=_slow_fence, check=_has_halted),
        Scenario("power-off", "The VM that holds the disk is powered off.", power_off),
        Scenario("minion-dies", "The guest ends by itself, with its minion and all that is in it.", _die),
        Scenario("guest-freezes", "The guest stands still: no answer, no address, no heartbeat of its tools.", _freeze,
                 policy={"node_timeout": 3}, prepare=be_heard),
        Scenario("isolated", "The node's network is gone while its guest goes on writing.", _isolate,
                 policy={"node_timeout": 3}, prepare=be_heard),
        Scenario("agent-dies", "Minion and prober are killed, the machine is well: nothing may move.", _agent_dies, FIRST,
                 policy={"node_timeout": 3}, prepare=be_heard, limit=30.0, held=644),
        Scenario("switchover", "A person asks for a planned move.", _switchover),
        Scenario("cold-start", "All VMs boot; the holder of the disk mounts it.", _all_on, FIRST, prepare=_all_off,
                 limit=120.0),
        Scenario("busy-highstate", "The disk hangs while both nodes are busy with a highstate of a minute.",
                 hurt("all=hang"), policy={"on_error": "switchover"}, prepare=_highstates),
    )
}  # fmt: skip
