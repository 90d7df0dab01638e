"""
Looks into mounted file systems for the prober, which itself must never make one: done by worker processes.

A worker that is stuck stays with its one job, and another takes the next. Workers are kept between jobs: a fork costs more
than most of them.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vmdk_failover.guest import children, touch

USED, WRITE = "used", "write"
#: Seconds that a job may keep others waiting before another worker is started.
PATIENCE_S = 0.05
#: Seconds without a try after a worker could not be started.
PAUSE_S = 1.0
_SET_PDEATHSIG = 1
_DO: Mapping[str, Callable[[str, int], float | None]] = {USED: touch.used, WRITE: touch.write}


@dataclass(frozen=True)
class Errand:
    """One job: ``what`` (``used`` or ``write``) on the mount ``mount_id`` at ``mountpoint``."""

    what: str
    mountpoint: str
    mount_id: int


@dataclass(frozen=True)
class Answer:
    """What came of it: a value, or the number of an error (0: none). ``lost``: the worker was killed."""

    value: float | None = None
    error: int = 0
    lost: bool = False


Then = Callable[[Answer], None]
Begun = Callable[[float], None]


@dataclass(frozen=True)
class _Job:
    errand: Errand
    then: list[Then]
    begun: list[Begun]


@dataclass
class _Worker:
    pid: int
    socket: socket.socket
    job: _Job | None = None
    since: float = 0.0


@dataclass
class Errands:
    """
    The workers and what waits for them.

    :param listen, forget: the prober's loop: call a function when a descriptor is readable, and no longer.
    :param log: told when no worker can be started.
    """

    listen: Callable[[int, Callable[[], None]], None]
    forget: Callable[[int], None]
    log: Callable[[str], None] = lambda _: None
    _not_before: float = 0.0
    _workers: list[_Worker] = field(default_factory=list)
    _waiting: deque[_Job] = field(default_factory=deque)
    _ended: set[int] = field(default_factory=set)

    def send(self, now: float, errand: Errand, then: Then, begun: Begun = lambda _: None) -> None:
        """
        Have a job done. One under way is not begun twice.

        :param then: called with the answer, never if there is none.
        :param begun: called with the time at which a worker has taken it.
        """
        for worker in self._workers:
            if worker.job and worker.job.errand == errand:
                begun(worker.since)
                return worker.job.then.append(then)
        for job in self._waiting:
            if job.errand == errand:
                job.begun.append(begun)
                return job.then.append(then)
        self._waiting.append(_Job(errand, [then], [begun]))
        self.turn(now)

    def turn(self, now: float) -> None:
        """Give waiting jobs to idle workers; start one if all have been busy for a moment."""
        self._bury()
        while self._waiting:
            worker = next((one for one in self._workers if one.job is None), None)
            if worker is None and (
                now < self._not_before or any(now - one.since < PATIENCE_S for one in self._workers)
            ):
                return
            try:
                self._give(worker or self._start(), now)
            except OSError as err:
                self._not_before = now + PAUSE_S
                return self.log(f"no worker can be started, file systems are not looked into: {err}")

    @property
    def turn_at(self) -> float:
        """When another worker may be started for what waits; infinite if nothing does."""
        patience = min((one.since for one in self._workers), default=0.0) + PATIENCE_S
        return max(patience, self._not_before) if self._waiting else math.inf

    def _give(self, worker: _Worker, now: float) -> None:
        worker.job, worker.since = self._waiting.popleft(), now
        errand = worker.job.errand
        for begun in worker.job.begun:
            begun(now)
        try:
            worker.socket.send(json.dumps([errand.what, errand.mountpoint, errand.mount_id]).encode())
        except OSError:
            self._drop(worker)

    def _start(self) -> _Worker:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if pid == 0:
            _work(theirs)
        theirs.close()
        worker = _Worker(pid, ours)
        self._workers.append(worker)
        self.listen(ours.fileno(), lambda: self._hear(worker))
        return worker

    def _hear(self, worker: _Worker) -> None:
        try:
            said = worker.socket.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        if not said:
            return self._drop(worker)
        job, worker.job = worker.job, None
        if sum(one.job is None for one in self._workers) > 1:
            self._drop(worker)
        for then in job.then if job else ():
            then(Answer(**json.loads(said)))
        self.turn(worker.since)

    def _drop(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        self._ended.add(worker.pid)
        self.forget(worker.socket.fileno())
        worker.socket.close()
        for then in worker.job.then if worker.job else ():
            then(Answer(lost=True))

    def _bury(self) -> None:
        for pid in tuple(self._ended):
            if os.waitpid(pid, os.WNOHANG)[0]:
                self._ended.discard(pid)

    @property
    def pids(self) -> tuple[int, ...]:
        """The workers."""
        return tuple(one.pid for one in self._workers)

    def close(self) -> None:
        """Let all workers go; one that is stuck ends when the kernel lets it."""
        self._waiting.clear()
        for worker in tuple(self._workers):
            worker.job = None
            self._drop(worker)


def _work(sock: socket.socket) -> None:
    """The life of a worker: ends with its parent, or when that closes the socket. Never returns."""
    try:
        ctypes.CDLL(None).prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        children.forget_descriptors(sock.fileno())
        sock.setblocking(True)
        while request := sock.recv(8192):
            what, mountpoint, mount_id = json.loads(request)
            sock.send(json.dumps(_do(what, mountpoint, mount_id)).encode())
    finally:
        os._exit(0)


def _do(what: str, mountpoint: str, mount_id: int) -> dict[str, Any]:
    try:
        return {"value": _DO[what](mountpoint, mount_id)}
    except OSError as err:
        return {"error": err.errno or 5}
