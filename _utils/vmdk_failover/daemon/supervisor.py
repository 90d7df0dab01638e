"""
The master's engine process: takes hints, runs each move in a process of its own, keeps the watch alive.

One thread, one ``poll``: nothing in here waits for vCenter, a node or a move. A hint is answered in microseconds; the move
runs in a forked child (the imports are already there: a fork takes milliseconds, a fresh ``salt-run`` seconds), so a stuck
call can starve nobody else. Forking is safe because this process has one thread and no vCenter session. A child that has
told nothing for ``patience`` seconds is killed; the next look goes on from the journal and the world (docs/adr/0001).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vmdk_failover.channels.hinting import hint as hint  # for those who know the supervisor alone
from vmdk_failover.daemon.rounds import Round

#: A watch that ends is started again after this long (seconds).
WATCH_PAUSE = 1.0
PR_SET_PDEATHSIG = 1
#: A child that is killed within this time (seconds) is not begun again at once.
SHORT_LIFE = 1.0
#: So many seconds apart hints start looks at one resource, after BURST of them at once; more wait for their turn together.
GAP, BURST = 0.5, 3
#: So many looks may be under way at once, moves that have begun to act not counted; more wait for their turn.
LOOKS = 64
#: Seconds for which nothing has to happen at most.
DOZE = 0.5
#: Names of resources are believed for so many seconds, unknown ones for a twentieth of it; both for so many times longer than it
#: took to read them, at least.
NAMES_FOR, NAMES_REST = 1.0, 10.0

Log = Callable[[str], None]


@dataclass
class _Child:
    """A move under way: its resource, when it began, the pipe on which it shows that it goes on, whether it has done so."""

    name: str
    pipe: int
    heard: float
    within: float = 0.0
    again: bool = False
    acts: bool = False
    began: float = field(default_factory=time.monotonic)


@dataclass
class Supervisor:
    """
    :param path: unix socket for hints; mode 0600.
    :param recover: runs one resource to its end, in a child; gets a function to call whenever it has got on, with the
        seconds for which nothing more may come.
    :param watches: each watches something (vCenter, heartbeats) and sends hints, in a child of its own, for ever.
    :param names: the resources, read afresh at every tick.
    :param tick: seconds between two looks at every resource without any hint.
    :param patience: seconds after which a silent move is killed.
    :param warm: called before a child is forked: whatever it does need not be done again there.
    """

    path: Path
    recover: Callable[[str, Callable[[float], None]], None]
    watches: Sequence[Callable[[], None]]
    names: Callable[[], Iterable[str]]
    log: Log
    tick: float = 30.0
    patience: float = 600.0
    warm: Callable[[], None] = lambda: None
    children: dict[int, _Child] = field(default_factory=dict)
    watchers: dict[int, int] = field(default_factory=dict)
    watch_from: dict[int, float] = field(default_factory=dict)
    paid_until: dict[str, float] = field(default_factory=dict)
    later: set[str] = field(default_factory=set)
    queue: dict[str, None] = field(default_factory=dict)
    round: Round = field(default_factory=Round)
    names_then: frozenset[str] = frozenset()
    names_last: frozenset[str] = frozenset()
    names_at: float = float("-inf")
    names_took: float = 0.0

    def serve(self) -> None:
        """Serve until the process is ended."""
        listener = self._listen()
        wake, told = os.pipe()
        os.set_blocking(told, False)
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        self._fixed = (listener.fileno(), wake, told)
        next_tick = 0.0
        while True:
            now = time.monotonic()
            if now >= next_tick:
                next_tick = now + self.tick
                self.round.begin(self._known())
            self._look_at_late()
            self._look_at_next(now)
            self._keep_watch(now)
            ready = _ready([listener.fileno(), wake, *(c.pipe for c in self.children.values())], self._doze())
            if listener.fileno() in ready:
                self._take(listener)
            if wake in ready:
                _drain(wake)
            self._hear(ready)
            self._reap()

    def _listen(self) -> socket.socket:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            listener.bind(str(self.path))
        finally:
            os.umask(before)
        listener.listen(64)
        return listener

    def _take(self, listener: socket.socket) -> None:
        """One hint. A caller that says nothing sensible is dropped."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            line, _ = listener.accept()
            with line:
                line.settimeout(0.2)
                name = json.loads(line.recv(4096))["recover"]
                known = self._is_known(name)
                under_way = any(c.name == name for c in self.children.values())
                with contextlib.suppress(OSError):  # who asked may be gone, the hint is as good
                    line.sendall(json.dumps({"accepted": known, "under_way": under_way}).encode() + b"\n")
            if known:
                self.hinted(name)

    def _look_at_next(self, now: float) -> None:
        """Those that had to wait for their turn, as far as it has come."""
        for name in list(self.queue)[: max(0, LOOKS - self._looks())]:
            self.look_at(name)
        if turn := self.round.take(now, self._looks()):
            self.look_at(turn)

    def _looks(self) -> int:
        """How many children have not begun to act."""
        return sum(not child.acts for child in self.children.values())

    def _doze(self) -> float:
        free = self._looks() < self.round.most  # else the end of a look wakes it
        return self.round.wait(time.monotonic(), DOZE) if free else DOZE

    def _is_known(self, name: object) -> bool:
        """
        Whether there is such a resource. The files are not read for each of ten thousand hints, and names that nobody has may not
        keep the engine at reading the journals of a thousand resources.
        """
        began = time.monotonic()
        age = began - self.names_at
        lasts = NAMES_FOR if name in self.names_then else NAMES_FOR / 20
        if age > max(lasts, self.names_took * NAMES_REST):
            self.names_then, self.names_at = frozenset(self._known()), time.monotonic()
            self.names_took = self.names_at - began
        return name in self.names_then

    def _known(self) -> Iterable[str]:
        try:
            self.names_last = frozenset(self.names())
        except Exception as err:  # a broken configuration must not end the engine, nor the looks
            self.log(f"the configuration cannot be read: {err}")
        return self.names_last

    def hinted(self, name: str) -> None:
        """A hint came. Whoever sends thousands of them gets two looks a second: each sees all that there is to see."""
        now = time.monotonic()
        due = max(self.paid_until.get(name, 0.0), now)
        if due - now > GAP * (BURST - 1):
            self.later.add(name)
            return
        self.paid_until[name] = due + GAP
        self.later.discard(name)
        self.look_at(name)

    def _look_at_late(self) -> None:
        for name in sorted(self.later):
            self.hinted(name)

    def look_at(self, name: str) -> None:
        """Start a look at ``name``, or remember to look again when the one under way has ended, or when its turn comes."""
        self.round.drop(name)
        for child in self.children.values():
            if child.name == name:
                child.again = True
                return
        if self._looks() >= LOOKS:
            self.queue[name] = None
            return
        self.queue.pop(name, None)
        try:
            self._begin(name)
        except OSError as err:  # in a storm, no process or descriptor may be left
            self.log(f"a look at {name} cannot begin yet: {err.strerror}")
            self.later.add(name)

    def _begin(self, name: str) -> None:
        heard, tells = os.pipe()
        try:
            pid = self._fork()
        except OSError:
            os.close(heard)
            os.close(tells)
            raise
        if pid == 0:
            self._be_child(heard, lambda: self.recover(name, lambda within: _tick(tells, within)))
        os.close(tells)
        os.set_blocking(heard, False)
        self.children[pid] = _Child(name, heard, time.monotonic())

    def _keep_watch(self, now: float) -> None:
        """Start each watch that does not run, by its number; ``watchers`` has that by process."""
        for number, watch in enumerate(self.watches):
            if number in self.watchers.values() or now < self.watch_from.get(number, 0.0):
                continue
            try:
                pid = self._fork()
            except OSError as err:
                self.log(f"a watch cannot begin yet: {err.strerror}")
                self.watch_from[number] = now + WATCH_PAUSE
                continue
            if pid == 0:
                self._be_child(-1, watch)
            self.watchers[pid] = number

    def _fork(self) -> int:
        try:
            self.warm()
        except Exception as err:  # the child meets it again, and knows what it means
            self.log(f"a look is not prepared, it only takes longer: {type(err).__name__}: {err}")
        return os.fork()

    def _be_child(self, unwanted: int, work: Callable[[], None]) -> None:
        """The life of a child: end with the engine's watch or, for a move, go on to the move's end; never return."""
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            if unwanted < 0:
                ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            for handle in (*self._fixed, *(c.pipe for c in self.children.values()), unwanted):
                if handle >= 0:
                    os.close(handle)
            work()
        except BaseException as err:
            self.log(f"a child of the engine ended: {type(err).__name__}: {err}")
        finally:
            os._exit(0)

    def _hear(self, ready: Sequence[int]) -> None:
        now = time.monotonic()
        for pid, child in self.children.items():
            if child.pipe in ready:
                child.heard, child.within, child.acts = now, _last_number(_drain(child.pipe)), True
            silent = now - child.heard
            if silent > self.patience + child.within:
                self.log(
                    f"the move of {child.name} has made no progress for {silent:.0f} s; its process {pid} is ended"
                )
                child.heard = now
                os.kill(pid, signal.SIGKILL)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self.watchers:
                self.watch_from[self.watchers.pop(pid)] = time.monotonic() + WATCH_PAUSE
            child = self.children.pop(pid, None)
            if child is not None:
                os.close(child.pipe)
                # a move that was killed is gone on with at once, one that cannot even begin with the next tick
                killed = os.WIFSIGNALED(status) and time.monotonic() - child.began > SHORT_LIFE
                if child.again or killed:
                    self.look_at(child.name)


def _ready(handles: Sequence[int], seconds: float) -> list[int]:
    """Which of them can be read; ``select`` ends at number 1024, which many moves at once would pass."""
    poll = select.poll()
    for handle in handles:
        poll.register(handle, select.POLLIN)
    return [handle for handle, _ in poll.poll(seconds * 1000)]


def _tick(handle: int, within: float) -> None:
    with contextlib.suppress(OSError):  # the engine may have ended; the move goes on
        os.write(handle, f"{within:.0f}\n".encode())


def _last_number(said: bytes) -> float:
    lines = said.split()
    return float(lines[-1]) if lines else 0.0


def _drain(handle: int) -> bytes:
    said = b""
    with contextlib.suppress(BlockingIOError):
        while more := os.read(handle, 4096):
            said += more
    return said
