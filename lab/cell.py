"""Cells: groups of processes with their own process numbers, mounts and host name that end together, whatever they do."""

from __future__ import annotations

import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.faultdisk import ROOT

_READY_LIMIT = 15.0
_KILLED_LIMIT = 0.5


class LabError(Exception):
    """Something of the lab itself does not work; the text says what, where and what to do."""


@dataclass(frozen=True)
class Command:
    """A program that a cell starts at boot. log: path inside the cell that its output is appended to."""

    argv: tuple[str, ...]
    log: str
    env: dict[str, str] = field(default_factory=lambda: dict(os.environ))


@dataclass(frozen=True)
class Done:
    """How a command ended. code: its exit status, negative for a signal."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class CellSpec:
    """What a cell is made of.

    directory: its own files, at /run/lab inside; its /srv, /mnt and changes of /etc are kept there.
    shared: name to directory, writable at /run/lab/<name>. hidden: directories that are empty inside. writable:
    directories that keep their path and can be written; everything else of the machine is read-only.
    boot: programs started by `Cell.boot`.
    """

    hostname: str
    directory: Path
    address: str = "127.0.1.1"
    shared: dict[str, Path] = field(default_factory=dict)
    hidden: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    boot: tuple[Command, ...] = ()

    def text(self, boot_id: str) -> str:
        """The form that lab.cellinit reads."""
        kept = {str(ROOT), sys.prefix, sys.base_prefix, os.path.dirname(os.path.realpath(sys.executable))}
        boot = [{"argv": one.argv, "log": one.log, "env": one.env} for one in self.boot]
        words: dict[str, Any] = {
            "hostname": self.hostname,
            "directory": str(self.directory),
            "address": self.address,
            "machine_id": uuid.uuid5(uuid.NAMESPACE_OID, self.hostname).hex,
            "boot_id": boot_id,
            "shared": {name: str(path) for name, path in self.shared.items()},
            "hidden": [str(path) for path in self.hidden],
            "writable": [str(path) for path in self.writable],
            "kept": sorted(kept),
            "boot": boot,
        }
        return json.dumps(words)


def _prepare(directory: Path) -> None:
    for name in ("srv", "mnt"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    fifo = directory / "sysrq"
    if not fifo.exists():
        os.mkfifo(fifo, 0o600)


class Program:
    """A program that runs inside a cell."""

    def __init__(self, name: str, where: str) -> None:
        self._name, self._where = name, where
        self._done = threading.Event()
        self._code = 0
        self._error = ""

    def ended(self, code: int, error: str) -> None:
        """Take note of its end. error: why it could not be started."""
        self._code, self._error = code, error
        self._done.set()

    def wait(self, seconds: float) -> int:
        """Wait for its end. Returns its exit status, negative for a signal. Raises LabError."""
        if not self._done.wait(seconds):
            raise LabError(f"{self._name} on {self._where} did not end within {seconds:g} s")
        if self._error:
            raise LabError(f"{self._name} on {self._where} did not start: {self._error}")
        return self._code


_numbers = itertools.count(1)


class Cell:
    """One run of a cell, from its start to its end. on_end: called once, in a thread, with the status of process 1."""

    def __init__(self, spec: CellSpec, on_end: Callable[[int], None] | None = None) -> None:
        self.spec = spec
        self.boot_id = str(uuid.uuid4())
        _prepare(spec.directory)
        self._life, life_in = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ready, ready_in = os.pipe()
        self._sentinel, sentinel_in = os.pipe()
        fds = (life_in.detach(), ready_in, sentinel_in)
        command = [
            sys.executable,
            "-E",
            "-s",
            "-S",
            "-m",
            "lab.cellinit",
            spec.text(self.boot_id),
            *map(str, fds),
        ]
        self._ended = threading.Event()
        self._outer = subprocess.Popen(
            command, cwd=ROOT, pass_fds=fds, stdin=subprocess.DEVNULL, start_new_session=True
        )
        for fd in fds:
            os.close(fd)
        try:
            self.pid = self._wait_ready(ready)
        except LabError:
            self._close()
            raise
        finally:
            os.close(ready)
        self._programs: dict[int, Program] = {}
        self._lock = threading.Lock()
        for target, arguments in ((self._watch, (on_end,)), (self._listen, ())):
            threading.Thread(target=target, args=arguments, name=f"cell {spec.hostname}", daemon=True).start()

    def _wait_ready(self, ready: int) -> int:
        """The number of process 1, once the cell is built."""
        deadline, text = time.monotonic() + _READY_LIMIT, b""
        while text.count(b"\n") < 2:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([ready], [], [], left)[0]:
                raise LabError(
                    f"cell {self.spec.hostname} was not ready within {_READY_LIMIT:.0f} s; is the machine overloaded?"
                )
            part = os.read(ready, 4096)
            if not part:
                raise LabError(
                    f"cell {self.spec.hostname} ended while it was built; its messages are on standard error"
                )
            text += part
        lines = text.decode().split("\n")
        if "ready" not in lines:
            raise LabError(f"cell {self.spec.hostname} {next(line for line in lines if not line.isdigit())}")
        return int(next(line for line in lines if line.isdigit()))

    def _watch(self, on_end: Callable[[int], None] | None) -> None:
        status = self._outer.wait()
        self._ended.set()
        if on_end is not None:
            on_end(status)

    @property
    def root(self) -> Path:
        """The cell's file tree, seen from outside; reading below its mounts may wait for a disk."""
        return Path(f"/proc/{self.pid}/root")

    def alive(self) -> bool:
        """Whether anything of it is left."""
        return not self._ended.is_set()

    def boot(self) -> None:
        """Start its boot commands."""
        self._life.send(json.dumps({"op": "boot"}).encode())

    def kill(self) -> None:
        """Kill every process in it. Returns when all are marked for death; tasks stuck on a disk die when that goes."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        # the sentinel shares their fate: its end of the pipe closes when the kernel has been through all of them
        if self._sentinel >= 0:
            select.select([self._sentinel], [], [], _KILLED_LIMIT)

    def wait_end(self, seconds: float) -> bool:
        """Wait until nothing of it is left. Returns whether that came true in time."""
        if not self._ended.wait(seconds):
            return False
        self._close()
        return True

    def _close(self) -> None:
        with self._lock:
            sentinel, self._sentinel = self._sentinel, -1
        if sentinel >= 0:
            os.close(sentinel)
            self._life.close()

    def processes(self) -> list[int]:
        """Its processes, by the numbers of the machine."""
        found = []
        mine = os.readlink(f"/proc/{self.pid}/ns/pid")
        for name in os.listdir("/proc"):
            with suppress(OSError):
                if name.isdigit() and os.readlink(f"/proc/{name}/ns/pid") == mine:
                    found.append(int(name))
        return found

    def signal_all(self, sign: int) -> None:
        """Send `sign` to every process of it, those included that are born meanwhile."""
        done: set[int] = set()
        while fresh := set(self.processes()) - done:
            for pid in fresh:
                with suppress(ProcessLookupError):
                    os.kill(pid, sign)
            done |= fresh

    def _listen(self) -> None:
        """Take what process 1 says about the programs that it runs for the lab."""
        with suppress(OSError):
            while text := self._life.recv(65536):
                said = json.loads(text)
                with self._lock:
                    program = self._programs.pop(said["number"])
                program.ended(said["code"], said["error"])
        with self._lock:
            left, self._programs = self._programs, {}
        for program in left.values():
            program.ended(-signal.SIGKILL, "")

    def start(self, argv: Sequence[str], stdout: int | None = None, stderr: int | None = None) -> Program:
        """Start a program inside, with the environment of the caller.

        stdout, stderr: descriptors that it gets; None is /dev/null. Raises LabError when the cell has ended.
        """
        program = Program(argv[0], self.spec.hostname)
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        try:
            with self._lock:
                number = next(_numbers)
                self._programs[number] = program
            request = {"op": "run", "number": number, "argv": list(argv), "env": dict(os.environ)}
            fds = [null if fd is None else fd for fd in (stdout, stderr)]
            socket.send_fds(self._life, [json.dumps(request).encode()], fds)
        except OSError:
            raise LabError(f"{self.spec.hostname} is not running, so it cannot run {argv[0]}") from None
        finally:
            os.close(null)
        return program

    def run(self, argv: Sequence[str], seconds: float = 10.0) -> Done:
        """Run a program inside and wait for it. Raises LabError when it takes longer (it may be stuck on a disk)."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            code = self.start(argv, out.fileno(), err.fileno()).wait(seconds)
            return Done(code, *(_text(file) for file in (out, err)))


def _text(file: Any) -> str:
    file.seek(0)
    return str(file.read().decode(errors="replace"))
