"""
Runs as the only program of a guest (``lab/guest/vm.py``): a resource on two VMDKs with LVM, from survey to release and back,
also while a disk fails, hangs or vanishes. One line ``OK name`` or ``FAILED name: why`` per trial.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from lab.guest.inside import dev, host, open_line, sh, until, uuid_of
from vmdk_failover.guest import children, devices, lvm, mapped, mounts
from vmdk_failover.guest.facts import node_facts
from vmdk_failover.guest.latest import latest
from vmdk_failover.guest.mounting import MountReport, mount_all
from vmdk_failover.guest.places import HERE
from vmdk_failover.guest.release import ReleaseReport, release
from vmdk_failover.guest.survey import survey
from vmdk_failover.guest.watch import Watch
from vmdk_failover.model import Disk, Mount, MountState, Node, Resource, VolumeGroup

STATE = Path("/run/vmdk")
SRV = Path("/srv/data")
FS_UUID = "c0ffee00-0000-4000-8000-000000000001"
TRIALS: list[Callable[[], None]] = []


def trial(function: Callable[[], None]) -> Callable[[], None]:
    """To be run, in the order of the text."""
    TRIALS.append(function)
    return function


def sees(number: int) -> bool:
    return devices.find(disk(number), HERE) is not None


def disk(number: int) -> Disk:
    return Disk(f"[ds] {number}.vmdk", uuid_of(number), number % 2, number)


def resource() -> Resource:
    return dataclasses.replace(
        Resource(
            "data", (Node("a", "u"), Node("b", "v")), (disk(1), disk(2)), (Mount(str(SRV), FS_UUID, "ext4"),)
        ),
        vgs=(VolumeGroup("pg-vg", GROUP[0]),),
        hang_timeout=2.0,
    )


BOOT_ID = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
GROUP = [""]
EPOCH = [1]


def let_go(deadline_s: float = 60.0, **more: object) -> ReleaseReport:
    EPOCH[0] += 1
    began = time.monotonic()
    done = release(
        resource(), stop_services=lambda: None, deadline_s=deadline_s, state_dir=STATE, epoch=EPOCH[0], **more
    )
    print(
        f"  release {time.monotonic() - began:.2f} s: {done.clean} {done.code} {done.reason}; {done.steps}",
        flush=True,
    )
    return done


def take(deadline_s: float = 120.0, **more: object) -> MountReport:
    EPOCH[0] += 1
    began = time.monotonic()
    done = mount_all(
        resource(),
        start_services=lambda: None,
        deadline_s=deadline_s,
        state_dir=STATE,
        epoch=EPOCH[0],
        **more,
    )
    print(
        f"  mount {time.monotonic() - began:.2f} s: {done.ok} {done.code} {done.reason}; {done.steps}",
        flush=True,
    )
    return done


def facts():
    return node_facts(resource(), minion="a", state_dir=STATE, prober=None)


def write(text: str) -> None:
    with open(SRV / "file", "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


@trial
def a_group_is_made_by_hand() -> None:
    until(lambda: all(map(sees, (1, 2, 3))))
    sh("pvcreate", "-qq", dev(1), dev(2))
    sh("vgcreate", "-qq", "pg-vg", dev(1), dev(2))
    sh("lvcreate", "-qq", "-y", "-i2", "-l", "60%VG", "-n", "the-data", "pg-vg")
    sh("mkfs.ext4", "-q", "-U", FS_UUID, "/dev/pg-vg/the-data")
    SRV.mkdir(parents=True, exist_ok=True)
    sh("mount", "/dev/pg-vg/the-data", str(SRV))
    write("one")


@trial
def protect_finds_all_its_disks() -> None:
    seen = survey(str(SRV))
    print(f"  {seen}", flush=True)
    assert seen.disk_uuids == (uuid_of(1), uuid_of(2)), seen
    assert seen.lvm[0]["vg"] == "pg-vg" and seen.fs_uuid == FS_UUID, seen
    GROUP[0] = seen.lvm[0]["uuid"]
    said = facts()
    assert (said.mounted, said.superblock, said.unready) == (MountState.MOUNTED, True, ()), said


@trial
def a_release_is_proven_and_takes_the_disks_off_the_bus() -> None:
    done = let_go()
    assert done.clean, done
    assert not sees(1) and not sees(2) and sees(3)
    assert not mapped.volumes(HERE)
    assert facts().released == EPOCH[0], facts()


@trial
def the_same_node_takes_it_again_and_no_other_disk() -> None:
    third = os.path.basename(dev(3))
    Path(f"/sys/block/{third}/device/delete").write_text("1")
    until(lambda: not sees(3))
    assert take().ok
    assert (SRV / "file").read_text() == "one"
    assert sees(1) and sees(2) and not sees(3)
    host("detach", number=3)
    host("attach", number=3)
    until(lambda: sees(3))


@trial
def a_writer_and_an_active_group_that_nothing_is_mounted_of() -> None:
    code = f"import os,time\nf=open('{SRV}/w','w')\nwhile 1: f.write('x'*4096); f.flush(); os.fsync(f.fileno()); time.sleep(.01)"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        until((SRV / "w").exists)
        done = let_go()
        assert done.clean, done
        assert process.wait() == -signal.SIGTERM
    assert take().ok
    sh("umount", str(SRV))
    assert facts().busy == "", facts()
    assert let_go().clean
    assert take().ok


@trial
def off_and_on_by_the_host() -> None:
    assert let_go().clean
    for number in (1, 2):
        host("detach", number=number)
    for number in (1, 2):
        host("attach", number=number)
    assert take().ok
    write("two")


@trial
def a_person_uses_another_volume_of_the_group() -> None:
    sh("lvcreate", "-qq", "-y", "-l", "10%VG", "-n", "swap", "pg-vg")
    sh("mkswap", "-q", "/dev/pg-vg/swap")
    sh("swapon", "/dev/pg-vg/swap")
    done = let_go(40.0)
    assert not done.clean and done.code == "vg_active", done
    assert "swap" in done.reason, done
    sh("swapoff", "/dev/pg-vg/swap")
    assert let_go().clean
    assert take().ok
    sh("lvremove", "-qq", "-y", "pg-vg/swap")


@trial
def a_snapshot_is_not_taken_for_the_file_system() -> None:
    sh("lvcreate", "-qq", "-y", "-s", "-l", "10%VG", "-n", "snap", "pg-vg/the-data")
    assert let_go().clean
    assert take().ok
    line = mounts.visible(mounts.of_process(), str(SRV))
    assert line is not None and "the--data" in line.source, line
    sh("lvremove", "-qq", "-y", "pg-vg/snap")


@trial
def a_second_group_of_that_name_is_a_conflict_only_while_active() -> None:
    assert let_go().clean
    sh("pvcreate", "-qq", dev(3))
    sh("vgcreate", "-qq", "pg-vg", dev(3))
    sh("lvcreate", "-qq", "-y", "-l", "50%VG", "-n", "other", "pg-vg")
    done = take()
    assert (done.ok, done.code) == (False, "vg_conflict"), done
    assert any("another volume group" in word for word in facts().unready), facts()
    sh("vgchange", "-qq", "--devices", dev(3), "-an", "pg-vg")
    assert take().ok
    assert let_go().clean
    sh("vgremove", "-ff", "-y", "-qq", "--devices", dev(3), "pg-vg")
    assert take().ok


@trial
def the_wrong_group_and_half_a_group_are_refused() -> None:
    assert let_go().clean
    right, GROUP[0] = GROUP[0], "aaaaaa-aaaa-aaaa-aaaa-aaaa-aaaa-aaaaaa"
    done = take()
    assert (done.ok, done.code) == (False, "vg_conflict"), done
    GROUP[0] = right
    half = dataclasses.replace(resource(), disks=(disk(1),))
    EPOCH[0] += 1
    refused = mount_all(half, start_services=lambda: None, deadline_s=60, state_dir=STATE, epoch=EPOCH[0])
    assert (refused.ok, refused.code) == (False, "vg_missing"), refused
    print(f"  {refused.reason}", flush=True)
    assert take().ok


@trial
def what_lvm_does_by_itself_at_boot_is_known() -> None:
    run = lambda argv: children.command(argv, 5.0)  # noqa: E731
    print(
        "  " + sh("lvm", "lvmconfig", "--typeconfig", "full", "global/event_activation").strip(), flush=True
    )
    print(
        "  " + sh("lvm", "vgs", "--noheadings", "--nameprefixes", "-o", "vg_name,vg_autoactivation").strip(),
        flush=True,
    )
    held = devices.holding(resource())
    assert lvm.self_activated(resource().vgs, held, run) == ["pg-vg"]
    sh("vgchange", "-qq", "--setautoactivation", "n", "pg-vg")
    assert lvm.self_activated(resource().vgs, held, run) == []
    print(
        "  " + sh("lvm", "vgs", "--noheadings", "--nameprefixes", "-o", "vg_name,vg_autoactivation").strip(),
        flush=True,
    )


@trial
def the_prober_sees_what_happens_to_a_disk_below_the_volume() -> None:
    watch = Watch(STATE)

    def word() -> str:
        watch.poll({"data": resource()})
        return str((latest(STATE, "data", BOOT_ID) or {"condition": ""})["condition"])

    try:
        until(lambda: word() == "ok")
        for do, told in (("hang", "hung"), ("eio", "io_error")):
            began = time.monotonic()
            host(do, number=2, on=True)
            until(lambda told=told: word() == told)
            print(f"  {told} told after {time.monotonic() - began:.2f} s", flush=True)
            host(do, number=2, on=False)
            if do == "hang":  # a file system that has met an error stays failed
                until(lambda: word() == "ok")
    finally:
        for process in watch._processes:
            process.kill()
        watch.close()
    assert let_go().clean
    assert take().ok


@trial
def a_disk_that_fails_does_not_keep_the_node_from_letting_go() -> None:
    write("three")
    host("eio", number=2, on=True)
    try:
        try:
            write("lost")
        except OSError:
            pass
        done = let_go()
        assert done.clean, done
        assert not mapped.volumes(HERE)
    finally:
        host("eio", number=2, on=False)
    assert take().ok
    assert (SRV / "file").read_text() in ("three", "lost", "")


@trial
def a_mount_on_a_failing_disk_leaves_nothing() -> None:
    write("four")
    assert let_go().clean
    host("eio", number=2, on=True)
    done = take(60.0)
    assert not done.ok, done
    assert not mapped.volumes(HERE)
    host("eio", number=2, on=False)
    for number in (1, 2):
        host("detach", number=number)
        host("attach", number=number)
    assert take().ok
    assert (SRV / "file").read_text() == "four"


@trial
def a_hung_disk_is_not_waited_for() -> None:
    write("five")
    host("hang", number=2, on=True)
    try:
        with open(SRV / "dirty", "wb") as file:
            file.write(os.urandom(1 << 20))
        time.sleep(0.3)
        began = time.monotonic()
        said = facts()
        assert said.mounted is MountState.MOUNTED and time.monotonic() - began < 3.0
        done = let_go()
        assert not done.clean, done
        assert time.monotonic() - began < 20.0
    finally:
        host("hang", number=2, on=False)
    assert let_go().clean
    assert take().ok


@trial
def a_mount_from_a_hung_disk_is_not_waited_for() -> None:
    assert let_go().clean
    for number in (1, 2):
        host("detach", number=number)
        host("attach", number=number)
    until(lambda: sees(1) and sees(2))
    time.sleep(2)
    host("hang", number=2, on=True)
    sh("blockdev", "--flushbufs", dev(1))
    began = time.monotonic()
    try:
        done = take(40.0)
        assert not done.ok, done
        assert time.monotonic() - began < 30.0
    finally:
        host("hang", number=2, on=False)
    time.sleep(1)
    assert take().ok


@trial
def disks_that_vanish_under_the_mount() -> None:
    write("six")
    for number in (1, 2):
        host("detach", number=number)
    until(lambda: not sees(1) and not sees(2))
    said = facts()
    print(f"  {said}", flush=True)
    assert said.mounted is MountState.MOUNTED, said
    done = let_go()
    assert done.clean, done
    assert not mapped.volumes(HERE), mapped.volumes(HERE)
    for number in (1, 2):
        host("attach", number=number)
    assert take().ok
    assert (SRV / "file").read_text() == "six"


@trial
def a_mapping_left_by_vanished_disks_is_not_taken_for_active() -> None:
    write("seven")
    sh("umount", str(SRV))
    for number in (1, 2):
        host("detach", number=number)
    until(lambda: not sees(1) and not sees(2))
    assert mapped.volumes(HERE)
    for number in (1, 2):
        host("attach", number=number)
    assert take().ok
    assert (SRV / "file").read_text() == "seven"


@trial
def a_killed_release_or_mount_is_finished_by_the_next() -> None:
    for after in (0.1, 0.3, 0.6, 1.2):
        for act in (let_go, take):
            pid = os.fork()
            if pid == 0:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                act()
                os._exit(0)
            time.sleep(after)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            EPOCH[0] += 2
            until(lambda: let_go().clean)
            assert not mapped.volumes(HERE)
            assert take().ok


@trial
def xfs_and_a_partition_below_lvm() -> None:
    assert let_go().clean
    EPOCH[0] += 1
    subprocess.run(["sfdisk", "-q", dev(3)], input=b"size=310M\n", check=True)
    until(lambda: os.path.exists(dev(3) + "1"))
    sh("pvcreate", "-qq", dev(3) + "1")
    sh("vgcreate", "-qq", "xvg", dev(3) + "1")
    sh("lvcreate", "-qq", "-y", "-l", "100%VG", "-n", "lv", "xvg")
    sh("mkfs.xfs", "-q", "/dev/xvg/lv")
    sh("mount", "/dev/xvg/lv", str(SRV))
    seen = survey(str(SRV))
    assert seen.disk_uuids == (uuid_of(3),) and seen.fstype == "xfs", seen
    other = Resource(
        "x", (Node("a", "u"), Node("b", "v")), (disk(3),), (Mount(str(SRV), seen.fs_uuid, "xfs"),),
        vgs=(VolumeGroup("xvg", seen.lvm[0]["uuid"]),),
    )  # fmt: skip
    for epoch in (1, 3):
        gone = release(other, stop_services=lambda: None, deadline_s=60, state_dir=STATE, epoch=epoch)
        assert gone.clean and not sees(3), gone
        back = mount_all(other, start_services=lambda: None, deadline_s=60, state_dir=STATE, epoch=epoch + 1)
        assert back.ok, back


def main() -> None:
    """Run the trials; after one has failed, the world is not what the next expects."""
    open_line()
    STATE.mkdir(parents=True, exist_ok=True)
    for one in TRIALS:
        began = time.monotonic()
        try:
            one()
        except BaseException as err:
            traceback.print_exc()
            print(f"FAILED {one.__name__}: {err}", flush=True)
            print(sh("dmesg")[-3000:], flush=True)
            sys.exit(1)
        print(f"OK {one.__name__} ({time.monotonic() - began:.1f} s)", flush=True)


if __name__ == "__main__":
    main()
