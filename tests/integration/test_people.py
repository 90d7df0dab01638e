"""A master in the hands of people: what they read, what they plan, maintenance with an end, orchestrations."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lab import product
from lab.cluster import Lab
from lab.inventory import USER
from lab.linux import wait_until
from lab.observer import mountpoints
from lab.saltlab import program
from lab.scenarios import DISK, FIRST, SECOND
from lab.wishes import DiskWish, Wishes

LIMIT = 30.0
#: A second disk, which is protected by few tests only.
OTHER = "web"


@pytest.fixture(scope="module")
def site() -> Iterator[Lab]:
    """A lab with pgdata mounted on labdb1, for all tests; which of them come before, none of them may count on."""

    def options(lab: Lab) -> dict[str, Any]:
        made = product.master_options(lab, {DISK: {}})
        del made["vmdk"]["resources"]
        return made

    disks = (DiskWish(DISK), DiskWish(OTHER, unit=1, holder=1))
    wishes = Wishes(disks=disks, master_overrides=options, minion_overrides=product.minion_options)
    with Lab(wishes) as up:
        up.mount(FIRST)
        product.wait_engine(up)
        up.nodes[SECOND].run(["mkdir", "-p", up.mountpoint()])
        yield up


@pytest.fixture
def lab(site: Lab) -> Lab:
    """pgdata is protected, recorded in a file of its own."""
    if not _is_protected(site):
        where = f"mountpoint={site.mountpoint()}"
        here, there = (FIRST, SECOND) if _is_on(site, FIRST) else (SECOND, FIRST)
        assert site.master.run("vmdk.protect", DISK, f"node={here}", where, f"backups={there}")["written"]
        assert wait_until(lambda: _settled(site, here), LIMIT, 0.5), _status(site)
    return site


@pytest.fixture
def bare(site: Lab) -> Lab:
    """Nothing is protected, and pgdata is mounted on labdb1."""
    if _is_protected(site):
        _bring(site, FIRST)
        site.master.run("vmdk.unprotect", DISK)
    return site


@pytest.fixture(autouse=True)
def whole(site: Lab) -> Iterator[None]:
    yield
    assert not site.observer.amiss()


def _is_protected(lab: Lab) -> bool:
    return (lab.master.root / "vmdk.d" / f"{DISK}.yaml").exists()


def _read(lab: Lab, *arguments: str) -> tuple[int, list[str]]:
    """What a person at the master reads."""
    done = lab.master.command("salt-run", *arguments)
    return done.code, done.out.splitlines()


def _status(lab: Lab, name: str = DISK) -> dict[str, Any]:
    found: dict[str, Any] = lab.master.run("vmdk.status", name)["resources"][name]
    return found


def _is_on(lab: Lab, node: str, name: str = DISK) -> bool:
    return bool(mountpoints(lab.nodes[node], lab.disks[name]))


def _settled(lab: Lab, node: str, name: str = DISK) -> bool:
    here = _status(lab, name)
    return bool(here["protected"] and here["active"] == node)


def _bring(lab: Lab, node: str, name: str = DISK) -> None:
    """Have it on a node, and everything ready, before a test that wants it there."""
    if not _is_on(lab, node, name):
        assert lab.master.run("vmdk.switchover", name, f"target={node}")["result"] == "done"
    assert wait_until(lambda: _settled(lab, node, name), LIMIT, 0.5), _status(lab, name)


def _orchestrate(lab: Lab, sls: str, test: bool = False) -> dict[str, dict[str, Any]]:
    """Run an SLS on the master. Returns its states by their ID."""
    (lab.run_dir / "files" / "people.sls").write_text(sls)
    more = ["test=True"] if test else []
    said = lab.master.run("state.orchestrate", "people", *more, seconds=120)
    states = next(iter(said["data"].values()))
    return {one["__id__"]: one for one in states.values()}


def test_protect_shows_then_writes(bare: Lab) -> None:
    wanted = ["vmdk.protect", DISK, f"node={FIRST}", f"mountpoint={bare.mountpoint()}", f"backups={SECOND}"]
    code, shown = _read(bare, *wanted, "test=True")
    assert (code, shown[0]) == (0, f"{DISK}: can be protected; nothing was written")
    assert _read(bare, "vmdk.status")[1][0].startswith("Nothing is protected")
    code, done = _read(bare, *wanted)
    assert (code, done[0]) == (0, f"{DISK}: protected")
    assert wait_until(lambda: _settled(bare, FIRST), LIMIT, 0.5), _status(bare)


def test_what_people_read(lab: Lab) -> None:
    assert _read(lab, "vmdk.status")[1][0] == "All is well: 1 resource, protected."
    code, plan = _read(lab, "vmdk.plan", DISK)
    assert (code, plan[-1]) == (0, "Nothing was done.")
    code, said = _read(lab, "vmdk.status", "nobody")
    assert code and said == [f"NOT DONE: there is no resource called 'nobody'; known are: {DISK} (config)"]
    assert json.loads("\n".join(_read(lab, "vmdk.status", "--out=json")[1]))["all_well"] is True


def test_everything_can_be_tried_first_and_no_argument_is_overheard(lab: Lab) -> None:
    before = _status(lab)
    for words in (["switchover", DISK], ["clear", DISK], ["pause", "all", "for=2h"], ["resume", DISK],
                  ["rotate_keys"], ["power_off", SECOND], ["switchover", DISK, "at=22:00"]):  # fmt: skip
        code, said = _read(lab, f"vmdk.{words[0]}", *words[1:], "test=True")
        assert code == 0 and "would" in " ".join(said).lower(), said
    for words in (
        ["confirm_off", SECOND, "test=True"],
        ["cancel", DISK, "test=True"],
        ["clear", DISK, "tset=True"],
    ):
        code, said = _read(lab, f"vmdk.{words[0]}", *words[1:])
        assert code == 1 and said[0].startswith("NOT DONE: "), said
    said = _read(lab, "vmdk.failover", DISK, "test=True")[1]
    assert any(line.startswith(f"     if that fails: fencing {FIRST} - ") for line in said), said
    now = _status(lab)
    assert {key: now[key] for key in ("state", "active", "epoch", "pause", "planned")} == {
        key: before[key] for key in ("state", "active", "epoch", "pause", "planned")
    }


def test_doctor_names_what_is_in_the_way(lab: Lab) -> None:
    code, said = _read(lab, "vmdk.doctor")
    assert (code, said[0]) == (0, "Nothing stands in the way of a failover."), said
    lab.vcenter.deny(USER, "VirtualMachine.Interact.PowerOff")
    try:
        code, said = _read(lab, "vmdk.doctor", DISK)
    finally:
        lab.vcenter.deny(USER)
    assert (code, said[0]) == (1, "2 things stand in the way of a failover.")
    assert any("govc role.update -a ROLE VirtualMachine.Interact.PowerOff" in line for line in said)


def test_an_option_is_edited_and_reaches_the_nodes(lab: Lab) -> None:
    code, said = _read(lab, "vmdk.edit", DISK, "hang_timeout=7")
    assert (code, said[0]) == (0, f"{DISK}: changed")
    assert not [line for line in said if line.startswith("Note:")]  # every node has fetched its share
    code, said = _read(lab, "vmdk.edit", DISK, "hang_timeout=soon")
    assert code == 1 and said[0].startswith("NOT DONE")


def test_maintenance_that_ends_by_itself(lab: Lab) -> None:
    code, said = _read(lab, "vmdk.pause", "all", "for=3s")
    assert code == 0 and said[0].startswith(f"{DISK}: in maintenance until ")
    assert wait_until(lambda: _settled(lab, FIRST), LIMIT, 0.5), _status(lab)
    assert _read(lab, "vmdk.pause", DISK, "for=ever")[0] == 1
    assert _read(lab, "vmdk.pause", DISK, "until=ever")[0] == 1


def test_a_switchover_at_a_time(lab: Lab) -> None:
    _bring(lab, FIRST)
    code, said = _read(lab, "vmdk.switchover", DISK, "at=22:00")
    assert code == 0 and "switchover to the best node planned at" in said[0] and "22:00:00" in said[0]
    assert any("planned: switchover to" in line for line in _read(lab, "vmdk.status")[1])
    assert _read(lab, "vmdk.cancel", DISK)[0] == 0 and _status(lab)["planned"] is None
    soon = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 6))
    assert _read(lab, "vmdk.switchover", DISK, f"target={SECOND}", f"at={soon}")[0] == 0
    assert _is_on(lab, FIRST)
    assert wait_until(lambda: _settled(lab, SECOND), LIMIT, 0.5), _status(lab)
    assert any("planned switchover of" in line for line in _read(lab, "vmdk.history", DISK)[1])


def test_the_live_view_tells_of_a_move_and_ends_with_ctrl_c(lab: Lab) -> None:
    _bring(lab, SECOND)
    place, cell = lab.run_dir / "watching", lab.master.cell
    place.mkdir()
    argv = shlex.join(
        [sys.executable, program("salt-run"), "-c", str(lab.master.root), "vmdk.watch", "every=1"]
    )
    watching = cell.start(["sh", "-c", f"echo $$ > {place}/pid; exec {argv} > {place}/out 2>&1"])

    def shows(words: str) -> bool:
        return (place / "out").exists() and words in (place / "out").read_text()

    assert wait_until(lambda: shows("All is well: 1 resource, protected."), LIMIT, 0.2)
    assert lab.master.run("vmdk.switchover", DISK, f"target={FIRST}")["result"] == "done"
    assert wait_until(lambda: shows(f"attached to {FIRST} in"), LIMIT, 0.2), (place / "out").read_text()
    assert shows(f"{DISK}: releasing the disk on {SECOND}")
    cell.run(["kill", "-INT", (place / "pid").read_text().strip()])
    assert watching.wait(LIMIT) == 0 and not shows("Traceback"), (place / "out").read_text()


def test_a_move_tells_its_steps_on_a_terminal_and_only_there(lab: Lab) -> None:
    _bring(lab, FIRST)
    argv = [sys.executable, program("salt-run"), "-c", str(lab.master.root), "vmdk.switchover", DISK]
    terminal = [sys.executable, "-c", "import pty, sys; pty.spawn(sys.argv[1:])", *argv]
    said = lab.master.cell.run(terminal, 60.0).out
    assert said.index(f"{DISK}: releasing the disk on {FIRST}") < said.index(
        f"{DISK}: Done, active on {SECOND}"
    )
    assert said.count(f"released on {FIRST}") == said.count(f"mounted on {SECOND}") == 1
    _bring(lab, SECOND)
    assert "releasing the disk" not in lab.master.cell.run([*argv, "--out=json"], 60.0).err


def test_ctrl_c_of_a_switchover_ends_the_command_and_not_the_move(lab: Lab) -> None:
    """As docs/operation.md says: once the disk is released the engine brings the move to its end."""
    _bring(lab, FIRST)
    lab.vcenter.delays(detach=8000)
    place, began = lab.run_dir / "asking", time.monotonic()
    place.mkdir()
    argv = [sys.executable, program("salt-run"), "-c", str(lab.master.root), "vmdk.switchover", DISK]
    words = f"echo $$ > {place}/pid; exec env --default-signal=INT {shlex.join(argv)} > {place}/out 2>&1"
    asking = lab.master.cell.start(["sh", "-c", words])
    try:
        detaching = lab.master.events.wait(
            f"vmdk-move/{DISK}/step", LIMIT, began, lambda one: one.data.get("step") == "detach"
        )
        assert detaching is not None, (place / "out").read_text()
        lab.master.cell.run(["kill", "-INT", (place / "pid").read_text().strip()])
        asking.wait(LIMIT)
        assert "Exiting gracefully on Ctrl-c" in (place / "out").read_text()
        assert not _is_on(lab, SECOND)
    finally:
        lab.vcenter.delays(detach=0)
    assert wait_until(lambda: _settled(lab, SECOND), LIMIT, 0.5), _status(lab)
    last = _status(lab)["last_move"]
    assert (last["kind"], last["ok"], last["fenced"]) == ("switchover", True, False)


ACTIVE = f"""
there:
  vmdk.active:
    - name: {DISK}
    - node: {SECOND}
after:
  test.nop:
    - require:
      - vmdk: there
"""


def test_a_state_moves_once_and_says_so(lab: Lab) -> None:
    _bring(lab, FIRST)
    would = _orchestrate(lab, ACTIVE, test=True)["there"]
    assert would["result"] is None and would["changes"] == {DISK: {"old": FIRST, "new": SECOND}}
    assert _is_on(lab, FIRST)
    done = _orchestrate(lab, ACTIVE)
    assert done["there"]["result"] is True and done["there"]["changes"] == {
        DISK: {"old": FIRST, "new": SECOND}
    }
    assert _is_on(lab, SECOND)
    again = _orchestrate(lab, ACTIVE)["there"]
    assert (again["result"], again["changes"]) == (True, {})


def test_attached_detached_and_powered_off(lab: Lab) -> None:
    _bring(lab, SECOND)
    refused = _orchestrate(lab, f"{SECOND}:\n  vmdk.powered_off: []\n")[SECOND]
    assert (
        refused["result"] is False and "has the disk of pgdata" in refused["comment"] and _is_on(lab, SECOND)
    )
    sls = f"""
away:
  vmdk.detached: [name: {DISK}, node: {SECOND}]
here:
  vmdk.attached: [name: {DISK}, node: {FIRST}]
{SECOND}:
  vmdk.powered_off:
    - require: [vmdk: away]
"""
    would = _orchestrate(lab, sls, test=True)
    moved = {DISK: {"old": SECOND, "new": FIRST}}
    assert [(would[one]["result"], would[one]["changes"]) for one in ("away", "here")] == [(None, moved)] * 2
    assert _is_on(lab, SECOND)
    done = _orchestrate(lab, sls)
    assert [done[one]["result"] for one in ("away", "here", SECOND)] == [True, True, True], done
    assert done["away"]["changes"] and not done["here"]["changes"] and done[SECOND]["changes"]
    assert lab.vcenter.vm(f"{SECOND}-vm")["power"] == "poweredOff" and _is_on(lab, FIRST)
    again = _orchestrate(lab, sls)
    assert [again[one]["changes"] for one in ("away", "here", SECOND)] == [{}, {}, {}]
    for test in (True, False):
        gap = _orchestrate(lab, f"{DISK}:\n  vmdk.protected: []\n", test)[DISK]
        assert gap["result"] is False and "no other node can take it" in gap["comment"]
    lab.power_on(SECOND)
    ready = _orchestrate(lab, f"{DISK}:\n  vmdk.protected:\n    - wait: 60\n    - hang_timeout: 8\n")[DISK]
    assert ready["result"] is True and ready["changes"]["hang_timeout"]["new"] == 8, ready
    off = f"{SECOND}:\n  vmdk.powered_off: []\n"
    would = _orchestrate(lab, off, test=True)[SECOND]
    assert (would["result"], bool(would["changes"])) == (None, True), would
    assert lab.vcenter.vm(f"{SECOND}-vm")["power"] == "poweredOn"


def test_a_state_fails_over_by_force_where_no_clean_move_is_possible(lab: Lab) -> None:
    _bring(lab, FIRST)
    lab.nodes[FIRST].signal_agent(signal.SIGSTOP)  # its address answers, so nothing is done by itself
    try:
        assert wait_until(lambda: _status(lab)["state"] != "active", LIMIT, 0.5)
        forced = f"{DISK}:\n  vmdk.active:\n    - node: {SECOND}\n    - force: True\n"
        would = _orchestrate(lab, forced, test=True)[DISK]
        assert would["result"] is None and f"{FIRST} would be powered off" in would["comment"], would
        assert _is_on(lab, FIRST)
        done = _orchestrate(lab, forced)[DISK]
        assert (done["result"], done["changes"][DISK]["new"]) == (True, SECOND), done
    finally:
        lab.nodes[FIRST].signal_agent(signal.SIGCONT) if lab.nodes[FIRST].is_running else None
    assert lab.vcenter.vm(f"{FIRST}-vm")["power"] == "poweredOff"
    lab.power_on(FIRST)
    _bring(lab, FIRST)


def test_on_a_node_these_states_refuse(lab: Lab) -> None:
    said = lab.master.local(FIRST, "state.single", "vmdk.active", DISK)
    assert "orchestration on the master" in json.dumps(said)


@pytest.fixture
def both(lab: Lab) -> Iterator[tuple[str, ...]]:
    """Two resources, each protected, for as long as a test lasts."""
    lab.nodes[FIRST].run(["mkdir", "-p", lab.mountpoint(OTHER)])
    if not any(_is_on(lab, node, OTHER) for node in (FIRST, SECOND)):
        lab.mount(SECOND, OTHER)
    here, there = (FIRST, SECOND) if _is_on(lab, FIRST, OTHER) else (SECOND, FIRST)
    where = f"mountpoint={lab.mountpoint(OTHER)}"
    assert lab.master.run("vmdk.protect", OTHER, f"node={here}", where, f"backups={there}")["written"]
    assert wait_until(lambda: _settled(lab, here, OTHER), LIMIT, 0.5), _status(lab, OTHER)
    yield (DISK, OTHER)
    lab.master.run("vmdk.unprotect", OTHER)


@pytest.fixture
def free(lab: Lab) -> Iterator[str]:
    """The second disk, protected by nobody and mounted on the node that has the first. Returns that node."""
    other = next((node for node in (FIRST, SECOND) if _is_on(lab, node, OTHER)), "")
    for node in (FIRST, SECOND):
        lab.nodes[node].run(["mkdir", "-p", lab.mountpoint(OTHER)])
    if not other:
        lab.mount(SECOND, OTHER)
        other = SECOND
    _bring(lab, other)
    yield other


def test_a_mount_comes_moves_along_and_leaves(lab: Lab, free: str) -> None:
    place, there = lab.mountpoint(OTHER), FIRST if free == SECOND else SECOND
    assert lab.nodes[free].run(["mount", "-o", "remount,noatime", lab.mountpoint()]).code == 0
    code, said = _read(
        lab, "vmdk.edit", DISK, f"add_mount={place}", f"mount_options={{{lab.mountpoint()}: noatime}}"
    )
    assert (code, said[0]) == (0, f"{DISK}: changed"), said
    _bring(lab, there)
    assert _is_on(lab, there, OTHER) and not _is_on(lab, free, OTHER)
    shown = lab.nodes[there].run(["grep", f" {lab.mountpoint()} ", "/proc/mounts"]).out
    assert "noatime" in shown, shown
    code, said = _read(lab, "vmdk.edit", DISK, f"remove_mount={place}")
    assert code == 1 and f"{place} is mounted on {there} now" in " ".join(said), said
    assert _read(lab, "vmdk.pause", DISK)[0] == 0
    assert lab.nodes[there].run(["umount", place]).code == 0
    code, said = _read(lab, "vmdk.edit", DISK, f"remove_mount={place}")
    assert (code, said[0]) == (0, f"{DISK}: changed"), said
    assert _read(lab, "vmdk.resume", DISK)[0] == 0
    lab.mount(there, OTHER)  # which stayed where it was


def _last(lab: Lab, name: str) -> dict[str, Any]:
    """The move of a resource that has ended last."""
    found = [one["finished"] for one in lab.master.run("vmdk.history", name)[name] if "finished" in one]
    last: dict[str, Any] = found[-1]
    return last


def test_a_node_is_drained_of_all_that_it_holds_or_of_nothing(lab: Lab, both: tuple[str, ...]) -> None:
    for name in both:
        _bring(lab, SECOND, name)
    code, said = _read(lab, "vmdk.drain", SECOND, "test=True")
    assert (code, said[0]) == (0, f"{SECOND}: would be drained; nothing was done."), said
    lab.master.run("vmdk.pause", OTHER)
    code, said = _read(lab, "vmdk.drain", SECOND)
    assert code == 1 and said[0] == f"{SECOND}: NOT DRAINED, nothing was moved: {OTHER} cannot leave.", said
    assert all(_is_on(lab, SECOND, name) for name in both)
    lab.master.run("vmdk.resume", OTHER)
    for name in both:
        _bring(lab, SECOND, name)
    code, said = _read(lab, "vmdk.drain", SECOND)
    assert (code, said[0]) == (0, f"{SECOND}: drained, it holds nothing."), said
    assert all(_is_on(lab, FIRST, name) for name in both)
    moves = [_last(lab, name) for name in both]
    assert all(move["kind"] == "switchover" and move["ok"] for move in moves), moves
    begun, ended = [move["ended"] - move["took"] for move in moves], [move["ended"] for move in moves]
    assert max(begun) < min(ended), moves  # at the same time
    assert _read(lab, "vmdk.drain", "nobody")[0] == 1


def test_what_is_under_way_when_a_drain_is_interrupted_ends_well(lab: Lab, both: tuple[str, ...]) -> None:
    for name in both:
        _bring(lab, FIRST, name)
    place, cell, since = lab.run_dir / "interrupted", lab.master.cell, time.monotonic()
    argv = shlex.join([sys.executable, program("salt-run"), "-c", str(lab.master.root), "vmdk.drain", FIRST])
    draining = cell.start(
        ["sh", "-c", f"echo $$ > {place}; exec env --default-signal=INT {argv} > {place}.out 2>&1"]
    )

    def begun() -> bool:
        return all(lab.master.events.seen(f"vmdk-move/{name}/step", since) for name in both)

    assert wait_until(begun, LIMIT, 0.05)
    cell.run(["kill", "-INT", place.read_text().strip()])
    assert draining.wait(LIMIT) == 0
    assert all(_is_on(lab, SECOND, name) for name in both)  # at once, without anybody who goes on with it
    said = (lab.run_dir / "interrupted.out").read_text()
    assert "Exiting gracefully" in said and "drained, it holds nothing" in said and "Traceback" not in said, (
        said
    )


def test_a_state_drains_once_and_says_so(lab: Lab, both: tuple[str, ...]) -> None:
    for name in both:
        _bring(lab, FIRST, name)
    sls, moved = f"{FIRST}:\n  vmdk.drained:\n    - wait: 60\n", {"old": FIRST, "new": SECOND}
    would = _orchestrate(lab, sls, test=True)[FIRST]
    assert (would["result"], would["changes"]) == (None, dict.fromkeys(both, moved)), would
    assert all(_is_on(lab, FIRST, name) for name in both)
    done = _orchestrate(lab, sls)[FIRST]
    assert (done["result"], done["changes"]) == (True, would["changes"]), done
    assert all(_is_on(lab, SECOND, name) for name in both)
    again = _orchestrate(lab, sls)[FIRST]
    assert (again["result"], again["changes"]) == (True, {}), again


class Reboots:
    """Power cycles the nodes that say that they reboot, SECOND first, and writes down whether all runs on the other one then."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.asked, self.over = lab, lab.run_dir / "shared" / "reboots", threading.Event()
        self.seen: list[tuple[str, bool]] = []
        self.thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Reboots:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join(60)

    def _follow(self) -> None:
        for number, (node, other) in enumerate(((SECOND, FIRST), (FIRST, SECOND)), 1):
            while not self.asked.exists() or len(self.asked.read_text().split()) < number:
                if self.over.wait(0.1):
                    return
            time.sleep(3.0)  # it reboots soon, and until then it is as ready as it was
            self.lab.nodes[node].power_off()
            self.lab.vcenter.guest_power(self.lab.nodes[node].name, "poweredOff")
            time.sleep(6.0)
            self.seen.append((node, all(_is_on(self.lab, other, name) for name in (DISK, OTHER))))
            self.lab.power_on(node)


@pytest.mark.timeout(500)
def test_both_nodes_are_patched_while_the_other_one_serves(lab: Lab, both: tuple[str, ...]) -> None:
    _bring(lab, SECOND, OTHER)  # which nobody speaks of
    patched, before = lab.run_dir / "shared" / "patched", {name: _status(lab, name)["epoch"] for name in both}
    used = " || ".join(f"mountpoint -q {lab.mountpoint(name)}" for name in both)
    script = f"{{ {used}; }} && exit 1; echo patched >> /run/lab/shared/patched; touch /run/reboot-required"
    sls = f"patch:\n  cmd.run:\n    - name: {json.dumps(script)}\n"
    (lab.run_dir / "files" / "ospatch.sls").write_text(sls)
    given = {"resource": DISK, "home": FIRST, "away": SECOND, "patch": "ospatch"}
    pillar = json.dumps({**given, "reboot_by": "echo reboots >> /run/lab/shared/reboots"})
    with Reboots(lab) as reboots:
        said = lab.master.run("state.orchestrate", "orch.patch", f"pillar={pillar}", seconds=400)
    states = next(iter(said["data"].values()))
    assert all(one["result"] for one in states.values()), states
    assert patched.read_text().split() == ["patched", "patched"]
    assert _is_on(lab, FIRST) and _is_on(lab, SECOND, OTHER)
    assert reboots.asked.read_text().split() == ["reboots", "reboots"]
    assert reboots.seen == [(SECOND, True), (FIRST, True)]  # each while the other one served, with both
    for name, last in ((DISK, FIRST), (OTHER, SECOND)):
        moves = [one["finished"] for one in lab.master.run("vmdk.history", name)[name] if "finished" in one]
        since = [(one["kind"], one["target"]) for one in moves if one["epoch"] > before[name]]
        there = SECOND if last == FIRST else FIRST
        assert since[-2:] == [("switchover", there), ("switchover", last)] and len(since) <= 3, since


def test_unprotected_it_stays_where_it_is(lab: Lab) -> None:
    _bring(lab, FIRST)
    code, said = _read(lab, "vmdk.unprotect", DISK)
    assert (code, said[0].startswith(f"{DISK}: not protected any more")) == (0, True)
    assert _is_on(lab, FIRST) and lab.master.run("vmdk.status")["resources"] == {}


def test_a_state_protects_it_once(bare: Lab) -> None:
    given = {
        "node": FIRST,
        "mountpoint": bare.mountpoint(),
        "backups": [SECOND],
        "on_error": "halt",
        "wait": 60,
    }
    sls = json.dumps({DISK: {"vmdk.protected": [{key: value} for key, value in given.items()]}})
    would = _orchestrate(bare, sls, test=True)[DISK]
    assert would["result"] is None and "on_error: halt" in would["changes"][DISK]["new"], would
    assert bare.master.run("vmdk.status")["resources"] == {}
    done = _orchestrate(bare, sls)[DISK]
    assert (done["result"], done["changes"]) == (True, would["changes"]), done
    for test in (True, False):
        again = _orchestrate(bare, sls, test)[DISK]
        assert (again["result"], again["changes"]) == (True, {}), again
