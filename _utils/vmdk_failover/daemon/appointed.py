"""
What operators appoint for later, and the engine's part in it: planned switchovers are run, maintenance with an end is ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vmdk_failover.app import App, now, state_dir
from vmdk_failover.commands import on_master, operate
from vmdk_failover.engine import Report
from vmdk_failover.errors import FailoverError, Refused
from vmdk_failover.judgement.policy import Wish
from vmdk_failover.model import MoveKind
from vmdk_failover.store import durable, schedule

#: In place of a name: every resource.
ALL = "all"


def plan(app: App, name: str, target: str, at: Any, who: str = "", test: bool = False) -> dict[str, Any]:
    """
    Plan a switchover, in place of one that was planned before.

    :param at: ``22:00`` or an ISO time. :param test: only say for when it would be planned.
    :return: ``planned`` (wall seconds), ``target``, and ``replaces``: for when it was planned before, or ``None``.
    :raises Refused: that time, or that target, cannot be, or no engine runs.
    """
    resource = app.resource(name)
    if app.bystander:
        raise Refused(app.bystander, "bystander")
    known = [node.minion for node in resource.nodes]
    if target and target not in known:
        raise Refused(f"{target} is not a node of {name}; its nodes are {', '.join(known)}")
    moment = schedule.moment_of(at, app.clock.wall())
    _check_engine(app, "would carry it out at that time", f"'salt-run vmdk.switchover {name}' does it now")
    before = schedule.read(state_dir(app.opts), name)
    if not test:
        schedule.write(state_dir(app.opts), name, schedule.Plan(moment, target, who))
    replaces = before.at if before else None
    return {"resource": name, "planned": moment, "target": target, "replaces": replaces, **operate.only(test)}


def cancel(app: App, name: str, test: bool = False) -> dict[str, Any]:
    """Take a planned switchover back; :raises Refused: none is planned."""
    found = (schedule.read if test else schedule.cancel)(state_dir(app.opts), name)
    if found is None:
        raise Refused(f"no switchover of {name} is planned")
    return {"resource": name, "cancelled": found.at, "target": found.target, **operate.only(test)}


def run(app: App, name: str) -> Report:
    """What the engine does at a look: the planned switchover if it is due, else what follows from the look."""
    wall = app.clock.wall()
    due = schedule.take(state_dir(app.opts), name, wall)
    if due is None:
        return app.run(name)
    if wall - due.at > schedule.TOO_LATE:
        report = Report(name, "refused", 0, "no engine ran when it was due, and now it is too late for it")
    else:
        report = app.run(name, Wish(MoveKind.SWITCHOVER, due.target))
    told = {"planned": due.at, "target": due.target, "result": report.result, "reason": report.reason}
    app.journal.note(name, {"appointed": told, "at": app.clock.wall()})
    return report


def due(app: App) -> list[str]:
    """Names of resources that have to be looked at now; maintenance that is over has been ended."""
    moment, place = now(), state_dir(app.opts)
    try:
        found, ending = durable.within(
            durable.PATIENCE, lambda _: (schedule.due(place, moment.wall), _ending(place))
        )
    except OSError:  # whoever looks at a resource says so
        return []
    for name in ending:
        try:
            pause = app.journal.state(name).pause
            if pause and schedule.is_over(pause, moment.boot, moment.seconds, moment.wall):
                operate.resume(app, name, pause.__eq__)  # not one that was begun meanwhile
                found.append(name)
        except FailoverError:
            continue  # a journal that cannot be read, or a lock that is held: at the next round
    return found


def _ending(place: Path) -> list[str]:
    """Names whose journal may tell of maintenance with an end; asked every other second, so none is understood for that."""
    return [
        path.stem for path in sorted((place / "journal").glob("*.json")) if b'"until"' in path.read_bytes()
    ]


def pause(app: App, name: str, length: Any = "", who: str = "", test: bool = False) -> dict[str, Any]:
    """
    Begin maintenance of one resource or of :data:`ALL`.

    :param length: ``2h``; empty: until somebody ends it.
    :raises Refused: that is no length, or no engine runs, which would end it.
    """
    moment = now()
    more: dict[str, Any] = {}
    if length not in ("", None):
        more = schedule.until(schedule.seconds_of(length), moment.boot, moment.seconds, moment.wall)
        _check_engine(app, "would end it", f"'salt-run vmdk.pause {name}' lasts until 'vmdk.resume'")
    answers = [operate.pause(app, one, who, more, test) for one in _names(app, name)]
    if name != ALL:
        return answers[0]
    return {"paused": [a["resource"] for a in answers], **_end(more), **operate.only(test)}


def resume(app: App, name: str, test: bool = False) -> dict[str, Any]:
    """End maintenance of one resource or of :data:`ALL`."""
    answers = [operate.resume(app, one, test=test) for one in _names(app, name)]
    if name != ALL:
        return answers[0]
    return {"resumed": [a["resource"] for a in answers if a["was_paused"]], **operate.only(test)}


def _check_engine(app: App, part: str, else_: str) -> None:
    """An appointment that nobody would keep is none."""
    if not on_master.engine_answers(app):
        raise Refused(
            f"the engine vmdk of this master does not answer, and nobody else {part}; 'salt-run vmdk.doctor' says how it is "
            f"mended, {else_}",
            "no_engine",
        )


def _end(more: dict[str, Any]) -> dict[str, Any]:
    return {"until": more["until"]} if more else {}


def _names(app: App, name: str) -> Sequence[str]:
    return sorted(app.settings.resources) if name == ALL else [name]
