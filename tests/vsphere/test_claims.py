"""Claims on the lab's vCenter: one master gets an epoch, also when answers are lost, and all see whose it is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lab.hypervisor import Vcenter
from vmdk_failover.claims import Claims
from vmdk_failover.errors import Busy, CannotObserve, OutcomeUnknown
from vmdk_failover.judgement import endings
from vmdk_failover.model import Disk, Resource
from vmdk_failover.store.shelf import FileShelf, Shelf
from vmdk_failover.vsphere.claims import DatastoreShelf
from vmdk_failover.vsphere.session import Session

Make = Callable[[str], Claims]


@pytest.fixture
def master(new_session: Callable[..., Session], pgdata: Resource) -> Make:
    """Makes masters, each with a session of its own."""

    def make(name: str) -> Claims:
        shelf = DatastoreShelf(new_session(), pgdata)
        return Claims(lambda resource: shelf, name)

    return make


def test_it_lies_beside_the_disk(session: Session, pgdata: Resource) -> None:
    assert DatastoreShelf(session, pgdata).place == "[ds1] shared/vmdk-claims-pgdata"


def test_disks_in_several_folders_have_one_shelf_in_whatever_order(
    new_session: Callable[..., Session], pgdata: Resource
) -> None:
    first, last = pgdata.disks[0], replace(pgdata.disks[0], path="[ds2] wal/wal.vmdk", uuid="f" * 32)

    def of(name: str, *disks: Disk) -> Claims:
        shelf = DatastoreShelf(new_session(), replace(pgdata, disks=disks))
        return Claims(lambda resource: shelf, name)

    orders = ((first, last), (last, first))
    places = {DatastoreShelf(new_session(), replace(pgdata, disks=disks)).place for disks in orders}
    assert places == {"[ds1] shared/vmdk-claims-pgdata"}
    one, other = of("ma", first, last), of("mb", last, first)
    assert (one.claim("pgdata", 1), other.claim("pgdata", 1)) == (True, False)
    assert other.look("pgdata").others("mb") == (1, "ma")


def test_a_shelf_that_is_there_counts_before_the_place_where_a_new_one_would_be(
    new_session: Callable[..., Session], pgdata: Resource
) -> None:
    """An earlier version had it beside the disk that was listed first."""
    first, last = pgdata.disks[0], replace(pgdata.disks[0], path="[ds2] wal/wal.vmdk", uuid="f" * 32)
    alone = DatastoreShelf(new_session(), replace(pgdata, disks=(last,)))
    assert Claims(lambda resource: alone, "ma").claim("pgdata", 1)
    both = DatastoreShelf(new_session(), replace(pgdata, disks=(first, last)))
    assert Claims(lambda resource: both, "mb").look("pgdata").others("mb") == (1, "ma")
    again = DatastoreShelf(new_session(), replace(pgdata, disks=(last, first)))
    assert not Claims(lambda resource: again, "mc").claim("pgdata", 2)
    assert again.place == alone.place


WAL = Disk("[ds2] wal/wal.vmdk", "f" * 32, 1, 3)


@pytest.fixture(params=["vcenter", "directory"])
def shelf_of(
    request: pytest.FixtureRequest, new_session: Callable[..., Session], tmp_path: Path
) -> Callable[[Resource], Shelf]:
    """A shelf of a resource, of either kind, as another master has it: with a session of its own."""
    (tmp_path / FileShelf.MARK).touch()
    if request.param == "vcenter":
        return lambda of: DatastoreShelf(new_session(), of)
    return lambda of: FileShelf(tmp_path, of.name)


def test_every_shelf_tells_which_claims_are_for_a_disk(
    shelf_of: Callable[[Resource], Shelf], pgdata: Resource
) -> None:
    disk, renamed = pgdata.disks[0], replace(pgdata, name="pg")
    here, there = shelf_of(pgdata), shelf_of(renamed)
    assert list(there.marks(disk)) == []
    here.mark(disk, "pgdata.epoch-00000001")
    here.mark(disk, "pgdata.epoch-00000001")  # its answer was lost
    there.mark(disk, "pg.epoch-00000001")
    for one in (here, there):
        assert sorted(one.marks(disk)) == ["pg.epoch-00000001", "pgdata.epoch-00000001"]
        assert (list(one.marks(WAL)), one.look()) == ([], {})
    here.make("epoch-00000001")
    here.make("epoch-00000001", "by-ma")
    assert {name: list(inside) for name, inside in there.beside("pgdata").look().items()} == {
        "epoch-00000001": ["by-ma"]
    }
    assert there.beside("mail").look() == {}


def test_a_renamed_resource_waits_wherever_masters_claim(
    shelf_of: Callable[[Resource], Shelf], pgdata: Resource
) -> None:
    ma, mb = (Claims(lambda name: shelf_of(replace(pgdata, name=name)), master) for master in ("ma", "mb"))
    assert ma.claim("pgdata", 1, pgdata.disks)
    with pytest.raises(Busy, match="another master, ma, is at work on pgdata under epoch 1"):
        mb.claim("pg", 1, pgdata.disks)
    ma.end("pgdata", 1)
    assert mb.claim("pg", 2, pgdata.disks)


def test_a_disk_that_changed_hands_is_found_though_the_claims_lie_beside_another(
    shelf_of: Callable[[Resource], Shelf], pgdata: Resource
) -> None:
    both, alone = replace(pgdata, disks=(*pgdata.disks, WAL)), replace(pgdata, name="wal", disks=(WAL,))
    ma = Claims(lambda _: shelf_of(both), "ma")
    assert ma.claim("pgdata", 1, both.disks)
    mb = Claims(lambda name: shelf_of({"pgdata": pgdata, "wal": alone}[name]), "mb")
    with pytest.raises(Busy, match="another master, ma, is at work on pgdata under epoch 1"):
        mb.check_disks("wal", alone.disks)


def test_a_disk_of_which_nobody_can_be_told_is_claimed_by_nobody(
    vcenter: Vcenter, new_session: Callable[..., Session], pgdata: Resource
) -> None:
    """The second datastore is gone from the nodes' datacenter."""
    gone = replace(WAL, path="[gone] wal/wal.vmdk")
    one, other = (Claims(lambda _: DatastoreShelf(new_session(), pgdata), m) for m in ("ma", "mb"))
    with pytest.raises(CannotObserve, match="vmdk-disk-ffffffffffffffffffffffffffffffff is not to be seen"):
        one.claim("pgdata", 1, (*pgdata.disks, gone))
    assert other.look("pgdata").others("mb") is None
    assert other.claim("pgdata", 2, pgdata.disks)


def test_nothing_was_claimed_yet(master: Make) -> None:
    seen = master("ma").look("pgdata")
    assert (seen.highest, seen.paused, seen.others("ma")) == (0, False, None)


def test_the_first_one_gets_it_and_all_see_that(master: Make) -> None:
    one, other = master("ma"), master("mb")
    assert (one.claim("pgdata", 1), other.claim("pgdata", 1)) == (True, False)
    assert other.look("pgdata").others("mb") == (1, "ma")
    one.held("pgdata", 1, 160)
    assert other.look("pgdata").others("mb") == (1, "ma (which holds by rule 160)")
    assert other.claim("pgdata", 2) is False
    one.end("pgdata", 1)
    assert other.claim("pgdata", 3) is True
    assert one.look("pgdata").others("ma") == (3, "mb")


def test_how_a_move_ended_is_told_to_all_until_a_person_has_looked(master: Make) -> None:
    one, other = master("ma"), master("mb")
    moved = {"ok": True, "source": "db1", "target": "db2", "rule": 70, "by": 660, "condition": "io_error"}
    assert one.claim("pgdata", 1)
    one.end("pgdata", 1, endings.name({**moved, "ended": 1_800_000_000.0, "damped": True}))
    (told,) = other.look("pgdata").recent((), "mb")
    assert (told["source"], told["condition"], told["damped"]) == ("db1", "io_error", True)
    assert other.look("pgdata").others("mb") is None
    assert one.look("pgdata").recent((), "ma") == (), "what it has not written down itself it has given up"
    other.forget("pgdata", other.look("pgdata"))
    assert [m["forgotten"] for m in other.look("pgdata").recent((), "mb")] == [True]
    assert [m["damped"] for m in one.look("pgdata").recent([{"epoch": 1, "damped": True}], "ma")] == [False]


def test_ten_at_once_and_one_wins(master: Make) -> None:
    masters, won = [master(f"m{i}") for i in range(10)], []
    gate = threading.Barrier(len(masters))

    def run(one: Claims) -> None:
        gate.wait(20)
        if one.claim("pgdata", 1):
            won.append(one.master)

    threads = [threading.Thread(target=run, args=(one,)) for one in masters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(won) == 1
    assert masters[0].look("pgdata").others("nobody") == (1, won[0])


def test_an_epoch_whose_maker_never_knew_is_nobodys(vcenter: Vcenter, master: Make) -> None:
    one, other = master("ma"), master("mb")
    assert one.claim("pgdata", 1)
    one.end("pgdata", 1)
    vcenter.net("dropreply", 1, "MakeDirectory")
    with pytest.raises(OutcomeUnknown):
        one.claim("pgdata", 2)
    assert other.look("pgdata").highest == 2
    assert other.look("pgdata").others("mb") is None
    assert other.claim("pgdata", 3) is True


def test_who_wakes_up_after_another_has_claimed_loses(master: Make) -> None:
    """It made the folder, slept, and puts its name down only now."""
    one, other = master("ma"), master("mb")
    real, shelf = one.look, one._shelf("pgdata")
    assert shelf.make("epoch-00000001")
    assert other.claim("pgdata", 2) is True
    assert shelf.make("epoch-00000001", "by-ma")
    assert real("pgdata").highest == 2


def test_a_blind_vcenter_is_an_error_and_no_empty_shelf(vcenter: Vcenter, master: Make) -> None:
    one = master("ma")
    assert one.claim("pgdata", 1)
    vcenter.net("503")
    with pytest.raises(CannotObserve):
        one.look("pgdata")


def test_maintenance_is_seen_by_all(master: Make) -> None:
    one, other = master("ma"), master("mb")
    one.pause("pgdata", True)
    one.pause("pgdata", True)
    assert other.look("pgdata").paused
    other.pause("pgdata", False)
    assert not one.look("pgdata").paused
