"""Locks between real processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Timer

import pytest

from vmdk_failover.errors import Busy, JournalError
from vmdk_failover.lock import FileLock

FORK = multiprocessing.get_context("fork")


def hold(folder: Path, what: str, line: Connection) -> None:
    lock = FileLock(folder)
    with lock.resource("pgdata", "switchover") if what == "resource" else lock.node("db1", 0.0):
        line.send("held")
        line.recv()


@pytest.fixture
def holder(tmp_path: Path, request: pytest.FixtureRequest) -> object:
    """Another process that holds a lock until it is told or killed."""
    here, there = FORK.Pipe()
    process = FORK.Process(target=hold, args=(tmp_path, request.param, there), daemon=True)
    process.start()
    assert here.poll(10) and here.recv() == "held"
    yield process, here
    process.kill()
    process.join(10)


@pytest.mark.parametrize("holder", ["resource"], indirect=True)
def test_who_comes_second_is_told_at_once_who_is_first(
    tmp_path: Path, holder: tuple[object, Connection]
) -> None:
    process, _ = holder
    with pytest.raises(Busy) as told, FileLock(tmp_path).resource("pgdata", "recover"):
        pass
    assert f"a switchover (process {process.pid}) is already under way for pgdata" in told.value.reason  # type: ignore[attr-defined]


@pytest.mark.parametrize("holder", ["resource"], indirect=True)
def test_another_resource_is_free(tmp_path: Path, holder: object) -> None:
    with FileLock(tmp_path).resource("mail", "recover"):
        pass


@pytest.mark.parametrize("holder", ["resource", "node"], indirect=True)
def test_a_killed_holder_frees_its_lock(tmp_path: Path, holder: tuple[object, Connection]) -> None:
    process, _ = holder
    os.kill(process.pid, signal.SIGKILL)  # type: ignore[attr-defined]
    process.join(10)  # type: ignore[attr-defined]
    with FileLock(tmp_path).resource("pgdata", "recover"), FileLock(tmp_path).node("db1", 0.0):
        pass


@pytest.mark.parametrize("holder", ["node"], indirect=True)
def test_a_node_is_waited_for_so_long(tmp_path: Path, holder: tuple[object, Connection]) -> None:
    with pytest.raises(Busy, match="another move is at work on db1"), FileLock(tmp_path).node("db1", 0.15):
        pass


@pytest.mark.parametrize("holder", ["node"], indirect=True)
def test_a_node_that_becomes_free_is_taken(tmp_path: Path, holder: tuple[object, Connection]) -> None:
    holder[1].send("go")
    with FileLock(tmp_path).node("db1", 5.0):
        pass


@pytest.mark.parametrize("holder", ["node"], indirect=True)
def test_whether_a_node_was_free_at_once_is_told(tmp_path: Path, holder: tuple[object, Connection]) -> None:
    """Who had to wait knows that what was seen before may be so no longer."""
    end = Timer(0.3, holder[1].send, ("go",))
    end.start()
    with FileLock(tmp_path).node("db1", 20.0) as at_once:
        assert at_once is False
    with FileLock(tmp_path).node("db2", 0.0) as at_once:
        assert at_once is True
    end.join()


def test_a_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    lock = FileLock(tmp_path)
    with pytest.raises(ZeroDivisionError), lock.resource("pgdata", "recover"):
        raise ZeroDivisionError
    with lock.resource("pgdata", "recover"):
        pass


@pytest.mark.parametrize("holder", ["resource"], indirect=True)
def test_a_torn_word_of_the_holder_is_no_error(tmp_path: Path, holder: object) -> None:
    (tmp_path / "resource-pgdata.lock").write_text('{"doing": "switch')
    with pytest.raises(Busy, match="a move is already under way"), FileLock(tmp_path).resource("pgdata", "x"):
        pass


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(JournalError, match="cannot be opened"),
        FileLock(tmp_path / "file").resource("pgdata", "x"),
    ):
        pass


def test_the_directory_is_for_its_owner_alone(tmp_path: Path) -> None:
    with FileLock(tmp_path / "locks").resource("pgdata", "recover"):
        assert (tmp_path / "locks").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "locks" / "resource-pgdata.lock").stat().st_mode & 0o777 == 0o600
