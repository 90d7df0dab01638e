"""What only SCSI disks have, on a picture of sysfs: identity, removal from the bus, a new scan of it."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.linux import wait_until
from vmdk_failover.guest import devices, mounting, release, rescan
from vmdk_failover.model import Disk, Mount, Node, Resource

from .picture import OTHER, UUID, Picture, blank_devices


@pytest.fixture
def picture(tmp_path: Path) -> Picture:
    return Picture(tmp_path)


@pytest.fixture
def blank() -> Iterator[str]:
    """A block device with nothing on it."""
    with blank_devices(1) as (path,):
        yield path


def _resource(tmp_path: Path) -> Resource:
    mount = Mount(str(tmp_path / "srv"), "00010203-0405-0607-0809-0a0b0c0d0e0f", "ext4")
    return Resource("r", (Node("db1", "u"),), (Disk("[ds1] a.vmdk", UUID, 1, 0),), (mount,))


@pytest.mark.parametrize("link", ["wwn-0x{}", "scsi-3{}", "scsi-0VMware_Virtual_disk_{}"])
def test_a_link_names_the_disk(picture: Picture, tmp_path: Path, link: str) -> None:
    picture.add("sda", "8:0", OTHER)
    picture.add("sdb", "8:16", "", link.format(UUID))
    found = devices.find(_resource(tmp_path).disks[0], picture.places)
    assert found is not None
    assert (found.name, found.number) == ("sdb", "8:16")


def test_without_links_the_disk_itself_is_asked(picture: Picture, tmp_path: Path) -> None:
    picture.add("sda", "8:0", OTHER)
    picture.add("sdc", "8:32", UUID)
    found = devices.find(_resource(tmp_path).disks[0], picture.places)
    assert found is not None
    assert found.name == "sdc"


def test_a_link_that_the_disk_contradicts_is_not_believed(picture: Picture, tmp_path: Path) -> None:
    picture.add("sdb", "8:16", OTHER, f"wwn-0x{UUID}")
    assert devices.find(_resource(tmp_path).disks[0], picture.places) is None


def test_partitions_and_what_is_stacked_belong_to_it(picture: Picture, tmp_path: Path) -> None:
    directory = picture.add("sdb", "8:16", UUID)
    (directory / "sdb1/holders/dm-0").mkdir(parents=True)
    (directory / "sdb1/partition").write_text("1\n")
    (directory / "sdb1/dev").write_text("8:17\n")
    (picture.places.sys / "class/block/sdb1").symlink_to(directory / "sdb1")
    dm = picture.places.sys / "class/block/dm-0"
    (dm / "holders").mkdir(parents=True)
    (dm / "dev").write_text("253:0\n")
    found = devices.find(_resource(tmp_path).disks[0], picture.places)
    assert found is not None
    assert dict(found.stack) == {"sdb": "8:16", "sdb1": "8:17", "dm-0": "253:0"}
    assert devices.holders(found, picture.places) == ("dm-0",)


@pytest.mark.parametrize(
    ("wwid", "link", "sure"),
    [
        (OTHER, "", True),
        ("", "", False),
        ("", f"wwn-0x{OTHER}", True),
        ("", "ata-VMware_Virtual_SATA_Hard_Drive_00000000000000000001", True),
        ("", "lvm-pv-uuid-aaaaaa-bbbb-cccc-dddd-eeee-ffff-gggggg", False),  # said by what is on it
    ],
)
def test_a_missing_disk_is_only_proof_if_all_others_say_who_they_are(
    picture: Picture, tmp_path: Path, wwid: str, link: str, sure: bool
) -> None:
    picture.add("sda", "8:0", wwid, link)
    done = release.release(
        _resource(tmp_path),
        stop_services=lambda: None,
        deadline_s=2,
        state_dir=tmp_path / "state",
        epoch=1,
        places=picture.places,
    )
    assert (done.clean, done.code) == (sure, "" if sure else "unidentified_disk"), done


class Kernel(threading.Thread):
    """Does something when a file of the picture is written."""

    def __init__(self, file: Path, react: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self.file, self.react = file, react
        file.write_text("")

    def run(self) -> None:
        """Wait for the word, react once."""
        if wait_until(lambda: bool(self.file.read_text()), 5):
            self.react()


def test_a_released_disk_is_removed_from_the_bus(picture: Picture, tmp_path: Path, blank: str) -> None:
    directory = picture.add("sdb", "8:16", UUID)
    (picture.places.dev / "sdb").symlink_to(blank)
    kernel = Kernel(directory / "device/delete", lambda: picture.remove("sdb"))
    kernel.start()
    done = release.release(
        _resource(tmp_path),
        stop_services=lambda: None,
        deadline_s=3,
        state_dir=tmp_path / "state",
        epoch=1,
        places=picture.places,
    )
    kernel.join()
    assert done.clean, done
    assert "sdb removed from the bus" in done.reason


def test_a_disk_that_stays_on_the_bus_is_not_released(picture: Picture, tmp_path: Path, blank: str) -> None:
    directory = picture.add("sdb", "8:16", UUID)
    (picture.places.dev / "sdb").symlink_to(blank)
    (directory / "device/delete").write_text("")
    done = release.release(
        _resource(tmp_path),
        stop_services=lambda: None,
        deadline_s=1,
        state_dir=tmp_path / "state",
        epoch=1,
        places=picture.places,
    )
    assert (done.clean, done.code) == (False, "not_removed"), done


def test_the_bus_is_scanned_at_the_recorded_unit_when_the_disk_is_missing(
    picture: Picture, tmp_path: Path
) -> None:
    scan = picture.host("host2", "vmw_pvscsi", "0000:03:00.0")
    kernel = Kernel(scan, lambda: picture.add("sdb", "8:16", UUID) and None)
    kernel.start()
    wanted = dataclasses.replace(_resource(tmp_path), disks=(Disk("[ds1] a.vmdk", UUID, 1, 5),))
    done = mounting.mount_all(
        wanted,
        start_services=lambda: None,
        deadline_s=2,
        state_dir=tmp_path / "state",
        epoch=1,
        places=picture.places,
    )
    kernel.join()
    assert scan.read_text() == "0 5 0"
    assert done.steps[0][0] == "find disks"
    assert done.steps[0][2] == "sdb"
    assert done.code == "mount_failed"  # the picture has no device to read from


def _hosts(picture: Picture, **drivers: str) -> None:
    """Hosts in an order that is not that of their PCI addresses."""
    for number, (name, driver) in enumerate(sorted(drivers.items(), reverse=True)):
        picture.host(f"host{number}", driver, f"0000:{name}")


def _scanned(disk: Disk, tries: int, picture: Picture) -> dict[str, str]:
    return {file.parent.name: word for file, word in rescan.scans(disk, tries, picture.places)}


def test_first_the_controller_at_the_buss_place_then_all_of_its_kind(picture: Picture) -> None:
    _hosts(picture, a="ata_piix", b="mptspi", c="vmw_pvscsi", d="vmw_pvscsi")
    disk = Disk("[ds1] a.vmdk", UUID, 2, 3, "pvscsi")
    assert _scanned(disk, 0, picture) == {"host0": "0 3 0"}
    assert _scanned(dataclasses.replace(disk, bus=1), 0, picture) == {"host1": "0 3 0"}
    assert _scanned(disk, 1, picture) == {"host0": "0 3 0", "host1": "0 3 0"}
    assert _scanned(disk, 9, picture) == {"host0": "0 3 0", "host1": "0 3 0"}


def test_a_bus_of_another_kind_or_none_means_all_of_the_recorded_kind(picture: Picture) -> None:
    _hosts(picture, b="mptspi", c="vmw_pvscsi", d="vmw_pvscsi")
    for bus in (0, 3):
        scanned = _scanned(Disk("[ds1] a.vmdk", UUID, bus, 1, "pvscsi"), 0, picture)
        assert scanned == {"host0": "0 1 0", "host1": "0 1 0"}


def test_unknown_controllers_are_asked_for_the_unit_too(picture: Picture) -> None:
    _hosts(picture, a="virtio_scsi")
    assert _scanned(Disk("[ds1] a.vmdk", UUID, 0, 1, "pvscsi"), 0, picture) == {"host0": "0 1 0"}


def test_only_a_sas_controller_is_asked_for_any_target_in_the_end(picture: Picture) -> None:
    _hosts(picture, a="mptsas", b="vmw_pvscsi")
    disk = Disk("[ds1] a.vmdk", UUID, 0, 1, "lsisas")
    assert [_scanned(disk, tries, picture)["host1"] for tries in (0, 2, 3)] == ["0 1 0", "0 1 0", "0 - 0"]
    assert all("host0" not in _scanned(disk, tries, picture) for tries in range(9))
