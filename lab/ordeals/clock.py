"""Wall clocks that jump, each cell's on its own: what its Python programs call time.time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TURNED = str(Path(__file__).with_name("turned"))


@contextmanager
def turnable() -> Iterator[None]:
    """Programs that are started in this block have a clock that can be turned."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{_TURNED}:{before}" if before else _TURNED
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def is_turnable() -> bool:
    """Whether this is inside such a block."""
    return _TURNED in os.environ.get("PYTHONPATH", "").split(":")


def turn(directory: Path, seconds: float) -> None:
    """Turn the clock of a cell. directory: the cell's. seconds: ahead (or behind) of the true time; 0 sets it right."""
    fresh = directory / "clock.new"
    fresh.write_text(str(seconds), encoding="ascii")
    fresh.rename(directory / "clock")
