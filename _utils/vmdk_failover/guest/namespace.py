"""
Whether what this process mounts is seen by the machine: services are started by process 1, in the mount namespace of that.

A unit with ``PrivateTmp=``, ``ProtectSystem=`` and their like gives the minion a namespace of its own. What is mounted on the
machine comes there; what is mounted there goes nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from vmdk_failover.guest import mounts
from vmdk_failover.guest.mounts import Line
from vmdk_failover.guest.places import Places

REMEDY = "take PrivateTmp, PrivateMounts, ProtectSystem and their like out of its unit, and restart it"
_FIRST = "1"


def fault(places: Places) -> str:
    """A phrase if this process has not process 1's mount namespace, or if that cannot be seen; ``""`` if it has."""
    try:
        own, first = (os.readlink(places.proc / pid / "ns/mnt") for pid in ("self", _FIRST))
    except FileNotFoundError:
        return ""  # a kernel without namespaces
    except OSError as err:
        return f"whether salt-minion has the machine's mount namespace cannot be seen ({err.filename}: {err.strerror})"
    if own == first:
        return ""
    return "salt-minion runs in a mount namespace of its own, so that no service would see what it mounts"


def of_machine(places: Places) -> Sequence[Line]:
    """Mounts that process 1 sees, and with it the services."""
    return mounts.of_process(_FIRST, places)
