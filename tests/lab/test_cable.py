"""The cable between nodes and master: what is sent while it is cut arrives when it is whole again, and not before."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import Mock

import pytest

from lab.cable import ADDRESS, MASTER, PORTS, Cable
from lab.isolation import isolated


@contextmanager
def master() -> Iterator[socket.socket]:
    """Something that listens where a master would, and sends back what it gets."""
    with socket.create_server((MASTER, PORTS[1])) as listener:

        def echo() -> None:
            line, _ = listener.accept()
            with line:
                while piece := line.recv(1000):
                    line.sendall(piece)

        thread = threading.Thread(target=echo, daemon=True)
        thread.start()
        yield listener
        thread.join(5)


def test_what_is_sent_while_it_is_cut_arrives_later() -> None:
    with isolated(), master(), Cable() as cable:
        assert cable.minion_options(Mock())["master"] == ADDRESS
        with socket.create_connection((ADDRESS, PORTS[1]), 5) as line:
            line.settimeout(5)
            line.sendall(b"one")
            assert line.recv(10) == b"one"
            cable.cut()
            line.sendall(b"two")
            line.settimeout(0.3)
            with pytest.raises(TimeoutError):
                line.recv(10)
            cable.mend()
            line.settimeout(5)
            assert line.recv(10) == b"two"


def test_without_a_master_there_is_no_connection() -> None:
    with isolated(), Cable() as cable:
        cable.minion_options(Mock())
        with socket.create_connection((ADDRESS, PORTS[0]), 5) as line:
            line.settimeout(5)
            assert line.recv(10) == b""


def test_a_cut_cable_can_be_closed() -> None:
    with isolated(), Cable() as cable:
        cable.minion_options(Mock())
        cable.cut()
        socket.create_connection((ADDRESS, PORTS[0]), 5).close()
    assert not [one for one in threading.enumerate() if one.name == "cable"]
