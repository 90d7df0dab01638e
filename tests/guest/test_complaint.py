"""What a node says of a disk that it cannot use, without being asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmdk_failover import signing
from vmdk_failover.guest import memory
from vmdk_failover.guest.complaint import EVERY, Complaints
from vmdk_failover.guest.latest import FILE, FRESH_S
from vmdk_failover.guest.places import HERE, read

KEY = "ab" * 32


@pytest.mark.parametrize(
    ("condition", "told"),
    [("io_error", True), ("hung", True), ("ok", False), ("slow", False), ("unmounted", False)],
)
def test_only_a_disk_that_cannot_be_used_is_complained_of(tmp_path: Path, condition: str, told: bool) -> None:
    now = [500.0]
    reports = {"pgdata": {"resource": "pgdata", "condition": condition, "evidence": "x" * 999}}
    memory.write(tmp_path / FILE, {"boot_id": read(HERE.boot_id), "at": now[0], "reports": reports})
    complaints = Complaints(tmp_path, lambda: now[0])
    assert complaints.due("db1", "") == []
    found = complaints.due("db1", KEY)
    assert len(found) == told
    for word in found:
        body = signing.check_heartbeat({"db1": KEY}.__getitem__, word, signing.FAILING)
        assert (body["address"], body["seq"]) == ("pgdata", 500_000)
        assert body["version"].startswith(f"{condition}: x")
    assert complaints.due("db1", KEY) == [], "not at every turn"
    now[0] += EVERY
    assert len(complaints.due("db1", KEY)) == told
    now[0] += FRESH_S
    assert complaints.due("db1", KEY) == [], "the prober says nothing any more"
