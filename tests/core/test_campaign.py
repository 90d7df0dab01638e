"""Campaigns: they end at a bad history, go on where they were ended, and leave no process behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from tests.core import campaign

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent.parent


def test_a_campaign_ends_at_a_bad_history_and_says_which(
    bad_seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "BLOCK", 100)
    first = bad_seed - bad_seed % 100
    assert campaign.run(200, campaign.Tally(), first=first).bad[:1]


def _done_once(start: int) -> None:
    """A block that was good, and may be asked for once."""
    (Path(os.environ["BLOCKS"]) / str(start)).touch(exist_ok=False)


def test_a_campaign_goes_on_where_it_was_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOCKS", str(tmp_path))
    monkeypatch.setattr(campaign, "BLOCK", 10)
    monkeypatch.setattr(campaign, "block", _done_once)
    book = campaign.Book(tmp_path / "soak.json", 60)
    book.write(campaign.run(30, book.read()))
    tally = campaign.Book(tmp_path / "soak.json", 60).read()
    assert tally.done == {0, 10, 20}
    assert campaign.run(60, tally).done == set(range(0, 60, 10))


def test_a_campaign_of_another_product_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "soak.json"
    plain = {"source": "another one", "block": campaign.BLOCK, "done": [0], "bad": []}
    path.write_text(json.dumps(plain), encoding="utf-8")
    assert campaign.Book(path, 60).read() == campaign.Tally()


def test_the_program_says_what_is_bad_and_fails(
    bad_seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(campaign, "BLOCK", 100)
    first = bad_seed - bad_seed % 100
    where = ["--histories", "100", "--first", str(first), "--state", str(tmp_path / "soak.json")]
    monkeypatch.setattr(sys, "argv", ["campaign", *where])
    assert campaign.main() == 1
    assert f"# replay: seed {bad_seed}: " in capsys.readouterr().out


def test_nothing_goes_on_when_the_program_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.core.campaign", "--state", str(tmp_path / "soak.json")]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": "_utils"}) as program:
        workers = until(lambda: children(program.pid))
        program.send_signal(signal.SIGKILL)
    until(lambda: not any(runs(pid) for pid in workers))


def children(pid: int) -> list[int]:
    """All workers of a campaign, or none as long as not all of them are there."""
    found = [int(path.name) for path in Path("/proc").glob("[0-9]*") if parent(path) == pid]
    return found if len(found) >= campaign.cores() else []


def parent(process: Path) -> int:
    """Its parent's id; 0 if it has just ended."""
    said = stat(process)
    return int(said[1]) if said else 0


def runs(pid: int) -> bool:
    """Whether there is such a process, and not only its remains."""
    said = stat(Path(f"/proc/{pid}"))
    return bool(said) and said[0] != "Z"


def stat(process: Path) -> list[str]:
    """State, parent and so on; empty if there is no such process."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def until(ask: Callable[[], T]) -> T:
    """Ask until the answer is a good one, for thirty seconds."""
    deadline = time.monotonic() + 30.0
    while not (answer := ask()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return answer
