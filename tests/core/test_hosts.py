"""Hosts that are gone, fences that do not work, nodes that run again after a fence, neighbours: the engine on doubles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.core.test_engine import FORCE, SWITCH, Site, until_decided
from tests.doubles.guest import FakeNode
from tests.doubles.hypervisor import FakeVm
from vmdk_failover.around import Ailing, Confirmed, Tenant
from vmdk_failover.errors import Busy, FailoverError, OutcomeUnknown, StepFailed
from vmdk_failover.judgement.situation import UNLUCKY
from vmdk_failover.model import Condition, HypervisorFacts, Node, Power, Resource, StepKind, Timeouts


@pytest.fixture
def site() -> Site:
    return Site()


def lose_host(node: FakeNode) -> None:
    """The host is cut from vCenter and from the network; what runs there is not known."""
    node.vm.connected, node.cut = False, True


def say_off(site: Site, minion: str = "db1", **other: str) -> None:
    """A person says that the host of a node is off."""
    vm = site.hypervisor.observe(site.resource).vm(minion)
    known = {"host": vm.host, "boot_time": vm.boot_time, **other}
    site.vicinity.confirm(minion, Confirmed(known["host"], known["boot_time"], "alice said that esx1 is off"))


def crash(node: FakeNode) -> None:
    """What a host that is off does to its VMs; vCenter cannot see it."""
    node.mounted, node.frozen = False, True


# -- a host that is gone --------------------------------------------------------------------------------------


def test_a_host_that_is_gone_holds_and_names_the_ways_out(site: Site) -> None:
    lose_host(site.db1)
    report = site.engine().run(site.resource)
    assert (report.result, report.rule, site.acts()) == ("held", 545, [])
    for words in ("esx1 is not connected", "vSphere HA", "vmdk.confirm_off db1", "host_fence"):
        assert words in report.reason


def test_a_node_that_answers_behind_a_lost_host_stays_where_it_is(site: Site) -> None:
    site.db1.vm.connected = False
    report = site.engine().run(site.resource)
    assert (report.result, report.rule, site.acts()) == ("held", 545, [])
    assert "db1 answers" in report.reason and "reconnect esx1" in report.reason


def test_a_persons_word_lets_the_resource_move_and_the_old_vm_is_cleaned_later(site: Site) -> None:
    lose_host(site.db1)
    crash(site.db1)
    site.hypervisor._check_lock = lambda vm, disk: None  # type: ignore[method-assign] # the lock of a dead host runs out
    say_off(site)
    assert site.run() == ("done", 70)
    assert site.acts() == ["attach db2", "mount db2"]
    assert [d.path for d in site.db1.vm.disks] == [site.resource.disks[0].path]
    assert site.run() == ("nothing", 600)
    site.db1.vm.connected, site.db1.cut = True, False
    site.db1.vm.turn(Power.OFF)  # what vCenter sees when the host is back
    assert site.run() == ("done", 70)
    assert site.acts()[2:] == ["detach db1"]
    assert (site.db1.vm.disks, site.db2.mounted) == ([], True)


def test_a_word_that_was_wrong_ends_with_a_hold_and_not_with_two_writers(site: Site) -> None:
    """The host lives and keeps the lock: the attach is refused, the disk stays where it is."""
    lose_host(site.db1)
    say_off(site)
    result, _ = site.run()
    assert (result, site.db2.vm.disks, site.db1.mounted) == ("held", [], True)
    assert set(site.acts()) == {"attach db2"}


def test_a_node_that_answers_makes_the_word_void(site: Site) -> None:
    site.db1.vm.connected = False
    say_off(site)
    assert (site.run(), site.acts()) == (("held", 545), [])


def with_a_wrong_word(nodes: int = 2, **options: Any) -> Site:
    """db1's host is cut off and said to be off, while db1 writes on; VMFS does not save the day."""
    site = Site(nodes, **options)
    site.hypervisor._check_lock = lambda vm, disk: None  # type: ignore[method-assign]
    site.guest.nodes["db2"].vm.host = "esx2"
    lose_host(site.db1)
    say_off(site)
    return site


def held(site: Site) -> str:
    """It stays with db1, and why."""
    assert (site.run(), site.db2.vm.disks, site.db1.mounted) == (("held", 545), [], True)
    return str((site.journal.state("pgdata").hold or {})["reason"])


VOID = "alice said that esx1 is off, but db1 has {} since: that word is void for every node of that host"


def test_a_word_does_not_count_again_when_the_node_that_answered_is_silent() -> None:
    site = with_a_wrong_word()
    site.db1.cut = False
    assert VOID.format("answered") in held(site)
    for fault in ("silent", "cut", "frozen"):  # one after the other: in the end nothing shows life any more
        setattr(site.db1, fault, True)
        site.clock.now += 20.0
        assert VOID.format("answered") in held(site)
    say_off(site)  # by now it may be
    crash(site.db1)
    assert site.run() == ("done", 70)


def test_a_heartbeat_that_nobody_looked_at_makes_the_word_void() -> None:
    site = with_a_wrong_word()
    site.clock.now += 30.0
    site.lookout.last["db1"] = site.clock.now - 10.0
    assert VOID.format("sent a signed heartbeat") in held(site)
    del site.lookout.last["db1"]  # the master has booted
    held(site)


def test_a_heartbeat_that_was_under_way_with_the_word_stops_it_for_a_moment_only() -> None:
    site = with_a_wrong_word()
    crash(site.db1)
    site.lookout.last["db1"] = site.clock.now + 1.0
    site.clock.now += 2.0
    assert site.run() == ("held", 545)
    assert "db1 sent a signed heartbeat a moment ago: that word does not count now" in str(site.told)
    site.clock.now += 30.0
    assert site.run() == ("done", 70)


def test_an_address_that_answers_counts_against_a_word_as_long_as_it_does() -> None:
    site = with_a_wrong_word()
    site.db1.silent, site.db1.cut = True, False
    words = held(site)
    assert "but the address of db1 answers: that word does not count now" in words
    assert "another machine has taken it: take it away from that one" in words
    crash(site.db1)
    site.clock.now += 20.0
    assert site.run() == ("done", 70)


@pytest.mark.parametrize("sign", ["answers", "address"])
def test_one_node_that_lives_is_enough_against_a_word_about_its_host(sign: str) -> None:
    site = with_a_wrong_word(3)
    db3 = site.guest.nodes["db3"]
    db3.vm.connected, db3.silent = False, sign == "address"
    assert f"but {'the address of db3 answers' if sign == 'address' else 'db3 has answered since'}" in held(
        site
    )
    db3.cut = True
    site.clock.now += 20.0
    if sign == "answers":
        held(site)
    else:
        assert site.run() == ("done", 70), "whoever has that address, it says nothing any more"


def with_a_neighbour(connected: bool, host: str = "esx1", **options: Any) -> tuple[Site, FakeNode]:
    """db9, of another resource, was on db1's host when that was said to be off."""
    site = with_a_wrong_word(**options)
    node = Node("db9", "00000000-0000-0000-0000-000000000009")
    vm = FakeVm(node.vm_uuid, "db9", host=host)
    vm.connected = connected
    site.hypervisor.vms.append(vm)
    site.guest.nodes["db9"] = FakeNode(vm)
    site.vicinity.nodes = (*site.resource.nodes, node)
    site.vicinity.confirm("db9", site.vicinity.confirmed["db1"])
    return site, site.guest.nodes["db9"]


@pytest.mark.parametrize("sign", ["heartbeat", "address"])
def test_a_node_of_another_resource_on_that_host_is_enough_too(sign: str) -> None:
    site, db9 = with_a_neighbour(False)
    site.clock.now += 30.0
    if sign == "heartbeat":
        site.lookout.last["db9"], db9.cut = site.clock.now - 10.0, True
        assert "but db9 has sent a signed heartbeat since: that word is void" in held(site)
        assert {word.against for word in site.vicinity.confirmed.values()} == {
            "db9 has sent a signed heartbeat since"
        }
    else:
        db9.silent = True
        assert "but the address of db9 answers: that word does not count now" in held(site)


def test_a_neighbour_that_vsphere_ha_has_restarted_elsewhere_says_nothing_of_the_host() -> None:
    site, _ = with_a_neighbour(True, "esx2")
    crash(site.db1)
    site.clock.now += 30.0
    site.lookout.last["db9"] = site.clock.now
    assert site.run() == ("done", 70)


def test_a_neighbour_of_which_nobody_knows_where_it_runs_stops_the_word_and_does_not_void_it() -> None:
    site, _ = with_a_neighbour(True, "esx2")
    site.clock.now += 30.0
    site.lookout.last["db9"] = site.clock.now - 10.0
    observe = site.hypervisor.observe

    def observed(of: Resource) -> HypervisorFacts:
        seen = observe(of)
        return seen if of.disks else replace(seen, readable=False)

    site.hypervisor.observe = observed  # type: ignore[method-assign]
    assert "that word does not count now" in held(site)
    assert [word.against for word in site.vicinity.confirmed.values()] == ["", ""]


def test_a_host_whose_word_was_disproved_is_fenced_as_if_nobody_had_said_anything() -> None:
    site = with_a_wrong_word(host_fence="ipmi.off")
    site.hooks.does["ipmi.off"] = lambda: crash(site.db1)
    site.db1.cut = False
    held(site)
    site.db1.cut = True
    held(site)
    site.clock.now += 60.0
    assert site.run() == ("done", 70)
    assert site.acts() == ["fence_host db1", "attach db2", "mount db2"]
    assert len(site.hooks.calls) == 1


def test_a_word_that_does_not_count_does_not_count_for_the_fence_of_the_host_either() -> None:
    options = {"host_fence": "ipmi.off", "host_fence_others": "stop", "timeouts": Timeouts(ask=0.1)}
    site, db9 = with_a_neighbour(False, **options)
    db9.silent = True  # its address answers
    site.hooks.does["ipmi.off"] = lambda: (crash(site.db1), crash(db9))[0]
    held(site)
    site.clock.now += 60.0
    assert site.run() == ("done", 70)
    assert (site.acts(), len(site.hooks.calls)) == (["fence_host db1", "attach db2", "mount db2"], 1)


@pytest.mark.parametrize("other", [{"host": "esx9"}, {"boot_time": "2027-01-01T00:00:00+00:00"}])
def test_a_word_about_another_host_or_boot_is_not_meant(site: Site, other: dict[str, str]) -> None:
    lose_host(site.db1)
    say_off(site, **other)
    assert (site.run(), site.acts()) == (("held", 545), [])


def test_the_word_ends_when_the_host_is_back(site: Site) -> None:
    lose_host(site.db1)
    say_off(site)
    site.db1.vm.connected, site.db1.cut = True, False
    assert site.run() == ("nothing", 600)
    lose_host(site.db1)
    assert (site.run(), site.acts()) == (("held", 545), [])


def test_ha_has_restarted_the_vm_elsewhere(site: Site) -> None:
    """It runs on another host, without the mount: it is mounted there again, nothing is fenced."""
    lose_host(site.db1)
    assert site.run() == ("held", 545)
    site.db1.vm.host, site.db1.vm.connected, site.db1.cut = "esx2", True, False
    site.db1.vm.boots += 1
    assert site.run() == ("done", 70)
    assert site.acts() == ["mount db1"]


# -- a host fence ---------------------------------------------------------------------------------------------


def with_host_fence(does: Callable[[Site], FailoverError | None], **options: Any) -> Site:
    site = Site(host_fence="ipmi.off", **options)
    site.hypervisor._check_lock = lambda vm, disk: None  # type: ignore[method-assign]
    site.hooks.does["ipmi.off"] = lambda: does(site)
    lose_host(site.db1)
    return site


def test_a_host_fence_is_called_for_a_host_that_is_gone() -> None:
    site = with_host_fence(lambda s: crash(s.db1))
    assert site.run() == ("held", 545)
    site.clock.now += 60.0
    assert site.run() == ("done", 70)
    assert site.acts() == ["fence_host db1", "attach db2", "mount db2"]
    assert [(name, facts["host"], facts["node"]) for name, facts in site.hooks.calls] == [
        ("ipmi.off", "esx1", "db1")
    ]


@pytest.mark.parametrize("error", [StepFailed("the BMC said no"), OutcomeUnknown("no answer")])
def test_a_host_fence_that_does_not_work_holds(error: FailoverError) -> None:
    site = with_host_fence(lambda s: error)
    site.run()
    site.clock.now += 60.0
    result = site.run()
    assert (result, site.acts(), site.db1.mounted) == (("held", 45), ["fence_host db1"] * 2, True)
    assert error.reason in str(site.journal.state("pgdata").hold)


@pytest.mark.parametrize("others", ["hold", "stop"])
def test_a_host_is_fenced_under_somebody_elses_vm_only_if_that_is_wanted(others: str) -> None:
    site = with_host_fence(lambda s: crash(s.db1), host_fence_others=others)
    site.db1.vm.strangers = ("web1",)
    site.run()
    site.clock.now += 60.0
    result = site.run()
    if others == "stop":
        assert (result, site.acts()) == (("done", 70), ["fence_host db1", "attach db2", "mount db2"])
    else:
        assert (result, site.hooks.calls) == (("held", 545), [])
        assert "web1" in str(site.journal.state("pgdata").hold)


def test_a_neighbour_that_came_after_the_decision_spares_the_host() -> None:
    site = with_host_fence(lambda s: crash(s.db1))
    site.run()
    site.clock.now += 60.0
    site.journal.begin = _and(site.journal.begin, lambda: setattr(site.db1.vm, "strangers", ("web1",)))  # type: ignore[method-assign]
    assert (site.run(), site.hooks.calls) == (("held", 45), [])


def _and(first: Callable[[Any], None], then: Callable[[], None]) -> Callable[[Any], None]:
    def both(value: Any) -> None:
        first(value)
        then()

    return both


def test_a_host_is_not_fenced_while_the_node_lives() -> None:
    site = with_host_fence(lambda s: None)
    site.db1.cut, site.db1.silent = False, True  # its address answers
    for _ in range(5):
        site.clock.now += 100.0
        assert site.run() == ("held", 545)
    assert site.hooks.calls == []


# -- fences that do not work ----------------------------------------------------------------------------------


def stubborn(site: Site) -> None:
    """vCenter does not get the VM off."""
    site.db1.trouble = Condition.HUNG

    def refuse(step: Any) -> None:
        if step.kind is StepKind.FENCE:
            raise StepFailed("the VM does not go off", "step_failed")

    site.hypervisor.before = refuse


def test_a_fence_is_tried_three_times_and_held_with_the_ways_out(site: Site) -> None:
    stubborn(site)
    report = site.engine().run(site.resource)
    assert (report.result, report.rule) == ("held", 160)
    assert site.acts() == ["release db1", *["fence db1"] * 3]
    assert "the VM does not go off" in report.reason and "vmdk.confirm_off db1" in report.reason


def test_a_hook_comes_after_vcenters_fence_and_is_believed_only_when_vcenter_shows_it() -> None:
    site = Site(fence="own.fence")
    stubborn(site)
    site.hooks.does["own.fence"] = lambda: None  # it says so, and it is not true
    assert site.run() == ("held", 160)
    assert site.acts() == ["release db1", *["fence db1"] * 3, *["fence_hook db1"] * 2]
    assert (site.db1.mounted, site.db2.vm.disks) == (True, [])


def test_a_hook_that_works_ends_the_fence() -> None:
    site = Site(fence="own.fence")
    stubborn(site)
    site.hooks.does["own.fence"] = lambda: site.db1.vm.turn(Power.OFF)
    assert site.run() == ("done", 70)
    assert site.acts()[3:] == ["fence db1", "fence_hook db1", "detach db1", "attach db2", "mount db2"]


# -- fence_action: reboot -------------------------------------------------------------------------------------


def test_a_fenced_node_stays_off_by_default(site: Site) -> None:
    site.db1.trouble = Condition.HUNG
    assert site.run() == ("done", 70)
    assert (site.db1.vm.power, site.db1.vm.disks) == (Power.OFF, [])


def test_a_fenced_node_runs_again_after_the_arrival() -> None:
    site = Site(fence_action="reboot")
    site.db1.trouble = Condition.HUNG
    assert site.run() == ("done", 70)
    assert site.acts()[-3:] == ["attach db2", "mount db2", "power_on db1"]
    assert (site.db1.vm.power, site.db1.mounted, site.db2.mounted) == (Power.ON, False, True)
    assert site.vicinity.restarts == set()
    assert site.run() == ("nothing", 600), "nothing fails back by itself"


def left_off() -> Site:
    """db1 was fenced to run again, has lost the disk, and was not started with the move."""
    site = Site(fence_action="reboot")
    site.run(SWITCH)
    site.db1.vm.turn(Power.OFF)
    site.vicinity.restarts.add("db1")
    return site


def test_a_fenced_node_that_could_not_be_started_with_the_move_is_started_later() -> None:
    site = left_off()
    site.db1.vm.task = "relocate"
    assert site.run() == ("nothing", 600)
    site.db1.vm.task = ""
    assert site.run() == ("done", 70)
    assert (site.acts()[-1], site.last()["by"], site.db1.vm.power) == ("power_on db1", 596, Power.ON)
    assert (site.run(), site.vicinity.restarts) == (("nothing", 600), set())


def test_a_start_that_is_not_even_tried_comes_again_after_a_while_only() -> None:
    """Whoever works on the node keeps it; the note is still there, and so is the reason."""
    site = left_off()
    busy, real = ["db1"], site.lock.node

    def node(minion: str, wait: float) -> Any:
        if minion in busy:
            raise Busy(f"{minion} is worked on")
        return real(minion, wait)

    site.lock.node = node  # type: ignore[method-assign]
    assert site.run() == ("done", 70)
    assert [site.run() for _ in range(3)] == [("nothing", 600)] * 3
    assert (site.acts().count("power_on db1"), site.vicinity.restarts) == (1, {"db1"})
    busy.clear()
    site.clock.now += UNLUCKY
    assert (site.run(), site.db1.vm.power) == (("done", 70), Power.ON)


@pytest.mark.parametrize("error", [StepFailed("no resources"), OutcomeUnknown("no answer")])
def test_a_node_that_does_not_start_again_is_told_and_undoes_nothing(error: FailoverError) -> None:
    site = Site(fence_action="reboot")
    site.db1.trouble = Condition.HUNG
    site.hypervisor.refuse[StepKind.POWER_ON] = error
    assert site.run() == ("done", 70)
    assert site.acts()[-1] == "power_on db1"
    assert [e["evidence"] for e in site.told if e.get("step") == "power_on" and e["what"] == "outcome"] == [
        error.reason
    ]
    assert (site.run(), site.db2.mounted, site.acts().count("power_on db1")) == (("nothing", 600), True, 1)


def test_a_fenced_node_runs_again_though_the_first_target_failed() -> None:
    """The move that fenced it was given up after the detach; the one that arrives begins where nobody holds the disk."""
    site = Site(nodes=3, fence_action="reboot")
    site.db1.trouble = Condition.HUNG

    def refuse(step: Any) -> None:
        if (step.kind, step.node) == (StepKind.ATTACH, "db2"):
            raise StepFailed("the controller is full")

    site.hypervisor.before = refuse
    assert site.run() == ("done", 70)
    assert (site.last()["kind"], site.guest.nodes["db3"].mounted) == ("start", True)
    assert (site.acts()[-1], site.db1.vm.power) == ("power_on db1", Power.ON)
    assert site.vicinity.restarts == set()


def test_a_node_that_was_off_anyway_is_not_powered_on() -> None:
    site = Site(fence_action="reboot")
    site.db1.vm.turn(Power.OFF)
    assert site.run() == ("done", 70)
    assert (site.db1.vm.power, "power_on db1" in site.acts()) == (Power.OFF, False)


def test_a_node_with_another_protected_disk_is_not_powered_on() -> None:
    site = Site(fence_action="reboot")
    site.vicinity.tenants["db1"] = (Tenant("wal"),)
    site.db1.trouble = Condition.HUNG
    assert site.run() == ("done", 70)
    assert site.db1.vm.power is Power.OFF
    assert site.vicinity.restarts == {"db1"}, "the last one to leave does it"


def test_a_tenant_that_comes_between_the_look_and_the_power_on_is_seen() -> None:
    site = Site(fence_action="reboot")
    site.db1.trouble = Condition.HUNG
    real = site.hypervisor.observe

    def observe(of: Any) -> Any:
        if "node db1" in site.lock.held:
            site.vicinity.tenants["db1"] = (Tenant("wal"),)
        return real(of)

    site.hypervisor.observe = observe  # type: ignore[method-assign]
    assert site.run() == ("done", 70)
    assert (site.acts()[-1], site.db1.vm.power) == ("power_on db1", Power.OFF)


# -- neighbours -----------------------------------------------------------------------------------------------


def test_a_paused_neighbour_is_not_fenced_with_the_node(site: Site) -> None:
    site.vicinity.tenants["db1"] = (Tenant("wal", paused=True),)
    site.db1.trouble = Condition.HUNG
    report = site.engine().run(site.resource)
    assert (report.result, report.rule, site.acts()) == ("held", 155, ["release db1"])
    assert "wal is there too and is paused" in report.reason
    site.vicinity.tenants["db1"] = (Tenant("wal"),)
    assert site.run() == ("done", 70)


def test_a_paused_neighbour_does_not_keep_a_clean_release_from_moving(site: Site) -> None:
    site.vicinity.tenants["db1"] = (Tenant("wal", paused=True),)
    assert site.run(SWITCH) == ("done", 70)


def test_a_paused_neighbour_keeps_a_node_from_halting_itself() -> None:
    site = Site(on_error="halt")
    site.vicinity.tenants["db1"] = (Tenant("wal", paused=True),)
    site.db1.trouble = Condition.IO_ERROR
    assert site.run() == ("done", 70)
    assert site.acts()[0] == "release db1"


def test_a_fault_that_came_along_is_held_in_place(site: Site) -> None:
    site.db1.trouble = Condition.IO_ERROR
    assert site.run() == ("done", 70)
    assert (site.last()["condition"], site.last()["by"]) == ("io_error", 660)
    site.db2.trouble = Condition.IO_ERROR
    assert site.run() == ("held", 653)
    site.journal.clear("pgdata", site.clock.wall())
    assert site.run() == ("done", 70)


def test_another_fault_on_the_second_node_is_its_own(site: Site) -> None:
    site.db1.trouble = Condition.IO_ERROR
    assert site.run() == ("done", 70)
    site.db2.trouble = Condition.HUNG
    assert site.run() == ("done", 70)


def test_the_fault_is_told_to_the_neighbours_and_taken_back(site: Site) -> None:
    site.db1.trouble = Condition.IO_ERROR
    site.vicinity.fellows = (Ailing("wal", "db7", frozenset({"esx7"}), "io_error", frozenset({"ds1"})),)
    assert site.run() == ("held", 654)
    assert site.vicinity.told == "io_error"
    site.vicinity.fellows = ()
    assert site.run() == ("done", 70)
    assert site.vicinity.told == ""


# -- DESIGN's other promises ----------------------------------------------------------------------------------


def test_a_holder_that_rebooted_and_is_unmounted_needs_no_fence(site: Site) -> None:
    """A signed answer of the new boot, nothing mounted: asking it to release is enough."""
    site.db1.vm.turn(Power.OFF)
    site.db1.vm.turn(Power.ON)
    assert site.run(FORCE) == ("done", 70)
    assert site.acts() == ["release db1", "detach db1", "attach db2", "mount db2"]


def test_the_source_is_a_candidate_again_when_no_target_takes_the_disk(site: Site) -> None:
    site.db2.cannot_mount = "mount: wrong fs type"
    site.db1.trouble = Condition.IO_ERROR
    assert site.run() == ("done", 70)
    assert (site.db1.mounted, site.last()["target"]) == (True, "db1")


def test_nothing_fails_back_by_itself(site: Site) -> None:
    assert site.run(SWITCH) == ("done", 70)
    for _ in range(3):
        site.clock.now += 4000.0
        assert site.run() == ("nothing", 600)
    assert site.db2.mounted


def test_a_cold_start_mounts_where_the_disk_is_without_a_fence(site: Site) -> None:
    site.run()
    for node in (site.db1, site.db2):
        node.vm.turn(Power.OFF)
        node.vm.turn(Power.ON)
        node.wake()
    site.db1.silent = site.db1.cut = True  # it boots slowly
    site.clock.now += 100.0
    assert site.run() == ("held", 643)
    site.clock.now += 70.0
    assert (site.run(), site.acts()) == (("held", 643), [])
    site.db1.silent = site.db1.cut = False
    assert (site.run(), site.acts()) == (("done", 70), ["mount db1"])


def test_a_cold_start_takes_the_next_node_when_the_holder_does_not_come_up(site: Site) -> None:
    site.run()
    for node in (site.db1, site.db2):
        node.vm.turn(Power.OFF)
        node.vm.turn(Power.ON)
        node.wake()
    site.db1.frozen = True
    site.clock.now += 5.0
    began = site.clock.now
    assert until_decided_later(site) == ("done", 70)
    assert site.clock.now - began >= 175.0
    assert site.acts()[0] == "fence db1"


def until_decided_later(site: Site) -> tuple[str, int]:
    for _ in range(80):
        result = site.run()
        if result[1] != 643:
            return result
        site.clock.now += 4.0
    raise AssertionError("it is given time for ever")


@pytest.mark.parametrize("full", [True, False])
def test_a_vm_that_waits_for_an_answer_is_held(site: Site, full: bool) -> None:
    site.db1.vm.question, site.db1.vm.full, site.db1.frozen = "Retry or Cancel?", full, True
    site.clock.now += 400.0
    result, rule = site.run()
    assert (result, rule, site.acts()) == ("held", 603 if full else 605, [])
    site.db1.vm.question, site.db1.vm.full = "", False
    assert until_decided(site) == ("done", 70)


def test_a_backup_that_waits_for_an_answer_is_no_target(site: Site) -> None:
    site.db2.vm.question = "Have you moved it?"
    site.db1.trouble = Condition.IO_ERROR
    report = site.engine().run(site.resource)
    assert (report.result, report.rule) == ("held", 670)
    assert "db2: its VM waits for an answer in vCenter: Have you moved it?" in report.reason


def test_both_nodes_off_is_held(site: Site) -> None:
    site.db1.vm.turn(Power.OFF)
    site.db2.vm.turn(Power.OFF)
    report = site.engine().run(site.resource)
    assert (report.result, report.rule) == ("held", 630)
    assert "db2: its VM is off" in report.reason


@pytest.mark.parametrize("wanted", ["hold", "next"])
def test_services_that_do_not_start(wanted: str) -> None:
    site = Site(on_service_failure=wanted)
    site.db1.vm.turn(Power.OFF)
    site.db2.services = False
    result, rule = site.run()
    assert (result, rule, site.db2.mounted) == ("held", 598, True), "no other node is ready"
    site.db1.vm.turn(Power.ON)
    after = site.run()
    assert after == (("done", 70) if wanted == "next" else ("held", 598))
    assert site.db1.mounted is (wanted == "next")


def test_a_target_that_cannot_mount_it_gives_way_to_the_next() -> None:
    site = Site(nodes=3)
    site.db1.vm.turn(Power.OFF)
    site.db2.cannot_mount = "mount: wrong fs type"
    assert site.run() == ("done", 70)
    assert site.acts() == [
        "detach db1",
        "attach db2",
        *["mount db2"] * 2,
        "release db2",
        "detach db2",
        "attach db3",
        "mount db3",
    ]


# -- without vCenter ------------------------------------------------------------------------------------------


def moved(site: Site) -> Site:
    """It has been moved to db2 and is unmounted there; then vCenter cannot be read."""
    assert site.run(SWITCH) == ("done", 70)
    site.db2.mounted = False
    site.hypervisor.blind = "no route to vc"
    return site


def test_the_last_node_mounts_again_without_vcenter(site: Site) -> None:
    moved(site)
    assert site.run() == ("done", 17)
    assert (site.acts()[-1], site.db2.mounted) == ("mount db2", True)
    assert site.run() == ("held", 520), "that is all that is done in the blind"
    site.hypervisor.blind = ""
    assert site.run() == ("nothing", 600)


@pytest.mark.parametrize("trouble", ["unplugged", "rebooted", "silent", "never moved", "wish", "elsewhere"])
def test_nothing_else_is_done_without_vcenter(site: Site, trouble: str) -> None:
    moved(site)
    before = site.acts()
    if trouble == "unplugged":
        site.db2.vm.disks.clear()
    elif trouble == "rebooted":  # it remembers no permit, so it was not the last to act
        site.db2.vm.boots += 1
    elif trouble == "silent":
        site.db2.silent = True
    elif trouble == "never moved":
        site.journal.states.clear()
    elif trouble == "elsewhere":
        site.db1.vm.plug(site.resource.disks[0])
    wish = FORCE if trouble == "wish" else None
    assert (site.run(wish), site.acts()) == (("held", 520), before)


def test_a_remount_that_fails_is_held_until_vcenter_is_back(site: Site) -> None:
    moved(site)
    site.db2.cannot_mount = "mount: cannot read superblock"
    assert site.run() == ("held", 20)
    assert site.acts()[-2:] == ["mount db2"] * 2
    site.hypervisor.blind, site.db2.cannot_mount = "", ""
    assert site.run() == ("done", 70)


def test_a_wrong_word_does_not_hammer_on_the_lock(site: Site) -> None:
    lose_host(site.db1)
    say_off(site)
    assert site.run() == ("held", 615)
    report = site.engine().run(site.resource)
    assert "but the disk's file is still open" in report.reason
    for _ in range(12):
        site.clock.now += 10.0
        site.run()
    assert site.acts().count("attach db2") <= 3
    assert (site.db2.vm.disks, site.db1.mounted) == ([], True)


def test_a_guest_with_the_memory_of_a_disk_that_is_gone_does_not_get_it_again(site: Site) -> None:
    """The disk was pulled by hand, or the VM was reverted with its memory: what it has cached is older than the disk."""
    site.db1.vm.unplug(site.resource.disks[0].path)
    assert site.db1.mounted
    assert site.run() == ("done", 70)
    assert site.acts() == ["attach db2", "mount db2"]
    with_memory = site.engine().run(site.resource, FORCE)
    assert (with_memory.result, with_memory.rule) == ("refused", 550)
    assert "restart the VM" in with_memory.reason
