"""
What a person changes on the master is looked at now: the runner tells the engine, which listens at its socket. And what the
person is told while waiting is not told again.
"""

from __future__ import annotations

import importlib.util
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.doubles import engine
from tests.packaging.source import ROOT
from vmdk_failover.views import terminal


@pytest.fixture
def runner(tmp_path: Path) -> ModuleType:
    """The runner as Salt's loader makes it, for a master whose state is in `tmp_path`."""
    spec = importlib.util.spec_from_file_location("runner_vmdk", ROOT / "_runners" / "vmdk.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.__dict__["__opts__"] = {"vmdk": {"state_dir": str(tmp_path)}}
    return module


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[list[str]]:
    """The names that an engine is asked to look at."""
    with engine.running(tmp_path) as found:
        yield found


Change = tuple[str, str, dict[str, Any], list[str]]


@pytest.mark.parametrize(
    "change",
    [
        ("appointed", "resume", {"resource": "pgdata", "paused": False}, ["pgdata"]),
        ("appointed", "resume", {"resumed": ["pgdata", "web"]}, ["pgdata", "web"]),
        ("operate", "clear", {"resource": "pgdata", "cleared": True}, ["pgdata"]),
        ("confirming", "confirm_off", {"host": "esx1", "resources": ["web"]}, ["web"]),
    ],
)
def test_the_engine_is_told(
    runner: ModuleType, asked: list[str], monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    place, function, said, names = change

    def with_app(work: Callable[[Any], Any]) -> Any:
        return work(None)

    monkeypatch.setattr(runner, "_with_app", with_app)
    monkeypatch.setattr(getattr(runner, place), function, lambda *_: said)
    assert getattr(runner, function)("pgdata") == said
    assert asked == names


STEP = {
    "what": "step",
    "resource": "pgdata",
    "step": "detach",
    "node": "db1",
    "reason": "it must",
    "rule": 120,
}
DONE = {"step": "detach", "node": "db1", "outcome": "done", "evidence": "", "took": 0.5}
ANSWER = {
    "resource": "pgdata",
    "result": "done",
    "rule": 70,
    "reason": "active on db2",
    "active": "db2",
    "took": 1.5,
}


class Screen(io.StringIO):
    """What a person reads, if it ``is_one``."""

    def __init__(self, is_one: bool) -> None:
        super().__init__()
        self.isatty = lambda: is_one  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("opts", "err", "out", "told", "steps"),
    [
        ({"__cli": "salt-run"}, True, True, True, 0),
        ({"__cli": "salt-run"}, True, False, True, 1),  # into a file, which has all of it
        ({"__cli": "salt-run"}, False, True, False, 1),
        ({"__cli": "salt-run", "output": "json"}, True, True, False, 1),
        ({}, True, True, False, 1),
    ],
)
def test_steps_that_a_person_was_told_are_not_in_the_answer_again(
    runner: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    opts: dict[str, Any],
    err: bool,
    out: bool,
    told: bool,
    steps: int,
) -> None:
    runner.__dict__.update({"__opts__": {**runner.__dict__["__opts__"], **opts}, "__context__": {}})
    screen = Screen(err)
    monkeypatch.setattr(
        runner.authentic, "announcements", lambda _: SimpleNamespace(event=lambda e: (e, "tag"))
    )
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdout", Screen(out))
    runner._tell(SimpleNamespace(fire_event=lambda *_: None), {**STEP, "sentence": "s"})
    shown = runner._judged({**ANSWER, "steps": [DONE]})
    assert ("detaching" in screen.getvalue()) is told
    assert len([line for line in terminal.lines(shown) or [] if "detached" in line]) == steps
    assert shown["steps"] == [DONE]  # whoever reads data has them in any case
