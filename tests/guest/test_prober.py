"""The prober as a process, on disks that fail on command: what it says, how soon, and how it lives and ends."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lab.linux import wait_until
from vmdk_failover.guest import channel, latest
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
        time.sleep(0.1)
        assert reader.word() == "io_error"
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
    assert time.monotonic() - began < 2.0
    rig.mount()
    assert reader.until("ok") < 0.1


def test_lazily_unmounted_while_in_use(reader: Reader, rig: Rig) -> None:
    rig.mount()
    ready(reader)
    with open(rig.mountpoint / "file", "w"):
        began = time.monotonic()
        rig.umount("-l")
        reader.until("unmounted")
        assert time.monotonic() - began < 2.0
        assert reader.until("lazily_unmounted") < 0.6
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


def test_a_removal_is_told_by_its_uevent(reader: Reader, rig: Rig) -> None:
    rig.mount()
    ready(reader)
    rig.fault.drop()
    rig.unplug()
    Path(f"/sys/block/{rig.fault.loop}/uevent").write_text("remove")
    assert reader.until("device_gone") < 0.1


def test_any_event_of_a_disk_has_it_read_at_once(reader: Reader, rig: Rig) -> None:
    _change(rig, probe_interval=30.0)
    rig.mount()
    ready(reader)
    rig.fault.set("read=eio")
    assert rig.fault.set("stats")["failed"] == 0
    Path(f"/sys/block/{rig.fault.loop}/uevent").write_text("change")
    assert reader.until("io_error") < 0.4


# -- a doubt

#: Not where mkfs and udev look at every disk of the machine.
ELSEWHERE = "range=71303168-503316480"


def _change(rig: Rig, **changes: Any) -> None:
    rig.resource = dataclasses.replace(rig.resource, **changes)


def _evidence(reader: Reader) -> str:
    reader.poll()
    said = latest.latest(reader.rig.state, "pgdata", BOOT)
    return str(said["evidence"]) if said else ""


def test_one_failed_read_moves_nothing_but_is_told(reader: Reader, rig: Rig) -> None:
    rig.mount()
    ready(reader)
    rig.fault.set(f"read=eio:1 {ELSEWHERE}")
    wait_for(lambda: "was good when tried again" in _evidence(reader), 5)
    assert rig.fault.set("stats")["failed"] == 1
    assert "failed once with EIO" in _evidence(reader)
    assert {report["condition"] for report in reader.told} <= {"ok"}
    assert reader.word() == "ok"


def test_two_failed_reads_are_an_error_and_so_are_three_within_a_minute(reader: Reader, rig: Rig) -> None:
    _change(rig, probe_interval=0.2)
    rig.mount()
    ready(reader)
    for count in (1, 2):
        rig.fault.set(f"read=eio:1 {ELSEWHERE}")
        wait_for(lambda count=count: rig.fault.set("stats")["failed"] == count)  # type: ignore[misc]
        begun = rig.fault.set("stats")["read"]
        wait_for(lambda begun=begun: rig.fault.set("stats")["read"] > begun)  # type: ignore[misc]
        wait_for(lambda: "good when tried again" in _evidence(reader))
        assert reader.word() == "ok"
    rig.fault.set(f"read=eio:1 {ELSEWHERE}")
    reader.until("io_error", 2.0)
    assert "3 within" in reader.told[-1]["evidence"]
    reader.until("ok", 3.0)
    rig.fault.set(f"read=eio:2 {ELSEWHERE}")
    reader.until("io_error", 2.0)


def test_what_somebody_else_fails_to_read_needs_no_second_try(reader: Reader, rig: Rig) -> None:
    _change(rig, probe_interval=30.0)
    rig.mount()
    ready(reader)
    time.sleep(0.5)
    rig.fault.set("read=eio:1")
    read_one = (
        "import os, sys, mmap; os.preadv(os.open(sys.argv[1], os.O_DIRECT), [mmap.mmap(-1, 4096)], 81920)"
    )
    argv = [sys.executable, "-c", read_one, rig.fault.path]
    assert subprocess.run(argv, stderr=subprocess.DEVNULL).returncode
    reader.until("io_error", 0.5)
    assert "read" in reader.told[-1]["evidence"]


def test_good_writes_do_not_hide_that_reads_fail(reader: Reader, rig: Rig) -> None:
    rig.mount()
    rig.run(WRITER, str(rig.mountpoint / "file"))
    ready(reader)
    rig.fault.set("read=eio")
    reader.until("io_error", 2.0)
    for _ in range(30):
        time.sleep(0.1)
        assert reader.word() == "io_error"
    rig.fault.set("ok")
    reader.until("ok", 5.0)


# -- pauses


def _listen(reader: Reader, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        reader.poll()  # each word: the next one would hide it
        time.sleep(0.005)


def test_a_stall_shorter_than_the_limit_is_no_hang(reader: Reader, rig: Rig) -> None:
    _change(rig, hang_timeout=10.0)
    rig.mount()
    rig.run(WRITER, str(rig.mountpoint / "file"))
    ready(reader)
    rig.fault.stop()  # as when a snapshot is made
    _listen(reader, 5.0)
    rig.fault.go_on()
    _listen(reader, 1.2)
    assert reader.word() == "ok"
    assert {report["condition"] for report in reader.told} <= {"ok"}


@pytest.mark.parametrize("load", ["idle", "active"])
def test_a_pause_of_the_whole_node_is_no_hang(reader: Reader, rig: Rig, load: str) -> None:
    _change(rig, hang_timeout=2.0, probe_interval=0.5)
    rig.mount()
    if load == "active":
        rig.run(WRITER, str(rig.mountpoint / "file"))
    ready(reader)
    rig.fault.stop()
    time.sleep(1.0)  # reads and writes of this second are in flight
    os.kill(reader.pid(), signal.SIGSTOP)
    time.sleep(2.6)
    os.kill(reader.pid(), signal.SIGCONT)
    _listen(reader, 0.6)  # the disk comes back after the node
    rig.fault.go_on()
    _listen(reader, 0.8)
    assert "hung" not in {report["condition"] for report in reader.told}
    wait_for(lambda: reader.word() == "ok")


def test_a_hang_outlasts_a_pause_of_the_node(reader: Reader, rig: Rig) -> None:
    rig.mount()
    ready(reader)
    rig.fault.set("all=hang")
    reader.until("hung")
    os.kill(reader.pid(), signal.SIGSTOP)
    time.sleep(2.6)
    told = len(reader.told)
    os.kill(reader.pid(), signal.SIGCONT)
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        reader.poll()
        assert reader.word() in ("hung", "")
        time.sleep(0.02)
    assert "ok" not in {report["condition"] for report in reader.told[told:]}


def test_a_new_mount_that_nobody_saw_being_made_starts_clean(reader: Reader, rig: Rig) -> None:
    rig.mount()
    writer = rig.run(WRITER, str(rig.mountpoint / "file"))
    ready(reader)
    rig.fault.set("write=eio:1")
    reader.until("io_error")
    writer.kill()
    writer.wait()
    os.kill(reader.pid(), signal.SIGSTOP)
    rig.umount()
    rig.mount()  # it gets the number of the one before
    os.kill(reader.pid(), signal.SIGCONT)
    reader.until("ok", 1.0)


def test_late_words_of_an_old_mount_do_not_harm_the_new_one(reader: Reader, rig: Rig) -> None:
    rig.mount()
    ready(reader)
    os.kill(reader.pid(), signal.SIGSTOP)
    (rig.mountpoint / "dirty").write_bytes(b"x" * 65536)
    rig.fault.set("write=eio flush=eio")
    rig.umount()  # what the kernel says of it is heard after the next mount only
    failed = rig.fault.set("ok")["failed"]
    rig.mount()
    os.kill(reader.pid(), signal.SIGCONT)
    _listen(reader, 1.0)
    assert failed
    assert reader.word() == "ok"


# -- what it keeps


def test_nothing_piles_up_over_many_mounts(reader: Reader, rig: Rig) -> None:
    rig.mount()
    ready(reader)
    wait_for(lambda: reader.word() == "ok")
    before = _kept(reader.pid())
    for _ in range(12):
        rig.umount()
        wait_for(lambda: reader.word() == "unmounted")
        rig.mount()
        wait_for(lambda: reader.word() == "ok")
    wait_for(lambda: _kept(reader.pid()) == before)


def _kept(pid: int) -> tuple[int, int]:
    """Descriptors, and marks of inotify and fanotify."""
    infos = [path.read_text() for path in Path(f"/proc/{pid}/fdinfo").iterdir()]
    return len(infos), sum(info.count("notify ") for info in infos)


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
