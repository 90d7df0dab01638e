"""What only kernels of their own can show. They are played by guests alone: `make scenario NAME=… ARGS='--nodes qemu'`."""

from __future__ import annotations

import time

from lab.cell import LabError
from lab.cluster import Lab
from lab.linux import wait_until
from lab.observer import mountpoints
from lab.scenarios import DISK, Scenario, be_heard, power_off

_SAFE, _DIRTY = "safe.bin", "dirty.bin"
_SIZE_KB = 4096
_BOOT_LIMIT = 40.0
_QUIET_S = 10.0


def _shell(lab: Lab, node: str, script: str, seconds: float = 10.0) -> str:
    """What a script says on a node. Raises LabError when it fails."""
    done = lab.nodes[node].run(["sh", "-c", script], seconds)
    if done.code:
        raise LabError(f"{script!r} on {node} ended with {done.code}: {done.err.strip()}")
    return str(done.out)


def _panic(lab: Lab) -> None:
    """The kernel stops for good: the VM stays on and nothing of it answers any more."""
    lab.nodes[lab.source].tell("echo 0 >/proc/sys/kernel/panic; echo c >/proc/sysrq-trigger")


def _reset(lab: Lab) -> None:
    """The guest boots anew by itself; the vCenter sees nothing of it."""
    lab.nodes[lab.source].tell("echo b >/proc/sysrq-trigger")


def _pull(lab: Lab) -> None:
    """The disk leaves the machine while it is mounted, and the vCenter does not know."""
    lab.nodes[lab.source].pull(lab.disks[DISK])


def _write_both(lab: Lab) -> None:
    """One file that was synced, and one that is in the guest's memory only."""
    place = lab.mountpoint(DISK)
    _shell(
        lab, lab.source,
        f"dd if=/dev/urandom of={place}/{_SAFE} bs=1k count={_SIZE_KB} conv=fsync && "
        f"md5sum <{place}/{_SAFE} >{place}/{_SAFE}.sum && sync {place}/{_SAFE}.sum {place} && "
        f"echo 360000 >/proc/sys/vm/dirty_writeback_centisecs && echo 360000 >/proc/sys/vm/dirty_expire_centisecs && "
        f"dd if=/dev/zero of={place}/{_DIRTY} bs=1k count={_SIZE_KB}",
    )  # fmt: skip


def _is_safe(lab: Lab) -> None:
    """What was synced is there, as it was."""
    place = lab.mountpoint(DISK)
    _shell(lab, lab.target, f"md5sum <{place}/{_SAFE} | cmp - {place}/{_SAFE}.sum")


def _is_recovered(lab: Lab) -> None:
    """The same, and the kernel of the backup has replayed the journal."""
    _is_safe(lab)
    said = _shell(lab, lab.target, "dmesg")
    if not any(words in said for words in ("recovery complete", "Ending recovery", "Ending clean mount")):
        raise LabError(f"the kernel of {lab.target} tells nothing of a mount with recovery")


def _stays_away(lab: Lab) -> None:
    """The node that was struck boots and has the file system mounted nowhere, for a while."""
    node, disk = lab.nodes[lab.source], lab.disks[DISK]
    if not node.is_running:
        lab.power_on(lab.source)
    _shell(lab, lab.source, "true", _BOOT_LIMIT)
    end = time.monotonic() + _QUIET_S
    while time.monotonic() < end:
        table = _shell(lab, lab.source, "cat /proc/self/mountinfo")
        if f" {lab.mountpoint(DISK)} " in table:
            raise LabError(f"{lab.source} has mounted the file system by itself after its boot")
        time.sleep(1.0)
    if not mountpoints(lab.nodes[lab.target], disk):
        raise LabError(f"{lab.target} has lost the file system when {lab.source} came back")


def _was_late(lab: Lab) -> None:
    """The vCenter shows the heartbeat of a frozen guest as green for a long time; the fence did not wait for it."""
    if wait_until(lambda: not lab.nodes[lab.source].is_running, 1.0, 0.1):
        return
    raise LabError(f"{lab.source} has not been fenced")


SCENARIOS = {
    one.name: one
    for one in (
        Scenario("power-cut", "The power of the holder is cut while it has unwritten data; what was synced stays.", power_off,
                 prepare=_write_both, check=_is_recovered),
        Scenario("guest-panics", "The holder's kernel stops for good; the VM stays on.", _panic,
                 policy={"node_timeout": 10}, prepare=be_heard, check=_was_late),
        Scenario("guest-resets", "The holder's guest boots anew; nothing mounts by itself.", _reset,
                 check=_stays_away, limit=90.0),
        Scenario("surprise-removal", "The mounted disk leaves the machine, and the vCenter does not know.", _pull,
                 policy={"on_error": "switchover"}),
        Scenario("node-returns", "The power of the holder is cut; it boots after the move and stays away from the disk.",
                 power_off, check=_stays_away),
    )
}  # fmt: skip
