"""The beacon's configuration: what is right is read, and every mistake is one sentence that names its place."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given as tried_with
from hypothesis import strategies

from vmdk_failover import model
from vmdk_failover.guest import given

RESOURCE = model.Resource(
    name="pgdata",
    nodes=(model.Node("db1", "u1"), model.Node("db2", "u2")),
    disks=(model.Disk("[ds1] pgdata.vmdk", "60" * 16, 1, 0),),
    mounts=(model.Mount("/srv/pgdata", "aaaa-bbbb", "ext4"),),
    services=("postgresql",),
)


def _config() -> list[dict[str, Any]]:
    plain = json.loads(json.dumps(model.to_plain(RESOURCE)))
    return [{"resources": {"pgdata": plain}}, {"_beacon_name": "vmdk"}]


def test_what_the_master_gives_is_read() -> None:
    assert given.read(_config()) == ({"pgdata": RESOURCE}, "")
    assert given.read([{"resources": {}}, {"interval": 1}, {"enabled": True}]) == ({}, "")


Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.update(hang_timout=3), "resources.pgdata.hang_timout is not known, did you mean hang_timeout?"),
        (lambda r: r.update(hang_timeout="10"), "resources.pgdata.hang_timeout must be a number, not '10'"),
        (lambda r: r.update(hang_timeout=math.nan), "hang_timeout must be a number, not nan"),
        (lambda r: r.update(probe_interval=math.inf), "probe_interval must be a number, not inf"),
        (lambda r: r.update(slow_ms=-1), "slow_ms must be a number, not -1"),
        (lambda r: r.update(slow_ms=True), "slow_ms must be a number, not True"),
        (lambda r: r.update(write_probe="yes"), "write_probe must be true or false, not 'yes'"),
        (lambda r: r.update(local_tries=1.5), "local_tries must be a whole number, not 1.5"),
        (lambda r: r.update(services="postgresql"), "services must be a list, not 'postgresql'"),
        (lambda r: r.update(services=[None]), "resources.pgdata.services.0 must be a text, not None"),
        (lambda r: r.update(timeouts=[]), "resources.pgdata.timeouts must be a mapping, not []"),
        (lambda r: r["timeouts"].update(ask=None), "resources.pgdata.timeouts.ask must be a number, not None"),
        (lambda r: r["disks"][0].update(unit="0"), "resources.pgdata.disks.0.unit must be a whole number, not '0'"),
        (lambda r: r["disks"][0].pop("uuid"), "resources.pgdata.disks.0.uuid is missing"),
        (lambda r: r["mounts"].append("x"), "resources.pgdata.mounts.1 must be a mapping, not 'x'"),
        (lambda r: r.pop("nodes"), "resources.pgdata.nodes is missing"),
        (lambda r: r.update(name="other"), "resources.pgdata.name must be pgdata, not 'other'"),
        (lambda r: r.update(name=["x" * 200]), "resources.pgdata.name must be a text, not ['xxx"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_resource(change: Change, words: str) -> None:
    config = _config()
    change(config[0]["resources"]["pgdata"])
    found, fault = given.read(config)
    assert found == {}
    assert fault.startswith("The beacon vmdk cannot watch pgdata: ") and words in fault
    assert fault.endswith(".") and "\n" not in fault and len(fault) < 400


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"resources": {}}, "must be a list of mappings"),
        ([["resources"]], "must be a list of mappings"),
        (None, "must be a list of mappings"),
        ([], "resources must be a mapping of names to resources, not None"),
        ([{"resources": []}], "resources must be a mapping of names to resources, not []"),
        ([{"resources": {"a": 1}}], "resources.a must be a mapping, not 1"),
        ([{"resource": {}}], "resource is not known, did you mean resources?"),
    ],
)
def test_a_mistake_around_them(config: Any, words: str) -> None:
    found, fault = given.read(config)
    assert found == {} and words in fault and fault.endswith(".")


_RUBBISH = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.floats()
    | strategies.text()
    | strategies.integers(),
    lambda inner: strategies.lists(inner) | strategies.dictionaries(strategies.text(), inner),
    max_leaves=8,
)


@tried_with(_RUBBISH, strategies.sampled_from(sorted(model.to_plain(RESOURCE))))
def test_rubbish_is_told_and_never_raises(rubbish: Any, key: str) -> None:
    config = _config()
    config[0]["resources"]["pgdata"][key] = rubbish
    found, fault = given.read(config)
    assert bool(found) != bool(fault)
    assert bool(given.read(rubbish)[1])


def test_nothing_of_the_configuration_is_changed() -> None:
    config = _config()
    before = copy.deepcopy(config)
    given.read(config)
    assert config == before
