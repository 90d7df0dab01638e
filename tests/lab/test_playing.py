"""All scenarios one after the other, without a lab: what one of them comes to keeps none of the others back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab import __main__ as command
from lab import playing, require, trial
from lab.cell import LabError
from lab.hypervisor import VcenterError
from lab.qemu.scenarios import SCENARIOS as OF_GUESTS
from lab.scenarios import SCENARIOS, Scenario

ALL = [*SCENARIOS, *OF_GUESTS]


def outcome(name: str, ok: bool = True) -> trial.Outcome:
    return trial.Outcome(name, ok, 100, 200, 900, [], 50, 0 if ok else 3, 0, 0, [], unavailable_ms=950)


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Exception | bool]:
    """How scenarios end, by name; all others end well. Files are written below tmp_path."""
    found: dict[str, Exception | bool] = {}

    def run(scenario: Scenario, _: trial.Settings) -> trial.Outcome:
        end = found.get(scenario.name, True)
        if isinstance(end, Exception):
            raise end
        return outcome(scenario.name, end)

    monkeypatch.setattr(trial, "run", run)
    monkeypatch.setattr(playing, "OUT", tmp_path)
    monkeypatch.setattr(require, "check", lambda *_: None)
    return found


def written(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


@pytest.mark.parametrize(
    "error",
    [
        LabError("the guests did not come up"),
        VcenterError("it does not answer"),
        KeyError("a fault of the lab's own"),
    ],
)
def test_a_lab_that_fails_is_noted_and_the_others_are_played(
    error: Exception, ends: dict[str, Exception | bool], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ends["hang-halt"] = error
    assert command.main(["run", "all", "--nodes", "qemu", "--json"]) == 2
    told = capsys.readouterr()
    found = written(tmp_path, "scenarios-qemu.json")
    assert [row["scenario"] for row in found["rows"]] == ALL and found["not_played"] == []
    bad = [row for row in found["rows"] if not row["ok"]]
    assert [row["scenario"] for row in bad] == ["hang-halt"]
    assert str(error) in bad[0]["problem"] and str(error) in told.err
    assert [json.loads(line)["scenario"] for line in told.out.splitlines()] == [
        name for name in ALL if name != "hang-halt"
    ]
    assert f"{len(ALL) - 1} of {len(ALL)} ended as they should; not so: hang-halt" in told.err


def test_a_scenario_that_does_not_end_well_is_seen_at_the_end(
    ends: dict[str, Exception | bool], tmp_path: Path
) -> None:
    ends["power-off"] = False
    assert command.main(["run", "all", "--fs", "xfs"]) == 1
    found = written(tmp_path, "scenarios.json")
    assert [row["scenario"] for row in found["rows"]] == list(SCENARIOS)
    assert (found["nodes"], found["fs"]) == ("namespaces", "xfs")
    assert {row["scenario"]: row["lost"] for row in found["rows"]}["power-off"] == 3
    for row in found["rows"]:
        assert {"fault_to_mounted_ms", "readable_ms", "acknowledged", "load", "took_s"} <= set(row)


def test_all_that_end_well_end_with_0(ends: dict[str, Exception | bool], tmp_path: Path) -> None:
    assert command.main(["run", "all"]) == 0
    assert not (tmp_path / "scenarios-qemu.json").exists()


def test_one_that_was_named_leaves_the_file_of_all_as_it_is(
    ends: dict[str, Exception | bool], tmp_path: Path
) -> None:
    assert command.main(["run", "power-off", "switchover"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_round_that_is_ended_has_written_what_it_has_played(tmp_path: Path) -> None:
    row = playing.Row("power-off", outcome("power-off"), "", 1.5, 12.0)
    playing.write(tmp_path / "deep" / "scenarios.json", [row], ["switchover"], {"nodes": "namespaces"})
    found = written(tmp_path / "deep", "scenarios.json")
    assert found["not_played"] == ["switchover"] and len(found["rows"]) == 1
    assert found["rows"][0]["load"] == 1.5 and found["rows"][0]["fault_to_mounted_ms"] == 900
