"""One ordeal: play its story, wait for its end, hear the witness, judge."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

from lab import trial
from lab.cell import LabError
from lab.ledger import Acknowledged, lost
from lab.observer import mountpoints
from lab.ordeals.acks import Acks
from lab.ordeals.scene import Scene
from lab.ordeals.story import Story
from lab.ordeals.strikers import EXPECTED, Account, play
from lab.ordeals.truth import is_true
from lab.scenarios import DISK
from lab.stage import Stage, state

#: Seconds: until the resource must be at rest, of slow nodes as many times longer as the lab is patient; how long that must last.
REST_LIMIT, ACTIVE_FOR, HELD_FOR = 90.0, 2.0, 6.0
_WRITTEN, _TICK, _SILENT = 10, 0.1, 2.0
#: Seconds in which a node has to answer (`timeouts.ask`; of guests it is longer), and for which the court waits to see.
ASK, ASK_GUESTS, _PATIENCE = 2.0, 20.0, 10.0
#: Mounted, and its services do not run.
IDLE = 598
GOOD = ("active", "held")


@dataclass(frozen=True)
class Verdict:
    """What became of one ordeal; one line of build/campaign/random-N.jsonl.

    end: active, held, false (held for a reason that is not true), lost (neither), stuck (not whole again when all was cured) or
    missed (the lab itself failed, or had no time, or nothing of the story struck). faults: those of the story. struck: those of
    them that did something. damaged: records on the disk that nobody wrote like that. untimely: those that struck outside the
    move in whose midst the story has them. rest_ms: from the end of the last fault until it was at rest. service_ms: the longest
    time without an acknowledged record. standing: what was wrong still when the verdict was given.
    """

    number: int
    story: str
    faults: tuple[str, ...]
    ok: bool
    end: str
    where: str
    rule: int = 0
    lost: int = 0
    damaged: int = 0
    double_holders: int = 0
    double_mounts: int = 0
    acknowledged: int = 0
    rest_ms: int = 0
    service_ms: int = 0
    standing: tuple[str, ...] = ()
    stage: str = ""
    took_s: float = 0.0
    note: str = ""
    struck: tuple[str, ...] = ()
    untimely: tuple[str, ...] = ()

    @property
    def has_harm(self) -> bool:
        """Whether the witness saw what may never be, however it ended."""
        return bool(self.lost or self.damaged or self.double_holders or self.double_mounts)

    @property
    def is_missed(self) -> bool:
        """Whether it says nothing of the product."""
        return self.end == "missed" and not self.has_harm

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def suffer(stage: Stage, story: Story) -> Verdict:
    """Play one story on a stage that is at its starting point, and judge. Afterwards it is whole again, or the end is `stuck`."""
    began, scene, acks = time.monotonic(), Scene(stage.lab, stage.cable), Acks(stage.lab)
    scene.holder()
    stage.doubles()
    account = play(scene, story)
    notes = account.notes
    end, where, rule, rest = await_end(scene, acks)
    pause = longest(acks.since(began), began, time.monotonic())
    standing = tuple(f"{what} {node}".strip() for what, node in scene.standing)
    told = _last_words(stage, began)
    account.cure_what_stays()
    _restart_stale(scene, notes)
    _start_services(stage, scene, acks)
    verdict = Verdict(
        story.number,
        str(story),
        tuple(one.fault for one in story.blows),
        end in GOOD,
        end,
        where,
        rule,
        rest_ms=round(rest * 1000),
        service_ms=round(pause * 1000),
        standing=standing,
    )
    slow = too_slow(scene) if end not in GOOD else ""
    verdict = _with_witness(stage, verdict, acks, began, notes)
    struck = account.faults(account.struck)
    verdict = replace(verdict, struck=struck, untimely=account.faults(account.untimely & account.struck))
    if not verdict.has_harm and (why := _worthless(scene, account, verdict, slow)):
        verdict = replace(verdict, ok=False, end="missed")
        notes += [why] if why not in notes else []
    if not verdict.ok or verdict.end == "held":
        notes += told
    return replace(verdict, note=" | ".join(notes), took_s=round(time.monotonic() - began, 1))


def _worthless(scene: Scene, account: Account, verdict: Verdict, slow: str) -> str:
    """Why a verdict says nothing of the product; empty if it does. slow: why the machine was too slow for one, if it was."""
    if account.broken:
        return account.broken[0]
    if verdict.ok:
        return "" if account.struck or not account.story.blows else "nothing of the story struck"
    return slow or too_slow(scene)


# -- what a person does


def _restart_stale(scene: Scene, notes: list[str]) -> None:
    """What a person does who is told that a guest still has the file system of a disk that was taken out of its VM."""
    place = scene.lab.mountpoint()
    for node in scene.lab.nodes.values():
        listed = any(one.disk == scene.lab.disks[DISK] for one in node.slots())
        if node.is_running and not listed and any(one.mountpoint == place for one in node.mounts()):
            try:
                node.halt_itself("b")
            except EXPECTED as problem:
                notes.append(f"not cured: {problem}")


def _start_services(stage: Stage, scene: Scene, acks: Acks) -> None:
    """What a person does who sees that nothing is written, asks, and is told that the services do not run (rule 598)."""
    where = _mounted(scene)
    if len(where) != 1 or acks.since(time.monotonic() - _SILENT):
        return
    with suppress(LabError):
        stage.operator("vmdk.recover", DISK)
    if (state(scene.lab).get("hold") or {}).get("rule") == IDLE:
        scene.lab.master.local(where[0], "service.start", trial.SERVICE)


# -- its end


def await_end(scene: Scene, acks: Acks) -> tuple[str, str, int, float]:
    """Wait until the resource is active or held. Returns the end, the node or the reason, the rule, and the seconds it took."""
    began, before, since = time.monotonic(), ("", "", 0), 0.0
    hold: dict[str, Any] = {}
    limit = REST_LIMIT * scene.lab.patience
    while (now := time.monotonic()) - began < limit:
        where = served(scene, acks, began)
        hold = state(scene.lab).get("hold") or {}
        rule = int(hold.get("rule", 0))
        found = ("active", where, rule) if where else ("held", str(hold.get("reason")), rule)
        if found != before:
            before, since = found, now
        true = is_true(scene, rule) if rule else bool(where)
        if true and now - since >= (ACTIVE_FOR if where else HELD_FOR):
            return *found, since - began
        time.sleep(_TICK)
    what = f"served on {where}, " if (where := served(scene, acks, began)) else ""
    if hold:
        return "false", f"{what}held: {hold.get('reason')}", int(hold["rule"]), limit
    return "lost", f"mounted on {_mounted(scene)}, journal {str(state(scene.lab))[:600]}", 0, limit


def _mounted(scene: Scene) -> list[str]:
    nodes = scene.lab.nodes.items()
    return [name for name, node in nodes if node.is_running and mountpoints(node, scene.lab.disks[DISK])]


def served(scene: Scene, acks: Acks, since: float) -> str:
    """The one node that has it mounted and writes, while nothing is under way; empty if there is none."""
    where = _mounted(scene)
    if len(where) != 1 or state(scene.lab).get("move"):
        return ""
    return where[0] if acks.written(where[0], since) >= _WRITTEN else ""


def too_slow(scene: Scene) -> str:
    """The node that runs, is reached and answers not even a ping as soon as the product has to be answered; empty if all do.

    Then the machine under the lab has no time for it, and what the product says of silence is true.
    """
    limit = ASK if scene.lab.wishes.guests is None else ASK_GUESTS
    for name in filter(scene.is_fit, scene.lab.nodes):
        asked = time.monotonic()
        answer = scene.lab.master.local(name, "test.ping", seconds=limit + _PATIENCE)
        took = time.monotonic() - asked
        if not answer or took > limit:
            return f"this machine is too slow for a verdict: {name} answered a ping after {took:.1f} s"
    return ""


# -- the witness


def longest(acknowledged: Sequence[Acknowledged], began: float, ended: float) -> float:
    """Seconds of the longest time without an acknowledgement between two moments, the one before the end included."""
    moments = [one.monotonic for one in acknowledged if began <= one.monotonic <= ended]
    return max(later - earlier for earlier, later in pairwise([began, *moments, ended]))


def _with_witness(stage: Stage, verdict: Verdict, acks: Acks, began: float, notes: list[str]) -> Verdict:
    """Bring the stage back, then compare what was acknowledged with what is on the disk."""
    if problem := _not_restored(stage):
        notes.append(problem)
        verdict = replace(verdict, ok=False, end="stuck" if verdict.ok else verdict.end)
    told, found = trial.read_back(stage.lab, stage.lab.disks[DISK], notes)
    missing = lost(told, found)
    if found.damaged:
        notes.append(f"{found.damaged} damaged records on the disk")
        verdict = replace(verdict, ok=False, end="lost", damaged=found.damaged)
    blind = stage.lab.observer.blind(began)
    if verdict.ok and (blind or not told):  # read_back has said why
        notes += [blind] if blind else []
        verdict = replace(verdict, ok=False, end="missed")
    doubles = stage.doubles()
    return replace(
        verdict,
        ok=verdict.ok and not missing and not any(doubles),
        lost=len(missing),
        double_holders=doubles[0],
        double_mounts=doubles[1],
        acknowledged=len(acks.since(began)),
    )


def _not_restored(stage: Stage) -> str:
    """Bring the stage back to its start. Returns why it cannot be; a slow machine has a second try."""
    problem = ""
    for _ in range(2):
        try:
            stage.restore()
            return ""
        except LabError as error:
            problem = str(error)
    return problem


def _last_words(stage: Stage, began: float) -> list[str]:
    """What the product said last, for whoever looks into it."""
    return [*_sentences(stage, began), f"journal: {str(state(stage.lab))[:800]}"]


def _sentences(stage: Stage, began: float) -> Iterator[str]:
    seen = stage.lab.master.events.seen(f"vmdk-move/{DISK}/*", began)
    first: dict[str, float] = {}  # what is said again and again is told once
    for one in seen:
        if words := str(one.data.get("sentence") or ""):
            first.setdefault(words, one.monotonic - began)
    yield from [f"{moment:.1f} s: {words}" for words, moment in list(first.items())[-12:]]
