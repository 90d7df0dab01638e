"""
``edit`` and ``unprotect``: change what is recorded of a resource, by the same checks as ``protect``.

The file stays a person's: only the keys that change are written anew, comments and everything else stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import yaml

from vmdk_failover.app import App, state_dir
from vmdk_failover.commands import inquiry, mount_changes, protect
from vmdk_failover.commands.mount_changes import Wanted
from vmdk_failover.engine import WISH_WAIT
from vmdk_failover.errors import Refused, listed
from vmdk_failover.judgement import config
from vmdk_failover.model import Resource
from vmdk_failover.store import schedule

#: Of mounts nothing is to change.
NO_MOUNTS = Wanted()


def edit(
    app: App,
    name: str,
    options: Mapping[str, Any],
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    test: bool = False,
    salt: str = "",
    mounts: Wanted = NO_MOUNTS,
) -> dict[str, Any]:
    """
    Change options, backups or mounts of a resource. A move under way ends as it began.

    :param options: by name; ``None`` brings the default back.
    :param add: minion ids of new backups, last in the order of preference. :param remove: of nodes that are to leave.
    :param test: check everything, write nothing. :param salt: version of the master's Salt.
    :param mounts: what is to change about its mounts.
    :return: ``changes`` (``old`` and ``new`` by key), ``file``, ``text`` as it is (to be) ``written``,
        ``findings`` that are advice, and ``nodes`` that are concerned.
    :raises FailoverError: with everything that is in the way, such as another master that is at work; nothing is written then.
    """
    with _mine(app, name, "edit"):
        text, before = _read(app, name)
        fresh = dict(before)
        _choose(name, fresh, options)
        advice = _nodes(app, name, fresh, add, remove, salt)
        if mounts:
            advice += mount_changes.apply(app, name, fresh, mounts, salt)
        elif not add:
            advice += _newly_needed(app, name, fresh, inquiry.Needed.of(before))
        after = protect.understood(app, name, fresh, "changed")
        changes = {
            key: {"old": before.get(key), "new": fresh.get(key)}
            for key in dict.fromkeys([*before, *fresh])
            if before.get(key) != fresh.get(key)
        }
        for key in changes:
            text = with_key(text, key, fresh.get(key))
        if yaml.safe_load(text) != fresh:
            raise Refused(
                f"{name} is written in a way that cannot be edited safely; edit {protect.file_of(app, name)} by hand"
            )
        if changes and not test:
            protect.write(app, name, text)
    concerned = sorted({*before["nodes"], *(node.minion for node in after.nodes)})
    written = bool(changes) and not test
    where = {"file": str(protect.file_of(app, name)), "text": text, "written": written}
    return {"resource": name, "changes": changes, **where, "findings": advice, "nodes": concerned}


def unprotect(app: App, name: str, test: bool = False) -> dict[str, Any]:
    """
    Take a resource out of the configuration. Nothing of the world is changed: the disk and the mount stay where they are.

    :param test: only say what would be done.
    :return: ``kept``, where its file lies from now on, and ``nodes`` that are concerned.
    :raises Refused: a move is open, here or on another master, or the resource is written elsewhere.
    """
    with _mine(app, name, "unprotect"):
        _, body = _read(app, name)
        if app.journal.state(name).move is not None:
            raise Refused(
                f"a move of {name} is open; let it end first, or close it with 'salt-run vmdk.clear {name}'"
            )
        if above := sorted(n for n, one in app.settings.resources.items() if name in one.depends_on):
            raise Refused(
                f"{', '.join(above)} depends on {name}; first 'salt-run vmdk.edit {above[0]} depends_on=null'"
            )
        path = protect.file_of(app, name)
        kept = path.with_suffix(".yaml.unprotected")
        if not test:
            try:
                path.rename(kept)
            except OSError as err:
                raise Refused(f"{path} cannot be renamed: {err.strerror}; {name} is still protected") from err
            app.__dict__.pop("settings", None)
            schedule.cancel(state_dir(app.opts), name)
    return {
        "resource": name,
        "unprotected": not test,
        "kept": str(kept),
        "nodes": list(body.get("nodes", [])),
    }


def tell_nodes(app: App, done: dict[str, Any], minions: Sequence[str]) -> dict[str, Any]:
    """
    Have the nodes fetch their share now and not with the next refresh: without its key a node is silent.

    :param done: an answer; who did not fetch it is added to its ``findings``.
    """
    wanted = {"wait": True, "timeout": 10}
    told = app.call.ask(minions, "saltutil.refresh_pillar", wanted, 12.0, lambda *_: True)
    if late := [minion for minion in minions if told.get(minion) is not True]:
        words = f"{', '.join(late)} did not fetch the pillar; run 'salt {late[0]} saltutil.refresh_pillar'"
        done["findings"].append(words)
    return done


def with_key(text: str, key: str, value: Any) -> str:
    """
    The text of a YAML mapping with one of its top-level keys set to ``value``, or without it if that is ``None``. Pure.
    """
    fresh = "" if value is None else yaml.safe_dump({key: value}, sort_keys=False)
    # a key's block: its line, and all that is indented, listed or empty below it, up to a comment or the next key
    block = re.compile(rf"^{re.escape(key)}[ \t]*:.*\n?(?:(?:[ \t]+[^\n]*|-[^\n]*)(?:\n|\Z))*", re.MULTILINE)
    if block.search(text):
        return block.sub(lambda _: fresh, text, count=1)
    return text + ("" if not text or text.endswith("\n") else "\n") + fresh


@contextmanager
def _mine(app: App, name: str, doing: str) -> Iterator[None]:
    """Nobody else works on the resource: no process of this master, and no other master."""
    if app.bystander:
        raise Refused(app.bystander, "bystander")
    with app.lock.resource(app.resource(name).name, doing, WISH_WAIT):
        if (other := app.shared.others(name)) is not None:
            raise Refused(
                f"another master, {other[1]}, is at work on {name} under epoch {other[0]}; let it end first, or if it is gone "
                f"for good, take over with 'salt-run vmdk.adopt {name}'"
            )
        yield


def _read(app: App, name: str) -> tuple[str, dict[str, Any]]:
    """The text of a resource's file and what it says."""
    path = protect.file_of(app, name)
    try:
        text = path.read_text(encoding="utf-8")
        body = yaml.safe_load(text)
    except FileNotFoundError as err:
        words = f"{name} is written in the master's configuration and not in {path}; change it there"
        raise Refused(words) from err
    except (OSError, ValueError, yaml.YAMLError) as err:
        raise Refused(f"{path} cannot be read; mend it first") from err
    if not isinstance(body, dict) or not isinstance(body.get("nodes"), list):
        raise Refused(f"{path} says nothing of a resource; mend it first")
    return text, body


def _choose(name: str, body: dict[str, Any], options: Mapping[str, Any]) -> None:
    protect.check_options(name, options, "changed")
    for key, value in options.items():
        if value is None:
            body.pop(key, None)
        elif key == "timeouts" and isinstance(value, Mapping):
            body[key] = {**(body.get(key) or {}), **value}
        else:
            body[key] = value


def _nodes(
    app: App, name: str, body: dict[str, Any], add: Sequence[str], remove: Sequence[str], salt: str
) -> list[str]:
    """Take backups in and out of the body; a new one is checked with all others as at ``protect``."""
    if not add and not remove:
        return []
    resource = app.resource(name)
    seen, record = app.engine.look(resource)
    active = next((n.minion for n in seen.nodes if n.healthy), "")
    _check_leaving(resource, [n.minion for n in seen.nodes if n.holds is not False], remove)
    if record.move is not None and (ends := {record.move.source, record.move.target} & set(remove)):
        raise Refused(
            f"a move of {name} to {record.move.target} is open and ends as it began; let it end before {min(ends)} leaves: see "
            f"'salt-run vmdk.status {name}'"
        )
    body["nodes"] = [
        m for m in [*body["nodes"], *(a for a in add if a not in body["nodes"])] if m not in remove
    ]
    body["vm_uuids"] = {m: uuid for m, uuid in body["vm_uuids"].items() if m not in remove}
    if not add:
        return []
    if not active:
        raise Refused(
            f"{name} is active nowhere, so a backup cannot be compared with it; see 'salt-run vmdk.status {name}'"
        )
    places = sorted((m.mountpoint for m in resource.mounts), key=lambda one: one.count("/"))
    needed, wait = inquiry.Needed.of(body), inquiry.patience(app, body)
    looked = protect.inspect(app, body["nodes"], active, places, needed, wait)
    body["vm_uuids"].update({m: looked.vms[m].instance_uuid for m in add})
    after, faults = config.parse_resource(name, body)
    if after is None:
        raise Refused(f"{name} was not changed: {listed(faults)}", "config")
    return protect.check(app, looked, active, after, "changed", salt)


def _newly_needed(app: App, name: str, body: Mapping[str, Any], before: inquiry.Needed) -> list[str]:
    """
    A new service or SLS that a node does not know would fail there after the mount. A node that is silent keeps nobody from
    adding it: it may be under repair, and is told as not ready when it is back.
    """
    fresh = inquiry.Needed.of(body).beside(before)
    names = [*fresh.services, *fresh.states]
    if not names:
        return []
    words, silent = inquiry.heard_of(app, body["nodes"], "", fresh, inquiry.patience(app, body))
    findings = [one for minion, word in words.items() for one in protect.service_findings(minion, word)]
    if severe := [one.sentence for one in findings if one.severe]:
        raise Refused(f"{name} was not changed: {listed(severe)}")
    unheard = [f"Whether it knows {', '.join(names)} is not known: {one}." for one in silent]
    return [*(one.sentence for one in findings), *unheard]


def _check_leaving(resource: Resource, holders: Sequence[str], remove: Sequence[str]) -> None:
    known = {node.minion for node in resource.nodes}
    for minion in remove:
        if minion not in known:
            raise Refused(
                f"{minion} is not a node of {resource.name}; its nodes are {', '.join(sorted(known))}"
            )
        if minion in holders:
            raise Refused(
                f"{minion} has the disk of {resource.name}, or it is not known whether it has; "
                f"'salt-run vmdk.switchover {resource.name}' first"
            )
