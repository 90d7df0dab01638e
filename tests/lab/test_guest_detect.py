"""How detection is measured in a guest, tried without one: from when is counted, what comes of it, what the guest is given."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab import bench_faults
from lab.guest import __main__ as command
from lab.guest import detect, vm
from lab.guest.detect_faults import FAULTS
from lab.guest.detect_trial import REMOVED, Blow, Missed, Sight, figures
from lab.guest.kernel_lines import Mark, moment, parse
from vmdk_failover.model import Condition

BY_NAME = {one.name: one for one in FAULTS}
REPORT = {"condition": "device_gone", "evidence": "disk x has left (sdb) (sysfs, by-id)", "since": 100.030}
LINE = "vmw_pvscsi: msg: device removed at scsi0:1:0"


# -- the kernel's clock


def test_a_record_of_the_log_gives_its_time_and_its_first_line() -> None:
    assert parse("6,1234,5678901,-;sd 0:0:1:0: a; b\n SUBSYSTEM=scsi\n") == (5.678901, "sd 0:0:1:0: a; b")


def test_the_log_is_set_to_the_middle_of_what_it_can_be() -> None:
    mark = Mark(before=100.0, after=100.002, logged=90.0)
    assert mark.ahead == pytest.approx(10.001)
    assert mark.doubt == pytest.approx(0.001)


def test_what_the_kernel_said_before_is_not_meant() -> None:
    lines = [(1.0, LINE), (2.0, "something else"), (3.0, LINE), (4.0, LINE)]
    assert moment(lines, "device removed at", since=1.5) == 3.0
    assert moment(lines, "device removed at", since=4.5) is None


# -- from when is counted


def struck(name: str) -> Blow:
    return Blow(BY_NAME[name], patient=None, began=100.0, ended=100.2)  # type: ignore[arg-type]


SIGHT = Sight(at=100.040, first_at=100.035, first="io_error", report=REPORT)


def test_a_strike_in_the_guest_counts_from_before_the_call() -> None:
    run = figures(struck("device deleted"), SIGHT, [(100.020, f"sd 0:0:1:0: [sdb] {REMOVED}")], 0.0)
    assert (run["told_ms"], run["first_ms"], run["verdict_ms"]) == (40.0, 35.0, 30.0)
    assert (run["kernel_ms"], run["struck_ms"], run["asked_ms"]) == (20.0, 200.0, None)
    assert (run["condition"], run["source"], run["first"]) == ("device_gone", "sysfs, by-id", "io_error")


def test_a_removal_by_the_host_counts_from_the_kernels_own_line() -> None:
    lines = [(99.0, LINE), (100.025, LINE), (100.036, f"[sdb] {REMOVED}")]
    run = figures(struck("device hot-removed"), SIGHT, lines, 0.0001)
    assert (run["told_ms"], run["verdict_ms"], run["kernel_ms"], run["asked_ms"]) == (15.0, 5.0, 11.0, 25.0)
    assert run["doubt_ms"] == 0.1


def test_a_removal_that_the_kernel_does_not_speak_of_has_no_figure() -> None:
    with pytest.raises(Missed, match="has not said"):
        figures(struck("device hot-removed"), SIGHT, [(99.0, LINE)], 0.0)


def test_another_fault_of_the_hosts_counts_from_before_it_was_asked() -> None:
    run = figures(struck("all EIO"), SIGHT, [(100.025, LINE)], 0.0)
    assert (run["told_ms"], run["struck_ms"], run["asked_ms"]) == (40.0, 200.0, None)


def test_a_strike_that_fails_is_no_fault_that_was_not_told() -> None:
    def fail(_: object) -> None:
        raise OSError(22, "Invalid argument")

    blow = Blow(replace(BY_NAME["device offline"], strike=fail), patient=None)  # type: ignore[arg-type]
    with pytest.raises(Missed, match=r"could not be struck: .*Invalid"), blow.struck():
        raise Missed("nothing was told")
    assert blow.ended >= blow.began > 0


# -- the faults


def test_each_fault_is_told_by_a_word_that_there_is_and_has_a_name_of_its_own() -> None:
    words = {one.value for one in Condition}
    assert [fault.name for fault in FAULTS if not set(fault.conditions) <= words] == []
    assert len(BY_NAME) == len(FAULTS)


def test_what_is_measured_on_the_machine_too_has_its_goal_and_its_words() -> None:
    ours = {one.name: one for one in bench_faults.FAULTS}
    both = [name for name in BY_NAME if name in ours and name != "all hang"]
    assert len(both) == 7

    def law(fault: Any) -> tuple[Any, ...]:
        return fault.goals, fault.conditions

    assert [name for name in both if law(BY_NAME[name]) != law(ours[name])] == []


def test_a_removed_device_has_15_ms_and_a_mount_that_is_not_idle_cannot_be_unmounted() -> None:
    assert [BY_NAME[f"device {how}"].goals for how in ("deleted", "hot-removed")] == [(15, 15)] * 2
    assert not BY_NAME["umount"].applies("ext4", "active")
    assert BY_NAME["ext4 error"].applies("ext4", "idle") and not BY_NAME["ext4 error"].applies("xfs", "idle")


# -- what comes of the runs


def ran(told: float, waited: float = 0.5, **more: Any) -> dict[str, Any]:
    times = dict.fromkeys(("verdict_ms", "first_ms", "struck_ms"), told / 2)
    cell = {
        "fault": "device deleted",
        "fs": "xfs",
        "load": "idle",
        "goal_ms": 15,
        "load_average": 3.5,
        "processors": 1,
    }
    said = {
        "condition": "device_gone",
        "first": "io_error",
        "source": "sysfs",
        "kernel_ms": None,
        "asked_ms": None,
        "waited_ms": waited,
    }
    return {**cell, "told_ms": told, **times, **said, **more}


MISSED_RUN = {
    **{key: ran(1)[key] for key in ("fault", "fs", "load", "goal_ms", "load_average", "processors")},
    "missed": "not told",
}


def test_a_row_is_the_median_and_apart_from_it_that_of_the_undisturbed_runs() -> None:
    row = detect.row([ran(10), ran(12), ran(40, waited=25.0, kernel_ms=7.0)])
    assert (row["median_ms"], row["p90_ms"], row["n"], row["missed"]) == (12, 40, 3, 0)
    assert row["undisturbed"] == {"median_ms": 11, "p90_ms": 12, "n": 2}
    assert (row["kernel_ms"], row["asked_ms"], row["waited_ms"]) == (7.0, None, 0.5)
    assert (row["source"], row["conditions"], row["load_average"]) == ("sysfs", {"device_gone": 3}, 3.5)
    assert row["first"] == {"io_error": 3}
    assert len(row["runs"]) == 3


def test_a_missed_run_is_counted_and_has_no_time() -> None:
    row = detect.row([ran(10), MISSED_RUN])
    assert (row["median_ms"], row["n"], row["missed"]) == (10, 1, 1)
    assert detect.row([MISSED_RUN])["median_ms"] is None


def word(*runs: dict[str, Any]) -> str:
    shown = detect.text(detect.row(runs))
    return next((one for one in ("MISSED", "over") if one in shown), "")


def test_a_row_says_what_is_not_as_it_should_be() -> None:
    assert word(ran(15.0)) == ""
    assert word(ran(15.1)) == "over"
    assert word(ran(1.0), MISSED_RUN) == word(MISSED_RUN) == "MISSED"


def test_head_and_rows_have_the_same_columns() -> None:
    shown = detect.text(detect.row([ran(10)]))
    assert detect.HEAD.index("source") == shown.index("sysfs")
    assert detect.HEAD.index("goal") + len("goal") == shown.index(" 15 ") + len(" 15")


def test_a_guest_is_compared_with_the_machine_it_runs_on() -> None:
    slow = detect._machine({"loop_ms": 1e6, "kernel": "6.1"})
    assert slow["times_slower"] > 100 and slow["kernel"] == "6.1"


def test_what_was_not_measured_now_stays_as_it_was() -> None:
    old = [detect.row([one]) for one in (ran(10), ran(20, fs="ext4"), ran(30, processors=2))]
    rows = detect.merged(old, [detect.row([ran(11)])])
    assert [(one["fs"], one["median_ms"]) for one in rows] == [("ext4", 20), ("xfs", 30), ("xfs", 11)]


def test_what_is_written_of_one_guest_does_not_hide_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detect, "OUT", tmp_path / "bench" / "detect-guest.json")
    detect._write({"1": {"kernel": "6.1"}}, [detect.row([ran(10)])])
    detect._write({}, [detect.row([ran(20, processors=2)])])
    detect._write({"2": {"kernel": "6.2"}}, [detect.row([ran(20, processors=2)])])
    found = json.loads(detect.OUT.read_text())
    assert found["guest"] == {"1": {"kernel": "6.1"}, "2": {"kernel": "6.2"}}
    assert [one["processors"] for one in found["rows"]] == [1, 2]


# -- the guest


def test_the_program_finds_all_that_it_imports_on_its_disk(tmp_path: Path) -> None:
    vm._payload(tmp_path / "payload.tar", vm.HERE / "detect_trial.py")
    with tarfile.open(tmp_path / "payload.tar") as tar:
        tar.extractall(tmp_path, filter="data")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import run; print(run.FAULTS[0].name)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, cwd="/", check=False
    )
    assert (done.returncode, done.stdout) == (0, "umount\n"), done.stderr


def asked(machine: vm.Vm, **order: Any) -> str:
    """What a guest reads that asks for something."""
    machine._line, guest = socket.socketpair()
    with machine._line, guest:
        machine._obey(order)
        return guest.recv(4096).decode()


def test_the_host_answers_with_what_it_has_to_say(tmp_path: Path) -> None:
    machine = detect.Machine(tmp_path, Path("run.py"), wishes={"runs": 2})
    assert json.loads(asked(machine, do="wished")) == {"runs": 2}


def test_the_host_says_done_or_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = vm.Vm(tmp_path, Path("run.py"))
    said: list[str] = []
    monkeypatch.setattr(machine, "qmp", lambda command, **_: said.append(command))
    assert asked(machine, do="hang", number=1, on=True) == "done\n"
    assert said == ["qom-set"]

    def refuse(command: str, **_: Any) -> None:
        raise RuntimeError(f"{command}: no such disk")

    monkeypatch.setattr(machine, "qmp", refuse)
    assert asked(machine, do="hang", number=1, on=True) == "failed: qom-set: no such disk\n"


def test_ten_minutes_of_measuring_have_to_be_asked_for() -> None:
    assert command.arguments([]).trials == ["lvm", "halt"]
    given = command.arguments(["-v", "detect", "--runs", "3", "--fs", "xfs"])
    assert (given.trials, given.verbose, given.runs, given.fs, given.load) == (
        ["detect"],
        True,
        3,
        ["xfs"],
        None,
    )


def test_a_trial_that_there_is_not_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.arguments(["detekt"])
    assert "no trial detekt" in capsys.readouterr().err
