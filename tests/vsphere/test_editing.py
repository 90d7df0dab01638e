"""``protect``, ``edit`` and ``unprotect`` on the lab's vCenter; only the nodes are doubles."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.hypervisor import Vcenter
from tests.core.build import says
from tests.doubles import engine
from tests.vsphere.test_adopt import Nodes, Site
from tests.vsphere.world import BIOS, CONFIGURED, DISK, NODES, SECOND, USER, vm
from vmdk_failover import __version__
from vmdk_failover.commands import editing, protect
from vmdk_failover.errors import CannotObserve, Refused
from vmdk_failover.model import Move, MoveKind

THIRD = "5037aaaa-0000-4000-8000-000000000003"
THIRD_BIOS = "4237bbbb-1234-5678-9abc-000000000003"
OWN_DISK = "6000C29C-1111-2222-3333-444455556666"
MOUNT = {
    "mountpoint": "/srv/pgdata",
    "fs_uuid": "0b6e9a2c-0000-4000-8000-00000000f5f5",
    "fstype": "xfs",
    "options": "noatime",
}


class Lookers(Nodes):
    """Nodes that say what is mounted on them, as ``vmdk.look`` does."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, list[str], list[str]]] = []
        self.elsewhere: dict[str, dict[str, dict[str, Any]]] = {}
        self.waits: list[float] = []
        self.at_it: dict[str, list[str]] = {}
        self.broken: dict[str, str] = {}
        self.unknown: set[str] = set()
        self.looks: dict[str, dict[str, Any]] = {
            "db1": {**MOUNT, "mounted": True, "disk_uuids": [DISK.uuid], "smbios_uuid": BIOS[0]},
            "db2": {"mounted": False, "all_disk_uuids": [OWN_DISK], "smbios_uuid": BIOS[1]},
            "db3": {"mounted": False, "all_disk_uuids": [OWN_DISK], "smbios_uuid": THIRD_BIOS},
        }

    def ask(
        self, minions: Sequence[str], function: str, kwargs: Mapping[str, Any], wait: float, sure: Any
    ) -> Mapping[str, Any]:
        if function == "vmdk.look":
            names = [*kwargs["services"], *(f"sls {one}" for one in kwargs.get("states", ()))]
            self.asked.append((kwargs["mountpoint"], names, list(minions)))
            self.waits.append(wait)
            for minion, words in self.broken.items():
                sure(minion, words)  # a return that is no good, as the bus has it
            elsewhere = self.elsewhere.get(kwargs["mountpoint"], {})
            told = {"version": __version__}
            return {m: {**told, **self.looks[m], **elsewhere.get(m, {})} for m in minions if m in self.looks}
        if function == "saltutil.is_running":
            if self.unknown.issuperset(minions):  # as Salt does of minions that have no key
                raise CannotObserve(f"{function} was not accepted by the salt-master for {minions}")
            return {m: self.at_it[m] for m in minions if m in self.at_it}
        return super().ask(minions, function, kwargs, wait, sure)


class Desk(Site):
    """A master that is set up well, pgdata on db1 and db2, and a third VM that has a disk of its own."""

    def __init__(self, vcenter: Vcenter, place: Path) -> None:
        self.opts = dict(CONFIGURED)
        self.engine = contextlib.ExitStack()
        self.engine.enter_context(engine.running(place / "state"))
        super().__init__(vcenter, place)
        lookers = Lookers()
        lookers.keys = self.nodes.keys
        self.nodes = self.lookers = lookers
        vcenter.add_vm(**vm(1, name="db3-vm", uuid=THIRD_BIOS, instance_uuid=THIRD))
        for name, nth in (("db3-vm", 3), ("db2-vm", 2)):
            uuid = OWN_DISK if nth == 3 else OWN_DISK.replace("C29C", "C29D")
            vcenter.add_disk(
                path=f"[ds1] own/{name}.vmdk",
                uuid=uuid,
                capacity_mb=8,
                attached_to=name,
                bus=0,
                unit=0,
                mode="persistent",
            )
        lookers.looks["db2"]["all_disk_uuids"] = [OWN_DISK.replace("C29C", "C29D")]

    def close(self) -> None:
        super().close()
        self.engine.close()


@pytest.fixture
def desk(vcenter: Vcenter, tmp_path: Path) -> Iterator[Desk]:
    here = Desk(vcenter, tmp_path)
    yield here
    here.close()


def test_options_are_changed_and_comments_stay(desk: Desk) -> None:
    desk.file.write_text(desk.file.read_text() + "# why: the array is slow\n")
    before = desk.file.read_text()
    shown = editing.edit(desk.app(), "pgdata", {"hang_timeout": 20, "services": ["ledger"]}, test=True)
    assert shown["changes"]["hang_timeout"] == {"old": 10.0, "new": 20} and shown["written"] is False
    assert desk.file.read_text() == before
    done = editing.edit(desk.app(), "pgdata", {"hang_timeout": 20, "services": ["ledger"]})
    assert done["written"] and desk.file.read_text() == shown["text"]
    assert (
        desk.file.read_text().startswith("# mine\n") and "# why: the array is slow\n" in desk.file.read_text()
    )
    resource = desk.app().resource("pgdata")
    assert (resource.hang_timeout, resource.services) == (20, ("ledger",))
    back = editing.edit(desk.app(), "pgdata", {"hang_timeout": None})
    assert back["changes"] == {"hang_timeout": {"old": 20, "new": None}}
    assert "hang_timeout" not in desk.file.read_text() and desk.app().resource("pgdata").hang_timeout == 10


def test_nothing_to_change_writes_nothing(desk: Desk) -> None:
    before = desk.file.stat()
    done = editing.edit(desk.app(), "pgdata", {"hang_timeout": 10.0})
    assert (done["changes"], done["written"]) == (
        {},
        False,
    ) and desk.file.stat().st_mtime_ns == before.st_mtime_ns


def test_a_new_sls_is_asked_for_on_every_node_and_refused_where_it_is_not(desk: Desk) -> None:
    states = {"states": {"start": ["vip"], "stop": ["down"]}}
    assert editing.edit(desk.app(), "pgdata", states)["written"]
    assert desk.lookers.asked == [("", ["sls vip", "sls down"], ["db1", "db2"])]
    more = {"states": {"start": ["vip", "vpi"]}}
    desk.lookers.looks["db2"]["services"] = [
        ["error", "the SLS vpi is not in the file roots", "Put it there."]
    ]
    before = desk.file.read_text()
    with pytest.raises(
        Refused, match=r"was not changed: db2: the SLS vpi is not in the file roots\. Put it there"
    ):
        editing.edit(desk.app(), "pgdata", more)
    assert desk.lookers.asked[-1] == ("", ["sls vpi"], ["db1", "db2"]) and desk.file.read_text() == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hang_timeout": "soon"}, "must be a number"),
        ({"hang_tiemout": 5}, r"hang_tiemout cannot be chosen; options are agent_timeout, .*write_probe\Z"),
        (
            {"mounts": [MOUNT]},
            r"mounts cannot be chosen; .* are looked up: add_mount, remove_mount, mount_options, add_backup",
        ),
        ({"on_error": "explode"}, "must be switchover or halt"),
        ({"timeouts": {"release": -1}}, "must be seconds"),
    ],
)
def test_what_protect_would_refuse_is_refused(desk: Desk, options: dict[str, Any], words: str) -> None:
    before = desk.file.read_text()
    with pytest.raises(Refused, match=words):
        editing.edit(desk.app(), "pgdata", options)
    assert desk.file.read_text() == before


def test_a_backup_comes_and_goes(desk: Desk) -> None:
    done = editing.edit(desk.app(), "pgdata", {}, add=["db3"])
    assert done["changes"]["nodes"]["new"] == ["db1", "db2", "db3"] and done["nodes"] == ["db1", "db2", "db3"]
    assert desk.app().resource("pgdata").node("db3").vm_uuid == THIRD
    desk.lookers.words["db3"] = says("db3")
    desk.lookers.keys["db3"] = desk.app().keys.current("db3")
    gone = editing.edit(desk.app(), "pgdata", {}, remove=["db2"])
    assert gone["nodes"] == ["db1", "db2", "db3"]
    assert [n.minion for n in desk.app().resource("pgdata").nodes] == ["db1", "db3"]


def test_an_end_of_an_open_move_does_not_leave(desk: Desk) -> None:
    """The move would bring the disk to a node that is the resource's no more: nobody would watch it there."""
    editing.edit(desk.app(), "pgdata", {}, add=["db3"])
    before, app = desk.file.read_text(), desk.app()
    app.journal.begin(Move(app.resource("pgdata"), MoveKind.FAILOVER, "db1", "db2", 1, "db1 is off"))
    with pytest.raises(
        Refused, match="a move of pgdata to db2 is open and ends as it began; let it end before db2"
    ):
        editing.edit(desk.app(), "pgdata", {}, remove=["db2"])
    assert desk.file.read_text() == before
    assert editing.edit(desk.app(), "pgdata", {}, remove=["db3"])["written"]


def test_a_backup_that_is_not_fit_is_refused_by_the_same_checks(desk: Desk) -> None:
    before = desk.file.read_text()
    desk.lookers.looks["db3"]["unready"] = ["the mount point is not empty"]
    with pytest.raises(Refused, match=r"pgdata was not changed: .*mount point is not empty"):
        editing.edit(desk.app(), "pgdata", {}, add=["db3"])
    del desk.lookers.looks["db3"]
    with pytest.raises(CannotObserve, match="db3 did not answer"):
        editing.edit(desk.app(), "pgdata", {}, add=["db3"])
    assert desk.file.read_text() == before


def test_a_new_service_is_known_on_every_node_that_answers(desk: Desk) -> None:
    desk.lookers.looks["db2"]["services"] = [
        ["error", "the service ledger is not known on this node", "Install it."]
    ]
    before = desk.file.read_text()
    with pytest.raises(
        Refused, match=r"pgdata was not changed: db2: the service ledger is not known on this node"
    ):
        editing.edit(desk.app(), "pgdata", {"services": ["ledger"]})
    assert desk.file.read_text() == before
    del desk.lookers.looks["db2"]
    done = editing.edit(desk.app(), "pgdata", {"services": ["ledger"]})  # db2 may be under repair
    assert done["written"] and done["findings"][0].startswith(
        "Whether it knows ledger is not known: db2 did not answer"
    )
    desk.lookers.asked.clear()
    assert editing.edit(desk.app(), "pgdata", {"services": None})["written"] and not desk.lookers.asked


def test_a_node_that_gives_no_answer_is_told_by_what_it_did(desk: Desk) -> None:
    editing.unprotect(desk.app(), "pgdata")
    given = ("pgdata", "db1", "/srv/pgdata", ["db2"])
    gone = desk.lookers.looks.pop("db2")
    with pytest.raises(
        CannotObserve, match=r"db2 did not answer within 10 s, nor to a second question; check with"
    ):
        protect.protect(desk.app(), *given, {})
    desk.lookers.unknown = {"db2"}
    with pytest.raises(CannotObserve, match=r"db2 did not answer within 10 s, nor to a second question"):
        protect.protect(desk.app(), *given, {})
    desk.lookers.unknown = set()
    desk.lookers.at_it["db2"] = []
    with pytest.raises(CannotObserve, match=r"db2 did not answer within 10 s and is up, but not at it"):
        protect.protect(desk.app(), *given, {})
    desk.lookers.at_it["db2"] = ["20260101120000000000"]
    with pytest.raises(CannotObserve, match=r"within 30 s and is still looking; .*timeouts='{ask: 60}'"):
        protect.protect(desk.app(), *given, {"timeouts": {"ask": 30}})
    desk.lookers.broken["db2"] = "'vmdk.look' is not available."
    with pytest.raises(CannotObserve, match=r"db2 answered .*is not available.*saltutil.sync_all"):
        protect.protect(desk.app(), *given, {})
    desk.lookers.looks["db2"] = gone
    desk.section["defaults"] = {"timeouts": {"ask": 25}}
    desk.lookers.waits.clear()
    assert protect.protect(desk.app(), *given, {}, test=True)["written"] is False
    assert desk.app().shared.state("pgdata").home is None
    assert protect.protect(desk.app(), *given, {})["written"]
    assert desk.lookers.waits == [25.0] * 2
    assert desk.app().shared.state("pgdata").home == {"node": "db1", "epoch": 0}


WAL = {"mountpoint": "/srv/wal", "fs_uuid": "0b6e9a2c-0000-4000-8000-00000000f5f6", "fstype": "xfs"}


def test_a_new_backup_is_looked_at_at_every_mount_point(desk: Desk) -> None:
    body = yaml.safe_load(desk.file.read_text())
    inner = {**WAL, "mountpoint": "/srv/pgdata/inner", "fs_uuid": "0b6e9a2c-0000-4000-8000-00000000f5f7"}
    desk.file.write_text(
        yaml.safe_dump({**body, "mounts": [*body["mounts"], WAL, inner], "services": ["ledger"]})
    )
    desk.lookers.elsewhere["/srv/wal"] = {"db3": {"unready": ["mount point /srv/wal is not empty"]}}
    with pytest.raises(Refused, match=r"db3: mount point /srv/wal is not empty"):
        editing.edit(desk.app(), "pgdata", {}, add=["db3"])
    everybody, holder = ["db1", "db2", "db3"], ["db1"]  # what lies inside is no folder of a backup's own
    assert desk.lookers.asked == [
        (place, ["ledger"], whom)
        for place, whom in (
            ("/srv/pgdata", everybody),
            ("/srv/wal", everybody),
            ("/srv/pgdata/inner", holder),
        )
    ]
    del desk.lookers.elsewhere["/srv/wal"]
    assert editing.edit(desk.app(), "pgdata", {}, add=["db3"])["written"]


def test_a_lacking_privilege_another_version_and_an_unknown_service_are_refused(desk: Desk) -> None:
    editing.unprotect(desk.app(), "pgdata")
    desk.vcenter.deny(USER, "VirtualMachine.Config.RemoveDisk", "Datastore.Browse")
    desk.lookers.looks["db2"]["version"] = "0.0.9"
    desk.lookers.looks["db2"]["services"] = [
        ["error", "the service ledger is not known on this node", "Install it here."],
        ["warning", "the service other is started by a boot", "Disable it."],
    ]
    with pytest.raises(Refused) as refused:
        protect.protect(desk.app(), "pgdata", "db1", "/srv/pgdata", ["db2"], {"services": ["ledger"]})
    for words in (
        "lacks VirtualMachine.Config.RemoveDisk on the VM of db1",
        "'govc role.update -a ROLE VirtualMachine.Config.RemoveDisk'",
        "lacks Datastore.Browse on the datastore ds1",
        "The extension is of version 0.0.9 on db2, of",
        "db2: the service ledger is not known on this node. Install it here.",
    ):
        assert words in refused.value.reason
    assert "started by a boot" not in refused.value.reason  # advice alone
    assert not desk.file.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"engines": []}, "The engine vmdk is not configured"),
        ({"ext_pillar": []}, "The external pillar vmdk is not configured"),
        (
            {"reactor": [{"vmdk/*/*": ["/nowhere/vmdk.sls"]}]},
            "The reactor's file /nowhere/vmdk.sls is not there",
        ),
    ],
)
def test_a_master_on_which_no_failover_works_protects_nothing(
    desk: Desk, change: dict[str, Any], words: str
) -> None:
    given = ("pgdata", "db1", "/srv/pgdata", ["db2"], {})
    editing.unprotect(desk.app(), "pgdata")
    desk.opts.update(change)
    desk.lookers.looks["db2"]["unready"] = ["the mount point is not empty"]
    with pytest.raises(Refused, match=words) as refused:
        protect.protect(desk.app(), *given, test=True)
    assert "mount point is not empty" in refused.value.reason  # all of it at once
    with pytest.raises(Refused, match=words):
        protect.protect(desk.app(), *given)
    assert not desk.file.exists()


def test_nothing_is_protected_and_no_backup_comes_while_no_engine_runs(desk: Desk) -> None:
    desk.engine.close()
    with pytest.raises(Refused, match=r"pgdata was not changed: .*engine vmdk does not answer"):
        editing.edit(desk.app(), "pgdata", {}, add=["db3"])
    assert editing.edit(desk.app(), "pgdata", {"hang_timeout": 20})["written"]  # an option needs none
    editing.unprotect(desk.app(), "pgdata")
    with pytest.raises(Refused, match=r"pgdata was not protected: .*systemctl restart salt-master"):
        protect.protect(desk.app(), "pgdata", "db1", "/srv/pgdata", ["db2"], {})
    assert not desk.file.exists()


def test_advice_about_the_master_is_the_doctors_alone(desk: Desk) -> None:
    editing.unprotect(desk.app(), "pgdata")
    desk.opts.update(auto_accept=True)
    said = protect.protect(desk.app(), "pgdata", "db1", "/srv/pgdata", ["db2"], {})
    assert said["written"] and not any("auto_accept" in one for one in said["findings"])


def test_another_salt_on_a_node_is_advice(desk: Desk) -> None:
    editing.unprotect(desk.app(), "pgdata")
    for minion, version in (("db1", "3007.1"), ("db2", "3006.9")):
        desk.lookers.looks[minion]["salt"] = version
    given = (desk.app(), "pgdata", "db1", "/srv/pgdata", ["db2"], {})
    said = protect.protect(*given, test=True, salt="3007.1")
    (one,) = [words for words in said["findings"] if "Salt is of version" in words]
    assert one.startswith("Salt is of version 3006.9 on db2, of 3007.1 on this master. Bring both to one")
    assert not any("Salt is of version" in words for words in protect.protect(*given)["findings"])


def test_an_older_kernel_on_a_backup_is_advice(desk: Desk) -> None:
    editing.unprotect(desk.app(), "pgdata")
    for minion, kernel in (("db1", "6.1.0-18-amd64"), ("db2", "5.10.0-28-amd64")):
        desk.lookers.looks[minion]["kernel"] = kernel
    said = protect.protect(desk.app(), "pgdata", "db1", "/srv/pgdata", ["db2"], {})
    (one,) = [words for words in said["findings"] if "Linux" in words]
    assert said["written"] and one.startswith("Linux is older on db2 (5.10.0-28-amd64) than on db1 (6.1")
    desk.lookers.looks["db3"]["kernel"] = "6.1.0-18-amd64"
    said = editing.edit(desk.app(), "pgdata", {}, add=["db3"], test=True)
    assert ["on db2" in words for words in said["findings"] if "Linux" in words] == [True]


@pytest.mark.parametrize(
    ("remove", "words"), [("db1", "has the disk of pgdata"), ("db2", "at least two"), ("dbx", "not a node")]
)
def test_who_must_not_leave_stays(desk: Desk, remove: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        editing.edit(desk.app(), "pgdata", {}, remove=[remove])


def test_unprotect_keeps_the_file_and_the_world(desk: Desk) -> None:
    text, shown = desk.file.read_text(), desk.vcenter.inventory()["vms"]
    assert editing.unprotect(desk.app(), "pgdata", test=True)["unprotected"] is False and desk.file.exists()
    done = editing.unprotect(desk.app(), "pgdata")
    assert done["unprotected"] and Path(done["kept"]).read_text() == text
    assert desk.app().settings.resources == {} and desk.vcenter.inventory()["vms"] == shown


def test_unprotect_waits_for_an_open_move(desk: Desk) -> None:
    resource = desk.app().resource("pgdata")
    desk.app().journal.begin(Move(resource, MoveKind.FAILOVER, "db1", "db2", 1, "once"))
    with pytest.raises(Refused, match="a move of pgdata is open"):
        editing.unprotect(desk.app(), "pgdata")
    assert desk.file.exists()


def test_protect_shows_what_it_would_write(desk: Desk) -> None:
    editing.unprotect(desk.app(), "pgdata")
    shown = protect.protect(
        desk.app(), "pgdata", "db1", "/srv/pgdata", ["db2"], {"on_error": "halt"}, test=True
    )
    assert (shown["written"], desk.file.exists(), shown["nodes"]) == (
        False,
        False,
        ["db1 (db1-vm)", "db2 (db2-vm)"],
    )
    done = protect.protect(desk.app(), "pgdata", "db1", "/srv/pgdata", ["db2"], {"on_error": "halt"})
    assert (
        done["written"]
        and desk.file.read_text() == shown["text"]
        and desk.file.stat().st_mode & 0o777 == 0o600
    )
    assert desk.app().resource("pgdata").nodes == NODES
    with pytest.raises(Refused, match="already protected"):
        protect.protect(desk.app(), "pgdata", "db1", "/srv/pgdata", ["db2"], {}, test=True)


def test_a_second_name_for_what_is_protected_is_refused_in_one_sentence(desk: Desk) -> None:
    """And not with a fault for each disk, slot and mount point of each node."""
    with pytest.raises(
        Refused, match=r"^data was not protected: /srv/pgdata on db1 .* as pgdata: .*status pgdata'$"
    ):
        protect.protect(desk.app(), "data", "db1", "/srv/pgdata/", ["db2"], {})
    assert not desk.file.with_name("data.yaml").exists()


def both_mounted(desk: Desk) -> None:
    """On db1 the second disk is mounted too, at /srv/wal."""
    seen = {**WAL, "options": "defaults", "disk_uuids": [SECOND.uuid]}
    desk.lookers.elsewhere["/srv/wal"] = {"db1": seen}


def test_file_systems_that_move_together_are_recorded_with_the_disks_of_all(desk: Desk) -> None:
    editing.unprotect(desk.app(), "pgdata")
    both_mounted(desk)
    places = ["/srv/pgdata", "/srv/wal"]
    done = protect.protect(desk.app(), "pgdata", "db1", places, ["db2"], {"services": ["ledger"]})
    assert done["written"] and len(done["disks"]) == 2
    found = desk.app().resource("pgdata")
    assert [m.mountpoint for m in found.mounts] == places
    assert [d.path for d in found.disks] == [DISK.path, SECOND.path]
    assert desk.lookers.asked == [(place, ["ledger"], ["db1", "db2"]) for place in places]


def test_each_mount_point_is_checked_on_each_node(desk: Desk) -> None:
    editing.unprotect(desk.app(), "pgdata")
    both_mounted(desk)
    given = (desk.app(), "pgdata", "db1", "/srv/pgdata,/srv/wal", ["db2"], {})
    desk.lookers.elsewhere["/srv/wal"]["db2"] = {"unready": ["mount point /srv/wal is missing"]}
    with pytest.raises(Refused, match="db2: mount point /srv/wal is missing"):
        protect.protect(*given)
    desk.lookers.elsewhere["/srv/wal"] = {"db1": {"mounted": False}}
    with pytest.raises(Refused, match="nothing is mounted at /srv/wal on db1"):
        protect.protect(*given)
    both_mounted(desk)
    desk.lookers.elsewhere["/srv/wal"]["db1"]["disk_uuids"] = [OWN_DISK]
    with pytest.raises(Refused, match="not the node's disk"):
        protect.protect(*given)
    assert not desk.file.exists()


def test_one_inside_of_another_is_recorded_after_it(desk: Desk) -> None:
    editing.unprotect(desk.app(), "pgdata")
    inner = {
        "mountpoint": "/srv/pgdata/wal",
        "fs_uuid": WAL["fs_uuid"],
        "disk_uuids": [DISK.uuid, SECOND.uuid],
    }
    desk.lookers.elsewhere["/srv/pgdata/wal"] = {
        "db1": inner,
        "db2": {"unready": ["there is no such folder"]},
    }
    given = (desk.app(), "pgdata", "db1", ["/srv/pgdata/wal", "/srv/pgdata"], ["db2"], {})
    assert protect.protect(*given)["written"]
    found = desk.app().resource("pgdata")
    assert [m.mountpoint for m in found.mounts] == ["/srv/pgdata", "/srv/pgdata/wal"]
    assert [d.path for d in found.disks] == [DISK.path, SECOND.path]


def test_protecting_anew_changes_nothing_of_the_world(desk: Desk) -> None:
    shown = desk.vcenter.inventory()["vms"]
    both_mounted(desk)
    editing.unprotect(desk.app(), "pgdata")
    protect.protect(desk.app(), "pgdata", "db1", "/srv/pgdata,/srv/wal", ["db2"], {})
    assert len(desk.app().resource("pgdata").mounts) == 2 and desk.vcenter.inventory()["vms"] == shown


@pytest.mark.parametrize("places", ["", [], "/srv/pgdata,/srv/pgdata/", ["/srv/pgdata", "/"]])
def test_no_mount_point_or_one_twice_is_refused(desk: Desk, places: str | list[str]) -> None:
    editing.unprotect(desk.app(), "pgdata")
    with pytest.raises(Refused, match="mountpoint must be a path or a list of different paths"):
        protect.protect(desk.app(), "pgdata", "db1", places, ["db2"], {})


@pytest.mark.parametrize(
    "given",
    [
        {"mounts": [MOUNT, WAL]},
        {"vm_uuids": {"db1": THIRD, "db2": NODES[1].vm_uuid}},
        {"nodes": ["db2", "db1"]},
        {"disks": [{"path": "[ds1] nowhere/other.vmdk", "uuid": OWN_DISK, "bus": 1, "unit": 5}]},
        {"lvm": [{"vg": "vg0"}]},
    ],
)
def test_what_is_found_is_not_overridden_by_what_is_typed(desk: Desk, given: dict[str, Any]) -> None:
    editing.unprotect(desk.app(), "pgdata")
    (key,) = given
    with pytest.raises(
        Refused,
        match=rf"pgdata was not protected: {key} cannot be chosen; .* are looked up: mountpoint may be a list",
    ):
        protect.protect(desk.app(), "pgdata", "db1", "/srv/pgdata", ["db2"], {"on_error": "halt", **given})
    assert not desk.file.exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\n", "a: 1\nkey: 2\n"),
        ("a: 1", "a: 1\nkey: 2\n"),
        ("key: 1 # old\na: 1\n", "key: 2\na: 1\n"),
        ("key:\n- x\n- y\n# note\na: 1\n", "key: 2\n# note\na: 1\n"),
        ("key:\n  x: 1\n  y:\n    - 2\na: 1\n", "key: 2\na: 1\n"),
        ("keys: 1\n  \na: {key: 3}\n", "keys: 1\n  \na: {key: 3}\nkey: 2\n"),
    ],
)
def test_a_key_is_set_in_place(text: str, expected: str) -> None:
    assert editing.with_key(text, "key", 2) == expected
    assert yaml.safe_load(editing.with_key(expected, "key", None)) == {
        k: v for k, v in yaml.safe_load(expected).items() if k != "key"
    }
