"""
Moves that a crash left open: found within seconds, so that the next look goes on with them.

The mover of a move holds the resource's lock; the kernel frees it when the mover dies, however it dies. An open move
without a lock has nobody who carries it on. One that is held waits for the engine's tick, as every hold does.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from vmdk_failover.errors import JournalError
from vmdk_failover.journal import FileJournal
from vmdk_failover.lock import FileLock

#: Seconds between two looks at the journal.
PAUSE = 2.0

Hint = Callable[[str, str], None]


def unfinished(journal: FileJournal, lock: FileLock) -> list[str]:
    """Names of resources with an open move that is not held and that nobody works on."""
    found = []
    for name in journal.open_moves():
        try:
            if journal.state(name).hold is None and lock.is_free(name):
                found.append(name)
        except JournalError:
            continue  # whoever looks at the resource says so; here it would be said every two seconds
    return found


def watch_for_ever(
    journal: FileJournal, lock: FileLock, hint: Hint, meanwhile: Callable[[], None] = lambda: None
) -> None:
    """
    Look for such moves until the process is ended.

    :param hint: called with the resource's name and ``unfinished``.
    :param meanwhile: called once a round; may take a second.
    """
    while True:
        time.sleep(PAUSE)
        meanwhile()
        for name in unfinished(journal, lock):
            hint(name, "unfinished")
