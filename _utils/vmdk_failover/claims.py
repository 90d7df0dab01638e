"""
Several masters, one of them at work: each claims an epoch before it begins a move, and all see who did.

What they share is a shelf of folders, in a directory that all masters mount or beside the VMDK on its datastore. All that is
asked of it is that making a folder is atomic: one master makes it, everybody else is told that it is there.

.. code-block:: text

    epoch-00000007/by-ma      the master ma has claimed epoch 7
    epoch-00000007/held-160   … and holds by rule 160
    epoch-00000007/done       … and its move has ended; ``lost``: it never began
    pause-000001              an odd number: paused; an even one: resumed

A claim holds when its owner, after having put its name down, still sees the highest epoch in it and nobody else at work. A
folder without a name (its maker died, or never got the answer) is nobody's: whoever claims a higher one makes it void, because
its maker would see that one. Nothing here is ever taken away by a clock: the move of a master that is gone is taken over by a
person (``vmdk.adopt``).
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from vmdk_failover import durable
from vmdk_failover.errors import Busy, CannotObserve, FailoverError, JournalError
from vmdk_failover.journal import Entry, FileJournal
from vmdk_failover.model import Move

T = TypeVar("T")
_ENDED = frozenset({"done", "lost"})
_EPOCH, _PAUSE = re.compile(r"epoch-([0-9]{8,})\Z"), re.compile(r"pause-([0-9]{6,})\Z")


class Shelf(Protocol):
    """Folders of one resource that all masters see."""

    def make(self, *names: str) -> bool:
        """
        Make a folder in a folder that is there; atomic and durable.

        :return: ``True`` if this call made it, ``False`` if it was there.
        :raises FailoverError: it is not known whether it was made, or it was not.
        """

    def look(self) -> Mapping[str, Sequence[str]]:
        """
        Names of all folders, with the names in each.

        :raises FailoverError: they cannot be read.
        """


class FileShelf:
    """
    A shelf in a directory that all masters mount (NFS, a cluster file system).

    An empty directory on which nothing is mounted is no shelf: a master that is new here could not tell it from one on which
    nobody has claimed anything yet, and would begin anew beside the others. A person who means it says so with the file ``MARK``.

    :param directory: must be there: one that is made on demand would hide that nothing is mounted.
    """

    MARK = "vmdk-claims"

    def __init__(self, directory: Path, resource: str, patience: float = durable.PATIENCE) -> None:
        self._top, self._dir, self._patience = directory, directory / resource, patience

    def make(self, *names: str) -> bool:
        """See the port."""
        return self._try("written", lambda _: self._make(names))

    def look(self) -> Mapping[str, Sequence[str]]:
        """See the port."""
        return self._try("read", lambda _: self._look())

    def _make(self, names: Sequence[str]) -> bool:
        self._check()
        self._dir.mkdir(mode=0o700, exist_ok=True)
        place = self._dir.joinpath(*names)
        try:
            place.mkdir(mode=0o700)
        except FileExistsError:
            return False
        durable.sync_folder(place.parent)
        return True

    def _check(self) -> None:
        if not os.listdir(self._top) and not os.path.ismount(self._top):
            words = f"the masters' claims directory {self._top} is empty and nothing is mounted there: mount it, or if it is new"
            raise CannotObserve(f"{words}, say so with 'touch {self._top}/{self.MARK}'")

    def _look(self) -> Mapping[str, Sequence[str]]:
        self._check()
        with contextlib.suppress(FileNotFoundError):
            return {one.name: os.listdir(one.path) for one in os.scandir(self._dir) if one.is_dir()}
        return {}

    def _try(self, what: str, act: Callable[[durable.GivenUp], T]) -> T:
        try:
            return durable.within(self._patience, act)
        except OSError as err:
            raise CannotObserve(
                f"the masters' claims ({self._dir}) cannot be {what}: {err.strerror}; is the directory mounted?"
            ) from err


@dataclass(frozen=True)
class Claimed:
    """What is seen on a shelf: who claimed which epoch and what came of it, and the number of the last pause or resume."""

    epochs: Mapping[int, frozenset[str]] = field(default_factory=dict)
    pauses: int = 0

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
            e for e, inside in self.epochs.items() if f"by-{master}" in inside and not inside & _ENDED
        )

    def others(self, master: str) -> tuple[int, str] | None:
        """The epoch that somebody else is at work under, and what is known of that, as part of a sentence."""
        for epoch, inside in self.epochs.items():
            by = sorted(one[3:] for one in inside if one.startswith("by-") and one != f"by-{master}")
            if by and not inside & _ENDED:
                held = sorted(one[5:] for one in inside if one.startswith("held-"))
                return epoch, by[0] + (f" (which holds by rule {held[-1]})" if held else "")
        return None


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
        epochs: dict[int, frozenset[str]] = {}
        pauses = 0
        for name, inside in self._shelf(resource).look().items():
            if found := _EPOCH.match(name):
                epochs[int(found[1])] = frozenset(inside)
            elif found := _PAUSE.match(name):
                pauses = max(pauses, int(found[1]))
        return Claimed(epochs, pauses)

    def claim(self, resource: str, epoch: int) -> bool:
        """
        Claim an epoch.

        :return: whether it is this master's and nobody else is at work.
        :raises FailoverError: nobody knows; look again.
        """
        shelf = self._shelf(resource)
        if not shelf.make(_epoch(epoch)):
            return False
        shelf.make(_epoch(epoch), f"by-{self.master}")
        now = self.look(resource)
        if now.highest == epoch and now.others(self.master) is None:
            return True
        self.end(resource, epoch, "lost")
        return False

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
        shelf = self._shelf(resource)
        for one, inside in self.look(resource).epochs.items():
            if not inside & _ENDED:
                shelf.make(_epoch(one), "done")


def _epoch(number: int) -> str:
    return f"epoch-{number:08d}"


class SharedJournal(FileJournal):
    """
    A master's own journal, kept in step with what the masters share. The engine need not know.

    :param claims: this master's part.
    """

    def __init__(self, *args: Any, claims: Claims, **more: Any) -> None:
        super().__init__(*args, **more)
        self.claims = claims
        self._seen: dict[str, Claimed] = {}

    def state(self, resource: str) -> Entry:
        """The own record, at the highest epoch that anybody has claimed, paused if anybody has said so."""
        own, seen = super().state(resource), self._look(resource)
        paused = seen.paused or (own.paused and int(own.pause.get("number", 1 << 30)) > seen.pauses)
        pause = own.pause if own.paused or not paused else {"by": "another master"}
        self._note_maintenance(resource, paused)
        return Entry(
            max(own.epoch, seen.current if own.move else seen.highest),
            own.move,
            own.outcomes,
            paused,
            own.missing_ok,
            pause,
            own.hold,
            own.recent,
        )

    def begin(self, move: Move) -> None:
        """Claim the epoch, then write the intent down; :raises Busy: another master is, or was a moment ago, at work."""
        name = move.resource.name
        seen = self._seen.get(name) or self._look(name)
        self._tidy(name, seen)
        if (other := seen.others(self.claims.master)) is not None:
            raise Busy(_at_work(name, *other))
        if not self.claims.claim(name, move.epoch):
            raise Busy(f"another master has just begun to work on {name}; this one looks again")
        try:
            with self._changed(name) as plain:
                plain.update(epoch=max(int(plain.get("epoch", 0)), move.epoch - 1), claimed=move.epoch)
            super().begin(move)
        except JournalError:
            self.claims.end(name, move.epoch, "lost")
            raise

    def note(self, resource: str, entry: Mapping[str, Any]) -> None:
        """As before; :raises Busy: before a step, if somebody has claimed a higher epoch since."""
        if "begun" in entry:
            move, seen = super().state(resource).move, self._look(resource)
            if move is not None and seen.current > move.epoch:
                raise Busy(
                    f"{resource} was taken over under epoch {seen.current}; the move of {move.epoch} ends here"
                )
        super().note(resource, entry)

    def finish(self, resource: str, entry: Mapping[str, Any]) -> None:
        """End the move for all."""
        super().finish(resource, entry)
        self.claims.end(resource, int(entry["epoch"]))

    def hold(self, resource: str, entry: Mapping[str, Any] | None) -> None:
        """Let the others see the hold of an open move; close one that was taken over."""
        move, seen = super().state(resource).move, self._seen.get(resource) or self._look(resource)
        self._tidy(resource, seen)
        if move is not None and seen.current > move.epoch:
            words = f"taken over under epoch {seen.current}"
            return self.finish(
                resource, {"epoch": move.epoch, "ok": False, "target": move.target, "reason": words}
            )
        if move is not None and entry is not None:
            self.claims.held(resource, move.epoch, int(entry.get("rule", 0)))
        return super().hold(resource, entry)

    def pause(self, resource: str, entry: Mapping[str, Any] | None) -> None:
        """Begin or end maintenance for all masters; :raises JournalError: the others could not be told."""
        if entry is not None:
            super().pause(resource, entry)
        try:
            number = self.claims.pause(resource, entry is not None)
        except FailoverError as err:
            words = "is paused on this master alone" if entry is not None else "stays paused"
            raise JournalError(f"{resource} {words}: {err.reason}") from err
        super().pause(resource, {**entry, "number": number} if entry is not None else None)
        self._note_maintenance(resource, entry is not None)

    def in_maintenance(self, resource: str) -> bool:
        """As it was when this master last looked at the resource, which it does at every tick."""
        return self._maintenance(resource).exists()

    def clear(self, resource: str, at: float, missing: Sequence[str] = ()) -> None:
        """As before; what this master had claimed is ended."""
        super().clear(resource, at, missing)
        self._tidy(resource, self._look(resource))

    def adopt(self, resource: str, epoch: int, entry: Mapping[str, Any], missing: Sequence[str] = ()) -> None:
        """As before, for all masters."""
        epoch = max(epoch, self.claims.look(resource).highest + 1)
        self.claims.take_over(resource, epoch)
        super().adopt(resource, epoch, entry, missing)
        with self._changed(resource) as plain:
            plain["claimed"] = epoch

    def others(self, resource: str) -> tuple[int, str] | None:
        """As the shelf has it."""
        return self.claims.look(resource).others(self.claims.master)

    def overtake(self, resource: str, epoch: int) -> None:
        """Claim an epoch whoever is at work; :raises Busy: somebody else did so in the same moment."""
        self.claims.overtake(resource, max(epoch, self.claims.look(resource).highest + 1))

    def open_moves(self) -> list[str]:
        """As before; asked every few seconds, so only of the own files."""
        return FileJournal(self.directory, patience=self.patience).open_moves()

    def _maintenance(self, resource: str) -> Path:
        return self.directory / f"{resource}.paused"

    def _note_maintenance(self, resource: str, paused: bool) -> None:
        path = self._maintenance(resource)
        with contextlib.suppress(OSError):  # it is noted with the next look
            if paused:
                self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                path.touch(0o600)
            elif path.exists():
                path.unlink(missing_ok=True)

    def _look(self, resource: str) -> Claimed:
        seen = self.claims.look(resource)
        before = int(self._read(resource).get("claimed", 0))
        if seen.highest < before:
            raise CannotObserve(
                f"this master has claimed epoch {before} of {resource}, but the masters' claims know of {seen.highest} only: "
                f"they are lost or elsewhere; bring them back, or take the world as it is with 'salt-run vmdk.adopt {resource}'"
            )
        self._seen[resource] = seen
        return seen

    def _tidy(self, resource: str, seen: Claimed) -> None:
        """End own claims without a move: this master died after the claim, or could not write the end down."""
        move = super().state(resource).move
        for epoch in seen.open_by(self.claims.master):
            if move is None or move.epoch != epoch:
                self.claims.end(resource, epoch)


def _at_work(resource: str, epoch: int, who: str) -> str:
    return (
        f"another master, {who}, is at work on {resource} under epoch {epoch}; if it is gone for good, "
        f"'salt-run vmdk.adopt {resource}' takes over"
    )
