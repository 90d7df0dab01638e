"""The cable between the nodes and the master: everything of Salt's goes through it, and it can be cut.

While it is cut nothing gets through and nothing is told so, as where packets are lost; what was on its way arrives when
it is whole again. Give `Cable.minion_options` to the lab's wishes and close it after the lab.
"""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from lab import linux, product

if TYPE_CHECKING:
    from lab.cluster import Lab

LABEL, ADDRESS, MASTER = 254, "10.77.0.254", "127.0.0.1"
PORTS = (4505, 4506)
_PIECE = 1 << 16
_LIMIT = 5.0


class Cable:
    """Forwards the two ports of a master. Use it as a context manager around the lab."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._stop, self._stopper = socket.socketpair()
        self._whole = threading.Event()
        self._whole.set()
        self._thread = threading.Thread(target=self._forward, name="cable", daemon=True)

    def __enter__(self) -> Cable:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._whole.set()
        self._stopper.close()
        if self._thread.ident is not None:
            self._thread.join(_LIMIT)
        for key in list(self._selector.get_map().values()):
            _close(key.fileobj)
        self._selector.close()
        self._stop.close()

    def minion_options(self, lab: Lab) -> dict[str, Any]:
        """The minions' options, with this cable's end for a master. Called in the lab's network, before a node boots."""
        if self._thread.ident is None:
            linux.add_address(LABEL, ADDRESS)
            for port in PORTS:
                listener = socket.create_server((ADDRESS, port), backlog=64)
                self._selector.register(listener, selectors.EVENT_READ, port)
            self._selector.register(self._stop, selectors.EVENT_READ)
            self._thread.start()
        return {**product.minion_options(lab), "master": ADDRESS}

    def cut(self) -> None:
        """Nothing gets through from now on."""
        self._whole.clear()

    def mend(self) -> None:
        """All goes on, with what was on its way."""
        self._whole.set()

    def _forward(self) -> None:
        while True:
            for key, _ in self._selector.select():
                self._whole.wait()
                if key.fileobj is self._stop:
                    return
                if isinstance(key.data, int):
                    self._connect(key.fileobj, key.data)
                else:
                    self._carry(key.fileobj, key.data)

    def _connect(self, listener: Any, port: int) -> None:
        near, _ = listener.accept()
        try:
            far = socket.create_connection((MASTER, port), _LIMIT)
        except OSError:  # there is no master just now: that is what the minion sees too
            near.close()
            return
        for one, other in ((near, far), (far, near)):
            one.settimeout(_LIMIT)
            self._selector.register(one, selectors.EVENT_READ, other)

    def _carry(self, source: Any, sink: Any) -> None:
        if source.fileno() < 0:
            return  # closed with its other end, a moment ago
        with suppress(OSError):
            piece = source.recv(_PIECE)
            if piece:
                return sink.sendall(piece)
        for one in (source, sink):
            with suppress(KeyError, ValueError):
                self._selector.unregister(one)
            one.close()
        return None


def _close(end: Any) -> None:
    if isinstance(end, socket.socket):
        end.close()
