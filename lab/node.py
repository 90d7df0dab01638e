"""Nodes: what the lab needs of a virtual machine, whatever it is made of."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lab.cell import Done, LabError
from lab.disk import Disk
from lab.mounts import Mount


class Locked(LabError):
    """The disk is in use by another running node, as VMFS would say."""


@dataclass(frozen=True)
class Slot:
    """A disk in a node's configuration, and where: SCSI bus and unit."""

    disk: Disk
    bus: int
    unit: int


@dataclass(frozen=True)
class Identity:
    """Who a node is. name: of its VM. minion_id: in Salt. uuid: SMBIOS. instance_uuid: the vCenter's. address: IPv4,
    answers while the node runs."""

    name: str
    minion_id: str
    uuid: str
    instance_uuid: str
    address: str


class Node(ABC):
    """A virtual machine of the lab. Every call returns when it is done, or raises LabError within its own deadline."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity

    @property
    def name(self) -> str:
        """The name of the VM."""
        return self.identity.name

    @property
    def minion_id(self) -> str:
        """Its name in Salt."""
        return self.identity.minion_id

    @property
    @abstractmethod
    def is_running(self) -> bool:
        """Whether it is powered on."""

    @abstractmethod
    def power_on(self) -> None:
        """Boot it with the disks of its configuration. Nothing happens when it runs. Raises Locked."""

    @abstractmethod
    def power_off(self) -> None:
        """Cut the power. On return nothing of it can write any more and its disks are free for others."""

    @abstractmethod
    def freeze(self) -> None:
        """Stop all its processors and disks, as a suspend or a stunned host does; it keeps its disks."""

    @abstractmethod
    def thaw(self) -> None:
        """Let a frozen node go on."""

    @property
    @abstractmethod
    def is_frozen(self) -> bool:
        """Whether it stands still."""

    @property
    def answers(self) -> bool:
        """Whether a program can be run inside: it runs, does not stand still, and has booted."""
        return self.is_running and not self.is_frozen

    @abstractmethod
    def die(self) -> None:
        """Let the guest end by itself, with all that is in it; returns at once."""

    @abstractmethod
    def halt_itself(self, word: str) -> None:
        """Let the guest power itself off (`o`) or reset itself (`b`), and wait until that has happened. Raises LabError."""

    @abstractmethod
    def isolate(self) -> None:
        """Take its network away; all in it goes on."""

    @abstractmethod
    def rejoin(self) -> None:
        """Give its network back, if it runs."""

    @abstractmethod
    def unreachable(self) -> None:
        """Let its address answer no more; of guests, the same as `isolate`."""

    @abstractmethod
    def reachable(self) -> None:
        """Let its address answer again, if it runs."""

    @abstractmethod
    def signal_agent(self, sign: int) -> None:
        """Send a signal to its minion and all that belongs to it, and to nothing else on it."""

    @abstractmethod
    def has_agent(self) -> bool:
        """Whether its minion, or something that belongs to it, is there. Raises LabError."""

    @abstractmethod
    def start_agent(self) -> None:
        """Start its minion, as a person does. Raises LabError."""

    @abstractmethod
    def close(self) -> None:
        """Power it off for good and give back what it had of the machine."""

    @abstractmethod
    def attach(self, disk: Disk, bus: int, unit: int) -> None:
        """Put a disk into its configuration; a running node sees it at once. Raises Locked."""

    @abstractmethod
    def detach(self, disk: Disk) -> None:
        """Take a disk out of its configuration; a running node loses it at once, mounted or not."""

    @abstractmethod
    def hurt(self, disk: Disk, words: str) -> Any:
        """Let requests to a disk fail or wait: "all=eio", "all=hang", "ok" and others. Raises LabError."""

    @abstractmethod
    def device_of(self, disk: Disk) -> int | None:
        """The device number that a disk has inside, as os.makedev makes it; None while it is not there."""

    def devices_of(self, disk: Disk) -> tuple[int, ...]:
        """The same, and the numbers of what its kernel has made of the disk, such as the volumes of LVM on it."""
        device = self.device_of(disk)
        return () if device is None else (device,)

    @abstractmethod
    def run(self, argv: Sequence[str], seconds: float = 10.0) -> Done:
        """Run a program inside. Raises LabError when it takes longer than `seconds`."""

    @abstractmethod
    def tell(self, script: str) -> None:
        """Have a shell inside do something, and wait for nothing: it may be stuck in a disk, or end the node."""

    @abstractmethod
    def mounts(self) -> list[Mount]:
        """The mount table as its programs see it; empty while it is off. Never waits for a disk."""

    @abstractmethod
    def slots(self) -> list[Slot]:
        """The disks of its configuration."""


def new_identity(name: str, minion_id: str, number: int) -> Identity:
    """The identity of the lab's node `number` (1 to 200), the same in every lab."""
    smbios, instance = (
        str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.{kind}.lab")) for kind in ("smbios", "instance")
    )
    return Identity(name, minion_id, smbios, instance, f"10.77.0.{number}")
