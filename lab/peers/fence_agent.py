"""The fence agent of the lab: options on standard input, as pacemaker-fenced gives them, and power read back as off.

It stands in for fence_vmware_soap and fence_vmware_rest: the lab's vCenter serves neither the WSDL files that the one
loads nor the REST interface of the other.
"""

from __future__ import annotations

import os
import sys

from lab.peers import vsphere
from lab.peers.disk_agent import local

_ACTIONS = ("on", "off", "reboot", "status", "monitor", "list", "metadata")
_PARAMETERS = ("ip", "ipport", "login", "passwd", "port", "action")
METADATA = f"""<?xml version="1.0"?>
<resource-agent name="fence_lab" shortdesc="Fence agent for the lab's vCenter">
<longdesc>Powers the VM of a node off and on.</longdesc>
<parameters>{
    "".join(f'<parameter name="{name}"><content type="string"/></parameter>' for name in _PARAMETERS)
}</parameters>
<actions>{"".join(f'<action name="{name}"/>' for name in _ACTIONS)}</actions>
</resource-agent>"""


def _options() -> dict[str, str]:
    pairs = (line.strip().partition("=") for line in sys.stdin)
    return {name: value for name, mark, value in pairs if mark}


def act(action: str, options: dict[str, str]) -> int:
    """Carry out one action. Returns 0 for done or on, 2 for off. Raises what vCenter answers."""
    with vsphere.login(options) as content:
        if action in ("monitor", "list"):
            return 0
        vm = vsphere.machine(content, f"{options['port']}-vm")
        if action == "status":
            return 2 if vsphere.is_off(vm) else 0
        if action in ("off", "reboot"):
            vsphere.power(vm, on=False)
        if action in ("on", "reboot"):
            vsphere.power(vm, on=True)
    return 0


def main(argv: list[str]) -> int:
    """Carry out what standard input asks for. Returns the exit code of a fence agent."""
    given = {} if "-o" in argv else _options()
    action = argv[argv.index("-o") + 1] if "-o" in argv else given.get("action", "reboot")
    if action in ("metadata", "meta-data"):
        print(METADATA)
        return 0
    try:
        return act(action, {**given, **local(os.uname().nodename)})
    except Exception as problem:  # whatever vCenter answers, the cluster shall read it
        print(f"fence_lab: {problem}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
