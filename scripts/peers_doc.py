#!/usr/bin/env python3
"""Keep what docs/peers.md quotes from the documents of others the same as lab/peers/documented.py.

``--write`` writes that section anew; ``--check`` exits with 1 if it differs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "peers.md"
HEAD = "## What their documents say\n"
sys.path.insert(0, str(ROOT))

from lab.peers import documented  # noqa: E402 – found by the line above

INTRODUCTION = f"""
Defaults that were not measured here, as their own documents have them; "{documented.UNKNOWN}" where none was found.
`make bench-peers` prints them with its figures. The table is `lab/peers/documented.py`, written here by
`scripts/peers_doc.py --write`.
"""


def split(text: str) -> tuple[str, str, str]:
    """What comes before the section, the section, and what comes after it.

    :param text: the page. :raises ValueError: if it has no such section.
    """
    before, mark, rest = text.partition(HEAD)
    if not mark:
        raise ValueError(
            f"{PAGE.relative_to(ROOT)} has no section {HEAD.strip()!r}; write that line where it shall be"
        )
    section, following, after = rest.partition("\n## ")
    return before + mark, section, following + after


def section() -> str:
    """The section as it should be, without its heading."""
    return f"{INTRODUCTION}\n{documented.page()}\n"


def main() -> int:
    """Write or check. Returns the exit status: 1 if the page differs, 2 if it has no such section."""
    parser = argparse.ArgumentParser(description=__doc__)
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--check", action="store_true")
    chosen.add_argument("--write", action="store_true")
    given = parser.parse_args()
    try:
        before, present, after = split(PAGE.read_text(encoding="utf-8"))
    except ValueError as problem:
        print(problem, file=sys.stderr)
        return 2
    if given.write:
        PAGE.write_text(before + section() + after, encoding="utf-8")
    elif present != section():
        print(
            f"{PAGE.relative_to(ROOT)} differs from lab/peers/documented.py; run scripts/peers_doc.py --write",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
