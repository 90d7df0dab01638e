"""What a person changes on the master is looked at now: the runner tells the engine, which listens at its socket."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.doubles import engine
from tests.packaging.source import ROOT


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
