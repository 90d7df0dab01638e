"""What may happen in a golden scenario: each key with the words that it takes, and what it does to the stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.core.golden_doubles import StageVm
from tests.core.golden_stage import Side, Stage
from tests.core.golden_yaml import Row, Spot, Table, Wrong, nearest
from tests.doubles.hypervisor import FakeVm
from vmdk_failover.model import Condition, Crowd, Disk, DiskFacts, MountState, Power, StepKind

Do = Callable[[Stage, Side, str, Any], None]
TEXT, NUMBER, TEXTS, SWITCH = "a text", "a number", "a list of texts", "true or false"
CROWD, RECORD, FATES = (
    "a mapping of running and silent",
    "a mapping",
    "a mapping of steps ('attach db2') and what becomes of them",
)


@dataclass(frozen=True)
class Effect:
    """
    :param takes: the words, or the kind of value, that the key takes.
    :param do: called with stage, side, node and value.
    :param once: it happens to the VM, not to each resource's share of it.
    """

    takes: tuple[str, ...] | str
    do: Do
    once: bool = False

    def check(self, value: Any, at: Spot) -> None:
        """Refuse what the key does not take."""
        if isinstance(self.takes, tuple):
            if value not in self.takes:
                raise Wrong(at, f"there is no {value!r} here; {nearest(str(value), self.takes)}")
        elif not _KINDS[self.takes](value):
            raise Wrong(at, f"must be {self.takes}, not {value!r}")


_KINDS: Mapping[str, Callable[[Any], bool]] = {
    TEXT: lambda v: isinstance(v, str) and bool(v),
    NUMBER: lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    TEXTS: lambda v: isinstance(v, Row) and all(isinstance(one, str) for one in v),
    SWITCH: lambda v: isinstance(v, bool),
    CROWD: lambda v: isinstance(v, Table) and set(v) == {"running", "silent"},
    RECORD: lambda v: isinstance(v, Table),
    FATES: lambda v: isinstance(v, Table) and all(is_step(key) and isinstance(v[key], str) for key in v),
}


def is_step(words: Any) -> bool:
    """Whether the words are a step and a node, ``attach db2``."""
    kind, _, node = str(words).partition(" ")
    return kind in {one.value for one in StepKind} and node.startswith("db")


def _vm(side: Side, node: str) -> FakeVm:
    return side.guest.nodes[node].vm


def _power(stage: Stage, side: Side, node: str, word: str) -> None:
    vm = _vm(side, node)
    if word == "reset":
        vm.boots += 1
    elif word == "resumed":
        vm.power = Power.ON
    else:
        vm.turn(Power(word))
    _wake(stage, node)


def _wake(stage: Stage, node: str) -> None:
    for side in stage.sides.values():
        side.guest.nodes[node].wake()


def _host(stage: Stage, side: Side, node: str, word: str) -> None:
    vm = _vm(side, node)
    vm.connected = {"connected": True, "unread": None}.get(word, False)
    if word == "dies":
        stage.end(node)
    if word == "connected" and stage.node(node).dead:  # it has booted without its VMs
        stage.node(node).dead = False
        vm.turn(Power.OFF)
        _wake(stage, node)


def _strangers(stage: Stage, side: Side, node: str, names: Row) -> None:
    _vm(side, node).strangers = tuple(names)


def _restarted(stage: Stage, side: Side, node: str, host: str) -> None:
    vm = _vm(side, node)
    vm.turn(Power.OFF)
    vm.turn(Power.ON)
    stage.node(node).dead = False
    vm.connected, vm.host = True, host
    _wake(stage, node)


def _existence(stage: Stage, side: Side, node: str, word: str) -> None:
    vm, vms = _vm(side, node), stage.hypervisor.vms
    (stage.hypervisor.hidden.add if word == "unseen" else stage.hypervisor.hidden.discard)(node)
    vms[:] = [one for one in vms if one.uuid != vm.uuid]
    if word == "deleted":
        vm.turn(Power.OFF)
        _wake(stage, node)
    if word != "deleted":
        vms.append(vm)
    if word == "twice":
        vms.append(StageVm(vm.uuid, f"{vm.name} (restored)", Power.OFF))


def _snapshot(stage: Stage, side: Side, node: str, how: Any) -> None:
    vm = _vm(side, node)
    if how is False:
        vm.kept = frozenset()
        vm.disks = [replace(disk, path=disk.path.replace("-000001.vmdk", ".vmdk")) for disk in vm.disks]
        vm.version += 1
        return
    vm.snapshot()
    if how is True:
        over = {path: path.replace(".vmdk", "-000001.vmdk") for path in vm.kept}
        vm.disks = [replace(disk, path=over.get(disk.path, disk.path)) for disk in vm.disks]


def _on_host(stage: Stage, side: Side, node: str, host: str) -> None:
    _vm(side, node).host = host


def _task(stage: Stage, side: Side, node: str, words: str) -> None:
    _vm(side, node).task = "" if words == "none" else words


def _question(stage: Stage, side: Side, node: str, words: str) -> None:
    vm = _vm(side, node)
    vm.question = "" if words == "none" else words
    vm.full = "no space left" in words


def _heartbeat(stage: Stage, side: Side, node: str, word: str) -> None:
    _vm(side, node).heartbeat = "" if word == "none" else word


def _lists(stage: Stage, side: Side, node: str, how: str) -> None:
    vm, disks = _vm(side, node), side.resource.disks
    stage.hypervisor.unread.pop(node, None)
    if how == "unreadable":
        stage.hypervisor.unread[node] = {"disks": None}
        return
    kept = [one for one in vm.disks if one.uuid not in {disk.uuid for disk in disks}]
    vm.disks = [*kept, *(_listed(disk, how) for disk in disks[: 1 if how == "one disk" else None])]
    vm.disks = kept if how == "nothing" else vm.disks
    vm.version += 1
    if how == "outdated":
        stage.hypervisor.unread[node] = {"disks": tuple(kept)}


def _listed(disk: Disk, how: str) -> DiskFacts:
    facts = DiskFacts(disk.path, disk.uuid, disk.bus, disk.unit, 2000 + 16 * disk.bus + disk.unit, disk.mode)
    changed: Mapping[str, Mapping[str, Any]] = {
        "other slot": {"unit": disk.unit + 8, "key": facts.key + 8},
        "other path": {"path": disk.path.replace("[ds1]", "[ds2]")},
        "other uuid": {"uuid": "6000c29" + "f" * 25},
    }
    return replace(facts, **changed.get(how, {}))


def _disk_mode(stage: Stage, side: Side, node: str, mode: str) -> None:
    vm, mine = _vm(side, node), {disk.uuid for disk in side.resource.disks}
    vm.disks = [replace(one, mode=mode) if one.uuid in mine else one for one in vm.disks]
    vm.version += 1


def _sharing(stage: Stage, side: Side, node: str, sharing: str) -> None:
    vm, mine = _vm(side, node), {disk.uuid for disk in side.resource.disks}
    vm.disks = [replace(one, sharing=sharing) if one.uuid in mine else one for one in vm.disks]
    vm.version += 1


def _controller(stage: Stage, side: Side, node: str, kind: str) -> None:
    vm, bus = _vm(side, node), side.resource.disks[0].bus
    others = tuple(one for one in vm.controllers if one[0] != bus)
    vm.controllers = others if kind == "none" else (*others, (bus, kind))
    vm.version += 1


def _slot(stage: Stage, side: Side, node: str, word: str) -> None:
    disk, vm = side.resource.disks[0], _vm(side, node)
    vm.unplug("[ds1] other/other.vmdk")
    if word == "taken":
        vm.plug(replace(disk, path="[ds1] other/other.vmdk", uuid="6000c29" + "e" * 25))


def _edited(stage: Stage, side: Side, node: str, yes: bool) -> None:
    _vm(side, node).version += 1


def _address(stage: Stage, side: Side, node: str, word: str) -> None:
    side.lookout.found[node] = {"answers": True, "silent": False}.get(word)


def _condition(stage: Stage, side: Side, node: str, word: str) -> None:
    side.guest.nodes[node].trouble = None if word == "ok" else Condition(word)


def _mounted(stage: Stage, side: Side, node: str, word: Any) -> None:
    inside = side.guest.nodes[node]
    inside.mounted = word is True or (inside.mounted and word in ("partly", "unknown"))
    state = None if isinstance(word, bool) else MountState(word)
    side.guest.say(node, mounted=state)


def _released(stage: Stage, side: Side, node: str, word: str) -> None:
    side.guest.nodes[node].stuck = word == "stuck"


def _mount(stage: Stage, side: Side, node: str, words: str) -> None:
    side.guest.nodes[node].cannot_mount = "" if words == "works" else words


def _services(stage: Stage, side: Side, node: str, word: str) -> None:
    side.guest.nodes[node].services = word == "up"


def _set(name: str, **words: Any) -> Do:
    """An attribute of the node's inside."""

    def do(stage: Stage, side: Side, node: str, value: Any) -> None:
        setattr(side.guest.nodes[node], name, words.get(value, value) if isinstance(value, str) else value)

    return do


def _agent(stage: Stage, side: Side, node: str, word: str) -> None:
    side.guest.nodes[node].silent = word != "answers"
    side.lookout.stuck.pop(node, None)
    if word == "stuck":
        side.lookout.stuck[node] = None


def _say(name: str) -> Do:
    """A part of the node's word."""

    def do(stage: Stage, side: Side, node: str, value: Any) -> None:
        side.guest.say(node, **{name: value or None})

    return do


def _who(stage: Stage, side: Side, node: str, word: str) -> None:
    other = None if word == "itself" else "00000000-0000-0000-0000-0000000000ee"
    side.guest.say(node, smbios=other)


def _unready(stage: Stage, side: Side, node: str, phrases: Row) -> None:
    side.guest.nodes[node].unready = tuple(phrases)


def _flaws(stage: Stage, side: Side, node: str, phrases: Row) -> None:
    side.flaws[node] = tuple(phrases)
    stage.check_nodes()


def _leaves(stage: Stage, side: Side, node: str, _: Any) -> None:
    stage.vicinity.leaves(node, side.guest.nodes[node].boot_id)


def _renamed(stage: Stage, side: Side, node: str, other: str) -> None:
    stage.renamed.pop(node, None)
    if other != node:
        stage.renamed[node] = other
    for one in stage.sides.values():
        one.guest.nodes[node].silent = other != node


OF_NODES: Mapping[str, Effect] = {
    "power": Effect(("on", "off", "suspended", "resumed", "reset"), _power, True),
    "host": Effect(("connected", "disconnected", "unread", "dies"), _host, True),
    "restarted_on": Effect(TEXT, _restarted, True),
    "on_host": Effect(TEXT, _on_host, True),
    "vm": Effect(("deleted", "unseen", "twice", "there"), _existence, True),
    "heartbeat": Effect(("green", "yellow", "red", "gray", "none"), _heartbeat, True),
    "task": Effect(TEXT, _task, True),
    "question": Effect(TEXT, _question, True),
    "snapshot": Effect((True, False, "same path"), _snapshot, True),  # type: ignore[arg-type]
    "lists": Effect(
        ("nothing", "disk", "one disk", "other slot", "other path", "other uuid", "unreadable", "outdated"),
        _lists,
    ),
    "disk_mode": Effect(TEXT, _disk_mode),
    "sharing": Effect(TEXT, _sharing),
    "controller": Effect(("pvscsi", "lsilogic", "none"), _controller, True),
    "slot": Effect(("taken", "free"), _slot, True),
    "edited": Effect(SWITCH, _edited, True),
    "answers_as_it": Effect(("itself", "another VM"), _who),
    "agent": Effect(("silent", "answers", "stuck"), _agent),
    "network": Effect(("cut", "back"), _set("cut", cut=True, back=False)),
    "strangers": Effect(TEXTS, _strangers, True),
    "frozen": Effect(SWITCH, _set("frozen")),
    "address": Effect(("answers", "silent", "unknown"), _address),
    "condition": Effect(tuple(c.value for c in Condition), _condition),
    "evidence": Effect(TEXT, _say("evidence")),
    "mounted": Effect((True, False, "partly", "foreign", "unknown"), _mounted),  # type: ignore[arg-type]
    "superblock": Effect(SWITCH, _say("superblock")),
    "busy": Effect(TEXT, _set("busy", none="")),
    "unready": Effect(TEXTS, _unready),
    "flaws": Effect(TEXTS, _flaws),
    "release": Effect(("stuck", "works"), _released),
    "mount": Effect(TEXT, _mount),
    "services": Effect(("up", "down"), _services),
    "epoch": Effect(NUMBER, _set("epoch")),
    "leaving": Effect((True,), _leaves, True),  # type: ignore[arg-type]
    "renamed": Effect(TEXT, _renamed, True),
}


def _vcenter(stage: Stage, side: Side, node: str, word: str) -> None:
    stage.hypervisor.blind = "" if word == "readable" else "no answer within 10 s"


def _listener(stage: Stage, side: Side, node: str, word: str) -> None:
    side.lookout.deaf = word == "deaf"


def _others(stage: Stage, side: Side, node: str, numbers: Table) -> None:
    side.lookout.others = Crowd(numbers["running"], numbers["silent"])


def _medium(stage: Stage, side: Side, node: str, word: str) -> None:
    side.medium = None if word == "ok" else Condition(word)


def _stranger(stage: Stage, side: Side, node: str, word: str) -> None:
    vms = stage.hypervisor.vms
    vms[:] = [vm for vm in vms if vm.name != "backup-proxy"]
    if word == "holds":
        proxy = FakeVm("00000000-0000-0000-0000-0000000000ff", "backup-proxy")
        vms.append(proxy)
        for disk in side.resource.disks:
            proxy.plug(disk)


def _land(stage: Stage, side: Side, node: str, value: Any) -> None:
    stage.land()


def _journal(stage: Stage, side: Side, node: str, changes: Table) -> None:
    stage.write_journal(**changes)


def _writes(stage: Stage, side: Side, node: str, fates: Table) -> None:
    for step, words in fates.items():
        fate, _, times = words.rpartition(" x") if " x" in words else (words, "", "1")
        stage.fates.setdefault(step, []).extend([fate] * int(times))


OF_THE_WORLD: Mapping[str, Effect] = {
    "vcenter": Effect(("unreadable", "readable"), _vcenter, True),
    "listener": Effect(("deaf", "hears"), _listener),
    "others": Effect(CROWD, _others),
    "medium": Effect(tuple(c.value for c in Condition), _medium),
    "stranger": Effect(("holds", "gone"), _stranger),
    "land": Effect(SWITCH, _land, True),
    "journal": Effect(RECORD, _journal, True),
    "writes": Effect(FATES, _writes, True),
}
