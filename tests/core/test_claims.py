"""Claims in a shared directory: one master gets an epoch, whatever stops the others, and nothing lost is taken for empty."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.core.build import resource
from tests.core.test_config import FINE
from vmdk_failover.app import App
from vmdk_failover.claims import Claims, FileShelf, SharedJournal
from vmdk_failover.errors import Busy, CannotObserve, JournalError
from vmdk_failover.model import Move, MoveKind


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


class Site:
    """Two masters that share a directory."""

    def __init__(self, place: Path) -> None:
        self.place, self.shared = place, place / "shared"
        self.shared.mkdir()
        (self.shared / FileShelf.MARK).touch()
        self.shelves = {name: Interrupted(FileShelf(self.shared, "pgdata")) for name in ("ma", "mb")}
        self.claims = {name: Claims(lambda _, one=one: one, name) for name, one in self.shelves.items()}

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


def test_a_journal_that_cannot_be_written_gives_the_claim_back(site: Site) -> None:
    ma = site.journal("ma")
    ma.state("pgdata")
    (site.place / "ma/journal").parent.mkdir(exist_ok=True)
    (site.place / "ma/journal").write_text("")
    with pytest.raises(JournalError):
        ma.begin(move(1))
    assert site.claims["mb"].look("pgdata").others("mb") is None


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
    section = {**FINE, **({"claims": claims} if claims else {})}
    app = App({"id": "ma", "root_dir": str(tmp_path), "vmdk": section}, client=None)
    assert isinstance(app.engine.journal, SharedJournal) is bool(claims)


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
    section = {**FINE, "claims": str(tmp_path / "claims")}
    app = App({"id": "ma", "root_dir": str(tmp_path), "vmdk": section}, client=None)
    other = SharedJournal(
        tmp_path / "mb", claims=Claims(lambda name: FileShelf(tmp_path / "claims", name), "mb")
    )
    other.pause("pgdata", {"by": "me"})
    app.shared.state("pgdata")
    assert app.vicinity.paused("pgdata")
