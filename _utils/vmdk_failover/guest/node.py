"""
A node's own factory and doorkeeper: no order is carried out without a permit that is signed, for this act, this boot, this
epoch and this resource, and not expired; every answer is signed.

Runs in a minion's job process (states, execution functions). Nothing here waits for the disk: what might is done in
disposable children with a deadline (``children.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vmdk_failover import __version__, signing
from vmdk_failover.errors import BadSignature, ConfigError, FailoverError, StepFailed
from vmdk_failover.guest import available, bonds, children, latest, masters, memory, mounting, places, release
from vmdk_failover.guest import facts as node_word
from vmdk_failover.guest import halt as halting
from vmdk_failover.model import MountState, NodeFacts, Permit, Resource, resource_from_plain, to_plain

STATE_DIR = "/run/vmdk"
SYSRQ = "/proc/sysrq-trigger"
#: Seconds for asking whether services run; what does not answer in time is not known.
SERVICES_S = 1.0


@dataclass(frozen=True)
class Services:
    """
    Services and the user's own states of a node; each call may block.

    :param salt: Salt's execution functions by name, as the loader gives them.
    """

    salt: Mapping[str, Any]

    def start(self, resource: Resource) -> None:
        """Start services, then start states, in order; :raises StepFailed: with the one that did not start."""
        for name in resource.services:
            if not self.salt["service.start"](name):
                raise StepFailed(f"the service {name} did not start", "service")
        self._apply(resource.start_states)

    def stop(self, resource: Resource) -> None:
        """Apply stop states, then stop services, last first; :raises StepFailed: with the one that did not stop."""
        self._apply(resource.stop_states)
        for name in reversed(resource.services):
            self.salt["service.stop"](name)
            if self.salt["service.status"](name):
                raise StepFailed(f"the service {name} did not stop", "service")

    def running(self, resource: Resource) -> bool | None:
        """Whether all services run; ``None`` if there are none."""
        return (
            all(self.salt["service.status"](name) for name in resource.services)
            if resource.services
            else None
        )

    def _apply(self, states: Sequence[str]) -> None:
        for name in states:
            returned = self.salt["state.apply"](name, concurrent=True)
            if not isinstance(returned, Mapping) or not all(r.get("result") for r in returned.values()):
                raise StepFailed(
                    f"the state {name} failed; 'salt-call state.apply {name}' shows why", "state"
                )


def state_dir(opts: Mapping[str, Any]) -> Path:
    """Where this node keeps what is true for one boot only; must be on a tmpfs. Below Salt's ``root_dir`` unless configured."""
    configured = (opts.get("vmdk") or {}).get("state_dir")
    return (
        Path(str(configured))
        if configured
        else Path(str(opts.get("root_dir") or "/")) / STATE_DIR.lstrip("/")
    )


@dataclass(frozen=True)
class Acted:
    """What an order came to: ``ok``, whether anything ``changed``, one sentence, and the signed word afterwards."""

    ok: bool
    changed: bool
    reason: str
    code: str = ""
    answer: Mapping[str, Any] | None = None
    steps: tuple[Any, ...] = ()


@dataclass(frozen=True)
class LocalNode:
    """
    This node.

    :param minion: minion id.
    :param key: the node's signing key, 64 hex digits; ``""`` if the master has not sent one.
    :param old_key: the one before it, while the master changes keys: orders that are signed with it are followed too.
    :param master: the master that asks.
    :param smbios: SMBIOS UUID of this machine by Salt's grain ``uuid``.
    :param watchdog: device that a halt arms as its backstop; ``""``: none.
    """

    minion: str
    key: str = field(repr=False)
    services: Services
    state_dir: Path = Path(STATE_DIR)
    sysrq: str = SYSRQ
    old_key: str = field(default="", repr=False)
    master: str = ""
    watchdog: str = ""
    smbios: str = ""

    @classmethod
    def of(cls, opts: Mapping[str, Any], pillar: Mapping[str, Any], salt: Mapping[str, Any]) -> LocalNode:
        """This node, from what Salt's loader gives to a minion's module."""
        told, here = pillar.get("vmdk") or {}, opts.get("vmdk") or {}
        sysrq = str(here.get("sysrq_path") or SYSRQ)
        return cls(
            str(opts["id"]),
            str(told.get("key", "")),
            Services(salt),
            state_dir(opts),
            sysrq,
            old_key=str(told.get("old_key", "")),
            master=str(opts.get("master") or ""),
            watchdog=str(here.get("watchdog") or ""),
            smbios=str((opts.get("grains") or {}).get("uuid") or ""),
        )

    def facts(self, resource: Resource) -> NodeFacts:
        """What this node can say of ``resource`` without touching the disk."""
        prober = latest.latest(self.state_dir, resource.name, places.read(places.HERE.boot_id) or "")
        said = node_word.node_facts(
            resource,
            minion=self.minion,
            state_dir=self.state_dir,
            prober=prober,
            version=__version__,
            smbios=self.smbios,
        )
        if said.device:  # who has the disk mounts it whatever its services are: that is better than nothing
            return replace(said, bound=self._bound(resource, said))
        lacking = available.lacking(resource, self.state_dir, said.boot_id, said.uptime)
        return replace(said, unready=(*said.unready, *lacking))

    def _bound(self, resource: Resource, said: NodeFacts) -> tuple[str, ...]:
        if said.mounted is not MountState.MOUNTED:  # who mounts it says itself why it cannot
            return ()
        return bonds.told(resource, self.state_dir, said.boot_id, said.uptime)

    def seen(self, resource: Resource) -> NodeFacts:
        """The same, with what the service manager says of a resource that is mounted here (a second at most)."""
        return self._with_services(resource, self.facts(resource))

    def watcher(self) -> dict[str, Any]:
        """Whether the prober speaks, its version and process, and what it listens to (``live``, or why not)."""
        said = latest.whole(self.state_dir, places.read(places.HERE.boot_id) or "")
        if said is None:
            return {"speaks": False}
        return {"speaks": True, **{key: said.get(key) for key in ("pid", "version", "sources")}}

    def answer(self, resource: Resource, nonce: str) -> dict[str, Any]:
        """The signed word for a question with ``nonce``."""
        return self._answers({nonce: resource})[nonce]

    def answers(self, resources: Iterable[Resource], nonce: str) -> dict[str, dict[str, Any]]:
        """The signed word on each of several resources, by name."""
        asked = {signing.part_of(nonce, one): one for one in resources}
        said = self._answers(asked)
        return {one.name: said[part] for part, one in asked.items()}

    def _answers(self, asked: Mapping[str, Resource]) -> dict[str, dict[str, Any]]:
        """Signed words by nonce."""
        if not self.key:
            raise ConfigError(
                f"{self.minion} has no key; 'salt {self.minion} saltutil.refresh_pillar' fetches it from the master"
            )
        words = {nonce: self.seen(one) for nonce, one in asked.items()}
        idle = [one for nonce, one in asked.items() if one.services and not words[nonce].device]
        boot_id = places.read(places.HERE.boot_id) or ""
        available.renew(idle, self.state_dir, boot_id, self.services.salt, places.boot_clock)
        in_use = [one for nonce, one in asked.items() if words[nonce].mounted is MountState.MOUNTED]
        bonds.renew(in_use, self.state_dir, boot_id, places.boot_clock)
        several = {"several_masters": masters.several(self.state_dir, self.master)}
        return {n: signing.sign_answer(self.key, {**to_plain(w), **several}, n) for n, w in words.items()}

    def _with_services(self, resource: Resource, said: NodeFacts) -> NodeFacts:
        """Where it is mounted, with what the service manager says: whether its services run."""
        if said.mounted is not MountState.MOUNTED or not resource.services:
            return said
        asked = children.call(lambda: self.services.running(resource), SERVICES_S)
        return replace(said, services=None if asked.error else bool(asked.value))

    def answer_to(self, resource_plain: Any, permit_plain: Any) -> dict[str, Any] | None:
        """The signed word that goes with a refusal; ``None`` if the order cannot be read or there is no key."""
        try:
            return self.answer(resource_from_plain(resource_plain), str(permit_plain["nonce"]))
        except (KeyError, TypeError, AttributeError, FailoverError):
            return None

    def permitted(
        self, resource_plain: Any, permit_plain: Any, act: str, test: bool = False
    ) -> tuple[Resource, Permit]:
        """
        Check an order.

        :param test: it is not to be carried out, so its epoch is not remembered.
        :raises BadSignature: if the permit does not allow exactly this; nothing was done.
        """
        try:
            resource, permit = resource_from_plain(resource_plain), Permit(**permit_plain)
        except (KeyError, TypeError, AttributeError) as err:
            raise BadSignature(
                f"the order to {act} has a form that {self.minion} does not understand; nothing was done"
            ) from err
        if not self.key:
            raise BadSignature(f"{self.minion} has no key yet, so it follows no order; nothing was done")
        now = self.facts(resource)
        old = self.old_key if self.old_key and signing.is_signed(self.old_key, permit) else ""
        signing.check_permit(
            old or self.key,
            permit,
            resource=resource,
            node=self.minion,
            act=act,
            boot_id=now.boot_id,
            uptime=now.uptime,
            epoch=now.epoch,
            sent=resource_plain,
        )
        if not test:
            memory.update(self.state_dir, resource.name, now.boot_id, epoch=permit.epoch)
        return resource, permit

    def release(self, resource: Resource, permit: Permit) -> Acted:
        """Stop using the disk, and prove it."""
        done = release.release(
            resource,
            stop_services=lambda: self.services.stop(resource),
            deadline_s=resource.timeouts.release,
            state_dir=self.state_dir,
            epoch=permit.epoch,
        )
        answer = self.answer(resource, permit.nonce)
        return Acted(done.clean, True, done.reason, done.code, answer, done.steps)

    def mount(self, resource: Resource, permit: Permit) -> Acted:
        """Bring the resource into service here."""
        done = mounting.mount_all(
            resource,
            start_services=lambda: self.services.start(resource),
            stop_services=lambda: self.services.stop(resource),
            deadline_s=resource.timeouts.mount,
            state_dir=self.state_dir,
            epoch=permit.epoch,
        )
        answer = self.answer(resource, permit.nonce)
        return Acted(done.ok, done.changed, done.reason, done.code, answer, done.steps)

    def halt(self, resource: Resource, permit: Permit) -> Acted:
        """Halt this machine without touching the disk."""
        answer = self.answer(resource, permit.nonce)
        watchdog = Path(self.watchdog) if self.watchdog else None
        halting.halt(Path(self.sysrq), resource=resource, watchdog=watchdog)
        return Acted(True, True, f"{self.minion} halts itself", answer=answer)
