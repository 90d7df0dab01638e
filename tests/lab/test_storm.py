"""The bench of many failovers at once, with a few of them: the product's engine and journal on the lab's vCenter."""

from __future__ import annotations

import pytest

from lab import bench_storm, storm_host
from lab.storm_host import HostStorm


def test_every_resource_arrives_once() -> None:
    found = bench_storm.run(3, 0, 0.01, 0.01)
    assert (found["resources"], found["bad"]) == (3, [])
    assert 0 < found["first_s"] <= found["last_s"]
    assert 10 <= found["vcenter_calls_each"] <= found["vcenter_calls_most"] <= 20


def test_a_host_that_dies_with_all_first_nodes_is_fenced_once() -> None:
    found = bench_storm.run(3, 0, 0.01, 0.01, HostStorm)
    assert (found["resources"], found["bad"], found["host_fence_calls"]) == (3, [], 1)
    assert storm_host.NODE_TIMEOUT <= found["first_s"] <= found["last_s"]


def test_a_disk_that_did_not_move_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The verdict comes from the vCenter, not from what the engine says of itself."""
    monkeypatch.setattr(bench_storm.Storm, "wait_done", lambda storm: None)
    monkeypatch.setattr(bench_storm.Storm, "strike", lambda storm: 0.0)
    monkeypatch.setattr(
        bench_storm.Storm,
        "told",
        lambda storm, what: [{"resource": "r1", "result": "done", "when": 1.0, "vcenter_calls": 14}] * 3,
    )
    found = bench_storm.run(1, 0, 0.01, 0.01)
    assert found["bad"] == ["[ds1] storm/disk1.vmdk: ['a1']"]
