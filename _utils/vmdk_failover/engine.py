"""
The only loop: observe, decide, write down, act once, observe again.

The engine knows no vSphere, no Salt and no clock but those given to it. It may be killed at any line: the next run reads the
intent from the journal and how far it came from the world. It never believes an outcome; an outcome only spares a wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vmdk_failover.acting import Hands, NoHooks, basis, ending, in_advance, within
from vmdk_failover.company import Company
from vmdk_failover.errors import Busy, FailoverError
from vmdk_failover.judgement import assess, homes, policy, rules, sighted, standing
from vmdk_failover.judgement.policy import Choice, Wish
from vmdk_failover.judgement.rules import Then
from vmdk_failover.judgement.wishing import moved_meanwhile
from vmdk_failover.model import (
    Move,
    Outcome,
    Resource,
    Result,
    StepKind,
    to_plain,
)
from vmdk_failover.ports import Clock, Guest, Hooks, Hypervisor, Journal, Lock, Lookout, Record, Vicinity
from vmdk_failover.witnesses import NoLookout, NoVicinity, Witnesses

#: First and longest pause before looking again while something passes by itself, or after a try that failed (seconds).
LOOK_AGAIN = 0.1
LOOK_AGAIN_AT_LAST = 2.0

#: A person's request waits this long for a look that is under way (seconds).
WISH_WAIT = 10.0

Tell = Callable[[Mapping[str, Any]], None]
Looked = Callable[[Resource, assess.Snapshot], None]


@dataclass(frozen=True)
class Report:
    """
    What a run came to.

    :param result: ``done`` (a move ended well), ``nothing`` (all is well), ``held``, ``refused``, ``busy`` or ``failed``.
    :param rule: row of the table that decided.
    :param reason: one sentence.
    :param steps: what was done, in order.
    """

    resource: str
    result: str
    rule: int
    reason: str
    epoch: int = 0
    active: str = ""
    steps: tuple[Mapping[str, Any], ...] = ()
    took: float = 0.0

    @property
    def ok(self) -> bool:
        return self.result in ("done", "nothing")


class Engine:
    """
    Carries one resource to where it belongs.

    :param tell: called with each verdict and outcome as a plain dict, for events and progress; must not raise.
    :param budget: seconds after which a run ends as held, whatever is still to be done.
    :param lookout: what the master notices of silent nodes; without one their silence only holds.
    :param vicinity: what is remembered of neighbours and hosts. :param hooks: the administrator's own fences.
    :param current: how a resource stands in the configuration now, ``None`` if it does not any more: asked before each decision,
        for a move that is given up may have lasted for minutes.
    :param looked: told the last look when a move begins and when a run ends, under the lock; must not raise.
    """

    def __init__(
        self,
        hypervisor: Hypervisor,
        guest: Guest,
        journal: Journal,
        lock: Lock,
        clock: Clock,
        tell: Tell = lambda entry: None,
        budget: float = 900.0,
        lookout: Lookout | None = None,
        vicinity: Vicinity | None = None,
        hooks: Hooks | None = None,
        looked: Looked = lambda resource, seen: None,
        current: Callable[[Resource], Resource | None] = lambda resource: resource,
    ) -> None:
        self.hypervisor = hypervisor
        self.guest = guest
        self.journal = journal
        self.lock = lock
        self.clock = clock
        self.tell = tell
        self.budget = budget
        self.lookout: Lookout = lookout or NoLookout()
        self.vicinity: Vicinity = vicinity or NoVicinity()
        self.hooks: Hooks = hooks or NoHooks()
        self.looked = looked
        self.current = current
        self.company = Company(self.vicinity, lambda other, wait: self.run(other, wait=wait))

    def run(self, resource: Resource, wish: Wish | None = None, wait: float = 0.0) -> Report:
        """
        Look at ``resource`` and do what follows, until it is done or held.

        :param wish: an operator's request; it applies to the first decision only.
        :param wait: seconds for a look that is under way.
        :raises nothing that belongs to the world: everything ends in a report.
        """
        try:
            doing, wait = (wish.kind.value, WISH_WAIT) if wish else ("look", wait)
            moved = moved_meanwhile(wish, lambda: self.journal.state(resource.name).recent)
            with self.lock.resource(resource.name, doing, wait), self.company.within(resource.name):
                if words := moved():
                    return Report(resource.name, "refused", 0, words)
                return _Run(self, resource, wish).to_the_end_and_tell()
        except Busy as err:
            return Report(resource.name, "busy", 0, err.reason)
        except FailoverError as err:  # the journal, or no way to ask any node
            return Report(resource.name, "held", 5, err.reason)

    def afresh(self, resource: Resource) -> assess.Snapshot:
        """Observe without acting and without the journal, which may be lost."""
        return _Run(self, resource, None).witnesses.observe(resource)

    def look(self, resource: Resource) -> tuple[assess.Snapshot, Record]:
        """Observe without acting, for ``status`` and ``plan``."""
        run = _Run(self, resource, None)
        record = self.journal.state(resource.name)
        return run.witnesses.observe(record.move.resource if record.move else resource, record.move), record


class _Run:
    """One run of one resource: what was heard of the nodes so far, and what was done."""

    def __init__(self, engine: Engine, resource: Resource, wish: Wish | None) -> None:
        self.engine = engine
        self.resource = resource
        self.wish = wish
        self.began = engine.clock.monotonic()
        self.witnesses = Witnesses(
            engine.hypervisor, engine.guest, engine.clock, engine.lookout, engine.vicinity
        )
        self.hands = Hands(
            engine.hypervisor, engine.guest, engine.lock, engine.hooks, engine.vicinity, engine.company
        )
        self.steps: list[Mapping[str, Any]] = []
        self.refused: tuple[int, str] | None = None
        self.wished = 0
        self.pause = LOOK_AGAIN
        self.told: tuple[int, str] | None = None
        self.seen: assess.Snapshot | None = None
        self.written: sighted.Words = {}

    # -- the loop ---------------------------------------------------------------------------------------------

    def to_the_end_and_tell(self) -> Report:
        report = self.to_the_end()
        self.tell_look()
        return report

    def to_the_end(self) -> Report:
        waited_for = (0, "it took too long")
        while self.engine.clock.monotonic() - self.began < self.engine.budget:
            record = self.engine.journal.state(self.resource.name)
            report = self.go_on(record) if record.move else self.decide(record)
            if report is not None:
                return report
            waited_for = self.told or waited_for
        rule, reason = waited_for[0], f"still not done after {self.engine.budget:.0f} s: {waited_for[1]}"
        self.write_hold(rule, reason)
        return self.report("held", rule, reason)

    def decide(self, record: Record) -> Report | None:
        """No move is open: let the policy choose. ``None`` means look again."""
        current = self.engine.current(self.resource)
        if current is None:
            words = f"{self.resource.name} is not in the configuration any more; nothing is begun for it"
            return self.report("refused", 0, words, record.epoch)
        self.resource = current
        seen = self.seen = self.witnesses.observe(self.resource)
        clock = self.engine.clock
        if fresh := homes.news(seen, record.recent, record.home):
            self.engine.journal.sight(self.resource.name, fresh)
        decision = policy.decide(standing.situation_of(seen, record, clock.wall(), self.wish))
        self.say("decided", decision.rule, decision.reason, choice=decision.choice.value)
        if decision.move is not None:
            self.wished, self.wish = (decision.move.epoch if self.wish else self.wished), None
            self.engine.journal.begin(decision.move)
            self.engine.journal.note(self.resource.name, {"at": clock.wall(), **self.news(seen)})
            self.tell_look()
            return None
        if decision.choice is Choice.WAIT:
            self.look_again()
            return None
        if decision.choice is Choice.NOTHING:
            self.engine.journal.hold(self.resource.name, None)
        if decision.choice is Choice.HOLD:
            self.write_hold(decision.rule, decision.reason)
        return self.close(decision.choice, decision.rule, decision.reason, record.epoch, seen)

    def close(self, choice: Choice, rule: int, reason: str, epoch: int, seen: assess.Snapshot) -> Report:
        """End the run after a decision without a move. What an operator asked for and was given up stays refused."""
        active = next((n.minion for n in seen.nodes if n.healthy), "")
        if self.refused is not None:
            rule, reason = self.refused
            return self.report("refused", rule, reason, epoch, active)
        words = {Choice.NOTHING: "nothing", Choice.HOLD: "held", Choice.REFUSE: "refused"}
        result = "done" if choice is Choice.NOTHING and self.steps else words[choice]
        return self.report(result, rule, reason, epoch, active)

    def go_on(self, record: Record) -> Report | None:
        """A move is open: do its next step. ``None`` means look again."""
        move = record.move
        assert move is not None
        seen = self.seen = self.witnesses.observe(move.resource, move)
        verdict = rules.next_verdict(standing.case_of(seen, record, move))
        if verdict.step is not None:
            self.do(move, seen, verdict)
            return None
        self.say(verdict.then.value if verdict.then else "", verdict.rule, verdict.reason, epoch=move.epoch)
        if verdict.then is Then.WAIT:
            self.look_again()
            return None
        if verdict.then is Then.HOLD:
            self.write_hold(verdict.rule, verdict.reason)
            return self.report("held", verdict.rule, verdict.reason, move.epoch)
        self.finish(move, verdict, seen, record.outcomes)
        if verdict.then is Then.DONE:
            self.engine.vicinity.ailing(move.resource, None, "")
            self.engine.company.lift(move.resource, seen)
        if verdict.then is Then.DONE and self.wish is not None:  # it was asked of another world than this one
            words = f"an earlier move was under way and has ended: {verdict.reason}; ask again"
            return self.report("refused", verdict.rule, words, move.epoch, move.target)
        if verdict.then is Then.DONE and self.refused is None:
            return self.report("done", verdict.rule, verdict.reason, move.epoch, move.target)
        if verdict.then is Then.ABANDON and move.epoch == self.wished:
            self.refused = (verdict.rule, verdict.reason)
        return None

    def look_again(self) -> None:
        """Pause before the next look, longer each time in a row."""
        self.engine.clock.sleep(self.pause)
        self.pause = min(LOOK_AGAIN_AT_LAST, self.pause * 1.5)

    def finish(
        self, move: Move, verdict: rules.Verdict, seen: assess.Snapshot, outcomes: Sequence[Outcome]
    ) -> None:
        """Write the end of a move down, with all that the policy needs to remember of it."""
        took, now = self.engine.clock.monotonic() - self.began, self.engine.clock.wall()
        ended = ending(move, verdict, self.steps, took, now)
        self.engine.journal.finish(move.resource.name, {**ended, **homes.left(move, seen, outcomes)})

    # -- acting -----------------------------------------------------------------------------------------------

    def do(self, move: Move, seen: assess.Snapshot, verdict: rules.Verdict) -> None:
        """Write the verdict down, do its step once, write down what came of it."""
        step = verdict.step
        assert step is not None
        name, clock = move.resource.name, self.engine.clock
        self.engine.journal.note(
            name,
            {
                "verdict": verdict.rule,
                "reason": verdict.reason,
                "step": to_plain(step),
                "begun": in_advance(seen, step),
                "at": clock.wall(),
                **self.news(seen),
            },
        )
        told = {"step": step.kind.value, "node": step.node, "epoch": move.epoch}
        self.say("step", verdict.rule, verdict.reason, **told, within=within(move.resource, step.kind))
        began = clock.monotonic()
        outcome = self.hands.perform(move, seen, step)
        self.witnesses.hear(outcome)
        outcome = replace(outcome, took=clock.monotonic() - began, basis=basis(seen, step), facts=None)
        self.engine.journal.note(name, {"outcome": to_plain(outcome), "at": clock.wall()})
        self.tell_outcome(move, outcome, began)
        if outcome.result is Result.DONE:
            self.pause = LOOK_AGAIN
        elif step.kind not in (StepKind.RELEASE, StepKind.HALT):  # after these something else follows at once
            self.look_again()

    def tell_outcome(self, move: Move, outcome: Outcome, began: float) -> None:
        entry = {
            "step": outcome.step.kind.value,
            "node": outcome.step.node,
            "outcome": outcome.result.value,
            "evidence": outcome.evidence,
            "code": outcome.code,
            "started": began - self.began,
            "took": outcome.took,
        }
        self.steps.append(entry)
        at = self.engine.clock.wall()
        self.engine.tell(
            {"what": "outcome", "resource": move.resource.name, "epoch": move.epoch, **entry, "at": at}
        )

    # -- telling ----------------------------------------------------------------------------------------------

    def say(self, what: str, rule: int, reason: str, **more: Any) -> None:
        """Tell a verdict, once while it stays the same."""
        if self.told == (rule, reason) and what != "step":
            return
        self.told = (rule, reason)
        at = self.engine.clock.wall()
        if what == Then.WAIT.value:
            self.engine.journal.note(self.resource.name, {"waits": rule, "reason": reason, "at": at})
        self.engine.tell(
            {"what": what, "resource": self.resource.name, "rule": rule, "reason": reason, "at": at, **more}
        )

    def tell_look(self) -> None:
        if self.seen is not None:
            self.engine.looked(self.seen.resource, self.seen)

    def news(self, seen: assess.Snapshot) -> dict[str, Any]:
        """What the witnesses say and did not say when it was last written down, for the history."""
        now = sighted.words(seen)
        fresh, self.written = sighted.news(self.written, now), now
        return {"saw": fresh} if fresh else {}

    def write_hold(self, rule: int, reason: str) -> None:
        self.engine.journal.hold(
            self.resource.name, {"rule": rule, "reason": reason, "since": self.engine.clock.wall()}
        )

    def report(self, result: str, rule: int, reason: str, epoch: int = 0, active: str = "") -> Report:
        took = self.engine.clock.monotonic() - self.began
        return Report(self.resource.name, result, rule, reason, epoch, active, tuple(self.steps), took)
