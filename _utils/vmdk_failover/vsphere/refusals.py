"""
Memory of refused logins, so that a wrong password is tried once and not until the account is locked.

Every failover runs in a process of its own, so the memory may be a file. It never holds the password, only a
slow salted digest that tells whether user or password have been corrected since.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

#: Seconds until the first repetition; vCenter unlocks an account after 300 s by default. Doubled up to the
#: second number.
FIRST_PAUSE, LONGEST_PAUSE = 300.0, 3600.0


@dataclass(frozen=True)
class Refusal:
    """
    The last refused login: when (wall seconds), how many in a row, and the salted digest of what was tried.
    """

    at: float
    count: int
    salt: str
    digest: str


class Refusals:
    """
    Remembers refused logins of one account.

    :param path: file to share the memory with other processes; ``""``: this process only.
    :param wall: clock in seconds since 1970.
    """

    def __init__(self, path: str = "", wall: Callable[[], float] = time.time) -> None:
        self._path, self._wall = path, wall
        self._last: Refusal | None = None

    def wait(self, user: str, password: str) -> float:
        """Seconds until this user and password may be tried again; 0 for now."""
        last = self._load()
        if last is None or last.digest != _digest(user, password, last.salt):
            return 0.0
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (last.count - 1))
        passed = self._wall() - last.at
        return 0.0 if passed < 0 else max(0.0, pause - passed)

    def note(self, user: str, password: str) -> None:
        """Remember that user and password were refused just now."""
        last = self._load()
        again = last is not None and last.digest == _digest(user, password, last.salt)
        salt = os.urandom(16).hex()
        count = last.count + 1 if last is not None and again else 1
        self._save(Refusal(self._wall(), count, salt, _digest(user, password, salt)))

    def clear(self) -> None:
        """Forget all refusals: a login worked."""
        self._last = None
        if self._path:
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    def _load(self) -> Refusal | None:
        if not self._path:
            return self._last
        try:
            with open(self._path, encoding="utf-8") as file:
                return Refusal(**json.load(file))
        except (OSError, ValueError, TypeError):
            return self._last  # a memory that cannot be read is no reason not to log in

    def _save(self, refusal: Refusal) -> None:
        self._last = refusal
        if not self._path:
            return
        with contextlib.suppress(OSError):  # the memory of this process still holds
            folder = os.path.dirname(self._path) or "."
            handle, name = tempfile.mkstemp(dir=folder, prefix=".vmdk-login-")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(dataclasses.asdict(refusal), file)
            os.replace(name, self._path)


def _digest(user: str, password: str, salt: str) -> str:
    secret = f"{user}\0{password}".encode()
    return hashlib.scrypt(secret, salt=bytes.fromhex(salt), n=2**14, r=8, p=1).hex()
