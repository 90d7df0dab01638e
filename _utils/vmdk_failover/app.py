"""
Composition: Salt's options become objects, here and nowhere else.

:class:`App` is what runners and the master's engine work with; ``configured.py`` reads the configuration. Nodes use
:mod:`vmdk_failover.guest` by their own small factory in ``guest/node.py``.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from vmdk_failover.channels.announcing import Announcer
from vmdk_failover.claims import Claims
from vmdk_failover.configured import names, resources_dir, settings, state_dir
from vmdk_failover.engine import Engine, Report, Tell
from vmdk_failover.errors import ConfigError, FailoverError, JournalError
from vmdk_failover.hooks import Run, RunnerHooks
from vmdk_failover.journal import FileJournal
from vmdk_failover.judgement import config
from vmdk_failover.judgement.dated import Moment
from vmdk_failover.judgement.policy import Wish
from vmdk_failover.lock import FileLock
from vmdk_failover.model import Disk, Resource
from vmdk_failover.ports import Hypervisor
from vmdk_failover.presence import heard, lookout
from vmdk_failover.presence.vicinity import FileVicinity, complains
from vmdk_failover.remote import RemoteGuest, SaltCall
from vmdk_failover.saltcall import LocalCall
from vmdk_failover.shared import SharedJournal
from vmdk_failover.store.keys import Keys
from vmdk_failover.store.shelf import FileShelf, Shelf
from vmdk_failover.unreachable import Unreachable

__all__ = [
    "App",
    "SystemClock",
    "master_secret",
    "names",
    "now",
    "resources_dir",
    "settings",
    "state_dir",
    "warm",
]

#: Seconds for a read of vCenter with its repetitions: after that it is unreadable, and held; the engine looks again soon.
READ_S = 6.0
#: Seconds that nodes get to take note of a new pillar, without anybody having to wait for it.
FETCH = 2.0


def now() -> Moment:
    """This moment, by this machine's clocks."""
    return Moment(heard.master_boot(), time.clock_gettime(time.CLOCK_BOOTTIME), time.time())


def warm(opts: Mapping[str, Any]) -> None:
    """
    Do what each mover would have to do again: import pyVmomi (a third of a second), read the configuration. For the process that
    movers are forked from; it opens no session.
    """
    from vmdk_failover.vsphere import preload

    preload()
    settings(opts)


def master_secret(opts: Mapping[str, Any]) -> bytes:
    """The secret that all nodes' keys are derived from; made at first use, never shown."""
    return Keys(state_dir(opts)).secret()


class SystemClock:
    """The ``Clock`` port over the machine's own clocks."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class App:
    """
    The product on a master.

    :param opts: Salt's options of the master.
    :param client: a ``salt.client.LocalClient``, or a ready ``SaltCall`` in tests.
    :param tell: receives verdicts and outcomes as they happen.
    :param warn: receives one sentence about each answer that was not believed.
    :param hook: calls a runner function of the administrator's; without it none can be called.
    """

    def __init__(
        self,
        opts: Mapping[str, Any],
        client: Any,
        tell: Tell = lambda entry: None,
        warn: Callable[[str], None] = lambda sentence: None,
        hook: Run | None = None,
    ) -> None:
        self.opts = opts
        self.hook = hook
        self.call: SaltCall = (
            client if hasattr(client, "state") else LocalCall(client, self._is_off, self._may_be_late)
        )
        self.tell = tell
        self.warn = warn
        self.clock = SystemClock()
        place = state_dir(opts)
        self.journal = FileJournal(place / "journal", place / "known", now, configured=self._configured)
        self.lock = FileLock(place / "locks")
        self.keys = Keys(place)
        self.announce = Announcer(place, self.journal, tell, self.clock.wall)
        self._shelves: dict[tuple[str, tuple[Disk, ...]], Shelf] = {}

    @cached_property
    def settings(self) -> config.Settings:
        return settings(self.opts)

    @property
    def master(self) -> str:
        """This master's id."""
        return str(self.opts.get("id") or "master")

    @property
    def bystander(self) -> str:
        """Why this master only watches, as a sentence; ``""`` if it acts."""
        active = self.settings.active_master
        if not active or active == self.master:
            return ""
        return f"this master ({self.master}) only watches: {active} is the active one (active_master); run it there"

    @cached_property
    def shared(self) -> FileJournal:
        """The journal that moves are written into: in step with the other masters', if there are any."""
        if not self.settings.claims:
            return self.journal
        place, claims = state_dir(self.opts), Claims(self._shelf, self.master)
        return SharedJournal(
            place / "journal", place / "known", now, configured=self._configured, claims=claims
        )

    def _configured(self) -> Collection[str]:
        return self.settings.resources.keys()

    def _shelf(self, name: str) -> Shelf:
        """Beside the disks it is another one when they have been moved."""
        if self.settings.claims != "vcenter":
            return FileShelf(Path(self.settings.claims), name)
        from vmdk_failover.vsphere.claims import DatastoreShelf

        of = self.settings.resources.get(name) or self.resource(name)
        if (name, of.disks) not in self._shelves:
            self._shelves[name, of.disks] = DatastoreShelf(self.session, of)
        return self._shelves[name, of.disks]

    @cached_property
    def session(self) -> Any:
        """The vCenter session of this process."""
        from vmdk_failover.vsphere.session import Session
        from vmdk_failover.vsphere.settings import Settings

        at = self.settings.vcenter
        if at is None:
            raise ConfigError(self._no_vcenter())
        refusals = str(state_dir(self.opts) / "vcenter-refused")
        return Session(
            Settings(
                at.host,
                at.user,
                at.password,
                at.port,
                at.ca_file or "",
                at.sha256 or "",
                read_deadline=READ_S,
                refusal_file=refusals,
            )
        )

    @cached_property
    def hypervisor(self) -> Hypervisor:
        from vmdk_failover.vsphere.hypervisor import VCenter

        if self.settings.vcenter is None:
            return Unreachable(self._no_vcenter())
        return VCenter(self.session)

    def _is_off(self, minion: str) -> bool:
        with contextlib.suppress(FailoverError):
            for one in self.settings.resources.values():
                if any(node.minion == minion for node in one.nodes):
                    return any(vm.minion == minion and vm.is_off for vm in self.hypervisor.observe(one).vms)
        return False

    def _may_be_late(self, minion: str) -> bool:
        """Who says itself that it cannot use a disk may have no minion that answers, and is judged without (637)."""
        place = state_dir(self.opts)
        return lookout.may_be_late(place, minion) and not complains(place, minion)

    @cached_property
    def guest(self) -> RemoteGuest:
        keys, told = self.keys, partial(lookout.answered, state_dir(self.opts))
        return RemoteGuest(self.call, keys.current, self._disbelieve, keys.old, keys.spoke, told)

    def _disbelieve(self, sentence: str) -> None:
        self.announce.counts.add("rejected", kind="answer")
        self.warn(sentence)

    @cached_property
    def engine(self) -> Engine:
        noticed = lookout.FileLookout(state_dir(self.opts), self.hypervisor, lambda: self.settings.resources)
        return Engine(
            self.hypervisor,
            self.guest,
            self.shared,
            self.lock,
            self.clock,
            self.tell,
            lookout=noticed,
            vicinity=self.vicinity,
            hooks=None if self.hook is None else RunnerHooks(self.hook),
            looked=self.announce.looked,
            current=self._current,
        )

    def _current(self, resource: Resource) -> Resource | None:
        """The resource as it is configured now."""
        self.__dict__.pop("settings", None)
        return self.settings.resources.get(resource.name)

    @cached_property
    def vicinity(self) -> FileVicinity:
        """What is remembered of neighbours and hosts."""
        return FileVicinity(
            state_dir(self.opts),
            lambda: self.settings.resources,
            lambda name: self.shared.in_maintenance(name),
            record=lambda name: self.shared.state(name),
        )

    def faults(self) -> list[config.Fault]:
        """Everything that is wrong with the configuration, and with what nodes say of it."""
        found, several = list(self.settings.faults), sorted(self.guest.several)
        if waiting := self.keys.waiting_for(self.minions):
            words = f"the keys are being changed, and the old ones count until {', '.join(waiting)} has spoken under the new one"
            found.append(config.Fault("vmdk.keys", words))
        if several and not (self.settings.claims or self.settings.active_master):
            words = (
                f"{', '.join(several)} has several masters, and nothing keeps two of them from acting at once; say which one "
                "acts (active_master), or where they claim what they do (claims, docs/configuration.md)"
            )
            found.append(config.Fault("vmdk", words))
        for trouble in (self.journal.trouble, self.shared.trouble):
            if trouble and all(f.reason != trouble for f in found):
                found.append(config.Fault("vmdk.state_dir", trouble))
        return found

    def _no_vcenter(self) -> str:
        faults = [str(f) for f in self.settings.faults if f.where.startswith("vcenter")]
        return "the configuration has no usable vcenter section: " + "; ".join(faults)

    def resource(self, name: str) -> Resource:
        """
        The resource called ``name``: as its open move has it frozen, else as configured.

        :raises ConfigError: with what is wrong with it in the configuration.
        """
        try:
            move = self.journal.state(name).move
        except JournalError:
            if name not in self.settings.resources:
                raise
            move = None  # the engine reads it too, and holds
        if move is not None:
            return move.resource
        if name in self.settings.resources:
            return self.settings.resources[name]
        faults = self.settings.faults_of(name)
        if faults:
            raise ConfigError(
                f"{name} is not protected, its configuration is wrong: " + "; ".join(map(str, faults))
            )
        known = ", ".join(sorted(self.settings.resources)) or "none"
        raise ConfigError(f"there is no resource called {name!r}; known are: {known}")

    def run(self, name: str, wish: Wish | None = None, wait: float = 0.0) -> Report:
        """
        Look at a resource and do what follows; see :meth:`vmdk_failover.engine.Engine.run`. A master that is not the active one
        does nothing.

        :param wait: seconds for a look that is under way.
        """
        if self.bystander:
            return Report(name, "refused", 0, self.bystander)
        try:
            report = self.engine.run(self.resource(name), wish, wait)
        except FailoverError:
            raise
        except Exception as err:
            self.announce.failed(
                name, f"the look ended with {type(err).__name__} ({err}), see the master's log"
            )
            raise
        if (report.result, report.rule) == ("held", 5):
            self.announce.failed(name, report.reason)
        self._end_change_of_keys()
        if report.steps:
            told = {"resource": name, "rule": report.rule, "reason": report.reason, "epoch": report.epoch}
            calls = self.session.calls if "session" in self.__dict__ else 0
            more = {
                "result": report.result,
                "took": report.took,
                "vcenter_calls": calls,
                "at": self.clock.wall(),
            }
            self.tell({"what": "ended", **told, **more})
        return report

    @property
    def minions(self) -> list[str]:
        """Minion ids of all nodes."""
        return sorted({node.minion for one in self.settings.resources.values() for node in one.nodes})

    def _end_change_of_keys(self) -> None:
        """As soon as every node has spoken under its new key, the old ones count no more, and the nodes are told so."""
        if self.keys.changing and self.keys.end(self.minions):
            self.call.ask(self.minions, "saltutil.refresh_pillar", {}, FETCH, lambda *_: True)

    def close(self) -> None:
        """Give the vCenter session back."""
        if "session" in self.__dict__:
            self.announce.calls(self.session)
            self.session.close()
