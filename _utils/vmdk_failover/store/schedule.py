"""
What is to happen at a time that a person named: planned switchovers, and the end of maintenance.

A planned switchover is one small durable file per resource below ``state_dir``. Whoever carries it out takes the file away first:
it happens once or not at all, and what became of it stands in the history. Times of the day mean the wall clock, because people
mean it; lengths are counted on the master's boot clock, which nobody sets.
"""

from __future__ import annotations

import datetime
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vmdk_failover.errors import Refused
from vmdk_failover.store import durable

#: One that is this late (seconds), because no engine ran, is not carried out any more.
TOO_LATE = 600.0
LONGEST = 366 * 86400.0
_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_LENGTH = re.compile(r"(?:\d+(?:\.\d+)?(?:min|[smhd]))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(min|[smhd])")


@dataclass(frozen=True)
class Plan:
    """
    A planned switchover.

    :param at: wall seconds. :param target: minion id, ``""`` for the best node. :param by: who planned it.
    """

    at: float
    target: str = ""
    by: str = ""


def seconds_of(text: Any) -> float:
    """
    Seconds of a length like ``2h``, ``90min`` or ``1d12h``; :raises Refused: it is none. A number is none either: YAML makes 120
    of ``2:00`` too, and whoever means two hours must not get two minutes.
    """
    words = str(text).strip().replace(" ", "")
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        raise Refused(f"{words} is no length of time without its unit; write for example 30min, 2h or 1d12h")
    parts = _PART.findall(words) if _LENGTH.fullmatch(words) else []
    found = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not 0 < found <= LONGEST:
        raise Refused(f"{text!r} is no length of time; write for example 30min, 2h or 1d12h")
    return found


def moment_of(text: Any, now: float) -> float:
    """
    Wall seconds of ``22:00`` (the next one, local time) or of an ISO time like ``2026-01-31T22:00``.

    :param now: wall seconds.
    :raises Refused: it is no such time, or it is over.
    """
    words, today = _clock(text), datetime.datetime.fromtimestamp(now).astimezone()
    try:
        if re.fullmatch(r"\d{1,2}:\d\d(:\d\d)?", words):
            clock = datetime.time.fromisoformat(words.zfill(5) if words.count(":") == 1 else words.zfill(8))
            found = datetime.datetime.combine(today.date(), clock).astimezone()
            if found <= today:
                found = datetime.datetime.combine(today.date() + datetime.timedelta(1), clock).astimezone()
        else:
            found = datetime.datetime.fromisoformat(words).astimezone()
    except (ValueError, OverflowError, OSError) as err:
        raise Refused(f"{words!r} is no time; write for example 22:00 or 2026-01-31T22:00") from err
    if not 0 < found.timestamp() - now <= LONGEST:
        raise Refused(f"{words} is not in the year that comes; it is {today.isoformat(' ', 'seconds')} here")
    return found.timestamp()


def _clock(text: Any) -> str:
    """
    YAML reads 22:00 as the number 1320, and 22:00:30 as 79230; 25:00 as 1500, and 60:00 as 3600, which 1:00:00 is too: it counts
    as hours and minutes, which then is no time, for nobody knows which one was meant.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        return (
            f"{text // 60}:{text % 60:02}"
            if text < 6000
            else f"{text // 3600}:{text // 60 % 60:02}:{text % 60:02}"
        )
    return str(text).strip()


# -- planned switchovers --------------------------------------------------------------------------------------------


def write(state_dir: Path, name: str, plan: Plan) -> None:
    """Plan a switchover, in place of one that was; :raises Refused: it cannot be written."""
    path = _path(state_dir, name)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        durable.write(path, json.dumps(asdict(plan)).encode())
    except OSError as err:
        raise Refused(f"{path} cannot be written: {err.strerror}; nothing is planned") from err


def read(state_dir: Path, name: str) -> Plan | None:
    """The planned switchover of a resource; ``None`` if there is none, or its file is damaged."""
    try:
        plain = json.loads(_path(state_dir, name).read_text(encoding="utf-8"))
        return Plan(float(plain["at"]), str(plain.get("target", "")), str(plain.get("by", "")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, Refused):
        return None


def cancel(state_dir: Path, name: str) -> Plan | None:
    """
    Take a planned switchover away; :return: what was planned.

    :raises Refused: it cannot be taken away.
    """
    path, found = _path(state_dir, name), read(state_dir, name)
    try:
        path.unlink()
        durable.sync_folder(path.parent)
    except FileNotFoundError:
        return None
    except OSError as err:
        raise Refused(f"{path} cannot be removed: {err.strerror}") from err
    return found


def due(state_dir: Path, now: float) -> list[str]:
    """Names of resources whose switchover is due (wall seconds)."""
    names = [path.stem for path in sorted((state_dir / "schedule").glob("*.json"))]
    plans = {name: read(state_dir, name) for name in names}
    return [name for name, plan in plans.items() if plan is not None and plan.at <= now]


def take(state_dir: Path, name: str, now: float) -> Plan | None:
    """The switchover that is due, which from then on is nobody else's; ``None`` if none is."""
    plan = read(state_dir, name)
    return cancel(state_dir, name) if plan is not None and plan.at <= now else None


def _path(state_dir: Path, name: str) -> Path:
    if not name or os.sep in name or name.startswith("."):
        raise Refused(f"{name!r} is no name of a resource")
    return state_dir / "schedule" / f"{name}.json"


# -- the end of maintenance -----------------------------------------------------------------------------------------


def until(seconds: float, boot: str, uptime: float, wall: float) -> dict[str, Any]:
    """What is written of a maintenance that ends by itself. boot, uptime: the master's boot and its clock."""
    return {"until": wall + seconds, "boot": boot, "ends": uptime + seconds}


def is_over(pause: Mapping[str, Any], boot: str, uptime: float, wall: float) -> bool:
    """Whether a maintenance has ended: by the boot clock, or by the wall clock if the master has booted since."""
    try:
        if pause.get("boot") == boot:
            return uptime >= float(pause["ends"])
        return wall >= float(pause["until"])
    except (KeyError, TypeError, ValueError):
        return False
