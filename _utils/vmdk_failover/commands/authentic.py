"""
The master's own word on its event bus: signed, for any minion can send an event with any tag and any content.

Hints (``vmdk/…``) are not signed: whoever sends one, all that follows is a look.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vmdk_failover import signing
from vmdk_failover.configured import state_dir
from vmdk_failover.errors import JournalError
from vmdk_failover.judgement import describe
from vmdk_failover.store.keys import Keys
from vmdk_failover.views.columns import harmless

#: Seconds for which a word counts; a reactor may be late, and what somebody has kept is old some time.
FRESH = 600.0
#: What Salt puts into every event, and what the signature does not cover.
_BESIDE = frozenset({"_stamp", "signature"})


class Announcements:
    """
    Makes and knows the events ``vmdk-move/…`` and ``vmdk-state/…`` of this master.

    :param state_dir: the master's; its secret is in it. :param wall: wall seconds.
    """

    def __init__(self, state_dir: Path, wall: Callable[[], float]) -> None:
        self._keys = Keys(state_dir)
        self._wall = wall

    def event(self, entry: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        """
        What goes onto the bus for an entry of a run (what ``tell`` receives), and under which tag.

        Every text in it does nothing to a terminal. Where the secret cannot be read its ``signature`` is empty: a move goes on
        all the same.
        """
        body = harmless({**entry, "sentence": describe.sentence(entry)})
        try:
            return signing.sign_event(self._keys.announcing()[0], body), describe.tag(body)
        except JournalError:
            return {**body, "signature": ""}, describe.tag(body)

    def is_genuine(self, event: object) -> bool:
        """
        Whether an event is this master's own word and not an old one, whatever its form.

        :param event: its data, as the bus delivers them, or these as JSON.
        :raises JournalError: the secret cannot be read, so nobody can tell.
        """
        said = _plain(event)
        keys, body = self._keys.announcing(), {key: said[key] for key in said if key not in _BESIDE}
        if not any(signing.is_event_signed(key, body, said.get("signature")) for key in keys):
            return False
        return abs(self._wall() - float(body["at"])) <= FRESH

    def believes(self, event: object) -> bool:
        """Whether it is known to be genuine: not where nobody can tell."""
        try:
            return self.is_genuine(event)
        except JournalError:
            return False


def announcements(opts: Mapping[str, Any]) -> Announcements:
    """Those of a master, by Salt's options of it."""
    return Announcements(state_dir(opts), time.time)


def answer(opts: Mapping[str, Any], event: object) -> dict[str, bool]:
    """What ``vmdk.genuine`` answers. :raises JournalError: the secret cannot be read, so nobody can tell."""
    return {"genuine": announcements(opts).is_genuine(event)}


def _plain(event: object) -> Mapping[Any, Any]:
    if isinstance(event, (str, bytes)):
        try:
            event = json.loads(event)
        except (ValueError, RecursionError):
            return {}
    return event if isinstance(event, Mapping) else {}
