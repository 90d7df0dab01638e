"""One cell of the campaign: a lab at its starting point, a move, a blow, and what became of the resource."""

from __future__ import annotations

import json
import random
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from lab import trial
from lab.blows import AFTER, BEFORE, DECIDED, KINDS, Blow
from lab.cell import LabError
from lab.cluster import Lab
from lab.hypervisor import VcenterError
from lab.ledger import longest_pause, lost
from lab.linux import wait_until
from lab.scenarios import DISK, SCENARIOS
from lab.stage import Stage, Stages, active, at_rest, listed, state
from lab.strikes import REQUESTS, VICTIMS, Scene, TooLate, strike

STEP_LIMIT, REST_LIMIT, RERUN_LIMIT = 90.0, 120.0, 60.0
GOOD = ("active", "held")
TURNS = 3
HELPED = "(after vmdk.recover)"


@dataclass(frozen=True)
class Verdict:
    """What became of one cell; one line of build/campaign/seed-N.json.

    end: active, held, missed (the blow did not land where it should) or lost (neither active nor held). where: the node, or
    the reason. damaged: records on the disk that nobody wrote like that. struck_ms: from the event of the step to the blow.
    service_ms: the longest time without an acknowledged record. source: the node that had the resource. nth: of the lab's
    ordeals. ready_s, took_s: until the lab was at its starting point, and in all. told: what the product said last, unless all
    went well by itself.
    """

    cell: str
    ok: bool
    end: str
    where: str
    lost: int = 0
    damaged: int = 0
    double_holders: int = 0
    double_mounts: int = 0
    struck_ms: int = 0
    service_ms: int = 0
    took_s: float = 0.0
    note: str = ""
    source: str = ""
    nth: int = 0
    ready_s: float = 0.0
    told: str = ""

    @property
    def has_harm(self) -> bool:
        """Whether the witness saw what may never be, however it ended."""
        return bool(self.lost or self.damaged or self.double_holders or self.double_mounts)

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def policy(blow: Blow) -> dict[str, Any]:
    """The options that the resource has in a cell."""
    return {"on_error": "switchover", **SCENARIOS[KINDS[blow.kind].scenario].policy}


def landed(blow: Blow, seed: int, stages: Stages) -> Verdict:
    """The verdict of a blow that landed where it should; on a busy machine one may come too late, which says nothing."""
    for turn in range(TURNS):
        verdict = run(blow, seed + turn * 1000, stages)
        if verdict.has_harm or (verdict.end != "missed" and not (verdict.ok and verdict.note)):
            break
        stages.say(f"{blow} did not land: {verdict.where}; {verdict.note}; {verdict.told}")
    return verdict


def run(blow: Blow, seed: int, stages: Stages) -> Verdict:
    """Carry out one cell. A lab that does not work is a verdict too."""
    began = time.monotonic()
    places: dict[str, Any] = {}
    try:
        stage = stages.ready(policy(blow))
        restored = time.monotonic()
        verdict = suffer(stage, blow, random.Random(f"{seed} {blow}"))
        places = {"source": stage.lab.source, "nth": stage.served, "ready_s": round(restored - began, 1)}
    except (LabError, VcenterError) as problem:
        verdict = Verdict(str(blow), False, "missed", f"the lab itself failed: {problem}")
    if not verdict.ok or verdict.end != "active":
        stages.drop()
    return replace(verdict, **places, took_s=round(time.monotonic() - began, 1))


def suffer(stage: Stage, blow: Blow, chance: random.Random) -> Verdict:
    """Start the move, strike, wait for its end and judge. Raises LabError."""
    lab, scenario = stage.lab, SCENARIOS[KINDS[blow.kind].scenario]
    scenario.prepare(lab)
    victim, scene, since = VICTIMS[blow.victim], Scene(lab, stage.cable, blow.step), time.monotonic()
    if victim.armed and not _follows_another(blow):
        strike(victim, scene)
    scenario.fault(lab)
    note = ""
    try:
        reached = _await_point(lab, blow, since)
        pause = _pause(blow, chance)
        time.sleep(pause)
        struck = strike(victim, scene) if not victim.armed or _follows_another(blow) else time.monotonic()
    except TooLate as late:
        reached = struck = time.monotonic()
        note = f"too late: {late}"
    end, where = await_end(lab) if reached else ("missed", "the move never came to that step")
    if victim.armed and end in GOOD and not _has_struck(lab, blow, since):
        end, where = "missed", f"no {blow.step} went wrong"
    return judge(stage, blow, since, end, where, round((struck - (reached or struck)) * 1000), note)


def _follows_another(blow: Blow) -> bool:
    """Whether the request before this step's is of the same method, so that the blow is prepared only after that one."""
    steps = KINDS[blow.kind].steps
    before = steps[: steps.index(blow.step)] if blow.step in steps else ()
    return any(REQUESTS.get(one) == REQUESTS.get(blow.step) for one in before)


def _await_point(lab: Lab, blow: Blow, since: float) -> float:
    """Wait for the moment of a cell. Returns it; 0 when it never came."""
    if blow.step == DECIDED:
        told = lab.master.events.wait(
            f"vmdk-move/{DISK}/decided", STEP_LIMIT, since, lambda one: one.data.get("choice") == "move"
        )
    else:
        step, what = blow.step, "outcome" if blow.point == AFTER else "step"
        if VICTIMS[blow.victim].armed:
            step, what = _armed_at(blow)
        told = lab.master.events.wait(
            f"vmdk-move/{DISK}/{what}", STEP_LIMIT, since, lambda one: one.data.get("step") == step
        )
    return told.monotonic if told is not None else 0.0


def _armed_at(blow: Blow) -> tuple[str, str]:
    """The event after which a blow that strikes by itself is prepared, or that shows that it has struck."""
    if not _follows_another(blow):
        return blow.step, "outcome"
    steps = KINDS[blow.kind].steps
    return steps[steps.index(blow.step) - 1], "outcome"


def _has_struck(lab: Lab, blow: Blow, since: float) -> bool:
    """Whether the product has told of a step that went wrong, as one does whose request or reply is lost."""
    told = lab.master.events.seen(f"vmdk-move/{DISK}/outcome", since)
    return any(one.data.get("step") == blow.step and one.data.get("outcome") != "done" for one in told)


def _pause(blow: Blow, chance: random.Random) -> float:
    """Seconds between the event and the blow."""
    if blow.point in (BEFORE, AFTER) or VICTIMS[blow.victim].armed:
        return 0.0
    return chance.uniform(0.05, 0.35)


# -- the end


def await_end(lab: Lab) -> tuple[str, str]:
    """Wait as an operator would, then run `vmdk.recover` once. Returns the end and the node or reason."""
    struck = time.monotonic()
    if wait_until(lambda: at_rest(lab, struck), REST_LIMIT, 0.2):
        return "active", active(lab)[0]
    lab.master.run("vmdk.recover", DISK)
    if wait_until(lambda: at_rest(lab, struck), RERUN_LIMIT, 0.2):
        return "active", f"{active(lab)[0]} {HELPED}"
    hold = state(lab).get("hold")
    if hold and len(active(lab)) <= 1:
        return "held", f"{hold.get('rule')}: {hold.get('reason')}"
    return (
        "lost",
        f"mounted on {active(lab)}, listed by {listed(lab)}, journal {json.dumps(state(lab))[:600]}",
    )


def _last_words(lab: Lab, since: float) -> str:
    """What the product said last, for whoever looks into it."""
    told = [one for one in lab.master.events.seen(f"vmdk-move/{DISK}/*", since) if one.data.get("sentence")]
    words = [f"{one.monotonic - since:.1f} s: {one.data['sentence']}" for one in told[-12:]]
    return " | ".join([*words, f"journal: {json.dumps(state(lab))[:600]}"])


def judge(stage: Stage, blow: Blow, since: float, end: str, where: str, struck: int, note: str) -> Verdict:
    """Put together what the witness saw."""
    lab, notes = stage.lab, [note] if note else []
    told, found = trial.read_back(lab, lab.disks[DISK], notes)
    missing = lost(told, found)
    if found.damaged or (end == "active" and not told):
        notes.append("the ledger is damaged or was not read")
        end = "lost"
    if end in GOOD and (blind := lab.observer.blind(since)):
        notes.append(blind)
        end = "missed"
    doubles = stage.doubles()
    pause = longest_pause(trial.acknowledged(lab), since)
    good = end in GOOD and not missing and not any(doubles)
    by_itself = good and HELPED not in where
    return Verdict(
        str(blow),
        good,
        end,
        where,
        len(missing),
        found.damaged,
        *doubles,
        struck,
        round(pause * 1000),
        note="; ".join(notes),
        told="" if by_itself else _last_words(lab, since),
    )
