"""The saved state that guests are restored from: booted, Salt imported, no disk, no name. Kept by content in build/guest."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tarfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.guest import vm
from lab.qemu import network
from lab.qemu.machine import MEMORY_MB, Hardware, Machine, overlay

HERE = Path(__file__).resolve().parent
PLACE = vm.IMAGE / "template"
_PAYLOAD_SIZE = 1 << 20
_RECIPE = ("agent.py", "machine.py", "template.py")


@dataclass(frozen=True)
class Template:
    """Files of a saved guest: memory, devices, root disk, and the program on its second disk."""

    memory: Path
    state: Path
    root: Path
    payload: Path
    kernel: Path
    initrd: Path


def _template(folder: Path) -> Template:
    return Template(
        folder / "memory",
        folder / "state",
        folder / "root.qcow2",
        folder / "payload.tar",
        vm.IMAGE / "vmlinuz",
        vm.IMAGE / "initrd.gz",
    )


def ready(say: Callable[[str], None] = lambda _: None) -> Template:
    """The template, made anew if image (`vm.build`, before this) or program changed. Call it in the lab's network.

    Raises LabError.
    """
    with open(PLACE.parent / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        digest = hashlib.sha256((vm.IMAGE / "made-from").read_bytes())
        for name in _RECIPE:
            digest.update((HERE / name).read_bytes())
        made_from = PLACE / "made-from"
        if not made_from.exists() or made_from.read_text() != digest.hexdigest():
            say("saving the state of a booted guest; this takes a minute and is kept")
            shutil.rmtree(PLACE, ignore_errors=True)
            PLACE.mkdir()
            _make(_template(PLACE))
            made_from.write_text(digest.hexdigest())
    return _template(PLACE)


def _make(made: Template) -> None:
    with tarfile.open(made.payload, "w") as tar:
        tar.add(HERE / "agent.py", "run.py")
    os.truncate(made.payload, _PAYLOAD_SIZE)
    # by a relative name: the folder of the project may be moved, or be seen under another name
    overlay(Path(os.path.relpath(vm.IMAGE / "root.raw", PLACE)), "raw", made.root)
    with open(made.memory, "wb") as file:
        file.truncate(MEMORY_MB << 20)
    tap = network.make_cable("labtemplate")
    folder = PLACE / "making"
    hardware = Hardware(
        folder, "template", str(uuid.UUID(int=1)), tap, made.kernel, made.initrd, made.payload, made.root
    )
    try:
        machine = Machine(hardware, made.memory, lambda *_: None, lambda: None, share=True)
        try:
            machine.start()
            machine.wait_booted()
            # QEMU does not save the state of the controller's messages about disks that come and go
            quiet = "modprobe -r vmw_pvscsi; sync"
            machine.agent.must("run", argv=["sh", "-c", quiet], seconds=60.0)
            machine.save(made.state)
        finally:
            machine.cut()
    finally:
        network.drop_cable(tap)
    shutil.rmtree(folder)
    for path in (made.memory, made.root):
        path.chmod(0o444)
