"""Which masters ask this node about its resources: each leaves a mark, so that it is noticed when there are several."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path

NAME = "masters"
#: A master that has not asked for so long (seconds) is none of this node's any more.
FORGOTTEN = 3600.0


def several(state_dir: Path, master: str) -> bool:
    """Note that ``master`` (its address in the configuration) asks, and say whether others have asked lately."""
    place = state_dir / NAME
    with contextlib.suppress(OSError):  # what is not noted is not noticed: no more than advice depends on it
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        mark = place / hashlib.sha256(master.encode()).hexdigest()[:16]
        mark.touch(0o600)
        os.utime(mark)
        now = time.time()
        return sum(1 for one in os.scandir(place) if abs(now - one.stat().st_mtime) < FORGOTTEN) > 1
    return False
