"""A master with many resources, on the lab's vCenter with many more VMs: at its start, at rest, asked, and in a storm."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.faultdisk import ROOT
from lab.scale_parts import _cpu
from lab.storm import Nodes, Storm

sys.path.append(str(ROOT / "_utils"))

from vmdk_failover import signing
from vmdk_failover.app import App, master_secret, settings
from vmdk_failover.commands import operate
from vmdk_failover.model import Resource

TICK = 30.0
_ANSWER_S, _MOUNT_S = 0.05, 0.15
_LIMIT_S, _POLL_S = 900.0, 0.25


class Crowd:
    """Counts the engine's processes and their memory while its block runs."""

    def __init__(self, pid: int) -> None:
        self.pid, self.processes, self.pss_mb = pid, 0, 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Crowd:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_POLL_S):
            family = [self.pid, *_children(self.pid)]
            self.processes = max(self.processes, len(family))
            self.pss_mb = max(self.pss_mb, sum(map(_pss_mb, family)))


@dataclass(frozen=True)
class Fellows(Nodes):
    """Nodes that also answer one question about all their resources, as nodes with a pillar of today do."""

    resources: Mapping[str, Resource]

    def ask(
        self, minions: Sequence[str], function: str, kwargs: Mapping[str, Any], *more: Any
    ) -> dict[str, Any]:
        """See the port."""
        if function != "vmdk.all_facts":
            return super().ask(minions, function, kwargs, *more)
        time.sleep(self.answer_s)
        return {minion: self._of(minion, f"r{minion[1:]}", str(kwargs["nonce"])) for minion in minions}

    def _of(self, minion: str, name: str, nonce: str) -> dict[str, Any]:
        return {name: self._answer(minion, signing.part_of(nonce, self.resources[name]))}


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _pss_mb(pid: int) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _all_cpu(engine: int) -> float:
    return _cpu(engine) + sum(map(_cpu, _children(engine)))


def _looks(storm: Storm) -> int:
    return int(storm.vcenter.calls()["methods"].get("Logout", 0))


def _until(done: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + _LIMIT_S
    while not done():
        if time.monotonic() > end:
            raise SystemExit(f"bench_scale: {what} within {_LIMIT_S:.0f} s")
        time.sleep(_POLL_S)


def run(count: int, filler: int, seconds: float, struck: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure one size. count: resources. filler: further VMs. seconds: of rest. struck: how many VMs go off at once."""
    from lab.cluster import fingerprint

    with tempfile.TemporaryDirectory(prefix="vmdk-storm-") as name:
        storm = Storm(Path(name), count, filler)
        try:
            opts = storm.options(fingerprint(storm.vcenter.host, storm.vcenter.port))
            found = {"resources": count, "vms": 2 * count + filler, "load": round(os.getloadavg()[0], 1)}
            for part in (_start, _rest, _status, _strike):
                told = part(storm, opts, seconds, struck)
                say(f"  {count}: {told}")
                found |= told
            return found
        finally:
            storm.close()


def _start(storm: Storm, opts: dict[str, Any], seconds: float, struck: int) -> dict[str, Any]:
    """From nothing to every resource watched and looked at once."""
    began, count = time.monotonic(), len(storm.numbers)
    storm.begin(opts, _ANSWER_S, _MOUNT_S, TICK)
    with Crowd(storm.engine) as crowd:
        _until(lambda: len(storm.told("watching")) >= count, "not every resource is watched")
        watched = time.monotonic()
        _until(lambda: _looks(storm) >= count, "not every resource was looked at")
    return {
        "start_watched_s": round(watched - began, 1),
        "start_looked_s": round(time.monotonic() - began, 1),
        "start_cpu_s": round(_all_cpu(storm.engine), 1),
        "start_processes": crowd.processes,
        "start_pss_mb": round(crowd.pss_mb),
    }


def _rest(storm: Storm, opts: dict[str, Any], seconds: float, struck: int) -> dict[str, Any]:
    """All is well, and nothing happens but the tick."""
    storm.vcenter.reset()
    before, vcenter, began = _all_cpu(storm.engine), _cpu(storm.vcenter.pid), time.monotonic()
    with Crowd(storm.engine) as crowd:
        time.sleep(seconds)
    took = time.monotonic() - began
    calls = storm.vcenter.calls()
    return {
        "rest_cpu_ms_per_s": round((_all_cpu(storm.engine) - before) / took * 1000),
        "rest_vcenter_cpu_ms_per_s": round((_cpu(storm.vcenter.pid) - vcenter) / took * 1000),
        "rest_calls_per_s": round(calls["total"] / took, 1),
        "rest_looks_per_s": round(calls["methods"].get("Logout", 0) / took, 1),
        "rest_processes": crowd.processes,
        "rest_pss_mb": round(crowd.pss_mb),
    }


def _status(storm: Storm, opts: dict[str, Any], seconds: float, struck: int) -> dict[str, Any]:
    """`vmdk.status` of everything, the start of salt-run not counted."""
    known, place = settings(opts).resources, storm.place / "mounted"
    app = App(opts, Fellows(place, master_secret(opts), _ANSWER_S, _MOUNT_S, known))
    began, cpu = time.monotonic(), time.process_time()
    found = operate.status(app)
    took, spent, calls = time.monotonic() - began, time.process_time() - cpu, app.session.calls
    app.close()
    return {
        "status_s": round(took, 2),
        "status_cpu_s": round(spent, 2),
        "status_calls": calls,
        "status_of": len(found["resources"]),
        "status_well": sum(one["protected"] for one in found["resources"].values()),
    }


def _strike(storm: Storm, opts: dict[str, Any], seconds: float, struck: int) -> dict[str, Any]:
    """Some VMs are off at once, the others are well."""
    numbers = range(1, struck + 1)
    everyone, storm.numbers = storm.numbers, numbers
    storm.vcenter.reset()
    with Crowd(storm.engine) as crowd:
        before, began = _all_cpu(storm.engine), storm.strike()
        _until(lambda: len(storm.told("ended")) >= struck, "not every resource has moved")
        spent = _all_cpu(storm.engine) - before
    ended = storm.told("ended")
    took = sorted(one["when"] - began for one in ended)
    bad = [one["resource"] for one in ended if one["result"] != "done"] + storm.misplaced()
    storm.numbers = everyone
    return {
        "storm_of": struck,
        "storm_first_s": round(took[0], 2),
        "storm_last_s": round(took[-1], 2),
        "storm_cpu_s": round(spent, 1),
        "storm_processes": crowd.processes,
        "bad": bad,
    }
