"""A node's own shutdown: what it says, for what it waits and how long, and the unit that has it said."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.core.build import active, resource, says
from tests.doubles.clock import FakeClock
from vmdk_failover import signing
from vmdk_failover.guest import doctor_services, goodbye
from vmdk_failover.model import NodeFacts, Resource

KEY = "ab" * 32
STAYS = resource()
GOES = replace(resource(), name="app", on_shutdown="switchover")
HERE = active("db1", device=True, epoch=4)
GONE = says("db1", device=False, epoch=5)


class Node:
    """What it says of its resources as time passes."""

    def __init__(self, look: Callable[[Resource, float], NodeFacts], heard: bool = True) -> None:
        self.clock, self.words, self.heard, self._look = FakeClock(), [], heard, look
        self.words: list[float]
        self.began = self.clock.monotonic()

    @property
    def passed(self) -> float:
        return self.clock.monotonic() - self.began

    def say(self) -> bool:
        self.words.append(self.passed)
        return self.heard

    def leave(self, *resources: Resource, wait: float = 90.0) -> dict[str, object]:
        bye = goodbye.Goodbye(
            resources, lambda r: self._look(r, self.passed), self.say, self.clock.monotonic, self.clock.sleep
        )
        return dict(bye.leave(wait))


def test_it_says_so_once_and_does_not_wait_for_what_stays() -> None:
    node = Node(lambda r, now: HERE)
    assert node.leave(STAYS) == {"announced": True, "left": [], "stayed": ["pgdata"]}
    assert (node.words, node.passed) == ([0.0], 0.0)


def test_it_waits_until_the_disk_has_left() -> None:
    node = Node(lambda r, now: GONE if r is GOES and now >= 3.0 else HERE)
    assert node.leave(STAYS, GOES) == {"announced": True, "left": ["app"], "stayed": ["pgdata"]}
    assert 3.0 <= node.passed < 4.0


def test_unmounted_is_not_enough() -> None:
    """The master has yet to take the disk out of the VM."""
    node = Node(lambda r, now: replace(GONE, device=now < 6.0) if now >= 3.0 else HERE)
    assert node.leave(GOES)["left"] == ["app"] and node.passed >= 6.0


def test_what_nobody_moves_is_not_waited_for() -> None:
    node = Node(lambda r, now: HERE)
    assert node.leave(GOES)["stayed"] == ["app"]
    assert goodbye.PATIENCE <= node.passed < goodbye.PATIENCE + 1


def test_what_is_being_moved_gets_all_the_time_and_no_more() -> None:
    node = Node(lambda r, now: replace(HERE, epoch=5) if now > 1 else HERE)
    assert node.leave(GOES, wait=60.0)["stayed"] == ["app"]
    assert 60.0 <= node.passed < 61.0


def test_the_word_is_said_again_and_its_loss_is_told() -> None:
    node = Node(lambda r, now: HERE, heard=False)
    assert node.leave(GOES)["announced"] is False
    assert node.words[:3] == pytest.approx([0.0, goodbye.AGAIN, 2 * goodbye.AGAIN])


def test_the_word_is_signed_for_this_purpose_alone() -> None:
    word = goodbye.word("db1", KEY)
    assert signing.check_heartbeat(lambda minion: KEY, word, signing.LEAVING)["minion"] == "db1"
    with pytest.raises(signing.BadSignature):
        signing.check_heartbeat(lambda minion: KEY, word)


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    text = goodbye.unit("/bin/true", "/etc/salt", 90.0)
    assert "TimeoutStopSec=120" in text and "vmdk.leaving wait=90" in text
    path = tmp_path / "vmdk-shutdown.service"
    path.write_text(text, encoding="utf-8")
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        assert _lines_are_settings(text)
        return
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    said = [line for line in done.stderr.splitlines() if path.name in line]
    assert said == []


def _lines_are_settings(text: str) -> bool:
    return all(not line or line[0] in "#[" or "=" in line for line in text.splitlines())


@pytest.mark.parametrize(("state", "announced"), [("stopping", True), ("running", False)])
def test_only_a_shutdown_is_announced(tmp_path: Path, state: str, announced: bool) -> None:
    """The unit's command as systemd runs it: a shell, with what systemctl says of the machine."""
    called = tmp_path / "called"
    call = _program(tmp_path / "salt-call", f'echo "$@" > {called}')
    _program(tmp_path / "systemctl", f"echo {state}; exit 1")
    unit = goodbye.unit(str(call), "/etc/salt", 90.0)
    line = next(one for one in unit.splitlines() if one.startswith("ExecStop="))
    path = f"{tmp_path}:/usr/bin:/bin"
    done = subprocess.run(
        ["sh", "-c", line.removeprefix("ExecStop=")], env={"PATH": path}, timeout=60, check=False
    )
    assert done.returncode == 0
    assert called.exists() is announced
    if announced:
        assert called.read_text(encoding="utf-8") == "-c /etc/salt vmdk.leaving wait=90\n"


def _program(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("names", "known", "told"), [(["app"], False, 1), (["app"], True, 0), ([], False, 0)], ids=str
)
def test_the_doctor_misses_the_unit_where_it_is_needed(names: list[str], known: bool, told: int) -> None:
    asked = {"service.available": lambda name: name == "vmdk-shutdown" and known}
    found = list(doctor_services.farewell(names, asked))
    assert len(found) == told
    assert all(one[0] == "warning" and "app" in one[1] and "vmdk.shutdown_unit" in one[2] for one in found)


def test_what_the_init_system_does_not_answer_is_not_spoken_of() -> None:
    assert list(doctor_services.farewell(["app"], {})) == []
