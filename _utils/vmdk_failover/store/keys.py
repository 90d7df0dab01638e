"""
The master's secret, the nodes' keys that are derived from it, and how both are changed.

While keys are changed, the new one and the old one count, until every node has spoken under the new one (:meth:`Keys.end`).
The files are looked at whenever a key is needed, so that a process which listens for days takes part.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from vmdk_failover import signing
from vmdk_failover.errors import JournalError, Refused
from vmdk_failover.store import durable

_SECRET, _OLD, _SPOKEN = "secret", "secret.old", "spoken"
#: Bytes without which a secret is none: a torn copy, of whose keys anybody could make the same.
LEAST = 16


class Keys:
    """
    Keys of the nodes of one master.

    :param state_dir: the master's; the secret in it is made at first use, mode 0600, and never shown.
    """

    def __init__(self, state_dir: Path) -> None:
        self._dir = state_dir
        self._known: dict[str, tuple[tuple[int, int, int], bytes]] = {}

    @property
    def changing(self) -> bool:
        """Whether an old key still counts."""
        return self._secret(_OLD) is not None

    def current(self, minion: str) -> str:
        """The key of a node, 64 hex digits."""
        return signing.node_key(self.secret(), minion)

    def old(self, minion: str) -> str:
        """The key that a node had before, while that still counts; else ``""``."""
        before = self._secret(_OLD)
        return signing.node_key(before, minion) if before is not None else ""

    def announcing(self) -> list[str]:
        """
        The keys of what this master tells on its event bus: the current one, and the one before while that still counts.

        :raises JournalError: as :meth:`secret`.
        """
        made = (self.secret(), self._secret(_OLD))
        return [signing.announcing_key(one) for one in made if one is not None]

    def spoke(self, minion: str, key: str) -> None:
        """A node has spoken under ``key``."""
        if not self.changing or not hmac.compare_digest(key, self.current(minion)):
            return
        with contextlib.suppress(OSError):  # then it has to speak again
            place = self._dir / _SPOKEN
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            (place / minion).write_text(self._mark(), encoding="ascii")

    def waiting_for(self, minions: Iterable[str]) -> list[str]:
        """Nodes that have not spoken under the current key yet."""
        return sorted(m for m in set(minions) if self._spoken(m) != self._mark()) if self.changing else []

    def begin(self) -> None:
        """
        Make a new secret.

        :raises Refused: the last change has not ended, or the secret cannot be written.
        """
        if self.changing:
            raise Refused(
                "the keys are being changed already; 'salt-run vmdk.rotate_keys' says who is waited for"
            )
        self.secret()
        try:
            fresh = self._write(secrets.token_bytes(32))
            os.link(self._dir / _SECRET, self._dir / _OLD)
            os.rename(fresh, self._dir / _SECRET)
            durable.sync_folder(self._dir)
        except OSError as err:
            raise Refused(
                f"{self._dir / _SECRET} cannot be changed: {err.strerror}; the keys are as they were"
            ) from err

    def end(self, minions: Iterable[str]) -> bool:
        """From now on only the current key counts, if all ``minions`` have spoken under it. Whether that is so."""
        if self.waiting_for(minions):
            return False
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._dir / _OLD)
        return True

    def secret(self) -> bytes:
        """
        What all keys are derived from.

        :raises JournalError: it cannot be read, or not be made, or is a torn one.
        """
        found = self._secret(_SECRET)
        if found is None:
            try:
                found = self._first()
            except OSError as err:
                raise self._unusable(_SECRET, "made", err) from err
        return _whole(self._dir / _SECRET, found)

    def _first(self) -> bytes:
        self._dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._write(secrets.token_bytes(32))
        with contextlib.suppress(FileExistsError):  # whoever comes second keeps the first one's secret
            os.link(fresh, self._dir / _SECRET)
        os.unlink(fresh)
        return (self._dir / _SECRET).read_bytes()

    def _secret(self, name: str) -> bytes | None:
        path = self._dir / name
        try:
            seen = os.stat(path)
            mark = (seen.st_ino, seen.st_mtime_ns, seen.st_size)
            if self._known.get(name, ((0, 0, 0), b""))[0] != mark:
                self._known[name] = (mark, path.read_bytes())
            return _whole(path, self._known[name][1])
        except FileNotFoundError:
            self._known.pop(name, None)
            return None
        except OSError as err:
            raise self._unusable(name, "read", err) from err

    def _unusable(self, name: str, doing: str, err: OSError) -> JournalError:
        words = (
            f"{self._dir / name}, from which the keys of all nodes come, cannot be {doing}: {err.strerror}"
        )
        return JournalError(words + durable.mend(self._dir, err))

    def _write(self, content: bytes) -> Path:
        fresh = self._dir / f"{_SECRET}.{os.getpid()}"
        fresh.unlink(missing_ok=True)
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(handle, content)
            os.fsync(handle)
        finally:
            os.close(handle)
        return fresh

    def _mark(self) -> str:
        """Names the current secret without showing it."""
        return hashlib.sha256(b"vmdk secret:" + self.secret()).hexdigest()[:32]

    def _spoken(self, minion: str) -> str:
        try:
            return (self._dir / _SPOKEN / minion).read_text(encoding="ascii")
        except (OSError, ValueError):
            return ""


def _whole(path: Path, content: bytes) -> bytes:
    if len(content) >= LEAST:
        return content
    raise JournalError(
        f"{path}, from which the keys of all nodes come, has {len(content)} bytes: it was not copied whole, and with it anybody "
        "could make the same keys. Copy it again; if it is whole nowhere, remove it, and say \"salt '*' saltutil.refresh_pillar\""
        ": a new one is made, and the nodes get new keys"
    )
