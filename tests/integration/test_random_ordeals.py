"""A slice of the random campaign for every day: four stories, and whether the court can see what is wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.ordeals import court
from lab.ordeals.story import Blow, Story
from lab.scenarios import DISK
from lab.stage import Stage, active

SEED = 1
#: Rule by which it must be held at the end; 0: active.
SLICE = {
    "a mover is killed after the disk hung": (
        Blow("disk-hang", 0.0, 3.0),
        Blow("mover-killed", 0.2, 0.2, "detach"),
    ),
    "a reply is lost in a switchover": (
        Blow("switchover", 0.0, 0.2),
        Blow("lost-reply", 0.0, 3.0, "release"),
    ),
    "power goes and does not come back": (Blow("power-off-holder", 0.2, 0.0),),
    "all power goes and does not come back": (Blow("power-off-both", 0.2, 0.0),),
}
HELD = {"all power goes and does not come back": 630}


pytestmark = pytest.mark.timeout(400)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stories of the slice rely on their steps: a slow machine may take its time for them."""
    monkeypatch.setattr(court, "STEP_LIMIT", 60.0)


@pytest.fixture(scope="module")
def place() -> Iterator[Stage]:
    policy = {"node_timeout": 6, "max_failovers_per_hour": 100}
    with Stage(policy) as up:
        up.restore()
        yield up


@pytest.mark.parametrize("name", SLICE)
def test_an_ordeal_of_the_slice(place: Stage, name: str) -> None:
    verdict = court.suffer(place, Story(SEED, 1, SLICE[name]))
    assert (verdict.lost, verdict.double_holders, verdict.double_mounts) == (0, 0, 0), verdict
    assert verdict.ok and verdict.rule == HELD.get(name, 0), verdict
    assert verdict.end == ("held" if name in HELD else "active") and verdict.acknowledged > 10, verdict
    assert "struck all the same" not in verdict.note, verdict


def test_a_hold_for_a_reason_that_is_not_so_is_no_good_end(
    place: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody pauses it, and the court is not told: then the reason is not true of what the story did."""
    monkeypatch.setattr(court, "REST_LIMIT", 12.0)
    place.operator("vmdk.pause", DISK)
    verdict = court.suffer(place, Story(SEED, 1, (Blow("stopped-and-unmounted", 0.0, 2.5),)))
    assert (verdict.ok, verdict.end, verdict.rule) == (False, "false", 510), verdict
    assert "stopped-and-unmounted" in verdict.story and "pause" in verdict.note


def test_a_record_that_is_not_on_the_disk_is_counted_as_lost(place: Stage) -> None:
    node = active(place.lab)[0]
    with (place.lab.run_dir / "shared" / "ledger.ack").open("a") as file:
        file.write(
            f"1 1.0 {node}\n"
        )  # acknowledged twice: the first one was gone when the second was written
    verdict = court.suffer(place, Story(SEED, 1, ()))
    assert (verdict.ok, verdict.lost, verdict.end) == (False, 1, "active"), verdict
