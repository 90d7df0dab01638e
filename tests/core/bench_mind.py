"""
How long the judgement takes: one look, one decision of each table, and histories per second, on one core.

Situations and cases are those that the engine meets in the histories of the simulation; each is judged anew from the facts, so
that nothing is spared by values that remember. ``make bench-mind`` writes build/bench/mind.json.
"""

from __future__ import annotations

import functools
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.core.histories import history
from vmdk_failover.judgement import assess, policy, rules

OUT = Path("build/bench/mind.json")
#: Microseconds that a decision with its look should not pass (median).
GOAL_US = 100.0
HISTORIES = 400
ROUNDS = 5


def met(seeds: Sequence[int]) -> tuple[list[Any], list[Any], list[Any]]:
    """Arguments of looks, situations and cases, as the engine met them."""
    looks: list[functools.partial[Any]] = []
    situations: list[Any] = []
    cases: list[Any] = []
    real = assess.look, policy.decide, rules.next_verdict

    def look(*args: Any, **named: Any) -> Any:
        looks.append(functools.partial(real[0], *args, **named))
        return looks[-1]()

    def decide(situation: Any) -> Any:
        situations.append(situation)
        return real[1](situation)

    def judge(case: Any) -> Any:
        cases.append(case)
        return real[2](case)

    assess.look, policy.decide, rules.next_verdict = look, decide, judge  # type: ignore[assignment]
    try:
        for seed in seeds:
            history(seed)
    finally:
        assess.look, policy.decide, rules.next_verdict = real
    return looks, situations, cases


def anew(judged: Any) -> Any:
    """The same value, as it is right after a look: nothing in it has been asked for."""
    nodes = tuple(replace(node) for node in judged.seen.nodes)
    return replace(judged, seen=replace(judged.seen, nodes=nodes))


def timed(prepare: Callable[[Any], Callable[[], Any]], things: Sequence[Any]) -> list[float]:
    """Microseconds of what is prepared from each: the best of some rounds, since others work on this machine too."""
    took = []
    for thing in things:
        best = float("inf")
        for _ in range(ROUNDS):
            call = prepare(thing)
            began = time.perf_counter_ns()
            call()
            best = min(best, time.perf_counter_ns() - began)
        took.append(best / 1000)
    return took


def figures(took: Sequence[float]) -> dict[str, float]:
    return {
        "median_us": round(statistics.median(took), 1),
        "p90_us": round(statistics.quantiles(took, n=10)[-1], 1),
        "n": len(took),
    }


def measure() -> dict[str, Any]:
    """All figures."""
    looks, situations, cases = met(range(HISTORIES))
    look = timed(lambda again: again, looks)
    decide = timed(lambda met: functools.partial(policy.decide, anew(met)), situations)
    judge = timed(lambda met: functools.partial(rules.next_verdict, anew(met)), cases)
    began = time.process_time()
    for seed in range(HISTORIES):
        history(seed)
    speed = HISTORIES / (time.process_time() - began)
    found = {"look": figures(look), "policy": figures(decide), "steps": figures(judge)}
    slowest = max(found["policy"]["median_us"], found["steps"]["median_us"])
    whole = round(found["look"]["median_us"] + slowest, 1)
    return {**found, "look_and_decide_us": whole, "goal_us": GOAL_US, "histories_per_s": round(speed)}


def main() -> int:
    """Exit code 1 if the goal is missed."""
    found = measure()
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for name in ("look", "policy", "steps"):
        print(f"{name:8} median {found[name]['median_us']:6.1f} µs, p90 {found[name]['p90_us']:6.1f} µs")
    print(
        f"look and decide: {found['look_and_decide_us']} µs (goal {GOAL_US:g}); {found['histories_per_s']} histories/s"
    )
    return 0 if found["look_and_decide_us"] <= GOAL_US else 1


if __name__ == "__main__":
    sys.exit(main())
