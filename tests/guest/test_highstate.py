"""What the node's states say in a highstate, without an order, and what keeps a backup from writing to an empty mount point."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab import saltconf
from lab.cell import CellSpec
from lab.disk import Disk as LabDisk
from lab.disk import make_disk
from lab.faultdisk import Disks
from lab.namespace import NamespaceNode
from lab.node import new_identity
from lab.saltlab import prepare_minion, program
from tests.core.build import active, resource, says
from tests.packaging.source import ROOT
from vmdk_failover import model
from vmdk_failover.guest import channel, highstate
from vmdk_failover.model import MountState, NodeFacts

# -- in words

PLAIN, SERVING = resource(), replace(resource(), services=("ledger",))
HERE = active("db1", device=True)
BACKUP = says("db1", device=False)


@pytest.mark.parametrize(
    ("of", "facts", "result"),
    [
        (PLAIN, HERE, True),
        (SERVING, replace(HERE, services=True), True),
        (SERVING, replace(HERE, services=False), False),
        (SERVING, replace(HERE, services=None), None),
        (PLAIN, BACKUP, None),
        (PLAIN, replace(BACKUP, superblock=True), False),
        (PLAIN, replace(BACKUP, device=True), False),
        (PLAIN, replace(BACKUP, device=None), False),
        *((PLAIN, replace(HERE, mounted=one), False) for one in MountState if one is not MountState.MOUNTED),
    ],
)
def test_mounted(of: model.Resource, facts: NodeFacts, result: bool | None) -> None:
    said = highstate.mounted(of, facts)
    assert said[0] is result, said
    assert ("not active here" in said[1]) is (facts.mounted is not MountState.MOUNTED)


@pytest.mark.parametrize(
    ("facts", "result"),
    [
        (BACKUP, True),
        (replace(BACKUP, device=True), True),
        (replace(BACKUP, superblock=True), False),
        (replace(BACKUP, superblock=None), False),
        (replace(BACKUP, busy="mkfs.ext4 (pid 7)"), False),
        *((replace(BACKUP, mounted=one), False) for one in MountState if one is not MountState.UNMOUNTED),
    ],
)
def test_unmounted(facts: NodeFacts, result: bool) -> None:
    said = highstate.unmounted(PLAIN, facts)
    assert said[0] is result, said


# -- by a real salt-call on two nodes, of which one has the disk

NAMES = ("db1", "db2")
#: The example of docs/hierarchy.md.
SLS = (ROOT / "docs" / "examples" / "highstate" / "init.sls").read_text(encoding="utf-8")
FILE = "file_|-/srv/pgdata/app.conf_|-/srv/pgdata/app.conf_|-managed"
STATE = "vmdk_|-pgdata_|-pgdata_|-mounted"

Returned = dict[str, dict[str, Any]]


class Pair:
    """Two nodes without a master; each knows the resource, as the beacon has left it."""

    def __init__(self, run_dir: Path, disks: Disks, disk: LabDisk) -> None:
        self.run_dir, self.disk, self.nodes = run_dir, disk, dict[str, NamespaceNode]()
        self.of = model.Resource(
            name="pgdata",
            nodes=tuple(model.Node(name, f"u-{name}") for name in NAMES),
            disks=(model.Disk(disk.path, disk.uuid.replace("-", ""), 1, 0),),
            mounts=(model.Mount("/srv/pgdata", disk.fs_uuid, disk.fstype),),
        )
        for number, name in enumerate(NAMES, 1):
            identity, place = new_identity(f"{name}-vm", name, number), run_dir / "n" / name
            spec = CellSpec(name, place, identity.address, hidden=(run_dir,))
            self.nodes[name] = NamespaceNode(identity, spec, disks, lambda node, word: None)
            prepare_minion(place, identity, {"file_roots": {"base": [f"{saltconf.MINION_ROOT}/sls"]}})
            self.knows(self.of, name)
            (place / "srv" / "pgdata").mkdir(parents=True)

    def knows(self, of: model.Resource, *names: str) -> None:
        for name in names or NAMES:
            state_dir = self.run_dir / "n" / name / "salt" / "run" / "vmdk"
            state_dir.mkdir(parents=True, exist_ok=True)
            channel.write_config(state_dir, {of.name: of})

    def move(self, source: str, target: str) -> None:
        if source:
            assert self.nodes[source].run(["umount", "/srv/pgdata"]).code == 0
            self.nodes[source].detach(self.disk)
        self.nodes[target].attach(self.disk, 1, 0)
        done = self.nodes[target].run(["sh", "-c", "mount /dev/disk/by-id/wwn-0x* /srv/pgdata"])
        assert done.code == 0, done.err

    def call(self, name: str, *words: str) -> tuple[int, Any]:
        """`salt-call --local`: its exit code and its answer."""
        argv = [sys.executable, program("salt-call"), "-c", saltconf.MINION_ROOT, "--local", "--out=json"]
        done = self.nodes[name].run([*argv, "--retcode-passthrough", *words], 90)
        assert done.out.startswith("{"), done.out + done.err
        return done.code, json.loads(done.out)["local"]

    def apply(self, name: str, sls: str) -> tuple[int, Returned]:
        directory = self.run_dir / "n" / name / "salt" / "sls"
        directory.mkdir(exist_ok=True)
        (directory / "app.sls").write_text(sls, encoding="utf-8")
        return self.call(name, "state.apply", "app")

    def files(self, name: str) -> list[str]:
        return self.nodes[name].run(["ls", "/srv/pgdata"]).out.split()


@pytest.fixture
def pair(run_dir: Path, disks: Disks) -> Iterator[Pair]:
    made = Pair(run_dir, disks, make_disk(run_dir, "[ds1] shared/pgdata.vmdk", "ext4"))
    try:
        for node in made.nodes.values():
            node.power_on()
        made.move("", "db1")
        yield made
    finally:
        for node in made.nodes.values():
            node.close()


def test_what_stands_on_the_resource_is_written_where_it_is_active_and_nowhere_else(pair: Pair) -> None:
    for source, here, backup in (("", "db1", "db2"), ("db1", "db2", "db1")):
        if source:
            pair.move(source, here)
            pair.nodes[here].run(["rm", "/srv/pgdata/app.conf"])
        code, said = pair.apply(here, SLS)
        assert (code, said[STATE]["result"], said[FILE]["result"]) == (0, True, True), said
        assert "app.conf" in pair.files(here)
        code, said = pair.apply(backup, SLS)
        assert (code, said[STATE]["result"], said[STATE]["changes"]) == (0, None, {}), "a backup is not red"
        assert said[FILE]["comment"] == "onlyif condition is false" and pair.files(backup) == []
    assert [pair.call(name, "vmdk.is_active", "pgdata") for name in NAMES] == [(0, False), (0, True)]


def test_without_its_gate_a_backup_writes(pair: Pair) -> None:
    """Why the pages say that `require` is none."""
    _, said = pair.apply("db2", SLS.partition("    - onlyif")[0])
    assert said[FILE]["result"] is True and pair.files("db2") == ["app.conf"]


@pytest.mark.parametrize("gate", ["require", "onlyif"])
def test_a_name_that_is_misspelt_is_red_and_nothing_is_written(pair: Pair, gate: str) -> None:
    wrong = SLS.replace("vmdk.mounted: []", "vmdk.mounted: [{name: pgdta}]")
    before, _, after = SLS.replace("[pgdata]", "[pgdta]").partition("    - require:\n      - vmdk: pgdata\n")
    code, said = pair.apply("db1", wrong if gate == "require" else before + after)
    assert (code, said[FILE]["result"], "app.conf" in pair.files("db1")) == (2, False, False), said
    comments = " ".join(one["comment"] for one in said.values())
    assert "knows no resource 'pgdta'; known are: pgdata" in comments


def test_what_is_not_so_is_not_said_to_be_so(pair: Pair) -> None:
    results = {
        (state, name): (code == 0, next(iter(said.values())))
        for state in ("mounted", "unmounted", "halted")
        for name in NAMES
        for code, said in (pair.call(name, "state.single", f"vmdk.{state}", "pgdata"),)
    }
    assert {key: (well, one["result"]) for key, (well, one) in results.items()} == {
        ("mounted", "db1"): (True, True),
        ("mounted", "db2"): (True, None),
        ("unmounted", "db1"): (False, False),
        ("unmounted", "db2"): (True, True),
        ("halted", "db1"): (False, False),
        ("halted", "db2"): (False, False),
    }
    assert all(
        one["changes"] == {} and "only the master moves it" in one["comment"] for _, one in results.values()
    )
    pair.knows(replace(pair.of, services=("ledger",)), "db1")
    code, said = pair.call("db1", "state.single", "vmdk.mounted", "pgdata")
    (only,) = said.values()
    assert (code, only["result"]) == (2, False) and "not all of its services run" in only["comment"]


def test_the_shutdown_unit_comes_after_the_services_that_this_node_may_run(pair: Pair) -> None:
    pair.knows(replace(pair.of, services=("postgresql@15-main",)), "db2")
    code, unit = pair.call("db2", "vmdk.shutdown_unit", "services=nfs-server,vip.path")
    after = next(line for line in unit.splitlines() if line.startswith("After="))
    assert code == 0 and after.endswith(" postgresql@15-main.service nfs-server.service vip.path")
