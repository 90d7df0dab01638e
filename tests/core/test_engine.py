"""The engine's loop on doubles, one thing at a time; all of it together is test_simulation.py."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.core.build import resource
from tests.doubles.clock import FakeClock
from tests.doubles.guest import FakeGuest
from tests.doubles.hypervisor import FakeHypervisor, FakeVm
from tests.doubles.journal import MemoryJournal, MemoryLock
from tests.doubles.lookout import FakeLookout
from tests.doubles.vicinity import FakeHooks, FakeVicinity
from vmdk_failover.engine import LOOK_AGAIN_AT_LAST, Engine
from vmdk_failover.errors import JournalError, OutcomeUnknown, StepFailed, VersionConflict
from vmdk_failover.judgement import standing
from vmdk_failover.judgement.policy import Wish
from vmdk_failover.model import Condition, Move, MoveKind, NodeFacts, Power, Resource, StepKind

SWITCH, FORCE = Wish(MoveKind.SWITCHOVER), Wish(MoveKind.FAILOVER)


class Site:
    """Two nodes, the first of which has the resource, and all that an engine is made of."""

    def __init__(self, nodes: int = 2, **options: Any) -> None:
        self.resource = resource(nodes, **options)
        self.clock = FakeClock()
        self.hypervisor = FakeHypervisor([FakeVm(n.vm_uuid, n.minion) for n in self.resource.nodes])
        self.guest = FakeGuest.of(self.resource, self.hypervisor, self.clock)
        self.lookout = FakeLookout(self.guest, self.clock)
        self.vicinity, self.hooks = FakeVicinity(clock=self.clock.monotonic), FakeHooks()
        self.journal = MemoryJournal()
        self.lock: MemoryLock = MemoryLock()
        self.told: list[Mapping[str, Any]] = []
        self.db1, self.db2 = self.guest.nodes["db1"], self.guest.nodes["db2"]
        self.db1.vm.plug(self.resource.disks[0])
        self.db1.mounted = True

    def engine(self) -> Engine:
        return Engine(
            self.hypervisor,
            self.guest,
            self.journal,
            self.lock,
            self.clock,
            self.told.append,
            budget=60.0,
            lookout=self.lookout,
            vicinity=self.vicinity,
            hooks=self.hooks,
        )

    def run(self, wish: Wish | None = None) -> tuple[str, int]:
        report = self.engine().run(self.resource, wish)
        assert report.reason
        return report.result, report.rule

    def acts(self) -> list[str]:
        """What was done to VMs and nodes, in order, as the engine told it."""
        return [f"{e['step']} {e['node']}" for e in self.told if e["what"] == "outcome"]

    def last(self) -> Mapping[str, Any]:
        return self.journal.state("pgdata").recent[-1]


@pytest.fixture
def site() -> Site:
    return Site()


def test_nothing_is_done_when_all_is_well(site: Site) -> None:
    assert site.run() == ("nothing", 600)
    assert site.acts() == []
    assert site.journal.history("pgdata") == []


def test_a_switchover_is_release_detach_attach_mount(site: Site) -> None:
    assert site.run(SWITCH) == ("done", 70)
    assert site.acts() == ["release db1", "detach db1", "attach db2", "mount db2"]
    assert (site.db1.mounted, site.db2.mounted, site.db1.vm.power) == (False, True, Power.ON)


def test_a_failover_from_a_dead_node_needs_no_fence(site: Site) -> None:
    site.db1.vm.turn(Power.OFF)
    assert site.run() == ("done", 70)
    assert site.acts() == ["detach db1", "attach db2", "mount db2"]


def test_a_hung_node_is_asked_then_fenced(site: Site) -> None:
    site.db1.trouble = Condition.HUNG
    assert site.run() == ("done", 70)
    assert site.acts() == ["release db1", "fence db1", "detach db1", "attach db2", "mount db2"]
    assert (site.last()["damped"], site.last()["fenced"], site.last()["ok"]) == (True, True, True)


def test_a_node_that_is_to_halt_is_read_back_as_off() -> None:
    site = Site(on_error="halt")
    site.db1.trouble = Condition.HUNG
    assert site.run() == ("done", 70)
    assert site.acts() == ["halt db1", "detach db1", "attach db2", "mount db2"]


def test_a_halt_that_did_not_work_is_followed_by_a_fence() -> None:
    site = Site(on_error="halt")
    site.db1.trouble = Condition.HUNG
    site.guest._halt = lambda node, move: ""  # type: ignore[method-assign]
    assert site.run() == ("done", 70)
    assert site.acts()[:2] == ["halt db1", "fence db1"]


def test_a_switchover_that_is_not_clean_is_taken_back(site: Site) -> None:
    site.db1.stuck = True
    assert site.run(SWITCH) == ("refused", 150)
    assert site.acts() == ["release db1"]
    assert (site.db1.mounted, site.db1.vm.power) == (True, Power.ON)


@pytest.mark.parametrize("wish", [FORCE, SWITCH])
@pytest.mark.parametrize(("times", "fenced"), [(1, False), (2, True)])
def test_a_release_that_was_undone_is_asked_for_once_more(
    site: Site, monkeypatch: pytest.MonkeyPatch, wish: Wish, times: int, fenced: bool
) -> None:
    """A scan of the node's bus has brought the disk back: nobody has it open, and nothing is proven any more."""
    real, voids = site.guest._release, [times]

    def brought_back(node: Any, move: Move) -> str:
        said = real(node, move)
        if voids[0]:
            voids[0] -= 1
            node.released = None
        return said

    monkeypatch.setattr(site.guest, "_release", brought_back)
    site.run(wish)
    assert site.acts().count("release db1") == 2
    assert ("fence db1" in site.acts()) is (fenced and wish is FORCE)
    assert site.db2.mounted is not (fenced and wish is SWITCH)


def test_a_release_whose_answer_was_lost_is_seen(site: Site) -> None:
    real = site.guest.release

    def deaf(move: Any, facts: NodeFacts) -> Any:
        real(move, facts)
        raise OutcomeUnknown("no answer")

    site.guest.release = deaf  # type: ignore[method-assign]
    assert site.run(SWITCH) == ("done", 70)
    assert site.acts() == ["release db1", "detach db1", "attach db2", "mount db2"]


def test_a_refused_failover_is_not_called_well(site: Site) -> None:
    """The target is lost after the decision: the move is given up, and the operator is told so."""
    begin = site.journal.begin

    def begun(move: Move) -> None:
        begin(move)
        site.db2.vm.turn(Power.OFF)

    site.journal.begin = begun  # type: ignore[method-assign]
    assert site.run(FORCE) == ("refused", 100)
    assert (site.acts(), site.db1.mounted) == ([], True)


def test_a_disk_that_nobody_can_mount_ends_held(site: Site) -> None:
    """It does not wander between the nodes for ever."""
    site.db1.cannot_mount = site.db2.cannot_mount = "mount: wrong fs type"
    site.db1.mounted = False
    result, rule = site.run()
    assert (result, rule) == ("held", 730)
    assert len(site.acts()) < 20
    assert "wrong fs type" in str(site.journal.state("pgdata").hold)


def test_a_disk_that_nobody_can_attach_ends_held(site: Site) -> None:
    site.db1.vm.turn(Power.OFF)

    def refuse(step: Any) -> None:
        if step.kind is StepKind.ATTACH:
            raise StepFailed("a stranger holds it", "locked_by_stranger")

    site.hypervisor.before = refuse
    result, rule = site.run()
    assert (result, rule) == ("held", 795)
    assert site.acts().count("attach db2") == 1, "each try can freeze the target"
    site.hypervisor.before = lambda step: None
    assert (site.run(), site.clock.now < 20.0) == (("held", 795), True), "it is not tried without end"
    site.clock.now += 20.0
    assert site.run() == ("done", 70)


def test_who_was_slower_tries_again(site: Site) -> None:
    """Many resources leave one node at once: each reconfigure makes the others' basis old."""
    site.db1.vm.turn(Power.OFF)
    conflicts = [0]

    def conflict(step: Any) -> None:
        if step.kind is StepKind.ATTACH and conflicts[0] < 8:
            conflicts[0] += 1
            raise VersionConflict("the VM has changed")

    site.hypervisor.before = conflict
    assert site.run() == ("done", 70)


def test_every_write_to_a_vm_is_under_its_lock(site: Site) -> None:
    held: dict[str, list[str]] = {}
    site.hypervisor.before = lambda step: held.update(
        {f"{step.kind.value} {step.node}": sorted(site.lock.held)}
    )
    site.db1.trouble = Condition.HUNG
    assert site.run() == ("done", 70)
    assert held == {
        f"{kind} {node}": [f"node {node}", "resource pgdata"]
        for kind, node in (("fence", "db1"), ("detach", "db1"), ("attach", "db2"))
    }


def test_a_second_caller_is_told_what_is_under_way(site: Site) -> None:
    with site.lock.resource("pgdata", "switchover"):
        report = site.engine().run(site.resource)
    assert (report.result, report.ok) == ("busy", False)
    assert "switchover is already under way" in report.reason


class _Queue(MemoryLock):
    """Whoever wants the resource waits until somebody else has moved it."""

    def __init__(self, site: Site, first: Wish) -> None:
        super().__init__()
        self.first: Callable[[], object] | None = lambda: site.run(first)

    def resource(self, name: str, doing: str, wait: float = 0.0) -> contextlib.AbstractContextManager[object]:
        first, self.first = self.first, None
        if first is not None:
            assert first() == ("done", 70)
        return super().resource(name, doing, wait)


@pytest.mark.parametrize("kind", [MoveKind.SWITCHOVER, MoveKind.FAILOVER])
def test_who_asks_for_another_node_while_it_moves_does_not_move_it_back(kind: MoveKind, site: Site) -> None:
    """Two people type the same command: the second would have it where both wanted it to leave from."""
    site.lock = _Queue(site, SWITCH)
    report = site.engine().run(site.resource, Wish(kind))
    assert (report.result, report.ok) == ("refused", False)
    assert "while this waited, it was moved to db2" in report.reason
    assert site.last()["target"] == "db2"


def test_who_names_the_node_gets_it_there_also_after_waiting(site: Site) -> None:
    site.lock = _Queue(site, SWITCH)
    assert site.run(Wish(MoveKind.SWITCHOVER, "db1")) == ("done", 70)


def test_a_repair_meanwhile_is_no_move(site: Site) -> None:
    """What was mounted again where it was can be asked to leave all the same."""
    site.db1.mounted = False
    queue = _Queue(site, SWITCH)
    queue.first = lambda: site.run()
    site.lock = queue
    assert site.run(SWITCH) == ("done", 70)
    assert [one["target"] for one in site.journal.state("pgdata").recent] == ["db1", "db2"]


def test_no_way_to_ask_is_a_hold(site: Site) -> None:
    def down(resource: Resource, minions: Sequence[str]) -> Mapping[str, NodeFacts]:
        raise OutcomeUnknown("vmdk.facts could not be sent; is the salt-master up?")

    site.guest.ask = down  # type: ignore[method-assign]
    report = site.engine().run(site.resource)
    assert (report.result, report.reason) == ("held", "vmdk.facts could not be sent; is the salt-master up?")


def test_a_journal_that_cannot_be_written_stops_the_first_step(site: Site) -> None:
    def full(resource: str, text: str) -> None:
        raise JournalError("the journal cannot be written: No space left on device")

    site.journal.write = full  # type: ignore[method-assign]
    assert site.run(SWITCH)[0] == "held"
    assert (site.acts(), site.guest.acts, site.hypervisor.acts) == ([], [], [])


def test_a_step_is_in_the_journal_before_it_is_done(site: Site) -> None:
    before: list[tuple[str, str]] = []

    def peek(step: Any) -> None:
        last = site.journal.state("pgdata").outcomes[-1]
        before.append((last.step.kind.value, last.result.value))
        assert last.basis == str(site.hypervisor.vm(vm_of(site, step.node)).version)

    site.hypervisor.before = peek
    assert site.run(SWITCH) == ("done", 70)
    assert before == [("detach", "unknown"), ("attach", "unknown")]


def vm_of(site: Site, minion: str) -> str:
    return site.resource.node(minion).vm_uuid


def test_waiting_for_a_task_has_an_end_and_does_not_rush(site: Site) -> None:
    site.db1.vm.task, site.db1.mounted = "relocate", False
    looks: list[int] = []
    real = site.hypervisor.observe
    site.hypervisor.observe = lambda of: (looks.append(1), real(of))[1]  # type: ignore[method-assign]
    report = site.engine().run(site.resource)
    assert (report.result, report.rule) == ("held", 610)
    assert "still not done after 60 s" in report.reason
    assert len(looks) < 60
    hold = site.journal.state("pgdata").hold
    assert hold is not None and (hold["rule"], hold["reason"]) == (610, report.reason), "people find it there"


def test_a_task_that_cannot_be_read_is_called_so(site: Site) -> None:
    site.db1.vm.task, site.db1.mounted = None, False
    assert "whether a task runs on db1 cannot be read" in site.engine().run(site.resource).reason


@pytest.mark.parametrize("gone", [False, True])
def test_what_was_changed_in_mid_move_counts_when_the_move_is_given_up(site: Site, gone: bool) -> None:
    """A node was taken out of the configuration, or the whole resource was: neither is used once more."""
    site = Site(nodes=3)
    without = replace(site.resource, nodes=site.resource.nodes[:2])

    def refuse(step: Any) -> None:
        if (step.kind, step.node) == (StepKind.ATTACH, "db2"):
            site.db1.vm.turn(Power.OFF)
            raise StepFailed("the controller is full")

    site.hypervisor.before = refuse
    engine = site.engine()
    engine.current = lambda of: None if gone and site.acts() else without if site.acts() else of
    report = engine.run(site.resource, FORCE)
    assert not [act for act in site.acts() if act.endswith("db3")]
    assert report.result == "refused"
    assert gone is ("not in the configuration any more" in report.reason)


def test_a_silent_node_is_not_asked_at_every_look(site: Site) -> None:
    asked: list[Sequence[str]] = []
    real = site.guest.ask

    def ask(of: Resource, minions: Sequence[str]) -> Mapping[str, NodeFacts]:
        asked.append(list(minions))
        return real(of, minions)

    site.guest.ask, site.db2.silent = ask, True  # type: ignore[method-assign]
    site.db1.vm.task, site.db1.mounted = "relocate", False
    site.engine().run(site.resource)
    assert sum("db2" in one for one in asked) <= 8
    assert sum("db1" in one for one in asked) > 12


def test_a_node_that_is_off_has_no_say(site: Site) -> None:
    """Its last word, a proven release, was of a boot that is over."""
    engine = site.engine()
    site.db1.vm.turn(Power.OFF)
    seen, _ = engine.look(site.resource)
    assert seen.node("db1").facts is None


def test_pause_holds_an_open_move_and_resume_lets_it_go_on(site: Site) -> None:
    site.hypervisor.before = lambda step: site.journal.pause("pgdata", {"by": "me"})
    assert site.run(SWITCH) == ("held", 10)
    assert site.journal.state("pgdata").move is not None
    site.journal.pause("pgdata", None)
    site.hypervisor.before = lambda step: None
    assert site.run() == ("done", 70)


# -- silent nodes ---------------------------------------------------------------------------------------------


def until_decided(site: Site) -> tuple[str, int]:
    """Look again and again, as the engine's hints make it, while the node is only given its time."""
    for _ in range(20):
        result = site.run()
        if result[1] != 643:
            return result
        site.clock.now += 4.0
    raise AssertionError("it is given time for ever")


@pytest.mark.parametrize(
    ("what", "heartbeat"), [("frozen", "gray"), ("frozen", "green"), ("cut", "green"), ("cut", "")]
)
def test_a_frozen_or_isolated_node_is_fenced_after_its_time(site: Site, what: str, heartbeat: str) -> None:
    setattr(site.db1, what, True)
    site.db1.vm.heartbeat = heartbeat
    assert until_decided(site) == ("done", 70)
    assert site.acts() == ["fence db1", "detach db1", "attach db2", "mount db2"]
    assert site.clock.now >= site.resource.node_timeout


def test_a_dead_agent_moves_nothing(site: Site) -> None:
    site.db1.silent = True
    assert until_decided(site) == ("held", 644)
    site.clock.now += 1000.0
    assert (site.run(), site.acts()) == (("held", 644), [])


def test_a_dead_agent_is_fenced_after_its_own_time_if_somebody_wants_that() -> None:
    site = Site(on_agent_silent="fence", agent_timeout=100.0)
    site.db1.silent = True
    assert until_decided(site) == ("held", 644)
    site.clock.now += 100.0
    assert (site.run(), site.acts()[0]) == (("done", 70), "fence db1")


def test_an_isolated_node_is_left_alone_if_somebody_wants_that() -> None:
    site = Site(on_isolated="hold")
    site.db1.cut = True
    assert (until_decided(site), site.acts()) == (("held", 646), [])
    site.db1.vm.heartbeat = "red"
    assert site.run() == ("done", 70)


def test_a_frozen_node_is_not_fenced_without_a_target(site: Site) -> None:
    site.db1.frozen = site.db2.silent = True
    assert (until_decided(site), site.acts()) == (("held", 648), [])


def test_a_task_gives_a_silent_node_its_time_anew(site: Site) -> None:
    site.db1.frozen = True
    assert site.run() == ("held", 643)
    site.clock.now += 100.0
    site.db1.vm.task = "relocate"
    assert site.run() == ("held", 610)
    assert site.acts() == []
    site.db1.vm.task, ended = "", site.clock.now
    assert until_decided(site) == ("done", 70)
    assert site.clock.now - ended >= site.resource.node_timeout - LOOK_AGAIN_AT_LAST


def test_a_node_that_boots_is_given_time(site: Site) -> None:
    site.run()
    site.db1.vm.turn(Power.OFF)
    site.db1.vm.turn(Power.ON)
    site.db1.silent = site.db1.cut = True
    for _ in range(10):
        assert site.run() == ("held", 643)
        site.clock.now += 15.0
    assert site.acts() == []


def test_a_master_that_hears_nobody_moves_nothing() -> None:
    site = Site(nodes=3)
    site.db1.cut = site.db2.cut = True
    site.clock.now += 100.0
    assert (site.run(), site.acts()) == (("held", 641), [])
    site.db2.cut = False
    assert until_decided(site) == ("done", 70)


def test_where_nobody_listens_silence_holds(site: Site) -> None:
    site.lookout.deaf = site.db1.frozen = True
    assert site.run() == ("held", 640)


# -- lost requests --------------------------------------------------------------------------------------------


#: What is done before it is noticed that the target has gone: its last word is fresh for a while.
LOST = ("detach db1", *["attach db2"] * 3)


def lose_an_attach(site: Site) -> None:
    """The attach to db2 is sent, its answer is lost, and db2 falls silent."""
    site.db1.vm.turn(Power.OFF)

    def lost(step: Any) -> None:
        if step.kind is StepKind.ATTACH and step.node == "db2":
            site.db2.silent = True
            raise OutcomeUnknown("no answer")

    site.hypervisor.before = lost


def test_a_lost_request_is_made_impossible_before_another_node_is_taken() -> None:
    site = Site(nodes=3)
    lose_an_attach(site)
    version = site.db2.vm.version
    assert site.run() == ("done", 70)
    assert site.acts() == [*LOST, "seal db2", "attach db3", "mount db3"]
    assert site.db2.vm.version == version + 1


def test_a_lost_detach_is_made_impossible_before_a_person_is_told_to_clear() -> None:
    """Or it is carried out when the source has its disk in service again."""
    site, tries = Site(), iter(range(1, 9))

    def fail(step: Any) -> None:
        if step.kind is StepKind.DETACH:
            raise StepFailed("vCenter refuses") if next(tries) < 5 else OutcomeUnknown("no answer")

    site.hypervisor.before = fail
    version = site.db1.vm.version
    assert site.run(SWITCH) == ("held", 105)
    assert site.acts() == ["release db1", *["detach db1"] * 5, "seal db1"]
    assert site.db1.vm.version > version
    assert not forgotten(site)


def test_a_lost_attach_is_made_impossible_before_a_person_is_told_to_clear() -> None:
    """The VM that the disk comes from is gone: somebody has to say that it was deleted."""
    site = Site(nodes=3)
    lose_an_attach(site)
    lost = site.hypervisor.before

    def deleted(step: Any) -> None:
        if step.kind is StepKind.ATTACH and site.db1.vm in site.hypervisor.vms:
            site.hypervisor.vms.remove(site.db1.vm)
        lost(step)

    site.hypervisor.before = deleted
    assert site.run() == ("held", 195)
    assert site.acts()[-1] == "seal db2"
    assert not forgotten(site)


def forgotten(site: Site) -> str:
    return standing.forgotten_by_clear(*site.engine().look(site.resource))


def test_what_may_still_be_carried_out_is_not_forgotten() -> None:
    site = Site(nodes=3)
    lose_an_attach(site)
    lost = site.hypervisor.before

    def dark(step: Any) -> None:
        site.hypervisor.blind = "no route to vCenter" if step.kind is StepKind.ATTACH else ""
        lost(step)

    site.hypervisor.before = dark
    assert site.run() == ("held", 20)
    assert "whether the attach on db2 will still be carried out" in forgotten(site)
    assert "vmdk.recover pgdata" in forgotten(site)


def test_a_vm_that_cannot_be_sealed_holds_after_three_tries() -> None:
    site = Site(nodes=3)
    lose_an_attach(site)
    lost = site.hypervisor.before

    def refuse(step: Any) -> None:
        lost(step)
        if step.kind is StepKind.SEAL:
            raise StepFailed("vCenter refuses", "no_permission")

    site.hypervisor.before = refuse
    assert site.run() == ("held", 63)
    assert site.acts() == [*LOST, *["seal db2"] * 3]
    assert not forgotten(site)  # the sentence of 63 asks a person to make sure
