"""
Activating and deactivating a resource's volume groups, on its own disks and on no other disk of the node.

LVM's tools read every disk that they are not kept from. Here they see those of the resource alone, whatever ``lvm.conf`` and
the devices file say; a second group of the same name elsewhere is never touched. They may hang with the disks: whoever
calls this gives a ``run`` that leaves behind what does not end.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from vmdk_failover.errors import Refused
from vmdk_failover.guest import mapped, users
from vmdk_failover.guest.children import Ended
from vmdk_failover.guest.devices import Holding
from vmdk_failover.guest.mapped import Volume
from vmdk_failover.guest.places import Places, names, read
from vmdk_failover.guest.steps import GiveUp
from vmdk_failover.resource import VolumeGroup

Run = Callable[[Sequence[str]], Ended]
_MAKING_S = 0.5
_FIELDS = "vg_name,vg_uuid,vg_missing_pv_count,vg_exported,pv_name,vg_systemid,vg_lock_type"
#: Rows of groups that this node may not activate are shown too: else LVM calls them missing.
_ALL = ("--foreign", "--shared", "--noheadings", "--nameprefixes", "-o")
_FIELD = re.compile(r"LVM2_(\w+)='([^']*)'")
_DEVICE = re.compile(r"/dev/[\w/-]+")


@dataclass(frozen=True)
class Tools:
    """The programs that are run, by name or path."""

    lvm: str = "lvm"
    dmsetup: str = "dmsetup"


TOOLS = Tools()


@dataclass(frozen=True)
class Lvm:
    """
    LVM on one node.

    :param run: runs a command in a disposable child, within the deadline of the whole.
    """

    run: Run
    places: Places
    tools: Tools = TOOLS

    def activate(self, groups: Iterable[VolumeGroup], look: Callable[[], Holding]) -> list[str]:
        """
        Activate the groups, which must lie on the resource's disks as a whole.

        :param look: looks for the resource's disks anew.
        :return: what was activated, a phrase each.
        :raises GiveUp: ``vg_conflict``, ``vg_missing``, ``vg_bound``, ``vg_inactive`` or ``vg_active``.
        """
        wanted = tuple(groups)
        for conflict in mapped.namesakes(wanted, self.places):
            raise GiveUp(conflict, "vg_conflict")
        left = self._left(wanted, look)
        if left:
            self._remove(left)
        return [self._activate(group, look) for group in wanted]

    def _left(self, groups: Sequence[VolumeGroup], look: Callable[[], Holding]) -> list[Volume]:
        """
        Mappings that a disk's surprise removal has left: they would be taken for active, and read from a disk that is gone.

        A mapping that LVM is making just now, for udev, is on no disk for a moment either: so they are looked at again.
        """
        end = time.monotonic() + _MAKING_S
        while True:
            volumes = mapped.of_groups(groups, self.places)
            stacked = {name for device in look().found for name, _ in device.stack}
            left = [one for one in volumes if one.name not in stacked]
            if not left or time.monotonic() >= end:
                return left
            time.sleep(0.05)

    def _activate(self, group: VolumeGroup, look: Callable[[], Holding]) -> str:
        holding = look()
        limit = restriction(holding)
        listed = self._lvm("vgs", limit, *_ALL, _FIELDS)
        row = self._check(group, listed, holding)
        # a list in this node's lvm.conf that leaves the group out would have LVM do nothing, and call that a success
        allowed = f'{limit} activation {{ volume_list=["{group.name}"] }}'
        ended = self._lvm("vgchange", allowed, "-ay", group.name)
        if ended.error or ended.value != 0:
            if not ended.error and (bond := _bond(row)):
                words = f"the volume group {group.name} {bond} ({_said(ended)})"
                raise GiveUp(f"{words}; {_unbind(row, mounted=False)}", "vg_bound")
            raise GiveUp(f"the volume group {group.name} cannot be activated: {_said(ended)}", "vg_inactive")
        if not active_of(group, look(), self.places):
            words = f"no volume of {group.name} is active although vgchange has ended without an error"
            raise GiveUp(f"{words}: {_said(ended)}", "vg_inactive")
        return f"{group.name} active"

    def _lvm(self, command: str, limit: str, *arguments: str) -> Ended:
        return self.run([self.tools.lvm, command, "--config", limit, *arguments])

    def _check(self, group: VolumeGroup, ended: Ended, holding: Holding) -> Mapping[str, str]:
        """The group's row; :raises GiveUp: if the group is not there as it was recorded, and whole."""
        if ended.error:
            raise GiveUp(f"the volume group {group.name} cannot be looked for: {ended.error}", "vg_inactive")
        rows = [dict(_FIELD.findall(row)) for row in ended.output.splitlines()]
        row = next((row for row in rows if row.get("VG_NAME") == group.name), None)
        if row is None:
            why = _claimed(holding, self.places) or _said(ended)
            raise GiveUp(f"the volume group {group.name} is not on the disks: {why}", "vg_missing")
        uuid, missing = row.get("VG_UUID", ""), row.get("VG_MISSING_PV_COUNT", "0")
        if group.uuid and uuid != group.uuid:
            words = f"the volume group {group.name} on the disks has UUID {uuid}, recorded is {group.uuid}"
            raise GiveUp(f"{words}; 'vmdk.protect' records another one", "vg_conflict")
        if missing != "0":
            words = f"{missing} of the physical volumes of {group.name} are not found on the resource's disks"
            what = _unread(group, ended, rows) or "add theirs to disks, or remove them with vgreduce"
            raise GiveUp(f"{words}; {what}", "vg_missing")
        if row.get("VG_EXPORTED"):
            raise GiveUp(f"the volume group {group.name} is exported; run 'vgimport'", "vg_inactive")
        return row

    def deactivate(self, groups: Iterable[VolumeGroup], holding: Holding) -> list[str]:
        """
        Deactivate every volume of the groups. Nothing is run if none is active.

        :return: what was deactivated, a phrase each.
        :raises GiveUp: ``vg_active`` if a volume is left.
        """
        done = []
        for group in groups:
            active = active_of(group, holding, self.places)
            if active:
                how = self._deactivate(group, holding)
                done.append(f"{group.name} inactive{how}")
        return done

    def _deactivate(self, group: VolumeGroup, holding: Holding) -> str:
        """First LVM's own way, which reads the disks; then, if they do not let it, the kernel's, which does not."""
        ended = Ended(error="its disks are not here")
        if holding.found:
            ended = self._lvm("vgchange", restriction(holding), "-an", group.name)
        left = active_of(group, holding, self.places)
        if not left:
            return ""
        self._remove(left)
        return f" by dmsetup, as vgchange failed: {_said(ended)}"

    def _remove(self, volumes: Sequence[Volume]) -> None:
        """Remove mappings from the kernel, the upper ones first."""
        left = list(volumes)
        while left:
            top = next((one for one in left if not names(self.places.block(one.name) / "holders")), left[0])
            ended = self.run([self.tools.dmsetup, "remove", "--noudevsync", "--uuid", top.uuid])
            now = mapped.volume(top.name, self.places)
            if now is not None and now.uuid == top.uuid:
                why = self._who(top) or _said(ended)
                raise GiveUp(f"the volume {top.mapping} ({top.name}) cannot be removed: {why}", "vg_active")
            left.remove(top)

    def _who(self, volume: Volume) -> str:
        path = f"{self.places.dev}/{volume.name}"
        rows = (read(self.places.proc / "swaps") or "").splitlines()
        found = [str(one) for one in users.openers(frozenset({path}), self.places)]
        found += ["it is used as swap"] if any(row.startswith(f"{path} ") for row in rows) else []
        return ", ".join(found)


@dataclass(frozen=True)
class Group:
    """A volume group as LVM shows it, and the kernel names of its physical volumes."""

    name: str
    uuid: str
    parts: tuple[str, ...]


def group(uuid: str, run: Run, tools: Tools = TOOLS) -> Group:
    """
    Ask LVM for a volume group and all that it lies on, also where no volume is active. Reads the node's disks.

    :param uuid: the group's UUID without dashes.
    :raises Refused: if LVM does not show it, a physical volume is missing, or only one node or a cluster may activate it.
    """
    ended = run([tools.lvm, "pvs", *_ALL, _FIELDS])
    rows = [dict(_FIELD.findall(row)) for row in ended.output.splitlines()]
    mine = [row for row in rows if mapped.plain(row.get("VG_UUID", "")) == uuid]
    if ended.error or not mine:
        raise Refused(f"LVM does not show the volume group with UUID {uuid}: {_said(ended)}", "vg_missing")
    name = mine[0]["VG_NAME"]
    if any(row.get("VG_MISSING_PV_COUNT", "0") != "0" for row in mine):
        raise Refused(f"a physical volume of {name} is missing; see 'pvs'", "vg_missing")
    if bond := _bond(mine[0]):
        raise Refused(f"the volume group {name} {bond}: {_unbind(mine[0])}", "vg_bound")
    parts = tuple(os.path.basename(os.path.realpath(row["PV_NAME"])) for row in mine)
    return Group(name, mine[0]["VG_UUID"], parts)


def active_of(group: VolumeGroup, holding: Holding, places: Places) -> tuple[Volume, ...]:
    """Active volumes of a group: what is stacked on the resource's disks, and what its UUID says."""
    found = (mapped.volume(name, places) for name in holding.blocks)
    return tuple(one for one in found if one is not None and mapped.is_of(one, group))


def restriction(holding: Holding) -> str:
    """LVM configuration that lets its tools see the resource's disks and partitions and nothing else."""
    parts = [name for device in holding.found for name, _ in device.stack if not name.startswith("dm-")]
    accept = ", ".join(f'"a|^/dev/{re.escape(name)}$|"' for name in sorted(set(parts)))
    filters = f'[{accept}, "r|.*|"]' if accept else '["r|.*|"]'
    return f'devices {{ use_devicesfile=0 hints="none" filter={filters} global_filter={filters} }}'


def _said(ended: Ended) -> str:
    """What a tool had to say, its warnings about settings that it does not know left out."""
    rows = [row.strip() for row in ended.output.splitlines() if "onfiguration setting" not in row]
    return ended.error or "; ".join(row for row in rows if row) or f"exit status {ended.value}"


def _claimed(holding: Holding, places: Places) -> str:
    """LVM does not look at a disk that multipath has taken: that is why it sees nothing there."""
    stacked = (name for device in holding.found for name, _ in device.stack)
    taken = next((x for x in stacked if (read(places.block(x) / "dm/uuid") or "").startswith("mpath-")), "")
    do = "keep VMware's disks from it ('blacklist' in multipath.conf)"
    return f"multipath has taken one of the resource's disks ({taken}); {do}" if taken else ""


def _bond(row: Mapping[str, str]) -> str:
    """What in a group's metadata keeps other nodes from activating it, as part of a sentence; ``""`` if nothing does."""
    if owner := row.get("VG_SYSTEMID"):
        return f"has the system ID {owner}, so that no other node may activate it"
    kind = row.get("VG_LOCK_TYPE") or "none"
    return (
        f"has the lock type {kind}, so that it is active only where a cluster's locks allow it"
        if kind != "none"
        else ""
    )


def _unbind(row: Mapping[str, str], mounted: bool = True) -> str:
    """What takes that away, on the node that has it mounted, or on any other that has the disk."""
    name, owner = row["VG_NAME"], row.get("VG_SYSTEMID")
    if owner and mounted:
        return f"run \"vgchange -y --systemid '' {name}\" on the node that has it mounted"
    where = "on the node that has the disk run: vgchange -y"
    if owner:  # without its ID, no node may change the group
        be_it = f'global/system_id_source="lvmlocal" local/system_id="{owner}"'
        return f"{where} --systemid '' --config '{be_it}' {name}"
    if mounted:
        words = f"unmount it, run 'vgchange -an {name}' and 'vgchange --lock-type none {name}'"
        return f"{words} on the node that has it mounted, and mount it again"
    return f"{where} --lock-type none --lock-opt force {name}"


def bound(
    groups: Iterable[VolumeGroup], holding: Holding, run: Run, tools: Tools = TOOLS
) -> list[tuple[str, str]]:
    """Of each group that other nodes may not activate: what is the matter, and what to do. Reads the disks."""
    # without locks: who has one may wait for the disk, and who releases the disk waits for nobody that only looks
    shown = run([tools.lvm, "vgs", "--readonly", "--config", restriction(holding), *_ALL, _FIELDS])
    rows = [dict(_FIELD.findall(row)) for row in shown.output.splitlines()]
    mine = {row.get("VG_NAME", ""): row for row in rows}
    found = [mine[group.name] for group in groups if group.name in mine]
    return [
        (f"the volume group {row['VG_NAME']} {bond}", _unbind(row)) for row in found if (bond := _bond(row))
    ]


def _unread(group: VolumeGroup, ended: Ended, rows: Sequence[Mapping[str, str]]) -> str:
    """
    What LVM says of a disk that it cannot read, as part of a sentence; ``""`` if it can read all but another group's.

    A disk of which not even the label can be read is in no row: then it is not known whose it is.
    """
    owners = {row.get("PV_NAME", ""): row.get("VG_NAME", "") for row in rows}
    words: dict[str, str] = {}
    for said in (row.strip() for row in ended.output.splitlines() if "rror reading" in row):
        device = _DEVICE.search(said)
        words.setdefault(owners.get(device[0], "") if device else "", said)
    if group.name in words:
        return f"LVM says: {words[group.name]}"
    return f"one of the resource's disks cannot be read (LVM: {words['']})" if "" in words else ""


def self_activated(
    groups: Iterable[VolumeGroup], holding: Holding, run: Run, tools: Tools = TOOLS
) -> list[str]:
    """
    Names of groups that are on this node and would be activated by it at its next boot. Reads LVM's settings and the disks.
    """
    shown = run(
        [tools.lvm, "vgs", "--config", restriction(holding), "--noheadings", "--nameprefixes",
         "-o", "vg_name,vg_autoactivation"]
    )  # fmt: skip
    rows = [dict(_FIELD.findall(row)) for row in shown.output.splitlines()]
    off = {row.get("VG_NAME") for row in rows if row.get("VG_AUTOACTIVATION", "enabled") == ""}
    groups = [group for group in groups if group.name not in off]
    ended = run([tools.lvm, "lvmconfig", "--typeconfig", "full", "activation/auto_activation_volume_list"])
    if ended.error or "auto_activation_volume_list" not in ended.output or ended.value != 0:
        return [group.name for group in groups]
    listed = re.findall(r'"([^"]*)"', ended.output)
    return [group.name for group in groups if any(one.split("/")[0] in (group.name, "@*") for one in listed)]
