"""
The journal: durable intent and history, one pair of files per resource.

``<dir>/<resource>.json`` is the state (epoch, open move with the resource frozen in it, outcomes of its steps, pause, hold,
finished moves); it is replaced atomically: write, fsync, rename, fsync of the directory. ``<dir>/<resource>.log`` is the
history for people, one JSON object a line. A state that cannot be read or written is an error, never an empty one.
The caller holds the resource's lock (``lock.py``) while it writes.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vmdk_failover.errors import JournalError
from vmdk_failover.model import Move, Outcome, Result, Step, StepKind, move_from_plain, to_plain

#: Finished moves that are kept in the state; the log keeps all.
RECENT = 50


@dataclass(frozen=True)
class Entry:
    """What the journal remembers of one resource (the ``Record`` port)."""

    epoch: int = 0
    move: Move | None = None
    outcomes: tuple[Outcome, ...] = ()
    paused: bool = False
    missing_ok: tuple[str, ...] = ()
    pause: Mapping[str, Any] = field(default_factory=dict)
    hold: Mapping[str, Any] | None = None
    recent: tuple[Mapping[str, Any], ...] = ()


class FileJournal:
    """
    The ``Journal`` port over a directory.

    :param directory: made if it is missing, mode 0700.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def state(self, resource: str) -> Entry:
        """Read what is recorded of ``resource``; an empty entry for one that never was."""
        plain = self._read(resource)
        try:
            return Entry(
                epoch=int(plain.get("epoch", 0)),
                move=move_from_plain(plain["move"]) if plain.get("move") else None,
                outcomes=tuple(_outcome(o) for o in plain.get("outcomes", ())),
                paused=bool(plain.get("pause")),
                missing_ok=tuple(map(str, plain.get("missing_ok", ()))),
                pause=plain.get("pause") or {},
                hold=plain.get("hold"),
                recent=tuple(plain.get("recent", ())),
            )
        except (KeyError, TypeError, ValueError) as err:
            raise JournalError(
                self._broken(resource, f"has a form that is not understood ({err!r})")
            ) from err

    def begin(self, move: Move) -> None:
        """Write an intent down before its first step; its epoch must be the next one."""
        with self._changed(move.resource.name) as plain:
            if move.epoch != int(plain.get("epoch", 0)) + 1 or plain.get("move"):
                raise JournalError(
                    f"a move of {move.resource.name} is already open, or epoch {move.epoch} is not the next one"
                )
            plain.update(epoch=move.epoch, move=to_plain(move), outcomes=[], hold=None)
        self._log(move.resource.name, {"began": {**to_plain(move), "resource": move.resource.name}})

    def note(self, resource: str, entry: Mapping[str, Any]) -> None:
        """
        Write a verdict or an outcome of the open move down.

        A step that is about to begin (``begun``, an outcome in advance) counts as unknown until its outcome replaces it: a
        request that was under way when this process ended may still be carried out.
        """
        if "begun" in entry or "outcome" in entry:
            with self._changed(resource) as plain:
                before = list(plain.get("outcomes", []))
                if "outcome" in entry and before and before[-1].get("open"):
                    before.pop()
                fresh = {**entry["begun"], "open": True} if "begun" in entry else entry["outcome"]
                plain["outcomes"] = [*before, fresh]
        self._log(resource, {key: value for key, value in entry.items() if key != "begun"})

    def finish(self, resource: str, entry: Mapping[str, Any]) -> None:
        """Close the open move and keep what the policy needs to remember of it."""
        with self._changed(resource) as plain:
            plain.update(move=None, outcomes=[], hold=None)
            if entry.get("ok"):
                plain["missing_ok"] = []  # somebody holds the disk now; who is lost from now on is lost anew
            plain["recent"] = [*plain.get("recent", []), dict(entry)][-RECENT:]
        self._log(resource, {"finished": dict(entry)})

    def hold(self, resource: str, entry: Mapping[str, Any] | None) -> None:
        """Record why nothing is done; the first moment of a hold is kept while its rule stays the same."""
        before = self._read(resource).get("hold")
        if entry is None and before is None:
            return
        if (
            entry
            and before
            and (before.get("rule"), before.get("reason")) == (entry.get("rule"), entry.get("reason"))
        ):
            return
        with self._changed(resource) as plain:
            plain["hold"] = dict(entry) if entry else None
        self._log(resource, {"hold": entry})

    def pause(self, resource: str, entry: Mapping[str, Any] | None) -> None:
        """Begin (``entry``: who, when, until) or end (``None``) maintenance."""
        with self._changed(resource) as plain:
            plain["pause"] = dict(entry) if entry else None
        self._log(resource, {"pause": entry})

    def clear(self, resource: str, at: float, missing: Sequence[str] = ()) -> None:
        """
        A person has looked: forget failed tries and damping, close an open move; the world is read anew.

        :param missing: nodes whose VMs vCenter does not show; from now on they count as deleted.
        """
        with self._changed(resource) as plain:
            plain.update(move=None, outcomes=[], hold=None, missing_ok=list(missing))
            plain["recent"] = [{**m, "damped": False, "forgotten": True} for m in plain.get("recent", [])]
        self._log(resource, {"cleared": at})

    def names(self) -> list[str]:
        """Resources that this journal knows."""
        return sorted(path.stem for path in self.directory.glob("*.json"))

    def open_moves(self) -> list[str]:
        """Resources with an open move, and those whose state cannot be read: somebody has to look at them and say so."""
        found = []
        for name in self.names():
            try:
                has_move = self.state(name).move is not None
            except JournalError:
                has_move = True
            found += [name] if has_move else []
        return found

    def history(self, resource: str) -> list[dict[str, Any]]:
        """Everything that was logged of ``resource``, oldest first; a torn last line is left out."""
        try:
            lines = self._path(resource, "log").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        except OSError as err:
            raise JournalError(self._broken(resource, f"cannot be read: {err.strerror}", "log")) from err
        found = []
        for line in lines:
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    # -- files ------------------------------------------------------------------------------------------------

    def _path(self, resource: str, kind: str = "json") -> Path:
        if not resource or "/" in resource or resource.startswith("."):
            raise JournalError(f"there is no journal of {resource!r}, that is no name of a resource")
        return self.directory / f"{resource}.{kind}"

    def _broken(self, resource: str, what: str, kind: str = "json") -> str:
        path = self.directory / f"{resource}.{kind}"
        return (
            f"the journal of {resource} ({path}) {what}; nothing is done with {resource} until that is mended"
        )

    def _read(self, resource: str) -> dict[str, Any]:
        try:
            plain = json.loads(self._path(resource).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except OSError as err:
            raise JournalError(self._broken(resource, f"cannot be read: {err.strerror}")) from err
        except ValueError as err:
            raise JournalError(self._broken(resource, "is damaged")) from err
        if not isinstance(plain, dict):
            raise JournalError(self._broken(resource, "is damaged"))
        return plain

    @contextlib.contextmanager
    def _changed(self, resource: str) -> Iterator[dict[str, Any]]:
        plain = self._read(resource)
        yield plain
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _replace(self._path(resource), json.dumps(plain, sort_keys=True).encode())
        except OSError as err:
            raise JournalError(self._broken(resource, f"cannot be written: {err.strerror}")) from err

    def _log(self, resource: str, entry: Mapping[str, Any]) -> None:
        try:
            with open(self._path(resource, "log"), "ab+") as log:
                torn = log.tell() and (log.seek(-1, os.SEEK_END), log.read(1))[1] != b"\n"
                line = json.dumps(to_plain(entry), sort_keys=True) + "\n"
                log.write(("\n" if torn else "").encode() + line.encode())
        except OSError as err:
            raise JournalError(self._broken(resource, f"cannot be written: {err.strerror}", "log")) from err


def _outcome(plain: Mapping[str, Any]) -> Outcome:
    step = Step(StepKind(plain["step"]["kind"]), plain["step"]["node"])
    return Outcome(
        step,
        Result(plain["result"]),
        plain.get("evidence", ""),
        plain.get("code", ""),
        plain.get("took", 0.0),
        basis=plain.get("basis", ""),
    )


def _replace(path: Path, content: bytes) -> None:
    """Replace a file so that after a power cut it holds the old or the new content, never a part."""
    fresh = path.with_suffix(".new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)
    os.rename(fresh, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
