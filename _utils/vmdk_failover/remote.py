"""
The ``Guest`` port over an injected Salt call: questions and orders to nodes, signed both ways.

A node's word counts only with its signature over this question's nonce; what cannot be verified is left out, as if the node
had been silent. Orders carry a permit for one act, one boot, one epoch, until a time of the node's own clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from vmdk_failover import signing
from vmdk_failover.errors import BadSignature
from vmdk_failover.model import (
    Move,
    NodeFacts,
    Outcome,
    Permit,
    Resource,
    Result,
    Step,
    StepKind,
    node_facts_from_plain,
    to_plain,
)

#: Seconds added to an act's own deadline before its permit expires: delivery and start of the job.
PERMIT_SLACK = 5.0


Sure = Callable[[str, Any], bool]


class SaltCall(Protocol):
    """How nodes are reached. Missing minions gave no answer in time."""

    def ask(
        self, minions: Sequence[str], function: str, kwargs: Mapping[str, Any], wait: float, sure: Sure
    ) -> Mapping[str, Any]:
        """
        Call an execution function on several minions, within ``wait`` seconds.

        :param sure: whether a return is believed; returns can be forged, so one that is not must not end the wait.
        """

    def state(
        self, minion: str, state: str, kwargs: Mapping[str, Any], wait: float, sure: Sure
    ) -> Mapping[str, Any] | None:
        """
        Run one state on a minion beside whatever else runs there; its return, or ``None`` if none came in time.

        :param sure: whether the ``answer`` in a return is believed.
        """


Warn = Callable[[str], None]
Spoke = Callable[[str, str], None]
Answered = Callable[[NodeFacts], None]


@dataclass(frozen=True)
class RemoteGuest:
    """
    Nodes of one master.

    :param key: returns the key of a node, by minion id.
    :param warn: told one sentence about each answer that was not believed.
    :param old_key: returns the key that a node had before, while that still counts, else ``""``.
    :param spoke: told the node and the key of each answer that was. :param answered: told that answer.
    :ivar under: the key of each node's last answer: the one that it knows for sure.
    :ivar several: nodes that have more than one master.
    """

    call: SaltCall
    key: Callable[[str], str]
    warn: Warn = lambda sentence: None
    old_key: Callable[[str], str] = lambda minion: ""
    spoke: Spoke = lambda minion, key: None
    answered: Answered = lambda facts: None
    under: dict[str, str] = field(default_factory=dict, repr=False)
    several: set[str] = field(default_factory=set)

    def ask(self, resource: Resource, minions: Sequence[str]) -> Mapping[str, NodeFacts]:
        """Ask nodes about ``resource``; only verified answers are returned."""
        nonce = signing.new_nonce()
        kwargs = {"resource": to_plain(resource), "nonce": nonce}
        answers = self.call.ask(minions, "vmdk.facts", kwargs, resource.timeouts.ask, self._sure(nonce))
        found = {}
        for minion in minions:
            if minion in answers:
                facts = self._believe(minion, answers[minion], nonce)
                if facts is not None:
                    found[minion] = facts
        return found

    def ask_all(
        self, resources: Mapping[str, Resource], minions: Sequence[str], wait: float
    ) -> tuple[dict[str, dict[str, NodeFacts]], set[str]]:
        """
        Ask nodes about all their resources in one question.

        :param wait: seconds.
        :return: verified answers by resource and minion, and who said anything at all. A node that knows another version of a
            resource has no word on it here.
        """
        nonce = signing.new_nonce()
        marks = {name: signing.part_of(nonce, resource) for name, resource in resources.items()}

        def believed(minion: str, answer: Any) -> dict[str, NodeFacts]:
            said = answer if isinstance(answer, Mapping) else {}
            words = {n: self._facts(minion, said[n], mark) for n, mark in marks.items() if n in said}
            return {name: word for name, word in words.items() if isinstance(word, NodeFacts)}

        kwargs = {"names": sorted(resources), "nonce": nonce}
        answers = self.call.ask(minions, "vmdk.all_facts", kwargs, wait, lambda m, a: bool(believed(m, a)))
        found: dict[str, dict[str, NodeFacts]] = {name: {} for name in resources}
        for minion in answers:
            for name, word in believed(minion, answers[minion]).items():
                found[name][minion] = word
        return found, set(answers)

    def release(self, move: Move, facts: NodeFacts) -> Outcome:
        """Order the source to stop using the disk and to prove it."""
        return self._order(
            StepKind.RELEASE, move.source, "vmdk.unmounted", move, facts, move.resource.timeouts.release
        )

    def halt(self, move: Move, facts: NodeFacts) -> Outcome:
        """Order the source to halt itself without touching the disk."""
        return self._order(
            StepKind.HALT, move.source, "vmdk.halted", move, facts, move.resource.timeouts.halt
        )

    def mount(self, move: Move, facts: NodeFacts) -> Outcome:
        """Order the target to mount and to start services."""
        wait = move.resource.timeouts.mount + move.resource.timeouts.service
        return self._order(StepKind.MOUNT, move.target, "vmdk.mounted", move, facts, wait)

    def _order(
        self, kind: StepKind, minion: str, state: str, move: Move, facts: NodeFacts, wait: float
    ) -> Outcome:
        step = Step(kind, minion)
        nonce = signing.new_nonce()
        permit = Permit(
            resource=move.resource.name,
            node=minion,
            act=kind.value,
            epoch=move.epoch,
            boot_id=facts.boot_id,
            deadline=facts.uptime + wait + PERMIT_SLACK,
            nonce=nonce,
            digest=signing.digest(move.resource),
        )
        signed = signing.sign_permit(self._key_of(minion), permit)
        kwargs = {"name": move.resource.name, "resource": to_plain(move.resource), "permit": to_plain(signed)}
        said = self.call.state(minion, state, kwargs, wait + PERMIT_SLACK, self._sure(nonce))
        if said is None:
            return Outcome(step, Result.UNKNOWN, f"{minion} gave no answer", "silent")
        return self._outcome(step, said, nonce)

    def _outcome(self, step: Step, said: Mapping[str, Any], nonce: str) -> Outcome:
        comment = str(said.get("comment", "")).strip() or "no comment"
        facts = self._believe(step.node, said.get("answer"), nonce) if said.get("answer") else None
        done = said.get("result") is True and facts is not None
        if said.get("result") is True and facts is None:
            comment = f"{step.node} says that it did it, without a proof"
        code = "" if done else str(said.get("code") or "step_failed")
        return Outcome(step, Result.DONE if done else Result.FAILED, comment, code, facts=facts)

    def _sure(self, nonce: str) -> Sure:
        return lambda minion, answer: isinstance(self._facts(minion, answer, nonce), NodeFacts)

    def _key_of(self, minion: str) -> str:
        """The key to sign orders with: while keys are changed a node may not have the new one yet."""
        counting = self._counting(minion)
        return self.under[minion] if self.under.get(minion) in counting else counting[0]

    def _counting(self, minion: str) -> list[str]:
        return [key for key in (self.key(minion), self.old_key(minion)) if key]

    def _facts(self, minion: str, answer: Any, nonce: str) -> NodeFacts | str:
        """A node's verified word, or why it is not believed. Whoever can send an event can send anything."""
        wrong = ""
        for key in self._counting(minion):
            try:
                body = signing.check_answer(key, answer, nonce, minion)
                facts = node_facts_from_plain(body)
            except (BadSignature, ValueError, TypeError, RecursionError) as err:
                wrong = wrong or str(err)
                continue
            self.under[minion] = key
            if body.get("several_masters") is True:
                self.several.add(minion)
            self.spoke(minion, key)
            self.answered(facts)
            return facts
        return wrong

    def _believe(self, minion: str, answer: Any, nonce: str) -> NodeFacts | None:
        found = self._facts(minion, answer, nonce)
        if isinstance(found, NodeFacts):
            return found
        self.warn(f"an answer is not believed: {found}")
        return None
