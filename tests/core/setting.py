"""What a simulated world is made of: resources, masters, and what may happen in it, by the dice of its setting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tests.core import fate
from tests.core.build import DATA, WAL, resource
from tests.core.diary import Diary, SharedDiary, Shelf
from tests.core.surroundings import FENCE_HOST, FENCE_VM, SimVicinity
from tests.doubles.journal import MemoryJournal, MemoryLock
from vmdk_failover.claims import Claims
from vmdk_failover.journal import FileJournal
from vmdk_failover.model import Disk, Mount, Move, MoveKind, Resource

if TYPE_CHECKING:
    from tests.core.world import World

MAIL = Disk("[ds2] shared/mail.vmdk", "6000c29" + "0" * 24 + "9", 1, 2)


@dataclass
class Master:
    """A Salt master: its journal and its locks, and what it notices."""

    name: str
    journal: FileJournal
    vicinity: SimVicinity
    lock: MemoryLock = field(default_factory=MemoryLock)


#: Share of the worlds of two resources in which one of them depends on the other.
STOREYS = 0.25


def settings(setting: Any) -> tuple[Resource, ...]:
    """One resource or two, side by side or one on top of the other, on two or three nodes, with one disk or two."""
    disks = (DATA, WAL) if setting.random() < 0.15 else (DATA,)
    options = {
        "on_error": "halt" if setting.random() < 0.25 else "switchover",
        "on_isolated": "hold" if setting.random() < 0.15 else "fence",
        "on_agent_silent": "fence" if setting.random() < 0.3 else "hold",
        "on_service_failure": "next" if setting.random() < 0.3 else "hold",
        "fence_action": "reboot" if setting.random() < 0.25 else "off",
        "fence": FENCE_VM if setting.random() < 0.25 else "",
        "host_fence": FENCE_HOST if setting.random() < 0.3 else "",
        "host_fence_others": "stop" if setting.random() < 0.4 else "hold",
        "max_failovers_per_hour": setting.choice((1, 3, 3)),
    }
    first = resource(setting.choice((2, 2, 3)), disks, **options)
    if setting.random() < 0.8:
        return (first,)
    mounts = (Mount("/srv/mail", "c0ffee00-0000-4000-8000-000000000009", "ext4"),)
    mail = replace(MAIL, path=MAIL.path.replace("ds2", "ds1")) if setting.random() < 0.5 else MAIL
    second = replace(first, name="mail", disks=(mail,), mounts=mounts)
    storeys = setting.random()
    if storeys >= STOREYS:
        return (first, second)
    found = (first, replace(second, depends_on=(first.name,)))
    return found if storeys < STOREYS / 2 else found[::-1]


def fates(setting: Any) -> tuple[Callable[[fate.Fate], None], ...]:
    """What may happen in a world: everything, a few kinds by chance, or what makes each other worse."""
    share = setting.random()
    if share < 0.3:
        return fate.EVENTS
    return setting.choice(fate.THEMES) if share < 0.6 else tuple(setting.sample(fate.EVENTS, 10))


def lost_hosts(setting: Any, of: tuple[Resource, ...]) -> tuple[Resource, ...]:
    """The same resources, with a way to get hosts off."""
    others = setting.choice(("hold", "stop"))
    return tuple(replace(r, host_fence=FENCE_HOST, host_fence_others=others) for r in of)


def remember(world: World, of: Resource, minion: str) -> None:
    """The resource did not fall from heaven: a move brought it to where it is."""
    journal = world.masters[0].journal
    epoch = journal.state(of.name).epoch + 1
    move = Move(of, MoveKind.START, "", minion, epoch, "it began so", 800)
    journal.begin(move)
    ended = {"kind": "start", "source": "", "target": minion, "epoch": epoch, "ok": True, "rule": 70}
    journal.finish(of.name, {**ended, "ended": world.clock.wall()})
    world.node(of, minion).epoch = epoch


def protect(world: World, of: Resource, minion: str) -> None:
    """Each master has seen it where it is since it was protected; it has never been moved."""
    for master in world.masters:
        master.journal.state(of.name)
        master.journal.sight(of.name, {"node": minion, "epoch": 0})


def masters(world: World, setting: Any) -> list[Master]:
    """One master, or two that claim what they do on a shelf that both see; or two of which nobody thought (``world.apart``)."""
    if world.apart:
        return [_master(world, name, Diary()) for name in ("m1", "m2")]
    if setting.random() < 0.93:
        journal = Diary() if setting.random() < 0.97 else MemoryJournal()
        return [_master(world, "m1", journal)]
    shelves: dict[str, Shelf] = {}
    shelves.update((r.name, Shelf(world, shelves)) for r in world.resources)
    journals = [SharedDiary(claims=Claims(shelves.__getitem__, name)) for name in ("m1", "m2")]
    return [_master(world, journal.claims.master, journal) for journal in journals]


def _master(world: World, name: str, journal: FileJournal) -> Master:
    journal.moment = world.moment
    vicinity = SimVicinity(world=world, clock=world.clock.monotonic)
    made = Master(name, _mortal(world, journal), vicinity)
    vicinity.master = lambda: made
    return made


def _mortal(world: World, journal: Any) -> Any:
    """The engine may die before and after each write."""
    real = journal.write

    def write(*what: Any) -> None:
        world.may_crash()
        real(*what)
        world.may_crash()

    journal.write = write
    return journal
