"""
What is protected, as the configuration has it: a resource with its nodes, disks, mounts and options. Frozen values.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Disk:
    """
    A VMDK as it was recorded at ``protect``.

    :param path: exact backing path, ``[datastore] folder/file.vmdk``.
    :param uuid: disk UUID, lower case, hex digits only (32).
    :param bus: SCSI bus number of the controller.
    :param unit: unit number on that controller.
    :param controller: ``pvscsi``, ``lsilogic``, ``lsisas`` or ``buslogic``.
    :param mode: ``diskMode``, kept on every attach.
    :param sharing: ``sharing``, kept on every attach.
    """

    path: str
    uuid: str
    bus: int
    unit: int
    controller: str = "pvscsi"
    mode: str = "persistent"
    sharing: str = "sharingNone"


@dataclass(frozen=True)
class Mount:
    """A file system of the resource: where, which (by UUID), and with which options."""

    mountpoint: str
    fs_uuid: str
    fstype: str
    options: str = "defaults"


@dataclass(frozen=True)
class VolumeGroup:
    """An LVM volume group on the resource's disks: its name, and its UUID as ``vgs`` shows it (``""``: not recorded)."""

    name: str
    uuid: str = ""


@dataclass(frozen=True)
class Node:
    """A VM that may hold the resource: its minion id and its instance UUID (lower case, with dashes)."""

    minion: str
    vm_uuid: str


@dataclass(frozen=True)
class Timeouts:
    """Deadlines in seconds, each for the whole of the step it is named after."""

    ask: float = 2.0
    release: float = 30.0
    halt: float = 2.0
    fence: float = 60.0
    detach: float = 60.0
    attach: float = 60.0
    mount: float = 300.0
    service: float = 90.0
    seal: float = 30.0
    power_on: float = 60.0


@dataclass(frozen=True)
class Resource:
    """
    A protected set of disks and mounts that move together.

    Times are in seconds. ``on_error`` is ``switchover`` or ``halt``, ``on_agent_silent`` and ``on_isolated`` are ``hold`` or
    ``fence``, ``fence_action`` is ``off`` or ``reboot``, ``on_service_failure`` is ``hold`` or ``next`` (docs/configuration.md).

    :param fence: Salt runner function that powers a VM off when vCenter cannot; ``""``: there is none.
    :param host_fence: Salt runner function that powers an ESXi host off that is gone from vCenter; ``""``: there is none.
    :param host_fence_others: ``hold`` or ``stop``: what it means for a host fence that other VMs may run on that host.

    :param write_probe: write to a hidden file at every probe, so that failing writes of an idle file system are seen.
    :param slow_ms: mean milliseconds per request from which a disk counts as slow.
    :param full_percent: percentage from which a file system counts as nearly full.
    :param renotify: seconds between two reports of what lasts, once it was reported ten times.
    :param vgs: volume groups that lie on the disks, and on no other disk.
    :param depends_on: names of resources that have to be active on a node before this one is mounted there.
    :param on_shutdown: what follows when the holder announces that it shuts down: ``stay`` (it is given time to come back) or
        ``switchover``.
    """

    name: str
    nodes: tuple[Node, ...]
    disks: tuple[Disk, ...]
    mounts: tuple[Mount, ...]
    services: tuple[str, ...] = ()
    start_states: tuple[str, ...] = ()
    stop_states: tuple[str, ...] = ()
    on_error: str = "switchover"
    node_timeout: float = 15.0
    on_agent_silent: str = "hold"
    agent_timeout: float = 300.0
    on_isolated: str = "fence"
    hang_timeout: float = 10.0
    probe_interval: float = 1.0
    max_failovers_per_hour: int = 3
    local_tries: int = 2
    timeouts: Timeouts = field(default_factory=Timeouts)
    write_probe: bool = False
    slow_ms: float = 1000.0
    full_percent: float = 90.0
    renotify: float = 60.0
    on_service_failure: str = "hold"
    fence_action: str = "off"
    fence: str = ""
    host_fence: str = ""
    host_fence_others: str = "hold"
    vgs: tuple[VolumeGroup, ...] = ()
    depends_on: tuple[str, ...] = ()
    on_shutdown: str = "stay"

    def node(self, minion: str) -> Node:
        """Return the node called ``minion``; ``KeyError`` if it is none of this resource's."""
        for node in self.nodes:
            if node.minion == minion:
                return node
        raise KeyError(minion)
