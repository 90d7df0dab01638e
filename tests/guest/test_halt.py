"""A halt: what is written where, with a pipe in place of the kernel's trigger."""

from __future__ import annotations

import fcntl
import os
import select
import stat
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmdk_failover.errors import StepFailed
from vmdk_failover.guest import doctor_storage
from vmdk_failover.guest.halt import halt, healthy, words
from vmdk_failover.guest.places import Places

from .conftest import Rig, wait_for


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A pipe as trigger, and the end that hears."""
    path = tmp_path / "sysrq"
    os.mkfifo(path)
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)  # so that it never reads an end of file
    yield path, fd
    os.close(fd)


def _heard(fd: int, seconds: float) -> str:
    ready = select.select([fd], [], [], seconds)[0]
    return os.read(fd, 10).decode() if ready else ""


def _with_cache(tmp_path: Path, *kinds: str) -> Places:
    for number, kind in enumerate(kinds):
        disk = tmp_path / f"sys/class/scsi_disk/{number}:0:0:0"
        disk.mkdir(parents=True)
        (disk / "cache_type").write_text(kind + "\n")
    return Places(sys=tmp_path / "sys")


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ((), ("o", "b")),
        (("write through", "none"), ("o", "b")),
        (("write through", "write back"), ("b",)),
        (("write back, no read (daft)",), ("b",)),
    ],
)
def test_a_volatile_cache_means_reset(
    tmp_path: Path, kinds: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert words(_with_cache(tmp_path, *kinds)) == expected


def test_it_returns_first_then_powers_off_then_resets(pipe: tuple[Path, int], tmp_path: Path) -> None:
    path, fd = pipe
    began = time.monotonic()
    halt(path, _with_cache(tmp_path), delay=1.0, backstop=0.3)
    assert time.monotonic() - began < 0.9
    assert _heard(fd, 10) == "o"
    assert time.monotonic() - began >= 1.0
    assert _heard(fd, 2) == "b"


def test_a_trigger_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StepFailed) as failed:
        halt(tmp_path / "none")
    assert failed.value.code == "no_sysrq"
    assert str(tmp_path / "none") in failed.value.reason
    os.mkfifo(tmp_path / "deaf")
    with pytest.raises(StepFailed):
        halt(tmp_path / "deaf")


def test_a_hung_disk_is_not_touched(pipe: tuple[Path, int], rig: Rig) -> None:
    path, fd = pipe
    rig.mount()
    (rig.mountpoint / "file").write_bytes(b"x" * 4096)
    assert str(rig.mountpoint) not in healthy(rig.resource, rig.places)
    assert "/" in healthy(rig.resource, rig.places)
    rig.fault.set("all=hang")
    before = rig.fault.set("stats")
    began = time.monotonic()
    halt(path, rig.places, backstop=0.1, resource=rig.resource)
    assert _heard(fd, 10) == "o"
    assert time.monotonic() - began < 5.0
    after = rig.fault.set("stats")
    assert {k: before[k] for k in ("write", "flush")} == {k: after[k] for k in ("write", "flush")}


def _is_open(fd: int) -> bool:
    """Whether somebody has the other end of a pipe open for writing; and nothing was written to it."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    seen = poll.poll(0)
    assert not any(event & select.POLLIN for _, event in seen), "the watchdog was fed or disarmed"
    return not any(event & select.POLLHUP for _, event in seen)


def test_a_watchdog_is_armed_before_the_first_word_and_never_fed(
    pipe: tuple[Path, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe stands for the device; what is asked of it by ioctl is written down."""
    path, fd = pipe
    device, asked = tmp_path / "watchdog0", tmp_path / "asked"
    os.mkfifo(device)
    hearing = os.open(device, os.O_RDONLY | os.O_NONBLOCK)

    def ioctl(_: int, number: int, value: bytes) -> int:
        said = tmp_path / "said"
        said.write_text(f"{number:#x} {struct.unpack('i', value)[0]}")
        said.rename(asked)  # whoever sees it reads it whole
        return 0

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    try:
        halt(path, _with_cache(tmp_path), delay=0.3, backstop=0.3, watchdog=device)
        wait_for(asked.exists, 2)
        assert not select.select([fd], [], [], 0)[0]  # no word yet
        assert _is_open(hearing)
        assert asked.read_text() == "0xc0045706 10"
        assert _heard(fd, 2) == "o"
        assert _heard(fd, 2) == "b"
        assert _is_open(hearing)
    finally:
        os.close(hearing)


@pytest.mark.parametrize("kind", ["none", "file"])
def test_a_watchdog_that_cannot_be_armed_does_not_keep_from_halting(
    pipe: tuple[Path, int], tmp_path: Path, kind: str
) -> None:
    """Somebody else feeds it, it is not there, or it has a fixed timeout."""
    path, fd = pipe
    if kind == "file":
        (tmp_path / "watchdog0").touch()
    halt(path, _with_cache(tmp_path), delay=0.0, backstop=0.1, watchdog=tmp_path / "watchdog0")
    assert _heard(fd, 2) == "o"
    assert _heard(fd, 2) == "b"


def test_a_watchdog_that_is_configured_is_looked_at_and_not_opened(tmp_path: Path) -> None:
    opts = {"vmdk": {"watchdog": str(tmp_path / "watchdog0")}}
    missing = list(doctor_storage.watchdog(opts, Places()))
    assert [severity for severity, _, _ in missing] == ["error"]
    os.mknod(
        tmp_path / "watchdog0", stat.S_IFCHR | 0o600, os.makedev(10, 254)
    )  # opening it would fail or start one
    assert list(doctor_storage.watchdog(opts, Places())) == []
    assert list(doctor_storage.watchdog({}, Places())) == []
    with open("/dev/null", "rb") as null, subprocess.Popen(["sleep", "60"], stdin=null) as fed:
        try:
            said = list(doctor_storage.watchdog({"vmdk": {"watchdog": "/dev/null"}}, Places()))
            assert any(f"(pid {fed.pid})" in what for _, what, _ in said)
        finally:
            fed.kill()
