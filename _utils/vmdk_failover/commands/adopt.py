"""
``adopt``: a person takes the world as it is now.

For a journal that was lost or is older than the world, for a move of a master that is gone, and for a disk whose file was moved
(Storage vMotion, or by hand): what vCenter and the nodes show is recorded under an epoch above every one that is known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vmdk_failover.app import App, resources_dir
from vmdk_failover.engine import WISH_WAIT
from vmdk_failover.errors import ConfigError, FailoverError, JournalError, Refused
from vmdk_failover.judgement.assess import NodeSight, Snapshot
from vmdk_failover.model import Disk, Resource, Result, VmFacts
from vmdk_failover.shared import SharedJournal
from vmdk_failover.store import durable

_DELTA = re.compile(r"-[0-9]{6}\.vmdk\Z")


def adopt(app: App, name: str, test: bool = False) -> dict[str, Any]:
    """
    Record the world as it is.

    :param test: only say what would be recorded.
    :return: ``epoch``, ``active`` (node, or ``""``), ``holders``, ``moved`` (disks whose path is another one), ``ended`` (open
        moves that end here), ``not_heard`` and ``missing`` (nodes), and whether it was ``adopted``.
    :raises Refused: vCenter cannot be read, or two running nodes list the disk; nothing was recorded.
    """
    resource = _configured(app, name)
    if app.bystander:
        raise Refused(app.bystander, "bystander")
    with app.lock.resource(name, "adoption", WISH_WAIT):
        seen = app.engine.afresh(resource)
        moved = _moved(resource, [n.vm for n in seen.nodes])
        if moved:
            resource = replace(resource, disks=tuple(moved.get(d.path, d) for d in resource.disks))
            seen = app.engine.afresh(resource)
        _check(resource, seen)
        found = _found(app, resource, seen, moved)
        if found["ended"]:
            _check_sealable(seen)
        if not test:
            _record(app, resource, seen, found)
        return {**found, "adopted": not test}


def _configured(app: App, name: str) -> Resource:
    if name in app.settings.resources:
        return app.settings.resources[name]
    faults = "; ".join(map(str, app.settings.faults_of(name)))
    if faults:
        raise ConfigError(f"{name} is not protected, its configuration is wrong: {faults}")
    known = ", ".join(sorted(app.settings.resources)) or "none"
    raise ConfigError(f"there is no resource called {name!r}; known are: {known}")


def _moved(resource: Resource, vms: Sequence[VmFacts]) -> dict[str, Disk]:
    """Disks that are listed under their UUID with another path, by the recorded path."""
    moved: dict[str, Disk] = {}
    for disk in resource.disks:
        paths = {one.path for vm in vms for one in vm.disks or () if one.uuid == disk.uuid}
        if len(paths) > 1:
            raise Refused(
                f"the disk {disk.uuid} of {resource.name} is listed under {len(paths)} paths "
                f"({', '.join(sorted(paths))}): a copy, or a snapshot; take the wrong one out first"
            )
        for path in paths - {disk.path}:
            if _DELTA.search(path) or any(
                vm.snapshot is not False and vm.disks for vm in vms if _lists(vm, disk)
            ):
                raise Refused(
                    f"{path} seems to be a snapshot's file, not the disk that was moved; remove the snapshot first"
                )
            moved[disk.path] = replace(disk, path=path)
    return moved


def _lists(vm: VmFacts, disk: Disk) -> bool:
    return any(one.uuid == disk.uuid for one in vm.disks or ())


def _check(resource: Resource, seen: Snapshot) -> None:
    if not seen.readable:
        raise Refused(f"vCenter cannot be read, so nothing can be adopted: {seen.reason}")
    writers = [n.minion for n in seen.writers]
    if len(writers) > 1:
        raise Refused(
            f"{' and '.join(writers)} both list the disk of {resource.name}; take it out of one by hand first"
        )


def _check_sealable(seen: Snapshot) -> None:
    """
    Whatever is under way to a VM can be made impossible, or ended with its host; looked at before anything is written.
    """
    for node in _to_seal(seen):
        if node.vm.connected is not True or not node.vm.change_version:
            host = node.vm.host or "its host"
            raise Refused(
                f"somebody's move of {seen.resource.name} ends here, and what it has asked of the VM of {node.minion} cannot be "
                f"made impossible while {host} is not connected to vCenter; nothing was adopted. Reconnect {host}, or make sure "
                f"that it is off and say so with 'salt-run vmdk.confirm_off {node.minion}'; then adopt again"
            )


def _to_seal(seen: Snapshot) -> list[NodeSight]:
    """Nodes to whose VM a request may be under way: on a host that is off nothing is carried out any more."""
    return [n for n in seen.nodes if n.vm.present is True and not n.confirmed]


def _found(app: App, resource: Resource, seen: Snapshot, moved: Mapping[str, Disk]) -> dict[str, Any]:
    ended, epochs = [], [0]
    for read in (app.journal.state, app.shared.state):
        try:
            record = read(resource.name)
        except JournalError as err:
            ended.append(err.reason)
        except FailoverError:
            continue  # what the masters share is asked for once more when it is written
        else:
            epochs.append(record.epoch)
            if record.move is not None and not any(f"epoch {record.move.epoch}" in one for one in ended):
                ended.append(
                    f"the move to {record.move.target} under epoch {record.move.epoch}: {record.move.reason}"
                )
    if (other := _others(app, resource.name, moved)) is not None:
        epochs.append(other[0])
        ended.append(f"what another master, {other[1]}, is at work with under epoch {other[0]}")
    epochs += [n.facts.epoch for n in seen.nodes if n.facts is not None]
    return {
        "resource": resource.name,
        "epoch": max(epochs) + 1,
        "active": next((n.minion for n in seen.nodes if n.healthy), ""),
        "holders": [n.minion for n in seen.holders],
        "moved": [{"uuid": new.uuid, "from": old, "to": new.path} for old, new in moved.items()],
        "ended": ended,
        "not_heard": [n.minion for n in seen.nodes if n.facts is None],
        "missing": [n.minion for n in seen.nodes if n.vm.present is False],
    }


def _others(app: App, name: str, moved: Mapping[str, Disk]) -> tuple[int, str] | None:
    try:
        return app.shared.others(name)
    except FailoverError as err:
        if not moved:
            raise
        paths = ", ".join(new.path for new in moved.values())
        raise Refused(
            f"whether another master is at work is not known where the disk of {name} was: {err.reason}. If that place is gone "
            f"for good, write the new path {paths} into {resources_dir(app.opts) / name}.yaml on every master, and adopt then"
        ) from err


def _record(app: App, resource: Resource, seen: Snapshot, found: dict[str, Any]) -> None:
    """
    Write it down: first what keeps another master from its next step, then what makes older requests impossible, the disk's new
    path, and the epoch.
    """
    text = _rewritten(app, resource.name, found["moved"])
    if found["ended"]:
        app.shared.overtake(resource.name, found["epoch"])
        _seal(app, resource, seen, found["epoch"])
    if found["moved"]:
        if isinstance(app.shared, SharedJournal):
            app.shared.leave(resource.name, found["epoch"])
        _write(app, resource.name, text)
    entry = {**found, "at": app.clock.wall()}
    app.shared.adopt(resource.name, found["epoch"], entry, found["missing"])
    found["epoch"] = app.journal.state(resource.name).epoch


def _rewritten(app: App, name: str, moved: Sequence[Mapping[str, str]]) -> str:
    """The resource's file with the new paths; what else a person wrote there stays as it is. ``""`` if nothing was moved."""
    path, text = resources_dir(app.opts) / f"{name}.yaml", ""
    try:
        for one in moved:
            text = text or path.read_text(encoding="utf-8")
            if text.count(one["from"]) != 1:
                raise Refused(
                    f"write the path {one['to']} into {path} by hand ({one['from']} is not there once)"
                )
            text = text.replace(one["from"], one["to"])
    except FileNotFoundError as err:
        paths = ", ".join(one["to"] for one in moved)
        raise Refused(
            f"{name} is written in the master's configuration; write the new path {paths} there first"
        ) from err
    except OSError as err:
        raise Refused(f"{path} cannot be read: {err.strerror}; nothing was adopted") from err
    return text


def _write(app: App, name: str, text: str) -> None:
    path = resources_dir(app.opts) / f"{name}.yaml"
    try:
        durable.write(path, text.encode())
    except OSError as err:
        raise Refused(f"{path} cannot be written: {err.strerror}; nothing was adopted") from err
    app.__dict__.pop("settings", None)


def _seal(app: App, resource: Resource, seen: Snapshot, epoch: int) -> None:
    """Whoever was at work may have a request under way that is based on an older look: after this it cannot be carried out."""
    for node in _to_seal(seen):
        outcome = app.hypervisor.seal(resource, resource.node(node.minion), node.vm, epoch)
        if outcome.result is not Result.DONE:
            raise Refused(
                f"requests under way to the VM of {node.minion} could not be made impossible ({outcome.evidence}); nothing was "
                "adopted, look again"
            )
