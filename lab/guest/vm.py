"""
A guest under software emulation, with VMware's paravirtual SCSI controllers: what this machine's own kernel may not have (SCSI
disks, device-mapper, a watchdog) is tried there. Needs the image of ``lab/guest/image.sh``; never opens /dev/kvm.

The program in the guest asks for faults by a line ``HOST {json}`` on its serial line and gets an answer before it goes on:
``done``, what the host has to say as JSON, or ``failed`` and why.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.cell import LabError
from lab.guest import salt_tree

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
IMAGE = ROOT / "build/guest"
LIBRARY = ROOT / "_utils/vmdk_failover"
SIZE = 320 << 20


def make(image: Path) -> None:
    """Make an image, whatever lies there; what goes wrong is told on standard error. Raises LabError."""
    made = subprocess.run([HERE / "image.sh", image, sys.executable], check=False)
    if made.returncode:
        raise LabError(
            f"the image of a guest was not made, image.sh ended with {made.returncode}; see the lines before this one"
        )


def build(image: Path = IMAGE, say: Callable[[str], None] = lambda _: None) -> None:
    """Make the image, if there is none of the present recipe.

    It takes packages from the machine's mirror, so call it in the machine's own network. Raises LabError.
    """
    image.mkdir(parents=True, exist_ok=True)
    with open(image / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _build(image, say)


def _build(image: Path, say: Callable[[str], None]) -> None:
    own = (path for path in HERE.iterdir() if path.suffix in ("", ".sh", ".rules") and path.is_file())
    recipe = [path.read_bytes() for path in (*sorted(own), HERE / "salt_tree.py")]
    versions = "".join(f"{one}\n" for one in salt_tree.versions()).encode()
    digest = hashlib.sha256(b"".join([*recipe, versions])).hexdigest()
    made_from = image / "made-from"
    if made_from.exists() and made_from.read_text() == digest:
        return
    say("making the image of a guest; this takes a minute and is kept")
    made_from.unlink(missing_ok=True)
    shutil.rmtree(image / "template", ignore_errors=True)  # the state of a guest of another image
    make(image)
    made_from.write_text(digest)


def _payload(path: Path, program: Path) -> None:
    """The product's node side, the program and what it takes of the lab, as a disk that holds a tar."""
    of_the_lab = (ROOT / "lab/__init__.py", ROOT / "lab/linux.py", *sorted(HERE.glob("*.py")))
    with tarfile.open(path, "w") as tar:
        for file in sorted(LIBRARY.rglob("*.py")):
            tar.add(file, f"vmdk_failover/{file.relative_to(LIBRARY)}")
        for file in of_the_lab:
            tar.add(file, str(file.relative_to(ROOT)))
        tar.add(program, "run.py")


@dataclass
class Vm:
    """
    One running guest.

    :param disks: number of SCSI disks; disk N has serial ``6000c29`` followed by N and is at bus ``N % 2``, unit N.
    """

    folder: Path
    program: Path
    disks: int = 4
    image: Path = IMAGE
    processors: int = 1
    log: list[str] = field(default_factory=list)

    def __enter__(self) -> Vm:
        _payload(self.folder / "payload.tar", self.program)
        for number in range(self.disks):
            with open(self.folder / f"disk{number}.raw", "wb") as file:
                file.truncate(SIZE)
        self._process = subprocess.Popen(self._argv(), stdin=subprocess.DEVNULL)
        try:
            self._qmp = self._connect("qmp").makefile("rw")
            self._qmp.readline()
            self.qmp("qmp_capabilities")
            self._line = self._connect("line")
            for number in range(self.disks):
                self.attach(number)
            self.qmp("cont")
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._line.close()
        self._qmp.close()

    def _argv(self) -> Sequence[str]:
        folder = self.folder
        return [
            "qemu-system-x86_64", "-machine", "pc", "-accel", "tcg,thread=multi", "-cpu", "max",
            "-smp", str(self.processors),
            "-m", "768", "-nodefaults", "-display", "none", "-no-reboot", "-S",
            "-kernel", f"{self.image}/vmlinuz", "-initrd", f"{self.image}/initrd.gz",
            "-append", "console=ttyS0 mitigations=off no_timer_check panic=-1 quiet",
            "-drive", f"if=none,id=root,file={self.image}/root.raw,format=raw,snapshot=on",
            "-device", "virtio-blk-pci,drive=root",
            "-drive", f"if=none,id=payload,file={folder}/payload.tar,format=raw,readonly=on",
            "-device", "virtio-blk-pci,drive=payload",
            "-device", "pvscsi,id=scsi0,addr=0x10", "-device", "pvscsi,id=scsi1,addr=0x11",
            "-serial", f"file:{folder}/console", "-serial", f"unix:{folder}/line,server=on,wait=off",
            "-qmp", f"unix:{folder}/qmp,server=on,wait=off",
        ]  # fmt: skip

    def _connect(self, name: str) -> socket.socket:
        end = time.monotonic() + 10
        while True:
            one = socket.socket(socket.AF_UNIX)
            try:
                one.connect(str(self.folder / name))
                return one
            except OSError:
                one.close()
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)

    def qmp(self, command: str, **arguments: Any) -> Any:
        """Run a command of QEMU's monitor; :raises RuntimeError: if it is refused."""
        self._qmp.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._qmp.flush()
        while True:
            said = json.loads(self._qmp.readline())
            if "error" in said:
                raise RuntimeError(f"{command}: {said['error']['desc']}")
            if "return" in said:
                return said["return"]

    def attach(self, number: int) -> None:
        """Hot-add a disk: its image, a place for faults above it, the device."""
        image = {
            "driver": "file",
            "filename": f"{self.folder}/disk{number}.raw",
            "node-name": f"file{number}",
        }
        self.qmp("object-add", **{"qom-type": "throttle-group", "id": f"group{number}"})
        self.qmp("blockdev-add", **{"driver": "raw", "node-name": f"raw{number}", "file": image})
        self.qmp("blockdev-add", **_filter(number, f"raw{number}"))
        serial = f"6000c29{number:025x}"
        self.qmp("device_add", driver="scsi-hd", id=f"disk{number}", bus=f"scsi{number % 2}.0", channel=0,
                 lun=0, drive=f"top{number}", vendor="VMware", product="Virtual disk", serial=serial,
                 device_id=serial, **{"scsi-id": number})  # fmt: skip

    def detach(self, number: int) -> None:
        """Hot-remove a disk, whatever the guest thinks of it."""
        self.qmp("device_del", id=f"disk{number}")
        end = time.monotonic() + 10
        while True:  # the device goes when the guest's controller has let go
            try:
                self.qmp("blockdev-del", **{"node-name": f"top{number}"})
                break
            except RuntimeError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
        self.qmp("blockdev-del", **{"node-name": f"raw{number}"})
        self.qmp("object-del", id=f"group{number}")

    def eio(self, number: int, on: bool) -> None:
        """Let every read and write of a disk fail, or none any more; a failing flush would keep QEMU from going back."""
        if on:
            rules = [{"event": "none", "errno": 5, "iotype": kind} for kind in ("read", "write")]
            self.qmp("blockdev-add", **{"driver": "blkdebug", "node-name": f"bad{number}", "image": f"raw{number}",
                                        "inject-error": rules})  # fmt: skip
        self.qmp("blockdev-reopen", options=[_filter(number, f"bad{number}" if on else f"raw{number}")])
        if not on:
            self.qmp("blockdev-del", **{"node-name": f"bad{number}"})

    def hang(self, number: int, on: bool) -> None:
        """Let every request to a disk wait, or go on."""
        limits = {"iops-total": 1, "bps-total": 1} if on else {"iops-total": 0, "bps-total": 0}
        self.qmp("qom-set", path=f"/objects/group{number}", property="limits", value=limits)
        if not on:
            self.qmp("blockdev-reopen", options=[_filter(number, f"raw{number}")])

    def lines(self, seconds: float) -> Iterator[str]:
        """What the program says, until its end; its requests are carried out. :raises TimeoutError: if it takes too long."""
        end, rest = time.monotonic() + seconds, b""
        while True:
            self._line.settimeout(max(0.01, end - time.monotonic()))
            more = self._line.recv(4096)
            rest += more
            *whole, rest = rest.split(b"\n")
            for raw in whole:
                line = raw.decode(errors="replace").rstrip("\r")
                if line.startswith("HOST "):
                    self._obey(json.loads(line[5:]))
                else:
                    yield line
                if line.startswith("GUEST-END"):
                    return
            if not more:
                return

    def wait_end(self, seconds: float) -> bool:
        """Whether the machine ends by itself in time: it powers off, or is reset."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _obey(self, order: dict[str, Any]) -> None:
        try:
            said = getattr(self, order.pop("do"))(**order)
            answer = "done" if said is None else json.dumps(said)
        except RuntimeError as err:
            answer = f"failed: {err}"
        self._line.sendall(f"{answer}\n".encode())


def _filter(number: int, below: str) -> dict[str, Any]:
    return {
        "driver": "throttle",
        "node-name": f"top{number}",
        "throttle-group": f"group{number}",
        "file": below,
    }


def scratch() -> str:
    """A folder for a guest's files, in memory if there is room."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp"
