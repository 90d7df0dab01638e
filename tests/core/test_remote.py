"""Orders to nodes and their answers: what cannot be verified is left out, and done is only what is proven."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.core.build import EPOCH, active, move, resource, says
from vmdk_failover import signing
from vmdk_failover.model import NodeFacts, Permit, Result, StepKind, resource_from_plain, to_plain
from vmdk_failover.remote import PERMIT_SLACK, RemoteGuest, Sure


def key(minion: str) -> str:
    return signing.node_key(b"secret", minion)


Answer = Callable[[str, Mapping[str, Any]], Any]


@dataclass
class FakeCall:
    """The ``SaltCall`` port: nodes answer by functions; ``None`` is silence."""

    answers: dict[str, Answer] = field(default_factory=dict)
    calls: list[tuple[str, str, Mapping[str, Any], float]] = field(default_factory=list)

    def ask(
        self, minions: Sequence[str], function: str, kwargs: Mapping[str, Any], wait: float, sure: Sure
    ) -> Mapping[str, Any]:
        self.calls += [(minion, function, kwargs, wait) for minion in minions]
        said = {m: self.answers[m](kwargs["nonce"], kwargs) for m in minions if m in self.answers}
        return {minion: answer for minion, answer in said.items() if answer is not None}

    def state(
        self, minion: str, state: str, kwargs: Mapping[str, Any], wait: float, sure: Sure
    ) -> Mapping[str, Any] | None:
        self.calls.append((minion, state, kwargs, wait))
        answer: Mapping[str, Any] | None = self.answers[minion](kwargs["permit"]["nonce"], kwargs)
        return answer


def word(facts: NodeFacts, with_key: str = "") -> Answer:
    """A node that says these facts, well signed."""
    return lambda nonce, kwargs: signing.sign_answer(with_key or key(facts.minion), to_plain(facts), nonce)


@pytest.fixture
def call() -> FakeCall:
    return FakeCall()


def guest(call: FakeCall, warned: list[str] | None = None) -> RemoteGuest:
    return RemoteGuest(call, key, (warned if warned is not None else []).append)


def test_verified_answers_are_returned(call: FakeCall) -> None:
    call.answers = {"db1": word(active("db1")), "db2": word(says("db2", unready=("no fsck",)))}
    assert guest(call).ask(resource(), ["db1", "db2"]) == {
        "db1": active("db1"),
        "db2": says("db2", unready=("no fsck",)),
    }
    assert {(c[1], c[3]) for c in call.calls} == {("vmdk.facts", 2.0)}


@pytest.mark.parametrize(
    "answer",
    [
        word(active("db1"), key("db2")),
        word(active("db2"), key("db1")),
        lambda nonce, kwargs: signing.sign_answer(key("db1"), to_plain(active("db1")), "0" * 32),
        lambda nonce, kwargs: to_plain(active("db1")),
        lambda nonce, kwargs: "The minion function caused an exception",
        lambda nonce, kwargs: signing.sign_answer(key("db1"), {"minion": "db1"}, nonce),
        lambda nonce, kwargs: signing.sign_answer(
            key("db1"), {**to_plain(active("db1")), "epoch": "x"}, nonce
        ),
    ],
    ids=["another key", "another node", "another nonce", "unsigned", "no dict", "no facts", "wrong types"],
)
def test_an_answer_that_cannot_be_verified_is_silence(call: FakeCall, answer: Answer) -> None:
    warned: list[str] = []
    call.answers = {"db1": answer, "db2": word(says("db2"))}
    assert list(guest(call, warned).ask(resource(), ["db1", "db2"])) == ["db2"]
    assert len(warned) == 1 and "not believed" in warned[0]


def test_nobody_answers_for_another(call: FakeCall) -> None:
    call.answers = {"db1": word(active("db2"), key("db2"))}
    assert guest(call).ask(resource(), ["db1"]) == {}


def test_each_question_has_a_nonce_of_its_own(call: FakeCall) -> None:
    call.answers = {"db1": word(active("db1"))}
    for _ in range(2):
        guest(call).ask(resource(), ["db1"])
    assert len({c[2]["nonce"] for c in call.calls}) == 2


def did(facts: NodeFacts, result: Any = True, with_key: str = "", **more: Any) -> Answer:
    """A node that returns from a state with its signed word."""
    return lambda nonce, kwargs: {
        "result": result,
        "comment": "it is done",
        "answer": word(facts, with_key)(nonce, kwargs),
        **more,
    }


RELEASED = says("db1", released=EPOCH)
ORDER = move(resource())
LIMITS = ORDER.resource.timeouts


def test_done_needs_a_proof(call: FakeCall) -> None:
    call.answers = {"db1": did(RELEASED)}
    outcome = guest(call).release(ORDER, active("db1"))
    assert (outcome.result, outcome.facts, outcome.code) == (Result.DONE, RELEASED, "")


@pytest.mark.parametrize(
    ("answer", "result", "words"),
    [
        (lambda nonce, kwargs: None, Result.UNKNOWN, "gave no answer"),
        (lambda nonce, kwargs: {"result": True, "comment": "ok"}, Result.FAILED, "without a proof"),
        (did(RELEASED, with_key=key("db2")), Result.FAILED, "without a proof"),
        (did(replace(RELEASED, minion="db2"), with_key=key("db2")), Result.FAILED, "without a proof"),
        (did(RELEASED, result=False, comment="in use", code="in_use"), Result.FAILED, "in use"),
        (did(RELEASED, result=None), Result.FAILED, "it is done"),
        (did(RELEASED, result="True"), Result.FAILED, "it is done"),
        (lambda nonce, kwargs: {}, Result.FAILED, "no comment"),
    ],
)
def test_anything_else_is_not_done(call: FakeCall, answer: Answer, result: Result, words: str) -> None:
    call.answers = {"db1": answer}
    outcome = guest(call).release(ORDER, active("db1"))
    assert outcome.result is result
    assert words in outcome.evidence
    assert outcome.code


@pytest.mark.parametrize(
    ("act", "minion", "state", "wait"),
    [
        (StepKind.RELEASE, "db1", "vmdk.unmounted", LIMITS.release),
        (StepKind.HALT, "db1", "vmdk.halted", LIMITS.halt),
        (StepKind.MOUNT, "db2", "vmdk.mounted", LIMITS.mount + LIMITS.service),
    ],
)
def test_an_order_carries_a_permit_for_just_this(
    call: FakeCall, act: StepKind, minion: str, state: str, wait: float
) -> None:
    facts = says(minion, uptime=500.0)
    call.answers = {minion: did(facts)}
    assert getattr(guest(call), act.value)(ORDER, facts).result is Result.DONE
    ((to, name, kwargs, waited),) = call.calls
    permit = Permit(**kwargs["permit"])
    assert (to, name, waited) == (minion, state, wait + PERMIT_SLACK)
    assert permit.deadline == 500.0 + wait + PERMIT_SLACK
    sent = resource_from_plain(kwargs["resource"])
    check = {"resource": sent, "node": minion, "act": act.value, "boot_id": facts.boot_id, "epoch": EPOCH}
    signing.check_permit(key(minion), permit, uptime=500.0, **check)


def test_no_secret_is_in_a_call(call: FakeCall) -> None:
    call.answers = {"db1": did(RELEASED)}
    guest(call).release(ORDER, active("db1"))
    assert key("db1") not in repr(call.calls)
