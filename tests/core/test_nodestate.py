"""One word for each node: what the witnesses say of it, put together."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.core.build import THERE, active, gone, resource, says, vm
from vmdk_failover.around import NOTHING_AROUND, Around, Confirmed
from vmdk_failover.judgement import assess, standing
from vmdk_failover.judgement.assess import Snapshot
from vmdk_failover.judgement.nodestate import NodeState, state_of
from vmdk_failover.judgement.policy import Situation, decide
from vmdk_failover.judgement.silence import witnesses
from vmdk_failover.model import HypervisorFacts, NodeFacts, Power, Signs, VmFacts
from vmdk_failover.store.record import Entry

LIMIT = 15.0
#: Longer than that without a word, and what the address does.
DUMB, LIVES, UNTRIED = Signs(60.0, False), Signs(60.0, True), Signs(60.0, None)
LOST = {"connected": False, "host_connected": False, "boot_time": "2026-11-22T10:00:00"}
SAID = Around(confirmed={"db1": Confirmed("esx1", LOST["boot_time"], "somebody said that esx1 is off")})


def seen(
    first: VmFacts, word: NodeFacts | None = None, signs: Signs | None = None, around: Around = NOTHING_AROUND
) -> Snapshot:
    """A look at db1 of which these are the witnesses, beside a db2 that is well."""
    vms = HypervisorFacts(True, "", (first, vm("db2")))
    words = {one.minion: one for one in (word, says("db2")) if one is not None}
    return assess.look(resource(), vms, words, {"db1": signs} if signs else {}, around=around)


def remembered() -> Entry:
    """A journal's memory of a resource that has moved before, and does not now."""
    return Entry(epoch=7)


def state(first: VmFacts, *of: Any, **around: Any) -> NodeState:
    return state_of(seen(first, *of, **around).node("db1"), LIMIT)


@pytest.mark.parametrize("facts", [{}, LOST, {"power": Power.SUSPENDED}, {"heartbeat": "gray"}])
def test_a_node_that_answers_is_healthy_whatever_vcenter_shows(facts: dict[str, Any]) -> None:
    assert state(vm("db1", **facts), says("db1")) is NodeState.HEALTHY


@pytest.mark.parametrize("silent", [-30.0, 0.0, 4.0, 14.9])
@pytest.mark.parametrize("address", [True, False, None])
def test_silence_that_is_excused_or_short_makes_it_suspect(silent: float, address: bool | None) -> None:
    assert state(vm("db1"), None, Signs(silent, address)) is NodeState.SUSPECT


def test_the_resources_own_time_counts() -> None:
    node = seen(vm("db1"), None, Signs(4.0, False)).node("db1")
    assert (state_of(node, 3.0), state_of(node, 4.0)) == (NodeState.ISOLATED, NodeState.ISOLATED)
    assert state_of(node, 4.1) is NodeState.SUSPECT


@pytest.mark.parametrize(
    ("signs", "heartbeat"),
    [(LIVES, "green"), (LIVES, "gray"), (UNTRIED, "green"), (DUMB, "red"), (DUMB, "gray")],
)
def test_long_silence_of_an_agent_or_of_a_dead_guest_is_silence(signs: Signs, heartbeat: str) -> None:
    assert state(vm("db1", heartbeat=heartbeat), None, signs) is NodeState.SILENT


@pytest.mark.parametrize("heartbeat", ["green", "yellow", ""])
def test_a_guest_that_may_live_and_cannot_be_reached_is_isolated(heartbeat: str) -> None:
    assert state(vm("db1", heartbeat=heartbeat), None, DUMB) is NodeState.ISOLATED


def test_off_is_vcenters_current_word_or_somebodys_who_made_sure() -> None:
    assert state(vm("db1", power=Power.OFF), None, DUMB) is NodeState.OFF
    assert state(vm("db1", power=Power.OFF), says("db1")) is NodeState.OFF  # an answer from before
    assert state(vm("db1", **LOST), None, DUMB, around=SAID) is NodeState.OFF
    for stale in ({"power": Power.OFF, **LOST}, {"power": Power.OFF, "connected": None}, LOST):
        assert state(vm("db1", **stale), None, DUMB) is not NodeState.OFF
    assert state(vm("db1", power=Power.SUSPENDED), None, DUMB) is not NodeState.OFF


def test_what_nobody_listened_for_or_cannot_be_told_is_unknown() -> None:
    assert state(vm("db1")) is NodeState.UNKNOWN
    assert state(vm("db1"), None, Signs(None, False)) is NodeState.UNKNOWN
    assert state(gone("db1")) is NodeState.UNKNOWN  # no right to see it looks the same
    stranger = says("db1", smbios="4210aaaa-0000-0000-0000-000000000009")
    mine = vm("db1", smbios="4210aaaa-0000-0000-0000-000000000001")
    assert state(mine, stranger, DUMB) is NodeState.UNKNOWN


def test_the_word_agrees_with_what_follows_for_a_holder() -> None:
    """Each word that is shown is the one that the row's sentence has."""
    met = set()
    for silent, address, heartbeat in itertools.product(
        (None, -1.0, 5.0, 60.0), (True, False, None), ("green", "red", "")
    ):
        look = seen(vm("db1", THERE, heartbeat=heartbeat), None, Signs(silent, address))
        situation = Situation(look, 7, 0.0)
        word, rule = state_of(look.node("db1"), LIMIT), decide(situation).rule
        expected = {
            NodeState.UNKNOWN: {640},
            NodeState.SUSPECT: {642, 643},
            NodeState.SILENT: {644, 645, 647},
            NodeState.ISOLATED: {647},
        }
        assert rule in expected[word], (silent, address, heartbeat, word, rule)
        if rule == 647:
            assert ("is isolated" in witnesses(situation)) is (word is NodeState.ISOLATED)
        met.add((word, rule))
    assert len(met) == 7


def test_status_shows_it_with_what_it_rests_on() -> None:
    look = seen(vm("db1", THERE), None, Signs(42.04, False))
    nodes = standing.of(look, remembered(), 0.0)["nodes"]
    assert {key: nodes["db1"][key] for key in ("state", "silent_for", "address")} == {
        "state": "isolated",
        "silent_for": 42.0,
        "address": False,
    }
    assert {key: nodes["db2"][key] for key in ("state", "silent_for", "address")} == {
        "state": "healthy",
        "silent_for": None,
        "address": None,
    }
    well = seen(vm("db1", THERE), active("db1"))
    assert standing.of(well, remembered(), 0.0)["nodes"]["db1"]["state"] == "healthy"
