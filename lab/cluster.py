"""The lab as a whole: disks, nodes, vCenter, master and minions, up in a few seconds and gone without a trace.

with Lab() as lab:
    lab.master.run("vmdk.status")
    lab.fault("labdb1", "pgdata", "all=hang")
"""

from __future__ import annotations

import hashlib
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from lab import leftovers, require
from lab.cell import CellSpec, LabError
from lab.cellinit import PLACE
from lab.disk import Disk, make_disk
from lab.faultdisk import ROOT, Disks, FaultDisk
from lab.follower import Follower, Step
from lab.hypervisor import Vcenter, VcenterError, built
from lab.inventory import PASSWORD, USER, inventory
from lab.isolation import isolated
from lab.namespace import NamespaceNode
from lab.node import Identity, Node, Slot, new_identity
from lab.observer import Observer
from lab.saltconf import write_conf
from lab.saltlab import Master, prepare_minion
from lab.wishes import DiskWish, Wishes

MINIONS_LIMIT = 240.0


@dataclass(frozen=True)
class Followed:
    """One step of the vCenter that a node was asked to follow. outcome: done, a refusal, or empty when it began."""

    monotonic: float
    step: Step
    outcome: str


class Lab:
    """A running lab. Use it as a context manager, from a thread that may be put into namespaces of its own.

    nodes, disks: by minion id and by name. vcenter: its control client. master: calls into Salt, and its events.
    observer: the witness. follower: what the vCenter asks. followed: what it asked so far. run_dir: all files, in memory.
    source, target: minion ids of the node that scenarios strike, and of the other. patience: what limits are multiplied by.
    """

    run_dir: Path
    vcenter: Vcenter
    master: Master
    observer: Observer

    def __init__(self, wishes: Wishes | None = None, say: Callable[[str], None] = lambda _: None) -> None:
        self.wishes = wishes if wishes is not None else Wishes()
        self.nodes: dict[str, Any] = {}  # of the kind that was wished for
        self.disks: dict[str, Disk] = {}
        self.followed: list[Followed] = []
        self.reboot_after_reset = True
        self.patience = 1.0 if self.wishes.guests is None else self.wishes.guests.patience
        self.source, self.target = self.wishes.nodes[0], self.wishes.nodes[-1]
        self.say = say
        self._stack = ExitStack()

    def __enter__(self) -> Lab:
        require.check(tuple({wish.fstype for wish in self.wishes.disks}), self.wishes.salt)
        # before the network goes: the compiler may want its modules, and the image of a guest its packages
        built()
        if self.wishes.guests is not None:
            self.wishes.guests.build(self.say)
        for sentence in leftovers.give_back():
            self.say(sentence)
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stack.close()

    def _start(self) -> None:
        enter = self._stack.enter_context
        enter(isolated())
        self.run_dir = enter(leftovers.run_directory())
        (self.run_dir / "shared").mkdir()
        if self.wishes.guests is None:
            self.disks_host = enter(Disks(self.run_dir, self.wishes.hang_limit))
        else:
            self.wishes.guests.prepare(self.say)
        self.disks = {wish.name: self._make_disk(wish) for wish in self.wishes.all_disks}
        self._make_nodes()
        self.follower = enter(Follower(list(self.nodes.values()), list(self.disks.values()), self._on_step))
        self.vcenter = enter(self._make_vcenter(self.follower.url))
        if self.wishes.delays:
            self.vcenter.delays(**self.wishes.delays)
        if self.wishes.guests is not None:
            enter(self.wishes.guests.begin(self))
        if self.wishes.salt:
            self._start_salt()
        else:
            self._power_on_all()
        self.observer = enter(
            Observer(self.vcenter.control, list(self.nodes.values()), list(self.disks.values()))
        )

    # -- its parts

    def _make_disk(self, wish: DiskWish) -> Disk:
        make = make_disk if self.wishes.guests is None else self.wishes.guests.make_disk
        return make(self.run_dir, f"[ds1] shared/{wish.name}.vmdk", wish.fstype, wish.size_mb)

    def _make_nodes(self) -> None:
        make = self._make_node if self.wishes.guests is None else self.wishes.guests.make_node
        for number, name in enumerate(self.wishes.nodes, 1):
            node = make(self, new_identity(f"{name}-vm", name, number), self._given("minion"))
            self.nodes[name] = node
            self._stack.callback(node.close)
        for wish in self.wishes.all_disks:
            if wish.holder is not None:
                self._node_at(wish.holder).attach(self.disks[wish.name], wish.bus, wish.unit)

    def _make_node(self, _: Lab, identity: Identity, overrides: Mapping[str, Any]) -> NamespaceNode:
        name = identity.minion_id
        directory = self.run_dir / "n" / name
        boot = (
            (prepare_minion(directory, identity, overrides, self.wishes.synced),) if self.wishes.salt else ()
        )
        shared = {"shared": self.run_dir / "shared"}
        spec = CellSpec(name, directory, identity.address, shared, hidden=(self.run_dir,), boot=boot)
        self._make_ledger(directory, name)
        return NamespaceNode(identity, spec, self.disks_host, self.on_halt)

    def _node_at(self, number: int) -> Node:
        return self.nodes[self.wishes.nodes[number]]

    def _given(self, daemon: str) -> Mapping[str, Any]:
        wish = getattr(self.wishes, f"{daemon}_overrides")
        given: Mapping[str, Any] = wish(self) if callable(wish) else wish
        return given

    def _make_ledger(self, directory: Path, node: str) -> None:
        """The service `ledger`: lab.writer on the first disk."""
        ready = "/run/ledger.ready"
        words = [
            "--place",
            self.mountpoint(),
            "--ack",
            f"{PLACE}/shared/ledger.ack",
            "--node",
            node,
            "--ready",
            ready,
        ]
        service = {
            "argv": [sys.executable, "-E", "-s", "-S", "-m", "lab.writer", *words],
            "cwd": str(ROOT),
            "ready": ready,
        }
        write_conf(directory / "services", "ledger.json", service)
        (directory / "srv" / self.wishes.disks[0].name).mkdir(parents=True)

    def mountpoint(self, disk: str | None = None) -> str:
        """Where a disk's file system is meant to be mounted, on every node."""
        return f"/srv/{disk or self.wishes.disks[0].name}"

    def _make_vcenter(self, hook: str) -> Vcenter:
        kept, tempfile.tempdir = (
            tempfile.tempdir,
            str(self.run_dir),
        )  # its files go when the lab goes, however that goes
        try:
            started = inventory(list(self.nodes.values()), list(self.disks.values()))
            return Vcenter(
                started,
                hook=hook,
                filler=self.wishes.filler,
                log=self.run_dir / "vcenter.log",
                binary=built(),
            )
        except VcenterError as problem:
            raise LabError(str(problem)) from problem
        finally:
            tempfile.tempdir = kept

    def _power_on_all(self) -> None:
        for node in self.nodes.values():
            node.power_on()

    def _start_salt(self) -> None:
        self.master = self._stack.enter_context(
            Master(self.run_dir, self._given("master"), self.wishes.synced)
        )
        self._power_on_all()
        self.master.wait_up()
        self.master.wait_minions(self.wishes.nodes, MINIONS_LIMIT * self.patience)

    # -- what it hears

    def _on_step(self, step: Step, outcome: str) -> None:
        self.followed.append(Followed(time.monotonic(), step, outcome))

    def on_halt(self, node: Node, word: str) -> None:
        """A guest has halted or reset itself: the vCenter learns of it as of any guest's end."""
        try:
            self.vcenter.guest_power(node.name, "poweredOff")
            if word == "b" and self.reboot_after_reset:
                node.power_on()
                self.vcenter.guest_power(node.name, "poweredOn")
        except (VcenterError, LabError) as problem:  # in a thread of its own: there is nobody to raise it to
            self.say(f"{node.name} halted itself, but: {problem}")

    # -- what one does with it

    def fault(self, node: str, disk: str, words: str) -> dict[str, Any]:
        """Hurt a disk where it is attached: lab.fault("labdb1", "pgdata", "write=eio"). Returns the disk's state."""
        state: dict[str, Any] = self.nodes[node].hurt(self.disks[disk], words) or {}
        return state

    def fault_disk(self, node: str, disk: str) -> FaultDisk:
        """The disk as it is attached to a node."""
        found: FaultDisk = self.nodes[node].fault_disk(self.disks[disk])
        return found

    def crash(self, node: str) -> None:
        """The VM ends at once, as by a kernel panic; the vCenter sees it powered off."""
        self.nodes[node].halt_itself("o")

    def power_on(self, node: str) -> None:
        """A person powers the VM on: it boots with the disks of its configuration."""
        self.nodes[node].power_on()
        self.vcenter.guest_power(self.nodes[node].name, "poweredOn")

    def mount(self, node: str, disk: str | None = None) -> None:
        """Mount a disk's file system by hand, as an administrator would before `protect`. Raises LabError."""
        wanted = self.disks[disk or self.wishes.disks[0].name]
        place = self.mountpoint(wanted.name)
        link = f"/dev/disk/by-id/wwn-0x{wanted.uuid.replace('-', '')}"
        done = self.nodes[node].run(
            ["sh", "-c", f"mkdir -p {place} && mount -t {wanted.fstype} {link} {place}"]
        )
        if done.code:
            raise LabError(f"{wanted.path} cannot be mounted on {node}: {done.err.strip()}")

    def slots(self, node: str) -> Sequence[Slot]:
        """The disks in a node's configuration."""
        found: Sequence[Slot] = self.nodes[node].slots()
        return found

    def vcenter_options(self) -> dict[str, Any]:
        """The product's `vcenter:` section for this lab."""
        pin = fingerprint(self.vcenter.host, self.vcenter.port)
        where = {"host": self.vcenter.host, "port": self.vcenter.port, "sha256": pin}
        return {**where, "user": USER, "password": PASSWORD}


def fingerprint(host: str, port: int) -> str:
    """SHA-256 of the certificate that a server shows."""
    pem = ssl.get_server_certificate((host, port))
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
