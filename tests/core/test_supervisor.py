"""
The master's engine process, real: forks, a socket, children that hang and are killed.

The supervisor runs in a process of its own; what its moves do is told in files of a directory.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT
from vmdk_failover.daemon.supervisor import BURST, LOOKS, _ready, hint

PROGRAM = """
import os, sys, time
from pathlib import Path
from vmdk_failover.daemon.supervisor import Supervisor

here, tick, patience = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])


def note(kind, text):
    with open(here / kind, "a") as file:
        file.write(f"{text}\\n")


def recover(name, alive):
    note(f"began-{name}", os.getpid())
    while (here / f"hang-{name}").exists():
        time.sleep(0.02)
        if (here / f"alive-{name}").exists():
            alive(0.0)
    if (here / f"fail-{name}").exists():
        raise RuntimeError("no luck")
    note(f"ended-{name}", os.getpid())


def watch():
    note("watching", os.getpid())
    while not (here / "watch-ends").exists():
        time.sleep(0.02)
    os.unlink(here / "watch-ends")


def listen():
    note("listening", os.getpid())
    while True:
        time.sleep(0.02)


def names():
    note("read", "names")
    if (here / "slow").exists():
        time.sleep(0.1)
    if (here / "names-break").exists():
        raise RuntimeError("the configuration is broken")
    return (here / "names").read_text().split()


def warm():
    note("warm", os.getpid())
    if (here / "cold").exists():
        raise RuntimeError("no such library")


note("pid", os.getpid())
log = lambda words: note("log", words)
Supervisor(here / "engine.sock", recover, [watch, listen], names, log, tick, patience, warm).serve()
"""


def until(condition: Callable[[], object], what: str, within: float = 10.0) -> None:
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, f"not within {within} s: {what}"
        time.sleep(0.01)


@dataclass
class Served:
    """A supervisor at work."""

    here: Path
    process: subprocess.Popen[bytes]

    def lines(self, kind: str) -> list[str]:
        path = self.here / kind
        return path.read_text().splitlines() if path.exists() else []

    def hint(self, name: str) -> dict[str, bool] | None:
        return hint(self.here / "engine.sock", name)

    def hang(self, name: str, on: bool = True) -> None:
        """Moves of a resource hang from now on, or no longer."""
        (self.here / f"hang-{name}").touch() if on else (self.here / f"hang-{name}").unlink()

    def wait(self, kind: str, count: int) -> list[str]:
        until(
            lambda: len(self.lines(kind)) >= count, f"{count} lines of {kind}, there are {self.lines(kind)}"
        )
        return self.lines(kind)


Serve = Callable[..., Served]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start a supervisor; at the end it and its children are gone."""
    started: list[Served] = []

    def start(
        names: str = "pgdata mail", tick: float = 60.0, patience: float = 60.0, first: int = 1
    ) -> Served:
        (tmp_path / "names").write_text(names)
        command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(tick), str(patience)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "_utils")}
        served = Served(tmp_path, subprocess.Popen(command, env=environment))
        started.append(served)
        until(lambda: served.hint("nobody") is not None, "the supervisor answers")
        for name in names.split():
            served.wait(f"ended-{name}", first)
        return served

    yield start
    for served in started:
        served.process.kill()
        served.process.wait(10)
        for kind in served.here.glob("began-*"):
            for pid in map(int, kind.read_text().split()):
                end(pid)


def end(pid: int) -> None:
    """End a move that outlives its supervisor, as it should."""
    if b"engine.sock" in command(pid) or b"vmdk_failover.daemon.supervisor" in command(pid):
        os.kill(pid, signal.SIGKILL)


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def is_alive(pid: int) -> bool:
    try:
        return b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False


def test_every_resource_is_looked_at_at_the_start_and_at_each_tick(serve: Serve) -> None:
    served = serve(tick=0.3)
    served.wait("ended-pgdata", 3)
    served.wait("ended-mail", 3)


def test_a_hint_starts_a_move_in_a_process_of_its_own(serve: Serve) -> None:
    served = serve()
    until(lambda: (served.hint("mail") or {})["under_way"] is False, "the first looks are over")
    assert (served.hint("pgdata") or {})["accepted"]
    pids = served.wait("ended-pgdata", 2)
    assert len({*pids, str(served.process.pid)}) == 3


def test_names_that_nobody_has_do_not_keep_the_engine_at_reading(serve: Serve) -> None:
    """With a thousand journals that takes a second, and a hint for a resource would wait for it each time."""
    served = serve()
    served.wait("warm", 1)
    (served.here / "slow").touch()
    served.hint("x")
    before, end = len(served.lines("read")), time.monotonic() + 1.5
    while time.monotonic() < end:
        assert served.hint("x") == {"accepted": False, "under_way": False}
    assert len(served.lines("read")) - before <= 3


def test_a_hint_for_something_unknown_is_not_accepted(serve: Serve) -> None:
    served = serve()
    assert served.hint("nobody") == {"accepted": False, "under_way": False}
    assert not served.lines("began-nobody")


def test_hints_are_answered_at_once_while_a_move_hangs(serve: Serve) -> None:
    served = serve()
    served.hang("pgdata")
    assert served.hint("pgdata")
    served.wait("began-pgdata", 2)
    took = []
    for _ in range(20):
        began = time.monotonic()
        assert served.hint("pgdata") == {"accepted": True, "under_way": True}
        took.append(time.monotonic() - began)
    assert sorted(took)[len(took) // 2] < 0.05
    served.hint("mail")
    served.wait("ended-mail", 2)


def test_one_move_at_a_time_and_one_more_after_hints_that_came_meanwhile(serve: Serve) -> None:
    served = serve()
    served.hang("pgdata")
    served.hint("pgdata")
    served.wait("began-pgdata", 2)
    for _ in range(5):
        served.hint("pgdata")
    served.hint("mail")  # answered after the five: had they begun a move, it would have begun
    served.wait("ended-mail", 2)
    assert len(served.lines("began-pgdata")) == 2
    served.hang("pgdata", False)
    assert len(served.wait("ended-pgdata", 3)) == 3
    served.hint("mail")
    served.wait("ended-mail", 3)
    assert len(served.lines("began-pgdata")) == 3


def test_a_move_that_fails_is_told_and_the_next_one_begins(serve: Serve) -> None:
    served = serve()
    (served.here / "fail-pgdata").touch()
    served.hint("pgdata")
    assert "RuntimeError: no luck" in served.wait("log", 1)[0]
    (served.here / "fail-pgdata").unlink()
    served.hint("pgdata")
    served.wait("ended-pgdata", 2)


def test_a_silent_move_is_ended_and_the_next_look_goes_on(serve: Serve) -> None:
    served = serve(patience=0.6)
    served.hang("pgdata")
    served.hint("pgdata")
    stuck = int(served.wait("began-pgdata", 2)[-1])
    until(lambda: not is_alive(stuck), "the stuck move is ended")
    assert "the move of pgdata has made no progress" in served.lines("log")[0]
    served.hang("pgdata", False)
    served.hint("pgdata")
    served.wait("ended-pgdata", 2)


def test_a_move_that_goes_on_is_left_alone(serve: Serve) -> None:
    served = serve(patience=0.6)
    (served.here / "alive-pgdata").touch()
    served.hang("pgdata")
    served.hint("pgdata")
    pid = int(served.wait("began-pgdata", 2)[-1])
    end_of_patience = time.monotonic() + 1.5
    until(lambda: time.monotonic() > end_of_patience, "more than twice its patience is over")
    assert is_alive(pid) and served.lines("log") == []


def test_the_watch_is_begun_again_when_it_ends_or_is_killed(serve: Serve) -> None:
    served = serve()
    (first,) = served.wait("watching", 1)
    os.kill(int(first), signal.SIGKILL)
    second = served.wait("watching", 2)[1]
    (served.here / "watch-ends").touch()
    third = served.wait("watching", 3)[2]
    assert len({first, second, third}) == 3


def test_each_watch_is_begun_again_on_its_own(serve: Serve) -> None:
    served = serve()
    (watcher,), (listener,) = served.wait("watching", 1), served.wait("listening", 1)
    os.kill(int(listener), signal.SIGKILL)
    assert served.wait("listening", 2)[1] != listener
    assert is_alive(int(watcher)) and len(served.wait("watching", 1)) == 1


def test_the_watch_ends_with_the_supervisor_and_a_move_does_not(serve: Serve) -> None:
    served = serve()
    served.hang("pgdata")
    served.hint("pgdata")
    move, watcher = int(served.wait("began-pgdata", 2)[-1]), int(served.wait("watching", 1)[0])
    served.process.kill()
    served.process.wait(10)
    until(lambda: not is_alive(watcher), "the watch has ended")
    assert is_alive(move)
    (served.here / "alive-pgdata").touch()  # nobody hears it any more; that must not end it
    served.hang("pgdata", False)
    served.wait("ended-pgdata", 2)


@pytest.mark.parametrize(
    "said", [b"", b"{", b"[]\n", b'{"recover": 5}\n', b'{"recover": ["x"]}\n', b"\xff\n"]
)
def test_a_caller_who_makes_no_sense_is_dropped(serve: Serve, said: bytes) -> None:
    served = serve()
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(served.here / "engine.sock"))
        line.sendall(said)
    assert (served.hint("pgdata") or {})["accepted"]


def test_a_hint_counts_even_if_nobody_waits_for_the_answer(serve: Serve) -> None:
    served = serve()
    for count in (2, 3, 4):
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(served.here / "engine.sock"))
            line.sendall(b'{"recover": "pgdata"}\n')
        served.wait("ended-pgdata", count)


def test_a_broken_configuration_ends_nothing(serve: Serve) -> None:
    served = serve(tick=0.2)
    (served.here / "names-break").touch()
    served.hint("pgdata")
    served.wait("log", 1)
    (served.here / "names-break").unlink()
    until(lambda: served.hint("pgdata"), "the supervisor answers again")
    assert served.process.poll() is None


def test_resources_are_looked_at_while_their_names_cannot_be_read(serve: Serve) -> None:
    """It is no reason to forget those that were known a moment ago: nobody would look at them, and nobody would say so."""
    served = serve(tick=0.2)
    (served.here / "names-break").touch()
    before = len(served.wait("log", 1))
    served.wait("log", before + 1)
    served.wait("ended-pgdata", len(served.lines("ended-pgdata")) + 2)
    assert (served.hint("pgdata") or {})["accepted"]


def test_a_look_that_cannot_begin_begins_later(serve: Serve) -> None:
    served = serve(names="pgdata", tick=0.3)
    pid = served.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    held, looks = {*range(100)}, len(served.lines("ended-pgdata"))
    while len(served.lines("ended-pgdata")) < looks + 3:  # a look has a handle of its own: not between looks
        held &= {int(one.name) for one in Path(f"/proc/{pid}/fd").iterdir()}
    free = sorted({*range(100)} - held)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free[1], limits[1]))  # one is left, for its log
    until(
        lambda: any("cannot begin yet" in one for one in served.lines("log")) or served.process.poll(), "said"
    )
    assert served.process.poll() is None
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    served.wait("ended-pgdata", len(served.lines("ended-pgdata")) + 2)


def test_no_handles_leak(serve: Serve) -> None:
    served = serve()
    handles = Path(f"/proc/{served.process.pid}/fd")
    before = len(list(handles.iterdir()))
    for count in range(2, 8):
        served.hint("pgdata")
        served.wait("ended-pgdata", count)
    until(lambda: len(list(handles.iterdir())) <= before, "all pipes are closed")


def test_nobody_there_is_no_answer(tmp_path: Path) -> None:
    assert hint(tmp_path / "engine.sock", "pgdata") is None


@pytest.fixture
def crowded(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket of an engine that is busy elsewhere; nobody more can wait on its line."""
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as crowd:
        listener.bind(str(tmp_path / "engine.sock"))
        listener.listen(1)
        for _ in range(2):
            crowd.enter_context(socket.socket(socket.AF_UNIX)).connect(str(tmp_path / "engine.sock"))
        yield listener


def test_a_line_on_which_many_wait_is_waited_for(crowded: socket.socket, tmp_path: Path) -> None:
    said: list[object] = []
    asks = threading.Thread(target=lambda: said.append(hint(tmp_path / "engine.sock", "", 10.0)))
    asks.start()
    asks.join(0.1)
    assert asks.is_alive() and said == []
    for _ in range(2):
        crowded.accept()[0].close()
    line, _ = crowded.accept()
    with line:
        assert json.loads(line.recv(4096)) == {"recover": ""}
        line.sendall(b'{"accepted": false}')
    asks.join(10)
    assert said == [{"accepted": False}]


@pytest.mark.usefixtures("crowded")
def test_it_is_waited_for_no_longer_than_said(tmp_path: Path) -> None:
    began = time.monotonic()
    assert hint(tmp_path / "engine.sock", "", 0.3) is None
    assert 0.2 <= time.monotonic() - began < 5


def test_an_engine_tells_that_it_is_there(serve: Serve) -> None:
    served = serve(names="pgdata")
    for _ in range(2):
        assert served.hint("") == {"accepted": False, "under_way": False}
    served.process.kill()
    served.process.wait(10)
    assert (served.here / "engine.sock").exists() and served.hint("") is None


def test_the_socket_is_for_its_owner_alone(serve: Serve) -> None:
    assert (serve().here / "engine.sock").stat().st_mode & 0o777 == 0o600


def test_a_flood_of_hints_is_two_looks_a_second(serve: Serve) -> None:
    served = serve(names="pgdata")
    began, sent = time.monotonic(), 0
    while time.monotonic() - began < 3.0:
        assert served.hint("pgdata") is not None
        sent += 1
    looks = len(served.lines("began-pgdata")) - 1
    assert sent > 300 and BURST <= looks <= BURST + 8, (sent, looks)
    last = len(served.lines("began-pgdata"))
    served.wait("began-pgdata", last + 1)  # the last hint is looked at too


def test_a_flood_for_one_resource_does_not_delay_another(serve: Serve) -> None:
    served = serve()
    for _ in range(500):
        served.hint("pgdata")
    began = time.monotonic()
    served.hint("mail")
    served.wait("ended-mail", 2)
    assert time.monotonic() - began < 1.0


def test_what_every_move_needs_is_made_ready_before_it_is_forked(serve: Serve) -> None:
    served = serve("pgdata")
    served.wait("ended-pgdata", 1)
    assert set(served.lines("warm")) == {str(served.process.pid)}
    (served.here / "cold").touch()
    served.hint("pgdata")
    served.wait("ended-pgdata", 2)
    assert "no such library" in served.wait("log", 1)[0]


def test_more_handles_than_select_can_take() -> None:
    """A storm of moves has one pipe each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    pipes = [os.pipe() for _ in range(600)]
    try:
        os.write(pipes[-1][1], b"1")
        assert pipes[-1][0] > 1024
        assert _ready([one for one, _ in pipes], 0.0) == [pipes[-1][0]]
    finally:
        for one in pipes:
            os.close(one[0])
            os.close(one[1])
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_so_many_looks_are_under_way_at_once_and_moves_hold_up_nobody(serve: Serve) -> None:
    """A thousand hints at once are no thousand processes; who has begun to act gives its place to the next."""
    served, more = serve("pgdata"), 4
    names = [f"r{number}" for number in range(LOOKS + more)]
    (served.here / "names").write_text(" ".join(names))
    for name in names:
        served.hang(name)
    until(lambda: (served.hint(names[0]) or {})["accepted"], "the names are known")
    for name in names[1:]:
        served.hint(name)
    began = lambda: [name for name in names if served.lines(f"began-{name}")]  # noqa: E731
    until(lambda: len(began()) >= LOOKS, "as many as may have begun")
    served.hint("nobody")  # it is answered after all others were taken
    served.hint("nobody")
    assert len(began()) == LOOKS
    waiting = sorted(set(names) - set(began()))
    for name in names[:more]:
        (served.here / f"alive-{name}").touch()
    until(lambda: set(waiting) <= set(began()), "the others begin while the moves go on")
    for name in names:
        served.hang(name, on=False)
    for name in names:
        served.wait(f"ended-{name}", 1)
