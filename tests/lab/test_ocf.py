"""The agent's monitor is called as a cluster calls it, and a program that hangs is failed at its timeout."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from lab import ocf
from lab.bench_faults import FAULTS
from lab.bench_ocf import FILE_SYSTEMS, NAMES, Run, cells, result, table
from lab.cell import LabError
from lab.linux import wait_until


def monitor(tmp_path: Path, script: str, timeout: float = 10.0) -> ocf.Monitor:
    agent = tmp_path / "Filesystem"
    agent.write_text(f"#!/bin/sh\n{script}\n")
    agent.chmod(0o755)
    return ocf.Monitor("r1", "/dev/loop7", "/srv/r1", "ext4", 20, agent, timeout)


def test_the_agent_is_told_what_the_executor_would_tell_it(tmp_path: Path) -> None:
    script = f'echo "$1 $OCF_ROOT $OCF_RESKEY_device $OCF_RESKEY_directory $OCF_RESKEY_fstype $OCF_CHECK_LEVEL" > {tmp_path}/said'
    assert not monitor(tmp_path, script).once().failed
    assert (tmp_path / "said").read_text() == "monitor /usr/lib/ocf /dev/loop7 /srv/r1 ext4 20\n"


@pytest.mark.parametrize("code", [1, 7])
def test_an_error_and_not_running_are_failures(tmp_path: Path, code: int) -> None:
    answer = monitor(tmp_path, f"exit {code}").once()
    assert (answer.code, answer.failed) == (code, True)


@pytest.mark.parametrize("code", [2, 5])
def test_a_wrong_call_is_not_taken_for_a_detection(tmp_path: Path, code: int) -> None:
    with pytest.raises(LabError, match=r"resource-agents and psmisc"):
        monitor(tmp_path, f"exit {code}").once()


def test_an_agent_that_is_not_there_is_told(tmp_path: Path) -> None:
    gone = monitor(tmp_path, "")
    gone.agent.unlink()
    with pytest.raises(LabError, match="cannot be started"):
        gone.once()


def test_a_monitor_that_hangs_fails_at_its_timeout_and_leaves_nothing(tmp_path: Path) -> None:
    script = f"trap '' TERM\nsleep 300 &\necho $! > {tmp_path}/child\nwait\nsleep 300"
    hung = monitor(tmp_path, script, timeout=0.5)
    began = time.monotonic()
    answer = hung.once()
    assert (answer.code, answer.failed) == (None, True)
    assert 0.5 <= answer.seconds < 5.0
    assert time.monotonic() - began < 3.0
    assert hung.stuck == []
    child = int((tmp_path / "child").read_text())
    assert wait_until(lambda: not _runs(child), 5)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_one_that_survives_its_kill_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung = monitor(tmp_path, "sleep 300", timeout=0.2)
    with monkeypatch.context() as patch:  # as a task in uninterruptible sleep does, it takes no notice
        patch.setattr("lab.ocf.os.killpg", lambda *_: None)
        assert hung.once().code is None
    (process,) = hung.stuck
    os.killpg(process.pid, signal.SIGKILL)
    hung.bury()
    assert hung.stuck == []


class Turns:
    """A monitor that answers by a script, and a clock that only its waits move."""

    def __init__(self, *answers: ocf.Answer) -> None:
        self.now, self.answers, self.begun = 100.0, list(answers), list[float]()

    def once(self) -> ocf.Answer:
        self.begun.append(self.now - 100.0)
        answer = self.answers.pop(0)
        self.now += answer.seconds
        return answer

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def detect(self, phase: float) -> float | None:
        return ocf.detect(self.once, 100.0, phase, 60.0, self.sleep, lambda: self.now)


GOOD, BAD, STUCK = ocf.Answer(0, 0.5), ocf.Answer(1, 0.5), ocf.Answer(None, 40.0)


def test_the_interval_counts_from_the_end_of_the_monitor_before() -> None:
    turns = Turns(GOOD, GOOD, BAD)
    assert turns.detect(3.0) == pytest.approx(44.5)
    assert turns.begun == pytest.approx([3.0, 23.5, 44.0])


def test_a_hang_is_detected_at_the_timeout() -> None:
    assert Turns(STUCK).detect(5.0) == pytest.approx(45.0)


def test_what_comes_too_late_does_not_count() -> None:
    assert Turns(GOOD, GOOD, GOOD).detect(1.0) is None
    assert Turns(GOOD, STUCK).detect(5.0) is None


def test_the_compared_faults_are_those_of_the_bench() -> None:
    assert set(NAMES) <= {fault.name for fault in FAULTS}
    assert {(one.fstype, one.load) for one in cells("hang", FILE_SYSTEMS)} >= {
        ("xfs", "idle"),
        ("btrfs", "active"),
    }


def test_the_table_tells_means_misses_and_never() -> None:
    (cell,) = [one for one in cells("all hang", ["ext4"]) if one.load == "idle"]
    runs = [Run(1.5, "hung", {0: None, 10: 50.0, 20: None}), Run(1.7, "hung", {0: None, 10: 52.0, 20: 44.0})]
    line = table([result(cell, runs)]).splitlines()[1]
    assert line.split() == [
        "all",
        "hang",
        "ext4",
        "idle",
        "1.60",
        "s",
        "never",
        "51.0",
        "s",
        "44.0",
        "s",
        "(1/2)",
    ]
    missed = result(cell, [*runs, Run(None, "", {0: None, 10: 1.0, 20: 1.0})])
    assert (missed["ours"]["missed"], missed["n"]) == (1, 3)
    assert "MISSED 1/3" in table([missed])
