"""``depends_on`` in the configuration: what it may say, and whom a fault in it affects."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from vmdk_failover.judgement import config
from vmdk_failover.model import resource_from_plain, to_plain

from .test_config import FINE


def several(**depends_on: list[str]) -> dict[str, Any]:
    """A configuration with these resources on top of each other."""
    raw: dict[str, Any] = {"resources": {}}
    for i, (name, names) in enumerate(depends_on.items()):
        body = copy.deepcopy(FINE["resources"]["pgdata"])
        body["disks"] = [
            {
                "path": f"[ds1] {name}.vmdk",
                "uuid": f"6000c29{i:025x}",
                "bus": 1,
                "unit": i,
                "controller": "pvscsi",
            }
        ]
        uuid = f"c0ffee00-0000-4000-8000-{i:012x}"
        body["mounts"] = [{"mountpoint": f"/srv/{name}", "fs_uuid": uuid, "fstype": "xfs"}]
        body.pop("lvm", None)
        raw["resources"][name] = {**body, "depends_on": names}
    return raw


def faults(raw: dict[str, Any]) -> dict[str, str]:
    """By resource, what is wrong with its dependencies."""
    found = config.parse({**FINE, **raw}).faults
    return {f.resource: f.reason for f in found if f.where == f"resources.{f.resource}.depends_on"}


def test_it_is_read_and_can_be_written_and_read_again() -> None:
    raw = several(pgdata=[], app=["pgdata"], web=["app", "pgdata"])
    found = config.parse({**FINE, **raw})
    assert faults(raw) == {} and set(found.resources) == {"pgdata", "app", "web"}
    web = found.resources["web"]
    assert web.depends_on == ("app", "pgdata")
    assert config.parse_resource("web", config.to_body(web)) == (web, [])
    assert resource_from_plain(to_plain(web)) == web


def test_a_resource_of_before_depends_on_nothing() -> None:
    plain = to_plain(config.parse({**FINE, **several(pgdata=[])}).resources["pgdata"])
    del plain["depends_on"], plain["on_shutdown"]
    old = resource_from_plain(plain)
    assert (old.depends_on, old.on_shutdown) == ((), "stay")


def test_an_unknown_name_is_told_with_those_that_are_known() -> None:
    assert faults(several(pgdata=[], app=["pgdat"])) == {
        "app": "there is no resource called pgdat; known are: pgdata"
    }


def test_nothing_depends_on_itself() -> None:
    assert faults(several(app=["app"])) == {"app": "app cannot depend on itself; take it out"}


def test_all_of_a_circle_are_left_out_and_nobody_else() -> None:
    found = faults(several(a=["b"], b=["c"], c=["a"], top=["a"], other=[]))
    assert set(found) == {"a", "b", "c"}
    assert found["a"] == "a depends on b depends on c depends on a: that is a circle; take one of them out"


@pytest.mark.parametrize("change", ["another", "order"])
def test_the_nodes_must_be_the_same_in_the_same_order(change: str) -> None:
    raw = several(pgdata=[], app=["pgdata"])
    body = raw["resources"]["app"]
    if change == "order":
        body["nodes"] = body["nodes"][::-1]
    else:
        first = body["nodes"][0]
        body["nodes"] = ["db9" if n == first else n for n in body["nodes"]]
        body["vm_uuids"]["db9"] = body["vm_uuids"].pop(first)
    found = faults(raw)
    assert set(found) == {"app"} and "the same list of nodes" in found["app"]


def test_one_whose_ground_has_a_fault_is_not_blamed_for_it() -> None:
    """The other goes on with its last good version, and so it is still there."""
    raw = several(pgdata=[], app=["pgdata"])
    raw["resources"]["pgdata"]["disks"] = "none"
    found = config.parse({**FINE, **raw})
    assert set(found.resources) == {"app"} and faults(raw) == {}


def test_a_mount_point_inside_of_the_ground_is_refused() -> None:
    raw = several(pgdata=[], app=["pgdata"])
    raw["resources"]["app"]["mounts"][0]["mountpoint"] = "/srv/pgdata/app"
    assert "/srv/pgdata/app is inside of /srv/pgdata, which is mounted by pgdata" in faults(raw)["app"]
    raw["resources"]["app"]["mounts"][0]["mountpoint"] = "/srv/pgdata2"
    assert faults(raw) == {}
