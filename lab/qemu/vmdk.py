"""Disks as ESXi lays them out (a descriptor and a flat file), and their way into a running machine."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab.cell import LabError
from lab.disk import Disk, make_disk
from lab.node import Locked, Slot
from lab.qemu.monitor import Monitor, Refused

_DESCRIPTOR = """# Disk DescriptorFile
version=1
CID=fffffffe
parentCID=ffffffff
createType="monolithicFlat"

# Extent description
RW {sectors} FLAT "{flat}" 0

# The Disk Data Base
ddb.adapterType = "lsilogic"
ddb.geometry.cylinders = "{cylinders}"
ddb.geometry.heads = "255"
ddb.geometry.sectors = "63"
ddb.uuid = "{uuid}"
ddb.virtualHWVersion = "19"
"""
_STILL = {"iops-total": 1, "bps-total": 1}
_FREE = {"iops-total": 0, "bps-total": 0}
_ERRORS = {"eio": 5, "enospc": 28}
_FREE_UNITS = frozenset(range(16)) - {7}


def make_vmdk(directory: Path, path: str, fstype: str, size_mb: int) -> Disk:
    """Make a VMDK with a file system in it. Returns it; its backing is the descriptor. Raises LabError."""
    made = make_disk(directory, path, fstype, size_mb)
    flat = made.backing.rename(made.backing.with_name(f"{made.name}-flat.vmdk"))
    sectors = size_mb << 11
    digits = made.uuid.replace("-", "")
    pairs = [digits[at : at + 2] for at in range(0, 32, 2)]
    uuid = " ".join(pairs[:8]) + "-" + " ".join(pairs[8:])
    descriptor = directory / f"{made.name}.vmdk"
    descriptor.write_text(
        _DESCRIPTOR.format(
            sectors=sectors, flat=flat.name, cylinders=max(1, sectors // (255 * 63)), uuid=uuid
        )
    )
    return dataclasses.replace(made, backing=descriptor)


def serial(disk: Disk) -> str:
    """What the guest reads as its serial number when disk.EnableUUID is set."""
    return disk.uuid.replace("-", "").lower()


class Drive:
    """A disk in a running machine: image, a place for faults, device. name: unique in the machine's life."""

    def __init__(self, monitor: Monitor, slot: Slot, name: str) -> None:
        self._monitor, self._name, self._bad = monitor, name, ""
        self._hurt = ""
        if slot.bus not in (0, 1) or slot.unit not in _FREE_UNITS:
            raise LabError(f"SCSI {slot.bus}:{slot.unit} is no place for a disk")
        try:
            self._plug(slot)
        except Refused as problem:
            self._clear()
            if '" lock' in str(problem):  # Failed to get shared "write" lock
                raise Locked(f"{slot.disk.path} cannot be opened: {problem}") from None
            raise

    def _plug(self, slot: Slot) -> None:
        name, ask = self._name, self._monitor
        ask("object-add", qom_type="throttle-group", id=f"group-{name}")
        file = {"driver": "file", "filename": str(slot.disk.backing)}
        ask("blockdev-add", driver="vmdk", node_name=f"image-{name}", file=file)
        ask(
            "blockdev-add",
            **{key.replace("-", "_"): value for key, value in self._top(f"image-{name}").items()},
        )
        number = serial(slot.disk)
        ask("device_add", driver="scsi-hd", id=f"disk-{name}", bus=f"scsi{slot.bus}.0", channel=0, lun=0,
            scsi_id=slot.unit, drive=f"top-{name}", vendor="VMware", product="Virtual disk", ver="2.0",
            serial=number, device_id=number)  # fmt: skip

    def _top(self, below: str) -> dict[str, Any]:
        name = self._name
        return {
            "driver": "throttle",
            "node-name": f"top-{name}",
            "throttle-group": f"group-{name}",
            "file": below,
        }

    def unplug(self) -> None:
        """Take it out of the machine, whatever the guest thinks of it. Raises LabError."""
        self._monitor.remove_device(f"disk-{self._name}")
        self._clear()

    def _clear(self) -> None:
        for node in (f"top-{self._name}", self._bad, f"image-{self._name}"):
            with suppress(Refused):  # it was never there
                if node:
                    self._monitor("blockdev-del", node_name=node)
        with suppress(Refused):
            self._monitor("object-del", id=f"group-{self._name}")

    def hurt(self, words: str) -> None:
        """Let requests fail or wait: read, write or all, with eio, enospc or hang; `ok` heals. Raises LabError."""
        if words == self._hurt:
            return  # to heal it for a moment would let requests through
        self._hurt = ""
        self._heal()
        if words == "ok":
            return
        kind, _, act = words.partition("=")
        if act == "hang" and kind == "all":
            self._limit(_STILL)
        elif act in _ERRORS and kind in ("read", "write", "all"):
            self._fail(("read", "write") if kind == "all" else (kind,), _ERRORS[act])
        else:
            raise LabError(
                f"{words!r}: an emulated disk knows all=hang, and read, write or all with eio or enospc"
            )
        self._hurt = words

    def _limit(self, limits: dict[str, int]) -> None:
        self._monitor("qom-set", path=f"/objects/group-{self._name}", property="limits", value=limits)

    def _fail(self, kinds: tuple[str, ...], number: int) -> None:
        rules = [{"event": "none", "errno": number, "iotype": kind} for kind in kinds]
        self._bad = f"bad-{self._name}"
        self._monitor(
            "blockdev-add",
            driver="blkdebug",
            node_name=self._bad,
            image=f"image-{self._name}",
            inject_error=rules,
        )
        self._monitor("blockdev-reopen", options=[self._top(self._bad)])

    def _heal(self) -> None:
        self._limit(_FREE)
        self._monitor("blockdev-reopen", options=[self._top(f"image-{self._name}")])  # lets go what was held
        if self._bad:
            self._monitor("blockdev-del", node_name=self._bad)
            self._bad = ""
