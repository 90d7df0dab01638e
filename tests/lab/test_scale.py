"""The measurement of scale, with a few: every resource is looked at, asked about and moved, and what is counted is true."""

from __future__ import annotations

from lab import scale_parts, scale_world


def test_a_small_world_is_watched_asked_and_moved() -> None:
    found = scale_world.run(3, 2, 1.0, 1, lambda words: None)
    assert (found["resources"], found["vms"], found["status_of"], found["storm_of"]) == (3, 8, 3, 1)
    assert (found["status_well"], found["bad"]) == (3, [])
    assert 0 < found["storm_first_s"] == found["storm_last_s"]
    assert found["start_processes"] >= 2


def test_every_heartbeat_that_was_sent_over_the_bus_is_heard() -> None:
    found = scale_parts.bus(6, 1)
    assert (found["sent"], found["heard"]) == (6, 6)


def test_the_ear_is_measured_with_all_its_nodes() -> None:
    found = scale_parts.engine_input(2)
    assert found["nodes"] == 4
    assert found["heard_ms_per_s"] > 0
