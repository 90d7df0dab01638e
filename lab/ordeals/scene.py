"""Where an ordeal happens: the lab, and what stands wrong in it at the moment by the ordeal's own doing."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from lab.cable import Cable
from lab.cluster import Lab
from lab.node import Node
from lab.observer import mountpoints
from lab.scenarios import DISK
from lab.strikes import TooLate

Cure = Callable[[], object]


class NeverStruck(Exception):
    """What was prepared has met nobody; told by the cure, which has ended it all the same."""


def nothing() -> None:
    """There is nothing to cure."""


@dataclass
class Scene:
    """The place. standing: (what is wrong, the node it is wrong at or ``""``) as long as it is; past: all that ever was."""

    lab: Lab
    cable: Cable
    standing: list[tuple[str, str]] = field(default_factory=list)
    past: list[tuple[str, str]] = field(default_factory=list)
    last: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def holder(self) -> str:
        """The minion id of the node that has the disk mounted, else whose VM lists it, else that had it last."""
        nodes, disk = self.lab.nodes, self.lab.disks[DISK]
        mounted = [name for name, node in nodes.items() if node.is_running and mountpoints(node, disk)]
        listed = [name for name, node in nodes.items() if any(one.disk == disk for one in node.slots())]
        self.last = next(iter([*mounted, *listed]), self.last or next(iter(nodes)))
        return self.last

    def other(self) -> str:
        """The node that is not the holder."""
        here = self.holder()
        return next(name for name in self.lab.nodes if name != here)

    def node(self, name: str) -> Node:
        """A node of the lab."""
        found: Node = self.lab.nodes[name]
        return found

    def running(self, name: str) -> Node:
        """A node that runs. Raises TooLate."""
        node = self.node(name)
        if not node.is_running or node.is_frozen:
            raise TooLate(f"{name} does not run")
        return node

    def inside(self, name: str) -> Node:
        """A node that runs and in which a program can be started. Raises TooLate."""
        node = self.running(name)
        if not node.answers or self.stands("panicked", name):
            raise TooLate(f"nothing can be started on {name} now")
        return node

    def note(self, what: str, node: str, cure: Cure) -> Cure:
        """Take down that something is wrong from now on. Returns the cure, which strikes it out again.

        A cure that raises NeverStruck strikes it out of the past too: it makes no reason true.
        """
        entry = (what, node)
        with self.lock:
            self.standing.append(entry)
            self.past.append(entry)

        def cured() -> None:
            try:
                cure()
            except NeverStruck:
                with self.lock, suppress(ValueError):
                    self.standing.remove(entry)
                    self.past.remove(entry)
                raise
            with self.lock, suppress(ValueError):
                self.standing.remove(entry)

        return cured

    def stands(self, what: str, node: str = "") -> bool:
        """Whether something is wrong now (at a node, if one is named)."""
        return any(one == what and (not node or where == node) for one, where in self.standing)

    def was(self, *what: str) -> bool:
        """Whether one of these has been wrong in this ordeal."""
        return any(one in what for one, _ in self.past)

    def signal_agents(self, name: str, sign: signal.Signals) -> None:
        """Send a signal to the minion and prober of a node, if it runs. Raises LabError."""
        if self.node(name).is_running:
            self.node(name).signal_agent(sign)

    def is_fit(self, name: str) -> bool:
        """Whether a node runs, is not frozen, answers by its minion and can be reached."""
        node = self.lab.nodes[name]
        wrong = ("agent-dead", "agent-stopped", "isolated", "frozen", "panicked")
        if not node.answers or any(self.stands(one, name) for one in wrong):
            return False
        return not self.stands("network-cut") and not self.stands("host-gone", name)


@contextmanager
def quietly() -> Iterator[None]:
    """For what may have been ended by the product meanwhile."""
    with suppress(OSError, TooLate):
        yield
