"""
The state that the kernel keeps of each SCSI disk. A disk that is taken away says so here first, well before the kernel has ended
what is under way on it and announces that it has gone. The file wakes nobody who polls it (Linux 6.1): it is read when a uevent
says that some disk leaves, and once a second.
"""

from __future__ import annotations

from collections.abc import Set

from vmdk_failover.guest.attribute import Attribute
from vmdk_failover.guest.places import Places

_OFFLINE = frozenset({"offline", "transport-offline"})
#: From these no way leads back.
_LEAVING = frozenset({"cancel", "deleted"})


class ScsiStates:
    """The states of some disks, each in a file that is kept open. Disks without one (loop, virtio) are never in any state."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._of: dict[str, Attribute] = {}

    def keep(self, names: Set[str]) -> None:
        """Follow these disks (kernel names) and no others."""
        for name in self._of.keys() - names:
            self._of.pop(name).close()
        for name in names:
            if name not in self._of or self._of[name].read() is None:
                self._renew(name)

    def _renew(self, name: str) -> None:
        """A name may come back with another disk; until it does, a file that cannot be read any more says that this one goes."""
        old, new = self._of.get(name), Attribute(self._places.block(name) / "device/state")
        if old is None or new.was_there:
            self._of[name] = new
            if old is not None:
                old.close()

    def offline(self) -> list[str]:
        """Names of those that the kernel has set offline."""
        return self._in(_OFFLINE)

    def leaving(self) -> list[str]:
        """Names of those that the kernel is taking away: it says so, or has taken away the file already."""
        gone = [name for name, state in self._of.items() if state.was_there and state.read() is None]
        return gone or self._in(_LEAVING)

    def _in(self, states: Set[str]) -> list[str]:
        return [name for name, state in self._of.items() if state.read() in states]

    def close(self) -> None:
        """Let go of all."""
        self.keep(frozenset())
