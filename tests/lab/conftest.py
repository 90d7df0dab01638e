"""What the tests of the lab stand on: namespaces, a place in memory, disks and nodes, all given back."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lab import linux, loop
from lab.cell import CellSpec
from lab.disk import Disk, make_disk
from lab.faultdisk import Disks
from lab.hypervisor import Vcenter, built
from lab.isolation import isolated
from lab.namespace import NamespaceNode
from lab.node import new_identity
from tests.lab.vsphere import INVENTORY, Client, connect

PATH = "[ds1] shared/pgdata.vmdk"


@pytest.fixture(scope="module")
def own_namespaces() -> Iterator[None]:
    """Network and mounts of the module's own; for those who make disks and nodes by hand."""
    assert os.geteuid() == 0, "the tests of the lab need root: they use loop devices, mounts and namespaces"
    with isolated():
        yield


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """An empty directory in memory, with a short name."""
    with tempfile.TemporaryDirectory(prefix="vmdk-lab-test-", dir="/tmp") as name:
        linux.mount("tmpfs", name, "tmpfs")
        try:
            yield Path(name)
        finally:
            linux.umount(name, linux.MNT_DETACH)
    mine = f"{Path(name).name}:"  # other labs may run beside the tests
    left = [number for number, mark in loop.ours() if mark.startswith(mine)]
    assert not left, f"loop devices are left: {left}"


@pytest.fixture
def disks(run_dir: Path) -> Iterator[Disks]:
    """The service that attaches disks; a hang ends by itself after 60 s."""
    with Disks(run_dir) as started:
        yield started


@dataclass
class Pair:
    """Two nodes and one disk that belongs to neither yet. halts: what guests did to themselves."""

    a: NamespaceNode
    b: NamespaceNode
    disk: Disk
    halts: list[tuple[str, str]] = field(default_factory=list)

    def put(self, node: NamespaceNode) -> None:
        """Attach the disk to `node` and mount it there at /srv/data."""
        node.attach(self.disk, 1, 0)
        mounted = node.run(["sh", "-c", "mkdir -p /srv/data && mount /dev/disk/by-id/wwn-0x* /srv/data"])
        assert mounted.code == 0, mounted.err


@pytest.fixture(params=["ext4"])
def pair(run_dir: Path, disks: Disks, request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two running nodes and a disk with a file system."""
    disk = make_disk(run_dir, PATH, request.param)
    halts: list[tuple[str, str]] = []
    nodes = []
    for number in (1, 2):
        identity = new_identity(f"db{number}-vm", f"db{number}", number)
        spec = CellSpec(
            identity.minion_id, run_dir / "n" / identity.minion_id, identity.address, hidden=(run_dir,)
        )
        nodes.append(NamespaceNode(identity, spec, disks, lambda node, word: halts.append((node.name, word))))
    try:
        for node in nodes:
            node.power_on()
        yield Pair(*nodes, disk, halts)
    finally:
        for node in nodes:
            node.close()


def wait_for(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Fail unless `condition` holds within `seconds`."""
    assert linux.wait_until(condition, seconds), f"not true within {seconds} s"


def reads(path: str, name: str = "/dev/null") -> subprocess.Popen[bytes]:
    """Start to read one block of a device, past every cache; it may get stuck."""
    command = ["dd", f"if={path}", f"of={name}", "iflag=direct", "bs=4096", "count=1", "status=none"]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)


def state_of(pid: int) -> str:
    """The letter of a process' state: D is a task stuck in the kernel."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture(scope="session")
def program() -> Path:
    """Built before the tests leave the machine's network."""
    return built()


@pytest.fixture
def vcenter(program: Path) -> Iterator[Vcenter]:
    with Vcenter(INVENTORY, binary=program) as started:
        yield started


@pytest.fixture
def client(vcenter: Vcenter) -> Client:
    return connect(vcenter)


@pytest.fixture
def db1(client: Client) -> Any:
    return client.vm("db1")


@pytest.fixture
def db2(client: Client) -> Any:
    return client.vm("db2")
