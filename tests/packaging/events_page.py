"""What docs/events.md says of each event, as plain data."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.packaging.pages import DOCS

PAGE = DOCS / "events.md"


@dataclass(frozen=True)
class Written:
    """One event of the page. keys: always there. sometimes: may be there too."""

    pattern: str
    keys: frozenset[str]
    sometimes: frozenset[str]
    example: Mapping[str, Any]


def page() -> list[Written]:
    """The events that are written down, in order: the first whose tag fits is meant."""
    found = []
    for part in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        tag = re.match(r"`([^`]+)`", part)
        if not tag:
            continue
        rows = re.findall(r"^\| `(\w+)`( \*)? \|", part, re.M)
        example = re.search(r"```json\n(.+?)\n```", part, re.S)
        assert example, f"{tag[1]} has no example"
        keys = frozenset(name for name, star in rows if not star)
        pattern = re.sub(r"<\w+>", "*", tag[1])
        found.append(Written(pattern, keys, frozenset(n for n, star in rows if star), json.loads(example[1])))
    return found
