"""A release on real file systems: clean ones are proven, and nothing waits for a disk that hangs."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from pathlib import Path

import pytest

from vmdk_failover.guest import memory, mounts
from vmdk_failover.guest.children import state
from vmdk_failover.guest.release import ReleaseReport, release

from .conftest import BOOT, WRITER, Rig, wait_for


def _release(rig: Rig, deadline_s: float = 10.0, **more: object) -> tuple[ReleaseReport, float]:
    began = time.monotonic()
    arguments: dict[str, object] = {"stop_services": lambda: None, "epoch": 7, **more}
    report = release(
        rig.resource,
        deadline_s=deadline_s,
        state_dir=rig.state,
        places=rig.places,
        **arguments,  # type: ignore[arg-type]
    )
    return report, time.monotonic() - began


def _released(rig: Rig) -> int | None:
    return memory.load(rig.state, rig.resource.name, BOOT).released


@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_an_idle_healthy_file_system_is_released_at_once_and_held(rig: Rig) -> None:
    rig.mount()
    report, took = _release(rig)
    assert report.clean, report
    assert took < 5.0, report.steps
    assert _released(rig) == 7
    assert not mounts.superblock_alive(rig.fault.loop)
    with pytest.raises(OSError) as refused:
        os.close(os.open(rig.fault.path, os.O_RDONLY | os.O_EXCL))
    assert refused.value.errno == errno.EBUSY  # ours alone


def test_the_disk_is_let_go_when_it_leaves_the_node(rig: Rig) -> None:
    rig.mount()
    assert _release(rig)[0].clean
    rig.unplug()

    def free() -> bool:
        try:
            os.close(os.open(rig.fault.path, os.O_RDONLY | os.O_EXCL))
        except OSError:
            return False
        return True

    wait_for(free, 1.0)


def test_a_user_that_obeys_sigterm_does_not_cost_a_second(rig: Rig) -> None:
    rig.mount()
    user = rig.run(WRITER, str(rig.mountpoint / "file"))
    report, took = _release(rig)
    assert report.clean, report
    assert user.wait(1) == -15
    assert took < 0.9, report.steps


def test_a_user_that_ignores_sigterm_is_killed(rig: Rig) -> None:
    rig.mount()
    code = "import signal, sys, os; signal.signal(15, signal.SIG_IGN); os.chdir(sys.argv[1]); print(flush=True); signal.pause()"
    user = rig.run(code, str(rig.mountpoint))
    report, took = _release(rig)
    assert report.clean, report
    assert user.wait(1) == -9
    assert 1.0 <= took < 2.5, report.steps


def test_a_mapped_file_is_found(rig: Rig) -> None:
    rig.mount()
    (rig.mountpoint / "file").write_bytes(bytes(4096))
    code = (
        "import mmap, os, signal, sys; fd = os.open(sys.argv[1], os.O_RDWR); m = mmap.mmap(fd, 4096); os.close(fd);"
        "print(flush=True); signal.pause()"
    )
    user = rig.run(code, str(rig.mountpoint / "file"))
    report, _ = _release(rig)
    assert report.clean, report
    assert user.wait(1) == -15


def test_submounts_and_bind_mounts_go_too(rig: Rig, run_dir: Path) -> None:
    rig.mount()
    other = run_dir / "a b"
    other.mkdir()
    (rig.mountpoint / "in").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "x", str(rig.mountpoint / "in")], check=True)
    subprocess.run(["mount", "--bind", str(rig.mountpoint), str(other)], check=True)
    report, _ = _release(rig)
    assert report.clean, report
    assert not mounts.visible(mounts.of_process(), str(other))


def test_a_private_mount_namespace_is_cleared(rig: Rig) -> None:
    rig.mount()
    code = (
        "import ctypes, signal; libc = ctypes.CDLL(None); assert libc.unshare(0x20000) == 0;"
        "assert libc.mount(None, b'/', None, 0x44000, None) == 0; print(flush=True); signal.pause()"
    )
    process = rig.run(code)
    report, _ = _release(rig)
    assert report.clean, report
    assert process.poll() is None  # it did not use the file system


@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_after_io_errors_the_node_still_lets_go(rig: Rig) -> None:
    rig.mount()
    rig.run(WRITER, str(rig.mountpoint / "file"))
    rig.fault.set("all=eio")
    time.sleep(0.1)
    report, took = _release(rig)
    assert report.clean, report
    assert took < 5.0, report.steps


def test_a_disk_that_the_prober_calls_hung_is_not_waited_for(rig: Rig) -> None:
    rig.mount()
    writer = rig.run(WRITER, str(rig.mountpoint / "file"))
    rig.fault.set("write=hang flush=hang")
    wait_for(lambda: state(writer.pid) == "D")
    stopped = rig.state / "stopped"
    report, took = _release(rig, hung=lambda: True, stop_services=lambda: stopped.touch())
    assert (report.clean, report.code) == (False, "hung"), report
    assert took < 5.0, report.steps
    assert not stopped.exists()  # nothing was touched
    assert _released(rig) is None


def test_an_unmount_that_gets_stuck_is_left_behind(rig: Rig) -> None:
    rig.mount()
    with open(rig.mountpoint / "file", "wb") as file:
        file.write(os.urandom(1 << 20))
    rig.fault.set("write=hang flush=hang")
    report, took = _release(rig, hung=lambda: True)
    assert (report.clean, report.code) in {(False, "hung"), (False, "unmount_stuck")}, report
    assert took < 2.0, report.steps


def test_a_disk_that_hangs_unnoticed_by_the_prober_ends_it_after_the_hang_timeout(rig: Rig) -> None:
    rig.mount()
    with open(rig.mountpoint / "file", "wb") as file:
        file.write(os.urandom(1 << 20))
    rig.fault.set("write=hang flush=hang")
    report, took = _release(rig, hung=lambda: False)
    assert not report.clean, report
    assert took < 2.5, report.steps


def test_services_that_do_not_stop_cost_a_deadline_not_the_release(rig: Rig) -> None:
    rig.mount()
    report, took = _release(rig, deadline_s=2.0, stop_services=lambda: time.sleep(60))
    assert report.clean, report
    assert took < 2.0
    assert any("did not end" in outcome for name, _, outcome in report.steps if name == "stop services")


def test_somebody_who_has_the_disk_exclusively_is_named(rig: Rig) -> None:
    code = "import os, sys, signal; fd = os.open(sys.argv[1], os.O_RDONLY | os.O_EXCL); print(flush=True); signal.pause()"
    other = rig.run(code, rig.fault.path)
    report, _ = _release(rig)
    assert (report.clean, report.code) == (False, "in_use"), report
    assert f"(pid {other.pid}) has {rig.fault.path} open" in report.reason
    assert _released(rig) is None


def test_a_disk_that_cannot_leave_must_have_no_writer(rig: Rig) -> None:
    code = "import os, sys, signal; fd = os.open(sys.argv[1], os.O_RDWR); print(flush=True); signal.pause()"
    rig.run(code, rig.fault.path)
    report, _ = _release(rig)
    assert (report.clean, report.code) == (False, "in_use"), report


def test_a_lazily_unmounted_file_system_is_not_released(rig: Rig) -> None:
    rig.mount()
    code = "import os, sys, signal; fd = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR); print(flush=True); signal.pause()"
    rig.run(code, str(rig.mountpoint / "file"))
    rig.umount("-l")
    report, _ = _release(rig, deadline_s=1.0)
    assert (report.clean, report.code) == (False, "superblock_alive"), report


def test_a_mount_whose_device_has_vanished_is_unmounted(rig: Rig) -> None:
    rig.mount()
    rig.unplug()
    rig.fault.drop()
    report, _ = _release(rig)
    assert report.clean, report
    assert not mounts.visible(mounts.of_process(), str(rig.mountpoint))


def test_two_releases_at_once_do_not_mix(rig: Rig) -> None:
    with memory.acting(rig.state, rig.resource.name):
        report, took = _release(rig)
    assert (report.clean, report.code) == (False, "busy")
    assert took < 2.0
