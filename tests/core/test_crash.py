"""The engine dies at every single call of a move, before it and after it; the next engine sees the move through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.core.test_engine import SWITCH, Site
from tests.core.world import Crash
from vmdk_failover.model import Condition, Power, Step, StepKind
from vmdk_failover.policy import Wish

PORTS = {
    "hypervisor": ("observe", "power_off", "power_on", "detach", "attach", "seal"),
    "lookout": ("signs",),
    "vicinity": ("look", "ailing", "confirm", "restart"),
    "hooks": ("call",),
    "guest": ("ask", "release", "halt", "mount"),
    "journal": ("write", "_log"),
    "lock": ("node",),
}
HOST_FENCE = "own.host_off"


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


def host_gone(site: Site) -> None:
    """Its host is not connected and its VM runs there, silent for long; the administrator's own fence gets the host off."""
    frozen(site)
    site.db1.vm.connected = False

    def off() -> None:
        site.db1.vm.power = Power.OFF  # nobody in vCenter sees that

    site.hooks.does[HOST_FENCE] = off


def fine(site: Site) -> None:
    pass


def calls_of(what: Callable[[Site], None], wish: Wish | None, options: Mapping[str, Any]) -> int:
    """How many moments the whole move has."""
    site = Site(**options)
    what(site)
    deadly = Deadly(site, 0)
    assert site.run(wish) == ("done", 70)
    return deadly.count


CASES: tuple[tuple[Callable[[Site], None], Wish | None, Mapping[str, Any]], ...] = (
    (hung, None, {}),
    (hung, None, {"on_error": "halt"}),
    (hung, None, {"fence_action": "reboot"}),
    (dead, None, {}),
    (frozen, None, {}),
    (host_gone, None, {"host_fence": HOST_FENCE}),
    (fine, SWITCH, {}),
)


@pytest.mark.parametrize(("what", "wish", "options"), CASES)
def test_crash_at_every_call(
    what: Callable[[Site], None], wish: Wish | None, options: Mapping[str, Any]
) -> None:
    moments = calls_of(what, wish, options)
    assert moments > 30
    for at in range(1, moments + 1):
        site = Site(**options)
        what(site)
        Deadly(site, at)
        with pytest.raises(Crash):
            site.run(wish)
        result, _ = site.run()
        assert result in ("done", "nothing"), at
        nodes = site.guest.nodes.items()
        writers = [m for m, node in nodes if node.can_write(site.resource)]
        listing = [m for m, node in nodes if node.vm.disks and node.vm.power is not Power.OFF]
        assert writers == listing and len(writers) == 1, at
        if wish is None:
            assert writers == ["db2"], at
        assert site.journal.state("pgdata").move is None, at


def test_a_request_that_was_under_way_when_the_engine_died_is_made_impossible() -> None:
    """A step is written down before it is done: nobody else knows that the request may still be carried out."""
    site = Site(3)
    dead(site)

    def die(step: Step) -> None:
        if step == Step(StepKind.ATTACH, "db2"):
            raise Crash  # vCenter has the request; the engine does not live to hear of it

    site.hypervisor.before = die
    with pytest.raises(Crash):
        site.run()
    site.hypervisor.before = lambda step: None
    site.db2.unready = ("mount is not installed",)
    site.told.clear()
    assert site.run() == ("done", 70)
    assert site.acts() == ["seal db2", "attach db3", "mount db3"]
