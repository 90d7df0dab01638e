"""
The ``Vicinity`` port: small notes in the master's ``state_dir``, shared by the processes of all moves.

``renamed/<minion>.json`` and ``failing/<resource>/<minion>.json`` are true for some seconds, ``ailing/<resource>.json`` for a
minute, ``flaws/<resource>.json`` for one and a half, ``leaving/<minion>.json`` for three, by the monotonic clock of this boot.
``hosts_off/<minion>.json`` lasts until vCenter shows the host connected again, and is void once a node on it was heard;
``restart/<minion>.json`` until the VM runs, for an hour at most. A note that is damaged says nothing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vmdk_failover.around import BACK_IN, Ailing, Around, Complaint, Confirmed, Flaws, Tenant, datastore_of
from vmdk_failover.errors import JournalError
from vmdk_failover.judgement import stake
from vmdk_failover.kin import Neighbour
from vmdk_failover.model import Condition, HypervisorFacts, Node, Power, Resource, VmFacts
from vmdk_failover.ports import Record
from vmdk_failover.presence import heard, reachable

#: A fault that nobody has told again for so many seconds is over.
LASTS = 60.0
#: It is written anew when it is this old (seconds).
AGAIN = 10.0
#: What a check found counts for so many seconds: three times as long as until the next one (``fitness.AGAIN``).
FLAWED = 90.0
#: A minion that has another id says so every five seconds; after so many without a word it may be dead.
RENAMED = 20.0
#: A node says so every other second; after so many without a word its disk may be well, or the node dead.
COMPLAINED = 6.0
#: So long after a fence (seconds) a node is still powered on again; later somebody may have it in hand.
TO_RESTART = 3600.0


def complains(state_dir: Path, minion: str, clock: Callable[[], float] = time.monotonic) -> bool:
    """Whether a node has just said of any resource that it cannot use the disk."""
    return any(_still(path, COMPLAINED, clock()) for path in (state_dir / "failing").glob(f"*/{minion}.json"))


def _still(path: Path, lasts: float, now: float) -> dict[str, Any]:
    """A note that still counts; empty if it does not."""
    plain = heard.read_plain(path)
    try:
        age = now - float(plain["at"])
    except (KeyError, TypeError, ValueError):
        return {}
    return plain if plain.get("boot") == heard.master_boot() and 0 <= age < lasts else {}


@dataclass(frozen=True)
class FileVicinity:
    """
    See the module.

    :param resources: all protected resources. :param paused: whether one is in maintenance; an error counts as yes.
    :param record: what the journal has of one.
    """

    state_dir: Path
    resources: Callable[[], Mapping[str, Resource]]
    paused: Callable[[str], bool]
    clock: Callable[[], float] = time.monotonic
    record: Callable[[str], Record] | None = None

    def look(self, resource: Resource, seen: HypervisorFacts) -> Around:
        """See the port."""
        others = [r for name, r in self.resources().items() if name != resource.name]
        return Around(
            tenants={vm.minion: tuple(self._tenants(vm, others)) for vm in seen.vms if vm.disks},
            ailing=tuple(self._fellows(resource)),
            confirmed=(words := dict(self._confirmed(seen))),
            beside=self._beside(seen, words),
            to_restart=frozenset(vm.minion for vm in seen.vms if self._to_restart(vm)),
            leaving={vm.minion: boot for vm in seen.vms if (boot := self._leaving(vm.minion))},
            flaws=dict(self._flaws(resource.name)),
            renamed={vm.minion: other for vm in seen.vms if (other := self._renamed(vm.minion))},
            mute=reachable.mute(self.state_dir, self.clock),
            failing=dict(self._complaints(resource, seen)),
        )

    def kin(self, resource: Resource) -> Sequence[Neighbour]:
        """See the port."""
        known = self.resources()
        above = [name for name, other in known.items() if resource.name in other.depends_on]
        found = [self._neighbour(name, True, known.get(name)) for name in resource.depends_on]
        return [*found, *(self._neighbour(name, False, known[name]) for name in sorted(above))]

    def _neighbour(self, name: str, below: bool, resource: Resource | None) -> Neighbour:
        try:
            record = self.record(name) if self.record else None
        except JournalError:
            return Neighbour(name, below)
        move = record.move if record else None
        of, paused = move.resource if move else resource, bool(record and record.paused)
        return Neighbour(name, below, of, move, paused, dict(self._flaws(name)))

    def ailing(self, resource: Resource, seen: VmFacts | None, condition: str) -> None:
        """See the port. A note that cannot be written is not missed: it only makes others hold."""
        path = self._path("ailing", resource.name)
        if seen is None:
            with contextlib.suppress(OSError):  # it is true for a minute only
                path.unlink(missing_ok=True)
            return
        was, now = self._fresh(path), self.clock()
        hosts = {str(h) for h in was.get("hosts", ())} | {seen.host}
        same = (was.get("node"), was.get("condition"), set(was.get("hosts", ()))) == (
            seen.minion,
            condition,
            hosts,
        )
        if same and now - float(was["at"]) < AGAIN:
            return
        stores = sorted({datastore_of(d.path) for d in resource.disks})
        note = {"node": seen.minion, "hosts": sorted(hosts), "condition": condition, "datastores": stores}
        with contextlib.suppress(OSError):
            heard.write_plain(path, {**note, "at": now, "boot": heard.master_boot()})

    def neighbours(self, vm: VmFacts) -> Sequence[Node]:
        """See the port."""
        there = {uuid for _, uuid in vm.beside or ()}
        nodes = {n.minion: n for r in self.resources().values() for n in r.nodes}
        return [n for n in nodes.values() if n.minion != vm.minion and n.vm_uuid.lower() in there]

    def confirm(self, minion: str, word: Confirmed) -> None:
        """See the port."""
        plain = {"host": word.host, "boot_time": word.boot_time, "words": word.words}
        try:
            path = self._path("hosts_off", minion)
            heard.write_plain(path, {**plain, "at": self.clock(), "boot": heard.master_boot()})
        except OSError as err:
            raise JournalError(
                f"the word that the host of {minion} is off cannot be written: {err.strerror}"
            ) from err

    def refute(self, host: str, words: str) -> None:
        """See the port."""
        for path, plain in self._words({host}):
            if not plain.get("against"):
                try:
                    heard.write_plain(path, {**plain, "against": words})
                except OSError as err:
                    raise JournalError(
                        f"{path} cannot be marked as disproved, and {words}: {err.strerror}; remove it"
                    ) from err

    def restart(self, minion: str, wanted: bool) -> None:
        """See the port. Without the note the node stays off, which is the careful end."""
        path = self._path("restart", minion)
        with contextlib.suppress(OSError):
            if wanted:
                heard.write_plain(path, {"wanted": True, "at": self.clock(), "boot": heard.master_boot()})
            else:
                path.unlink(missing_ok=True)

    def leaves(self, minion: str, boot_id: str) -> None:
        """A node has announced that it shuts down; :raises OSError: that cannot be written."""
        note = {"boot_id": boot_id, "at": self.clock(), "boot": heard.master_boot()}
        heard.write_plain(self._path("leaving", minion), note)

    def renames(self, minion: str, other: str) -> None:
        """A node's minion has another id now; :raises OSError: that cannot be written."""
        note = {"other": other, "at": self.clock(), "boot": heard.master_boot()}
        heard.write_plain(self._path("renamed", minion), note)

    def complains(self, resource: str, minion: str, condition: str, evidence: str) -> None:
        """A node has said that it cannot use the disk of a resource; :raises OSError: that cannot be written."""
        note = {"condition": condition, "evidence": evidence, "at": self.clock(), "boot": heard.master_boot()}
        heard.write_plain(self._path(f"failing/{resource}", minion), note)

    def _complaints(self, resource: Resource, seen: HypervisorFacts) -> Iterator[tuple[str, Complaint]]:
        for vm in seen.vms:
            plain = self._fresh(self._path(f"failing/{resource.name}", vm.minion), COMPLAINED)
            with contextlib.suppress(KeyError, ValueError):
                yield vm.minion, Complaint(Condition(plain["condition"]), str(plain["evidence"]))

    def _renamed(self, minion: str) -> str:
        return str(self._fresh(self._path("renamed", minion), RENAMED).get("other", ""))

    def _leaving(self, minion: str) -> str:
        """The boot of a node that ends with its shutdown; ``""`` if none was announced of late."""
        return str(self._fresh(self._path("leaving", minion), BACK_IN).get("boot_id", ""))

    def find(self, name: str, flaws: Mapping[str, Flaws]) -> None:
        """
        A check has found this in the way of nodes' taking a resource; no flaws: it could see none.

        :raises OSError: that cannot be written.
        """
        path = self._path("flaws", name)
        if flaws:
            nodes = {minion: asdict(one) for minion, one in flaws.items()}
            heard.write_plain(path, {"nodes": nodes, "at": self.clock(), "boot": heard.master_boot()})
        else:
            path.unlink(missing_ok=True)

    def _flaws(self, name: str) -> Iterator[tuple[str, Flaws]]:
        nodes = self._fresh(self._path("flaws", name), FLAWED).get("nodes")
        for minion, one in nodes.items() if isinstance(nodes, dict) else ():
            with contextlib.suppress(KeyError, TypeError):
                yield minion, Flaws(str(one["host"]), tuple(map(str, one["words"])))

    def _path(self, kind: str, name: str) -> Path:
        return self.state_dir / kind / f"{name}.json"

    def _tenants(self, vm: VmFacts, others: list[Resource]) -> Iterator[Tenant]:
        """Whose disk the VM lists, and who may have a node on the lost host beside it."""
        listed = {key: disk for disk in vm.disks or () for key in (disk.path, disk.uuid)}
        beside = {uuid for _, uuid in vm.beside or ()}
        for other in others:
            here = [listed[key] for disk in other.disks for key in (disk.path, disk.uuid) if key in listed]
            if here or any(node.vm_uuid.lower() in beside for node in other.nodes):
                yield Tenant(other.name, self._is_paused(other.name), any(map(stake.discards, here)))

    def _is_paused(self, name: str) -> bool:
        try:
            return self.paused(name)
        except JournalError:
            return True

    def _fresh(self, path: Path, lasts: float = LASTS) -> dict[str, Any]:
        return _still(path, lasts, self.clock())

    def _fellows(self, resource: Resource) -> Iterator[Ailing]:
        stores = {datastore_of(d.path) for d in resource.disks}
        for path in sorted((self.state_dir / "ailing").glob("*.json")):
            plain = self._fresh(path)
            shared = frozenset(map(str, plain.get("datastores", ()))) & stores
            if path.stem != resource.name and shared:
                hosts = frozenset(map(str, plain.get("hosts", ())))
                yield Ailing(path.stem, str(plain.get("node")), hosts, str(plain.get("condition")), shared)

    def _words(self, hosts: Collection[str]) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Notes that one of these hosts is off."""
        for path in sorted((self.state_dir / "hosts_off").glob("*.json")):
            plain = heard.read_plain(path)
            if plain.get("host") in hosts:
                yield path, plain

    def _beside(self, seen: HypervisorFacts, words: Mapping[str, Confirmed]) -> dict[str, tuple[Node, ...]]:
        """Nodes of other resources whose hosts were said to be off with those of this one."""
        hosts = {word.host for word in words.values() if not word.against}
        if not hosts:
            return {}
        mine = {vm.minion for vm in seen.vms}
        nodes = {n.minion: n for r in self.resources().values() for n in r.nodes if n.minion not in mine}
        found: dict[str, tuple[Node, ...]] = {}
        for path, plain in self._words(hosts):
            if path.stem in nodes:
                found[plain["host"]] = (*found.get(plain["host"], ()), nodes[path.stem])
        return found

    def _confirmed(self, seen: HypervisorFacts) -> Iterator[tuple[str, Confirmed]]:
        back = {vm.host for vm in seen.vms if True in (vm.connected, vm.host_connected)} - {""}
        for path, _ in self._words(
            back
        ):  # of all nodes there: it may be lost again before they are looked at
            self._forget(path)
        for vm in seen.vms:
            path = self._path("hosts_off", vm.minion)
            if not path.exists():
                continue
            if True in (vm.connected, vm.host_connected) or vm.present is False:
                self._forget(path)
                continue
            with contextlib.suppress(KeyError, TypeError, ValueError):
                yield vm.minion, self._word(heard.read_plain(path))

    def _word(self, plain: Mapping[str, Any]) -> Confirmed:
        """A word as it was written down; :raises KeyError: or another error of a damaged one."""
        ago = None
        if "at" in plain:
            here = plain.get("boot") == heard.master_boot()
            ago = self.clock() - float(plain["at"]) if here else float("inf")
        against = str(plain.get("against", ""))
        return Confirmed(str(plain["host"]), str(plain["boot_time"]), str(plain["words"]), ago, against)

    def _forget(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as err:
            raise JournalError(
                f"{path} cannot be removed, and its host is back: {err.strerror}; remove it"
            ) from err

    def _to_restart(self, vm: VmFacts) -> bool:
        path = self._path("restart", vm.minion)
        if not path.exists():
            return False
        wanted = bool(self._fresh(path, TO_RESTART)) and not (vm.power is Power.ON and vm.connected is True)
        if not wanted:
            self.restart(vm.minion, False)
        return wanted
