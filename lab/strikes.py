"""Who can be struck in the midst of a move, how, and what makes it whole again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lab.cable import Cable
from lab.cell import LabError
from lab.cluster import Lab
from lab.scenarios import DISK

#: Seconds until what was cut off, switched off or unavailable is back.
GONE_S = 5.0
_ENGINE, _REACTOR = "Engine(salt.loaded.ext.engines.vmdk", "reactor"
#: What vCenter is asked at a step.
REQUESTS = {"fence": "PowerOffVM_Task", "detach": "ReconfigVM_Task", "attach": "ReconfigVM_Task"}


class TooLate(Exception):
    """Who was to be struck was not there any more."""


@dataclass(frozen=True)
class Scene:
    """Where it happens. step: the step of the move that is under way."""

    lab: Lab
    cable: Cable
    step: str


Act = Callable[[Scene], None]


def _nothing(_: Scene) -> None:
    """It comes back by itself."""


@dataclass(frozen=True)
class Victim:
    """Who is struck. strike: does it, and returns at once; may raise TooLate. cure: done GONE_S later. armed: it has to be
    prepared before the step, and strikes by itself once."""

    name: str
    strike: Act
    cure: Act = _nothing
    armed: bool = False


# -- processes of the master


def _title(pid: int) -> str:
    """What a process of Salt's master calls itself; empty for all others."""
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
        return "" if "lab.cellinit" in words else words.partition("salt-master")[2]
    return ""


def _status(pid: int, key: str) -> str:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
            if line.startswith(f"{key}:"):
                return line.split()[-1]
    return ""


def engine_of(lab: Lab) -> int:
    """The engine's first process; its moves and watches are its children and look alike. Raises TooLate."""
    found = [pid for pid in lab.master.cell.processes() if _is_engine(_title(pid))]
    first = [pid for pid in found if _status(pid, "PPid") not in map(str, found)]
    if not first:
        raise TooLate("the engine does not run")
    return min(first, key=_born)


def _is_engine(title: str) -> bool:
    """An engine that Salt has started again is called Engine and nothing else; the reactor keeps its name."""
    return _ENGINE in title or title.split()[-1:] == ["Engine"]


def _born(pid: int) -> int:
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return 0


def reactor_of(lab: Lab) -> int:
    """The process in which Salt's reactor runs. Raises TooLate."""
    for pid in lab.master.cell.processes():
        if _REACTOR in _title(pid).lower():
            return pid
    raise TooLate("no reactor runs")


def mover_of(lab: Lab) -> int:
    """The process that holds the resource's lock, as the kernel has it: who held it last stands in the file. Raises TooLate."""
    path = lab.master.root / f"var/lib/salt/vmdk/locks/resource-{DISK}.lock"
    if not path.exists():
        raise TooLate("there was no mover yet")
    file = path.stat()
    wanted = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if words[1:4] == ["FLOCK", "ADVISORY", "WRITE"] and words[5] == wanted:
            return int(words[4])
    raise TooLate("the mover had ended")


def _kill(find: Callable[[Lab], int]) -> Act:
    def act(scene: Scene) -> None:
        try:
            os.kill(find(scene.lab), signal.SIGKILL)
        except ProcessLookupError:
            raise TooLate("it ended a moment before") from None

    return act


def _restart_master(scene: Scene) -> None:
    scene.lab.master.restart()


# -- vCenter and its answers


def _net(mode: str) -> Act:
    def act(scene: Scene) -> None:
        scene.lab.vcenter.net(mode)

    return act


def _restart_vcenter(scene: Scene) -> None:
    scene.lab.vcenter.net("drop")
    scene.lab.vcenter.expire_sessions()


def _lose(mode: str) -> Act:
    def act(scene: Scene) -> None:
        scene.lab.vcenter.net(mode, 1, REQUESTS[scene.step])

    return act


# -- network and nodes


def _cut(scene: Scene) -> None:
    scene.cable.cut()
    for node in scene.lab.nodes.values():
        node.unreachable()


def _mend(scene: Scene) -> None:
    scene.cable.mend()
    for node in scene.lab.nodes.values():
        node.reachable()


def _crash(role: str) -> Act:
    def act(scene: Scene) -> None:
        name = getattr(scene.lab, role)
        if not scene.lab.nodes[name].is_running:
            raise TooLate(f"{name} is off already")
        scene.lab.crash(name)

    return act


def _boot(role: str) -> Act:
    def act(scene: Scene) -> None:
        with suppress(LabError):  # Locked: as a person would see it; the VM stays off
            scene.lab.power_on(getattr(scene.lab, role))

    return act


MASTERS = ("mover", "engine", "reactor", "master")
VICTIMS = {
    one.name: one
    for one in (
        Victim("mover", _kill(mover_of)),
        Victim("engine", _kill(engine_of)),
        Victim("reactor", _kill(reactor_of)),
        Victim("master", _restart_master),
        Victim("vcenter-refuses", _net("503"), _net("")),
        Victim("vcenter-hangs", _net("hang"), _net("")),
        Victim("vcenter-restarts", _restart_vcenter, _net("")),
        Victim("lost-request", _lose("drop"), armed=True),
        Victim("lost-reply", _lose("dropreply"), armed=True),
        Victim("network", _cut, _mend),
        Victim("target", _crash("target"), _boot("target")),
        Victim("source", _crash("source"), _boot("source")),
    )
}


def strike(victim: Victim, scene: Scene) -> float:
    """Strike, wait, make it whole again. Returns the moment of the strike. Raises TooLate."""
    moment = time.monotonic()
    victim.strike(scene)
    if victim.cure is not _nothing:
        time.sleep(max(0.0, GONE_S - (time.monotonic() - moment)))
        victim.cure(scene)
    return moment
