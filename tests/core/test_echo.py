"""Addresses that answer, are silent, or cannot be tried; real packets in a network of the test's own."""

from __future__ import annotations

import ast
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab import linux
from lab.isolation import isolated
from vmdk_failover.presence import echo


def alone(work: Callable[[], Any]) -> Any:
    """Do ``work`` in a thread with a network of its own, where 10.77.0.1 lives and the rest of its network is silent."""
    found: list[Any] = []

    def inside() -> None:
        with isolated():
            linux.add_address(1, "10.77.0.1")
            found.append(work())

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join(20)
    return found[0]


def test_who_lives_answers_at_once_and_who_does_not_costs_a_second() -> None:
    def work() -> tuple[Any, float]:
        began = time.monotonic()
        ask = {"db1": "10.77.0.1", "db2": "10.77.0.2", "db3": "10.77.0.3", "far": "192.0.2.7"}
        return echo.answers(ask), time.monotonic() - began

    found, took = alone(work)
    assert found == {"db1": True, "db2": False, "db3": False, "far": None}
    assert 0.9 < took < 5.0


def test_one_that_lives_costs_nothing() -> None:
    def work() -> tuple[Any, float]:
        began = time.monotonic()
        return echo.answers({"db1": "10.77.0.1"}), time.monotonic() - began

    found, took = alone(work)
    assert found == {"db1": True} and took < 0.85


def test_a_reset_alone_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(echo, "_raw", lambda kind: (_ for _ in ()).throw(PermissionError()))
    found = alone(lambda: echo.answers({"db1": "10.77.0.1", "db2": "10.77.0.2"}, 0.2))
    assert found == {"db1": True, "db2": None}, "without an echo, silence proves nothing"


def as_nobody(work: Callable[[], Any], groups: str) -> Any:
    """Do it as a user who may open no raw socket. groups: who may have the kernel's own for echoes (ping_group_range)."""

    def inside() -> Any:
        Path("/proc/sys/net/ipv4/ping_group_range").write_text(groups)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            os.write(write, repr(work()).encode())
            os._exit(0)
        os.close(write)
        with open(read, encoding="utf-8") as pipe:
            said = pipe.read()
        os.waitpid(child, 0)
        return ast.literal_eval(said)

    return alone(inside)


def test_a_master_that_is_not_root_asks_by_the_kernels_own_echo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(echo._Round, "_connect", lambda *_: None)
    ask = {"db1": "10.77.0.1", "db2": "10.77.0.2"}
    found = as_nobody(lambda: (echo.possible(), echo.answers(ask)), "0 2147483647")
    assert found == (True, {"db1": True, "db2": False})


def test_where_it_may_not_nothing_is_found_out() -> None:
    ask = {"db1": "10.77.0.1", "db2": "10.77.0.2"}
    found = as_nobody(lambda: (echo.possible(), echo.answers(ask, 0.2)), "1 0")
    assert found == (False, {"db1": True, "db2": None}), (
        "a reset of TCP is an answer, and silence proves nothing"
    )


def test_an_echo_alone_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(echo._Round, "_connect", lambda *_: None)
    assert alone(lambda: echo.answers({"db1": "10.77.0.1"})) == {"db1": True}


def test_somebody_elses_answers_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The token of the question is asked for, and the sender."""
    monkeypatch.setattr(echo._Round, "_connect", lambda *_: None)
    monkeypatch.setattr(echo, "_answer", lambda kind, packet, token, bare: 1)
    found = alone(lambda: echo.answers({"db1": "10.77.0.1", "db2": "10.77.0.2"}, 0.3))
    assert found == {"db1": False, "db2": False}


@pytest.mark.parametrize(
    "address", ["", "127.0.0.1", "::1", "0.0.0.0", "224.0.0.1", "db1.example.com", "10.0.0"]
)
def test_what_is_no_other_machines_address_is_not_asked(address: str) -> None:
    assert echo.answers({"db1": address}) == {"db1": None}


def test_an_answer_has_the_token_and_the_right_kind() -> None:
    token = b"t" * 16
    head = b"\x45" + b"\0" * 19
    echoed = b"\0\0\0\0\0\0\0\x05" + token
    assert echo._answer(2, head + echoed, token) == 5
    assert echo._answer(2, head + b"\x08" + echoed[1:], token) is None
    assert echo._answer(2, head + echoed, b"u" * 16) is None
    assert echo._answer(2, b"", token) is None
    assert echo._answer(10, b"\x81" + echoed[1:], token) == 5
