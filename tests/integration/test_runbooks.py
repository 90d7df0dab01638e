"""docs/runbooks.md, typed as it is printed, each in the trouble that it is for: one lab, one resource, one story."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import product, saltconf
from lab.cell import Done
from lab.cluster import Lab
from lab.linux import wait_until
from lab.observer import mountpoints
from lab.saltlab import program
from lab.scenarios import DISK, FIRST, SECOND
from lab.wishes import Wishes

PAGE = (Path(__file__).parents[2] / "docs" / "runbooks.md").read_text(encoding="utf-8")
THIRD = "labdb3"
LIMIT = 180.0
NAMES = {"NAME": DISK, "NODE": SECOND, "db1": FIRST, "db2": SECOND, "db3": THIRD}
#: What another test types, or what is named and not typed.
ELSEWHERE = {
    "salt-run vmdk.confirm_off db1": "tests/integration/test_hosts.py",
    "salt-run vmdk.protect": "a name alone; the fixture of this file types it with its arguments",
}
typed: set[str] = set()
pytestmark = pytest.mark.timeout(600)  # each is many commands, and each command starts Salt anew


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """pgdata protected on the first two of three nodes, active on the first."""

    def options(lab: Lab) -> dict[str, Any]:
        made = product.master_options(lab, {DISK: {}})
        del made["vmdk"]["resources"]
        return made

    wishes = Wishes(
        nodes=(FIRST, SECOND, THIRD), master_overrides=options, minion_overrides=product.minion_options
    )
    with Lab(wishes) as up:
        up.mount(FIRST)
        product.wait_engine(up)
        for node in (SECOND, THIRD):
            up.nodes[node].run(["mkdir", "-p", up.mountpoint()])
        words = ["vmdk.protect", DISK, f"node={FIRST}", f"mountpoint={up.mountpoint()}", f"backups={SECOND}"]
        assert up.master.run(*words)["written"]
        _settled(up)
        yield up


@pytest.fixture(autouse=True)
def whole(lab: Lab) -> Iterator[None]:
    yield
    assert not lab.observer.amiss()


def section(title: str) -> str:
    """One runbook."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    assert found, f"there is no runbook '{title}'"
    return found[1]


def commands(text: str) -> list[str]:
    """What stands between two backticks and is a command; a page breaks its lines also within one."""
    return [" ".join(found.split()) for found in re.findall(r"`(salt(?:-run|-call)?\s[^`]+)`", text)]


def type_it(lab: Lab, title: str, command: str, code: int | None = 0) -> str:
    """Type a command of a runbook, with the lab's names. code: how it must end; None: either way. Returns what a person reads."""
    assert command in commands(section(title) if title else PAGE), f"'{command}' is not in '{title}'"
    typed.add(command)
    words = [re.sub(r"\w+", lambda m: NAMES.get(m[0], m[0]), word) for word in shlex.split(command)]
    done = _at_node(lab, words) if words[0] == "salt-call" else lab.master.command(*words, seconds=240.0)
    assert code in (None, done.code), f"{command}: {done.code} {done.out}{done.err}"
    return str(done.out)


def _at_node(lab: Lab, words: list[str]) -> Done:
    argv = [sys.executable, program("salt-call"), "-c", saltconf.MINION_ROOT, *words[1:]]
    return lab.nodes[_active(lab)].run(argv, 60.0)


def _status(lab: Lab) -> dict[str, Any]:
    found: dict[str, Any] = lab.master.run("vmdk.status", DISK)["resources"][DISK]
    return found


def _active(lab: Lab) -> str:
    return next(node for node in lab.nodes if mountpoints(lab.nodes[node], lab.disks[DISK]))


def _settled(lab: Lab, node: str = "") -> None:
    """Wait until it is protected, and on this node if one is named."""

    def is_so() -> bool:
        here = _status(lab)
        return bool(here["protected"] and node in ("", here["active"]))

    assert wait_until(is_so, LIMIT, 0.5), _status(lab)


def _says(lab: Lab, words: str) -> Callable[[], bool]:
    return lambda: words in lab.master.command("salt-run", "vmdk.status").out


def test_vcenter_is_down(lab: Lab) -> None:
    title = "vCenter is down"
    lab.vcenter.net("503")
    try:
        assert wait_until(lambda: _status(lab)["rule"] == 520, LIMIT, 0.5), _status(lab)
        assert "vCenter cannot be read" in section(title) and _active(lab) == FIRST
        type_it(lab, title, "salt-run vmdk.pause NAME")
    finally:
        lab.vcenter.net("")
    type_it(lab, title, "salt-run vmdk.adopt NAME")
    type_it(lab, title, "salt-run vmdk.resume NAME")
    _settled(lab, FIRST)


def test_a_snapshot_was_found(lab: Lab) -> None:
    name = lab.nodes[FIRST].name
    lab.vcenter.snapshot(name, "forgotten")
    assert wait_until(_says(lab, "has a snapshot that holds the disk"), LIMIT, 0.5)
    assert "NOT PROTECTED" in section("A snapshot was found")
    lab.vcenter.remove_snapshots(name)
    _settled(lab, FIRST)


def test_another_file_system_is_mounted_there(lab: Lab) -> None:
    title, node, place = "Another file system is mounted there", lab.nodes[FIRST], lab.mountpoint()
    type_it(lab, title, "salt-run vmdk.pause NAME")
    assert node.run(["mount", "-t", "tmpfs", "none", place]).code == 0
    type_it(lab, title, "salt-run vmdk.resume NAME")
    assert wait_until(lambda: _status(lab)["rule"] == 710, LIMIT, 0.5), _status(lab)
    argv = [sys.executable, program("salt-call"), "-c", saltconf.MINION_ROOT, "vmdk.status", DISK]
    said = node.run(argv, 60.0)
    assert said.code == 0 and DISK in said.out
    typed.add("salt-call vmdk.status NAME")
    assert node.run(["umount", place]).code == 0
    type_it(lab, "", "salt-run vmdk.recover NAME", None)  # busy, if the engine has come first
    _settled(lab, FIRST)


def test_the_old_node_came_back(lab: Lab) -> None:
    lab.nodes[FIRST].power_off()
    lab.vcenter.guest_power(lab.nodes[FIRST].name, "poweredOff")
    assert wait_until(lambda: bool(mountpoints(lab.nodes[SECOND], lab.disks[DISK])), LIMIT, 0.2)
    lab.power_on(FIRST)
    _settled(lab, SECOND)
    assert "All is well" in type_it(lab, "", "salt-run vmdk.status")
    type_it(lab, "The old node came back", "salt-call vmdk.doctor", None)  # a node of a lab has findings
    type_it(lab, "The old node came back", "salt-run vmdk.switchover NAME target=db1")
    _settled(lab, FIRST)


def test_a_resource_is_held(lab: Lab) -> None:
    title = "A resource is held"
    assert "switchover" in type_it(lab, title, "salt-run vmdk.history NAME")
    assert ".html" in type_it(lab, title, "salt-run vmdk.report NAME")
    assert "Nothing was done" in type_it(lab, title, "salt-run vmdk.plan NAME") or _status(lab)["protected"]
    type_it(lab, title, "salt-run vmdk.clear NAME")
    type_it(lab, title, "salt-run vmdk.failover NAME target=db2")
    assert _active(lab) == SECOND
    _settled(lab, SECOND)


def test_adopting_and_new_keys(lab: Lab) -> None:
    title = "The disk was moved by Storage vMotion"
    said = type_it(lab, title, "salt-run vmdk.adopt NAME test=True")
    assert said.startswith(f"{DISK}: would be adopted under epoch ")
    assert type_it(lab, title, "salt-run vmdk.adopt NAME").startswith(f"{DISK}: adopted")
    type_it(lab, "Keys are to be changed", "salt-run vmdk.rotate_keys")
    type_it(lab, "Keys are to be changed", "salt NODE saltutil.refresh_pillar")
    type_it(lab, "The master was rebuilt, or its journal is lost", "salt '*' saltutil.refresh_pillar")
    _settled(lab, SECOND)


def test_a_node_is_replaced_and_a_vm_is_restored(lab: Lab) -> None:
    title = "A VM is to be restored, reverted or cloned"
    type_it(lab, title, "salt-run vmdk.switchover NAME")
    assert _active(lab) == FIRST
    said = json.loads(type_it(lab, title, "salt-run vmdk.status NAME --out=json"))
    assert said["resources"][DISK]["nodes"][SECOND]["holds"] is False
    type_it(lab, title, "salt-run vmdk.pause NAME")
    type_it(lab, title, "salt-run vmdk.resume NAME")
    type_it(lab, title, "salt-run vmdk.doctor NAME", None)
    _settled(lab, FIRST)
    title = "A node is to be replaced, or taken out of service"
    assert "drained, it holds nothing" in type_it(lab, title, "salt-run vmdk.drain db1")
    type_it(lab, title, "salt-run vmdk.edit NAME add_backup=db3")
    _settled(lab, SECOND)
    type_it(lab, title, "salt-run vmdk.power_off db1")
    type_it(lab, title, "salt-run vmdk.edit NAME remove_backup=db1")
    assert set(_status(lab)["nodes"]) == {SECOND, THIRD}
    assert lab.disks[DISK].path not in lab.vcenter.disk_paths(lab.nodes[FIRST].name)
    _settled(lab, SECOND)


def test_reboot_and_farewell(lab: Lab) -> None:
    for command in commands(section("A node is to be rebooted")):
        if command not in typed:
            type_it(lab, "A node is to be rebooted", command)
    lab.master.run("vmdk.resume", DISK)
    type_it(lab, "Another file system is mounted there", "salt-run vmdk.unprotect NAME")
    assert _active(lab) == SECOND and lab.master.run("vmdk.status")["resources"] == {}


def test_every_command_of_the_page_was_typed() -> None:
    assert set(commands(PAGE)) - typed - set(ELSEWHERE) == set()
