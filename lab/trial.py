"""Runs one scenario in a fresh lab and measures it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lab import product
from lab.cell import LabError
from lab.cluster import Lab
from lab.disk import Disk
from lab.events import Event
from lab.ledger import FILE, Ledger, longest_pause, lost, parse_acknowledged, parse_ledger
from lab.linux import wait_until
from lab.observer import Findings, mountpoints
from lab.scenarios import DISK, FIRST, Scenario
from lab.wishes import DiskWish, Guests, Wishes

SERVICE = "ledger"
_RECORDS_BEFORE, _RECORDS_AFTER = 25, 25
_SETTLE_LIMIT = 60.0
_HELD_FOR = 5.0


@dataclass(frozen=True)
class Settings:
    """How a trial is run. by_hand: moves the resource in the product's place (for tests of the lab itself). filler: number
    of further VMs in the vCenter. guests: the nodes' kind; without it they are namespaces."""

    fstype: str = "ext4"
    delays: Mapping[str, int] = field(default_factory=dict)
    hang_timeout: float | None = None
    hang_limit: float = 60.0
    by_hand: Callable[[Lab], None] | None = None
    filler: int = 0
    guests: Guests | None = None
    say: Callable[[str], None] = lambda _: None


@dataclass(frozen=True)
class Step:
    """One thing that was done. started_ms: after the fault. outcome: done, or why not."""

    name: str
    node: str
    started_ms: int
    took_ms: int
    outcome: str


@dataclass(frozen=True)
class Outcome:
    """The result of a scenario; `python -m lab run NAME --json` prints exactly this.

    unavailable_ms: the longest time without an acknowledged record. vcenter_calls: what the product asked of the vCenter
    from the fault to the end, by method; without the waits of its stream. move_calls: what the move itself asked. notes:
    what is not as it should be, and what the product decided last. readable_ms, guest_ms: of guests alone, from the fault
    until a program there has read the ledger, and the processor time of the expected node's machine in between.
    """

    scenario: str
    ok: bool
    fault_to_event_ms: int | None
    fault_to_decision_ms: int | None
    fault_to_mounted_ms: int | None
    steps: list[Step]
    acknowledged: int
    lost: int
    double_holders: int
    double_mounts: int
    notes: list[str]
    unavailable_ms: int = 0
    vcenter_calls: Mapping[str, int] = field(default_factory=dict)
    move_calls: int = 0
    readable_ms: int | None = None
    guest_ms: int | None = None

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def run(scenario: Scenario, settings: Settings) -> Outcome:
    """Start a lab, break what the scenario breaks, wait for its end, judge. Raises LabError when the lab fails itself."""
    with prepared(scenario, settings) as lab:
        settings.say("the resource is up; breaking it")
        scenario.prepare(lab)
        return _measure(lab, scenario, settings)


@contextmanager
def prepared(scenario: Scenario, settings: Settings) -> Iterator[Lab]:
    """A lab whose first node has the disk mounted and the ledger written on it."""
    policy = {"services": [SERVICE], **scenario.policy}
    if settings.guests is not None:
        policy = settings.guests.policy(policy)
    if settings.hang_timeout is not None:
        policy["hang_timeout"] = settings.hang_timeout
    wishes = Wishes(
        guests=settings.guests,
        disks=(DiskWish(DISK, settings.fstype), *scenario.more),
        hang_limit=settings.hang_limit,
        delays=settings.delays,
        filler=settings.filler,
        master_overrides=lambda lab: _of_master(lab, settings, {} if scenario.protect else {DISK: policy}),
        minion_overrides={} if settings.by_hand else product.minion_options,
    )
    with Lab(wishes, settings.say) as lab:
        if scenario.protect is not None:
            scenario.protect(lab)
        bring_up(lab, by_hand=settings.by_hand is not None)
        if settings.guests is not None:
            settings.guests.settle(lab)
        yield lab


def _of_master(lab: Lab, settings: Settings, resources: Mapping[str, Any]) -> Mapping[str, Any]:
    if not settings.by_hand:
        return product.master_options(lab, resources)
    return {} if settings.guests is None else settings.guests.master_options()


def bring_up(lab: Lab, by_hand: bool) -> None:
    """Have the resource active on the first node. Raises LabError."""
    limit = _SETTLE_LIMIT * lab.patience
    if by_hand:
        lab.mount(FIRST)
        lab.master.local(FIRST, "service.start", SERVICE)
    elif not wait_until(lambda: bool(mountpoints(lab.nodes[FIRST], lab.disks[DISK])), limit, 0.1):
        lab.master.run("vmdk.recover", DISK)
    if not wait_until(lambda: len(acknowledged(lab)) >= _RECORDS_BEFORE, limit, 0.05):
        why = "" if by_hand else f": {json.dumps(lab.master.run('vmdk.status', DISK))}"
        raise LabError(f"the resource did not come up on {FIRST} within {limit:.0f} s{why}")


def _measure(lab: Lab, scenario: Scenario, settings: Settings) -> Outcome:
    disk, node = lab.disks[DISK], lab.nodes[scenario.expected]
    before = lab.vcenter.calls()["methods"]
    spent = node.spent if settings.guests is not None else 0.0
    fault = time.monotonic()
    scenario.fault(lab)
    if settings.by_hand is not None:
        settings.by_hand(lab)
    limit = scenario.limit * lab.patience
    mounted = (_wait_held if scenario.held else _wait_mounted)(lab, scenario, fault, limit)
    read: dict[str, int] = {}
    if mounted is not None:
        if settings.guests is not None and not scenario.held:
            read = _read_again(lab, node, fault, spent)
        _wait_settled(lab, node.minion_id, mounted, settings, bool(scenario.held))
    wanted = f"held by rule {scenario.held}" if scenario.held else f"mounted on {node.minion_id}"
    notes = [] if mounted is not None else [f"not {wanted} within {limit:g} s"]
    ledger = read_back(lab, disk, notes)
    checked = _checked(lab, scenario, notes)
    notes += _last_word(lab, fault)
    outcome = judge(lab, scenario, fault, mounted, lab.observer.findings, ledger, notes)
    if blind := lab.observer.blind(fault):
        notes.append(blind)
    outcome = replace(outcome, ok=outcome.ok and checked and not blind)
    pause = round(longest_pause(ledger[0], fault) * 1000)
    if scenario.held:
        outcome = replace(outcome, fault_to_mounted_ms=None, ok=outcome.ok and not outcome.steps)
    ended = lab.master.events.seen(f"vmdk-move/{DISK}/ended", fault)
    calls = int(ended[-1].data.get("vcenter_calls", 0)) if ended else 0
    asked = _calls_since(lab, before)
    return replace(outcome, unavailable_ms=pause, vcenter_calls=asked, move_calls=calls, **read)


def _read_again(lab: Lab, node: Any, fault: float, spent: float) -> dict[str, int]:
    """When a program in the guest has read what was synced, and the processor time that its machine has taken until then."""
    argv = ["cat", f"{lab.mountpoint(DISK)}/{FILE}"]
    if not wait_until(lambda: bool(node.run(argv).out), _SETTLE_LIMIT * lab.patience, 0.05):
        return {}
    now = time.monotonic()
    return {"readable_ms": round((now - fault) * 1000), "guest_ms": round((node.spent - spent) * 1000)}


def _last_word(lab: Lab, fault: float) -> list[str]:
    """The last verdict that was more than `all is well`: it tells by which way a scenario came to its end, or why it did not."""
    told = lab.master.events.seen(f"vmdk-move/{DISK}/decided", fault)
    words = [str(one.data.get("sentence")) for one in told if one.data.get("choice") != "nothing"]
    return [f"decided last: {words[-1]}"] if words else []


def _checked(lab: Lab, scenario: Scenario, notes: list[str]) -> bool:
    try:
        scenario.check(lab)
    except LabError as problem:
        notes.append(str(problem))
        return False
    return True


def _calls_since(lab: Lab, before: Mapping[str, int]) -> dict[str, int]:
    now = lab.vcenter.calls()["methods"]
    more = {name: count - before.get(name, 0) for name, count in now.items() if name != "WaitForUpdatesEx"}
    return {name: count for name, count in more.items() if count}


def _wait_settled(lab: Lab, node: str, mounted: float, settings: Settings, held: bool) -> None:
    """Wait until the ledger is written on `node` and the product has said that its move has ended, well or not."""
    limit = _SETTLE_LIMIT * lab.patience
    if settings.by_hand is None and not held:
        lab.master.events.wait(f"vmdk-move/{DISK}/ended", limit, mounted)

    def records() -> int:
        return sum(one.node == node and one.monotonic >= mounted for one in acknowledged(lab))

    wait_until(lambda: records() >= _RECORDS_AFTER, limit, 0.05)


def _wait_mounted(lab: Lab, scenario: Scenario, fault: float, limit: float) -> float | None:
    node, disk = lab.nodes[scenario.expected], lab.disks[DISK]

    def there() -> bool:
        return lab.observer.first("mounted", disk, node.name, fault) is not None and bool(
            mountpoints(node, disk)
        )

    wait_until(there, limit, 0.01)
    return lab.observer.first("mounted", disk, node.name, fault)


def _wait_held(lab: Lab, scenario: Scenario, fault: float, limit: float) -> float | None:
    """The moment when the product said that it holds, if all is still where it was some seconds later."""
    node, disk = lab.nodes[scenario.expected], lab.disks[DISK]

    def said() -> list[float]:
        told = lab.master.events.seen(f"vmdk-move/{DISK}/decided", fault)
        return [one.monotonic for one in told if one.data.get("rule") == scenario.held]

    if not wait_until(said, limit, 0.05):
        return None
    moment = said()[0]
    moved = wait_until(lambda: not mountpoints(node, disk), _HELD_FOR, 0.1)
    return None if moved else moment


def acknowledged(lab: Lab) -> list[Any]:
    """What the ledger's writers were told is safe."""
    path: Path = lab.run_dir / "shared" / "ledger.ack"
    return list(parse_acknowledged(path.read_text())) if path.exists() else []


def read_back(lab: Lab, disk: Disk, notes: list[str]) -> tuple[list[Any], Ledger]:
    """The acknowledged records, and then the ledger as the disk has it, read where it is mounted.

    Of a ledger that could not be read nothing is acknowledged; whoever asks may not take that for "nothing lost".
    """
    told = acknowledged(lab)
    for node in lab.nodes.values():
        if node.is_running and not node.is_frozen and mountpoints(node, disk):
            done = node.run(["cat", f"{lab.mountpoint(DISK)}/{FILE}"], 10.0)
            if done.code == 0:
                return told, parse_ledger(done.out.encode())
            notes.append(f"the ledger cannot be read on {node.minion_id}: {done.err.strip()}")
    notes.append("the disk is mounted on no working node at the end: the ledger was not compared")
    return [], parse_ledger(b"")


def judge(
    lab: Lab, scenario: Scenario, fault: float, mounted: float | None, seen: Findings,
    ledger: tuple[list[Any], Ledger], notes: list[str],
) -> Outcome:  # fmt: skip
    """Put together what was seen."""
    told, found = ledger
    missing = lost(told, found)
    notes += [f"{found.damaged} damaged records on the disk"] if found.damaged else []
    notes += [
        f"at {moment - fault:.3f} s {disk} was at once at {who}" for moment, disk, who in _doubles(seen)
    ]
    good = mounted is not None and bool(told) and not missing and not found.damaged and not _doubles(seen)
    return Outcome(
        scenario.name, good, _after(lab, fault, "salt/beacon/*/vmdk/*", f"vmdk/{DISK}/*"),
        _decided(lab, fault), None if mounted is None else round((mounted - fault) * 1000),
        steps(lab, fault), len(told), len(missing), len(seen.double_holders), len(seen.double_mounts), notes,
    )  # fmt: skip


def _doubles(seen: Findings) -> list[tuple[float, str, tuple[str, ...]]]:
    return [*seen.double_holders, *seen.double_mounts]


def _after(lab: Lab, fault: float, *patterns: str) -> int | None:
    """Milliseconds from the fault to the first event that fits."""
    found = [one.monotonic for pattern in patterns for one in lab.master.events.seen(pattern, fault)]
    return round((min(found) - fault) * 1000) if found else None


def _decided(lab: Lab, fault: float) -> int | None:
    """Milliseconds from the fault to the product's decision to act."""
    told = lab.master.events.seen(f"vmdk-move/{DISK}/decided", fault)
    found = [one.monotonic for one in told if one.data.get("choice") == "move"]
    return round((found[0] - fault) * 1000) if found else None


def steps(lab: Lab, fault: float) -> list[Step]:
    """What the product says it did; without it, what the vCenter asked of the nodes."""
    told = [_told(event, fault) for event in lab.master.events.seen(f"vmdk-move/{DISK}/outcome", fault)]
    return told or list(_followed(lab, fault))


def _told(event: Event, fault: float) -> Step:
    entry = event.data
    took = round(float(entry.get("took", 0.0)) * 1000)
    started = round((event.monotonic - fault) * 1000) - took
    return Step(str(entry.get("step")), str(entry.get("node", "")), started, took, str(entry.get("outcome")))


def _followed(lab: Lab, fault: float) -> Iterator[Step]:
    begun: dict[str, float] = {}
    for one in lab.followed:
        key = f"{one.step['op']} {one.step['vm']}"
        if one.monotonic < fault:
            continue
        if not one.outcome:
            begun[key] = one.monotonic
            continue
        started = begun.pop(key, one.monotonic)
        times = round((started - fault) * 1000), round((one.monotonic - started) * 1000)
        yield Step(str(one.step["op"]), str(one.step["vm"]).removesuffix("-vm"), *times, one.outcome)
