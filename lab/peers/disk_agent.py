"""The OCF agent of the lab that moves a VMDK: no such agent is in ClusterLabs' tree.

start takes the disk out of a VM of the list that is off, and attaches it to this node's VM; a disk that a running VM lists
is an error. stop detaches it here. monitor looks for the device on the node alone, as openstack-cinder-volume does.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from lab.peers import vsphere

OK, ERROR, UNIMPLEMENTED, NOT_RUNNING = 0, 1, 3, 7
_APPEAR_S, _TICK_S = 20.0, 0.1
_TIMES = {"start": 60, "stop": 60, "monitor": 15}
METADATA = f"""<?xml version="1.0"?>
<resource-agent name="vmdk" version="1.0">
<version>1.1</version>
<longdesc lang="en">Attaches a VMDK to the VM of the node on which it runs.</longdesc>
<shortdesc lang="en">VMDK of a vCenter</shortdesc>
<parameters>{
    "".join(
        f'<parameter name="{name}"><content type="string"/></parameter>'
        for name in ("path", "device", "bus", "unit", "vms", "vm", "ip", "ipport", "login", "passwd")
    )
}</parameters>
<actions>{"".join(f'<action name="{name}" timeout="{limit}s"/>' for name, limit in _TIMES.items())}
<action name="meta-data" timeout="5s"/></actions>
</resource-agent>"""


def _options() -> dict[str, str]:
    prefix = "OCF_RESKEY_"
    given = {key.removeprefix(prefix): value for key, value in os.environ.items() if key.startswith(prefix)}
    return {**given, **local(os.uname().nodename)}


def local(node: str) -> dict[str, str]:
    """What differs from node to node: the address that calls start at."""
    for line in Path("/etc/hosts").read_text(encoding="ascii").splitlines():
        words = line.split()
        if node in words[1:]:
            return {"own_address": words[0], "vm": f"{node}-vm"}
    raise vsphere.Refused(f"/etc/hosts does not name {node}")


def _is_there(options: Mapping[str, str]) -> bool:
    return Path(options["device"]).is_block_device()


def start(options: Mapping[str, str]) -> int:
    """Attach the disk here."""
    with vsphere.login(options) as content:
        for name in options["vms"].split():
            vm = vsphere.machine(content, name)
            device = vsphere.disk_of(vm, options["path"])
            if device is None or name == options["vm"]:
                continue
            if not vsphere.is_off(vm):
                raise vsphere.Refused(f"{name} runs and lists {options['path']}")
            vsphere.take_out(vm, device)
        mine = vsphere.machine(content, options["vm"])
        if vsphere.disk_of(mine, options["path"]) is None:
            vsphere.put_in(mine, options["path"], int(options["bus"]), int(options["unit"]))
    end = time.monotonic() + _APPEAR_S
    while not _is_there(options):
        if time.monotonic() > end:
            return ERROR
        time.sleep(_TICK_S)
    return OK


def stop(options: Mapping[str, str]) -> int:
    """Detach the disk here."""
    with vsphere.login(options) as content:
        mine = vsphere.machine(content, options["vm"])
        device = vsphere.disk_of(mine, options["path"])
        if device is not None:
            vsphere.take_out(mine, device)
    return OK


def main(action: str) -> int:
    """Carry out one action. Returns the exit code of OCF."""
    if action == "meta-data":
        print(METADATA)
        return OK
    try:
        options = _options()
        if action in ("monitor", "status"):
            return OK if _is_there(options) else NOT_RUNNING
        return {"start": start, "stop": stop, "validate-all": lambda _: OK}[action](options)
    except KeyError:
        return UNIMPLEMENTED
    except Exception as problem:  # whatever vCenter answers, the cluster shall read it
        print(f"ocf-exit-reason:{problem}", file=sys.stderr)
        return ERROR


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
