"""The prober as a process, on disks that fail on command: what it says, how soon, and how it lives and ends."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import time

import pytest

from lab.linux import wait_until
from vmdk_failover.guest import channel
from vmdk_failover.guest.watch import Watch

from .conftest import BOOT, WRITER, Reader, Rig, ready, wait_for

HANG_S = 1.0


@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
@pytest.mark.parametrize(
    ("fault", "condition", "limit"),
    [
        ("all=hang", "hung", HANG_S + 0.8),
        ("write=hang flush=hang", "hung", HANG_S + 0.8),
        ("all=eio", "io_error", 0.15),
        ("write=eio flush=eio", "io_error", 0.15),
        ("write=enospc", "io_error", 0.15),
    ],
)
def test_with_a_writer(reader: Reader, rig: Rig, fault: str, condition: str, limit: float) -> None:
    rig.mount()
    rig.run(WRITER, str(rig.mountpoint / "file"))
    ready(reader)
    rig.fault.set(fault)
    assert reader.until(condition) < limit
    report = reader.told[-1]
    assert (report["resource"], report["boot_id"]) == ("pgdata", BOOT)
    assert rig.fault.loop in report["evidence"]


@pytest.mark.parametrize(
    ("fault", "condition", "limit"),
    [("all=hang", "hung", 1.2 + HANG_S + 0.4), ("read=hang", "hung", 2.6), ("all=eio", "io_error", 1.3)],
)
def test_idle(reader: Reader, rig: Rig, fault: str, condition: str, limit: float) -> None:
    rig.mount()
    ready(reader)
    rig.fault.set(fault)
    assert reader.until(condition) < limit


def test_good_reads_do_not_hide_that_writes_fail(reader: Reader, rig: Rig) -> None:
    rig.mount()
    rig.run(WRITER, str(rig.mountpoint / "file"))
    ready(reader)
    rig.fault.set("write=eio flush=eio")
    reader.until("io_error")
    for _ in range(40):  # four probe intervals
        assert reader.word() == "io_error"
        time.sleep(0.1)
    assert {report["condition"] for report in reader.told} == {"io_error"}


def test_a_hang_that_ends_is_told(reader: Reader, rig: Rig) -> None:
    rig.mount()
    ready(reader)
    rig.fault.set("read=hang")
    reader.until("hung")
    rig.fault.set("ok")
    assert reader.until("ok") < 1.5


@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_unmounted_by_hand(reader: Reader, rig: Rig) -> None:
    rig.mount()
    ready(reader)
    began = time.monotonic()
    rig.umount()
    reader.until("unmounted")
    assert time.monotonic() - began < 0.15
    rig.mount()
    assert reader.until("ok") < 0.1


def test_lazily_unmounted_while_in_use(reader: Reader, rig: Rig) -> None:
    rig.mount()
    ready(reader)
    with open(rig.mountpoint / "file", "w"):
        rig.umount("-l")
        assert reader.until("lazily_unmounted") < 0.5
    assert reader.until("unmounted") < 1.5


def test_mounted_over(reader: Reader, rig: Rig) -> None:
    rig.mount()
    ready(reader)
    subprocess.run(["mount", "-t", "tmpfs", "other", str(rig.mountpoint)], check=True)
    assert reader.until("wrong_filesystem") < 0.1
    assert "other" in reader.told[-1]["evidence"]
    rig.umount()
    assert reader.until("ok") < 0.1


def test_another_file_system_on_the_right_disk(reader: Reader, rig: Rig) -> None:
    mount = dataclasses.replace(rig.resource.mounts[0], fs_uuid="00000000-1111-2222-3333-444444444444")
    rig.resource = dataclasses.replace(rig.resource, mounts=(mount,))
    rig.mount()
    reader.until("wrong_filesystem")
    assert rig.disk.fs_uuid in reader.told[-1]["evidence"]


def test_the_device_leaves_while_in_use(reader: Reader, rig: Rig) -> None:
    rig.mount()
    ready(reader)
    rig.unplug()
    rig.fault.drop()
    assert reader.until("device_gone") < 0.5


def test_an_ext4_error_is_told(reader: Reader, rig: Rig) -> None:
    rig.mount()
    ready(reader)
    with open(f"/sys/fs/ext4/{rig.fault.loop}/trigger_fs_error", "w") as file:
        file.write("test")
    assert reader.until("fs_error") < 0.4


def test_a_backup_is_quiet_and_follows_attach_and_detach(reader: Reader, rig: Rig) -> None:
    rig.unplug()
    wait_for(lambda: reader.word() == "standby")
    rig.plug()
    reader.until("unmounted", 1.0)
    rig.mount()
    reader.until("ok", 1.0)
    rig.umount()
    reader.until("unmounted", 1.0)
    rig.unplug()
    wait_for(lambda: reader.word() == "standby", 1.0)
    assert [report["condition"] for report in reader.told] == ["unmounted", "ok", "unmounted"]


def test_a_failure_repeats_and_health_does_not(reader: Reader, rig: Rig) -> None:
    wait_for(lambda: reader.word() == "unmounted")
    end = time.monotonic() + 2.2
    while time.monotonic() < end:
        reader.poll()
        time.sleep(0.05)
    assert len(reader.told) in (3, 4)
    rig.mount()
    reader.until("ok")
    told = len(reader.told)
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        reader.poll()
        time.sleep(0.05)
    assert len(reader.told) == told


def test_a_changed_resource_reaches_a_running_prober(reader: Reader, rig: Rig) -> None:
    rig.mount()
    ready(reader)
    pid = reader.pid()
    mount = dataclasses.replace(rig.resource.mounts[0], mountpoint=str(rig.mountpoint / "elsewhere"))
    rig.resource = dataclasses.replace(rig.resource, mounts=(mount,))
    reader.poll()
    wait_for(lambda: reader.word() in ("unmounted", "lazily_unmounted"), 1.0)
    assert reader.pid() == pid


def test_two_readers_share_one_prober_that_ends_after_the_last(reader: Reader, rig: Rig) -> None:
    rig.mount()
    ready(reader)
    second = Watch(rig.state, starts=False, places=rig.places)
    try:
        rig.umount()
        deadline = time.monotonic() + 2
        while not (told := second.wait(0.05)):
            assert time.monotonic() < deadline
        assert told[0]["condition"] == "unmounted"
        pid = reader.pid()
        reader.watch._disconnect()
        time.sleep(0.5)
        assert os.path.exists(f"/proc/{pid}")
    finally:
        second.close()
    process = reader.watch._processes[0]
    wait_for(lambda: process.poll() is not None, 8)
    assert process.returncode == 0


def test_a_prober_that_is_stuck_is_told_and_replaced_once(reader: Reader, rig: Rig) -> None:
    rig.mount()
    ready(reader)
    first = reader.pid()
    os.kill(first, signal.SIGSTOP)
    reader.until("watcher_silent", 6)
    reader.until("ok", 6)
    assert (rig.state / channel.name("sock", 1)).exists()
    pids = {process.pid for process in reader.watch._processes}
    os.kill(first, signal.SIGCONT)
    assert len(pids) == 2


def test_a_prober_that_was_killed_is_started_again(reader: Reader, rig: Rig) -> None:
    rig.mount()
    ready(reader)
    process = reader.watch._processes[0]
    process.kill()
    wait_for(lambda: bool(reader.poll()) or process not in reader.watch._processes, 2)
    wait_for(lambda: reader.word() == "ok" and reader.pid() not in (0, process.pid), 6)


def test_it_has_nothing_of_its_starter(reader: Reader, rig: Rig) -> None:
    rig.mount()
    secret = os.open(rig.mountpoint, os.O_RDONLY)
    os.set_inheritable(secret, True)
    try:
        ready(reader)
        pid = reader.pid()
        links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    finally:
        os.close(secret)
    assert not any(link.startswith(str(rig.mountpoint)) for link in links)
    assert os.getsid(pid) == pid
    assert os.readlink(f"/proc/{pid}/cwd") == "/"


def test_idle_it_costs_next_to_nothing(reader: Reader, rig: Rig) -> None:
    rig.mount()
    ready(reader)
    before = _cpu(reader.pid())
    time.sleep(4)
    assert (_cpu(reader.pid()) - before) / 4 < 0.01  # of a core, with room for a loaded machine


def _cpu(pid: int) -> float:
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0]) / 1e9


def test_polling_never_waits(reader: Reader, rig: Rig) -> None:
    rig.mount()
    ready(reader)
    rig.fault.set("all=hang")
    slowest = 0.0
    end = time.monotonic() + 3
    while time.monotonic() < end:
        began = time.monotonic()
        reader.poll()
        slowest = max(slowest, time.monotonic() - began)
        wait_until(lambda: False, 0.02)
    assert slowest < 0.1


def test_a_replacement_that_is_stuck_too_is_told_and_not_replaced(reader: Reader, rig: Rig) -> None:
    rig.mount()
    ready(reader)
    first = reader.pid()
    os.kill(first, signal.SIGSTOP)
    reader.until("watcher_silent", 6)
    reader.until("ok", 6)
    second = next(p.pid for p in reader.watch._processes if p.pid != first)
    os.kill(second, signal.SIGSTOP)
    reader.until("watcher_silent", 6)
    end = time.monotonic() + 5
    while time.monotonic() < end:
        reader.poll()
        assert len(reader.watch._processes) == 2
        time.sleep(0.1)
    assert "has said nothing" in reader.told[-1]["evidence"]
    os.kill(second, signal.SIGCONT)
    reader.until("ok", 6)
    os.kill(first, signal.SIGCONT)
    # nobody reads from the first any more
    wait_for(lambda: (reader.poll(), len(reader.watch._processes) == 1)[1], 10)  # type: ignore[func-returns-value]


def test_killed_again_and_again_it_comes_back(reader: Reader, rig: Rig) -> None:
    rig.mount()
    ready(reader)
    for _ in range(3):
        pid = reader.pid()
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda pid=pid: reader.word() == "ok" and reader.pid() not in (0, pid), 8)  # type: ignore[misc]
        wait_for(lambda: (reader.poll(), reader.watch._socket is not None)[1], 3)  # type: ignore[func-returns-value]
        assert reader.watch._slot == 0
    assert {report["condition"] for report in reader.told} <= {"ok", "watcher_silent"}
    rig.umount()
    reader.until("unmounted")
