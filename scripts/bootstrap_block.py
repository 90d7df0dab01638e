#!/usr/bin/env python3
"""Keep the bootstrap block of every Salt file the same and at the current version.

``--check`` names the files that differ (exit code 1), ``--write`` rewrites them. A Salt file says where its
block stands by the two marker lines, after its docstring and before its imports from the library; ``--write``
fills in all that is between them. Why a block at all:

* a running minion does not look into the directory of synced libraries before its next start,
* it keeps the library that it has imported over a sync of a newer one,
* on a node with both a wheel and synced files, one brings the Salt file and the other the library.

The first two the block cures, the third it refuses: ``__virtual__`` returns ``(False, _REFUSAL)`` if set.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FACES = ("_modules", "_states", "_beacons", "_runners", "_engines", "_pillar", "_output")
FIRST, LAST = "# --- bootstrap", "# --- end of bootstrap"

BLOCK = """\
# --- bootstrap: the same in every Salt file, written by scripts/bootstrap_block.py
_WANT = "{version}"
import importlib as _importlib
import os as _os
import sys as _sys

_UTILS = _os.path.join(_os.path.dirname(_os.path.dirname(_os.path.abspath(__file__))), "utils")
if _os.path.isdir(_os.path.join(_UTILS, "vmdk_failover")) and _UTILS not in _sys.path:
    _sys.path.append(_UTILS)  # a daemon that started before the first sync does not look there
    _importlib.invalidate_caches()
import vmdk_failover

if getattr(vmdk_failover, "__version__", "") != _WANT:  # imported before a sync brought another one
    for _name in [_n for _n in _sys.modules if _n.partition(".")[0] == "vmdk_failover"]:
        del _sys.modules[_name]
    _importlib.invalidate_caches()
    import vmdk_failover
_FOUND = getattr(vmdk_failover, "__version__", "none")
_REFUSAL = (
    f"vmdk: {{__file__}} is of version {{_WANT}}, but {{vmdk_failover.__path__[0]}} of {{_FOUND}}; "
    "deploy saltext-vmdk either by saltutil.sync_all or by pip, not by both"
)
if _FOUND == _WANT:
    _REFUSAL = ""
# --- end of bootstrap
"""


def version(root: Path = ROOT) -> str:
    """Return the library's ``__version__``, read from its source."""
    source = (root / "_utils" / "vmdk_failover" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE)
    if not found:
        raise SystemExit(
            'bootstrap_block: _utils/vmdk_failover/__init__.py has no line __version__ = "…"; add it'
        )
    return found.group(1)


def block(root: Path = ROOT) -> str:
    """Return the block as every Salt file must carry it, with its two marker lines."""
    return BLOCK.format(version=version(root))


def salt_files(root: Path = ROOT) -> list[Path]:
    """Return every Python file that Salt's loader loads from this tree."""
    return sorted(path for face in FACES for path in (root / face).glob("*.py"))


def with_block(text: str, wanted: str) -> str | None:
    """Return a Salt file's text with the wanted block in it, or None if it lacks the marker lines."""
    lines = text.splitlines(keepends=True)
    firsts = [at for at, line in enumerate(lines) if line.startswith(FIRST)]
    lasts = [at for at, line in enumerate(lines) if line.startswith(LAST)]
    if len(firsts) != 1 or len(lasts) != 1 or firsts[0] >= lasts[0]:
        return None
    return "".join(lines[: firsts[0]]) + wanted + "".join(lines[lasts[0] + 1 :])


def wrong(root: Path = ROOT, *, write: bool = False) -> list[str]:
    """Return one sentence for each Salt file whose block is not right.

    root: the source tree. write: put the right block in; then only files without marker lines are left.
    """
    wanted, sentences = block(root), []
    for path in salt_files(root):
        text = path.read_text(encoding="utf-8")
        right = with_block(text, wanted)
        if right is None:
            sentences.append(f"{path.relative_to(root)}: needs one line {FIRST!r} and after it one {LAST!r}")
        elif right != text and write:
            path.write_text(right, encoding="utf-8")
        elif right != text:
            sentences.append(
                f"{path.relative_to(root)}: its bootstrap block is not the current one; run make format"
            )
    return sentences


def main() -> int:
    """Run the command line; return the exit code."""
    arguments = argparse.ArgumentParser(description="Keep the bootstrap block of every Salt file the same.")
    mode = arguments.add_mutually_exclusive_group(required=True)
    mode.add_argument("--check", action="store_true", help="name the files whose block differs")
    mode.add_argument("--write", action="store_true", help="rewrite the blocks that differ")
    sentences = wrong(write=arguments.parse_args().write)
    print("\n".join(sentences), end="\n" if sentences else "")
    return 1 if sentences else 0


if __name__ == "__main__":
    sys.exit(main())
