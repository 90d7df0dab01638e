"""What ``protect`` records of a resource on LVM, and what it finds missing on a backup."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from vmdk_failover import __version__
from vmdk_failover.commands import advice, protect
from vmdk_failover.judgement import config
from vmdk_failover.model import Disk, VolumeGroup

UUID = "qjJa7w-wenJ-dR2y-HAi6-l4VT-qkVH-vOrYjC"
DISKS = [Disk(f"[ds1] {n}.vmdk", f"6000c29{n:025x}", 1, n) for n in (0, 1)]
VMS = {
    minion: SimpleNamespace(instance_uuid=f"00000000-0000-0000-0000-0000000000{minion}")
    for minion in ("a1", "b2")
}
WORD: dict[str, Any] = {
    "mountpoint": "/srv/x",
    "fs_uuid": "c0ffee00-0000",
    "fstype": "xfs",
    "options": "noatime",
}


def test_a_group_is_recorded_with_all_disks() -> None:
    word = {**WORD, "lvm": [{"vg": "pgvg", "uuid": UUID}]}
    body = protect._body(["a1", "b2"], VMS, DISKS, [word], {})
    resource, faults = config.parse_resource("x", body)
    assert faults == []
    assert resource is not None
    assert resource.vgs == (VolumeGroup("pgvg", UUID),)
    assert resource.disks == tuple(DISKS)


def test_one_group_below_two_mount_points_is_recorded_once() -> None:
    words = [
        {**WORD, "mountpoint": place, "lvm": [{"vg": "pgvg", "uuid": UUID}]} for place in ("/srv/x", "/srv/y")
    ]
    body = protect._body(["a1", "b2"], VMS, DISKS, words, {})
    assert body["lvm"] == [{"vg": "pgvg", "uuid": UUID}]
    assert [mount["mountpoint"] for mount in body["mounts"]] == ["/srv/x", "/srv/y"]


def test_without_lvm_nothing_is_written_of_it() -> None:
    assert "lvm" not in protect._body(["a1", "b2"], VMS, DISKS, [WORD], {})
    assert "lvm" not in protect._body(["a1", "b2"], VMS, DISKS, [{**WORD, "lvm": []}], {})


def test_a_backup_without_lvm_is_not_fit() -> None:
    word = {**WORD, "lvm": [{"vg": "pgvg", "uuid": UUID}]}
    resource, _ = config.parse_resource("x", protect._body(["a1", "b2"], VMS, DISKS, [word], {}))
    assert resource is not None
    tools = ["mount", "xfs_repair"]
    same = {"version": __version__}
    words = {"a1": {**word, **same, "tools": [*tools, "lvm", "dmsetup"]}, "b2": {**same, "tools": tools}}
    found = protect._node_findings(words, "a1", resource)
    assert [f.sentence for f in found] == ["b2: dmsetup is not installed.", "b2: lvm is not installed."]
    assert all(f.severe for f in found)


def test_what_of_a_mount_does_not_come_along_is_told() -> None:
    word = {**WORD, "elsewhere": ["/srv/x/.snapshots", "/srv/y", "/var/www"], "unrecorded": ["resuid=4"]}
    body = protect._body(
        ["a1", "b2"], VMS, DISKS, [word, {**WORD, "mountpoint": "/srv/y", "fs_uuid": "c0ffee00-0001"}], {}
    )
    resource, faults = config.parse_resource("x", body)
    assert resource is not None, faults
    found = list(advice.of_mount(word, "a1", resource))
    assert [(f.node, f.code, f.severe) for f in found] == [
        ("a1", "elsewhere", False), ("a1", "elsewhere", False), ("a1", "mount_option", False)
    ]  # fmt: skip
    assert "what is mounted at /srv/x is mounted at /srv/x/.snapshots too" in found[0].sentence
    assert "/var/www" in found[1].sentence
    assert "resuid=4" in found[2].sentence
