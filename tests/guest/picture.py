"""A picture of sysfs with SCSI disks as files, and programs that stand for LVM's: what this machine's kernel may not have."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import loop
from vmdk_failover.guest.lvm import Tools
from vmdk_failover.guest.places import Places

UUID = "6000c29aaaaaaaaaaaaaaaaaaaaaaaaa"
OTHER = "6000c29bbbbbbbbbbbbbbbbbbbbbbbbb"
VG_UUID = "aaaaaa-bbbb-cccc-dddd-eeee-ffff-gggggg"
LV_UUID = "L" * 32


class Picture:
    """A sysfs with SCSI disks as files. What a kernel does when a file is written is done by `react`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.places = Places(
            sys=root / "sys",
            by_id=root / "by-id",
            dev=root / "dev",
            boot_id=root / "boot_id",
            fstab=root / "fstab",
        )
        for path in (root / "sys/block", root / "sys/class/block", root / "by-id", root / "dev"):
            path.mkdir(parents=True)
        (root / "boot_id").write_text("boot")

    def add(self, name: str, number: str, wwid: str = "", link: str = "") -> Path:
        """A disk appears."""
        directory = self.places.sys / "class/block" / name
        (directory / "device").mkdir(parents=True)
        (directory / "holders").mkdir()
        (directory / "dev").write_text(number + "\n")
        (directory / "stat").write_text("1 0 8 0 1 0 8 0 0 0 0\n")
        (directory / "inflight").write_text("       0        0\n")
        (self.places.sys / "block" / name).symlink_to(directory)
        if wwid:
            (directory / "device/wwid").write_text(f"naa.{wwid}\n")
        if link:
            (self.places.by_id / link).symlink_to(f"../../{name}")
        return directory

    def remove(self, name: str) -> None:
        """A disk goes, as the kernel and udev do it."""
        (self.places.sys / "block" / name).unlink()
        (self.places.sys / "class/block" / name).rename(self.places.sys / f"gone-{name}")

    def host(self, name: str, driver: str, address: str) -> Path:
        """A SCSI host; what is written to its ``scan`` can be read there."""
        real = self.root / "sys/devices/pci0000:00" / address / name / "scsi_host" / name
        real.mkdir(parents=True)
        (real / "proc_name").write_text(driver + "\n")
        (real / "scan").write_text("")
        (self.places.sys / "class/scsi_host").mkdir(exist_ok=True)
        (self.places.sys / "class/scsi_host" / name).symlink_to(real)
        return real / "scan"

    def map(self, name: str, number: str, uuid: str, mapping: str, *below: str) -> Path:
        """A mapping appears on top of other devices."""
        directory = self.places.block(name)
        for part in ("dm", "holders", "slaves"):
            (directory / part).mkdir(parents=True)
        (directory / "dev").write_text(number + "\n")
        (directory / "dm/uuid").write_text(uuid + "\n")
        (directory / "dm/name").write_text(mapping + "\n")
        for one in below:
            (self.places.block(one) / "holders" / name).symlink_to(directory)
            (directory / "slaves" / one).symlink_to(self.places.block(one))
        return directory

    def volume(self, name: str = "dm-0", number: str = "253:0", *below: str, vg: str = VG_UUID) -> Path:
        """A volume of ``pgvg``."""
        return self.map(name, number, f"LVM-{vg.replace('-', '')}{LV_UUID}", "pgvg-data", *below)


#: ``lvm`` and ``dmsetup`` in one: does to the picture what they do to a kernel; ``wish.json`` says what goes wrong.
_PROGRAM = """#!{python}
import json, os, shutil, sys, time
folder = {folder!r}
wish = json.load(open(folder + "/wish.json"))
with open(folder + "/calls", "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
command = sys.argv[1]
for path, text in wish.get("write", {{}}).get(command, {{}}).items():
    open(path, "w").write(text)
time.sleep(wish.get("sleep", {{}}).get(command, 0))
print(wish.get("say", {{}}).get(command, ""))
if command in wish.get("fail", ()):
    sys.exit(5)
if command in wish.get("idle", ()):
    sys.exit(0)
volume = wish["volume"]
here = volume["path"]
if command == "vgchange" and "-ay" in sys.argv and not os.path.exists(here):
    for part in ("dm", "holders", "slaves"):
        os.makedirs(here + "/" + part)
    for name, text in (("dev", volume["number"]), ("dm/uuid", volume["uuid"]), ("dm/name", "pgvg-data")):
        open(here + "/" + name, "w").write(text)
    for below in volume["below"]:
        os.symlink(here, os.path.dirname(here) + "/" + below + "/holders/dm-0")
if (command == "vgchange" and "-an" in sys.argv) or command == "remove":
    shutil.rmtree(here)
    for below in volume["below"]:
        os.unlink(os.path.dirname(here) + "/" + below + "/holders/dm-0")
"""


@dataclass
class FakeLvm:
    """Programs that stand for LVM's on a picture."""

    picture: Picture
    tools: Tools
    wish: dict[str, Any]

    @classmethod
    def on(cls, picture: Picture, number: str, *below: str) -> FakeLvm:
        """One volume group with one volume, on the disks ``below``; the volume gets ``number`` when it is active."""
        program = picture.root / "lvm"
        program.write_text(_PROGRAM.format(python=sys.executable, folder=str(picture.root)))
        program.chmod(0o755)
        uuid = f"LVM-{VG_UUID.replace('-', '')}{LV_UUID}"
        volume = {"path": str(picture.places.block("dm-0")), "number": number, "uuid": uuid, "below": below}
        made = cls(picture, Tools(str(program), str(program)), {"volume": volume})
        made.set(say={"vgs": made.row()})
        return made

    def row(self, **more: str) -> str:
        """What ``vgs`` and ``pvs`` say of the group."""
        fields = {
            "VG_NAME": "pgvg",
            "VG_UUID": VG_UUID,
            "VG_MISSING_PV_COUNT": "0",
            "VG_EXPORTED": "",
            **more,
        }
        return "  " + " ".join(f"LVM2_{key}='{value}'" for key, value in fields.items())

    def set(self, **wishes: Any) -> None:
        """What goes wrong from now on: ``fail``, ``idle`` (commands), ``say``, ``sleep`` and ``write`` by command."""
        self.wish = {**self.wish, **wishes}
        (self.picture.root / "wish.json").write_text(json.dumps(self.wish))

    def calls(self) -> list[list[str]]:
        """The commands that were run."""
        path = self.picture.root / "calls"
        return [json.loads(row) for row in path.read_text().splitlines()] if path.exists() else []


@contextmanager
def blank_devices(count: int) -> Iterator[list[str]]:
    """Block devices with nothing on them, which can be opened exclusively."""
    loops = []
    file = os.memfd_create("blank")
    try:
        os.ftruncate(file, 1 << 20)
        for _ in range(count):
            loops.append(loop.create(file, "blank", direct_io=False))
        yield [one.path for one in loops]
    finally:
        os.close(file)
        for one in loops:
            loop.release(one)
