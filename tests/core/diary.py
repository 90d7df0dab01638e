"""Journals for histories by the thousand: one without files and JSON, and one that two masters share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.doubles.journal import MemoryJournal
from vmdk_failover.claims import Claims
from vmdk_failover.errors import CannotObserve, JournalError
from vmdk_failover.journal import RECENT, FileJournal
from vmdk_failover.model import Disk, Move
from vmdk_failover.shared import SharedJournal
from vmdk_failover.store.record import Entry, outcome

if TYPE_CHECKING:
    from tests.core.world import World

NEW = Entry()


class Diary(FileJournal):
    """
    The ``Journal`` port over values. :ivar entries: by resource.

    An outcome in advance is the last one of an entry while its step is ``begun``.
    """

    def __init__(self) -> None:
        super().__init__(Path("/nonexistent"))
        self.entries: dict[str, Entry] = {}
        self.begun: set[str] = set()

    def write(self, resource: str, entry: Entry) -> None:
        """The moment at which a change becomes durable."""
        self.entries[resource] = entry

    def state(self, resource: str) -> Entry:
        """See the real one."""
        was = self.kept(resource)
        return replace(was, recent=tuple(self._redated(dict(m)) for m in was.recent)) if was.recent else was

    def kept(self, resource: str) -> Entry:
        """What was written, with the dates of its time."""
        return self.entries.get(resource, NEW)

    def begin(self, move: Move) -> None:
        """See the real one."""
        name = move.resource.name
        was = self.kept(name)
        if move.epoch <= was.epoch or was.move is not None:
            raise JournalError(
                f"a move of {name} is already open, or epoch {move.epoch} is not above the last one"
            )
        self.write(name, replace(was, epoch=move.epoch, move=move, outcomes=(), hold=None))
        self.begun.discard(name)

    def note(self, resource: str, entry: Mapping[str, Any]) -> None:
        """See the real one."""
        was = self.kept(resource)
        if "begun" in entry:
            self.write(resource, replace(was, outcomes=(*was.outcomes, outcome(entry["begun"])), hold=None))
            self.begun.add(resource)
        elif "outcome" in entry:
            before = was.outcomes[:-1] if resource in self.begun else was.outcomes
            self.write(resource, replace(was, outcomes=(*before, outcome(entry["outcome"]))))
            self.begun.discard(resource)

    def finish(self, resource: str, entry: Mapping[str, Any]) -> None:
        """See the real one."""
        was = self.kept(resource)
        missing = () if entry.get("ok") else was.missing_ok
        recent = (*was.recent, self._dated(entry))[-RECENT:]
        ended = replace(was, move=None, outcomes=(), hold=None, missing_ok=missing, recent=recent)
        home = {"node": entry["target"], "epoch": entry["epoch"]} if entry.get("ok") else was.home
        self.write(resource, replace(ended, home=home))
        self.begun.discard(resource)

    def sight(self, resource: str, home: Mapping[str, Any]) -> None:
        """See the real one."""
        self.write(resource, replace(self.kept(resource), home=home))

    def hold(self, resource: str, entry: Mapping[str, Any] | None) -> None:
        """See the real one."""
        was = self.kept(resource)
        same = ("rule", "reason")
        if (was.hold or entry) and [(was.hold or {}).get(k) for k in same] != [
            (entry or {}).get(k) for k in same
        ]:
            self.write(resource, replace(was, hold=entry))

    def pause(self, resource: str, entry: Mapping[str, Any] | None) -> None:
        """See the real one."""
        self.write(resource, replace(self.kept(resource), paused=bool(entry), pause=entry or {}))

    def clear(self, resource: str, at: float, missing: Sequence[str] = ()) -> None:
        """See the real one."""
        was = self.kept(resource)
        recent = tuple({**move, "damped": False, "forgotten": True} for move in was.recent)
        fresh = replace(was, move=None, outcomes=(), hold=None, missing_ok=tuple(missing), recent=recent)
        self.write(resource, replace(fresh, home=None))
        self.begun.discard(resource)


class SharedDiary(SharedJournal, MemoryJournal):
    """The journal of one of two masters: the real logic in memory, and no note of maintenance that other histories could see."""

    def __init__(self, claims: Claims) -> None:
        super().__init__(claims=claims)
        self.maintenance: set[str] = set()

    def in_maintenance(self, resource: str) -> bool:
        """See the real one."""
        return resource in self.maintenance

    def _note_maintenance(self, resource: str, paused: bool) -> None:
        (self.maintenance.add if paused else self.maintenance.discard)(resource)


class Shelf:
    """The ``Shelf`` port in memory: what is made may be made although the answer is lost."""

    def __init__(self, world: World, others: Mapping[str, Shelf]) -> None:
        self.world, self.others = world, others
        self.names: dict[str, list[str]] = {}
        self.disks: dict[str, list[str]] = {}

    def mark(self, disk: Disk, claim: str) -> None:
        """See the port."""
        self.world.pass_by()
        if self.world.chance(self.world.rate / 2):
            raise CannotObserve("the claims cannot be written")
        self.disks.setdefault(disk.uuid, []).append(claim)

    def marks(self, disk: Disk) -> Sequence[str]:
        """See the port."""
        self.world.pass_by()
        return [claim for one in self.others.values() for claim in one.disks.get(disk.uuid, ())]

    def beside(self, resource: str) -> Shelf:
        """See the port."""
        return self.others[resource]

    def make(self, *names: str) -> bool:
        """See the port."""
        self.world.pass_by()
        lost = self.world.chance(self.world.rate)
        if lost and self.world.dice.coin():
            raise CannotObserve("the claims cannot be written")
        new = names[-1] not in (self.names if len(names) == 1 else self.names[names[0]])
        if new and len(names) == 1:
            self.names[names[0]] = []
        elif new:
            self.names[names[0]].append(names[1])
        if lost:
            raise CannotObserve("nobody knows whether the claim was written")
        return new

    def look(self) -> Mapping[str, Sequence[str]]:
        """See the port."""
        self.world.pass_by()
        if self.world.chance(self.world.rate / 2):
            raise CannotObserve("the claims cannot be read")
        return {name: list(inside) for name, inside in self.names.items()}
