"""A failover before one's eyes: protect, write, break, watch, prove, switch back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

from lab import product, trial
from lab.cell import LabError
from lab.cluster import Lab
from lab.ledger import longest_pause, lost
from lab.linux import wait_until
from lab.observer import mountpoints
from lab.scenarios import DISK, FIRST, SECOND
from lab.timeline import Timeline
from lab.wishes import DiskWish, Wishes

_LIMIT = 60.0
_RECORDS = 50


def run(settings: trial.Settings, say: Callable[[str], None]) -> bool:
    """Show it. Returns whether all went well. Raises LabError when the lab itself does not work."""
    wishes = Wishes(
        disks=(DiskWish(DISK, settings.fstype),),
        hang_limit=settings.hang_limit,
        delays=settings.delays,
        master_overrides=lambda lab: product.master_options(lab, {}),
        minion_overrides=product.minion_options,
    )
    say("starting the lab: a vCenter with VMFS locks, a Salt master, two VMs with their minions, one VMDK")
    with Lab(wishes) as lab:
        hang_timeout = settings.hang_timeout or 1.0
        _protect(lab, hang_timeout, say)
        good = _fail_over(lab, say)
        return _switch_back(lab, say) and good


def _command(lab: Lab, say: Callable[[str], None], *words: str) -> dict[str, object]:
    say(f"\n$ salt-run {' '.join(words)}")
    answer = lab.master.run(*words)
    if not isinstance(answer, dict) or answer.get("ok") is False:
        raise LabError(f"salt-run {words[0]}: {answer}")
    return answer


def _protect(lab: Lab, hang_timeout: float, say: Callable[[str], None]) -> None:
    lab.mount(FIRST)
    product.wait_engine(lab)
    place = lab.mountpoint()
    words = (f"node={FIRST}", f"mountpoint={place}", f"backups={SECOND}", "services=ledger")
    made = _command(lab, say, "vmdk.protect", DISK, *words, f"hang_timeout={hang_timeout:g}")
    disks, nodes = (", ".join(map(str, cast("list[object]", made[key]))) for key in ("disks", "nodes"))
    say(f"  protected: {disks}, on {nodes}")
    lab.master.local(FIRST, "service.start", trial.SERVICE)
    if not wait_until(lambda: len(trial.acknowledged(lab)) >= _RECORDS, _LIMIT, 0.05):
        raise LabError(f"the ledger on {FIRST} does not write; see its node's log")
    if not lab.master.events.wait(f"vmdk-move/{DISK}/decided", _LIMIT):
        raise LabError("the master's engine does not look at the resource; see the master's log")
    say(f"  the service 'ledger' appends numbered records to {place} on {FIRST} and waits for each fsync")


def _fail_over(lab: Lab, say: Callable[[str], None]) -> bool:
    say(f"\nNow every read and write of the disk of {FIRST} hangs. Nobody touches anything from here on.\n")
    fault = time.monotonic()
    with Timeline(lab.master.events, fault) as timeline:
        lab.fault(FIRST, DISK, "all=hang")
        timeline.say(0.0, "fault", f"the disk of {FIRST} answers nothing any more")
        arrived = _wait_active(lab, SECOND, fault)
        time_up = wait_until(lambda: _written(lab, SECOND, fault) >= _RECORDS, _LIMIT, 0.05)
    return _prove(lab, timeline, fault, arrived and time_up)


def _wait_active(lab: Lab, node: str, since: float) -> bool:
    return wait_until(
        lambda: (
            bool(mountpoints(lab.nodes[node], lab.disks[DISK]))
            and bool(lab.master.events.seen(f"vmdk-move/{DISK}/done", since))
        ),
        _LIMIT,
        0.05,
    )


def _written(lab: Lab, node: str, since: float) -> int:
    return sum(1 for one in trial.acknowledged(lab) if one.node == node and one.monotonic >= since)


def _prove(lab: Lab, timeline: Timeline, fault: float, arrived: bool) -> bool:
    notes: list[str] = []
    told, found = trial.read_back(lab, lab.disks[DISK], notes)
    missing = lost(told, found)
    seen = lab.observer.findings
    doubles = len(seen.double_holders) + len(seen.double_mounts)
    gap = longest_pause(told, fault)
    timeline.say(
        None,
        "proof",
        f"{len(told)} records were acknowledged, {len(missing)} of them are missing on the disk",
    )
    timeline.say(
        None,
        "proof",
        f"{doubles} times was the disk attached or mounted on two nodes at once ({seen.looks} looks)",
    )
    timeline.say(
        None,
        "proof",
        f"{gap:.2f} s passed between two acknowledged records: that is all the service was away",
    )
    blind = lab.observer.blind(fault)
    for note in filter(None, [*notes, blind]):
        timeline.say(None, "note", note)
    return arrived and bool(told) and not missing and not doubles and not found.damaged and not blind


def _switch_back(lab: Lab, say: Callable[[str], None]) -> bool:
    say(f"\nThe disk is repaired, and {FIRST} is powered on again. It boots, and mounts nothing by itself.")
    since = time.monotonic()
    lab.power_on(FIRST)
    lab.master.wait_minions([FIRST], _LIMIT, since)
    fault = time.monotonic()
    with Timeline(lab.master.events, fault) as timeline:
        _command(lab, say, "vmdk.switchover", DISK, f"target={FIRST}")
        arrived = _wait_active(lab, FIRST, fault)
        time_up = wait_until(lambda: _written(lab, FIRST, fault) >= _RECORDS, _LIMIT, 0.05)
    good = _prove(lab, timeline, fault, arrived and time_up)
    status = _command(lab, say, "vmdk.status", DISK)
    say(f"  {'all is well' if status['all_well'] else status['resources']}")
    say("\nEverything is given back: processes, mounts, loop devices, namespaces.")
    return good
