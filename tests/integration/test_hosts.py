"""A host that is gone, a word that it is off, and a fenced node that runs again: master, minions and vCenter are real."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from lab import product
from lab.cluster import Lab
from lab.linux import wait_until
from lab.observer import mountpoints
from lab.scenarios import DISK, FIRST, SCENARIOS, SECOND
from lab.wishes import Wishes

LIMIT = 60.0


def with_options(**options: Any) -> Lab:
    """A lab with pgdata protected under these options."""
    wanted = {"node_timeout": 3, "hang_timeout": 1, **options}
    return Lab(
        Wishes(
            master_overrides=lambda lab: {
                **product.master_options(lab, {DISK: wanted}),
                "runner_dirs": [str(runners(lab))],
            },
            minion_overrides=product.minion_options,
        )
    )


RUNNER = """
import json


def off(host, node, **facts):
    with open({note!r}, "a") as file:
        file.write(json.dumps([host, node, sorted(facts)]) + "\\n")
    return True
"""


def runners(lab: Lab) -> Path:
    """A folder of the administrator's own runner functions."""
    folder = lab.run_dir / "runners"
    folder.mkdir(exist_ok=True)
    text = RUNNER.format(note=str(lab.run_dir / "fenced"))
    (folder / "labpower.py").write_text(text, encoding="utf-8")
    return folder


def is_on(lab: Lab, node: str) -> bool:
    return bool(mountpoints(lab.nodes[node], lab.disks[DISK]))


def lists(lab: Lab, node: str) -> bool:
    return lab.disks[DISK].path in lab.vcenter.disk_paths(lab.nodes[node].name)


def status(lab: Lab) -> dict[str, Any]:
    found: dict[str, Any] = lab.master.run("vmdk.status", DISK)["resources"][DISK]
    return found


def test_a_persons_word_that_a_host_is_off() -> None:
    with with_options() as lab:
        assert wait_until(lambda: is_on(lab, FIRST), LIMIT, 0.1)
        host = str(lab.vcenter.vm(lab.nodes[FIRST].name)["host"])
        refused = lab.master.run("vmdk.confirm_off", FIRST)
        assert (refused["code"], host in refused["error"]) == ("refused", True)
        lab.vcenter.connect_host(host, "notResponding")
        os.kill(lab.nodes[FIRST].cell.pid, signal.SIGKILL)
        assert wait_until(lambda: status(lab)["rule"] == 545, LIMIT, 1.0), status(lab)
        assert "vmdk.confirm_off" in status(lab)["reason"]
        assert not is_on(lab, SECOND)
        answer = lab.master.run("vmdk.confirm_off", FIRST)
        assert (answer["host"], answer["confirmed"]) == (host, [FIRST])
        assert wait_until(lambda: is_on(lab, SECOND), LIMIT, 0.1), status(lab)
        assert lists(lab, FIRST) and lists(lab, SECOND)
        lab.vcenter.connect_host(host, "connected")
        assert wait_until(lambda: not lists(lab, FIRST), LIMIT, 0.5), status(lab)
        assert is_on(lab, SECOND)
        assert not lab.observer.findings.double_mounts


def test_a_fenced_node_runs_again_when_the_resource_has_arrived() -> None:
    with with_options(fence_action="reboot") as lab:
        assert wait_until(lambda: status(lab)["protected"], LIMIT, 0.5), status(lab)
        lab.fault(FIRST, DISK, "all=hang")
        assert wait_until(lambda: is_on(lab, SECOND), LIMIT, 0.1), status(lab)
        vm = lab.nodes[FIRST].name
        steps = [one.data["step"] for one in lab.master.events.seen(f"vmdk-move/{DISK}/outcome", 0.0)]
        assert wait_until(lambda: lab.vcenter.vm(vm)["power"] == "poweredOn", LIMIT, 0.2), steps
        assert wait_until(lambda: status(lab)["protected"], LIMIT, 1.0), status(lab)
        assert status(lab)["active"] == SECOND and not lists(lab, FIRST)
        assert not lab.observer.amiss()


def test_a_host_fence_is_a_runner_function_of_the_administrators() -> None:
    with with_options(host_fence="labpower.off") as lab:
        assert wait_until(lambda: status(lab)["protected"], LIMIT, 0.5), status(lab)
        SCENARIOS["guest-freezes"].prepare(lab)  # the engine has heard the node and reached its address
        host = str(lab.vcenter.vm(lab.nodes[FIRST].name)["host"])
        lab.vcenter.connect_host(host, "notResponding")
        os.kill(lab.nodes[FIRST].cell.pid, signal.SIGKILL)
        assert wait_until(lambda: is_on(lab, SECOND), LIMIT, 0.2), status(lab)
        assert [json.loads(line) for line in (lab.run_dir / "fenced").read_text().splitlines()] == [
            [host, FIRST, ["resource", "vm", "vm_uuid"]]
        ]
        assert not lab.observer.findings.double_mounts
