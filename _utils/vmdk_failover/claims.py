"""
Several masters, one of them at work: each claims an epoch before it begins a move, and all see who did.

What they share is a shelf of folders, in a directory that all masters mount or beside the VMDK on its datastore. All that is
asked of it is that making a folder is atomic: one master makes it, everybody else is told that it is there.

.. code-block:: text

    epoch-00000007/by-ma      the master ma has claimed epoch 7
    epoch-00000007/held-160   … and holds by rule 160
    epoch-00000007/done-…     … and its move has ended, how (``endings.py``) or just ``done``; ``lost``: it never began
    cleared-00000007          a person has looked at what had ended by then
    forgot-000001             … and said for the first time that nobody is to remember where the disk was
    pause-000001              an odd number: paused; an even one: resumed

Each disk has a folder of its own besides, because its resource may be called otherwise on another master:

.. code-block:: text

    pgdata.epoch-00000007     epoch 7 of pgdata was claimed to move this disk

A claim holds when its owner, after having put its name down, still sees the highest epoch in it and nobody else at work, on the
resource or on one of its disks. A folder without a name (its maker died, or never got the answer) is nobody's: whoever claims a
higher one makes it void, because its maker would see that one. Nothing here is ever taken away by a clock: the move of a master
that is gone is taken over by a person (``vmdk.adopt``).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vmdk_failover.errors import Busy, ConfigError, FailoverError
from vmdk_failover.journal import RECENT
from vmdk_failover.judgement import endings
from vmdk_failover.model import Disk
from vmdk_failover.store.shelf import Shelf

_EPOCH, _PAUSE = re.compile(r"epoch-([0-9]{8,})\Z"), re.compile(r"pause-([0-9]{6,})\Z")
_CLEARED, _FORGOT = re.compile(r"cleared-([0-9]{8,})\Z"), re.compile(r"forgot-([0-9]{6,})\Z")
#: How a disk's folder says which claim is for it.
_FOR_DISK = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]*)\.epoch-([0-9]{8,})\Z")


@dataclass(frozen=True)
class Claimed:
    """
    What is seen on a shelf: who claimed which epoch and what came of it, the number of the last pause or resume, up to which
    epoch a person has looked at what was tried, and how often one said that where the disk was is to be forgotten.
    """

    epochs: Mapping[int, frozenset[str]] = field(default_factory=dict)
    pauses: int = 0
    cleared: int = 0
    forgot: int = 0

    @property
    def highest(self) -> int:
        """The highest epoch that was ever given out, to anybody and for anything."""
        return max(self.epochs, default=0)

    @property
    def current(self) -> int:
        """The highest epoch under which somebody may have acted."""
        named = (e for e, i in self.epochs.items() if "lost" not in i and any(o.startswith("by-") for o in i))
        return max(named, default=0)

    @property
    def paused(self) -> bool:
        return self.pauses % 2 == 1

    def open_by(self, master: str) -> tuple[int, ...]:
        """Epochs that ``master`` has claimed and not ended."""
        return tuple(
            e for e, inside in self.epochs.items() if f"by-{master}" in inside and not _has_ended(inside)
        )

    def others(self, master: str) -> tuple[int, str] | None:
        """The epoch that somebody else is at work under, and what is known of that, as part of a sentence."""
        for epoch, inside in self.epochs.items():
            by = sorted(one[3:] for one in inside if one.startswith("by-") and one != f"by-{master}")
            if by and not _has_ended(inside):
                held = sorted(one[5:] for one in inside if one.startswith("held-"))
                return epoch, by[0] + (f" (which holds by rule {held[-1]})" if held else "")
        return None

    def recent(self, own: Sequence[Mapping[str, Any]], master: str) -> tuple[Mapping[str, Any], ...]:
        """Finished moves, oldest first: those that ``master`` remembers and what the others have left of theirs."""
        mine = {one.get("epoch") for one in own}
        late = [epoch for epoch in sorted(self.epochs)[-RECENT:] if epoch not in mine]
        theirs = [one for epoch in late for one in self._left(epoch, master)]
        moves = sorted([*own, *theirs], key=_epoch_of)[-RECENT:]
        seen = {"damped": False, "forgotten": True}
        return tuple({**one, **seen} if _epoch_of(one) <= self.cleared else one for one in moves)

    def remembers(self, home: Mapping[str, Any] | None) -> bool:
        """Nobody has said since, here or on another master, that where the disk was seen is to be forgotten."""
        said = home is not None and home.get("forgot", 0) == self.forgot
        return home is not None and said and _epoch_of(home) >= self.cleared

    def _left(self, epoch: int, master: str) -> list[dict[str, Any]]:
        """What another master has left of its move of ``epoch``."""
        inside = self.epochs[epoch]
        by = [one[3:] for one in inside if one.startswith("by-") and one != f"by-{master}"]
        found = (endings.move(one, epoch, by[0]) for one in sorted(inside) if by)
        return [one for one in found if one is not None][:1]


class Claims:
    """
    One master's part in it.

    :param shelf: the shelf of a resource, by its name.
    :param master: this master's id; no other may have the same.
    """

    def __init__(self, shelf: Callable[[str], Shelf], master: str) -> None:
        self._shelf = shelf
        self.master = re.sub(r"[^A-Za-z0-9_.-]", "_", master)

    def look(self, resource: str) -> Claimed:
        """See who has claimed what."""
        return _understood(self._shelf(resource))

    def claim(self, resource: str, epoch: int, disks: Sequence[Disk] = ()) -> bool:
        """
        Claim an epoch, for the disks that are to be moved under it.

        Which disks is put down before the name: whoever sees that somebody is at work sees with what.

        :return: whether it is this master's and nobody else is at work.
        :raises Busy: see :meth:`check_disks`.
        :raises FailoverError: nobody knows; look again.
        """
        shelf = self._shelf(resource)
        if not shelf.make(_epoch(epoch)):
            return False
        for disk in disks:
            shelf.mark(disk, f"{resource}.{_epoch(epoch)}")
        shelf.make(_epoch(epoch), f"by-{self.master}")
        try:
            now = self.look(resource)
            self.check_disks(resource, disks)
        except FailoverError:
            self.end(resource, epoch, "lost")
            raise
        if now.highest == epoch and now.others(self.master) is None:
            return True
        self.end(resource, epoch, "lost")
        return False

    def check_disks(self, resource: str, disks: Sequence[Disk]) -> None:
        """
        Nobody else is at work on one of the disks under the name of another resource.

        :raises Busy: somebody is.
        :raises FailoverError: nobody knows.
        """
        shelf = self._shelf(resource)
        marks = (_FOR_DISK.match(one) for disk in disks for one in shelf.marks(disk))
        claims = {(found[1], int(found[2])) for found in marks if found and found[1] != resource}
        for other in sorted({name for name, _ in claims}):
            seen = self._beside(shelf, other)
            theirs = {e: inside for e, inside in seen.epochs.items() if (other, e) in claims}
            if (at_work := Claimed(theirs).others(self.master)) is not None:
                raise Busy(_has_a_disk(resource, other, *at_work))

    def _beside(self, shelf: Shelf, other: str) -> Claimed:
        """What is claimed of another resource that has, or had, a disk of the shelf's."""
        seen = _understood(shelf.beside(other))
        if not seen.epochs:  # it has another disk elsewhere, and its claims lie beside that one
            with contextlib.suppress(ConfigError):
                seen = self.look(other)
        return seen

    def end(self, resource: str, epoch: int, how: str = "done") -> None:
        """The move of ``epoch`` has ended. If that cannot be written now, it is when this master next looks at the resource."""
        with contextlib.suppress(FailoverError):
            self._shelf(resource).make(_epoch(epoch), how)

    def held(self, resource: str, epoch: int, rule: int) -> None:
        """Let the others see that the move of ``epoch`` is held."""
        with contextlib.suppress(FailoverError):
            self._shelf(resource).make(_epoch(epoch), f"held-{rule}")

    def pause(self, resource: str, paused: bool) -> int:
        """Begin or end maintenance for all masters. Returns its number."""
        number = self.look(resource).pauses
        if (number % 2 == 1) is not paused:
            number += 1
            self._shelf(resource).make(f"pause-{number:06d}")
        return number

    def settle(self, resource: str, pauses: int) -> None:
        """Maintenance is as it was where the claims were before: ``pauses`` is the number of the last pause or resume there."""
        if pauses > self.look(resource).pauses:
            self._shelf(resource).make(f"pause-{pauses:06d}")
        self.pause(resource, pauses % 2 == 1)

    def overtake(self, resource: str, epoch: int) -> None:
        """
        Claim an epoch whoever is at work: a master that wakes up sees it and does not begin another step.

        :param epoch: above all that were claimed.
        :raises Busy: somebody else did so in the same moment.
        """
        shelf = self._shelf(resource)
        if not shelf.make(_epoch(epoch)):
            raise Busy(f"somebody has just claimed epoch {epoch} of {resource}; look again")
        shelf.make(_epoch(epoch), f"by-{self.master}")

    def take_over(self, resource: str, epoch: int) -> None:
        """End what anybody is at work with, on a person's word; see :meth:`overtake`. This epoch is ended at once too."""
        self.overtake(resource, epoch)
        shelf, seen = self._shelf(resource), self.look(resource)
        for one, inside in seen.epochs.items():
            if not _has_ended(inside):
                shelf.make(_epoch(one), "done")
        self._forget(resource, epoch)

    def forget(self, resource: str, seen: Claimed) -> None:
        """A person has looked at what has ended by now: no master holds it against anybody any more."""
        ended = [epoch for epoch, inside in seen.epochs.items() if _has_ended(inside)]
        if max(ended, default=0) > seen.cleared:
            self._forget(resource, max(ended))
        self._shelf(resource).make(f"forgot-{seen.forgot + 1:06d}")

    def _forget(self, resource: str, epoch: int) -> None:
        self._shelf(resource).make(f"cleared-{epoch:08d}")


def _understood(shelf: Shelf) -> Claimed:
    epochs: dict[int, frozenset[str]] = {}
    pauses = cleared = forgot = 0
    for name, inside in shelf.look().items():
        if found := _EPOCH.match(name):
            epochs[int(found[1])] = frozenset(inside)
        elif found := _PAUSE.match(name):
            pauses = max(pauses, int(found[1]))
        elif found := _CLEARED.match(name):
            cleared = max(cleared, int(found[1]))
        elif found := _FORGOT.match(name):
            forgot = max(forgot, int(found[1]))
    return Claimed(epochs, pauses, cleared, forgot)


def _epoch(number: int) -> str:
    return f"epoch-{number:08d}"


def _epoch_of(move: Mapping[str, Any]) -> int:
    return int(move.get("epoch", 0))


def _has_ended(inside: frozenset[str]) -> bool:
    return any(one in ("done", "lost") or one.startswith("done-") for one in inside)


def _has_a_disk(resource: str, other: str, epoch: int, who: str) -> str:
    return (
        f"another master, {who}, is at work on {other} under epoch {epoch}, with a disk that is {resource}'s now; let it end, "
        f"or if it is gone for good, call {resource} {other} again and 'salt-run vmdk.adopt {other}' takes over"
    )
