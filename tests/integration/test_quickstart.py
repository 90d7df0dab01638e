"""docs/quickstart.md, typed as it is printed: its configuration, its commands, and what it says will follow."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import saltlab, trial
from lab.cluster import Lab
from lab.faultdisk import ROOT
from lab.linux import wait_until
from lab.observer import mountpoints
from lab.saltconf import MINION_ROOT
from lab.scenarios import DISK, FIRST, SECOND
from lab.wishes import Wishes
from tests.packaging import pages

PAGE = (Path(__file__).parents[2] / "docs" / "quickstart.md").read_text(encoding="utf-8")
LIMIT = 40.0


def section(number: int) -> str:
    """One numbered section of the page."""
    return re.split(r"^## ", PAGE, flags=re.M)[number]


def master_options(lab: Lab) -> dict[str, Any]:
    """The configuration of the page; the vCenter is the lab's, and the reactor's file lies where the lab has it."""
    (printed,) = re.findall(r"```yaml\n(.*?)```", section(3), re.S)
    options: dict[str, Any] = yaml.safe_load(printed)
    options["vmdk"]["vcenter"] = lab.vcenter_options()
    reactor = [f"{lab.run_dir}/files/reactor/vmdk.sls"]
    options["reactor"] = [dict.fromkeys(one, reactor) for one in options["reactor"]]
    return options


def commands(lab: Lab, number: int) -> list[list[str]]:
    """The commands of a section, with the lab's names in place of the page's."""
    names = {
        "db1": FIRST,
        "db2": SECOND,
        "db*": "labdb*",
        "/srv/pgdata": lab.mountpoint(),
        "postgresql@15-main": trial.SERVICE,
    }
    found = []
    for block in re.findall(r"```console\n(.*?)```", section(number), re.S):
        for line in re.findall(r"^# (salt.*)$", block, re.M):
            words = [re.sub(r"[^=,]+", lambda m: names.get(m[0], m[0]), word) for word in shlex.split(line)]
            found.append(words)
    return found


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two VMs, a file system mounted by hand on the first, and a master that has been configured as the page says."""
    with Lab(Wishes(master_overrides=master_options)) as up:
        up.mount(FIRST)
        up.master.local(FIRST, "service.start", trial.SERVICE)
        yield up


def typed(lab: Lab, words: list[str]) -> str:
    done = lab.master.command(*words)
    assert done.code == 0, f"{words}: {done.out}{done.err}"
    return str(done.out)


def is_on(lab: Lab, node: str) -> bool:
    return bool(mountpoints(lab.nodes[node], lab.disks[DISK]))


def test_the_master_is_looked_at_before_anything_is_protected(lab: Lab) -> None:
    (doctor,) = [one for one in commands(lab, 3) if one[1] == "vmdk.doctor"]
    assert wait_until(lambda: lab.master.command(*doctor).code == 0, 120.0, 0.5), lab.master.command(
        *doctor
    ).out
    assert "Nothing is protected yet" in typed(lab, doctor)  # and no error, or the exit code would tell


def test_protect_and_status_say_what_the_page_says(lab: Lab) -> None:
    try_it, protect, status, doctor = commands(lab, 4)
    typed(lab, try_it)
    assert lab.master.run(*status[1:])["resources"] == {}
    assert "/etc/salt/vmdk.d/pgdata.yaml" in typed(lab, protect)
    assert wait_until(lambda: lab.master.run(*status[1:])["all_well"], LIMIT, 0.5), typed(lab, status)
    found = lab.master.run(*status[1:])["resources"][DISK]
    assert (found["active"], found["protected"], found["nodes"][SECOND]["ready"]) == (FIRST, True, True)
    said = lab.master.command(*doctor).out  # a machine of a lab has findings; the exit code tells of them
    assert FIRST in said and SECOND in said


def test_the_planned_move_of_the_page(lab: Lab) -> None:
    plan, switchover, status, history = commands(lab, 5)[:4]
    assert SECOND in typed(lab, plan) and is_on(lab, FIRST)
    typed(lab, switchover)
    assert is_on(lab, SECOND) and not is_on(lab, FIRST)
    assert lab.master.run(*status[1:])["resources"][DISK]["active"] == SECOND
    assert "switchover" in typed(lab, history)


def test_an_unmounted_file_system_is_mounted_again(lab: Lab) -> None:
    assert "stop the service, then `umount /srv/pgdata`" in section(5)
    lab.master.local(SECOND, "service.stop", trial.SERVICE)
    assert lab.nodes[SECOND].run(["umount", lab.mountpoint()]).code == 0
    assert wait_until(lambda: is_on(lab, SECOND), LIMIT, 0.1)
    assert lab.master.local(SECOND, "service.status", trial.SERVICE)


def test_a_powered_off_holder_loses_the_disk_to_the_other_node(lab: Lab) -> None:
    assert "power the VM off in vCenter" in section(5)
    assert wait_until(lambda: lab.master.run("vmdk.status")["all_well"], LIMIT, 0.5)
    lab.nodes[SECOND].power_off()
    lab.vcenter.guest_power(lab.nodes[SECOND].name, "poweredOff")
    assert wait_until(lambda: is_on(lab, FIRST), LIMIT, 0.1)
    assert [one for one in lab.nodes[SECOND].slots() if one.disk == lab.disks[DISK]] == []
    assert not lab.observer.amiss()


def test_options_are_changed_as_the_page_says(lab: Lab) -> None:
    for edit in commands(lab, 6):
        typed(lab, edit)
    written = yaml.safe_load(lab.master.cell.run(["cat", f"/etc/salt/vmdk.d/{DISK}.yaml"]).out)
    assert (written["timeouts"], written["hang_timeout"]) == ({"release": 60, "mount": 600}, 20)


def test_the_rules_are_shown(lab: Lab) -> None:
    said = typed(lab, ["salt-run", "vmdk.rules"])
    assert {"520", "660", "70"} <= set(re.findall(r"\b\d+\b", said)), said[:2000]


@pytest.mark.parametrize("program", ["salt-run", "salt-call"])
def test_the_manual_is_shown(lab: Lab, program: str) -> None:
    if program == "salt-run":
        said = typed(lab, ["salt-run", "-d", "vmdk"])
    else:
        said = (
            lab.nodes[FIRST]
            .run([sys.executable, saltlab.program(program), "-c", MINION_ROOT, "-d", "vmdk"], 60.0)
            .out
        )
    face = "_runners" if program == "salt-run" else "_modules"
    for name in pages.public(ROOT / face / "vmdk.py"):
        assert re.search(rf"^'?vmdk\.{name}'?:", said, re.M), f"{name}: {said[:2000]}"
    assert said.count("CLI Example:") >= len(pages.public(ROOT / face / "vmdk.py"))


def test_the_report_of_the_page(lab: Lab) -> None:
    report = commands(lab, 5)[-1]
    assert report[1] == "vmdk.report" and ".html" in typed(lab, report)
