"""One fault under one product: when it was seen, decided and over, told by the same witnesses for all."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

from lab import trial
from lab.cell import Cell, LabError
from lab.cluster import Lab
from lab.ledger import Acknowledged, lost
from lab.linux import wait_until
from lab.peers import cib
from lab.peers.faults import Fault, writers
from lab.peers.pacemaker import Cluster
from lab.scenarios import DISK, FIRST, SCENARIOS, SECOND, Scenario
from lab.wishes import DiskWish, Wishes

LIMIT_S = 400.0
HANG_S = 900.0
_AFTER, _UP_S, _REST_S = 25, 180.0, 10.0
#: The product's own defaults, which the other trials of the lab shorten.
DEFAULTS: Mapping[str, Any] = {"node_timeout": 15, "hang_timeout": 10, "probe_interval": 1}
TUNED: Mapping[str, Any] = {"node_timeout": 3, "hang_timeout": 1, "probe_interval": 1}

_SEEN = re.compile(
    rf"Result of monitor operation for ({cib.DISK}|{cib.MOUNT}|{cib.SERVICE}) on \S+: (?!ok|Cancelled)"
    rf"|({cib.DISK}|{cib.MOUNT}|{cib.SERVICE})_monitor_\d+ .*Timed Out"
    r"|[Nn]ode \S+ state is now lost|Peer \S+ was terminated|Lost connection to"
)
_DECIDED = re.compile(
    rf"Requesting fencing|Initiating (stop|start) operation ({cib.DISK}|{cib.MOUNT}|{cib.SERVICE})_"
)


@dataclass(frozen=True)
class Surroundings:
    """When one run was, and how busy the machine was then: its load of the last minute.

    :param struck_at: when the fault struck, in UTC (ISO 8601). :param before: before the lab of the run was begun, which is
        what others and the run before it have left. :param struck: when the fault struck, the lab's own start included.
    :param end: when the service was back, or was given up.
    """

    struck_at: str = ""
    before: float | None = None
    struck: float | None = None
    end: float | None = None


def load() -> float:
    """The machine's load of the last minute."""
    return round(os.getloadavg()[0], 2)


def struck_now(before: float) -> Surroundings:
    """What there is to say of a run in the moment of its fault. before: the load before its lab was begun."""
    return Surroundings(datetime.now(timezone.utc).isoformat(timespec="seconds"), before, load())


@dataclass(frozen=True)
class Result:
    """Seconds after the fault. gap_s: the longest time without an acknowledged record. lost: acknowledged and not on the
    disk. doubles: how often two had the disk at once. None: it did not happen within the time, or nobody saw. surroundings: of
    that run."""

    product: str
    fault: str
    detected_s: float | None
    decided_s: float | None
    back_s: float | None
    gap_s: float
    lost: int | None
    doubles: int | None
    how: str = ""
    surroundings: Surroundings = field(default_factory=lambda: Surroundings())

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def _back(told: Sequence[Acknowledged], fault: float) -> tuple[float | None, float]:
    """When the first record after the longest pause came, and how long that was."""
    moments = sorted(one.monotonic for one in told)
    pauses = [(later - earlier, later) for earlier, later in pairwise(moments) if later >= fault]
    gap, end = max(pauses, default=(0.0, fault))
    return (end - fault if pauses else None), gap


def _wait_served(lab: Lab, fault: Fault, struck: float) -> bool:
    """Wait for records that were begun after the fault, on the node where they are expected."""

    def served() -> bool:
        told = trial.acknowledged(lab)
        back, gap = _back(told, struck)
        fresh = [
            one for one in told if one.node == fault.expected and one.monotonic >= struck + (back or 0.0)
        ]
        return gap > 0.3 and len(fresh) >= _AFTER

    return wait_until(served, LIMIT_S, 0.1)


def _judged(lab: Lab, product: str, fault: Fault, struck: float, around: Surroundings) -> Result:
    served = _wait_served(lab, fault, struck)
    around = replace(around, end=load())
    notes: list[str] = []
    told = trial.acknowledged(lab)
    back, gap = _back(told, struck)
    ledger = trial.read_back(lab, lab.disks[DISK], notes)
    seen = lab.observer.findings
    blind = lab.observer.blind(struck)
    doubles = len(seen.double_holders) + len(seen.double_mounts)
    return Result(
        product,
        fault.name,
        None,
        None,
        back if served else None,
        gap,
        len(lost(*ledger)) if ledger[0] else None,
        None if blind else doubles,
        "; ".join(filter(None, [*notes, blind])),
        around,
    )


# -- this product


def ours(fault: Fault, policy: Mapping[str, Any], product: str, say: Callable[[str], None]) -> Result:
    """One fault here, in a lab of its own."""
    plan = Scenario(fault.name, fault.description, fault.ours, fault.expected, policy)
    before = load()
    with trial.prepared(plan, trial.Settings(hang_limit=HANG_S)) as lab:
        if fault.needs_heartbeat:
            SCENARIOS["guest-freezes"].prepare(lab)
        around, struck = struck_now(before), time.monotonic()
        fault.ours(lab)
        result = _judged(lab, product, fault, struck, around)
        told = [
            one.monotonic
            for pattern in ("salt/beacon/*/vmdk/*", f"vmdk/{DISK}/*", f"vmdk-move/{DISK}/decided")
            for one in lab.master.events.seen(pattern, struck)
        ]
        decided = [
            one
            for one in lab.master.events.seen(f"vmdk-move/{DISK}/decided", struck)
            if one.data.get("choice") == "move"
        ]
        say(f"{product}: {fault.name}: {result.back_s}")
        return replace(
            result,
            detected_s=min(told) - struck if told else None,
            decided_s=decided[0].monotonic - struck if decided else None,
            how="; ".join(filter(None, (result.how, str(decided[0].data.get("reason", "")) if decided else ""))),
        )  # fmt: skip


# -- the cluster


def cluster_lab() -> Lab:
    """A lab without Salt."""
    return Lab(Wishes(disks=(DiskWish(DISK),), hang_limit=HANG_S, salt=False))


def settled(lab: Lab) -> bool:
    """Wait until the service writes on the first node."""
    return wait_until(lambda: len(trial.acknowledged(lab)) >= _AFTER, _UP_S, 0.1)


def theirs(fault: Fault, phase: float, say: Callable[[str], None]) -> Result:
    """One fault in the cluster, in a lab of its own. phase: seconds between the last start and the fault."""
    before = load()
    with cluster_lab() as lab, Cluster(lab) as cluster:
        if not settled(lab):
            raise LabError(f"the cluster did not start the service: {cluster.status()}")
        time.sleep(phase)
        around, struck = struck_now(before), time.monotonic()
        if fault.name == "switchover":
            cluster.run("crm_resource", "--move", "-r", cib.GROUP, "-N", SECOND)
        else:
            (fault.theirs or fault.ours)(lab)
        result = _judged(lab, "Pacemaker", fault, struck, around)
        seen = cluster.logs.first(_SEEN.search, struck)
        decided = cluster.logs.first(_DECIDED.search, struck)
        say(f"Pacemaker: {fault.name}: {result.back_s}")
        if result.back_s is None:
            say(cluster.status())
        return replace(
            result,
            detected_s=seen.monotonic - struck if seen else None,
            decided_s=decided.monotonic - struck if decided else None,
            how="; ".join(
                filter(None, (result.how, seen.text.partition(") ")[2].strip()[:160] if seen else ""))
            ),
        )


# -- what watching costs


def _spent(cell: Cell, without: Sequence[int]) -> float:
    """CPU seconds of all in a cell so far, ended children included; not of the service."""
    total = 0
    for pid in cell.processes():
        try:
            words = (
                Path(f"/proc/{pid}/stat")
                .read_text(encoding="ascii", errors="replace")
                .rpartition(")")[2]
                .split()
            )
        except OSError:
            continue
        if pid not in without:
            total += sum(map(int, words[11:15]))
    return total / os.sysconf("SC_CLK_TCK")


def idle(cells: Mapping[str, Cell], lab: Lab, seconds: float) -> dict[str, float]:
    """Milliseconds of CPU per second while all is well, by cell."""
    time.sleep(_REST_S)
    service = [pid for name in (FIRST, SECOND) for pid in writers(lab.nodes[name])]
    before = {name: _spent(cell, service) for name, cell in cells.items()}
    began = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    return {
        name: round((_spent(cell, service) - before[name]) / took * 1000, 1) for name, cell in cells.items()
    }
