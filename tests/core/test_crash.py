"""The engine dies at every single call of a move, before it and after it; the next engine sees the move through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.core.build import WAL
from tests.core.test_engine import SWITCH, Site
from tests.core.world import Crash
from tests.doubles.guest import FakeGuest, FakeNode
from tests.doubles.vicinity import FakeVicinity
from vmdk_failover.errors import StepFailed
from vmdk_failover.judgement.policy import Wish
from vmdk_failover.kin import Neighbour
from vmdk_failover.model import Condition, Move, NodeFacts, Outcome, Power, Resource, Step, StepKind

PORTS = {
    "hypervisor": ("observe", "power_off", "power_on", "detach", "attach", "seal"),
    "lookout": ("signs",),
    "vicinity": ("look", "kin", "ailing", "confirm", "refute", "restart"),
    "hooks": ("call",),
    "guest": ("ask", "release", "halt", "mount"),
    "journal": ("write", "_log"),
    "lock": ("node",),
}
HOST_FENCE, FENCE = "own.host_off", "own.vm_off"


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


class Storeys(Site):
    """``base``, and ``pgdata`` on top of it, both on db1; it is about what ``of`` names."""

    def __init__(self, of: str = "base", **options: Any) -> None:
        super().__init__(**options)
        top = replace(self.resource, depends_on=("base",))
        base = replace(self.resource, name="base", disks=(WAL,))
        self.both = {"base": base, "pgdata": top}
        self.resource = self.both[of]
        below = FakeGuest.of(base, self.hypervisor, self.clock)
        self.db1.vm.plug(WAL)
        below.nodes["db1"].mounted = True
        guests = {"base": below, "pgdata": self.guest}
        self.guest = Guests(guests, guests[of].nodes)  # type: ignore[assignment]
        self.vicinity = Relatives(site=self)


@dataclass
class Guests:
    """The ``Guest`` port over both. :ivar nodes: those of the one that it is about."""

    sides: Mapping[str, FakeGuest]
    nodes: Mapping[str, FakeNode]

    def ask(self, resource: Resource, minions: Sequence[str]) -> Mapping[str, NodeFacts]:
        """See the port."""
        return self.sides[resource.name].ask(resource, minions)

    def release(self, move: Move, facts: NodeFacts) -> Outcome:
        """See the port."""
        return self.sides[move.resource.name].release(move, facts)

    def halt(self, move: Move, facts: NodeFacts) -> Outcome:
        """See the port."""
        return self.sides[move.resource.name].halt(move, facts)

    def mount(self, move: Move, facts: NodeFacts) -> Outcome:
        """See the port."""
        return self.sides[move.resource.name].mount(move, facts)


@dataclass
class Relatives(FakeVicinity):
    """The double, which finds the other one in the journal."""

    site: Storeys | None = None

    def kin(self, resource: Resource) -> Sequence[Neighbour]:
        """See the port."""
        assert self.site is not None
        (other,) = (one for one in self.site.both.values() if one.name != resource.name)
        move = self.site.journal.state(other.name).move
        return [Neighbour(other.name, other.name == "base", other, move)]


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


def cannot_be_powered_off(site: Site) -> None:
    """vCenter refuses; the administrator's own fence gets it off."""
    hung(site)

    def refuse(step: Step) -> None:
        if step.kind is StepKind.FENCE:
            raise StepFailed("vCenter refuses", "no_permission")

    site.hypervisor.before = refuse
    site.hooks.does[FENCE] = lambda: site.db1.vm.turn(Power.OFF)


def unmounted(site: Site) -> None:
    site.db1.mounted = False


def cold(site: Site) -> None:
    """Nobody has the disk."""
    unmounted(site)
    site.db1.vm.disks.clear()


def fine(site: Site) -> None:
    pass


@dataclass(frozen=True)
class Case:
    """:ivar steps: how many the whole move has. :ivar where: it ends there, wherever the engine died; ``""``: on either node."""

    what: Callable[[Site], None]
    steps: int
    where: str = "db2"
    wish: Wish | None = None
    kind: type[Site] = Site
    options: Mapping[str, Any] = field(default_factory=dict)

    def site(self) -> Site:
        site = self.kind(**self.options)
        self.what(site)
        return site

    def moments(self) -> int:
        """How many moments the whole move has."""
        site = self.site()
        deadly = Deadly(site, 0)
        assert site.run(self.wish) == ("done", 70)
        assert len(site.acts()) == self.steps, site.acts()
        return deadly.count


CASES = {
    "hung": Case(hung, 5),
    "halt": Case(hung, 4, options={"on_error": "halt"}),
    "reboot": Case(hung, 6, options={"fence_action": "reboot"}),
    "dead": Case(dead, 3),
    "frozen": Case(frozen, 4),
    "host fence": Case(host_gone, 3, options={"host_fence": HOST_FENCE}),
    "fence hook": Case(cannot_be_powered_off, 8, options={"fence": FENCE}),
    "unmounted": Case(unmounted, 1, "db1"),
    "cold start": Case(cold, 2, "db1"),
    "switchover": Case(fine, 4, "", SWITCH),
    "what is on top goes along": Case(fine, 9, "", SWITCH, Storeys),
    "what is below comes along": Case(hung, 9, "db2", None, Storeys, {"of": "pgdata"}),
}


@pytest.mark.parametrize("name", CASES)
def test_crash_at_every_call(name: str) -> None:
    case = CASES[name]
    for at in range(1, case.moments() + 1):
        site = case.site()
        Deadly(site, at)
        with pytest.raises(Crash):
            site.run(case.wish)
        reports = {of.name: site.engine().run(of) for of in everything(site) * len(everything(site))}
        assert all(report.ok for report in reports.values()), (at, reports)
        where = {of.name: _active(site, of) for of in everything(site)}
        assert len(set(where.values())) == 1 and case.where in ("", *where.values()), (at, where)


def everything(site: Site) -> list[Resource]:
    """What it is about comes first."""
    others = site.both.values() if isinstance(site, Storeys) else ()
    return [site.resource, *(of for of in others if of is not site.resource)]


def _active(site: Site, of: Resource) -> str:
    """The one node that can write, which is the one that lists the disk and is not off; its move has ended."""
    guests = getattr(site.guest, "sides", {of.name: site.guest})
    nodes = guests[of.name].nodes.items()
    writers = [m for m, node in nodes if node.can_write(of)]
    paths = {disk.path for disk in of.disks}
    listing = [
        m for m, n in nodes if paths & {disk.path for disk in n.vm.disks} and n.vm.power is not Power.OFF
    ]
    assert writers == listing and len(writers) == 1, (writers, listing)
    assert site.journal.state(of.name).move is None
    return str(writers[0])


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
