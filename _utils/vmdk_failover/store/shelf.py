"""
The shelf of folders on which masters claim what they do (``claims.py``): what is asked of it, and the one in a directory.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from vmdk_failover.errors import CannotObserve
from vmdk_failover.model import Disk
from vmdk_failover.store import durable

T = TypeVar("T")
#: With these an NFS client asks the server for every look.
WITHOUT_CACHES = "noac,lookupcache=none"


class Shelf(Protocol):
    """Folders of one resource that all masters see."""

    def make(self, *names: str) -> bool:
        """
        Make a folder in a folder that is there; atomic and durable.

        :return: ``True`` if this call made it, ``False`` if it was there.
        :raises FailoverError: it is not known whether it was made, or it was not.
        """

    def look(self) -> Mapping[str, Sequence[str]]:
        """
        Names of all folders, with the names in each.

        :raises FailoverError: they cannot be read.
        """

    def mark(self, disk: Disk, claim: str) -> None:
        """
        Put down that ``claim`` is for the disk, where all masters look, whatever they call its resource; atomic and durable.

        :raises FailoverError: it is not known whether it was put down, or it was not.
        """

    def marks(self, disk: Disk) -> Sequence[str]:
        """
        All that was ever put down for the disk by :meth:`mark`.

        :raises FailoverError: it cannot be read.
        """

    def beside(self, resource: str) -> Shelf:
        """The shelf of another resource that has, or had, a disk of this one's."""


class FileShelf:
    """
    A shelf in a directory that all masters mount (NFS, a cluster file system).

    An empty directory on which nothing is mounted is no shelf: a master that is new here could not tell it from one on which
    nobody has claimed anything yet, and would begin anew beside the others. A person who means it says so with the file ``MARK``.

    NFS clients show each other's folders late unless they are told to ask the server each time; two masters would both hold a
    claim then.

    :param directory: must be there: one that is made on demand would hide that nothing is mounted.
    """

    MARK = "vmdk-claims"
    #: In it a folder for each disk; no resource is called so.
    DISKS = ".disks"

    def __init__(
        self,
        directory: Path,
        resource: str,
        patience: float = durable.PATIENCE,
        mountinfo: Path = Path("/proc/self/mountinfo"),
    ) -> None:
        self._top, self._dir, self._patience = directory, directory / resource, patience
        self._mountinfo = mountinfo

    def make(self, *names: str) -> bool:
        """See the port."""
        return self._try("written", lambda _: self._make(self._dir, names))

    def look(self) -> Mapping[str, Sequence[str]]:
        """See the port."""
        return self._try("read", lambda _: self._look())

    def mark(self, disk: Disk, claim: str) -> None:
        """See the port."""
        self._try("written", lambda _: self._make(self._top / self.DISKS / disk.uuid, [claim]))

    def marks(self, disk: Disk) -> Sequence[str]:
        """See the port."""
        return self._try("read", lambda _: self._marks(disk))

    def beside(self, resource: str) -> Shelf:
        """See the port."""
        return FileShelf(self._top, resource, self._patience, self._mountinfo)

    def _make(self, folder: Path, names: Sequence[str]) -> bool:
        self._check()
        if folder.parent != self._top:
            _made(folder.parent)
        _made(folder)
        return _made(folder.joinpath(*names))

    def _check(self) -> None:
        if not os.listdir(self._top) and not os.path.ismount(self._top):
            words = f"the masters' claims directory {self._top} is empty and nothing is mounted there: mount it, or if it is new"
            raise CannotObserve(f"{words}, say so with 'touch {self._top}/{self.MARK}'")
        if _shows_late(os.stat(self._top).st_dev, self._mountinfo.read_text(errors="surrogateescape")):
            words = f"the masters' claims directory {self._top} is on NFS, and a claim of another master may be seen late there"
            raise CannotObserve(f"{words}: mount it anew with the options {WITHOUT_CACHES}, on all masters")

    def _look(self) -> Mapping[str, Sequence[str]]:
        self._check()
        with contextlib.suppress(FileNotFoundError):
            return {one.name: os.listdir(one.path) for one in os.scandir(self._dir) if one.is_dir()}
        return {}

    def _marks(self, disk: Disk) -> Sequence[str]:
        self._check()
        with contextlib.suppress(FileNotFoundError):
            return os.listdir(self._top / self.DISKS / disk.uuid)
        return []

    def _try(self, what: str, act: Callable[[durable.GivenUp], T]) -> T:
        try:
            return durable.within(self._patience, act)
        except OSError as err:
            raise CannotObserve(
                f"the masters' claims ({self._dir}) cannot be {what}: {err.strerror}; is the directory mounted?"
            ) from err


def _made(place: Path) -> bool:
    """Make a folder that is still there after a crash; whether this call made it."""
    try:
        place.mkdir(mode=0o700)
    except FileExistsError:
        return False
    durable.sync_folder(place.parent)
    return True


def _shows_late(device: int, mountinfo: str) -> bool:
    """Whether the mount with that device number is one of NFS whose client may take what it has seen before for what is there."""
    number = f"{os.major(device)}:{os.minor(device)}"
    for row in mountinfo.splitlines():
        fields, _, tail = row.partition(" - ")
        fstype, _, options = tail.partition(" ")
        options = options.rpartition(" ")[2]
        if f" {number} " in fields and fstype in ("nfs", "nfs4"):
            given = set(options.split(","))
            asks = "noac" in given or {"acdirmin=0", "acdirmax=0"} <= given
            return not asks or "lookupcache=none" not in given
    return False
