"""
``make guest``: trials in a guest, one line each; the exit code is 1 if one fails (root; two to five minutes).

    python -m lab.guest [-v] [lvm] [halt]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from lab.guest import vm

LIMIT_S = 1800.0
HERE = Path(__file__).parent


def lvm(folder: Path, verbose: bool) -> bool:
    """A resource on two disks with LVM, through everything that can happen to it. Returns whether all went well."""
    with vm.Vm(folder, HERE / "lvm_trial.py") as machine:
        line = ""
        for line in machine.lines(LIMIT_S):
            if verbose or line.startswith(("OK", "FAILED")):
                print(line, flush=True)
    return line == "GUEST-END 0"


def halt(folder: Path, verbose: bool) -> bool:
    """A machine that only its watchdog can end. Returns whether that came in time."""
    with vm.Vm(folder, HERE / "halt_trial.py", disks=0) as machine:
        for line in machine.lines(60.0):
            if verbose:
                print(line, flush=True)
            if line.startswith("ARMED"):
                began, limit = time.monotonic(), float(line.split()[1])
                in_time = machine.wait_end(2 * limit)
                took = time.monotonic() - began
                print(
                    f"{'OK' if in_time else 'FAILED'} a_watchdog_ends_a_deaf_machine ({took:.1f} s)",
                    flush=True,
                )
                return in_time
    return False


TRIALS = {"lvm": lvm, "halt": halt}


def main() -> int:
    """Run the trials that are named, or all. ``-v`` shows all that the guests say."""
    vm.build()
    wanted = [one for one in sys.argv[1:] if one in TRIALS] or list(TRIALS)
    went_well = True
    for name in wanted:
        with tempfile.TemporaryDirectory(prefix="vmdk-guest-", dir=vm.scratch()) as folder:
            went_well &= TRIALS[name](Path(folder), "-v" in sys.argv)
    return 0 if went_well else 1


if __name__ == "__main__":
    sys.exit(main())
