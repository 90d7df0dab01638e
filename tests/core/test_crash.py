"""The engine dies at every single call of a move, before it and after it; the next engine sees the move through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.core.test_engine import SWITCH, Site
from tests.core.world import Crash
from vmdk_failover.model import Condition, Power
from vmdk_failover.policy import Wish

PORTS = {
    "hypervisor": ("observe", "power_off", "detach", "attach", "seal"),
    "lookout": ("signs",),
    "guest": ("ask", "release", "halt", "mount"),
    "journal": ("write", "_log"),
    "lock": ("node",),
}


class Deadly:
    """Counts every call of every port, and ends the engine at one of them."""

    def __init__(self, site: Site, at: int) -> None:
        self.count, self.at = 0, at
        for port, names in PORTS.items():
            for name in names:
                self.wrap(getattr(site, port), name)

    def wrap(self, port: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(port, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.moment()
            result = real(*args, **kwargs)
            self.moment()
            return result

        setattr(port, name, call)

    def moment(self) -> None:
        self.count += 1
        if self.count == self.at:
            raise Crash


def hung(site: Site) -> None:
    site.db1.trouble = Condition.HUNG


def dead(site: Site) -> None:
    site.db1.vm.turn(Power.OFF)


def frozen(site: Site) -> None:
    """It has been silent for long, and the hint has come."""
    site.db1.frozen = True
    site.lookout.since["db1"] = -100.0


def fine(site: Site) -> None:
    pass


def calls_of(what: Callable[[Site], None], wish: Wish | None) -> int:
    """How many moments the whole move has."""
    site = Site()
    what(site)
    deadly = Deadly(site, 0)
    assert site.run(wish) == ("done", 70)
    return deadly.count


@pytest.mark.parametrize(("what", "wish"), [(hung, None), (dead, None), (frozen, None), (fine, SWITCH)])
def test_crash_at_every_call(what: Callable[[Site], None], wish: Wish | None) -> None:
    moments = calls_of(what, wish)
    assert moments > 30
    for at in range(1, moments + 1):
        site = Site()
        what(site)
        Deadly(site, at)
        with pytest.raises(Crash):
            site.run(wish)
        result, _ = site.run()
        assert result in ("done", "nothing"), at
        writers = [m for m, node in site.guest.nodes.items() if node.can_write(site.resource)]
        listing = [m for m, node in site.guest.nodes.items() if node.vm.disks]
        assert writers == listing and len(writers) == 1, at
        if wish is None:
            assert writers == ["db2"], at
        assert site.journal.state("pgdata").move is None, at
