"""Keys of nodes: old and new overlap until every node has spoken under the new one, and not a moment longer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.core.build import resource
from vmdk_failover import signing
from vmdk_failover.daemon.listening import Ear
from vmdk_failover.errors import BadSignature, JournalError, Refused
from vmdk_failover.guest import masters
from vmdk_failover.guest.node import LocalNode, Services
from vmdk_failover.model import Permit, to_plain
from vmdk_failover.presence import heard
from vmdk_failover.remote import RemoteGuest
from vmdk_failover.store.keys import Keys

NODES = ("db1", "db2")


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    made = Keys(tmp_path)
    made.secret()
    return made


def test_a_node_has_one_key_and_it_stays(keys: Keys, tmp_path: Path) -> None:
    assert keys.current("db1") == Keys(tmp_path).current("db1") != keys.current("db2")
    assert (keys.old("db1"), keys.changing, keys.waiting_for(NODES)) == ("", False, [])
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_old_and_new_overlap_until_all_have_spoken(keys: Keys, tmp_path: Path) -> None:
    before = {n: keys.current(n) for n in NODES}
    keys.begin()
    assert {n: keys.old(n) for n in NODES} == before
    assert all(keys.current(n) != before[n] for n in NODES)
    keys.spoke("db1", keys.current("db1"))
    keys.spoke("db2", before["db2"])
    assert (keys.waiting_for(NODES), keys.end(NODES), keys.changing) == (["db2"], False, True)
    keys.spoke("db2", keys.current("db2"))
    assert (keys.end(NODES), keys.changing, keys.old("db1")) == (True, False, "")
    assert not (tmp_path / "secret.old").exists()


def test_words_of_an_earlier_change_do_not_count(keys: Keys) -> None:
    for _ in range(2):
        keys.begin()
        assert keys.waiting_for(NODES) == ["db1", "db2"]
        for node in NODES:
            keys.spoke(node, keys.current(node))
        assert keys.end(NODES)


def test_one_change_at_a_time(keys: Keys) -> None:
    keys.begin()
    with pytest.raises(Refused, match="being changed already"):
        keys.begin()


def test_a_process_that_lives_long_sees_the_change(keys: Keys, tmp_path: Path) -> None:
    listener = Keys(tmp_path)
    before = listener.current("db1")
    keys.begin()
    assert (listener.current("db1"), listener.old("db1")) == (keys.current("db1"), before)


def test_killed_in_the_middle_the_old_key_still_counts(keys: Keys, tmp_path: Path) -> None:
    before = keys.current("db1")
    os.link(tmp_path / "secret", tmp_path / "secret.old")  # that far it came
    assert (keys.current("db1"), keys.old("db1")) == (before, before)
    keys.spoke("db1", before)
    assert keys.end(["db1"]) and keys.current("db1") == before


@pytest.mark.parametrize("size", [0, 15])
@pytest.mark.parametrize("name", ["secret", "secret.old"])
def test_no_key_is_made_of_a_torn_secret(keys: Keys, tmp_path: Path, name: str, size: int) -> None:
    keys.begin()
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[:size])
    for known in (keys, Keys(tmp_path)):
        make = known.current if name == "secret" else known.old
        with pytest.raises(JournalError, match=f"has {size} bytes: it was not copied whole.*Copy it again"):
            make("db1")
    (tmp_path / name).write_bytes(whole)
    assert make("db1") in (keys.current("db1"), keys.old("db1"))


# -- the master's ear and mouth --------------------------------------------------------------------------------


def beat(key: str, seq: int) -> dict[str, Any]:
    body = {"minion": "db1", "boot_id": "b", "seq": seq, "uptime": 1.0, "address": "", "version": "1"}
    return signing.sign_heartbeat(key, body)


def test_heartbeats_under_both_keys_count_while_they_are_changed(keys: Keys, tmp_path: Path) -> None:
    ear = Ear(tmp_path, keys.current, lambda *_: None, lambda _: None, old_key=keys.old, spoke=keys.spoke)
    ear.watch({"pgdata": resource(2)})
    before = keys.current("db1")
    keys.begin()
    ear.hear(beat(before, 1))
    assert (ear.known.nodes["db1"].seq, keys.waiting_for(["db1"])) == (1, ["db1"])
    ear.hear(beat(keys.current("db1"), 2))
    assert (ear.known.nodes["db1"].seq, keys.waiting_for(["db1"])) == (2, [])
    keys.end(["db1"])
    ear.hear(beat(before, 3))
    assert (ear.known.nodes["db1"].seq, ear.ignored) == (2, 0)  # told at once, so counted anew
    assert isinstance(ear.known, heard.Heard)


class Call:
    """One node that answers with what it is given."""

    def __init__(self) -> None:
        self.key, self.orders = "", []

    def ask(self, minions: Any, function: str, kwargs: Any, wait: float, sure: Any) -> dict[str, Any]:
        facts = {"minion": "db1", "boot_id": "b", "uptime": 5.0, "several_masters": True}
        return {"db1": signing.sign_answer(self.key, facts, kwargs["nonce"])}

    def state(self, minion: str, state: str, kwargs: Any, wait: float, sure: Any) -> None:
        self.orders.append(Permit(**kwargs["permit"]))


def test_orders_are_signed_with_the_key_that_the_node_knows(keys: Keys) -> None:
    call = Call()
    guest = RemoteGuest(call, keys.current, old_key=keys.old, spoke=keys.spoke)
    before = call.key = keys.current("db1")
    keys.begin()
    for key in (before, keys.current("db1")):
        call.key = key
        facts = guest.ask(resource(), ["db1"])["db1"]
        from tests.core.build import move

        guest.release(move(resource()), facts)
        assert signing.is_signed(key, call.orders[-1])
    assert keys.waiting_for(["db1"]) == []
    keys.end(["db1"])
    call.key = before
    assert guest.ask(resource(), ["db1"]) == {}
    assert guest.several == {"db1"}


# -- the node -------------------------------------------------------------------------------------------------


def test_a_node_follows_orders_under_the_old_key_while_it_is_told_that_one(
    keys: Keys, tmp_path: Path
) -> None:
    from vmdk_failover.guest import places

    before = keys.current("db1")
    keys.begin()
    what = resource()
    boot = places.read(places.HERE.boot_id) or ""
    plain = Permit(
        "pgdata", "db1", "mount", 3, boot, places.boot_clock() + 60, "n" * 32, signing.digest(what)
    )

    def permitted(node: LocalNode, key: str) -> int:
        return node.permitted(to_plain(what), to_plain(signing.sign_permit(key, plain)), "mount")[1].epoch

    here = tmp_path / "node"
    changing = LocalNode("db1", keys.current("db1"), Services({}), here, old_key=before)
    assert permitted(changing, before) == permitted(changing, keys.current("db1")) == 3
    changed = LocalNode("db1", keys.current("db1"), Services({}), here)
    assert permitted(changed, keys.current("db1")) == 3
    for node, key in ((changed, before), (changing, keys.current("db2")), (changing, "0" * 64)):
        with pytest.raises(BadSignature, match="not signed by this node's master"):
            permitted(node, key)


def test_no_key_is_in_the_text_of_anything(keys: Keys) -> None:
    keys.begin()
    node = LocalNode("db1", keys.current("db1"), Services({}), old_key=keys.old("db1"))
    shown = repr(node) + repr(keys)
    assert keys.current("db1") not in shown and keys.old("db1") not in shown


def test_a_node_notices_a_second_master(tmp_path: Path) -> None:
    assert [masters.several(tmp_path, "10.0.0.1") for _ in range(3)] == [False] * 3
    assert masters.several(tmp_path, "10.0.0.2") and masters.several(tmp_path, "10.0.0.1")
    for mark in (tmp_path / masters.NAME).iterdir():
        os.utime(mark, (0, 0))
    assert not masters.several(tmp_path, "10.0.0.1")
    (tmp_path / "file").touch()
    assert not masters.several(tmp_path / "file", "10.0.0.1")
