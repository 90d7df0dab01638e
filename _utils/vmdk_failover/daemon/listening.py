"""
The master's ear: signed heartbeats come in, silence becomes hints.

Whatever cannot be verified is ignored: it is neither silence nor health, and one warning a minute tells of it. A gap in the
listener's own ticks begins all windows anew, because who was not listening has heard no silence.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vmdk_failover import signing
from vmdk_failover.app import App, state_dir
from vmdk_failover.channels.counting import Counts
from vmdk_failover.errors import BadSignature
from vmdk_failover.model import Condition, Resource
from vmdk_failover.presence import heard
from vmdk_failover.store.sightings import Sightings

TAG = "vmdk-heartbeat/"
#: Seconds between two looks at the clock, and between two writes of the file.
TICK, WRITE = 0.25, 0.75
#: A pause of the listener itself that is longer (seconds) begins all windows anew.
GAP = 3.0
#: After a start a node that was not heard yet is given this long on top (seconds).
RESTART_GRACE = 30.0
#: The configuration is read again this often (seconds).
SETTINGS = 10.0
#: A silent node's hints: this many seconds apart, for this long; after that the engine's own tick looks.
EACH, FOR = 4.0, 60.0
WARN = 60.0
#: So many heartbeats of a node tell how far its clock is from the master's.
CLOCKS = 60
#: So many earlier boots of a node are remembered against replays.
PAST = 8

#: Events by which nodes ask for a look: ``salt/beacon/<minion>/vmdk/<resource>/…`` and ``vmdk/<resource>/<condition>``.
_CONDITIONS = frozenset(one.value for one in Condition)
#: A report that says that it was on its way for longer (seconds) was kept back, or lies; it is not counted.
LATE = 600.0
_REPORT = re.compile(r"(?:salt/beacon/(?P<minion>[^/]+)/)?vmdk/(?P<resource>[^/]+)/[^/]+\Z")
#: From one node, hints for one resource are passed on so many seconds apart.
HINTS_APART = 0.5

Hint = Callable[[str, str], None]
Take = Callable[[float], "tuple[str, Any] | None"]


def listen_for_ever(
    app: App, take: Take, silent: Hint, report: Hint, booted: Hint, others: Others = lambda ear: {}
) -> None:
    """
    Listen until the process is ended.

    :param take: waits so many seconds for an event and returns its tag and what was sent, or ``None``.
    :param silent: called with a resource's name and the node that is silent.
    :param report: called with a resource's name and the node that reports something of it. The reactor does the same, but ten
        thousand events of somebody else may be waiting there.
    :param booted: called with a resource's name and the node that speaks of another boot than before.
    :param others: who takes events of other tags, by how these begin.
    """
    place, counts = state_dir(app.opts), app.announce.counts
    ear = Ear(
        place,
        app.keys.current,
        silent,
        app.warn,
        old_key=app.keys.old,
        spoke=app.keys.spoke,
        reject=lambda: counts.add("rejected", kind="heartbeat"),
        booted=booted,
    )
    reports = Reports(
        report, seen=Seen(Sightings(place), counts, ear), reject=lambda: counts.add("rejected", kind="report")
    )
    besides = others(ear)
    read_at = float("-inf")
    while True:
        if time.monotonic() - read_at > SETTINGS:
            read_at = time.monotonic()
            app.__dict__.pop("settings", None)
            ear.watch(app.settings.resources)
            reports.watch(app.settings.resources)
        event = take(TICK)
        if event is not None and event[0].startswith(TAG):
            ear.hear(event[1])
        elif event is not None:
            takers = [one for tag, one in besides.items() if event[0].startswith(tag)]
            takers[0](event[1]) if takers else reports.take(*event)
        ear.tick()


@dataclass
class Reports:
    """
    What nodes report of their resources, as hints; who sent it is only believed as far as it costs a look.

    :param hint: called with a resource's name and the node.
    :param seen: called with the resource's name, the node and the report. :param reject: called for each that is not taken.
    """

    hint: Hint
    clock: Callable[[], float] = time.monotonic
    nodes: dict[str, frozenset[str]] = field(default_factory=dict)
    last: dict[tuple[str, str], float] = field(default_factory=dict)
    seen: Callable[[str, str, Mapping[str, Any]], None] = lambda resource, minion, report: None
    reject: Callable[[], None] = lambda: None

    def watch(self, resources: Mapping[str, Resource]) -> None:
        """Take reports of these resources from now on."""
        self.nodes = {name: frozenset(n.minion for n in one.nodes) for name, one in resources.items()}

    def take(self, tag: str, data: Any) -> None:
        """Take one event; a node can speak of its own resources only, and not too often."""
        found = _REPORT.match(tag)
        if found is None or not isinstance(data, Mapping):
            return
        minion, resource = found["minion"] or data.get("id"), found["resource"]
        if not isinstance(minion, str) or minion not in self.nodes.get(resource, ()):
            if found["minion"] or "id" in data:  # the master's own events have neither
                self.reject()
            return
        now = self.clock()
        if now - self.last.get((minion, resource), float("-inf")) >= HINTS_APART:
            self.last[minion, resource] = now
            self.hint(resource, minion)
        inner = data.get("data")
        self.seen(resource, minion, inner if isinstance(inner, Mapping) else data)


@dataclass
class Seen:
    """Keeps what nodes report for the picture of an incident, and counts how long each report was on its way."""

    sightings: Sightings
    counts: Counts
    ear: Ear
    last: dict[tuple[str, str], tuple[object, ...]] = field(default_factory=dict)

    def __call__(self, resource: str, minion: str, report: Mapping[str, Any]) -> None:
        """Take one report; one of an unknown condition is not kept."""
        condition, since = report.get("condition"), report.get("since")
        if condition not in _CONDITIONS:
            return
        self.sightings.note(resource, minion, str(condition), str(report.get("evidence", "")))
        which = (report.get("boot_id"), report.get("seq"), condition)
        if self.last.get((resource, minion)) == which or condition == Condition.OK.value:
            return
        self.last[resource, minion] = which
        age = self.ear.age(minion, which[0], since) if isinstance(since, float) and since > 0 else None
        if age is not None and age < LATE:
            self.counts.add("report_latency", age, node=minion)


@dataclass
class Ear:
    """
    What is known of the nodes' heartbeats, and what is to be told of it.

    :param directory: the master's state directory.
    :param key: the key of a node.
    :param old_key: the key that it had before, while that still counts, else ``""``.
    :param spoke: told the node and the key of each heartbeat that is believed.
    :param reject: called for each heartbeat that is not.
    :param booted: called with each resource's name and its node when that speaks of another boot than before: it may have the
        disk and not have it mounted, and a reboot from within is not to be seen in vCenter.
    """

    directory: Path
    key: Callable[[str], str]
    hint: Hint
    warn: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    timeouts: dict[str, dict[str, float]] = field(default_factory=dict)
    ignored: int = 0
    warned: float = float("-inf")
    told: dict[str, float] = field(default_factory=dict)
    old_key: Callable[[str], str] = lambda minion: ""
    spoke: Callable[[str, str], None] = lambda minion, key: None
    reject: Callable[[], None] = lambda: None
    booted: Hint = lambda name, minion: None
    clocks: dict[str, deque[tuple[str, float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        before, now = heard.read(self.directory), self.clock()
        # addresses and sequences outlive a restart, moments do not
        nodes = {m: replace(b, at=None) for m, b in before.nodes.items()}
        self.known = heard.Heard(heard.master_boot(), now, now, RESTART_GRACE, nodes)
        self.ticked, self.written = now, float("-inf")

    def watch(self, resources: Mapping[str, Resource]) -> None:
        """Listen for the nodes of these resources from now on."""
        self.timeouts = {}
        for resource in resources.values():
            for node in resource.nodes:
                self.timeouts.setdefault(node.minion, {})[resource.name] = resource.node_timeout

    def hear(self, beat: Any) -> None:
        """Take one event; anything but a fresh heartbeat of a node is ignored."""
        try:
            body, key = self._believed(beat)
        except BadSignature as err:
            self.ignored += 1
            self.reject()
            return self._warn(err.reason)
        minion, before = body["minion"], self.known.nodes.get(body["minion"])
        if before is not None and _is_old(body, before) and not self._is_present(body):
            return
        past = before.past if before else ()
        anew = before is not None and before.boot_id != body["boot_id"]
        if before is not None and anew:
            past = (*past, before.boot_id)[-PAST:]
        address = body["address"] or (before.address if before else "")
        fresh = heard.Beat(
            body["boot_id"], body["seq"], address, body["version"], body["uptime"], self.clock(), past
        )
        self.known = replace(self.known, nodes={**self.known.nodes, minion: fresh})
        ahead = self.clocks.setdefault(minion, deque(maxlen=CLOCKS))
        ahead.append((body["boot_id"], self.clock() - body["uptime"]))
        self.spoke(minion, key)
        for name in self.timeouts[minion] if anew else ():
            self.booted(name, minion)

    def _is_present(self, body: Mapping[str, Any]) -> bool:
        """It only looks old: the node has said, asked, that it is in that boot now."""
        return heard.is_present(self.directory, body["minion"], body["boot_id"], body["uptime"], self.clock())

    def age(self, minion: str, boot_id: object, moment: float) -> float | None:
        """
        How long ago a moment of a node's boot clock was (seconds), by its fastest heartbeats of late; ``None`` if that cannot
        be said.
        """
        ahead = [one for boot, one in self.clocks.get(minion, ()) if boot == boot_id]
        return max(0.0, self.clock() - min(ahead) - moment) if ahead else None

    def tick(self) -> None:
        """Look at the clock; cheap, and to be called several times a second whatever comes in."""
        now = self.clock()
        if now - self.ticked > GAP:
            nodes = {m: replace(b, at=None) for m, b in self.known.nodes.items()}
            grace = max(0.0, self.known.since + self.known.grace - now)
            self.known = replace(self.known, since=now, grace=grace, nodes=nodes)
        if now - self.written >= WRITE:
            self._write(now)
        if now - self.ticked >= TICK:
            self.ticked = now
            self._tell_silence(now)

    def verified(self, said: Any, purpose: str) -> dict[str, Any] | None:
        """What a node says for another purpose in the form of a heartbeat; ``None`` if it is none of a node's."""
        try:
            return self._believed(said, purpose)[0]
        except BadSignature as err:
            self.ignored += 1
            self.reject()
            self._warn(err.reason)
            return None

    def _believed(self, beat: Any, purpose: str = signing.ALIVE) -> tuple[dict[str, Any], str]:
        """A heartbeat and the key that it is signed with; :raises BadSignature: it is none of a node's."""
        used: list[str] = []

        def known(minion: str, key: Callable[[str], str]) -> str:
            if minion not in self.timeouts or not (found := key(minion)):
                raise KeyError(minion)
            used.append(found)
            return found

        try:
            return signing.check_heartbeat(lambda minion: known(minion, self.key), beat, purpose), used[-1]
        except BadSignature as err:
            with contextlib.suppress(BadSignature):
                return signing.check_heartbeat(
                    lambda minion: known(minion, self.old_key), beat, purpose
                ), used[-1]
            raise err

    def _warn(self, reason: str) -> None:
        now = self.clock()
        if now - self.warned < WARN:
            return
        self.warn(f"{self.ignored} heartbeats were ignored, the last one because: {reason}")
        self.warned, self.ignored = now, 0

    def _write(self, now: float) -> None:
        nodes = {m: b for m, b in self.known.nodes.items() if m in self.timeouts}
        self.known = replace(self.known, written=now, nodes=nodes if self.timeouts else self.known.nodes)
        self.written = now
        with contextlib.suppress(OSError):  # a file that grows old says that nobody listens
            heard.write(self.directory, self.known)

    def _tell_silence(self, now: float) -> None:
        for minion, resources in self.timeouts.items():
            age = self.known.silent(minion, now, self.known.boot)
            for name, timeout in resources.items():
                self._tell(minion, name, timeout, now, age or 0.0)

    def _tell(self, minion: str, name: str, timeout: float, now: float, age: float) -> None:
        """At half the time, so that the look is ready when it is over; then again and again for a minute."""
        which = f"{minion} {name}"
        if age < timeout / 2:
            self.told.pop(which, None)
        elif which not in self.told or (age < timeout + FOR and now - self.told[which] >= EACH):
            self.told[which] = now
            self.hint(name, minion)


def _is_old(body: Mapping[str, Any], before: heard.Beat) -> bool:
    """It was heard before, or is of a boot that is over."""
    if body["boot_id"] == before.boot_id:
        return bool(body["seq"] <= before.seq)
    return body["boot_id"] in before.past


Others = Callable[[Ear], Mapping[str, Callable[[Any], None]]]
