"""
The ``Lookout`` port: heartbeats as the listener heard them, excuses for silence, and whether addresses answer.

What excuses a node's silence is remembered in a file per node, because every look is a process of its own: the boot that
vCenter shows, and the last moment at which a task was seen on its VM.
"""

from __future__ import annotations

import contextlib
import datetime
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vmdk_failover.model import Crowd, HypervisorFacts, Node, NodeFacts, Power, Resource, Signs, VmFacts
from vmdk_failover.ports import Hypervisor
from vmdk_failover.presence import echo, heard, reachable

#: A node that has booted and was not heard since is given this long on top (seconds).
BOOT_GRACE = 180.0
#: Nodes of other resources count as silent after this long (seconds): early, so that a cut is noticed before a holder counts.
QUIET = 3.0
#: Nobody's address is asked for an answer before this long (seconds): no decision rests on it so early, and it takes a second.
EARLY = 2.0
#: Boot times that differ by no more (seconds) are those of one boot, told by a clock that was set.
SAME_BOOT = 5.0
STREAM, UNANSWERED = "stream.json", "unanswered"
#: Two questions in vain that are no further apart (seconds) are of one row: as long as the looks of 1,000 resources take that
#: nobody has asked for, for nobody asks for one at a node whose heartbeats go on.
IN_A_ROW = 250.0
#: Who was asked in vain for the first time less than this ago (seconds), and was heard less than that ago, may have its answer
#: wait in line behind the last ones. Heartbeats come each second, and a dead node is to be waited for no longer.
SO_LONG, JUST_HEARD = 60.0, 2.5
#: So long after the last question in vain (seconds) the next one counts as the first again for that.
AGAIN = 45.0
NEVER = float("-inf")
#: As long as the longest ``node_timeout`` that is allowed, and a look (seconds).
LONGEST_WINDOW = 3700.0


def stream_begins_anew(state_dir: Path, dark: bool = True) -> None:
    """
    vCenter's stream came back after a break: all windows begin anew.

    :param dark: vCenter could not be watched meanwhile. Where the next stream came at the first try, all windows begin anew once
        for the longest of them: a stream that is cut again and again (a proxy that lets nothing last) must not excuse for ever.
    """
    note, now, boot = heard.read_plain(state_dir / STREAM), time.monotonic(), heard.master_boot()
    if not dark and note.get("boot") == boot and 0 <= now - _moment(note, "at") < LONGEST_WINDOW:
        return
    with contextlib.suppress(OSError):  # no more than a hint is lost: the look itself reads vCenter
        heard.write_plain(state_dir / STREAM, {"boot": boot, "at": now})


def answered(state_dir: Path, facts: NodeFacts, clock: Callable[[], float] = time.monotonic) -> None:
    """
    A node has given a signed answer: the row of questions in vain has ended, and if its heartbeats are taken for old ones, the
    listener is told which boot it is in, and how far that is.
    """
    with contextlib.suppress(OSError):  # there was hardly ever one; and who answers is judged by that
        (state_dir / UNANSWERED / f"{facts.minion}.json").unlink(missing_ok=True)
    if heard.takes_for_old(heard.read(state_dir).nodes.get(facts.minion), facts.boot_id, facts.uptime):
        with contextlib.suppress(OSError):  # with the next answer, then
            heard.write_present(state_dir, facts.minion, facts.boot_id, facts.uptime, clock())


def may_be_late(state_dir: Path, minion: str, clock: Callable[[], float] = time.monotonic) -> bool:
    """
    Whether a node's answer may still wait in Salt's queues: it is heard now, and was asked in vain since a moment ago only.

    Where the last question in vain was long ago, as between the looks of a thousand resources, this one is the first again: three
    of them in vain would make an agent a stopped one (``on_agent_silent``).
    """
    row, boot, now = heard.read_plain(state_dir / UNANSWERED / f"{minion}.json"), heard.master_boot(), clock()
    since, last = now - _moment(row, "since"), now - _moment(row, "last")
    if row.get("boot") != boot or not (0 <= since < SO_LONG or AGAIN <= last < IN_A_ROW):
        return False
    age = heard.read(state_dir).silent(minion, now, boot)
    return age is not None and 0 <= age < JUST_HEARD


class FileLookout:
    """
    See the module.

    :param state_dir: the master's.
    :param hypervisor: to see which silent nodes of other resources run.
    :param resources: all that are configured, by name.
    """

    def __init__(
        self,
        state_dir: Path,
        hypervisor: Hypervisor,
        resources: Callable[[], Mapping[str, Resource]],
        clock: Callable[[], float] = time.monotonic,
        ask: Callable[[Mapping[str, str]], Mapping[str, bool | None]] = echo.answers,
    ) -> None:
        self._dir = state_dir
        self._hypervisor = hypervisor
        self._resources = resources
        self._clock = clock
        self._ask = ask
        self._boot = heard.master_boot()

    def signs(self, seen: HypervisorFacts, silent: Sequence[str]) -> Mapping[str, Signs]:
        """See the port."""
        known = heard.read(self._dir)
        excused = {vm.minion: self._excused(vm, known) for vm in seen.vms if vm.present}
        now = self._clock()
        ages = {m: self._silence(m, known, excused.get(m, now), now) for m in silent}
        doubtful = {
            m: known.address(m) for m, age in ages.items() if self._doubtful(m, age, seen, known, now)
        }
        answers = self._ask(doubtful) if doubtful else {}
        now = self._clock()
        known = heard.read(self._dir)  # it may have been heard meanwhile
        ages = {m: self._silence(m, known, excused.get(m, now), now) for m in silent}
        return {
            m: Signs(
                ages[m],
                self._meant(m, known.address(m), answers.get(m)),
                self._heard(m, known, now),
                self._unanswered(m, now, excused.get(m, NEVER)),
            )
            for m in silent
        }

    def _unanswered(self, minion: str, now: float, excused: float) -> float:
        """Seconds since it was first asked in vain in this row of questions, or since what excuses that; kept for later looks."""
        path = self._dir / UNANSWERED / f"{minion}.json"
        was = heard.read_plain(path)
        goes_on = was.get("boot") == self._boot and 0 <= now - _moment(was, "last") < IN_A_ROW
        since = min(now, _moment(was, "since")) if goes_on else now
        with contextlib.suppress(OSError):  # then it has been so for a moment only
            heard.write_plain(path, {"boot": self._boot, "since": since, "last": now})
        anew = (
            excused if excused <= now else excused - BOOT_GRACE
        )  # the boot itself, if it was not heard since
        return max(0.0, now - max(since, anew))

    def _heard(self, minion: str, known: heard.Heard, now: float) -> float | None:
        """The age of the last heartbeat since the master booted, whether the listener is at work now or not."""
        at = known.at(minion)
        return None if at is None or known.boot != self._boot else now - at

    def _doubtful(
        self, minion: str, age: float | None, seen: HypervisorFacts, known: heard.Heard, now: float
    ) -> bool:
        """Something rests on whether its address answers; on a host that is gone that is so whatever excuses its silence."""
        if age is None or age >= EARLY:
            return True
        shown = {vm.minion for vm in seen.vms}
        last = self._heard(minion, known, now)
        return (minion not in shown or seen.vm(minion).host_gone) and (last is None or last >= EARLY)

    def _meant(self, minion: str, address: str, answers: bool | None) -> bool | None:
        """What it means that an address does not answer: nothing, if it did not do so while the node was well."""
        if answers is False and not reachable.answered(self._dir, minion, address):
            return None
        return answers

    def crowd(self, resource: Resource, seen: HypervisorFacts) -> Crowd:
        """See the port."""
        mine = {n.minion for n in resource.nodes}
        others = {n.minion: n for r in self._resources().values() for n in r.nodes if n.minion not in mine}
        now, known = self._clock(), heard.read(self._dir)
        ages = {m: known.silent(m, now, self._boot) for m in others}
        quiet = [others[m] for m, age in ages.items() if age is None or age > QUIET]
        there = {uuid: vm.host for vm in seen.vms for _, uuid in vm.beside or ()}
        lost = Counter(there[n.vm_uuid.lower()] for n in quiet if n.vm_uuid.lower() in there)
        rest = [n for n in quiet if n.vm_uuid.lower() not in there]
        shown = self._shown(resource, rest)
        lost.update(vm.host for vm in shown if vm.host_gone)
        out = lost.total() + sum(_is_stopped(vm) for vm in shown if not vm.host_gone)
        return Crowd(len(others) - out, len(quiet) - out, tuple(sorted(lost.items())))

    def _shown(self, resource: Resource, nodes: Sequence[Node]) -> Sequence[VmFacts]:
        """What vCenter shows of nodes; who else is on their hosts is not asked for."""
        if not nodes:
            return ()
        seen = self._hypervisor.observe(replace(resource, nodes=tuple(nodes), disks=(), host_fence=""))
        return [seen.vm(n.minion) for n in nodes] if seen.readable else ()

    def _silence(self, minion: str, known: heard.Heard, excused: float, now: float) -> float | None:
        age = known.silent(minion, now, self._boot)
        stream = heard.read_plain(self._dir / STREAM)
        anew = _moment(stream, "at") if stream.get("boot") == self._boot else NEVER
        return None if age is None else min(age, now - excused, now - anew)

    def _excused(self, vm: VmFacts, known: heard.Heard) -> float:
        """Until when a node's silence is excused by what vCenter shows; kept for later looks."""
        path, now = self._dir / "clocks" / f"{vm.minion}.json", self._clock()
        was = heard.read_plain(path)
        here = was.get("boot") == self._boot
        busy = now if vm.task != "" else _moment(was, "busy") if here else NEVER
        booted = _moment(was, "booted") if here else NEVER
        shown = vm.boot_time or str(was.get("boot_time", ""))
        if vm.boot_time and not _same_boot(vm.boot_time, str(was.get("boot_time", ""))):
            booted = now
        fresh = {"boot": self._boot, "boot_time": shown, "busy": str(busy), "booted": str(booted)}
        if fresh != was:
            with contextlib.suppress(OSError):  # the present look has it all the same
                heard.write_plain(path, fresh)
        at = known.at(vm.minion)
        up = at is not None and at > booted
        return max(busy, booted if up else booted + BOOT_GRACE)


def _moment(plain: Mapping[str, Any], key: str) -> float:
    """A moment of a note; a damaged one is no moment."""
    try:
        return float(plain.get(key, NEVER))
    except (TypeError, ValueError):
        return NEVER


def _is_stopped(vm: VmFacts) -> bool:
    suspended = vm.power is Power.SUSPENDED and vm.connected is True
    return vm.present is False or vm.is_off or suspended


def _same_boot(one: str, other: str) -> bool:
    try:
        apart = datetime.datetime.fromisoformat(one) - datetime.datetime.fromisoformat(other)
    except (ValueError, TypeError):
        return one == other
    return abs(apart.total_seconds()) <= SAME_BOOT
