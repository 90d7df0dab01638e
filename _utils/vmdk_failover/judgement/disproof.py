"""
What speaks against a word that a host is off. Pure.

One sign of life of one node on that host is enough, whichever resource the node belongs to. Words and heartbeats are signed, so
what came after the word disproves it for good. An address may be another machine's by now: it counts while it answers.
"""

from __future__ import annotations

from vmdk_failover.around import Confirmed, Life
from vmdk_failover.model import Signs

#: A heartbeat that is no older (seconds) says that the machine runs now.
FRESH = 3.0
#: One that arrived within so many seconds after the word may have been sent before the host went off.
UNDER_WAY = 3.0


def life(minion: str, answers: bool, signs: Signs, word: Confirmed) -> Life | None:
    """
    What shows that a node on the host of ``word`` lives, the strongest first; ``None`` if nothing does.

    :param answers: it has given a signed answer that is believed and still counts.
    """
    if answers:
        return Life(f"{minion} has answered since", True)
    if signs.heard is not None and word.ago is not None and signs.heard < word.ago - UNDER_WAY:
        return Life(f"{minion} has sent a signed heartbeat since", True)
    if signs.heard is not None and signs.heard <= FRESH:
        return Life(f"{minion} sent a signed heartbeat a moment ago")
    return Life(f"the address of {minion} answers") if signs.address is True else None
