"""
The stage of the golden scenarios: the real engine on the doubles, time that passes, events laid ready, checks that never rest.

Nothing here judges: what is to be done is the engine's alone. The stage lets things happen when a story says so, and writes down
what was decided, what was done, and what was broken.
"""

from __future__ import annotations

import contextlib
import functools
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import yaml

from tests.core.golden_doubles import StageGuest, StageHooks, StageHypervisor, StageLookout, StageVm
from tests.core.invariants import wrong
from tests.doubles.clock import FakeClock
from tests.doubles.journal import MemoryJournal, MemoryLock
from vmdk_failover.around import Flaws
from vmdk_failover.commands import adopt, confirming, operate
from vmdk_failover.engine import Engine, Report
from vmdk_failover.errors import Busy, FailoverError, VersionConflict
from vmdk_failover.judgement import config, policy, rules
from vmdk_failover.judgement.policy import Wish
from vmdk_failover.model import (
    Condition,
    Move,
    NodeFacts,
    Outcome,
    Resource,
    Step,
    StepKind,
)
from vmdk_failover.presence.vicinity import FileVicinity

#: One look tells no more than so much; more means that it goes in circles.
MOST_ENTRIES = 150


#: What a person can ask for besides moves, and who does it.
COMMANDS: Mapping[str, Callable[[Any, str], Any]] = {
    "pause": operate.pause,
    "resume": operate.resume,
    "clear": operate.clear,
    "confirm_off": confirming.confirm_off,
    "adopt": adopt.adopt,
}


class Crash(BaseException):
    """The process of the move ends here."""


@dataclass
class Ready:
    """An event that waits for its moment: ``at`` seconds, or right ``before`` or ``after`` a step."""

    do: Callable[[], None]
    at: float | None = None
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        return (
            f"before {self.before}"
            if self.before
            else f"after {self.after}"
            if self.after
            else f"at {self.at}"
        )


@dataclass
class Everybody:
    """The ``Guest`` port over all resources: a run of one may run another one in between."""

    stage: Stage

    def ask(self, resource: Resource, minions: Sequence[str]) -> Mapping[str, NodeFacts]:
        """See the port."""
        return self.stage.sides[resource.name].guest.ask(resource, minions)

    def release(self, move: Move, facts: NodeFacts) -> Outcome:
        """See the port."""
        return self._of(move).release(move, facts)

    def halt(self, move: Move, facts: NodeFacts) -> Outcome:
        """See the port."""
        return self._of(move).halt(move, facts)

    def mount(self, move: Move, facts: NodeFacts) -> Outcome:
        """See the port."""
        return self._of(move).mount(move, facts)

    def _of(self, move: Move) -> StageGuest:
        return self.stage.sides[move.resource.name].guest


@dataclass
class Side:
    """One resource on the stage: its nodes' insides, and what became of it."""

    resource: Resource
    guest: StageGuest
    lookout: StageLookout
    verdicts: list[tuple[int, str]] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    report: Report | None = None
    medium: Condition | None = None
    flaws: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def writers(self) -> list[str]:
        """Nodes that can write to the resource."""
        return [minion for minion in self.guest.nodes if self.guest.can_write(minion)]

    def listing(self, but: str = "") -> list[str]:
        """Nodes whose VM is not off and lists a disk of the resource."""
        return [m for m in self.guest.nodes if m != but and self.guest.may_run(m) and self.guest.disks_in(m)]


class Stage:
    """
    :param rows: other tables than the product's, for tests that leave a row out.
    :ivar broken: sentences of what must never happen and did.
    """

    def __init__(
        self,
        resources: Sequence[Resource],
        holders: Mapping[str, str],
        policy_rows: tuple[Any, ...] = policy.POLICY,
        step_rows: tuple[Any, ...] = rules.RULES,
    ) -> None:
        self.clock = FakeClock(asleep=self.pass_by)
        self.journal, self.lock = MemoryJournal(), MemoryLock()
        self.tables = (policy_rows, step_rows)
        nodes = resources[0].nodes
        self.hypervisor = StageHypervisor(
            self, [StageVm(n.vm_uuid, n.minion, host=f"esx{i}") for i, n in enumerate(nodes, 1)]
        )
        self.sides = {r.name: self._side(r, holders[r.name]) for r in resources}
        self.current = next(iter(self.sides.values()))
        self.notes = tempfile.TemporaryDirectory(prefix="golden-")
        self.vicinity = FileVicinity(
            Path(self.notes.name), self._protected, self._paused, self.clock.monotonic, self.journal.state
        )
        self.ready: list[Ready] = []
        self.fates: dict[str, list[str]] = {}
        self.late: list[Callable[[], None]] = []
        self.entries = 0
        self.broken: list[str] = []
        self.renamed: dict[str, str] = {}

    def _side(self, of: Resource, holder: str) -> Side:
        guest = StageGuest(self, of)
        if holder in guest.nodes:
            for disk in of.disks:
                guest.nodes[holder].vm.plug(disk)
            guest.nodes[holder].mounted = True
        return Side(of, guest, StageLookout(guest, self.clock))

    def _protected(self) -> Mapping[str, Resource]:
        return {name: side.resource for name, side in self.sides.items()}

    def _paused(self, name: str) -> bool:
        return self.journal.state(name).paused

    def close(self) -> None:
        """Give the notes of the master back."""
        self.notes.cleanup()

    # -- what makes things go on ------------------------------------------------------------------------------

    def pass_by(self) -> None:
        """Time has passed: what was laid ready for it happens."""
        self._set_off(lambda one: one.at is not None and one.at <= self.clock.now)

    def moment(self, when: str, step: Step) -> None:
        """``when`` is ``before`` or ``after``."""
        name = f"{step.kind.value} {step.node}"
        self._set_off(lambda one: getattr(one, when) == name)

    def _set_off(self, due: Callable[[Ready], bool]) -> None:
        for one in [one for one in self.ready if due(one)]:
            if one in self.ready:
                self.ready.remove(one)
                one.do()

    def wait(self, seconds: float, pace: float) -> None:
        """Let time pass, with a look now and then."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.sleep(min(pace, end - self.clock.now))
            self.look()

    def fate(self, step: Step) -> str:
        """What becomes of this step; ``""`` if nothing special."""
        waiting = self.fates.get(f"{step.kind.value} {step.node}")
        return waiting.pop(0) if waiting else ""

    def node(self, minion: str) -> StageVm:
        """The VM of a node."""
        vm = self.current.guest.nodes[minion].vm
        assert isinstance(vm, StageVm)
        return vm

    def end(self, minion: str) -> None:
        """The VM ends with its host, and vCenter goes on showing what it saw last."""
        self.node(minion).dead = True
        for side in self.sides.values():
            side.guest.nodes[minion].mounted, side.guest.nodes[minion].frozen = False, True

    def land(self) -> None:
        """Everything that was still under way is carried out."""
        work, self.late = self.late, []
        for one in work:
            one()

    # -- the engine -------------------------------------------------------------------------------------------

    def engine(self, side: Side) -> Engine:
        return Engine(
            self.hypervisor,
            Everybody(self) if self._related() else side.guest,
            self.journal,
            self.lock,
            self.clock,
            functools.partial(self._hear, side),
            budget=60.0,
            lookout=side.lookout,
            vicinity=self.vicinity,
            hooks=StageHooks(self),
        )

    def look(self, wished: str = "", wish: Wish | None = None) -> None:
        """One look at every resource, with what an operator asks of one of them; the checks of its nodes were just made."""
        self.check_nodes()
        for minion, other in self.renamed.items():  # it says so every few seconds
            inside = self.current.guest.nodes[minion]
            if not (inside.cut or inside.frozen):
                self.vicinity.renames(minion, other)
        for name, side in self.sides.items():
            side.lookout.complain(name, self.vicinity)
            self.current, self.entries = side, 0
            with self._tables():
                try:
                    side.report = self.engine(side).run(side.resource, wish if name == wished else None)
                except Crash:
                    side.report = None
            self.check("a look")
            if side.report and side.report.ok and side.writers() != [side.report.active]:
                self.broken.append(f"told as active on {side.report.active}, mounted on {side.writers()}")

    def check_nodes(self) -> None:
        """What a check of the VMs finds, on the hosts that they are on."""
        for name, side in self.sides.items():
            found = {m: Flaws(self.node(m).host, words) for m, words in side.flaws.items() if words}
            self.vicinity.find(name, found)

    @contextlib.contextmanager
    def _tables(self) -> Iterator[None]:
        """The engine judges by this stage's tables, and each verdict is looked at from outside."""
        judge = rules.next_verdict

        def judged(case: rules.Case) -> rules.Verdict:
            verdict = judge(case, self.tables[1])
            self.broken += [f"rule {verdict.rule}: {words}" for words in wrong(_tries(case), verdict)]
            return verdict

        decided = functools.partial(policy.decide, rows=self.tables[0])
        with mock.patch.object(rules, "next_verdict", judged), mock.patch.object(policy, "decide", decided):
            yield

    def _related(self) -> bool:
        return any(side.resource.depends_on for side in self.sides.values())

    def _hear(self, side: Side, entry: Mapping[str, Any]) -> None:
        side = self.current = self.sides[entry["resource"]]
        self.entries += 1
        if self.entries > MOST_ENTRIES:
            self.broken.append(f"the engine goes in circles: rule {entry.get('rule')}, {entry.get('reason')}")
            raise Crash
        if entry["what"] == "outcome":
            end = "" if entry["outcome"] == "done" else f" {entry['outcome']}"
            side.steps.append(f"{entry['step']} {entry['node']}{end}")
        elif "rule" in entry and (not side.verdicts or side.verdicts[-1][0] != entry["rule"]):
            side.verdicts.append((entry["rule"], entry["reason"]))

    def app(self, side: Side) -> Any:
        """What commands need of the composition: a master that acts, alone."""
        protected = self._protected()
        return SimpleNamespace(
            engine=self.engine(side),
            journal=self.journal,
            shared=self.journal,
            lock=self.lock,
            clock=self.clock,
            vicinity=self.vicinity,
            hypervisor=self.hypervisor,
            bystander="",
            opts={"vmdk": {"resources_dir": self.notes.name, "state_dir": self.notes.name}},
            faults=tuple,
            resource=protected.__getitem__,
            settings=SimpleNamespace(resources=protected, kept=(), faults=(), faults_of=lambda name: ()),
        )

    def ask(self, name: str, what: str, argument: str = "") -> str:
        """An operator's command that moves nothing by itself; returns what he is told: ``done``, or an error's code."""
        side = self.sides[name]
        record = Path(self.notes.name) / f"{name}.yaml"
        record.write_text(yaml.safe_dump(config.to_body(side.resource), width=1000), encoding="utf-8")
        try:
            COMMANDS[what](self.app(side), argument or name)
        except FailoverError as err:
            return err.code
        changed, faults = config.parse_resource(name, yaml.safe_load(record.read_text(encoding="utf-8")))
        assert changed is not None, faults
        side.resource = changed
        return "done"

    def gaps(self, name: str) -> str:
        """What ``vmdk.status`` says against a resource's being protected; ``""`` if it is."""
        said = operate.status(self.app(self.sides[name]), name)["resources"][name]
        against = "; ".join(said["not_protected_because"]) or f"{said['state']}: {said['reason']}"
        return "" if said["protected"] else against

    def write_journal(self, **changes: Any) -> None:
        """The journals become other ones."""
        for name in self.sides:
            plain = {**json.loads(self.journal.states.get(name, "{}")), **changes}
            self.journal.states[name] = json.dumps(plain)

    # -- what must never be -----------------------------------------------------------------------------------

    def check(self, after: str) -> None:
        for name, side in self.sides.items():
            if len(side.writers()) > 1:
                self.broken.append(f"{' and '.join(side.writers())} can write to {name} after {after}")

    def harm(self, step: Step) -> list[str]:
        """The harm that a write to a VM does now, if it is not refused."""
        side = self.current
        if step.kind is StepKind.DETACH and side.guest.can_write(step.node):
            return [f"the disk is pulled from under {step.node}"]
        if (
            step.kind is StepKind.ATTACH
            and side.guest.is_alive(step.node)
            and not side.guest.disks_in(step.node)
        ):
            return [
                f"attached to {step.node}, whose guest has an older state of the file system in its memory"
            ]
        if step.kind is StepKind.ATTACH and side.listing(step.node):
            return [f"attached to {step.node} while {' and '.join(side.listing(step.node))} list it"]
        if step.kind is StepKind.POWER_ON and any(
            one.guest.disks_in(step.node) for one in self.sides.values()
        ):
            return [f"{step.node} is started, and lists a disk"]
        return []


def _tries(case: rules.Case) -> rules.Case:
    """The case without refusals that only say that somebody else was faster: those are no tries."""
    faster = (VersionConflict.code, Busy.code)
    return replace(case, outcomes=tuple(o for o in case.outcomes if not (o.basis and o.code in faster)))
