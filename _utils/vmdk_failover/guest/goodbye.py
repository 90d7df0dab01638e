"""
A node's own shutdown: it says so to the master, signed, and waits for a moment until what is to leave it has left.

The word is one of the node's heartbeats, signed for another purpose. Nothing here touches a disk.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vmdk_failover import signing
from vmdk_failover.guest import heartbeat
from vmdk_failover.model import MountState, NodeFacts, Resource

TAG = "vmdk-leaving/"
#: The word is said again after so many seconds: it may have been lost.
AGAIN = 5.0
#: A resource of which nothing was heard for so many seconds is not waited for any longer: nobody moves it.
PATIENCE = 20.0
PAUSE = 0.5

UNIT = """\
# Tells the Salt master that this machine shuts down, and waits until disks have left it. What stands in After= is stopped only
# then: the minion, the network, the mounts, and the services of the resources that this node may hold.
[Unit]
Description=Tell the Salt master about a shutdown (saltext-vmdk)
After={after}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
# a mere 'systemctl stop' of this unit is no shutdown
ExecStop=/bin/sh -c '[ "$(systemctl is-system-running)" != stopping ] || exec {call} -c {config} vmdk.leaving wait={wait:.0f}'
TimeoutStopSec={stop:.0f}

[Install]
WantedBy=multi-user.target
"""
#: What has to be there while it is announced: who tells it, by what, and the mounts.
NEEDED = (
    "salt-minion.service",
    "network.target",
    "network-online.target",
    "local-fs.target",
    "remote-fs.target",
)
#: Seconds that salt-call takes besides.
START = 30.0
#: A name that systemd can have a unit by; anything else in ``After=`` would be another word, or another line.
_UNIT_NAME = re.compile(r"[A-Za-z0-9:_.\\@-]+")
_KINDS = (
    ".service",
    ".socket",
    ".target",
    ".mount",
    ".automount",
    ".swap",
    ".path",
    ".timer",
    ".slice",
    ".scope",
    ".device",
)


def unit(call: str, config: str, wait: float, services: Iterable[str] = ()) -> str:
    """
    The systemd unit that announces a shutdown.

    :param call: path of ``salt-call``. :param config: the minion's configuration directory. :param wait: seconds.
    :param services: names of services or other units that are to run until it is announced and the disks have left.
    """
    after = dict.fromkeys([*NEEDED, *unit_names(services)])
    return UNIT.format(call=call, config=config, wait=wait, stop=wait + START, after=" ".join(after))


def unit_names(services: Iterable[str]) -> list[str]:
    """Names as systemd completes them: without a kind it is a service. What can be no unit's name is left out."""
    known = (one for one in services if _UNIT_NAME.fullmatch(one))
    return [one if one.endswith(_KINDS) else f"{one}.service" for one in known]


def word(minion: str, key: str, address: str = "") -> dict[str, Any]:
    """That this node shuts down, in this boot, signed."""
    beat = heartbeat.heartbeat(minion, key, address)
    body = {name: value for name, value in beat.items() if name != "signature"}
    return signing.sign_heartbeat(key, body, signing.LEAVING)


@dataclass
class Goodbye:
    """
    One shutdown.

    :param look: what this node can say of a resource. :param say: sends the word; false if that did not work.
    :param clock: seconds that only grow.
    """

    resources: Sequence[Resource]
    look: Callable[[Resource], NodeFacts]
    say: Callable[[], bool]
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    said: bool = field(default=False, init=False)

    def leave(self, wait: float) -> Mapping[str, Any]:
        """
        Say it, and wait until what is to leave has left: unmounted, and its disks gone from this machine.

        :param wait: seconds at most.
        :return: ``announced``, and the names of those that have ``left`` and that have ``stayed``.
        """
        began = self.clock()
        before = {r.name: self.look(r) for r in self.resources}
        going = [r for r in self.resources if r.on_shutdown == "switchover" and not _has_left(before[r.name])]
        left: list[str] = []
        next_word = began
        while True:
            now = self.clock()
            if now >= next_word:
                self.said, next_word = self.say() or self.said, now + AGAIN
            facts = {r.name: self.look(r) for r in going}
            left += [name for name, one in facts.items() if _has_left(one)]
            going = [r for r in going if r.name not in left]
            if now - began >= PATIENCE:
                going = [r for r in going if facts[r.name].epoch > before[r.name].epoch]
            if not going or now - began >= wait:
                break
            self.sleep(PAUSE)
        stayed = [r.name for r in self.resources if r.name not in left and not _has_left(self.look(r))]
        return {"announced": self.said, "left": sorted(left), "stayed": sorted(stayed)}


def _has_left(facts: NodeFacts) -> bool:
    return facts.mounted is MountState.UNMOUNTED and facts.device is False
