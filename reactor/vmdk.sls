#!py
"""
An event only makes the next look sooner: of its values one is the name of a resource to look at, and none becomes an ID, a target
or a function. The engine is told here, in half a millisecond: a runner takes thirty times longer, tells of itself by two
more events, and ten thousand forged reports would keep the reactor at it for minutes. Only where no engine answers a runner is called.
"""

import os
import sys
from collections.abc import Mapping

#: Seconds for an engine to answer; it does so in microseconds, and other reactions wait here.
PATIENCE = 0.2


def run():
    inner = data.get("data")
    name = str((inner if isinstance(inner, Mapping) else data).get("resource", ""))
    if is_told(name):
        return {}
    return {"vmdk_recover": {"runner.vmdk.recover": [{"args": [{"name": name}, {"wait": False}]}]}}


def is_told(name):
    synced = os.path.join(__opts__.get("extension_modules") or "", "utils")
    if synced not in sys.path and os.path.isdir(os.path.join(synced, "vmdk_failover")):
        sys.path.append(synced)
    try:
        from vmdk_failover.channels import hinting
        from vmdk_failover.configured import state_dir

        return hinting.hint(state_dir(__opts__) / "engine.sock", name, PATIENCE) is not None
    except Exception:  # the runner says what is missing or wrong
        return False
