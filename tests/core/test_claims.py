"""Claims in a shared directory: one master gets an epoch, whatever stops the others, and nothing lost is taken for empty."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.core.build import NOWHERE, THERE, active, look, resource, says, vm
from tests.core.test_config import FINE
from vmdk_failover.acting import ending
from vmdk_failover.app import App
from vmdk_failover.claims import Claims
from vmdk_failover.commands import editing
from vmdk_failover.errors import Busy, CannotObserve, JournalError, Refused
from vmdk_failover.journal import FileJournal
from vmdk_failover.judgement import endings
from vmdk_failover.judgement.assess import Snapshot
from vmdk_failover.judgement.dated import Moment
from vmdk_failover.judgement.policy import Choice, Situation, decide
from vmdk_failover.judgement.rules import Then, Verdict
from vmdk_failover.model import Condition, Disk, Move, MoveKind, Power
from vmdk_failover.shared import SharedJournal
from vmdk_failover.store import durable
from vmdk_failover.store.shelf import FileShelf, Shelf


class Interrupted:
    """A shelf on which something happens right before a folder is made. :ivar before: what, by name."""

    def __init__(self, shelf: FileShelf) -> None:
        self.shelf = shelf
        self.before: dict[str, Callable[[], object]] = {}

    def make(self, *names: str) -> bool:
        self.before.pop(names[-1], lambda: None)()
        return self.shelf.make(*names)

    def look(self) -> Mapping[str, Sequence[str]]:
        self.before.pop("look", lambda: None)()
        return self.shelf.look()

    def mark(self, disk: Disk, claim: str) -> None:
        self.before.pop("mark", lambda: None)()
        self.shelf.mark(disk, claim)

    def marks(self, disk: Disk) -> Sequence[str]:
        self.before.pop("marks", lambda: None)()
        return self.shelf.marks(disk)

    def beside(self, resource: str) -> Shelf:
        return self.shelf.beside(resource)


class Site:
    """Two masters that share a directory."""

    def __init__(self, place: Path) -> None:
        self.place, self.shared = place, place / "shared"
        self.shared.mkdir()
        (self.shared / FileShelf.MARK).touch()
        self.shelves = {name: Interrupted(FileShelf(self.shared, "pgdata")) for name in ("ma", "mb")}
        self.claims = {name: Claims(self._shelf(one), name) for name, one in self.shelves.items()}

    def _shelf(self, pgdata: Shelf) -> Callable[[str], Shelf]:
        return lambda name: pgdata if name == "pgdata" else FileShelf(self.shared, name)

    def journal(self, master: str) -> SharedJournal:
        place = self.place / master
        return SharedJournal(place / "journal", place / "known", claims=self.claims[master])


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def move(epoch: int) -> Move:
    return Move(resource(), MoveKind.FAILOVER, "db1", "db2", epoch, "db1 is off", 620)


def test_whoever_sleeps_after_making_its_folder_loses_to_who_came_meanwhile(site: Site) -> None:
    won = []
    site.shelves["ma"].before["by-ma"] = lambda: won.append(site.claims["mb"].claim("pgdata", 2))
    assert site.claims["ma"].claim("pgdata", 1) is False
    assert won == [True]
    assert site.claims["ma"].look("pgdata").others("ma") == (2, "mb")


def test_whoever_has_put_its_name_down_is_seen_by_who_comes_meanwhile(site: Site) -> None:
    won = []
    site.shelves["ma"].before["look"] = lambda: won.append(site.claims["mb"].claim("pgdata", 2))
    assert site.claims["ma"].claim("pgdata", 1) is False  # both give in; the next hint decides
    assert won == [False]
    assert site.claims["ma"].look("pgdata").others("nobody") is None
    assert site.claims["ma"].claim("pgdata", 3) is True


def test_a_lost_claim_does_not_end_anothers_move(site: Site) -> None:
    ma, mb = site.journal("ma"), site.journal("mb")
    assert (ma.state("pgdata").epoch, mb.state("pgdata").epoch) == (0, 0)
    ma.begin(move(1))
    assert site.claims["mb"].claim("pgdata", 2) is False
    ma.note("pgdata", {"begun": {"step": {"kind": "fence", "node": "db1"}, "result": "unknown"}})
    assert (ma.state("pgdata").epoch, ma.state("pgdata").move) == (1, move(1))


def test_a_look_from_before_begins_nothing(site: Site) -> None:
    """What mb has decided is based on a look while ma was at work, though ma has ended by now."""
    ma, mb = site.journal("ma"), site.journal("mb")
    ma.state("pgdata")
    ma.begin(move(1))
    epoch = mb.state("pgdata").epoch + 1
    ma.finish("pgdata", {"epoch": 1, "ok": True})
    with pytest.raises(Busy, match="another master, ma, is at work"):
        mb.begin(move(epoch))
    assert mb.state("pgdata").epoch == 1
    mb.begin(move(2))
    assert mb.state("pgdata").move == move(2)


def test_a_master_that_died_between_claim_and_journal_frees_it_when_it_looks_again(site: Site) -> None:
    assert site.claims["ma"].claim("pgdata", 1)
    mb = site.journal("mb")
    mb.state("pgdata")
    with pytest.raises(Busy):
        mb.begin(move(2))
    again = site.journal("ma")
    assert again.state("pgdata").epoch == 1
    again.hold("pgdata", None)
    mb.state("pgdata")
    mb.begin(move(2))


def test_a_step_is_not_begun_after_somebody_took_over(site: Site) -> None:
    ma = site.journal("ma")
    ma.state("pgdata")
    ma.begin(move(1))
    site.journal("mb").adopt("pgdata", 2, {})
    with pytest.raises(Busy, match="taken over under epoch 2"):
        ma.note("pgdata", {"begun": {"step": {"kind": "fence", "node": "db1"}, "result": "unknown"}})
    assert ma.state("pgdata").epoch == 2 != move(1).epoch  # rule 30 holds
    ma.hold("pgdata", {"rule": 30, "reason": "taken over"})
    assert ma.state("pgdata").move is None


def test_a_claim_whose_move_could_not_be_written_is_ended_with_the_next_look(site: Site) -> None:
    ma = site.journal("ma")
    ma.state("pgdata")
    place = site.place / "ma/journal"
    place.mkdir(parents=True)
    (place / "pgdata.spare").mkdir()  # in the way of the file that is to be exchanged
    with pytest.raises(JournalError):
        ma.begin(move(1))
    assert site.claims["mb"].look("pgdata").others("mb") is not None
    (place / "pgdata.spare").rmdir()
    ma.state("pgdata")
    ma.hold("pgdata", None)
    assert site.claims["mb"].look("pgdata").others("mb") is None


def test_a_claim_is_kept_when_the_disk_hangs_after_the_move_was_written(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever began it is told that it was not; but it stands in the journal and goes on."""
    ma, mb = site.journal("ma"), site.journal("mb")
    ma.state("pgdata")
    ma.patience = 0.2
    real, on = durable.sync_folder, threading.Event()

    def hang(folder: Path) -> None:
        if (folder / "pgdata.json").exists() and '"move": {' in (folder / "pgdata.json").read_text():
            on.wait(10.0)
        real(folder)

    monkeypatch.setattr(durable, "sync_folder", hang)
    with pytest.raises(JournalError):
        ma.begin(move(1))
    on.set()
    assert site.journal("ma").state("pgdata").move == move(1)
    assert mb.state("pgdata").epoch == 1
    with pytest.raises(Busy, match="another master, ma, is at work"):
        mb.begin(move(2))


def test_an_epoch_is_not_used_up_while_the_disk_is_in_another_move(site: Site) -> None:
    ma = site.journal("ma")
    ma.state("pgdata")
    ma.begin(move(1))
    for epoch in (2, 3):
        with pytest.raises(JournalError, match="a move of pgdata is open"):
            ma.begin(replace(move(epoch), resource=replace(resource(), name="pg")))
    assert site.claims["ma"].look("pgdata").highest == 1


def test_what_is_not_mounted_or_lost_is_an_error(site: Site) -> None:
    ma = site.journal("ma")
    ma.state("pgdata")
    ma.begin(move(1))
    site.shared.rename(site.place / "elsewhere")
    with pytest.raises(CannotObserve, match="is the directory mounted"):
        ma.state("pgdata")
    site.shared.mkdir()
    with pytest.raises(CannotObserve, match="nothing is mounted there"):
        ma.state("pgdata")
    assert list(site.shared.iterdir()) == []
    (site.shared / FileShelf.MARK).touch()
    with pytest.raises(CannotObserve, match="they are lost or elsewhere"):
        ma.state("pgdata")
    assert ma.open_moves() == ["pgdata"]  # asked every other second, so only of the own files


def test_a_master_that_is_new_does_not_begin_anew_where_nothing_is_mounted(site: Site) -> None:
    site.journal("ma").begin(move(1))
    site.shared.rename(site.place / "elsewhere")
    site.shared.mkdir()
    fresh = site.journal("mb")
    for act in (
        lambda: fresh.state("pgdata"),
        lambda: fresh.begin(move(1)),
        lambda: fresh.adopt("pgdata", 2, {}),
    ):
        with pytest.raises(CannotObserve, match=f"touch {site.shared}/vmdk-claims"):
            act()
    assert list(site.shared.iterdir()) == []


# -- what the others have to know of a move that has ended ----------------------------------------------------

NOW = 1_800_000_000.0
HUNG = Condition.IO_ERROR


def failing(holder: str) -> Snapshot:
    """The disk fails on its holder; the other node is ready."""
    there = {"db1": NOWHERE, "db2": NOWHERE, holder: THERE}
    facts = {m: active(m, condition=HUNG) if m == holder else says(m) for m in there}
    return look(resource(), [vm(m, where) for m, where in there.items()], facts.values())


def judged(journal: SharedJournal, seen: Snapshot, wall: float = NOW) -> tuple[int, Choice]:
    """What a master decides that looks now."""
    record = journal.state("pgdata")
    decision = decide(Situation(seen, record.epoch, wall, record.paused, record.recent))
    return decision.rule, decision.choice


def moved(journal: SharedJournal, epoch: int, by: int = 660, ended: float = NOW - 60, **how: Any) -> None:
    """A failover from db1 to db2 has ended."""
    journal.state("pgdata")
    begun = replace(move(epoch), rule=by, condition="io_error" if by == 660 else "")
    journal.begin(begun)
    verdict = Verdict(how.pop("rule", 70), "as it was", Then.DONE if how.pop("ok", True) else Then.ABANDON)
    steps = [{"step": "attach", "code": how.pop("code", "")}]
    journal.finish("pgdata", {**ending(begun, verdict, steps, 1.0, ended), **how})


def test_a_fault_that_came_along_is_seen_by_the_master_that_did_not_move_it(site: Site) -> None:
    ma, mb = site.journal("ma"), site.journal("mb")
    assert judged(mb, failing("db2")) == (660, Choice.MOVE)
    moved(ma, 1)
    assert judged(ma, failing("db2")) == judged(mb, failing("db2")) == (653, Choice.HOLD)
    assert judged(mb, failing("db1")) == (660, Choice.MOVE), "it fails where it did, that is no news"
    assert judged(mb, failing("db2"), NOW + 3600) == (660, Choice.MOVE)


def test_failovers_are_counted_whoever_made_them(site: Site) -> None:
    ma, mb = site.journal("ma"), site.journal("mb")
    for epoch, who in enumerate((ma, mb, ma), 1):
        moved(who, epoch, by=597)
    seen = failing("db1")
    assert judged(ma, seen) == judged(mb, seen) == (650, Choice.HOLD)
    mb.clear("pgdata", NOW)
    assert judged(ma, seen) == judged(mb, seen) == (660, Choice.MOVE), "a person has looked, for both"
    moved(ma, 4, source="db2", target="db1", ended=NOW)
    assert judged(mb, seen) == (653, Choice.HOLD), "what came after that counts"


def test_tries_that_another_master_made_in_vain_are_not_made_again(site: Site) -> None:
    ma, mb = site.journal("ma"), site.journal("mb")
    free = look(resource(), [vm("db1", power=Power.OFF), vm("db2")], [None, says("db2")])
    moved(ma, 1, by=620, ok=False, rule=210, code="locked_by_stranger", ended=NOW - 5)
    assert judged(ma, free) == judged(mb, free) == (795, Choice.HOLD)
    assert judged(mb, free, NOW + 20) == (800, Choice.MOVE)
    for epoch in (2, 3):
        moved(ma, epoch, by=800, ok=False, rule=210, code="step_failed")
    assert judged(ma, free) == judged(mb, free) == (810, Choice.HOLD)


def test_a_move_that_was_not_told_when_it_ended_is_told_with_the_next_look(site: Site) -> None:
    """The shelf could not be written at that moment, or the master died then."""
    ma, mb = site.journal("ma"), site.journal("mb")
    ma.state("pgdata")
    begun = replace(move(1), rule=660, condition="io_error")
    ma.begin(begun)
    FileJournal.finish(ma, "pgdata", ending(begun, Verdict(70, "there", Then.DONE), [], 1.0, NOW - 60))
    assert mb.claims.look("pgdata").others("mb") == (1, "ma")
    ma.state("pgdata")
    ma.hold("pgdata", None)
    assert judged(mb, failing("db2")) == (653, Choice.HOLD)


def test_adopt_forgets_for_all(site: Site) -> None:
    ma, mb = site.journal("ma"), site.journal("mb")
    moved(ma, 1)
    mb.adopt("pgdata", 2, {})
    assert judged(ma, failing("db2")) == judged(mb, failing("db2")) == (660, Choice.MOVE)


def test_a_clear_that_the_others_cannot_be_told_of_is_an_error(site: Site) -> None:
    ma = site.journal("ma")
    moved(ma, 1)
    site.shared.rename(site.place / "elsewhere")
    with pytest.raises(JournalError, match="cleared on this master alone"):
        ma.clear("pgdata", NOW)


WENT_WELL = {"ok": True, "rule": 70, "by": 660, "condition": "io_error", "damped": True}
IN_VAIN = {"ok": False, "rule": 210, "by": 620, "code": "locked_by_stranger", "damped": False}


@pytest.mark.parametrize(
    ("entry", "way", "told"),
    [
        ({**WENT_WELL, "ended": 7.9}, ("db1", "db2"), {**WENT_WELL, "ended": 7.0}),
        (IN_VAIN, ("db1", "db2"), {**IN_VAIN, "source": ""}),
        ({**IN_VAIN, "code": "E-17"}, ("db2", "db2"), {"ok": False, "code": "____", "source": "db2"}),
        ({"ok": True}, ("db2", "db2"), {"ok": True, "source": "db2", "rule": 0, "by": 0, "damped": False}),
        (WENT_WELL, ("db1." + "x" * 35, "db2." + "x" * 35), WENT_WELL),
        (WENT_WELL, ("d" * 90, "db2"), {**WENT_WELL, "source": ""}),
        (WENT_WELL, ("../db1", "db2"), {**WENT_WELL, "source": ""}),
        (WENT_WELL, ("db1", "d b2"), {**WENT_WELL, "source": "", "target": ""}),
        (WENT_WELL, ("d" * 99, "d" * 99), {**WENT_WELL, "source": "", "target": ""}),
    ],
)
def test_what_is_left_of_a_move_is_what_is_read(
    entry: Mapping[str, Any], way: tuple[str, str], told: Mapping[str, Any]
) -> None:
    """A node whose name does not fit is not told; it is never told as another."""
    written = endings.name({**entry, "source": way[0], "target": way[1], "ended": entry.get("ended", 1.8e9)})
    assert len(written) <= endings.LONGEST and "/" not in written
    read = endings.move(written, 3, "ma") or {}
    wanted = {"source": way[0], "target": way[1], "master": "ma", "epoch": 3, **told}
    assert {key: read.get(key) for key in wanted} == wanted


@pytest.mark.parametrize(
    "rubbish", ["done", "lost", "by-ma", "done-", "done-1-o-1-1", "done-x-o-1-1-a-b@c@d", "held-3"]
)
def test_what_is_no_ending_is_none(rubbish: str) -> None:
    assert endings.move(rubbish, 1, "ma") is None


@pytest.mark.parametrize("dies", [False, True])
def test_maintenance_goes_along_to_where_the_claims_are_then(site: Site, dies: bool) -> None:
    """The disk, and with it the shelf, is moved while another master's word holds; mb may die on the way to the new one."""
    site.journal("ma").pause("pgdata", {"by": "a person"})
    mb = site.journal("mb")
    mb.leave("pgdata", 5)
    (site.place / "new").mkdir()
    (site.place / "new" / FileShelf.MARK).touch()
    for one in site.shelves.values():
        one.shelf = FileShelf(site.place / "new", "pgdata")
    mb = site.journal("mb") if dies else mb
    mb.adopt("pgdata", 6, {})
    ma = site.journal("ma")
    ma.adopt("pgdata", 7, {})
    assert ma.state("pgdata").paused and mb.state("pgdata").paused
    ma.pause("pgdata", None)
    assert not ma.state("pgdata").paused and not mb.state("pgdata").paused


def test_another_masters_clock_that_is_ahead_makes_its_tries_no_younger(site: Site) -> None:
    """Two tries in vain would keep this master from a third for as long as that clock is ahead."""
    now = Moment("boot-1", 1e6, 1.8e9)
    mb = SharedJournal(site.place / "mb", claims=site.claims["mb"])
    for epoch in (1, 2):
        mb.state("pgdata")
        mb.begin(move(epoch))
        vain = {**IN_VAIN, "code": "step_failed", "epoch": epoch, "source": "db1", "target": "db2"}
        mb.finish("pgdata", {**vain, "ended": now.wall + 86400.0})
    ma = SharedJournal(site.place / "ma", moment=lambda: now, claims=site.claims["ma"])
    seen = look(resource(), [vm("db1", THERE, power=Power.OFF), vm("db2")], [says("db2")])
    decided = decide(Situation(seen, 2, now.wall, recent=ma.state("pgdata").recent))
    assert (decided.rule, decided.choice) == (620, Choice.MOVE)


# -- one disk under two names ---------------------------------------------------------------------------------

WAL = Disk("[ds2] wal/wal.vmdk", "6000c299-0000-0000-0000-000000000009", 1, 3)


def called(name: str, epoch: int, disks: Sequence[Disk] = resource().disks) -> Move:
    """As :func:`move`, of a resource with another name."""
    return replace(move(epoch), resource=replace(resource(), name=name, disks=tuple(disks)))


@pytest.mark.parametrize("disks", [resource().disks, (WAL, *resource().disks)])
def test_a_renamed_resource_waits_for_another_masters_move_of_its_old_name(
    site: Site, disks: Sequence[Disk]
) -> None:
    ma, mb = site.journal("ma"), site.journal("mb")
    ma.state("pgdata")
    ma.begin(move(1))
    words = r"another master, ma, is at work on pgdata under epoch 1, with a disk that is pg's now.*vmdk\.adopt pgdata"
    for _ in range(2):
        epoch = mb.state("pg").epoch + 1
        with pytest.raises(Busy, match=words):
            mb.begin(called("pg", epoch, disks))
    assert not (site.shared / "pg").exists(), "to look again costs no folder"
    ma.finish("pgdata", {"epoch": 1, "ok": True})
    mb.begin(called("pg", 1, disks))
    ma.state("pgdata")
    with pytest.raises(Busy, match="another master, mb, is at work on pg under epoch 1"):
        ma.begin(move(2))


def test_another_disk_is_free_while_another_master_is_at_work(site: Site) -> None:
    ma, mb = site.journal("ma"), site.journal("mb")
    ma.state("pgdata")
    ma.begin(replace(move(1), resource=replace(resource(), disks=(*resource().disks, WAL))))
    ma.finish("pgdata", {"epoch": 1, "ok": True})
    ma.state("pgdata")
    ma.begin(move(2))  # without wal, which is mail's now
    mb.state("mail")
    mb.begin(called("mail", 1, (WAL,)))
    assert mb.state("mail").move


def test_a_move_of_the_old_name_that_a_person_has_taken_over_frees_the_disk(site: Site) -> None:
    ma, mb = site.journal("ma"), site.journal("mb")
    ma.state("pgdata")
    ma.begin(move(1))
    mb.adopt("pgdata", 2, {})
    mb.state("pg")
    mb.begin(called("pg", 1))
    with pytest.raises(Busy, match="taken over under epoch 2"):
        ma.note("pgdata", {"begun": {"step": {"kind": "fence", "node": "db1"}, "result": "unknown"}})


@pytest.mark.parametrize(
    ("moment", "winner"), [("mark", "mb"), ("by-ma", "mb"), ("look", "ma"), ("marks", "ma")]
)
def test_of_two_at_once_under_two_names_one_begins(site: Site, moment: str, winner: str) -> None:
    """mb claims it in the moment before ma does what ``moment`` says."""
    won, disks = [], resource().disks

    def claim(master: str, name: str) -> None:
        with contextlib.suppress(Busy):
            if site.claims[master].claim(name, 1, disks):
                won.append(master)

    site.shelves["ma"].before[moment] = lambda: claim("mb", "pg")
    claim("ma", "pgdata")
    assert won == [winner]
    loser, name = ("ma", "pgdata") if winner == "mb" else ("mb", "pg")
    assert site.claims[winner].look(name).others(winner) is None, "the other has given its claim back"
    assert site.claims[loser].look("pg" if name == "pgdata" else "pgdata").others(loser) == (1, winner)


@pytest.mark.parametrize("moment", ["mark", "marks"])
def test_disks_that_cannot_be_told_or_seen_give_the_claim_back(site: Site, moment: str) -> None:
    def breaks() -> None:
        raise CannotObserve("the directory hangs")

    site.shelves["ma"].before[moment] = breaks
    with pytest.raises(CannotObserve):
        site.claims["ma"].claim("pgdata", 1, resource().disks)
    assert site.claims["mb"].look("pgdata").others("mb") is None
    assert site.claims["mb"].claim("pgdata", 2, resource().disks)


def test_a_directory_that_does_not_tell_of_disks_begins_nothing(site: Site) -> None:
    (site.shared / FileShelf.DISKS).touch()
    ma = site.journal("ma")
    ma.state("pgdata")
    with pytest.raises(CannotObserve, match="cannot be read"):
        ma.begin(move(1))
    assert not (site.shared / "pgdata").exists()


def test_a_master_of_an_earlier_version_says_nothing_of_disks(site: Site) -> None:
    (site.shared / "pgdata/epoch-00000001/by-ma").mkdir(parents=True)
    mb = site.journal("mb")
    mb.state("pg")
    mb.begin(called("pg", 1))
    for name in ("lost+found", "pgdata.epoch-x", "..epoch-00000001", ".nfs0001", "gone.epoch-00000003"):
        (site.shared / FileShelf.DISKS / resource().disks[0].uuid / name).mkdir()
    mb.finish("pg", {"epoch": 1, "ok": True})
    mb.state("pg")
    mb.begin(called("pg", 2))
    mb.finish("pg", {"epoch": 2, "ok": True})
    mb.state("pgdata")
    with pytest.raises(Busy, match="ma, is at work on pgdata"):
        mb.begin(move(2))


def test_what_another_master_is_at_work_on_is_not_edited(tmp_path: Path) -> None:
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / FileShelf.MARK).touch()
    (tmp_path / "r").mkdir()
    file = tmp_path / "r/pgdata.yaml"
    file.write_text(yaml.safe_dump(FINE["resources"]["pgdata"]))
    section = {key: value for key, value in FINE.items() if key != "resources"}
    section |= {"resources_dir": str(file.parent), "claims": str(tmp_path / "claims")}
    ma, mb = (App({"id": m, "root_dir": str(tmp_path / m), "vmdk": section}, client=None) for m in "ab")
    of = ma.settings.resources["pgdata"]
    ma.shared.begin(replace(move(1), resource=of))
    before = file.read_text()
    for change in (
        lambda: editing.unprotect(mb, "pgdata"),
        lambda: editing.edit(mb, "pgdata", {"hang_timeout": 20}),
    ):
        with pytest.raises(Refused, match="another master, a, is at work on pgdata under epoch 1"):
            change()
    assert file.read_text() == before
    ma.shared.finish("pgdata", {"epoch": 1, "ok": True})
    assert editing.edit(mb, "pgdata", {"hang_timeout": 20})["written"]
    assert editing.unprotect(mb, "pgdata")["unprotected"]


def test_maintenance_that_cannot_be_told_is_an_error_and_holds_here(site: Site) -> None:
    ma = site.journal("ma")
    ma.hold("pgdata", {"rule": 1, "reason": "x"})
    site.shared.rename(site.place / "elsewhere")
    with pytest.raises(JournalError, match="paused on this master alone"):
        ma.pause("pgdata", {"by": "me"})
    (site.place / "elsewhere").rename(site.shared)
    assert ma.state("pgdata").paused and not site.journal("mb").state("pgdata").paused


def test_rubbish_on_the_shelf_is_nobodys_claim(site: Site) -> None:
    (site.shared / "pgdata").mkdir()
    for name in ("epoch-x", "epoch-7", "lost+found", ".nfs0001", "pause-x"):
        (site.shared / "pgdata" / name).mkdir()
    (site.shared / "pgdata/epoch-00000009").write_text("a file, not a folder")
    assert site.claims["ma"].look("pgdata").highest == 0
    assert site.claims["ma"].claim("pgdata", 1)


@pytest.mark.parametrize("name", ["../../x", "a/b", "m a", "m\n"])
def test_a_masters_id_is_no_path(site: Site, name: str) -> None:
    one = Claims(lambda _: FileShelf(site.shared, "pgdata"), name)
    assert one.claim("pgdata", 1)
    assert len(list((site.shared / "pgdata/epoch-00000001").iterdir())) == 1


@pytest.mark.parametrize("claims", ["", "/srv/claims"])
def test_moves_are_written_into_what_the_masters_share(tmp_path: Path, claims: str) -> None:
    section = {**FINE, "resources_dir": str(tmp_path), **({"claims": claims} if claims else {})}
    app = App({"id": "ma", "root_dir": str(tmp_path), "vmdk": section}, client=None)
    assert isinstance(app.engine.journal, SharedJournal) is bool(claims)


#: As the kernel prints them (fs/nfs/super.c): what differs from the defaults.
NFS = "rw,vers=4.2,rsize=1048576,wsize=1048576,hard,proto=tcp,timeo=600,retrans=2,sec=sys,clientaddr=10.0.0.1"
ACTIMEO = "acregmin=0,acregmax=0,acdirmin=0,acdirmax=0"


@pytest.mark.parametrize(
    ("fstype", "options", "late"),
    [
        ("nfs4", f"{NFS},local_lock=none", True),
        ("nfs", f"{NFS},{ACTIMEO},local_lock=none", True),
        ("nfs4", f"{NFS},acdirmin=0,lookupcache=none,local_lock=none", True),
        ("nfs4", f"{NFS},noac,lookupcache=pos,local_lock=none", True),
        ("nfs4", f"{NFS},lookupcache=none,local_lock=none", True),
        ("nfs4", f"{NFS},noac,{ACTIMEO},lookupcache=none,local_lock=none", False),
        ("nfs", f"{NFS},{ACTIMEO},lookupcache=none,local_lock=none", False),
        ("nfs4", f"{NFS},noac,lookupcache=none", False),
        ("gfs2", "rw", False),
    ],
)
def test_a_directory_on_nfs_is_none_unless_the_client_asks_for_every_look(
    tmp_path: Path, fstype: str, options: str, late: bool
) -> None:
    (tmp_path / FileShelf.MARK).touch()
    device = os.stat(tmp_path).st_dev
    rows = [
        "22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw",
        f"23 22 {os.major(device)}:{os.minor(device)} / /srv/x rw,relatime shared:2 - {fstype} nas:/x {options}",
        f"24 22 0:999 / /mnt rw - nfs4 nas:/y {NFS}",
    ]
    (tmp_path / "mountinfo").write_text("\n".join(rows) + "\n")
    shelf = FileShelf(tmp_path, "pgdata", mountinfo=tmp_path / "mountinfo")
    words = "is on NFS, .*: mount it anew with the options noac,lookupcache=none"
    for act in (shelf.look, lambda: shelf.make("epoch-00000001")):
        if late:
            with pytest.raises(CannotObserve, match=words):
                act()
        else:
            act()
    assert (tmp_path / "pgdata").exists() is not late


def test_a_neighbours_maintenance_is_known_without_asking_the_shelf(site: Site) -> None:
    """Whoever judges a node looks at all that is on it; a search on a datastore for each would take too long."""
    ma, mb = site.journal("ma"), site.journal("mb")
    ma.pause("pgdata", {"by": "me"})
    assert (ma.in_maintenance("pgdata"), mb.in_maintenance("pgdata")) == (True, False)
    mb.state("pgdata")
    for shelf in site.shelves.values():
        shelf.before["look"] = lambda: pytest.fail("it was asked for")
    assert mb.in_maintenance("pgdata") and ma.in_maintenance("pgdata")
    for shelf in site.shelves.values():
        shelf.before.clear()
    mb.pause("pgdata", None)
    ma.state("pgdata")
    assert not ma.in_maintenance("pgdata") and not mb.in_maintenance("pgdata")


def test_a_node_is_judged_by_the_maintenance_of_all_masters(tmp_path: Path) -> None:
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / FileShelf.MARK).touch()
    section = {**FINE, "resources_dir": str(tmp_path), "claims": str(tmp_path / "claims")}
    app = App({"id": "ma", "root_dir": str(tmp_path), "vmdk": section}, client=None)
    other = SharedJournal(
        tmp_path / "mb", claims=Claims(lambda name: FileShelf(tmp_path / "claims", name), "mb")
    )
    other.pause("pgdata", {"by": "me"})
    app.shared.state("pgdata")
    assert app.vicinity.paused("pgdata")
