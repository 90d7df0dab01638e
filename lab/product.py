"""How the lab tells the product about itself: the options that an administrator would write."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lab.cell import LabError
from lab.linux import wait_until
from lab.saltconf import merged

if TYPE_CHECKING:
    from lab.cluster import Lab

DEFAULTS: Mapping[str, Any] = {"node_timeout": 5, "hang_timeout": 2, "probe_interval": 0.5}


def resource(lab: Lab, disk: str, policy: Mapping[str, Any]) -> dict[str, Any]:
    """The section of one resource, as `protect` would write it. policy: options of its own."""
    made = lab.disks[disk]
    slot = next((one for node in lab.nodes.values() for one in node.slots() if one.disk == made), None)
    bus, unit = (slot.bus, slot.unit) if slot is not None else (1, 0)
    where = {"path": made.path, "uuid": made.uuid, "bus": bus, "unit": unit}
    mount = {
        "mountpoint": lab.mountpoint(disk),
        "fs_uuid": made.fs_uuid,
        "fstype": made.fstype,
        "options": "noatime",
    }
    return {
        "nodes": list(lab.nodes),
        "vm_uuids": {name: node.identity.instance_uuid for name, node in lab.nodes.items()},
        "disks": [{**where, "controller": "pvscsi", "mode": "persistent"}],
        "mounts": [mount],
        **policy,
    }


def master_options(lab: Lab, resources: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The master's options for the product, with what masters of such nodes are told. resources: by disk name, with the options
    of each."""
    sections = {name: resource(lab, name, policy) for name, policy in resources.items()}
    reactor = [f"{lab.run_dir}/files/reactor/vmdk.sls"]
    options = {
        "vmdk": {"vcenter": lab.vcenter_options(), "defaults": dict(DEFAULTS), "resources": sections},
        "reactor": [{"salt/beacon/*/vmdk/*": reactor}, {"vmdk/*/*": reactor}],
        "engines": [{"vmdk": {}}],
        "ext_pillar": [{"vmdk": {}}],
    }
    return merged(options, lab.wishes.guests.master_options()) if lab.wishes.guests is not None else options


def wait_engine(lab: Lab, seconds: float = 60.0) -> None:
    """Until the master's engine answers, without which nothing is protected; raises LabError."""
    path = lab.master.root / "var/lib/salt/vmdk/engine.sock"

    def answers() -> bool:
        with socket.socket(socket.AF_UNIX) as line:
            return line.connect_ex(str(path)) == 0

    if not wait_until(answers, seconds, 0.05):
        raise LabError("the master's engine does not answer; see the master's log")


def minion_options(_: Lab) -> dict[str, Any]:
    """The minions' options for the product: the engine that reports at once."""
    return {"engines": [{"vmdk": {}}]}
