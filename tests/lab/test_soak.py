"""The soak's judgement: what it calls missed, false and lost, and that a prober that grows is found out."""

from __future__ import annotations

import pytest

from lab.bench_faults import FAULTS
from lab.soak import ALLOWED, Plan, run
from lab.soak_court import FAST, RECOVERY_S, SLOW, SLOW_READER_S, Court, Injury, figures, growth

UMOUNT = Injury("r1", "umount", "ext4", "idle", 100.0, 2.0, frozenset({"unmounted"}))
EIO = Injury("r1", "all EIO", "xfs", "active", 100.0, 2.0, frozenset({"io_error"}), frozenset({"fs_error"}))


def court(injury: Injury, *told: tuple[str, float, str]) -> Court:
    """A court that has heard what some readers were told of the injured disk, and when."""
    made = Court()
    made.struck(injury)
    for reader, at, condition in told:
        made.hear(reader, injury.resource, condition, "seen", at)
        made.look(at)
    return made


def healed(made: Court) -> Court:
    made.healing("r1", 102.0)
    made.healed("r1", 102.5)
    return made


def test_what_is_told_in_time_and_taken_back_is_no_problem() -> None:
    made = court(UMOUNT, (FAST, 100.1, "unmounted"), (SLOW, 101.0, "unmounted"))
    assert made.may_heal("r1")
    healed(made)
    made.hear(FAST, "r1", "ok", "", 102.6)
    made.hear(SLOW, "r1", "ok", "", 103.4)
    made.look(104.0)
    assert "r1" in made.open  # another word may still come
    made.look(105.0)
    assert (made.problems, made.open, len(made.closed)) == ([], {}, 1)
    (row,) = figures(made.closed)
    assert (row["fault"], row["n"], row["median_ms"], row["conditions"]) == (
        "umount",
        1,
        100.0,
        {"unmounted": 1},
    )


def test_a_fault_that_is_not_told_is_missed_once_and_then_healed() -> None:
    made = court(UMOUNT)
    for now in (101.0, 102.1, 103.0):
        made.look(now)
    assert made.problems == ["missed: umount on r1 (ext4, idle) was not told within 2.0 s"]
    assert made.may_heal("r1")


def test_a_reader_that_loses_a_word_is_found_out() -> None:
    made = court(UMOUNT, (FAST, 100.1, "unmounted"))
    made.look(100.2 + SLOW_READER_S)
    assert [problem.split(":")[0] for problem in made.problems] == ["lost"]


@pytest.mark.parametrize("condition", ["io_error", "slow", "nearly_full", "watcher_silent"])
def test_a_word_about_a_healthy_disk_is_false(condition: str) -> None:
    made = court(UMOUNT)
    made.hear(FAST, "r2", condition, "why", 100.1)
    assert made.problems == [f"false: engine was told {condition} of the healthy r2: why"]


@pytest.mark.parametrize("word", ["ok", "standby"])
def test_to_be_well_is_no_problem(word: str) -> None:
    made = court(UMOUNT)
    made.hear(FAST, "r2", word, "", 100.1)
    assert made.problems == []


def test_another_word_than_the_fitting_one_is_false() -> None:
    assert court(UMOUNT, (FAST, 100.1, "hung")).count("false") == 1
    assert court(UMOUNT, (FAST, 100.1, "unmounted"), (FAST, 100.2, "fs_error")).count("false") == 1


def test_what_is_true_as_well_is_not_false_but_does_not_tell_the_fault() -> None:
    assert court(EIO, (FAST, 100.1, "io_error"), (FAST, 101.0, "fs_error")).problems == []
    made = court(EIO, (FAST, 101.0, "fs_error"), (SLOW, 101.5, "fs_error"))
    assert (made.problems, made.may_heal("r1")) == ([], False)
    made.look(102.1)
    assert made.count("missed") == 1


def test_a_word_that_is_taken_back_while_the_fault_lasts_is_false() -> None:
    made = court(UMOUNT, (FAST, 100.1, "unmounted"), (FAST, 100.5, "ok"))
    assert made.problems == ["false: engine was told ok while umount on r1 (ext4, idle) lasted"]


def test_a_recovery_that_is_not_told_is_missed() -> None:
    made = healed(court(UMOUNT, (FAST, 100.1, "unmounted"), (SLOW, 101.0, "unmounted")))
    made.hear(FAST, "r1", "ok", "", 102.6)
    made.look(102.6 + RECOVERY_S)
    assert made.count("missed") == 1
    assert "the beacon's last word is unmounted" in made.problems[0]
    assert made.open == {}


def test_a_warning_during_the_cure_is_false_but_a_short_unmount_is_not() -> None:
    made = healed(court(EIO, (FAST, 100.1, "io_error"), (SLOW, 101.0, "io_error")))
    made.hear(FAST, "r1", "unmounted", "", 102.1)
    assert made.problems == []
    made.hear(FAST, "r1", "slow", "", 102.2)
    assert made.count("false") == 1


def test_a_prober_that_grows_is_found_out() -> None:
    still = [{"at": at, "descriptors": 30.0 + at % 2, "rss_mb": 20.0} for at in range(0, 600, 5)]
    leaks = [{**one, "descriptors": 30.0 + one["at"] / 60} for one in still]
    limits = {name: ALLOWED[name] for name in ("descriptors", "rss_mb")}
    assert all(row["ok"] for row in growth(still, limits).values())
    assert {name: row["ok"] for name, row in growth(leaks, limits).items()} == {
        "descriptors": False,
        "rss_mb": True,
    }
    assert growth(leaks, limits)["descriptors"]["per_hour"] == pytest.approx(60, abs=0.1)


@pytest.mark.timeout(90)
def test_a_short_soak_of_real_disks(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr("lab.soak.OUT", tmp_path / "soak.json")  # type: ignore[operator]
    monkeypatch.setattr("lab.soak.FAULTS", [fault for fault in FAULTS if fault.name in ("umount", "all EIO")])
    result = run(Plan(minutes=0.1, disks=3, every=1.0))
    assert result["faults"] >= 3
    assert (result["told"], result["told_to_slow_reader"]) == (result["faults"], result["faults"]), result[
        "problems"
    ]
    assert (result["false"], result["other"]) == (0, 0), result["problems"]
    assert (tmp_path / "soak.json").exists()  # type: ignore[operator]
