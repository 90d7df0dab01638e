"""Volume groups in the configuration: read, written again, and every fault told."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from vmdk_failover.judgement import config
from vmdk_failover.model import VolumeGroup, resource_from_plain, to_plain

from .test_config import FINE, changed, faults

UUID = "qjJa7w-wenJ-dR2y-HAi6-l4VT-qkVH-vOrYjC"


def test_groups_are_read_and_can_be_written_and_read_again() -> None:
    raw = changed("pgdata.lvm", [{"vg": "pgvg", "uuid": UUID}, {"vg": "log-vg"}])
    resource = config.parse(raw).resources["pgdata"]
    assert resource.vgs == (VolumeGroup("pgvg", UUID), VolumeGroup("log-vg"))
    assert config.parse_resource("pgdata", config.to_body(resource)) == (resource, [])
    assert resource_from_plain(to_plain(resource)) == resource


def test_a_resource_of_before_has_none() -> None:
    plain = to_plain(config.parse(FINE).resources["pgdata"])
    del plain["vgs"]
    assert resource_from_plain(plain).vgs == ()


@pytest.mark.parametrize(
    ("value", "place", "word"),
    [
        ("pgvg", "lvm:", "must be a list"),
        (["pgvg"], "lvm.0:", "must be a mapping"),
        ([{}], "lvm.0.vg:", "as 'vgs' shows it, not ''"),
        ([{"vg": "-x"}], "lvm.0.vg:", "not '-x'"),
        ([{"vg": ".."}], "lvm.0.vg:", "not '..'"),
        ([{"vg": "a/b"}], "lvm.0.vg:", "not 'a/b'"),
        ([{"vg": "a", "uuid": "1-2"}], "lvm.0.uuid:", "vgs -o vg_uuid"),
        ([{"vg": "a", "uid": UUID}], "lvm.0.uid:", "did you mean uuid?"),
        ([{"vg": "a"}, {"vg": "a"}], "lvm:", "a is there twice"),
    ],
)
def test_a_fault_is_told_with_its_place(value: Any, place: str, word: str) -> None:
    said = faults(changed("pgdata.lvm", value))
    assert said
    assert said[0].startswith(f"resources.pgdata.{place}"), said
    assert word in said[0]


def test_two_resources_do_not_share_a_group() -> None:
    raw = changed("pgdata.lvm", [{"vg": "pgvg"}])
    other = copy.deepcopy(raw["resources"]["pgdata"])
    other["disks"][0] |= {
        "path": "[ds1] other.vmdk",
        "uuid": "6000C29A-0000-0000-0000-000000000002",
        "unit": 1,
    }
    other["mounts"][0] |= {"mountpoint": "/srv/other"}
    raw["resources"]["other"] = other
    said = faults(raw)
    assert any(
        one.startswith("resources.other.lvm: the volume group on db1 pgvg is also claimed") for one in said
    )
