"""
When each node was last heard: a small file that the master's listener writes and every look reads.

All moments are of the master's own monotonic clock and mean nothing after it has booted; a file of another boot, or one that
nobody has written for some seconds, says nothing. It is written without fsync: it is true for the moment only. But it is written
into space that was set aside: while it cannot be, on a disk that has become full, no silent node would fail over.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vmdk_failover.store import durable

#: A listener that has not written for so many seconds does not listen.
STALE = 5.0
NAME, PRESENT = "heard.json", "present"
#: Space for it is set aside in multiples of this (bytes): it is written more than once a second.
BLOCK = 4096
#: A heartbeat may overtake an answer by less (milliseconds of the node's boot clock); and by what a node has answered it agrees
#: with that clock within so many seconds.
BEHIND, NEAR = 5_000, 3.0


@dataclass(frozen=True)
class Beat:
    """
    The last heartbeat of a node.

    :param at: when it arrived; ``None`` if it was before the window began.
    :param past: earlier boot ids, so that nothing old can be played again.
    """

    boot_id: str
    seq: int
    address: str
    version: str
    uptime: float
    at: float | None = None
    past: tuple[str, ...] = ()


@dataclass(frozen=True)
class Heard:
    """
    What the listener knows.

    :param boot: boot id of the master.
    :param written: when the file was written. :param since: when the window for silence began.
    :param grace: seconds that a node which was not heard since then gets on top.
    """

    boot: str
    written: float
    since: float
    grace: float = 0.0
    nodes: Mapping[str, Beat] = field(default_factory=dict)

    def silent(self, minion: str, now: float, boot: str) -> float | None:
        """Seconds of silence; negative while the grace lasts, ``None`` if nobody listens."""
        if self.boot != boot or not 0 <= now - self.written <= STALE:
            return None
        beat = self.nodes.get(minion)
        if beat is not None and beat.at is not None:
            return now - beat.at
        return now - (self.since + self.grace)

    def at(self, minion: str) -> float | None:
        """When a node was last heard."""
        beat = self.nodes.get(minion)
        return beat.at if beat else None

    def address(self, minion: str) -> str:
        """The last address that a node gave; ``""`` if it gave none."""
        beat = self.nodes.get(minion)
        return beat.address if beat else ""


NOTHING = Heard("", 0.0, 0.0)


def takes_for_old(beat: Beat | None, boot_id: str, uptime: float) -> bool:
    """
    Whether heartbeats of a node that is in this boot, for so many seconds, count as played again: its VM was reverted to a
    snapshot with its memory, or a clone has spoken under its id meanwhile.
    """
    if beat is None:
        return False
    return uptime * 1000 + BEHIND < beat.seq if boot_id == beat.boot_id else boot_id in beat.past


def write_present(state_dir: Path, minion: str, boot_id: str, uptime: float, now: float) -> None:
    """A node has just said, asked and so not played again, how long it has been in which boot; :raises OSError: not written."""
    note = {"boot": master_boot(), "boot_id": boot_id, "uptime": uptime, "at": now}
    write_plain(state_dir / PRESENT / f"{minion}.json", note)


def is_present(state_dir: Path, minion: str, boot_id: str, uptime: float, now: float) -> bool:
    """Whether a heartbeat is of that boot, and neither older nor newer than it can be by what the node has said."""
    note = read_plain(state_dir / PRESENT / f"{minion}.json")
    if (note.get("boot"), note.get("boot_id")) != (master_boot(), boot_id):
        return False
    try:
        return abs((now - uptime) - (float(note["at"]) - float(note["uptime"]))) <= NEAR
    except (KeyError, TypeError, ValueError):
        return False


def read(state_dir: Path) -> Heard:
    """What the listener has written; nothing if there is no such file or it is damaged."""
    plain = read_plain(state_dir / NAME)
    try:
        nodes = {str(m): Beat(**{**b, "past": tuple(b["past"])}) for m, b in plain.pop("nodes").items()}
        return Heard(**plain, nodes=nodes)
    except (KeyError, TypeError, AttributeError):
        return NOTHING


def write(state_dir: Path, heard: Heard) -> None:
    """Replace the file; ``OSError`` if that is not possible."""
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = json.dumps(asdict(heard)).encode()
    durable.replace(state_dir / NAME, content, lasting=False, block=BLOCK)


def read_plain(path: Path) -> dict[str, Any]:
    """A JSON object, empty if the file is not there or is none."""
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return plain if isinstance(plain, dict) else {}


def write_plain(path: Path, plain: Mapping[str, Any]) -> None:
    """Replace a file by a JSON object, mode 0600; readers see the old one or the new one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(plain, file)
        os.rename(fresh, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        raise


def master_boot() -> str:
    """The boot id of this machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
