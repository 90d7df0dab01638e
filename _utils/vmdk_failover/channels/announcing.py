"""
What a process of the product tells the others of its work: how a resource stands after a look, and counts for the metrics.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vmdk_failover.channels import noticeboard
from vmdk_failover.channels.counting import Counts
from vmdk_failover.engine import Tell
from vmdk_failover.errors import FailoverError
from vmdk_failover.judgement import standing
from vmdk_failover.judgement.assess import Snapshot
from vmdk_failover.model import Resource
from vmdk_failover.ports import Journal


class Announcer:
    """
    :param state_dir: the master's.
    :param tell: receives an entry ``state`` whenever a resource stands otherwise than before.
    :param wall: wall seconds.
    """

    def __init__(self, state_dir: Path, journal: Journal, tell: Tell, wall: Callable[[], float]) -> None:
        self.counts = Counts(state_dir)
        self._state_dir = state_dir
        self._journal = journal
        self._tell = tell
        self._wall = wall

    def looked(self, resource: Resource, seen: Snapshot) -> None:
        """A look is over: pin up how the resource stands, and tell it if that is news."""
        at = self._wall()
        with contextlib.suppress(FailoverError):  # the journal; the look itself has met that and says so
            self._pin(resource.name, standing.of(seen, self._journal.state(resource.name), at), at)

    def failed(self, name: str, reason: str) -> None:
        """The resource could not even be looked at."""
        self._pin(name, standing.unknown(reason), self._wall())

    def calls(self, session: Any) -> None:
        """Count what this process has asked of vCenter since it was counted last."""
        for (method, result), times in session.tally().items():
            self.counts.add("vcenter_calls", times, method=method, result=result)

    def _pin(self, name: str, now: dict[str, Any], at: float) -> None:
        before = noticeboard.pin(self._state_dir, name, now, at)
        if before is None:
            return
        told = {key: now.get(key) for key in ("state", "active", "protected", "reason")}
        told["rule"] = now.get("rule", 0)
        told["nodes"] = {minion: node["state"] for minion, node in now["nodes"].items()}
        told["before"] = {key: before.get(key, "") for key in ("state", "active", "protected")}
        self._tell({"what": "state", "resource": name, **told, "at": at})
