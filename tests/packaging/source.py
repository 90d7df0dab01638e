"""The source tree under test, and a child Python that knows nothing of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "_utils" / "vmdk_failover"
FACES = ("modules", "states", "beacons", "runners", "engines", "pillar", "output")


def copy_tree(target: Path) -> Path:
    """Copy what a wheel is made of to `target`, so that the build leaves nothing in the source tree.

    Returns: `target`.
    """
    folders = ["_utils", "reactor", "orch", *(f"_{face}" for face in FACES)]
    for folder in folders:
        shutil.copytree(ROOT / folder, target / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE", "README.md"):
        if (ROOT / file).exists():
            shutil.copy(ROOT / file, target / file)
    return target


def python(*arguments: str, cwd: Path, path: Path | None = None, seconds: float = 120) -> str:
    """Run the venv's Python, with `path` as its only addition to sys.path, and return what it printed.

    Raises: AssertionError with its output if it ends with another exit code than 0.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *arguments],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
