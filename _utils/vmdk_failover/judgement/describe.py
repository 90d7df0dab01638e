"""
Values to words: the tables as text and as a diagram, entries of a run as sentences, durations, ages. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vmdk_failover.judgement import policy, rules
from vmdk_failover.model import Condition, StepKind

#: How a step is told while it runs, and when it has ended well.
WORDS: Mapping[str, tuple[str, str]] = {
    StepKind.RELEASE.value: ("releasing the disk on", "released on"),
    StepKind.HALT.value: ("telling to halt:", "told to halt:"),
    StepKind.FENCE.value: ("fencing", "fenced"),
    StepKind.DETACH.value: ("detaching the disk from", "detached from"),
    StepKind.ATTACH.value: ("attaching the disk to", "attached to"),
    StepKind.MOUNT.value: ("bringing into service on", "mounted on"),
    StepKind.FENCE_HOOK.value: ("fencing by its own hook:", "fenced by its own hook:"),
    StepKind.FENCE_HOST.value: ("getting the host off of", "got the host off of"),
    StepKind.POWER_ON.value: ("powering on", "powered on"),
    StepKind.ALONG.value: ("taking others along on", "took others along on"),
    StepKind.SEAL.value: ("making a lost request impossible on", "made a lost request impossible on"),
}

#: How what was decided is told.
DECIDED: Mapping[str, str] = {
    "move": "decided",
    "hold": "held",
    "refuse": "refused",
    "wait": "waits",
    "abandon": "given up",
}

#: What was seen and made somebody look, in words; a condition of a node's keeps its own word, by which docs/conditions.md has it.
SEEN: Mapping[str, str] = {
    "power": "the power state of a VM has changed",
    "connection": "vCenter's connection to a VM has changed",
    "heartbeat": "the guest heartbeat of a VM has changed",
    "devices": "the disks or other devices of a VM have changed",
    "snapshot": "the snapshots of a VM have changed",
    "question": "a VM waits for an answer, or waits no more",
    "gone": "a VM has left vCenter's inventory",
    "watching": "vCenter's changes are watched from here on",
    "silent": "its heartbeats have stopped",
    "booted": "it was heard in a new boot",
    "leaving": "it announced its shutdown",
    "unfinished": "a move was open that nobody worked on",
    "appointed": "a planned switchover was due",
    Condition.OK.value: "in order again (ok)",
    Condition.IO_ERROR.value: "reads or writes fail (io_error)",
    Condition.HUNG.value: "the disk hangs (hung)",
    Condition.FS_ERROR.value: "the file system has failed (fs_error)",
    Condition.DEVICE_GONE.value: "the disk is gone (device_gone)",
    Condition.DEVICE_OFFLINE.value: "the disk is offline (device_offline)",
    Condition.UNMOUNTED.value: "nothing is mounted (unmounted)",
    Condition.LAZILY_UNMOUNTED.value: "unmounted while still in use (lazily_unmounted)",
    Condition.WRONG_FILESYSTEM.value: "another file system is mounted (wrong_filesystem)",
    Condition.OPTIONS_CHANGED.value: "mount options have changed (options_changed)",
    Condition.NEARLY_FULL.value: "the file system is nearly full (nearly_full)",
    Condition.SLOW.value: "requests take long (slow)",
    Condition.WATCHER_SILENT.value: "the prober says nothing (watcher_silent)",
}


def table() -> list[dict[str, Any]]:
    """Both tables, row by row: number, table, condition, what follows."""
    chosen = [
        {
            "rule": row.number,
            "table": "policy",
            "when": row.when,
            "then": row.kind.value if row.choice is policy.Choice.MOVE else row.choice.value,
        }
        for row in policy.POLICY
    ]
    steps = [
        {"rule": row.number, "table": "steps", "when": row.when, "then": row.then.value}
        for row in rules.RULES
    ]
    return steps + chosen


def tables() -> dict[str, dict[int, str]]:
    """``policy`` and ``steps``: each row as a sentence, by its number."""
    found: dict[str, dict[int, str]] = {"policy": {}, "steps": {}}
    for row in table():
        found[row["table"]][row["rule"]] = f"{row['when']}: {row['then']}"
    return found


def tag(entry: Mapping[str, Any]) -> str:
    """Under which tag an entry of a run goes onto the event bus."""
    if entry.get("what") == "state":
        return f"vmdk-state/{entry['resource']}/{entry['state']}"
    return f"vmdk-move/{entry['resource']}/{entry['what']}"


def sentence(entry: Mapping[str, Any]) -> str:
    """
    One entry of a run (what ``tell`` receives) as a sentence with its rule and epoch.

    :param entry: ``what`` is ``decided``, ``step``, ``outcome``, ``done``, ``hold``, ``abandon``, ``wait`` or ``state``.
    """
    what, name = entry.get("what", ""), entry.get("resource", "")
    if what == "outcome":
        return f"{name}: {_outcome(entry)}"
    if what == "state":
        on = f" on {entry['active']}" if entry.get("active") else ""
        said = str(entry.get("reason", ""))
        short = entry.get("protected") or "NOT PROTECTED" in said or entry.get("state") == "moving"
        stands = f"{entry.get('state')}{on}{'' if short else ', NOT PROTECTED'}"
        return f"{name}: {stands}" if said == stands else f"{name}: {stands} – {said}"
    where = f"rule {entry.get('rule', 0)}" + (f", epoch {entry['epoch']}" if entry.get("epoch") else "")
    if what == "step":
        doing = WORDS.get(str(entry.get("step")), (str(entry.get("step")), ""))[0]
        return f"{name}: {doing} {entry.get('node', '')} – {entry.get('reason', '')} ({where})"
    kind = str(entry.get("choice", what) if what == "decided" else what)
    return f"{name}: {DECIDED.get(kind, kind)} – {entry.get('reason', '')} ({where})"


def _outcome(entry: Mapping[str, Any]) -> str:
    step, node, took = str(entry.get("step")), entry.get("node", ""), duration(float(entry.get("took", 0.0)))
    doing, done = WORDS.get(step, (step, step))
    evidence = entry.get("evidence", "")
    if entry.get("outcome") == "done":
        told = step in (StepKind.RELEASE.value, StepKind.MOUNT.value) and evidence
        return f"{done} {node} in {took}" + (f" – {evidence}" if told else "")
    return f"{doing} {node} {'has an unknown end' if entry.get('outcome') == 'unknown' else 'failed'} after {took} – {evidence}"


def duration(seconds: float) -> str:
    """Seconds as people write them: ``40 ms``, ``1.4 s``, ``3 min``, ``2 h``, ``5 d``."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 99.5:
        return f"{seconds:.1f} s"
    for size, unit in ((60, "min"), (3600, "h")):
        if seconds < size * 90:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"
