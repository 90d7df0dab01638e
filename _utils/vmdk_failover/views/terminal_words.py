"""
What a person's word has changed, as people read it: an adoption, an acknowledged hold, a host that is off, new keys, a node that
is drained; and what is read rather than acted on: the page of a move, the rules. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Plain = Mapping[str, Any]


def adopted(answer: Plain) -> Iterator[str]:
    """``adopt``: what is recorded from now on."""
    name = answer["resource"]
    done = "adopted" if answer["adopted"] else "would be adopted"
    where = f"active on {answer['active']}" if answer["active"] else "active nowhere"
    listed = f"listed by {', '.join(answer['holders'])}" if answer["holders"] else "listed by no node"
    yield f"{name}: {done} under epoch {answer['epoch']}{'' if answer['adopted'] else '; nothing was written'}"
    yield f"  {where}; the disk is {listed}"
    for disk in answer["moved"]:
        yield f"  the disk {disk['from']} is {disk['to']} now"
    yield from (f"  ends {what}" for what in answer["ended"])
    if answer["not_heard"]:
        yield f"  no answer came from {', '.join(answer['not_heard'])}, so what is known there does not count"
    if answer["missing"]:
        yield f"  vCenter does not show {', '.join(answer['missing'])}: taken as deleted"


def cleared(answer: Plain) -> Iterator[str]:
    """``clear``: tries and damping are forgotten."""
    done = (
        "would be forgotten; nothing was written"
        if answer.get("test")
        else "are forgotten; it is judged anew"
    )
    yield f"{answer['resource']}: failed tries and damping {done}."
    if answer.get("ends"):
        yield f"  ends {answer['ends']}"
    if answer["taken_as_deleted"]:
        missing = ", ".join(answer["taken_as_deleted"])
        yield f"  vCenter does not show {missing}: taken as deleted until the next move has ended well. Is that so?"


def rotated(answer: Plain) -> Iterator[str]:
    """``rotate_keys``: how far it is."""
    waiting = ", ".join(answer["waiting_for"])
    if answer.get("test"):
        yield (
            "New keys would be made; nothing was done."
            if answer["began_now"]
            else "The keys are being changed."
        )
        yield f"  waited for until they have spoken under theirs: {waiting or 'nobody'}"
        return
    if answer["changed"]:
        yield "The keys are changed: every node has spoken under its new one, the old ones count no more."
        return
    yield "New keys are on their way; the old ones count until every node has spoken under its new one."
    if waiting:
        yield f"  waiting for {waiting}: 'salt NODE saltutil.refresh_pillar' brings it at once"


def confirmed(answer: Plain) -> Iterator[str]:
    """``confirm_off``: what follows from a person's word."""
    would = "would count" if answer.get("test") else "counts"
    yield f"{answer['host']} {would} as off, until vCenter shows it connected again."
    yield f"  so do {', '.join(answer['confirmed'])}; looked at anew: {', '.join(answer['resources'])}"
    if answer.get("test"):
        yield "Nothing was written. Be sure that the host is off before you say so."


def drained(answer: Plain) -> Iterator[str]:
    """``drain``: what has left the node, would leave it, or cannot."""
    node, found = answer["node"], answer["resources"]
    bad = [name for name, way in found.items() if not way["ok"]]
    if not found:
        yield f"{node}: holds nothing."
    elif bad and not answer["moved"]:
        yield f"{node}: NOT DRAINED, nothing {'would be' if answer.get('test') else 'was'} moved: {', '.join(bad)} cannot leave."
    elif bad:
        yield f"{node}: NOT DRAINED: {', '.join(bad)} did not leave as it should."
    else:
        yield f"{node}: {'would be drained; nothing was done' if answer.get('test') else 'drained, it holds nothing'}."
    left = "could leave for" if bad and not answer["moved"] else "would go to" if answer.get("test") else "on"
    for name in sorted(found, key=lambda one: found[one]["ok"]):
        way = found[name]
        rule = f" (rule {way['rule']})" if way["rule"] else ""
        yield f"  {name}: {left} {way['target']}" if way["ok"] else f"  {name}: {way['reason']}{rule}"
    if answer["ok"] and not answer.get("test"):
        yield f"It is a backup as before; 'salt-run vmdk.power_off {node}' keeps it out."


def page(answer: Plain) -> Iterator[str]:
    """``report``: what became of the move, and where its page is."""
    yield str(answer["sentence"])
    yield f"  written to {answer['path']}"


def rules(answer: Plain) -> Iterator[str]:
    """``rules``: both tables, a line for each rule."""
    for title, key in (("Should it move? When no move is open:", "policy"),
                       ("What next? While a move is open:", "steps")):  # fmt: skip
        yield title
        yield from (f"  {number:>3}  {words}" for number, words in answer[key].items())
