"""A cable from the lab's network to each guest."""

from __future__ import annotations

import subprocess

from lab.cell import LabError

#: The lab's own address on every cable; the master listens there.
HOST = "10.77.0.254"


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=20, check=False)
    if done.returncode:
        raise LabError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def make_cable(name: str, address: str = "") -> str:
    """Make the host's end of a guest's cable, in the network namespace of the calling thread. Returns its name.

    address: of the guest, reached by this cable alone. Raises LabError.
    """
    _ip("tuntap", "add", name, "mode", "tap")
    _ip("address", "add", f"{HOST}/32", "dev", name)
    _ip("link", "set", name, "up")
    if address:
        _ip("route", "add", f"{address}/32", "dev", name, "src", HOST)
    return name


def drop_cable(name: str) -> None:
    """Take a cable away. Raises LabError."""
    _ip("tuntap", "del", name, "mode", "tap")
