"""
Runs as the only program of a guest: an order to halt where the kernel no longer listens to its trigger. The watchdog alone must
end the machine; the host measures when.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from vmdk_failover.guest.halt import WATCHDOG, halt


def main() -> None:
    """Halt with a trigger that nobody reads."""
    subprocess.run(["modprobe", "softdog"], check=True)
    device = Path("/dev/watchdog0")
    while not device.exists():
        time.sleep(0.05)
    deaf = Path("/tmp/deaf")
    os.mkfifo(deaf)
    os.open(deaf, os.O_RDWR)
    print(f"ARMED {WATCHDOG}", flush=True)
    halt(deaf, watchdog=device)
    time.sleep(120)
    print("FAILED the machine has not been reset", flush=True)


if __name__ == "__main__":
    main()
