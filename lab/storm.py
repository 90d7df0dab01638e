"""Many resources whose VMs are powered off at once, with a master that has nothing but them to look after.

The vCenter is the lab's, the engine's process, its movers, the journal and the property stream are the product's. The nodes are
in memory (files that the movers share): what they cost must not be mistaken for what the master costs.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import linux
from lab.faultdisk import ROOT
from lab.hypervisor import Vcenter
from lab.inventory import PASSWORD, USER

sys.path.append(str(ROOT / "_utils"))

from vmdk_failover import signing
from vmdk_failover.app import App, master_secret, state_dir, warm
from vmdk_failover.daemon import supervisor, watching
from vmdk_failover.errors import StepFailed

_LIMIT_S, _POLL_S = 300.0, 0.02


@dataclass(frozen=True)
class Nodes:
    """The ``SaltCall`` port over nodes that are files. answer_s, mount_s: how long an answer and a mount take."""

    place: Path
    secret: bytes
    answer_s: float
    mount_s: float

    def ask(
        self, minions: Sequence[str], function: str, kwargs: Mapping[str, Any], *_: Any
    ) -> dict[str, Any]:
        """Signed answers of all that are asked; the engine does not ask those whose VM is off."""
        time.sleep(self.answer_s)
        return {minion: self._answer(minion, str(kwargs["nonce"])) for minion in minions}

    def state(self, minion: str, state: str, kwargs: Mapping[str, Any], *_: Any) -> dict[str, Any]:
        """Mount; nothing else is asked for here."""
        if state != "vmdk.mounted":
            raise StepFailed(f"nobody should ask {minion} for {state} in this bench")
        time.sleep(self.mount_s)
        (self.place / minion).touch()
        answer = self._answer(minion, str(kwargs["permit"]["nonce"]))
        return {"result": True, "comment": "mounted", "answer": answer}

    def _answer(self, minion: str, nonce: str) -> dict[str, Any]:
        mounted = (self.place / minion).exists()
        word = {
            "minion": minion,
            "boot_id": f"boot-{minion}",
            "uptime": time.monotonic(),
            "device": mounted,
            "mounted": "mounted" if mounted else "unmounted",
            "superblock": mounted,
            "condition": "ok" if mounted else "unmounted",
        }
        return signing.sign_answer(signing.node_key(self.secret, minion), word, nonce)


class Storm:
    """
    Some resources, each with two nodes of its own, active on the first; all first nodes are on one host.

    :ivar master: makes the product. :ivar nodes_of: makes the nodes.
    """

    nodes_of = Nodes
    master: Callable[..., App] = App

    def __init__(self, place: Path, count: int, filler: int) -> None:
        self.place, self.numbers = place, range(1, count + 1)
        self.disks = {n: f"6000c29{uuid.uuid4().hex[7:]}" for n in self.numbers}
        self.vm_uuids = {m: str(uuid.uuid4()) for n in self.numbers for m in (f"a{n}", f"b{n}")}
        (place / "mounted").mkdir()
        self.vcenter = Vcenter(self._inventory(), filler=filler)
        self.engine = 0

    def _inventory(self) -> dict[str, Any]:
        controllers = [{"type": "pvscsi", "bus": 0}, {"type": "pvscsi", "bus": 1}]
        vms = [
            {
                "name": minion,
                "uuid": str(uuid.uuid4()),
                "instance_uuid": self.vm_uuids[minion],
                "host": "esx1" if minion.startswith("a") else "esx2",
                "power": "poweredOn",
                "controllers": controllers,
                "enable_uuid": True,
            }
            for minion in self.vm_uuids
        ]
        disks = [
            {
                "path": _path(n),
                "uuid": self.disks[n],
                "capacity_mb": 64,
                "attached_to": f"a{n}",
                "bus": 1,
                "unit": 0,
                "mode": "persistent",
            }
            for n in self.numbers
        ]
        who = {"username": USER, "password": PASSWORD}
        return {**who, "hosts": ["esx1", "esx2"], "datastores": ["ds1"], "vms": vms, "disks": disks}

    def options(self, pin: str) -> dict[str, Any]:
        """The master's options."""
        at = {"host": self.vcenter.host, "port": self.vcenter.port, "sha256": pin}
        resources = {
            f"r{n}": {
                "nodes": [f"a{n}", f"b{n}"],
                "vm_uuids": {m: self.vm_uuids[m] for m in (f"a{n}", f"b{n}")},
                "disks": [{"path": _path(n), "uuid": self.disks[n], "bus": 1, "unit": 0}],
                "mounts": [{"mountpoint": "/srv/data", "fs_uuid": str(uuid.UUID(int=n)), "fstype": "ext4"}],
            }
            for n in self.numbers
        }
        section = {"vcenter": {**at, "user": USER, "password": PASSWORD}, "resources": resources}
        return {"root_dir": str(self.place), "vmdk": {**section, "resources_dir": str(self.place / "none")}}

    def start(self, opts: dict[str, Any], answer_s: float, mount_s: float) -> None:
        """Start the engine's process and wait until it has found all well."""
        self.begin(opts, answer_s, mount_s)
        self._wait(lambda: len(self.told("watching")) >= len(self.numbers), "the engine does not watch")
        self._wait(lambda: _movers(self.engine) <= 1, "the engine does not come to rest")

    def begin(self, opts: dict[str, Any], answer_s: float, mount_s: float, tick: float = 3600) -> None:
        """Start the engine's process. tick: seconds between two looks at everything."""
        nodes = self.nodes_of(self.place / "mounted", master_secret(opts), answer_s, mount_s)
        for n in self.numbers:
            (nodes.place / f"a{n}").touch()
        self.engine = os.fork()
        if self.engine == 0:
            try:
                linux.die_with_parent()
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                _be_engine(opts, nodes, self.place / "told", tick, self.master)
            finally:
                os._exit(1)

    def told(self, what: str) -> list[dict[str, Any]]:
        """What the engine and its movers have told."""
        path = self.place / "told"
        lines = path.read_text().splitlines() if path.exists() else []
        return [one for one in map(json.loads, lines) if one["what"] == what]

    def strike(self) -> float:
        """All first nodes are off at once. Returns when that began (monotonic)."""
        for n in self.numbers:
            (self.place / "mounted" / f"a{n}").unlink()
        began = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: self.vcenter.guest_power(f"a{n}", "poweredOff"), self.numbers))
        return began

    def wait_done(self) -> None:
        """Wait until every resource has ended its move."""
        self._wait(lambda: len(self.told("ended")) >= len(self.numbers), "not every resource has moved")

    def _wait(self, done: Any, complaint: str) -> None:
        end = time.monotonic() + _LIMIT_S
        while not done():
            if time.monotonic() > end:
                raise SystemExit(f"storm: {complaint} within {_LIMIT_S:.0f} s; see {self.place}")
            time.sleep(_POLL_S)

    def misplaced(self) -> list[str]:
        """Disks that are not on exactly the node where they should be."""
        shown = {vm["name"]: [d["path"] for d in vm["disks"]] for vm in self.vcenter.inventory()["vms"]}
        at = {n: sorted(vm for vm, paths in shown.items() if _path(n) in paths) for n in self.numbers}
        return [f"{_path(n)}: {places}" for n, places in at.items() if places != [f"b{n}"]]

    def more(self) -> dict[str, Any]:
        """What else is measured."""
        return {}

    def close(self) -> None:
        """End the engine and the vCenter."""
        if self.engine:
            os.kill(self.engine, signal.SIGKILL)
            os.waitpid(self.engine, 0)
        self.vcenter.stop()


def _path(number: int) -> str:
    return f"[ds1] storm/disk{number}.vmdk"


def _movers(engine: int) -> int:
    return len(Path(f"/proc/{engine}/task/{engine}/children").read_text().split())


def _be_engine(
    opts: dict[str, Any], nodes: Nodes, told: Path, tick: float, master: Callable[..., App]
) -> None:
    """The master's engine, as `_engines/vmdk.py` composes it, without Salt."""
    out = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    socket = state_dir(opts) / "engine.sock"

    def tell(entry: Mapping[str, Any]) -> None:
        kept = {
            key: entry[key] for key in ("what", "resource", "result", "vcenter_calls", "took") if key in entry
        }
        os.write(out, json.dumps({**kept, "when": time.monotonic()}).encode() + b"\n")

    def recover(name: str, alive: Any) -> None:
        here = master(opts, nodes, lambda entry: (alive(0.0), tell(entry))[0], print)
        here.run(name)
        here.close()

    def hint(name: str, what: str, node: str, value: str) -> None:
        tell({"what": what, "resource": name})
        supervisor.hint(socket, name)

    supervisor.Supervisor(
        path=socket,
        recover=recover,
        watches=[lambda: watching.watch_for_ever(App(opts, nodes, tell, print), hint)],
        names=lambda: opts["vmdk"]["resources"],
        log=print,
        warm=lambda: warm(opts),
        tick=tick,
    ).serve()
