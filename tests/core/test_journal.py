"""The journal: an intent survives anything, and what cannot be read is never taken for empty."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.core.build import EPOCH, came_to, move, resource
from tests.doubles.journal import MemoryJournal
from vmdk_failover.errors import JournalError
from vmdk_failover.journal import RECENT, FileJournal
from vmdk_failover.model import Move, MoveKind, Result, StepKind, to_plain
from vmdk_failover.store import durable as module

FORK = multiprocessing.get_context("fork")


def first() -> Move:
    return Move(resource(), MoveKind.FAILOVER, "db1", "db2", 1, "db1 is off", 620)


@pytest.fixture(params=["files", "memory"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> FileJournal:
    """The real one and the double: one contract."""
    return FileJournal(tmp_path / "journal") if request.param == "files" else MemoryJournal()


@pytest.fixture
def files(tmp_path: Path) -> FileJournal:
    return FileJournal(tmp_path)


def test_what_never_was_is_empty(journal: FileJournal) -> None:
    entry = journal.state("pgdata")
    assert (entry.epoch, entry.move, entry.outcomes, entry.paused, entry.recent) == (0, None, (), False, ())
    assert journal.history("pgdata") == []


def test_an_intent_is_read_as_it_was_written(journal: FileJournal) -> None:
    journal.begin(first())
    assert (journal.state("pgdata").move, journal.state("pgdata").epoch) == (first(), 1)


def test_a_second_intent_is_refused_and_changes_nothing(journal: FileJournal) -> None:
    journal.begin(first())
    for other in (first(), Move(resource(), MoveKind.REPAIR, "db2", "db2", 2, "again")):
        with pytest.raises(JournalError, match="already open"):
            journal.begin(other)
    assert journal.state("pgdata").move == first()


@pytest.mark.parametrize("epoch", [0, 1, 3])
def test_an_epoch_is_given_out_once_and_in_order(journal: FileJournal, epoch: int) -> None:
    journal.begin(first())
    journal.finish("pgdata", {"ok": True})
    with pytest.raises(JournalError, match="not the next one"):
        journal.begin(Move(resource(), MoveKind.REPAIR, "db2", "db2", epoch, "again"))


def told(kind: StepKind, result: Result = Result.DONE) -> dict[str, Any]:
    plain: dict[str, Any] = to_plain(came_to(kind, "db1", result)[0])
    return plain


def test_a_step_that_has_begun_is_unknown_until_its_outcome_replaces_it(journal: FileJournal) -> None:
    journal.begin(first())
    journal.note("pgdata", {"verdict": 170, "begun": told(StepKind.FENCE, Result.UNKNOWN)})
    assert [o.result for o in journal.state("pgdata").outcomes] == [Result.UNKNOWN]
    journal.note("pgdata", {"outcome": told(StepKind.FENCE)})
    assert [o.result for o in journal.state("pgdata").outcomes] == [Result.DONE]


def test_a_step_whose_outcome_never_came_stays_unknown(journal: FileJournal) -> None:
    """The engine died in it; the next one begins another step."""
    journal.begin(first())
    journal.note("pgdata", {"begun": told(StepKind.ATTACH, Result.UNKNOWN)})
    journal.note("pgdata", {"begun": told(StepKind.FENCE, Result.UNKNOWN)})
    journal.note("pgdata", {"outcome": told(StepKind.FENCE)})
    outcomes = [(o.step.kind.value, o.result.value) for o in journal.state("pgdata").outcomes]
    assert outcomes == [("attach", "unknown"), ("fence", "done")]


def test_the_basis_of_a_reconfigure_is_kept(journal: FileJournal) -> None:
    journal.begin(first())
    journal.note("pgdata", {"outcome": {**told(StepKind.ATTACH), "basis": "2026-01-01T00:00:00Z"}})
    assert journal.state("pgdata").outcomes[0].basis == "2026-01-01T00:00:00Z"


def test_a_finished_move_is_remembered(journal: FileJournal) -> None:
    for epoch in range(1, RECENT + 3):
        journal.begin(Move(resource(), MoveKind.FAILOVER, "db1", "db2", epoch, "again"))
        journal.finish("pgdata", {"epoch": epoch, "ok": True})
    entry = journal.state("pgdata")
    assert (entry.move, entry.outcomes, entry.epoch) == (None, (), RECENT + 2)
    assert [one["epoch"] for one in entry.recent] == list(range(3, RECENT + 3))


def test_a_hold_keeps_its_first_moment(journal: FileJournal) -> None:
    for since in (1.0, 2.0):
        journal.hold("pgdata", {"rule": 520, "reason": "blind", "since": since})
    assert (journal.state("pgdata").hold or {})["since"] == 1.0
    journal.hold("pgdata", None)
    assert journal.state("pgdata").hold is None
    assert [sorted(one) for one in journal.history("pgdata")] == [["hold"], ["hold"]]


def test_pause_and_clear(journal: FileJournal) -> None:
    journal.begin(first())
    journal.pause("pgdata", {"by": "root"})
    assert journal.state("pgdata").paused
    journal.pause("pgdata", None)
    journal.finish("pgdata", {"ok": False, "damped": True, "target": "db2"})
    journal.begin(Move(resource(), MoveKind.FAILOVER, "db1", "db2", 2, "again"))
    journal.clear("pgdata", 5.0, ["db3"])
    assert journal.state("pgdata").missing_ok == ("db3",)
    entry = journal.state("pgdata")
    assert (entry.move, entry.paused, entry.epoch) == (None, False, 2)
    assert [(one["damped"], one["forgotten"]) for one in entry.recent] == [(False, True)]


def test_resources_do_not_mix(journal: FileJournal) -> None:
    journal.begin(first())
    assert journal.state("pgdata2").move is None


# -- files ----------------------------------------------------------------------------------------------------

WHOLE = {"epoch": 7, "move": to_plain(move(resource())), "outcomes": [told(StepKind.FENCE)]}


def test_the_sample_is_fine(files: FileJournal) -> None:
    (files.directory / "pgdata.json").write_text(json.dumps(WHOLE))
    assert files.state("pgdata").epoch == EPOCH


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "7",
        json.dumps(WHOLE)[:-20],
        "\0" * 4096,
        json.dumps({**WHOLE, "epoch": "seven"}),
        json.dumps({**WHOLE, "epoch": None}),
        json.dumps({**WHOLE, "move": {"kind": "failover"}}),
        json.dumps({**WHOLE, "move": "pgdata"}),
        json.dumps({**WHOLE, "move": {**WHOLE["move"], "kind": "teleport"}}),  # type: ignore[dict-item]
        json.dumps({**WHOLE, "outcomes": [{}]}),
        json.dumps({**WHOLE, "outcomes": ["fence"]}),
        json.dumps({**WHOLE, "outcomes": 3}),
    ],
)
def test_a_damaged_state_is_an_error_and_is_not_written_over(files: FileJournal, text: str) -> None:
    path = files.directory / "pgdata.json"
    path.write_text(text)
    with pytest.raises(JournalError) as refused:
        files.state("pgdata")
    assert str(path) in refused.value.reason
    assert "nothing is done with pgdata" in refused.value.reason
    assert path.read_text() == text


def test_an_undecodable_state_is_an_error(files: FileJournal) -> None:
    (files.directory / "pgdata.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(JournalError, match="damaged"):
        files.state("pgdata")


def test_a_damaged_state_cannot_be_changed_either(files: FileJournal) -> None:
    (files.directory / "pgdata.json").write_text("{")
    for change in (
        lambda: files.begin(first()),
        lambda: files.pause("pgdata", None),
        lambda: files.hold("pgdata", {"rule": 1, "reason": "x"}),
        lambda: files.finish("pgdata", {}),
        lambda: files.clear("pgdata", 0.0),
    ):
        with pytest.raises(JournalError):
            change()
    assert (files.directory / "pgdata.json").read_text() == "{"


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError):
        FileJournal(tmp_path / "file" / "journal").begin(first())


def test_a_full_disk_leaves_the_old_state(files: FileJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    files.begin(first())

    def full(handle: int, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "write", full)
    with pytest.raises(JournalError, match="cannot be written: No space left"):
        files.finish("pgdata", {"ok": True})
    monkeypatch.undo()
    assert files.state("pgdata").move == first()


def test_a_short_write_is_gone_on_with(files: FileJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(module.os, "write", lambda handle, content: real(handle, bytes(content)[:7]))
    files.begin(first())
    assert files.state("pgdata").move == first()


def die_in(folder: Path, step: str, count: int) -> None:
    """Change the state, and die by SIGKILL before the ``count``-th call of a step."""
    place: Any = module if step == "_exchange" else os
    real, calls = getattr(place, step), [0]

    def deadly(*args: Any) -> Any:
        calls[0] += 1
        if calls[0] == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args)

    setattr(place, step, deadly)
    FileJournal(folder).finish("pgdata", {"ok": True})
    os._exit(0)


@pytest.mark.parametrize(
    ("step", "count"),
    [("open", 1), ("write", 1), ("fsync", 1), ("_exchange", 1), ("open", 2), ("open", 3), ("fsync", 2)],
)
def test_killed_between_any_two_steps_it_holds_the_old_or_the_new_state(
    files: FileJournal, step: str, count: int
) -> None:
    files.begin(first())
    process = FORK.Process(target=die_in, args=(files.directory, step, count))
    process.start()
    process.join(20)
    assert process.exitcode == -signal.SIGKILL
    found = FileJournal(files.directory).state("pgdata")
    renamed = (step, count) in (("open", 3), ("fsync", 2))
    assert (found.move, len(found.recent)) == ((None, 1) if renamed else (first(), 0))
    FileJournal(files.directory).clear("pgdata", 0.0)


def test_a_torn_last_line_of_the_history_costs_nothing_else(files: FileJournal) -> None:
    files.begin(first())
    log = files.directory / "pgdata.log"
    log.write_text(log.read_text() + '{"outcome": {"step": "fe')
    assert [sorted(one) for one in files.history("pgdata")] == [["began"]]
    files.finish("pgdata", {"ok": True})
    assert [sorted(one) for one in files.history("pgdata")] == [["began"], ["finished"]]


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "journal")
    journal.begin(first())
    assert journal.directory.stat().st_mode & 0o777 == 0o700
    assert (journal.directory / "pgdata.json").stat().st_mode & 0o777 == 0o600
