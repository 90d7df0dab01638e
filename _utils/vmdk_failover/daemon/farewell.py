"""
The master's side of a node's shutdown: the signed word is checked and noted, and each of the node's resources is looked at.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vmdk_failover import signing
from vmdk_failover.daemon.listening import Ear

TAG = "vmdk-leaving/"
#: A word that is older than the node's last heartbeat by more (milliseconds of its boot clock) is a replay.
OLDER = 10_000


@dataclass
class Farewells:
    """
    :param ear: who knows the nodes and their keys.
    :param note: notes that a node shuts down: minion id and boot id.
    :param hint: called with the name of each resource of the node, and the node.
    """

    ear: Ear
    note: Callable[[str, str], None]
    hint: Callable[[str, str], None]

    def take(self, said: Any) -> None:
        """Take one event; anything but a fresh word of a node about this boot of its own is ignored."""
        body = self.ear.verified(said, signing.LEAVING)
        if body is None:
            return
        minion, before = body["minion"], self.ear.known.nodes.get(body["minion"])
        if before is not None and (body["boot_id"] != before.boot_id or body["seq"] < before.seq - OLDER):
            return
        with contextlib.suppress(OSError):  # then it counts as gone without a word
            self.note(minion, body["boot_id"])
        for name in self.ear.timeouts.get(minion, {}):
            self.hint(name, minion)
