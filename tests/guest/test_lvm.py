"""
A resource on LVM, on a picture of sysfs and with programs that stand for LVM's (``picture.py``); the file systems are real. What
LVM and a kernel with device-mapper do themselves is tried in a guest: ``lab/guest``.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from vmdk_failover.errors import Refused
from vmdk_failover.guest import devices, doctor_storage, facts, holder, lvm, mapped, memory, mounts, survey
from vmdk_failover.guest.children import Ended, command
from vmdk_failover.guest.mounting import MountReport, mount_all
from vmdk_failover.guest.places import Places
from vmdk_failover.guest.release import ReleaseReport, release
from vmdk_failover.guest.steps import GiveUp
from vmdk_failover.model import Disk, MountState, Resource, VolumeGroup

from .conftest import Rig
from .picture import LV_UUID, OTHER, UUID, VG_UUID, FakeLvm, Picture, blank_devices

ELSE = "zzzzzz-bbbb-cccc-dddd-eeee-ffff-gggggg"
GROUP = VolumeGroup("pgvg", VG_UUID)


@dataclasses.dataclass
class Node:
    """A node with two disks in a picture; the volume on them is a real block device with a real file system."""

    picture: Picture
    fake: FakeLvm
    rig: Rig
    resource: Resource
    state: Path
    epoch: int = 0

    @property
    def places(self) -> Places:
        return self.picture.places

    def mount(self, deadline_s: float = 5.0) -> MountReport:
        self.epoch += 1
        return mount_all(
            self.resource, start_services=lambda: None, deadline_s=deadline_s, state_dir=self.state,
            epoch=self.epoch, places=self.places, tools=self.fake.tools,
        )  # fmt: skip

    def release(self, deadline_s: float = 6.0, hung: bool = False) -> ReleaseReport:
        self.epoch += 1
        return release(
            self.resource, stop_services=lambda: None, deadline_s=deadline_s, state_dir=self.state,
            epoch=self.epoch, hung=lambda: hung, grace_s=0.3, places=self.places, tools=self.fake.tools,
        )  # fmt: skip

    def facts(self) -> facts.NodeFacts:
        return facts.node_facts(
            self.resource, minion="db1", state_dir=self.state, prober=None, places=self.places
        )

    def is_active(self) -> bool:
        return self.places.block("dm-0").exists()

    def is_mounted(self) -> bool:
        return mounts.visible(mounts.of_process(), str(self.rig.mountpoint)) is not None


@pytest.fixture
def node(rig: Rig, run_dir: Path) -> Iterator[Node]:
    picture, state = Picture(run_dir / "picture"), run_dir / "lvm-state"
    picture.add("sdb", "8:16", UUID)
    picture.add("sdc", "8:32", OTHER)
    (picture.places.dev / "dm-0").symlink_to(rig.fault.path)
    number = Path(f"/sys/block/{rig.fault.loop}/dev").read_text().strip()
    disks = (Disk("[ds1] a.vmdk", UUID, 1, 0), Disk("[ds1] b.vmdk", OTHER, 1, 1))
    resource = dataclasses.replace(rig.resource, disks=disks, vgs=(GROUP,))
    with blank_devices(2) as paths:
        for name, path in zip(("sdb", "sdc"), paths, strict=True):
            (picture.places.dev / name).symlink_to(path)
        yield Node(picture, FakeLvm.on(picture, number, "sdb", "sdc"), rig, resource, state)
        holder.let_go(memory.load(state, resource.name, "boot").holders)


def test_a_mapping_tells_its_group(tmp_path: Path) -> None:
    picture = Picture(tmp_path)
    uuid = VG_UUID.replace("-", "")
    picture.map("dm-3", "253:3", f"LVM-{uuid}{LV_UUID}-cow", "pg--vg-the--data-cow")
    picture.map("dm-4", "253:4", "CRYPT-LUKS2-0123", "pgvg-crypt")
    found = mapped.volume("dm-3", picture.places)
    assert found is not None
    assert (found.group, found.group_uuid, found.layer) == ("pg-vg", uuid, "cow")
    assert mapped.volumes(picture.places) == (found,)
    assert mapped.is_of(found, VolumeGroup("any", VG_UUID))
    assert not mapped.is_of(found, VolumeGroup("pg-vg", ELSE))
    assert mapped.is_of(found, VolumeGroup("pg-vg"))


def test_it_is_activated_mounted_released_and_mounted_again(node: Node) -> None:
    for _ in range(2):
        report = node.mount()
        assert report.ok, report
        assert node.is_mounted()
        assert node.is_active()
        said = node.facts()
        assert (said.device, said.mounted, said.superblock) == (True, MountState.MOUNTED, True)
        done = node.release()
        assert done.clean, done
        assert not node.is_mounted()
        assert not node.is_active()
        assert node.facts().released == node.epoch


def test_lvm_is_shown_the_resources_disks_and_no_other(node: Node) -> None:
    node.picture.add("sdd", "8:48", "6000c29" + "d" * 25)
    assert node.mount().ok
    assert node.release().clean
    calls = node.fake.calls()
    assert [call[0] for call in calls] == ["vgs", "vgchange", "vgchange"]
    for call in calls:
        limit = call[call.index("--config") + 1]
        assert "use_devicesfile=0" in limit
        assert limit.count('["a|^/dev/sdb$|", "a|^/dev/sdc$|", "r|.*|"]') == 2, limit
    assert calls[1][-2:] == ["-ay", "pgvg"]
    assert calls[2][-2:] == ["-an", "pgvg"]


def test_the_partition_of_a_disk_is_shown_too(node: Node) -> None:
    directory = node.places.block("sdb")
    (directory / "sdb1").mkdir()
    (directory / "sdb1/partition").write_text("1")
    (directory / "sdb1/dev").write_text("8:17")
    (node.places.sys / "class/block/sdb1").symlink_to(directory / "sdb1")
    assert '"a|^/dev/sdb1$|"' in lvm.restriction(devices.holding(node.resource, node.places))


@pytest.mark.parametrize(
    ("fields", "code", "word"),
    [
        ({"VG_UUID": ELSE}, "vg_conflict", ELSE),
        ({"VG_MISSING_PV_COUNT": "1"}, "vg_missing", "add theirs to disks"),
        ({"VG_NAME": "other"}, "vg_missing", "is not on the disks"),
        ({"VG_EXPORTED": "exported"}, "vg_inactive", "vgimport"),
    ],
)
def test_another_half_or_exported_group_is_not_activated(
    node: Node, fields: dict[str, str], code: str, word: str
) -> None:
    node.fake.set(say={"vgs": "  WARNING: something\n" + node.fake.row(**fields)})
    report = node.mount()
    assert (report.ok, report.code) == (False, code), report
    assert word in report.reason
    assert [call[0] for call in node.fake.calls()] == ["vgs"]


def test_an_activation_that_fails_says_what_lvm_said(node: Node) -> None:
    node.fake.set(fail=["vgchange"], say={"vgs": node.fake.row(), "vgchange": "  Volume group is locked"})
    report = node.mount()
    assert (report.ok, report.code) == (False, "vg_inactive"), report
    assert "Volume group is locked" in report.reason


def test_an_activation_that_does_nothing_is_told_as_it_is(node: Node) -> None:
    said = '0 logical volume(s) in volume group "pgvg" now active'
    node.fake.set(idle=["vgchange"], say={"vgs": node.fake.row(), "vgchange": said})
    report = node.mount()
    assert (report.ok, report.code) == (False, "vg_inactive"), report
    assert "no volume of pgvg is active" in report.reason
    assert said in report.reason
    limit = node.fake.calls()[1][2]
    assert limit.endswith('activation { volume_list=["pgvg"] }')


def test_a_bound_group_that_cannot_be_activated_says_what_binds_it(node: Node) -> None:
    row = node.fake.row(VG_SYSTEMID="db1", VG_LOCK_TYPE="none")
    node.fake.set(fail=["vgchange"], say={"vgs": row, "vgchange": "  Cannot access VG pgvg"})
    report = node.mount()
    assert (report.ok, report.code) == (False, "vg_bound"), report
    assert "the system ID db1" in report.reason
    node.fake.set(fail=[])  # it is this node's own
    assert node.mount().ok


def test_a_bound_group_whose_disk_hangs_is_not_blamed_on_the_bond(node: Node) -> None:
    row = node.fake.row(VG_SYSTEMID="db1")

    def run(argv: Sequence[str]) -> Ended:
        return Ended(output=row) if argv[1] == "vgs" else Ended(error="sdb is hung")

    with pytest.raises(GiveUp) as given_up:
        lvm.Lvm(run, node.places).activate([GROUP], lambda: devices.holding(node.resource, node.places))
    assert given_up.value.code == "vg_inactive"
    assert "sdb is hung" in given_up.value.reason


def test_a_disk_that_multipath_has_taken_is_named(node: Node) -> None:
    node.picture.map("dm-5", "253:5", "mpath-36000c29a", "mpatha", "sdb")
    node.fake.set(say={"vgs": "  Volume group not found"})
    report = node.mount()
    assert (report.ok, report.code) == (False, "vg_missing"), report
    assert "multipath has taken one of the resource's disks (dm-5)" in report.reason


def test_a_namesake_that_is_active_is_a_conflict(node: Node) -> None:
    node.picture.volume("dm-7", "253:7", vg=ELSE)
    report = node.mount()
    assert (report.ok, report.code) == (False, "vg_conflict"), report
    assert "dm-7" in report.reason
    assert node.fake.calls() == []
    assert any("another volume group named pgvg" in word for word in node.facts().unready)


def test_without_a_recorded_uuid_the_name_decides(node: Node) -> None:
    node.resource = dataclasses.replace(node.resource, vgs=(VolumeGroup("pgvg"),))
    assert node.mount().ok
    assert node.release().clean
    assert not node.is_active()


def test_a_mount_that_fails_leaves_no_group_active(node: Node) -> None:
    mount = dataclasses.replace(node.resource.mounts[0], fs_uuid="00000000-1111-2222-3333-444444444444")
    node.resource = dataclasses.replace(node.resource, mounts=(mount,))
    report = node.mount()
    assert (report.ok, report.code) == (False, "wrong_filesystem"), report
    assert not node.is_active()


def test_an_activation_ends_an_earlier_release_even_if_it_fails(node: Node) -> None:
    assert node.mount().ok
    assert node.release().clean
    assert node.facts().released == node.epoch
    node.fake.set(fail=["vgchange"])
    assert not node.mount().ok
    assert memory.load(node.state, "pgdata", "boot").released is None


def test_what_was_mounted_before_stays_if_a_later_mount_fails_before_it_began(
    node: Node, run_dir: Path
) -> None:
    assert node.mount().ok
    second = dataclasses.replace(node.resource.mounts[0], mountpoint=str(run_dir / "second"), fs_uuid="0" * 8)
    node.resource = dataclasses.replace(node.resource, mounts=(*node.resource.mounts, second))
    node.fake.set(fail=["vgs"], say={})
    report = node.mount()
    assert (report.ok, report.code) == (False, "vg_missing"), report
    assert node.is_mounted()
    assert node.is_active()


def test_a_group_that_was_activated_at_boot_is_no_obstacle(node: Node) -> None:
    node.picture.volume("dm-0", node.fake.wish["volume"]["number"], "sdb", "sdc")
    assert node.facts().busy == ""
    assert node.release().clean
    assert not node.is_active()


def test_something_else_on_the_disks_is_an_obstacle(node: Node) -> None:
    node.picture.map("dm-9", "253:9", "CRYPT-LUKS2-0123", "secret", "sdb")
    assert node.facts().busy == "dm-9 is stacked on sdb"
    done = node.release(2.0)
    assert (done.clean, done.code) == (False, "stacked"), done


def test_if_the_disks_do_not_let_vgchange_the_kernel_is_asked(node: Node) -> None:
    assert node.mount().ok
    node.fake.set(fail=["vgchange"], say={"vgchange": "  Error reading device /dev/sdb"})
    done = node.release()
    assert done.clean, done
    assert [call[0] for call in node.fake.calls()][-2:] == ["vgchange", "remove"]
    assert any("Error reading device" in outcome for name, _, outcome in done.steps if name == "deactivate")


def test_a_volume_that_stays_is_no_release(node: Node) -> None:
    assert node.mount().ok
    node.fake.set(fail=["vgchange", "remove"], say={"remove": "Device or resource busy"})
    done = node.release()
    assert (done.clean, done.code) == (False, "vg_active"), done
    assert "pgvg-data (dm-0)" in done.reason
    assert node.facts().released is None
    node.fake.set(fail=[])
    assert node.release().clean


def test_no_lvm_is_waited_for_once_the_disk_hangs(node: Node) -> None:
    """The disk hangs while LVM reads it: requests are in flight, none completes, and the prober says so."""
    assert node.mount().ok
    flying = str(node.places.block("sdb") / "inflight")
    node.fake.set(sleep={"vgchange": 60}, write={"vgchange": {flying: "1 0\n"}})
    began = time.monotonic()
    done = node.release(30.0, hung=True)
    assert (done.clean, done.code) == (False, "hung"), done
    assert time.monotonic() - began < 3.0
    assert [call[0] for call in node.fake.calls()][-1] == "vgchange"  # nothing more was tried


def test_no_lvm_is_waited_for_that_reads_from_a_hung_disk_at_a_mount(node: Node) -> None:
    flying = str(node.places.block("sdc") / "inflight")
    node.fake.set(sleep={"vgs": 60}, write={"vgs": {flying: "1 0\n"}})
    began = time.monotonic()
    report = node.mount(30.0)
    assert (report.ok, report.code) == (False, "vg_inactive"), report
    assert "sdc is hung" in report.reason
    assert time.monotonic() - began < 5.0  # hang_timeout is 1 s here
    assert node.facts().released is None


def test_a_physical_volume_that_cannot_be_read_is_told_from_one_that_is_elsewhere(node: Node) -> None:
    row = node.fake.row(VG_MISSING_PV_COUNT="1")
    node.fake.set(say={"vgs": f"  Error reading device /dev/sdc at 0 length 512.\n{row}"})
    report = node.mount()
    assert (report.ok, report.code) == (False, "vg_missing"), report
    assert "one of the resource's disks cannot be read (LVM: Error reading device /dev/sdc" in report.reason
    assert "vgreduce" not in report.reason


@pytest.mark.parametrize(
    ("unread", "words"),
    [
        (["sdd", "sdc"], "LVM says: Error reading device /dev/sdc at"),
        (["sdd"], "add theirs to disks"),
        (["sdd", "sde"], "one of the resource's disks cannot be read (LVM: Error reading device /dev/sde at"),
        (["sde", "sdc"], "LVM says: Error reading device /dev/sdc at"),
    ],
)
def test_what_is_read_with_errors_for_another_group_is_not_told_of_this_one(
    node: Node, unread: list[str], words: str
) -> None:
    """sdb and sdc are this group's, sdd is another's, and of sde not even the label can be read."""
    mine = [
        node.fake.row(VG_MISSING_PV_COUNT="1", PV_NAME=name) for name in ("/dev/sdb", "/dev/sdc", "[unknown]")
    ]
    other = node.fake.row(VG_NAME="other", VG_UUID=ELSE, PV_NAME="/dev/sdd")
    errors = [f"  Error reading device /dev/{name} at 2048 length 512." for name in unread]
    node.fake.set(say={"vgs": "\n".join([*errors, other, *mine])})
    report = node.mount()
    assert (report.ok, report.code) == (False, "vg_missing"), report
    assert words in report.reason
    assert "sdd" not in report.reason


def test_an_lvm_that_does_not_end_costs_half_of_the_deadline(node: Node) -> None:
    assert node.mount().ok
    node.fake.set(sleep={"vgchange": 60})
    began = time.monotonic()
    done = node.release(6.0)
    assert done.clean, done
    assert 2.5 < time.monotonic() - began < 6.0
    assert "by dmsetup" in next(outcome for name, _, outcome in done.steps if name == "deactivate")


def test_a_mapping_that_vanished_disks_left_is_removed_before_it_is_mounted(node: Node) -> None:
    number = node.fake.wish["volume"]["number"]
    node.fake.wish["volume"]["below"] = []  # its disks have gone, others stand in their place
    node.fake.set()
    node.picture.volume("dm-0", number)
    report = node.mount()
    assert [call[0] for call in node.fake.calls()][:3] == ["remove", "vgs", "vgchange"]
    assert report.code == "wrong_filesystem", report  # in the picture, the new mapping is on no disk


def test_a_mapping_that_udev_has_made_meanwhile_is_used(node: Node) -> None:
    """For a moment it is there and on no disk; then it is as if this node had activated it itself."""
    number = node.fake.wish["volume"]["number"]

    def finish() -> None:
        for below in ("sdb", "sdc"):
            (node.places.block(below) / "holders/dm-0").symlink_to(node.places.block("dm-0"))

    node.picture.volume("dm-0", number)
    timer = threading.Timer(0.15, finish)
    timer.start()
    report = node.mount()
    timer.join()
    assert report.ok, report
    assert [call[0] for call in node.fake.calls()] == ["vgs", "vgchange"]


def test_a_mapping_is_the_resources_also_when_its_disks_have_vanished(node: Node) -> None:
    node.picture.volume("dm-0", "253:0")
    for name in ("sdb", "sdc"):
        node.picture.remove(name)
    holding = devices.holding(node.resource, node.places)
    assert holding.blocks == {"dm-0": "253:0"}
    assert holding.mappings == {"pgvg-data"}


def test_what_is_remembered_of_a_mapping_does_not_make_a_strangers_ours(node: Node) -> None:
    node.picture.add("sdd", "8:48", "6000c29" + "d" * 25)
    node.picture.volume("dm-0", "253:0", "sdd", vg=ELSE)
    assert devices.holding(node.resource, node.places, [("dm-0", "253:0")]).blocks == {
        "sdb": "8:16",
        "sdc": "8:32",
    }


def test_tools_that_are_not_installed_make_unready(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "_TOOL_DIRS", (str(node.picture.root),))  # there is an `lvm`, and no dmsetup
    assert "dmsetup is not installed" in node.facts().unready
    assert "lvm is not installed" not in node.facts().unready


@pytest.mark.parametrize("spec", ["/dev/pgvg/data", "/dev/mapper/pgvg-data"])
def test_a_line_in_fstab_by_the_volumes_name_makes_unready(node: Node, spec: str) -> None:
    node.places.fstab.write_text(f"{spec} /elsewhere ext4 defaults 0 0\n")
    assert any("fstab" in word for word in node.facts().unready)


def _survey(node: Node) -> survey.Survey:
    node.picture.volume("dm-0", node.fake.wish["volume"]["number"], "sdb")
    subprocess.run(["mount", node.rig.fault.path, str(node.rig.mountpoint)], check=True)
    number = node.fake.wish["volume"]["number"]
    (node.places.sys / "dev/block").mkdir(parents=True)
    (node.places.sys / "dev/block" / number).symlink_to(node.places.block("dm-0"))
    return survey.survey(str(node.rig.mountpoint), node.places, node.fake.tools)


def test_protect_finds_every_disk_of_the_group_also_below_no_volume(node: Node) -> None:
    rows = [node.fake.row(PV_NAME=f"/dev/{name}") for name in ("sdb", "sdc")]
    stranger = node.fake.row(VG_NAME="other", VG_UUID=ELSE, PV_NAME="/dev/sdd")
    node.fake.set(say={"pvs": "\n".join([*rows, stranger])})
    seen = _survey(node)
    assert seen.disk_uuids == (UUID, OTHER)
    assert seen.lvm == ({"vg": "pgvg", "uuid": VG_UUID},)
    assert (seen.device, seen.fs_uuid) == ("dm-0", node.rig.disk.fs_uuid)


def test_protect_refuses_a_group_that_lacks_a_disk(node: Node) -> None:
    node.fake.set(say={"pvs": node.fake.row(PV_NAME="/dev/sdb", VG_MISSING_PV_COUNT="1")})
    with pytest.raises(Refused) as refused:
        _survey(node)
    assert refused.value.code == "vg_missing"


ON, OFF, OLD = (
    "LVM2_VG_NAME='pgvg' LVM2_VG_AUTOACTIVATION='enabled'",
    "LVM2_VG_NAME='pgvg' LVM2_VG_AUTOACTIVATION=''",
    "?",
)


@pytest.mark.parametrize(
    ("shown", "said", "status", "expected"),
    [
        (ON, "", 0, ["pgvg"]),
        (OLD, "", 5, ["pgvg"]),
        (OFF, "", 0, []),
        (ON, 'auto_activation_volume_list=["root"]', 0, []),
        (ON, "auto_activation_volume_list=[]", 0, []),
        (ON, 'auto_activation_volume_list=["root","pgvg/data"]', 0, ["pgvg"]),
    ],
)
def test_whether_a_node_activates_it_by_itself(
    node: Node, shown: str, said: str, status: int, expected: list[str]
) -> None:
    def run(argv: Sequence[str]) -> Ended:
        return Ended(value=status, output=shown if argv[1] == "vgs" else said)

    holding = devices.holding(node.resource, node.places)
    assert lvm.self_activated([GROUP], holding, run) == expected


def test_doctor_tells_what_a_boot_would_do_and_of_namesakes(node: Node) -> None:
    node.fake.set(say={"vgs": node.fake.row(VG_AUTOACTIVATION="enabled")})
    node.picture.volume("dm-7", "253:7", vg=ELSE)
    found = list(doctor_storage.volume_groups(node.resource, node.state, node.places, node.fake.tools))
    assert [severity for severity, _, _ in found] == ["error", "warning"]
    assert "vgchange --setautoactivation n pgvg" in found[1][2]


def test_the_programs_of_the_picture_take_their_wishes(node: Node) -> None:
    node.fake.set(fail=["vgs"])
    assert command([node.fake.tools.lvm, "vgs"], 5.0).value == 5
    assert json.loads((node.picture.root / "calls").read_text()) == ["vgs"]
