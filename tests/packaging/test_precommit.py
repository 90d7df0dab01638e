"""What runs before a commit runs at all: its programs are there, and its patterns meet files of this tree."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.packaging.source import ROOT

CONFIG = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
HOOKS: list[dict[str, Any]] = [hook for repo in CONFIG["repos"] for hook in repo["hooks"]]
SKIPPED = {".git", "build", "__pycache__"}


def files() -> list[str]:
    found = []
    for place, folders, here in os.walk(ROOT):
        folders[:] = set(folders) - SKIPPED
        found += [os.path.relpath(os.path.join(place, name), ROOT) for name in here]
    return found


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: str(hook["id"]))
def test_every_program_and_file_that_a_hook_names_is_there(hook: dict[str, Any]) -> None:
    words = [word for word in hook["entry"].split() if "/" in word and "=" not in word]
    assert words
    assert [word for word in words if not Path(ROOT, word).exists()] == []


@pytest.mark.parametrize("hook", [one for one in HOOKS if "files" in one], ids=lambda hook: str(hook["id"]))
def test_each_branch_of_a_hooks_pattern_meets_a_file(hook: dict[str, Any]) -> None:
    pattern = hook["files"]
    inside = re.fullmatch(r"\^\((.*)\)", pattern)
    branches = inside.group(1).split("|") if inside else [pattern.lstrip("^")]
    here = files()
    assert [one for one in branches if not any(re.match(one, name) for name in here)] == []
