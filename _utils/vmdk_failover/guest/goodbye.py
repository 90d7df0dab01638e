"""
A node's own shutdown: it says so to the master, signed, and waits for a moment until what is to leave it has left.

The word is one of the node's heartbeats, signed for another purpose. Nothing here touches a disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
# Tells the Salt master that this machine shuts down, before anything is stopped, and waits until disks have left it.
[Unit]
Description=Tell the Salt master about a shutdown (saltext-vmdk)
After=salt-minion.service network.target network-online.target local-fs.target remote-fs.target

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
#: Seconds that salt-call takes besides.
START = 30.0


def unit(call: str, config: str, wait: float) -> str:
    """
    The systemd unit that announces a shutdown.

    :param call: path of ``salt-call``. :param config: the minion's configuration directory. :param wait: seconds.
    """
    return UNIT.format(call=call, config=config, wait=wait, stop=wait + START)


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
