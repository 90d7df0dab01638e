"""One lab for many ordeals: between two of them it is brought back to a starting point, and that is checked.

The resource stays where it is: the next ordeal begins there, with the other node as its target.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from types import MappingProxyType, TracebackType
from typing import Any

from lab import product, trial
from lab.cable import Cable
from lab.cell import LabError
from lab.cluster import Lab
from lab.faultdisk import DiskError
from lab.hypervisor import VcenterError
from lab.ledger import Acknowledged, parse_acknowledged
from lab.linux import wait_until
from lab.observer import mountpoints
from lab.scenarios import DISK
from lab.strikes import TooLate, engine_of, reactor_of
from lab.terminal import Terminal
from lab.wishes import DiskWish, Guests, Wishes

#: Milliseconds that the vCenter's tasks take, so that a blow lands in their midst.
SLOW: Mapping[str, int] = MappingProxyType({"detach": 400, "attach": 400, "poweroff": 400})
RESTORE_LIMIT = 120.0
#: After so many ordeals a lab has seen enough: its ledger, events and history grow.
SERVES = 40
_WRITTEN, _TAIL = 10, 8192


class Stage:
    """A lab with a cable that can be cut. policy: options of the resource. delays: of the vCenter's tasks. fstype: of the disk.
    guests: the kind of its nodes, whose cables are their own and cut by the nodes; without it they are namespaces.

    served: ordeals that `restore` has made it ready for. Use it as a context manager.
    """

    lab: Lab
    cable: Cable

    def __init__(
        self,
        policy: Mapping[str, Any],
        delays: Mapping[str, int] = SLOW,
        fstype: str = "ext4",
        guests: Guests | None = None,
    ) -> None:
        self.policy, self._guests = dict(policy), guests
        self._delays, self._fstype = delays, fstype
        self._stack = ExitStack()
        self._told = (0, 0)
        self.served = 0

    def __enter__(self) -> Stage:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _start(self) -> None:
        self.cable = self._stack.enter_context(Cable())
        options: dict[str, Any] = {"services": [trial.SERVICE], "hang_timeout": 1, **self.policy}
        if self._guests is not None:
            options = self._guests.policy(options)
        wishes = Wishes(
            guests=self._guests,
            disks=(DiskWish(DISK, self._fstype),),
            delays=self._delays,
            master_overrides=lambda lab: product.master_options(lab, {DISK: options}),
            minion_overrides=self.cable.minion_options if self._guests is None else product.minion_options,
        )
        self.lab = self._stack.enter_context(Lab(wishes))
        self._terminal = Terminal(self.lab.master)
        self._stack.callback(self._terminal.close)
        trial.bring_up(self.lab, by_hand=False)
        if self._guests is not None:
            self._guests.settle(self.lab)

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stack.close()

    def operator(self, function: str, *arguments: Any) -> Any:
        """What `salt-run FUNCTION …` answers, as data. Raises LabError."""
        return self._terminal.run(function, *arguments)

    def doubles(self) -> tuple[int, int]:
        """How often, since the last call, two running VMs listed the disk, and two nodes had it mounted, at once."""
        seen = self.lab.observer.findings
        now, before = (len(seen.double_holders), len(seen.double_mounts)), self._told
        self._told = now
        return now[0] - before[0], now[1] - before[1]

    # -- back to the start

    def restore(self) -> str:
        """Take back what was done to the lab, wait until all is well, and check that it is.

        Returns the node that has the resource, from now on `lab.source`. Raises LabError with what is not as it should be.
        """
        limit = RESTORE_LIMIT * self.lab.patience
        deadline = time.monotonic() + limit
        try:
            self._mend()
            since = time.monotonic()
            wait_until(lambda: not any(self._unheard(since)), limit / 3, 0.05)
            self._clear(deadline)
            if not wait_until(lambda: at_rest(self.lab, since), limit / 3, 0.05):
                self.operator("vmdk.recover", DISK)
            while amiss := self.amiss(since):
                if time.monotonic() > deadline:
                    raise LabError(f"the lab cannot be used again: {amiss}")
                if state(self.lab).get("hold"):
                    self.operator("vmdk.recover", DISK)
                time.sleep(0.2)
        except (VcenterError, DiskError, OSError) as problem:
            raise LabError(f"the lab cannot be used again: {problem}") from problem
        source = active(self.lab)[0]
        self.lab.source, self.lab.target = (
            source,
            next(name for name in self.lab.nodes if name != source),
        )
        self.served += 1
        return source

    def _mend(self) -> None:
        lab = self.lab
        self.cable.mend()
        lab.vcenter.reset()
        lab.vcenter.delays(**self._delays)
        for name, node in lab.nodes.items():
            if not node.is_running or node.is_frozen:
                lab.power_on(name)
            node.reachable()
            if node.answers:
                node.signal_agent(signal.SIGCONT)
                if not node.has_agent():
                    node.start_agent()
            lab.vcenter.guest(node.name, heartbeat="green")
            if node.device_of(lab.disks[DISK]) is not None:
                lab.fault(name, DISK, "ok")

    def _clear(self, deadline: float) -> None:
        """A person has looked: end a pause, forget holds and damping. Refused while something is under way."""
        while True:
            try:
                if state(self.lab).get("pause"):
                    self.operator("vmdk.resume", DISK)
                return self.operator("vmdk.clear", DISK)
            except LabError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def amiss(self, since: float) -> str:
        """The first thing that is not as at a start; empty if all is."""
        return next(filter(None, self._faults(since)), "")

    def _faults(self, since: float) -> Iterator[str]:
        """What is not as at a start, the cheap looks first."""
        lab = self.lab
        for name, node in lab.nodes.items():
            yield "" if node.is_running else f"{name} is off"
        yield "" if at_rest(lab, since) else _unrest(lab)
        for find in (engine_of, reactor_of):
            yield _missing(find, lab)
        busy = [task for task in lab.vcenter.tasks() if task["state"] in ("queued", "running")]
        yield f"a task is under way: {busy[0]}" if busy else ""
        yield from self._unheard(since)
        yield self._status()

    def _unheard(self, since: float) -> Iterator[str]:
        for name in self.lab.nodes:
            heard = self.lab.master.events.seen(f"vmdk-heartbeat/{name}", since)
            yield "" if heard else f"{name} sends no heartbeat"

    def _status(self) -> str:
        """What the product says that is not well."""
        try:
            found = self.operator("vmdk.status", DISK)
            one = found["resources"][DISK]
        except (LabError, KeyError, TypeError) as problem:
            return f"vmdk.status fails: {problem}"
        if one["active"] != (active(self.lab) or [""])[0]:
            return f"vmdk.status says that it is active on {one['active'] or 'no node'}"
        why = [one["reason"], *one["not_protected_because"], *found["faults"], one["hold"] or ""]
        return "" if found["all_well"] and not one["hold"] else f"vmdk.status says {why}"


class Stages:
    """Keeps the stage that was used last, and gives it out again if the same policy is asked for and it can be restored.

    say: told why a stage is not used again. built: how many were built.
    """

    def __init__(self, say: Callable[[str], None] = lambda _: None) -> None:
        self.say = say
        self._stage: Stage | None = None
        self.built = 0

    def __enter__(self) -> Stages:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.drop()

    def ready(self, policy: Mapping[str, Any]) -> Stage:
        """A stage for this policy, at its starting point. Raises LabError if even a new one is not."""
        kept = self._stage
        if kept is not None and (kept.policy != dict(policy) or kept.served >= SERVES):
            self.drop()
        elif kept is not None:
            try:
                kept.restore()
                return kept
            except LabError as problem:
                self.say(str(problem))
                self.drop()
        return self._built(policy)

    def _built(self, policy: Mapping[str, Any]) -> Stage:
        self.built += 1
        self._stage = Stage(policy).__enter__()
        self._stage.restore()
        return self._stage

    def drop(self) -> None:
        """End the stage that is kept: what happened on it may not have ended."""
        stage, self._stage = self._stage, None
        if stage is not None:
            stage.__exit__(None, None, None)


# -- what is seen of the resource


def active(lab: Lab) -> list[str]:
    """The nodes that have the file system mounted."""
    nodes = lab.nodes.items()
    return [name for name, node in nodes if node.is_running and mountpoints(node, lab.disks[DISK])]


def state(lab: Lab) -> dict[str, Any]:
    """The journal's record of the resource."""
    path = lab.master.root / "var/lib/salt/vmdk/journal" / f"{DISK}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def listed(lab: Lab) -> list[str]:
    """The nodes whose VM lists the disk, running or not."""
    path, vms = lab.disks[DISK].path, {node.name: name for name, node in lab.nodes.items()}
    found = [vm for vm in lab.vcenter.inventory()["vms"] if any(one["path"] == path for one in vm["disks"])]
    return [vms[vm["name"]] for vm in found]


def last_acknowledged(lab: Lab) -> list[Acknowledged]:
    """The last hundred records or more that were acknowledged."""
    path = lab.run_dir / "shared" / "ledger.ack"
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        text = file.read().decode()
    return parse_acknowledged(text[text.find("\n") + 1 :])


def _writes(lab: Lab, node: str, since: float) -> bool:
    return sum(one.node == node and one.monotonic >= since for one in last_acknowledged(lab)) >= _WRITTEN


def at_rest(lab: Lab, since: float) -> bool:
    """Whether the resource is on exactly one node, nothing is under way, and the service has written there since."""
    where = active(lab)
    return (
        len(where) == 1
        and not state(lab).get("move")
        and listed(lab) == where
        and _writes(lab, where[0], since)
    )


def _unrest(lab: Lab) -> str:
    found = state(lab)
    words = f"it is mounted on {active(lab)}, listed by {listed(lab)}"
    return f"{words}, move {json.dumps(found.get('move'))[:300]}, hold {found.get('hold')}"


def _missing(find: Callable[[Lab], int], lab: Lab) -> str:
    try:
        find(lab)
    except TooLate as problem:
        return str(problem)
    return ""
