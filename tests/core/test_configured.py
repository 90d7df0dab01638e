"""The configuration on disk: what is broken keeps its last good version and affects nobody else."""

from __future__ import annotations

import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.core.test_config import FINE
from vmdk_failover import configured
from vmdk_failover.judgement.config import Settings


class Site:
    """A master's configuration."""

    def __init__(self, tmp_path: Path) -> None:
        self.dir, self.state = tmp_path / "vmdk.d", tmp_path / "state"
        self.dir.mkdir()
        self.section: Any = {"vcenter": dict(FINE["vcenter"]), **self.places()}

    def places(self) -> dict[str, str]:
        return {"resources_dir": str(self.dir), "state_dir": str(self.state)}

    def write(self, name: str, body: Any) -> None:
        (self.dir / f"{name}.yaml").write_text(body if isinstance(body, str) else yaml.safe_dump(body))

    def read(self) -> Settings:
        return configured.settings({"vmdk": self.section})

    def names(self) -> set[str]:
        return configured.names({"vmdk": self.section})


def other() -> dict[str, Any]:
    """A resource that has nothing in common with pgdata."""
    body = deepcopy(FINE["resources"]["pgdata"])
    for nth, disk in enumerate(body["disks"]):
        disk.update(path=f"[ds1] other/{nth}.vmdk", uuid=f"6000c29f{nth:024d}", bus=3, unit=nth)
    for nth, mount in enumerate(body["mounts"]):
        mount.update(mountpoint=f"/srv/other{nth}", fs_uuid=f"00000000-0000-4000-8000-{nth:012d}")
    return body


PGDATA = FINE["resources"]["pgdata"]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Two good resources, read once."""
    here = Site(tmp_path)
    here.write("pgdata", PGDATA)
    here.write("other", other())
    assert (set(here.read().resources), here.read().faults) == ({"pgdata", "other"}, ())
    return here


BROKEN: dict[str, Any] = {
    "no YAML": "nodes: [a, b\n  x: }",
    "empty": "",
    "no mapping": ["x"],
    "a wrong value": {**PGDATA, "hang_timeout": "soon"},
    "a missing key": {k: v for k, v in PGDATA.items() if k != "disks"},
    "another's disk": {**PGDATA, "disks": other()["disks"]},
    "not text": "\x00\x01",
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_keeps_its_last_good_version(site: Site, what: str) -> None:
    good = site.read().resources
    site.write("pgdata", BROKEN[what])
    for _ in range(2):
        found = site.read()
        assert dict(found.resources) == dict(good)
        assert "pgdata" in found.kept
        words = [str(f) for f in found.faults_of("pgdata")]
        assert len(words) >= 2 and "its last good version is used until that is mended" in words[-1]
    site.write("pgdata", PGDATA)
    assert (site.read().faults, site.read().kept) == ((), ())


def test_an_edited_one_is_taken_and_kept_from_then_on(site: Site) -> None:
    site.write("pgdata", {**PGDATA, "hang_timeout": 33})
    assert site.read().resources["pgdata"].hang_timeout == 33
    site.write("pgdata", "{")
    assert site.read().resources["pgdata"].hang_timeout == 33


def test_deleting_the_file_removes_it(site: Site) -> None:
    (site.dir / "pgdata.yaml").unlink()
    assert (set(site.read().resources), site.names()) == ({"other"}, {"other"})
    site.write("pgdata", "{")
    found = site.read()
    assert set(found.resources) == {"other"} and found.kept == ()


def test_a_newcomer_that_claims_what_is_taken_changes_nothing(site: Site) -> None:
    good = site.read().resources
    site.write("thief", PGDATA)
    found = site.read()
    assert dict(found.resources) == dict(good)
    assert "also claimed by pgdata" in str(found.faults_of("thief")[0])


def test_a_new_one_that_is_broken_is_left_out(site: Site) -> None:
    site.write("fresh", "{")
    found = site.read()
    assert set(found.resources) == {"pgdata", "other"}
    assert [f.where for f in found.faults] == ["resources.fresh"]


def test_broken_defaults_change_nothing(site: Site) -> None:
    good = site.read().resources
    site.section["defaults"] = {"node_timeout": "soon"}
    found = site.read()
    assert dict(found.resources) == dict(good)
    assert any(f.where == "defaults.node_timeout" for f in found.faults)


def test_a_directory_that_cannot_be_read_loses_nothing(site: Site) -> None:
    good = site.read().resources
    site.dir.rename(site.dir.with_name("elsewhere"))
    found = site.read()
    assert (dict(found.resources), set(found.kept)) == (dict(good), {"pgdata", "other"})
    assert site.names() == {"pgdata", "other"}
    assert "cannot be read as a whole" in str(found.faults_of("pgdata")[0])
    assert f"{site.dir} cannot be read: No such file" in " ".join(map(str, found.faults))


def test_an_empty_directory_is_a_mount_that_is_missing_until_a_person_says_otherwise(site: Site) -> None:
    good = site.read().resources
    there = site.dir.rename(site.dir.with_name("elsewhere"))
    site.dir.mkdir()
    for _ in range(2):
        found = site.read()
        assert (dict(found.resources), set(found.kept)) == (dict(good), {"pgdata", "other"})
        assert site.names() == {"pgdata", "other"}
        (said,) = [str(f) for f in found.faults if f.where == "vmdk.resources_dir"]
        assert f"{site.dir} is empty, and other, pgdata stood there" in said
        assert f"'touch {site.dir}/.empty'" in said
    site.dir.rmdir()
    there.rename(site.dir)  # as when it is mounted again
    assert (dict(site.read().resources), site.read().faults) == (dict(good), ())
    for path in site.dir.iterdir():
        path.unlink()
    (site.dir / configured.EMPTY).touch()
    for _ in range(2):
        assert (dict(site.read().resources), site.read().faults, site.names()) == ({}, (), set())
    (site.dir / configured.EMPTY).unlink()
    assert (dict(site.read().resources), site.read().faults, site.names()) == ({}, (), set())


def test_the_last_one_that_is_unprotected_leaves_no_empty_directory(site: Site) -> None:
    for path in site.dir.iterdir():
        path.rename(f"{path}.unprotected")
    assert (dict(site.read().resources), site.read().faults, site.names()) == ({}, (), set())


@pytest.mark.parametrize("section", [[], "x", 7])
def test_a_broken_section_says_so(tmp_path: Path, section: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configured, "RESOURCES_DIR", str(tmp_path))
    opts = {"vmdk": section, "root_dir": str(tmp_path)}
    found = configured.settings(opts)
    assert (found.vcenter, dict(found.resources), [f.where for f in found.faults]) == (None, {}, ["vmdk"])
    assert configured.names(opts) == set()


def test_a_broken_mapping_in_the_section_keeps_what_stood_there(tmp_path: Path) -> None:
    here = Site(tmp_path)
    here.section["resources"] = {"pgdata": PGDATA}
    good = here.read().resources
    here.section["resources"] = ["pgdata"]
    found = here.read()
    assert dict(found.resources) == dict(good) and any(f.where == "vmdk.resources" for f in found.faults)
    here.section["resources"] = {}
    assert dict(here.read().resources) == {}


def test_what_is_kept_is_for_its_owner_alone_and_may_be_rubbish(site: Site) -> None:
    path = site.state / configured.LAST_GOOD
    assert path.stat().st_mode & 0o777 == 0o600
    assert FINE["vcenter"]["password"] not in path.read_text()
    for text in ("", "{", "[]", '{"pgdata": 7}', '{"pgdata": {"place": "file", "body": 7}}'):
        path.write_text(text)
        site.write("other", "{")
        assert set(site.read().resources) == {"pgdata"}


def test_a_state_dir_that_cannot_be_written_costs_no_resource(site: Site) -> None:
    site.section["state_dir"] = str(site.dir / "pgdata.yaml" / "below")
    assert set(site.read().resources) == {"pgdata", "other"}


@pytest.mark.parametrize(
    ("key", "value", "where"),
    [
        ("active_master", 7, "vmdk.active_master"),
        ("claims", "here", "vmdk.claims"),
        ("claims", 7, "vmdk.claims"),
    ],
)
def test_a_rule_for_masters_that_cannot_be_read_lets_none_act(
    site: Site, key: str, value: Any, where: str
) -> None:
    site.section[key] = value
    found = site.read()
    assert ([f.where for f in found.faults], found.active_master) == ([where], "?")


def test_two_never_get_one_disk_by_a_last_good_version(site: Site) -> None:
    """While pgdata is broken, somebody gives its disk to another resource, which is sound by itself."""
    site.write("pgdata", "{")
    site.write("other", {**other(), "disks": PGDATA["disks"]})
    found = site.read()
    assert set(found.resources) == {"other"}
    assert "cannot be used either: the disk" in str(found.faults_of("pgdata")[-1])


def test_what_has_not_changed_is_not_read_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    real, shift = os.stat, 3600 * 10**9
    reads = []

    class Old:
        """A file whose times are an hour old: the kernel lets nobody set ctime."""

        def __init__(self, found: os.stat_result) -> None:
            self.found = found

        def __getattr__(self, name: str) -> Any:
            value = getattr(self.found, name)
            return value - shift if name.endswith("time_ns") else value

    monkeypatch.setattr(configured.Path, "stat", lambda path, **_: Old(real(path)))
    parse = configured._yaml
    monkeypatch.setattr(configured, "_yaml", lambda path: (reads.append(path.stem), parse(path))[1])
    first = site.read()
    assert reads == ["other", "pgdata"]
    assert site.read() is first
    assert reads == ["other", "pgdata"]
    site.write("pgdata", {**PGDATA, "node_timeout": 33})
    assert site.read().resources["pgdata"].node_timeout == 33
    site.section["defaults"] = {"node_timeout": 44}
    assert site.read().resources["other"].node_timeout == 44
    (site.dir / "other.yaml").unlink()
    assert set(site.read().resources) == {"pgdata"}


def test_what_changes_twice_within_a_moment_is_read_twice(site: Site) -> None:
    """Two writes within one tick of the file system's clock may leave the same times behind."""
    for seconds in range(20, 40):
        site.write("pgdata", {**PGDATA, "node_timeout": seconds})
        assert site.read().resources["pgdata"].node_timeout == seconds
