"""
The words of the product: frozen values, no behaviour beyond questions about themselves.

Three-valued facts are ``bool | None``: ``None`` is *unknown* and never counts as the good answer. What vCenter says of a VM
is :class:`VmFacts`, what a node says of itself is :class:`NodeFacts`; they are kept apart because only the first is proof.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vmdk_failover.resource import Disk, Mount, Node, Resource, Timeouts, VolumeGroup
from vmdk_failover.words import (
    DISPUTES,
    FAILED_CONDITIONS,
    UNWATCHED,
    WARNINGS,
    Condition,
    MountState,
    MoveKind,
    Power,
    Result,
    StepKind,
)

__all__ = [
    "DISPUTES",
    "FAILED_CONDITIONS",
    "UNWATCHED",
    "WARNINGS",
    "Condition",
    "Crowd",
    "Disk",
    "DiskFacts",
    "HypervisorFacts",
    "Mount",
    "MountState",
    "Move",
    "MoveKind",
    "Node",
    "NodeFacts",
    "Outcome",
    "Permit",
    "Power",
    "Resource",
    "Result",
    "Signs",
    "Step",
    "StepKind",
    "Timeouts",
    "VmFacts",
    "VolumeGroup",
    "move_from_plain",
    "node_facts_from_plain",
    "resource_from_plain",
    "to_plain",
]


@dataclass(frozen=True)
class DiskFacts:
    """One virtual disk in a VM's device list, as vCenter shows it. ``uuid`` as in :class:`Disk`."""

    path: str
    uuid: str
    bus: int
    unit: int
    key: int
    mode: str = "persistent"
    sharing: str = "sharingNone"


@dataclass(frozen=True)
class VmFacts:
    """
    What vCenter says of one node's VM in one answer. ``None`` means that the property could not be read.

    :param present: the VM with the recorded instance UUID exists.
    :param connected: VM *and* its host are connected; a cached word of a disconnected host is worth nothing.
    :param disks: its device list.
    :param slots: (bus, unit) pairs that are taken on its SCSI controllers.
    :param controllers: (bus, type) of its SCSI controllers.
    :param snapshot: the VM has a snapshot that keeps a disk of the resource from being detached.
    :param task: description of a task that is queued or running on the VM, ``""`` if none.
    :param heartbeat: guest heartbeat ``green``, ``yellow``, ``red``, ``gray`` or ``""`` (unset).
    :param boot_time: vCenter's boot time of the VM, ISO text, ``""`` if unset.
    :param host_connected: the host alone is connected; a VM can be out of reach on a host that is well.
    :param question: what the VM waits with until somebody answers it in vCenter, ``""`` if it does not.
    :param full: that question is that its datastore has no space left.
    :param smbios: SMBIOS UUID of the VM as vCenter has it, ``""`` if it cannot be read.
    :param copies: how many VMs have the recorded instance UUID, if it is more than one.
    :param beside: (name, instance UUID) of other VMs that vCenter last showed on its host and not off; asked for only while the
        host is gone and could be fenced, ``None``: not known.
    :param hosts: how many ESXi hosts of its host's cluster are gone, and how many there are; asked for with ``beside``.
    """

    minion: str
    ref: str = ""
    name: str = ""
    present: bool | None = None
    power: Power = Power.UNKNOWN
    connected: bool | None = None
    change_version: str = ""
    disks: tuple[DiskFacts, ...] | None = None
    slots: frozenset[tuple[int, int]] | None = None
    controllers: tuple[tuple[int, str], ...] | None = None
    snapshot: bool | None = None
    task: str | None = None
    heartbeat: str = ""
    host: str = ""
    boot_time: str = ""
    host_connected: bool | None = None
    question: str = ""
    full: bool = False
    smbios: str = ""
    copies: int = 0
    beside: tuple[tuple[str, str], ...] | None = None
    hosts: tuple[int, int] | None = None

    @property
    def is_off(self) -> bool:
        """Power was read back as off in an answer that also shows VM and host connected."""
        return self.power is Power.OFF and self.connected is True

    @property
    def host_gone(self) -> bool:
        """Its host is not connected to vCenter, as far as can be seen."""
        return self.present is True and self.connected is False and self.host_connected is not True

    def lists(self, disk: Disk) -> bool | None:
        """
        Whether the VM lists ``disk``: exact path *and* UUID. A match of only one of them is unknown, also beside the disk itself:
        a guest that has a copy with the same UUID cannot tell which of the two it mounts, or lets go of.
        """
        if self.present is False:
            return False
        if self.disks is None:
            return None
        found = False
        for mine in self.disks:
            same = mine.path == disk.path
            if same is not (mine.uuid == disk.uuid):
                return None
            found = found or same
        return found


@dataclass(frozen=True)
class HypervisorFacts:
    """One look at vCenter: readable or not (then why), and one :class:`VmFacts` per node of the resource."""

    readable: bool
    reason: str = ""
    vms: tuple[VmFacts, ...] = ()

    def vm(self, minion: str) -> VmFacts:
        """Return the facts of ``minion``'s VM; all unknown if there are none."""
        for vm in self.vms:
            if vm.minion == minion:
                return vm
        return VmFacts(minion=minion)


@dataclass(frozen=True)
class NodeFacts:
    """
    A node's own signed word on one resource. Verified before it becomes this value; still only a word.

    :param boot_id: kernel boot id.
    :param uptime: seconds of the node's own boot clock at the answer; permits count their deadline on it.
    :param epoch: highest epoch the node has acted under for this resource.
    :param device: every disk of the resource is visible in the guest.
    :param mounted: state of the mount points.
    :param superblock: a file system of the resource's disks is alive in the guest's kernel (any namespace).
    :param busy: ``""`` or who holds the device exclusively / which fs tool runs on it, as part of a sentence.
    :param condition: prober's word, with ``evidence``.
    :param released: epoch of the last proven clean release since boot that still holds, else ``None``.
    :param unready: why the node could not take the resource now, one phrase each; empty means ready.
    :param services: every service of the resource runs; ``None`` if not known or there are none to know of.
    :param smbios: SMBIOS UUID of the machine that the node runs in, ``""`` if it does not know it.
    :param bound: where it is mounted, what on the disks keeps other nodes from mounting it, with what to do, one phrase each.
    """

    minion: str
    boot_id: str
    uptime: float
    epoch: int = 0
    device: bool | None = None
    mounted: MountState = MountState.UNKNOWN
    superblock: bool | None = None
    busy: str = ""
    condition: Condition = Condition.UNKNOWN
    evidence: str = ""
    released: int | None = None
    unready: tuple[str, ...] = ()
    services: bool | None = None
    version: str = ""
    smbios: str = ""
    bound: tuple[str, ...] = ()


@dataclass(frozen=True)
class Signs:
    """
    What the master itself notices of a node that gives no answer.

    :param silent: seconds without a signed heartbeat, by the master's own clock, counted from the last thing that excuses
        silence (a boot, a task on the VM, a restart of the engine); negative while such an excuse lasts. ``None``: not known,
        nobody listens.
    :param address: whether its last signed address answers the master. ``None``: not known, or it could not be tried.
    :param heard: seconds since its last signed heartbeat, whatever excuses silence. ``None``: none since the master booted.
    :param unanswered: seconds since the first of the questions in a row that it gave no answer to, or since a boot or a task on
        the VM if that is later. ``None``: not known.
    """

    silent: float | None = None
    address: bool | None = None
    heard: float | None = None
    unanswered: float | None = None


@dataclass(frozen=True)
class Crowd:
    """
    Nodes of *other* resources.

    :param running: those that vCenter does not show stopped, nor on a host that is gone. :param silent: how many of them are.
    :param lost: how many silent ones are on each host that is gone, by its name.
    """

    running: int = 0
    silent: int = 0
    lost: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Move:
    """
    An intent: bring ``resource`` (frozen as it was) from ``source`` to ``target``. All that outlives a crash.

    ``source`` is the node that listed the disk when the move began; it equals ``target`` for local moves and is ``""`` if
    no node listed it. ``condition`` is the failure that it reported then, ``""`` if none.
    """

    resource: Resource
    kind: MoveKind
    source: str
    target: str
    epoch: int
    reason: str
    rule: int = 0
    condition: str = ""

    @property
    def is_local(self) -> bool:
        """Whether the resource stays on the node whose VM lists its disks."""
        return self.source == self.target


@dataclass(frozen=True)
class Step:
    """One act on one node."""

    kind: StepKind
    node: str


@dataclass(frozen=True)
class Outcome:
    """
    How a step ended.

    :param evidence: what was seen, one sentence.
    :param code: error code if it did not end well.
    :param took: seconds.
    :param facts: the node's signed word after the step, where the step ran on a node that answered.
    :param basis: for a reconfigure, the ``changeVersion`` that the request carried: it cannot be carried out after the VM
        has got another one.
    """

    step: Step
    result: Result
    evidence: str = ""
    code: str = ""
    took: float = 0.0
    facts: NodeFacts | None = None
    basis: str = ""


@dataclass(frozen=True)
class Permit:
    """
    The master's signed leave to act: this resource, node, boot and epoch, this act, until this time of the node's clock.

    :param deadline: seconds of the node's own boot clock (``NodeFacts.uptime``).
    :param digest: digest of the resource as sent, so that nothing else can be done under the permit.
    """

    resource: str
    node: str
    act: str
    epoch: int
    boot_id: str
    deadline: float
    nonce: str
    digest: str
    signature: str = ""


_ATOMS = frozenset({str, int, float, bool, type(None)})


@functools.cache
def _fields_of(kind: type) -> tuple[str, ...] | None:
    """Names of a dataclass' fields, ``None`` for any other class; asked for at every step, and never another one."""
    return tuple(f.name for f in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else None


def to_plain(value: Any) -> Any:
    """Turn a value of this module into dicts, lists, strings and numbers, fit for JSON and for Salt's event bus."""
    kind: type = type(value)
    if kind in _ATOMS:
        return value
    names = _fields_of(kind)
    if names is not None:
        return {name: to_plain(getattr(value, name)) for name in names}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (tuple, list, frozenset, set)):
        return [to_plain(item) for item in (sorted(value) if isinstance(value, (frozenset, set)) else value)]
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    return value


def resource_from_plain(plain: Mapping[str, Any]) -> Resource:
    """
    Rebuild a :class:`Resource` from :func:`to_plain`'s form (a journal, a state's argument).

    :raises KeyError, TypeError: if it is not of that form.
    """
    data = dict(plain)
    data["nodes"] = tuple(Node(**n) for n in data["nodes"])
    data["disks"] = tuple(Disk(**d) for d in data["disks"])
    data["mounts"] = tuple(Mount(**m) for m in data["mounts"])
    data["vgs"] = tuple(VolumeGroup(**v) for v in data.get("vgs", ()))
    data["timeouts"] = Timeouts(**data.get("timeouts", {}))
    for key in ("services", "start_states", "stop_states", "depends_on"):
        data[key] = tuple(data.get(key, ()))
    return Resource(**data)


def move_from_plain(plain: Mapping[str, Any]) -> Move:
    """Rebuild a :class:`Move` from :func:`to_plain`'s form."""
    data = dict(plain)
    data["resource"] = resource_from_plain(data["resource"])
    data["kind"] = MoveKind(data["kind"])
    return Move(**data)


#: Types of a node's word; what is not of these is not read.
_WORD: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("minion", "boot_id", "busy", "evidence", "version", "smbios"), (str,)),
    **dict.fromkeys(("device", "superblock", "services"), (bool, type(None))),
    "uptime": (int, float),
    "epoch": (int,),
    "released": (int, type(None)),
    **dict.fromkeys(("unready", "bound"), (list, tuple)),
}
#: Numbers of a node's word: the highest that is possible (seconds, epochs); none is negative.
_HIGHEST: Mapping[str, float] = {"uptime": 1e11, "epoch": 1e15, "released": 1e15}


def node_facts_from_plain(plain: Mapping[str, Any]) -> NodeFacts:
    """Rebuild :class:`NodeFacts` from a node's plain answer; unknown keys are ignored, wrong types raise ``ValueError``."""
    known = {f.name for f in dataclasses.fields(NodeFacts)}
    data = {key: value for key, value in plain.items() if key in known}
    wrong = sorted(key for key, kinds in _WORD.items() if key in data and type(data[key]) not in kinds)
    if wrong:
        raise ValueError(f"a node's answer cannot be read: {', '.join(wrong)} of a wrong type")
    for key, highest in _HIGHEST.items():
        if data.get(key) is not None and not 0 <= data[key] <= highest:  # nor is it NaN
            raise ValueError(f"a node's answer cannot be read: {key} is no possible number")
    try:
        data["mounted"] = MountState(data.get("mounted", "unknown"))
        data["condition"] = Condition(data.get("condition", "unknown"))
        data |= {key: tuple(str(one) for one in data.get(key, ())) for key in ("unready", "bound")}
        data["uptime"] = float(data["uptime"])
        return NodeFacts(**data)
    except (KeyError, TypeError, ValueError) as err:
        raise ValueError(f"a node's answer cannot be read: {err}") from err
