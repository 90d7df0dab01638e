"""
Runs as the only program of a guest: how soon the prober tells what is wrong with a SCSI disk, by the guest's own clock (boot
clock). The host says what to measure (``wished``) and how long it has kept the guest from a processor (``waited``); each run is
one line ``RUN {json}``, times in milliseconds.

From when is counted: a fault of the guest's own making from just before the system call; one of the host's from the line in
which the kernel says that it heard of it, if there is one, else from before the host was asked, which is too early by at most
``struck_ms``.
"""

from __future__ import annotations

import json
import random
import re
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.guest.detect_faults import FAULTS, Fault, Patient
from lab.guest.inside import host, loop_ms, open_line
from lab.guest.kernel_lines import KernelLines, moment
from vmdk_failover.guest import latest
from vmdk_failover.guest.places import HERE, boot_clock, read
from vmdk_failover.guest.watch import Watch

STATE = Path("/run/vmdk")
DISKS = {"ext4": 0, "xfs": 1}
#: The kernel's last step of taking a disk away: readers have been told of it by then.
REMOVED = "Synchronizing SCSI cache"
_LIMIT_S, _READY_S = 12.0, 60.0


class Missed(Exception):
    """The prober has not told what it should have."""


@dataclass
class Blow:
    """A strike in a thread of its own: an unmount returns long after the mount has gone. Times by the boot clock."""

    fault: Fault
    patient: Patient
    began: float = 0.0
    ended: float = 0.0
    error: str = ""

    def _strike(self) -> None:
        self.began = boot_clock()
        try:
            self.fault.strike(self.patient)
        except (OSError, AssertionError) as err:
            self.error = repr(err)
        self.ended = boot_clock()

    @contextmanager
    def struck(self) -> Iterator[None]:
        """It begins with the block, and has ended after it; :raises Missed: if it could not be struck."""
        thread = threading.Thread(target=self._strike)
        thread.start()
        try:
            yield
        finally:
            thread.join()
            if self.error:
                raise Missed(f"it could not be struck: {self.error}")


@dataclass(frozen=True)
class Sight:
    """What was told: when a reader had it, and when the first word of anything was (boot clock, seconds)."""

    at: float
    first_at: float
    first: str
    report: Mapping[str, Any]


def _told(watch: Watch, fault: Fault) -> Sight:
    """Wait for one of the words that are right."""
    end, first_at = boot_clock() + _LIMIT_S, 0.0
    seen: list[str] = []
    while boot_clock() < end:
        for report in watch.wait(0.05):
            at = boot_clock()
            first_at = first_at or at
            seen.append(str(report["condition"]))
            if seen[-1] in fault.conditions:
                return Sight(at, first_at, seen[0], report)
    raise Missed(f"{' or '.join(fault.conditions)} was not told within {_LIMIT_S} s, but {seen or 'nothing'}")


def _word(patient: Patient) -> str:
    said = latest.latest(STATE, patient.resource.name, read(HERE.boot_id) or "")
    return str(said["condition"]) if said else ""


def _ready(watch: Watch, patient: Patient, chance: random.Random) -> None:
    end = boot_clock() + _READY_S
    while boot_clock() < end:
        watch.poll({patient.resource.name: patient.resource})
        if _word(patient) == "ok":
            time.sleep(0.1 + chance.random())  # anywhere between two probes
            watch.poll()
            return
        time.sleep(0.02)
    raise Missed(f"a healthy disk is not told to be ok, but {_word(patient) or 'nothing'}")


def figures(blow: Blow, sight: Sight, lines: Sequence[tuple[float, str]], doubt: float) -> dict[str, Any]:
    """
    The times of one run in milliseconds.

    :param lines: what the kernel has said, by the boot clock. :param doubt: by how many seconds that may be wrong.
    :raises Missed: if the kernel has not said from when to count.
    """
    heard = moment(lines, blow.fault.line, blow.began - doubt) if blow.fault.line else None
    if blow.fault.line and heard is None:
        raise Missed(f"the kernel has not said {blow.fault.line!r}")
    began = blow.began if heard is None else heard
    removed = moment(lines, REMOVED, began)
    sources = re.findall(r"\(([^()]*)\)$", str(sight.report["evidence"]))

    def after(at: float) -> float:
        return round((at - began) * 1000, 2)

    return {
        "told_ms": after(sight.at),
        "first_ms": after(sight.first_at),
        "verdict_ms": after(float(sight.report["since"])),
        "kernel_ms": None if removed is None else after(removed),
        "asked_ms": None if heard is None else round((began - blow.began) * 1000, 2),
        "struck_ms": round((blow.ended - blow.began) * 1000, 2),
        "doubt_ms": 0.0 if heard is None else round(doubt * 1000, 2),
        "condition": sight.report["condition"],
        "first": sight.first,
        "source": sources[-1] if sources else "?",
    }


def _measured(watch: Watch, kernel: KernelLines, patient: Patient, fault: Fault) -> dict[str, Any]:
    kernel.set_clock()
    blow, waited = Blow(fault, patient), float(host("waited"))
    try:
        with blow.struck():
            sight = _told(watch, fault)
        waited = float(host("waited")) - waited
        return {**figures(blow, sight, kernel.read(), kernel.mark.doubt), "waited_ms": round(waited, 2)}
    finally:
        fault.heal(patient)
        if fault.spoils:
            patient.spoil()


def _once(
    watch: Watch, kernel: KernelLines, patient: Patient, fault: Fault, chance: random.Random
) -> dict[str, Any]:
    try:
        patient.take()
        _ready(watch, patient, chance)
        return _measured(watch, kernel, patient, fault)
    except Missed as err:
        return {"missed": str(err)}
    finally:
        patient.let_go()


def _guest() -> dict[str, Any]:
    """What the guest is, and which sources its prober has."""
    with open(STATE / latest.FILE, encoding="utf-8") as file:
        sources = json.load(file)["sources"]
    clock = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
    names = {"kernel": "/proc/sys/kernel/osrelease", "clocksource": clock}
    return {**{key: read(path) for key, path in names.items()}, "sources": sources, "loop_ms": loop_ms()}


def _cells(wished: Mapping[str, Any]) -> Iterator[tuple[Patient, Fault, dict[str, Any]]]:
    for fstype in wished["fs"]:
        for load in wished["loads"]:
            patient = Patient(DISKS[fstype], fstype, wished["program"] if load == "active" else "")
            for fault in FAULTS:
                if wished["only"] in fault.name and fault.applies(fstype, load):
                    yield (
                        patient,
                        fault,
                        {"fault": fault.name, "fs": fstype, "load": load, "goal_ms": fault.goal(load)},
                    )


def main() -> None:
    """Measure what is wished, one cell after the other."""
    open_line()
    STATE.mkdir(parents=True, exist_ok=True)
    wished, watch, kernel = host("wished"), Watch(STATE), KernelLines()
    for patient, fault, cell in _cells(wished):
        chance = random.Random(repr(cell))
        for _ in range(wished["runs"]):
            run = _once(watch, kernel, patient, fault, chance)
            print("RUN " + json.dumps({**cell, **run}), flush=True)
        print("CELL " + json.dumps(cell), flush=True)
    print("GUEST " + json.dumps(_guest()), flush=True)


if __name__ == "__main__":
    try:
        main()
    except BaseException:
        traceback.print_exc()
        sys.exit(1)
