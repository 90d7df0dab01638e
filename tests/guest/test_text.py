"""The node's answers as people read them: the most important line first, what to do below."""

from __future__ import annotations

from typing import Any

import pytest

from vmdk_failover.guest import text
from vmdk_failover.words import Condition

FACTS: dict[str, Any] = {
    "device": True,
    "mounted": "mounted",
    "superblock": True,
    "condition": "ok",
    "evidence": "",
    "unready": [],
    "epoch": 3,
    "busy": "",
}
SPEAKS = {"speaks": True, "sources": {"mountinfo": "live", "kmsg": "off: Operation not permitted"}}


def _status(watcher: dict[str, Any] = SPEAKS, **changes: Any) -> list[str]:
    facts = {**FACTS, **changes}
    entry = {**text.summary("pgdata", facts, watcher), **facts, "watcher": watcher}
    return text.lines({"pgdata": entry}) or []


def test_all_is_well() -> None:
    assert _status() == [
        "pgdata: all is well.",
        "  disk: in this node; file system: mounted; epoch 3",
        "  not heard by the watcher: kmsg off: Operation not permitted",
    ]


def test_what_is_wrong_stands_first_and_what_to_do_second() -> None:
    found = _status(condition="hung", evidence="sdb: 3 writes are in flight")
    assert found[0] == "pgdata: the disk HANGS - sdb: 3 writes are in flight."
    assert found[1].startswith("  -> The master acts on it; 'salt-run vmdk.status pgdata'")


def test_a_backup() -> None:
    away = {"device": False, "mounted": "unmounted", "superblock": False, "condition": "unknown"}
    assert _status(**away)[0] == "pgdata: standby, ready to take the disk."
    found = _status(**away, unready=["/srv/pgdata is not empty", "xfs_repair is not installed"])
    assert found[0] == (
        "pgdata: standby, but CANNOT take the disk: /srv/pgdata is not empty; xfs_repair is not installed."
    )
    assert "vmdk.doctor" in found[1]


@pytest.mark.parametrize("condition", list(Condition))
def test_every_condition_has_words_and_what_is_wrong_has_a_remedy(condition: Condition) -> None:
    if condition is Condition.WATCHER_SILENT:
        found = _status({"speaks": False}, condition=condition.value)
        assert found[0] == "pgdata: NOT WATCHED, the prober says nothing."
    else:
        found = _status(condition=condition.value)
    assert found[0].startswith("pgdata: ") and found[0].endswith(".")
    assert any(line.startswith("  -> ") for line in found) == (condition is not Condition.OK)
    assert not any("{" in line for line in found)


def test_no_resource() -> None:
    assert text.lines({}) == [
        "This node knows no resource.",
        "  -> 'salt-call saltutil.refresh_pillar' fetches them, 'salt-run vmdk.protect' makes one.",
    ]


def test_a_check() -> None:
    tried = [{"what": "read /dev/sdb", "ok": False, "said": "did not end within 2.0 s", "ms": 2051.2}]
    answer = {
        "resource": "pgdata", "ok": False, "condition": "hung", "sentence": "no answer", "tried": tried,
    }  # fmt: skip
    found = text.lines(answer) or []
    assert found[0] == "pgdata: hung - no answer."
    assert found[1].startswith("  -> The master acts on it")
    assert found[2] == "  FAILED: read /dev/sdb: did not end within 2.0 s (2051.2 ms)"
    well = text.lines({**answer, "ok": True, "condition": "standby", "tried": []})
    assert well == ["pgdata: standby - no answer."]


def test_users() -> None:
    process = {"pid": 7, "command": "postgres", "state": "D", "has": "fd, cwd", "holds": ["fd 3: /srv/x"]}
    space = {"namespace": "mnt:[1]", "pid": 8, "command": "containerd", "mountpoints": ["/srv", "/mnt"]}
    answer = {
        "resource": "pgdata", "processes": [process], "namespaces": [space], "kernel": ["loop3 on /srv/i"],
        "devices": [], "waiting": ["dd (pid 9)"], "note": "mapped files could not be looked at",
    }  # fmt: skip
    assert text.lines(answer) == [
        "pgdata: in use by 1 process, 1 foreign mount namespace, 1 other user.",
        "  -> 1 of them in uninterruptible sleep (D): no signal ends them before the disk answers.",
        "  postgres (pid 7, D): fd, cwd - fd 3: /srv/x",
        "  mnt:[1] of containerd (pid 8): /srv, /mnt",
        "  dd (pid 9): waits in the kernel (D), for this disk or for another",
        "  loop3 on /srv/i",
        "  mapped files could not be looked at",
    ]
    nobody = {"resource": "pgdata", "processes": [], "namespaces": [], "kernel": [], "devices": []}
    assert text.lines(nobody) == ["pgdata: nobody uses it."]


@pytest.mark.parametrize(
    ("errors", "first"),
    [
        (0, "Nothing stands in the way of a failover."),
        (1, "1 thing stands in the way of a failover."),
        (2, "2 things stand in the way of a failover."),
    ],
)
def test_doctor(errors: int, first: str) -> None:
    found = [{"severity": "error", "what": "It is broken.", "do": "Mend it."}] * errors
    answer = {
        "ok": not errors,
        "findings": [*found, {"severity": "hint", "what": "W.", "do": "D."}],
        "watcher": {},
    }
    lines = text.lines(answer) or []
    assert lines[0] == first
    assert lines[1:3] == (
        ["  error: It is broken.", "    -> Mend it."] if errors else ["  hint: W.", "    -> D."]
    )


@pytest.mark.parametrize("answer", ["a sentence", None, 3, [], {"a": 1}, {"a": {"b": 2}}])
def test_what_is_something_else_is_left_to_salt(answer: Any) -> None:
    assert text.lines(answer) is None
