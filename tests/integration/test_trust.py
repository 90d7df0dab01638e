"""A minion that lies: it forges events, presence and returns of others and injects Jinja, and gains no more than a look."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import saltconf, trial
from lab.cluster import Lab
from lab.inventory import PASSWORD
from lab.linux import wait_until
from lab.observer import mountpoints
from lab.product import master_options, minion_options
from lab.scenarios import DISK, SCENARIOS, be_heard
from lab.wishes import Wishes
from tests.packaging.source import LIBRARY

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

#: It reads what the master publishes, as every minion can, and answers for the victim before that does: with whatever the plan
#: says at that moment, in the right form, to the right question, and signed with the only key that it has.
IMPERSONATE = """
import asyncio, json, sys
plan = lambda: json.load(open(sys.argv[2]))
sys.path.insert(0, plan()["library"])
import salt.channel.client, salt.config, salt.minion, tornado.ioloop
from vmdk_failover import signing
opts = salt.config.minion_config(sys.argv[1] + "/minion")
opts.update(salt.minion.resolve_dns(opts))

def forged(job, now):
    kwargs = next(arg for arg in job["arg"] if isinstance(arg, dict))
    if job["fun"] == "vmdk.facts":
        return signing.sign_answer(now["key"], now["facts"], kwargs["nonce"])
    facts = {**now["facts"], **now["after"], "released": kwargs["permit"]["epoch"]}
    answer = signing.sign_answer(now["key"], facts, kwargs["permit"]["nonce"])
    return {"vmdk_|-x_|-x_|-y": {"result": True, "comment": "forged", "changes": {"x": 1}, "answer": answer}}

async def main():
    loop = tornado.ioloop.IOLoop.current()
    sender = salt.channel.client.AsyncReqChannel.factory(opts, io_loop=loop)
    listener = salt.channel.client.AsyncPubChannel.factory(opts, io_loop=loop)

    async def heard(payload):
        job, now = payload["load"], plan()
        if now["victim"] not in job["tgt"] or job["fun"] not in ("vmdk.facts", "state.single"):
            return
        said = {"id": now["victim"], "jid": job["jid"], "fun": job["fun"], "retcode": 0, "success": True}
        kind = "word" if job["fun"] == "vmdk.facts" else "obedience"
        said = {**said, "return": forged(job, now), "forged": now["mark"] + " " + kind}
        load = {"id": opts["id"], "cmd": "_minion_event", "tok": listener.auth.gen_token(b"salt")}
        load["events"] = [{"tag": f"salt/job/{job['jid']}/ret/{now['victim']}", "data": said}]
        await sender.send(load, timeout=10, tries=1)

    await listener.connect()
    listener.on_recv(heard)
    print("listens", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
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
    return run(lab, ATTACK, {"events": list(events), "form": form, "times": times, "each": each})


def run(lab: Lab, program: str, plan: dict[str, Any]) -> Path:
    """The evil node begins to run a program with a plan; returns the file of what it says."""
    shared, said = lab.run_dir / "shared", lab.run_dir / "shared/said"
    (shared / "attack.py").write_text(program)
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
    own = key_of_evil(lab)
    fresh = {k: v for k, v in beat.items() if k != "signature"}
    fresh = {**fresh, "seq": beat["seq"] + 10**9, "uptime": beat["uptime"] + 10**6}
    forged = [
        {**fresh, "signature": "00" * 32},
        fresh,
        beat,
        {**fresh, "uptime": -1.0},
        {**fresh, "seq": 1 << 60},
        signing.sign_heartbeat(own, fresh),
    ]
    known = json.loads((state_dir(lab) / "heard.json").read_text())["nodes"][GOOD]["seq"]
    attack(lab, *(event(f"vmdk-heartbeat/{GOOD}", **one) for one in forged), times=20)
    wait_until(lambda: False, 2.0, 0.1)
    after = json.loads((state_dir(lab) / "heard.json").read_text())["nodes"][GOOD]["seq"]
    assert known < after < fresh["seq"]
    assert wait_until(lambda: "heartbeats were ignored" in log(lab), 10, 0.2)


def key_of_evil(lab: Lab) -> str:
    """The only secret that the evil node has."""
    found = lab.nodes[EVIL].run(
        ["sh", "-c", f"cat $(find {saltconf.PLACE} /run -name heartbeat.key | head -1)"]
    )
    return found.out.strip()


def log(lab: Lab) -> str:
    return (lab.master.root / "master.log").read_text(errors="replace")


def repaired(lab: Lab) -> float:
    """Take the file system away; seconds until the master has decided to bring it back."""
    since, wall = time.monotonic(), time.time()
    done = lab.nodes[GOOD].run(["umount", lab.mountpoint()])
    assert done.code == 0, done.err
    decided = lab.master.events.wait(
        "vmdk-move/pgdata/decided", 60, since, lambda one: one.data.get("choice") == "move"
    )
    assert decided is not None, log(lab)[-2000:]
    assert wait_until(lambda: active(lab), 30, 0.05)
    assert lab.master.events.wait("vmdk-move/pgdata/ended", 30, since)
    return float(decided.data["at"]) - wall  # its own word: under a flood it arrives here seconds later


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
    # Two seconds as a rule. Where Salt's queues keep the answers to the first look back for longer than that waits, there is a
    # second one, which waits for eight seconds; never for as long as the flood lasts.
    assert took < 2 * usual + 13.0
    assert wait_until(lambda: b"sent" in said.read_bytes(), 90, 0.1)
    assert wait_until(lambda: len(lab.master.events.seen("vmdk/pgdata/io_error", since)) >= 9_000, 60, 0.2)
    called = [one.data.get("fun") for one in lab.master.events.seen("salt/run/*/new", since)]
    assert called.count("runner.vmdk.recover") < 100, "the reactor is to tell the engine by itself"
    assert "to render" not in log(lab)
    looks = lab.master.events.seen("vmdk-move/pgdata/decided", began)
    assert len(looks) < 60 + 2 * (time.monotonic() - began)
    grown = sum(one.stat().st_size for one in state_dir(lab).rglob("*") if one.is_file()) - size
    assert grown < 200_000
    began = time.monotonic()
    assert lab.master.run("vmdk.status", "pgdata")["resources"]["pgdata"]["state"] == "active"
    assert repaired(lab) < 2 * usual + 8.0  # the reactor may still be busy with them


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


# -- returns of jobs ---------------------------------------------------------------------------------------------------

WELL = {"device": True, "mounted": "mounted", "superblock": True, "condition": "ok"}
ILL = {
    "device": True,
    "mounted": "mounted",
    "superblock": True,
    "condition": "io_error",
    "evidence": "forged",
}
#: What is said of the node after any order to it.
LET_GO = {"device": False, "mounted": "unmounted", "superblock": False, "condition": "unmounted"}


class Impostor:
    """The evil node in the victim's place, on every job of the product that the victim gets."""

    def __init__(self, lab: Lab) -> None:
        beat = lab.master.events.seen(f"vmdk-heartbeat/{GOOD}")[-1].data
        true = beat.get("data", beat)
        self.lab = lab
        self.facts = {"minion": GOOD, "boot_id": true["boot_id"], "uptime": true["uptime"] + 60.0, "epoch": 1}
        self.plan = {
            "library": str(LIBRARY.parent),
            "victim": GOOD,
            "key": key_of_evil(lab),
            "after": LET_GO,
            "facts": {**self.facts, **ILL},
            "mark": "ill",
        }
        said = run(lab, IMPERSONATE, self.plan)
        assert wait_until(lambda: b"listens" in said.read_bytes(), 60, 0.05), said.read_text()

    def says_it_is_well(self) -> None:
        place = self.lab.run_dir / "shared"
        plan = {**self.plan, "facts": {**self.facts, **WELL}, "mark": "well"}
        (place / "next.json").write_text(json.dumps(plan))
        (place / "next.json").replace(place / "plan.json")

    def was_first(self, mark: str, since: float) -> bool:
        """Whether a return that is forged so came onto the bus before the true one of the same job, if there was one."""
        first: dict[str, dict[str, Any]] = {}
        for one in self.lab.master.events.seen(f"salt/job/*/ret/{GOOD}", since):
            first.setdefault(one.tag, one.data)
        return any(one.get("forged") == mark for one in first.values())


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "ordered"), [("hang-switchover", True), ("guest-freezes", False)])
def test_forged_returns_start_no_move_and_neither_hide_a_fault_nor_prove_a_release(
    name: str, ordered: bool
) -> None:
    """First of a node that is well that its disk fails; then of one that is ill that it is well and has let go of the disk."""
    scenario = SCENARIOS[name]
    with trial.prepared(scenario, trial.Settings()) as lab:
        be_heard(lab)
        impostor, since = Impostor(lab), time.monotonic()
        for _ in range(3):
            assert lab.master.run("vmdk.recover", DISK)["result"] == "nothing"
        assert impostor.was_first("ill word", since), "no forged return came before the true one"
        assert quiet(lab, 1.0, since) == []

        impostor.says_it_is_well()
        struck = time.monotonic()
        scenario.fault(lab)
        ended = lab.master.events.wait(f"vmdk-move/{DISK}/ended", scenario.limit, struck)
        assert ended is not None and ended.data["result"] == "done", log(lab)[-2000:]
        assert impostor.was_first("well word", struck)
        assert impostor.was_first("well obedience", struck) is ordered
        done = [
            (one.data["step"], one.data["outcome"])
            for one in lab.master.events.seen(f"vmdk-move/{DISK}/outcome", struck)
        ]
        assert ("release", "done") not in done
        assert done.index(("fence", "done")) < done.index(("detach", "done")), done
        assert mountpoints(lab.nodes[EVIL], lab.disks[DISK])
