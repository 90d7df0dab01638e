"""What the programs in a guest (``*_trial.py``) have in common: the line to the host, the guest's disks, commands, waiting."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from typing import Any


def open_line() -> None:
    """Make the serial line one for programs: nothing is echoed, nothing is edited."""
    tty = termios.tcgetattr(0)
    tty[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(0, termios.TCSANOW, tty)


def host(do: str, **arguments: object) -> Any:
    """Have the host do something (a method of ``lab.guest.vm.Vm``). Returns its answer; raises AssertionError if it failed."""
    print("HOST " + json.dumps({"do": do, **arguments}), flush=True)
    answer = sys.stdin.readline().strip()
    assert answer and not answer.startswith("failed"), f"{do}: {answer}"
    return None if answer == "done" else json.loads(answer)


def sh(*argv: str) -> str:
    """Run a program that must succeed. Returns what it said."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout} {done.stderr}"
    return done.stdout


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something that must become true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)


def uuid_of(number: int) -> str:
    """UUID of a disk, as the host gives it to its device."""
    return f"6000c29{number:025x}"


def dev(number: int) -> str:
    """Device node of a disk."""
    return os.path.realpath(f"/dev/disk/by-id/wwn-0x{uuid_of(number)}")


def loop_ms() -> float:
    """Milliseconds of processor time that this Python takes for a fixed piece of work: guest and host compare theirs."""
    took = []
    for _ in range(5):
        began = time.process_time()
        sum(range(1_000_000))
        took.append(time.process_time() - began)
    return round(min(took) * 1000, 3)
