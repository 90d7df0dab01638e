"""
What the engine needs of the world, as Protocols. Adapters implement them, test doubles are written against them.

Every call has a deadline of its own and returns an :class:`~vmdk_failover.model.Outcome` instead of raising for anything
that belongs to the world; only programming errors raise. ``Result.UNKNOWN`` means that a request may or may not have been
carried out: no adapter ever sends a write twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from vmdk_failover.around import Around, Confirmed
from vmdk_failover.kin import Neighbour
from vmdk_failover.model import (
    Crowd,
    Disk,
    HypervisorFacts,
    Move,
    Node,
    NodeFacts,
    Outcome,
    Resource,
    Signs,
    VmFacts,
)


class Hypervisor(Protocol):
    """vCenter, seen and handled for the nodes of one resource."""

    def observe(self, resource: Resource) -> HypervisorFacts:
        """
        Look at all nodes' VMs in as few calls as possible; never raises for an unreadable vCenter.

        :return: ``readable=False`` with a sentence if vCenter cannot be read at all; single unreadable properties are ``None``.
        """

    def power_off(self, resource: Resource, node: Node, seen: VmFacts) -> Outcome:
        """Power the VM off and wait for the task. *Off* is believed only after the next :meth:`observe`."""

    def detach(self, resource: Resource, node: Node, seen: VmFacts, disks: Sequence[Disk]) -> Outcome:
        """Take the disks out of the VM in one reconfigure that carries ``seen.change_version``; files are kept."""

    def attach(self, resource: Resource, node: Node, seen: VmFacts, disks: Sequence[Disk]) -> Outcome:
        """Add the disks at their recorded bus and unit, mode and sharing, in one reconfigure with ``seen.change_version``."""

    def seal(self, resource: Resource, node: Node, seen: VmFacts, epoch: int) -> Outcome:
        """
        Make every earlier request to the VM impossible: write ``epoch`` into its extraConfig ``vmdk.epoch``, guarded by
        ``seen.change_version``, so that its version changes.
        """

    def power_on(self, resource: Resource, node: Node, seen: VmFacts) -> Outcome:
        """Power the VM on and wait for the task; one that is on already is done."""


class Hooks(Protocol):
    """What an administrator has written to get a VM or an ESXi host off where vCenter cannot."""

    def call(self, function: str, facts: Mapping[str, str], within: float) -> str:
        """
        Call a Salt runner function by name, once, with ``facts`` as its arguments.

        :param facts: ``resource``, ``node``, ``vm``, ``vm_uuid`` and ``host``.
        :param within: seconds.
        :return: what it said, if it said that power was read back as off (``True``, or ``{"off": True}``).
        :raises StepFailed: it said no, or it failed. :raises OutcomeUnknown: it gave no answer in time.
        """


class Vicinity(Protocol):
    """What the master remembers around a resource, shared by all resources."""

    def look(self, resource: Resource, seen: HypervisorFacts) -> Around:
        """
        What is known now. A word that a host is off is forgotten when ``seen`` shows the host connected, for all its nodes.

        :raises JournalError: such a word cannot be forgotten, so that it might count later.
        """

    def kin(self, resource: Resource) -> Sequence[Neighbour]:
        """What ``resource`` depends on, and what depends on it; what cannot be read of one is left out."""

    def ailing(self, resource: Resource, seen: VmFacts | None, condition: str) -> None:
        """Remember for a while that the resource's disk fails on this VM; ``None``: it does not any more."""

    def neighbours(self, vm: VmFacts) -> Sequence[Node]:
        """Nodes of whatever resource that vCenter last showed on the lost host of ``vm``, besides it."""

    def confirm(self, minion: str, word: Confirmed) -> None:
        """Remember a word that the host of a node's VM is off. :raises JournalError: it cannot be written."""

    def refute(self, host: str, words: str) -> None:
        """
        A node on ``host`` was heard after somebody said that the host is off: the word is void for every node of it, until a
        new one is given.

        :param words: what has shown it, as part of a sentence. :raises JournalError: that cannot be written down.
        """

    def restart(self, minion: str, wanted: bool) -> None:
        """Remember or forget that a node is to be powered on again after a fence."""


class Lookout(Protocol):
    """What the master notices of nodes without asking them."""

    def signs(self, seen: HypervisorFacts, silent: Sequence[str]) -> Mapping[str, Signs]:
        """
        Signs of life, within a second.

        :param seen: vCenter's word; boots and running tasks in it excuse silence.
        :param silent: minions that gave no answer; only their addresses are tried.
        :return: by minion, for the silent ones; missing means that nothing is known.
        """

    def crowd(self, resource: Resource, seen: HypervisorFacts) -> Crowd:
        """Count the nodes that are not ``resource``'s; ``seen`` is vCenter's word about its own."""


class Guest(Protocol):
    """The nodes' own hands and words."""

    def ask(self, resource: Resource, minions: Sequence[str]) -> Mapping[str, NodeFacts]:
        """Ask several nodes at once, within ``resource.timeouts.ask``; only verified answers are returned."""

    def release(self, move: Move, facts: NodeFacts) -> Outcome:
        """Stop services, end users, unmount, prove it. ``facts`` carry the boot id and clock for the permit."""

    def halt(self, move: Move, facts: NodeFacts) -> Outcome:
        """Order the node to halt itself without touching the disk. Its end is read from vCenter, not from here."""

    def mount(self, move: Move, facts: NodeFacts) -> Outcome:
        """Find the disks by UUID, check, mount, verify, start services."""


class Journal(Protocol):
    """Durable intent, outcomes and history of one resource. Every method raises ``JournalError`` if it cannot be sure."""

    def state(self, resource: str) -> Record:
        """Read what is recorded of a resource; an empty record for one that never was."""

    def begin(self, move: Move) -> None:
        """Write an intent down, durably, before its first step."""

    def note(self, resource: str, entry: Mapping[str, Any]) -> None:
        """
        Write down a step of the open move: before it with ``begun``, its outcome in advance; after it with ``outcome``,
        which replaces that.
        """

    def finish(self, resource: str, entry: Mapping[str, Any]) -> None:
        """Close the open move."""

    def hold(self, resource: str, entry: Mapping[str, Any] | None) -> None:
        """Record why nothing is done (``None``: the reason is gone)."""

    def sight(self, resource: str, home: Mapping[str, Any]) -> None:
        """Remember on which ``node`` the disk was seen for certain, after the move of which ``epoch`` had ended."""


class Record(Protocol):
    """What a journal remembers of one resource."""

    @property
    def epoch(self) -> int:
        """Highest epoch ever given out."""

    @property
    def move(self) -> Move | None:
        """The open move."""

    @property
    def outcomes(self) -> Sequence[Outcome]:
        """Outcomes of the open move's steps so far, oldest first."""

    @property
    def paused(self) -> bool:
        """Maintenance: observe, do nothing."""

    @property
    def pause(self) -> Mapping[str, Any]:
        """Who began maintenance (``by``), ``since`` when; empty if there is none."""

    @property
    def hold(self) -> Mapping[str, Any] | None:
        """Why nothing is done: ``rule``, ``reason``, ``since``."""

    @property
    def missing_ok(self) -> Sequence[str]:
        """Nodes whose VMs a person has acknowledged as deleted."""

    @property
    def home(self) -> Mapping[str, Any] | None:
        """On which ``node`` the disk was last seen for certain, after the move of which ``epoch``; ``None`` if not known."""

    @property
    def recent(self) -> Sequence[Mapping[str, Any]]:
        """Finished moves, oldest first: ``{"kind", "source", "target", "ended" (wall seconds), …}``."""


class Lock(Protocol):
    """One at a time per resource; the holder's words are told to whoever comes second."""

    def resource(self, name: str, doing: str, wait: float = 0.0) -> AbstractContextManager[object]:
        """Hold the resource's lock; raises ``Busy`` if another process still has it after ``wait`` seconds."""

    def node(self, minion: str, wait: float) -> AbstractContextManager[bool]:
        """
        Hold the lock of a node for one write to its VM; waits ``wait`` seconds, then raises ``Busy``. Gives whether it was
        free at once: if not, what was seen before may be so no longer.
        """

    def host(self, name: str, wait: float) -> AbstractContextManager[bool]:
        """The same for an ESXi host, while it is got off."""


class Clock(Protocol):
    """Time, passed in."""

    def monotonic(self) -> float:
        """Seconds that only grow."""

    def wall(self) -> float:
        """Seconds since 1970, for display only."""

    def sleep(self, seconds: float) -> None:
        """Wait."""
