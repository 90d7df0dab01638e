"""What people get to see of a real failover: the report, the metrics of a real scrape, and a mail for each change."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lab import product
from lab.cluster import Lab
from lab.events import Event
from lab.inventory import PASSWORD
from lab.linux import wait_until
from lab.observer import mountpoints
from lab.scenarios import DISK, FIRST, SECOND
from lab.wishes import Wishes
from tests.integration import sinks
from tests.integration.test_trust import attack, event
from vmdk_failover.commands.authentic import Announcements

LIMIT, PORT = 30.0, 9475
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "notify"
DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana" / "vmdk.json"


class Site:
    """The lab with what listens to it."""

    def __init__(self, lab: Lab, mail: sinks.Sink, web: sinks.Sink) -> None:
        self.lab, self.mail, self.web = lab, mail, web

    def scrape(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Samples by name and labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        assert PASSWORD not in text
        found = {}
        for family in text_string_to_metric_families(text):
            for one in family.samples:
                found[one.name, frozenset(one.labels.items())] = one.value
        return found

    def value(self, name: str, **labels: str) -> float | None:
        return self.scrape().get((name, frozenset(labels.items())))


def options(lab: Lab, mail: sinks.Sink, web: sinks.Sink) -> Mapping[str, Any]:
    found = product.master_options(lab, {DISK: {"hang_timeout": 1}})
    found["vmdk"]["metrics"] = {"port": PORT}
    found["reactor"].append({"vmdk-state/*/*": [str(EXAMPLE / "notify.sls")]})
    to = {"server": "127.0.0.1", "port": mail.port, "sender": "salt@example.com", "to": ["ops@example.com"]}
    notify = {"mail": {**to, "starttls": False}, "webhook": f"http://127.0.0.1:{web.port}/hook"}
    return {**found, "runner_dirs": [str(EXAMPLE)], "notify": notify}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """pgdata has failed over from the first node, which was powered off, to the second."""
    with ExitStack() as stack:
        given: list[Any] = []

        def wanted(lab: Lab) -> Mapping[str, Any]:  # called in the lab's own network
            given.extend((stack.enter_context(sinks.mail()), stack.enter_context(sinks.web())))
            return options(lab, *given)

        wishes = Wishes(master_overrides=wanted, minion_overrides=product.minion_options)
        lab = stack.enter_context(Lab(wishes))
        assert wait_until(lambda: bool(mountpoints(lab.nodes[FIRST], lab.disks[DISK])), LIMIT, 0.1)
        here = Site(lab, *given)
        assert wait_until(lambda: status(lab)["protected"], LIMIT, 0.5)
        lab.nodes[FIRST].power_off()
        lab.vcenter.guest_power(lab.nodes[FIRST].name, "poweredOff")
        assert lab.master.events.wait(f"vmdk-move/{DISK}/ended", LIMIT, 0.0, lambda e: e.data["epoch"] == 2)
        yield here


def status(lab: Lab) -> dict[str, Any]:
    found: dict[str, Any] = lab.master.run("vmdk.status", DISK)["resources"][DISK]
    return found


# -- metrics


def test_a_scrape_shows_the_failover(site: Site) -> None:
    assert wait_until(lambda: site.value("vmdk_resource_active", resource=DISK, node=SECOND) == 1, LIMIT, 0.2)
    moved = {"resource": DISK, "kind": "failover"}
    assert site.value("vmdk_moves_total", **moved, result="done") == 1
    assert site.value("vmdk_move_duration_seconds_count", **moved) == 1
    assert site.value("vmdk_step_duration_seconds_count", step="attach", result="done") == 1
    assert site.value("vmdk_backup_ready", resource=DISK, node=FIRST) == 0  # it is off
    assert site.value("vmdk_resource_protected", resource=DISK) == 0
    assert site.value("vmdk_resource_state", resource=DISK, state="active") == 1
    age = site.value("vmdk_node_heartbeat_age_seconds", node=SECOND)
    assert age is not None and age < 10
    calls = [v for (name, labels), v in site.scrape().items() if name == "vmdk_vcenter_calls_total"]
    assert sum(calls) > 5
    assert site.value("vmdk_vcenter_calls_total", method="ReconfigVM_Task", result="ok") == 2
    assert site.value("vmdk_vcenter_watched_timestamp_seconds")


def test_what_is_not_believed_is_counted(site: Site) -> None:
    forged = {
        "minion": FIRST,
        "boot_id": "x",
        "seq": 1,
        "uptime": 1.0,
        "address": "",
        "version": "",
        "signature": "00",
    }
    site.lab.master.local(SECOND, "event.send", f"vmdk-heartbeat/{FIRST}", forged)
    assert wait_until(lambda: (site.value("vmdk_rejected_total", kind="heartbeat") or 0) >= 1, LIMIT, 0.2)
    site.lab.master.local(SECOND, "event.send", "vmdk/other/io_error", {"condition": "io_error"})
    assert wait_until(lambda: (site.value("vmdk_rejected_total", kind="report") or 0) >= 1, LIMIT, 0.2)


def test_a_report_of_a_node_is_timed_on_its_way(site: Site) -> None:
    """The second node's file system is unmounted: that is told, and it is mounted again."""
    assert site.lab.nodes[SECOND].run(["umount", site.lab.mountpoint()]).code == 0
    name = "vmdk_report_latency_seconds_count"
    assert wait_until(lambda: (site.value(name, node=SECOND) or 0) >= 1, LIMIT, 0.2)
    total, count = (
        site.value(f"vmdk_report_latency_seconds_{part}", node=SECOND) for part in ("sum", "count")
    )
    assert total is not None and count and total / count < 5
    assert wait_until(lambda: bool(mountpoints(site.lab.nodes[SECOND], site.lab.disks[DISK])), LIMIT, 0.2)


def test_every_metric_of_the_dashboard_is_there(site: Site) -> None:
    from tests.packaging.test_dashboard import metrics_of

    # A repair that still runs leaves the resource active nowhere.
    assert wait_until(lambda: site.value("vmdk_resource_active", resource=DISK, node=SECOND) == 1, LIMIT, 0.2)
    there = {name for name, _ in site.scrape()}
    wanted = metrics_of(json.loads(DASHBOARD.read_text(encoding="utf-8")))
    rare = {"vmdk_resource_held", "vmdk_holds_total"}  # only where something is, or was, held
    assert wanted - there <= rare, wanted - there


def test_a_killed_server_of_metrics_is_there_again(site: Site) -> None:
    """It lives in a process of its own; whoever ends it ends nothing else."""
    pid, engine = _server(site)
    assert site.lab.master.cell.run(["kill", "-9", pid], 10).code == 0
    assert wait_until(lambda: _again(site), LIMIT, 0.3)
    fresh, parent = _server(site)
    assert fresh != pid and parent == engine
    moved = site.value("vmdk_moves_total", resource=DISK, kind="failover", result="done")
    assert moved == 1  # from the history


def _server(site: Site) -> tuple[str, str]:
    """Process that listens for scrapes, and its parent."""
    find = f"ss -Hltnp 'sport = :{PORT}' | grep -o 'pid=[0-9]*' | head -1 | cut -d= -f2"
    pid = site.lab.master.cell.run(["sh", "-c", find], 10).out.strip()
    assert pid
    return pid, site.lab.master.cell.run(["ps", "-o", "ppid=", "-p", pid], 10).out.strip()


def _again(site: Site) -> bool:
    try:
        return bool(site.scrape())
    except OSError:
        return False


# -- report


def test_the_report_of_the_failover(site: Site) -> None:
    made = site.lab.master.run("vmdk.report", DISK, "epoch=2")
    text = Path(made["path"]).read_text(encoding="utf-8")
    assert Path(made["path"]).stat().st_mode & 0o777 == 0o600
    assert made["result"] == "done" and f"failover from {FIRST} to {SECOND}" in text
    for words in (
        "attached to",
        "mounted on",
        "First sign to service",
        "hang_timeout",
        "vcenter",
        "power: off",
    ):
        assert words in text, words
    secret = (site.lab.master.root / "var/lib/salt/vmdk/secret").read_bytes()
    for hidden in (PASSWORD, secret.hex(), secret.decode("latin-1").strip()):
        assert hidden not in text
    assert len(text) < 100_000


def test_a_report_of_what_is_not_known_is_refused_with_a_sentence(site: Site) -> None:
    for words, said in (
        ([DISK, "epoch=77"], "epoch 77"),
        (["nothing"], "there is no resource called 'nothing'"),
        ([DISK, "path=x"], "absolute"),
    ):
        answer = site.lab.master.run("vmdk.report", *words)
        assert answer["retcode"] == 1 and said in answer["error"], answer


# -- notification


def test_each_change_of_state_is_a_mail_and_a_post(site: Site) -> None:
    assert wait_until(lambda: any(SECOND in one for one in site.mail.kept), LIMIT, 0.2), site.mail.kept
    moved = next(one for one in site.mail.kept if SECOND in one)
    assert f"Subject: [vmdk] {DISK}:" in moved and "To: ops@example.com" in moved
    assert wait_until(lambda: any(SECOND in json.loads(one)["text"] for one in site.web.kept), LIMIT, 0.2)
    assert len(site.mail.kept) <= 12  # changes, not looks


def announced(site: Site) -> list[Event]:
    """What the master has told of itself."""
    tags = (f"vmdk-state/{DISK}/*", f"vmdk-move/{DISK}/*")
    return [one for tag in tags for one in site.lab.master.events.seen(tag) if "cmd" not in one.data]


def test_what_a_minion_sends_is_no_mail(site: Site) -> None:
    """In all three forms in which a minion can send; as a beacon's its content is free, so it looks just like the master's."""
    true = next(one for one in announced(site) if one.tag == f"vmdk-state/{DISK}/active")
    forged = {**true.data, "sentence": "forged!", "protected": True, "at": time.time()}
    unsigned = {key: value for key, value in forged.items() if key not in ("signature", "_stamp")}
    tag, since = true.tag, time.monotonic()
    attack(site.lab, event(tag, **forged), event(tag, **unsigned))
    attack(site.lab, event(tag, **forged), form="single")
    site.lab.master.local(SECOND, "event.send", tag, {"sentence": "forged!"})
    words = ["forged!"] * 2, ["forged!"] * 2
    assert wait_until(lambda: _forged(site, tag, since) == words, LIMIT, 0.2), _forged(site, tag, since)
    before = len(site.mail.kept)
    site.lab.master.run("vmdk.pause", DISK)
    assert wait_until(
        lambda: any("paused" in one for one in site.mail.kept[before:]), 60.0, 0.3
    )  # a true one came after it
    assert not any("forged!" in one for one in site.mail.kept + site.web.kept)


def _forged(site: Site, tag: str, since: float) -> tuple[list[str], list[str]]:
    """What has come in the master's own form, and in that of a minion."""
    seen = [one.data for one in site.lab.master.events.seen(tag, since)]
    bare = [one["sentence"] for one in seen if one.get("sentence") == "forged!"]
    wrapped = [one["data"]["sentence"] for one in seen if isinstance(one.get("data"), dict)]
    return bare, wrapped


def test_anybody_on_the_master_can_ask_whose_word_an_event_is(site: Site) -> None:
    told = [one for one in announced(site) if one.data.get("sentence") != "forged!"]
    assert {one.data["what"] for one in told} >= {"state", "decided", "step", "outcome", "done", "ended"}
    latest = max(told, key=lambda one: one.data["at"]).data
    own = Announcements(site.lab.master.root / "var/lib/salt/vmdk", lambda: latest["at"])
    assert all(own.is_genuine(one.data) for one in told)
    assert site.lab.master.run("vmdk.genuine", json.dumps(latest)) == {"genuine": True}
    forged = json.dumps({**latest, "sentence": "forged!"})
    assert site.lab.master.run("vmdk.genuine", forged) == {"genuine": False}
