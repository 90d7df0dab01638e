"""Hears the one prober for several runs at once, each with a disk of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.resident import Resident


@dataclass
class Ear:
    """Reads the one prober for all runs; `with` starts and ends its thread."""

    watch: Any
    resources: dict[str, Any] = field(default_factory=dict)
    heard: dict[str, list[tuple[float, str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._news, self._end = threading.Condition(), threading.Event()
        self._thread = threading.Thread(target=self._listen, name="ear", daemon=True)

    def __enter__(self) -> Ear:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(5)

    def _listen(self) -> None:
        while not self._end.is_set():
            with self._news:
                wanted = dict(self.resources)
            told = [*self.watch.poll(wanted), *self.watch.wait(0.05)]
            with self._news:
                for one in told:
                    self.heard.setdefault(one["resource"], []).append((time.monotonic(), one["condition"]))
                self._news.notify_all()

    def watch_over(self, resident: Resident) -> None:
        """Have a disk watched."""
        with self._news:
            self.resources[resident.name] = resident.resource

    def leave(self, resident: Resident) -> None:
        """Have it watched no more."""
        with self._news:
            self.resources.pop(resident.name, None)

    def first(
        self, name: str, conditions: Sequence[str], since: float, seconds: float
    ) -> tuple[float, str] | None:
        """The first of some conditions told of a disk since a moment, waiting for it; when, and which."""
        end = time.monotonic() + seconds
        with self._news:
            while True:
                for at, condition in self.heard.get(name, ()):
                    if at >= since and condition in conditions:
                        return at, condition
                if (left := end - time.monotonic()) <= 0:
                    return None
                self._news.wait(left)
