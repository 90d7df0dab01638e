"""
The calm after the faults: what ends by itself, whether the reason of a hold is true of the world, and what a person does then.

Not all ends by itself: a snapshot stays until somebody deletes it. A resource may be held for that, if it says so. Nor does
what lasts (lasting.py), until a person is sent there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.core import accidents, lasting
from tests.core.machines import SimNode, SimVm
from vmdk_failover.around import Ailing, datastore_of
from vmdk_failover.engine import Report
from vmdk_failover.judgement.policy import Wish
from vmdk_failover.judgement.situation import HOUR, TARGET_TRIES, UNLUCKY
from vmdk_failover.model import MoveKind, Power, Resource, StepKind
from vmdk_failover.presence.vicinity import LASTS

NEVER = float("inf")
#: Seconds that may have passed since the look that a reason is of.
SINCE = 30.0

if TYPE_CHECKING:
    from tests.core.world import World


def calm(world: World) -> None:
    """The faults end. What was under way is carried out or lost; some things stay until a person mends them."""
    setting = world.dice.setting
    landed = [work for _, work in world.late if setting.random() < 0.5]
    world.dice.faulty, world.due = False, NEVER
    for work in landed:
        work()
    world.late.clear()
    world.due = NEVER
    world.hypervisor.blind = ""
    for name, vm in world.vms.items():
        vm.task = "" if "queued" in vm.task or setting.random() < 0.7 else vm.task
        vm.frozen = vm.cut = vm.silent = False
        if vm.question and setting.random() < 0.7:
            answer(vm)
        vm.frozen = bool(vm.question)
        vm.impostor = vm.impostor and setting.random() < 0.3
        if vm.power is not Power.ON or not vm.connected:
            power_up(world, vm)
        for part in _parts(world, name):
            part.stuck, part.services = False, None
            if setting.random() < 0.7:
                mend(part)
        if setting.random() < 0.6:
            settle(world, vm)
    world.check("the calm")
    world.say("-- calm")
    if world.lasting:
        holder = Eye(world, world.resource).holder()
        lasting.begin(world, holder.vm if holder else None)


def power_up(world: World, vm: SimVm) -> None:
    """The host is back, the VM is started, where the locks allow it."""
    if vm is world.stays:
        return
    vm.connected, vm.shown = True, None
    if vm.power is not Power.ON and world.may_start(vm):
        accidents.boot(world, vm)


def answer(vm: SimVm) -> None:
    """A person answers what the VM waits for."""
    vm.question, vm.full, vm.frozen = "", False, False


def mend(part: SimNode) -> None:
    """A resource inside a node is as it should be."""
    part.unready, part.cannot_mount, part.busy, part.foreign = (), "", "", False
    part.trouble = None
    if part.torn:
        part.torn = part.mounted = False


def settle(world: World, vm: SimVm) -> None:
    """A VM is in the inventory once, without snapshots, its files and controllers where they were recorded."""
    vms = world.hypervisor.vms
    while vms.count(vm) > 1:
        vms.remove(vm)
    if vm not in vms:
        vms.append(vm)
    at_home = {d.uuid: d for r in world.resources for d in r.disks}

    vm.disks = [
        replace(d, path=at_home[d.uuid].path, bus=at_home[d.uuid].bus, unit=at_home[d.uuid].unit)
        for d in vm.disks
    ]
    vm.kept, vm.saved, vm.controllers = frozenset(), None, ((0, "pvscsi"), (1, "pvscsi"))
    vm.version += 1
    power_up(world, vm)


def _parts(world: World, minion: str) -> list[SimNode]:
    return [guest.inside[minion] for guest in world.guests.values()]


# -- is it true? ----------------------------------------------------------------------------------------------


class Eye:
    """The world as it is, asked about one resource."""

    def __init__(self, world: World, of: Resource) -> None:
        self.world, self.of = world, of
        self.nodes = world.guests[of.name].inside
        states = [master.journal.state(of.name) for master in world.masters]
        self.state = next((state for state in states if state.move), states[0])
        self.shown = world.hypervisor.vms

    def holders(self) -> list[SimNode]:
        return [n for n in self.nodes.values() if n.vm.lists(n.uuids) and n.vm in self.shown]

    def holder(self) -> SimNode | None:
        """Whoever may write, as far as can be seen from here; else who lists it."""
        holders = self.holders()
        writers = (n for n in holders if n.vm.power is not Power.OFF or self._is_out_of_sight(n.vm))
        return next(writers, holders[0] if holders else None)

    def listed(self) -> list[SimNode]:
        """The holders of which vCenter knows."""
        return [n for n in self.holders() if n.vm.old is None]

    def _is_out_of_sight(self, vm: SimVm) -> bool:
        """With its host, and nobody has said that it is off."""
        seen = self.world.hypervisor._facts(self.of.node(vm.name), self.of)
        words = (master.vicinity.confirmed.get(vm.name) for master in self.world.masters)
        said = (
            word is not None and (word.host, word.boot_time) == (seen.host, seen.boot_time) for word in words
        )
        return vm.connected is False and not any(said)

    def can_take(self, minion: str) -> bool:
        """Whether a node could take the resource, and has not failed to lately."""
        node = self.nodes[minion]
        torn = node.torn or ((node.mounted or node.foreign) and not node.vm.lists(node.uuids))
        return (
            self._is_up(node.vm)
            and self.fits(node)
            and not (node.unready or torn)
            and self.failures(minion) < TARGET_TRIES
            and self._is_based(minion)
        )

    def fits(self, node: SimNode) -> bool:
        """What its VM does not list of the disks has a place there."""
        listed, taken = {disk.uuid for disk in node.vm.disks}, node.vm.slots()
        missing = {(disk.bus, disk.unit) for disk in self.of.disks if disk.uuid not in listed}
        return not (missing & taken) and (not missing or dict(node.vm.controllers).get(1) == "pvscsi")

    def _is_based(self, minion: str) -> bool:
        """All that it depends on is in service there, or is where it is itself and could come along."""
        where, holder = self.base(), self.holder()
        if minion in where:
            return True
        below = [Eye(self.world, r) for r in self.world.resources if r.name in self.of.depends_on]
        free = all(not (b.state.move or b.state.paused) and b.can_take(minion) for b in below)
        return holder is not None and holder.vm.name in where and free

    def _is_up(self, vm: SimVm) -> bool:
        up = (
            not vm.impostor
            and vm.power is Power.ON
            and vm.connected is True
            and self.shown.count(vm) == 1
            and not vm.question
        )
        return up and not (vm.frozen or vm.cut or vm.silent)

    def failures(self, minion: str) -> int:
        now = self.world.clock.wall()
        mine = (
            m for m in self.state.recent if m["target"] == minion and not m["ok"] and not m.get("forgotten")
        )
        return sum(now - m["ended"] <= UNLUCKY for m in mine)

    def takers(self) -> list[str]:
        holder = self.holder()
        return [m for m, n in self.nodes.items() if n is not holder and self.can_take(m)]

    def unclear(self) -> bool:
        """A disk is listed by half, or under another path, or a VM is there twice."""
        home = {d.uuid: d.path for d in self.of.disks}
        moved = any(
            d.uuid in home and d.path != home[d.uuid] for n in self.nodes.values() for d in n.vm.disks
        )
        return moved or any(self.shown.count(n.vm) > 1 for n in self.nodes.values())

    def lost(self) -> bool:
        return any(n.vm not in self.shown for n in self.nodes.values())

    def home_is_out_of_reach(self) -> bool:
        """A node that may have had it last, as far as nobody has cleared since, is not to be seen as it is now."""
        had: set[str] = set()
        for move in (m for m in self.state.recent if not m.get("forgotten")):
            had = {move["target"]} if move["ok"] else had | ({move["target"]} if move.get("given") else set())
        had |= {self.state.home["node"]} if self.state.home else set()
        return any(self._is_out_of_sight(n.vm) for m, n in self.nodes.items() if m in had)

    def origin_is_out_of_reach(self) -> bool:
        """The node that an open move takes the disk from, or that had it last, is not to be seen as it is now."""
        source = self.source()
        return self._is_out_of_sight(source.vm) if source else self.home_is_out_of_reach()

    def kept(self) -> bool:
        paths = {d.path for d in self.of.disks}
        return any(n.vm.kept & paths or n.vm.saved is not None for n in self.nodes.values())

    def misplaced(self) -> bool:
        places = {d.uuid: (d.bus, d.unit) for d in self.of.disks}
        listed = [d for n in self.nodes.values() for d in n.vm.disks if d.uuid in places]
        return any((d.bus, d.unit) != places[d.uuid] for d in listed)

    def task(self) -> bool:
        return any(n.vm.task for n in self.nodes.values())

    def asks(self) -> bool:
        return any(n.vm.question for n in self.nodes.values())

    def base(self) -> list[str]:
        """Nodes that are seen and heard, on which all that it depends on is in service."""
        below = [self.world.guests[name] for name in self.of.depends_on]
        seen = [m for m, n in self.nodes.items() if self._is_up(n.vm)]
        return [m for m in seen if all(_serves(b.inside[m], b.resource) for b in below)]

    def target(self) -> SimNode | None:
        return self.nodes.get(self.state.move.target) if self.state.move else self.holder()

    def source(self) -> SimNode | None:
        return self.nodes.get(self.state.move.source) if self.state.move else None

    def paused_beside(self, node: SimNode) -> bool:
        """Another resource that is in maintenance has a disk in the VM of this node."""
        others = [guest for name, guest in self.world.guests.items() if name != self.of.name]
        there = [guest.inside[node.vm.name] for guest in others if guest.resource.name in self.world.paused]
        return any(part.vm.lists(part.uuids) for part in there)

    def damped(self) -> int:
        """Failovers off a running node within the hour."""
        late = self.world.clock.wall() - SINCE
        return sum(bool(m.get("damped")) and late - m["ended"] < HOUR for m in self.state.recent)

    def fellows(self) -> list[Ailing]:
        """What other resources have suffered in the last minute, or could have, by the masters' own word."""
        late = self.world.clock.now - SINCE - LASTS
        told = [fault for master in self.world.masters for fault in master.vicinity.faults.values()]
        return [ailing for at, ailing in told if at >= late and ailing.resource != self.of.name]

    def most_are_silent(self, lost: bool = False) -> bool:
        """Of at least three that vCenter shows alive; with ``lost``, a host that is gone counts as one more."""
        alive = [n.vm for n in self.nodes.values() if n.vm.power is not Power.OFF and n.vm.connected]
        silent = sum(
            vm.frozen or vm.cut or vm.silent or vm.impostor or vm.power is not Power.ON for vm in alive
        )
        return len(alive) + lost >= 3 and 2 * (silent + lost) > len(alive) + lost


def _serves(node: SimNode, of: Resource) -> bool:
    """It is in service there, and vCenter shows its disks as they were recorded."""
    listed = {(disk.path, disk.uuid) for disk in node.vm.disks}
    seen = all((disk.path, disk.uuid) in listed for disk in of.disks)
    return seen and node.can_write(of) and not node.trouble and node.services is not False


def _isolated(node: SimNode) -> bool:
    return (node.vm.frozen or node.vm.cut) and node.vm.heartbeat not in ("red", "gray")


def _agent_alone(node: SimNode) -> bool:
    return node.vm.silent and not (node.vm.frozen or node.vm.cut) and node.vm.power is Power.ON


def _unheard(node: SimNode) -> bool:
    return node.vm.frozen or node.vm.cut or node.vm.silent


def _is_lost(eye: Eye, report: Report) -> bool:
    """
    The holder's host is gone, and it may not be fenced, or that was tried, or no node is there to fence it for. A task on the
    holder's VM, a vMotion perhaps, excuses its silence as long as it runs.
    """
    holder, of, move = eye.holder(), eye.of, eye.state.move
    if holder is None or holder.vm.connected is not False:
        return False
    if holder.vm.task:
        return True
    may = bool(of.host_fence) and (not holder.vm.strangers or of.host_fence_others == "stop")
    if not may or eye.paused_beside(holder) or not eye.takers() or eye.most_are_silent(lost=True):
        return True
    asked = [o for o in eye.state.outcomes if o.step.kind is StepKind.FENCE_HOST]
    unknown = [eye.nodes[o.step.node].vm for o in eye.state.outcomes if o.result.value == "unknown"]
    on_its_way = any(vm.connected is not True or vm.task for vm in unknown)  # and cannot be made impossible
    return move is not None and (len(asked) > 1 or on_its_way or bool(eye.nodes[move.target].vm.task))


def _is_blind(eye: Eye, report: Report) -> bool:
    """vCenter cannot be read, and no node could mount what it was the last to get."""
    if not eye.world.hypervisor.blind:
        return False
    last = eye.state.recent[-1] if eye.state.recent else {}
    home = eye.nodes.get(last.get("target", "")) if last.get("ok") and not last.get("forgotten") else None
    others = [n for n in eye.nodes.values() if n is not home and (n.sees(eye.of) or n.mounted or n.foreign)]
    if home is None or eye.state.move or others or eye.of.depends_on or home.epoch != eye.state.epoch:
        return True
    kept = home.mounted or home.foreign or home.torn or home.unready or home.busy or home.trouble
    return bool(kept) or not (home.sees(eye.of) and home.can_hear()) or home.vm.impostor


def _has_fellows(eye: Eye, report: Report) -> bool:
    """Another resource suffers the same on the same datastore, on another node and another host."""
    holder = eye.holder()
    trouble = holder and (holder.trouble or ("device_gone" if holder.torn else None))
    if holder is None or trouble is None:
        return False
    stores = {datastore_of(disk.path) for disk in eye.of.disks}
    alike = [a for a in eye.fellows() if a.condition == str(getattr(trouble, "value", trouble))]
    return any(
        a.datastores & stores and a.node != holder.vm.name and a.hosts - {holder.vm.host} for a in alike
    )


def _came_along(eye: Eye, report: Report) -> bool:
    """It has come from another node with the same fault."""
    holder = eye.holder()
    trouble = holder.trouble.value if holder and holder.trouble else "device_gone"
    came = [m for m in eye.state.recent if m["ok"] and m.get("condition") == trouble and m["source"]]
    return holder is not None and any(m["source"] != holder.vm.name for m in came)


Truth = Callable[[Eye, Report], bool]


def _stuck(eye: Eye, report: Report) -> bool:
    """No other node can take it."""
    return not eye.takers()


def _holder(test: Callable[[SimNode], object]) -> Truth:
    return lambda eye, report: (holder := eye.holder()) is not None and bool(test(holder))


def _both(one: Truth, other: Truth) -> Truth:
    return lambda eye, report: one(eye, report) and other(eye, report)


def _target(test: Callable[[SimNode], object]) -> Truth:
    return lambda eye, report: (target := eye.target()) is not None and bool(test(target))


#: By rule: whether what the hold says is so. A rule that is not here holds nothing in a calm world.
TRUE: dict[int, Truth] = {
    10: lambda eye, report: eye.state.paused,
    40: lambda eye, report: eye.unclear() or eye.kept(),
    50: lambda eye, report: eye.task(),
    60: lambda eye, report: sum(n.vm.power is not Power.OFF for n in eye.holders()) > 1,
    63: lambda eye, report: any(o.result.value == "unknown" for o in eye.state.outcomes),
    90: lambda eye, report: eye.kept(),
    105: _both(lambda eye, report: len(eye.holders()) > 0, lambda eye, report: len(eye.state.outcomes) > 0),
    42: lambda eye, report: any(n.vm.impostor for n in eye.nodes.values()),
    541: lambda eye, report: eye.lost() or eye.home_is_out_of_reach(),
    542: lambda eye, report: any(n.vm.impostor for n in eye.nodes.values()),
    598: _holder(lambda n: n.services is False),
    900: _holder(lambda n: not n.uuids <= {disk.uuid for disk in n.vm.disks}),
    48: lambda eye, report: eye.asks(),
    237: lambda eye, report: eye.state.move is not None and eye.state.move.target not in eye.base(),
    575: lambda eye, report: not eye.base(),
    578: lambda eye, report: not any(eye.can_take(m) for m in eye.base()),
    20: _is_blind,
    45: _is_lost,
    155: lambda eye, report: (source := eye.source()) is not None and eye.paused_beside(source),
    198: lambda eye, report: eye.misplaced(),
    603: lambda eye, report: eye.asks(),
    605: lambda eye, report: eye.asks(),
    520: _is_blind,
    545: _is_lost,
    638: lambda eye, report: (holder := eye.holder()) is not None and eye.paused_beside(holder),
    641: lambda eye, report: eye.most_are_silent(),
    644: lambda eye, report: eye.of.on_agent_silent == "hold" and _holder(_agent_alone)(eye, report),
    646: lambda eye, report: eye.of.on_isolated == "hold" and _holder(_isolated)(eye, report),
    648: _both(_holder(_unheard), _stuck),
    652: lambda eye, report: eye.asks(),
    653: _came_along,
    654: _has_fellows,
    695: lambda eye, report: eye.misplaced(),
    160: lambda eye, report: eye.nodes[eye.state.move.source].has() if eye.state.move else False,
    195: lambda eye, report: eye.lost(),
    196: lambda eye, report: eye.origin_is_out_of_reach(),
    220: _target(lambda n: n.busy),
    230: _target(lambda n: n.foreign),
    510: lambda eye, report: eye.state.paused,
    530: lambda eye, report: eye.unclear() or eye.kept(),
    610: _holder(lambda n: n.vm.task),
    630: _both(_holder(lambda n: n.vm.power is not Power.ON), _stuck),
    650: _both(
        _holder(lambda n: n.trouble or n.torn),
        lambda eye, report: eye.damped() >= eye.of.max_failovers_per_hour,
    ),
    670: _both(_holder(lambda n: n.trouble or n.torn), _stuck),
    700: _holder(lambda n: n.busy),
    710: _holder(lambda n: n.foreign),
    730: lambda eye, report: _stuck(eye, report) and any(eye.failures(m) for m in eye.nodes),
    732: _both(
        _holder(lambda n: n.unready), lambda eye, report: eye.damped() >= eye.of.max_failovers_per_hour
    ),
    740: lambda eye, report: (
        _holder(lambda n: not eye.fits(n))(eye, report)
        or (_stuck(eye, report) and _holder(lambda n: n.unready)(eye, report))
    ),
    790: lambda eye, report: eye.lost(),
    792: lambda eye, report: not eye.listed() and eye.home_is_out_of_reach(),
    793: lambda eye, report: any(n.vm.impostor for n in eye.nodes.values()),
    810: _both(lambda eye, report: not eye.holders(), _stuck),
}


def is_true(world: World, of: Resource, report: Report) -> bool:
    """Whether the reason of a hold is true of the world."""
    test = TRUE.get(report.rule)
    return test is not None and test(Eye(world, of), report)


# -- what a person does ---------------------------------------------------------------------------------------


def _resume(eye: Eye) -> None:
    for of in eye.world.resources:
        eye.world.operator.pause(of, False)


def _answer(eye: Eye) -> None:
    for node in eye.nodes.values():
        answer(node.vm)


def _end_tasks(eye: Eye) -> None:
    for node in eye.nodes.values():
        node.vm.task = ""


def _settle(eye: Eye) -> None:
    for node in eye.nodes.values():
        settle(eye.world, node.vm)


def _mend(eye: Eye) -> None:
    for node in eye.nodes.values():
        mend(node)
        power_up(eye.world, node.vm)


def _take_out(eye: Eye) -> None:
    """Of a VM that is off and cannot be started because the one that stays has a disk of it open."""
    for vm in [node.vm for node in eye.nodes.values()]:
        if vm.power is Power.OFF and vm is not eye.world.stays is not None:
            theirs = {
                disk.uuid
                for other in eye.world.vms.values()
                if other.power is not Power.OFF
                for disk in other.disks
            }
            for disk in [mine for mine in vm.disks if mine.uuid in theirs]:
                vm.unplug(disk.path)
            power_up(eye.world, vm)


def _remove_copies(eye: Eye) -> None:
    for node in eye.nodes.values():
        node.vm.impostor = False


def _clear(eye: Eye) -> None:
    eye.world.operator.clear(eye.of)


def _wait(eye: Eye) -> None:
    eye.world.clock.now += UNLUCKY


def _send_somebody(eye: Eye) -> None:
    """To what has lasted until now."""
    lasting.stop(eye.world)


def _confirm(eye: Eye) -> None:
    lasting.confirm(eye.world)


def _mend_base(eye: Eye) -> None:
    for below in (r for r in eye.world.resources if r.name in eye.of.depends_on):
        _mend(Eye(eye.world, below))


def _bring_base(eye: Eye) -> None:
    """By the request that the sentence names."""
    target = eye.state.move.target if eye.state.move else ""
    for below in (r for r in eye.world.resources if r.name in eye.of.depends_on):
        eye.world.run(Wish(MoveKind.FAILOVER, target), below)


def _raise_base(eye: Eye) -> None:
    """What it depends on comes first; whichever master is at work there."""
    world = eye.world
    for below in (r for r in world.resources if r.name in eye.of.depends_on):
        for master in range(len(world.masters)):
            report = world.run(None, below, master)
            if report is not None and not report.ok and report.rule:
                remedy(world, below, report)


def _put_back(eye: Eye) -> None:
    """Disks that were taken out beside others that were not."""
    for node in eye.nodes.values():
        here = {disk.uuid for disk in node.vm.disks}
        for disk in eye.of.disks:
            free = (disk.bus, disk.unit) not in node.vm.slots()
            if here & node.uuids and disk.uuid not in here and free:
                node.vm.plug(disk)


Deeds = tuple[Callable[[Eye], None], ...]
#: What a person does about a hold, in order; about any other: everything but ``clear``.
DEEDS: dict[int, Deeds] = {
    **dict.fromkeys((10, 155, 510, 638), (_resume,)),
    **dict.fromkeys((42, 542, 793), (_remove_copies,)),
    **dict.fromkeys((48, 603, 605), (_answer,)),
    **dict.fromkeys((50, 610), (_end_tasks,)),
    **dict.fromkeys((20, 520, 644, 646), (_send_somebody,)),
    **dict.fromkeys((45, 545), (_confirm,)),
    237: (_mend_base, _settle, _bring_base, _raise_base),
    575: (_raise_base,),
    **dict.fromkeys((40, 90, 195, 198, 530, 695, 790), (_settle,)),
    **dict.fromkeys((196, 541, 792), (_confirm, _settle)),
    **dict.fromkeys((63, 105, 160), (_answer, _settle, _clear)),
    **dict.fromkeys((650, 652, 653, 654, 732), (_mend, _answer, _settle, _clear)),
}
OTHERWISE: Deeds = (_put_back, _remove_copies, _mend, _answer, _settle, _take_out, _wait)


def remedy(world: World, of: Resource, report: Report) -> None:
    """Do what the sentence says, and no more."""
    world.say(f"-- a person mends what {report.rule} says")
    for deed in DEEDS.get(report.rule, OTHERWISE):
        deed(Eye(world, of))
    lasting.go_on(world)
