"""A resource on a striped logical volume of two VMDKs, made in a guest as an administrator would, and protected."""

from __future__ import annotations

import os
from typing import Any

from lab import product
from lab.cell import LabError
from lab.cluster import Lab
from lab.linux import wait_until
from lab.observer import mountpoints
from lab.scenarios import DISK, FIRST, SECOND
from lab.wishes import DiskWish

SECOND_DISK = DiskWish("pgdata2", unit=1)
GROUP, VOLUME = "pg-vg", "the-data"  # with the sign that device-mapper doubles
_MKFS = {"ext4": "mkfs.ext4 -q -F", "xfs": "mkfs.xfs -q -f"}
_SEEN_LIMIT, _ASK_LIMIT = 10.0, 60.0


def _device(lab: Lab, node: str, disk: str) -> str:
    """A disk's path in a guest. Raises LabError if it does not come."""
    if not wait_until(
        lambda: lab.nodes[node].device_of(lab.disks[disk]) is not None, _SEEN_LIMIT * lab.patience, 0.05
    ):
        raise LabError(f"{node} does not see {disk}")
    number = lab.nodes[node].device_of(lab.disks[disk])
    return f"/dev/block/{os.major(number)}:{os.minor(number)}"


def protect(lab: Lab) -> None:
    """Make the group on the first node, mount the volume there, have the product look it up and protect it. Raises LabError."""
    names = (DISK, SECOND_DISK.name)
    devices = " ".join(_device(lab, FIRST, name) for name in names)
    place, volume = lab.mountpoint(DISK), f"/dev/{GROUP}/{VOLUME}"
    made = lab.nodes[FIRST].run(
        [
            "sh", "-ec",
            f"wipefs -qa {devices}; pvcreate -qq {devices}; vgcreate -qq {GROUP} {devices}; "
            f"vgchange -qq --setautoactivation n {GROUP}; lvcreate -qq -y -i{len(names)} -l 100%VG -n {VOLUME} {GROUP}; "
            f"{_MKFS[lab.disks[DISK].fstype]} {volume}; mount {volume} {place}",
        ],
        _ASK_LIMIT,
    )  # fmt: skip
    if made.code:
        raise LabError(f"the volume group was not made on {FIRST}: {made.err.strip()}")
    is_striped(lab, FIRST)
    # what is protected is in use already, as anywhere: the product starts the services of a resource that it moves
    lab.master.local(FIRST, "service.start", "ledger", seconds=_ASK_LIMIT)
    product.wait_engine(lab, _ASK_LIMIT * lab.patience)
    words = [
        "vmdk.protect",
        DISK,
        f"node={FIRST}",
        f"mountpoint={place}",
        f"backups={SECOND}",
        "services=ledger",
    ]
    answer: dict[str, Any] = {}

    def written() -> bool:
        """Whether it is protected; a guest that is too slow for the product's five seconds is asked again, as a person would."""
        answer.update(lab.master.run(*words, seconds=_ASK_LIMIT * lab.patience))
        return answer.get("code") != "node_silent"

    wait_until(written, _ASK_LIMIT * lab.patience, 1.0)
    if not answer.get("written"):
        raise LabError(f"{DISK} was not protected: {answer}")


def is_striped(lab: Lab, node: str) -> None:
    """What is mounted on a node lies on all of the resource's disks. Raises LabError with those that it does not."""
    place = [lab.mountpoint(DISK)]
    names = (DISK, SECOND_DISK.name)
    if not wait_until(
        lambda: all(mountpoints(lab.nodes[node], lab.disks[name]) == place for name in names),
        _SEEN_LIMIT * lab.patience,
        0.05,
    ):
        seen = {name: mountpoints(lab.nodes[node], lab.disks[name]) for name in names}
        raise LabError(f"what {node} has mounted does not lie on both disks: {seen}")


def is_listed_by(lab: Lab, node: str) -> None:
    """The vCenter lists both disks at this node's VM and at no other one, running or not. Raises LabError."""
    vms = lab.vcenter.inventory()["vms"]
    for disk in (lab.disks[DISK], lab.disks[SECOND_DISK.name]):
        found = [vm["name"] for vm in vms if any(one["path"] == disk.path for one in vm["disks"])]
        if found != [lab.nodes[node].name]:
            raise LabError(
                f"{disk.path} is listed by {', '.join(found) or 'no VM'}, not by {lab.nodes[node].name} alone"
            )
