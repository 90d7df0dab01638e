"""What the random campaign does to guests, tried without one: each strike must strike, and each cure end it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.cell import Done, LabError
from lab.mounts import Mount
from lab.ordeals import faults_guest, faults_machine
from lab.ordeals.catalogue import FAULTS
from lab.ordeals.scene import Scene
from lab.qemu.node import QemuNode
from lab.scenarios import DISK
from lab.strikes import TooLate

ON_SDB = os.makedev(8, 16)
SHARED = SimpleNamespace(uuid="6000c29", path="[ds1] shared/pgdata.vmdk", name=DISK)


class Guest(QemuNode):
    """A guest that is only told of. told: what was done to it. code: how every program in it ends."""

    def __init__(self, place: Path, disks: Sequence[Any]) -> None:
        self.identity: Any = SimpleNamespace(minion_id=place.name, name=f"{place.name}-vm")
        self.hardware: Any = SimpleNamespace(folder=place)
        place.mkdir()
        (place / "console").write_text("Kernel panic - of an earlier life\n")
        self.told: list[str] = []
        self.code, self.panics = 0, True
        self._disks, self._machine, self._frozen = list(disks), SimpleNamespace(alive=True), False
        self._drives = {one.uuid: SimpleNamespace(unplug=lambda: self.told.append("unplug")) for one in disks}  # type: ignore[misc]
        self._slots = {one.uuid: SimpleNamespace(disk=one) for one in disks}  # type: ignore[misc]

    @contextmanager
    def _turn(self) -> Any:
        yield

    @property
    def answers(self) -> bool:
        return self.is_running

    def tell(self, script: str, seconds: float = 1.0) -> None:
        self.told.append(script)
        if self.panics:
            with (self.hardware.folder / "console").open("a") as file:
                file.write("Kernel panic - not syncing: sysrq triggered crash\n")

    def run(self, argv: Sequence[str], seconds: float = 10.0) -> Done:
        self.told.append(" ".join(argv))
        return Done(self.code, "", "no")

    def power_off(self) -> None:
        self.told.append("off")
        self._machine = None

    def _plug(self, slot: Any) -> None:
        self.told.append("plug")
        self._drives[slot.disk.uuid] = slot

    def mounts(self) -> list[Mount]:
        return [Mount("/srv/pgdata", ON_SDB, "ext4", "/dev/sdb", True)] if self._disks else []

    def device_of(self, _: Any) -> int | None:
        return ON_SDB if self._disks else None

    def devices_of(self, disk: Any) -> tuple[int, ...]:
        return (ON_SDB,) if self._disks else ()


class Place:
    """A lab of two guests; the first one has the disk mounted. asked: what was done to the vCenter and to VMs as a whole."""

    def __init__(self, folder: Path) -> None:
        self.holder, self.other = Guest(folder / "a", [SHARED]), Guest(folder / "b", [])
        self.asked: list[str] = []
        vcenter = SimpleNamespace(guest_power=lambda name, power: self.asked.append(f"{name} {power}"))
        self.lab: Any = SimpleNamespace(
            nodes={"a": self.holder, "b": self.other},
            disks={DISK: SHARED},
            vcenter=vcenter,
            mountpoint=lambda: "/srv/pgdata",
            power_on=lambda name: self.asked.append(f"{name} on"),
            wishes=SimpleNamespace(guests=object()),
        )
        self.scene = Scene(self.lab, SimpleNamespace())  # type: ignore[arg-type]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_panic_lasts_until_somebody_powers_the_vm_off_and_on(place: Place) -> None:
    cure = FAULTS["panic-holder"].strike(place.scene)
    assert "echo c >/proc/sysrq-trigger" in place.holder.told[0] and place.scene.stands("panicked", "a")
    with pytest.raises(TooLate):
        place.scene.inside("a")
    cure()
    assert place.holder.told[1:] == ["off"] and place.asked == ["a-vm poweredOff", "a on"]
    assert not place.scene.standing


def test_a_panicked_vm_that_was_fenced_and_runs_again_is_left_alone(place: Place) -> None:
    cure = FAULTS["panic-holder"].strike(place.scene)
    place.holder._machine = SimpleNamespace(alive=True)  # type: ignore[assignment]
    cure()
    assert "off" not in place.holder.told and place.asked == ["a on"]


def test_a_kernel_that_does_not_panic_was_not_struck(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults_guest, "_PANIC_LIMIT", 0.1)
    place.holder.panics = False
    with pytest.raises(LabError, match="did not panic"):
        FAULTS["panic-holder"].strike(place.scene)
    assert not place.scene.standing, "what an earlier kernel has said counts as this one's"


def test_the_power_goes_only_when_the_page_cache_is_full(place: Place) -> None:
    cure = FAULTS["power-cut-dirty"].strike(place.scene)
    assert "of=/srv/pgdata/dirty.bin" in place.holder.told[0] and place.holder.told[1] == "off"
    assert place.asked == ["a-vm poweredOff"] and place.scene.stands("off", "a")
    cure()
    assert place.asked[1:] == ["a on"]


def test_power_is_left_on_where_nothing_can_be_written(place: Place) -> None:
    place.holder.code = 1
    with pytest.raises(TooLate):
        FAULTS["power-cut-dirty"].strike(place.scene)
    assert place.holder.is_running and not place.scene.standing


def test_a_pulled_disk_is_put_back_only_where_it_still_belongs(place: Place) -> None:
    cure = FAULTS["disk-pulled"].strike(place.scene)
    assert place.holder.told == ["unplug"] and place.scene.stands("disk", "a")
    cure()
    assert place.holder.told == ["unplug", "plug"]


def test_a_pulled_disk_that_was_moved_meanwhile_stays_where_it_is(place: Place) -> None:
    cure = FAULTS["disk-pulled"].strike(place.scene)
    place.holder._slots.clear()
    cure()
    assert place.holder.told == ["unplug"] and not place.scene.standing


def test_a_disk_that_is_offline_is_said_to_run_again(place: Place) -> None:
    cure = FAULTS["disk-offline"].strike(place.scene)
    assert "echo offline >/sys/dev/block/8:16/device/state" in place.holder.told[0]
    place.holder.panics = False
    cure()
    assert "echo running >/sys/dev/block/8:16/device/state" in place.holder.told[1]


def test_a_kernels_clock_goes_back_and_forth(place: Place) -> None:
    cure = FAULTS["kernel-clock-jumps"].strike(place.scene)
    cure()
    back, forth = (int(one.partition("@")[2]) for one in place.holder.told)
    assert 3595 <= forth - back <= 3605


@pytest.mark.parametrize("name", [name for name, one in FAULTS.items() if one.nodes == ("qemu",)])
def test_nodes_that_share_a_kernel_are_not_struck_by_what_is_for_guests(place: Place, name: str) -> None:
    shared: Any = SimpleNamespace(
        is_running=True, is_frozen=False, answers=True, slots=place.holder.slots, mounts=place.holder.mounts,
        devices_of=place.holder.devices_of, device_of=place.holder.device_of, minion_id="a",
    )  # fmt: skip
    place.lab.nodes = {"a": shared, "b": shared}
    with pytest.raises(TooLate, match="no kernel of its own"):
        FAULTS[name].strike(place.scene)


def test_guests_show_their_own_signs_of_life(place: Place) -> None:
    faults_machine.show_heartbeat(place.scene, "a", "gray")
    assert place.asked == [], "the vCenter was told of a heartbeat that the guest itself gives"
