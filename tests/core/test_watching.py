"""The master's eye on vCenter: what a stream that breaks and comes back means for the heartbeats."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.core.build import resource, vm
from vmdk_failover.daemon import watching
from vmdk_failover.errors import CannotObserve
from vmdk_failover.model import HypervisorFacts, Resource
from vmdk_failover.presence import heard, lookout
from vmdk_failover.vsphere import watch
from vmdk_failover.vsphere.watch import VmChange


class End(BaseException):
    """The test has seen enough."""


class Streams:
    """Each new stream tells what comes next: changes, or an error."""

    def __init__(self, *told: Any, dark: frozenset[int] = frozenset()) -> None:
        self.told, self.dark, self.tried = list(told), dark, 0

    def __call__(self, session: Any, refs: Any) -> Streams:
        self.tried += 1
        if self.tried in self.dark:
            raise CannotObserve("no route to vCenter")
        return self

    def wait(self, seconds: float) -> Any:
        if not self.told:
            raise End
        word = self.told.pop(0)
        if isinstance(word, Exception):
            raise word
        return word

    def close(self) -> None:
        """Nothing is open."""


class Site:
    """What the watch needs of the product on a master; its settings are the same at each reading."""

    settings = SimpleNamespace(resources={"pgdata": resource()}, vcenter=object())
    session = None
    announce = SimpleNamespace(counts=SimpleNamespace(add=lambda name: None), calls=lambda session: None)

    def __init__(self, directory: Path) -> None:
        self.opts = {"vmdk": {"state_dir": str(directory)}}
        self.hypervisor = self

    def observe(self, of: Resource) -> HypervisorFacts:
        return HypervisorFacts(True, "", (vm("db1"), vm("db2")))

    def warn(self, sentence: str) -> None:
        """Nobody reads it here."""


def watched(
    monkeypatch: pytest.MonkeyPatch, directory: Path, *told: Any, dark: frozenset[int] = frozenset()
) -> list[tuple[str, str]]:
    """What is hinted at until the streams have told all. :param dark: the numbers of those that cannot be had."""
    monkeypatch.setattr(watch, "Watch", Streams(*told, dark=dark))
    monkeypatch.setattr(watching, "PAUSE", 0.0)
    hints: list[tuple[str, str]] = []
    site: Any = Site(directory)
    with pytest.raises(End):
        watching.watch_for_ever(site, lambda name, what, *of: hints.append((name, what)))
    return hints


def test_a_stream_that_lasts_leaves_the_windows_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    changes = [("db1", VmChange("heartbeat", "red")), ("db1", VmChange("version", "2"))]
    assert watched(monkeypatch, tmp_path, [], changes) == [("pgdata", "watching"), ("pgdata", "heartbeat")]
    assert heard.read_plain(tmp_path / lookout.STREAM) == {}


def test_a_stream_that_comes_back_begins_all_windows_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hints = watched(monkeypatch, tmp_path, [], CannotObserve("it broke"), [])
    assert hints == [("pgdata", "watching")] * 2
    assert heard.read_plain(tmp_path / lookout.STREAM)["boot"] == heard.master_boot()


def test_a_stream_that_is_cut_again_and_again_excuses_no_silence_for_ever(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A proxy that lets no request last: the next stream comes at the first try, so hardly anything was missed."""
    cut, now = CannotObserve("it was cut"), 1000.0
    monkeypatch.setattr(lookout.time, "monotonic", lambda: now)

    def begun(*told: Any, dark: frozenset[int] = frozenset()) -> float:
        watched(monkeypatch, tmp_path, *told, dark=dark)
        return float(heard.read_plain(tmp_path / lookout.STREAM)["at"])

    assert begun([], cut, []) == 1000.0
    now = 1060.0
    assert begun([], cut, [], cut, [], cut, []) == 1000.0
    assert begun([], cut, [], dark=frozenset({2})) == 1060.0, "vCenter could not be watched meanwhile"
    now = 1060.0 + lookout.LONGEST_WINDOW
    assert begun([], cut, []) == now, "once for each of the longest windows"
    assert begun([], dark=frozenset({1})) == now


def test_a_stream_that_found_nobody_for_long_begins_all_windows_anew_each_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The question hung while the master's network was cut; nodes were not heard for as long, and the next try may succeed."""
    cut, moments = CannotObserve("nobody answers"), iter(range(1000, 9000, int(watching.DARK) + 1))
    monkeypatch.setattr(lookout.time, "monotonic", lambda: float(next(moments)))
    watched(monkeypatch, tmp_path, [], cut, [])
    first = heard.read_plain(tmp_path / lookout.STREAM)["at"]
    watched(monkeypatch, tmp_path, [], cut, [])
    assert heard.read_plain(tmp_path / lookout.STREAM)["at"] > first
