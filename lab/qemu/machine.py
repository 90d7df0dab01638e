"""One QEMU process: its command line, boot, saving and restoring its state, its end."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.cell import LabError
from lab.linux import wait_until
from lab.qemu.line import Agent
from lab.qemu.monitor import Monitor

MEMORY_MB = 1024
_BOOT_LIMIT = 240.0
_SAVE_LIMIT = 120.0
_END_LIMIT = 10.0
Started = subprocess.Popen[bytes]
_SHARED = [{"capability": "x-ignore-shared", "state": True}]


@dataclass(frozen=True)
class Hardware:
    """What a machine is made of.

    folder: for its sockets and logs. name: of the node. uuid: SMBIOS. tap: its network device on the host. kernel, initrd,
    payload: files. root: its qcow2 overlay.
    """

    folder: Path
    name: str
    uuid: str
    tap: str
    kernel: Path
    initrd: Path
    payload: Path
    root: Path

    def argv(self, memory: Path | None, share: bool) -> list[str]:
        """How QEMU is called. memory: a file that the guest's memory is in. share: whether its changes go there."""
        folder = self.folder
        ram = f"memory-backend-ram,id=ram0,size={MEMORY_MB}M"
        if memory is not None:
            ram = f"memory-backend-file,id=ram0,size={MEMORY_MB}M,mem-path={memory},share={'on' if share else 'off'}"
        return [
            "qemu-system-x86_64", "-name", self.name, "-machine", "pc,memory-backend=ram0", "-object", ram,
            "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1", "-m", str(MEMORY_MB), "-uuid", self.uuid,
            "-nodefaults", "-display", "none",
            "-kernel", str(self.kernel), "-initrd", str(self.initrd),
            "-append", "console=ttyS0 mitigations=off net.ifnames=0 no_timer_check tsc=reliable nowatchdog panic=-1 quiet",
            "-drive", f"if=none,id=root,file={self.root},format=qcow2", "-device", "virtio-blk-pci,drive=root",
            "-drive", f"if=none,id=payload,file={self.payload},format=raw,readonly=on",
            "-device", "virtio-blk-pci,drive=payload",
            "-netdev", f"tap,id=net0,ifname={self.tap},script=no,downscript=no",
            "-device", "virtio-net-pci,id=nic0,netdev=net0",
            "-device", "pvscsi,id=scsi0,addr=0x10", "-device", "pvscsi,id=scsi1,addr=0x11",
            "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=line,path={folder}/line,server=on,wait=off",
            "-device", "virtserialport,chardev=line,name=lab.line",
            "-chardev", f"socket,id=ack,path={folder}/ack,server=on,wait=off",
            "-device", "virtserialport,chardev=ack,name=lab.ack",
            "-serial", f"file:{folder}/console", "-serial", f"file:{folder}/agent.log",
            "-qmp", f"unix:{folder}/qmp,server=on,wait=off",
        ]  # fmt: skip


class Machine:
    """A QEMU process that stands still until `start` or `restore`.

    memory, share: as in `Hardware.argv`. on_event: told what QEMU tells, in a thread. on_ready: called each time that its
    guest has booted. incoming: it is to be restored. spawn: calls what it is given in a thread that lives as long as QEMU may.
    """

    def __init__(
        self,
        hardware: Hardware,
        memory: Path | None,
        on_event: Callable[[str, dict[str, Any]], None],
        on_ready: Callable[[], None],
        *,
        spawn: Callable[[Callable[[], Started]], Started] = lambda begin: begin(),
        share: bool = False,
        incoming: bool = False,
    ) -> None:
        self.hardware = hardware
        folder = hardware.folder
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("qmp", "line", "ack"):
            with suppress(FileNotFoundError):
                (folder / name).unlink()
        argv = [*hardware.argv(memory, share), "-S", *(("-incoming", "defer") if incoming else ())]
        self._process = spawn(lambda: self._begin(argv))
        try:
            self.monitor = Monitor(folder / "qmp", on_event)
            self.agent = Agent(folder / "line", hardware.name, on_ready)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    def _begin(self, argv: list[str]) -> Started:
        with open(self.hardware.folder / "qemu.log", "ab") as log:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *argv],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """Of QEMU."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether QEMU runs."""
        return self._process.poll() is None

    def start(self) -> None:
        """Let it boot."""
        self.monitor("cont")

    def wait_booted(self) -> None:
        """Wait until its program is there. Raises LabError."""
        if (
            not wait_until(lambda: self.agent.ready.is_set() or not self.alive, _BOOT_LIMIT, 0.05)
            or not self.alive
        ):
            words = (self.hardware.folder / "console").read_text(errors="replace")[-800:]
            raise LabError(
                f"the guest of {self.hardware.name} did not come up within {_BOOT_LIMIT:.0f} s: {words}"
            )

    def save(self, state: Path) -> None:
        """Stop it and save its devices; its memory is in its file already. Raises LabError."""
        self.monitor("stop")
        self.monitor("migrate-set-capabilities", capabilities=_SHARED)
        self.monitor("migrate", uri=f"exec:cat >{state}")
        self._wait_migrated()

    def restore(self, state: Path) -> None:
        """Go on where a saved one stood; the machine was made with `-incoming defer`. Raises LabError."""
        self.monitor("migrate-set-capabilities", capabilities=_SHARED)
        self.monitor("migrate-incoming", uri=f"exec:cat {state}")
        self._wait_migrated()
        self.monitor("cont")

    def _wait_migrated(self) -> None:
        end = time.monotonic() + _SAVE_LIMIT
        while True:
            status = self.monitor("query-migrate").get("status", "none")
            if status == "completed":
                return
            if status == "failed" or time.monotonic() > end:
                raise LabError(
                    f"the state of {self.hardware.name} could not be saved or restored ({status}); "
                    "see qemu.log, or remove build/guest/template"
                )
            time.sleep(0.01)

    def cut(self) -> None:
        """Cut the power: on return QEMU is gone, and so are its locks."""
        with suppress(ProcessLookupError):
            self._process.kill()
        try:
            self._process.wait(_END_LIMIT)
        except subprocess.TimeoutExpired:
            raise LabError(f"QEMU {self.pid} did not die within {_END_LIMIT:.0f} s") from None
        self.agent.close()
        self.monitor.close()


def overlay(base: Path, kind: str, path: Path) -> None:
    """Make a file that keeps the changes to an image. kind: raw or qcow2; a relative base is seen from path. Raises LabError."""
    words = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", os.fspath(base), "-F", kind, os.fspath(path)]
    made = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if made.returncode:
        raise LabError(f"qemu-img could not make {path}: {made.stderr.strip()}")
