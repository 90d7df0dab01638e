"""
How each resource stood when it was last looked at: one small file for each, written by every look, read by whoever wants to know.

It is true for the moment only and no decision rests on it; a resource that was never looked at has none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vmdk_failover.judgement import standing
from vmdk_failover.presence import heard
from vmdk_failover.store import durable

NAME = "standing"
#: Seconds that a disk gets; no look waits longer for this.
PATIENCE = 2.0


def pin(state_dir: Path, name: str, now: Mapping[str, Any], at: float) -> Mapping[str, Any] | None:
    """
    Write down how a resource stands.

    :param at: wall seconds of the look.
    :return: how it stood before (empty if nobody knows) if that is something else that people should know, else ``None``.
    """
    before: dict[str, Any] = {}

    def work(given_up: durable.GivenUp) -> None:
        before.update(read(state_dir, name))
        given_up.check()
        heard.write_plain(_path(state_dir, name), {**now, "at": at})

    with contextlib.suppress(OSError):  # then the next look tells the same once more
        durable.within(PATIENCE, work)
    return dict(before) if standing.differs(before, now) else None


def read(state_dir: Path, name: str) -> dict[str, Any]:
    """How a resource stood, with ``at`` (wall seconds); empty if nobody knows."""
    return heard.read_plain(_path(state_dir, name))


def _path(state_dir: Path, name: str) -> Path:
    return state_dir / NAME / f"{name}.json"
