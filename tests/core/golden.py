"""
Golden scenarios, played on the stage and compared; the format is told in tests/scenarios/README.md.

``scripts/scenarios_doc.py --play FILE …`` prints what files come to, as the ``expect`` section that would match.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.core.build import resource as plain_resource
from tests.core.golden_effects import OF_NODES, OF_THE_WORLD, Effect
from tests.core.golden_stage import Crash, Ready, Side, Stage
from tests.core.golden_story import (
    EXPECT,
    FOLDER,
    MOVES,
    OF_RESOURCE,
    TRIGGERS,
    Story,
    files,
    load,
    nodes_of,
    resources_of,
)
from tests.core.golden_yaml import Table, Wrong
from vmdk_failover.judgement import config
from vmdk_failover.judgement.policy import Wish
from vmdk_failover.model import MoveKind, Resource

__all__ = [
    "FOLDER",
    "Outcome",
    "Story",
    "Table",
    "Wrong",
    "as_yaml",
    "differences",
    "files",
    "load",
    "play",
    "told",
]

#: Seconds between two looks while time passes.
PACE = 5.0


@dataclass
class Outcome:
    """What a story came to: per resource its expect section, and what must never be."""

    found: dict[str, dict[str, Any]] = field(default_factory=dict)
    verdicts: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)


def play(story: Story, **tables: Any) -> Outcome:
    """
    Play a story on a fresh stage.

    :param tables: ``policy_rows``, ``step_rows``: other tables than the product's.
    """
    scene = _Play(story, tables)
    try:
        return scene.through()
    finally:
        scene.stage.close()


class _Play:
    """One performance: the stage, and where in the story it is."""

    def __init__(self, story: Story, tables: Mapping[str, Any]) -> None:
        self.story = story
        bodies = resources_of(story.situation)
        built = [
            _build(name, i, {**_defaults(story.situation), **body}, story)
            for i, (name, body) in enumerate(bodies.items())
        ]
        holders = {name: body.get("on", story.situation.get("on", "db1")) for name, body in bodies.items()}
        self.stage = Stage(built, holders, **tables)
        self.out, self.said = Outcome(), ""
        for name, body in bodies.items():
            if body.get("paused"):
                self.stage.ask(name, "pause")
        self._effects(story.situation)

    def through(self) -> Outcome:
        """Everything in its order, a last look, and what it came to."""
        stage = self.stage
        for event in self.story.events:
            trigger = {key: event[key] for key in TRIGGERS if key in event}
            if trigger:
                stage.ready.append(Ready(self._of(event), **trigger))
            else:
                self._turn(event)
        while late := [one.at for one in stage.ready if one.at is not None]:
            stage.wait(max(0.1, min(late) - stage.clock.now), PACE)
        self.out.broken += [f"this never happens: {one}" for one in stage.ready]
        self.out.broken += [f"no step meets its fate: {step}" for step, left in stage.fates.items() if left]
        said = {name: list(side.verdicts) for name, side in stage.sides.items()}
        stage.look()
        for name, side in stage.sides.items():
            self._close(name, side, said[name])
        self.out.broken += stage.broken
        return self.out

    def _turn(self, event: Table) -> None:
        """An entry without a trigger: it happens, then there is a look."""
        if "wait" in event:
            self.stage.wait(event["wait"], event.get("looks", PACE))
        self._effects(event)
        name, wish = self._asked(event)
        if event.get("look", "wait" not in event):
            self.stage.look(name, wish)
        self._answered(event, name)

    def _of(self, event: Table) -> Callable[[], None]:
        def happen() -> None:
            self._effects(event)
            name, _ = self._asked(event)
            self._answered(event, name)
            if event.get("crash"):
                raise Crash

        return happen

    def _effects(self, table: Table) -> None:
        sides = (
            [self.stage.sides[table["resource"]]] if "resource" in table else list(self.stage.sides.values())
        )
        for key, value in table.items():
            if key in OF_THE_WORLD:
                self._do(OF_THE_WORLD[key], sides, "", value)
            elif isinstance(value, Table) and key.startswith("db"):
                for name, word in value.items():
                    self._do(OF_NODES[name], sides, key, word)
        self.stage.check("an event")

    def _do(self, effect: Effect, sides: list[Side], node: str, value: Any) -> None:
        for side in sides[: 1 if effect.once else None]:
            effect.do(self.stage, side, node, value)

    def _asked(self, event: Table) -> tuple[str, Wish | None]:
        """What an operator asks for: a wish for the next look, or a command that is done at once."""
        name = str(event.get("resource", next(iter(self.stage.sides))))
        what, _, argument = str(event.get("operator", "")).partition(" ")
        target = argument.removeprefix("to ")
        if what in MOVES:
            return name, Wish(MoveKind(what), target)
        if what:
            self.said = self.stage.ask(name, what, target)
        return name, None

    def _answered(self, event: Table, name: str) -> None:
        report = self.stage.sides[name].report
        what = str(event.get("operator", "")).split(" ")[0]
        moved = report is not None and what in MOVES
        told = f"{report.result} {report.rule}" if report and moved else self.said
        if "answer" in event and event["answer"] != told:
            self.out.broken.append(f"{event.spot('answer')}: the answer is {told!r}")

    def _close(self, name: str, side: Side, said: list[tuple[int, str]]) -> None:
        """Write down what became of a resource; more looks tell nothing new."""
        extra = side.verdicts[len(said) :]
        verdicts = said if [rule for rule, _ in extra] in ([], [600]) else side.verdicts
        self.out.verdicts[name] = verdicts
        self.out.found[name] = {
            "verdicts": [f"{rule} {reason}" for rule, reason in verdicts],
            "steps": side.steps,
            "end": _end(side),
            "gaps": self.stage.gaps(name),
            "nodes": {minion: _node(side, minion) for minion in side.guest.nodes},
        }
        if side.report and not side.report.ok and not self.out.found[name]["gaps"]:
            self.out.broken.append(f"{name} is {side.report.result} and told as protected")


def _end(side: Side) -> str:
    report, mounted = side.report, " and ".join(side.writers()) or "nowhere"
    if report is None:
        return "crashed"
    if report.ok and side.writers() == side.listing() == [report.active]:
        return f"active on {mounted}"
    return f"{report.result} by {report.rule}, mounted {'on ' if side.writers() else ''}{mounted}"


def _node(side: Side, minion: str) -> dict[str, Any]:
    listed = side.guest.disks_in(minion)
    return {
        "power": side.guest.nodes[minion].vm.power.value,
        "lists": {0: "nothing", len(side.resource.disks): "disk"}.get(listed, "one disk"),
        "mounted": minion in side.writers(),
    }


def _defaults(situation: Table) -> dict[str, Any]:
    return {key: situation[key] for key in OF_RESOURCE if key in situation}


def _build(name: str, nth: int, body: Mapping[str, Any], story: Story) -> Resource:
    """The resource as the configuration would have it; :raises Wrong: what the configuration's reader finds."""
    nodes = {n.minion: n.vm_uuid for n in plain_resource(len(nodes_of(story.situation))).nodes}
    disks = [
        {
            "path": f"[ds1] shared/{name}{i or ''}.vmdk",
            "uuid": f"6000c29{nth:024x}{i + 1:x}",
            "bus": 1,
            "unit": 2 * nth + i,
            "mode": body.get("mode", "persistent"),
        }
        for i in range(int(body.get("disks", 1)))
    ]
    mounts = [
        {"mountpoint": f"/srv/{name}", "fs_uuid": f"c0ffee00-0000-4000-8000-{nth + 1:012x}", "fstype": "xfs"}
    ]
    raw = {
        **body.get("options", {}),
        "nodes": list(nodes),
        "vm_uuids": nodes,
        "disks": disks,
        "mounts": mounts,
    }
    built, faults = config.parse_resource(name, raw)
    if built is None:
        raise Wrong(story.situation.spot("options"), "; ".join(map(str, faults)))
    return built


def differences(story: Story, out: Outcome) -> list[str]:
    """What is not as expected, one sentence each with its place in the file; empty is a pass."""
    found = list(out.broken)
    for name, expect in story.expect.items():
        found += _compared(expect, out.found[name])
    return found


def _compared(expect: Table, found: Mapping[str, Any]) -> Iterator[str]:
    yield from _verdicts(expect, found["verdicts"])
    for key in ("steps", "end"):
        if expect[key] != found[key]:
            yield f"{expect.spot(key)}: expected is {expect[key]!r}, it is {found[key]!r}"
    if "protected" in expect and not _as_told(expect["protected"], found["gaps"]):
        yield f"{expect.spot('protected')}: expected is {expect['protected']!r}, against it is {found['gaps']!r}"
    for node, words in expect.get("nodes", {}).items():
        for key, word in words.items():
            if found["nodes"].get(node, {}).get(key) != word:
                yield f"{words.spot(key)}: expected is {word!r}, it is {found['nodes'].get(node, {}).get(key)!r}"


def _verdicts(expect: Table, said: list[str]) -> Iterator[str]:
    """The first verdict that is another one."""
    wanted = [str(one) for one in expect["verdicts"]]
    for spot, words, verdict in zip(
        expect["verdicts"].spots, wanted, [*said, *[""] * len(wanted)], strict=False
    ):
        if not verdict:
            yield f"{spot}: expected is {words!r}, and nothing more is decided"
            return
        rule, _, phrase = words.partition(" ")
        number, _, reason = verdict.partition(" ")
        if number != rule or phrase not in reason:
            yield f"{spot}: expected is {words!r}, the verdict is {verdict!r}"
            return
    if len(said) > len(wanted):
        yield f"{expect.spot('verdicts')}: one more verdict, {said[len(wanted)]!r}"


def _as_told(expected: Any, gaps: str) -> bool:
    """``true``: nothing is against its being protected; a text: that is."""
    return not gaps if expected is True else bool(gaps) and str(expected) in gaps


def as_yaml(out: Outcome) -> str:
    """The ``expect`` section that an outcome matches."""
    sections = {name: {key: found[key] for key in EXPECT[:3]} for name, found in out.found.items()}
    plain = sections if len(sections) > 1 else next(iter(sections.values()))
    return str(yaml.safe_dump({"expect": plain}, sort_keys=False, width=1000, allow_unicode=True))


def told(path: Path) -> str:
    """A file played: the ``expect`` section that it matches, and what differs from the one that it has."""
    story = load(path)
    out = play(story)
    return f"# {path}\n{as_yaml(out)}" + "".join(f"# ! {fault}\n" for fault in differences(story, out))
