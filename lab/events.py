"""Everything that happens on the master's event bus, with the moment it arrived here."""

from __future__ import annotations

import fnmatch
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

_WAIT = 0.5


@dataclass(frozen=True)
class Event:
    """One event. monotonic: seconds, when it arrived."""

    monotonic: float
    tag: str
    data: dict[str, Any]


class Tap:
    """Records the events of a running master. opts: the master's options. Use it as a context manager."""

    def __init__(self, opts: dict[str, Any]) -> None:
        self._opts = opts
        self._events: list[Event] = []
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._connected = threading.Event()
        self._thread = threading.Thread(target=self._record, name="event tap", daemon=True)

    def __enter__(self) -> Tap:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(5)

    def _record(self) -> None:
        import salt.utils.event

        with salt.utils.event.get_event("master", opts=self._opts, listen=True) as bus:
            while not self._stop.is_set():
                if not self._connected.is_set() and bus.connect_pub(timeout=_WAIT):
                    self._connected.set()
                got = bus.get_event(wait=_WAIT, full=True, auto_reconnect=True)
                if got:
                    self._add(Event(time.monotonic(), str(got["tag"]), dict(got["data"])))

    def _add(self, event: Event) -> None:
        with self._news:
            self._events.append(event)
            self._news.notify_all()

    def wait_connected(self, seconds: float) -> bool:
        """Wait until the bus is there. Returns whether it was in time."""
        return self._connected.wait(seconds)

    def seen(self, pattern: str = "*", since: float = 0.0) -> list[Event]:
        """The events whose tag fits a shell pattern, from moment `since` (monotonic) on."""
        with self._news:
            return [
                one for one in self._events if one.monotonic >= since and fnmatch.fnmatch(one.tag, pattern)
            ]

    def wait(
        self, pattern: str, seconds: float, since: float = 0.0, fits: Callable[[Event], bool] = lambda _: True
    ) -> Event | None:
        """The first event that fits, waiting for it for at most `seconds`; None when there was none."""
        deadline, looked = time.monotonic() + seconds, 0
        with self._news:
            while True:
                # each once: there may be ten thousand
                fresh, looked = self._events[looked:], len(self._events)
                for event in fresh:
                    if event.monotonic >= since and fnmatch.fnmatch(event.tag, pattern) and fits(event):
                        return event
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._news.wait(left)
