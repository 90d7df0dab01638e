"""What the lab's vCenter is told at its start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab.disk import Disk
from lab.node import Node

USER, PASSWORD = "svc-vmdk@vsphere.local", "s3cret"


def inventory(nodes: Sequence[Node], disks: Sequence[Disk]) -> dict[str, Any]:
    """The nodes as powered-on VMs, one on each host, and the disks where the nodes have them."""
    vms = [_vm(node, f"esx{number}") for number, node in enumerate(nodes, 1)]
    return {
        "username": USER,
        "password": PASSWORD,
        "hosts": [vm["host"] for vm in vms],
        "datastores": ["ds1"],
        "vms": vms,
        "disks": [_disk(disk, nodes) for disk in disks],
    }


def _vm(node: Node, host: str) -> dict[str, Any]:
    who = node.identity
    return {
        "name": who.name,
        "uuid": who.uuid,
        "instance_uuid": who.instance_uuid,
        "host": host,
        "power": "poweredOn",
        "controllers": [{"type": "pvscsi", "bus": bus} for bus in (0, 1)],
        "enable_uuid": True,
    }


def _disk(disk: Disk, nodes: Sequence[Node]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "path": disk.path,
        "uuid": disk.uuid,
        "capacity_mb": disk.size_mb,
        "mode": "persistent",
    }
    for node in nodes:
        for slot in node.slots():
            if slot.disk == disk:
                entry |= {"attached_to": node.name, "bus": slot.bus, "unit": slot.unit}
    return entry
