#!/usr/bin/env python3
"""Keep docs/scenarios.md the same as the files under tests/scenarios, or play some of them.

``--check`` exits with 1 if the page differs from the files, ``--write`` writes it anew, ``--play FILE …`` prints what files
come to.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "scenarios.md"
sys.path[:0] = [str(ROOT), str(ROOT / "_utils")]

from tests.core import golden  # noqa: E402 – found by the line above

HEAD = """\
# Scenarios

What can go wrong, and how it ends. Each line is a file under `tests/scenarios`, played by the tests through the product's real
judgement and loop; `tests/scenarios/README.md` tells how to add one. Nodes are db1, db2, …; unless it is said otherwise, db1
holds the disk at the beginning and all else is well. Rules are explained in [rules.md](rules.md). This page is written by
`scripts/scenarios_doc.py`.
"""
COLUMNS = ["", "| scenario | what happens | how it ends |", "|---|---|---|"]


def page() -> str:
    """The page as it should be."""
    stories = [golden.load(path) for path in golden.files()]
    lines = [HEAD, f"{len(stories)} scenarios.\n"]
    for chapter, some in groupby(stories, lambda one: one.path.parent.name):
        lines += [f"## {chapter.replace('-', ' ').capitalize()}", *COLUMNS]
        lines += [*map(row, some), ""]
    return "\n".join(lines)


def row(story: golden.Story) -> str:
    link = f"[{story.title}](../tests/scenarios/{story.name}.yaml)"
    why = f" *{story.why}*" if story.why else ""
    source = f" ({', '.join(story.source)})" if story.source else ""
    ends = "; ".join(ending(name, body, len(story.expect) > 1) for name, body in story.expect.items())
    return f"| {cell(link)} | {cell(story.what + why + source)} | {cell(ends)} |"


def ending(name: str, expect: golden.Table, several: bool) -> str:
    """How it ends for one resource: by which steps, where, and what the operator reads."""
    done = " → ".join(expect["steps"])
    last = str(expect["verdicts"][-1]).partition(" ")[2] if expect["verdicts"] else ""
    words = "" if expect["end"].startswith("active") or not last else f": “{last}”"
    return (
        (f"{name}: " if several else "")
        + (f"{done}; " if done else "nothing is done; ")
        + f"**{expect['end']}**{words}"
    )


def cell(words: str) -> str:
    return words.replace("|", "\\|").replace("\n", " ")


def differing() -> Iterator[str]:
    if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
        yield f"{PAGE.relative_to(ROOT)} differs from tests/scenarios; run scripts/scenarios_doc.py --write"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--check", action="store_true")
    chosen.add_argument("--write", action="store_true")
    chosen.add_argument("--play", nargs="+", type=Path, metavar="FILE")
    wanted = parser.parse_args()
    try:
        if wanted.play:
            print("\n".join(golden.told(path) for path in wanted.play))
            return 0
        if wanted.write:
            PAGE.write_text(page(), encoding="utf-8")
            return 0
        found = list(differing())
    except golden.Wrong as err:
        found = [str(err)]
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
