"""What the scenarios of emulated guests look at in the end, tried without a guest: a check must see what it is there for."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lab import trial
from lab.cell import Done, LabError
from lab.events import Event, Tap
from lab.ledger import FILE
from lab.mounts import Mount
from lab.observer import Observer, Sight
from lab.qemu import scenarios as of_guests
from lab.qemu.guests import Guests
from lab.qemu.scenarios import SCENARIOS as OF_GUESTS
from lab.scenarios import FIRST, SCENARIOS, SECOND

A, B = FIRST, SECOND
ON_SDB = os.makedev(8, 16)


class Guest:
    """A node of a lab that is only told of. says: output by a part of the script that it is given."""

    def __init__(self, name: str) -> None:
        self.name, self.minion_id = f"{name}-vm", name
        self.is_running, self.resets = True, list[float]()
        self.mounted = False
        self.above: tuple[int, ...] = ()
        self.says: dict[str, str] = {}
        self.spent = 0.0

    def device_of(self, _: Any) -> int:
        return ON_SDB

    def devices_of(self, disk: Any) -> tuple[int, ...]:
        return (self.device_of(disk), *self.above)

    def mounts(self) -> list[Mount]:
        return [Mount("/srv/pgdata", ON_SDB, "ext4", "/dev/sdb", True)] if self.mounted else []

    def run(self, argv: Sequence[str], seconds: float = 10.0) -> Done:
        return Done(0, next((text for part, text in self.says.items() if part in argv[-1]), ""), "")


class Played:
    """A lab after a scenario, as far as its check looks at it: the disk is on the second node, the first one runs."""

    def __init__(self, fstype: str = "ext4") -> None:
        self.source, self.target, self.patience = A, B, 0.01
        self.nodes = {name: Guest(name) for name in (A, B)}
        self.nodes[B].mounted = True
        self.disks = {
            name: SimpleNamespace(path=f"[ds1] shared/{name}.vmdk", fstype=fstype)
            for name in ("pgdata", "pgdata2")
        }
        self.listed = {f"{A}-vm": list[str](), f"{B}-vm": [disk.path for disk in self.disks.values()]}
        self.vcenter = SimpleNamespace(inventory=self.inventory)
        self.master = SimpleNamespace(events=Tap({}))
        self.observer = Observer("http://127.0.0.1:1", [], [])
        guests = Guests()
        self.shown = guests.shown
        self.wishes = SimpleNamespace(guests=guests)

    def inventory(self) -> dict[str, Any]:
        vms = [
            {"name": name, "disks": [{"path": path} for path in paths]} for name, paths in self.listed.items()
        ]
        return {"vms": vms}

    def mountpoint(self, name: str) -> str:
        return f"/srv/{name}"

    def told(self, moment: float, what: str, **data: Any) -> None:
        self.master.events._add(Event(moment, f"vmdk-move/pgdata/{what}", data))

    def heard(self, moment: float, boot: str) -> None:
        self.master.events._add(Event(moment, f"vmdk-heartbeat/{A}", {"data": {"boot_id": boot}}))

    def saw_mounted(self, moment: float) -> None:
        sight = Sight(moment, "mounted", self.disks["pgdata"].path, f"{A}-vm")
        self.observer.findings.sights.append(sight)


def check(name: str, lab: Played) -> str:
    """What the check of a scenario complains of; empty when it is content."""
    try:
        {**SCENARIOS, **OF_GUESTS}[name].check(cast(Any, lab))
    except LabError as problem:
        return str(problem)
    return ""


@pytest.mark.parametrize(
    ("fstype", "said", "good"),
    [
        ("ext4", "EXT4-fs (sdb): recovery complete", True),
        ("ext4", "EXT4-fs (sda): recovery complete", False),
        ("ext4", "XFS (sdb): Ending recovery (logdev: internal)", False),
        ("xfs", "XFS (sdb): Ending recovery (logdev: internal)", True),
        ("xfs", "XFS (sdb): Ending clean mount", False),
    ],
)
def test_a_recovery_is_one_of_this_disk_and_no_clean_mount(fstype: str, said: str, good: bool) -> None:
    lab = Played(fstype)
    lab.nodes[B].says = {"/sys/dev/block/8:16": "sdb\n", "dmesg": f"[1.0] {said}\n"}
    assert (check("power-cut", lab) == "") is good


ON_DM = os.makedev(253, 0)


def with_a_volume(on: Sequence[str] = ("pgdata", "pgdata2")) -> Played:
    """The backup has mounted a volume that lies on these disks, after a recovery."""
    lab, backup = Played(), Guest(B)
    numbers = {disk.path: os.makedev(8, 16 * at) for at, disk in enumerate(lab.disks.values(), 1)}
    above = [lab.disks[name].path for name in on]
    backup.mounted, lab.nodes[B] = True, backup
    backup.mounts = lambda: [Mount("/srv/pgdata", ON_DM, "ext4", "/dev/mapper/pg--vg-the--data", True)]  # type: ignore[method-assign]
    backup.devices_of = lambda disk: (numbers[disk.path], *((ON_DM,) if disk.path in above else ()))  # type: ignore[method-assign]
    backup.says = {"/sys/dev/block/253:0": "dm-0\n", "dmesg": "[1.0] EXT4-fs (dm-0): recovery complete\n"}
    return lab


def test_a_volume_lies_on_both_disks_and_the_backup_alone_lists_them() -> None:
    assert check("lvm-power-cut", with_a_volume()) == ""
    assert "does not lie on both disks" in check("lvm-power-cut", with_a_volume(["pgdata"]))
    lab = with_a_volume()
    lab.nodes[B].says["dmesg"] = "[1.0] EXT4-fs (sdb): recovery complete\n"
    assert "tells nothing of a recovery of ext4 on dm-0" in check("lvm-power-cut", lab)
    lab = with_a_volume()
    lab.listed[f"{A}-vm"].append(lab.disks["pgdata2"].path)
    assert "pgdata2.vmdk is listed by" in check("lvm-power-cut", lab)
    lab.listed = {f"{A}-vm": [], f"{B}-vm": [lab.disks["pgdata"].path]}
    assert "pgdata2.vmdk is listed by no VM" in check("lvm-power-cut", lab)


@pytest.mark.parametrize(
    ("tag", "good"),
    [
        (f"salt/beacon/{A}/vmdk/pgdata/device_offline", True),
        (f"salt/beacon/{A}/vmdk/pgdata/io_error", True),
        ("vmdk/pgdata/device_offline", True),
        (f"salt/beacon/{A}/vmdk/pgdata/ok", False),
        (f"salt/beacon/{B}/vmdk/pgdata/io_error", False),
        (f"salt/beacon/{A}/vmdk/other/io_error", False),
    ],
)
def test_a_disk_that_is_offline_must_have_been_told_by_its_holder(tag: str, good: bool) -> None:
    lab = Played()
    lab.master.events._add(Event(1.0, tag, {}))
    assert (check("scsi-offline", lab) == "") is good


def test_a_strike_that_the_kernel_refuses_is_no_fault_that_was_survived() -> None:
    lab, node = Played(), Guest(A)
    node.run = lambda argv, seconds=10.0: Done(1, "", "Invalid argument")  # type: ignore[method-assign]
    lab.nodes[A] = node
    with pytest.raises(LabError, match="Invalid argument"):
        OF_GUESTS["scsi-offline"].fault(cast(Any, lab))


@pytest.mark.parametrize("name", ["node-returns", "fence-returns", "guest-reset-slow"])
def test_a_node_that_stays_away_must_have_been_heard(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_guests, "_QUIET_S", 0.0)
    lab = Played()
    lab.heard(1.0, "first")
    lab.heard(2.0, "first")
    assert "no heartbeat of a new boot" in check(name, lab), (
        "a minion that is dead passes for one that stays away"
    )
    lab.heard(3.0, "second")
    assert check(name, lab) == ""
    lab.nodes[B].mounted = False
    assert "lost the file system" in check(name, lab)


def reset(rule: int = 750, mounted: float = 5.0, boot: str = "second") -> Played:
    """A guest that was reset at 2.0 and where the product began to mount at 4.0."""
    lab = Played()
    lab.heard(1.0, "first")
    lab.told(1.0, "decided", rule=750, choice="move")  # as when the lab came up
    lab.told(1.1, "step", step="mount", node=A)
    lab.nodes[A].resets = [2.0]
    lab.told(3.0, "decided", rule=rule, choice="move")
    lab.told(4.0, "step", step="mount", node=A)
    lab.saw_mounted(mounted)
    lab.heard(6.0, boot)
    return lab


def test_a_guest_that_was_reset_is_mounted_by_the_product_alone() -> None:
    assert check("guest-resets", reset()) == ""
    assert "by itself" in check("guest-resets", reset(mounted=3.5))
    assert "rule 750" in check("guest-resets", reset(rule=647))
    assert "new boot" in check("guest-resets", reset(boot="first"))
    assert "not reset" in check("guest-resets", Played())


def test_a_reboot_that_was_announced_is_waited_for() -> None:
    lab = reset()
    assert "rule 602" in check("guest-reboot", lab)
    lab.told(3.0, "decided", rule=602, choice="hold")
    assert check("guest-reboot", lab) == ""


def test_a_shutdown_that_was_announced_needs_no_fence() -> None:
    lab = Played()
    assert "565" in check("guest-shutdown", lab)
    lab.told(1.0, "decided", rule=565, choice="move")
    assert "has not powered itself off" in check("guest-shutdown", lab)
    lab.nodes[A].is_running = False
    assert check("guest-shutdown", lab) == ""
    lab.told(2.0, "step", step="fence", node=A)
    assert "565" in check("guest-shutdown", lab)


def test_a_guest_that_halts_must_have_done_so_itself() -> None:
    lab = Played()
    assert "not reset itself" in check("hang-halt", lab)
    lab.nodes[A].resets = [1.0]
    assert check("hang-halt", lab) == ""


def test_a_dead_guest_is_not_waited_for_until_its_heartbeat_is_red() -> None:
    lab = Played()
    lab.nodes[A].is_running = False
    assert "647" in check("guest-panics", lab)
    lab.told(30.0, "decided", rule=647, choice="move")
    lab.shown += [
        (0.0, f"{A}-vm", "green"),
        (20.0, f"{A}-vm", "yellow"),
        (25.0, f"{B}-vm", "red"),
        (40.0, f"{A}-vm", "red"),
    ]
    assert check("guest-panics", lab) == ""
    lab.shown.insert(2, (29.0, f"{A}-vm", "red"))
    assert "was red" in check("guest-panics", lab)


def test_a_result_tells_what_was_decided_last() -> None:
    lab = Played()
    lab.told(1.0, "decided", choice="hold", sentence="before")
    assert trial._last_word(cast(Any, lab), 2.0) == []
    lab.told(3.0, "decided", choice="hold", sentence="held by 644")
    lab.told(4.0, "decided", choice="nothing", sentence="all is well")
    assert trial._last_word(cast(Any, lab), 2.0) == ["decided last: held by 644"]


def test_the_time_until_a_program_has_read_is_measured() -> None:
    lab, node, tries = Played(), Guest(B), list[Sequence[str]]()

    def run(argv: Sequence[str]) -> Done:
        tries.append(argv)
        return Done(0, "1 record", "") if len(tries) > 2 else Done(1, "", "no such file")

    node.run, node.spent, lab.patience = run, 3.5, 1.0  # type: ignore[assignment]
    found = trial._read_again(cast(Any, lab), node, time.monotonic(), 1.5)
    assert found["guest_ms"] == 2000 and found["readable_ms"] > 0
    assert tries == [["cat", f"/srv/pgdata/{FILE}"]] * 3
