"""
``edit`` of mounts: a mount comes to a resource, leaves it, or has other options from now on.

Nothing of the world is changed here: what is recorded is what the node that has the disks shows now, as at ``protect``. So a
mount that comes is mounted already, one that leaves is not any more, and an option is in force before a failover relies on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vmdk_failover.app import App
from vmdk_failover.commands import arguments, inquiry, protect
from vmdk_failover.errors import Refused, listed
from vmdk_failover.judgement import config
from vmdk_failover.judgement.config import normal_disk_uuid
from vmdk_failover.model import Resource

#: Words of mount(8) itself, and what holds without a word: the kernel shows none of them.
_SILENT = frozenset(
    {
        "defaults",
        "auto",
        "noauto",
        "nofail",
        "_netdev",
        "rw",
        "atime",
        "diratime",
        "suid",
        "dev",
        "exec",
        "async",
    }
)
#: Options that say which part of the file system is mounted: no choice, but what the data is.
_PARTS = ("subvol", "subvolid")


@dataclass(frozen=True)
class Wanted:
    """
    What is to change: mount points that come and that leave, and options by mount point (``None``: none but the defaults).
    """

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    options: Mapping[str, str | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.add or self.remove or self.options)

    @classmethod
    def parted(cls, given: Mapping[str, Any]) -> tuple[dict[str, Any], Wanted]:
        """
        Part what a person types: options of the resource, and ``add_mount``, ``remove_mount`` and ``mount_options``.

        :raises Refused: ``mount_options`` is no mapping.
        """
        rest = dict(given)
        come, leave, options = (
            rest.pop(key, None) or () for key in ("add_mount", "remove_mount", "mount_options")
        )
        if options and not isinstance(options, Mapping):
            raise Refused(
                "mount_options must be a mapping of mount points, as in mount_options='{/srv/pgdata: noatime}'",
                "config",
            )
        named = {_place(where): _text(value) for where, value in dict(options).items()}
        return rest, cls(_places(come), _places(leave), named)


def apply(app: App, name: str, body: dict[str, Any], wanted: Wanted, salt: str) -> list[str]:
    """
    Change ``mounts`` of a resource's body, and the ``disks`` and the ``lvm`` that go with them, after the checks of ``protect``.

    :param body: changed in place. :param salt: version of the master's Salt.
    :return: advice, a sentence each.
    :raises FailoverError: with what is in the way; the body is of no use then.
    """
    resource = app.resource(name)
    _check_names(resource, wanted)
    if app.journal.state(name).move is not None:
        raise Refused(
            f"a move of {name} is open, and its mounts stay as they are until it ends: see 'salt-run vmdk.status {name}'"
        )
    holder = _holder(app, resource)
    wait = inquiry.patience(app, body)
    _check_left(app, resource, body["nodes"], wanted.remove, wait)
    kept = [one for one in body["mounts"] if one["mountpoint"] not in wanted.remove]
    places = sorted([*(str(one["mountpoint"]) for one in kept), *wanted.add], key=lambda one: one.count("/"))
    looked = protect.inspect(app, body["nodes"], holder, places, inquiry.Needed.of(body), wait)
    words = {str(said[holder]["mountpoint"]): said[holder] for said in (looked.words, *looked.further)}
    _choose_options(resource, holder, kept, wanted.options, words)
    body["mounts"] = [*kept, *({key: str(words[one][key]) for key in protect.OF_MOUNT} for one in wanted.add)]
    comes_or_leaves = wanted.add or wanted.remove
    told = _stacked(body, looked, list(words.values()), wanted, holder) if comes_or_leaves else []
    after, faults = config.parse_resource(name, body)
    if after is None:
        raise Refused(f"{name} was not changed: {listed(faults)}", "config")
    return [*told, *protect.check(app, looked, holder, after, "changed", salt)]


def _place(given: Any) -> str:
    return str(given).rstrip("/")


def _places(given: Any) -> tuple[str, ...]:
    return tuple(map(_place, arguments.listed(given)))


def _text(options: Any) -> str | None:
    return None if options is None else ",".join(map(str, arguments.listed(options)))


def _check_names(resource: Resource, wanted: Wanted) -> None:
    known = [mount.mountpoint for mount in resource.mounts]
    if strange := [one for one in (*wanted.remove, *wanted.options) if one not in known]:
        raise Refused(f"{strange[0]} is no mount of {resource.name}; its mounts are {', '.join(known)}")
    if twice := [one for one in wanted.add if one in known or wanted.add.count(one) > 1]:
        raise Refused(f"{twice[0]} is a mount of {resource.name} already, or was named twice")
    if gone := [one for one in wanted.options if one in wanted.remove]:
        raise Refused(f"{gone[0]} cannot leave {resource.name} and get other options at the same time")
    if not set(known) - set(wanted.remove):
        raise Refused(
            f"{resource.name} would be left without a mount; 'salt-run vmdk.unprotect {resource.name}' takes it out as a whole"
        )


def _holder(app: App, resource: Resource) -> str:
    """The node that has the disks, and no other may have one: only there the mounts can be looked at."""
    seen, _ = app.engine.look(resource)
    holders = [node.minion for node in seen.nodes if node.holds is not False]
    if len(holders) != 1 or any(node.holds is None for node in seen.nodes):
        raise Refused(
            f"it is not certain which one node has the disks of {resource.name}, so its mounts cannot be looked at; "
            f"see 'salt-run vmdk.status {resource.name}'"
        )
    return holders[0]


def _check_left(
    app: App, resource: Resource, nodes: Sequence[str], places: Sequence[str], wait: float
) -> None:
    """What leaves is watched by nobody from now on, and released by nobody: it must not be mounted."""
    for place in places:
        for minion, word in inquiry.ask(app, nodes, place, inquiry.Needed(), wait).items():
            if word.get("mounted") or word.get("error"):
                name = resource.name
                what = word.get("error") or f"{place} is mounted on {minion} now"
                raise Refused(
                    f"{what}, and nobody would watch or release it any more: 'salt-run vmdk.pause {name}', stop what uses it, "
                    f"'umount {place}' on {minion}, give this command again, then 'salt-run vmdk.resume {name}'",
                    "foreign_mount",
                )


def _choose_options(
    resource: Resource,
    holder: str,
    kept: list[dict[str, Any]],
    wanted: Mapping[str, str | None],
    words: Mapping[str, Mapping[str, Any]],
) -> None:
    for at, one in enumerate(kept):
        place = str(one["mountpoint"])
        if place not in wanted:
            continue
        fresh, old = wanted[place] or "defaults", str(one.get("options") or "defaults")
        if fault := option_fault(old, fresh, words[place].get("shown") or ()):
            raise Refused(
                f"{resource.name} was not changed: at {place} on {holder} {fault.format(place=place)}"
            )
        kept[at] = {**one, "options": fresh}


def option_fault(old: str, new: str, shown: Iterable[str]) -> str:
    """
    Why options must not be recorded: the next node would mount something else, or refuse the mount. Pure.

    :param old: those that are recorded, :param new: and those that are to be, separated by commas.
    :param shown: those that the kernel shows of the mount.
    :return: a part of a sentence with ``{place}`` in it; ``""`` if nothing is in the way.
    """
    before, after, there = old.split(","), new.split(","), sorted(shown)
    if lost := [one for one in before if one.partition("=")[0] in _PARTS and one not in after]:
        return f"{_literal(lost[0])} says which part of the file system is mounted, and stays; name it among the options"
    unproven = [
        one
        for one in after
        if one not in before and one not in there and one not in _SILENT and not one.startswith(("x-", "X-"))
    ]
    if not unproven:
        return ""
    return (
        f"the option {_literal(unproven[0])} is not in force (the kernel shows {_literal(', '.join(there)) or 'nothing'}), so "
        f"nothing shows that a failover could mount with it: 'mount -o remount,{_literal(unproven[0])} {{place}}' there "
        "first, and name it as the kernel shows it"
    )


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _stacked(
    body: dict[str, Any],
    looked: protect.Inspected,
    words: Sequence[Mapping[str, Any]],
    wanted: Wanted,
    holder: str,
) -> list[str]:
    """Record the disks and volume groups below the mounts; what is below none of them leaves with the one that leaves."""
    below = {disk.uuid: disk for disk in looked.disks}
    known = {normal_disk_uuid(one["uuid"]): one for one in body["disks"]}
    groups = {group["vg"]: dict(group) for word in words for group in word.get("lvm") or ()}
    leaves = [uuid for uuid in known if uuid not in below] if wanted.remove else []
    body["disks"] = [
        *(one for uuid, one in known.items() if uuid not in leaves),
        *(protect.disk_body(disk) for uuid, disk in below.items() if uuid not in known),
    ]
    old = [one for one in body.get("lvm") or () if not wanted.remove or one["vg"] in groups]
    fresh = [*old, *(group for name, group in groups.items() if name not in [one["vg"] for one in old])]
    if fresh != list(body.get("lvm") or ()):
        body.pop("lvm", None)
        body.update({"lvm": fresh} if fresh else {})
    told = [
        f"{known[uuid]['path']} is below no mount any more: it stays in {holder}, and moves no more."
        for uuid in leaves
    ]
    if wanted.remove and not leaves:
        told.append(
            f"The disks of {', '.join(wanted.remove)} move on as before, for other mounts are on them: mount it by hand no more."
        )
    return told
