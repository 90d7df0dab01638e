"""The states on the master, above the real engine on doubles: what ``test=True`` says is what is then done, and only once."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from tests.core.build import resource
from tests.core.golden_stage import Stage
from tests.packaging.source import ROOT
from vmdk_failover.commands import operate
from vmdk_failover.errors import BadSignature
from vmdk_failover.guest import node as nodes
from vmdk_failover.guest import places
from vmdk_failover.judgement.policy import Wish
from vmdk_failover.model import Condition, MoveKind, Permit, Power, to_plain
from vmdk_failover.signing import digest, sign_permit

KEY = "ab" * 32


def loaded(**known: Any) -> ModuleType:
    """The states as Salt's loader makes them."""
    spec = importlib.util.spec_from_file_location("states_vmdk", ROOT / "_states" / "vmdk.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.__dict__.update(
        __opts__={"test": False, "__role": "master", "id": "ma"}, __salt__={}, __pillar__={}
    )
    module.__dict__.update(known)
    return module


class Desk:
    """The states on a master, and the stage that its runners act upon."""

    def __init__(self, count: int = 2, **options: Any) -> None:
        self.of = resource(nodes=count) if count != 2 else resource()
        self.of = replace(self.of, **options)
        self.stage = Stage([self.of], {"pgdata": "db1"})
        self.side = self.stage.sides["pgdata"]
        self.states = loaded(__salt__={"saltutil.runner": self.run})

    def run(self, function: str, kwarg: Mapping[str, Any]) -> dict[str, Any]:
        """A runner, as it answers."""
        app, name, target = self.stage.app(self.side), "pgdata", kwarg.get("target", "")
        what = function.removeprefix("vmdk.")
        kind = {"switchover": MoveKind.SWITCHOVER, "failover": MoveKind.FAILOVER}.get(what)
        if what == "status":
            return operate.status(app, name)
        if what == "plan" or kwarg.get("test"):
            return operate.plan(app, name, target, kind)
        self.stage.look(name, Wish(kind, target) if kind else None)
        assert self.side.report is not None
        return {"ok": self.side.report.ok, **to_plain(self.side.report)}

    def test(self, state: str, **kwargs: Any) -> dict[str, Any]:
        """The same with ``test=True``; nothing happens by that."""
        before = list(self.side.steps), dict(self.stage.journal.states)
        self.states.__opts__["test"] = True
        said: dict[str, Any] = getattr(self.states, state)("pgdata", **kwargs)
        self.states.__opts__["test"] = False
        assert (list(self.side.steps), dict(self.stage.journal.states)) == before
        return said

    def do(self, state: str, **kwargs: Any) -> dict[str, Any]:
        said: dict[str, Any] = getattr(self.states, state)("pgdata", **kwargs)
        return said

    def on(self) -> str:
        return str(self.run("vmdk.status", {})["resources"]["pgdata"]["active"])


@pytest.fixture
def desk() -> Iterator[Desk]:
    here = Desk()
    yield here
    here.stage.close()


OVER = {"pgdata": {"old": "db1", "new": "db2"}}


@pytest.mark.parametrize(
    ("state", "node", "other"),
    [("active", "db2", "db1"), ("attached", "db2", "db1"), ("detached", "db1", "db2")],
)
def test_what_is_said_is_done_and_only_once(desk: Desk, state: str, node: str, other: str) -> None:
    there = desk.test(state, node=other)
    assert (there["result"], there["changes"]) == (True, {})
    assert there["comment"] == f"pgdata is {'not ' if state == 'detached' else ''}on {other}"
    would = desk.test(state, node=node)
    assert (would["result"], would["changes"]) == (None, OVER) and "would be moved: active on db2" in would[
        "comment"
    ]
    done = desk.do(state, node=node)
    assert (done["result"], done["changes"]) == (True, OVER)
    for again in (desk.test(state, node=node), desk.do(state, node=node)):
        assert (again["result"], again["changes"]) == (True, {})


def test_a_clean_move_that_cannot_be_fails_in_a_dry_run_too(desk: Desk) -> None:
    desk.side.guest.nodes["db1"].silent = True  # its address answers: held by itself
    for said in (desk.test("active", node="db2"), desk.do("active", node="db2")):
        assert (said["result"], said["changes"]) == (False, {}), said
    would = desk.test("active", node="db2", force=True)
    assert would["result"] is None and would["comment"].endswith("; db1 would be powered off")
    done = desk.do("active", node="db2", force=True)
    assert (done["result"], desk.on()) == (True, "db2") and "fence db1" in desk.side.steps


def test_by_force_only_where_a_clean_move_cannot_be(desk: Desk) -> None:
    assert "powered off" not in desk.test("active", node="db2", force=True)["comment"]
    desk.stage.fates["release db1"] = ["fails", "fails"]
    done = desk.do("active", node="db2", force=True)
    assert (done["result"], desk.on()) == (True, "db2")
    assert desk.side.steps[:3] == ["release db1 failed", "release db1 failed", "fence db1"]


def test_the_fence_that_might_follow_is_named(desk: Desk) -> None:
    desk.side.guest.nodes["db1"].trouble = Condition.IO_ERROR
    would = desk.test("active", node="db2", force=True)
    assert would["comment"].endswith("; db1 would be powered off if it did not release the disk"), would


def test_what_is_not_in_service_ends_where_it_was_asked_to_be() -> None:
    """The best ready node is another one than that which is wanted."""
    desk = Desk(3)
    try:
        desk.stage.node("db1").turn(Power.OFF)
        would = desk.test("active", node="db3")
        assert would["comment"] == "pgdata would be moved: active on db2, then switched over to db3", would
        assert would["changes"] == {"pgdata": {"old": "", "new": "db3"}}
        done = desk.do("active", node="db3")
        assert (done["result"], desk.on(), done["changes"]) == (True, "db3", would["changes"])
        assert "active on db2" in done["comment"] and "active on db3" in done["comment"]
    finally:
        desk.stage.close()


def test_one_that_is_not_there_is_told(desk: Desk) -> None:
    refused = {
        "ok": False,
        "error": "there is no resource called 'pgdata'; known are: none",
        "code": "config",
    }
    desk.states.__salt__["saltutil.runner"] = lambda function, kwarg: refused
    for said in (desk.do("active", node="db2"), desk.do("protected")):
        assert said["result"] is False and said["comment"].endswith(refused["error"])


def test_what_is_in_hands_is_left_there(desk: Desk) -> None:
    desk.stage.ask("pgdata", "pause")
    for said in (desk.test("active", node="db2"), desk.do("active", node="db2")):
        assert said["result"] is False and said["comment"].startswith("pgdata is paused")


# -- what is recorded -----------------------------------------------------------------------------------------


class Records:
    """A master's runners that only write down what they are asked for."""

    def __init__(self) -> None:
        self.protected = {"pgdata": ["db1", "db2", "db3"]}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.gaps: list[str] = []
        self.states = loaded(__salt__={"saltutil.runner": self.run})

    def run(self, function: str, kwarg: Mapping[str, Any]) -> dict[str, Any]:
        if function == "vmdk.status":
            known = {"protected": not self.gaps, "not_protected_because": self.gaps}
            return {
                "resources": {
                    name: {"nodes": dict.fromkeys(of), **known} for name, of in self.protected.items()
                }
            }
        self.asked.append((function.removeprefix("vmdk."), dict(kwarg)))
        if function == "vmdk.protect":
            if not kwarg["test"]:
                self.protected[kwarg["name"]] = [kwarg["node"], *kwarg["backups"]]
            return {"text": "nodes: …"}
        if function == "vmdk.power_off":
            return {"changed": kwarg["node"] == "db2", "off": not kwarg["test"]}
        return {
            "changes": {"nodes": {"old": 1, "new": 2}}
            if kwarg.get("remove_backup") or "mode" in kwarg
            else {}
        }

    def call(self, state: str, *args: Any, test: bool = False, **kwargs: Any) -> dict[str, Any]:
        self.states.__opts__["test"] = test
        said: dict[str, Any] = getattr(self.states, state)(*args, **kwargs)
        return said


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.mark.parametrize(
    ("given", "more", "less"),
    [
        ({"node": "db1", "backups": ["db2"]}, [], ["db3"]),
        ({"node": "db1", "backups": "db2,db4"}, ["db4"], ["db3"]),
        ({"backups": ["db3", "db2"]}, None, None),
        ({"node": "db2", "backups": ["db3"]}, [], ["db1"]),
        ({"node": "db1"}, None, None),
        ({}, None, None),
    ],
)
def test_recorded_with_these_backups_and_no_others(
    records: Records, given: dict[str, Any], more: list[str] | None, less: list[str] | None
) -> None:
    for test in (True, False):
        said = records.call("protected", "pgdata", test=test, **given)
        assert said["result"] is (None if less and test else True)
        assert bool(said["changes"]) is bool(less)
    wanted = {"name": "pgdata", "add_backup": more, "remove_backup": less}
    assert records.asked == ([] if less is None else [("edit", {**wanted, "test": t}) for t in (True, False)])


def test_what_is_not_there_yet_is_recorded_once(records: Records) -> None:
    given = {"node": "db1", "mountpoint": "/srv/web", "backups": "db2", "on_error": "halt"}
    would = records.call("protected", "web", test=True, **given)
    assert (would["result"], would["changes"]) == (None, {"web": {"old": "", "new": "nodes: …"}})
    assert "web" not in records.protected
    assert records.call("protected", "web", **given)["changes"] == would["changes"]
    assert records.protected["web"] == ["db1", "db2"]
    again = records.call("protected", "web", **given)
    assert (again["result"], again["changes"]) == (True, {})


def test_what_stands_in_the_way_fails_in_a_dry_run_without_a_wait(records: Records) -> None:
    records.gaps = ["no other node can take it"]
    said = records.call("protected", "pgdata", test=True, wait=60)
    assert (said["result"], said["comment"]) == (False, "no other node can take it")


@pytest.mark.parametrize(
    ("minion", "result", "words"), [("db2", None, "would be powered off"), ("db3", True, "is off")]
)
def test_a_node_that_would_be_powered_off(
    records: Records, minion: str, result: bool | None, words: str
) -> None:
    would = records.call("powered_off", minion, test=True)
    assert (would["result"], bool(would["changes"])) == (result, result is None) and words in would["comment"]
    assert records.asked == [("power_off", {"node": minion, "test": True})]


# -- on a node ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "act"), [("mounted", "mount"), ("unmounted", "release"), ("halted", "halt")]
)
def test_an_order_that_is_tried_is_checked_and_not_carried_out(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, state: str, act: str
) -> None:
    what = resource()
    here = nodes.LocalNode("db1", KEY, nodes.Services({}), tmp_path / "node")
    monkeypatch.setattr(nodes.LocalNode, "of", classmethod(lambda *_: here))

    def never(*_: Any) -> None:
        raise AssertionError("it was carried out")

    monkeypatch.setattr(nodes.LocalNode, act, never)
    states = loaded(__opts__={"test": True, "id": "db1"})
    boot = places.read(places.HERE.boot_id) or ""
    plain = Permit("pgdata", "db1", act, 3, boot, places.boot_clock() + 60, "n" * 32, digest(what))
    call: Callable[..., dict[str, Any]] = getattr(states, state)
    said = call("pgdata", resource=to_plain(what), permit=to_plain(sign_permit(KEY, plain)))
    assert (said["result"], said["changes"]) == (None, {"pgdata": {"old": "", "new": act}}), said
    assert here.facts(what).epoch < 3  # it is not remembered either: the order still counts
    forged = call("pgdata", resource=to_plain(what), permit=to_plain(sign_permit("cd" * 32, plain)))
    assert (forged["result"], forged["changes"]) == (False, {}) and "not signed" in forged["comment"]


@pytest.mark.parametrize("act", ["mount", "release", "halt"])
def test_a_node_that_is_newer_than_its_master_follows_its_orders(tmp_path: Any, act: str) -> None:
    """A new version comes to the nodes first, and knows an option more: what was signed is what was sent."""
    here = nodes.LocalNode("db1", KEY, nodes.Services({}), tmp_path / "node")
    plain = to_plain(resource(on_service_failure="next"))
    older = {key: value for key, value in plain.items() if key != "agent_timeout"}
    boot = places.read(places.HERE.boot_id) or ""
    permit = Permit("pgdata", "db1", act, 3, boot, places.boot_clock() + 60, "n" * 32, digest(older))
    signed = to_plain(sign_permit(KEY, permit))
    assert here.permitted(older, signed, act, test=True)[0] == resource(on_service_failure="next")
    other = {**older, "on_service_failure": "hold"}
    with pytest.raises(BadSignature, match="for digest"):
        here.permitted(other, signed, act, test=True)
