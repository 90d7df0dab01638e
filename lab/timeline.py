"""What happens, line by line as it happens: the events of the master's bus that tell of a move, with the moment."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from lab.events import Event, Tap

_TICK = 0.05
_COLOURS = {
    "fault": 31,
    "seen": 33,
    "decided": 36,
    "done": 32,
    "proof": 32,
    "failed": 35,
    "hold": 31,
    "give up": 31,
}
#: What is printed of a move's events; a step is told when it has ended.
_KINDS = {"outcome": "done", "hold": "hold", "abandon": "give up"}


def line(seconds: float | None, kind: str, words: str, colour: bool) -> str:
    """One line of the timeline. seconds: since the fault; None prints no moment."""
    moment = f"{seconds:8.3f} s" if seconds is not None else " " * 10
    label = f"\033[{_COLOURS[kind]}m{kind:<8}\033[0m" if colour and kind in _COLOURS else f"{kind:<8}"
    return f"{moment}  {label}  {words}"


def told(event: Event) -> tuple[str, str] | None:
    """Kind and words of an event; None for one that tells nothing new."""
    data = event.data
    if event.tag.startswith("vmdk-move/"):
        return _of_move(data)
    report = data.get("data") if isinstance(data.get("data"), Mapping) else data
    if not isinstance(report, Mapping) or report.get("condition") in (None, "ok", "unmounted"):
        return None
    return "seen", f"{data.get('id', '')}: {report['condition']} – {report.get('evidence', '')}"


def _of_move(data: Mapping[str, Any]) -> tuple[str, str] | None:
    what = str(data.get("what"))
    if what == "decided" and data.get("choice") == "move":
        return "decided", f"{data['reason']} (rule {data['rule']})"
    if what in _KINDS:
        words = str(data.get("sentence", "")).partition(": ")[2]
        failed = what == "outcome" and data.get("outcome") != "done"
        return "failed" if failed else _KINDS[what], words
    return None


class Timeline:
    """Prints a line for each event that tells something, from moment `since` (monotonic) on, while its block runs."""

    def __init__(self, tap: Tap, since: float) -> None:
        self._tap, self._since = tap, since
        self._colour = sys.stdout.isatty()
        self._printed = 0
        self._conditions: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._print, name="timeline", daemon=True)

    def __enter__(self) -> Timeline:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(5)

    def say(self, seconds: float | None, kind: str, words: str) -> None:
        """Print a line of one's own."""
        print(line(seconds, kind, words, self._colour), flush=True)

    def _print(self) -> None:
        while not self._stop.wait(_TICK):
            self._print_news()
        self._print_news()

    def _print_news(self) -> None:
        events = self._tap.seen("*vmdk*", self._since)
        for event in events[self._printed :]:
            found = told(event)
            if found is not None and self._is_news(*found):
                self.say(event.monotonic - self._since, *found)
        self._printed = len(events)

    def _is_news(self, kind: str, words: str) -> bool:
        """A condition repeats while it lasts, and comes by two ways; it is printed once."""
        subject = words.partition(" – ")[0]
        if kind != "seen":
            return True
        known = subject in self._conditions
        self._conditions.add(subject)
        return not known
