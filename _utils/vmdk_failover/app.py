"""
Composition: Salt's options become objects, here and nowhere else.

``settings`` reads the configuration with the files of ``resources_dir``; :class:`App` is what runners and the master's
engine work with. Nodes use :mod:`vmdk_failover.guest` by their own small factory in ``guest/node.py``.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from vmdk_failover import config, signing
from vmdk_failover.engine import Engine, Report, Tell
from vmdk_failover.errors import ConfigError
from vmdk_failover.journal import FileJournal
from vmdk_failover.lock import FileLock
from vmdk_failover.lookout import FileLookout
from vmdk_failover.model import HypervisorFacts, Resource
from vmdk_failover.policy import Wish
from vmdk_failover.ports import Hypervisor
from vmdk_failover.remote import RemoteGuest, SaltCall
from vmdk_failover.saltcall import LocalCall

STATE_DIR = "/var/lib/salt/vmdk"
RESOURCES_DIR = "/etc/salt/vmdk.d"
#: Seconds for a read of vCenter with its repetitions: after that it is unreadable, and held; the engine looks again soon.
READ_S = 6.0


class SystemClock:
    """The ``Clock`` port over the machine's own clocks."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def settings(opts: Mapping[str, Any]) -> config.Settings:
    """
    Read the product's configuration from the master's options and from ``resources_dir``.

    :param opts: Salt's options.
    :return: what could be understood, with all faults. A broken file affects its own resource alone.
    """
    section = opts.get("vmdk")
    if not isinstance(section, Mapping):
        return config.parse(section if section is not None else {})
    written, faults = section.get("resources") or {}, []
    if not isinstance(written, Mapping):
        written, faults = {}, [config.Fault("vmdk.resources", "must be a mapping")]
    resources = dict(written)
    for path in sorted(resources_dir(opts).glob("*.yaml")):
        try:
            resources[path.stem] = _yaml(path)
        except ConfigError as err:
            faults.append(config.Fault(f"resources.{path.stem}", err.reason))
            resources.pop(path.stem, None)
    found = config.parse({**section, "resources": resources})
    return config.Settings(found.vcenter, found.resources, (*found.faults, *faults))


def names(opts: Mapping[str, Any]) -> set[str]:
    """
    Names of all resources, sound or not, without reading their files: asked at every hint. One that was taken out of the
    configuration in mid-move is among them until its move has ended.
    """
    section = opts.get("vmdk") or {}
    return {
        *FileJournal(state_dir(opts) / "journal").open_moves(),
        *map(str, section.get("resources") or {}),
        *(path.stem for path in resources_dir(opts).glob("*.yaml")),
    }


def resources_dir(opts: Mapping[str, Any]) -> Path:
    """Where ``protect`` writes one file per resource."""
    return Path(str((opts.get("vmdk") or {}).get("resources_dir") or RESOURCES_DIR))


def state_dir(opts: Mapping[str, Any]) -> Path:
    """Where the master keeps the journal, locks and its secret; below Salt's ``root_dir`` unless configured."""
    configured = (opts.get("vmdk") or {}).get("state_dir")
    return (
        Path(str(configured))
        if configured
        else Path(str(opts.get("root_dir") or "/")) / STATE_DIR.lstrip("/")
    )


def master_secret(opts: Mapping[str, Any]) -> bytes:
    """The secret that all node keys are derived from; made at first use, mode 0600, never shown."""
    path = state_dir(opts) / "secret"
    try:
        return path.read_bytes()
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, secrets.token_bytes(32))
        os.fsync(handle)
    finally:
        os.close(handle)
    try:
        os.link(fresh, path)  # whoever comes second keeps the first one's secret
    except FileExistsError:
        pass
    finally:
        os.unlink(fresh)
    return path.read_bytes()


def _yaml(path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise ConfigError(f"{path} cannot be read: {err.strerror}") from err
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        mark = getattr(err, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(
            f"{path}{line} is not valid YAML; the resource is left out until it is mended"
        ) from err


class Unreachable:
    """The ``Hypervisor`` port without a usable vCenter configuration: everything is unknown, nothing can be done."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def observe(self, resource: Resource) -> HypervisorFacts:
        return HypervisorFacts(False, self.reason)

    def _refuse(self, *_: Any) -> Any:
        raise ConfigError(self.reason)

    power_off = detach = attach = seal = _refuse


class App:
    """
    The product on a master.

    :param opts: Salt's options of the master.
    :param client: a ``salt.client.LocalClient``, or a ready ``SaltCall`` in tests.
    :param tell: receives verdicts and outcomes as they happen.
    :param warn: receives one sentence about each answer that was not believed.
    """

    def __init__(
        self,
        opts: Mapping[str, Any],
        client: Any,
        tell: Tell = lambda entry: None,
        warn: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.opts = opts
        self.call: SaltCall = client if hasattr(client, "state") else LocalCall(client)
        self.tell = tell
        self.warn = warn
        self.clock = SystemClock()
        self.journal = FileJournal(state_dir(opts) / "journal")
        self.lock = FileLock(state_dir(opts) / "locks")

    @cached_property
    def settings(self) -> config.Settings:
        return settings(self.opts)

    @cached_property
    def secret(self) -> bytes:
        return master_secret(self.opts)

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

    @cached_property
    def guest(self) -> RemoteGuest:
        return RemoteGuest(self.call, lambda minion: signing.node_key(self.secret, minion), self.warn)

    @cached_property
    def engine(self) -> Engine:
        lookout = FileLookout(state_dir(self.opts), self.hypervisor, lambda: self.settings.resources)
        return Engine(
            self.hypervisor, self.guest, self.journal, self.lock, self.clock, self.tell, lookout=lookout
        )

    def _no_vcenter(self) -> str:
        faults = [str(f) for f in self.settings.faults if f.where.startswith("vcenter")]
        return "the configuration has no usable vcenter section: " + "; ".join(faults)

    def resource(self, name: str) -> Resource:
        """
        The resource called ``name``: as its open move has it frozen, else as configured.

        :raises ConfigError: with what is wrong with it in the configuration.
        """
        move = self.journal.state(name).move
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

    def run(self, name: str, wish: Wish | None = None) -> Report:
        """Look at a resource and do what follows; see :meth:`vmdk_failover.engine.Engine.run`."""
        report = self.engine.run(self.resource(name), wish)
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

    def close(self) -> None:
        """Give the vCenter session back."""
        if "session" in self.__dict__:
            self.session.close()
