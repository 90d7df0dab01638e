"""What a guest is given of the lab and of the product: one archive, unpacked on its root disk."""

from __future__ import annotations

import base64
import io
import json
import py_compile
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab import saltconf
from lab.cellinit import PLACE
from lab.faultdisk import ROOT
from lab.node import Identity
from lab.qemu import network

CODE = f"{PLACE}/code"
ACKNOWLEDGEMENTS = "/dev/virtio-ports/lab.ack"
PYTHON = "/usr/bin/python3"
_WRITER = ("__init__.py", "writer.py", "ledger.py", "mounts.py")


def write(directory: Path, identity: Identity, overrides: Mapping[str, Any], synced: bool = True) -> None:
    """Write a node's files below `directory`: minion, product (if `synced`), the lab's own programs."""
    root = directory / "salt"
    saltconf.place_files(root / "extmods", saltconf.ON_MINIONS if synced else ())
    conf = saltconf.minion_conf(identity)
    del conf["vmdk"], conf["grains"]["uuid"]  # a machine of its own finds both out by itself
    conf |= {"master": network.HOST, "module_dirs": [f"{CODE}/lab/salt"]}
    saltconf.write_conf(root, "minion", saltconf.merged(conf, overrides))
    code = directory / "code" / "lab"
    shutil.copytree(ROOT / "lab" / "salt", code / "salt", ignore=shutil.ignore_patterns("__pycache__"))
    for name in _WRITER:
        shutil.copy(ROOT / "lab" / name, code / name)
    for path in directory.rglob("*.py"):
        py_compile.compile(
            str(path), dfile=str(path), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )


def write_service(directory: Path, node: str, place: str) -> None:
    """The service `ledger`: lab.writer at the mount point `place`."""
    ready = "/run/ledger.ready"
    words = ["--place", place, "--ack", ACKNOWLEDGEMENTS, "--node", node, "--ready", ready]
    argv = [PYTHON, "-E", "-s", "-S", "-m", "lab.writer", *words]
    (directory / "services").mkdir(parents=True, exist_ok=True)
    service = {"argv": argv, "cwd": CODE, "ready": ready}
    (directory / "services" / "ledger.json").write_text(json.dumps(service), encoding="utf-8")


def packed(directory: Path) -> str:
    """All of it, as the guest's agent takes it."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz", compresslevel=3) as tar:
        tar.add(directory, ".")
    return base64.b64encode(data.getvalue()).decode()
