"""Nodes behind the real signatures, and a minion that lies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.core.ports import GuestPort
from tests.doubles.guest import FakeNode
from vmdk_failover import signing
from vmdk_failover.errors import BadSignature
from vmdk_failover.model import Move, NodeFacts, Outcome, Permit, Resource, Result, Step, StepKind, to_plain
from vmdk_failover.remote import RemoteGuest, Sure

if TYPE_CHECKING:
    from tests.core.world import World

ACTS = {"vmdk.unmounted": StepKind.RELEASE, "vmdk.halted": StepKind.HALT, "vmdk.mounted": StepKind.MOUNT}


def key(minion: str) -> str:
    return signing.node_key(b"the master's secret", minion)


class SignedGuest(GuestPort):
    """
    The nodes behind the real :class:`RemoteGuest`: it signs permits and believes signed answers only.

    The liar has a key of its own, hears everything, and speaks in the name of others before they do: unsigned, under its own
    key, or by repeating what they have signed for another question.
    """

    def __init__(self, world: World, resource: Resource) -> None:
        super().__init__(world, resource)
        self.remote = RemoteGuest(_Bus(self), key)
        self.overheard: dict[str, Mapping[str, Any]] = {}

    def ask(self, resource: Resource, minions: Sequence[str]) -> Mapping[str, NodeFacts]:
        """See the port."""
        return self.remote.ask(resource, minions)

    def heard(self, resource: Resource, minions: Sequence[str]) -> Mapping[str, NodeFacts]:
        """What nodes say before anybody signs or lies."""
        return super().ask(resource, minions)

    def release(self, move: Move, facts: NodeFacts) -> Outcome:
        """See the port."""
        return self.remote.release(move, facts)

    def halt(self, move: Move, facts: NodeFacts) -> Outcome:
        """See the port."""
        return self.remote.halt(move, facts)

    def mount(self, move: Move, facts: NodeFacts) -> Outcome:
        """See the port."""
        return self.remote.mount(move, facts)

    def lies(self, minion: str, nonce: str) -> list[Mapping[str, Any]]:
        """What the liar says in the name of a node."""
        if not self.world.chance(0.2):
            return []
        wish: Mapping[str, Any] = self.world.dice.pick(
            ({}, {"condition": "hung"}, {"epoch": 10**6}, {"mounted": "mounted"})
        )
        epoch = self.world.journal.state(self.resource.name).epoch
        dream = {**to_plain(self.facts(self.resource, minion)), "mounted": "unmounted", "released": epoch}
        dream = {**dream, **wish}
        return [dream, signing.sign_answer(key("db9"), dream, nonce), self.overheard.get(minion, {})]


class _Bus:
    """The ``SaltCall`` port: questions and orders on their way to nodes and back."""

    def __init__(self, guest: SignedGuest) -> None:
        self.guest = guest

    def ask(
        self, minions: Sequence[str], function: str, kwargs: Mapping[str, Any], wait: float, sure: Sure
    ) -> Mapping[str, Any]:
        """See the port."""
        guest, found = self.guest, dict[str, Any]()
        heard = guest.heard(guest.resource, minions)
        for minion in minions:
            answers = guest.lies(minion, kwargs["nonce"])
            if minion in heard:
                true = signing.sign_answer(key(minion), to_plain(heard[minion]), kwargs["nonce"])
                guest.overheard[minion] = true
                answers.append(true)
            believed = next((answer for answer in answers if sure(minion, answer)), None)
            if believed is not None:
                found[minion] = believed
        return found

    def state(
        self, minion: str, state: str, kwargs: Mapping[str, Any], wait: float, sure: Sure
    ) -> Mapping[str, Any] | None:
        """See the port."""
        guest = self.guest
        permit, step = Permit(**kwargs["permit"]), Step(ACTS[state], minion)
        work = {StepKind.RELEASE: guest._release, StepKind.HALT: guest._halt, StepKind.MOUNT: guest._mount}
        running = guest.world.at_work().journal.state(guest.resource.name).move
        assert running is not None
        told = guest.facts(
            running.resource, minion
        )  # only its boot and clock count, and those the permit has
        facts = _as_permitted(told, permit, running)
        outcome = guest.order(step, running, facts, self._checked(permit, running.resource, work[step.kind]))
        if outcome.result is Result.UNKNOWN:
            return None
        answer = signing.sign_answer(key(minion), to_plain(outcome.facts), permit.nonce)
        return {"result": outcome.result is Result.DONE, "comment": outcome.evidence, "answer": answer}

    def _checked(
        self, permit: Permit, resource: Resource, work: Callable[[FakeNode, Move], str]
    ) -> Callable[[FakeNode, Move], str]:
        """The order as a node carries it out: behind the real check of its permit."""
        guest = self.guest

        def act(node: FakeNode, move: Move) -> str:
            now = guest.facts(resource, permit.node)
            try:
                signing.check_permit(
                    key(permit.node),
                    permit,
                    resource=resource,
                    node=permit.node,
                    act=permit.act,
                    boot_id=node.boot_id,
                    uptime=guest.clock.now,  # ``obey`` has set it to the node's own
                    epoch=now.epoch,
                )
            except BadSignature as err:
                return err.reason
            return work(node, move)

        return act


def _as_permitted(facts: NodeFacts, permit: Permit, move: Move) -> NodeFacts:
    """The word that the permit was made from."""
    limits = move.resource.timeouts
    wait = getattr(limits, permit.act) + (limits.service if permit.act == "mount" else 0.0)
    return replace(facts, boot_id=permit.boot_id, uptime=permit.deadline - wait - 5.0)
