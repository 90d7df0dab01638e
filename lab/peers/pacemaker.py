"""Two of the lab's nodes as a cluster of Pacemaker and Corosync, from Debian's packages, with defaults wherever there are any.

Each node has its own /var/lib/pacemaker, /var/lib/corosync, /var/log, /run and /dev/shm in its cell, and its own sockets
in its own /run: nothing of the machine is changed, and everything ends with the cell.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from lab.cell import LabError
from lab.cellinit import PLACE
from lab.cluster import Lab
from lab.faultdisk import ROOT
from lab.inventory import PASSWORD, USER
from lab.linux import wait_until
from lab.peers import cib, disk_agent, fence_agent
from lab.scenarios import DISK, FIRST, SECOND

PACKAGES = "pacemaker, corosync, pacemaker-cli-utils and resource-agents"
_UP_S = 120.0

COROSYNC = """totem {{
    version: 2
    cluster_name: lab
    transport: knet
    crypto_cipher: none
    crypto_hash: none
}}
nodelist {{
    node {{
        name: {first}
        nodeid: 1
        ring0_addr: {first_address}
    }}
    node {{
        name: {second}
        nodeid: 2
        ring0_addr: {second_address}
    }}
}}
quorum {{
    provider: corosync_votequorum
    two_node: 1
}}
logging {{
    to_logfile: yes
    logfile: {log}
    to_syslog: no
    timestamp: hires
}}
"""

START = """set -e
for place in pacemaker corosync; do
    mount -t tmpfs -o mode=755 tmpfs /var/lib/$place
done
mount -t tmpfs -o mode=755 tmpfs /var/log
mkdir -p /var/log/pacemaker /var/log/corosync /run/crm /run/resource-agents
for name in cib pengine cores blackbox; do mkdir -p /var/lib/pacemaker/$name; done
chown -R hacluster:haclient /var/lib/pacemaker /var/log/pacemaker /run/crm
for name in sbin agents; do mkdir -p {place}/$name/upper {place}/$name/work; done
over() {{
    mount -t overlay -o "lowerdir=$1,upperdir={place}/$2/upper,workdir={place}/$2/work" overlay "$1"
}}
over /usr/sbin sbin
over /usr/lib/ocf/resource.d agents
mkdir -p /etc/libqb /etc/corosync /usr/lib/ocf/resource.d/lab
touch /etc/libqb/force-filesystem-sockets
cp {place}/corosync.conf /etc/corosync/corosync.conf
printf '{hosts}' > /etc/hosts
cp {place}/vmdk.sh /usr/lib/ocf/resource.d/lab/vmdk
cp {place}/fence_lab.sh /usr/sbin/fence_lab
chmod 755 /usr/lib/ocf/resource.d/lab/vmdk /usr/sbin/fence_lab
corosync
"""


#: The agents' manuals are read by a user who may not be allowed to run this Python.
AGENT = """#!/bin/sh
case "$1 $2" in
meta-data*|*metadata*) cat <<'END'
{manual}
END
exit 0;;
esac
cd {root} && exec {python} -m {module} "$@"
"""


@dataclass(frozen=True)
class Said:
    """One line of a log. monotonic: when it was read, a few milliseconds after it was written."""

    monotonic: float
    node: str
    text: str


class Logs:
    """Reads the logs of the cluster while they are written."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._paths, self._at = paths, dict.fromkeys(paths, 0)
        self.lines: list[Said] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="logs", daemon=True)

    def __enter__(self) -> Logs:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(5)

    def _read(self) -> None:
        while not self._stop.wait(0.01):
            for node, path in self._paths.items():
                if not path.exists():
                    continue
                with path.open("rb") as file:
                    file.seek(self._at[node])
                    data = file.read()
                whole = data[: data.rfind(b"\n") + 1]
                self._at[node] += len(whole)
                now = time.monotonic()
                self.lines += [Said(now, node, line) for line in whole.decode(errors="replace").splitlines()]

    def first(self, fits: Callable[[str], object], since: float) -> Said | None:
        """The first line after a moment that fits."""
        return next((one for one in list(self.lines) if one.monotonic >= since and fits(one.text)), None)


def log_of(lab: Lab, node: str) -> Path:
    """Where the log of a node's Pacemaker is, outside the cell."""
    return lab.run_dir / "shared" / f"{node}-pacemaker.log"


def _corosync(lab: Lab, node: str) -> str:
    first, second = (lab.nodes[name].identity.address for name in (FIRST, SECOND))
    log = f"{PLACE}/shared/{node}-corosync.log"
    return COROSYNC.format(first=FIRST, second=SECOND, first_address=first, second_address=second, log=log)


def start_node(lab: Lab, name: str) -> None:
    """Start Corosync and Pacemaker on a node. Raises LabError."""
    node = lab.nodes[name]
    place = lab.run_dir / "n" / name
    (place / "corosync.conf").write_text(_corosync(lab, name), encoding="ascii")
    for file, agent in (("vmdk.sh", disk_agent), ("fence_lab.sh", fence_agent)):
        words = AGENT.format(manual=agent.METADATA, root=ROOT, python=sys.executable, module=agent.__name__)
        (place / file).write_text(words, encoding="ascii")
    hosts = "127.0.0.1 localhost\\n" + "".join(
        f"{one.identity.address} {key}\\n" for key, one in lab.nodes.items()
    )
    script = START.format(place=PLACE, hosts=hosts)
    done = node.run(["sh", "-c", script], 30.0)
    if done.code:
        raise LabError(f"corosync does not start on {name}: {done.err.strip()[-500:]}")
    environment = {
        "PCMK_logfile": f"{PLACE}/shared/{name}-pacemaker.log",
        "PCMK_logfacility": "none",
        "PCMK_ipc_type": "socket",
    }
    node.cell.start(["env", *(f"{key}={value}" for key, value in environment.items()), "pacemakerd", "-f"])


class Cluster:
    """The cluster on the lab's nodes, up with all its resources on the first node. Use it as a context manager."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.logs = Logs({name: log_of(lab, name) for name in (FIRST, SECOND)})
        self.settings = cib.settings(_facts(lab))

    def __enter__(self) -> Cluster:
        if missing := [name for name in ("corosync", "pacemakerd", "cibadmin") if not shutil.which(name)]:
            raise LabError(f"{', '.join(missing)} is missing; run `scripts/system-packages.sh --peers`")
        self.logs.__enter__()
        try:
            for name in (FIRST, SECOND):
                start_node(self._lab, name)
            self._configure()
        except BaseException:
            self.logs.__exit__()
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.logs.__exit__()

    def _configure(self) -> None:
        place = self._lab.run_dir / "n" / FIRST / "cib.xml"
        place.write_text(cib.xml(self.settings, (FIRST, SECOND)), encoding="utf-8")
        if not wait_until(self._both_online, _UP_S, 0.2):
            raise LabError(f"the cluster did not form within {_UP_S:.0f} s: {self.status()}")
        self.run("cibadmin", "--replace", "--scope", "configuration", "-x", f"{PLACE}/cib.xml")

    def _both_online(self) -> bool:
        done = self._lab.nodes[FIRST].run(["crm_mon", "-1", "--output-as=xml"], 20.0)
        return done.code == 0 and done.out.count('online="true"') >= 2 and 'with_quorum="true"' in done.out

    def run(self, *argv: str) -> str:
        """Run a tool of the cluster on its second node, which no fault strikes. Raises LabError."""
        name = FIRST if argv[0] == "cibadmin" else SECOND
        done = self._lab.nodes[name].run(argv, 30.0)
        if done.code:
            raise LabError(f"{argv[0]} on {name} failed: {(done.err or done.out).strip()[-300:]}")
        return done.out

    def status(self) -> str:
        """What crm_mon shows."""
        return self._lab.nodes[SECOND].run(["crm_mon", "-1", "-r", "-f"], 20.0).out


def _facts(lab: Lab) -> cib.Facts:
    disk = lab.disks[DISK]
    acknowledged = f"{PLACE}/shared/ledger.ack"
    return cib.Facts(
        path=disk.path,
        device=f"/dev/disk/by-id/wwn-0x{disk.uuid.replace('-', '')}",
        fstype=disk.fstype,
        mountpoint=lab.mountpoint(DISK),
        vms=tuple(lab.nodes[name].name for name in (FIRST, SECOND)),
        login={"ip": lab.vcenter.host, "ipport": lab.vcenter.port, "login": USER, "passwd": PASSWORD},
        program=sys.executable,
        options=f"-E -s -S -m lab.writer --place {lab.mountpoint(DISK)} --ack {acknowledged} --node $(uname -n)",
        directory=str(ROOT),
    )
