"""
What is known around one resource: who else lives on its nodes, who else suffers, which hosts a person said to be off. Frozen.

All of it is the master's own memory or configuration; none of it is a word of a node.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vmdk_failover.resource import Node
from vmdk_failover.words import Condition

#: A node that has announced its shutdown is expected back for so many seconds.
BACK_IN = 180.0


@dataclass(frozen=True)
class Tenant:
    """
    Another protected resource of which a node's VM lists a disk.

    :param paused: it is in maintenance. :param discards: that disk's mode discards what was written when the VM is powered off.
    """

    name: str
    paused: bool = False
    discards: bool = False


@dataclass(frozen=True)
class Ailing:
    """
    Another resource whose disk cannot be used now.

    :param node: the node that said so last. :param hosts: ESXi hosts on which that was so, one after the other.
    :param condition: the prober's word. :param datastores: names of those that its disks are on.
    """

    resource: str
    node: str
    hosts: frozenset[str]
    condition: str
    datastores: frozenset[str]


@dataclass(frozen=True)
class Confirmed:
    """
    A word that a host is off, by a person or by a host fence that has read the host's power back.

    It holds for this VM on this host as it was then: a VM that is elsewhere or has booted since is not meant.

    :param words: who said so, the beginning of a sentence.
    :param ago: seconds since it was said; infinite if that was before the master booted, ``None`` if nobody knows.
    :param against: ``""``, or what has disproved it since, as part of a sentence: it is void then, for whatever comes after.
    """

    host: str
    boot_time: str
    words: str
    ago: float | None = None
    against: str = ""


@dataclass(frozen=True)
class Life:
    """
    What shows that a host lives which somebody said to be off.

    :param words: part of a sentence, after "but".
    :param void: it was said under a node's key after the word, so the word was wrong; an address, or a heartbeat that may have
        been under way when the word was given, speaks against it only as long as it is there.
    """

    words: str
    void: bool = False


@dataclass(frozen=True)
class Flaws:
    """
    What the last check of a node's VM found in the way of its taking a disk, told by nobody else.

    :param host: ESXi host on which the VM was then; on another one it may be otherwise.
    :param words: one phrase each, with what mends it.
    """

    host: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Complaint:
    """A node's own signed word of the last seconds that it cannot use the disk: the prober's condition, and what it has seen."""

    condition: Condition
    evidence: str


@dataclass(frozen=True)
class Around:
    """
    See the module.

    :param tenants: other resources by minion id of the node whose VM lists a disk of theirs.
    :param ailing: other resources that cannot use their disk and share a datastore with this one.
    :param confirmed: by minion id.
    :param to_restart: nodes that a fence powered off and that are to be powered on again (``fence_action: reboot``).
    :param leaving: by minion id of a node that has announced its shutdown, the boot id that ends with it.
    :param flaws: by minion id, as found in the last minutes.
    :param renamed: by minion id of a node whose minion has another id now, by its own signed word of the last seconds, that id.
    :param failing: by minion id.
    :param mute: by minion id of a node whose address did not answer this master while the node was well, that address.
    :param beside: by host that was said to be off, the nodes of other resources of which that was said too.
    :param alive: by host, what shows that one of these lives on it.
    """

    tenants: Mapping[str, tuple[Tenant, ...]] = field(default_factory=dict)
    ailing: tuple[Ailing, ...] = ()
    confirmed: Mapping[str, Confirmed] = field(default_factory=dict)
    to_restart: frozenset[str] = frozenset()
    leaving: Mapping[str, str] = field(default_factory=dict)
    flaws: Mapping[str, Flaws] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, tuple[Node, ...]] = field(default_factory=dict)
    alive: Mapping[str, Life] = field(default_factory=dict)
    mute: Mapping[str, str] = field(default_factory=dict)
    failing: Mapping[str, Complaint] = field(default_factory=dict)


NOTHING_AROUND = Around()


def datastore_of(path: str) -> str:
    """``ds1`` of ``[ds1] folder/file.vmdk``."""
    return path.partition("]")[0].lstrip("[")
