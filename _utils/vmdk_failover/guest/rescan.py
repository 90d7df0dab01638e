"""
Asking the kernel to look for one disk on the SCSI bus, at its recorded unit and nowhere else: a scan of everything would
bring back disks that other resources have released.

VMware's virtual controllers answer at channel 0, target = unit, LUN 0. Which of a guest's SCSI hosts is bus N is not told to
it; VMware gives the controllers PCI slots in the order of their buses, so that is the first guess, and all controllers of the
recorded kind are the second.
"""

from __future__ import annotations

import os
from pathlib import Path

from vmdk_failover.guest.places import Places, names, read
from vmdk_failover.resource import Disk

_KINDS = {"vmw_pvscsi": "pvscsi", "mptspi": "lsilogic", "mptsas": "lsisas", "BusLogic": "buslogic"}
#: From this round on a SAS controller's targets are scanned all: there, targets are numbered by the kernel.
_ANY_TARGET = 3

Scan = tuple[Path, str]


def scans(disk: Disk, tries: int, places: Places) -> tuple[Scan, ...]:
    """
    What to write where so that a missing disk is looked for.

    :param tries: how often this was done before.
    """
    hosts = _hosts(places)
    alike = [host for host, kind in hosts if kind == disk.controller] or [host for host, _ in hosts]
    word = f"0 {disk.unit} 0"
    if tries >= _ANY_TARGET and disk.controller == "lsisas":
        word = "0 - 0"
    known = [host for host, kind in hosts if kind]
    if tries == 0 and disk.bus < len(known) and known[disk.bus] in alike:
        alike = [known[disk.bus]]
    return tuple((places.sys / "class/scsi_host" / host / "scan", word) for host in alike)


def _hosts(places: Places) -> list[tuple[str, str]]:
    """SCSI hosts and their kind of controller (empty: none of VMware's), in the order of their PCI addresses."""
    directory = places.sys / "class/scsi_host"
    hosts = sorted(names(directory), key=lambda host: os.path.realpath(directory / host))
    return [(host, _KINDS.get(read(directory / host / "proc_name") or "", "")) for host in hosts]
