"""Deadlines of single calls, against servers that keep a connection alive without ever finishing."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.vsphere import servers
from vmdk_failover.errors import CertificateRefused
from vmdk_failover.vsphere.wire import TRANSPORT, NotSent, Wire


def wire_to(port: int, ca_file: Path | str = "", host: str = "127.0.0.1", connect: float = 2.0) -> Wire:
    """A wire with short times."""
    return Wire(host, port, str(ca_file), "", connect_timeout=connect, call_timeout=1.5)


@pytest.mark.parametrize("serve", [servers.trickle, servers.stall], ids=["trickle", "stall"])
def test_an_answer_must_be_complete_in_time(tmp_path: Path, serve: Callable[[ssl.SSLSocket], None]) -> None:
    authority = servers.Authority(tmp_path)
    with servers.tls_server(authority.issue("127.0.0.1"), serve) as port:
        begin = time.monotonic()
        with pytest.raises(TRANSPORT):
            wire_to(port, authority.file).get("/")
        assert 1.3 < time.monotonic() - begin < 5.0


def test_a_shorter_limit_holds_inside_its_block_only() -> None:
    wire = wire_to(1)
    with wire.within(0.5):
        assert wire.until() - time.monotonic() <= 0.5
        with wire.within(0.1):
            assert wire.until() - time.monotonic() <= 0.1
        assert 0.2 < wire.until() - time.monotonic() <= 0.5
    assert 1 < wire.until() - time.monotonic() <= 1.5


def test_connecting_counts_towards_the_call() -> None:
    with servers.black_hole() as port:
        wire = wire_to(port, connect=5.0)
        begin = time.monotonic()
        with wire.within(0.4), pytest.raises(NotSent):
            wire.get("/")
        assert time.monotonic() - begin < 1


def test_any_status_but_200_is_no_answer(tmp_path: Path) -> None:
    authority = servers.Authority(tmp_path)
    with (
        servers.tls_server(authority.issue("127.0.0.1"), servers.not_found) as port,
        pytest.raises(TRANSPORT),
    ):
        wire_to(port, authority.file).get("/")


def test_ipv6(tmp_path: Path) -> None:
    authority = servers.Authority(tmp_path)
    with servers.tls_server(authority.issue("::1"), servers.garbage, "::1") as port:
        assert b"html" in wire_to(port, authority.file, "::1").get("/")
        with pytest.raises(CertificateRefused):
            wire_to(port, "", "::1").get("/")
