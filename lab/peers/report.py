"""The comparison for people: one row for each fault, the products side by side."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from lab.peers.measure import Result

COLUMNS = ("detected", "decided", "back", "gap")


def middle(results: Sequence[Result], column: str) -> float | None:
    """The median of a column; None if it did not come to that in every run."""
    values = [getattr(one, f"{column}_s") for one in results]
    return None if not values or None in values else statistics.median(values)


def rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    """One row for each fault and product."""
    found = []
    for key in dict.fromkeys((one.fault, one.product) for one in results):
        runs = [one for one in results if (one.fault, one.product) == key]
        before = [one.surroundings.before for one in runs if one.surroundings.before is not None]
        seconds = {f"{column}_s": middle(runs, column) for column in COLUMNS}
        longest = [one.back_s for one in runs if one.back_s is not None]
        found.append(
            {
                "fault": key[0],
                "product": key[1],
                "n": len(runs),
                **{name: None if value is None else round(value, 2) for name, value in seconds.items()},
                "back_least_s": round(min(longest), 2) if longest else None,
                "back_most_s": round(max(longest), 2) if longest else None,
                "lost": _total([one.lost for one in runs]),
                "doubles": _total([one.doubles for one in runs]),
                "load_least": min(before, default=None),
                "load_most": max(before, default=None),
                "sooner": "",
            }
        )
    for row in found:
        row["sooner"] = _sooner(str(row["fault"]), found)
    return found


def _total(counts: Sequence[int | None]) -> int | None:
    """Of all runs; None if one of them was not seen."""
    return None if None in counts else sum(filter(None, counts))


def _sooner(fault: str, found: Sequence[Mapping[str, Any]]) -> str:
    """Which product had the service back first."""
    there = [row for row in found if row["fault"] == fault and row["back_s"] is not None]
    return str(min(there, key=lambda row: float(row["back_s"]))["product"]) if len(there) > 1 else ""


def table(results: Sequence[Result]) -> str:
    """The measured part as a table."""
    lines = [
        f"{'fault':12} {'product':26} {'detected':>9} {'decided':>9} {'back':>9} {'no record':>9} {'least':>7} {'most':>7}"
        f" {'load':>10}  n"
    ]
    for row in rows(results):
        cells = [f"{_seconds(row[f'{column}_s']):>9}" for column in COLUMNS]
        cells += [f"{_seconds(row[name]):>7}" for name in ("back_least_s", "back_most_s")]
        cells += [f"{_load(row):>10}"]
        wrong = f"  LOST {_count(row['lost'])}, DOUBLES {_count(row['doubles'])}"
        wrong = "" if row["lost"] == row["doubles"] == 0 else wrong
        mark = " <" if row["sooner"] == row["product"] else ""
        lines.append(f"{row['fault']:12} {row['product']:26} {' '.join(cells)}  {row['n']}{mark}{wrong}")
    return "\n".join(lines)


def _count(value: int | None) -> str:
    return "?" if value is None else str(value)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _load(row: Mapping[str, Any]) -> str:
    """What the machine had to do before the runs of a row, from the least to the most."""
    return "-" if row["load_least"] is None else f"{row['load_least']:.1f}-{row['load_most']:.1f}"


def idle_table(idle: Mapping[str, Mapping[str, float]]) -> str:
    """What watching costs, and what was configured."""
    return "\n".join(
        f"{product:26} " + ", ".join(f"{where} {value:g}" for where, value in found.items())
        for product, found in idle.items()
    )
