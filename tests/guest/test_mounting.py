"""Mounting real file systems: only the right one, all or nothing, and again without harm."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from vmdk_failover.guest import memory, mounts
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
    assert 0.3 <= took < 0.7, report.steps


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


def test_services_that_do_not_start_leave_nothing_half_done(rig: Rig, run_dir: Path) -> None:
    stopped = run_dir / "stopped"

    def fail() -> None:
        raise RuntimeError("postgresql is masked")

    report = _mount(rig, start_services=fail, stop_services=stopped.touch)
    assert (report.ok, report.code) == (False, "service_failed"), report
    assert "postgresql is masked" in report.reason
    assert not _is_mounted(rig)
    assert stopped.exists()


def test_a_file_system_that_needs_a_check_says_so(rig: Rig) -> None:
    """A journal superblock that fails its checksum cannot be replayed."""
    found = subprocess.run(
        ["debugfs", "-R", "stat <8>", rig.fault.path], capture_output=True, text=True, check=True
    )
    first = int(found.stdout.partition("EXTENTS:")[2].split(":")[1].split("-")[0])
    fd = os.open(rig.fault.path, os.O_RDWR)
    os.pwrite(fd, b"\xff" * 64, first * 4096 + 16)
    os.fsync(fd)
    os.close(fd)
    report = _mount(rig)
    assert not report.ok
    assert report.code in {"fs_check_needed", "mount_failed"}, report
    assert not _is_mounted(rig)


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
