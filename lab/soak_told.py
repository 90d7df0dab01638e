"""What a soak weighs and tells: the prober's memory and descriptors, and the result for people."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def weigh(pid: int) -> dict[str, float]:
    """What a process and its children hold now: descriptors and threads of its own, memory in MB."""
    base = Path(f"/proc/{pid}")
    status = dict(row.split(":", 1) for row in (base / "status").read_text().splitlines())
    rollup = dict(row.split(":", 1) for row in (base / "smaps_rollup").read_text().splitlines()[1:])
    children = (base / f"task/{pid}/children").read_text().split()
    return {
        "descriptors": float(len(os.listdir(base / "fd"))),
        "threads": float(status["Threads"]),
        "processes": 1.0 + len(children),
        "rss_mb": int(status["VmRSS"].split()[0]) / 1024,
        "private_mb": int(status["RssAnon"].split()[0]) / 1024,
        "pss_mb": int(rollup["Pss"].split()[0]) / 1024,
    }


def told(result: dict[str, Any]) -> str:
    """The result for people."""
    rows = [
        f"{one['fault']:24} {one['load']:7} {one['median_ms']:8} {one['p90_ms']:8} {one['longest_ms']:8} ms  n {one['n']:<4}"
        f" {', '.join(one['conditions'])}"
        for one in result["by_fault"]
    ]
    grown = [
        f"prober, {name}: {one['first']} to {one['last']}, {one['per_hour']:+} an hour{'' if one['ok'] else '  TOO MUCH'}"
        for name, one in result["prober"].items()
    ]
    head = f"{'fault':24} {'load':7} {'median':>8} {'p90':>8} {'longest':>8}"
    counts = ", ".join(
        f"{kind} {result[kind]}" for kind in ("faults", "told", "missed", "false", "lost", "other")
    )
    return "\n".join([head, *rows, *grown, *result["problems"][:20], f"{counts}: {_word(result)}"])


def _word(result: dict[str, Any]) -> str:
    if result["interrupted"]:
        return "interrupted"
    return "ok" if result["ok"] else "FAILED"
