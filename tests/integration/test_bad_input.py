"""Bad input, as an operator meets it: one sentence that says what is wrong and where, exit code 1, and nothing lost."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lab import product
from lab.cluster import Lab, Wishes
from lab.observer import mountpoints

PROTECT = ("vmdk.protect", "pgdata", "node=labdb1", "mountpoint=/srv/pgdata", "backups=labdb2")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab with pgdata protected and active on labdb1."""
    wishes = Wishes(
        master_overrides=lambda lab: product.master_options(lab, {}),
        minion_overrides=product.minion_options,
    )
    with Lab(wishes) as up:
        up.mount("labdb1")
        product.wait_engine(up)
        assert up.master.run(*PROTECT).get("resource") == "pgdata"
        yield up


Change = Callable[[dict[str, Any]], None]


def _salt_run(lab: Lab, *words: str, change: Change | None = None) -> tuple[int, dict[str, Any]]:
    """``salt-run`` with the master's configuration, changed for this one call."""
    conf = json.loads((lab.master.root / "master").read_text())
    if change is not None:
        change(conf["vmdk"])
    place = lab.master.root.parent / "changed"
    place.mkdir(exist_ok=True)
    (place / "master").write_text(json.dumps(conf))
    done = lab.master.command("salt-run", "-c", str(place), "--out=json", *words)
    return done.code, json.loads(done.out[done.out.index("{") :])


def _is_untouched(lab: Lab) -> bool:
    active = bool(mountpoints(lab.nodes["labdb1"], lab.disks["pgdata"]))
    return active and lab.master.run("vmdk.status", "pgdata")["resources"]["pgdata"]["epoch"] == 0


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


VCENTERS: dict[str, tuple[Change, str]] = {
    "wrong password": (lambda v: v["vcenter"].update(password="nonsense"), "password"),
    "other certificate": (lambda v: v["vcenter"].update(sha256="ab" * 32), "certificate"),
    "unknown CA": (lambda v: v["vcenter"].pop("sha256"), "certificate"),
    "nobody there": (lambda v: v["vcenter"].update(port=_closed_port()), "does not answer"),
}


@pytest.mark.parametrize("what", VCENTERS)
def test_a_vcenter_that_cannot_be_used(lab: Lab, what: str) -> None:
    change, word = VCENTERS[what]
    for state in (lab.master.root / "var/lib/salt/vmdk").glob("vcenter-refused*"):
        state.unlink()
    code, answer = _salt_run(lab, "vmdk.recover", "pgdata", change=change)
    while answer["result"] == "busy":  # the engine is looking just now
        code, answer = _salt_run(lab, "vmdk.recover", "pgdata", change=change)
    assert (code, answer["result"]) == (1, "held")
    assert word in answer["reason"] and "127.0.0.1" in answer["reason"]
    _, status = _salt_run(lab, "vmdk.status", change=change)
    assert word in status["resources"]["pgdata"]["reason"] and status["all_well"] is False
    code, refused = _salt_run(lab, *PROTECT[:1], "other", *PROTECT[2:], change=change)
    assert code == 1 and word in refused["error"]
    assert "nonsense" not in json.dumps([answer, status, refused])
    for state in (lab.master.root / "var/lib/salt/vmdk").glob("vcenter-refused*"):
        state.unlink()
    assert _is_untouched(lab)


def _resource(lab: Lab) -> dict[str, Any]:
    import yaml

    plain: dict[str, Any] = yaml.safe_load((lab.master.root / "vmdk.d/pgdata.yaml").read_text())
    return plain


def _with(**changes: Any) -> Callable[[Lab], dict[str, Any]]:
    return lambda lab: {**_resource(lab), **changes}


RESOURCES: dict[str, tuple[Callable[[Lab], dict[str, Any]], str, str]] = {
    "wrong key": (_with(fence_acton="off"), "resources.bad.fence_acton", "no such key"),
    "missing key": (
        lambda lab: {k: v for k, v in _resource(lab).items() if k != "mounts"},
        "resources.bad.mounts",
        "list",
    ),
    "wrong type": (_with(hang_timeout="soon"), "resources.bad.hang_timeout", "number"),
    "same disk twice": (lambda lab: _resource(lab), "resources.bad.disks", "also claimed by pgdata"),
}


@pytest.mark.parametrize("what", RESOURCES)
def test_a_resource_that_cannot_be_used(lab: Lab, what: str) -> None:
    make, where, words = RESOURCES[what]
    body = make(lab)

    def change(section: dict[str, Any]) -> None:
        section["resources"] = {"bad": body}

    code, answer = _salt_run(lab, "vmdk.recover", "bad", change=change)
    assert code == 1 and where in answer["error"] and words in answer["error"]
    _, status = _salt_run(lab, "vmdk.status", change=change)
    assert any(where in fault and words in fault for fault in status["faults"])
    assert status["all_well"] is False
    assert _is_untouched(lab)


def test_a_broken_file_affects_its_own_resource_alone(lab: Lab) -> None:
    broken = lab.master.root / "vmdk.d/broken.yaml"
    broken.write_text("nodes: [a, b\n  disks: }")
    try:
        status = lab.master.run("vmdk.status")
        assert status["resources"]["pgdata"]["state"] == "active"
        assert any("broken.yaml" in fault and "YAML" in fault for fault in status["faults"])
        code, answer = _salt_run(lab, "vmdk.recover", "broken")
        assert code == 1 and "broken.yaml" in answer["error"]
    finally:
        broken.unlink()


def test_a_node_that_is_none(lab: Lab) -> None:
    code, answer = _salt_run(
        lab, "vmdk.protect", "other", "node=labdb1", "mountpoint=/srv/pgdata", "backups=nobody"
    )
    assert code == 1 and "nobody did not answer" in answer["error"]
    code, answer = _salt_run(lab, "vmdk.switchover", "pgdata", "target=nobody")
    assert code == 1 and "nobody is not a node of pgdata" in answer["reason"]
    assert _is_untouched(lab)


def test_nothing_mounted_and_no_disk(lab: Lab) -> None:
    code, answer = _salt_run(
        lab, "vmdk.protect", "other", "node=labdb1", "mountpoint=/srv/nothing", "backups=labdb2"
    )
    assert code == 1 and "nothing is mounted at /srv/nothing on labdb1" in answer["error"]
    code, answer = _salt_run(
        lab, "vmdk.protect", "other", "node=labdb1", "mountpoint=/proc", "backups=labdb2"
    )
    assert code == 1 and "/proc" in answer["error"]


def test_protect_a_second_time(lab: Lab) -> None:
    code, answer = _salt_run(lab, "vmdk.protect", "other", *PROTECT[2:])
    assert code == 1 and "protected already, as pgdata" in answer["error"]
    code, answer = _salt_run(lab, *PROTECT)
    assert code == 1 and "already protected" in answer["error"]


def _elsewhere(key: str, value: str) -> Change:
    def change(section: dict[str, Any]) -> None:
        import pathlib

        import yaml

        place = pathlib.Path(section["resources_dir"])
        body = yaml.safe_load((place / "pgdata.yaml").read_text())
        moved = place.parent / "elsewhere"
        moved.mkdir(exist_ok=True)
        body["disks"][0][key] = value
        (moved / "pgdata.yaml").write_text(yaml.safe_dump(body))
        section["resources_dir"] = str(moved)

    return change


@pytest.mark.parametrize(
    ("key", "value"), [("path", "[ds1] moved/pgdata.vmdk"), ("uuid", "6000c29000000000000000000000dead")]
)
def test_a_disk_that_is_not_where_it_was_recorded(lab: Lab, key: str, value: str) -> None:
    code, answer = _salt_run(lab, "vmdk.recover", "pgdata", change=_elsewhere(key, value))
    assert (code, answer["result"]) == (1, "held")
    assert "labdb1" in answer["reason"] and {"path": "disk", "uuid": "another UUID"}[key] in answer["reason"]
    assert _is_untouched(lab)


def test_a_node_without_a_vm(lab: Lab) -> None:
    def change(section: dict[str, Any]) -> None:
        _elsewhere("mode", "persistent")(section)
        import pathlib

        import yaml

        path = pathlib.Path(section["resources_dir"]) / "pgdata.yaml"
        body = yaml.safe_load(path.read_text())
        body["vm_uuids"]["labdb2"] = "50000000-0000-0000-0000-00000000dead"
        path.write_text(yaml.safe_dump(body))

    _, status = _salt_run(lab, "vmdk.status", change=change)
    assert status["resources"]["pgdata"]["nodes"]["labdb2"]["why_not"] == ["its VM is gone from vCenter"]
    code, answer = _salt_run(lab, "vmdk.switchover", "pgdata", change=change)
    assert code == 1 and "labdb2" in answer["reason"] and "gone from vCenter" in answer["reason"]
    assert _is_untouched(lab)
