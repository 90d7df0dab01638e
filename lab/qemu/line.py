"""The host's end of the line to a guest's agent, and of the one on which the guest's writer acknowledges its records."""

from __future__ import annotations

import itertools
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.cell import Done, LabError
from lab.ledger import acknowledgement, parse_acknowledged
from lab.qemu.monitor import connect

_LIMIT = 300.0
_MORE = 30.0  # seconds that the guest's own deadline has to reach the host


@dataclass
class _Asked:
    """A request under way."""

    done: threading.Event = field(default_factory=threading.Event)
    answer: dict[str, Any] = field(default_factory=dict)


class Agent:
    """Asks the program in a guest. path: of the line's socket. name: of the node, for sentences. on_ready: called in a
    thread of its own each time that a guest has booted.

    ready: set while a booted guest's program is there. sight: its last word about mounts, disks and what lies on them;
    replaced as a whole. heard: when it last gave a sign of life.
    """

    def __init__(self, path: Path, name: str, on_ready: Callable[[], None]) -> None:
        self._name, self._on_ready = name, on_ready
        self._numbers = itertools.count(1)
        self._asked: dict[int, _Asked] = {}
        self._write = threading.Lock()
        self.ready = threading.Event()
        self.sight: Mapping[str, Any] = {"mounts": "", "disks": {}}
        self.heard = time.monotonic()
        self._socket = connect(path)
        self._thread = threading.Thread(target=self._read, name=f"agent of {name}", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with suppress(OSError), self._socket.makefile("rb") as lines:
            for line in lines:
                with suppress(ValueError):  # the rest of a line that a saved guest had begun
                    self._hear(json.loads(line))
        for asked in list(self._asked.values()):
            asked.answer = {"gone": True}
            asked.done.set()

    def _hear(self, said: dict[str, Any]) -> None:
        self.heard = time.monotonic()
        if said["op"] == "sight":
            self.sight = said
        elif said["op"] == "ready":
            self.ready.set()
            threading.Thread(target=self._on_ready, name=f"boot of {self._name}", daemon=True).start()
        elif said["op"] == "done" and said["id"] in self._asked:
            asked = self._asked[said["id"]]
            asked.answer = said
            asked.done.set()

    def ask(self, op: str, seconds: float = _LIMIT, **words: Any) -> Done:
        """Have the agent do something. Raises LabError when it is not done in time or the guest is gone."""
        number, asked = next(self._numbers), _Asked()
        self._asked[number] = asked
        try:
            with self._write:
                # not Python's own time-out: it makes the socket a non-blocking one, and the thread that reads would see its end
                limit = struct.pack("@ll", int(seconds), int(seconds % 1 * 1e6))
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
                self._socket.sendall(
                    json.dumps({"op": op, "id": number, "seconds": seconds, **words}).encode() + b"\n"
                )
            answered = asked.done.wait(seconds + _MORE)
        except OSError as problem:
            raise LabError(f"the guest of {self._name} is gone: {problem}") from None
        finally:
            del self._asked[number]
        if not answered or asked.answer.get("late"):
            raise LabError(f"{op} {words.get('argv', '')} on {self._name} did not end within {seconds:g} s")
        if "code" not in asked.answer:
            raise LabError(f"the guest of {self._name} ended before {op} {words.get('argv', '')}")
        return Done(asked.answer["code"], asked.answer["out"], asked.answer["err"])

    def must(self, op: str, seconds: float = _LIMIT, **words: Any) -> None:
        """The same, where only success will do. Raises LabError."""
        done = self.ask(op, seconds, **words)
        if done.code:
            raise LabError(f"{op} failed in the guest of {self._name}: {done.err.strip()}")

    def close(self) -> None:
        """Hang up."""
        _hang_up(self._socket, self._thread)


class Acknowledgements:
    """Writes what a guest's writer acknowledges to a file of the host, with the host's own clock.

    path: of the line's socket. target: the file. A record that did not get here before the power went was not acknowledged.
    """

    def __init__(self, path: Path, target: Path) -> None:
        self._out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._socket = connect(path)
        self._thread = threading.Thread(target=self._read, name=f"acknowledgements {path}", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with suppress(OSError), self._socket.makefile("r", errors="replace") as lines:
            for line in lines:
                now = time.monotonic()
                for one in parse_acknowledged(line) if line.endswith("\n") else ():
                    os.write(self._out, acknowledgement(one.number, now, one.node))

    def close(self) -> None:
        """Hang up; what has arrived is written."""
        _hang_up(self._socket, self._thread)
        os.close(self._out)


def _hang_up(one: socket.socket, thread: threading.Thread) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    if threading.current_thread() is not thread:
        thread.join(5)
    one.close()
