"""Between the prober and its readers: a socket that keeps message borders, and the configuration file beside it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vmdk_failover.guest import memory
from vmdk_failover.guest.places import HERE, Places
from vmdk_failover.model import Resource, to_plain

RELOAD, END = "reload", "end"
CONFIG = "prober.config.json"
SLOTS = (0, 1)
_PLACES = ("by_id", "boot_id", "dev")


def name(kind: str, slot: int) -> str:
    """File name of a prober's socket (``sock``) or lock; slot 1 is the replacement of one that is stuck."""
    return f"prober.{slot}.{kind}"


@contextlib.contextmanager
def _short(state_dir: Path, slot: int) -> Iterator[str]:
    """The socket's address through a descriptor: a unix address holds 107 bytes, a directory's name may be longer."""
    fd = os.open(state_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{name('sock', slot)}"
    finally:
        os.close(fd)


def write_config(state_dir: Path, resources: Mapping[str, Resource], places: Places = HERE) -> None:
    """Put down what is to be watched. Raises ``OSError``."""
    memory.write(state_dir / CONFIG, _plain(resources, places))


def _plain(resources: Mapping[str, Resource], places: Places) -> dict[str, Any]:
    where = {key: str(getattr(places, key)) for key in _PLACES}
    return {"resources": {key: to_plain(one) for key, one in resources.items()}, "places": where}


def is_put_down(state_dir: Path, resources: Mapping[str, Resource], places: Places = HERE) -> bool:
    """Whether exactly this is put down already."""
    try:
        return bool(read_config(state_dir) == json.loads(json.dumps(_plain(resources, places))))
    except (OSError, ValueError):
        return False


def mark(state_dir: Path) -> tuple[int, int] | None:
    """Changes whenever anybody puts down anything; ``None`` if nothing is."""
    try:
        found = os.stat(state_dir / CONFIG)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def names(state_dir: Path) -> list[str]:
    """Names of the resources that are put down; empty if none can be read."""
    try:
        return list(read_config(state_dir)["resources"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def read_config(state_dir: Path) -> dict[str, Any]:
    """What is to be watched. Raises ``OSError`` or ``ValueError``."""
    config: dict[str, Any] = json.loads((state_dir / CONFIG).read_text())
    return config


def places_of(config: Mapping[str, Any]) -> Places:
    """Where the prober looks."""
    return Places(**{key: Path(value) for key, value in config["places"].items()})


def connect(state_dir: Path, slot: int) -> socket.socket | None:
    """A non-blocking connection to a prober; ``None`` if none listens."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        with _short(state_dir, slot) as address:
            sock.connect(address)
    except OSError:
        sock.close()
        return None
    return sock


def receive(sock: socket.socket) -> list[dict[str, Any]] | None:
    """All messages that have arrived; ``None`` when the other side is gone. Does not wait."""
    found: list[dict[str, Any]] = []
    while True:
        try:
            message = sock.recv(1 << 18)
        except BlockingIOError:
            return found
        except OSError:
            return None
        if not message:
            return found or None
        found.append(json.loads(message))


class Server:
    """The prober's side: readers come and go, and none of them can hold it up."""

    def __init__(self, state_dir: Path, slot: int) -> None:
        """Raises ``OSError`` if the socket cannot be made."""
        self._epoll = select.epoll()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        with contextlib.suppress(FileNotFoundError):
            (state_dir / name("sock", slot)).unlink()
        with _short(state_dir, slot) as address:
            self._socket.bind(address)
            os.chmod(address, 0o600)
        self._socket.listen(8)
        self._epoll.register(self._socket, select.EPOLLIN)
        self._readers: dict[int, socket.socket] = {}
        self._behind: set[int] = set()

    def fileno(self) -> int:
        """Readable when :meth:`serve` has something to do."""
        return self._epoll.fileno()

    @property
    def count(self) -> int:
        """How many read now."""
        return len(self._readers)

    def serve(self, present: Callable[[], Sequence[Mapping[str, Any]]]) -> list[str]:
        """
        Take in new readers and read their words.

        :param present: all reports as they are now, for a new reader.
        """
        words: list[str] = []
        for fd, _ in self._epoll.poll(0):
            if fd == self._socket.fileno():
                self._accept(present())
            else:
                words += self._hear(fd)
        return words

    def _accept(self, present: Sequence[Mapping[str, Any]]) -> None:
        try:
            reader = self._socket.accept()[0]
        except BlockingIOError:
            return
        reader.setblocking(False)
        self._readers[reader.fileno()] = reader
        self._epoll.register(reader, select.EPOLLIN)
        for one in present:
            self._send(reader.fileno(), one)

    def _hear(self, fd: int) -> list[str]:
        try:
            message = self._readers[fd].recv(4096)
        except BlockingIOError:
            return []
        except OSError:
            message = b""
        if not message:
            self._drop(fd)
            return []
        return [message.decode(errors="replace")]

    def push(self, message: Mapping[str, Any]) -> None:
        """Send to all readers. One that does not keep up loses messages; it gets them with the next heartbeat's state."""
        for fd in tuple(self._readers):
            self._send(fd, message)

    def _send(self, fd: int, message: Mapping[str, Any]) -> None:
        try:
            self._readers[fd].send(json.dumps(message).encode())
        except BlockingIOError:
            self._behind.add(fd)
        except OSError:
            self._drop(fd)

    def catch_up(self, present: Sequence[Mapping[str, Any]]) -> None:
        """Tell the readers that have lost messages everything anew."""
        behind, self._behind = self._behind, set()
        for fd in behind & set(self._readers):
            for one in present:
                self._send(fd, one)

    def _drop(self, fd: int) -> None:
        reader = self._readers.pop(fd, None)
        if reader is not None:
            self._epoll.unregister(fd)
            reader.close()
