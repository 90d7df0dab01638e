"""One thing that is found in vCenter about the VMs of a resource."""

from __future__ import annotations

from dataclasses import dataclass

from vmdk_failover.finding import ERROR


@dataclass(frozen=True)
class Finding:
    """
    Something that is or may become in the way of a failover.

    :param node: the node it is about, ``""`` for the resource as a whole.
    :param code: ``controller``, ``slot_taken``, ``enable_uuid``, ``snapshot``, ``multi_writer``, ``discarding_disk``,
        ``disk_mode``, ``datastore``, ``same_host``, ``disk_unlisted``, ``unreadable``, ``no_permission``; those of
        ``clusters.py`` and ``keepers.py``.
    :param sentence: what is wrong and what to do.
    :param severity: ``error`` (a failover would fail), ``warning`` (it works, but) or ``hint``.
    :param where: name of the cluster, VM or datastore that it is about, for the command that mends it.
    """

    node: str
    code: str
    sentence: str
    severity: str = ERROR
    where: str = ""

    @property
    def severe(self) -> bool:
        """A failover would fail; otherwise it is advice."""
        return self.severity == ERROR
