"""
Copies Salt and what it needs from this Python into a guest's file tree: ``python -m lab.guest.salt_tree ROOT``. With ``--list``
instead of ROOT it prints what that is, a name and its version per line.

The guest's Python must be of the same minor version: compiled parts are copied as they are.
"""

from __future__ import annotations

import shutil
import stat
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

WANTED = ("salt", "pyinotify", "pyasyncore")
#: Large, and nothing of a minion's that has no cloud.
LEFT_OUT = frozenset({"apache-libcloud", "virtualenv", "pygments"})
PROGRAMS = ("minion", "call")
#: What an installer notes of its work, which is different in every virtual environment.
_INSTALLERS = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"})


def closure() -> dict[str, metadata.Distribution]:
    """The distributions that a minion is made of, by name."""
    found: dict[str, metadata.Distribution] = {}
    queue = list(WANTED)
    while queue:
        name = queue.pop().lower().replace("_", "-")
        if name in found or name in LEFT_OUT:
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # for another Python or system
        for line in found[name].requires or ():
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                queue.append(need.name)
    return found


def _copy(one: metadata.Distribution, place: Path) -> None:
    for file in one.files or ():
        source = Path(str(file.locate()))
        if ".." in file.parts or not source.is_file() or source.suffix == ".pyc":
            continue
        if file.parent.suffix == ".dist-info" and file.name in _INSTALLERS:
            continue
        target = place.joinpath(*file.parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o755 if source.stat().st_mode & stat.S_IXUSR else 0o644)


def versions() -> list[str]:
    """What :func:`closure` finds, as ``name version``, sorted."""
    return sorted(f"{name} {one.version}" for name, one in closure().items())


def main() -> int:
    """Copy, or list. Returns the exit status: 2 if the guest has another Python."""
    if sys.argv[1] == "--list":
        print("\n".join(versions()))
        return 0
    root = Path(sys.argv[1])
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if not (root / "usr/bin" / name).exists():
        print(f"guest: it has no {name}; use a build/venv made with the system's own Python", file=sys.stderr)
        return 2
    place = root / "usr/local/lib" / name / "dist-packages"
    for one in closure().values():
        _copy(one, place)
    for word in PROGRAMS:
        path = root / "usr/local/bin" / f"salt-{word}"
        path.write_text(
            f"#!/usr/bin/python3\nimport sys\nfrom salt.scripts import salt_{word}\nsys.exit(salt_{word}())\n"
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return 0


if __name__ == "__main__":
    sys.exit(main())
