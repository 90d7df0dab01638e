"""The table of measured figures: every row says what was measured, what it came to, and by which target."""

from __future__ import annotations

import importlib.util
import re
import sys
from typing import Any

import pytest

from tests.packaging.source import ROOT

spec = importlib.util.spec_from_file_location("figures_doc", ROOT / "scripts" / "figures_doc.py")
assert spec is not None and spec.loader is not None
figures: Any = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = figures  # its dataclass looks itself up there
spec.loader.exec_module(figures)

TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def table() -> list[list[str]]:
    _, rows, _ = figures.split(figures.PAGE.read_text(encoding="utf-8"))
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_page_has_every_figure_with_its_goal_and_its_target() -> None:
    """The figures themselves are of the machine that measured last."""
    assert [(words, goal, by) for words, _, goal, by in table()] == [
        (one.words, one.goal, f"`make {one.target}`") for one in figures.FIGURES
    ]
    assert all(re.search(r"\d", figure) for _, figure, _, _ in table())


@pytest.mark.parametrize("target", sorted({one.target.split()[0] for one in figures.FIGURES}))
def test_a_figure_is_measured_by_a_target_that_is_there(target: str) -> None:
    assert target in TARGETS


def test_a_page_is_taken_apart_without_loss() -> None:
    text = figures.PAGE.read_text(encoding="utf-8")
    before, rows, after = figures.split(text)
    assert "\n".join((before + figures.HEAD[0], figures.HEAD[1], *rows, after)) == text
