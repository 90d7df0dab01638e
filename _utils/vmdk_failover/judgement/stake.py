"""
What would be lost for good if a VM were powered off, or its disk taken out: a disk whose mode discards what was written. Pure.

Such a mode keeps all that was written since the VM was powered on in a file beside the disk, which goes with the VM's power. The
mode of a running VM's disk cannot be changed, so nothing but copying saves that; and a node that is merely not heard may still
run. So no other node takes the resource from there, for whatever reason, until somebody has powered the VM off: then nothing is
left to be lost.
"""

from __future__ import annotations

from collections.abc import Sequence

from vmdk_failover.around import Tenant
from vmdk_failover.model import Disk, DiskFacts, VmFacts
from vmdk_failover.words import KEEPING_MODES


def discards(disk: DiskFacts) -> bool:
    """A mode that vCenter does not tell is taken for the default, as vCenter itself does."""
    return disk.mode not in KEEPING_MODES


def discarding(vm: VmFacts, listed: Sequence[Disk]) -> tuple[DiskFacts, ...]:
    """
    Disks of a resource whose mode discards what was written.

    :param listed: disks of the resource that the VM lists.
    """
    paths = {disk.path for disk in listed}
    return tuple(mine for mine in vm.disks or () if mine.path in paths and discards(mine))


def words(minion: str, disks: Sequence[DiskFacts]) -> str:
    """What would be lost if the disks left the running VM of ``minion``, and what to do, as part of a sentence."""
    which = " and ".join(f"{disk.path} is {disk.mode}" for disk in disks)
    return (
        f"{which} on the VM of {minion}, so all that was written there since it was powered on is lost as soon as it is powered "
        "off or the disk leaves it: copy that away and power the VM off by hand, then it fails over as it was before, and is "
        "attached as it was recorded"
    )


def guards(tenant: Tenant) -> bool:
    """Whether another resource on a node forbids to power that off."""
    return tenant.paused or tenant.discards


def guard_words(tenants: Sequence[Tenant], minion: str) -> str:
    """Who of these would lose what was written if ``minion`` were powered off, and what to do, as part of a sentence."""
    names = " and ".join(tenant.name for tenant in tenants if tenant.discards)
    return (
        f"the disk of {names} there is in a mode that discards what was written when the VM is powered off: copy that away and "
        f"power the VM of {minion} off by hand"
        if names
        else ""
    )
