"""The journal and the locks in memory: the real logic over a dict instead of files."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vmdk_failover.errors import Busy
from vmdk_failover.journal import FileJournal
from vmdk_failover.model import to_plain


class MemoryJournal(FileJournal):
    """
    The real journal whose files are texts in a dict; what is not plain JSON cannot be written here either.

    :ivar states: text of the state, by resource. :ivar lines: history, by resource.
    """

    def __init__(self) -> None:
        super().__init__(Path("/nonexistent"))
        self.states: dict[str, str] = {}
        self.lines: dict[str, list[str]] = {}

    def history(self, resource: str) -> list[dict[str, Any]]:
        """See the real one."""
        return [json.loads(line) for line in self.lines.get(resource, [])]

    def _read(self, resource: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.states.get(resource, "{}"))
        return found

    def _write(self, resource: str, plain: Mapping[str, Any]) -> None:
        self.write(resource, json.dumps(plain))

    def _alone(self, resource: str) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def _set_apart(self, resource: str) -> None:
        self.states.pop(resource, None)

    def write(self, resource: str, text: str) -> None:
        """The moment at which a change becomes durable."""
        self.states[resource] = text

    def _log(self, resource: str, entry: Mapping[str, Any]) -> None:
        self.lines.setdefault(resource, []).append(json.dumps(to_plain(entry)))


class MemoryLock:
    """The ``Lock`` port within one process. :ivar held: what is locked, with what its holder does."""

    def __init__(self) -> None:
        self.held: dict[str, str] = {}

    def resource(self, name: str, doing: str, wait: float = 0.0) -> contextlib.AbstractContextManager[object]:
        """See the port."""
        return _Hold(self.held, f"resource {name}", doing)

    def node(self, minion: str, wait: float) -> contextlib.AbstractContextManager[bool]:
        """See the port; it waits for nobody."""
        return _Hold(self.held, f"node {minion}", "write to its VM")

    def host(self, name: str, wait: float) -> contextlib.AbstractContextManager[bool]:
        """See the port; it waits for nobody."""
        return _Hold(self.held, f"host {name}", "fence")


class _Hold(contextlib.AbstractContextManager[bool]):
    """One lock, as long as it is held."""

    def __init__(self, held: dict[str, str], what: str, doing: str) -> None:
        self.held, self.what, self.doing = held, what, doing

    def __enter__(self) -> bool:
        if self.what in self.held:
            raise Busy(f"a {self.held[self.what]} is already under way for {self.what}")
        self.held[self.what] = self.doing
        return True

    def __exit__(self, *_: object) -> None:
        del self.held[self.what]
