"""What ``protect`` finds on nodes, and what of it is advice only: the resource is recorded all the same. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vmdk_failover import versions
from vmdk_failover.model import Resource


@dataclass(frozen=True)
class Finding:
    """One thing that ``protect`` found: about which node, how grave, and what to do."""

    node: str
    code: str
    sentence: str
    severe: bool = True


def of_mount(word: Mapping[str, Any], holder: str, resource: Resource) -> Iterator[Finding]:
    """What of the mount on the holder another node would not have."""
    where, known = word.get("mountpoint"), {one.mountpoint for one in resource.mounts}
    for other in word.get("elsewhere") or ():
        if other not in known:
            words = (
                f"{holder}: what is mounted at {where} is mounted at {other} too, which does not come along"
            )
            yield Finding(holder, "elsewhere", f"{words}: let what uses {other} use {where}.", False)
    for option in word.get("unrecorded") or ():
        words = f"{holder}: the mount option {option} of {where} is not recorded"
        do = f"add it to options of the mount in the file of {resource.name} if the nodes need it."
        yield Finding(holder, "mount_option", f"{words}: {do}", False)


def of_kernels(words: Mapping[str, Mapping[str, Any]], holder: str) -> Iterator[Finding]:
    """Backups whose kernel is older than the holder's: only a failover would show what it lacks."""
    kernels = {minion: word.get("kernel") for minion, word in words.items()}
    told = {m: versions.of_kernel(m, kernel, holder, kernels.get(holder)) for m, kernel in kernels.items()}
    yield from (Finding(minion, "kernel", " ".join(one), False) for minion, one in told.items() if one)
