"""The journal in trouble: a full disk, one that hangs, a journal that is lost, a clock that is set."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.core.build import resource
from vmdk_failover import journal
from vmdk_failover.errors import Busy, JournalError
from vmdk_failover.journal import FileJournal
from vmdk_failover.judgement.dated import Moment
from vmdk_failover.lock import FileLock
from vmdk_failover.model import Move, MoveKind
from vmdk_failover.presence import heard
from vmdk_failover.store import durable


def move(epoch: int = 1, name: str = "pgdata") -> Move:
    return Move(replace(resource(), name=name), MoveKind.FAILOVER, "db1", "db2", epoch, "db1 is off", 620)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB that nothing else is on."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def fill(place: Path) -> Path:
    """Leave no room."""
    rubbish = place / "rubbish"
    with open(rubbish, "ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    return rubbish


def test_a_full_disk_does_not_keep_a_move_from_beginning_and_ending(small: Path) -> None:
    kept = FileJournal(small / "journal")
    kept.hold("pgdata", {"rule": 1, "reason": "only to make it"})
    fill(small)
    for epoch in (1, 2, 3):
        kept.begin(move(epoch))
        assert FileJournal(small / "journal").state("pgdata").move == move(epoch)
        kept.finish("pgdata", {"epoch": epoch, "ok": True})
    assert len(kept.state("pgdata").recent) == 3


def test_a_long_journal_keeps_its_room_too(small: Path) -> None:
    """What is set aside is as much as was written, or the second write on a full disk would find none."""
    kept = FileJournal(small / "journal")
    long = {"ok": False, "reason": "x" * 3 * durable.BLOCK}
    kept.begin(move(1))
    kept.finish("pgdata", {"epoch": 1, **long})
    fill(small)
    for epoch in (2, 3):
        kept.begin(move(epoch))
        kept.finish("pgdata", {"epoch": epoch, "ok": True})
    assert kept.state("pgdata").epoch == 3


def test_a_content_that_gets_shorter_and_longer_keeps_its_room(small: Path) -> None:
    """A number with a digit more needs the block that one with a digit less would have given back."""
    path = small / "x.json"
    for size in (8200, 8100):
        durable.replace(path, b"x" * size, lasting=False, block=4096)
    fill(small)
    for size in (8100, 8200, 8200):
        durable.replace(path, b"x" * size, lasting=False, block=4096)
        assert path.read_bytes().rstrip() == b"x" * size


def test_a_full_disk_makes_nobody_s_silence_unknown(small: Path) -> None:
    """What was heard is written down each second; while it cannot be, a silent node would be held (640)."""
    nodes = {"db1": heard.Beat("b", 1, "10.0.0.1", "1", 1.0, 100.0)}
    for at in (100.0, 101.0):
        heard.write(small, heard.Heard(heard.master_boot(), at, 0.0, nodes=nodes))
    fill(small)
    for at in (120.0, 121.0, 122.0):
        heard.write(small, heard.Heard(heard.master_boot(), at, 0.0, nodes=nodes))
        assert heard.read(small).silent("db1", at, heard.master_boot()) == at - 100.0


def test_what_a_lock_s_holder_does_is_told_on_a_full_disk_too(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody's log takes each block that becomes free."""
    lock, real = FileLock(small), os.ftruncate
    with lock.resource("pgdata", "look"):
        pass

    def taken(handle: int, length: int) -> None:
        real(handle, length)
        fill(small)

    monkeypatch.setattr("vmdk_failover.lock.os.ftruncate", taken)
    fill(small)
    (small / "resource-new.lock").touch()
    for name, words in (("pgdata", "a switchover .* under way"), ("new", "a move is already under way")):
        with lock.resource(name, "switchover"), pytest.raises(Busy, match=words), lock.resource(name, "look"):
            pass


def test_without_room_for_a_first_journal_nothing_begins_until_there_is(small: Path) -> None:
    kept = FileJournal(small / "journal")
    rubbish = fill(small)
    with pytest.raises(JournalError, match="cannot be written: No space left on device"):
        kept.begin(move())
    rubbish.unlink()
    assert kept.state("pgdata").move is None
    kept.begin(move())
    assert kept.state("pgdata").move == move()


def test_a_history_that_cannot_be_written_is_told_and_holds_nothing(small: Path) -> None:
    kept = FileJournal(small / "journal")
    kept.hold("pgdata", {"rule": 1, "reason": "only to make it"})
    (small / "journal/pgdata.log").unlink()
    rubbish = fill(small)
    kept.begin(move())
    assert "the history of pgdata" in kept.trouble and "No space left" in kept.trouble
    rubbish.unlink()
    kept.finish("pgdata", {"epoch": 1, "ok": True})
    assert kept.trouble == ""


def test_a_disk_that_hangs_is_given_up_in_time(tmp_path: Path) -> None:
    """A pipe that nobody writes to hangs as well as any disk."""
    kept = FileJournal(tmp_path, patience=0.3)
    os.mkfifo(tmp_path / "pgdata.json")
    began = time.monotonic()
    with pytest.raises(JournalError, match="cannot be read: the disk does not answer"):
        kept.state("pgdata")
    assert 0.2 < time.monotonic() - began < 2
    with contextlib.suppress(OSError):  # let the reader go
        os.close(os.open(tmp_path / "pgdata.json", os.O_WRONLY | os.O_NONBLOCK))


def test_what_was_given_up_does_not_happen_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = FileJournal(tmp_path, patience=0.2)
    kept.begin(move())
    before, real = (tmp_path / "pgdata.json").read_bytes(), os.fsync

    def slow(handle: int) -> None:
        time.sleep(0.5)
        real(handle)

    monkeypatch.setattr(durable.os, "fsync", slow)
    with pytest.raises(JournalError, match="cannot be written"):
        kept.finish("pgdata", {"epoch": 1, "ok": True})
    time.sleep(0.8)
    assert (tmp_path / "pgdata.json").read_bytes() == before


def test_a_writer_that_hung_does_not_undo_what_came_after_it(tmp_path: Path) -> None:
    """It had looked whether it was given up a moment before it was, and hung then."""
    path = tmp_path / "pgdata.json"
    for content in (b"one", b"two"):
        durable.replace(path, content)
    waits, go = threading.Event(), threading.Event()

    class Hung(durable.GivenUp):
        def check(self) -> None:
            super().check()
            waits.set()
            go.wait(5)

    old = threading.Thread(target=durable.replace, args=(path, b"old", Hung()))
    old.start()
    assert waits.wait(5)
    with pytest.raises(OSError, match="does not answer"):
        durable.within(0.2, lambda given_up: durable.replace(path, b"given up", given_up))
    go.set()
    old.join(5)
    durable.within(2, lambda given_up: durable.replace(path, b"new", given_up))
    time.sleep(0.1)
    assert path.read_bytes().strip() == b"new"


# -- a journal that is lost -----------------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path: Path) -> FileJournal:
    return FileJournal(tmp_path / "journal", tmp_path / "known")


def test_a_journal_that_is_lost_is_no_empty_one(kept: FileJournal) -> None:
    kept.begin(move())
    for path in kept.directory.iterdir():
        path.unlink()
    kept.directory.rmdir()
    again = FileJournal(kept.directory, kept.known)
    for act in (
        lambda: again.state("pgdata"),
        lambda: again.begin(move(2)),
        lambda: again.hold("pgdata", {"rule": 1, "reason": "x"}),
        lambda: again.clear("pgdata", 0.0),
    ):
        with pytest.raises(JournalError, match=r"is lost; .*vmdk\.adopt pgdata"):
            act()
    assert again.state("other").epoch == 0


def test_one_that_was_written_before_there_were_marks_gets_one(kept: FileJournal) -> None:
    FileJournal(kept.directory).begin(move())
    kept.finish("pgdata", {"epoch": 1, "ok": True})
    (kept.directory / "pgdata.json").unlink()
    with pytest.raises(JournalError, match="is lost"):
        kept.state("pgdata")


@pytest.mark.parametrize("text", [None, "{", '{"epoch": "x"}'])
def test_a_lost_or_damaged_one_is_adopted_and_kept_apart(kept: FileJournal, text: str | None) -> None:
    kept.begin(move())
    path = kept.directory / "pgdata.json"
    path.unlink()
    if text is not None:
        path.write_text(text)
    kept.adopt("pgdata", 9, {"active": "db2"}, ["db3"])
    found = kept.state("pgdata")
    assert (found.epoch, found.move, found.missing_ok, found.paused) == (9, None, ("db3",), False)
    assert kept.history("pgdata")[-1]["adopted"] == {"active": "db2", "epoch": 9}
    apart = [one.read_text() for one in kept.directory.glob("pgdata.given-up-*")]
    assert apart == ([] if text is None else [text])


def test_to_adopt_never_goes_back_and_ends_no_maintenance(kept: FileJournal) -> None:
    kept.begin(move())
    kept.finish("pgdata", {"epoch": 1, "ok": True})
    kept.pause("pgdata", {"by": "me"})
    kept.adopt("pgdata", 0, {})
    assert (kept.state("pgdata").epoch, kept.state("pgdata").paused) == (1, True)


def test_to_adopt_and_to_die_in_the_midst_ends_no_maintenance(
    kept: FileJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.pause("pgdata", {"by": "me"})
    with monkeypatch.context() as patch:
        patch.setattr(FileJournal, "_write", die)
        with pytest.raises(KeyboardInterrupt):
            kept.adopt("pgdata", 1, {})
    kept.adopt("pgdata", 1, {})
    assert kept.state("pgdata").paused


def die(*_: object) -> None:
    raise KeyboardInterrupt


# -- clocks ---------------------------------------------------------------------------------------------------


class Clocks:
    """The three clocks of a master."""

    def __init__(self) -> None:
        self.now = Moment("boot-1", 1000.0, 1_700_000_000.0)

    def __call__(self) -> Moment:
        return self.now

    def turn(self, **to: object) -> None:
        self.now = replace(self.now, **to)  # type: ignore[arg-type]


@pytest.mark.parametrize("jump", [-86400.0, -3.0, 3.0, 86400.0])
def test_a_wall_clock_that_is_set_changes_no_age(tmp_path: Path, jump: float) -> None:
    clocks = Clocks()
    kept = FileJournal(tmp_path, moment=clocks)
    kept.begin(move())
    kept.finish("pgdata", {"epoch": 1, "ok": True, "ended": clocks.now.wall})
    clocks.turn(seconds=1060.0, wall=clocks.now.wall + 60.0 + jump)
    (one,) = kept.state("pgdata").recent
    assert clocks.now.wall - one["ended"] == pytest.approx(60.0)
    assert "moment" not in one


def test_after_a_boot_the_wall_clock_is_all_there_is(tmp_path: Path) -> None:
    clocks = Clocks()
    kept = FileJournal(tmp_path, moment=clocks)
    kept.begin(move())
    kept.finish("pgdata", {"epoch": 1, "ok": True, "ended": clocks.now.wall})
    clocks.turn(boot="boot-2", seconds=5.0, wall=clocks.now.wall + 100.0)
    assert clocks.now.wall - kept.state("pgdata").recent[0]["ended"] == 100.0


@pytest.mark.parametrize("ahead", [3600.0, 86400.0 * 3650])
def test_a_clock_that_was_ahead_before_the_boot_makes_nothing_young(tmp_path: Path, ahead: float) -> None:
    """A failed try would count as just made for as long as the clock was ahead, and a failover would wait for that."""
    clocks = Clocks()
    right = clocks.now.wall
    kept = FileJournal(tmp_path, moment=clocks)
    clocks.turn(wall=right + ahead)
    kept.begin(move())
    kept.finish("pgdata", {"epoch": 1, "ok": False, "ended": clocks.now.wall})
    clocks.turn(boot="boot-2", seconds=700.0, wall=right + 800.0)
    assert clocks.now.wall - kept.state("pgdata").recent[0]["ended"] >= 700.0


def test_a_history_begins_anew_when_it_is_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "LOG_LIMIT", 300)
    kept = FileJournal(tmp_path)
    for nth in range(20):
        kept.hold("pgdata", {"rule": nth, "reason": "x" * 50})
    assert (tmp_path / "pgdata.log").stat().st_size < 600 and (tmp_path / "pgdata.log.old").exists()
    told = [one["hold"]["rule"] for one in kept.history("pgdata")]
    assert told == list(range(told[0], 20)) and len(told) >= 3


def test_files_from_before_are_read(tmp_path: Path) -> None:
    (tmp_path / "pgdata.json").write_text(json.dumps({"epoch": 4}))
    kept = FileJournal(tmp_path, tmp_path / "known")
    kept.begin(move(5))
    assert kept.state("pgdata").move == move(5)
