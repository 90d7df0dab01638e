"""A node does what a permit says and nothing else; the master believes what a node has signed and nothing else."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tests.core.build import resource
from vmdk_failover import signing
from vmdk_failover.errors import BadSignature
from vmdk_failover.model import Permit, node_facts_from_plain, resource_from_plain, to_plain

KEY = signing.node_key(b"secret of the master", "db1")
OTHER_KEY = signing.node_key(b"secret of the master", "db2")
PGDATA = resource()
PERMIT = signing.sign_permit(
    KEY,
    Permit("pgdata", "db1", "release", 7, "boot-1", 1000.0, signing.new_nonce(), signing.digest(PGDATA)),
)


def check(permit: Permit = PERMIT, key: str = KEY, **other: Any) -> None:
    fine: dict[str, Any] = {
        "resource": PGDATA,
        "node": "db1",
        "act": "release",
        "boot_id": "boot-1",
        "uptime": 990.0,
        "epoch": 7,
    }
    signing.check_permit(key, permit, **{**fine, **other})


def signed(**changes: Any) -> Permit:
    """Another permit, well signed."""
    return signing.sign_permit(KEY, dataclasses.replace(PERMIT, **changes))


def test_a_permit_passes() -> None:
    check()
    check(epoch=3)
    check(uptime=1000.0)


@pytest.mark.parametrize(
    ("permit", "words"),
    [
        (signed(node="db2"), "for node db2, not db1"),
        (signed(act="mount"), "for act mount, not release"),
        (signed(boot_id="boot-0"), "for boot boot-0, not boot-1"),
        (signed(resource="mail"), "for resource mail, not pgdata"),
        (signed(epoch=6), "is of epoch 6, db1 has already acted under 7"),
        (signed(deadline=980.0), "expired 10.0 s ago"),
        (signed(digest="0" * 64), "for digest 0000"),
    ],
)
def test_a_permit_for_something_else_is_refused(permit: Permit, words: str) -> None:
    with pytest.raises(BadSignature, match="nothing was done") as refused:
        check(permit)
    assert words in refused.value.reason


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Permit)])
def test_no_field_of_a_signed_permit_can_be_changed(field: str) -> None:
    value = getattr(PERMIT, field)
    forged = dataclasses.replace(PERMIT, **{field: value + 1 if not isinstance(value, str) else value + "x"})
    with pytest.raises(BadSignature, match="not signed by this node's master"):
        check(forged)


@pytest.mark.parametrize(
    "signature",
    ["", "0" * 64, signing.sign_permit(OTHER_KEY, PERMIT).signature],
    ids=["none", "zeros", "another key's"],
)
def test_another_signature_is_refused(signature: str) -> None:
    with pytest.raises(BadSignature, match="not signed"):
        check(dataclasses.replace(PERMIT, signature=signature))


def test_a_permit_of_another_key_is_refused() -> None:
    with pytest.raises(BadSignature, match="not signed"):
        check(key=OTHER_KEY)


@pytest.mark.parametrize(
    "changed",
    [
        dataclasses.replace(PGDATA, services=("sshd",)),
        dataclasses.replace(PGDATA, mounts=(dataclasses.replace(PGDATA.mounts[0], mountpoint="/etc"),)),
        dataclasses.replace(PGDATA, timeouts=dataclasses.replace(PGDATA.timeouts, release=1e9)),
    ],
)
def test_a_permit_covers_the_resource_as_it_was_sent(changed: Any) -> None:
    with pytest.raises(BadSignature, match="digest"):
        check(resource=changed)


def test_the_digest_survives_the_way_to_the_node() -> None:
    assert signing.digest(resource_from_plain(to_plain(PGDATA))) == signing.digest(PGDATA)


def test_an_old_permit_cannot_be_used_after_a_newer_one() -> None:
    """A command that slept in a frozen VM wakes up after the node has acted under a newer epoch."""
    with pytest.raises(BadSignature, match="has already acted under 8"):
        check(epoch=8)


def test_keys_differ_by_node_and_by_master() -> None:
    keys = {signing.node_key(secret, node) for secret in (b"a", b"b") for node in ("db1", "db2")}
    assert len(keys) == 4


# -- answers --------------------------------------------------------------------------------------------------

NONCE = signing.new_nonce()
WORD = {"minion": "db1", "boot_id": "boot-1", "uptime": 990.0, "released": 7}
ANSWER = signing.sign_answer(KEY, WORD, NONCE)


def test_an_answer_is_believed() -> None:
    body = signing.check_answer(KEY, ANSWER, NONCE, "db1")
    assert node_facts_from_plain(body).released == 7


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "gave no signed answer"),
        ("ok", "gave no signed answer"),
        ({}, "not signed with its key"),
        (dict(WORD), "not signed with its key"),
        ({**ANSWER, "released": 8}, "not signed with its key"),
        ({**ANSWER, "more": 1}, "not signed with its key"),
        ({**ANSWER, "signature": None}, "not signed with its key"),
        (signing.sign_answer(OTHER_KEY, WORD, NONCE), "not signed with its key"),
        (signing.sign_answer(KEY, WORD, signing.new_nonce()), "belongs to another question"),
        (signing.sign_answer(KEY, {**WORD, "minion": "db2"}, NONCE), "belongs to another question"),
    ],
)
def test_a_forged_or_old_answer_is_not_believed(answer: Any, words: str) -> None:
    with pytest.raises(BadSignature, match=words):
        signing.check_answer(KEY, answer, NONCE, "db1")


def test_a_permit_is_no_answer() -> None:
    """One key signs both; neither can be passed off as the other."""
    plain = {**to_plain(PERMIT), "minion": "db1"}
    with pytest.raises(BadSignature, match="not signed"):
        signing.check_answer(KEY, plain, PERMIT.nonce, "db1")


@pytest.mark.parametrize(
    "wrong",
    [
        {"uptime": "soon"},
        {"epoch": "x"},
        {"epoch": None},
        {"released": "7x"},
        {"boot_id": 5},
        {"minion": None},
        {"mounted": "half"},
        {"condition": "fine"},
        {"unready": 3},
        {"device": "yes"},
        {"services": 1},
    ],
)
def test_a_word_of_the_wrong_type_is_not_read(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        node_facts_from_plain({**WORD, **wrong})


def test_a_word_with_news_from_a_later_version_is_read() -> None:
    assert node_facts_from_plain({**WORD, "invented_later": 1}).minion == "db1"
