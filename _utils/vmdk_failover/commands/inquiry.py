"""What ``protect`` and ``edit`` ask nodes, and what a node does that gives no answer: it is busy, or gone, or too old."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vmdk_failover.app import App
from vmdk_failover.errors import CannotObserve, FailoverError, listed

#: Seconds that nodes have at least to say what they see; ``timeouts.ask`` gives them more.
LOOK = 10.0
#: Seconds for the question what became of that.
WHY = 2.0


def patience(app: App, body: Mapping[str, Any]) -> float:
    """
    Seconds that nodes have for a look, where a person waits.

    :param body: of the resource, or its options; ``timeouts.ask`` of it, or of ``defaults``, counts if it is more than usual.
    """
    section = app.opts.get("vmdk")
    defaults = section.get("defaults") if isinstance(section, Mapping) else None
    found = [LOOK]
    for place in (defaults, body):
        timeouts = place.get("timeouts") if isinstance(place, Mapping) else None
        chosen = timeouts.get("ask") if isinstance(timeouts, Mapping) else None
        if isinstance(chosen, (int, float)):  # what is no number is refused when the resource is read
            found = [LOOK, float(chosen)]
    return max(found)


@dataclass(frozen=True)
class Needed:
    """What a resource needs on every node beside its disks, by name: ``services``, and SLS (``states``)."""

    services: tuple[str, ...] = ()
    states: tuple[str, ...] = ()

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Needed:
        """Of a resource's body, or of its options; what is no list of names is refused when they are read."""
        states = body.get("states")
        parts = states.values() if isinstance(states, Mapping) else ()
        return cls(_names(body.get("services")), tuple(name for part in parts for name in _names(part)))

    def beside(self, other: Needed) -> Needed:
        """What is needed here and not there."""
        return Needed(
            tuple(one for one in self.services if one not in other.services),
            tuple(one for one in self.states if one not in other.states),
        )


def _names(given: Any) -> tuple[str, ...]:
    return tuple(str(one) for one in given) if isinstance(given, (list, tuple)) else ()


def ask(
    app: App, nodes: Sequence[str], mountpoint: str, needed: Needed, wait: float = LOOK
) -> dict[str, Mapping[str, Any]]:
    """
    What nodes see of a mount point and of what a resource needs.

    :param wait: seconds.
    :return: a word of each of the nodes.
    :raises CannotObserve: not all of them answered; the sentence says what they did instead.
    """
    words, instead = heard_of(app, nodes, mountpoint, needed, wait)
    if instead:
        raise CannotObserve(listed(instead), "node_silent")
    return words


def heard_of(
    app: App, nodes: Sequence[str], mountpoint: str, needed: Needed, wait: float = LOOK
) -> tuple[dict[str, Mapping[str, Any]], list[str]]:
    """
    What those nodes see that answer.

    :param mountpoint: ``""`` for what is needed alone. :param wait: seconds.
    :return: words by node, and what each of the others did instead, a sentence part each.
    """
    asked: dict[str, Any] = {"mountpoint": mountpoint, "services": list(needed.services)}
    if needed.states:
        asked["states"] = list(needed.states)
    heard: dict[str, Any] = {}

    def anything(minion: str, answer: Any) -> bool:
        """What is looked at here is checked against vCenter, and nothing is done with it but to record it."""
        heard[minion] = answer
        return True

    said = app.call.ask(nodes, "vmdk.look", asked, wait, anything)
    words = {minion: said[minion] for minion in nodes if isinstance(said.get(minion), Mapping)}
    return words, _instead(app, [minion for minion in nodes if minion not in words], heard, wait)


def _instead(app: App, silent: Sequence[str], heard: Mapping[str, Any], wait: float) -> list[str]:
    """What nodes did in place of an answer, a sentence each."""
    mute = [minion for minion in silent if minion not in heard]
    at_it: Mapping[str, Any] = {}
    with contextlib.suppress(FailoverError):  # as where the master knows none of them: then they are silent
        if mute:
            at_it = app.call.ask(mute, "saltutil.is_running", {"fun": "vmdk.look"}, WHY, lambda *_: True)
    return [_what_it_did(minion, heard, at_it, wait) for minion in silent]


def _what_it_did(minion: str, heard: Mapping[str, Any], at_it: Mapping[str, Any], wait: float) -> str:
    if minion in heard:
        said = " ".join(str(heard[minion]).split())[:200] or "nothing"
        return f"{minion} answered {said!r} in place of what it sees; run 'salt {minion} saltutil.sync_all'"
    late = f"{minion} did not answer within {wait:.0f} s"
    more = f"try again when it is less busy, or give it longer with timeouts='{{ask: {2 * wait:.0f}}}'"
    if at_it.get(minion):
        return f"{late} and is still looking; {more}"
    if minion in at_it:
        return f"{late} and is up, but not at it: it took longer and is done now, or dropped the question; {more}"
    return (
        f"{late}, nor to a second question; check with 'salt {minion} vmdk.version' that the minion is up, its key accepted and "
        "the extension synced ('saltutil.sync_all')"
    )
