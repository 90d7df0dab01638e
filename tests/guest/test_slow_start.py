"""A prober that takes long to come up is waited for: a slow machine is not buried under a new one every two seconds."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.guest.conftest import wait_for
from vmdk_failover import model
from vmdk_failover.guest import watch

WATCHED = {
    "data": model.Resource(
        "data",
        (model.Node("a", "u"), model.Node("b", "v")),
        (model.Disk("[ds] a.vmdk", "6000c29" + "0" * 25, 1, 0),),
        (model.Mount("/srv/data", "c0ffee00-0000-4000-8000-000000000001", "ext4"),),
    )
}


class Node:
    """A reader on a machine where a program never gets to its first line; its clock goes on by what it is told."""

    def __init__(self, place: Path) -> None:
        self._starts, self._now = place / "starts", 1000.0
        self._starts.touch()
        self.reader = watch.Watch(place / "state", clock=lambda: self._now)

    def started(self) -> list[int]:
        return [int(line) for line in self._starts.read_text().split()]

    def go_on(self, seconds: float) -> None:
        for _ in range(round(seconds * 2)):
            self._now += 0.5
            self.reader.poll(WATCHED)

    def wait_started(self, count: int) -> None:
        wait_for(lambda: len(self.started()) >= count, 60)


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\necho $$ >>{tmp_path}/starts\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    one = Node(tmp_path)
    yield one
    one.reader.close()
    for process in one.reader._processes:
        process.kill()
        process.wait()


def test_one_that_is_coming_up_is_given_time(node: Node) -> None:
    node.go_on(1)
    node.wait_started(1)
    node.go_on(20)
    assert len(node.reader._processes) == len(node.started()) == 1
    node.go_on(15)  # it may be stuck for good
    node.wait_started(2)
    assert len(node.reader._processes) == 2


def test_one_that_has_ended_is_replaced_soon(node: Node) -> None:
    node.go_on(1)
    node.wait_started(1)
    os.kill(node.started()[0], signal.SIGKILL)
    wait_for(_ended(node), 60)
    node.go_on(4)
    node.wait_started(2)


def _ended(node: Node) -> Callable[[], bool]:
    process = node.reader._processes[0]
    return lambda: process.poll() is not None
