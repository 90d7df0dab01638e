"""Patients that stay: each with a name of its own, hurt and healed again and again, all watched by one prober."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab import linux, loop
from lab.bench_faults import LOAD, Fault, Patient
from lab.faultdisk import ROOT, DiskError, Disks
from lab.mounts import parse_mounts

sys.path.append(str(ROOT / "_utils"))

from vmdk_failover import model
from vmdk_failover.guest import watch

_BUSY_S, _SUPERBLOCK_S, _PASSING_S = 3.0, 5.0, 14.0
#: Faults after which nothing has to be mounted anew: the file system has not noticed, or has only waited.
_PASSING = ("hang", "read EIO")


class Resident(Patient):
    """A patient of its own name. write_probe: its resource's option; active: under load."""

    def __init__(
        self, run_dir: Path, disks: Disks, reader: Any, fstype: str, load: str, write_probe: bool = False
    ) -> None:
        super().__init__(run_dir, disks, reader, fstype, load)
        self.disks, self.fstype = disks, fstype
        name = f"{fstype}-{self.mountpoint.name.removeprefix('srv')}"
        plain = {**model.to_plain(self.resource), "name": name, "write_probe": write_probe}
        self.resource = model.resource_from_plain(plain)

    @property
    def name(self) -> str:
        """Its resource's."""
        return self.resource.name

    def word(self) -> str:
        said = watch.latest(self.run_dir / "state", self.name)
        return str(said["condition"]) if said else ""

    def suits(self, fault: Fault) -> bool:
        """Whether a fault is measured on such a disk."""
        return fault.applies(self.fstype, self.load) and fault.write_probe <= self.resource.write_probe

    def admit(self) -> None:
        """Mount it and put it under its load."""
        where = [self.fault.path, str(self.mountpoint)]
        subprocess.run(["mount", "-t", self.fstype, *where], check=True, capture_output=True, timeout=30)
        if self.load == "active":
            argv = [sys.executable, "-c", LOAD, str(self.mountpoint / "load")]
            self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)
            assert self.process.stdout is not None
            self.process.stdout.readline()

    def hurt(self, fault: Fault) -> None:
        """Strike it; an unmount is tried again while a probe of the prober's own is in the way. Raises OSError."""
        end = time.monotonic() + _BUSY_S
        while True:
            try:
                fault.strike(self)
                return
            except OSError as problem:
                if problem.errno != errno.EBUSY or time.monotonic() > end:
                    raise
                time.sleep(0.01)

    def heal(self, fault: Fault) -> None:
        """Take a fault back, and mount the file system again where that is needed. Raises OSError, CalledProcessError."""
        gone = False
        try:
            self.fault.set("ok")
        except (DiskError, OSError):
            gone = True
        if fault.name == "overmount":
            linux.umount(str(self.mountpoint))
        elif fault.name == "remount ro":
            linux.mount(None, str(self.mountpoint), None, linux.MS_REMOUNT)
        elif not any(word in fault.name for word in _PASSING) or self._is_marked():
            self.remount(gone)

    def _is_marked(self) -> bool:
        """Whether the file system itself has met the fault: it says so until it is mounted anew."""
        linux.wait_until(lambda: self.word() in ("ok", "fs_error"), _PASSING_S, 0.05)
        return self.word() == "fs_error"

    def remount(self, gone: bool = False) -> None:
        """Unmount and mount again. gone: its device is, so that it gets another one."""
        self.rest()
        self._unmount()
        if gone:
            self.fault.wait_gone(_SUPERBLOCK_S)
            self.fault = self.disks.attach(self.fault.name, str(self.disk.backing))
            fresh = self.link.with_name(f".{self.link.name}")
            fresh.symlink_to(f"../../{self.fault.loop}")
            fresh.rename(self.link)
        self.admit()

    def rest(self) -> None:
        """End its load."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None

    def _is_mounted(self) -> bool:
        table = Path("/proc/thread-self/mountinfo").read_text(encoding="utf-8")
        return any(one.mountpoint == str(self.mountpoint) for one in parse_mounts(table))

    def _unmount(self) -> None:
        end = time.monotonic() + _BUSY_S
        while self._is_mounted():
            try:
                linux.umount(str(self.mountpoint), linux.MNT_DETACH if time.monotonic() > end else 0)
            except OSError as problem:  # a probe of the prober's own holds it for a moment
                if problem.errno != errno.EBUSY:
                    raise
                time.sleep(0.02)
        linux.wait_until(lambda: not loop.has_superblock(self.fault.loop), _SUPERBLOCK_S)

    def free(self) -> None:
        """Take the disk away, so that nobody is stuck on it; `close` must follow."""
        with suppress(DiskError):
            self.fault.drop()
