"""
A reader's side of the prober: start it when there is none, read what it has to say, never wait for it.

Used by a minion's beacon (once a second, in the minion's own process) and by its engine, by one of them or by both. Only
reports that have to be told come out: each change, and what is not well again and again while it lasts.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmdk_failover import __version__, versions
from vmdk_failover.guest import channel
from vmdk_failover.guest import latest as latest_word
from vmdk_failover.guest.places import HERE, Places, boot_clock, read
from vmdk_failover.guest.verdict import STANDBY
from vmdk_failover.model import WARNINGS, Condition, Resource

SILENT_S = 3.0
_START_S, _START_GRACE_S, _COMING_S = 2.0, 5.0, 30.0
_EACH_S, _EACH_TIMES, _LATER_S = 0.9, 10, 60.0
_Mark = tuple[int, int]
_QUIET = frozenset({Condition.OK.value, STANDBY})
_RARE = frozenset(one.value for one in WARNINGS)
_LOG = "prober.log"
_LOG_LIMIT = 1 << 20


def latest(state_dir: Path, resource: str, places: Places = HERE) -> dict[str, Any] | None:
    """The prober's latest word on a resource if it is fresh, else ``None``. Does not wait."""
    return latest_word.latest(state_dir, resource, read(places.boot_id) or "")


@dataclass
class _Told:
    """What was last said of a resource, how often, and when; ``wrong``: something was, and that it is well was not said since."""

    condition: str = ""
    times: int = 0
    at: float = 0.0
    wrong: bool = False


class Throttle:
    """
    Which reports are to be told now: a change at once; while something is wrong each second ten times, then once a
    minute, and a warning once a minute from the start. That all is well is only told after it was not.
    """

    def __init__(self) -> None:
        self._told: dict[str, _Told] = {}

    def forget(self, name: str) -> None:
        """What was told last of a resource has not arrived: it is due at once, unless it is well by then."""
        told = self._told.get(name)
        if told is not None:
            told.at, told.times = float("-inf"), max(0, told.times - 1)

    def is_due(self, report: Mapping[str, Any], now: float, later_s: float = _LATER_S) -> bool:
        """
        Whether to tell a report now (boot clock, seconds).

        :param later_s: seconds between two tellings of what has been told often (``renotify``).
        """
        condition = str(report["condition"])
        told = self._told.setdefault(str(report["resource"]), _Told(Condition.OK.value))
        if condition != told.condition:
            well = condition == Condition.OK.value
            due = condition not in _QUIET or (well and told.wrong)
            # a disk that left and came back was "standby" meanwhile: its recovery is told all the same
            wrong = condition not in _QUIET or (told.wrong and not well)
            self._told[str(report["resource"])] = _Told(condition, 1, now, wrong)
            return due
        often = told.times < _EACH_TIMES and condition not in _RARE
        pause = min(_EACH_S, later_s) if often else later_s
        if condition in _QUIET or now - told.at < pause:
            return False
        told.times, told.at = told.times + 1, now
        return True


class Watch:
    """
    A reader of the node's prober.

    :param state_dir: directory of socket, configuration and latest word; best on a tmpfs.
    :param starts: start the prober if there is none; of several that do so at once, one comes to life.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        starts: bool = True,
        places: Places = HERE,
        clock: Callable[[], float] = boot_clock,
    ) -> None:
        self._dir, self._starts, self._places, self._clock = Path(state_dir), starts, places, clock
        self._epoll = select.epoll()
        self._socket: socket.socket | None = None
        self._slot = self._started_slot = 0
        self._heard = clock() + _START_GRACE_S - SILENT_S
        self._started_at = self._connected_at = float("-inf")
        self._processes: list[subprocess.Popen[bytes]] = []
        self._resources: dict[str, Resource] = {}
        self._mark: _Mark | None = None
        self._reports: dict[str, dict[str, Any]] = {}
        self._throttle = Throttle()
        self._silent_seq = 0
        self._has_work = False

    def fileno(self) -> int:
        """Readable when the prober has said something; stays the same when the connection does not."""
        return self._epoll.fileno()

    def poll(self, resources: Mapping[str, Resource] | None = None) -> list[dict[str, Any]]:
        """
        Read without waiting. Returns the reports that are to be told now.

        :param resources: what to watch; a change reaches a running prober. ``None``: whatever somebody else has put down.
        """
        if resources is not None and (
            dict(resources) != self._resources or self._mark != channel.mark(self._dir)
        ):
            self._configure(dict(resources))
        self._bury()
        self._keep_connected()
        self._read()
        now = self._clock()
        return [one for one in self._present(now) if self._throttle.is_due(one, now, self._later(one))]

    def _later(self, report: Mapping[str, Any]) -> float:
        resource = self._resources.get(str(report["resource"]))
        return resource.renotify if resource else float(report.get("renotify", _LATER_S))

    def untold(self, report: Mapping[str, Any]) -> None:
        """Of those that :meth:`poll` gave, this one has not arrived: it is given again."""
        self._throttle.forget(str(report["resource"]))

    def wait(self, seconds: float, resources: Mapping[str, Resource] | None = None) -> list[dict[str, Any]]:
        """Wait up to ``seconds`` for the prober to say something, then :meth:`poll`."""
        self._epoll.poll(seconds)
        return self.poll(resources)

    def close(self) -> None:
        """Stop reading; the prober ends when nobody reads for some seconds."""
        self._disconnect()
        self._epoll.close()

    # -- the prober's life

    def _configure(self, resources: dict[str, Resource]) -> None:
        self._dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._resources = resources
        self._reports = {name: one for name, one in self._reports.items() if name in resources}
        if not channel.is_put_down(self._dir, resources, self._places):
            channel.write_config(self._dir, resources, self._places)
            self._say(channel.RELOAD)
        self._mark = channel.mark(self._dir)

    def _say(self, word: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # a broken connection is noticed by the next read
                self._socket.send(word.encode())

    def _keep_connected(self) -> None:
        if self._socket is not None:
            return
        for slot in reversed(channel.SLOTS):
            if slot >= self._slot and self._connect(slot):
                return
        if self._starts and self._clock() - self._started_at >= self._pause() and self._names():
            self._start()

    def _pause(self) -> float:
        """Seconds between two starts: one that comes up slowly is given time, or a slow machine is buried under them."""
        return _COMING_S if self._slot == self._started_slot and self._processes else _START_S

    def _names(self) -> list[str]:
        """Resources that are to be watched, whoever has put them down."""
        return list(self._resources) or channel.names(self._dir)

    def _connect(self, slot: int) -> bool:
        self._socket = channel.connect(self._dir, slot) if self._dir.is_dir() else None
        if self._socket is None:
            return False
        self._slot, self._connected_at = slot, self._clock()
        self._epoll.register(self._socket, select.EPOLLIN)
        if self._starts:
            self._say(channel.RELOAD)
        return True

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._epoll.unregister(self._socket)
            self._socket.close()
            self._socket = None

    def _start(self) -> None:
        """In a session of its own, with no descriptor of ours, and never waited for."""
        self._started_at, self._started_slot = self._clock(), self._slot
        if not self._has_work:  # there was nothing to watch, and so nothing to hear
            self._has_work, self._heard = True, max(self._heard, self._clock() + _START_GRACE_S - SILENT_S)
        log = self._dir / _LOG
        with contextlib.suppress(FileNotFoundError):
            if log.stat().st_size > _LOG_LIMIT:
                log.unlink()
        program = Path(__file__).with_name("prober.py")
        argv = [sys.executable, "-I", "-B", str(program), str(self._dir), str(self._slot)]
        fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=fd,
                stderr=fd,
                start_new_session=True,
                cwd="/",
                close_fds=True,
            )
        finally:
            os.close(fd)
        self._processes.append(process)

    def _bury(self) -> None:
        self._processes = [process for process in self._processes if process.poll() is None]

    # -- its words

    def _read(self) -> None:
        if self._socket is None:
            return
        messages = channel.receive(self._socket)
        if messages is None:
            return self._disconnect()
        for message in messages:
            self._heard = self._clock()
            if "resource" in message:
                self._reports[message["resource"]] = message
            elif self._starts and versions.number(message.get("version")) < versions.number(__version__):
                self._say(channel.END)  # it outlives the minion's restart, and so an upgrade
        heard = max(self._heard, self._connected_at)  # one that has just been started may take its time
        if self._clock() - heard > SILENT_S and not (self._starts and self._slot):
            self._disconnect()  # it is stuck: one replacement, no more
            self._slot = int(self._starts)

    def _present(self, now: float) -> list[dict[str, Any]]:
        if now - self._heard <= SILENT_S:
            return list(self._reports.values())
        names = self._names()
        self._has_work = self._has_work and bool(names)
        return [self._silence(name, now) for name in names]

    def _silence(self, name: str, now: float) -> dict[str, Any]:
        self._silent_seq += 1
        return {
            "resource": name,
            "condition": Condition.WATCHER_SILENT.value,
            "evidence": f"the prober has said nothing for {now - self._heard:.0f} s; see {self._dir / _LOG}",
            "since": round(self._heard, 3),
            "seq": self._silent_seq,
            "boot_id": read(self._places.boot_id) or "",
        }


__all__ = ["Throttle", "Watch", "latest"]
