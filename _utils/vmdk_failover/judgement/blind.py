"""
What may be done while vCenter cannot be read: mount again on the node that was the last to get the disk. Pure.

Why that is safe without vCenter: the node's own signed word says that the disk is in its guest, so its running VM has the
file open, and the lock of VMFS keeps every other VM from it. It acted last, under the newest epoch of the journal, so nobody
got a permit after it; and no move is open, so no request is under way that could take the disk away. Nothing is attached,
detached or fenced in the blind.
"""

from __future__ import annotations

from vmdk_failover.judgement.assess import NodeSight, Snapshot
from vmdk_failover.model import MountState

#: The row by which such a remount begins.
REMOUNT = 515


def could_mount(seen: Snapshot, minion: str) -> bool:
    """Whether a node sees the disk, has nothing of it mounted, and is ready, and no other node claims to have it."""
    node = seen.node(minion)
    facts = node.facts
    if facts is None or facts.device is not True or node.failed or facts.unready or facts.busy:
        return False
    unmounted = facts.mounted is MountState.UNMOUNTED and facts.superblock is False
    return unmounted and not others_have_it(seen, minion)


def has_mounted(seen: Snapshot, minion: str) -> bool:
    """Whether a node has it mounted in good health by its own word, and no other node claims to have it."""
    node = seen.node(minion)
    runs = node.facts is not None and node.facts.services is not False
    return node.mounted and runs and not node.failed and not others_have_it(seen, minion)


def others_have_it(seen: Snapshot, minion: str) -> bool:
    """Whether another node sees the disk, or has something at a mount point of the resource."""
    return any(_has_it(n) for n in seen.nodes if n.minion != minion)


def _has_it(node: NodeSight) -> bool:
    facts = node.facts
    return facts is not None and (facts.device is not False or facts.mounted is not MountState.UNMOUNTED)
