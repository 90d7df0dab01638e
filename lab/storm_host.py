"""The storm of `lab.storm` when the ESXi host of all first nodes dies, and nobody but a host fence can prove it.

vCenter shows the host as not responding and its VMs as it saw them last; they give no answer, no heartbeat and no echo any
more. Heartbeats and the listener's word of a silent node are given here, in the listener's pace; the host's own management is
a stand-in that takes a second, then powers the VMs off and says so. vCenter is the lab's; stream, engine, movers, locks, journal
and notes are the product's.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from lab.storm import Nodes, Storm
from vmdk_failover.app import App, state_dir
from vmdk_failover.daemon import listening, supervisor
from vmdk_failover.presence import heard, reachable
from vmdk_failover.presence.lookout import FileLookout

#: Seconds of silence after which a node counts as silent, and that the stand-in and an echo without an answer take.
NODE_TIMEOUT, FENCE_S, ECHO_S = 3.0, 1.0, 1.0
_ADDRESS = "192.0.2.1"  # nobody's; it is not asked
_BEAT_S = 0.5


def _is_lost(place: Path, minion: str) -> bool:
    return minion.startswith("a") and (place / "lost").exists()


@dataclass(frozen=True)
class LosingNodes(Nodes):
    """Those on the lost host give no answer, and whoever asks them waits as long as he would."""

    def ask(
        self, minions: Sequence[str], function: str, kwargs: Mapping[str, Any], *more: Any
    ) -> dict[str, Any]:
        """See the bench's."""
        alive = [minion for minion in minions if not _is_lost(self.place.parent, minion)]
        if len(alive) < len(minions):
            time.sleep(more[0])
        return super().ask(alive, function, kwargs) if alive else {}


class Master(App):
    """The product with the storm's own host fence and echo."""

    def __init__(self, *of: Any, storm: HostStorm) -> None:
        super().__init__(*of, hook=storm.get_off)
        self.storm = storm

    @cached_property
    def engine(self) -> Any:
        """The product's."""
        made = App.engine.func(self)  # type: ignore[attr-defined]
        place, known = state_dir(self.opts), lambda: self.settings.resources
        made.lookout = FileLookout(place, self.hypervisor, known, ask=self.storm.echo)
        return made


class HostStorm(Storm):
    """See the module."""

    nodes_of = LosingNodes

    def __init__(self, place: Path, count: int, filler: int) -> None:
        super().__init__(place, count, filler)
        self.master = partial(Master, storm=self)
        self.ended = threading.Event()
        self.opts: dict[str, Any] = {}

    def options(self, pin: str) -> dict[str, Any]:
        """The storm's, with a way to get hosts off."""
        self.opts = super().options(pin)
        way = {"host_fence": "lab.off", "host_fence_others": "stop", "node_timeout": NODE_TIMEOUT}
        for one in self.opts["vmdk"]["resources"].values():
            one.update(way)
        return self.opts

    def begin(self, *given: Any) -> None:
        """Begin to hear the nodes, then start the engine."""
        place, boot = state_dir(self.opts), heard.master_boot()
        note = {"address": _ADDRESS, "answers": True, "boot": boot, "at": time.monotonic()}
        heard.write_plain(place / reachable.NAME, dict.fromkeys(self.vm_uuids, note))
        self._hear(place, boot, 0.0)
        super().begin(*given)
        threading.Thread(target=self._listen, args=(place, boot), daemon=True).start()

    def strike(self) -> float:
        """The host dies. Returns when (monotonic)."""
        (self.place / "lost").touch()
        began = time.monotonic()
        self.vcenter.connect_host("esx1", "notResponding")
        return began

    def misplaced(self) -> list[str]:
        """Disks that their backups do not list; the lost VMs go on listing them, as vCenter cannot reach their host."""
        shown = {vm["name"]: [d["path"] for d in vm["disks"]] for vm in self.vcenter.inventory()["vms"]}
        lost = {n: f"[ds1] storm/disk{n}.vmdk" for n in self.numbers}
        return [f"{path}: not on b{n}" for n, path in lost.items() if path not in shown[f"b{n}"]]

    def more(self) -> dict[str, Any]:
        """How often the host's management was asked."""
        path = self.place / "called"
        return {"host_fence_calls": len(path.read_text().splitlines()) if path.exists() else 0}

    def close(self) -> None:
        """Stop listening, too."""
        self.ended.set()
        super().close()

    def get_off(self, function: str, facts: Mapping[str, str]) -> bool:
        """The host's management: it ends every VM on it and has read the power back. Called in a mover."""
        out = os.open(self.place / "called", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(out, f"{function} {facts['host']}\n".encode())
        os.close(out)
        time.sleep(FENCE_S)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: self.vcenter.guest_power(f"a{n}", "poweredOff"), self.numbers))
        return True

    def echo(self, addresses: Mapping[str, str]) -> dict[str, bool]:
        """What answers of addresses; waits for what does not."""
        found = {minion: not _is_lost(self.place, minion) for minion in addresses}
        time.sleep(0.0 if all(found.values()) else ECHO_S)
        return found

    def _listen(self, place: Path, boot: str) -> None:
        """Heartbeats as the listener writes them down, and its hints of nodes that are silent."""
        lost_at, told = 0.0, 0.0
        while not self.ended.wait(_BEAT_S):
            now = time.monotonic()
            lost_at = lost_at or (now if (self.place / "lost").exists() else 0.0)
            self._hear(place, boot, lost_at)
            if lost_at and now - lost_at >= NODE_TIMEOUT / 2 and now - told >= listening.EACH:
                told = now
                for n in self.numbers:
                    supervisor.hint(place / "engine.sock", f"r{n}")

    def _hear(self, place: Path, boot: str, lost_at: float) -> None:
        now = time.monotonic()
        beats = {
            minion: heard.Beat("b", 1, _ADDRESS, "1", 1.0, lost_at if lost_at and minion[0] == "a" else now)
            for minion in self.vm_uuids
        }
        with contextlib.suppress(FileNotFoundError):  # the storm is over
            heard.write(place, heard.Heard(boot, now, now - 1000.0, nodes=beats))
