"""
What a master leaves for the others of a move that it has ended: one name on the shelf that they share. Pure.

Only what a decision rests on: where the resource came, a fault that came along, failovers that damp, tries that failed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: VMFS knows no name of more characters.
LONGEST = 127
#: Seconds since 1970, flags (``o``: it ended well, ``l``: it was local, ``d``: it damps, ``g``: it failed, and the target
#: may have the disk), the rows that ended and that began it, condition, code, source, target.
_NAME = re.compile(
    r"done-(\d{1,12})-(o?l?d?g?)-(\d{1,6})-(\d{1,6})-([a-z_]{0,20})-([a-z_]{0,20})@([\w.-]*)@([\w.-]*)\Z",
    re.ASCII,
)
_NODE = re.compile(r"[\w.-]*\Z", re.ASCII)


def name(entry: Mapping[str, Any]) -> str:
    """What is left of a finished move (``acting.ending``). A node that does not fit is not told, rather than as another."""
    ok, source, target = bool(entry.get("ok")), str(entry.get("source", "")), str(entry.get("target", ""))
    local = source == target
    numbers = "-".join(str(max(0, int(entry.get(key, 0)))) for key in ("rule", "by"))
    words = "-".join(re.sub(r"[^a-z_]", "_", str(entry.get(key, "")))[:20] for key in ("condition", "code"))
    flags = "o" * ok + "l" * local + "d" * bool(entry.get("damped"))
    flags += "g" * (not ok and bool(entry.get("given")))
    written = f"done-{max(0, int(entry.get('ended', 0)))}-{flags}-{numbers}-{words}"
    came, went = ("" if local or not ok else source), target
    for nodes in (f"@{came}@{went}", f"@@{went}"):
        if len(written + nodes) <= LONGEST and all(map(_NODE.match, nodes.split("@"))):
            return written + nodes
    return f"{written}@@"


def move(written: str, epoch: int, master: str) -> dict[str, Any] | None:
    """A finished move as the policy remembers it, as far as it was left by ``master``; ``None`` if that is none."""
    found = _NAME.match(written)
    if found is None:
        return None
    at, flags, rule, by, condition, code, source, target = found.groups()
    return {
        "master": master,
        "epoch": epoch,
        "source": target if "l" in flags else source,
        "target": target,
        "ok": "o" in flags,
        "rule": int(rule),
        "by": int(by),
        "condition": condition,
        "code": code,
        "damped": "d" in flags,
        "given": "g" in flags,
        "reason": f"it was the master {master} that tried{f' ({code})' if code else ''}",
        "ended": float(at),
    }
