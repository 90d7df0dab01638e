"""The master's own word on its event bus, and everything that only looks like it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vmdk_failover import signing
from vmdk_failover.commands.authentic import FRESH, Announcements
from vmdk_failover.errors import JournalError
from vmdk_failover.store.keys import Keys

NOW = 1.7e9
ENTRY = {
    "what": "state", "resource": "pgdata", "state": "active", "active": "db2", "protected": True, "reason": "active on db2",
    "rule": 600, "nodes": {"db1": "off", "db2": "healthy"}, "before": {}, "at": NOW,
}  # fmt: skip


@pytest.fixture
def own(tmp_path: Path) -> Announcements:
    return Announcements(tmp_path, lambda: NOW)


def delivered(own: Announcements, **more: Any) -> dict[str, Any]:
    """As the bus hands it out."""
    body, tag = own.event({**ENTRY, **more})
    assert tag == "vmdk-state/pgdata/active"
    return {**json.loads(json.dumps(body)), "_stamp": "2026-11-23T09:00:00.000000"}


def test_its_own_word_is_known(own: Announcements, tmp_path: Path) -> None:
    event = delivered(own)
    assert event["sentence"] == "pgdata: active on db2"
    assert own.is_genuine(event) and own.believes(event)
    assert Announcements(tmp_path, lambda: NOW + 1).is_genuine(json.dumps(event))
    assert own.is_genuine(delivered(own, took=0.00001, within=(1, 2)))


@pytest.mark.parametrize(
    "change",
    [
        {"sentence": "pgdata: all is well"},
        {"protected": False},
        {"resource": "mail"},
        {"at": NOW + 1},
        {"nodes": {}},
        {"more": 1},
        {"id": "db1"},
        {"signature": ""},
        {"signature": None},
        {"signature": "00" * 32},
        {"signature": ["x"]},
        {"signature": "é\ud800"},
    ],
)
def test_what_was_changed_is_not_its_word(own: Announcements, change: dict[str, Any]) -> None:
    event = delivered(own)
    assert own.is_genuine(event)
    assert not own.is_genuine({**event, **change})


def test_neither_a_node_nor_another_master_can_say_it(own: Announcements, tmp_path: Path) -> None:
    body = {key: one for key, one in delivered(own).items() if key not in ("_stamp", "signature")}
    keys = Keys(tmp_path)
    for key in (keys.current("db1"), keys.current(""), Keys(tmp_path / "other").announcing()[0]):
        assert not own.is_genuine(signing.sign_event(key, body))
        assert not own.is_genuine(signing.sign_heartbeat(key, body))
    assert not own.is_genuine(signing.sign_heartbeat(keys.announcing()[0], body))
    assert own.is_genuine(signing.sign_event(keys.announcing()[0], body))


@pytest.mark.parametrize(("later", "counts"), [(FRESH - 1, True), (FRESH + 1, False), (-FRESH - 1, False)])
def test_an_old_word_counts_no_more(own: Announcements, tmp_path: Path, later: float, counts: bool) -> None:
    assert Announcements(tmp_path, lambda: NOW + later).is_genuine(delivered(own)) is counts


def deep() -> Any:
    value: Any = "x"
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    "make",
    [
        lambda: None, lambda: "", lambda: "{", lambda: "[]", lambda: "5", lambda: b"\xff", lambda: 5, list, dict,
        lambda: "[" * 100_000, lambda: {**ENTRY, "signature": "x", "at": "soon"}, lambda: {**ENTRY, "reason": deep()},
        lambda: {**ENTRY, "at": float("nan")}, lambda: {**ENTRY, "at": 10**400}, lambda: {1: 2, b"x": b"y"},
        lambda: '{"at": 1e999}',
    ],
)  # fmt: skip
def test_rubbish_is_not_its_word(own: Announcements, make: Callable[[], Any]) -> None:
    assert not own.is_genuine(make())


def test_while_keys_are_changed_both_count(own: Announcements, tmp_path: Path) -> None:
    old, keys = delivered(own), Keys(tmp_path)
    keys.begin()
    new = delivered(own)
    assert old["signature"] != new["signature"]
    assert own.is_genuine(old) and own.is_genuine(new)
    assert keys.end([])
    assert own.is_genuine(new) and not own.is_genuine(old)


def test_without_a_secret_it_is_told_all_the_same_and_nobody_can_tell_whose_word_it_is(
    own: Announcements, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b"")
    event = delivered(own)
    assert event["signature"] == "" and event["sentence"]
    with pytest.raises(JournalError, match="was not copied whole"):
        own.is_genuine(event)
    assert not own.believes(event)


def test_every_text_in_it_is_harmless(own: Announcements) -> None:
    evil = "\x1b[2J\x1b]0;all is well\x07\n\x9b2J\u202e\ud800\x7f"
    event = delivered(own, reason=evil, nodes={evil: [evil]})
    texts = (*event["nodes"], *itertools.chain(*event["nodes"].values()), event["reason"], event["sentence"])
    assert all(one.isprintable() and r"\x1b[2J" in one for one in texts)
    assert own.is_genuine(event)
