"""The example of an NFS export, with Debian's exportfs: it is on the node that has the file system, and on no other.

    python -m lab.examples_nfs

Needs build/nfs (scripts/exportfs.sh). Nothing serves: the server is the kernel's, and not every kernel has one. What exportfs
would have it serve is looked at. Prints one JSON object.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lab import product
from lab.cell import LabError
from lab.cluster import Lab
from lab.faultdisk import ROOT
from lab.linux import wait_until
from lab.observer import mountpoints
from lab.scenarios import DISK, FIRST, SECOND
from lab.wishes import Wishes

CLIENTS = "192.0.2.0/24"
_PROGRAMS = ROOT / "build" / "nfs" / "usr" / "sbin"
_LIMIT = 120.0
#: Where exportfs keeps what is exported, and that nothing is exported but by the example.
_PLACE = "mkdir -p /run/nfs; printf '[mountd]\\nstate-directory-path=/run/nfs\\n' > /etc/nfs.conf; : > /etc/exports"


@contextmanager
def _programs() -> Iterator[None]:
    """Let the lab's minions find exportfs. Raises LabError."""
    if not (_PROGRAMS / "exportfs").exists():
        raise LabError(f"{_PROGRAMS}/exportfs is missing; run `scripts/exportfs.sh`")
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{_PROGRAMS}:{before}"
    try:
        yield
    finally:
        os.environ["PATH"] = before


def _options(lab: Lab) -> dict[str, Any]:
    """With the examples among the master's files, and what is exported in the nodes' pillar."""
    states = {"states": {"start": ["nfs.up"], "stop": ["nfs.down"]}}
    export = f"path: {lab.mountpoint()}, clients: {CLIENTS}, options: 'rw,sync,no_subtree_check,fsid=1'"
    return {
        **product.master_options(lab, {DISK: states}),
        "file_roots": {"base": [f"{lab.run_dir}/files", str(ROOT / "docs" / "examples")]},
        "ext_pillar": [{"vmdk": {}}, {"cmd_yaml": f'echo "nfs_export: {{{export}}}"'}],
    }


def exported(lab: Lab, node: str) -> str:
    """What is exported on a node, by exportfs. Raises LabError."""
    done = lab.nodes[node].run(["exportfs", "-s"], 30.0)
    if done.code:
        raise LabError(f"exportfs on {node}: {done.err.strip()}")
    return " ".join(done.out.split())


def _is_here(lab: Lab, node: str) -> bool:
    """Whether the file system and its export are on a node."""
    is_mounted = bool(mountpoints(lab.nodes[node], lab.disks[DISK]))
    return is_mounted and f"{lab.mountpoint()} {CLIENTS}(" in exported(lab, node)


def _is_alone(lab: Lab, here: str, there: str) -> bool:
    """Whether both are here, and neither is there."""
    return (
        _is_here(lab, here)
        and not mountpoints(lab.nodes[there], lab.disks[DISK])
        and not exported(lab, there)
    )


def run() -> dict[str, Any]:
    """Switch a resource with an export over, and power its node off."""
    wishes = Wishes(master_overrides=_options, minion_overrides=product.minion_options)
    found: dict[str, Any] = {"example": "nfs"}
    lab = Lab(wishes)
    with _programs(), lab:
        for node in lab.nodes.values():
            if node.run(["sh", "-c", _PLACE]).code:
                raise LabError(f"{node.name} cannot be prepared for exportfs")
        lab.master.run("vmdk.clear", DISK)  # what was tried before exportfs could work does not count
        found["at first"] = wait_until(lambda: _is_alone(lab, FIRST, SECOND), _LIMIT, 0.5)
        found["export"] = exported(lab, FIRST)
        moved = lab.master.run("vmdk.switchover", DISK, seconds=_LIMIT)
        found["after a switchover"] = moved["result"] == "done" and _is_alone(lab, SECOND, FIRST)
        lab.nodes[SECOND].power_off()
        lab.vcenter.guest_power(lab.nodes[SECOND].name, "poweredOff")
        found["after a power-off"] = wait_until(lambda: _is_here(lab, FIRST), _LIMIT, 0.2)
        found["doubles"] = len(lab.observer.findings.double_holders) + len(
            lab.observer.findings.double_mounts
        )
    good = all(found[when] for when in ("at first", "after a switchover", "after a power-off"))
    return {**found, "ok": good and not found["doubles"]}


if __name__ == "__main__":
    outcome = run()
    print(json.dumps(outcome, indent=2))
    sys.exit(0 if outcome["ok"] else 1)
