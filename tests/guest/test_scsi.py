"""What only SCSI disks have, on a picture of sysfs: identity, removal from the bus, a new scan of it."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.linux import wait_until
from vmdk_failover.guest import devices, mounting, release
from vmdk_failover.guest.places import Places
from vmdk_failover.model import Disk, Mount, Node, Resource

UUID = "6000c29aaaaaaaaaaaaaaaaaaaaaaaaa"
OTHER = "6000c29bbbbbbbbbbbbbbbbbbbbbbbbb"


class Picture:
    """A sysfs with SCSI disks as files. What a kernel does when a file is written is done by `react`."""

    def __init__(self, root: Path) -> None:
        self.places = Places(
            sys=root / "sys",
            by_id=root / "by-id",
            dev=root / "dev",
            boot_id=root / "boot_id",
            fstab=root / "fstab",
        )
        for path in (root / "sys/block", root / "sys/class/block", root / "by-id", root / "dev"):
            path.mkdir(parents=True)
        (root / "boot_id").write_text("boot")

    def add(self, name: str, number: str, wwid: str = "", link: str = "") -> Path:
        """A disk appears."""
        directory = self.places.sys / "class/block" / name
        (directory / "device").mkdir(parents=True)
        (directory / "holders").mkdir()
        (directory / "dev").write_text(number + "\n")
        (directory / "stat").write_text("1 0 8 0 1 0 8 0 0 0 0\n")
        (directory / "inflight").write_text("       0        0\n")
        (self.places.sys / "block" / name).symlink_to(directory)
        if wwid:
            (directory / "device/wwid").write_text(f"naa.{wwid}\n")
        if link:
            (self.places.by_id / link).symlink_to(f"../../{name}")
        return directory

    def remove(self, name: str) -> None:
        """A disk goes, as the kernel and udev do it."""
        (self.places.sys / "block" / name).unlink()
        (self.places.sys / "class/block" / name).rename(self.places.sys / f"gone-{name}")


@pytest.fixture
def picture(tmp_path: Path) -> Picture:
    return Picture(tmp_path)


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


@pytest.mark.parametrize(("wwid", "sure"), [(OTHER, True), ("", False)])
def test_a_missing_disk_is_only_proof_if_all_others_say_who_they_are(
    picture: Picture, tmp_path: Path, wwid: str, sure: bool
) -> None:
    picture.add("sda", "8:0", wwid)
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


def test_a_released_disk_is_removed_from_the_bus(picture: Picture, tmp_path: Path) -> None:
    directory = picture.add("sdb", "8:16", UUID)
    (picture.places.dev / "sdb").symlink_to(_some_block_device())
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


def test_a_disk_that_stays_on_the_bus_is_not_released(picture: Picture, tmp_path: Path) -> None:
    directory = picture.add("sdb", "8:16", UUID)
    (picture.places.dev / "sdb").symlink_to(_some_block_device())
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


def _some_block_device() -> str:
    """A free loop device: it can be opened exclusively, and nothing is on it."""
    for number in range(7, -1, -1):
        if not os.path.exists(f"/sys/block/loop{number}/loop/backing_file"):
            return f"/dev/loop{number}"
    raise AssertionError("no free loop device")


def test_the_bus_is_scanned_when_the_disk_is_missing(picture: Picture, tmp_path: Path) -> None:
    host = picture.places.sys / "class/scsi_host/host2"
    host.mkdir(parents=True)
    kernel = Kernel(host / "scan", lambda: picture.add("sdb", "8:16", UUID) and None)
    kernel.start()
    wanted = dataclasses.replace(_resource(tmp_path))
    done = mounting.mount_all(
        wanted,
        start_services=lambda: None,
        deadline_s=2,
        state_dir=tmp_path / "state",
        epoch=1,
        places=picture.places,
    )
    kernel.join()
    assert (host / "scan").read_text() == "- - -"
    assert done.steps[0][0] == "find disks"
    assert done.steps[0][2] == "sdb"
    assert done.code == "mount_failed"  # the picture has no device to read from
