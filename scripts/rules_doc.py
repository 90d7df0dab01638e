#!/usr/bin/env python3
"""Keep docs/rules.md and its drawings the same as the tables in the code.

``--check`` exits with 1 if one of them differs from the tables, ``--write`` writes them anew. How many cases the tests walk
through is counted by ``--write`` and compared by the walks themselves (tests/core/test_rules_space.py, test_policy.py).
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "rules.md"
sys.path[:0] = [str(ROOT), str(ROOT / "scripts"), str(ROOT / "_utils")]

import rules_svg  # noqa: E402 – found by the line above

from tests.core.histories import TICK, TICKS  # noqa: E402
from vmdk_failover.judgement import describe  # noqa: E402

HEAD = """\
# Rules

Two numbered tables decide everything; in each, the first row that matches wins. The number stands in every sentence that the
product says. `salt-run vmdk.rules` prints the same tables. This page is written by `scripts/rules_doc.py`.

What follows: a step (`release`, `halt`, `fence`, `fence_hook`, `fence_host`, `detach`, `attach`, `mount`, `power_on`,
`seal`: a change of a VM that makes a lost request impossible, `along`: others of
the hierarchy leave first, or come), a move that begins (`failover`, `switchover`,
`start`, `repair`), or `hold` (nothing is done, and it is said why), `wait` (it passes by itself), `refuse`, `nothing`, `done`,
`abandon` (the move ends without harm and the resource is judged anew).
"""
TITLES = {
    "policy": "## Should it move? When no move is open",
    "steps": "## What next? While a move is open",
}
PROOF = """\
## How far this is proven

The tests judge {cases:,} cases of a move and {situations:,} situations without one: what the rows ask of two or three nodes,
in every combination that an early row does not decide alone. No verdict among them is unsafe, each row decides some of them,
and without a safety row something unsafe is done. In the simulation, where the real engine runs among faults and crashes, a
resource is active within {ticks} looks, {tick:g} s apart, once the faults have stopped, or it is held with a reason that is
true; see [how the judgement is tested](architecture.md#how-the-judgement-is-tested).
"""


def page(sizes: tuple[int, ...]) -> str:
    """The page as it should be. sizes: cases and situations that the tests walk through."""
    cases, situations = sizes
    proof = PROOF.format(cases=cases, situations=situations, ticks=TICKS, tick=TICK)
    return "\n".join([HEAD, *_tables(), proof])


def counted() -> tuple[int, ...]:
    """The sizes as they are; this takes some seconds."""
    from tests.core import space, test_policy

    return tuple(sum(1 for _ in every()) for every in (space.every_case, test_policy.every_situation))


def stated() -> tuple[int, ...]:
    """The sizes that the page states."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    found = re.search(r"judge ([\d,]+) cases of a move and ([\d,]+) situations", text)
    return tuple(int(number.replace(",", "")) for number in found.groups()) if found else (0, 0)


def _tables() -> Iterator[str]:
    for name, title in TITLES.items():
        yield f"{title}\n\n| rule | when | then |\n|---|---|---|"
        for row in _rows(name):
            yield f"| {row['rule']} | {row['when']} | {row['then']} |"
        yield f"\nThe same, drawn: the first yes leads out of the ladder.\n\n![The table as a ladder]({_drawing(name).name})\n"


def _rows(table: str) -> list[dict[str, Any]]:
    return [row for row in describe.table() if row["table"] == table]


def _drawing(table: str) -> Path:
    return PAGE.with_name(f"rules-{table}.svg")


def files(sizes: tuple[int, ...]) -> dict[Path, str]:
    """Everything that is made of the tables, and what it should hold."""
    drawn = {
        _drawing(name): rules_svg.ladder(_rows(name), title.lstrip("# ")) for name, title in TITLES.items()
    }
    return {PAGE: page(sizes), **drawn}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--check", action="store_true")
    chosen.add_argument("--write", action="store_true")
    write, differs = parser.parse_args().write, False
    for path, text in files(counted() if write else stated()).items():
        if write:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            differs = True
            print(
                f"{path.relative_to(ROOT)} differs from the tables; run scripts/rules_doc.py --write",
                file=sys.stderr,
            )
    return int(differs)


if __name__ == "__main__":
    sys.exit(main())
