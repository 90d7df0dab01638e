"""What the prober listens to besides: fanotify and inotify, and how it does without them."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest

from vmdk_failover.guest import fs_errors, latest
from vmdk_failover.guest.error_trace import ErrorTrace
from vmdk_failover.guest.fs_errors import FsErrors, Report
from vmdk_failover.guest.places import boot_clock
from vmdk_failover.guest.sources import Sources
from vmdk_failover.guest.vanishing import Vanishing

from .conftest import BOOT, Reader, Rig, ready, wait_for


def _event(mask: int, *records: tuple[int, bytes]) -> bytes:
    body = b"".join(struct.pack("=BBH", kind, 0, 4 + len(data)) + data for kind, data in records)
    return struct.pack("=IBBHQii", 24 + len(body), 3, 0, 24, mask, -1, 0) + body


FID = (1, struct.pack("=Q", 77) + b"\0" * 12)


def test_what_the_kernel_sends() -> None:
    one = _event(0x8000, FID, (5, struct.pack("=iI", 5, 2)))
    assert fs_errors.parse(one + one) == (Report(77, "EIO", 2),) * 2
    assert fs_errors.parse(_event(0x2, FID, (5, struct.pack("=iI", 5, 2)))) == ()
    assert fs_errors.parse(_event(0x8000, FID)) == ()
    for cut in range(len(one)):
        assert fs_errors.parse(one[:cut]) == ()
    assert fs_errors.parse(b"\0" * 64) == ()


def test_an_ext4_reports_itself(rig: Rig) -> None:
    rig.mount()
    listener = FsErrors()
    try:
        listener.add(str(rig.mountpoint), rig.disk.fs_uuid)
        assert listener.read() == []
        Path(f"/sys/fs/ext4/{rig.fault.loop}/trigger_fs_error").write_text("test")
        found: list[tuple[str, str]] = []
        wait_for(lambda: bool(found.extend(listener.read()) or found))
        assert found[0][0] == str(rig.mountpoint)
        rig.umount()  # the mark keeps nothing mounted
    finally:
        listener.close()


def test_the_end_of_a_file_system_and_of_a_device_node(rig: Rig, run_dir: Path) -> None:
    dev, heard = run_dir / "devices", list[str]()
    dev.mkdir()
    (dev / "sdx").touch()
    rig.mount()
    listener = Vanishing(dev, run_dir / "links", heard.append)
    listener.add(str(rig.mountpoint))
    sources = Sources(lambda _: None)
    sources.listen(listener.fd, listener.read)
    held = open(rig.mountpoint / "file", "w")  # noqa: SIM115 - is closed in the middle
    rig.umount("-l")
    sources.wait(boot_clock() + 0.2)
    assert heard == []  # a lazy unmount with a user is no end
    held.close()
    wait_for(lambda: sources.wait(boot_clock() + 0.05) or heard == [""])  # type: ignore[func-returns-value]
    (dev / "sdx").unlink()
    wait_for(lambda: sources.wait(boot_clock() + 0.05) or heard == ["", "sdx"])  # type: ignore[func-returns-value]


def test_status_tells_what_is_live(reader: Reader, rig: Rig) -> None:
    rig.mount()
    ready(reader)
    said = latest.whole(rig.state, BOOT)
    assert said is not None
    wanted = {"mountinfo", "uevents", "kmsg", "fanotify", "inotify", "block_rq_error", "aio"}
    assert said["sources"] == dict.fromkeys(wanted, "live")
    assert said["pid"] == reader.pid()


def test_it_does_without_pyinotify_and_fanotify(monkeypatch: pytest.MonkeyPatch, run_dir: Path) -> None:
    monkeypatch.setitem(sys.modules, "pyinotify", None)
    monkeypatch.setattr(fs_errors, "_checked", _refuse)
    words: list[str] = []
    sources = Sources(words.append)
    sources.open_vanishing(run_dir, run_dir, lambda _: None)
    sources.open_fs_errors(lambda _a, _b: None)
    assert sources.live["inotify"].startswith("off: ") and sources.live["fanotify"].startswith("off: ")
    assert len(words) == 2
    sources.follow([])


def _refuse(result: int) -> int:
    raise OSError(22, "Invalid argument")


def test_the_end_of_a_lazily_unmounted_file_system_is_told_at_once(reader: Reader, rig: Rig) -> None:
    rig.mount()
    ready(reader)
    with open(rig.mountpoint / "file", "w"):
        rig.umount("-l")
        reader.until("lazily_unmounted")
    assert reader.until("unmounted") < 0.15


def test_an_error_of_ext4_itself_is_told_at_once(reader: Reader, rig: Rig) -> None:
    rig.mount()
    ready(reader)
    Path(f"/sys/fs/ext4/{rig.fault.loop}/trigger_fs_error").write_text("test")
    assert reader.until("fs_error") < 0.1


@pytest.mark.parametrize("count", [1, 70, 1000])
def test_failed_requests_are_traced_for_any_number_of_disks(count: int) -> None:
    ErrorTrace(frozenset(f"{8 + n % 90}:{n}" for n in range(count))).close()
