"""Golden scenarios: the files, read and checked. What is wrong in one is told with file, line and key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.core import golden_yaml
from tests.core.golden_effects import OF_NODES, OF_THE_WORLD, is_step
from tests.core.golden_stage import COMMANDS
from tests.core.golden_yaml import Row, Table, Wrong, nearest

FOLDER = Path(__file__).resolve().parent.parent / "scenarios"
TOP = ("title", "what", "why", "source", "pending", "situation", "events", "expect")
SITUATION = ("nodes", "on", "options", "disks", "mode", "resources", *OF_THE_WORLD)
OF_RESOURCE = ("on", "options", "disks", "mode", "paused")
TRIGGERS = ("at", "before", "after")
EVENT = (*TRIGGERS, "wait", "looks", "look", "operator", "answer", "resource", "crash", *OF_THE_WORLD)
EXPECT = ("verdicts", "steps", "end", "protected", "nodes")
MOVES = ("switchover", "failover")
ASKED = (*MOVES, *COMMANDS)


@dataclass(frozen=True)
class Story:
    """One file, checked. ``expect`` is by resource."""

    path: Path
    title: str
    what: str
    why: str
    source: tuple[str, ...]
    pending: str
    situation: Table
    events: Row
    expect: Mapping[str, Table]

    @property
    def name(self) -> str:
        return f"{self.path.parent.name}/{self.path.stem}"


def files() -> list[Path]:
    """All scenario files, by name."""
    return sorted(FOLDER.rglob("*.yaml"))


def load(path: Path) -> Story:
    """Read and check one file; :raises Wrong: with file, line, key and what would be right."""
    top = _table(golden_yaml.read(path))
    top.only(TOP)
    for key in ("title", "what", "expect"):
        if key not in top:
            raise Wrong(top.at, f"{key} is missing")
    situation = _table(top.get("situation", Table(top.at)))
    events = top.get("events", Row(top.at))
    if not isinstance(events, Row):
        raise Wrong(top.spot("events"), "must be a list")
    names = list(resources_of(situation))
    _check_effects(situation, (*SITUATION, *nodes_of(situation)), situation)
    for event in events:
        _check_event(_table(event), situation, names)
    source = top.get("source", [])
    return Story(
        path,
        _text(top, "title"),
        _text(top, "what"),
        _text(top, "why") if "why" in top else "",
        tuple(source) if isinstance(source, list) else (str(source),),
        str(top.get("pending", "")),
        situation,
        events,
        _expectations(_table(top["expect"]), names),
    )


def _table(value: Any) -> Table:
    if not isinstance(value, Table):
        raise Wrong(getattr(value, "at", golden_yaml.NOWHERE), f"must be a mapping, not {value!r}")
    return value


def _text(table: Table, key: str) -> str:
    if not isinstance(table[key], str) or not table[key].strip():
        raise Wrong(table.spot(key), "must be a text")
    return " ".join(str(table[key]).split())


def nodes_of(situation: Table) -> list[str]:
    count = situation.get("nodes", 2)
    if not isinstance(count, int) or not 2 <= count <= 9:
        raise Wrong(situation.spot("nodes"), f"must be a number from 2 to 9, not {count!r}")
    return [f"db{i}" for i in range(1, count + 1)]


def resources_of(situation: Table) -> dict[str, Table]:
    given = situation.get("resources")
    if given is None:
        return {"pgdata": Table(situation.at)}
    named = {name: _table(body) for name, body in _table(given).items()}
    for body in named.values():
        body.only(OF_RESOURCE)
    return named


def _check_effects(table: Table, known: tuple[str, ...], situation: Table) -> None:
    table.only(known)
    for key, value in table.items():
        if key in OF_THE_WORLD:
            OF_THE_WORLD[key].check(value, table.spot(key))
        elif key in nodes_of(situation):
            of_node = _table(value)
            of_node.only(OF_NODES)
            for name, word in of_node.items():
                OF_NODES[name].check(word, of_node.spot(name))


def _check_event(event: Table, situation: Table, resources: list[str]) -> None:
    _check_effects(event, (*EVENT, *nodes_of(situation)), situation)
    if len([key for key in TRIGGERS if key in event]) > 1:
        raise Wrong(event.at, f"one trigger only: {', '.join(TRIGGERS)}")
    for key in ("before", "after"):
        if key in event and not is_step(event[key]):
            raise Wrong(event.spot(key), f"must be a step and a node, as 'attach db2', not {event[key]!r}")
    for key in ("at", "wait", "looks"):
        if key in event and not isinstance(event[key], (int, float)):
            raise Wrong(event.spot(key), f"must be seconds, not {event[key]!r}")
    if event.get("resource", resources[0]) not in resources:
        raise Wrong(event.spot("resource"), nearest(str(event["resource"]), resources))
    if "operator" in event and str(event["operator"]).split(" ")[0] not in ASKED:
        raise Wrong(event.spot("operator"), nearest(str(event["operator"]), ASKED))
    if "crash" in event and not any(key in event for key in TRIGGERS):
        raise Wrong(event.spot("crash"), "needs a trigger: before, after or at")


def _expectations(expect: Table, names: list[str]) -> Mapping[str, Table]:
    by_name = {name: _table(body) for name, body in expect.items()} if set(expect) == set(names) else {}
    found = by_name or {names[0]: expect}
    if len(found) < len(names):
        raise Wrong(expect.at, f"needs one section for each resource: {', '.join(names)}")
    for body in found.values():
        body.only(EXPECT)
        for key in EXPECT[:3]:
            if key not in body:
                raise Wrong(
                    body.at, f"{key} is missing; 'scripts/scenarios_doc.py --play FILE' prints what there is"
                )
    return found
