"""Where notifications of a test end: a mail server and a web server that keep what they get."""

from __future__ import annotations

import http.server
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Sink:
    """port: where it listens, on the loopback address. kept: what came, oldest first."""

    port: int
    kept: list[str] = field(default_factory=list)


class _Mail(socketserver.StreamRequestHandler):
    """Enough of SMTP for one message after another, without TLS."""

    timeout = 10

    def handle(self) -> None:
        self._say("220 sink")
        while line := self.rfile.readline(4096):
            word = line[:4].upper()
            if word == b"DATA":
                self._say("354 go on")
                self.server.kept.append(self._message())  # type: ignore[attr-defined]
            self._say("221 bye" if word == b"QUIT" else "250 ok")
            if word == b"QUIT":
                return

    def _say(self, words: str) -> None:
        self.wfile.write(f"{words}\r\n".encode())

    def _message(self) -> str:
        lines = list(iter(lambda: self.rfile.readline(65536), b".\r\n"))
        return b"".join(lines).decode("utf-8", "replace")


class _Web(http.server.BaseHTTPRequestHandler):
    timeout = 10

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.kept.append(body.decode())  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Not on the terminal."""


@contextmanager
def _serving(handler: Any) -> Iterator[Sink]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        sink = Sink(server.server_address[1])
        server.kept = sink.kept  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield sink
        finally:
            server.shutdown()
            thread.join(5)


def mail() -> Any:
    """A mail server, as a context manager."""
    return _serving(_Mail)


def web() -> Any:
    """A web server that takes every POST, as a context manager."""
    return _serving(_Web)
