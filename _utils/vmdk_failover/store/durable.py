"""
Files that survive a power cut, a full disk and a disk that hangs.

A file is replaced by writing its successor into space that was set aside beforehand (``<name>.spare``) and exchanging the two
names, so that a disk that has become full meanwhile does not keep anybody from writing. Everything has a deadline: a thread does
the work, and whoever waits for it gives up in time. Until a writer that was given up has ended (``<name>.writing`` is locked for
so long) nobody else writes, for its file or its exchange of names could come after theirs.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import pwd
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

#: Space that is set aside for each file (bytes); larger ones get a multiple of it.
BLOCK = 1 << 16
#: Seconds after which a disk counts as hung.
PATIENCE = 10.0
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


class GivenUp:
    """Whether somebody still waits for the work."""

    def __init__(self) -> None:
        self.by_now = False

    def check(self) -> None:
        """Raise if nobody does: what was given up must not happen later."""
        if self.by_now:
            raise OSError(errno.ECANCELED, "nobody waits for it any more")


def within(seconds: float, work: Callable[[GivenUp], T]) -> T:
    """
    Do ``work`` in a thread of its own.

    :raises OSError: ``ETIMEDOUT`` if it does not end within ``seconds``; whatever ``work`` raises.
    """
    given_up = GivenUp()
    came: list[tuple[T | None, BaseException | None]] = []

    def do() -> None:
        try:
            came.append((work(given_up), None))
        except BaseException as err:  # it is raised again where it is waited for
            came.append((None, err))

    thread = threading.Thread(target=do, daemon=True)
    thread.start()
    thread.join(seconds)
    if not came:
        given_up.by_now = True
        raise OSError(errno.ETIMEDOUT, f"the disk does not answer within {seconds:g} s")
    value, err = came[0]
    if err is not None:
        raise err
    return value  # type: ignore[return-value]  # no error, so there is a value


def replace(
    path: Path,
    content: bytes,
    given_up: GivenUp | None = None,
    *,
    lasting: bool = True,
    block: int = BLOCK,
) -> None:
    """
    Replace a file, mode 0600: after a power cut it holds the old or the new content, never a part. It is filled up with blanks.

    :param lasting: ``False`` for what is true for the moment only: it is not synced, so a power cut may leave anything of it.
    :param block: bytes of which the space that is set aside is a multiple.
    :raises OSError: it holds the old content.
    """
    with _alone(path.with_suffix(".writing")):
        if given_up is not None:
            given_up.check()
        _replace(path, content, given_up, lasting, -(-max(len(content), 1) // block) * block)


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Be the only writer, in any process or thread; waits for the one before."""
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _replace(path: Path, content: bytes, given_up: GivenUp | None, lasting: bool, size: int) -> None:
    spare = path.with_suffix(".spare")
    handle = _set_aside(spare, size)
    # what was given back would be somebody else's on a disk that is full
    size = max(size, os.fstat(handle).st_size)
    try:
        view = memoryview(content.ljust(size))
        while view:
            view = view[os.write(handle, view) :]
        if lasting:
            os.fsync(handle)
    finally:
        os.close(handle)
    if given_up is not None:
        given_up.check()
    _exchange(spare, path)
    if lasting:
        sync_folder(path.parent)
    with contextlib.suppress(OSError):  # the next one will have to find the space
        os.close(_set_aside(spare, size))


def write(path: Path, content: bytes) -> None:
    """
    Replace a file that people read, mode 0600, by one of exactly this content.

    :raises OSError: it holds the old content.
    """
    fresh = path.with_name(f".{path.name}.new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(handle)
    os.rename(fresh, path)
    sync_folder(path.parent)


def mend(folder: Path, err: OSError) -> str:
    """
    What comes after the words that something in ``folder`` cannot be read or written: the command that mends it, where it is the
    owner that is wrong (a master seldom runs as root); else nothing.
    """
    if err.errno not in (errno.EACCES, errno.EPERM):
        return ""
    return f"; as root say {given(folder)!r}, for this master runs as {user()}"


def user() -> str:
    """Whom this process runs as."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def given(folder: Path) -> str:
    """The command that gives a folder, there or not, to the user of this process."""
    if os.path.exists(folder):
        return f"chown -R {user()}: {folder}"
    return f"install -d -o {user()} -m 0700 {folder}"


def append(path: Path, line: bytes, limit: int) -> None:
    """
    Add a line to a log, after a torn one on a line of its own; a log of more than ``limit`` bytes begins anew, and one older part
    (``.log.old``) is kept. It is not synced. Raises ``OSError``.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > limit:
        path.rename(path.with_suffix(".log.old"))
    with open(path, "ab+") as log:
        torn = log.tell() and (log.seek(-1, os.SEEK_END), log.read(1))[1] != b"\n"
        log.write((b"\n" if torn else b"") + line)


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable. Raises ``OSError``."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _set_aside(spare: Path, size: int) -> int:
    handle = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(handle).st_size < size:
            os.posix_fallocate(handle, 0, size)
    except OSError as err:
        if err.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            os.close(handle)
            raise
    return handle


def _exchange(spare: Path, path: Path) -> None:
    """Both names change places; where a file system cannot do that, and the first time, the spare one takes the name."""
    libc: Any = ctypes.CDLL(None, use_errno=True)
    done = -1
    if hasattr(libc, "renameat2"):
        done = libc.renameat2(
            _AT_FDCWD, os.fsencode(spare), _AT_FDCWD, os.fsencode(path), ctypes.c_uint(_RENAME_EXCHANGE)
        )
    if done != 0:
        os.rename(spare, path)
