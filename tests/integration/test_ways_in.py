"""The way in by `saltutil.sync_all`, with real daemons: a first sync, an upgrade, versions that meet; no minion is restarted.

The same from a git repository is in test_gitfs.py; the other way in, the wheel, is what `make corner` and `make matrix` run
scenarios with.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from salt.exceptions import SaltClientError

from lab import product
from lab.cluster import Lab
from lab.faultdisk import ROOT
from lab.linux import wait_until
from lab.observer import mountpoints
from lab.saltconf import FOLDERS, MINION_ROOT
from lab.scenarios import DISK, FIRST, SECOND
from lab.wishes import Wishes
from tests.integration import installing

sys.path.insert(0, str(ROOT / "scripts"))
import bootstrap_block

pytestmark = pytest.mark.timeout(600)

LIMIT = 180.0
#: What the page prints of a new version, in its order: one command for the nodes, then those for the master.
OF_NODES, *OF_MASTER = installing.to_bring()
OLD, NEWER, NEWEST = bootstrap_block.version(), "900.1", "900.2"


class House(Lab):
    """A lab that remembers its minions, and the engine of one of them, as they were before something is brought."""

    minions: ClassVar[dict[str, list[int]]] = {}
    engine: ClassVar[list[int]] = []


@pytest.fixture(scope="module")
def lab() -> Iterator[House]:
    """A lab whose minions run, and whose master and minions have nothing of the product but their configuration."""
    wishes = Wishes(
        synced=False,
        master_overrides=lambda lab: product.master_options(lab, {DISK: {}}),
        minion_overrides=product.minion_options,
    )
    with House(wishes) as up:
        assert isinstance(up, House)
        for name in FOLDERS:
            place = up.run_dir / "files" / name
            place.unlink()
            shutil.copytree(ROOT / name, place, ignore=shutil.ignore_patterns("__pycache__"))
        yield up


@pytest.fixture(scope="module")
def synced(lab: House) -> House:
    """The lab after what the installation page says: a sync of the master, its restart, a sync of the nodes."""
    assert "vmdk.doctor" not in lab.master.run("doc.runner")
    lab.minions.update({node: _minion(lab, node) for node in lab.nodes})
    lab.master.run("saltutil.sync_all")
    assert "vmdk.doctor" in lab.master.run("doc.runner")
    lab.master.restart()
    for node in lab.nodes:
        _sync(lab, node)
    return lab


def _ask(lab: Lab, node: str, function: str, *arguments: str, **named: Any) -> Any:
    """The answer of a node; None when it, or the master, had no time for one."""
    try:
        return lab.master.local(node, function, *arguments, seconds=30.0, **named)
    except SaltClientError:
        return None


def _sync(lab: Lab, node: str) -> None:
    done = wait_until(lambda: _ask(lab, node, "saltutil.sync_all") is not None, LIMIT, 1.0)
    assert done, lab.nodes[node].run(["tail", "-n", "30", f"{MINION_ROOT}/minion.log"]).out


def _says(lab: Lab, node: str, version: str) -> bool:
    return wait_until(lambda: _ask(lab, node, "vmdk.version") == version, LIMIT, 1.0)


def _bring(lab: Lab, version: str) -> None:
    """Put another version on the master's file server, with a change that each kind of file shows."""
    files = lab.run_dir / "files"
    _edit(files / "_utils/vmdk_failover/__init__.py", f'"{_served(lab)}"', f'"{version}"')
    _edit(files / "_states/vmdk.py", "only the master", f"only the master of {version}")
    _edit(
        files / "_engines/vmdk.py",
        "    newer = renewal",
        f'    log.warning("{version} runs")\n    newer = renewal',
    )
    assert bootstrap_block.wrong(files, write=True) == []


def _served(lab: Lab) -> str:
    return bootstrap_block.version(lab.run_dir / "files")


def _edit(path: Any, old: str, new: str, times: int = 1) -> None:
    text = path.read_text()
    assert text.count(old) == times, (path, old)
    path.write_text(text.replace(old, new))


def _heartbeat_says(lab: Lab, node: str, version: str) -> bool:
    """Whether a heartbeat that arrived after this call's begin is of that version."""
    found = lab.master.events.wait(f"vmdk-heartbeat/{node}", 5.0, time.monotonic())
    return found is not None and _body(found.data).get("version") == version


def _body(data: dict[str, Any]) -> dict[str, Any]:
    inner = data.get("data")
    return inner if isinstance(inner, dict) else data


def _rows(lab: Lab, node: str, word: str) -> list[int]:
    rows = lab.nodes[node].run(["ps", "-eo", "pid=,args="]).out.splitlines()
    return sorted(int(row.split()[0]) for row in rows if word in row and "lab.cellinit" not in row)


def _minion(lab: Lab, node: str) -> list[int]:
    """The minion's own two processes: the one that watches over the other, and the other. Jobs come later."""
    return _rows(lab, node, "salt-minion")[:2]


def _is_as_it_was(lab: House) -> bool:
    """Whether no minion was restarted."""
    return {node: _minion(lab, node) for node in lab.nodes} == lab.minions


def _version_findings(lab: Lab) -> dict[str, tuple[str, str]]:
    """What the doctor says of versions, by node: what is wrong, what to do."""
    said = lab.master.run("vmdk.doctor", seconds=120)
    rows = said["findings"] if isinstance(said, dict) else said
    return {row["node"]: (row["what"], row["do"]) for row in rows if row["code"] == "version"}


def test_minions_that_run_need_nothing_but_the_first_sync(synced: House) -> None:
    for node in synced.nodes:
        assert _says(synced, node, OLD)
        assert wait_until(lambda node=node: _heartbeat_says(synced, node, OLD), LIMIT, 0.1)
    synced.master.run("vmdk.recover", DISK)
    assert wait_until(lambda: bool(mountpoints(synced.nodes[FIRST], synced.disks[DISK])), LIMIT, 0.2)
    assert _is_as_it_was(synced)


def test_the_beacon_of_the_first_sync_reports_and_the_master_acts(synced: House) -> None:
    node, began = synced.nodes[FIRST], time.monotonic()
    assert wait_until(lambda: _condition(synced, FIRST) == "ok", LIMIT, 0.5), _condition(synced, FIRST)
    synced.master.run("vmdk.pause", DISK)  # a beacon need not tell what was mended sooner
    assert wait_until(lambda: node.run(["umount", synced.mountpoint()]).code == 0, LIMIT, 0.2)
    assert synced.master.events.wait(f"salt/beacon/{FIRST}/vmdk/{DISK}/unmounted", LIMIT, began)
    synced.master.run("vmdk.resume", DISK)
    back = wait_until(lambda: bool(mountpoints(node, synced.disks[DISK])), LIMIT, 0.2)
    assert back, [(one.tag, one.data) for one in synced.master.events.seen("vmdk*", began)]
    assert _is_as_it_was(synced)


def _condition(lab: Lab, node: str) -> str:
    said = _ask(lab, node, "vmdk.status") or {}
    return str(said.get(DISK, {}).get("condition")) if isinstance(said, dict) else str(said)


@pytest.fixture(scope="module")
def upgraded(synced: House) -> House:
    """The nodes have the next version, the master not yet, as the installation page has it; one of them has an engine."""
    synced.nodes[SECOND].power_off()
    synced.vcenter.guest_power(synced.nodes[SECOND].name, "poweredOff")
    synced.power_on(SECOND)  # a boot starts the engine that the first sync has brought
    assert wait_until(lambda: bool(_engine(synced)), LIMIT, 0.5), _log(synced)
    synced.engine.extend(_engine(synced))
    synced.minions[SECOND] = _minion(synced, SECOND)
    _bring(synced, NEWER)
    installing.typed(synced, OF_NODES, lambda node: _sync(synced, node))
    return synced


def _log(lab: Lab) -> str:
    return lab.nodes[SECOND].run(["cat", f"{MINION_ROOT}/minion.log"]).out


def _engine(lab: Lab) -> list[int]:
    return _rows(lab, SECOND, "Engine")


@pytest.mark.parametrize("node", [FIRST, SECOND])
def test_after_an_upgrade_the_beacon_functions_and_states_are_the_new_ones(
    upgraded: House, node: str
) -> None:
    assert _says(upgraded, node, NEWER)
    assert wait_until(lambda: _heartbeat_says(upgraded, node, NEWER), LIMIT, 0.1)

    def comment() -> str:
        return str(_ask(upgraded, node, "state.single", "vmdk.mounted", DISK, concurrent=True))

    assert wait_until(lambda: f"only the master of {NEWER} moves it" in comment(), LIMIT, 1.0), comment()
    assert _is_as_it_was(upgraded)


def test_after_an_upgrade_a_running_engine_makes_way_for_the_new_one(upgraded: House) -> None:

    def renewed() -> bool:
        now = _engine(upgraded)
        return bool(now) and not set(now) & set(upgraded.engine) and f"{NEWER} runs" in _log(upgraded)

    assert wait_until(renewed, LIMIT, 0.5), (upgraded.engine, _engine(upgraded), _log(upgraded)[-3000:])
    assert _is_as_it_was(upgraded)


def test_after_an_upgrade_the_prober_is_the_new_one(upgraded: House) -> None:
    def versions() -> set[str]:
        said = _ask(upgraded, FIRST, "vmdk.doctor", fail=False) or {}
        return {str(said.get("version"))} | {
            str(row["what"]) for row in said.get("findings", ()) if "prober" in row["what"]
        }

    assert wait_until(lambda: versions() == {NEWER}, LIMIT, 0.5), versions()


def test_a_resource_can_be_moved_while_master_and_nodes_differ(upgraded: House) -> None:
    upgraded.master.run("vmdk.switchover", DISK, SECOND, seconds=120)
    assert wait_until(lambda: bool(mountpoints(upgraded.nodes[SECOND], upgraded.disks[DISK])), LIMIT, 0.2)


def test_newer_nodes_are_told_by_the_doctor_until_the_master_is_as_new(upgraded: House) -> None:
    found = _version_findings(upgraded)
    assert set(found) == set(upgraded.nodes)
    what, do = found[FIRST]
    assert what == f"The extension is of version {NEWER} on {FIRST}, of {OLD} on this master."
    assert "salt-run saltutil.sync_all" in do and "restart salt-master" in do
    assert OF_MASTER
    for line in OF_MASTER:
        installing.typed(upgraded, line, lambda node: _sync(upgraded, node))
    assert wait_until(lambda: _version_findings(upgraded) == {}, LIMIT, 1.0)


def test_older_nodes_are_told_by_the_doctor_until_they_are_as_new(upgraded: House) -> None:
    _bring(upgraded, NEWEST)
    upgraded.master.run("saltutil.sync_all")
    found = _version_findings(upgraded)
    assert set(found) == set(upgraded.nodes)
    assert found[FIRST] == (
        f"The extension is of version {NEWER} on {FIRST}, of {NEWEST} on this master.",
        f"Run 'salt {FIRST} saltutil.sync_all' (or install the same package there).",
    )
    for node in upgraded.nodes:
        _sync(upgraded, node)
    assert wait_until(lambda: _version_findings(upgraded) == {}, LIMIT, 1.0)
