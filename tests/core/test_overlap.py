"""A disk is in one open move only, whatever its resource is called by now."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.core.build import look, resource
from tests.core.test_engine import SWITCH, Site
from vmdk_failover import lock
from vmdk_failover.errors import JournalError
from vmdk_failover.journal import FileJournal
from vmdk_failover.judgement import standing
from vmdk_failover.lock import FileLock
from vmdk_failover.model import Disk, Move, MoveKind, Resource
from vmdk_failover.store import overlap

OTHER = Disk("[ds9] other/other.vmdk", "6000c299-0000-0000-0000-000000000009", 1, 3)


def move_of(of: Resource) -> Move:
    return Move(of, MoveKind.SWITCHOVER, "db1", "db2", 1, "asked for", 555)


@pytest.fixture
def journal(tmp_path: Path) -> FileJournal:
    """pgdata is under way."""
    journal = FileJournal(tmp_path)
    journal.begin(move_of(resource()))
    return journal


@pytest.mark.parametrize("change", [("", ""), ("[ds2] moved/pgdata.vmdk", ""), ("", OTHER.uuid)])
def test_a_renamed_resource_waits_for_the_move_of_its_old_name(
    journal: FileJournal, change: tuple[str, str]
) -> None:
    one, *rest = resource().disks
    renamed = replace(
        resource(),
        name="pg",
        disks=(replace(one, path=change[0] or one.path, uuid=change[1] or one.uuid), *rest),
    )
    with pytest.raises(JournalError, match=r"a move of pgdata is open.*nothing is begun for pg"):
        journal.begin(move_of(renamed))
    assert (journal.state("pg").move, journal.state("pg").epoch) == (None, 0)
    journal.finish("pgdata", {"ok": True})
    journal.begin(move_of(renamed))
    assert journal.state("pg").epoch == 1


def test_of_two_names_that_begin_in_the_same_moment_one_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has looked before the other has written."""
    one, other, came = FileJournal(tmp_path), FileJournal(tmp_path), list[str]()
    real = overlap.check

    def begin_other() -> None:
        with contextlib.suppress(JournalError):
            other.begin(move_of(resource()))
        came.append("other")

    rival = Thread(target=begin_other)

    def check(directory: Path, of: Resource, patience: float) -> None:
        real(directory, of, patience)
        if of.name == "pg":
            rival.start()
            rival.join(0.2)  # it cannot end before this one has written

    monkeypatch.setattr(overlap, "check", check)
    one.begin(move_of(replace(resource(), name="pg")))
    rival.join(10.0)
    assert came == ["other"]
    assert (one.state("pg").epoch, one.state("pgdata").move) == (1, None)


def paused_under_another_name(place: Path, configured: Collection[str], **entry: object) -> FileJournal:
    journal = FileJournal(place, configured=lambda: configured)
    disks = [{"uuid": disk.uuid, "path": disk.path} for disk in resource().disks]
    journal.pause("pgdata", {"by": "ann", "disks": disks, **entry})
    return journal


def test_maintenance_of_a_resource_that_was_renamed_goes_on(tmp_path: Path) -> None:
    journal = paused_under_another_name(tmp_path, {"pg", "mail"})
    pg = move_of(replace(resource(), name="pg"))
    moved = replace(
        pg, resource=replace(pg.resource, disks=(replace(resource().disks[0], path="[ds2] a/b.vmdk"),))
    )
    for one in (pg, moved):
        with pytest.raises(
            JournalError, match=r"pgdata is in maintenance.*pg's now.*'salt-run vmdk.resume pgdata'"
        ):
            journal.begin(one)
    assert (journal.state("pg").move, journal.state("pg").epoch) == (None, 0)
    journal.begin(move_of(replace(resource(), name="mail", disks=(OTHER,))))
    journal.pause("pgdata", None)
    journal.begin(pg)
    assert journal.state("pg").epoch == 1


def test_who_is_configured_and_gave_its_disk_away_keeps_nobody_from_it(tmp_path: Path) -> None:
    journal = paused_under_another_name(tmp_path, {"pgdata", "pg"})
    journal.begin(move_of(replace(resource(), name="pg")))
    assert journal.state("pg").epoch == 1


def test_maintenance_goes_on_that_was_adopted_or_has_seen_moves(tmp_path: Path) -> None:
    journal = paused_under_another_name(tmp_path, {"pg"})
    pg = move_of(replace(resource(), name="pg"))
    journal.adopt("pgdata", 7, {})
    with pytest.raises(JournalError, match="pgdata is in maintenance"):
        journal.begin(pg)
    journal.begin(replace(move_of(resource()), epoch=8))
    journal.finish("pgdata", {"ok": True, "target": "db2"})
    journal.hold("pgdata", {"rule": 510, "reason": "x" * 9000})
    with pytest.raises(JournalError, match="pgdata is in maintenance"):
        journal.begin(pg)


def test_a_damaged_journal_of_a_name_that_is_not_configured_holds_as_before(tmp_path: Path) -> None:
    journal = paused_under_another_name(tmp_path, {"pg"})
    path = journal.directory / "pgdata.json"
    path.write_bytes(path.read_bytes().rstrip()[:-1])
    with pytest.raises(JournalError, match=r"the journal of pgdata \(.*\) is damaged"):
        journal.begin(move_of(replace(resource(), name="pg")))


def test_another_disk_is_free(journal: FileJournal) -> None:
    journal.begin(move_of(replace(resource(), name="mail", disks=(OTHER,))))
    assert journal.state("mail").epoch == 1


def test_a_long_hold_does_not_hide_an_open_move(journal: FileJournal) -> None:
    journal.hold("pgdata", {"rule": 45, "reason": "x" * 9000})
    with pytest.raises(JournalError, match="a move of pgdata is open"):
        journal.begin(move_of(replace(resource(), name="pg")))


@pytest.mark.parametrize("name, held", [("pg", True), ("mail", False)])
def test_a_damaged_journal_holds_who_has_a_disk_that_is_named_in_it(
    journal: FileJournal, name: str, held: bool
) -> None:
    path = journal.directory / "pgdata.json"
    path.write_bytes(path.read_bytes().rstrip()[:-1])
    of = replace(resource(), name=name, disks=resource().disks if held else (OTHER,))
    if not held:
        return journal.begin(move_of(of))
    with pytest.raises(JournalError, match=r"the journal of pgdata \(.*\) is damaged.*moved that file away"):
        journal.begin(move_of(of))
    path.rename(path.with_suffix(".away"))
    journal.begin(move_of(of))


def test_who_waited_for_a_node_looks_again_before_it_takes_a_disk_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the detach waits for another resource's write to the same VM, the file system is mounted there once more."""
    site, begun, waited_for = Site(), Event(), Event()
    seen: list[tuple[str, bool]] = []

    def another_write() -> None:
        with FileLock(tmp_path).node("db1", 0.0):
            begun.set()
            assert waited_for.wait(20)
            site.db1.mounted, site.db1.released = True, None

    def wait(handle: int, seconds: float) -> bool:
        if begun.is_set():  # before that it is the lock of the resource
            waited_for.set()
        return really(handle, seconds)

    class Second(FileLock):
        """Its first write to db1 meets the other one."""

        def node(self, minion: str, wait: float) -> AbstractContextManager[bool]:  # type: ignore[override]
            if minion == "db1" and other.ident is None:
                other.start()
                assert begun.wait(20)
            return super().node(minion, wait)

    really, other = lock._try_for, Thread(target=another_write)
    monkeypatch.setattr(lock, "_try_for", wait)
    site.lock = Second(tmp_path)  # type: ignore[assignment]
    site.hypervisor.before = lambda step: seen.append((step.kind.value, site.db1.mounted))
    assert site.run(SWITCH) == ("done", 70)
    other.join()
    assert site.acts() == [
        "release db1",
        "detach db1",
        "release db1",
        "detach db1",
        "attach db2",
        "mount db2",
    ]
    assert seen[0] == ("detach", False)


def test_which_disks_are_in_maintenance_is_the_journals_own_affair(tmp_path: Path) -> None:
    journal = paused_under_another_name(tmp_path, {"pgdata"})
    assert journal.history("pgdata") == [{"pause": {"by": "ann"}}]
    told = standing.of(look(resource(), ()), journal.state("pgdata"), 0.0)
    assert (told["state"], told["pause"]) == ("paused", {"by": "ann"})
