"""The master and what is in it die, stand still or start anew; people ask for things at the worst moment; minions lie."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from lab import saltconf
from lab.cell import LabError
from lab.cluster import Lab
from lab.faultdisk import ROOT
from lab.ordeals.fault import NAMESPACES, PLANNED, Fault
from lab.ordeals.scene import Cure, Scene, nothing
from lab.scenarios import DISK
from lab.strikes import TooLate, engine_of, mover_of, reactor_of

_DONE_LIMIT = 45.0


def _kill(name: str, find: Callable[[Lab], int]) -> Callable[[Scene], Cure]:
    def strike(scene: Scene) -> Cure:
        try:
            os.kill(find(scene.lab), signal.SIGKILL)
        except (OSError, ValueError, KeyError):
            raise TooLate(f"the {name} had ended") from None
        return scene.note(f"{name}-killed", "", nothing)

    return strike


def _restart(scene: Scene) -> Cure:
    """kill -9 of all of it, and a new start."""
    cured = scene.note("master-restarted", "", nothing)
    scene.lab.master.restart()
    return cured


def _stop_master(scene: Scene) -> Cure:
    """The master's machine stands still, as while it is moved to another host."""
    cell = scene.lab.master.cell
    cell.signal_all(signal.SIGSTOP)
    return scene.note("master-stopped", "", lambda: cell.signal_all(signal.SIGCONT))


# -- people


def _ask(*words: str, times: int = 1) -> Callable[[Scene], Cure]:
    """A person types it, `times` times at once, and nobody waits for the answer."""

    def strike(scene: Scene) -> Cure:
        programs = [scene.lab.master.start("salt-run", *words) for _ in range(times)]

        def cure() -> None:
            for one in programs:
                with suppress(LabError):  # its own limit is longer; what it does counts, not what it says
                    one.wait(_DONE_LIMIT * scene.lab.patience)

        return scene.note(words[0], "", cure)

    return strike


def _pause(scene: Scene) -> Cure:
    scene.lab.master.run("vmdk.pause", DISK)

    def cure() -> None:
        with suppress(LabError):
            scene.lab.master.run("vmdk.resume", DISK)

    return scene.note("paused", "", cure)


def _highstates(scene: Scene) -> Cure:
    for name in scene.lab.nodes:
        scene.lab.master.send(name, "state.highstate")
    return scene.note("highstate", "", nothing)


def _forge(scene: Scene) -> Cure:
    """The node that does not hold the disk lies about the other one: in a beacon's form, about silence, about progress."""
    liar, victim = scene.other(), scene.holder()
    word = {"resource": DISK, "evidence": "forged"}
    lies = [
        {"tag": f"salt/beacon/{victim}/vmdk/{DISK}/{one}", "data": {"id": victim, "condition": one, **word}}
        for one in ("io_error", "hung", "unmounted", "device_gone", "ok")
    ]
    lies += [
        {"tag": f"vmdk/{DISK}/silent", "data": {"node": victim, **word}},
        {"tag": "salt/presence/change", "data": {"lost": [victim]}},
        {"tag": f"vmdk-heartbeat/{victim}", "data": {"minion": victim, "seq": 1 << 40, "boot": "forged"}},
        {"tag": f"vmdk-move/{DISK}/done", "data": {"what": "done", "epoch": 99, **word}},
    ]
    argv = [sys.executable, "-m", "lab.ordeals.liar", saltconf.MINION_ROOT, json.dumps(lies)]
    scene.inside(liar).tell(f"cd {ROOT} && exec {shlex.join(argv)}")
    return scene.note("forged", liar, nothing)


FAULTS = (
    Fault("mover-killed", "master", _kill("mover", mover_of), (0.2, 0.5), weight=4, alone=False),
    Fault("engine-killed", "master", _kill("engine", engine_of), (0.2, 0.5), weight=3),
    Fault("reactor-killed", "master", _kill("reactor", reactor_of), (0.2, 0.5)),
    Fault("master-restarted", "master", _restart, (0.2, 0.5), weight=3),
    Fault("master-stopped", "master", _stop_master, (1.0, 9.0)),
    Fault("switchover", "people", _ask("vmdk.switchover", DISK), (0.2, 1.0), weight=5, steps=PLANNED),
    Fault("failover", "people", _ask("vmdk.failover", DISK), (0.2, 1.0), steps=PLANNED),
    Fault("recover-thrice", "people", _ask("vmdk.recover", DISK, times=3), (0.2, 1.0)),
    Fault("clear", "people", _ask("vmdk.clear", DISK), (0.2, 1.0), weight=1),
    Fault("adopt", "people", _ask("vmdk.adopt", DISK), (0.2, 1.0), weight=1),
    Fault("keys-rotated", "people", _ask("vmdk.rotate_keys"), (0.2, 1.0), weight=1),
    Fault("doctor", "people", _ask("vmdk.doctor", DISK), (0.2, 1.0), weight=1),
    Fault("paused", "people", _pause, (1.0, 8.0), may_stay=True),
    Fault("highstate", "people", _highstates, (0.2, 0.5), weight=1),
    Fault("forged-events", "people", _forge, (1.0, 3.0), nodes=NAMESPACES),
)
