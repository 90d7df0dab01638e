"""The changes keep their form, so that a reader, and whoever makes a release, finds what is looked for."""

from __future__ import annotations

import re

import pytest

from tests.packaging.source import ROOT

GROUPS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
LONGEST = 240


def text() -> str:
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def faults(changes: str) -> list[str]:
    """What is wrong with a text of changes, each with its line."""
    found, groups, seen = [], [], set[str]()
    for number, line in enumerate(changes.splitlines()[3:], 4):
        level, _, title = line.partition(" ")
        if level == "##":
            groups = []
            if not re.fullmatch(r"Unreleased|\[?\d+\.\d+\.\d+\]? - \d{4}-\d\d-\d\d", title):
                found.append(f"{number}: neither Unreleased nor a version with its date: {title}")
        elif level == "###":
            groups.append(title)
            if title not in GROUPS or groups != sorted(set(groups), key=GROUPS.index):
                found.append(f"{number}: no group, a group twice, or out of order: {title}")
        elif level == "-":
            if not groups or len(line) > LONGEST or not title.endswith(".") or title in seen:
                found.append(f"{number}: outside of a group, too long, twice, or without a full stop: {line}")
            seen.add(title)
        elif line and level != "####":
            found.append(f"{number}: neither a heading nor an entry of one line: {line}")
    return found


def test_the_changes_keep_their_form() -> None:
    assert text().splitlines()[0] == "# Changes"
    assert "\n## Unreleased\n" in text()
    assert faults(text()) == []


@pytest.mark.parametrize(
    "old, new",
    [
        ("## Unreleased\n", "## Soon\n"),
        ("### Added\n", "### New\n"),
        ("### Added\n", "### Fixed\n\n### Added\n"),
        ("### Added\n", "### Added\n\n### Added\n"),
        ("### Added\n", ""),
        ("### Added\n", "### Added\n\n- A thing.\n- A thing.\n"),
        ("### Added\n", "### Added\n\n- A thing.\n  And more of it.\n"),
        ("### Added\n", "### Added\n\n- A thing without an end\n"),
        ("### Added\n", f"### Added\n\n- A thing{' and another' * 20}.\n"),
    ],
)
def test_what_loses_the_form_is_found(old: str, new: str) -> None:
    good = "# Changes\n\nThe format.\n\n## Unreleased\n\n### Added\n\n#### Topic\n\n- A first thing.\n"
    assert faults(good) == []
    assert faults(good.replace(old, new)) != []


def test_each_version_that_was_released_has_its_section() -> None:
    source = (ROOT / "_utils/vmdk_failover/__init__.py").read_text(encoding="utf-8")
    (version,) = re.findall(r'^__version__ = "([^"]+)"$', source, re.MULTILINE)
    sections = re.findall(r"^## \[?(\d+\.\d+\.\d+)", text(), re.MULTILINE)
    assert sections in ([], sorted(sections, key=lambda one: [int(part) for part in one.split(".")])[::-1])
    assert not sections or sections[0] == version
