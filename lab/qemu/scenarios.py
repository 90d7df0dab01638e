"""What only kernels of their own can show. They are played by guests alone: `make scenario NAME=… ARGS='--nodes qemu'`."""

from __future__ import annotations

import os
import time
from dataclasses import replace

from lab.cell import LabError
from lab.cluster import Lab
from lab.events import Event
from lab.linux import wait_until
from lab.observer import mountpoints
from lab.qemu import lvm
from lab.qemu.guests import Guests
from lab.saltconf import MINION_ROOT
from lab.scenarios import DISK, FIRST, Act, Scenario, be_heard, hurt, power_off
from lab.scenarios import SCENARIOS as OF_ALL

_SAFE, _DIRTY = "safe.bin", "dirty.bin"
_SIZE_KB = 4096
_BOOT_LIMIT = 40.0
_QUIET_S = 10.0
#: What process 1 of a guest is, and how long it takes for a boot that is slow.
_INIT, _SLOW_BOOT_S = "/usr/local/sbin/guest-init", 60
_SCSI_TIMEOUT_S = 3  # less than the `hang_timeout` of guests
_CONDITIONS = ("salt/beacon/{}/vmdk/{}/*", "vmdk/{1}/*")
_RECOVERED = {"ext4": "EXT4-fs ({}): recovery complete", "xfs": "XFS ({}): Ending recovery"}


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


def _goodbye(end: str) -> Act:
    """The guest ends as a shutdown or reboot by systemd would: it tells the master, then stops, unmounts and syncs."""

    def act(lab: Lab) -> None:
        lab.nodes[lab.source].tell(
            f"salt-call -c {MINION_ROOT} vmdk.leaving wait=300; kill $(cat /run/lab-services/ledger.pid); "
            f"i=0; while grep -q ' {lab.mountpoint(DISK)} ' /proc/self/mountinfo && [ $i -lt 100 ]; do "
            f"umount {lab.mountpoint(DISK)}; sleep 0.1; i=$((i+1)); done; sync; busybox {end} -f",
            60.0,
        )  # fmt: skip

    return act


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


def _number(lab: Lab, node: str) -> str:
    """The disk's device number in a guest, as sysfs writes it. Raises LabError."""
    device = lab.nodes[node].device_of(lab.disks[DISK])
    if device is None:
        raise LabError(f"{node} does not see the disk")
    return f"{os.major(device)}:{os.minor(device)}"


def _name(lab: Lab, node: str, device: int) -> str:
    """What the kernel of a guest calls a device. Raises LabError."""
    return _shell(
        lab, node, f"basename $(readlink /sys/dev/block/{os.major(device)}:{os.minor(device)})"
    ).strip()


def _offline(lab: Lab) -> None:
    """The SCSI layer of the holder gives the disk up: the next request to it fails, and no other one reaches it."""
    state = f"/sys/dev/block/{_number(lab, lab.source)}/device/state"
    _shell(lab, lab.source, f"echo offline >{state} && grep -qx offline {state}")


def _is_told_offline(lab: Lab) -> None:
    """The holder has said that the disk is offline, or that a request has failed, if one was sooner than the next look."""
    tags = {
        one.tag for pattern in _CONDITIONS for one in lab.master.events.seen(pattern.format(lab.source, DISK))
    }
    told = sorted({tag.rpartition("/")[2] for tag in tags})
    if not {"device_offline", "io_error"} & set(told):
        raise LabError(
            f"{lab.source} has not told of a disk that is offline, but of: {', '.join(told) or 'nothing'}"
        )


def _is_recovered(lab: Lab) -> None:
    """The same, and the kernel of the backup has replayed the journal of what is mounted of this disk."""
    _is_safe(lab)
    disk, node = lab.disks[DISK], lab.nodes[lab.target]
    devices = [one.devno for one in node.mounts() if one.mountpoint in mountpoints(node, disk)]
    if not devices:
        raise LabError(f"{lab.target} has not mounted the disk")
    name = _name(lab, lab.target, devices[-1])
    if _RECOVERED[disk.fstype].format(name) not in _shell(lab, lab.target, "dmesg"):
        raise LabError(f"the kernel of {lab.target} tells nothing of a recovery of {disk.fstype} on {name}")


def _is_whole(lab: Lab) -> None:
    """The same, of a volume that lies on both of the resource's disks, and both are listed by the backup alone."""
    _is_recovered(lab)
    lvm.is_striped(lab, lab.target)
    lvm.is_listed_by(lab, lab.target)


def _short_scsi_timeout(lab: Lab) -> None:
    be_heard(lab)
    _shell(
        lab, lab.source, f"echo {_SCSI_TIMEOUT_S} >/sys/dev/block/{_number(lab, lab.source)}/device/timeout"
    )


def _slow_boot(lab: Lab) -> None:
    """The next boot of the holder, and no other, takes a minute longer."""
    be_heard(lab)
    wait = f"[ ! -e /slow ] || {{ rm /slow; sync; busybox sleep {_SLOW_BOOT_S}; }}"
    _shell(lab, lab.source, f"touch /slow && sed -i '5i {wait}' {_INIT} && sync -f {_INIT}")


def _boot(beat: Event) -> str:
    return str(beat.data.get("data", beat.data).get("boot_id"))


def _comes_back(lab: Lab) -> None:
    """The node that was struck is heard by the product in a boot that is not its first one."""
    first = _boot(lab.master.events.seen(f"vmdk-heartbeat/{lab.source}")[0])
    limit = _BOOT_LIMIT * lab.patience
    if not lab.master.events.wait(
        f"vmdk-heartbeat/{lab.source}", limit, fits=lambda one: _boot(one) != first
    ):
        raise LabError(f"{lab.source} sent no heartbeat of a new boot within {limit:.0f} s")


def _stays_away(lab: Lab) -> None:
    """The node that was struck boots, is heard, and has the file system mounted nowhere, for a while."""
    node, disk = lab.nodes[lab.source], lab.disks[DISK]
    if not node.is_running:
        lab.power_on(lab.source)
    _comes_back(lab)
    end = time.monotonic() + _QUIET_S
    while time.monotonic() < end:
        table = _shell(lab, lab.source, "cat /proc/self/mountinfo")
        if f" {lab.mountpoint(DISK)} " in table:
            raise LabError(f"{lab.source} has mounted the file system by itself after its boot")
        time.sleep(1.0)
    if not mountpoints(lab.nodes[lab.target], disk):
        raise LabError(f"{lab.target} has lost the file system when {lab.source} came back")


def _rules(lab: Lab, since: float = 0.0) -> list[int]:
    """The rules of what the product has decided."""
    return [one.data["rule"] for one in lab.master.events.seen(f"vmdk-move/{DISK}/decided", since)]


def _steps(lab: Lab, what: str) -> list[Event]:
    """The beginnings of one kind of step."""
    told = lab.master.events.seen(f"vmdk-move/{DISK}/step")
    return [one for one in told if one.data["step"] == what]


def _mounted_again(lab: Lab) -> None:
    """The guest was reset, nothing mounted by itself, and the product mounted it there, for it was unmounted on its holder."""
    node = lab.nodes[lab.source]
    if not node.resets:
        raise LabError(f"the guest of {lab.source} was not reset")
    began = [one.monotonic for one in _steps(lab, "mount") if one.monotonic > node.resets[-1]]
    seen = lab.observer.first("mounted", lab.disks[DISK], node.name, node.resets[-1])
    if seen is not None and (not began or seen < began[0]):
        raise LabError(f"{lab.source} has mounted the file system by itself after its reset")
    if 750 not in (rules := _rules(lab, node.resets[-1])):
        raise LabError(f"rule 750 has decided nothing after the reset; those that did: {rules}")
    _comes_back(lab)


def _waited_for(lab: Lab) -> None:
    """The same, and the product gave the holder time because it had said goodbye."""
    _mounted_again(lab)
    if 602 not in (rules := _rules(lab)):
        raise LabError(f"rule 602 has decided nothing; those that did: {rules}")


def _has_left(lab: Lab) -> None:
    """It was switched over because it said goodbye, and nobody had to be fenced; then the guest ended by itself."""
    if 565 not in _rules(lab) or _steps(lab, "fence"):
        raise LabError(f"no clean move by rule 565; those that decided: {_rules(lab)}")
    if not wait_until(lambda: not lab.nodes[lab.source].is_running, _BOOT_LIMIT * lab.patience, 0.1):
        raise LabError(f"{lab.source} has not powered itself off")


def _was_late(lab: Lab) -> None:
    """The vCenter shows the heartbeat of a dead guest as red only after long; the product did not wait for that."""
    told = lab.master.events.seen(f"vmdk-move/{DISK}/decided")
    moments = [one.monotonic for one in told if one.data["rule"] == 647]
    if not moments:
        raise LabError(f"rule 647 has decided nothing; those that did: {_rules(lab)}")
    guests, name = lab.wishes.guests, lab.nodes[lab.source].name
    assert isinstance(guests, Guests)
    colours = [colour for at, who, colour in guests.shown if who == name and at <= moments[0]]
    if colours[-1] == "red":
        raise LabError(f"the heartbeat of {lab.source} was red when the move was decided")
    if not wait_until(lambda: not lab.nodes[lab.source].is_running, 1.0, 0.1):
        raise LabError(f"{lab.source} has not been fenced")


SCENARIOS = {
    one.name: one
    for one in (
        Scenario("power-cut", "The power of the holder is cut while it has unwritten data; what was synced stays.", power_off,
                 prepare=_write_both, check=_is_recovered),
        Scenario("guest-panics", "The holder's kernel stops for good; the VM stays on.", _panic,
                 policy={"node_timeout": 10}, prepare=be_heard, check=_was_late),
        Scenario("guest-resets", "The holder's guest boots anew, sooner than it counts as dead; it is mounted there again.",
                 _reset, FIRST, policy={"node_timeout": 60}, prepare=be_heard, check=_mounted_again, limit=20.0),
        Scenario("guest-reset-slow", "The holder's guest boots anew, and takes too long; it comes back without the disk.",
                 _reset, policy={"node_timeout": 10}, prepare=_slow_boot, check=_stays_away),
        Scenario("guest-reboot", "The holder announces a reboot and comes back; nothing fails over.", _goodbye("reboot"),
                 FIRST, policy={"on_shutdown": "stay"}, prepare=be_heard, check=_waited_for),
        Scenario("guest-shutdown", "The holder announces its shutdown; the resource leaves it before it is off.",
                 _goodbye("poweroff"), policy={"on_shutdown": "switchover"}, prepare=be_heard, check=_has_left),
        Scenario("scsi-timeout", "The disk hangs, and the guest's SCSI layer gives up first: an emulated guest stands still.",
                 hurt("all=hang"), prepare=_short_scsi_timeout),
        Scenario("surprise-removal", "The mounted disk leaves the machine, and the vCenter does not know.", _pull,
                 policy={"on_error": "switchover"}),
        Scenario("scsi-offline", "The guest's SCSI layer sets the disk offline; the resource moves.", _offline,
                 policy={"on_error": "switchover"}, check=_is_told_offline),
        Scenario("lvm-power-cut", "A power cut of a striped logical volume on two VMDKs; the backup gets both.",
                 power_off, prepare=_write_both, check=_is_whole, more=(lvm.SECOND_DISK,), protect=lvm.protect),
        Scenario("node-returns", "The power of the holder is cut; it boots after the move and stays away from the disk.",
                 power_off, check=_stays_away),
        replace(OF_ALL["hang-switchover"], name="fence-returns", check=_stays_away,
                description="The disk hangs and the holder is fenced; it boots after the move and stays away from the disk."),
    )
}  # fmt: skip
