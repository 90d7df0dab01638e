"""Two resources, one on top of the other, and an address on top of both; and a node's own shutdown."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import product
from lab.cluster import Lab
from lab.linux import wait_until
from lab.observer import mountpoints
from lab.saltlab import salt_call
from lab.scenarios import FIRST, SECOND
from lab.wishes import DiskWish, Wishes

BELOW, ABOVE = "pgdata", "app"
VIP = "10.88.0.1"
LIMIT = 150.0

pytestmark = pytest.mark.timeout(600)
ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
#: Nobody is to be fenced here, however slow the machine is.
PATIENT: dict[str, Any] = {
    "timeouts": {"ask": 15, "release": 120},
    "node_timeout": 120,
    "hang_timeout": 60,
}
OPTIONS: dict[str, dict[str, Any]] = {
    BELOW: {**PATIENT, "on_shutdown": "switchover"},
    ABOVE: {
        **PATIENT,
        "depends_on": [BELOW],
        "on_shutdown": "switchover",
        "states": {"start": ["vip.up"], "stop": ["vip.down"]},
    },
}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    wishes = Wishes(
        disks=(DiskWish(BELOW), DiskWish(ABOVE, unit=1)),
        master_overrides=_master_options,
        minion_overrides=product.minion_options,
    )
    with Lab(wishes) as up:
        for node in up.nodes:
            _make_interface(node)
            (up.run_dir / "n" / node / "srv" / ABOVE).mkdir()
        yield up


def _master_options(lab: Lab) -> dict[str, Any]:
    """With the examples among its files, and each node's address and interface in its pillar."""
    words = f"echo 'vip: {{address: {VIP}/24, dev: %s}}'"
    return {
        **product.master_options(lab, OPTIONS),
        "file_roots": {"base": [f"{lab.run_dir}/files", str(ROOT / "lab" / "salt"), str(EXAMPLES)]},
        "ext_pillar": [{"vmdk": {}}, {"cmd_yaml": words}],
    }


def _make_interface(node: str) -> None:
    """The nodes share the lab's network; each has an interface of its own in it, called as it is."""
    for words in (f"add {node} type veth peer name {node}-peer", f"set {node} up", f"set {node}-peer up"):
        subprocess.run(["ip", "link", *words.split()], check=True)


@pytest.fixture(autouse=True)
def settled(lab: Lab) -> Iterator[None]:
    """Each test begins and ends in order; never is anything in two places."""
    assert wait_until(lambda: _well(lab), LIMIT, 0.5), lab.master.run("vmdk.status")
    yield
    assert wait_until(lambda: _well(lab), LIMIT, 0.5), lab.master.run("vmdk.status")
    assert not lab.observer.amiss()


def _well(lab: Lab) -> bool:
    return bool(lab.master.run("vmdk.status")["all_well"])


def _are_on(lab: Lab, node: str) -> bool:
    disks = [lab.disks[name] for name in (BELOW, ABOVE)]
    return all(mountpoints(lab.nodes[node], disk) for disk in disks) and _has_address(lab, node)


def _has_address(lab: Lab, node: str) -> bool:
    return VIP in lab.nodes[node].run(["ip", "-oneline", "address", "show", "dev", node]).out


def _home(lab: Lab) -> tuple[str, str]:
    """Where they are, and the other node."""
    where: set[str] = set()

    def both() -> bool:
        where.clear()
        where.update(one["active"] for one in lab.master.run("vmdk.status")["resources"].values())
        return len(where) == 1 and where <= {FIRST, SECOND}

    assert wait_until(both, LIMIT, 0.5), where
    here = where.pop()
    return here, FIRST if here == SECOND else SECOND


def _mounted_at(lab: Lab, name: str, node: str, since: float) -> float:
    moment = lab.observer.first("mounted", lab.disks[name], lab.nodes[node].name, since)
    assert moment is not None
    return moment


@pytest.mark.parametrize("asked", [BELOW, ABOVE])
def test_a_switchover_of_one_takes_both(lab: Lab, asked: str) -> None:
    here, there = _home(lab)
    plan = lab.master.run("vmdk.plan", asked)
    assert "along" in [step["step"] for step in plan["steps"]]
    done = lab.master.run("vmdk.switchover", asked)
    assert (done["result"], done["active"]) == ("done", there), done
    assert wait_until(lambda: _are_on(lab, there), LIMIT, 0.5), lab.master.run("vmdk.status")
    assert not _has_address(lab, here)


def test_a_drained_node_lets_both_go_together(lab: Lab) -> None:
    here, there = _home(lab)
    said = lab.master.run("vmdk.drain", here)
    assert (said["ok"], said["moved"]) == (True, [BELOW, ABOVE]), said
    assert {name: way["target"] for name, way in said["resources"].items()} == {BELOW: there, ABOVE: there}
    assert _are_on(lab, there) and not _has_address(lab, here)


def test_the_one_on_top_is_mounted_last(lab: Lab) -> None:
    here, there = _home(lab)
    began = time.monotonic()
    lab.nodes[here].power_off()
    lab.vcenter.guest_power(lab.nodes[here].name, "poweredOff")
    assert wait_until(lambda: _are_on(lab, there), LIMIT, 0.2), lab.master.run("vmdk.status")
    below, above = (_mounted_at(lab, name, there, began) for name in (BELOW, ABOVE))
    assert below < above
    lab.power_on(here)


def test_a_shutdown_is_announced_and_both_leave(lab: Lab) -> None:
    here, there = _home(lab)
    stop = _exec_stop(lab, here)
    answer = lab.nodes[here].cell.start(["sh", "-c", f"PATH=/run/stub:$PATH; {stop}"])
    assert wait_until(lambda: _are_on(lab, there), LIMIT, 0.2), lab.master.run("vmdk.status")
    answer.wait(LIMIT)
    told = [m for m in lab.master.run("vmdk.history", BELOW)[BELOW] if "finished" in m][-1]["finished"]
    assert told["kind"] == "switchover" and told["ok"] is True and told["fenced"] is False
    lab.nodes[here].power_off()
    lab.vcenter.guest_power(lab.nodes[here].name, "poweredOff")
    lab.power_on(here)


def _exec_stop(lab: Lab, node: str) -> str:
    """The command that systemd would run, with a systemctl that says that the machine is stopping."""
    unit = salt_call(lab.nodes[node], "vmdk.shutdown_unit")
    line = next(line for line in unit.splitlines() if line.startswith("ExecStop="))
    script = "mkdir -p /run/stub && printf '#!/bin/sh\\necho stopping\\n' > /run/stub/systemctl && chmod +x /run/stub/systemctl"
    assert lab.nodes[node].run(["sh", "-c", script]).code == 0
    return line.removeprefix("ExecStop=")


@pytest.mark.parametrize(
    "sls", ["vip.up", "vip.down", "nfs.up", "nfs.down", "postgresql.node", "shutdown", "highstate"]
)
def test_each_example_is_understood_by_salt(lab: Lab, sls: str) -> None:
    low = lab.master.local(FIRST, "state.show_low_sls", sls, seconds=LIMIT)
    assert isinstance(low, list) and low and all(isinstance(one, dict) for one in low), low
