"""
A bad history made small: as few faults as are needed, told as a scenario file (tests/scenarios) that also repeats itself exactly.

``python -m tests.core.shrink SEED`` prints it; ``python -m tests.core.shrink FILE`` tells what happens in such a file.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.core.dice import Script
from tests.core.histories import History, history
from vmdk_failover.model import Resource

#: Looks at a history that shrinking may cost.
ENOUGH = 3000
#: Characters of a line of what happened.
WIDTH = 160
_REPLAY = re.compile(r"^# replay: seed (\d+):(.*)$", re.MULTILINE)
#: Options of a resource that a world may set.
OPTIONS = (
    *(
        "on_error",
        "on_isolated",
        "on_agent_silent",
        "fence_action",
        "fence",
        "host_fence",
        "host_fence_others",
    ),
    "max_failovers_per_hour",
)
#: What happened, as a scenario file says it; the rest stands in a comment.
EFFECTS = {
    "dies": "power: off",
    "comes_back": "power: on",
    "reboots": "power: reset",
    "is_suspended": "power: suspended",
    "freezes": "frozen: true",
    "host_is_cut_off": "host: disconnected",
    "host_dies": "host: dies",
    "vcenter_is_restored": "lists: outdated",
    "ha_restarts": "restarted_on: esx2",
    "task": "task: relocate (running)",
    "vmotion": "task: relocate (running)",
    "storage_vmotion": "lists: other path",
    "snapshot": "snapshot: true",
    "is_unregistered": "vm: deleted",
    "is_hidden": "vm: unseen",
    "asks_a_question": "question: there is no more space",
    "is_twice": "vm: twice",
    "slot": "controller: lsilogic",
    "vcenter_is_blind": "vcenter: unreadable",
    "agent_falls_silent": "agent: silent",
    "is_cut_off": "network: cut",
    "disk_fails": "condition: io_error",
    "release_hangs": "release: stuck",
    "is_unready": "unready: [mount is not installed]",
    "cannot_mount": "mount: wrong fs type",
    "services_stop": "services: down",
    "is_unmounted": "mounted: false",
    "is_mounted": "mounted: true",
    "is_busy": "busy: fsck runs",
    "is_foreign": "mounted: foreign",
    "is_pulled": "lists: nothing",
    "is_given": "lists: disk",
}


def smallest(seed: int) -> tuple[Script, History]:
    """The faults that are needed for a bad history, found by leaving out ever smaller parts of them."""
    found = history(seed)
    script: dict[int, list[int]] = dict(found.world.dice.fired)
    assert found.faults, f"the history of seed {seed} is not bad"
    tries, size = 0, max(1, len(script) // 2)
    while size and tries < ENOUGH:
        for part in list(_parts(list(script), size)):
            tries += 1
            less = {at: picks for at, picks in script.items() if at not in part}
            if history(seed, less).faults:
                script = less
        size //= 2
    return script, history(seed, script, aloud=True)


def _parts(points: list[int], size: int) -> Iterator[frozenset[int]]:
    """The latest first: what comes before stays as it was."""
    for start in reversed(range(0, len(points), size)):
        yield frozenset(points[start : start + size])


def told(seed: int) -> str:
    """A bad history, small, as a scenario file."""
    script, found = smallest(seed)
    replay = "; ".join(f"{at} {','.join(map(str, picks))}".strip() for at, picks in script.items())
    return "\n".join([*_head(found, replay), *_situation(found), *_events(found), *_expect(found), ""])


def _head(found: History, replay: str) -> Iterator[str]:
    yield f"# replay: seed {found.seed}: {replay}"
    yield "# It is told as it went; times, lost answers and reads that failed are in the line above only."
    yield f"title: {_quoted('; '.join(dict.fromkeys(found.faults)))}"
    yield f"what: A history of the simulation, seed {found.seed}."


def _situation(found: History) -> Iterator[str]:
    world = found.world
    yield "situation:"
    yield f"  nodes: {len(world.resource.nodes)}"
    yield "  resources:"
    for of in world.resources:
        options = {k: getattr(of, k) for k in OPTIONS if getattr(of, k) != getattr(Resource, k)}
        words = ", ".join(f"{key}: {value}" for key, value in options.items())
        yield f"    {of.name}: {{on: {found.world.began[of.name]}, disks: {len(of.disks)}, options: {{{words}}}}}"


def _events(found: History) -> Iterator[str]:
    yield "events:"
    for at, what, more, name in found.world.events:
        when, effect = f"at: {max(0.0, at - 0.01):.2f}", EFFECTS.get(what)
        if what in ("operator", "crash"):
            yield f"  - {{{when}, {what}: {more}, resource: {name}}}"
        elif what == "writes":
            yield f"  - {{{when}, writes: {{{more}}}}}"
        elif effect is None:
            yield f"  # {when}: {what} {more} ({name})"
        elif effect.startswith("vcenter"):
            yield f"  - {{{when}, {effect}}}"
        else:
            yield f"  - {{{when}, {more}: {{{effect}}}}}"
    yield f"  - {{wait: {math.ceil(found.world.clock.now) + 1}}}"


def _expect(found: History) -> Iterator[str]:
    yield "expect:"
    for of in found.world.resources:
        mine = [entry for entry in found.world.heard if entry["resource"] == of.name]
        verdicts = [_quoted(f"{e['rule']} {e['reason']}") for e in mine if "rule" in e]
        verdicts = [words for words, _ in itertools.groupby(verdicts)]
        steps = [_quoted(_step(e)) for e in mine if e["what"] == "outcome"]
        yield f"  {of.name}:"
        yield from (
            ("    verdicts:", *(f"      - {words}" for words in verdicts))
            if verdicts
            else ("    verdicts: []",)
        )
        yield f"    steps: [{', '.join(steps)}]"
        yield f"    end: active on {of.nodes[0].minion}"
    yield from (f"# {line[:WIDTH]}" for line in found.world.told)


def _step(entry: Mapping[str, Any]) -> str:
    how = "" if entry["outcome"] == "done" else f" {entry['outcome']}"
    return f"{entry['step']} {entry['node']}{how}"


def _quoted(words: str) -> str:
    return json.dumps(words)


def replayed(text: str) -> History:
    """
    The same run as that which a file tells of.

    :raises ValueError: there is no such line in it.
    """
    found = _REPLAY.search(text)
    if found is None:
        raise ValueError("it has no line '# replay: seed …', so it is no history of the simulation")
    script = {}
    for point in filter(None, (p.strip() for p in found[2].split(";"))):
        at, _, picks = point.partition(" ")
        script[int(at)] = [int(pick) for pick in picks.split(",") if pick]
    return history(int(found[1]), script, aloud=True)


if __name__ == "__main__":
    if sys.argv[1].isdigit():
        print(told(int(sys.argv[1])))
    else:
        print(replayed(Path(sys.argv[1]).read_text(encoding="utf-8")))
