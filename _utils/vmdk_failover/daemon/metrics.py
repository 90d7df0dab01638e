"""
What Prometheus gets of a master, served by a process of the engine's own.

States and readiness come from what the last looks have pinned up, moves and their steps from the history, everything else from
counts that the other processes send. Nothing here asks vCenter or a node, so a scrape costs them nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmdk_failover import __version__
from vmdk_failover.channels import counting, noticeboard
from vmdk_failover.errors import ConfigError
from vmdk_failover.judgement import standing
from vmdk_failover.judgement.config import Metrics
from vmdk_failover.presence import heard
from vmdk_failover.store.history import Follower

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

#: Seconds by which moves, steps and reports are sorted.
MOVES = (0.5, 1, 1.5, 2, 3, 5, 7.5, 10, 15, 30, 60, 120, 300, 900)
STEPS = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30, 60, 120, 300)
REPORTS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
#: Seconds between two tries to serve.
AGAIN = 10.0

Gauge = tuple[str, str, Sequence[str], Sequence[tuple[Sequence[str], float]]]


def serve_for_ever(
    state_dir: Path, at: Metrics, names: Callable[[], Iterable[str]], warn: Callable[[str], None]
) -> None:
    """
    Serve until the process is ended; where that is not possible say why, once, and try again.

    :param names: names of all resources.
    """
    told = ""
    while True:
        try:
            serve(state_dir, at, names)
        except (OSError, ConfigError) as err:
            reason = err.reason if isinstance(err, ConfigError) else str(err)
            if reason != told:
                warn(f"no metrics are served at {at.address} port {at.port}: {reason}")
            told = reason
        time.sleep(AGAIN)


def serve(state_dir: Path, at: Metrics, names: Callable[[], Iterable[str]]) -> None:
    """
    Serve until the process is ended.

    :raises ConfigError: the client library is not installed.
    :raises OSError: the port, or the socket for counts, cannot be had.
    """
    registry = registry_of(state_dir, names)
    try:
        from prometheus_client import start_http_server
    except ImportError as err:  # registry_of has needed it
        raise ConfigError(str(err)) from err
    server, _ = start_http_server(at.port, at.address, registry)
    try:
        registry.receive()
    finally:
        server.shutdown()
        server.server_close()


def registry_of(state_dir: Path, names: Callable[[], Iterable[str]]) -> Any:
    """
    All metrics of a master.

    :return: a ``CollectorRegistry`` whose ``receive`` takes counts for ever.
    :raises ConfigError: the client library is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry
    except ImportError as err:
        raise ConfigError(
            "prometheus_client is not installed; run 'salt-pip install prometheus-client' and restart the master"
        ) from err
    registry: Any = CollectorRegistry()
    counted = Counted(registry, state_dir)
    registry.register(Files(state_dir, names, counted))
    registry.receive = counted.receive
    return registry


class Counted:
    """Counters and histograms: of the history, and of what other processes send."""

    def __init__(self, registry: CollectorRegistry, state_dir: Path) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        def counter(name: str, words: str, *labels: str) -> Counter:
            return Counter(f"vmdk_{name}", words, labels, registry=registry)

        def histogram(name: str, words: str, labels: tuple[str, ...], steps: Iterable[float]) -> Histogram:
            return Histogram(f"vmdk_{name}", words, labels, registry=registry, buckets=tuple(steps))

        self._state_dir = state_dir
        self._history = Follower(state_dir / "journal")
        self._lock = threading.Lock()
        self.moves = counter("moves", "Finished moves, by how they ended.", "resource", "kind", "result")
        self.holds = counter("holds", "Holds that began, by the rule that holds.", "resource", "rule")
        self.took = histogram("move_duration_seconds", "Moves that ended well.", ("resource", "kind"), MOVES)
        self.steps = histogram("step_duration_seconds", "Steps of moves.", ("step", "result"), STEPS)
        self.late = histogram(
            "report_latency_seconds", "From a node's prober to the master's ear.", ("node",), REPORTS
        )
        self.calls = counter(
            "vcenter_calls", "Calls to vCenter: ok, silent, or the fault's name.", "method", "result"
        )
        self.rejected = counter("rejected", "Heartbeats, answers and reports that were not believed.", "kind")
        self.watched = Gauge(
            "vmdk_vcenter_watched_timestamp_seconds",
            "When vCenter's stream of changes last answered.",
            registry=registry,
        )

    def receive(self) -> None:
        """Take counts for ever; :raises OSError: there cannot be such a socket."""
        for count in counting.receive(self._state_dir):
            self.take(count)

    def take(self, count: counting.Count) -> None:
        """Take one count; one that nobody knows is passed over."""
        labels = dict(count.labels)
        if count.name == "vcenter_calls" and set(labels) == {"method", "result"}:
            self.calls.labels(**labels).inc(count.amount)
        elif count.name == "rejected" and set(labels) == {"kind"}:
            self.rejected.labels(**labels).inc(count.amount)
        elif count.name == "report_latency" and set(labels) == {"node"}:
            self.late.labels(**labels).observe(count.amount)
        elif count.name == "vcenter_watch":
            self.watched.set_to_current_time()

    def read_history(self) -> None:
        """Take what was written into the histories since."""
        with self._lock:  # two may scrape at once
            for resource, entry in self._history.news():
                self._take_entry(resource, entry)

    def _take_entry(self, resource: str, entry: Mapping[str, Any]) -> None:
        finished, outcome, hold = (entry.get(key) for key in ("finished", "outcome", "hold"))
        if isinstance(finished, Mapping):
            kind, ok = str(finished.get("kind", "")), finished.get("ok") is True
            self.moves.labels(resource, kind, "done" if ok else "given_up").inc()
            if ok:
                self.took.labels(resource, kind).observe(_seconds(finished.get("took")))
        if isinstance(outcome, Mapping):
            step = outcome.get("step")
            kind = str(step.get("kind", "")) if isinstance(step, Mapping) else ""
            self.steps.labels(kind, str(outcome.get("result", ""))).observe(_seconds(outcome.get("took")))
        if isinstance(hold, Mapping):
            self.holds.labels(resource, str(hold.get("rule", 0))).inc()


class Files:
    """Collects what lies in the state directory at each scrape."""

    def __init__(self, state_dir: Path, names: Callable[[], Iterable[str]], counted: Counted) -> None:
        self._state_dir = state_dir
        self._names = names
        self._counted = counted

    def collect(self) -> Iterator[Metric]:
        """See the client library."""
        from prometheus_client.core import GaugeMetricFamily

        self._counted.read_history()
        stands = {name: noticeboard.read(self._state_dir, name) for name in sorted(self._names())}
        for name, words, labels, samples in (*self._of_resources(stands), self._of_nodes()):
            family = GaugeMetricFamily(f"vmdk_{name}", words, labels=labels)
            for values, value in samples:
                family.add_metric(values, value)
            yield family

    def describe(self) -> list[Metric]:
        """Nothing is read at registration."""
        return []

    def _of_resources(self, stands: Mapping[str, Mapping[str, Any]]) -> Iterator[Gauge]:
        yield "info", "Version of the extension.", ("version",), [((__version__,), 1.0)]
        states = [
            ((name, state), float(one.get("state", "unknown") == state))
            for name, one in stands.items()
            for state in standing.STATES
        ]
        yield "resource_state", "1 for the state that it is in.", ("resource", "state"), states
        guarded = [((name,), float(one.get("protected") is True)) for name, one in stands.items()]
        yield "resource_protected", "1 if a failover would work now.", ("resource",), guarded
        places = [((name, str(one["active"])), 1.0) for name, one in stands.items() if one.get("active")]
        yield "resource_active", "1 for the node that it is active on.", ("resource", "node"), places
        looked = [((name,), _seconds(one.get("at"))) for name, one in stands.items() if one]
        yield "resource_looked_timestamp_seconds", "When it was looked at last.", ("resource",), looked
        epochs = [((name,), _seconds(one.get("epoch"))) for name, one in stands.items() if one]
        yield "resource_epoch", "Number of its last move.", ("resource",), epochs
        held = [
            ((name, str(one.get("rule", 0))), 1.0)
            for name, one in stands.items()
            if one.get("state") == "held"
        ]
        yield "resource_held", "1 for the rule that holds it.", ("resource", "rule"), held
        ready = [
            ((name, minion), float(node.get("ready") is True))
            for name, one in stands.items()
            for minion, node in (one.get("nodes") or {}).items()
            if minion != one.get("active")
        ]
        yield "backup_ready", "1 if the node could take it now.", ("resource", "node"), ready

    def _of_nodes(self) -> Gauge:
        known, now = heard.read(self._state_dir), time.monotonic()
        ages = [
            ((minion,), max(0.0, now - beat.at))
            for minion, beat in known.nodes.items()
            if beat.at is not None
        ]
        is_mine = known.boot == heard.master_boot()
        words = "Seconds since a node's last signed heartbeat."
        return "node_heartbeat_age_seconds", words, ("node",), sorted(ages) if is_mine else []


def _seconds(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
