"""
The journal: durable intent and history, one pair of files per resource.

``<dir>/<resource>.json`` is the state (epoch, open move with the resource frozen in it, outcomes of its steps, pause, hold,
finished moves, ``home``, where the disk was last for certain); it is replaced atomically, in space that was set aside
(``durable.py``). ``<dir>/<resource>.log`` is the history for people, one JSON object a line; when it cannot be written, that is
told and nothing waits for it. A state that cannot be read or written, or is not there although there was one, is an error, never
an empty one. The caller holds the resource's lock (``lock.py``) while it writes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vmdk_failover.errors import JournalError
from vmdk_failover.judgement import config, dated
from vmdk_failover.judgement.dated import Moment
from vmdk_failover.model import Move, Resource, to_plain
from vmdk_failover.store import durable, overlap, record
from vmdk_failover.store.record import Entry

#: Finished moves that are kept in the state; the log keeps all.
RECENT = 50
#: A history that has grown to so many bytes begins anew; one older part is kept.
LOG_LIMIT = 4 << 20


class FileJournal:
    """
    The ``Journal`` port over a directory.

    :param directory: made if it is missing, mode 0700.
    :param known: directory beside it with a mark for each resource that ever had a journal, so that a lost one is noticed.
    :param moment: tells now; with it, ages of finished moves do not depend on the wall clock within one boot.
    :param patience: seconds for each read or write.
    :param configured: tells the names of all resources that are configured; without it nobody's maintenance keeps another name
        from a disk.
    :ivar trouble: why the history could not be written, one sentence; ``""`` if all is well.
    """

    def __init__(
        self,
        directory: Path,
        known: Path | None = None,
        moment: Callable[[], Moment] | None = None,
        patience: float = durable.PATIENCE,
        configured: Callable[[], Collection[str]] | None = None,
    ) -> None:
        self.configured = configured
        self.directory = directory
        self.known = known
        self.moment = moment
        self.patience = patience
        self.trouble = ""

    def state(self, resource: str) -> Entry:
        """Read what is recorded of ``resource``; an empty entry for one that never was."""
        plain = self._read(resource)
        try:
            return record.read(plain, self._redated)
        except (KeyError, TypeError, ValueError) as err:
            raise JournalError(
                self._broken(resource, f"has a form that is not understood ({err!r})")
            ) from err

    def begin(self, move: Move) -> None:
        """Write an intent down before its first step; its epoch must be the next one, its disks free (:meth:`check_free`)."""
        with self._alone(move.resource.name), self._changed(move.resource.name) as plain:
            self.check_free(move.resource)
            if move.epoch != int(plain.get("epoch", 0)) + 1 or plain.get("move"):
                raise JournalError(
                    f"a move of {move.resource.name} is already open, or epoch {move.epoch} is not the next one"
                )
            plain.update(epoch=move.epoch, move=to_plain(move), outcomes=[], hold=None)
        frozen = {"resource": move.resource.name, "settings": config.to_body(move.resource)}
        self._log(move.resource.name, {"began": {**to_plain(move), **frozen}})

    def check_free(self, resource: Resource) -> None:
        """:raises JournalError: a disk is in an open move, or in maintenance, under another name."""
        overlap.check(self.directory, resource, self.patience)
        if self.configured is not None:
            overlap.check_maintenance(self.directory, resource, self.configured(), self.patience)

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
                hold = None if "begun" in entry else plain.get("hold")  # with a step it goes on
                plain.update(outcomes=[*before, fresh], hold=hold)
        self._log(resource, {key: value for key, value in entry.items() if key != "begun"})

    def finish(self, resource: str, entry: Mapping[str, Any]) -> None:
        """Close the open move and keep what the policy needs to remember of it."""
        with self._changed(resource) as plain:
            plain.update(move=None, outcomes=[], hold=None)
            if entry.get("ok"):
                plain["missing_ok"] = []  # somebody holds the disk now; who is lost from now on is lost anew
                plain["home"] = self._home(
                    {"node": entry.get("target", ""), "epoch": entry.get("epoch", 0)}, resource
                )
            plain["recent"] = [*plain.get("recent", []), self._dated(entry)][-RECENT:]
        self._log(resource, {"finished": dict(entry)})

    def sight(self, resource: str, home: Mapping[str, Any]) -> None:
        """Remember on which ``node`` the disk was seen for certain, after the move of which ``epoch`` had ended."""
        with self._changed(resource) as plain:
            plain["home"] = self._home(home, resource)

    def _home(self, home: Mapping[str, Any], resource: str) -> dict[str, Any]:
        """As it is kept."""
        return dict(home)

    def hold(self, resource: str, entry: Mapping[str, Any] | None) -> None:
        """Record why nothing is done; the first moment of a hold is kept while its rule stays the same."""
        if _same_hold(self._read(resource).get("hold"), entry):
            return
        with self._changed(resource) as plain:
            plain["hold"] = dict(entry) if entry else None
        self._log(resource, {"hold": entry})

    def pause(self, resource: str, entry: Mapping[str, Any] | None) -> None:
        """Begin (``entry``: who, when, until, of which ``disks``) or end (``None``) maintenance."""
        with self._changed(resource) as plain:
            plain["pause"] = dict(entry) if entry else None
        self._log(resource, {"pause": overlap.told_of(entry) if entry else entry})

    def clear(self, resource: str, at: float, missing: Sequence[str] = ()) -> None:
        """
        A person has looked: forget failed tries and damping, close an open move; the world is read anew.

        :param missing: nodes whose VMs vCenter does not show; from now on they count as deleted.
        """
        with self._changed(resource) as plain:
            plain.update(move=None, outcomes=[], hold=None, missing_ok=list(missing), home=None)
            plain["recent"] = [{**m, "damped": False, "forgotten": True} for m in plain.get("recent", [])]
        self._log(resource, {"cleared": at})

    def adopt(self, resource: str, epoch: int, entry: Mapping[str, Any], missing: Sequence[str] = ()) -> None:
        """
        A person takes the world as it is now: whatever was remembered ends here, also what cannot be read or is lost; maintenance
        goes on.

        :param epoch: above every one that was ever given out.
        :param entry: what the history is to tell of it.
        :param missing: nodes whose VMs vCenter does not show; from now on they count as deleted.
        """
        pause = None
        with contextlib.suppress(JournalError):
            before = self.state(resource)
            epoch, pause = max(epoch, before.epoch), dict(before.pause) or None
        self._set_apart(resource)
        home = {"node": entry["active"], "epoch": epoch} if entry.get("active") else None
        self._write(resource, {"epoch": epoch, "pause": pause, "missing_ok": [*missing], "home": home})
        self._log(resource, {"adopted": {**entry, "epoch": epoch}})

    def in_maintenance(self, resource: str) -> bool:
        """Whether a neighbour is paused, as far as this master knows."""
        return self.state(resource).paused

    def others(self, resource: str) -> tuple[int, str] | None:
        """The epoch that another master is at work under, and which it is; ``None`` if there is none."""
        return None

    def overtake(self, resource: str, epoch: int) -> None:
        """Keep other masters from their next step; what they have asked for already is not undone by it."""

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
        found = []
        for line in [*self._lines(resource, "log.old"), *self._lines(resource, "log")]:
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    # -- time -------------------------------------------------------------------------------------------------

    def _dated(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        return dict(entry) if self.moment is None else dated.with_moment(entry, self.moment())

    def _redated(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        return dict(entry) if self.moment is None else dated.by_now(entry, self.moment())

    # -- files ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _alone(self, resource: str) -> Iterator[None]:
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(overlap.alone(self.directory, self.patience))
            except OSError as err:
                raise JournalError(self._broken(resource, f"cannot be written: {err.strerror}")) from err
            yield

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
        path = self._path(resource)
        try:
            plain = json.loads(durable.within(self.patience, lambda _: path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return self._never_was(resource)
        except OSError as err:
            raise JournalError(self._broken(resource, f"cannot be read: {err.strerror}")) from err
        except ValueError as err:
            raise JournalError(self._broken(resource, "is damaged")) from err
        if not isinstance(plain, dict):
            raise JournalError(self._broken(resource, "is damaged"))
        return plain

    def _never_was(self, resource: str) -> dict[str, Any]:
        """Nothing, if there never was a journal."""
        try:
            lost = self.known is not None and os.stat(self.known / resource) is not None
        except FileNotFoundError:
            lost = False
        except OSError as err:
            raise JournalError(self._broken(resource, f"cannot be read: {err.strerror}")) from err
        if lost:
            raise JournalError(
                f"the journal of {resource} ({self._path(resource)}) is lost; nothing is done with {resource} until you bring it "
                f"back, or take the world as it is now with 'salt-run vmdk.adopt {resource}'"
            )
        return {}

    @contextlib.contextmanager
    def _changed(self, resource: str) -> Iterator[dict[str, Any]]:
        plain = self._read(resource)
        yield plain
        self._write(resource, plain)

    def _write(self, resource: str, plain: Mapping[str, Any]) -> None:
        path, content = self._path(resource), json.dumps(plain, sort_keys=True).encode()

        def write(given_up: durable.GivenUp) -> None:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            durable.replace(path, content, given_up)
            self._mark(resource)

        try:
            durable.within(self.patience, write)
        except OSError as err:
            raise JournalError(self._broken(resource, f"cannot be written: {err.strerror}")) from err

    def _mark(self, resource: str) -> None:
        if self.known is None or (self.known / resource).exists():
            return
        self.known.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.known / resource).touch(0o600)
        durable.sync_folder(self.known)

    def _set_apart(self, resource: str) -> None:
        """
        Keep a journal that is to be given up, for whoever wants to know later. It stays in its place until the new one replaces
        it: whoever dies in between has not ended maintenance. One that cannot be copied (its disk is bad, or full) makes way.
        """
        path = self._path(resource)
        apart = path.with_suffix(f".given-up-{time.time():.0f}")
        try:
            try:
                shutil.copyfile(path, apart)
            except FileNotFoundError:
                return
            except OSError:
                path.rename(apart)
        except OSError as err:
            raise JournalError(self._broken(resource, f"cannot be set apart: {err.strerror}")) from err

    def _lines(self, resource: str, kind: str) -> list[str]:
        path = self._path(resource, kind)
        try:
            return durable.within(
                self.patience, lambda _: path.read_text(encoding="utf-8", errors="replace").splitlines()
            )
        except FileNotFoundError:
            return []
        except OSError as err:
            raise JournalError(self._broken(resource, f"cannot be read: {err.strerror}", kind)) from err

    def _log(self, resource: str, entry: Mapping[str, Any]) -> None:
        """The state is written already: a history that cannot be is no reason to hold."""
        dated = {"at": self.moment().wall, **entry} if self.moment is not None else entry
        path, line = self._path(resource, "log"), json.dumps(to_plain(dated), sort_keys=True) + "\n"
        try:
            durable.within(self.patience, lambda _: durable.append(path, line.encode(), LOG_LIMIT))
            self.trouble = ""
        except OSError as err:
            self.trouble = f"the history of {resource} ({path}) cannot be written: {err.strerror}"


def _same_hold(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool:
    return [(one or {}).get(key) for key in ("rule", "reason")] == [
        (other or {}).get(key) for key in ("rule", "reason")
    ]
