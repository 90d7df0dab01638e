"""
The master's side of a node that says, without being asked, that it cannot use a disk: the signed word is checked and noted.

A report of the same is a hint only. This word counts where the node's minion answers no question any more, because what has
failed took the minion along; see ``failing.py``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from vmdk_failover import signing
from vmdk_failover.daemon.listening import Ear
from vmdk_failover.model import FAILED_CONDITIONS

TAG = "vmdk-failing/"
#: A word that is older than the node's last heartbeat by more (milliseconds of its boot clock) is a replay.
OLDER = 3_000
#: A look is asked for this many seconds apart, for this long; after that the engine's own tick looks.
EACH, FOR = 4.0, 60.0
_FAILED = frozenset(one.value for one in FAILED_CONDITIONS)


@dataclass
class _Looks:
    """Since when a disk is complained of, when it was last, and when a look was last asked for."""

    began: float
    heard: float = 0.0
    asked: float = float("-inf")


@dataclass
class Complaints:
    """
    :param ear: who knows the nodes and their keys.
    :param note: notes a resource, the node, the condition, and what was seen.
    :param hint: called with the resource and the node when somebody should look.
    """

    ear: Ear
    note: Callable[[str, str, str, str], None]
    hint: Callable[[str, str], None]
    last: dict[tuple[str, str], int] = field(default_factory=dict)
    looks: dict[tuple[str, str], _Looks] = field(default_factory=dict)

    def take(self, said: Any) -> None:
        """Take one event; anything but a fresh word of a node about a disk of its own is ignored."""
        body = self.ear.verified(said, signing.FAILING)
        before = self.ear.known.nodes.get(body["minion"]) if body else None
        if body is None or before is None or body["boot_id"] != before.boot_id:
            return
        minion, name, seq = body["minion"], body["address"], body["seq"]
        condition, _, evidence = body["version"].partition(": ")
        mine = name in self.ear.timeouts.get(minion, {}) and condition in _FAILED
        if not mine or seq <= max(before.seq - OLDER, self.last.get((minion, name), 0)):
            return
        self.last[minion, name] = seq
        shown = "".join(c for c in evidence if c.isprintable())
        with contextlib.suppress(OSError):  # then it counts as a node that says nothing
            self.note(name, minion, condition, shown)
        now, looks = self.ear.clock(), self.looks.get((minion, name))
        if looks is None or now - looks.heard > FOR:
            looks = self.looks[minion, name] = _Looks(now)
        looks.heard = now
        if now - looks.asked >= EACH and now - looks.began < FOR:
            looks.asked = now
            self.hint(name, minion)
