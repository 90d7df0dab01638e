"""One cell of the campaign: a fresh lab, a move, a blow, and what became of the resource."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from lab import product, trial
from lab.blows import AFTER, BEFORE, DECIDED, KINDS, Blow
from lab.cable import Cable
from lab.cell import LabError
from lab.cluster import Lab
from lab.hypervisor import VcenterError
from lab.ledger import longest_pause, lost
from lab.linux import wait_until
from lab.observer import mountpoints
from lab.scenarios import DISK, SCENARIOS
from lab.strikes import REQUESTS, VICTIMS, Scene, TooLate, strike
from lab.wishes import Wishes

#: Milliseconds that the vCenter's tasks take, so that a blow lands in their midst.
SLOW = {"detach": 400, "attach": 400, "poweroff": 400}
STEP_LIMIT, REST_LIMIT, RERUN_LIMIT = 40.0, 60.0, 30.0
_WRITTEN = 10
GOOD = ("active", "held")


@dataclass(frozen=True)
class Verdict:
    """What became of one cell; one line of build/campaign/seed-N.json.

    end: active, held, missed (the blow did not land where it should) or lost (neither active nor held). where: the node, or
    the reason. struck_ms: from the event of the step to the blow. service_ms: the longest time without an acknowledged record.
    """

    cell: str
    ok: bool
    end: str
    where: str
    lost: int = 0
    double_holders: int = 0
    double_mounts: int = 0
    struck_ms: int = 0
    service_ms: int = 0
    took_s: float = 0.0
    note: str = ""

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


@contextmanager
def stage(kind: str) -> Iterator[tuple[Lab, Cable]]:
    """A lab whose first node has the resource, with a cable that can be cut."""
    policy = {"services": [trial.SERVICE], "hang_timeout": 1, **SCENARIOS[KINDS[kind].scenario].policy}
    with Cable() as cable:
        wishes = Wishes(
            delays=SLOW,
            master_overrides=lambda lab: product.master_options(lab, {DISK: policy}),
            minion_overrides=cable.minion_options,
        )
        with Lab(wishes) as lab:
            trial.bring_up(lab, by_hand=False)
            SCENARIOS[KINDS[kind].scenario].prepare(lab)
            yield lab, cable


def run(blow: Blow, seed: int) -> Verdict:
    """Carry out one cell. A lab that does not work is a verdict too."""
    began = time.monotonic()
    try:
        with stage(blow.kind) as (lab, cable):
            verdict = suffer(lab, cable, blow, random.Random(f"{seed} {blow}"))
    except (LabError, VcenterError) as problem:
        verdict = Verdict(str(blow), False, "missed", f"the lab itself failed: {problem}")
    return Verdict(**{**verdict.plain(), "took_s": round(time.monotonic() - began, 1)})


def suffer(lab: Lab, cable: Cable, blow: Blow, chance: random.Random) -> Verdict:
    """Start the move, strike, wait for its end and judge. Raises LabError."""
    victim, scene, since = VICTIMS[blow.victim], Scene(lab, cable, blow.step), time.monotonic()
    if victim.armed and not _follows_another(blow):
        strike(victim, scene)
    SCENARIOS[KINDS[blow.kind].scenario].fault(lab)
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
    return judge(lab, blow, since, end, where, round((struck - (reached or struck)) * 1000), note)


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


def active(lab: Lab) -> list[str]:
    """The nodes that have the file system mounted."""
    nodes = lab.nodes.items()
    return [name for name, node in nodes if node.is_running and mountpoints(node, lab.disks[DISK])]


def state(lab: Lab) -> dict[str, Any]:
    """The journal's record of the resource."""
    path = lab.master.root / "var/lib/salt/vmdk/journal" / f"{DISK}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def _listed(lab: Lab) -> list[str]:
    """The nodes whose VM lists the disk, running or not."""
    path, vms = lab.disks[DISK].path, {node.name: name for name, node in lab.nodes.items()}
    found = [vm for vm in lab.vcenter.inventory()["vms"] if any(one["path"] == path for one in vm["disks"])]
    return [vms[vm["name"]] for vm in found]


def _writes(lab: Lab, node: str, since: float) -> bool:
    return sum(one.node == node and one.monotonic >= since for one in trial.acknowledged(lab)) >= _WRITTEN


def at_rest(lab: Lab, since: float) -> bool:
    """Whether the resource is on exactly one node, nothing is under way, and the service has written there since."""
    where = active(lab)
    return (
        len(where) == 1
        and not state(lab).get("move")
        and _listed(lab) == where
        and _writes(lab, where[0], since)
    )


def await_end(lab: Lab) -> tuple[str, str]:
    """Wait as an operator would, then run `vmdk.recover` once. Returns the end and the node or reason."""
    struck = time.monotonic()
    if wait_until(lambda: at_rest(lab, struck), REST_LIMIT, 0.2):
        return "active", active(lab)[0]
    lab.master.run("vmdk.recover", DISK)
    if wait_until(lambda: at_rest(lab, struck), RERUN_LIMIT, 0.2):
        return "active", f"{active(lab)[0]} (after vmdk.recover)"
    hold = state(lab).get("hold")
    if hold and len(active(lab)) <= 1:
        return "held", f"{hold.get('rule')}: {hold.get('reason')}"
    return (
        "lost",
        f"mounted on {active(lab)}, listed by {_listed(lab)}, journal {json.dumps(state(lab))[:600]}",
    )


def _last_words(lab: Lab, since: float) -> str:
    """What the product said last, for whoever looks into it."""
    told = [one for one in lab.master.events.seen(f"vmdk-move/{DISK}/*", since) if one.data.get("sentence")]
    words = [f"{one.monotonic - since:.1f} s: {one.data['sentence']}" for one in told[-5:]]
    return " | ".join([*words, f"journal: {json.dumps(state(lab))[:600]}"])


def judge(lab: Lab, blow: Blow, since: float, end: str, where: str, struck: int, note: str) -> Verdict:
    """Put together what the witness saw."""
    notes: list[str] = [note] if note else []
    told, found = trial.read_back(lab, lab.disks[DISK], notes) if end == "active" else ([], None)
    missing = lost(told, found) if found is not None else []
    if end == "active" and (found is None or found.damaged or not told):
        notes.append("the ledger is damaged or was not read")
        end = "lost"
    seen = lab.observer.findings
    doubles = len(seen.double_holders), len(seen.double_mounts)
    pause = longest_pause(trial.acknowledged(lab), since)
    good = end in GOOD and not missing and not any(doubles)
    if not good:
        notes.append(_last_words(lab, since))
    return Verdict(
        str(blow),
        good,
        end,
        where,
        len(missing),
        *doubles,
        struck,
        round(pause * 1000),
        note="; ".join(notes),
    )
