"""The world of these tests: two nodes on two hosts, two disks on the first, the same in the lab and in memory."""

from __future__ import annotations

from typing import Any

from vmdk_failover.model import Disk, Mount, Node, Resource, Timeouts

USER, PASSWORD = "svc-vmdk@vsphere.local", "wr0ng-if-shown"

SHOWN_UUIDS = ("6000C29A-1111-2222-3333-444455556666", "6000C29B-1111-2222-3333-444455556666")
DISK = Disk("[ds1] shared/pgdata.vmdk", "6000c29a111122223333444455556666", 1, 0)
SECOND = Disk(
    "[ds1] shared/pgwal.vmdk", "6000c29b111122223333444455556666", 1, 1, mode="independent_persistent"
)

NODES = (
    Node("db1", "5037aaaa-0000-4000-8000-000000000001"),
    Node("db2", "5037aaaa-0000-4000-8000-000000000002"),
)
#: SMBIOS UUIDs as vCenter writes them.
BIOS = ("4237bbbb-1234-5678-9abc-000000000001", "4237bbbb-1234-5678-9abc-000000000002")

#: A master's options as the quick start has them.
CONFIGURED = {
    "engines": [{"vmdk": {}}],
    "ext_pillar": [{"vmdk": {}}],
    "reactor": [
        {"salt/beacon/*/vmdk/*": ["salt://reactor/vmdk.sls"]},
        {"vmdk/*/*": ["salt://reactor/vmdk.sls"]},
    ],
    "reactor_refresh_interval": 3600,
}


def resource(*disks: Disk) -> Resource:
    """A resource of both nodes with these disks; its timeouts are short."""
    mounts = (Mount("/srv/pgdata", "0b6e9a2c-0000-4000-8000-00000000f5f5", "xfs"),)
    return Resource("pgdata", NODES, disks, mounts, timeouts=Timeouts(fence=10, detach=10, attach=10))


def vm(nth: int, **other: Any) -> dict[str, Any]:
    """The VM of the ``nth`` node (0 or 1) as the lab's inventory has it."""
    plain = {
        "name": f"db{nth + 1}-vm",
        "uuid": BIOS[nth],
        "instance_uuid": NODES[nth].vm_uuid,
        "host": f"esx{nth + 1}",
        "power": "poweredOn",
        "controllers": [{"type": "pvscsi", "bus": 0}, {"type": "pvscsi", "bus": 1}],
        "enable_uuid": True,
    }
    return {**plain, **other}


def disk(recorded: Disk, shown_uuid: str, **other: Any) -> dict[str, Any]:
    """A disk of the lab's inventory."""
    plain = {
        "path": recorded.path,
        "uuid": shown_uuid,
        "capacity_mb": 64,
        "attached_to": "db1-vm",
        "bus": recorded.bus,
        "unit": recorded.unit,
        "mode": recorded.mode,
    }
    return {**plain, **other}


def inventory(**other: Any) -> dict[str, Any]:
    """The whole world; members given replace those of the same name."""
    plain = {
        "username": USER,
        "password": PASSWORD,
        "hosts": ["esx1", "esx2"],
        "datastores": ["ds1", "ds2"],
        "vms": [vm(0), vm(1)],
        "disks": [disk(DISK, SHOWN_UUIDS[0]), disk(SECOND, SHOWN_UUIDS[1])],
    }
    return {**plain, **other}
