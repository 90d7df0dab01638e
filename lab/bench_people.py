"""Measures what people wait for at a master with many resources: build/bench/people.json.

    python -m lab.bench_people --resources 100 --vms 1000

`salt-run` is started anew each time, as people start it; the salt-master, the event bus, the vCenter with its inventory and the
product are real. The nodes are one process that answers every job on the master's bus after a while: a hundred minions do not fit
on one machine. So the master's work on their returns is left out, which is some milliseconds each. The engine only answers that
it is there: it would act upon nodes that play no more than their answers to people.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab import linux, saltconf
from lab.faultdisk import ROOT
from lab.hypervisor import Vcenter
from lab.inventory import PASSWORD, USER
from lab.saltlab import program

sys.path.append(str(ROOT / "_utils"))
from vmdk_failover.configured import state_dir
from vmdk_failover.daemon import supervisor

OUT = ROOT / "build" / "bench" / "people.json"
GOAL_S = 3.0
_START_S = 60.0
#: A pair that is not protected yet, for `protect`.
NEW = ("n1", "n2")
MOUNT = {
    "mountpoint": "/srv/new",
    "fs_uuid": str(uuid.UUID(int=0xFEED)),
    "fstype": "ext4",
    "options": "noatime",
}


def _uuid(word: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, word))


def _disk_uuid(number: int) -> str:
    return f"6000c29{number:025x}"


class Estate:
    """Pairs of VMs, each with a disk on the first, and a master that protects all of them but one pair."""

    def __init__(self, place: Path, count: int, vms: int) -> None:
        self.place, self.count = place, count
        self.children: list[int] = []
        self.pairs = {n: (f"a{n}", f"b{n}") for n in range(1, count + 1)} | {0: NEW}
        self.vcenter = Vcenter(self._inventory(), filler=max(0, vms - 2 * (count + 1)))

    def _inventory(self) -> dict[str, Any]:
        controllers = [{"type": "pvscsi", "bus": 0}, {"type": "pvscsi", "bus": 1}]
        vms = [
            {
                "name": f"{minion}-vm",
                "uuid": _uuid(f"bios {minion}"),
                "instance_uuid": _uuid(minion),
                "host": f"esx{nth}",
                "power": "poweredOn",
                "controllers": controllers,
                "enable_uuid": True,
            }
            for pair in self.pairs.values()
            for nth, minion in enumerate(pair, 1)
        ]
        disks = [
            self._disk(f"[ds1] shared/disk{n}.vmdk", _disk_uuid(n), pair[0], 1)
            for n, pair in self.pairs.items()
        ]
        disks.append(self._disk("[ds1] n2/root.vmdk", _disk_uuid(99999), NEW[1], 0))
        who = {"username": USER, "password": PASSWORD}
        return {**who, "hosts": ["esx1", "esx2"], "datastores": ["ds1"], "vms": vms, "disks": disks}

    def _disk(self, path: str, disk_uuid: str, minion: str, bus: int) -> dict[str, Any]:
        at = {"attached_to": f"{minion}-vm", "bus": bus, "unit": 0}
        return {"path": path, "uuid": disk_uuid, "capacity_mb": 64, "mode": "persistent", **at}

    def start(self) -> None:
        """Write the master's configuration and start it."""
        from lab.cluster import fingerprint

        root = self.place / "salt"
        saltconf.place_files(root / "extmods", saltconf.ON_MASTER)
        for name in ("pillar", "vmdk.d", "pki/minions"):
            (root / name).mkdir(parents=True)
        for minion in (one for pair in self.pairs.values() for one in pair):
            (root / "pki/minions" / minion).write_text("a key\n")
        for number in range(1, self.count + 1):
            (root / "vmdk.d" / f"r{number}.yaml").write_text(json.dumps(self._resource(number)))
        pin = fingerprint(self.vcenter.host, self.vcenter.port)
        at = {"host": self.vcenter.host, "port": self.vcenter.port, "sha256": pin}
        conf = saltconf.merged(
            saltconf.master_conf(root, saltconf.make_file_root(self.place / "files")),
            {
                "publish_port": _free_port(),
                "ret_port": _free_port(),
                "ext_pillar": [{"vmdk": {}}],
                "vmdk": {"vcenter": {**at, "user": USER, "password": PASSWORD}},
            },
        )
        saltconf.write_conf(root, "master", conf)
        argv = [sys.executable, program("salt-master"), "-c", str(root), "-l", "quiet"]
        with (self.place / "console.log").open("w") as log:
            self.master = subprocess.Popen(argv, stdout=log, stderr=log, preexec_fn=linux.die_with_parent)
        self.children.append(_child(lambda: Crowd(root, self.pairs).serve()))
        self._wait_up(root)
        # salt-run reads it anew; the master, which has started, does not start this engine
        saltconf.write_conf(root, "master", {**conf, "engines": [{"vmdk": {}}]})
        self.children.append(_child(lambda: _answer_hints(conf)))
        if not linux.wait_until(lambda: supervisor.hint(_socket(conf), "") is not None, _START_S, 0.05):
            raise SystemExit("bench_people: the engine does not answer")

    def _resource(self, number: int) -> dict[str, Any]:
        pair = self.pairs[number]
        disk = {"path": f"[ds1] shared/disk{number}.vmdk", "uuid": _disk_uuid(number), "bus": 1, "unit": 0}
        mount = {**MOUNT, "mountpoint": "/srv/data", "fs_uuid": str(uuid.UUID(int=number + 1))}
        return {
            "nodes": list(pair),
            "vm_uuids": {m: _uuid(m) for m in pair},
            "disks": [disk],
            "mounts": [mount],
        }

    def _wait_up(self, root: Path) -> None:
        end = time.monotonic() + _START_S
        while not self._answers(root):
            if time.monotonic() > end or self.master.poll() is not None:
                raise SystemExit(
                    f"bench_people: the master or its nodes do not answer; see {self.place}/console.log"
                )

    def _answers(self, root: Path) -> bool:
        argv = [
            sys.executable,
            program("salt"),
            "-c",
            str(root),
            "--out=json",
            "-t",
            "2",
            "-L",
            "a1",
            "test.ping",
        ]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        return '"a1": true' in done.stdout

    def command(self, *arguments: str) -> dict[str, Any]:
        """Run `salt-run` once: wall and CPU seconds, what it needs of memory at most, and its answer."""
        argv = [sys.executable, program("salt-run"), "-c", str(self.place / "salt"), "--out=json", *arguments]
        out = self.place / "answer"
        began = time.monotonic()
        with out.open("w") as answer, (self.place / "errors").open("w") as errors:
            child = subprocess.Popen(argv, stdout=answer, stderr=errors)
            _, _, usage = os.wait4(child.pid, 0)
        took = time.monotonic() - began
        text = out.read_text()
        try:
            said = json.loads(text[text.index("{") :])
        except ValueError:
            raise SystemExit(f"bench_people: {arguments} gave no answer: {text[-2000:]}") from None
        cpu = usage.ru_utime + usage.ru_stime
        return {"wall": took, "cpu": cpu, "memory_mb": usage.ru_maxrss / 1024, "said": said}

    def close(self) -> None:
        """End all of it."""
        for pid in self.children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        if hasattr(self, "master"):
            self.master.terminate()
            self.master.wait(30)
        self.vcenter.stop()


def _child(work: Callable[[], None]) -> int:
    """Do something for ever in a process of its own, which ends with this one; its id."""
    pid = os.fork()
    if pid == 0:
        try:
            linux.die_with_parent()
            work()
        finally:
            os._exit(1)
    return pid


def _answer_hints(conf: Mapping[str, Any]) -> None:
    """An engine without resources, and without anything that it watches."""
    supervisor.Supervisor(_socket(conf), lambda name, alive: None, (), tuple, print).serve()


def _socket(conf: Mapping[str, Any]) -> Path:
    return state_dir(conf) / "engine.sock"


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Crowd:
    """All nodes: hears jobs on the master's bus and answers for each node, as it would."""

    def __init__(self, root: Path, pairs: Mapping[int, Sequence[str]], answer_s: float = 0.15) -> None:
        import salt.config

        from vmdk_failover import signing
        from vmdk_failover.app import master_secret
        from vmdk_failover.judgement import config

        self.answer_s, self.signing = answer_s, signing
        self.opts = salt.config.master_config(str(root / "master"))
        self.numbers = {minion: n for n, pair in pairs.items() for minion in pair}
        self.firsts = {pair[0] for pair in pairs.values()}
        self.keys = {m: signing.node_key(master_secret(self.opts), m) for m in self.numbers}
        bodies = {path.stem: json.loads(path.read_text()) for path in (root / "vmdk.d").glob("*.yaml")}
        self.resources = {name: config.parse_resource(name, body)[0] for name, body in bodies.items()}

    def serve(self) -> None:
        """Answer until killed."""
        import salt.utils.event

        sock_dir = self.opts["sock_dir"]
        while not (Path(sock_dir) / "master_event_pub.ipc").exists():
            time.sleep(0.05)
        with salt.utils.event.get_master_event(self.opts, sock_dir, listen=True) as bus:
            while True:
                heard = bus.get_event(wait=5, tag="salt/job/", full=True)
                if heard and heard["tag"].endswith("/new"):
                    self._answer(bus, heard["data"])

    def _answer(self, bus: Any, job: Mapping[str, Any]) -> None:
        time.sleep(self.answer_s)
        given = next((one for one in job.get("arg") or () if isinstance(one, Mapping)), {})
        for minion in job.get("minions") or ():
            told = {"jid": job["jid"], "id": minion, "fun": job["fun"], "retcode": 0, "success": True}
            told["return"] = self._said(minion, str(job["fun"]), given)
            bus.fire_event(told, f"salt/job/{job['jid']}/ret/{minion}")

    def _said(self, minion: str, function: str, given: Mapping[str, Any]) -> Any:
        import salt.version

        from vmdk_failover import __version__

        if function == "vmdk.all_facts":
            return self._facts(minion, given)
        if function == "vmdk.doctor":
            return {"ok": True, "findings": [], "version": __version__, "salt": salt.version.__version__}
        if function == "vmdk.look":
            first = minion == NEW[0]
            below = {**MOUNT, "mounted": True, "disk_uuids": [_disk_uuid(0)]} if first else {"mounted": False}
            seen = [_disk_uuid(0 if first else 99999)]
            told = {"version": __version__, "salt": salt.version.__version__}
            return {**below, "all_disk_uuids": seen, "smbios_uuid": _uuid(f"bios {minion}"), **told}
        return True

    def _facts(self, minion: str, given: Mapping[str, Any]) -> dict[str, Any]:
        name = f"r{self.numbers[minion]}"
        resource = self.resources.get(name)
        if resource is None or name not in given["names"]:
            return {}
        first = minion in self.firsts
        word = {
            "minion": minion,
            "boot_id": f"boot-{minion}",
            "uptime": time.monotonic(),
            "device": first,
            "mounted": "mounted" if first else "unmounted",
            "superblock": first,
            "condition": "ok" if first else "unmounted",
            "smbios": _uuid(f"bios {minion}"),
        }
        mark = self.signing.part_of(str(given["nonce"]), resource)
        return {name: self.signing.sign_answer(self.keys[minion], word, mark)}


# -- measuring ------------------------------------------------------------------------------------------------------

#: What people type, and what its answer must hold for the figure to count.
COMMANDS: Mapping[str, Sequence[str]] = {
    "status": ("vmdk.status",),
    "doctor": ("vmdk.doctor",),
    "protect": (
        "vmdk.protect",
        "new",
        f"node={NEW[0]}",
        "mountpoint=/srv/new",
        f"backups={NEW[1]}",
        "test=True",
    ),
    "nothing": ("test.arg",),
}


def _is_true(what: str, said: Mapping[str, Any], count: int) -> bool:
    if what == "status":
        return bool(said.get("all_well")) and len(said["resources"]) == count
    if what == "doctor":
        return bool(said.get("ok"))
    return what == "nothing" or said.get("written") is False


def run(count: int, vms: int, times: int) -> list[dict[str, Any]]:
    """Measure every command."""
    with tempfile.TemporaryDirectory(prefix="vmdk-people-") as name:
        estate = Estate(Path(name), count, vms)
        try:
            estate.start()
            return [_measured(estate, what, words, times) for what, words in COMMANDS.items()]
        finally:
            estate.close()


def _measured(estate: Estate, what: str, words: Sequence[str], times: int) -> dict[str, Any]:
    estate.command(*words)  # the first one writes byte code
    found = [estate.command(*words) for _ in range(times)]
    whole = [one for one in found if _is_true(what, one["said"], estate.count)]
    if not whole:
        raise SystemExit(f"bench_people: {what} gave another answer: {json.dumps(found[0]['said'])[:3000]}")
    # where the machine is overloaded, an answer may come too late to count
    found, left_out = whole, times - len(whole)
    row = {
        "what": what,
        "resources": estate.count,
        "runs": len(found),
        "left_out": left_out,
        "load": round(os.getloadavg()[0], 1),
    }
    for key, digits in (("wall", 2), ("cpu", 2), ("memory_mb", 0)):
        row[key] = round(statistics.median(one[key] for one in found), digits)
    row["wall_best"] = round(min(one["wall"] for one in found), 2)
    print(
        f"salt-run vmdk.{what:8} {row['wall']:5.2f} s (best {row['wall_best']:.2f}), {row['cpu']:.2f} s of CPU, "
        f"{row['memory_mb']:.0f} MB at load {row['load']}",
        flush=True,
    )
    return row


def main(argv: Sequence[str]) -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench_people", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--resources", type=int, default=100, metavar="N", help="protected resources, two nodes each"
    )
    parser.add_argument("--vms", type=int, default=1000, metavar="N", help="VMs in the inventory")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="how often each command is run")
    given = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results = run(given.resources, given.vms, given.runs)
    print(f"goal: {GOAL_S:g} s each; 'nothing' is salt-run with test.arg, Salt's own share")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
