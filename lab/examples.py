"""The example of PostgreSQL, for real: a row that was committed before a power cut is there on the other node.

    python -m lab.examples

The page's steps are taken as they are printed, with the example's states (docs/examples/postgresql/node.sls) and the cluster
that Debian's package makes; in place of systemd a script of the lab calls what its unit calls. Needs PostgreSQL from Debian's
packages (scripts/system-packages.sh --examples). Prints one JSON object.
"""

from __future__ import annotations

import json
import pwd
import sys
import time
from pathlib import Path
from typing import Any

from lab import product
from lab.cell import LabError
from lab.cluster import Lab
from lab.faultdisk import ROOT
from lab.linux import wait_until
from lab.saltconf import write_conf
from lab.scenarios import DISK, FIRST, SECOND
from lab.wishes import Wishes

_LIMIT = 120.0
_READY = "/run/pg.ready"
_AS = "setpriv --reuid=postgres --regid=postgres --clear-groups"
#: What the package leaves on a node: a configuration and an empty cluster of its own. The machine's are left alone. It listens
#: on its socket alone: the lab's nodes have one network.
_INSTALL = """
set -e
for place in /var/lib/postgresql /var/log/postgresql; do
    mount -t tmpfs -o mode=755 none $place
    chown postgres:postgres $place
done
rm -rf /etc/postgresql/{version}
pg_createcluster {version} main --start-conf=auto --port=5432
echo "listen_addresses = ''" >> /etc/postgresql/{version}/main/postgresql.conf
"""
#: What Debian's unit calls.
_START = """
(for _ in $(seq 1000); do {bin}/pg_isready -q && touch {ready} && break; sleep 0.1; done) &
exec pg_ctlcluster --skip-systemctl-redirect --foreground {version}-main start
"""


def programs() -> Path:
    """Where PostgreSQL's programs are. Raises LabError."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        raise LabError("PostgreSQL is missing; run `scripts/system-packages.sh --examples`")
    return found[-1].parent


def version() -> str:
    """Which one it is, as Debian's packages count. Raises LabError."""
    return programs().parent.name


def service() -> str:
    """The unit that runs it. Raises LabError."""
    return f"postgresql@{version()}-main"


def data(lab: Lab) -> str:
    """Where its data is on the resource. Raises LabError."""
    return f"{lab.mountpoint()}/{version()}"


def sql(lab: Lab, node: str, words: str) -> str:
    """What the data base on a node answers. Raises LabError."""
    return _do(lab, node, f'{_AS} {programs()}/psql -d postgres -qAtc "{words}"')


def _do(lab: Lab, node: str, script: str) -> str:
    """What a script says on a node. Raises LabError."""
    done = lab.nodes[node].run(["sh", "-c", script], 60.0)
    if done.code:
        raise LabError(f"{script.strip()} on {node}: {done.err.strip()}")
    return done.out.strip()


def _options(lab: Lab) -> dict[str, Any]:
    """With the examples among the master's files, and the machine's numbers of user and group in the nodes' pillar."""
    made = product.master_options(lab, {DISK: {}})
    del made["vmdk"]["resources"]
    user = pwd.getpwnam("postgres")
    wanted = {"version": int(version()), "data": data(lab), "uid": user.pw_uid, "gid": user.pw_gid}
    pillar = json.dumps({"postgresql": wanted})
    return {
        **made,
        "file_roots": {"base": [f"{lab.run_dir}/files", str(ROOT / "docs" / "examples")]},
        "ext_pillar": [{"vmdk": {}}, {"cmd_yaml": f"echo '{pillar}'"}],
    }


def _install(lab: Lab, node: str) -> None:
    """What the package does on a node, with its cluster running at the end. Raises LabError."""
    script = _START.format(bin=programs(), version=version(), ready=_READY)
    words = {"argv": ["/bin/sh", "-c", script], "cwd": "/", "ready": _READY}
    write_conf(lab.run_dir / "n" / node / "services", f"{service()}.json", words)
    _do(lab, node, _INSTALL.format(version=version()))
    _start(lab, node)


def _start(lab: Lab, node: str) -> None:
    """Start it there by hand, and wait until it works. Raises LabError."""
    lab.master.local(node, "service.start", service(), seconds=_LIMIT)
    if not wait_until(lambda: _runs(lab, node), _LIMIT, 0.5):
        raise LabError(
            f"it does not start on {node}: {_do(lab, node, f'tail -n 5 /run/lab-services/{service()}.log')}"
        )


def _call(lab: Lab, node: str, function: str, *arguments: str) -> Any:
    """What a function of Salt says on a node; raises LabError unless that is good."""
    said = lab.master.local(node, function, *arguments, seconds=_LIMIT)
    if not said or (isinstance(said, dict) and not all(one["result"] is True for one in said.values())):
        raise LabError(f"{function} {' '.join(arguments)} on {node}: {json.dumps(said)}")
    return said


def _bring_data(lab: Lab) -> None:
    """As the page has it: the data is copied on the node with the file system, and then the states come to all."""
    _call(lab, FIRST, "service.stop", service())
    _do(lab, FIRST, f"cp -a /var/lib/postgresql/{version()}/main {data(lab)}")
    applied = {node: _call(lab, node, "state.apply", "postgresql.node") for node in lab.nodes}
    if lab.master.local(SECOND, "service.status", service()):
        raise LabError(f"the cluster of the package still runs on {SECOND}: {json.dumps(applied[SECOND])}")
    _start(lab, FIRST)
    if (shown := sql(lab, FIRST, "show data_directory")) != data(lab):
        raise LabError(f"the data base has its data from {shown}")


def _protect(lab: Lab) -> None:
    where = [f"node={FIRST}", f"mountpoint={lab.mountpoint()}", f"backups={SECOND}"]
    options = [f"services={service()}", "timeouts={release: 60, service: 100}"]
    done = lab.master.run("vmdk.protect", DISK, *where, *options)
    if not done.get("written"):
        raise LabError(f"it was not protected: {done.get('error')}")
    if not wait_until(lambda: _status(lab)["protected"], _LIMIT, 0.5):
        raise LabError(f"it is not protected: {json.dumps(_status(lab))}")


def _status(lab: Lab) -> dict[str, Any]:
    found: dict[str, Any] = lab.master.run("vmdk.status", DISK)["resources"][DISK]
    return found


def _runs(lab: Lab, node: str) -> bool:
    try:
        return sql(lab, node, "select 1") == "1"
    except LabError:
        return False


def run() -> dict[str, Any]:
    """Bring a data base to a resource, power its node off, and look for its row on the other one. Raises LabError."""
    programs()
    lab = Lab(Wishes(master_overrides=_options, minion_overrides=product.minion_options))
    with lab:
        lab.mount(FIRST)
        product.wait_engine(lab)
        lab.nodes[SECOND].run(["mkdir", "-p", lab.mountpoint()])
        for node in lab.nodes:
            _install(lab, node)
        _bring_data(lab)
        _protect(lab)
        sql(lab, FIRST, "create table t (n int)")
        sql(lab, FIRST, "insert into t values (42)")
        again = _call(
            lab, FIRST, "state.apply", "postgresql.node"
        )  # a highstate changes nothing where it runs
        unchanged = not any(one["changes"] for one in again.values()) and _runs(lab, FIRST)
        cut = time.monotonic()
        lab.nodes[FIRST].power_off()
        lab.vcenter.guest_power(lab.nodes[FIRST].name, "poweredOff")
        back = wait_until(lambda: _runs(lab, SECOND), _LIMIT, 0.1)
        took = round((time.monotonic() - cut) * 1000) if back else None
        found = sql(lab, SECOND, "select n from t") if back else ""
        place = sql(lab, SECOND, "show data_directory") if back else ""
        doubles = len(lab.observer.findings.double_holders) + len(lab.observer.findings.double_mounts)
    return {
        "example": service(),
        "ok": found == "42" and unchanged and not doubles,
        "row": found,
        "data": place,
        "unchanged": unchanged,
        "back_ms": took,
        "doubles": doubles,
    }


if __name__ == "__main__":
    try:
        outcome = run()
    except LabError as problem:
        print(f"examples: {problem}", file=sys.stderr)
        sys.exit(2)
    print(json.dumps(outcome, indent=2))
    sys.exit(0 if outcome["ok"] else 1)
