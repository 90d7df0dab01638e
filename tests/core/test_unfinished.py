"""Moves that a crash left open are found, and only those."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.core import build
from vmdk_failover import app
from vmdk_failover.daemon.unfinished import unfinished
from vmdk_failover.journal import FileJournal
from vmdk_failover.lock import FileLock
from vmdk_failover.model import Move, MoveKind

HOLD = """
import sys, time
from pathlib import Path
from vmdk_failover.lock import FileLock
with FileLock(Path(sys.argv[1])).resource(sys.argv[2], "look"):
    print("held", flush=True)
    time.sleep(60)
"""


def _move() -> Move:
    return Move(build.resource(), MoveKind.FAILOVER, "a", "b", 1, "for a test")


def test_an_open_move_without_a_mover_is_found_and_one_with_a_mover_is_not(tmp_path: Path) -> None:
    journal, lock, move = FileJournal(tmp_path / "journal"), FileLock(tmp_path / "locks"), _move()
    name = move.resource.name
    assert unfinished(journal, lock) == []
    journal.begin(move)
    assert unfinished(journal, lock) == [name]
    argv = [sys.executable, "-c", HOLD, str(tmp_path / "locks"), name]
    root = str(Path(__file__).resolve().parents[2] / "_utils")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": root}) as mover:
        assert mover.stdout is not None and mover.stdout.readline() == "held\n"
        assert unfinished(journal, lock) == []
        mover.kill()
    assert unfinished(journal, lock) == [name]


def test_a_held_move_and_a_damaged_journal_are_left_to_the_tick(tmp_path: Path) -> None:
    journal, lock, move = FileJournal(tmp_path / "journal"), FileLock(tmp_path / "locks"), _move()
    journal.begin(move)
    (tmp_path / "journal" / "other.json").write_text("{torn")
    assert unfinished(journal, lock) == [move.resource.name]
    journal.hold(move.resource.name, {"rule": 20, "reason": "vCenter cannot be read", "since": 0.0})
    assert unfinished(journal, lock) == []


def test_a_held_move_that_has_gone_on_is_not_left_to_the_tick(tmp_path: Path) -> None:
    """vCenter is back, the move goes on, and its mover is killed: nobody shall wait for the tick for that."""
    journal, lock, move = FileJournal(tmp_path / "journal"), FileLock(tmp_path / "locks"), _move()
    journal.begin(move)
    journal.hold(move.resource.name, {"rule": 20, "reason": "vCenter cannot be read", "since": 0.0})
    begun = {"step": {"kind": "fence", "node": "a"}, "result": "unknown"}
    journal.note(move.resource.name, {"verdict": 170, "begun": begun})
    assert unfinished(journal, lock) == [move.resource.name]


def test_a_resource_that_was_taken_out_of_the_configuration_is_looked_at_until_its_move_has_ended(
    tmp_path: Path,
) -> None:
    opts = {
        "vmdk": {
            "state_dir": str(tmp_path),
            "resources_dir": str(tmp_path / "none"),
            "resources": {"mail": {}},
        }
    }
    journal, move = FileJournal(tmp_path / "journal"), _move()
    journal.begin(move)
    assert app.names(opts) == {"mail", move.resource.name}
    journal.finish(move.resource.name, {"ok": True})
    assert app.names(opts) == {"mail"}
