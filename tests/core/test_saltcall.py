"""Returns of jobs, taken from a bus on which anybody can say anything."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.core.build import resource
from vmdk_failover import saltcall, signing
from vmdk_failover.errors import OutcomeUnknown
from vmdk_failover.model import Timeouts
from vmdk_failover.remote import RemoteGuest
from vmdk_failover.saltcall import LocalCall

WAIT = 0.3


@dataclass
class Bus:
    """What a LocalClient's ``event`` is to us: events in order, then silence."""

    events: list[Mapping[str, Any]] = field(default_factory=list)
    silent_until: float = 0.0

    def subscribe(self, tag: str, match_type: str) -> None:
        """Nothing is lost here."""

    def get_event(self, wait: float, tag: str, match_type: str) -> Mapping[str, Any] | None:
        left = max(0.0, self.silent_until - time.monotonic())
        if self.events and left <= wait:
            time.sleep(left)
            return self.events.pop(0)
        time.sleep(wait)
        return None


@dataclass
class Client:
    """A LocalClient: publishes what it is told, and has a bus."""

    event: Bus
    jobs: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    refuses: bool = False
    takes: float = 0.0

    def run_job(self, tgt: list[str], fun: str, arg: list[Any], **more: Any) -> Mapping[str, Any]:
        if self.refuses:
            raise RuntimeError("no master")
        time.sleep(self.takes)
        self.jobs.append((fun, more["kwarg"]))
        return {"jid": "20260101", "minions": tgt}


def said(minion: Any, answer: Any, **more: Any) -> dict[str, Any]:
    return {"id": minion, "return": answer, "retcode": 0, **more}


def genuine(minion: str, answer: Any) -> bool:
    return answer == f"signed by {minion}"


def call(*events: Mapping[str, Any]) -> LocalCall:
    return LocalCall(Client(Bus(list(events))))


def test_a_forged_return_does_not_silence_the_genuine_one() -> None:
    asked = call(said("db1", "forged"), said("db1", "signed by db1"))
    assert asked.ask(["db1"], "vmdk.facts", {}, WAIT, genuine) == {"db1": "signed by db1"}


def test_only_a_forged_return_is_handed_on_after_the_whole_wait() -> None:
    began = time.monotonic()
    assert call(said("db1", "forged")).ask(["db1"], "vmdk.facts", {}, WAIT, genuine) == {"db1": "forged"}
    assert time.monotonic() - began >= WAIT


def test_what_the_master_itself_needs_to_send_a_question_is_not_the_nodes_silence() -> None:
    """The answer takes the same way back, through the same queue."""
    bus, began = Bus([said("db1", "signed by db1")]), time.monotonic()
    bus.silent_until = began + 2 * 0.4 + WAIT / 2
    asked = LocalCall(Client(bus, takes=0.4)).ask(["db1"], "vmdk.facts", {}, WAIT, genuine)
    assert asked == {"db1": "signed by db1"}


def test_an_answer_that_may_be_on_its_way_is_waited_for_also_behind_a_forged_one() -> None:
    bus = Bus([said("db2", "forged"), said("db2", "signed by db2")])

    def believed(minion: str, answer: Any) -> bool:
        if answer == "forged" and not bus.silent_until:
            bus.silent_until = time.monotonic() + 3 * WAIT
        return genuine(minion, answer)

    asked = LocalCall(Client(bus), may_be_late=lambda minion: minion == "db2")
    assert asked.ask(["db1", "db2"], "vmdk.facts", {}, WAIT, believed) == {"db2": "signed by db2"}


def test_who_answered_long_before_the_late_one_is_asked_again() -> None:
    """Its word would be taken for a fresh one; it may have died while the other one was waited for."""
    bus = Bus([said("db1", "signed by db1"), said("db2", "signed by db2")])
    client, waits = Client(bus), []

    def late(minion: str) -> bool:
        waits.append(minion)
        return minion == "db2"

    def believed(minion: str, answer: Any) -> bool:
        bus.silent_until = bus.silent_until or time.monotonic() + WAIT + 1.5 * saltcall.OLD
        return genuine(minion, answer)

    assert LocalCall(client, may_be_late=late).ask(["db1", "db2"], "vmdk.facts", {}, WAIT, believed) == {
        "db2": "signed by db2"
    }
    assert len(client.jobs) == 2 and "db1" not in waits
    bus.events, bus.silent_until = [said(m, f"signed by {m}") for m in ("db1", "db2", "db1")], 0.0
    found = LocalCall(client, may_be_late=late).ask(["db1", "db2"], "vmdk.facts", {}, WAIT, believed)
    assert found == {"db1": "signed by db1", "db2": "signed by db2"}


def test_who_dies_meanwhile_is_waited_for_no_longer() -> None:
    """A frozen node was heard a moment ago; its failover is not to begin later for that."""
    began = time.monotonic()
    asked = LocalCall(Client(Bus()), may_be_late=lambda _: time.monotonic() < began + 2 * WAIT)
    assert asked.ask(["db1"], "vmdk.facts", {}, WAIT, genuine) == {}
    assert time.monotonic() - began < saltcall.ON_TOP / 2


@pytest.mark.parametrize("who", [["db1"], None, {"db1": 1}, "db2"])
def test_a_return_of_nobody_we_asked_is_no_return(who: Any) -> None:
    asked = call(said(who, "signed by db1"), said("db1", "signed by db1"))
    assert asked.ask(["db1"], "vmdk.facts", {}, WAIT, genuine) == {"db1": "signed by db1"}


@pytest.mark.parametrize("more", [{"retcode": 1}, {"out": "no_return"}])
def test_a_failed_return_is_silence(more: Mapping[str, Any]) -> None:
    assert call({**said("db1", "signed by db1"), **more}).ask(["db1"], "f", {}, WAIT, genuine) == {}


def test_a_state_is_told_not_to_be_a_test_and_not_to_wait_for_others() -> None:
    done = {"vmdk_|-x": {"result": True, "comment": "done", "answer": "signed by db1"}}
    client = Client(Bus([said("db1", done)]))
    assert LocalCall(client).state("db1", "vmdk.mounted", {"name": "x"}, WAIT, genuine) == done["vmdk_|-x"]
    assert client.jobs == [
        ("state.single", {"fun": "vmdk.mounted", "name": "x", "concurrent": True, "test": False})
    ]


def test_a_forged_no_does_not_stand_for_the_node() -> None:
    forged = {"x": {"result": False, "comment": "no"}}
    done = {"x": {"result": True, "comment": "done", "answer": "signed by db1"}}
    state = call(said("db1", forged), said("db1", done)).state("db1", "vmdk.mounted", {}, WAIT, genuine)
    assert state == done["x"]


def test_a_node_that_died_is_not_waited_for_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saltcall, "EACH", 0.05)
    monkeypatch.setattr(saltcall, "ASK", 0.05)
    client, began = Client(Bus()), time.monotonic()
    assert LocalCall(client).state("db1", "vmdk.mounted", {}, 60.0, genuine) is None
    assert time.monotonic() - began < 5.0
    assert [fun for fun, _ in client.jobs] == ["state.single", *["saltutil.find_job"] * saltcall.MISSES]


@pytest.mark.parametrize("how", ["order", "question"])
def test_a_node_whose_vm_is_off_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr(saltcall, "GLANCE", 0.05)
    looked: list[str] = []

    def is_off(minion: str) -> bool:
        looked.append(minion)
        return len(looked) > 2

    caller, began = LocalCall(Client(Bus()), is_off), time.monotonic()
    if how == "order":
        assert caller.state("db1", "vmdk.mounted", {}, 60.0, genuine) is None
    else:
        assert caller.ask(["db1"], "vmdk.facts", {}, 60.0, genuine) == {}
    assert time.monotonic() - began < 2.0
    assert set(looked) == {"db1"} and [fun for fun, _ in caller.client.jobs] in (
        ["state.single"],
        ["vmdk.facts"],
    )


def test_others_are_waited_for_while_the_vm_of_one_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saltcall, "GLANCE", 0.05)
    bus = Bus()

    def is_off(minion: str) -> bool:
        if minion == "db1":
            bus.events.append(said("db2", "signed by db2"))
        return minion == "db1"

    asked = LocalCall(Client(bus), is_off).ask(["db1", "db2"], "vmdk.facts", {}, 60.0, genuine)
    assert asked == {"db2": "signed by db2"}


def test_a_vcenter_that_hangs_holds_a_question_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saltcall, "GLANCE", 0.05)
    looked: list[str] = []

    def is_off(minion: str) -> bool:
        looked.append(minion)
        time.sleep(0.5)
        return False

    LocalCall(Client(Bus()), is_off).ask(["db1", "db2", "db3"], "vmdk.facts", {}, WAIT, genuine)
    assert looked == ["db1"]


def test_what_it_said_before_its_vm_was_off_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saltcall, "GLANCE", 0.05)
    bus = Bus()
    done = {"x": {"result": True, "comment": "done", "answer": "signed by db1"}}

    def is_off(minion: str) -> bool:
        bus.events.append(said(minion, done))
        return True

    assert LocalCall(Client(bus), is_off).state("db1", "vmdk.unmounted", {}, 60.0, genuine) == done["x"]


def test_what_salt_itself_refuses_is_a_failure_in_its_words() -> None:
    refused = call(said("db1", ["The function state.apply is running"]))
    told = refused.state("db1", "vmdk.mounted", {}, WAIT, lambda *_: True)
    assert told is not None and told["result"] is False and "is running" in told["comment"]


def test_a_master_that_does_not_publish_is_an_unknown_outcome() -> None:
    with pytest.raises(OutcomeUnknown, match="is the salt-master up"):
        LocalCall(Client(Bus(), refuses=True)).ask(["db1"], "f", {}, WAIT, genuine)


def test_a_flood_of_forged_returns_does_not_cost_the_answer() -> None:
    """Whoever reads the job's number can forge its returns; the genuine one is found behind ten thousand of them."""
    key = signing.node_key(b"secret", "db1")
    facts = {"minion": "db1", "boot_id": "b", "uptime": 5.0}
    bus = Bus()
    client = Client(bus)
    guest = RemoteGuest(LocalCall(client), lambda minion: signing.node_key(b"secret", minion))
    real = client.run_job

    def run(*args: Any, **more: Any) -> Mapping[str, Any]:
        nonce = more["kwarg"]["nonce"]
        forged = signing.sign_answer("00" * 32, facts, nonce)
        bus.events = [said("db1", forged) for _ in range(10_000)]
        bus.events.append(said("db1", signing.sign_answer(key, facts, nonce)))
        return real(*args, **more)

    client.run_job = run  # type: ignore[method-assign]
    # what it costs is counted in CPU, for the machine may be busy
    patient = resource(timeouts=Timeouts(ask=30.0))
    began = time.process_time()
    assert guest.ask(patient, ["db1"])["db1"].uptime == 5.0
    assert time.process_time() - began < 1.5


@pytest.mark.parametrize(
    "event", [{"id": "db1"}, {"id": "db1", "retcode": 0}, {"id": ["db1"]}, {"return": 1}, {}]
)
def test_a_return_without_a_return_is_none(event: dict[str, Any]) -> None:
    assert call(event).ask(["db1"], "test.ping", {}, WAIT, genuine) == {}
