"""A slice of the random campaign for every day: stories as they come, chosen ones, and whether the court sees what is wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from lab.ordeal import TURNS
from lab.ordeals import court, run, strikers
from lab.ordeals.catalogue import told_to
from lab.ordeals.court import Verdict
from lab.ordeals.story import BLOCK, Blow, Story
from lab.scenarios import DISK
from lab.stage import SLOW, Stage, active

#: Of the stories as they come: the seed, how many are wanted, how many must be played, and after how many seconds none begins.
SEED, WANTED, LEAST, LATEST = 37, 5, 3, 180.0
SLICE = {
    "a mover is killed after the disk hung": (
        Blow("disk-hang", 0.0, 3.0),
        Blow("mover-killed", 0.2, 0.2, "detach"),
    ),
    "a reply is lost in a switchover": (
        Blow("switchover", 0.0, 0.2),
        Blow("lost-reply", 0.0, 8.0, "release"),
    ),
    "all power goes and does not come back": (Blow("power-off-both", 0.2, 0.0),),
}
#: Rule by which it must be held at the end; of others it is active.
HELD = {"all power goes and does not come back": 630}


pytestmark = pytest.mark.timeout(400)


@pytest.mark.timeout(700)
def test_stories_as_they_come() -> None:
    """What a busy machine leaves no verdict of is no failure, as long as enough are played."""
    told = [told_to("namespaces", SEED, number) for number in range(1, BLOCK + 1)]
    played: list[Verdict] = []
    lines: list[str] = []
    with closing(run.play(told, SEED, time.monotonic() + LATEST)) as verdicts:
        for verdict in verdicts:
            lines.append(run.line(verdict, SEED))
            assert (verdict.lost, verdict.double_holders, verdict.double_mounts) == (0, 0, 0), lines[-1]
            assert verdict.ok or verdict.is_missed, lines[-1]
            assert strikers.MISTAKE not in lines[-1], lines[-1]
            played += [verdict] if verdict.ok else []
            if len(played) == WANTED:
                break
    assert len(played) >= LEAST, "\n".join(lines)
    assert all(one.acknowledged > 10 and one.struck for one in played), "\n".join(lines)


@pytest.fixture(scope="module")
def place() -> Iterator[Stage]:
    policy = {"node_timeout": 6, "max_failovers_per_hour": 100}
    with Stage(
        policy, {**SLOW, "detach": 1200}
    ) as up:  # a mover that has begun to detach is there for a while
        up.restore()
        yield up


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stories of the slice rely on their steps: a slow machine may take its time for them."""
    monkeypatch.setattr(strikers, "STEP_LIMIT", 60.0)


def _landed(place: Stage, *blows: Blow) -> Verdict:
    """The verdict of a story; on a busy machine a blow may come too late, and is struck again then, twice at most."""
    for _ in range(TURNS):
        verdict = court.suffer(place, Story(SEED, 1, blows))
        if not (verdict.is_missed or (verdict.ok and verdict.struck != verdict.faults)):
            break
    return verdict


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("name", SLICE)
def test_an_ordeal_of_the_slice(place: Stage, name: str) -> None:
    verdict = _landed(place, *SLICE[name])
    assert (verdict.lost, verdict.double_holders, verdict.double_mounts) == (0, 0, 0), verdict
    assert verdict.ok and verdict.rule == HELD.get(name, 0), verdict
    assert verdict.end == ("held" if name in HELD else "active") and verdict.acknowledged > 10, verdict
    assert verdict.struck == verdict.faults and not verdict.untimely, verdict


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
