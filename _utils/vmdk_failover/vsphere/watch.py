"""
A stream of changes of the protected VMs.

A change is a hint to look, not a fact to decide on. The stream has its own property collector, so that nobody
else's filters wake it, and holds the protected VMs alone: its cost does not grow with the inventory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim, vmodl

from vmdk_failover.errors import CannotObserve
from vmdk_failover.vsphere.properties import filter_spec
from vmdk_failover.vsphere.session import Login, Session

#: What is watched, and how a change of it is called.
_KINDS = {
    "runtime.powerState": "power",
    "runtime.connectionState": "connection",
    "guestHeartbeatStatus": "heartbeat",
    "config.hardware.device": "devices",
    "config.changeVersion": "version",
    "snapshot": "snapshot",
    "runtime.question": "question",
}
#: Changes whose value is a word of vCenter's; of the others only the fact of the change is passed on.
_WORDS = {"power", "connection", "heartbeat", "version"}

#: Seconds that vCenter may be late with "nothing has changed".
_SLACK = 10.0


@dataclass(frozen=True)
class VmChange:
    """
    Something about a VM changed.

    :param kind: ``power``, ``connection``, ``heartbeat``, ``devices``, ``version``, ``snapshot``, ``question`` or ``gone``.
    :param value: vCenter's new word for it (``poweredOff``), ``""`` if it has none or is not one word.
    """

    kind: str
    value: str = ""


class Watch:
    """
    See the module. A watch is not restarted: when :meth:`wait` raises, build a new one and look at
    everything.

    :param session: the login to use; it stays the caller's to close.
    :param refs: the VMs' managed object ids by minion id.
    :raises CannotObserve: vCenter cannot be read, or one of the VMs is not there.

    Changes before the watch was built are not in the stream: look after building it, not before.
    """

    def __init__(self, session: Session, refs: Mapping[str, str]) -> None:
        self._session = session
        self._minions = {ref: minion for minion, ref in refs.items()}
        self._version = ""
        self._login, self._collector = self._build()
        self._next(0)

    def wait(self, max_seconds: float) -> list[tuple[str, VmChange]]:
        """
        Wait until something changes, at most ``max_seconds`` (whole seconds, at least one).

        :return: (minion, change) of all that changed; empty if nothing did.
        :raises CannotObserve: the stream is broken.
        """
        return self._next(max(1, int(max_seconds)))

    def close(self) -> None:
        """Take the collector away; a :meth:`wait` of another thread then raises."""
        with contextlib.suppress(
            CannotObserve, vmodl.fault.ManagedObjectNotFound
        ):  # it ends with the login anyway
            self._session.once(lambda _login: self._collector.DestroyPropertyCollector(), 5.0, self._login)

    def _build(self) -> tuple[Login, Any]:
        def make(login: Login) -> tuple[Login, Any]:
            collector = login.content.propertyCollector.CreatePropertyCollector()
            spec = filter_spec(map(login.vm, self._minions), {vim.VirtualMachine: tuple(_KINDS)})
            # a VM that is not there must not be watched in silence
            spec.reportMissingObjectsInResults = False
            collector.CreateFilter(spec, True)
            return login, collector

        try:
            return self._session.read(make)
        except vmodl.fault.ManagedObjectNotFound as err:
            raise CannotObserve("a protected VM is no longer where it was; find it again") from err

    def _next(self, seconds: int) -> list[tuple[str, VmChange]]:
        changes: list[tuple[str, VmChange]] = []
        update = self._ask(seconds)
        while update is not None:
            self._version = update.version
            changes += [change for part in update.filterSet or () for change in self._changes(part)]
            update = self._ask(0) if update.truncated else None
        return changes

    def _ask(self, seconds: int) -> Any:
        options = vmodl.query.PropertyCollector.WaitOptions(maxWaitSeconds=seconds)
        try:
            return self._session.once(
                lambda _login: self._collector.WaitForUpdatesEx(self._version, options),
                seconds + _SLACK,
                self._login,
            )
        except vmodl.fault.ManagedObjectNotFound as err:
            raise CannotObserve("the stream of changes ended") from err

    def _changes(self, part: Any) -> list[tuple[str, VmChange]]:
        found: list[tuple[str, VmChange]] = []
        for change in part.objectSet or ():
            minion = self._minions.get(change.obj._GetMoId(), "")
            if str(change.kind) == "leave":
                found.append((minion, VmChange("gone")))
            found += [(minion, _change(one)) for one in change.changeSet or ()]
        return found


def _change(one: Any) -> VmChange:
    # a change may be told below the path asked for: config.hardware.device[2000].backing
    kind = next((kind for path, kind in _KINDS.items() if one.name.startswith(path)), one.name)
    return VmChange(kind, str(one.val) if kind in _WORDS and one.val is not None else "")
