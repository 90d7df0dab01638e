"""
What operators ask of the product on a master: status, plan, switchover, failover, pause, history. Every answer is plain data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vmdk_failover.app import App, state_dir
from vmdk_failover.app import names as known_names
from vmdk_failover.commands import on_master, panorama
from vmdk_failover.engine import WISH_WAIT, Report
from vmdk_failover.errors import FailoverError, Refused
from vmdk_failover.judgement import homes, policy, predict, rules, standing
from vmdk_failover.judgement.assess import Snapshot
from vmdk_failover.judgement.policy import Choice, Situation, Wish
from vmdk_failover.model import HypervisorFacts, Move, MoveKind, Resource, to_plain
from vmdk_failover.ports import Record
from vmdk_failover.store import schedule


def recover(app: App, name: str) -> dict[str, Any]:
    """Look at ``name`` and do what follows. Safe at any time, by anyone."""
    return _told(app.run(name))


def switchover(app: App, name: str, target: str = "") -> dict[str, Any]:
    """Move ``name`` to ``target`` (or the best node) cleanly; refused without any change if that is not possible."""
    return _told(app.run(name, Wish(MoveKind.SWITCHOVER, target)))


def failover(app: App, name: str, target: str = "") -> dict[str, Any]:
    """Move ``name`` to ``target`` (or the best node); the old node is fenced if it does not release the disk."""
    return _told(app.run(name, Wish(MoveKind.FAILOVER, target)))


def _told(report: Report) -> dict[str, Any]:
    plain: dict[str, Any] = to_plain(report)
    return {**plain, "ok": report.ok}


def status(app: App, name: str = "") -> dict[str, Any]:
    """
    Where resources run and how they are.

    :param name: one resource; all if empty.
    :return: ``{"all_well": bool, "at": wall, "engine": bool, "resources": {name: …}, "faults": [sentence, …]}``.
    :raises ConfigError: there is none of that name.
    """
    if name and name not in known_names(app.opts):
        app.resource(name)
    names = [name] if name else sorted(app.settings.resources)
    found = status_of_all(app, names)
    faults = [
        str(f) for f in app.faults() if not name or f in app.settings.faults_of(name) or "." not in f.where
    ]
    engine = on_master.engine_answers(app)
    # of a master that only watches, the other one's engine counts, which is not to be seen from here
    served = engine or bool(app.bystander)
    all_well = bool(found) and served and not faults and all(r["protected"] for r in found.values())
    watching = {"watches_only": app.bystander} if app.bystander else {}
    told = {"all_well": all_well, "at": app.clock.wall(), "engine": engine}
    return {**told, "resources": found, "faults": faults, **watching}


def status_of_all(
    app: App, names: Sequence[str], seen: Mapping[str, HypervisorFacts] | None = None
) -> dict[str, dict[str, Any]]:
    """The status of each of these resources. seen: what vCenter has just said of them."""
    apart = len(names) == 1 and not seen
    looks = {one: _look(app, one) for one in names} if apart else panorama.look(app, names, seen)
    return {one: _status_of(app, one, looks[one]) for one in names}


def _look(app: App, name: str) -> panorama.Look:
    try:
        return app.engine.look(app.resource(name))
    except FailoverError as err:
        return err


def _status_of(app: App, name: str, look: panorama.Look) -> dict[str, Any]:
    if isinstance(look, FailoverError):
        found = standing.unknown(look.reason)
    else:
        found = standing.of(*look, app.clock.wall())
    planned = schedule.read(state_dir(app.opts), name)
    of = "last good" if name in app.settings.kept else "current" if name in app.settings.resources else None
    return {**found, "configuration": of, "planned": None if planned is None else to_plain(planned)}


def plan(app: App, name: str, target: str = "", kind: MoveKind | None = None) -> dict[str, Any]:
    """
    Dry run: what would be done now, by itself or for a request.

    :param kind: the request; without it, a switchover if ``target`` is named or if all is well.
    :return: ``decision``, ``reason``, ``steps`` and what it would ``end`` in; for a request also whether it would go ``ok``.
        ``on`` says what it is the plan of: ``itself`` (it would be done unasked), ``request``, ``well`` (nothing would be done
        unasked, so it is that of a switchover), or ``under way``.
    """
    if kind is not None and app.bystander:
        return {**_no_move("refuse", 0, app.bystander, kind), "on": "request"}
    seen, record = app.engine.look(app.resource(name))
    return plan_of(app, seen, record, target, kind)


def plan_of(
    app: App, seen: Snapshot, record: Record, target: str = "", kind: MoveKind | None = None
) -> dict[str, Any]:
    """The dry run of what was seen and is remembered already; see :func:`plan`."""
    if record.move is not None:
        return {**_on_paper(record.move, seen, record, kind), "on": "under way"}
    well = kind is None and not target and _is_well(app, seen, record)
    asked = kind or (MoveKind.SWITCHOVER if target or well else None)
    decision = policy.decide(_situation(app, seen, record, Wish(asked, target) if asked else None))
    rests_on_wish = decision.move is None or decision.move.kind is asked
    on = {"on": "well" if well else "request" if asked and rests_on_wish else "itself"}
    if decision.move is None:
        return {**_no_move(decision.choice.value, decision.rule, decision.reason, kind), **on}
    return {**_on_paper(decision.move, seen, record, kind), **on}


def _no_move(decision: str, rule: int, reason: str, kind: MoveKind | None) -> dict[str, Any]:
    nothing = {"source": "", "target": "", "steps": [], "end": ""}
    told = {"decision": decision, "rule": rule, "reason": reason, **nothing}
    return told if kind is None else {**told, "ok": False}


def _on_paper(move: Move, seen: Snapshot, record: Record, kind: MoveKind | None) -> dict[str, Any]:
    last = homes.known(record.recent, record.home)
    paper = predict.plan(move, seen, tuple(record.outcomes), record.missing_ok, last)
    undone = {number: _step(verdict) for number, verdict in paper.otherwise.items()}
    steps = [{**_step(v), "otherwise": undone.get(number)} for number, v in enumerate(paper.steps)]
    ends, waits = paper.ends.reason, kind is not None and record.move is not None
    told = {
        "decision": move.kind.value,
        "rule": move.rule,
        "reason": f"it is under way already: {move.reason}" if record.move else move.reason,
        "source": move.source,
        "target": move.target,
        "steps": steps,
        "end": f"{ends}; what is asked for now would be refused, ask again then" if waits else ends,
    }
    return (
        told
        if kind is None
        else {**told, "ok": not waits and paper.ends.then in (rules.Then.DONE, rules.Then.WAIT)}
    )


def _step(verdict: rules.Verdict) -> dict[str, Any]:
    """What would be done, in plain form; ``step`` and ``node`` are empty where the move is given up or held."""
    kind, node = (verdict.step.kind.value, verdict.step.node) if verdict.step else ("", "")
    return {"step": kind, "node": node, "rule": verdict.rule, "reason": verdict.reason}


def _is_well(app: App, seen: Snapshot, record: Record) -> bool:
    situation = _situation(app, seen, record)
    return policy.decide(situation).choice is Choice.NOTHING


def _situation(app: App, seen: Snapshot, record: Record, wish: Wish | None = None) -> Situation:
    return standing.situation_of(seen, record, app.clock.wall(), wish)


def pause(
    app: App, name: str, who: str = "", ends: Mapping[str, Any] | None = None, test: bool = False
) -> dict[str, Any]:
    """
    Maintenance: go on looking, do nothing, until :func:`resume`.

    :param ends: when it ends by itself, as ``schedule.until`` has it.
    """
    entry = {"by": who, "since": app.clock.wall(), **(ends or {})}

    def change(resource: Resource) -> None:
        disks = [{"uuid": disk.uuid, "path": disk.path} for disk in resource.disks]
        app.shared.pause(resource.name, {**entry, "disks": disks})

    _locked(app, name, "pause", change, test)
    return {"resource": name, "paused": True, **({"until": ends["until"]} if ends else {}), **only(test)}


def resume(
    app: App,
    name: str,
    wanted: Callable[[Mapping[str, Any]], bool] = lambda pause: True,
    test: bool = False,
) -> dict[str, Any]:
    """
    End maintenance, also of a name that is not configured any more.

    :param wanted: whether this maintenance is meant; another one goes on.
    :return: ``was_paused`` tells whether there was any.
    """

    def change(of: str) -> None:
        now = app.journal.state(of)
        if now.paused and wanted(now.pause):  # else the history would tell of an end without a beginning
            app.shared.pause(of, None)

    was = app.journal.state(name).paused
    if was and name not in app.settings.resources:
        _under_lock(app, name, "resume", lambda: change(name), test)
    else:
        _locked(app, name, "resume", lambda r: change(r.name), test)
    return {"resource": name, "paused": False, "was_paused": was, **only(test)}


def clear(app: App, name: str, test: bool = False) -> dict[str, Any]:
    """
    A person has looked: forget failed tries and damping; the world is judged anew. VMs that vCenter does not show now are
    taken as deleted, until the next move has ended well.

    :return: ``taken_as_deleted``, and the open move that ``ends``, as a sentence, ``""`` if none is open.
    :raises Refused: a request of the open move may still be carried out, and nobody would remember it.
    """
    found: dict[str, Any] = {}

    def judge() -> Snapshot:
        seen, judged = _judged_for_clear(app, name)
        found.update(judged)
        return seen

    def change(resource: Resource) -> None:
        seen = judge()  # now that nobody else acts: who had the lock may have begun a move
        app.shared.clear(resource.name, app.clock.wall(), found["taken_as_deleted"])
        after = app.shared.state(resource.name)
        if fresh := homes.news(seen, after.recent, after.home):  # what is seen now is no memory
            app.shared.sight(resource.name, fresh)

    if test:
        judge()
    _locked(app, name, "clear", change, test)
    return {"resource": name, "cleared": not test, **found, **only(test)}


def _judged_for_clear(app: App, name: str) -> tuple[Snapshot, dict[str, Any]]:
    """What ``clear`` would take as deleted and end now; :raises Refused: it would forget what may still be carried out."""
    seen, record = app.engine.look(app.resource(name))
    if words := standing.forgotten_by_clear(seen, record):
        raise Refused(words)
    missing = [n.minion for n in seen.nodes if seen.readable and n.vm.present is False]
    move = record.move
    ends = f"the {move.kind.value} to {move.target} under epoch {move.epoch}: {move.reason}" if move else ""
    return seen, {"taken_as_deleted": missing, "ends": ends}


def only(test: bool) -> dict[str, bool]:
    """The mark of an answer that only says what would be done."""
    return {"test": True} if test else {}


def _locked(app: App, name: str, doing: str, change: Callable[[Resource], None], test: bool) -> None:
    """Change something of a resource under its lock; with ``test`` only look whether that could be done."""
    resource: Resource = app.resource(name)
    _under_lock(app, resource.name, doing, lambda: change(resource), test)


def _under_lock(app: App, name: str, doing: str, change: Callable[[], None], test: bool) -> None:
    if app.bystander:
        raise Refused(app.bystander, "bystander")
    if not test:
        with app.lock.resource(name, doing, WISH_WAIT):
            change()


def history(app: App, name: str = "") -> dict[str, list[dict[str, Any]]]:
    """What happened, oldest first, with durations."""
    names = [name] if name else sorted(app.settings.resources)
    if name and name not in app.settings.resources and not app.journal.history(name):
        known = ", ".join(sorted(app.settings.resources)) or "none"
        raise Refused(f"there is no resource called {name!r} and no history of one; known are: {known}")
    return {one: app.journal.history(one) for one in names}
