"""Which part of a file system is mounted: a subvolume of btrfs, a directory that was bound, the whole of it."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import linux
from vmdk_failover import model
from vmdk_failover.errors import Refused
from vmdk_failover.guest import check, doctor_storage, trees
from vmdk_failover.guest.facts import node_facts
from vmdk_failover.guest.mounting import MountReport, mount_all
from vmdk_failover.guest.mounts import parse
from vmdk_failover.guest.release import release
from vmdk_failover.guest.survey import Survey, survey
from vmdk_failover.model import MountState, NodeFacts

from .conftest import Reader, Rig, ready


def _run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def _mount(rig: Rig, *options: str) -> None:
    _run("mount", *options, rig.fault.path, str(rig.mountpoint))


def _fill(rig: Rig) -> None:
    """A file system with two subvolumes: what a service knows is in `data`, and the top level has another tree."""
    _mount(rig)
    for name in ("data", "other"):
        _run("btrfs", "subvolume", "create", str(rig.mountpoint / name))
        (rig.mountpoint / name / "whose").write_text(name)
    (rig.mountpoint / "data/folder").mkdir()
    rig.umount()


def _recorded(rig: Rig, seen: Survey) -> model.Resource:
    """The resource as `protect` writes it."""
    return _with(rig, seen.options)


def _with(rig: Rig, options: str) -> model.Resource:
    mount = dataclasses.replace(rig.resource.mounts[0], options=options)
    return dataclasses.replace(rig.resource, mounts=(mount,))


def _mount_all(rig: Rig, resource: model.Resource, epoch: int = 1) -> MountReport:
    return mount_all(
        resource,
        start_services=lambda: None,
        deadline_s=10,
        state_dir=rig.state,
        epoch=epoch,
        places=rig.places,
    )


def _facts(rig: Rig, resource: model.Resource) -> NodeFacts:
    return node_facts(resource, minion="db1", state_dir=rig.state, prober=None, places=rig.places)


def _surveyed(rig: Rig) -> Survey:
    return survey(str(rig.mountpoint), rig.places)


@pytest.fixture
def filled(rig: Rig) -> Iterator[Rig]:
    _fill(rig)
    yield rig


BTRFS = pytest.mark.parametrize("fstype", ["btrfs"])


@BTRFS
def test_another_node_mounts_the_subvolume_that_was_mounted(filled: Rig) -> None:
    _mount(filled, "-o", "subvol=data,compress=zstd,noatime")
    seen = _surveyed(filled)
    assert "subvol=/data" in seen.options.split(",")
    assert "compress=zstd:3" in seen.options.split(",")
    assert "noatime" in seen.options.split(",")
    filled.umount()
    report = _mount_all(filled, _recorded(filled, seen))
    assert report.ok, report
    assert (filled.mountpoint / "whose").read_text() == "data"
    assert _surveyed(filled).options == seen.options


@BTRFS
def test_the_top_level_is_named_too_because_the_default_can_be_changed(filled: Rig) -> None:
    _mount(filled)
    seen = _surveyed(filled)
    assert "subvol=/" in seen.options.split(",")
    _run("btrfs", "subvolume", "set-default", str(filled.mountpoint / "other"))
    filled.umount()
    assert _mount_all(filled, _recorded(filled, seen)).ok
    assert (filled.mountpoint / "data/whose").read_text() == "data"


@BTRFS
def test_the_subvolume_that_is_the_default_is_recorded_by_its_name(filled: Rig) -> None:
    _mount(filled)
    _run("btrfs", "subvolume", "set-default", str(filled.mountpoint / "other"))
    filled.umount()
    _mount(filled)
    assert "subvol=/other" in _surveyed(filled).options.split(",")


@BTRFS
@pytest.mark.parametrize("wanted", ["subvol=data", "subvol=/data", "subvolid=256"])
def test_another_subvolume_is_another_tree(filled: Rig, wanted: str) -> None:
    resource = _with(filled, wanted)
    _mount(filled, "-o", wanted)
    assert _facts(filled, resource).mounted is MountState.MOUNTED
    assert check.check(resource, filled.state, places=filled.places).ok
    filled.umount()
    _mount(filled, "-o", "subvol=other")
    facts = _facts(filled, resource)
    assert facts.mounted is MountState.FOREIGN
    assert [
        one
        for one in facts.unready
        if f"on {filled.mountpoint} " in one and "shows its subvolume /other" in one
    ]
    said = check.check(resource, filled.state, places=filled.places)
    assert (said.ok, said.condition) == (False, "wrong_filesystem"), said
    report = _mount_all(filled, resource)
    assert (report.ok, report.code) == (False, "foreign_mount"), report
    assert "shows its subvolume /other" in report.reason
    assert (filled.mountpoint / "whose").read_text() == "other"  # somebody meant it


@BTRFS
def test_the_prober_tells_another_subvolume(filled: Rig, reader: Reader) -> None:
    filled.resource = _with(filled, "subvol=/data")
    _mount(filled, "-o", "subvol=data")
    ready(reader)
    filled.umount()
    _mount(filled, "-o", "subvol=other")
    reader.until("wrong_filesystem")
    assert "shows its subvolume /other, recorded is /data" in reader.told[-1]["evidence"]
    filled.umount()
    _mount(filled, "-o", "subvol=data")
    reader.until("ok")


@BTRFS
def test_a_tree_that_is_not_there_is_not_mounted(filled: Rig) -> None:
    report = _mount_all(filled, _with(filled, "subvol=/gone"))
    assert (report.ok, report.code) == (False, "mount_failed"), report
    assert _facts(filled, filled.resource).mounted is MountState.UNMOUNTED


@BTRFS
def test_a_record_without_a_subvolume_goes_on_and_says_what_is_missing(filled: Rig, reader: Reader) -> None:
    """Written by an earlier version, or by hand. What is mounted stays in service, whatever part it is."""
    _mount(filled, "-o", "subvol=data")
    assert _facts(filled, filled.resource).mounted is MountState.MOUNTED
    assert check.check(filled.resource, filled.state, places=filled.places).ok
    ((severity, what, do),) = doctor_storage.mounted_trees(filled.resource, filled.places)
    assert severity == "error"
    assert "the subvolume /data is mounted" in what
    assert "Add subvol=/data to the options" in do
    reader.until("options_changed")
    assert "the subvolume /data is mounted, which is not recorded" in reader.told[-1]["evidence"]
    assert list(doctor_storage.mounted_trees(_with(filled, "noatime,subvol=/data"), filled.places)) == []
    filled.umount()
    assert release(
        filled.resource,
        stop_services=lambda: None,
        deadline_s=5,
        state_dir=filled.state,
        epoch=1,
        places=filled.places,
    ).clean
    assert _mount_all(filled, filled.resource, 2).ok
    assert (filled.mountpoint / "data/whose").read_text() == "data"  # the default, as ever
    ((severity, _, do),) = doctor_storage.mounted_trees(filled.resource, filled.places)
    assert (severity, "Add subvol=/ to" in do) == ("hint", True)


@pytest.mark.parametrize("fstype", ["ext4", "xfs", "btrfs"])
def test_a_directory_that_was_bound_is_refused(rig: Rig, run_dir: Path) -> None:
    _mount(rig)
    (rig.mountpoint / "folder").mkdir()
    place = run_dir / "bound"
    place.mkdir()
    linux.bind(str(rig.mountpoint / "folder"), str(place))
    try:
        with pytest.raises(Refused, match=r"shows only the directory /folder of .* bind mount") as refused:
            survey(str(place), rig.places)
        assert refused.value.code == "bind_mount"
        assert _surveyed(rig).elsewhere == (str(place),)
    finally:
        linux.umount(str(place))
    assert _surveyed(rig).elsewhere == ()


@pytest.mark.parametrize("fstype", ["ext4", "btrfs"])
def test_a_directory_bound_in_place_of_the_file_system_is_another_tree(rig: Rig) -> None:
    if rig.disk.fstype == "btrfs":
        rig.resource = _with(rig, "subvol=/")
    _mount(rig)
    (rig.mountpoint / "folder").mkdir()
    linux.bind(str(rig.mountpoint / "folder"), str(rig.mountpoint))
    facts = _facts(rig, rig.resource)
    assert facts.mounted is MountState.FOREIGN
    ((severity, what, _),) = doctor_storage.mounted_trees(rig.resource, rig.places)
    assert (severity, "/folder" in what) == ("error", True)
    rig.umount()
    assert _facts(rig, rig.resource).mounted is MountState.MOUNTED


def test_options_that_somebody_chose_are_recorded_or_told(rig: Rig) -> None:
    _mount(rig, "-o", "errors=panic,commit=7,noatime,resuid=4")
    seen = _surveyed(rig)
    assert seen.options == "noatime,commit=7,errors=panic"
    assert seen.unrecorded == ("resuid=4",)
    assert {"rw", "resuid=4"} <= set(seen.shown)


@pytest.mark.parametrize("name", ["a,b", 'a"b', "a\\134b"])
def test_a_name_that_no_list_of_options_can_carry_is_refused(name: str) -> None:
    (line,) = parse(f"5 4 0:40 /{name} /srv rw - btrfs /dev/sdb rw,subvolid=256,subvol=/{name}")
    with pytest.raises(Refused, match="rename it"):
        trees.option(line)


def test_a_blank_in_a_name_is_no_bind_mount() -> None:
    (line,) = parse("5 4 0:40 /my\\040data /srv rw - btrfs /dev/sdb rw,subvolid=256,subvol=/my\\040data")
    assert trees.option(line) == "subvol=/my data"
