"""A resource's services on this node, for ``doctor`` and ``protect``: known here, and not started by a boot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vmdk_failover.guest.available import ask

#: The unit that announces a shutdown.
ANNOUNCER = "vmdk-shutdown"

#: Severity, what, and what to do.
Said = tuple[str, str, str]


def findings(services: Sequence[str], salt: Mapping[str, Any]) -> Iterator[Said]:
    """
    Look at services.

    :param salt: Salt's execution functions by name; what the init system does not answer in time is not spoken of.
    """
    for name in services:
        if ask(salt, "service.available", name) is False:
            what = f"the service {name} is not known on this node"
            yield "error", what, f"Install it here, or mend its name; 'systemctl status {name}' tells."
        elif ask(salt, "service.enabled", name) is True:
            what = f"the service {name} is started by a boot, also where the disk is not"
            yield "warning", what, f"Run 'systemctl disable {name}': a failover starts it after the mount."


def farewell(names: Sequence[str], salt: Mapping[str, Any]) -> Iterator[Said]:
    """
    Look whether this node announces its shutdown.

    :param names: of the resources that are to leave it then.
    """
    if names and ask(salt, "service.available", ANNOUNCER) is False:
        what = f"{', '.join(names)} is to leave this node when it shuts down (on_shutdown), and nothing announces a shutdown here"
        yield (
            "warning",
            what,
            "Bring the unit of 'salt-call vmdk.shutdown_unit' here; docs/hierarchy.md has the SLS.",
        )
