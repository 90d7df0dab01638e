"""Mounting real file systems: only the right one, all or nothing, and again without harm."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import threading
import time
from pathlib import Path

import pytest

from vmdk_failover.guest import memory, mounts, users
from vmdk_failover.guest.mounting import MountReport, mount_all
from vmdk_failover.guest.release import release

from .conftest import BOOT, Rig


def _mount(rig: Rig, deadline_s: float = 5.0, **more: object) -> MountReport:
    arguments: dict[str, object] = {"start_services": lambda: None, "epoch": 3, **more}
    return mount_all(
        rig.resource,
        deadline_s=deadline_s,
        state_dir=rig.state,
        places=rig.places,
        **arguments,  # type: ignore[arg-type]
    )


def _release(rig: Rig) -> bool:
    return release(
        rig.resource,
        stop_services=lambda: None,
        deadline_s=10,
        state_dir=rig.state,
        epoch=2,
        places=rig.places,
    ).clean


def _is_mounted(rig: Rig) -> bool:
    line = mounts.visible(mounts.of_process(), str(rig.mountpoint))
    return line is not None and line.source == rig.fault.path


@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_it_mounts_and_starts(rig: Rig, run_dir: Path) -> None:
    started = run_dir / "started"
    report = _mount(rig, start_services=started.touch)
    assert report.ok, report
    assert report.changed
    assert _is_mounted(rig)
    assert started.exists()


def test_mounted_already_it_changes_nothing_and_starts(rig: Rig, run_dir: Path) -> None:
    rig.mount()
    started = run_dir / "started"
    report = _mount(rig, start_services=started.touch)
    assert (report.ok, report.changed) == (True, False), report
    assert started.exists()


def test_after_a_release_the_same_node_can_mount_again(rig: Rig) -> None:
    rig.mount()
    assert _release(rig)
    assert memory.load(rig.state, rig.resource.name, BOOT).released == 2
    report = _mount(rig)
    assert report.ok, report
    assert memory.load(rig.state, rig.resource.name, BOOT).released is None


def test_options_are_used(rig: Rig) -> None:
    mount = dataclasses.replace(rig.resource.mounts[0], options="noatime,nodev")
    rig.resource = dataclasses.replace(rig.resource, mounts=(mount,))
    assert _mount(rig).ok
    line = mounts.visible(mounts.of_process(), str(rig.mountpoint))
    assert line is not None
    assert {"noatime", "nodev"} <= line.options


def test_a_disk_that_appears_later_is_waited_for(rig: Rig) -> None:
    rig.unplug()
    timer = threading.Timer(0.3, rig.plug)
    timer.start()
    began = time.monotonic()
    report = _mount(rig)
    took = time.monotonic() - began
    timer.join()
    assert report.ok, report
    assert 0.3 <= took < 5.0, report.steps


def test_a_disk_that_does_not_appear_is_named(rig: Rig) -> None:
    rig.unplug()
    report = _mount(rig, deadline_s=0.3)
    assert (report.ok, report.code) == (False, "device_missing")
    assert rig.resource.disks[0].uuid in report.reason


def test_another_file_system_on_the_disk_is_refused(rig: Rig) -> None:
    mount = dataclasses.replace(rig.resource.mounts[0], fs_uuid="00000000-1111-2222-3333-444444444444")
    rig.resource = dataclasses.replace(rig.resource, mounts=(mount,))
    report = _mount(rig)
    assert (report.ok, report.code) == (False, "wrong_filesystem"), report
    assert rig.disk.fs_uuid in report.reason
    assert not _is_mounted(rig)


def test_what_else_is_mounted_there_is_left_alone(rig: Rig) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "other", str(rig.mountpoint)], check=True)
    report = _mount(rig)
    assert (report.ok, report.code) == (False, "foreign_mount"), report
    assert not _is_mounted(rig)


def test_another_file_system_of_its_own_disk_is_named_and_left_alone(rig: Rig) -> None:
    rig.mount()
    (line,) = [one for one in mounts.of_process() if one.mountpoint == str(rig.mountpoint)]
    memory.update(rig.state, rig.resource.name, BOOT, uuids=((line.number, "dead-beef"),))
    report = _mount(rig)
    assert (report.ok, report.code) == (False, "foreign_mount"), report
    words = f"{line.source}, the file system dead-beef, is mounted on {rig.mountpoint}; unmount it first"
    assert report.reason == words
    assert _is_mounted(rig)


def test_services_that_do_not_start_leave_nothing_half_done(rig: Rig, run_dir: Path) -> None:
    stopped = run_dir / "stopped"

    def fail() -> None:
        raise RuntimeError("postgresql is masked")

    report = _mount(rig, start_services=fail, stop_services=stopped.touch)
    assert (report.ok, report.code) == (False, "service_failed"), report
    assert "postgresql is masked" in report.reason
    assert not _is_mounted(rig)
    assert stopped.exists()


def _spoil(rig: Rig, *places: int) -> None:
    """Write rubbish to the disk."""
    fd = os.open(rig.fault.path, os.O_RDWR)
    for place in places:
        os.pwrite(fd, b"\xff" * 64, place)
    os.fsync(fd)
    os.close(fd)


def _vital(rig: Rig) -> tuple[int, ...]:
    """Where a file system keeps what no mount can do without, and its superblock does not vouch for."""
    if rig.disk.fstype == "xfs":
        return (512, 1024)  # free space and inodes of the first group
    if rig.disk.fstype == "btrfs":
        return _chunk_tree(rig)
    found = subprocess.run(
        ["debugfs", "-R", "stat <8>", rig.fault.path], capture_output=True, text=True, check=True
    )
    first = int(found.stdout.partition("EXTENTS:")[2].split(":")[1].split("-")[0])
    return (first * 4096 + 16,)  # the journal's superblock


def _chunk_tree(rig: Rig) -> tuple[int, ...]:
    """Both copies of the root of the tree by which btrfs finds everything else."""
    said = subprocess.run(
        ["btrfs", "inspect-internal", "dump-super", "-f", rig.fault.path],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    root = int(re.findall(r"^chunk_root\s+(\d+)", said, re.M)[0])
    chunk = int(re.findall(r"FIRST_CHUNK_TREE CHUNK_ITEM (\d+)", said)[0])
    return tuple(int(at) + root - chunk for at in re.findall(r"stripe \d+ devid 1 offset (\d+)", said))


@pytest.mark.parametrize(
    ("fstype", "command"),
    [("ext4", "e2fsck -n"), ("xfs", "xfs_repair -n"), ("btrfs", "btrfs check --readonly")],
)
def test_a_file_system_that_needs_a_check_says_so_and_is_not_repaired(rig: Rig, command: str) -> None:
    places = _vital(rig)
    _spoil(rig, *places)
    report = _mount(rig)
    assert (report.ok, report.code) == (False, "fs_check_needed"), report
    assert f"look at it with '{command} {rig.fault.path}'" in report.reason
    assert "(the kernel: " in report.reason
    assert not _is_mounted(rig)
    with open(rig.fault.path, "rb") as disk:
        assert all(os.pread(disk.fileno(), 64, place) == b"\xff" * 64 for place in places)


def test_a_wrong_option_is_no_damage(rig: Rig) -> None:
    mount = dataclasses.replace(rig.resource.mounts[0], options="nonsense=7")
    rig.resource = dataclasses.replace(rig.resource, mounts=(mount,))
    report = _mount(rig)
    assert (report.ok, report.code) == (False, "mount_failed"), report
    assert "nonsense" in report.reason


def test_errors_of_before_are_told_and_do_not_keep_it_from_being_mounted(rig: Rig) -> None:
    rig.mount()
    Path(f"/sys/fs/ext4/{rig.fault.loop}/trigger_fs_error").write_text("a test")
    rig.umount()
    report = _mount(rig)
    assert report.ok, report
    said = next(outcome for name, _, outcome in report.steps if name == "identify")
    assert said == f"{rig.fault.loop} notes 1 errors of before"


def test_a_disk_that_fails_is_not_waited_for(rig: Rig) -> None:
    rig.fault.set("all=eio")
    report = _mount(rig)
    assert (report.ok, report.code) == (False, "mount_failed"), report


def test_a_disk_that_hangs_costs_the_deadline_and_no_more(rig: Rig) -> None:
    rig.fault.set("all=hang")
    began = time.monotonic()
    report = _mount(rig, deadline_s=1.0)
    assert (report.ok, report.code) == (False, "mount_stuck"), report
    assert time.monotonic() - began < 1.5


def test_an_unfinished_unmount_is_not_mounted_over(rig: Rig) -> None:
    rig.mount()
    code = "import os, sys, signal; fd = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR); print(flush=True); signal.pause()"
    rig.run(code, str(rig.mountpoint / "file"))
    rig.umount("-l")
    report = _mount(rig)
    assert (report.ok, report.code) == (False, "superblock_alive"), report


def test_a_file_system_that_is_still_being_written_out_is_waited_for(rig: Rig) -> None:
    rig.mount()
    (rig.mountpoint / "dirty").write_bytes(b"x" * (1 << 20))
    rig.fault.set("write=delay:0.2")
    going = subprocess.Popen(["umount", rig.mountpoint])
    while _is_mounted(rig):
        time.sleep(0.002)
    assert going.poll() is None  # gone from mountinfo, and not yet written
    report = _mount(rig, deadline_s=10)
    assert report.ok, report
    assert going.wait(5) == 0
    assert _is_mounted(rig)
    assert (rig.mountpoint / "dirty").stat().st_size == 1 << 20


def test_what_a_killed_release_left_on_the_disk_does_not_keep_it_from_being_mounted(rig: Rig) -> None:
    """Its process that keeps the disk lives on, and nobody remembers it."""
    rig.mount()
    assert _release(rig)
    (held,) = memory.load(rig.state, rig.resource.name, BOOT).holders
    memory.update(rig.state, rig.resource.name, BOOT, holders=(), released=None)
    assert users.started(held[0]) == held[1]
    assert _mount(rig).ok
