"""
Work that may get stuck, done in disposable child processes.

A process in uninterruptible sleep cannot be killed and must never be waited for: ``subprocess.run(timeout=…)``, thread
pools and ``multiprocessing`` all do so and hang with it. Here the parent polls, and leaves behind what does not end.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vmdk_failover.errors import FailoverError
from vmdk_failover.guest import pidfd

_TICK = 0.02
_GRACE_AFTER_KILL = 0.05
_abandoned: set[int] = set()


@dataclass(frozen=True)
class Ended:
    """
    How a child ended.

    :param value: what the function returned, or the exit status of a command.
    :param error: why there is no value, as part of a sentence; empty if all went well.
    :param output: what a command printed.
    :param took: seconds.
    :param stuck: it did not end and could not be killed at once.
    """

    value: Any = None
    error: str = ""
    output: str = ""
    took: float = 0.0
    stuck: bool = False


def state(pid: int) -> str:
    """A process' state letter from /proc: ``D`` is uninterruptible sleep; empty if there is no such process."""
    return pidfd.stat(pid)[0]


class Child:
    """A forked process with no descriptor of its parent's but one pipe for its answer, in a session of its own."""

    def __init__(self, body: Callable[[int], None]) -> None:
        """Start ``body`` in a child; it gets the pipe's descriptor."""
        bury()
        sys.stdout.flush()
        sys.stderr.flush()
        self.began = time.monotonic()
        self._pipe, theirs = os.pipe()
        os.set_blocking(self._pipe, False)
        self.pid = os.fork()
        if self.pid == 0:
            _live(body, theirs)
        os.close(theirs)
        self._process = pidfd.Handle(self.pid)
        self._said = b""
        self._poll = select.poll()
        self._poll.register(self._process, select.POLLIN)
        self._poll.register(self._pipe, select.POLLIN)

    def wait(self, seconds: float) -> bool:
        """Give it up to ``seconds`` to end. Returns whether it has ended; what it has said is collected."""
        for fd, event in self._poll.poll(max(0.0, seconds) * 1000):
            if fd == self._process.fileno():
                self._collect()
                return True
            if event & select.POLLIN:
                self._collect()
            else:
                self._poll.unregister(fd)
        return False

    def _collect(self) -> None:
        try:
            while more := os.read(self._pipe, 65536):
                self._said += more
        except BlockingIOError:
            return

    def finish(self) -> tuple[int, bytes]:
        """Bury it after :meth:`wait` was true. Returns its exit status (negative: the signal) and what it said."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self._close()
        return status, self._said

    def abandon(self) -> bool:
        """Kill it, with all it started, and leave it behind. Returns whether it is stuck even so."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            os.kill(self.pid, signal.SIGKILL)  # it has not made its own session yet
        end = time.monotonic() + _GRACE_AFTER_KILL
        while time.monotonic() < end:
            if self.wait(end - time.monotonic()):
                self.finish()
                return False
        _abandoned.add(self.pid)
        self._close()
        return True

    def _close(self) -> None:
        self._process.close()
        os.close(self._pipe)


def _live(body: Callable[[int], None], pipe: int) -> None:
    """The life of a child; never returns."""
    status = 1
    try:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        forget_descriptors(pipe)
        body(pipe)
        status = 0
    except BaseException as err:
        words = err.reason if isinstance(err, FailoverError) else f"{type(err).__name__}: {err}"
        os.write(pipe, json.dumps({"error": words}).encode())
    finally:
        os._exit(status)


def forget_descriptors(keep: int) -> None:
    """Point every inherited descriptor at /dev/null: closing them would give a log file's number to something else."""
    null = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd in (keep, null):
            continue
        try:
            os.fstat(fd)
        except OSError:  # the directory that was just listed
            continue
        os.dup2(null, fd, inheritable=fd <= 2)


def bury() -> None:
    """Bury children that were left behind and have ended since."""
    for pid in tuple(_abandoned):
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                _abandoned.discard(pid)
        except ChildProcessError:
            _abandoned.discard(pid)


def _until(child: Child, deadline_s: float, watch: Callable[[Child], str] | None) -> str:
    """Wait for a child. Returns why it was given up, empty if it has ended."""
    end = child.began + deadline_s
    while not child.wait(min(_TICK, end - time.monotonic()) if watch else end - time.monotonic()):
        reason = watch(child) if watch else ""
        if reason:
            return reason
        if time.monotonic() >= end:
            return f"did not end within {deadline_s:.1f} s"
    return ""


def call(
    function: Callable[[], Any], deadline_s: float, watch: Callable[[Child], str] | None = None
) -> Ended:
    """
    Run a function in a child and return its value.

    :param function: its value must fit JSON; an exception becomes ``Ended.error``.
    :param deadline_s: seconds after which the child is killed, and left behind if that does not help.
    :param watch: asked every 20 ms; a non-empty answer is the reason to give up at once.
    """
    child = Child(lambda pipe: _answer(pipe, function))
    given_up = _until(child, deadline_s, watch)
    if given_up:
        stuck = child.abandon()
        return Ended(error=given_up, stuck=stuck, took=time.monotonic() - child.began)
    return _read_answer(child)


def _read_answer(child: Child) -> Ended:
    status, said = child.finish()
    took = time.monotonic() - child.began
    try:
        answer = json.loads(said)
    except ValueError:
        return Ended(error=f"the child ended with status {status} and no answer", took=took)
    return Ended(value=answer.get("value"), error=answer.get("error", ""), took=took)


def together(functions: Sequence[Callable[[], Any]], deadline_s: float) -> list[Ended]:
    """
    Run functions at once, each in a child of its own, with one deadline for all. Returns how they ended, in order.

    A child that is stuck is left behind; its process id is ``Ended.value``.
    """
    running = [Child(lambda pipe, one=one: _answer(pipe, one)) for one in functions]  # type: ignore[misc]
    end = time.monotonic() + deadline_s
    return [_end_of(child, end, deadline_s) for child in running]


def _end_of(child: Child, end: float, deadline_s: float) -> Ended:
    while not child.wait(end - time.monotonic()):
        if time.monotonic() >= end:
            stuck, took = child.abandon(), time.monotonic() - child.began
            words = f"did not end within {deadline_s:.1f} s"
            return Ended(value=child.pid if stuck else None, error=words, stuck=stuck, took=took)
    return _read_answer(child)


def _answer(pipe: int, function: Callable[[], Any]) -> None:
    said = json.dumps({"value": function()}).encode()
    while said:
        said = said[os.write(pipe, said) :]


def leave(function: Callable[[], Any]) -> int:
    """Run a function in a child of its own session that nobody waits for. Returns its process id."""
    child = Child(lambda pipe: _answer(pipe, function))
    _abandoned.add(child.pid)
    child._close()
    return child.pid


def command(argv: Sequence[str], deadline_s: float, watch: Callable[[Child], str] | None = None) -> Ended:
    """
    Run a command in a child, in the C locale, with /dev/null as its input.

    :return: its exit status as ``value``, what it printed as ``output``; ``error`` if it did not end in time.
    """
    child = Child(lambda pipe: _become(pipe, argv))
    given_up = _until(child, deadline_s, watch)
    if given_up:
        stuck = child.abandon()
        return Ended(error=given_up, stuck=stuck, took=time.monotonic() - child.began)
    status, said = child.finish()
    output = said.decode(errors="replace").strip()
    return Ended(value=status, output=output, took=time.monotonic() - child.began)


def _become(pipe: int, argv: Sequence[str]) -> None:
    os.dup2(pipe, 1)
    os.dup2(pipe, 2)
    path = os.environ.get("PATH", "")
    env = {**os.environ, "LC_ALL": "C", "PATH": f"/usr/sbin:/usr/bin:/sbin:/bin:{path}"}
    os.execvpe(argv[0], list(argv), env)
