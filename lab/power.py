"""In the vCenter of the lab, power a VM off or on, as a person does it there: `python -m lab.power labdb1 off`.

It is typed on the lab's master (`lab enter`), whose configuration names the vCenter and an account.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.peers import vsphere


def _login() -> Mapping[str, str]:
    """What the master knows of its vCenter. Raises Refused."""
    path = Path(os.environ.get("SALT_CONFIG_DIR", "/etc/salt"), "master")
    try:
        known = json.loads(path.read_text(encoding="utf-8"))["vmdk"]["vcenter"]
    except (OSError, ValueError, KeyError) as problem:
        raise vsphere.Refused("this is not the master of a lab; type it with `lab enter`") from problem
    where = {"ip": known["host"], "ipport": str(known["port"]), "own_address": known["host"]}
    return {**where, "login": known["user"], "passwd": known["password"]}


def main(argv: Sequence[str] | None = None) -> int:
    """Switch it. Returns the exit status: 0 it is so now, 2 it could not be done."""
    parser = argparse.ArgumentParser(
        prog="python -m lab.power", description="Power a VM of the lab off or on."
    )
    parser.add_argument("node", help="the node whose VM it is: labdb1")
    parser.add_argument("power", choices=("off", "on"))
    given = parser.parse_args(argv)
    try:
        with vsphere.login(_login()) as content:
            vsphere.power(vsphere.machine(content, f"{given.node}-vm"), given.power == "on")
    except vsphere.Refused as problem:
        print(f"lab.power: {problem}", file=sys.stderr)
        return 2
    print(f"{given.node}-vm is {given.power}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
