"""
The journal of a master among several: its own, kept in step with what all of them have claimed (``claims.py``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vmdk_failover.claims import Claimed, Claims
from vmdk_failover.errors import Busy, CannotObserve, FailoverError, JournalError
from vmdk_failover.journal import FileJournal
from vmdk_failover.judgement import endings
from vmdk_failover.model import Move
from vmdk_failover.store.record import Entry


class SharedJournal(FileJournal):
    """
    A master's own journal, kept in step with what the masters share. The engine need not know.

    :param claims: this master's part.
    """

    def __init__(self, *args: Any, claims: Claims, **more: Any) -> None:
        super().__init__(*args, **more)
        self.claims = claims
        self._seen: dict[str, Claimed] = {}
        self._left: dict[str, Claimed] = {}

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
            tuple(self._redated(dict(m)) for m in seen.recent(own.recent, self.claims.master)),
            own.home if seen.remembers(own.home) else None,
        )

    def begin(self, move: Move) -> None:
        """
        Claim the epoch, then write the intent down; :raises Busy: another master is, or was a moment ago, at work.

        A claim is not given back when the write fails: a deadline that has run out does not say that nothing was written. With
        the next look it is known whether the move stands in the journal, and if not, the claim is ended then.
        """
        name = move.resource.name
        self.check_free(move.resource)  # before an epoch is used up for nothing
        seen = self._seen.get(name) or self._look(name)
        self._tidy(name, seen)
        if (other := seen.others(self.claims.master)) is not None:
            raise Busy(_at_work(name, *other))
        self.claims.check_disks(name, move.resource.disks)  # for the same reason
        if not self.claims.claim(name, move.epoch, move.resource.disks):
            raise Busy(f"another master has just begun to work on {name}; this one looks again")
        with self._changed(name) as plain:
            plain.update(epoch=max(int(plain.get("epoch", 0)), move.epoch - 1), claimed=move.epoch)
        super().begin(move)

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
        """End the move for all, and let them know how it ended."""
        super().finish(resource, entry)
        self.claims.end(resource, int(entry["epoch"]), endings.name(entry))

    def _home(self, home: Mapping[str, Any], resource: str) -> dict[str, Any]:
        """With what a person had said by then: whoever clears on another master means this one's memory too."""
        seen = self._seen.get(resource) or self._look(resource)
        return {**home, "epoch": max(int(home["epoch"]), seen.cleared), "forgot": seen.forgot}

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
        """As before, for all masters; what this one had claimed is ended. :raises JournalError: the others could not be told."""
        super().clear(resource, at, missing)
        try:
            self._tidy(resource, self._look(resource))
            self.claims.forget(resource, self._look(resource))
        except FailoverError as err:
            raise JournalError(f"{resource} is cleared on this master alone: {err.reason}") from err

    def adopt(self, resource: str, epoch: int, entry: Mapping[str, Any], missing: Sequence[str] = ()) -> None:
        """As before, for all masters."""
        if (left := self._left.pop(resource, None)) is not None:
            self.claims.settle(resource, left.pauses)
        elif self._took_along(resource):
            self.claims.pause(resource, paused=True)
        epoch = max(epoch, self.claims.look(resource).highest + 1)
        self.claims.take_over(resource, epoch)
        super().adopt(resource, epoch, entry, missing)
        with self._changed(resource) as plain:
            plain["claimed"] = epoch
            if plain.get("home"):
                self._look(resource)
                plain["home"] = self._home(plain["home"], resource)
            if plain.get("pause"):
                plain["pause"] = {**plain["pause"], "number": self.claims.look(resource).pauses}

    def _took_along(self, resource: str) -> bool:
        """Maintenance that was written down when the claims were left, by a process that did not come to the new place."""
        with contextlib.suppress(JournalError):
            own = super().state(resource)
            return own.paused and "number" not in own.pause
        return False

    def leave(self, resource: str, epoch: int) -> None:
        """The disk lies elsewhere now, and so will the claims: whoever still looks here sees an epoch above its own."""
        self._left[resource] = self.claims.look(resource)
        if self._left[
            resource
        ].paused:  # the new place knows nothing of it yet, and this process may die before it does
            own = super().state(resource).pause or {"by": "another master"}
            super().pause(resource, {key: value for key, value in own.items() if key != "number"})
        self.claims.take_over(resource, max(epoch, self._left[resource].highest + 1))

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
        """End own claims without an open move: this master died after the claim, or could not write the end down."""
        own = super().state(resource)
        ended = {int(one.get("epoch", 0)): endings.name(one) for one in own.recent}
        for epoch in seen.open_by(self.claims.master):
            if own.move is None or own.move.epoch != epoch:
                self.claims.end(resource, epoch, ended.get(epoch, "done"))


def _at_work(resource: str, epoch: int, who: str) -> str:
    return (
        f"another master, {who}, is at work on {resource} under epoch {epoch}; if it is gone for good, "
        f"'salt-run vmdk.adopt {resource}' takes over"
    )
