"""The live view: drawn anew on a terminal, line by line into a pipe, until Ctrl-C."""

from __future__ import annotations

import fcntl
import io
import os
import re
import subprocess
import sys
import termios
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pytest

from tests.conftest import ROOT
from vmdk_failover.views import live

STEP = {
    "what": "step",
    "resource": "pgdata",
    "step": "release",
    "node": "db1",
    "reason": "it must",
    "rule": 200,
    "epoch": 3,
}
DONE = {
    "what": "outcome",
    "resource": "pgdata",
    "step": "release",
    "node": "db1",
    "outcome": "done",
    "took": 0.5,
}
ENDED = {"what": "ended", "resource": "pgdata", "result": "done", "took": 1.5, "reason": "active on db2"}


def script(*events: dict[str, Any] | None) -> Callable[[float], dict[str, Any] | None]:
    """Events one after the other, ``None`` for a quiet time, then Ctrl-C."""
    left = iter(events)

    def event(seconds: float) -> dict[str, Any] | None:
        for one in left:
            return one
        raise KeyboardInterrupt

    return event


def view(
    looks: Sequence[list[str]], *events: dict[str, Any] | None, terminal: bool = False, **more: Any
) -> str:
    out, found, ticks = io.StringIO(), iter(looks), iter(range(1000))
    last = [""]

    def look() -> list[str]:
        last[:] = next(found, last)
        return list(last)

    live.View(look, script(*events), out, terminal, lambda: float(next(ticks)), **more).follow(2.0)
    return out.getvalue()


def test_into_a_pipe_only_news_is_written() -> None:
    said = view([["all well"], ["all well"], ["not well"]], None, STEP, DONE, None, ENDED, None, None, None)
    lines = said.splitlines()
    assert lines.count("all well") == 1 and lines.count("not well") == 1
    assert [line for line in lines if line.startswith("pgdata")] == [
        "pgdata: releasing the disk on db1 – it must (rule 200, epoch 3)",
        "pgdata: released on db1 in 500 ms",
        "pgdata: ended, done after 1.5 s – active on db2",
    ]


def test_a_terminal_is_drawn_anew_with_the_moves_below() -> None:
    said = view([["all well"]], STEP, terminal=True, size=lambda: (40, 24))
    frames = said.split("\x1b[H\x1b[J")[1:]
    assert frames[0].splitlines() == ["all well", "", "Ctrl-C ends this view."]
    assert frames[1].splitlines()[2].startswith("pgdata: releasing the disk on db1")
    assert all(len(line) <= 40 for line in frames[1].splitlines())
    assert "(rule 200, epoch 3)" in " ".join(frames[1].split())  # folded, not cut


def test_it_fits_the_terminal() -> None:
    many = [f"line {n}" for n in range(100)]
    said = view([many], *[STEP] * 30, terminal=True, size=lambda: (80, 24))
    for frame in said.split("\x1b[H\x1b[J")[1:]:
        assert len(frame.splitlines()) <= 24 and frame.splitlines()[0] == "line 0" and "…" in frame


def test_a_reader_that_goes_away_ends_it() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    live.View(lambda: ["x"], script(), Gone(), False, lambda: 0.0).follow(1.0)


def test_what_a_move_tells_fits_the_terminal() -> None:
    lines = live.folded({**STEP, "reason": "db1 must stop using the disk, " * 5}, 80).splitlines()
    assert len(lines) > 1 and max(map(len, lines)) <= 80
    assert live.folded({"what": "decided", "choice": "nothing"}, 80) == ""


class Tty(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


def test_whoever_waits_for_a_move_is_told_its_steps_once_and_its_end_by_the_answer() -> None:
    begun = {**ENDED, "what": "decided", "choice": "move", "rule": 555}
    held = {**begun, "choice": "hold"}
    out = Tty()
    told = [live.aloud(one, 80, out) for one in (begun, STEP, DONE)]
    assert told == [True] * 3 and len(out.getvalue().splitlines()) == 3
    for end in (
        {**begun, "what": "done"},
        {**begun, "what": "hold"},
        {**held, "state": "active", "what": "state"},
        ENDED,
        held,
    ):
        assert not live.aloud(end, 80, out), end
    assert len(out.getvalue().splitlines()) == 3
    assert not live.aloud(STEP, 80, io.StringIO())


def test_that_it_moves_is_told_once() -> None:
    """By what was decided, and by each step."""
    moving = {
        "what": "state",
        "resource": "pgdata",
        "state": "moving",
        "active": "db1",
        "reason": "under way",
    }
    assert live.progress(moving) == ""
    active = {**moving, "state": "active", "reason": "active on db1", "protected": True}
    assert live.progress(active) == "pgdata: active on db1"


@pytest.mark.parametrize(
    "entry", [{}, {"what": "decided", "choice": "nothing"}, {"what": "saw"}, {"what": None}]
)
def test_what_is_nothing_for_people_is_not_told(entry: dict[str, Any]) -> None:
    assert live.progress(entry) == ""


RUBBISH: list[dict[str, Any]] = [
    {**ENDED, "took": "x"},
    {**ENDED, "took": [1]},
    {**ENDED, "took": 10**400},
    {**DONE, "took": "soon"},
    {**DONE, "took": {}},
]


@pytest.mark.parametrize("entry", RUBBISH)
@pytest.mark.parametrize("terminal", [True, False])
def test_an_event_of_bad_form_ends_nothing_and_is_not_told(entry: dict[str, Any], terminal: bool) -> None:
    assert live.progress(entry) == ""
    said = view([["all well"]], entry, STEP, terminal=terminal)
    assert "releasing the disk on db1" in said and "ended" not in said


@pytest.mark.parametrize(
    "entry",
    [
        {"what": "step", "resource": {}, "step": [], "node": None, "reason": 5, "at": "never"},
        {"what": "state", "active": [1], "reason": None, "at": 1e300},
        {"what": "hold", "rule": {}, "epoch": [2]},
    ],
)
def test_odd_words_end_nothing(entry: dict[str, Any]) -> None:
    assert "releasing the disk on db1" in view([["all well"]], entry, STEP)


EVIL = "\x1b[2J\x1b]0;all is well\x07\n\x9b2J"
SHOWN = r"\x1b[2J\x1b]0;all is well\x07\n\x9b2J"


@pytest.mark.parametrize("terminal", [True, False])
def test_what_would_do_something_to_a_terminal_is_shown_instead(terminal: bool) -> None:
    said = view([["all" + EVIL]], {**STEP, "reason": EVIL}, terminal=terminal, size=lambda: (200, 24))
    left = said.replace("\x1b[H\x1b[J", "")  # of its own
    assert all(line.isprintable() for line in left.splitlines())
    assert f"all{SHOWN}" in left and f"on db1 – {SHOWN}" in left


def test_only_what_is_the_masters_own_word_is_watched(capsys: pytest.CaptureFixture[str]) -> None:
    class Ear:
        left: ClassVar[list[Any]] = [
            {**STEP, "node": "forged"}, [], "x", None, {"what": []}, {**STEP, "resource": "mail"}, {**STEP, "own": 1}
        ]  # fmt: skip

        def subscribe(self, *_: object) -> None:
            pass

        def get_event(self, **_: object) -> Any:
            if not self.left:
                raise KeyboardInterrupt
            return self.left.pop(0)

    live.watch(Ear(), lambda: ["all well"], lambda event: "own" in event, "pgdata", 60.0)
    said = capsys.readouterr().out
    assert said.count("releasing the disk on") == 1 and "forged" not in said


#: A bus that keeps Ctrl-C to itself, as Salt's does.
PROGRAM = """
import time
from vmdk_failover.views import live

class Ear:
    def subscribe(self, *_): pass
    def get_event(self, wait, **_):
        try:
            time.sleep(wait)
        except KeyboardInterrupt:
            return None

live.watch(Ear(), lambda: ["all well"], lambda event: True, "", 60.0)
print("and further", flush=True)
"""


def test_ctrl_c_at_a_real_terminal_ends_it_and_leaves_the_terminal_as_it_was() -> None:
    ours, theirs = os.openpty()
    try:
        before = termios.tcgetattr(theirs)
        child = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env={**os.environ, "PYTHONPATH": str(ROOT / "_utils"), "TERM": "xterm"},
        )
        said = b""
        while b"Ctrl-C ends this view." not in said:
            said += os.read(ours, 4096)
        os.write(ours, b"\x03")
        assert child.wait(60) == 0
        said = b""
        while b"and further" not in said:
            said += os.read(ours, 4096)
        assert re.fullmatch(rb"(\^C)?\r\nand further\r\n", said), said
        assert termios.tcgetattr(theirs) == before
    finally:
        os.close(ours)
        os.close(theirs)
