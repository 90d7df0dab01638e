"""
Whether vCenter and the guest would let each node take its resources' disks, as far as no look shows it: the privilege to attach,
the datastore on the VM's host, ``disk.EnableUUID``.

Asked now and then, outside of every move and in a process of its own; what is found is a note that moves read (``vicinity.py``).
A failover asks nothing more of vCenter. What cannot be found out is no flaw, and a note that is not renewed ends.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from vmdk_failover.app import App
from vmdk_failover.around import Flaws
from vmdk_failover.commands import checkup, panorama
from vmdk_failover.errors import FailoverError
from vmdk_failover.model import Resource

#: A resource is checked again after so many seconds; sooner if a node could not take it, or it could not be checked.
EVERY = 300.0
AGAIN = 30.0
#: Seconds before each round, and how many resources one of them checks: no call to vCenter gets long.
PAUSE = 5.0
BATCH = 50


@dataclass
class Checks:
    """When each resource is to be checked again, and what was told last of a vCenter that does not answer."""

    due: dict[str, float] = field(default_factory=dict)
    told: str = ""

    def turn(self, app: App, now: float) -> None:
        """Check those whose turn has come; a new resource comes at once. Needs no vCenter that answers."""
        resources = app.settings.resources if app.settings.vcenter else {}
        self.due = {name: self.due.get(name, now) for name in resources}
        waiting = sorted(resources, key=self.due.__getitem__)
        turns = [name for name in waiting if self.due[name] <= now][:BATCH]
        self.due.update(dict.fromkeys(turns, now + AGAIN))
        try:
            found = _find(app, {name: resources[name] for name in turns}) if turns else {}
            for name, flaws in found.items():
                app.vicinity.find(name, flaws)
                self.due[name] = now + (AGAIN if flaws else EVERY)
            self.told = ""
        except (FailoverError, OSError) as err:  # the notes end by themselves
            if str(err) != self.told:
                app.warn(f"nodes are not checked: {err}")
            self.told = str(err)


def _find(app: App, resources: Mapping[str, Resource]) -> dict[str, dict[str, Flaws]]:
    """Flaws by resource and node; a resource that cannot be seen now is left out."""
    seen = panorama.read(app, resources)
    patients = [checkup.patient(resources[name], facts) for name, facts in seen.items()]
    found = checkup.in_the_way(app, [one for one in patients if one.refs])
    return {
        name: {minion: Flaws(seen[name].vm(minion).host, words) for minion, words in nodes.items()}
        for name, nodes in found.items()
    }


def check_for_ever(app: App) -> None:
    """Check until the process is ended."""
    checks = Checks()
    while True:
        time.sleep(PAUSE)
        app.__dict__.pop("settings", None)  # the configuration as it is now
        checks.turn(app, time.monotonic())
        if "session" in app.__dict__:
            app.announce.calls(app.session)
