#!/usr/bin/env python3
"""Keep docs/rules.md the same as the tables in the code.

``--check`` exits with 1 if the page differs from the tables, ``--write`` writes it anew.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "rules.md"
sys.path.insert(0, str(ROOT / "_utils"))

from vmdk_failover import describe  # noqa: E402 – the library is found by the line above

HEAD = """\
# Rules

Two numbered tables decide everything; in each, the first row that matches wins. The number stands in every sentence that the
product says. `salt-run vmdk.rules` prints the same tables. This page is written by `scripts/rules_doc.py`.

What follows: a step (`release`, `halt`, `fence`, `fence_hook`, `fence_host`, `detach`, `attach`, `mount`, `power_on`,
`seal`: a change of a VM that makes a lost request impossible), a move that begins (`failover`, `switchover`,
`start`, `repair`), or `hold` (nothing is done, and it is said why), `wait` (it passes by itself), `refuse`, `nothing`, `done`,
`abandon` (the move ends without harm and the resource is judged anew).
"""
TITLES = {
    "policy": "## Should it move? When no move is open",
    "steps": "## What next? While a move is open",
}


def page() -> str:
    """The page as it should be."""
    return "\n".join(
        [HEAD, *_tables(), "## The same, drawn", "", "```mermaid", describe.mermaid() + "```", ""]
    )


def _tables() -> Iterator[str]:
    for name, title in TITLES.items():
        yield f"{title}\n\n| rule | when | then |\n|---|---|---|"
        for row in describe.table():
            if row["table"] == name:
                yield f"| {row['rule']} | {row['when']} | {row['then']} |"
        yield ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--check", action="store_true")
    chosen.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page():
        return 0
    print(
        f"{PAGE.relative_to(ROOT)} differs from the tables; run scripts/rules_doc.py --write", file=sys.stderr
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
