#!/usr/bin/env python3
"""Run pytest twice at the same time: ``scripts/side_by_side.py ARGS-OF-THE-FIRST -- ARGS-OF-THE-SECOND``.

What the first one says is seen at once, what the second one says when both have ended. Ctrl-C reaches both, and both give back
what they hold. Exit status 1 if a test of either has failed.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status."""
    at = arguments.index("--")
    pytest = [sys.executable, "-m", "pytest"]
    with tempfile.TemporaryFile() as said:
        second = subprocess.Popen([*pytest, *arguments[at + 1 :]], stdout=said, stderr=subprocess.STDOUT)
        first = subprocess.Popen([*pytest, *arguments[:at]])
        codes = [_ended(first), _ended(second)]
        said.seek(0)
        sys.stdout.buffer.write(said.read())
        sys.stdout.buffer.flush()
    return int(any(codes))


def _ended(process: subprocess.Popen[bytes]) -> int:
    """Its exit status; whoever is interrupted waits until it has tidied up."""
    while True:
        with contextlib.suppress(KeyboardInterrupt):
            return process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
