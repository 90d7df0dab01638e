"""A node's own word, on real mounts."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from pathlib import Path

import pytest

from vmdk_failover.guest import memory
from vmdk_failover.guest.facts import node_facts
from vmdk_failover.guest.mounting import mount_all
from vmdk_failover.guest.node import LocalNode
from vmdk_failover.guest.places import boot_clock
from vmdk_failover.guest.release import release
from vmdk_failover.model import Condition, MountState, NodeFacts

from .conftest import BOOT, Rig


def _facts(rig: Rig, prober: dict[str, object] | None = None) -> NodeFacts:
    return node_facts(rig.resource, minion="db1", state_dir=rig.state, prober=prober, places=rig.places)


def test_a_backup_without_the_disk(rig: Rig) -> None:
    rig.unplug()
    facts = _facts(rig)
    assert (facts.device, facts.mounted, facts.superblock, facts.busy) == (
        False,
        MountState.UNMOUNTED,
        False,
        "",
    )
    assert (facts.unready, facts.released, facts.epoch) == ((), None, 0)
    assert (facts.minion, facts.boot_id) == ("db1", BOOT)
    assert abs(facts.uptime - boot_clock()) < 1


@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_the_holder(rig: Rig) -> None:
    rig.mount()
    report = {"condition": "io_error", "evidence": "a read failed with EIO"}
    facts = _facts(rig, report)
    assert (facts.device, facts.mounted, facts.superblock) == (True, MountState.MOUNTED, True)
    assert (facts.condition, facts.evidence) == (Condition.IO_ERROR, "a read failed with EIO")
    assert _facts(rig).condition is Condition.UNKNOWN


def test_a_release_is_remembered_while_it_holds(rig: Rig, run_dir: Path) -> None:
    rig.mount()
    assert release(
        rig.resource,
        stop_services=lambda: None,
        deadline_s=5,
        state_dir=rig.state,
        epoch=9,
        places=rig.places,
    ).clean
    facts = _facts(rig)
    assert (facts.released, facts.epoch, facts.superblock) == (9, 9, False)
    (run_dir / "boot_id").write_text("another boot")
    again = _facts(rig)
    assert (again.released, again.epoch) == (None, 9)


def test_a_mount_by_hand_ends_a_release(rig: Rig) -> None:
    memory.update(rig.state, rig.resource.name, BOOT, epoch=4, released=4)
    assert _facts(rig).released is None  # the disk is here, and nobody keeps it for us
    rig.unplug()
    assert _facts(rig).released == 4
    rig.plug()
    rig.mount()
    assert _facts(rig).released is None


def test_a_lazy_unmount_is_no_unmount(rig: Rig) -> None:
    memory.update(rig.state, rig.resource.name, BOOT, epoch=4, released=4)
    rig.mount()
    fd = os.open(rig.mountpoint / "file", os.O_CREAT | os.O_RDWR)
    try:
        rig.umount("-l")
        facts = _facts(rig)
    finally:
        os.close(fd)
    assert (facts.mounted, facts.superblock, facts.released) == (MountState.UNMOUNTED, True, None)


def test_something_else_on_the_mount_point(rig: Rig) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "other", str(rig.mountpoint)], check=True)
    facts = _facts(rig)
    assert facts.mounted is MountState.FOREIGN
    assert facts.unready == (f"other is mounted on {rig.mountpoint}",)


def test_a_file_system_tool_at_work_is_named(rig: Rig, run_dir: Path) -> None:
    tool = run_dir / "e2fsck"
    tool.symlink_to("/usr/bin/sleep")
    with open(rig.fault.path, "rb") as device, subprocess.Popen([tool, "60"], stdin=device) as process:
        try:
            assert _facts(rig).busy == f"e2fsck (pid {process.pid}) has {rig.fault.path} open"
        finally:
            process.kill()


@pytest.mark.parametrize("spec", ["UUID={}", "/dev/disk/by-uuid/{}", "LABEL=x"])
def test_a_line_in_fstab_makes_unready(rig: Rig, run_dir: Path, spec: str) -> None:
    where = "/elsewhere" if spec != "LABEL=x" else str(rig.mountpoint) + "/"
    (run_dir / "fstab").write_text(
        f"# nothing\n{spec.format(rig.disk.fs_uuid.upper())} {where} ext4 noauto 0 0\n"
    )
    assert len(_facts(rig).unready) == 1
    assert "fstab" in _facts(rig).unready[0]


def test_a_mount_point_that_cannot_be_used(rig: Rig) -> None:
    (rig.mountpoint / "file").touch()
    assert _facts(rig).unready == (f"mount point {rig.mountpoint} is not empty",)
    (rig.mountpoint / "file").unlink()
    mount = dataclasses.replace(rig.resource.mounts[0], mountpoint=str(rig.mountpoint / "missing"))
    rig.resource = dataclasses.replace(rig.resource, mounts=(mount,))
    assert _facts(rig).unready == (f"mount point {rig.mountpoint}/missing does not exist",)


def test_a_broken_memory_is_told_and_is_no_release(rig: Rig) -> None:
    memory.update(rig.state, rig.resource.name, BOOT, epoch=4, released=4)
    (rig.state / "pgdata.json").write_text("{")
    facts = _facts(rig)
    assert facts.released is None
    assert any("cannot be read" in word for word in facts.unready)
    (rig.state / "pgdata.json").unlink()


def test_what_an_older_version_remembered_counts(rig: Rig) -> None:
    """An upgrade in the midst of a boot: what it knows more than before it does not miss."""
    memory.update(rig.state, rig.resource.name, BOOT, epoch=4)
    (rig.state / "pgdata.json").write_text(json.dumps({"epoch": 4, "boot_id": BOOT}))
    facts = _facts(rig)
    assert (facts.epoch, facts.released, facts.unready) == (4, None, ())
    (rig.state / "pgdata.json").write_text(json.dumps({"epoch": 4}))
    assert any("cannot be read" in word for word in _facts(rig).unready)
    (rig.state / "pgdata.json").unlink()


def test_a_surprise_removal_leaves_a_mount(rig: Rig) -> None:
    assert mount_all(
        rig.resource, start_services=lambda: None, deadline_s=5, state_dir=rig.state, places=rig.places
    ).ok
    rig.unplug()
    facts = _facts(rig)
    assert (facts.device, facts.mounted, facts.superblock) == (False, MountState.MOUNTED, True)


def test_facts_do_not_wait_for_a_hung_disk(rig: Rig) -> None:
    rig.mount()
    rig.fault.set("all=hang")
    began = boot_clock()
    assert _facts(rig).mounted is MountState.MOUNTED
    assert boot_clock() - began < 1.0


def test_a_node_tells_which_machine_it_runs_in(rig: Rig) -> None:
    """The master compares it with what vCenter says of the VM: a clone answers under the same id and key."""
    machine = "4237bbbb-1234-5678-9abc-000000000001"
    assert LocalNode.of({"id": "db1", "grains": {"uuid": machine}}, {}, {}).smbios == machine
    said = node_facts(
        rig.resource, minion="db1", state_dir=rig.state, prober=None, places=rig.places, smbios="x"
    )
    assert said.smbios == "x"
