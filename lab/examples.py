"""The example of PostgreSQL, for real: a row that was committed before a power cut is there on the other node.

    python -m lab.examples

Needs PostgreSQL from Debian's packages (scripts/system-packages.sh --examples). Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from lab import product
from lab.cell import LabError
from lab.cluster import Lab
from lab.linux import wait_until
from lab.saltconf import write_conf
from lab.scenarios import DISK, FIRST, SECOND
from lab.wishes import Wishes

SERVICE = "postgresql"
_LIMIT = 120.0
_SOCKETS, _READY = "/run/pg", "/run/pg.ready"
_AS = "setpriv --reuid=postgres --regid=postgres --clear-groups"
#: What Debian's unit does, and the cluster made at the first start.
_START = """
set -e
data=/srv/{disk}/pg
mkdir -p {sockets} && chown postgres {sockets}
if [ ! -e $data/PG_VERSION ]; then
    mkdir -p $data && chown postgres $data && chmod 700 $data
    {as_user} {bin}/initdb -D $data -A trust >/dev/null
fi
(until {bin}/pg_isready -q -h {sockets}; do sleep 0.2; done; touch {ready}) &
exec {as_user} {bin}/postgres -D $data -c listen_addresses= -c unix_socket_directories={sockets}
"""


def programs() -> Path:
    """Where PostgreSQL's programs are. Raises LabError."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        raise LabError("PostgreSQL is missing; run `scripts/system-packages.sh --examples`")
    return found[-1].parent


def sql(lab: Lab, node: str, words: str) -> str:
    """What the data base on a node answers. Raises LabError."""
    call = f'{_AS} {programs()}/psql -h {_SOCKETS} -d postgres -qAtc "{words}"'
    done = lab.nodes[node].run(["sh", "-c", call], 30.0)
    if done.code:
        raise LabError(f"{words}: {done.err.strip()}")
    return done.out.strip()


def _add_service(lab: Lab) -> None:
    script = _START.format(disk=DISK, sockets=_SOCKETS, as_user=_AS, bin=programs(), ready=_READY)
    service = {"argv": ["/bin/sh", "-c", script], "cwd": "/", "ready": _READY}
    for name in lab.nodes:
        write_conf(lab.run_dir / "n" / name / "services", f"{SERVICE}.json", service)


def _runs(lab: Lab, node: str) -> bool:
    try:
        return sql(lab, node, "select 1") == "1"
    except LabError:
        return False


def run() -> dict[str, Any]:
    """Power the node of a data base off, and look for its row on the other one."""
    options = {"services": [SERVICE], "timeouts": {"service": 100}}
    wishes = Wishes(
        master_overrides=lambda lab: product.master_options(lab, {DISK: options}),
        minion_overrides=product.minion_options,
    )
    programs()
    lab = Lab(wishes)
    with lab:
        _add_service(lab)
        lab.master.run("vmdk.clear", DISK)  # what was tried before the service was there does not count
        if not wait_until(lambda: _runs(lab, FIRST), _LIMIT, 0.5):
            raise LabError(f"the data base did not start: {json.dumps(lab.master.run('vmdk.status', DISK))}")
        sql(lab, FIRST, "create table t (n int)")
        sql(lab, FIRST, "insert into t values (42)")
        cut = time.monotonic()
        lab.nodes[FIRST].power_off()
        lab.vcenter.guest_power(lab.nodes[FIRST].name, "poweredOff")
        back = wait_until(lambda: _runs(lab, SECOND), _LIMIT, 0.1)
        took = round((time.monotonic() - cut) * 1000) if back else None
        found = sql(lab, SECOND, "select n from t") if back else ""
        doubles = len(lab.observer.findings.double_holders) + len(lab.observer.findings.double_mounts)
    return {
        "example": SERVICE,
        "ok": found == "42" and not doubles,
        "row": found,
        "back_ms": took,
        "doubles": doubles,
    }


if __name__ == "__main__":
    outcome = run()
    print(json.dumps(outcome, indent=2))
    sys.exit(0 if outcome["ok"] else 1)
