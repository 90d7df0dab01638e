"""A minion that lies: it forges events, presence and returns of others and injects Jinja, and gains no more than a look."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import saltconf
from lab.cluster import Lab
from lab.inventory import PASSWORD
from lab.linux import wait_until
from lab.observer import mountpoints
from lab.product import master_options, minion_options
from lab.wishes import Wishes

GOOD, EVIL = "labdb1", "labdb2"
#: As the minion itself it sends what it is told: events in the form of a beacon's (their whole content is free) or single ones.
ATTACK = """
import json, sys
import salt.channel.client, salt.config, salt.minion
opts = salt.config.minion_config(sys.argv[1] + "/minion")
opts.update(salt.minion.resolve_dns(opts))
plan = json.load(open(sys.argv[2]))
channel = salt.channel.client.ReqChannel.factory(opts)
for _ in range(plan["times"]):
    load = {"id": opts["id"], "cmd": "_minion_event", "tok": channel.auth.gen_token(b"salt")}
    if plan["form"] == "beacon":
        load["events"] = plan["events"] * plan["each"]
        channel.send(load, timeout=30, tries=1)
        continue
    for event in plan["events"]:
        channel.send({**load, **event}, timeout=30, tries=1)
channel.close()
print("sent")
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab with pgdata active on the good node."""
    wishes = Wishes(
        master_overrides=lambda lab: master_options(lab, {"pgdata": {"node_timeout": 8}}),
        minion_overrides=minion_options,
    )
    with Lab(wishes) as up:
        assert up.master.events.wait("vmdk-move/pgdata/ended", 60), "pgdata was not brought into service"
        assert active(up)
        yield up


def active(lab: Lab) -> bool:
    return bool(mountpoints(lab.nodes[GOOD], lab.disks["pgdata"]))


def state_dir(lab: Lab) -> Path:
    return lab.master.root / "var/lib/salt/vmdk"


def epoch(lab: Lab) -> int:
    return int(json.loads((state_dir(lab) / "journal/pgdata.json").read_text())["epoch"])


def attack(lab: Lab, *events: dict[str, Any], form: str = "beacon", times: int = 1, each: int = 1) -> None:
    """The evil node sends these."""
    wait = start(lab, *events, form=form, times=times, each=each)
    assert wait_until(lambda: b"sent" in wait.read_bytes(), 90, 0.05), wait.read_text()


def start(lab: Lab, *events: dict[str, Any], form: str = "beacon", times: int = 1, each: int = 1) -> Path:
    """The evil node begins to send these; returns the file that says ``sent`` at the end."""
    plan = {"events": list(events), "form": form, "times": times, "each": each}
    shared, said = lab.run_dir / "shared", lab.run_dir / "shared/said"
    (shared / "attack.py").write_text(ATTACK)
    (shared / "plan.json").write_text(json.dumps(plan))
    said.write_text("")
    inside = f"{saltconf.PLACE}/shared"
    words = f"{sys.executable} {inside}/attack.py {saltconf.MINION_ROOT} {inside}/plan.json > {inside}/said 2>&1 &"
    assert lab.nodes[EVIL].run(["sh", "-c", words]).code == 0
    return said


def event(tag: str, **data: Any) -> dict[str, Any]:
    return {"tag": tag, "data": data}


def quiet(lab: Lab, seconds: float, since: float) -> list[str]:
    """What was done, as tags, after so many seconds."""
    wait_until(lambda: time.monotonic() - since > seconds, seconds + 1, 0.1)
    return [
        one.tag
        for one in lab.master.events.seen("vmdk-move/*", since)
        if one.tag.rsplit("/", 1)[-1] in ("step", "outcome")
    ]


def test_forged_reports_of_anothers_disk_are_no_more_than_a_look(lab: Lab) -> None:
    since, before = time.monotonic(), epoch(lab)
    for condition in ("io_error", "hung", "unmounted", "device_gone"):
        tag = f"salt/beacon/{GOOD}/vmdk/pgdata/{condition}"
        attack(lab, event(tag, id=GOOD, resource="pgdata", condition=condition, evidence="forged"))
    single = [
        event("vmdk/pgdata/silent", resource="pgdata", node=GOOD),
        event("salt/presence/change", lost=[GOOD]),
    ]
    attack(lab, *single, form="single")
    assert quiet(lab, 4.0, since) == []
    assert active(lab) and epoch(lab) == before


def test_forged_progress_changes_nothing(lab: Lab) -> None:
    since, before = time.monotonic(), (state_dir(lab) / "journal/pgdata.json").read_bytes()
    done = event("vmdk-move/pgdata/done", resource="pgdata", epoch=99, rule=1, reason="forged", what="done")
    attack(lab, done, event("vmdk-move/pgdata/outcome", resource="pgdata", step="fence", outcome="done"))
    assert lab.master.events.wait("vmdk-move/pgdata/done", 10.0, since)
    assert (state_dir(lab) / "journal/pgdata.json").read_bytes() == before
    assert lab.master.run("vmdk.status", "pgdata")["resources"]["pgdata"]["state"] == "active"


def test_words_in_events_stay_words(lab: Lab) -> None:
    """Each of these, rendered carelessly, makes a file on the other node, or on the master."""
    mark = lab.run_dir / "shared/PWNED"
    place = f"{saltconf.PLACE}/shared/PWNED"
    yaml = f"x\n\nevil:\n  local.cmd.run:\n    - tgt: '*'\n    - arg: [touch {place}]\n"
    jinja = f"{{{{ salt['cmd.run']('touch {place} {mark}') }}}}"
    for words in (yaml, jinja, f'"}}\n{yaml}', f"'\n{yaml}", "pgdata", ["pgdata"], {"a": yaml}, None, 1e308):
        attack(lab, event("vmdk/x/y", resource=words), event(f"salt/beacon/{GOOD}/vmdk/x/y", resource=words))
    attack(lab, event("vmdk/pgdata/y", resource=yaml, condition=jinja, evidence=jinja), form="single")
    wait_until(mark.exists, 3.0, 0.1)
    assert not mark.exists() and not Path(place).exists()
    assert lab.master.run("vmdk.status", "pgdata")["resources"]["pgdata"]["state"] == "active"


def test_forged_heartbeats_do_not_hide_a_dead_agent(lab: Lab) -> None:
    """Unsigned, replayed, or signed with the forger's own key: none counts, and it is told."""
    from vmdk_failover import signing

    genuine = lab.master.events.seen(f"vmdk-heartbeat/{GOOD}")[-1].data
    beat = genuine.get("data", genuine)
    own = lab.nodes[EVIL].run(
        ["sh", "-c", f"cat $(find {saltconf.PLACE} /run -name heartbeat.key | head -1)"]
    )
    fresh = {k: v for k, v in beat.items() if k != "signature"}
    fresh = {**fresh, "seq": beat["seq"] + 10**9, "uptime": beat["uptime"] + 10**6}
    forged = [
        {**fresh, "signature": "00" * 32},
        fresh,
        beat,
        {**fresh, "uptime": -1.0},
        {**fresh, "seq": 1 << 60},
        signing.sign_heartbeat(own.out.strip(), fresh),
    ]
    known = json.loads((state_dir(lab) / "heard.json").read_text())["nodes"][GOOD]["seq"]
    attack(lab, *(event(f"vmdk-heartbeat/{GOOD}", **one) for one in forged), times=20)
    wait_until(lambda: False, 2.0, 0.1)
    after = json.loads((state_dir(lab) / "heard.json").read_text())["nodes"][GOOD]["seq"]
    assert known < after < fresh["seq"]
    assert wait_until(lambda: "heartbeats were ignored" in log(lab), 10, 0.2)


def log(lab: Lab) -> str:
    return (lab.master.root / "master.log").read_text(errors="replace")


def repaired(lab: Lab) -> float:
    """Take the file system away; seconds until the master has decided to bring it back."""
    since = time.monotonic()
    done = lab.nodes[GOOD].run(["umount", lab.mountpoint()])
    assert done.code == 0, done.err
    decided = lab.master.events.wait(
        "vmdk-move/pgdata/decided", 60, since, lambda one: one.data.get("choice") == "move"
    )
    assert decided is not None, log(lab)[-2000:]
    assert wait_until(lambda: active(lab), 30, 0.05)
    assert lab.master.events.wait("vmdk-move/pgdata/ended", 30, since)
    return decided.monotonic - since


@pytest.mark.timeout(300)
def test_a_flood_of_hints_does_not_delay_a_real_recovery(lab: Lab) -> None:
    usual = sorted(repaired(lab) for _ in range(3))[1]
    size = sum(one.stat().st_size for one in state_dir(lab).rglob("*") if one.is_file())
    flood = [event("vmdk/pgdata/io_error", resource="pgdata", condition="io_error", id=EVIL)]
    since = time.monotonic()
    said = start(lab, *flood, each=1000, times=10)
    assert lab.master.events.wait("vmdk/pgdata/io_error", 60, since)
    began = time.monotonic()
    took = repaired(lab)
    print(f"decided after {took:.2f} s under the flood, {usual:.2f} s without")
    assert took < 2 * usual + 2.0
    assert wait_until(lambda: b"sent" in said.read_bytes(), 90, 0.1)
    assert wait_until(lambda: len(lab.master.events.seen("vmdk/pgdata/io_error", since)) >= 9_000, 60, 0.2)
    looks = lab.master.events.seen("vmdk-move/pgdata/decided", began)
    assert len(looks) < 60 + 2 * (time.monotonic() - began)
    grown = sum(one.stat().st_size for one in state_dir(lab).rglob("*") if one.is_file()) - size
    assert grown < 200_000
    began = time.monotonic()
    assert lab.master.run("vmdk.status", "pgdata")["resources"]["pgdata"]["state"] == "active"
    assert repaired(lab) < 2 * usual + 2.0  # the reactor may still be busy with them


def test_keys_are_changed_under_way(lab: Lab) -> None:
    """With real minions, engine and beacon; a heartbeat that was kept from before counts no more."""
    genuine = lab.master.events.seen(f"vmdk-heartbeat/{GOOD}")[-1].data
    since = time.monotonic()
    said = lab.master.run("vmdk.rotate_keys")
    assert said["began_now"] and (said["changed"] or said["waiting_for"])
    assert wait_until(lambda: not (state_dir(lab) / "secret.old").exists(), 60, 0.2), said
    status = lab.master.run("vmdk.status", "pgdata")
    assert status["resources"]["pgdata"]["state"] == "active" and status["faults"] == []
    beat = genuine.get("data", genuine)
    attack(lab, event(f"vmdk-heartbeat/{GOOD}", **{**beat, "seq": beat["seq"] + 10**9}))
    assert quiet(lab, 3.0, time.monotonic()) == []
    assert not [
        one for one in lab.master.events.seen("vmdk/pgdata/silent", since) if one.data.get("node") == GOOD
    ]
    assert repaired(lab) < 20


def test_no_secret_is_in_a_log_or_an_event(lab: Lab) -> None:
    """After all of this."""
    keys = [
        lab.nodes[name]
        .run(["sh", "-c", f"cat $(find {saltconf.PLACE} /run -name heartbeat.key | head -1)"])
        .out
        for name in (GOOD, EVIL)
    ]
    secrets = [PASSWORD, *(key.strip() for key in keys), (state_dir(lab) / "secret").read_bytes().hex()]
    assert all(len(one) >= 6 for one in secrets)
    told = json.dumps([(one.tag, one.data) for one in lab.master.events.seen()], default=repr)
    told += log(lab) + (lab.master.root / "console.log").read_text(errors="replace")
    for path in (state_dir(lab) / "journal").iterdir():
        told += path.read_text(errors="replace")
    for name in (GOOD, EVIL):
        told += lab.nodes[name].run(["sh", "-c", f"cat {saltconf.MINION_ROOT}/*.log"]).out
    assert len(told) > 10_000
    assert [one[:4] for one in secrets if one in told] == []
