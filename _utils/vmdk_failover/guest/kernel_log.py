"""What the kernel says of disks and file systems, in its log and its uevents: parsing only, no I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from vmdk_failover.guest.counters import READ, WRITE

FILE_SYSTEM = "fs"
_NAME = r"(?P<name>[a-z][\w!]*(?:-\d+)?)"
#: The block layer's last word on a request: "I/O error, dev sdb, sector 8 op 0x1:(WRITE) flags …".
_REQUEST = re.compile(
    rf"(?P<what>[\w /]+?) error, dev {_NAME}, sector (?P<sector>\d+)(?: op 0x\w+:\((?P<op>\w+)\))?"
)
_BUFFER = re.compile(rf"Buffer I/O error on dev {_NAME},")
_DEVICE = re.compile(rf"(?:EXT4-fs|XFS|BTRFS|JBD2|F2FS-fs|EXT[23]-fs)\b[^(]*\((?:device )?{_NAME}")
_JOURNAL = re.compile(rf"(?:Aborting journal on device|JBD2: .* for) {_NAME}-\d+")
_FATAL = re.compile(
    r"Remounting filesystem read-only|[Ss]hut(?:ting)? ?down|forced readonly|[Aa]borting journal|Detected aborted journal"
    r"|log I/O error|EXT4-fs error|BTRFS critical|BTRFS: error|Corruption|failed to convert unwritten"
    r"|updating journal superblock"
)
_HARMLESS = frozenset({"DISCARD", "SECURE_ERASE", "WRITE_ZEROES"})
#: What the kernel removes first of a SCSI disk: its other faces. The block device follows when its last requests have ended.
_FACES = frozenset({b"SUBSYSTEM=bsg", b"SUBSYSTEM=scsi_generic", b"SUBSYSTEM=scsi_device"})


@dataclass(frozen=True)
class Complaint:
    """
    One line of the kernel about one device.

    :param name: kernel name exactly as in the line, or the journal's name without its suffix.
    :param about: ``read``, ``write`` or ``fs``.
    :param sector: where on the disk (in 512 bytes), -1 if the line does not say so.
    """

    name: str
    about: str
    text: str
    sector: int = field(default=-1, compare=False)


def complaint(record: str) -> Complaint | None:
    """Read one record of /dev/kmsg (``priority,…;text``); ``None`` if it is about no failing disk."""
    text = record.partition(";")[2].partition("\n")[0]
    found = _REQUEST.search(text) or _BUFFER.search(text)
    if found:
        return _of_request(found, text)
    if not _FATAL.search(text):
        return None
    found = _JOURNAL.search(text) or _DEVICE.search(text)
    return Complaint(found["name"], FILE_SYSTEM, text) if found else None


def _of_request(found: re.Match[str], text: str) -> Complaint | None:
    said = found.groupdict()
    operation = said.get("op") or ""
    if operation in _HARMLESS:
        return None
    reads = operation == "READ" or text.endswith("async page read")
    return Complaint(found["name"], READ if reads else WRITE, text, int(said.get("sector") or -1))


def is_leaving(message: bytes) -> bool:
    """Whether a uevent says that some SCSI device is being taken away."""
    return message.startswith(b"remove@") and not _FACES.isdisjoint(message.split(b"\0"))


def uevent(message: bytes) -> tuple[str, str] | None:
    """Action and kernel name of a block device's uevent; ``None`` if it is about something else."""
    head, _, rest = message.partition(b"\0")
    if b"SUBSYSTEM=block" not in rest.split(b"\0"):
        return None
    action, at, path = head.decode(errors="replace").partition("@")
    return (action, path.rpartition("/")[2]) if at else None
