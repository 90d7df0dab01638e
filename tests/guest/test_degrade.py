"""Older kernels, other machines, sandboxes: what is missing is said, and everything else goes on."""

from __future__ import annotations

import dataclasses
import errno
import os
import platform
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from vmdk_failover.guest import aio, channel, children, devices, holder, latest, pidfd, syscalls, users

from .conftest import BOOT, WRITER, Reader, Rig, ready, wait_for

UTILS = str(Path(syscalls.__file__).parents[2])
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


@pytest.mark.parametrize("machine", sorted(syscalls.NUMBERS))
def test_the_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    assert HEADERS[machine].exists(), f"{HEADERS[machine]} is not here (Debian: linux-libc-dev)"
    text = HEADERS[machine].read_text()
    theirs = {name: int(number) for name, number in re.findall(r"#define __NR3?_?(\w+) (\d+)\n", text)}
    assert {name: theirs.get(name) for name in syscalls.NUMBERS[machine]} == dict(syscalls.NUMBERS[machine])


def test_every_machine_of_the_table_has_every_call() -> None:
    assert len({frozenset(calls) for calls in syscalls.NUMBERS.values()}) == 1
    assert platform.machine() not in syscalls.NUMBERS or aio.open_reads()[1] == ""


def test_nothing_is_tried_on_a_machine_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = os.uname_result(("Linux", "n", "6", "#1", "vax"))
    monkeypatch.setattr(os, "uname", lambda: unknown)
    with pytest.raises(OSError, match="io_setup is not known for vax") as caught:
        syscalls.call("io_setup", 1, None)
    assert caught.value.errno == errno.ENOSYS
    reads, why = aio.open_reads()
    assert isinstance(reads, aio.ThreadReader)
    assert why == "io_setup is not known for vax"


# -- reads without AIO


def _all(reads: aio.Reads, count: int) -> dict[int, tuple[int, bytes]]:
    found: dict[int, tuple[int, bytes]] = {}
    end = time.monotonic() + 5
    while len(found) < count and time.monotonic() < end:
        select.select([reads.eventfd], [], [], 1)
        found.update({tag: (result, data) for tag, result, data in reads.ended()})
    return found


@pytest.mark.parametrize("kind", [aio.Reader, aio.ThreadReader])
def test_reads_end_as_they_should(kind: Any, rig: Rig) -> None:
    reads = kind()
    fd = os.open(rig.fault.path, os.O_RDONLY | os.O_DIRECT)
    try:
        wanted = Path(rig.fault.path).read_bytes()[8192:12288]
        assert reads.ended() == []
        reads.start(1, fd, 0)
        reads.start(2, fd, 8192)
        found = _all(reads, 2)
        assert {tag: result for tag, (result, _) in found.items()} == {1: 4096, 2: 4096}
        assert found[2][1] == wanted
        rig.fault.set("all=eio")
        reads.start(3, fd, 4096)
        assert _all(reads, 1)[3][0] == -errno.EIO
    finally:
        os.close(fd)


def test_a_thread_that_hangs_keeps_nobody_waiting_and_no_wrong_file(rig: Rig, tmp_path: Path) -> None:
    reads = aio.ThreadReader()
    fd = os.open(rig.fault.path, os.O_RDONLY | os.O_DIRECT)
    rig.fault.set("all=hang")
    began = time.monotonic()
    reads.start(1, fd, 0)
    os.close(fd)
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)  # gets the number
    assert other == fd
    assert reads.ended() == []
    assert time.monotonic() - began < 2.0
    rig.fault.set("ok")
    assert _all(reads, 1)[1][0] == 4096
    os.close(other)


# -- processes without pidfd


@pytest.fixture(params=["pidfd", "enosys", "python without it"])
def process_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Kernels and Pythons that have pidfds, and those that have not."""
    if request.param == "enosys":

        def refuse(pid: int, flags: int = 0) -> int:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

        monkeypatch.setattr(os, "pidfd_open", refuse)
    elif request.param != "pidfd":
        monkeypatch.delattr(os, "pidfd_open")
        monkeypatch.delattr(signal, "pidfd_send_signal")
    return str(request.param)


def test_a_process_is_signalled_and_its_end_is_seen(process_kind: str) -> None:
    sleeper = subprocess.Popen(["sleep", "60"])
    handle = pidfd.Handle(sleeper.pid)
    try:
        assert select.select([handle], [], [], 0.05)[0] == []
        handle.send(signal.SIGKILL)
        assert select.select([handle], [], [], 2)[0] == [handle]  # a zombie has ended
        sleeper.wait()
        with pytest.raises(ProcessLookupError):
            handle.send(signal.SIGKILL)
    finally:
        handle.close()
        sleeper.kill()
        sleeper.wait()
    with pytest.raises(ProcessLookupError):
        pidfd.Handle(sleeper.pid)


def test_another_process_with_the_same_number_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        handle = pidfd.Handle(sleeper.pid)
        state, since = pidfd.stat(sleeper.pid)
        monkeypatch.setattr(pidfd, "stat", lambda pid: (state, since + 1))  # its successor
        with pytest.raises(ProcessLookupError):
            handle.send(signal.SIGKILL)
        assert sleeper.poll() is None
        assert select.select([handle], [], [], 2)[0]
        handle.close()
    finally:
        sleeper.kill()
        sleeper.wait()


def test_children_and_holders_do_without(process_kind: str, rig: Rig) -> None:
    assert children.call(lambda: 7, 5).value == 7
    began = time.monotonic()
    assert "did not end within 0.2 s" in children.call(lambda: time.sleep(60), 0.2).error
    assert time.monotonic() - began < 5
    device = devices.find(rig.resource.disks[0], rig.places)
    assert device is not None
    pid, started = holder.take(device, 5, rig.places).value
    assert users.started(pid) == started
    assert holder.let_go([(pid, started + 1)])  # another's number
    assert users.started(pid) == started
    assert holder.let_go([(pid, started)])
    assert pidfd.stat(pid)[0] in ("", "Z")


# -- the prober without one source, and without all of them

MISSING = {
    "aio": """
was = syscalls.call
def call(name, *rest):
    if name == "io_setup":
        raise OSError(errno.ENOSYS, "no aio here")
    return was(name, *rest)
syscalls.call = call
""",
    "block_rq_error": """
before = syscalls.call
def traced(name, *rest):
    if name == "fsopen":
        raise PermissionError(errno.EPERM, "kernel is locked down")
    return before(name, *rest)
syscalls.call = traced
""",
    "kmsg": """
open_file = os.open
def refuse(path, *rest, **more):
    if str(path) == "/dev/kmsg":
        raise PermissionError(errno.EPERM, "Operation not permitted")
    return open_file(path, *rest, **more)
os.open = refuse
""",
    "fanotify": """
def mark(self, *rest):
    raise OSError(errno.EINVAL, "Invalid argument")
fs_errors.FsErrors.add = mark
""",
    "inotify": "sys.modules['pyinotify'] = None\n",
    "uevents": """
kind = socket.socket
def make(family=-1, *rest, **more):
    if family == socket.AF_NETLINK:
        raise PermissionError(errno.EPERM, "Operation not permitted")
    return kind(family, *rest, **more)
socket.socket = make
""",
}
PROBER = f"""
import errno, os, socket, sys
sys.path[:0] = [{UTILS!r}]
from pathlib import Path
from vmdk_failover.guest import fs_errors, prober, syscalls
{{}}
print(flush=True)
prober.main(Path(sys.argv[1]), 0)
"""


@contextmanager
def _prober_without(rig: Rig, *sources: str) -> Iterator[None]:
    """A real prober, in a process in which some things cannot be had."""
    rig.state.mkdir(mode=0o700)
    channel.write_config(rig.state, {"pgdata": rig.resource}, rig.places)
    code = PROBER.format("".join(MISSING[one] for one in sources))
    process = rig.run(code, str(rig.state))
    wait_for(lambda: bool(_live(rig)), 10)  # it listens, so nobody starts another
    yield
    assert process.poll() is None


def _live(rig: Rig) -> dict[str, str]:
    said = latest.whole(rig.state, BOOT) or {}
    return dict(said.get("sources") or {})


@pytest.mark.parametrize("source", sorted(MISSING))
def test_a_missing_source_is_told_and_the_others_are_live(rig: Rig, reader: Reader, source: str) -> None:
    rig.mount()
    with _prober_without(rig, source):
        ready(reader)
        assert reader.watch._processes == []  # it is this one that speaks
        found = _live(rig)
        assert found.pop(source).startswith("off: "), found
        assert set(found.values()) == {"live"}, found
        rig.fault.set("all=eio")
        reader.until("io_error", 2.5)


@pytest.mark.parametrize(
    ("fault", "condition", "limit"),
    [("all=eio", "io_error", 2.5), ("all=hang", "hung", 3.0), ("write=eio flush=eio", "io_error", 2.5)],
)
def test_with_nothing_but_mountinfo_and_counters(
    rig: Rig, reader: Reader, fault: str, condition: str, limit: float
) -> None:
    if fault.startswith("write"):  # nobody else tells of it
        rig.resource = dataclasses.replace(rig.resource, write_probe=True)
    rig.mount()
    rig.run(WRITER, str(rig.mountpoint / "file"))
    with _prober_without(rig, *MISSING):
        ready(reader)
        assert sorted(_live(rig).values())[0] == "live"
        rig.fault.set(fault)
        reader.until(condition, limit)


def test_an_unmount_is_seen_at_once_without_all_of_them(rig: Rig, reader: Reader) -> None:
    rig.mount()
    with _prober_without(rig, *MISSING):
        ready(reader)
        rig.umount()
        assert reader.until("unmounted", 2.0) < 0.5
