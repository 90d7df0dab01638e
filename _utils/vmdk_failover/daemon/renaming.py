"""
The master's side of a node whose minion has got another id: the word, signed with the key that it had under the old one, is
checked and noted. Until it boots the node may use its disk, and nobody reaches it under the recorded id.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vmdk_failover import signing
from vmdk_failover.daemon.listening import Ear

TAG = "vmdk-renamed/"
#: No id is told in more characters.
LONGEST = 80


@dataclass
class Renames:
    """
    :param ear: who knows the nodes and their keys.
    :param note: notes that a node has another id: the recorded one and the new one.
    """

    ear: Ear
    note: Callable[[str, str], None]
    last: dict[str, int] = field(default_factory=dict)

    def take(self, said: Any) -> None:
        """Take one event; anything but a fresh word of a node about this boot of its own is ignored."""
        if isinstance(said, Mapping) and said.get("minion") not in self.ear.timeouts:
            return  # the node was given up under its old id: all is well
        body = self.ear.verified(said, signing.RENAMED)
        before = self.ear.known.nodes.get(body["minion"]) if body else None
        if body is None or before is None or body["boot_id"] != before.boot_id:
            return
        minion, seq = body["minion"], body["seq"]
        if seq <= max(before.seq, self.last.get(minion, 0)):
            return
        self.last[minion] = seq
        shown = "".join(c for c in body["address"] if c.isprintable())[:LONGEST]
        with contextlib.suppress(OSError):  # then it counts as an agent that is silent
            self.note(minion, shown)
