"""
The node's answers as people read them: what matters first, in plain lines, and what to do. Pure.

``--out=json`` and ``--out=yaml`` show the whole of an answer instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from vmdk_failover.model import Condition
from vmdk_failover.views.columns import printable

Plain = Mapping[str, Any]
_MOVES = "The master acts on it; 'salt-run vmdk.status {name}' on the master shows what it does."
_WORDS: Mapping[str, tuple[str, str]] = {
    Condition.OK.value: ("all is well", ""),
    Condition.IO_ERROR.value: ("reads or writes of the disk FAIL", _MOVES),
    Condition.HUNG.value: ("the disk HANGS", _MOVES),
    Condition.FS_ERROR.value: ("the kernel has given up the file system", _MOVES),
    Condition.DEVICE_GONE.value: ("the disk is GONE", _MOVES),
    Condition.DEVICE_OFFLINE.value: ("the disk is OFFLINE", _MOVES),
    Condition.UNMOUNTED.value: (
        "NOT MOUNTED, though the disk is here",
        "The master mounts it again; if you work on it, run 'salt-run vmdk.pause {name}' on the master first.",
    ),
    Condition.LAZILY_UNMOUNTED.value: (
        "unmounted, but still IN USE",
        "'salt-call vmdk.users {name}' lists who has to end.",
    ),
    Condition.WRONG_FILESYSTEM.value: (
        "ANOTHER file system is mounted in its place",
        "Unmount what does not belong there; nothing is done until then.",
    ),
    Condition.OPTIONS_CHANGED.value: (
        "in use, but mount options were changed",
        "Remount with the recorded options, or record the new ones on the master.",
    ),
    Condition.SLOW.value: (
        "in use, but the disk is slow",
        "Look at the storage; 'salt-call vmdk.check {name}' measures now.",
    ),
    Condition.NEARLY_FULL.value: ("in use, but nearly full", "Make room, or enlarge the file system."),
    Condition.UNKNOWN.value: ("NOT KNOWN how the disk is", "'salt-call vmdk.doctor' says why."),
    "standby": ("standby, the disk is not in this node", ""),
}


def summary(name: str, facts: Plain, watcher: Plain) -> dict[str, str]:
    """
    The line that people read first: ``summary`` and ``do``, each a sentence; ``do`` is empty if nothing has to be done.

    :param facts: what the node sees of the resource, in plain form.
    :param watcher: what the prober says of itself.
    """
    if not watcher.get("speaks"):
        words = "NOT WATCHED, the prober says nothing", "'salt-call vmdk.doctor' says why."
    elif facts.get("device") is False and facts.get("mounted") == "unmounted" and not facts.get("superblock"):
        unready = list(facts.get("unready") or ())
        words = ("standby, ready to take the disk", "")
        if unready:
            reasons = "; ".join(str(one) for one in unready)
            words = (f"standby, but CANNOT take the disk: {reasons}", "'salt-call vmdk.doctor' says more.")
    else:
        words = _WORDS.get(str(facts.get("condition")), _WORDS[Condition.UNKNOWN.value])
        if facts.get("bound") and not words[1]:
            others = "; ".join(str(one) for one in facts["bound"])
            words = (
                f"in use, but NO OTHER node could mount it: {others}",
                "'salt-call vmdk.doctor' says more.",
            )
    evidence = str(facts.get("evidence") or "") if words[1] else ""
    said = f"{name}: {words[0]}" + (f" - {evidence}" if evidence else "") + "."
    return {"summary": said, "do": words[1].format(name=name)}


def lines(answer: Any) -> list[str] | None:
    """
    An answer of ``vmdk.status``, ``check``, ``users`` or ``doctor`` as lines, which do nothing to a terminal; ``None`` if it is
    none of them.
    """
    found = _lines(answer) if isinstance(answer, Mapping) else None
    return None if found is None else [printable(line) for line in found]


def _lines(answer: Plain) -> Iterator[str] | None:
    for key, write in _WRITERS.items():
        if key in answer:
            return write(answer)
    if all(isinstance(one, Mapping) and "summary" in one for one in answer.values()):
        return _status(answer)
    return None


def _do(words: Any) -> Iterator[str]:
    if words:
        yield f"  -> {words}"


def _status(answer: Plain) -> Iterator[str]:
    if not answer:
        yield "This node knows no resource."
        yield from _do("'salt-call saltutil.refresh_pillar' fetches them, 'salt-run vmdk.protect' makes one.")
    for one in answer.values():
        yield str(one["summary"])
        yield from _do(one.get("do"))
        here = {True: "in this node", False: "not in this node", None: "not known"}[one.get("device")]
        yield f"  disk: {here}; file system: {one.get('mounted')}; epoch {one.get('epoch')}"
        if one.get("busy"):
            yield f"  in use by others: {one['busy']}"
        sources = one.get("watcher", {}).get("sources") or {}
        missing = [f"{name} {state}" for name, state in sources.items() if state != "live"]
        if missing:
            yield f"  not heard by the watcher: {', '.join(missing)}"


def _check(answer: Plain) -> Iterator[str]:
    yield f"{answer['resource']}: {answer['condition']} - {answer['sentence']}."
    if not answer["ok"]:
        words = _WORDS.get(str(answer["condition"]), ("", ""))[1]
        yield from _do(words.format(name=answer["resource"]))
    for one in answer["tried"]:
        yield f"  {'' if one['ok'] else 'FAILED: '}{one['what']}: {one['said']} ({one['ms']:.1f} ms)"


def _users(answer: Plain) -> Iterator[str]:
    processes, spaces = answer["processes"], answer["namespaces"]
    others = [*answer["kernel"], *answer["devices"]]
    stuck = sum(one.get("state") == "D" for one in processes)
    count = len(processes)
    said = [f"{count} process{'' if count == 1 else 'es'}"] if processes else []
    said += [f"{len(spaces)} foreign mount namespace{'' if len(spaces) == 1 else 's'}"] if spaces else []
    said += [f"{len(others)} other user{'' if len(others) == 1 else 's'}"] if others else []
    yield f"{answer['resource']}: " + (f"in use by {', '.join(said)}." if said else "nobody uses it.")
    if stuck:
        yield from _do(
            f"{stuck} of them in uninterruptible sleep (D): no signal ends them before the disk answers."
        )
    for one in processes:
        held = "; ".join(one["holds"])
        state = ", D" if one.get("state") == "D" else ""
        yield f"  {one['command']} (pid {one['pid']}{state}): {one['has']}" + (f" - {held}" if held else "")
    for one in spaces:
        yield f"  {one['namespace']} of {one['command']} (pid {one['pid']}): {', '.join(one['mountpoints'])}"
    for words in answer.get("waiting") or ():
        yield f"  {words}: waits in the kernel (D), for this disk or for another"
    for words in (*others, *filter(None, [answer.get("note")])):
        yield f"  {words}"


def _doctor(answer: Plain) -> Iterator[str]:
    found: Sequence[Plain] = answer["findings"]
    bad = sum(one["severity"] == "error" for one in found)
    yield {0: "Nothing stands in the way of a failover.", 1: "1 thing stands in the way of a failover."}.get(
        bad, f"{bad} things stand in the way of a failover."
    )
    for one in found:
        yield f"  {one['severity']}: {one['what']}"
        yield f"    -> {one['do']}"


#: A key that only this answer has → how it is written.
_WRITERS: Mapping[str, Callable[[Plain], Iterator[str]]] = {
    "tried": _check,
    "processes": _users,
    "findings": _doctor,
}
