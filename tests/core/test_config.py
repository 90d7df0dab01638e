"""The configuration: every fault is told with its place, and affects nothing else."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from vmdk_failover import app
from vmdk_failover.judgement import config

FINE: dict[str, Any] = {
    "vcenter": {"host": "vc.example.com", "user": "svc", "password": "hunter2"},
    "defaults": {"node_timeout": 20},
    "resources": {
        "pgdata": {
            "nodes": ["db1", "db2"],
            "vm_uuids": {
                "db1": "00000000-0000-0000-0000-0000000000A1",
                "db2": "00000000-0000-0000-0000-0000000000a2",
            },
            "disks": [
                {
                    "path": "[ds1] shared/pgdata.vmdk",
                    "uuid": "6000C29A-0000-0000-0000-000000000001",
                    "bus": 1,
                    "unit": 0,
                }
            ],
            "mounts": [{"mountpoint": "/srv/pgdata", "fs_uuid": "C0FFEE00-0000", "fstype": "xfs"}],
            "services": ["postgresql"],
            "states": {"start": ["vip"]},
            "timeouts": {"release": 12},
        }
    },
}
DELETE = object()


def changed(path: str, value: Any) -> dict[str, Any]:
    """The fine configuration with one value set or deleted; ``path`` with dots, numbers for lists."""
    raw = copy.deepcopy(FINE)
    *folders, last = path.replace("pgdata", "resources.pgdata", 1).split(".")
    at: Any = raw
    for key in folders:
        at = at[int(key)] if key.isdigit() else at.setdefault(key, {})
    key = int(last) if last.isdigit() else last
    if value is DELETE:
        del at[key]
    else:
        at[key] = value
    return raw


def faults(raw: Any) -> list[str]:
    return [str(fault) for fault in config.parse(raw).faults]


def test_a_fine_configuration_has_no_fault() -> None:
    settings = config.parse(FINE)
    assert settings.faults == ()
    resource = settings.resources["pgdata"]
    assert [n.vm_uuid[-2:] for n in resource.nodes] == ["a1", "a2"]
    assert resource.disks[0].uuid == "6000c29a000000000000000000000001"
    assert (resource.node_timeout, resource.timeouts.release, resource.timeouts.mount) == (20, 12.0, 300.0)
    assert (resource.mounts[0].fs_uuid, resource.start_states) == ("c0ffee00-0000", ("vip",))


def test_a_value_of_the_resource_goes_before_the_default() -> None:
    assert config.parse(changed("pgdata.node_timeout", 5)).resources["pgdata"].node_timeout == 5


def test_what_is_read_can_be_written_and_read_again() -> None:
    resource = config.parse(FINE).resources["pgdata"]
    again, found = config.parse_resource("pgdata", config.to_body(resource))
    assert (again, found) == (resource, [])
    assert yaml.safe_load(yaml.safe_dump(config.to_body(resource))) == config.to_body(resource)


def test_the_password_is_in_no_text() -> None:
    assert (
        "hunter2" not in f"{config.parse(FINE)!r} {config.parse(FINE)} {faults(changed('vcenter.port', 0))}"
    )


FAULTS: list[tuple[str, Any, str, str]] = [
    ("vcenter", DELETE, "vcenter:", "is missing; give host, user and password"),
    ("vcenter.host", DELETE, "vcenter.host:", "is missing; it must be a text"),
    ("vcenter.user", 7, "vcenter.user:", "must be a text"),
    ("vcenter.password", "", "vcenter.password:", "is missing"),
    ("vcenter.port", 70000, "vcenter.port:", "from 1 to 65535, not 70000"),
    ("vcenter.port", True, "vcenter.port:", "not True"),
    ("vcenter.sha256", "ab:cd", "vcenter.sha256:", "64 hex digits"),
    ("vcenter.hots", "x", "vcenter.hots:", "did you mean host?"),
    ("resorces", {}, "vmdk.resorces:", "did you mean resources?"),
    ("zzzz", {}, "vmdk.zzzz:", "known are active_master, claims, defaults"),
    ("defaults.node_timeot", 4, "defaults.node_timeot:", "did you mean node_timeout?"),
    ("defaults.node_timeout", "15", "defaults.node_timeout:", "a number from 3 to 3600, not '15'"),
    ("defaults.on_isolated", "wait", "defaults.on_isolated:", "fence or hold, not 'wait'"),
    ("pgdata.on_agent_silent", True, "resources.pgdata.on_agent_silent:", "hold or fence"),
    ("pgdata.agent_timeout", 5, "resources.pgdata.agent_timeout:", "from 10 to 86400"),
    ("defaults.on_error", "panic", "defaults.on_error:", "switchover or halt, not 'panic'"),
    ("defaults", [1], "vmdk.defaults:", "must be a mapping"),
    ("resources", "x", "vmdk.resources:", "must be a mapping"),
    ("pgdata", [], "resources.pgdata:", "must be a mapping with nodes, disks and mounts"),
    ("pgdata.nodes", ["db1"], "resources.pgdata.nodes:", "at least two minion ids"),
    ("pgdata.nodes", "db1", "resources.pgdata.nodes:", "must be a list of texts"),
    ("pgdata.nodes", ["db1", "db1"], "resources.pgdata.nodes:", "names one thing twice"),
    ("pgdata.nodes", ["db1", "db*"], "resources.pgdata.nodes:", "'db*' is not a minion id"),
    ("pgdata.nodes", DELETE, "resources.pgdata.nodes:", "must be a list"),
    ("pgdata.vm_uuids.db1", "x", "resources.pgdata.vm_uuids.db1:", "vmdk.protect"),
    ("pgdata.vm_uuids.db2", DELETE, "resources.pgdata.vm_uuids.db2:", "missing or not a UUID"),
    ("pgdata.vm_uuids.db9", "x", "resources.pgdata.vm_uuids.db9:", "not among this resource's nodes"),
    (
        "pgdata.vm_uuids.db2",
        "00000000-0000-0000-0000-0000000000a1",
        "resources.pgdata.vm_uuids:",
        "two nodes have one VM",
    ),
    ("pgdata.disks", [], "resources.pgdata.disks:", "at least one entry"),
    ("pgdata.disks.0", "x", "resources.pgdata.disks.0:", "must be a mapping"),
    ("pgdata.disks.0.path", "/vmfs/x.vmdk", "resources.pgdata.disks.0.path:", "not '/vmfs/x.vmdk'"),
    ("pgdata.disks.0.uuid", "6000", "resources.pgdata.disks.0.uuid:", "32 hex digits"),
    ("pgdata.disks.0.bus", 4, "resources.pgdata.disks.0.bus:", "from 0 to 3, not 4"),
    ("pgdata.disks.0.bus", True, "resources.pgdata.disks.0.bus:", "not True"),
    ("pgdata.disks.0.unit", 7, "resources.pgdata.disks.0.unit:", "without 7"),
    ("pgdata.disks.0.unit", 65, "resources.pgdata.disks.0.unit:", "from 0 to 64"),
    ("pgdata.disks.0.controller", "nvme", "resources.pgdata.disks.0.controller:", "one of pvscsi"),
    ("pgdata.disks.0.sharing", "sharingMultiWriter", "resources.pgdata.disks.0.sharing:", "multi-writer"),
    *(
        ("pgdata.disks.0.mode", mode, "resources.pgdata.disks.0.mode:", f"not {mode!r}: what was written")
        for mode in ("independent_nonpersistent", "nonpersistent", "undoable", "append", "")
    ),
    ("pgdata.disks.0.pth", 1, "resources.pgdata.disks.0.pth:", "did you mean path?"),
    ("pgdata.mounts.0.mountpoint", "srv", "resources.pgdata.mounts.0.mountpoint:", "not 'srv'"),
    ("pgdata.mounts.0.mountpoint", "/", "resources.pgdata.mounts.0.mountpoint:", "below /"),
    ("pgdata.mounts.0.mountpoint", "/srv/../etc", "resources.pgdata.mounts.0.mountpoint:", "'..'"),
    ("pgdata.mounts.0.fs_uuid", "what", "resources.pgdata.mounts.0.fs_uuid:", "blkid"),
    ("pgdata.mounts.0.fstype", "X/4", "resources.pgdata.mounts.0.fstype:", "ext4 or xfs"),
    ("pgdata.mounts.0.options", "noatime,nouuid", "resources.pgdata.mounts.0.options:", "nouuid"),
    ("pgdata.services", "postgresql", "resources.pgdata.services:", "a list of texts"),
    ("pgdata.states.begin", [], "resources.pgdata.states.begin:", "known are start, stop"),
    ("pgdata.states.start", "vip", "resources.pgdata.states.start:", "a list of texts"),
    ("pgdata.timeouts.relase", 3, "resources.pgdata.timeouts.relase:", "did you mean release?"),
    ("pgdata.timeouts.release", 0, "resources.pgdata.timeouts.release:", "from 0.1 to 86400, not 0"),
    ("pgdata.on_error", "stop", "resources.pgdata.on_error:", "switchover or halt"),
    ("pgdata.probe_interval", 0.01, "resources.pgdata.probe_interval:", "from 0.2 to 60"),
    ("pgdata.probe_interval", float("nan"), "resources.pgdata.probe_interval:", "not nan"),
    ("pgdata.srevices", [], "resources.pgdata.srevices:", "did you mean services?"),
]


@pytest.mark.parametrize(
    ("path", "value", "where", "words"), FAULTS, ids=[f"{f[0]}={f[1]!r:.20}" for f in FAULTS]
)
def test_a_fault_names_its_place(path: str, value: Any, where: str, words: str) -> None:
    told = [one for one in faults(changed(path, value)) if one.startswith(where) and words in one]
    assert len(told) == 1, faults(changed(path, value))


def test_every_fault_is_told_not_only_the_first() -> None:
    raw = changed("pgdata.disks.0.bus", 9)
    raw["resources"]["pgdata"]["mounts"][0]["fstype"] = ""
    raw["vcenter"]["port"] = 0
    assert [one.split(":")[0] for one in faults(raw)] == [
        "vcenter.port",
        "resources.pgdata.disks.0.bus",
        "resources.pgdata.mounts.0.fstype",
    ]


@pytest.mark.parametrize("raw", [None, [], "x", 3])
def test_a_section_that_is_no_mapping(raw: Any) -> None:
    assert faults(raw) == ["vmdk: must be a mapping with vcenter and resources (docs/configuration.md)"]


@pytest.mark.parametrize("name", ["../x", "a/b", "", "-", ".hidden", "x" * 65, "a b"])
def test_a_name_that_could_be_a_path_is_no_name(name: str) -> None:
    raw = copy.deepcopy(FINE)
    raw["resources"] = {name: FINE["resources"]["pgdata"]}
    assert config.parse(raw).resources == {}
    assert any("letters, digits" in one for one in faults(raw))


@pytest.mark.parametrize(("key", "again"), [("disks", "path"), ("disks", "uuid"), ("mounts", "mountpoint")])
def test_one_thing_twice_in_a_resource(key: str, again: str) -> None:
    raw = copy.deepcopy(FINE)
    body = raw["resources"]["pgdata"]
    other = {
        "disks": {"path": "[ds1] other.vmdk", "uuid": "f" * 32, "bus": 1, "unit": 1},
        "mounts": {"mountpoint": "/srv/other", "fs_uuid": "12345678", "fstype": "xfs"},
    }[key]
    body[key].append({**other, again: body[key][0][again]})
    assert any("is there twice" in one for one in faults(raw))


def two(change: dict[str, Any]) -> dict[str, Any]:
    """Two resources that share nothing, and then what ``change`` says."""
    raw = copy.deepcopy(FINE)
    other = copy.deepcopy(raw["resources"]["pgdata"])
    other["disks"][0] |= {"path": "[ds1] shared/other.vmdk", "uuid": "f" * 32, "unit": 1}
    other["mounts"][0] |= {"mountpoint": "/srv/other", "fs_uuid": "deadbeef"}
    other["disks"][0] |= change.get("disk", {})
    other["mounts"][0] |= change.get("mount", {})
    raw["resources"]["other"] = other
    return raw


def test_two_resources_that_share_nothing_are_fine() -> None:
    assert faults(two({})) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"disk": {"path": "[ds1] shared/pgdata.vmdk"}},
            "the disk [ds1] shared/pgdata.vmdk is also claimed by",
        ),
        ({"disk": {"uuid": FINE["resources"]["pgdata"]["disks"][0]["uuid"]}}, "the disk UUID 6000c29a"),
        ({"mount": {"mountpoint": "/srv/pgdata"}}, "the mount point on db1 /srv/pgdata is also claimed by"),
        ({"disk": {"unit": 0}}, "the SCSI slot on db1 1:0 is also claimed by"),
    ],
)
def test_two_resources_that_claim_one_thing_are_both_left_out(change: dict[str, Any], words: str) -> None:
    settings = config.parse(two(change))
    assert settings.resources == {}
    for name in ("pgdata", "other"):
        assert any(words in str(fault) for fault in settings.faults_of(name))


def test_one_vm_under_two_minion_ids_is_refused_in_both() -> None:
    raw = two({})
    body, uuids = raw["resources"]["other"], FINE["resources"]["pgdata"]["vm_uuids"]
    body["nodes"] = ["db1", "web1"]
    body["vm_uuids"] = {"db1": uuids["db1"], "web1": uuids["db2"].upper()}
    settings = config.parse(raw)
    assert settings.resources == {}
    words = f"the VM {uuids['db2']} is db2 in pgdata and web1 in other: one VM has one minion id"
    assert f"resources.pgdata.vm_uuids.db2: {words}" in str(settings.faults_of("pgdata")[0])
    assert f"resources.other.vm_uuids.web1: {words}" in str(settings.faults_of("other")[0])


def test_faults_of_one_resource_are_not_those_of_a_longer_name() -> None:
    raw = copy.deepcopy(FINE)
    raw["resources"]["pgdata.old"] = []
    assert config.parse(raw).faults_of("pgdata") == ()


# -- files of resources_dir -----------------------------------------------------------------------------------


def opts(folder: Path) -> dict[str, Any]:
    places = {"resources_dir": str(folder), "state_dir": str(folder / "state")}
    return {"vmdk": {"vcenter": FINE["vcenter"], **places}}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"nodes: [", "is not valid YAML"),
        (b"\xff\xfe\x00", "is not valid YAML"),
        (b"nodes: x\n  y: z", "line 2"),
        (b"", "must be a mapping"),
    ],
)
def test_a_broken_file_affects_its_own_resource_only(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "pgdata.yaml").write_text(yaml.safe_dump(FINE["resources"]["pgdata"]))
    (tmp_path / "broken.yaml").write_bytes(content)
    settings = app.settings(opts(tmp_path))
    assert set(settings.resources) == {"pgdata"}
    assert [words in str(fault) for fault in settings.faults_of("broken")] == [True]


def test_a_file_that_cannot_be_opened_affects_its_own_resource_only(tmp_path: Path) -> None:
    (tmp_path / "pgdata.yaml").write_text(yaml.safe_dump(FINE["resources"]["pgdata"]))
    os.symlink(tmp_path / "nowhere", tmp_path / "broken.yaml")
    settings = app.settings(opts(tmp_path))
    assert set(settings.resources) == {"pgdata"}
    assert [str(f) for f in settings.faults_of("broken")]


def test_drafts_and_other_files_are_not_read(tmp_path: Path) -> None:
    for name in (".pgdata.new", "notes.txt", "pgdata.yaml~"):
        (tmp_path / name).write_text("{[")
    assert app.settings(opts(tmp_path)).faults == ()


@pytest.mark.parametrize("written", [["pgdata"], "pgdata", 7])
def test_a_section_of_the_wrong_form_does_not_hide_the_files(tmp_path: Path, written: Any) -> None:
    (tmp_path / "pgdata.yaml").write_text(yaml.safe_dump(FINE["resources"]["pgdata"]))
    wrong = opts(tmp_path)
    wrong["vmdk"]["resources"] = written
    settings = app.settings(wrong)
    assert [str(fault) for fault in settings.faults] == ["vmdk.resources: must be a mapping"]
    assert set(settings.resources) == {"pgdata"}
