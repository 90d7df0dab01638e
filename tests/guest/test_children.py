"""Disposable children: answers, deadlines, and one that cannot be killed."""

from __future__ import annotations

import os
import socket
import subprocess
import time

import pytest

from vmdk_failover.errors import StepFailed
from vmdk_failover.guest import children

from .conftest import Rig, wait_for


def test_a_value_comes_back() -> None:
    ended = children.call(lambda: {"a": [1, 2]}, 5)
    assert (ended.value, ended.error, ended.stuck) == ({"a": [1, 2]}, "", False)


def test_a_large_value_comes_back() -> None:
    assert len(children.call(lambda: "x" * 1_000_000, 5).value) == 1_000_000


def test_an_exception_becomes_words() -> None:
    def fail() -> None:
        raise RuntimeError("no such luck")

    assert children.call(fail, 5).error == "RuntimeError: no such luck"


def test_an_error_of_the_products_own_is_a_sentence_already() -> None:
    def fail() -> None:
        raise StepFailed("the state vip failed", "state")

    assert children.call(fail, 5).error == "the state vip failed"


def test_a_child_that_is_killed_gives_no_answer() -> None:
    ended = children.call(lambda: os.kill(os.getpid(), 9), 5)
    assert "status -9" in ended.error


def test_the_deadline_ends_it_and_all_that_it_started() -> None:
    read, write = os.pipe()
    try:
        began = time.monotonic()
        ended = children.call(lambda: subprocess.run(["sleep", "77.77"], check=False) and None, 0.2)
        assert 0.2 <= time.monotonic() - began < 5.0
    finally:
        os.close(read)
        os.close(write)
    assert (ended.stuck, "did not end within 0.2 s" in ended.error) == (False, True)
    wait_for(lambda: subprocess.run(["pgrep", "-f", "sleep 77.77"], capture_output=True).returncode == 1)


def test_it_holds_no_socket_of_its_parent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        pid = children.leave(lambda: time.sleep(1))
        links = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        wait_for(lambda: _only_harmless(pid))
    assert links
    socket.create_server(("127.0.0.1", port)).close()
    os.kill(pid, 9)
    wait_for(lambda: children.bury() is None and children.state(pid) == "")


def _only_harmless(pid: int) -> bool:
    try:
        links = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    except FileNotFoundError:  # a descriptor was closed meanwhile
        return False
    return all(link == os.devnull or link.startswith("pipe:") for link in links)


def test_a_watcher_may_give_up_early() -> None:
    began = time.monotonic()
    ended = children.call(
        lambda: time.sleep(60), 60, lambda child: "enough" if time.monotonic() - began > 0.1 else ""
    )
    assert ended.error == "enough"
    assert time.monotonic() - began < 5.0


def test_a_child_in_uninterruptible_sleep_is_left_behind_and_buried_later(rig: Rig) -> None:
    rig.fault.set("all=hang")

    def hang() -> None:
        fd = os.open(rig.fault.path, os.O_RDONLY | os.O_DIRECT)
        os.preadv(fd, [__import__("mmap").mmap(-1, 4096)], 0)

    began = time.monotonic()
    ended = children.call(hang, 0.3)
    assert ended.stuck
    assert time.monotonic() - began < 5.0
    rig.fault.set("ok")
    wait_for(lambda: children.bury() is None and not children._abandoned)


@pytest.mark.parametrize(
    ("argv", "status", "said"), [(["sh", "-c", "echo out; echo err >&2; exit 3"], 3, "out\nerr")]
)
def test_a_command(argv: list[str], status: int, said: str) -> None:
    ended = children.command(argv, 5)
    assert (ended.value, ended.output, ended.error) == (status, said, "")


def test_a_command_that_is_not_there() -> None:
    assert "No such file" in children.command(["no-such-command"], 5).output
