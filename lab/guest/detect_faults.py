"""
The faults of ``detect_trial.py`` and the disk that they hit: a SCSI disk of a guest, with a file system, under a prober.

Those that a guest can do to itself are struck in it; the others the host does to the device, asked over the line.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab import linux
from lab.guest.inside import dev, host, sh, until, uuid_of
from vmdk_failover.guest import devices
from vmdk_failover.guest.places import HERE
from vmdk_failover.model import Disk, Mount, Node, Resource

HANG_TIMEOUT = 1.0
_PROBE_MS, _HANG_MS = 1000, HANG_TIMEOUT * 1000
#: What wakes nobody is found at the next probe or look, one a second.
NEXT_MS = _PROBE_MS + 50
_EIO_MS = NEXT_MS + 100
_SHUTDOWN, _NO_FLUSH = 0x8004587D, 2
_SRV = Path("/srv/bench")
_FS_UUID = "c0ffee00-0000-4000-8000-000000000002"
_MAKE = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0", "-U", _FS_UUID),
    "xfs": ("mkfs.xfs", "-q", "-f", "-K", "-m", f"uuid={_FS_UUID}"),
}


class Patient:
    """
    A disk of this guest with a file system, mounted for one run after the other.

    :param number: the disk, as the host counts them.
    :param load: program text that writes and reads the file that it is given; empty: nobody uses the disk.

    ``name`` is the kernel's name of the disk as it was when it was mounted.
    """

    def __init__(self, number: int, fstype: str, load: str) -> None:
        self.number, self.fstype, self._load = number, fstype, load
        self._process: subprocess.Popen[str] | None = None
        self._is_spoiled = True
        self.name = self._address = ""
        disk = Disk(f"[ds] {number}.vmdk", uuid_of(number), number % 2, number)
        nodes = (Node("a", "u"), Node("b", "v"))
        mounts = (Mount(str(_SRV), _FS_UUID, fstype),)
        self.resource = Resource("bench", nodes, (disk,), mounts, hang_timeout=HANG_TIMEOUT)

    @property
    def mountpoint(self) -> str:
        """Where it is mounted."""
        return str(_SRV)

    @property
    def is_seen(self) -> bool:
        """The guest has the disk."""
        return devices.find(self.resource.disks[0], HERE) is not None

    def attribute(self, name: str) -> Path:
        """A file of the SCSI device in sysfs."""
        return Path(f"/sys/block/{self.name}/device") / name

    def take(self) -> None:
        """Mount it, with a new file system if the last one was hurt, and put it under its load."""
        until(lambda: self.is_seen)
        sh("udevadm", "settle", "-t", "30")
        self.name = os.path.basename(dev(self.number))
        self._address = os.path.basename(os.path.realpath(f"/sys/block/{self.name}/device"))
        if self._is_spoiled:
            sh(*_MAKE[self.fstype], dev(self.number))
            sh("udevadm", "settle", "-t", "30")
            self._is_spoiled = False
        _SRV.mkdir(parents=True, exist_ok=True)
        linux.mount(dev(self.number), str(_SRV), self.fstype)
        if self._load:
            argv = [sys.executable, "-c", self._load, str(_SRV / "load")]
            self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
            assert self._process.stdout is not None
            self._process.stdout.readline()

    def let_go(self) -> None:
        """Unmount it, whatever was done to it. Nobody uses it when this returns."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(30)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None
        while f" {_SRV} " in Path("/proc/self/mountinfo").read_text():
            linux.umount(str(_SRV), linux.MNT_DETACH)
        until(lambda: not self.is_seen or self._is_free())

    def _is_free(self) -> bool:
        """No file system lives on it; read-only, so that udev does not take it for a change."""
        try:
            os.close(os.open(dev(self.number), os.O_RDONLY | os.O_EXCL))
        except OSError:
            return False
        return True

    def rescan(self) -> None:
        """Have the kernel find a disk that it was told to forget, at its old address."""
        self.let_go()
        where, *word = self._address.split(":")
        Path(f"/sys/class/scsi_host/host{where}/scan").write_text(" ".join(word))

    def attach(self) -> None:
        """Have the host plug it in again."""
        self.let_go()
        host("attach", number=self.number)

    def spoil(self) -> None:
        """Its file system is not to be used again."""
        self._is_spoiled = True


@dataclass(frozen=True)
class Fault:
    """
    One fault.

    :param conditions: what the prober may call it.
    :param goals: ms when idle and active; None where it is not measured.
    :param heal: takes it back, except for the mount and the file system.
    :param only: the one file system that has it; empty: all.
    :param line: part of the kernel's line whose moment counts as the fault's; empty: the moment before the strike.
    :param spoils: the file system is made anew afterwards.
    """

    name: str
    strike: Callable[[Patient], object]
    conditions: tuple[str, ...]
    goals: tuple[float | None, float | None]
    heal: Callable[[Patient], object] = Patient.let_go
    only: str = ""
    line: str = ""
    spoils: bool = True

    def goal(self, load: str) -> float | None:
        """Milliseconds that the median should not pass; None if it is not measured under this load."""
        return self.goals[load == "active"]

    def applies(self, fstype: str, load: str) -> bool:
        """Whether it is measured there."""
        return self.goal(load) is not None and self.only in ("", fstype)


def _umount(flags: int = 0) -> Callable[[Patient], object]:
    return lambda patient: linux.umount(patient.mountpoint, flags)


def _overmount(patient: Patient) -> None:
    linux.mount("other", patient.mountpoint, "tmpfs")


def _remount(patient: Patient) -> None:
    linux.mount(None, patient.mountpoint, None, linux.MS_REMOUNT | linux.MS_RDONLY)


def _say(name: str, word: str) -> Callable[[Patient], object]:
    return lambda patient: patient.attribute(name).write_text(
        f"{word}\n"
    )  # a state without its end of line is refused


def _trigger(patient: Patient) -> None:
    Path(f"/sys/fs/ext4/{patient.name}/trigger_fs_error").write_text("bench")


def _shut_down(patient: Patient) -> None:
    fd = os.open(patient.mountpoint, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(fd, _SHUTDOWN, bytes(ctypes.c_uint32(_NO_FLUSH)))
    finally:
        os.close(fd)


def _by_host(do: str, **more: object) -> Callable[[Patient], object]:
    return lambda patient: host(do, number=patient.number, **more)


#: As ``lab/bench_faults.py`` has them, with the goals of there except for what only a real disk can do.
FAULTS = (
    Fault("umount", _umount(), ("unmounted",), (15, None), spoils=False),
    Fault("umount -l", _umount(linux.MNT_DETACH), ("unmounted", "lazily_unmounted"), (15, 15), spoils=False),
    Fault("overmount", _overmount, ("wrong_filesystem",), (15, 15), spoils=False),
    Fault("remount ro", _remount, ("options_changed",), (15, None), spoils=False),
    Fault("device deleted", _say("delete", "1"), ("device_gone",), (15, 15), Patient.rescan),
    Fault("device hot-removed", _by_host("detach"), ("device_gone",), (15, 15), Patient.attach,
          line="msg: device removed at"),
    Fault("device offline", _say("state", "offline"), ("device_offline", "io_error"), (NEXT_MS, NEXT_MS),
          _say("state", "running")),
    Fault("all EIO", _by_host("eio", on=True), ("io_error", "fs_error"), (_EIO_MS, 250), _by_host("eio", on=False)),
    # QEMU lets one more request through: of an idle disk that is the next probe
    Fault("all hang", _by_host("hang", on=True), ("hung",), (_HANG_MS + 1.5 * _PROBE_MS + 400, _HANG_MS + 400),
          _by_host("hang", on=False)),
    Fault("ext4 error", _trigger, ("fs_error",), (250, 250), only="ext4"),
    Fault("shutdown", _shut_down, ("fs_error", "io_error"), (250, 250), only="xfs"),
)  # fmt: skip
