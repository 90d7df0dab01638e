"""What the lab needs of the machine, one sentence for each thing that is missing."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator

from lab.cell import LabError

_TOOLS = {"mkfs.ext4": "e2fsprogs", "mount": "mount"}


def _kernel() -> tuple[int, ...]:
    return tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])


def _file_systems() -> set[str]:
    with open("/proc/filesystems", encoding="ascii") as file:
        return {line.split()[-1] for line in file}


def missing(fstypes: tuple[str, ...] = ("ext4",), salt: bool = True) -> Iterator[str]:
    """Everything that is missing, each as a sentence that says what to do."""
    if sys.platform != "linux" or sys.byteorder != "little":
        yield "the lab runs on little-endian Linux only; use such a machine or a virtual one"
        return
    if os.geteuid() != 0:
        yield "the lab makes namespaces, mounts and loop devices; run it as root"
    if _kernel() < (5, 12):
        yield f"the lab needs Linux 5.12 or newer, this is {platform.release()}; use a newer kernel"
    for path, module in (("/dev/fuse", "fuse"), ("/dev/loop-control", "loop")):
        if not os.path.exists(path):
            yield f"{path} is missing; run `modprobe {module}`"
    for fstype in sorted({"overlay", "fuse", *fstypes} - _file_systems()):
        yield f"the kernel has no {fstype} at hand; run `modprobe {fstype}`"
    tools = {**_TOOLS, **({"mkfs.xfs": "xfsprogs"} if "xfs" in fstypes else {})}
    for tool, package in tools.items():
        if shutil.which(tool) is None:
            yield f"{tool} is missing; install the package {package}"
    if salt and importlib.util.find_spec("salt") is None:
        yield f"{sys.executable} has no Salt; run `scripts/setup.sh` and use build/venv/bin/python"


def check(fstypes: tuple[str, ...] = ("ext4",), salt: bool = True) -> None:
    """Raise LabError with all that is missing."""
    sentences = list(missing(fstypes, salt))
    if sentences:
        raise LabError("; ".join(sentences))
