"""
The master's answers as people read them: the first line says whether all is well, the rest what to do. Pure but for
:func:`width`.

``--out=json`` and ``--out=yaml`` show the whole of an answer instead.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from vmdk_failover.finding import NOTHING_YET
from vmdk_failover.judgement import describe
from vmdk_failover.views import terminal_history, terminal_status, terminal_words
from vmdk_failover.views.columns import WIDTH, Verbatim, folded, moment, numbered, printable, wrapped
from vmdk_failover.views.terminal_history import step_done

Plain = Mapping[str, Any]


def width() -> int:
    """How wide the terminal is, or what is written into none."""
    return shutil.get_terminal_size((WIDTH, 24)).columns


def lines(answer: Any, width: int = WIDTH) -> list[str] | None:
    """
    An answer of a runner as lines, which do nothing to a terminal; ``None`` if it is none that is known here.

    :param width: columns that they fit into, but for a word that is longer and for the text of a file.
    """
    found = _lines(answer, width) if isinstance(answer, Mapping) else None
    return None if found is None else [printable(line) for line in found]


def _lines(answer: Plain, width: int) -> Iterator[str] | None:
    if set(answer) >= {"all_well", "resources"}:
        return terminal_status.status(answer, width)
    if set(answer) >= {"findings", "looked_at"}:
        return _doctor(answer, width)
    written = _written_by(answer)
    return None if written is None else (part for line in written for part in wrapped(line, width))


def _written_by(answer: Plain) -> Iterator[str] | None:
    """The lines of an answer, as long as they are."""
    for keys, write in _WRITERS:
        if keys <= set(answer):
            return write(answer)
    return terminal_history.history(answer) if terminal_history.is_history(answer) else None


# -- plan and what was done -----------------------------------------------------------------------------------------


#: What a plan is of → how it begins; in braces are keys of the answer, and ``way`` from where to where.
_BEGINS: Mapping[str, str] = {
    "itself": "Would do a {decision} {way} by itself: {reason} (rule {rule})",
    "request": "Would do a {decision} {way} (rule {rule}):",
    "well": "If you ask for a {decision} now, it goes {way} (rule {rule}):",
    "under way": "A {decision} {way} is under way already: {reason} (rule {rule}). What is left of it:",
}


def _plan(answer: Plain) -> Iterator[str]:
    on = str(answer.get("on", "itself"))
    if on == "well":
        yield "All is well: nothing would be done by itself."
    if not answer["steps"]:
        kinds = {
            "refuse": "If you ask for a switchover now, it is REFUSED"
            if on == "well"
            else "Would be REFUSED",
            "hold": "Is HELD, nothing would be done",
            "nothing": "Nothing to do",
            "wait": "Waits",
        }
        yield f"{kinds.get(answer['decision'], answer['decision'])}: {answer['reason']} (rule {answer['rule']})"
        return
    source, target = answer.get("source"), answer.get("target")
    way = f"from {source} to {target}" if source and source != target else f"on {target}"
    because = str(answer["reason"]).removeprefix("it is under way already: ")
    yield _BEGINS[on].format(**{**answer, "way": way, "reason": because})
    for number, one in enumerate(answer["steps"], 1):
        yield f"  {number}. {_doing(one)} - {one['reason']}"
        if other := one.get("otherwise"):
            doing = _doing(other) if other["step"] else "the move ends or is held"
            yield f"     if that fails: {doing} - {other['reason']}"
    yield f"  in the end: {answer['end']}"
    yield "Nothing was done."


def _doing(step: Plain) -> str:
    return f"{describe.WORDS.get(str(step['step']), (str(step['step']), ''))[0]} {step['node']}"


def _report(answer: Plain) -> Iterator[str]:
    words = {"done": "Done", "nothing": "Nothing to do", "held": "HELD", "refused": "REFUSED", "busy": "BUSY"}
    took = f", {describe.duration(float(answer['took']))}" if answer.get("took") else ""
    where = f", active on {answer['active']}" if answer.get("active") else ""
    result = str(answer["result"])
    word = "GIVEN UP" if result == "refused" and answer["steps"] else words.get(result, result)
    yield f"{answer['resource']}: {word}{where}{took}"
    yield f"  {answer['reason']} (rule {answer['rule']})"
    for step in () if answer.get("told") else answer["steps"]:
        yield f"  {step_done(step)}"


def _error(answer: Plain) -> Iterator[str]:
    head, rows = numbered(str(answer["error"]))
    yield f"NOT DONE: {head} ({answer['code']}){':' if rows else ''}"
    yield from (f"  {row}" for row in rows)


# -- configuration ------------------------------------------------------------------------------------------------


def _protected(answer: Plain) -> Iterator[str]:
    yield f"{answer['resource']}: {'protected' if answer['written'] else 'can be protected; nothing was written'}"
    yield f"  nodes: {', '.join(answer['nodes'])}"
    yield from (f"  disk: {disk}" for disk in answer["disks"])
    yield from _written(answer)


def _edited(answer: Plain) -> Iterator[str]:
    changes: Mapping[str, Plain] = answer["changes"]
    words = "nothing to change" if not changes else "changed" if answer["written"] else "would be changed"
    yield f"{answer['resource']}: {words}"
    for key, one in changes.items():
        before, after = (_entry(one[when]) for when in ("old", "new"))
        yield f"  {key}: {before} -> {after}"
    yield from _written(answer) if changes else ()


def _entry(value: Any) -> str:
    """A value of a resource's file as people read it; of a mount, a disk and a volume group what tells it from the others."""
    if value is None:
        return "its default"
    if isinstance(value, Mapping):
        named = next((str(value[key]) for key in ("mountpoint", "path", "vg") if key in value), "")
        options = f" ({value['options']})" if value.get("options") else ""
        return f"{named}{options}" if named else _flow(value)
    return ", ".join(map(_entry, value)) or "none" if isinstance(value, list) else _flow(value)


def _flow(value: Any) -> str:
    """As it is written in YAML: what people type and read elsewhere, and not what Python prints."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_flow(one)}' for key, one in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_flow, value))}]"
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)


def _written(answer: Plain) -> Iterator[str]:
    yield f"{'Written to' if answer['written'] else 'Would be written to'} {answer['file']}:"
    yield from (Verbatim(f"  {line}") for line in str(answer["text"]).splitlines())
    yield from (f"Note: {finding}" for finding in answer["findings"])


def _unprotected(answer: Plain) -> Iterator[str]:
    if answer["unprotected"]:
        yield f"{answer['resource']}: not protected any more; its file is kept as {answer['kept']}"
    else:
        yield f"{answer['resource']}: would not be protected any more; its file would be kept as {answer['kept']}"
    yield "  The disk and the mount stay where they are."
    yield from (f"Note: {finding}" for finding in answer.get("findings") or ())


# -- maintenance and appointments -------------------------------------------------------------------------------------


def _maintenance(answer: Plain) -> Iterator[str]:
    until = f" until {moment(answer['until'])}" if answer.get("until") else ""
    paused = answer.get("paused", answer.get("resumed"))
    names = ", ".join(paused if isinstance(paused, list) else [answer["resource"]]) or "nothing"
    would = " would be" if answer.get("test") else ""
    if answer.get("was_paused") is False or answer.get("resumed") == []:
        name = f"{answer['resource']} is not" if "resource" in answer else "Nothing is"
        yield f"{name} in maintenance; nothing {'would be' if would else 'was'} done."
    elif "resumed" in answer or paused is False:
        yield f"{names}: maintenance {'would end' if would else 'has ended'}."
    else:
        of = answer.get("resource", "all")
        yield f"{names}:{would} in maintenance{until}; 'salt-run vmdk.resume {of}' ends it."


def _power(answer: Plain) -> Iterator[str]:
    if not answer["off"]:
        yield f"{answer['node']}: would be powered off; it holds no disk."
    else:
        yield f"{answer['node']}: {'powered off' if answer['changed'] else 'is off already'}."


def _planned(answer: Plain) -> Iterator[str]:
    to, name = answer["target"] or "the best node", answer["resource"]
    does = "would be" if answer.get("test") else "is"
    if "planned" in answer:
        would = "would be " if answer.get("test") else ""
        yield f"{name}: switchover to {to} {would}planned at {moment(answer['planned'])}."
        if answer.get("replaces"):
            yield f"  It {'would replace' if would else 'replaces'} the one at {moment(answer['replaces'])}."
        yield f"  'salt-run vmdk.cancel {name}' takes it back; the engine carries it out."
    else:
        yield f"{name}: the switchover to {to} at {moment(answer['cancelled'])} {does} cancelled."


# -- doctor -------------------------------------------------------------------------------------------------------


def _doctor(answer: Plain, width: int) -> Iterator[str]:
    found: Sequence[Plain] = answer["findings"]
    bad = sum(one["severity"] == "error" for one in found)
    ways = {0: "Nothing stands in the way of a failover.", 1: "1 thing stands in the way of a failover."}
    if not bad and any(one["what"] == NOTHING_YET for one in found):
        yield "Nothing is protected yet, and nothing stands in the way of that."
    else:
        yield ways.get(bad, f"{bad} things stand in the way of a failover.")
    yield from wrapped(f"Looked at: {answer['looked_at']}", width)
    if found:
        yield ""
        yield from _table(found, width)


def _table(found: Sequence[Plain], width: int) -> Iterator[str]:
    """
    What was found in columns, and below each what to do, over the whole width: people copy the commands in it. What it is about
    has a column of its own, if that leaves half of the width.
    """
    about = [" ".join(str(one[key]) for key in ("resource", "node") if one.get(key)) for one in found]
    longest = max(len("ABOUT"), *map(len, about))
    apart = any(about) and len("SEVERITY") + 4 + longest <= width / 2
    rows = [("SEVERITY", *(("ABOUT",) if apart else ()), "WHAT IT IS, AND WHAT TO DO")]
    for one, of in zip(found, about, strict=True):
        what = f"{of}: {one['what']}" if of and not apart else one["what"]
        rows.append((str(one["severity"]), *((of,) if apart else ()), what))
    head, *blocks = folded(rows, width)
    yield from head
    for one, lines in zip(found, blocks, strict=True):
        yield from lines
        yield from wrapped(f"  -> {one['do']}", width)


#: Keys that only this answer has together → how it is written.
_WRITERS: Sequence[tuple[set[str], Callable[[Plain], Iterator[str]]]] = (
    ({"error", "code"}, _error),
    ({"decision", "steps", "end"}, _plan),
    ({"result", "steps", "took"}, _report),
    ({"resource", "disks", "written"}, _protected),
    ({"resource", "changes", "written"}, _edited),
    ({"resource", "unprotected", "kept"}, _unprotected),
    ({"resource", "planned", "target"}, _planned),
    ({"resource", "cancelled", "target"}, _planned),
    ({"node", "off", "changed"}, _power),
    ({"node", "moved", "stays"}, terminal_words.drained),
    ({"resource", "adopted", "not_heard"}, terminal_words.adopted),
    ({"resource", "cleared", "taken_as_deleted"}, terminal_words.cleared),
    ({"changed", "began_now", "waiting_for"}, terminal_words.rotated),
    ({"host", "confirmed", "resources"}, terminal_words.confirmed),
    ({"path", "epoch", "sentence"}, terminal_words.page),
    ({"policy", "steps"}, terminal_words.rules),
    ({"resource", "paused"}, _maintenance),
    ({"paused"}, _maintenance),
    ({"resumed"}, _maintenance),
)
