"""
Whether a node's address answers at all while the node is well.

An address that never answers (a firewall that drops what the master sends) says nothing by its silence: only one that did
answer, while heartbeats came, can later be found silent. What was found out last is kept in a small file; after
two tries in a row it is told (``mute``), for one lost packet is no firewall.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from vmdk_failover.presence import echo, heard

NAME = "reachable.json"
#: A node is asked again after this long (seconds); a heartbeat no older than FRESH says that it is well now.
AGAIN = 300.0
FRESH = 3.0
#: After so many tries in vain, one after the other, it is told.
TRIES = 2

Ask = Callable[[Mapping[str, str]], Mapping[str, "bool | None"]]


def answered(state_dir: Path, minion: str, address: str) -> bool:
    """Whether ``address`` answered when ``minion`` was last asked while it was well."""
    note = heard.read_plain(state_dir / NAME).get(minion)
    return isinstance(note, dict) and note.get("address") == address and note.get("answers") is True


def mute(state_dir: Path, clock: Callable[[], float] = time.monotonic) -> dict[str, str]:
    """Addresses by minion that did not answer although the node was well, as found out in the last minutes."""
    boot, now, notes = heard.master_boot(), clock(), heard.read_plain(state_dir / NAME)
    return {m: str(note.get("address")) for m, note in notes.items() if _is_mute(note, boot, now)}


def _is_mute(note: object, boot: str, now: float) -> bool:
    if not isinstance(note, dict) or note.get("boot") != boot or note.get("answers") is not False:
        return False
    at, missed = note.get("at"), note.get("missed")
    late = isinstance(at, (int, float)) and 0 <= now - at < AGAIN
    return late and isinstance(missed, int) and missed >= TRIES


def _missed(note: object, address: str, boot: str) -> int:
    """How often in a row the address did not answer before."""
    if not isinstance(note, dict) or (note.get("address"), note.get("boot")) != (address, boot):
        return 0
    missed = note.get("missed")
    return missed if isinstance(missed, int) else 0


def find_out(state_dir: Path, ask: Ask = echo.answers, clock: Callable[[], float] = time.monotonic) -> None:
    """Ask the nodes that are well and were not asked lately; takes a second at most."""
    known, notes, now = heard.read(state_dir), heard.read_plain(state_dir / NAME), clock()
    boot = heard.master_boot()
    due: dict[str, str] = {}
    for minion, beat in known.nodes.items():
        well = beat.at is not None and (known.silent(minion, now, boot) or 0.0) <= FRESH and beat.address
        if well and not _is_fresh(notes.get(minion), beat.address, boot, now):
            due[minion] = beat.address
    if not due:
        return
    told = ask(due)
    fresh = {
        m: {
            "address": a,
            "answers": told.get(m) is True,
            "missed": 0 if told.get(m) is True else _missed(notes.get(m), a, boot) + 1,
            "boot": boot,
            "at": now,
        }
        for m, a in due.items()
    }
    with contextlib.suppress(OSError):  # without the file nobody is taken for dead by a silent address
        heard.write_plain(state_dir / NAME, {**{m: n for m, n in notes.items() if m in known.nodes}, **fresh})


def _is_fresh(note: object, address: str, boot: str, now: float) -> bool:
    if not isinstance(note, dict) or (note.get("address"), note.get("boot")) != (address, boot):
        return False
    at = note.get("at")
    return isinstance(at, (int, float)) and 0 <= now - at < (
        AGAIN if note.get("answers") is True else AGAIN / 10
    )
