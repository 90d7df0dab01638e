"""Turns the wall clock of the Python programs of one cell: to what it shows is added what /run/lab/clock says, in seconds.

Machines made of namespaces share one wall clock. Python imports this by itself where its folder is in PYTHONPATH.
"""

import time

PLACE = "/run/lab/clock"
_PAUSE = 0.1

_true = time.time
_known = [0.0, float("-inf")]  # seconds to add, and when that was read


def turned() -> float:
    """The time that the programs of this cell see."""
    now = time.monotonic()
    if now - _known[1] > _PAUSE:
        _known[1] = now
        try:
            with open(PLACE, encoding="ascii") as file:
                _known[0] = float(file.read() or 0)
        except (OSError, ValueError):
            _known[0] = 0.0
    return _true() + _known[0]


time.time = turned
