"""The oracle of the simulation is checked: a reason that is true of another node, another fault or another time is not true."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.core import lasting, truth
from tests.core.machines import SimNode
from tests.core.world import World
from vmdk_failover.around import Ailing
from vmdk_failover.engine import Report
from vmdk_failover.model import Condition, Move, MoveKind, Power


@pytest.fixture
def world() -> World:
    """pgdata and mail, side by side on db1 of two nodes; nothing has happened."""
    for seed in range(5000):
        found = World(seed)
        plain = len(found.masters) == 1 and not (found.storeys or found.lasting or found.apart)
        wanted = len(found.vms) == 2 and found.resource.max_failovers_per_hour == 3
        if len(found.resources) == 2 and plain and wanted and not found.journal.state("pgdata").recent:
            found.dice.faulty = False
            for vm in found.vms.values():
                vm.strangers = ()
            if set(found.began.values()) == {"db1"} and len(found.resource.disks) == 1:
                return found
    raise AssertionError("there is no such world")


def part(world: World, resource: int, minion: str) -> SimNode:
    return world.node(world.resources[resource], minion)


def is_true(world: World, rule: int) -> bool:
    return truth.is_true(world, world.resource, Report(world.resource.name, "held", rule, "a test"))


def ended(world: World, count: int = 1, ago: float = 600.0, **more: Any) -> None:
    """Moves of the first resource to db1 that have ended well."""
    journal, of = world.journal, world.resource
    for _ in range(count):
        epoch = journal.state(of.name).epoch + 1
        journal.begin(Move(of, MoveKind.FAILOVER, "db2", "db1", epoch, "a test"))
        entry = {"kind": "failover", "ok": True, "rule": 70, "source": "db2", "target": "db1", "epoch": epoch}
        journal.finish(of.name, {**entry, "ended": world.clock.wall(), **more})
    world.clock.now += ago


def pause_mail(world: World) -> None:
    world.operator.pause(world.resources[1], True)


def test_a_lost_host_may_wait_for_a_task_that_runs_on_the_holder_and_on_no_other(world: World) -> None:
    holder, other = (part(world, 0, minion).vm for minion in ("db1", "db2"))
    world.resources = tuple(
        replace(of, host_fence="own.fence", host_fence_others="stop") for of in world.resources
    )
    world.resource = world.resources[0]
    holder.connected = False
    other.task = "relocate (running)"
    assert not is_true(world, 545)
    holder.task = "relocate (running)"
    assert is_true(world, 545)


def test_a_resource_is_disturbed_where_its_disk_is_and_only_while_it_is_paused(world: World) -> None:
    assert not is_true(world, 638)
    pause_mail(world)
    assert is_true(world, 638)
    disk = world.resources[1].disks[0]
    world.vms["db1"].unplug(disk.path)
    world.vms["db2"].plug(disk)
    assert not is_true(world, 638)


@pytest.mark.parametrize(("source", "so"), [("db1", True), ("db2", False)])
def test_a_move_disturbs_what_is_on_its_source(world: World, source: str, so: bool) -> None:
    pause_mail(world)
    target = "db2" if source == "db1" else "db1"
    epoch = world.journal.state("pgdata").epoch + 1
    world.journal.begin(Move(world.resource, MoveKind.FAILOVER, source, target, epoch, "a test"))
    assert is_true(world, 155) is so


@pytest.mark.parametrize(
    ("count", "ago", "damped", "so"),
    [(3, 600.0, True, True), (2, 600.0, True, False), (3, 4000.0, True, False), (3, 600.0, False, False)],
)
def test_damping_counts(world: World, count: int, ago: float, damped: bool, so: bool) -> None:
    ended(world, count, ago, damped=damped)
    part(world, 0, "db1").trouble = Condition.IO_ERROR
    assert is_true(world, 650) is so
    part(world, 0, "db1").trouble = None
    assert not is_true(world, 650)


@pytest.mark.parametrize(
    ("more", "so"),
    [
        ({}, True),
        ({"condition": "hung"}, False),
        ({"datastores": frozenset({"ds9"})}, False),
        ({"node": "db1"}, False),
        ({"hosts": frozenset({"esx1"})}, False),
        ({"resource": "pgdata"}, False),
    ],
)
def test_a_fellow_suffers_the_same_on_the_same_datastore_elsewhere(world: World, more: Any, so: bool) -> None:
    fellow = {
        "resource": "mail",
        "node": "db2",
        "hosts": frozenset({"esx2"}),
        "condition": "io_error",
        "datastores": frozenset({"ds1"}),
    }
    world.masters[0].vicinity.faults["mail"] = world.clock.now, Ailing(**{**fellow, **more})
    assert not is_true(world, 654)
    part(world, 0, "db1").trouble = Condition.IO_ERROR
    assert is_true(world, 654) is so
    world.clock.now += 600.0
    assert not is_true(world, 654)


@pytest.mark.parametrize(
    ("condition", "source", "so"),
    [("io_error", "db2", True), ("hung", "db2", False), ("io_error", "db1", False)],
)
def test_a_fault_came_along_if_it_was_the_same_on_the_node_before(
    world: World, condition: str, source: str, so: bool
) -> None:
    ended(world, condition=condition, source=source)
    part(world, 0, "db1").trouble = Condition.IO_ERROR
    assert is_true(world, 653) is so


@pytest.mark.parametrize("kind", lasting.KINDS)
def test_what_lasts_is_no_reason_to_hold_while_another_node_is_ready(world: World, kind: str) -> None:
    world.lasting = kind
    lasting.begin(world, world.vms["db1"])
    assert not any(is_true(world, rule) for rule in (520, 630, 648))
    part(world, 0, "db2").unready = ("mount is not installed",)
    stopped = world.vms["db1"].power is not Power.ON
    assert is_true(world, 630 if stopped else 648)


def test_the_last_home_is_out_of_reach_while_its_host_is_and_nobody_has_said_that_it_is_off(
    world: World,
) -> None:
    ended(world)
    home = part(world, 0, "db1").vm
    home.disks = []
    assert not is_true(world, 792) and not is_true(world, 541)
    world.stays, home.connected, home.shown = home, False, Power.ON
    assert is_true(world, 792) and is_true(world, 541)
    lasting.confirm(world)
    assert not is_true(world, 792) and not is_true(world, 541)


@pytest.mark.parametrize("source", ["db1", ""])
def test_where_an_open_move_takes_the_disk_from_is_out_of_reach(world: World, source: str) -> None:
    ended(world)
    epoch = world.journal.state(world.resource.name).epoch + 1
    world.journal.begin(Move(world.resource, MoveKind.FAILOVER, source, "db2", epoch, "a test"))
    origin = part(world, 0, "db1").vm
    assert not is_true(world, 196)
    world.stays, origin.connected, origin.shown = origin, False, Power.ON
    assert is_true(world, 196)
    lasting.confirm(world)
    assert not is_true(world, 196)


def test_vcenter_in_the_dark_is_no_reason_where_it_could_be_mounted_again(world: World) -> None:
    ended(world)
    home = part(world, 0, "db1")
    home.epoch = world.journal.state("pgdata").epoch
    assert not is_true(world, 520)
    world.lasting = lasting.BLIND
    lasting.begin(world, world.vms["db1"])
    assert is_true(world, 520)  # it is mounted
    home.mounted = False
    assert not is_true(world, 520)
    home.unready = ("mount is not installed",)
    assert is_true(world, 520)


def test_a_node_that_cannot_mount_it_is_no_reason_to_hold_while_another_one_is_ready(world: World) -> None:
    holder, other = part(world, 0, "db1"), part(world, 0, "db2")
    assert not is_true(world, 740) and not is_true(world, 732)
    holder.unready = ("mount is not installed",)
    assert not is_true(world, 740)
    other.unready = ("mount is not installed",)
    assert is_true(world, 740)
    other.unready = ()
    ended(world, 3, damped=True)
    assert is_true(world, 732) and not is_true(world, 740)
