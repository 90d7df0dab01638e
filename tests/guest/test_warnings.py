"""Conditions that only warn, and the write probe: on disks that are slow, full, remounted, or fail writes while nobody writes."""

from __future__ import annotations

import dataclasses
import errno
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from vmdk_failover.guest import options, touch
from vmdk_failover.guest.counters import Count
from vmdk_failover.guest.errands import USED, WRITE, Answer, Errand, Errands
from vmdk_failover.guest.mounts import parse
from vmdk_failover.guest.pace import Pace
from vmdk_failover.guest.sources import Sources
from vmdk_failover.guest.trials import USED_EVERY_S, Trials
from vmdk_failover.guest.verdict import Verdict
from vmdk_failover.model import FAILED_CONDITIONS, WARNINGS, Mount

from .conftest import WRITER, Reader, Rig, ready, wait_for


def _change(rig: Rig, **changes: Any) -> None:
    rig.resource = dataclasses.replace(rig.resource, **changes)


def test_warnings_are_no_failures() -> None:
    assert len(WARNINGS) == 3
    assert not WARNINGS & FAILED_CONDITIONS


# -- options


def _line(own: str, of_fs: str) -> Any:
    return parse(f"30 20 8:16 / /srv {own} - ext4 /dev/sdb {of_fs}")[0]


@pytest.mark.parametrize(
    ("recorded", "own", "of_fs", "words"),
    [
        ("defaults", "rw,relatime", "rw", ""),
        ("noatime,nofail,_netdev", "rw,noatime", "rw", ""),
        ("users", "rw,nosuid,nodev,noexec,relatime", "rw", ""),
        ("ro", "ro,relatime", "ro", ""),
        ("sync", "rw,relatime", "rw,sync", ""),
        ("defaults", "rw,relatime", "rw,emergency_ro", ""),
        ("defaults", "ro,relatime", "ro", "ro is set"),
        ("noatime", "rw,relatime", "rw", "noatime is missing"),
        ("nodev", "rw,nosuid,relatime", "rw", "nosuid is set, nodev is missing"),
        ("defaults", "rw,relatime", "rw,commit=1", "commit=1 has come"),
    ],
)
def test_options(recorded: str, own: str, of_fs: str, words: str) -> None:
    mount = Mount("/srv", "u", "ext4", recorded)
    first = frozenset({"rw", "sync"}) if "sync" in of_fs else frozenset({"rw"})
    assert options.changed(mount, _line(own, of_fs), first) == words


def test_who_made_it_read_only() -> None:
    assert options.given_up(_line("rw", "ro")) == "ro"
    assert options.given_up(_line("ro", "ro")) == ""
    assert options.given_up(_line("ro", "rw")) == ""
    assert options.given_up(_line("rw", "rw,shutdown,emergency_ro")) == "emergency_ro, shutdown"


@pytest.mark.parametrize("fstype", ["ext4", "xfs", "btrfs"])
def test_a_remount_is_told_and_taken_back(reader: Reader, rig: Rig) -> None:
    rig.mount()
    ready(reader)
    began = time.monotonic()
    subprocess.run(["mount", "-o", "remount,ro", rig.mountpoint], check=True)
    reader.until("options_changed")
    assert time.monotonic() - began < 2.0
    assert "ro is set" in reader.told[-1]["evidence"]
    subprocess.run(["mount", "-o", "remount,rw", rig.mountpoint], check=True)
    assert reader.until("ok") < 0.2


# -- pace


def _feed(pace: Pace, *samples: tuple[float, int, int]) -> None:
    for now, done, ms in samples:
        pace.feed(now, {"write": Count(done, 0, ms)})


def test_three_slow_windows_in_a_row_are_slow() -> None:
    pace = Pace(100)
    _feed(pace, (0, 0, 0), (1, 10, 2000), (2, 20, 4000))
    assert pace.words() == ""
    _feed(pace, (3, 30, 6000))
    assert pace.words() == "a write takes 200 ms on average"
    _feed(pace, (4, 40, 6500))
    assert pace.words() == ""


def test_one_long_request_is_not_slow_and_an_old_word_lapses() -> None:
    pace = Pace(100)
    _feed(pace, (0, 0, 0), (1, 10, 10), (2, 11, 1500), (3, 30, 1550), (4, 31, 3500), (5, 50, 3550))
    assert pace.words() == ""
    _feed(pace, (6, 51, 3900), (7, 52, 4300), (8, 53, 4700))
    assert pace.words() != ""
    _feed(pace, (12, 53, 4700), (17.9, 53, 4700))
    assert pace.words() != ""
    _feed(pace, (18, 53, 4700))
    assert pace.words() == ""


def test_a_slow_disk_is_told(reader: Reader, rig: Rig) -> None:
    _change(rig, slow_ms=150.0)
    rig.mount()
    rig.run(WRITER, str(rig.mountpoint / "file"))
    ready(reader)
    rig.fault.set("all=delay:0.3")
    assert reader.until("slow", 8) < 6
    rig.fault.set("ok")
    reader.until("ok", 8)


# -- how full


@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_a_full_file_system_is_told(reader: Reader, rig: Rig) -> None:
    rig.mount()
    with open(rig.mountpoint / "filler", "wb") as file:
        left = os.statvfs(rig.mountpoint)
        os.posix_fallocate(file.fileno(), 0, int(left.f_bavail * left.f_frsize * 0.95))
    reader.until("nearly_full")
    assert "% full, the limit is 90 %" in reader.told[-1]["evidence"]
    _change(rig, full_percent=99.5)
    reader.until("ok")


def test_full_has_some_play() -> None:
    verdict = Verdict(holds=True)
    rig = Trials(_resource(full_percent=90.0), verdict, lambda *_: None)
    rig.look(parse("30 20 8:16 / /srv rw - ext4 /dev/sdb rw"))
    seen = []
    for step, percent in enumerate((89.9, 90.0, 89.5, 89.1, 88.9)):
        (errand,) = rig.due(step * USED_EVERY_S)
        rig.ended(0.0, errand, Answer(percent))
        seen.append(verdict.current(0.0).condition)
    assert seen == ["ok", "nearly_full", "nearly_full", "nearly_full", "ok"]


def _mount() -> Mount:
    return Mount("/srv", "u", "ext4")


def _resource(**more: Any) -> Any:
    from vmdk_failover.model import Disk, Node, Resource

    nodes = (Node("a", "u1"), Node("b", "u2"))
    return Resource("r", nodes, (Disk("[d] x.vmdk", "0" * 32, 0, 0),), (_mount(),), **more)


# -- the write probe


@pytest.mark.parametrize("fstype", ["ext4", "xfs", "btrfs"])
@pytest.mark.parametrize(
    ("fault", "condition", "limit"),
    [("write=eio flush=eio", "io_error", 1.2), ("write=hang flush=hang", "hung", 2.6)],
)
def test_failing_writes_of_an_idle_disk_are_seen(
    reader: Reader, rig: Rig, fault: str, condition: str, limit: float
) -> None:
    _change(rig, write_probe=True)
    rig.mount()
    ready(reader)
    wait_for(lambda: (rig.mountpoint / touch.FILE).exists(), 2.0)
    rig.fault.set(fault)
    assert reader.until(condition) < limit
    if condition == "hung":
        rig.fault.set("ok")
        reader.until("ok")


def test_the_write_probe_does_not_keep_the_mount_busy(reader: Reader, rig: Rig) -> None:
    _change(rig, write_probe=True, probe_interval=0.2)
    rig.mount()
    ready(reader)
    for _ in range(10):
        wait_for(lambda: (rig.mountpoint / touch.FILE).exists(), 2.0)
        # busy for the moment that a write takes, and no longer
        wait_for(lambda: not subprocess.run(["umount", rig.mountpoint], check=False).returncode, 1.0)
        assert not os.listdir(rig.mountpoint)  # nothing is written below the mount point
        rig.mount()
        (rig.mountpoint / touch.FILE).unlink(missing_ok=True)


def test_a_mount_that_has_gone_is_not_written_below(run_dir: Path) -> None:
    with pytest.raises(FileNotFoundError):
        touch.write(str(run_dir), 1)
    assert os.listdir(run_dir) == []


SHOWN = "30 20 8:16 / /srv {} - ext4 /dev/sdb rw"


@pytest.mark.parametrize(("own", "condition"), [("ro", "ok"), ("rw", "fs_error")])
def test_a_write_that_is_refused_waits_for_what_the_mount_says(own: str, condition: str) -> None:
    verdict = Verdict(holds=True)
    trials = Trials(_resource(write_probe=True, full_percent=100.0), verdict, lambda *_: None)
    trials.look(parse(SHOWN.format("rw")))
    (errand,) = trials.due(0.0)
    assert trials.ended(0.0, errand, Answer(error=errno.EROFS))  # look anew
    assert verdict.current(0.0).condition == "ok"
    trials.follow(parse(SHOWN.format(own)))
    for errand in trials.due(2.0):
        trials.ended(2.0, errand, Answer(error=errno.EROFS))
    assert verdict.current(2.0).condition == condition


def test_a_remount_during_a_write_probe_is_no_failure(reader: Reader, rig: Rig) -> None:
    _change(rig, write_probe=True, probe_interval=0.1)
    rig.mount()
    ready(reader)
    for _ in range(5):
        remount = ["mount", "-o", "remount,ro", rig.mountpoint]
        wait_for(lambda argv=remount: not subprocess.run(argv, check=False).returncode)  # type: ignore[misc]
        reader.until("options_changed")
        subprocess.run(["mount", "-o", "remount,rw", rig.mountpoint], check=True)
        reader.until("ok")
    assert {report["condition"] for report in reader.told} <= {"ok", "options_changed"}


def test_a_write_that_waits_for_its_turn_is_not_late() -> None:
    verdict = Verdict(holds=True)
    trials = Trials(
        _resource(write_probe=True, full_percent=100.0, hang_timeout=1.0), verdict, lambda *_: None
    )
    trials.look(parse(SHOWN.format("rw")))
    (errand,) = trials.due(0.0)
    trials.overdue(5.0)
    assert (trials.pending(), verdict.current(5.0).condition) == ((), "ok")
    trials.begun(5.0, errand)
    trials.overdue(5.9)
    assert (trials.pending(), verdict.current(5.9).condition) == ((5.0,), "ok")
    trials.overdue(6.0)
    assert verdict.current(6.0).condition == "hung"


# -- workers


class Pool:
    """Workers and the loop that listens to them."""

    def __init__(self) -> None:
        self.sources = Sources(lambda _: None)
        self.errands = Errands(self.sources.listen, self.sources.forget)
        self.answers: list[Answer] = []

    def send(self, what: str, where: str, mount_id: int) -> None:
        """Give it a job."""
        self.errands.send(time.monotonic(), Errand(what, where, mount_id), self.answers.append)

    def turn(self, count: int) -> None:
        """Run until so many answers have come."""
        end = time.monotonic() + 3
        while len(self.answers) < count:
            assert time.monotonic() < end, self.answers
            for fd, _ in self.sources._epoll.poll(0.02):
                self.sources._acts[fd]()
            self.errands.turn(time.monotonic())


def _mount_id(path: Path) -> int:
    lines = [line for line in parse(Path("/proc/self/mountinfo").read_text()) if line.mountpoint == str(path)]
    return lines[-1].mount_id


def test_one_worker_does_job_after_job(run_dir: Path) -> None:
    pool = Pool()
    try:
        for _ in range(5):
            pool.send(USED, str(run_dir), _mount_id(run_dir))
        pool.turn(5)
        assert len(pool.errands.pids) == 1
        assert all(0 <= (answer.value or 0) < 100 and not answer.error for answer in pool.answers)
        os.kill(pool.errands.pids[0], 9)
        pool.turn(5)
        pool.send(USED, "/nowhere", 1)
        pool.turn(6)
        assert pool.answers[-1].error or pool.answers[-1].lost
    finally:
        pids = pool.errands.pids
        pool.errands.close()
        wait_for(lambda: pool.errands.turn(0.0) or not any(os.path.exists(f"/proc/{pid}") for pid in pids))  # type: ignore[func-returns-value]


def test_many_jobs_need_no_tick(run_dir: Path) -> None:
    pool, began = Pool(), list[float]()
    try:
        mount_id = _mount_id(run_dir)
        for number in range(20):
            job = Errand(USED, f"{run_dir}{'/' * number}", mount_id)
            pool.errands.send(time.monotonic(), job, pool.answers.append, began.append)
        end = time.monotonic() + 3
        while len(pool.answers) < 20:
            assert time.monotonic() < end
            for fd, _ in pool.sources._epoll.poll(0.02):
                pool.sources._acts[fd]()
        assert len(began) == 20
        assert len(pool.errands.pids) == 1
    finally:
        pool.errands.close()


def test_a_stuck_worker_holds_nobody_up(rig: Rig) -> None:
    rig.mount()
    pool = Pool()
    try:
        rig.fault.set("all=hang")
        pool.send(WRITE, str(rig.mountpoint), _mount_id(rig.mountpoint))
        for number in range(3):
            pool.send(USED, str(rig.state.parent), _mount_id(rig.state.parent))
            pool.turn(number + 1)
        assert len(pool.errands.pids) == 2
        rig.fault.set("ok")
        pool.turn(4)
        assert (pool.answers[3].error, pool.answers[3].lost) == (0, False)
        assert len(pool.errands.pids) == 1
    finally:
        pool.errands.close()
