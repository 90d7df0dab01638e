"""The faults of `make bench-detect`, and the disk that each of them hits."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import linux
from lab.disk import make_disk
from lab.faultdisk import ROOT, Disks

sys.path.append(str(ROOT / "_utils"))

from vmdk_failover import model
from vmdk_failover.guest import watch
from vmdk_failover.guest.places import Places

HANG_TIMEOUT = 1.0
_PROBE_MS, _HANG_MS = 1000, HANG_TIMEOUT * 1000
#: An error that nobody but the prober meets: a read, and a second one within 100 ms that confirms it.
DOUBT = "it is tried again"
FIRST_MS = _PROBE_MS + 50
_EIO_MS = FIRST_MS + 100
_SHUTDOWN, _NO_FLUSH = 0x8004587D, 2

#: Writes through and reads every 20 ms while whoever started it lives.
LOAD = """
import mmap, os, sys, time
fd = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR, 0o600)
os.pwrite(fd, os.urandom(65536), 0)
os.fsync(fd)
direct = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
block = mmap.mmap(-1, 4096)
parent = os.getppid()
print(flush=True)
while os.getppid() == parent:
    try:
        os.pwrite(fd, os.urandom(4096), 0)
        os.fsync(fd)
        os.preadv(direct, [block], 8192)
    except OSError:
        pass
    time.sleep(0.02)
"""


class Patient:
    """A resource with one disk of its own on this node, watched by the one prober.

    watch: the reader. load: idle or active (a process that writes through and reads every 20 ms).
    """

    _count = 0

    def __init__(self, run_dir: Path, disks: Disks, reader: Any, fstype: str, load: str) -> None:
        Patient._count += 1
        self.run_dir, self.watch, self.load = run_dir, reader, load
        self.mountpoint = run_dir / f"srv{Patient._count}"
        self.mountpoint.mkdir()
        self.disk = make_disk(run_dir, f"[ds1] b/disk{Patient._count}.vmdk", fstype)
        self.fault = disks.attach(f"b{Patient._count}", str(self.disk.backing))
        self.process: subprocess.Popen[str] | None = None
        self.busy = -1
        uuid = self.disk.uuid.replace("-", "")
        self.link = _places(run_dir).by_id / f"wwn-0x{uuid}"
        self.link.symlink_to(f"../../{self.fault.loop}")
        self.resource = model.Resource(
            name="bench",
            nodes=(model.Node("a", "u1"), model.Node("b", "u2")),
            disks=(model.Disk(self.disk.path, uuid, 1, 0),),
            mounts=(model.Mount(str(self.mountpoint), self.disk.fs_uuid, fstype),),
            hang_timeout=HANG_TIMEOUT,
        )

    @staticmethod
    @contextmanager
    def watcher(run_dir: Path) -> Iterator[Any]:
        """The reader that starts the one prober."""
        places = _places(run_dir)
        places.by_id.mkdir(parents=True)
        reader = watch.Watch(run_dir / "state", places=places)
        try:
            yield reader
        finally:
            reader.close()
            for process in reader._processes:
                process.kill()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(5)

    def word(self) -> str:
        """The prober's present word."""
        said = watch.latest(self.run_dir / "state", "bench", _places(self.run_dir))
        return str(said["condition"]) if said else ""

    def evidence(self) -> str:
        """What the reader has heard last, also of what needs not be told."""
        return str(self.watch._reports.get("bench", {}).get("evidence", ""))

    @contextmanager
    def mounted(self, fault: Fault) -> Iterator[None]:
        """Mount it and put it under its load."""
        if fault.write_probe:
            self.resource = model.resource_from_plain({**model.to_plain(self.resource), "write_probe": True})
        subprocess.run(["mount", self.fault.path, str(self.mountpoint)], check=True)
        if self.load == "active":
            argv = [sys.executable, "-c", LOAD, str(self.mountpoint / "load")]
            self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
            assert self.process.stdout is not None
            self.process.stdout.readline()
        yield

    def close(self) -> None:
        """Give everything back, whatever the disk does."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
        if self.busy >= 0:
            os.close(self.busy)
        self.link.unlink(missing_ok=True)
        self.fault.host.drop(self.fault.name)
        while f" {self.mountpoint} " in Path("/proc/self/mountinfo").read_text():
            linux.umount(str(self.mountpoint), linux.MNT_DETACH)
        if self.process is not None:
            self.process.wait(10)
            assert self.process.stdout is not None
            self.process.stdout.close()
        self.fault.wait_gone(10)
        self.disk.backing.unlink()
        self.mountpoint.rmdir()


def _places(run_dir: Path) -> Places:
    return Places(by_id=run_dir / "dev/disk/by-id")


@dataclass(frozen=True)
class Fault:
    """One fault. goals: ms when idle and active; None where it is not measured. conditions: what the prober may call it."""

    name: str
    strike: Callable[[Patient], object]
    conditions: tuple[str, ...]
    goals: tuple[float | None, float | None]
    write_probe: bool = False
    only: tuple[str, ...] = ()

    def goal(self, load: str) -> float:
        """Milliseconds that the median should not pass."""
        return self.goals[load == "active"] or 0

    def applies(self, fstype: str, load: str) -> bool:
        """Whether it is measured there."""
        return self.goals[load == "active"] is not None and (not self.only or fstype in self.only)


def _hurt(words: str) -> Callable[[Patient], object]:
    return lambda patient: patient.fault.set(words)


def _umount(flags: int = 0) -> Callable[[Patient], object]:
    return lambda patient: linux.umount(str(patient.mountpoint), flags)


def _overmount(patient: Patient) -> None:
    linux.mount("other", str(patient.mountpoint), "tmpfs")


def _remount(patient: Patient) -> None:
    linux.mount(None, str(patient.mountpoint), None, linux.MS_REMOUNT | linux.MS_RDONLY)


def _trigger(patient: Patient) -> None:
    Path(f"/sys/fs/ext4/{patient.fault.loop}/trigger_fs_error").write_text("bench")


def _shut_down(patient: Patient) -> None:
    fd = os.open(patient.mountpoint, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(fd, _SHUTDOWN, bytes(ctypes.c_uint32(_NO_FLUSH)))
    finally:
        os.close(fd)


def _hot_remove(patient: Patient) -> None:
    """As the kernel and udev do it: the requests fail, the device is announced as removed, its link goes."""
    patient.fault.drop()
    patient.link.unlink()
    Path(f"/sys/block/{patient.fault.loop}/uevent").write_text("remove")


FAULTS = (
    Fault("umount", _umount(), ("unmounted",), (15, None)),
    Fault("umount -l", _umount(linux.MNT_DETACH), ("unmounted", "lazily_unmounted"), (15, 15)),
    Fault("overmount", _overmount, ("wrong_filesystem",), (15, 15)),
    Fault("remount ro", _remount, ("options_changed",), (15, None)),
    Fault("device removed", _hot_remove, ("device_gone",), (250, 250)),
    Fault("disk dies silently", lambda p: p.fault.drop(), ("device_gone", "io_error", "fs_error"), (_EIO_MS, 250)),
    Fault("write EIO", _hurt("write=eio flush=eio"), ("io_error", "fs_error"), (None, 250)),
    Fault("read EIO", _hurt("read=eio"), ("io_error",), (_EIO_MS, 250)),
    Fault("all EIO", _hurt("all=eio"), ("io_error", "fs_error"), (_EIO_MS, 250)),
    Fault("write EIO, write probe", _hurt("write=eio flush=eio"), ("io_error", "fs_error"),
          (_PROBE_MS + 50, None), write_probe=True),
    Fault("all hang", _hurt("all=hang"), ("hung",), (_HANG_MS + _PROBE_MS / 2 + 400, _HANG_MS + 400)),
    Fault("read hang", _hurt("read=hang"), ("hung",), (_HANG_MS + _PROBE_MS / 2 + 400, _HANG_MS + 400)),
    Fault("write hang", _hurt("write=hang flush=hang"), ("hung",), (None, _HANG_MS + 400)),
    Fault("write hang, write probe", _hurt("write=hang flush=hang"), ("hung",),
          (_HANG_MS + _PROBE_MS / 2 + 400, None), write_probe=True),
    Fault("ext4 error", _trigger, ("fs_error",), (250, 250), only=("ext4",)),
    Fault("shutdown", _shut_down, ("fs_error", "io_error"), (250, 250), only=("xfs",)),
)  # fmt: skip
