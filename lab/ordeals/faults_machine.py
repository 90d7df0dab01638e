"""Machines that end, freeze or are cut off, and agents that die alone."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from lab.cell import LabError
from lab.hypervisor import VcenterError
from lab.ordeals import clock
from lab.ordeals.fault import DEAD, FENCED, NAMESPACES, Fault
from lab.ordeals.scene import Cure, Scene, nothing, quietly
from lab.strikes import TooLate

Who = Callable[[Scene], str]
_HOUR = 3600.0


def boot(scene: Scene, name: str) -> None:
    """A person powers a VM on; while another has its disk, vSphere refuses and it stays off."""
    with suppress(LabError):
        scene.lab.power_on(name)
        show_heartbeat(scene, name, "green")


def show_heartbeat(scene: Scene, name: str, colour: str) -> None:
    """Let the vCenter show a heartbeat, where it is not the guests themselves that give one. Raises VcenterError."""
    if scene.lab.wishes.guests is None:
        scene.lab.vcenter.guest(scene.node(name).name, heartbeat=colour)


def _cut_power(who: Who) -> Callable[[Scene], Cure]:
    def strike(scene: Scene) -> Cure:
        name = who(scene)
        scene.running(name).power_off()
        scene.lab.vcenter.guest_power(scene.node(name).name, "poweredOff")
        return scene.note("off", name, lambda: boot(scene, name))

    return strike


def _both_off(scene: Scene) -> Cure:
    cures = [_cut_power(who)(scene) for who in (Scene.other, Scene.holder)]

    def cure() -> None:
        for one in cures:
            one()

    return cure


def _crash(who: Who) -> Callable[[Scene], Cure]:
    def strike(scene: Scene) -> Cure:
        name = who(scene)
        scene.running(name)
        scene.lab.crash(name)
        return scene.note("off", name, lambda: boot(scene, name))

    return strike


def _reset(who: Who) -> Callable[[Scene], Cure]:
    """The guest reboots by itself, at once."""

    def strike(scene: Scene) -> Cure:
        name = who(scene)
        scene.running(name).halt_itself("b")
        return scene.note("reset", name, nothing)

    return strike


def _freeze(who: Who) -> Callable[[Scene], Cure]:
    """All its processors stand still; its address answers no more, and the vCenter hears nothing of its tools."""

    def strike(scene: Scene) -> Cure:
        name = who(scene)
        scene.running(name).freeze()
        show_heartbeat(scene, name, "gray")

        def cure() -> None:
            scene.node(name).thaw()
            with suppress(VcenterError):  # it is off meanwhile
                show_heartbeat(scene, name, "green")

        return scene.note("frozen", name, cure)

    return strike


def start_agent(scene: Scene, name: str) -> None:
    """Start the minion of a node, if it runs and has none."""
    node = scene.node(name)
    with suppress(LabError):
        if node.answers and not node.has_agent():
            node.start_agent()


def _has_agents(scene: Scene, name: str) -> str:
    """A node that runs and has a minion or a prober to strike. Raises TooLate."""
    if not scene.inside(name).has_agent():
        raise TooLate(f"no agent runs on {name}")
    return name


def _kill_agent(who: Who) -> Callable[[Scene], Cure]:
    def strike(scene: Scene) -> Cure:
        name = _has_agents(scene, who(scene))
        scene.signal_agents(name, signal.SIGKILL)
        return scene.note("agent-dead", name, lambda: start_agent(scene, name))

    return strike


def _stop_agent(scene: Scene) -> Cure:
    name = _has_agents(scene, scene.holder())
    scene.signal_agents(name, signal.SIGSTOP)
    return scene.note("agent-stopped", name, lambda: scene.signal_agents(name, signal.SIGCONT))


def _kill_prober(scene: Scene) -> Cure:
    name = scene.holder()
    if scene.inside(name).run(["pkill", "-KILL", "-f", "prober[.]py"]).code:
        raise TooLate(f"no prober runs on {name}")
    return scene.note("prober-dead", name, nothing)


def _isolate(who: Who) -> Callable[[Scene], Cure]:
    """The node's network is gone: neither Salt nor an echo gets through, and the guest goes on writing."""

    def strike(scene: Scene) -> Cure:
        name = who(scene)
        node = scene.running(name)
        node.isolate()

        def cure() -> None:
            with quietly():
                node.rejoin()

        return scene.note("isolated", name, cure)

    return strike


def _cut_network(scene: Scene) -> Cure:
    """Nothing gets through between the master and all nodes; then what was on its way arrives."""
    if scene.stands("network-cut"):
        raise TooLate("it is cut already")
    scene.cable.cut()
    for node in scene.lab.nodes.values():
        node.unreachable()

    def cure() -> None:
        scene.cable.mend()
        for name, node in scene.lab.nodes.items():
            if not scene.stands("isolated", name):
                node.reachable()

    return scene.note("network-cut", "", cure)


def _turn_clock(find: Callable[[Scene], str]) -> Callable[[Scene], Cure]:
    """The wall clock of a node or of the master jumps by an hour, and back. find: its directory in the lab's."""

    def strike(scene: Scene) -> Cure:
        if not clock.is_turnable():
            raise TooLate("no clock of this lab can be turned")
        where = find(scene)
        clock.turn(scene.lab.run_dir / where, _HOUR if where == "m" else -_HOUR)
        return scene.note("clock", "", lambda: clock.turn(scene.lab.run_dir / where, 0.0))

    return strike


def both(kind: str, make: Callable[[Who], Callable[[Scene], Cure]], **words: Any) -> tuple[Fault, ...]:
    who: tuple[tuple[str, Who], ...] = (("holder", Scene.holder), ("other", Scene.other))
    group = words.pop("group", "machine")
    steps = words.pop("steps", ())
    return tuple(
        Fault(f"{kind}-{name}", group, make(act), steps=steps if act is Scene.holder else (), **words)
        for name, act in who
    )


FAULTS = (
    *both("power-off", _cut_power, lasts=(2.0, 9.0), may_stay=True, weight=3, steps=DEAD),
    Fault("power-off-both", "machine", _both_off, (1.0, 4.0), weight=1),
    *both("crash", _crash, lasts=(2.0, 9.0), may_stay=True, steps=DEAD),
    *both("reset", _reset, lasts=(0.5, 1.0)),
    *both("freeze", _freeze, lasts=(1.0, 14.0), may_stay=True, steps=FENCED),
    *both("agent-killed", _kill_agent, lasts=(1.0, 10.0), may_stay=True, group="agent"),
    Fault("agent-stopped", "agent", _stop_agent, (1.0, 9.0), may_stay=True),
    Fault("prober-killed", "agent", _kill_prober, (0.5, 1.0)),
    *both("isolated", _isolate, lasts=(1.0, 14.0), may_stay=True, steps=FENCED),
    Fault(
        "clock-jumps-holder",
        "machine",
        _turn_clock(lambda scene: f"n/{scene.holder()}"),
        (2.0, 9.0),
        may_stay=True,
        nodes=NAMESPACES,
    ),
    Fault("clock-jumps-master", "master", _turn_clock(lambda _: "m"), (2.0, 9.0), may_stay=True),
    Fault("network-cut", "machine", _cut_network, (1.0, 9.0)),
)
