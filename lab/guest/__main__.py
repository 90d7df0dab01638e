"""
``make guest``: trials in a guest, one line each; the exit code is 1 if one fails (root; two to five minutes). ``detect`` is a
measurement of ten minutes, and ``image`` makes the guest's image once more and compares it with the first; both only when they
are named.

    python -m lab.guest [-v] [lvm] [halt] [image] [detect [--runs 10] [--only WORD] [--fs xfs] [--load idle]]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from lab.cell import LabError
from lab.guest import again, detect, vm

LIMIT_S = 1800.0
HERE = Path(__file__).parent


def lvm(folder: Path, given: argparse.Namespace) -> bool:
    """A resource on two disks with LVM, through everything that can happen to it. Returns whether all went well."""
    with vm.Vm(folder, HERE / "lvm_trial.py") as machine:
        line = ""
        for line in machine.lines(LIMIT_S):
            if given.verbose or line.startswith(("OK", "FAILED")):
                print(line, flush=True)
    return line == "GUEST-END 0"


def halt(folder: Path, given: argparse.Namespace) -> bool:
    """A machine that only its watchdog can end. Returns whether that came in time."""
    with vm.Vm(folder, HERE / "halt_trial.py", disks=0) as machine:
        for line in machine.lines(60.0):
            if given.verbose:
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


def detection(folder: Path, given: argparse.Namespace) -> bool:
    """How soon the prober tells of a failing disk, by the guest's clock. Returns whether it always did."""
    wishes = {
        "runs": given.runs,
        "only": given.only,
        "fs": given.fs or detect.FILE_SYSTEMS,
        "loads": given.load or detect.LOADS,
        "processors": given.processors,
    }
    return detect.run(folder, given.verbose, wishes)


def image(folder: Path, _: argparse.Namespace) -> bool:
    """Whether the image of the guest has the same bytes when it is made once more, on the disk beside the first one."""
    with tempfile.TemporaryDirectory(prefix=".again-", dir=vm.IMAGE.parent) as place:
        return again.run(Path(place))


TRIALS = {"lvm": lvm, "halt": halt, "image": image, "detect": detection}
USUAL = ("lvm", "halt")


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; ends the program if it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m lab.guest", description="Trials in an emulated guest.")
    parser.add_argument(
        "trials", nargs="*", metavar="TRIAL", help=f"{', '.join(TRIALS)}; {' and '.join(USUAL)} if left out"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show all that the guests say")
    parser.add_argument("--runs", type=int, default=10, metavar="N", help="detect: runs per cell")
    parser.add_argument("--only", default="", metavar="WORD", help="detect: faults whose name has WORD in it")
    parser.add_argument("--fs", choices=detect.FILE_SYSTEMS, action="append", help="detect: file systems")
    parser.add_argument(
        "--load", choices=detect.LOADS, action="append", help="detect: whether somebody uses the disk"
    )
    parser.add_argument(
        "--processors", type=int, default=1, metavar="N", help="detect: that the guest has (1)"
    )
    given = parser.parse_args(argv)
    unknown = [name for name in given.trials if name not in TRIALS]
    if unknown:
        parser.error(f"there is no trial {unknown[0]}; there are {', '.join(TRIALS)}")
    given.trials = given.trials or list(USUAL)
    return given


def main() -> int:
    """Run the trials that are named, or the usual ones. Returns 1 if one failed, 2 if the lab does not work."""
    given = arguments(sys.argv[1:])
    try:
        vm.build()
        return 0 if _go_well(given) else 1
    except LabError as problem:
        print(f"guest: {problem}", file=sys.stderr)
        return 2


def _go_well(given: argparse.Namespace) -> bool:
    """Run them one after the other, also after one that failed. Returns whether none did. Raises LabError."""
    went_well = True
    for name in given.trials:
        with tempfile.TemporaryDirectory(prefix="vmdk-guest-", dir=vm.scratch()) as folder:
            went_well &= TRIALS[name](Path(folder), given)
    return went_well


if __name__ == "__main__":
    sys.exit(main())
