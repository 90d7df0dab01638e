"""Disks that fail on command: a backing file, a server process that answers for it, a loop device on top.

    with Disks(run_dir) as disks:
        disk = disks.attach("db1.pgdata", "/run/x/pgdata.img")
        disk.set("write=hang")      # then mount /dev/<disk.loop>, write, and see
        disk.drop()

Command line, on a disk of a running lab: python -m lab.faultdisk SOCKET all=eio
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from lab import loop

ROOT = Path(__file__).resolve().parent.parent
_ANSWER_LIMIT = 8.0
_END_LIMIT = 5.0


class DiskError(Exception):
    """A disk of the lab refuses. code: locked (another running node uses it) or failed; the text is a sentence."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def control(path: str, words: str, seconds: float = 5.0) -> dict[str, Any]:
    """Say `words` to the disk whose control socket is `path`. Returns its state. Raises DiskError, OSError."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(seconds)
        sock.connect(path)
        sock.sendall(words.encode())
        answer: dict[str, Any] = json.loads(
            sock.makefile().readline() or '{"error": "the disk has just ended"}'
        )
    if "error" in answer:
        raise DiskError("failed", str(answer["error"]))
    return answer


@dataclass(frozen=True)
class FaultDisk:
    """One attached disk. loop: kernel name such as loop7; configuration: tells this use of it from a later one. pid: its
    server. socket: its control socket."""

    host: Disks
    name: str
    backing: str
    loop: str
    configuration: int
    pid: int
    socket: str

    @property
    def path(self) -> str:
        """The device file outside all nodes."""
        return f"/dev/{self.loop}"

    @property
    def devno(self) -> int:
        """The device number, as os.makedev makes it."""
        major, minor = Path(f"/sys/block/{self.loop}/dev").read_text().split(":")
        return os.makedev(int(major), int(minor))

    def set(self, words: str) -> dict[str, Any]:
        """Set faults: "write=hang", "all=eio range=0-4095", "ok" (recover, do what was held). Returns the state."""
        return control(self.socket, words)

    def stop(self) -> None:
        """Stop it: from this call on nothing is read, written or acknowledged, until `go_on`."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let a stopped disk work again."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)

    def drop(self) -> None:
        """Take the disk away. Whoever is stuck on it gets an I/O error; what was not written through is lost."""
        self.host.drop(self.name)

    def wait_gone(self, seconds: float) -> bool:
        """Wait until the kernel has forgotten its file system and its device. Returns whether that came true in time."""
        return loop.wait_gone(self.loop, self.configuration, seconds)


class Disks:
    """All disks of one lab. run_dir: holds the control sockets. hang_limit: seconds after which a hang fails by itself."""

    def __init__(self, run_dir: Path, hang_limit: float = 60.0) -> None:
        self._dir, self._hang_limit = run_dir, hang_limit
        self._lock = threading.Lock()
        self._number = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Disks:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        alive, self._alive = os.pipe()
        fds = (theirs.fileno(), alive)
        command = [sys.executable, "-E", "-s", "-S", "-m", "lab.diskhost", *map(str, fds), str(self._dir)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, pass_fds=fds, stdin=subprocess.DEVNULL, start_new_session=True
        )
        theirs.close()
        os.close(alive)
        ours.settimeout(_ANSWER_LIMIT)
        self._channel = ours
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._channel.close()
        os.close(self._alive)
        assert self._process is not None
        try:
            self._process.wait(_END_LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()

    @property
    def pid(self) -> int:
        """The process that starts the servers."""
        assert self._process is not None, "enter the Disks first"
        return self._process.pid

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            self._number += 1
            try:
                answer = self._exchange({**request, "number": self._number})
            except OSError as problem:
                raise DiskError(
                    "failed", f"the process that serves the disks does not answer: {problem}"
                ) from None
        if "error" in answer:
            raise DiskError(answer["code"], answer["error"])
        return answer

    def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        self._channel.send(json.dumps(request).encode())
        while True:
            received = self._channel.recv(65536)
            if not received:
                raise ConnectionResetError("it has ended")
            answer: dict[str, Any] = json.loads(received)
            if (
                answer.pop("number") == request["number"]
            ):  # another number: the late answer to a call that gave up
                return answer

    def attach(self, name: str, backing: str) -> FaultDisk:
        """Start a disk. name: unique among the attached, no slashes. backing: the file below it, made before.

        Raises DiskError; its code is `locked` while another attached disk has the same backing file.
        """
        path = str(self._dir / f"{name}.sock")
        what = {"op": "attach", "name": name, "mark": f"{self._dir.name}:{name}"}
        answer = self._ask({**what, "backing": backing, "control": path, "hang_limit": self._hang_limit})
        name_of_loop, number = str(answer["loop"]), int(answer["configuration"])
        return FaultDisk(self, name, backing, name_of_loop, number, int(answer["pid"]), path)

    def drop(self, name: str) -> None:
        """Take disk `name` away; nothing happens when it is not attached."""
        self._ask({"op": "drop", "name": name})


def main() -> None:
    """Say words to the control socket of a disk and print its state."""
    parser = argparse.ArgumentParser(
        prog="python -m lab.faultdisk", description="Hurt or heal a disk of a running lab."
    )
    parser.add_argument("socket", help="the disk's control socket")
    parser.add_argument(
        "words",
        nargs="+",
        help="read= write= flush= all= with ok|eio|eio:N|enospc|enodev|hang|delay:S; range=A-B; ok; stats",
    )
    given = parser.parse_args()
    try:
        print(json.dumps(control(given.socket, " ".join(given.words))))
    except (DiskError, OSError) as problem:
        sys.exit(f"{given.socket}: {problem}")


if __name__ == "__main__":
    main()
