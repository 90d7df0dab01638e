"""``vmdk.edit`` of mounts on the lab's vCenter; only the nodes are doubles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.hypervisor import Vcenter
from tests.vsphere.test_editing import OWN_DISK, WAL, Desk, both_mounted
from tests.vsphere.world import DISK, SECOND
from vmdk_failover.commands import editing
from vmdk_failover.commands.editing import Wanted
from vmdk_failover.commands.mount_changes import option_fault
from vmdk_failover.errors import CannotObserve, Refused
from vmdk_failover.model import Move, MoveKind


@pytest.fixture
def desk(vcenter: Vcenter, tmp_path: Path) -> Iterator[Desk]:
    here = Desk(vcenter, tmp_path)
    here.lookers.looks["db1"]["shown"] = ["noatime", "rw", "attr2"]
    yield here
    here.close()


def edit(desk: Desk, test: bool = False, **typed: Any) -> dict[str, Any]:
    """As a person types it."""
    given, mounts = Wanted.parted(typed)
    return editing.edit(desk.app(), "pgdata", given, test=test, mounts=mounts)


def unmounted(desk: Desk, place: str) -> None:
    """Nothing is mounted there on any node, and the rest still is."""
    desk.lookers.elsewhere[place] = {"db1": {"mounted": False}}


def refused(desk: Desk, words: str, **typed: Any) -> None:
    before = desk.file.read_text()
    for test in (True, False):
        with pytest.raises(Refused, match=words):
            edit(desk, test, **typed)
    assert desk.file.read_text() == before


@pytest.fixture
def two(desk: Desk) -> Desk:
    """Protected with /srv/wal on the second disk."""
    both_mounted(desk)
    assert edit(desk, add_mount="/srv/wal")["written"]
    desk.lookers.asked.clear()
    return desk


def test_a_mount_comes_with_its_disk(desk: Desk) -> None:
    both_mounted(desk)
    desk.file.write_text(desk.file.read_text() + "# why: the log grew\n")
    before, world = desk.file.read_text(), desk.vcenter.inventory()["vms"]
    shown = edit(desk, True, add_mount=["/srv/wal/"])
    assert desk.file.read_text() == before and set(shown["changes"]) == {"mounts", "disks"}
    done = edit(desk, add_mount="/srv/wal")
    assert desk.file.read_text() == shown["text"] == done["text"] and "# why: the log grew\n" in shown["text"]
    found = desk.app().resource("pgdata")
    assert [m.mountpoint for m in found.mounts] == ["/srv/pgdata", "/srv/wal"]
    assert [d.path for d in found.disks] == [DISK.path, SECOND.path]
    assert desk.vcenter.inventory()["vms"] == world
    everybody = ["db1", "db2"]
    assert desk.lookers.asked[:2] == [("/srv/pgdata", [], everybody), ("/srv/wal", [], everybody)]


def test_what_comes_passes_the_checks_of_protect(desk: Desk) -> None:
    refused(desk, "a mount of pgdata already", add_mount="/srv/pgdata")
    desk.lookers.elsewhere["/srv/wal"] = {"db1": {"mounted": False}}
    refused(
        desk, "nothing is mounted at /srv/wal on db1; mount the file system there first", add_mount="/srv/wal"
    )
    both_mounted(desk)
    desk.lookers.elsewhere["/srv/wal"]["db2"] = {"unready": ["mount point /srv/wal is not empty"]}
    refused(desk, "pgdata was not changed: db2: mount point /srv/wal is not empty", add_mount="/srv/wal")
    del desk.lookers.looks["db2"]
    with pytest.raises(CannotObserve, match="db2 did not answer"):
        edit(desk, add_mount="/srv/wal")


def test_what_is_mounted_does_not_leave(two: Desk) -> None:
    words = r"/srv/wal is mounted on db1 now, .*'salt-run vmdk.pause pgdata', .*'umount /srv/wal' on db1.*vmdk.resume pgdata'"
    refused(two, words, remove_mount="/srv/wal")
    two.lookers.elsewhere["/srv/wal"] = {"db1": {"mounted": False}, "db2": {"mounted": True}}
    refused(two, "/srv/wal is mounted on db2 now", remove_mount="/srv/wal")


def test_a_mount_leaves_with_its_disk_which_stays_where_it_is(two: Desk) -> None:
    unmounted(two, "/srv/wal")
    world = two.vcenter.inventory()["vms"]
    shown = edit(two, True, remove_mount="/srv/wal")
    done = edit(two, remove_mount="/srv/wal")
    assert done["written"] and not shown["written"] and done["text"] == shown["text"]
    assert (
        done["findings"][0]
        == f"{SECOND.path} is below no mount any more: it stays in db1, and moves no more."
    )
    found = two.app().resource("pgdata")
    assert [m.mountpoint for m in found.mounts] == ["/srv/pgdata"] and [d.path for d in found.disks] == [
        DISK.path
    ]
    assert two.vcenter.inventory()["vms"] == world


def test_a_disk_with_another_mount_on_it_stays_in_the_resource(desk: Desk) -> None:
    desk.lookers.elsewhere["/srv/wal"] = {
        "db1": {**WAL, "options": "defaults", "lvm": [{"vg": "vg0", "uuid": ""}]}
    }
    desk.lookers.looks["db1"]["tools"] = desk.lookers.looks["db2"]["tools"] = []
    assert set(edit(desk, add_mount="/srv/wal")["changes"]) == {"mounts", "lvm"}
    unmounted(desk, "/srv/wal")
    done = edit(desk, remove_mount="/srv/wal")
    assert set(done["changes"]) == {"mounts", "lvm"} and "lvm" not in yaml.safe_load(done["text"])
    assert any("move on as before" in one for one in done["findings"])


def test_options_are_recorded_that_are_in_force(desk: Desk) -> None:
    refused(
        desk,
        r"at /srv/pgdata on db1 the option noatme is not in force \(the kernel shows attr2, noatime, rw\).*"
        r"'mount -o remount,noatme /srv/pgdata'",
        mount_options={"/srv/pgdata": "noatme"},
    )
    done = edit(desk, mount_options={"/srv/pgdata": "noatime,nofail"})
    assert set(done["changes"]) == {"mounts"}
    assert desk.app().resource("pgdata").mounts[0].options == "noatime,nofail"
    assert edit(desk, mount_options={"/srv/pgdata/": None})["written"]
    assert desk.app().resource("pgdata").mounts[0].options == "defaults"


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ({"remove_mount": "/srv/pgdata"}, "left without a mount; 'salt-run vmdk.unprotect pgdata'"),
        ({"remove_mount": "/srv/nowhere"}, "/srv/nowhere is no mount of pgdata; its mounts are /srv/pgdata"),
        ({"mount_options": {"/srv/nowhere": "noatime"}}, "/srv/nowhere is no mount of pgdata"),
        ({"mount_options": "noatime"}, "mount_options must be a mapping"),
        ({"mount_options": {"/srv/pgdata": "nouuid"}}, "nouuid is not"),
        ({"add_mount": "/srv/x,/srv/x"}, "named twice"),
    ],
)
def test_what_makes_no_sense_is_refused(desk: Desk, typed: dict[str, Any], words: str) -> None:
    refused(desk, words, **typed)


def test_mounts_stay_as_they_are_while_it_is_not_certain_who_has_the_disks(two: Desk) -> None:
    unmounted(two, "/srv/wal")
    body = yaml.safe_load(two.file.read_text())
    of_db2 = {"path": "[ds1] own/db2-vm.vmdk", "uuid": OWN_DISK.replace("C29C", "C29D"), "bus": 0, "unit": 0}
    two.file.write_text(yaml.safe_dump({**body, "disks": [*body["disks"], of_db2]}))
    refused(two, "not certain which one node has the disks of pgdata", remove_mount="/srv/wal")


def test_mounts_stay_as_they_are_while_a_move_is_open(two: Desk) -> None:
    unmounted(two, "/srv/wal")
    two.app().journal.begin(Move(two.app().resource("pgdata"), MoveKind.FAILOVER, "db1", "db2", 1, "once"))
    refused(two, "a move of pgdata is open, and its mounts stay", remove_mount="/srv/wal")


@pytest.mark.parametrize(
    ("old", "new", "shown", "words"),
    [
        ("defaults", "noatime", ["noatime"], ""),
        ("noatime,user", "user", [], ""),  # known from before
        ("defaults", "x-systemd.after=a,rw,nofail", [], ""),
        ("subvol=/pg,noatime", "subvol=/pg", ["subvol=/pg"], ""),
        ("subvol=/pg", "noatime", ["noatime", "subvol=/pg"], "subvol=/pg says which part"),
        ("defaults", "subvol=/other", ["subvol=/"], "subvol=/other is not in force"),
        ("defaults", "noexec", [], "noexec is not in force (the kernel shows nothing)"),
    ],
)
def test_an_option_that_no_node_has_shown_is_refused(
    old: str, new: str, shown: list[str], words: str
) -> None:
    fault = option_fault(old, new, shown)
    assert words in fault if words else not fault
