"""
The input space of the step table for two and three nodes.

The rows look at a node through a few questions (listed? off? current? a task? a snapshot? its word?). Every combination of
answers to these is made from real facts, with every combination of both nodes and of what was tried; the answers themselves
are proved over all raw values in test_assess.py. What an early row decides alone is not multiplied with the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

from tests.core import kindred
from tests.core.build import (
    DATA,
    EPOCH,
    MISPLACED,
    NOWHERE,
    PARTLY,
    THERE,
    UNCLEAR,
    UNREAD,
    VOLATILE,
    WAL,
    active,
    came_to,
    gone,
    look,
    move,
    resource,
    says,
    vm,
)
from vmdk_failover.around import Around, Confirmed, Flaws, Tenant
from vmdk_failover.judgement.homes import GIVEN, HAD
from vmdk_failover.judgement.rules import Case
from vmdk_failover.model import (
    Condition,
    MountState,
    MoveKind,
    NodeFacts,
    Outcome,
    Power,
    Resource,
    Result,
    Signs,
    StepKind,
    VmFacts,
)

Sight = tuple[VmFacts, NodeFacts | None]

PLACES = (NOWHERE, THERE, MISPLACED)
STILL = ({"power": Power.OFF}, {"power": Power.SUSPENDED})
NOT_CURRENT = (
    {"power": Power.UNKNOWN},
    {"power": Power.OFF, "connected": False},
    {"power": Power.OFF, "connected": None},
    {"power": Power.ON, "connected": False},
)


def based(outcomes: tuple[Outcome, ...], basis: str = "1") -> tuple[Outcome, ...]:
    """The same, with the version of the VM that the requests carried; it is "1" everywhere in this space."""
    return tuple(replace(one, basis=basis) for one in outcomes)


LOST_ATTACH = came_to(StepKind.ATTACH, "db2", Result.UNKNOWN)
LOST_DETACH = came_to(StepKind.DETACH, "db1", Result.UNKNOWN)
TRIED: tuple[tuple[Outcome, ...], ...] = (
    based(LOST_ATTACH),
    based(LOST_ATTACH, "0"),
    based(LOST_ATTACH) + came_to(StepKind.SEAL, "db2", times=3),
    based(LOST_DETACH),
    based(LOST_DETACH) + came_to(StepKind.SEAL, "db1", times=3),
    (),
    came_to(StepKind.RELEASE, "db1"),
    came_to(StepKind.HALT, "db1", Result.DONE),
    came_to(StepKind.FENCE, "db1", times=2),
    came_to(StepKind.RELEASE, "db1") + came_to(StepKind.FENCE, "db1", times=3),
    came_to(StepKind.DETACH, "db1", times=5),
    came_to(StepKind.DETACH, "db1", Result.UNKNOWN),
    came_to(StepKind.RELEASE, "db1") + came_to(StepKind.DETACH, "db1", Result.UNKNOWN),
    came_to(StepKind.ATTACH, "db2", times=3),
    came_to(StepKind.ATTACH, "db2", Result.UNKNOWN),
    came_to(StepKind.ATTACH, "db2", Result.UNKNOWN, times=3),
    came_to(StepKind.ATTACH, "db2", Result.UNKNOWN) + came_to(StepKind.RELEASE, "db1"),
    came_to(StepKind.MOUNT, "db2", times=2),
)


def words_of_target(minion: str) -> Iterator[NodeFacts | None]:
    yield None
    yield says(minion)
    yield says(minion, unready=("mount is not installed",))
    yield says(minion, busy="mkfs.xfs (pid 7) has the device open")
    yield says(minion, mounted=MountState.PARTLY)
    yield says(minion, mounted=MountState.FOREIGN)
    yield says(minion, mounted=MountState.UNKNOWN)
    yield active(minion)
    yield active(minion, services=False)
    yield active(minion, unready=("fstab has a line",))
    yield active(minion, condition=Condition.HUNG)


def words_of_source(minion: str) -> Iterator[NodeFacts | None]:
    yield None
    yield active(minion)
    yield active(minion, condition=Condition.IO_ERROR)
    yield says(minion)
    yield says(minion, released=EPOCH)
    yield says(minion, released=EPOCH - 1)


def clean_targets(minion: str = "db2") -> Iterator[Sight]:
    """Targets of which everything is known and on which nothing is under way."""
    yield gone(minion), None
    for where, power in product(PLACES, STILL):
        yield vm(minion, where, **power), None
    for where, word in product(PLACES, words_of_target(minion)):
        yield vm(minion, where), word
    yield vm(minion, slots=frozenset({(1, 0)})), says(minion)
    yield vm(minion, controllers=((1, "lsilogic"),)), says(minion)
    yield vm(minion, controllers=None), says(minion)
    yield vm(minion, connected=False), None
    yield vm(minion, power=Power.UNKNOWN), says(minion)


def clean_sources(minion: str = "db1") -> Iterator[Sight]:
    """Other nodes of which everything is known and on which nothing is under way."""
    yield gone(minion), None
    for where, snapshot in product(PLACES, (False, True, None)):
        for power in STILL:
            yield vm(minion, where, snapshot=snapshot, **power), None
        for word in words_of_source(minion):
            yield vm(minion, where, snapshot=snapshot), word
    yield vm(minion, connected=False), None


def dirty(minion: str) -> Iterator[Sight]:
    """Nodes of which something that matters is unknown, or on which something is under way."""
    calm = (
        says(minion),
        says(minion, released=EPOCH),
        active(minion),
        active(minion, condition=Condition.HUNG),
    )
    for word in (None, *calm):
        for where, facts in product((THERE, MISPLACED), NOT_CURRENT):
            yield vm(minion, where, **facts), word
        for where in (UNCLEAR, UNREAD):
            yield vm(minion, where), word
            yield vm(minion, where, power=Power.OFF), word
        for where, task in product((NOWHERE, THERE), ("relocate (running)", None)):
            yield vm(minion, where, task=task), word
            yield vm(minion, where, task=task, power=Power.OFF), word
    yield vm(minion), says(minion, epoch=EPOCH + 1)
    yield vm(minion, THERE), active(minion, epoch=EPOCH + 1)


def third_nodes() -> Iterator[Sight]:
    """A third node outside the move."""
    minion = "db3"
    yield vm(minion), says(minion)
    yield vm(minion, THERE), active(minion)
    yield vm(minion, THERE), None
    for snapshot in (False, True, None):
        yield vm(minion, THERE, power=Power.OFF, snapshot=snapshot), None
    yield vm(minion, THERE, power=Power.SUSPENDED), None
    yield vm(minion, THERE, power=Power.OFF, connected=False), None
    yield vm(minion, THERE, power=Power.OFF, task="relocate"), None
    yield vm(minion, UNCLEAR), says(minion)
    yield vm(minion, task="relocate"), says(minion)
    yield vm(minion), says(minion, epoch=EPOCH + 1)


def kinds(two: Resource) -> Iterator[tuple[MoveKind, str, Resource]]:
    """(kind, source, resource) of moves to ``db2``."""
    halting = resource(len(two.nodes), on_error="halt")
    yield MoveKind.FAILOVER, "db1", two
    yield MoveKind.FAILOVER, "db1", halting
    yield MoveKind.SWITCHOVER, "db1", two
    yield MoveKind.START, "", two
    yield MoveKind.REPAIR, "db2", two


def clean_cases() -> Iterator[Case]:
    two = resource(2)
    for (first, word), (second, other) in product(clean_sources(), clean_targets()):
        for kind, source, of in kinds(two):
            seen = look(of, (first, second), (word, other))
            begun = move(of, kind, source)
            for tried in TRIED:
                yield Case(begun, seen, tried, EPOCH)


def dirty_cases() -> Iterator[Case]:
    """One node or both are dirty. Nothing was tried, or an attach was: no early row may be saved by a later one."""
    two = resource(2)
    pairs = [*product(dirty("db1"), clean_targets()), *product(clean_sources(), dirty("db2"))]
    for (first, word), (second, other) in pairs:
        for kind, source, of in kinds(two):
            if of.on_error == "halt":
                continue
            seen = look(of, (first, second), (word, other))
            yield Case(move(of, kind, source), seen, (), EPOCH)
            yield Case(move(of, kind, source), seen, based(LOST_ATTACH), EPOCH)


def three_node_cases() -> Iterator[Case]:
    three = resource(3)
    chosen = [s for s in clean_targets() if s[0].present and s[0].power is Power.ON]
    lost = came_to(StepKind.ATTACH, "db2", Result.UNKNOWN)
    for third, (first, word), (second, other) in product(third_nodes(), clean_sources(), chosen):
        seen = look(three, (first, second, third[0]), (word, other, third[1]))
        for kind, source in ((MoveKind.FAILOVER, "db1"), (MoveKind.REPAIR, "db2")):
            for tried in ((), lost, based(lost)):
                yield Case(move(three, kind, source), seen, tried, EPOCH)


def two_disk_cases() -> Iterator[Case]:
    """Each node lists none, one or both of two disks."""
    pair = (DATA, WAL)
    of = resource(2, pair)
    states = [{"power": Power.ON}, {"power": Power.OFF}, {"power": Power.SUSPENDED}]
    for here, there, one, other in product(
        (NOWHERE, PARTLY, THERE), (NOWHERE, PARTLY, THERE), states, states
    ):
        vms = (vm("db1", here, pair, **one), vm("db2", there, pair, **other))
        for words in (
            (says("db1", released=EPOCH), says("db2")),
            (active("db1"), says("db2")),
            (None, active("db2")),
        ):
            seen = look(of, vms, words)
            for kind, source, _ in kinds(of):
                begun = move(of, kind, source)
                for tried in TRIED:
                    yield Case(begun, seen, tried, EPOCH)


def closed_cases() -> Iterator[Case]:
    """Paused, unreadable, or of another epoch, each with everything else as good as it can be, and as bad."""
    of = resource(2)
    for word in words_of_source("db1"):
        for other in words_of_target("db2"):
            for where in ((THERE, NOWHERE), (NOWHERE, NOWHERE), (NOWHERE, THERE)):
                vms = (vm("db1", where[0]), vm("db2", where[1]))
                seen, blind = look(of, vms, (word, other)), look(of, vms, (word, other), readable=False)
                yield Case(move(of), seen, (), EPOCH, paused=True)
                yield Case(move(of), blind, (), EPOCH)
                yield Case(move(of), seen, based(LOST_ATTACH), EPOCH, paused=True)
                yield Case(move(of), seen, (), EPOCH + 1)
                yield Case(move(of), seen, (), EPOCH - 1)


#: SMBIOS UUIDs of a node's VM and of a clone of it.
MACHINE, OTHER = "4237bbbb-1234-5678-9abc-000000000001", "4237cccc-1234-5678-9abc-000000000009"
#: What may be known around db1.
AROUND = (
    Around(),
    Around(tenants={"db1": (Tenant("wal"),)}),
    Around(tenants={"db1": (Tenant("wal"), Tenant("logs", True))}),
    Around(tenants={"db1": (Tenant("wal", discards=True),)}),
    Around(confirmed={"db1": Confirmed("esx1", "", "alice said that esx1 is off")}),
    Around(confirmed={"db1": Confirmed("esx9", "", "alice said that esx9 is off")}),
    Around(confirmed={"db1": Confirmed("esx1", "later", "alice said that esx1 is off")}),
    Around(to_restart=frozenset({"db1"})),
    Around(tenants={"db1": (Tenant("wal"),)}, to_restart=frozenset({"db1"})),
    Around(flaws={"db2": Flaws("esx1", ("datastore ds1 is not accessible",))}),
)
FENCED = came_to(StepKind.RELEASE, "db1") + came_to(StepKind.FENCE, "db1", times=3)
HELPED: tuple[tuple[Outcome, ...], ...] = (
    (),
    based(LOST_ATTACH),
    came_to(StepKind.RELEASE, "db1"),
    FENCED,
    FENCED + came_to(StepKind.FENCE_HOOK, "db1", times=2),
    came_to(StepKind.FENCE_HOST, "db1", times=2),
    came_to(StepKind.DETACH, "db1", times=5),
    came_to(StepKind.POWER_ON, "db1"),
)


def strained(minion: str = "db1") -> Iterator[Sight]:
    """A node that was the holder, with all that neighbours, hosts and questions make of it."""
    states: tuple[dict[str, Any], ...] = (
        {},
        {"power": Power.OFF},
        {"power": Power.SUSPENDED},
        {"connected": False},
        {"connected": False, "power": Power.OFF},
        {"connected": False, "host_connected": True},
        {"connected": False, "snapshot": None, "task": None},
        {"connected": None},
    )
    for where, state in product((NOWHERE, THERE, MISPLACED, UNCLEAR), states):
        yield vm(minion, where, **state), None
    for beside in ((("web1", ""),), None):
        yield vm(minion, THERE, connected=False, beside=beside), None
    for word in (says(minion), active(minion, condition=Condition.IO_ERROR), says(minion, released=EPOCH)):
        yield vm(minion, THERE), word
        yield vm(minion, THERE, connected=False), word
    for smbios in (MACHINE, OTHER):
        yield vm(minion, THERE, smbios=MACHINE), says(minion, released=EPOCH, smbios=smbios)
    for state in states[:4]:
        yield vm(minion, VOLATILE, **state), None
    for word in (says(minion), active(minion, condition=Condition.IO_ERROR), says(minion, released=EPOCH)):
        yield vm(minion, VOLATILE), word
    yield vm(minion, THERE, question="Cancel?"), None
    yield vm(minion, THERE, question="Cancel?", task="powerOn"), None
    yield vm(minion, THERE, power=Power.OFF, question="moved?", task="powerOn"), None


def around_cases() -> Iterator[Case]:
    """Everything that is known around a resource, with every way to help."""
    ready = (
        (vm("db2"), says("db2")),
        (vm("db2", THERE), says("db2")),
        (vm("db2", THERE), active("db2")),
        (vm("db2", task="relocate"), says("db2")),
        (vm("db2", question="Cancel?"), says("db2")),
        (vm("db2"), None),
        (vm("db2", THERE, power=Power.OFF), None),
        (vm("db2", smbios=MACHINE), says("db2", smbios=OTHER)),
    )
    ways: tuple[dict[str, Any], ...] = (
        {},
        {"fence": "own.fence", "host_fence": "own.host", "fence_action": "reboot"},
        {"host_fence": "own.host", "host_fence_others": "stop"},
        {"on_error": "halt"},
    )
    for (first, word), (second, other), around, options in product(strained(), ready, AROUND, ways):
        of = resource(2, **options)
        seen = look(of, (first, second), (word, other), around=around)
        for kind, source in (
            (MoveKind.FAILOVER, "db1"),
            (MoveKind.SWITCHOVER, "db1"),
            (MoveKind.REPAIR, "db2"),
        ):
            plain = of.on_error != "halt" and of.host_fence_others != "stop"
            full = kind is MoveKind.FAILOVER and plain
            for tried in HELPED if full else HELPED[::4]:
                yield Case(move(of, kind, source), seen, tried, EPOCH)
        yield Case(move(of), seen, (), EPOCH, paused=True)


#: What may be noticed of a silent node.
NOTICED = (
    Signs(),
    Signs(50.0, False, 50.0),
    Signs(50.0, True, 50.0),
    Signs(-9.0, None, 0.4),
    Signs(9.0, False, 9.0),
)


def word_cases() -> Iterator[Case]:
    """Somebody said that the host of db1 is off, and something on that host may show life."""
    of, lost = resource(3), {"connected": False}
    said = Confirmed("esx1", "", "alice said that esx1 is off", ago=30.0)
    words = (replace(said, ago=None), said, replace(said, against="db1 has answered since"))
    neighbours: tuple[tuple[VmFacts, NodeFacts | None, Signs], ...] = (
        (vm("db3", host="esx3"), says("db3"), Signs()),
        (vm("db3", **lost), says("db3"), Signs()),
        *((vm("db3", **lost), None, one) for one in NOTICED),
        (vm("db3", host="esx3", **lost), says("db3"), Signs()),
    )
    sources = (None, says("db1"), active("db1"))
    targets = ((NOWHERE, says("db2")), (THERE, says("db2")), (THERE, active("db2")))
    for word, (third, other, sign), signs, answer, (where, ready) in product(
        words, neighbours, NOTICED, sources, targets
    ):
        around = Around(confirmed=dict.fromkeys(("db1", "db3"), word))
        vms = (vm("db1", THERE, **lost), vm("db2", where, host="esx2"), third)
        noticed = {"db1": signs, "db3": sign}
        seen = look(of, vms, (answer, ready, other), around=around, signs=noticed)
        for kind, source, _ in kinds(of):
            yield Case(move(of, kind, source), seen, (), EPOCH)


def blind_words(minion: str) -> Iterator[NodeFacts | None]:
    """What a node may say while vCenter cannot be read."""
    yield None
    for device in (True, False, None):
        yield says(minion, device=device)
        yield active(minion, device=device)
    yield says(minion, device=True, epoch=EPOCH + 1)
    yield says(minion, device=False, epoch=EPOCH + 1)
    yield says(minion, device=True, superblock=None)
    yield says(minion, device=True, superblock=True)
    yield says(minion, device=True, busy="fsck")
    yield says(minion, device=True, unready=("no tools",))
    yield says(minion, device=True, mounted=MountState.PARTLY)
    yield says(minion, device=True, mounted=MountState.UNKNOWN)
    yield says(minion, device=True, condition=Condition.DEVICE_OFFLINE)
    yield active(minion, device=True, condition=Condition.IO_ERROR)
    yield active(minion, device=True, services=False)


def blind_cases() -> Iterator[Case]:
    """vCenter cannot be read, in every kind of move."""
    of = resource(2)
    for word, other in product(blind_words("db1"), blind_words("db2")):
        seen = look(of, (), (word, other), readable=False)
        for kind, source, _ in kinds(of):
            for begun in (move(of, kind, source), replace(move(of, kind, source), rule=515)):
                yield Case(begun, seen, (), EPOCH)
                yield Case(begun, seen, (), EPOCH, paused=True)
                yield Case(begun, seen, (), EPOCH + 1)
                yield Case(begun, seen, came_to(StepKind.MOUNT, "db2", times=2), EPOCH)


def kin_cases() -> Iterator[Case]:
    """Other resources of the hierarchy, on either side of a move."""
    of = resource(2)
    sources = (
        (vm("db1", THERE), active("db1")),
        (vm("db1", THERE), says("db1", released=EPOCH)),
        (vm("db1", THERE), None),
        (vm("db1"), says("db1")),
        (vm("db1", THERE, power=Power.OFF), None),
    )
    targets = (
        (vm("db2"), says("db2")),
        (vm("db2", THERE), says("db2")),
        (vm("db2", THERE), active("db2")),
    )
    asked = came_to(StepKind.ALONG, "db1", Result.DONE)
    called = came_to(StepKind.ALONG, "db2", Result.DONE)
    lost = based(LOST_ATTACH)
    tried = (
        (),
        asked,
        called,
        asked + called,
        came_to(StepKind.ALONG, "db1", code="busy"),
        lost,
        lost + called,
    )
    for (first, word), (second, other), kin in product(sources, targets, kindred.every()):
        seen = replace(look(of, (first, second), (word, other)), kin=kin)
        for kind, source, _ in kinds(of):
            for rule, outcomes in product((555, 570), tried):
                yield Case(replace(move(of, kind, source), rule=rule), seen, outcomes, EPOCH)


def outdated_cases() -> Iterator[Case]:
    """vCenter's word about the node that the disk comes from is an old one, and shows no disk."""
    of = resource(2)
    states = (*NOT_CURRENT, {"connected": False, "host_connected": True})
    words = (
        None,
        says("db1"),
        says("db1", device=False),
        says("db1", released=EPOCH, device=True),
        active("db1", device=True),
    )
    targets = ((vm("db2"), says("db2")), (vm("db2", THERE), says("db2")), (vm("db2"), None))
    left = product((StepKind.RELEASE, StepKind.DETACH), (Result.DONE, Result.FAILED, Result.UNKNOWN))
    tried = ((), *(came_to(kind, "db1", result) for kind, result in left), LOST_ATTACH, based(LOST_ATTACH))
    origins = (
        (MoveKind.FAILOVER, "db1", {}),
        (MoveKind.SWITCHOVER, "db1", {"db2": HAD}),
        (MoveKind.START, "", {}),
        (MoveKind.START, "", {"db1": HAD}),
        (MoveKind.START, "", {"db2": GIVEN, "db1": HAD}),
    )
    for state, word, (second, other), around in product(states, words, targets, (*AROUND[:1], *AROUND[4:7])):
        seen = look(of, (vm("db1", **state), second), (word, other), around=around)
        for (kind, source, last), outcomes in product(origins, tried):
            yield Case(move(of, kind, source), seen, outcomes, EPOCH, last=last)
            yield Case(move(of, kind, source), seen, outcomes, EPOCH, missing_ok=("db1",), last=last)


def every_case() -> Iterator[Case]:
    """The whole space; each case once."""
    for part in (
        closed_cases,
        clean_cases,
        dirty_cases,
        three_node_cases,
        two_disk_cases,
        around_cases,
        word_cases,
        blind_cases,
        kin_cases,
        outdated_cases,
    ):
        yield from part()
