"""An independent witness: looks at the vCenter and at the nodes' mount tables, and judges what it saw.

It shares no code and no connection with the product.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from lab.disk import Disk
from lab.node import Node

_PAUSE = 0.02
_LIMIT = 5.0
#: Seconds without a look at the nodes' mounts after which it has not seen enough to acquit anybody.
BLIND_S = 5.0


@dataclass(frozen=True)
class Sight:
    """One change that the observer saw. what: holds, leaves, mounted or unmounted. who: node name."""

    monotonic: float
    what: str
    disk: str
    who: str


@dataclass
class Findings:
    """What was wrong. Each double is (moment, disk, those who had it at once); the moment is when it began.

    looks: at the mounts of all nodes. unreadable: looks that failed, there or at the vCenter. gaps: (from, to) without a look at
    the mounts, those longer than BLIND_S.
    """

    double_holders: list[tuple[float, str, tuple[str, ...]]] = field(default_factory=list)
    double_mounts: list[tuple[float, str, tuple[str, ...]]] = field(default_factory=list)
    sights: list[Sight] = field(default_factory=list)
    looks: int = 0
    unreadable: int = 0
    gaps: list[tuple[float, float]] = field(default_factory=list)


def holders(inventory: Mapping[str, Any], disk: str) -> tuple[str, ...]:
    """The powered-on VMs whose configuration lists the disk `disk`."""
    found = [
        str(vm["name"])
        for vm in inventory["vms"]
        if vm["power"] == "poweredOn" and any(one["path"] == disk for one in vm["disks"])
    ]
    return tuple(sorted(found))


class Observer:
    """Looks every 20 ms while its block runs. control: URL of the vCenter's control interface.

    Mounts and vCenter are looked at side by side: a vCenter that hangs blinds nobody for the mounts.
    """

    def __init__(self, control: str, nodes: Sequence[Node], disks: Sequence[Disk]) -> None:
        address = urlsplit(control)
        self._vcenter = http.client.HTTPConnection(str(address.hostname), address.port, timeout=_LIMIT)
        self._nodes, self._disks = nodes, disks
        self._lock = threading.Lock()
        self.findings = Findings()
        self._said: tuple[bytes, Mapping[str, Any] | None] = (b"", None)
        self._before: dict[tuple[str, str], tuple[str, ...]] = {}
        self._stop = threading.Event()
        self._seen, self._problem = 0.0, ""
        self._threads = [
            threading.Thread(target=self._watch, args=(look,), name="observer", daemon=True)
            for look in (self._look_at_mounts, self._look_at_holders)
        ]

    def __enter__(self) -> Observer:
        self._seen = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(_LIMIT)
        self._vcenter.close()

    def _watch(self, look: Callable[[], None]) -> None:
        while not self._stop.wait(_PAUSE):
            try:
                look()
            except Exception as problem:  # a witness who falls silent would acquit everybody
                self._failed(f"{type(problem).__name__}: {problem}")

    def _failed(self, why: str) -> None:
        with self._lock:
            self.findings.unreadable += 1
            self._problem = why

    def blind(self, since: float) -> str:
        """Why its silence since a moment (monotonic seconds) proves nothing; empty if it looked all the time."""
        now = self._seen if self._stop.is_set() else time.monotonic()
        gaps = [*self.findings.gaps, (self._seen, now)]
        longest = max(to - max(start, since) for start, to in gaps)
        if longest <= BLIND_S:
            return ""
        return (
            f"the witness did not see the mounts for {longest:.1f} s{self._problem and f' ({self._problem})'}"
        )

    def amiss(self, since: float = 0.0) -> str:
        """What speaks against all being well since a moment: who had a disk at once, or that it did not look; else empty."""
        with self._lock:
            doubles = [*self.findings.double_holders, *self.findings.double_mounts]
        said = [f"{disk} was at once at {', '.join(who)}" for moment, disk, who in doubles if moment >= since]
        return "; ".join(filter(None, [*said, self.blind(since)]))

    def _inventory(self) -> Mapping[str, Any] | None:
        try:
            self._vcenter.request("GET", "/inventory")
            said = self._vcenter.getresponse().read()
            if said != self._said[0]:  # mostly it is the same
                self._said = said, json.loads(said)
        except (OSError, http.client.HTTPException, ValueError) as problem:
            self._vcenter.close()
            self._failed(f"the vCenter: {problem}")
            return None
        return self._said[1]

    def _look_at_holders(self) -> None:
        inventory = self._inventory()
        for disk in self._disks if inventory is not None else ():
            assert inventory is not None
            self._note(
                "holds", "leaves", disk.path, holders(inventory, disk.path), self.findings.double_holders
            )

    def _look_at_mounts(self) -> None:
        for disk in self._disks:
            who = tuple(sorted(node.name for node in self._nodes if mountpoints(node, disk)))
            self._note("mounted", "unmounted", disk.path, who, self.findings.double_mounts)
        before, self._seen = self._seen, time.monotonic()
        if self._seen - before > BLIND_S:
            self.findings.gaps.append((before, self._seen))
        self.findings.looks += 1

    def _note(
        self,
        appears: str,
        goes: str,
        disk: str,
        who: tuple[str, ...],
        doubles: list[tuple[float, str, tuple[str, ...]]],
    ) -> None:
        before = self._before.get((appears, disk), ())
        if who == before:
            return
        now = time.monotonic()
        self._before[appears, disk] = who
        with self._lock:
            self.findings.sights += [Sight(now, appears, disk, one) for one in who if one not in before]
            self.findings.sights += [Sight(now, goes, disk, one) for one in before if one not in who]
            if len(who) > 1:
                doubles.append((now, disk, who))

    def first(self, what: str, disk: Disk, who: str, since: float) -> float | None:
        """When it first saw `what` of `disk` at node `who`, from moment `since` on; None when it did not."""
        with self._lock:
            found = [one.monotonic for one in self.findings.sights if _fits(one, what, disk.path, who, since)]
        return found[0] if found else None


def _fits(sight: Sight, what: str, disk: str, who: str, since: float) -> bool:
    return (sight.what, sight.disk, sight.who) == (what, disk, who) and sight.monotonic >= since


def mountpoints(node: Node, disk: Disk) -> list[str]:
    """Where a node has the disk, or a volume that lies on it, mounted for writing, device number against device number."""
    devices = node.devices_of(disk)
    return [mount.mountpoint for mount in node.mounts() if mount.devno in devices and mount.writable]


def seconds_to_ms(moments: Iterable[float | None], since: float) -> list[int | None]:
    """Moments as milliseconds after `since`."""
    return [None if moment is None else round((moment - since) * 1000) for moment in moments]
