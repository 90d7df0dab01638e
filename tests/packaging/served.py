"""A master's metrics with one of everything in them: a resource that moved and one that is held, counts, a heartbeat."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from vmdk_failover.channels import counting, noticeboard
from vmdk_failover.daemon import metrics
from vmdk_failover.presence import heard

STANDS = {
    "pgdata": {"state": "active", "active": "db2", "protected": True, "epoch": 3, "rule": 600},
    "web": {"state": "held", "active": "", "protected": False, "epoch": 1, "rule": 520},
}
COUNTS = (
    counting.Count("vcenter_calls", 3, (("method", "RetrievePropertiesEx"), ("result", "ok"))),
    counting.Count("vcenter_calls", 1, (("method", "ReconfigVM_Task"), ("result", "silent"))),
    counting.Count("rejected", 1, (("kind", "heartbeat"),)),
    counting.Count("report_latency", 0.03, (("node", "db1"),)),
    counting.Count("vcenter_watch", 1, ()),
)


def registry(state_dir: Path) -> Any:
    """A registry of all metrics that a master serves; ``take`` counts once more and writes a further move."""
    for name, stand in STANDS.items():
        nodes = {"db1": {"ready": True}, "db2": {"ready": False}}
        noticeboard.pin(state_dir, name, {**stand, "nodes": nodes, "reason": "so"}, time.time())
    beat = heard.Beat("boot", 1, "192.0.2.1", "0.1.0", 60.0, at=time.monotonic())
    heard.write(state_dir, heard.Heard(heard.master_boot(), 0.0, 0.0, nodes={"db1": beat}))
    found = metrics.registry_of(state_dir, lambda: STANDS)
    (counted,) = [one for one in found._collector_to_names if isinstance(one, metrics.Files)]
    found.take = lambda: _more(state_dir, counted._counted)
    found.take()
    list(found.collect())  # the history is read by a scrape, and counted in the next one
    return found


def _more(state_dir: Path, counted: metrics.Counted) -> None:
    for count in COUNTS:
        counted.take(count)
    step = {"step": {"kind": "mount", "node": "db2"}, "result": "done", "took": 0.4}
    entries = (
        {"finished": {"kind": "failover", "ok": True, "took": 1.7}},
        {"outcome": step},
        {"hold": {"rule": 520, "reason": "vCenter cannot be read"}},
    )
    (state_dir / "journal").mkdir(exist_ok=True)
    with (state_dir / "journal/pgdata.log").open("a", encoding="utf-8") as log:
        log.writelines(json.dumps(entry) + "\n" for entry in entries)
