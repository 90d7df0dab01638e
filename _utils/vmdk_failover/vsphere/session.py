"""
A login at vCenter that several threads share.

Reads are repeated within a deadline, over lost connections and expired logins. Writes are sent once: after a
lost answer only a new look can tell what happened. A session belongs to the process that uses it; after a
fork the child logs in anew and leaves its parent's login alone.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pyVmomi import vim, vmodl

from vmdk_failover.errors import CannotObserve, LoginRefused, OutcomeUnknown, StepFailed
from vmdk_failover.vsphere import faults
from vmdk_failover.vsphere.refusals import Refusals
from vmdk_failover.vsphere.settings import Settings
from vmdk_failover.vsphere.stub import Stub, version_of
from vmdk_failover.vsphere.wire import TRANSPORT, NotSent, Wire

T = TypeVar("T")

#: Logins that one read may use up before it gives in.
MOST_LOGINS = 2
#: Seconds that each try of a read gets at least, if its deadline allows.
LEAST_TRY = 3.0


@dataclass(frozen=True)
class Login:
    """One login: build references with it, never keep them beyond it."""

    stub: Any = field(repr=False)
    content: Any = field(repr=False)

    def ref(self, kind: Any, moid: str) -> Any:
        """The managed object ``moid`` of pyVmomi class ``kind``; no call is made."""
        return kind(moid, self.stub)

    def vm(self, moid: str) -> Any:
        """The VM ``moid``; no call is made."""
        return self.ref(vim.VirtualMachine, moid)

    def host(self, moid: str) -> Any:
        """The ESXi host ``moid``; no call is made."""
        return self.ref(vim.HostSystem, moid)


class _Life:
    """What one process has of a session."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.login: Login | None = None


class Session:
    """
    See the module. All methods may be called by several threads at once.

    :param settings: how to reach vCenter.
    :param clock: monotonic seconds.
    :param sleep: waits seconds.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.settings = settings
        self.clock, self.sleep = clock, sleep
        self._wire = Wire(
            settings.host,
            settings.port,
            settings.ca_file,
            settings.sha256,
            settings.connect_timeout,
            settings.call_timeout,
        )
        self._refusals = Refusals(settings.refusal_file)
        self._lives: dict[int, _Life] = {}

    def __repr__(self) -> str:
        return f"<Session {self.settings.user} at {self._wire.where}>"

    @property
    def calls(self) -> int:
        """Requests sent so far, logins included."""
        return self._wire.calls

    def tally(self) -> Mapping[tuple[str, str], int]:
        """How calls ended since this was asked last: times by method and result (``ok``, ``silent``, or a fault's name)."""
        return self._wire.take_tally()

    @property
    def where(self) -> str:
        """``host:port`` of vCenter, for sentences."""
        return self._wire.where

    def read(self, ask: Callable[[Login], T], within: float | None = None) -> T:
        """
        Run ``ask``, again if the connection or the login was lost; it must change nothing.

        :param within: seconds for all of it; the settings' ``read_deadline`` by default.
        :raises CannotObserve: no answer in time, or vCenter refuses to answer.
        :raises vmodl.fault.ManagedObjectNotFound: an object that ``ask`` speaks of is gone.
        """
        until = self.clock() + (self.settings.read_deadline if within is None else within)
        expired = 0
        for attempt in itertools.count():
            login = None
            try:
                login = self._login(until)
                # half of the time left: a connection that died silently must leave time for a fresh one
                with self._bounded(max((until + self.clock()) / 2, min(until, self.clock() + LEAST_TRY))):
                    return ask(login)
            except vim.fault.NotAuthenticated as err:
                self._expire(login)
                expired += 1
                if expired > MOST_LOGINS:
                    raise CannotObserve(f"vCenter {self.where} ends each login at once") from err
            except TRANSPORT as err:
                self._pause(attempt, until, err)
            except vmodl.fault.ManagedObjectNotFound:
                raise
            except vmodl.MethodFault as err:
                raise self._refusal(err) from err
        raise AssertionError("unreachable")

    def once(self, ask: Callable[[Login], T], within: float, login: Login | None = None) -> T:
        """
        Run ``ask`` once, for reads that cannot be repeated, such as waiting for changes.

        :param login: the login that ``ask`` has objects of; any by default.
        :raises CannotObserve, vmodl.fault.ManagedObjectNotFound: as :meth:`read`.
        """
        login = login or self._login_now(self.clock() + within)
        try:
            with self._wire.within(within):
                return ask(login)
        except TRANSPORT as err:
            raise self._silent(err) from err
        except vmodl.fault.ManagedObjectNotFound:
            raise
        except vmodl.MethodFault as err:
            if isinstance(err, vim.fault.NotAuthenticated):
                self._expire(login)
            raise self._refusal(err) from err

    def write(self, send: Callable[[Login], T], doing: str, within: float) -> T:
        """
        Run ``send`` once, whatever happens.

        :param doing: what it does, as the beginning of a sentence.
        :raises CannotObserve: nothing was sent.
        :raises OutcomeUnknown: it was sent and the answer is lost.
        :raises StepFailed: vCenter refused it.
        """
        until = self.clock() + within
        login = self._login_now(until)
        try:
            with self._bounded(until):
                return send(login)
        except NotSent as err:
            raise CannotObserve(f"{doing}: nothing was sent, {err}") from err
        except TRANSPORT as err:
            raise OutcomeUnknown(
                f"{doing}: the answer of vCenter {self.where} was lost ({_plain(err)})"
            ) from err
        except vim.fault.NotAuthenticated as err:
            self._expire(login)
            raise StepFailed(f"{doing}: the login at vCenter {self.where} had expired; look again") from err
        except vmodl.MethodFault as err:
            raise faults.error_of(err, doing, ran=False) from err

    def close(self) -> None:
        """Log out, if this process is logged in, and drop the connections."""
        life = self._lives.pop(os.getpid(), None)
        if life is None or life.login is None:
            return
        courtesy = contextlib.suppress(*TRANSPORT, vmodl.MethodFault, CannotObserve)
        with courtesy, self._wire.within(self.settings.connect_timeout):
            life.login.content.sessionManager.Logout()
        life.login.stub.DropConnections()

    def _bounded(self, until: float) -> contextlib.AbstractContextManager[None]:
        return self._wire.within(max(0.01, min(until - self.clock(), self.settings.call_timeout)))

    def _login_now(self, until: float) -> Login:
        """A login for a write; all that can go wrong before the write is sent is a :class:`CannotObserve`."""
        try:
            return self._login(until)
        except TRANSPORT as err:
            raise self._silent(err) from err
        except vmodl.MethodFault as err:
            raise self._refusal(err) from err

    def _login(self, until: float) -> Login:
        """This process's login, made now if there is none."""
        life = self._life()
        if not life.lock.acquire(timeout=max(0.0, until - self.clock())):
            raise CannotObserve(f"vCenter {self.where} did not answer a login in time")
        try:
            if life.login is None:
                with self._bounded(until):
                    life.login = self._connect()
            return life.login
        finally:
            life.lock.release()

    def _life(self) -> _Life:
        pid = os.getpid()
        for parent in [known for known in list(self._lives) if known != pid]:
            _abandon(self._lives.pop(parent, None))
        return self._lives.setdefault(pid, _Life())

    def _connect(self) -> Login:
        """
        Negotiate and log in.

        Each failed try of a password counts towards the account's lock, so it is not repeated.
        """
        user, password = self.settings.user, self.settings.password
        wait = self._refusals.wait(user, password)
        if wait > 0:
            raise LoginRefused(
                f"vCenter {self.where} refused the user {user} or the password, which is not tried again for "
                f"{wait:.0f} s, to keep the account from being locked; correct vcenter in the master's config"
            )
        stub = Stub(self._wire, version_of(self._wire))
        content: Any = vim.ServiceInstance("ServiceInstance", stub).RetrieveContent()
        try:
            content.sessionManager.Login(user, password, "en_US")
        except (vim.fault.InvalidLogin, vim.fault.NoPermission) as err:
            self._refusals.note(user, password)
            raise LoginRefused(
                f"vCenter {self.where} refuses the user {user} or the password; correct vcenter in the "
                "master's config"
            ) from err
        self._refusals.clear()
        return Login(stub, content)

    def _expire(self, login: Login | None) -> None:
        """Forget a login that vCenter no longer knows, unless another thread has already made a new one."""
        life = self._life()
        with life.lock:
            if login is not None and life.login is login:
                login.stub.DropConnections()
                life.login = None

    def _pause(self, attempt: int, until: float, err: BaseException) -> None:
        pause = min(2.0, 0.2 * 2**attempt)
        if self.clock() + pause >= until:
            raise self._silent(err) from err
        self.sleep(pause)

    def _silent(self, err: BaseException) -> CannotObserve:
        return CannotObserve(f"vCenter {self.where} does not answer: {_plain(err)}")

    def _refusal(self, err: Any) -> CannotObserve:
        return CannotObserve(
            f"vCenter {self.where} refuses to answer: {faults.sentence_of(err)}", faults.code_of(err)
        )


def _abandon(life: _Life | None) -> None:
    """
    Close the sockets that a fork inherited; the parent's login is not ours to end. No lock: its holder is
    not here.
    """
    if life is not None and life.login is not None:
        for connection, _used in list(life.login.stub.pool):
            connection.close()


def _plain(err: BaseException) -> str:
    return " ".join(str(err).split()) or type(err).__name__
