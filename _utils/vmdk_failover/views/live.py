"""
The live view: how all resources stand and what moves do, drawn anew on a terminal, line by line into a pipe.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from vmdk_failover.judgement import describe
from vmdk_failover.views.columns import moment, printable, wrapped

#: So many lines of what moves do are shown below the status.
KEPT = 12
#: What is told of a move.
TOLD = ("decided", "step", "outcome", "hold", "wait", "abandon", "done", "ended", "state")
#: What of it whoever waits for the answer is told meanwhile.
ALOUD = ("decided", "step", "outcome", "wait", "abandon")
_HOME_AND_CLEAR = "\x1b[H\x1b[J"

Event = Mapping[str, Any]


def progress(entry: Event) -> str:
    """
    What an event of a move tells, as a sentence that does nothing to a terminal; ``""`` if it is nothing for people, or not of
    such a form.
    """
    try:  # whoever fires an event chooses what is in it
        return printable(_told(entry))
    except (TypeError, ValueError, OverflowError, RecursionError):
        return ""


def folded(entry: Event, width: int) -> str:
    """:func:`progress` in lines that fit into so many columns."""
    return "\n".join(wrapped(progress(entry), width))


def aloud(entry: Event, width: int, out: TextIO) -> bool:
    """
    Tell the person who waits for a move what it does, while it does it. How it ended, or why it is held, the answer tells.

    :param width: columns. :param out: nothing is written if it is no terminal.
    :return: whether something was told, so that the answer need not repeat its steps.
    """
    begins_nothing = entry.get("what") == "decided" and entry.get("choice") != "move"
    words = "" if begins_nothing or entry.get("what") not in ALOUD else folded(entry, width)
    if not words or not out.isatty():
        return False
    out.write(f"{words}\n")
    return True


def _told(entry: Event) -> str:
    if entry.get("what") not in TOLD or (entry.get("what") == "decided" and entry.get("choice") == "nothing"):
        return ""
    if entry.get("what") == "state" and entry.get("state") == "moving":
        return ""  # that it was decided, and each step, is told already
    if entry.get("what") == "ended":
        took = describe.duration(float(entry.get("took") or 0.0))
        return f"{entry.get('resource')}: ended, {entry.get('result')} after {took} – {entry.get('reason')}"
    return describe.sentence(entry)


@dataclass
class View:
    """
    :param look: tells how everything stands, as lines.
    :param event: the next event of a move within so many seconds, or ``None``.
    :param out: where it is drawn. :param is_terminal: draw anew; else write only what is news.
    :param clock: seconds that only grow. :param size: columns and lines of the terminal.
    """

    look: Callable[[], Sequence[str]]
    event: Callable[[float], Event | None]
    out: TextIO
    is_terminal: bool
    clock: Callable[[], float]
    size: Callable[[], tuple[int, int]] = lambda: (80, 24)
    sentences: list[str] = field(default_factory=list)
    shown: Sequence[str] = ()

    def follow(self, every: float) -> None:
        """
        Go on until Ctrl-C, or until nobody reads any more.

        :param every: seconds between two looks; an event is shown at once.
        """
        with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
            while True:
                self.show(self.look())
                until = self.clock() + every
                while (left := until - self.clock()) > 0:
                    entry = self.event(left)
                    if entry is not None:
                        self.hear(entry)
        if self.is_terminal:  # the shell's prompt gets a line of its own
            with contextlib.suppress(BrokenPipeError):
                self._write([""])

    def show(self, lines: Sequence[str]) -> None:
        """How everything stands now."""
        lines = [printable(line) for line in lines]
        if self.is_terminal:
            self.shown = lines
            self._draw()
        elif lines != self.shown:
            self._write([*lines, ""])
            self.shown = lines

    def hear(self, entry: Event) -> None:
        """Something happened."""
        words = progress(entry)
        if not words:
            return
        self.sentences = [*self.sentences, f"{moment(entry.get('at'))}  {words}".strip()][-KEPT:]
        if self.is_terminal:
            self._draw()
        else:
            self._write(self.sentences[-1:])

    def _draw(self) -> None:
        columns, height = self.size()
        told = [line for one in self.sentences for line in wrapped(one, columns)][-KEPT:]
        below = ["", *told] if told else []
        room = max(1, height - 2 - len(below))
        above = [*self.shown[: room - 1], "…"] if len(self.shown) > room else list(self.shown)
        lines = [line[:columns] for line in [*above, *below, "", "Ctrl-C ends this view."][:height]]
        self.out.write(_HOME_AND_CLEAR + "\n".join(lines))
        self.out.flush()

    def _write(self, lines: Sequence[str]) -> None:
        self.out.write("\n".join(lines) + "\n")
        self.out.flush()


def watch(
    ear: Any, look: Callable[[], Sequence[str]], is_genuine: Callable[[Event], bool], name: str, every: float
) -> None:
    """
    Show the live view on stdout until Ctrl-C.

    :param ear: Salt's event bus. :param is_genuine: whether an event is this master's own word; others are not shown.
    :param name: one resource, ``""`` for all. :param every: seconds between two looks.
    """
    ends: list[bool] = []

    def end(*_: object) -> None:
        ends.append(True)
        raise KeyboardInterrupt

    def event(seconds: float) -> Event | None:
        found = None if ends else ear.get_event(wait=seconds, tag="vmdk-", match_type="startswith")
        if ends:  # Salt's event bus keeps a Ctrl-C to itself, here and while it looks
            raise KeyboardInterrupt
        if not isinstance(found, dict) or found.get("what") not in TOLD:
            return None
        return found if name in ("", found.get("resource")) and is_genuine(found) else None

    before = signal.signal(signal.SIGINT, end)  # Salt's own would end in a traceback
    try:
        ear.subscribe("vmdk-", "startswith")
        out, size = sys.stdout, shutil.get_terminal_size
        View(look, event, out, out.isatty(), time.monotonic, size).follow(max(0.5, every))
    finally:
        signal.signal(signal.SIGINT, before)
