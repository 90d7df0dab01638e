"""
``protect``: look at a file system in use, find its VMDK, check every node, record the resource.

Nothing of the world is changed, and nothing is written unless every check that matters passes. What is recorded are
identities: instance UUIDs of VMs, path and UUID of the VMDK, UUID of the file system.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmdk_failover import versions
from vmdk_failover.app import App, resources_dir
from vmdk_failover.commands import advice, arguments, checkup, inquiry, on_master
from vmdk_failover.commands.advice import Finding
from vmdk_failover.engine import WISH_WAIT
from vmdk_failover.errors import FailoverError, Refused, listed
from vmdk_failover.finding import ERROR
from vmdk_failover.guest import facts
from vmdk_failover.judgement import config, homes
from vmdk_failover.judgement.entries import OPTIONS
from vmdk_failover.model import Disk, Resource
from vmdk_failover.store import durable

#: What stands above a resource that is written.
HEAD = """# Written by 'salt-run vmdk.protect {name}'. Names, paths, UUIDs and places are facts of this vCenter.
# Edit options only, and a disk's mode after it was changed in vCenter.
"""
#: What is looked up, and never taken from a person's word.
LOOKED_UP = ("nodes", "vm_uuids", "disks", "mounts", "lvm")
#: What is recorded of a mount.
OF_MOUNT = ("mountpoint", "fs_uuid", "fstype", "options")


@dataclass(frozen=True)
class Inspected:
    """
    What the nodes and vCenter say.

    :param words: each node's word on its machine and on the first mount point. :param vms: each node's VM.
    :param disks: the disks below all mount points.
    :param further: each node's word on further mount points; of one inside of another the holder's alone.
    """

    words: Mapping[str, Mapping[str, Any]]
    vms: Mapping[str, Any]
    disks: Sequence[Disk]
    further: Sequence[Mapping[str, Mapping[str, Any]]] = ()


def protect(
    app: App,
    name: str,
    node: str,
    mountpoint: str | Sequence[str],
    backups: Sequence[str],
    options: Mapping[str, Any],
    test: bool = False,
    salt: str = "",
) -> dict[str, Any]:
    """
    Record a resource.

    :param name: its name.
    :param node: minion id of the node on which it is mounted now.
    :param mountpoint: where; a list if several file systems belong to it.
    :param backups: minion ids, in order of preference.
    :param options: options of the resource (services, on_error, …), as in the configuration.
    :param test: check everything, write nothing.
    :param salt: version of the master's Salt.
    :return: ``resource``, its ``nodes`` and ``disks``, ``file`` with the ``text`` that is (to be) ``written`` into it, and
        ``findings`` that are advice.
    :raises FailoverError: with everything that is in the way; nothing is written then.
    """
    if name in app.settings.resources:
        raise Refused(
            f"{name} is already protected on {', '.join(n.minion for n in app.settings.resources[name].nodes)}; its options and "
            f"backups are changed with 'salt-run vmdk.edit {name}'"
        )
    check_options(name, options, "protected")
    nodes = [node, *[b for b in backups if b != node]]
    wait, places = inquiry.patience(app, options), _places(name, mountpoint)
    seen = inspect(app, nodes, node, places, inquiry.Needed.of(options), wait)
    _check_free(app, name, node, places)
    body = _body(nodes, seen.vms, seen.disks, [said[node] for said in (seen.words, *seen.further)], options)
    resource = understood(app, name, body, "protected")
    told = check(app, seen, node, resource, "protected", salt)
    text = HEAD.format(name=name) + dumped(body)
    if not test:
        write(app, name, text)
        _remember(app, name, node)
    return {
        "resource": name,
        "nodes": [f"{n.minion} ({seen.vms[n.minion].name})" for n in resource.nodes],
        "disks": [f"{d.path} at SCSI {d.bus}:{d.unit} ({d.controller})" for d in seen.disks],
        "file": str(file_of(app, name)),
        "text": text,
        "written": not test,
        "findings": told,
    }


def _remember(app: App, name: str, node: str) -> None:
    """Where the disk is, from now on. If that cannot be written, the engine's first look does it or says what is wrong."""
    with contextlib.suppress(FailoverError), app.lock.resource(name, "protect", WISH_WAIT):
        record = app.shared.state(name)
        if fresh := homes.changed(node, record.recent, record.home):
            app.shared.sight(name, fresh)


def _check_free(app: App, name: str, node: str, places: Sequence[str]) -> None:
    """Raise Refused in one sentence where another resource has a mount point there; its disk and slots are the same fault."""
    for other, resource in app.settings.resources.items():
        for mount in resource.mounts:
            if mount.mountpoint in places and any(one.minion == node for one in resource.nodes):
                raise Refused(
                    f"{name} was not protected: {mount.mountpoint} on {node} is protected already, as {other}: "
                    f"'salt-run vmdk.status {other}'"
                )


def inspect(
    app: App,
    nodes: Sequence[str],
    holder: str,
    mountpoints: Sequence[str],
    needed: inquiry.Needed,
    wait: float = inquiry.LOOK,
) -> Inspected:
    """
    Look at file systems that ``holder`` has mounted, and at the VMs of all nodes.

    :param mountpoints: an outer one before those inside of it, which are no folders of a backup's own.
    :param needed: what every node must know.
    :param wait: seconds that the nodes have for each file system.
    :raises FailoverError: one is not mounted there, a node is silent, or a VM is not found.
    """
    every: list[dict[str, Mapping[str, Any]]] = []
    for at, mountpoint in enumerate(mountpoints):
        inner = any(mountpoint.startswith(outer + "/") for outer in mountpoints[:at])
        every.append(inquiry.ask(app, [holder] if inner else nodes, mountpoint, needed, wait))
        _in_use(every[-1][holder], holder, mountpoint)
    words, *further = every
    below = list(dict.fromkeys(uuid for said in every for uuid in said[holder]["disk_uuids"]))
    found = _find_vms(app, {**words, holder: {**words[holder], "disk_uuids": below}})
    return Inspected(words, found, [found[holder].disk(uuid) for uuid in below], further)


def check_options(name: str, options: Mapping[str, Any], verb: str) -> None:
    """
    Options are chosen; identities are facts of vCenter and of the nodes, nobody chooses them.

    :param verb: what is not done with the resource otherwise, as a participle.
    :raises Refused: one of them is no option.
    """
    if strange := sorted(set(options) - set(OPTIONS)):
        raise Refused(
            f"{name} was not {verb}: {', '.join(strange)} cannot be chosen{_instead(set(strange), verb)}"
            f"; options are {', '.join(sorted(OPTIONS))}",
            "config",
        )


def _instead(strange: set[str], verb: str) -> str:
    """How what is looked up is chosen all the same, as part of a sentence; ``""`` if none of it was named."""
    if not strange & {*LOOKED_UP, "mountpoint", "backups"}:
        return ""
    ways = "mountpoint may be a list, backups name the other nodes"
    if verb == "changed":
        ways = "add_mount, remove_mount, mount_options, add_backup and remove_backup change them"
    return f"; {', '.join(LOOKED_UP)} are looked up: {ways}"


def check(app: App, seen: Inspected, holder: str, resource: Resource, verb: str, salt: str = "") -> list[str]:
    """
    Check this master, vCenter and every node.

    :param verb: what is not done if a check fails, as a participle.
    :param salt: version of the master's Salt.
    :return: advice, a sentence each.
    :raises Refused: with everything that is in the way.
    """
    findings = [
        *_master_findings(app),
        *(one for said in (seen.words, *seen.further) for one in _node_findings(said, holder, resource)),
        *(
            one
            for said in (seen.words, *seen.further)
            for one in advice.of_mount(said[holder], holder, resource)
        ),
        *_of_salt(seen.words, salt),
        *advice.of_kernels(seen.words, holder),
        *_vcenter_findings(app, seen.vms, holder, resource),
    ]
    findings = list(dict.fromkeys(findings))
    severe = [f for f in findings if f.severe]
    if severe:
        raise Refused(f"{resource.name} was not {verb}: {listed([f.sentence for f in severe])}")
    return [f.sentence for f in findings]


def _places(name: str, mountpoint: str | Sequence[str]) -> list[str]:
    """Mount points as they were given, an outer one before those inside of it."""
    wanted = [str(one).rstrip("/") for one in arguments.listed(mountpoint)]
    if not wanted or not all(wanted) or len(set(wanted)) < len(wanted):
        raise Refused(f"{name} was not protected: mountpoint must be a path or a list of different paths")
    return sorted(wanted, key=lambda one: one.count("/"))


def _in_use(word: Mapping[str, Any], node: str, mountpoint: str) -> None:
    if word.get("error"):
        raise Refused(f"{node}: {word['error']}", str(word.get("code", "")) or "refused")
    if not word.get("mounted"):
        raise Refused(
            f"nothing is mounted at {mountpoint} on {node}; mount the file system there first", "not_mounted"
        )
    if not word.get("disk_uuids"):
        raise Refused(
            f"the disk below {mountpoint} on {node} shows no VMDK UUID; set disk.EnableUUID to TRUE on its VM and restart it",
            "enable_uuid",
        )
    if not word.get("fs_uuid"):
        raise Refused(
            f"the file system at {mountpoint} on {node} shows no UUID; only ext4, xfs and btrfs are known",
            "fs_uuid",
        )


def _find_vms(app: App, words: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    from vmdk_failover.vsphere import inventory

    found = {}
    for minion, word in words.items():
        seen = word.get("disk_uuids") or word.get("all_disk_uuids") or ()
        try:
            found[minion] = inventory.find_vm(app.session, str(word.get("smbios_uuid", "")), seen)
        except FailoverError as err:
            raise Refused(f"the VM of {minion} was not found: {err.reason}", err.code) from err
    return found


def _body(
    nodes: Sequence[str],
    found: Mapping[str, Any],
    disks: Sequence[Disk],
    words: Sequence[Mapping[str, Any]],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    groups = {group["vg"]: dict(group) for word in words for group in word.get("lvm") or ()}
    return {
        "nodes": list(nodes),
        "vm_uuids": {minion: found[minion].instance_uuid for minion in nodes},
        "disks": [disk_body(disk) for disk in disks],
        **({"lvm": list(groups.values())} if groups else {}),
        "mounts": [{key: str(word[key]) for key in OF_MOUNT} for word in words],
        **options,
    }


def disk_body(disk: Disk) -> dict[str, Any]:
    """A disk as it is written."""
    return {
        key: getattr(disk, key) for key in ("path", "uuid", "bus", "unit", "controller", "mode", "sharing")
    }


def understood(app: App, name: str, body: Mapping[str, Any], verb: str) -> Resource:
    """
    Read a resource's body beside all others, as it will be read from now on.

    :param verb: what is not done with the resource if that is not possible, as a participle.
    :raises Refused: with everything that is wrong with it.
    """
    section = dict(app.opts.get("vmdk") or {})
    others = {n: config.to_body(r) for n, r in app.settings.resources.items()}
    settings = config.parse({**section, "resources": {**others, name: body}})
    faults = (*settings.faults_of(name), *(f for f in settings.faults if f.where.endswith(".depends_on")))
    if faults or name not in settings.resources:
        raise Refused(f"{name} was not {verb}: {listed(faults)}", "config")
    return settings.resources[name]


def _master_findings(app: App) -> list[Finding]:
    """What would make every failover fail; the doctor tells the rest."""
    return [Finding("", f.code, f"{f.what} {f.do}") for f in on_master.findings(app) if f.severity == ERROR]


def _of_salt(words: Mapping[str, Mapping[str, Any]], salt: str) -> list[Finding]:
    told = {minion: versions.of_salt(minion, word.get("salt"), salt) for minion, word in words.items()}
    return [Finding(minion, "version", " ".join(one), False) for minion, one in told.items() if one]


def _node_findings(words: Mapping[str, Mapping[str, Any]], holder: str, resource: Resource) -> list[Finding]:
    needed = facts.needed_tools(resource.mounts, resource.vgs)
    found = []
    for minion, word in words.items():
        for tool in sorted(needed.difference(word["tools"])) if word.get("tools") else ():
            found.append(Finding(minion, "unready", f"{minion}: {tool} is not installed."))
        for sentence in word.get("unready") or ():
            found.append(Finding(minion, "unready", f"{minion}: {sentence}."))
        found += service_findings(minion, word)
        other = versions.difference(minion, word.get("version"))
        if other is not None:
            found.append(Finding(minion, "version", " ".join(other)))
        if minion != holder and (word.get("mounted") or word.get("error")):
            what = word.get("error") or f"{word.get('device')} is mounted at {word.get('mountpoint')}"
            found.append(
                Finding(
                    minion, "foreign_mount", f"{minion}: {what}; the mount point must be free on a backup."
                )
            )
    return found


def service_findings(minion: str, word: Mapping[str, Any]) -> list[Finding]:
    """What a node says of services that are to run on it, and of SLS that are to be applied to it."""
    return [
        Finding(minion, "services", f"{minion}: {what}. {do}", severity == ERROR)
        for severity, what, do in word.get("services") or ()
    ]


def _vcenter_findings(app: App, vms: Mapping[str, Any], holder: str, resource: Resource) -> list[Finding]:
    refs = {minion: vm.ref for minion, vm in vms.items()}
    names = {minion: vm.name for minion, vm in vms.items()}
    found = checkup.look(app, [checkup.Patient(resource, refs, names, holder)])
    return [Finding(f.node, f.code, f"{f.what} {f.do}", f.severity == ERROR) for f in found]


def file_of(app: App, name: str) -> Path:
    """Where a resource is written."""
    return resources_dir(app.opts) / f"{name}.yaml"


def dumped(body: Mapping[str, Any]) -> str:
    """A body as YAML."""
    import yaml

    text: str = yaml.safe_dump(dict(body), sort_keys=False)
    return text


def write(app: App, name: str, text: str) -> None:
    """Write a resource's file, mode 0600; :raises Refused: it cannot be written."""
    path = file_of(app, name)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        durable.write(path, text.encode())
    except OSError as err:
        mend = durable.mend(path.parent, err)
        raise Refused(f"{path} cannot be written: {err.strerror}; nothing was changed{mend}") from err
    app.__dict__.pop("settings", None)
