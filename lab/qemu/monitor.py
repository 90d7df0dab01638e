"""QEMU's monitor: commands, and what it tells by itself."""

from __future__ import annotations

import json
import queue
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab.cell import LabError

_START_LIMIT = 30.0
_ANSWER_LIMIT = 60.0


class Refused(LabError):
    """QEMU refuses a command; the text is its own."""


def connect(path: Path, seconds: float = _START_LIMIT) -> socket.socket:
    """A connection to one of QEMU's sockets, once it is there. Raises LabError."""
    end = time.monotonic() + seconds
    while True:
        one = socket.socket(socket.AF_UNIX)
        try:
            one.connect(str(path))
            return one
        except OSError as problem:
            one.close()
            if time.monotonic() > end:
                raise LabError(
                    f"QEMU did not open {path} within {seconds:.0f} s: {problem}; see qemu.log"
                ) from None
            time.sleep(0.01)


class Monitor:
    """One QEMU's monitor. on_event: called in a thread with each event; the last is named EOF, when QEMU has ended."""

    def __init__(self, path: Path, on_event: Callable[[str, dict[str, Any]], None]) -> None:
        self._on_event = on_event
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._turn = threading.Lock()
        self._deleted = threading.Condition()
        self._gone: set[str] = set()
        self._socket = connect(path)
        self._thread = threading.Thread(target=self._read, name=f"monitor {path}", daemon=True)
        self._thread.start()
        self("qmp_capabilities")

    def _read(self) -> None:
        with suppress(OSError), self._socket.makefile("rb") as lines:
            for line in lines:
                said = json.loads(line)
                if "event" in said:
                    self._hear(str(said["event"]), said.get("data", {}))
                elif "QMP" not in said:
                    self._answers.put(said)
        self._answers.put({"error": {"desc": "QEMU has ended"}})
        self._on_event("EOF", {})

    def _hear(self, name: str, data: dict[str, Any]) -> None:
        if name == "DEVICE_DELETED" and "device" in data:
            with self._deleted:
                self._gone.add(str(data["device"]))
                self._deleted.notify_all()
        self._on_event(name, data)

    def __call__(self, command: str, seconds: float = _ANSWER_LIMIT, **arguments: Any) -> Any:
        """Run a command. Words that Python does not allow in names are given with `_` for `-`, but for those of devices.

        Raises Refused, or LabError when there is no answer in time.
        """
        keep = command in ("device_add", "qom-set")
        words = {key if keep else key.replace("_", "-"): value for key, value in arguments.items()}
        if keep and "scsi_id" in words:
            words["scsi-id"] = words.pop("scsi_id")
        with self._turn:
            try:
                self._socket.sendall(json.dumps({"execute": command, "arguments": words}).encode() + b"\n")
                answer = self._answers.get(timeout=seconds)
            except (OSError, queue.Empty) as problem:
                raise LabError(f"QEMU does not answer {command} within {seconds:g} s: {problem!r}") from None
        if "error" in answer:
            raise Refused(f"{command}: {answer['error']['desc']}")
        return answer["return"]

    def remove_device(self, name: str, seconds: float = _ANSWER_LIMIT) -> None:
        """Take a device out of the machine and wait until it is out. Raises LabError."""
        with self._deleted:
            self._gone.discard(name)
        self("device_del", id=name)
        with self._deleted:
            if not self._deleted.wait_for(lambda: name in self._gone, seconds):
                raise LabError(f"QEMU did not take {name} out of the machine within {seconds:g} s")

    def close(self) -> None:
        """Hang up."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if threading.current_thread() is not self._thread:
            self._thread.join(5)
        self._socket.close()
