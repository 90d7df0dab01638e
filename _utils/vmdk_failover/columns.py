"""Moments and rows as people read them. Pure but for the time zone."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any


def aligned(rows: Sequence[Sequence[str]], gap: str = "  ") -> list[str]:
    """The rows with each column as wide as its widest entry; the last one as it is."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        gap.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def moment(wall: Any) -> str:
    """A moment in local time, ``2026-01-31 22:05:00``; ``""`` if it is none."""
    try:
        return datetime.datetime.fromtimestamp(float(wall)).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (TypeError, ValueError, OverflowError, OSError):
        return ""
