"""The way into a lab that runs: as on its master, or as on one of its nodes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from lab import leftovers
from lab.cell import LabError
from lab.faultdisk import ROOT
from lab.saltconf import MINION_ROOT

MASTER = "labmaster"


def enter(lab: Path | None, node: str, argv: Sequence[str]) -> NoReturn:
    """
    Become a command inside, or a shell. Salt's commands find their configuration there.

    :param lab: its directory; the one that runs if ``None``. :param node: its name; the master if empty.
    :raises LabError: not one such lab runs, or it has no such node.
    """
    found = {path: pid for path, pid in leftovers.running().items() if lab in (None, path)}
    if len(found) != 1:
        if found:
            raise LabError(f"several labs run; name one with --lab: {', '.join(map(str, found))}")
        which = f"the lab {lab} does not run" if lab else "no lab runs"
        raise LabError(f"{which}; start one with `python -m lab up`")
    ((directory, owner),) = found.items()
    cells = leftovers.cells(owner)
    where = node or MASTER
    if where not in cells:
        raise LabError(f"{where} does not run in {directory}; there are {', '.join(sorted(cells)) or 'none'}")
    # also its process numbers and its boot: what is dated by one boot is not to be read under another
    words = ["nsenter", "-t", str(cells[where]), "-n", "-m", "-u", "-i", "-p", f"--wd={ROOT}", "--"]
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SALT_CONFIG_DIR": MINION_ROOT if node else str(directory / "m" / "salt"),
    }
    os.execvpe(words[0], [*words, *(argv or [os.environ.get("SHELL", "/bin/sh")])], environment)
