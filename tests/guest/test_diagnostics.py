"""What people ask on a node: check, users, doctor, and what they answer while the disk hangs or is not there."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lab import linux
from vmdk_failover.errors import CannotObserve
from vmdk_failover.guest import channel, children, doctor, duty, facts, known, latest, memory, users
from vmdk_failover.guest.check import Checked, check
from vmdk_failover.guest.in_use import in_use
from vmdk_failover.guest.places import Places, boot_clock
from vmdk_failover.model import to_plain

from .conftest import BOOT, WRITER, Rig, wait_for

OPENER = """
import mmap, os, sys, time
fd = os.open(sys.argv[1] + "/file", os.O_CREAT | os.O_RDWR)
os.truncate(fd, 4096)
held = mmap.mmap(fd, 4096)
os.chdir(sys.argv[1])
print(flush=True)
time.sleep(60)
"""


def _check(rig: Rig, **more: Any) -> Checked:
    return check(rig.resource, rig.state, places=rig.places, **more)


@pytest.mark.parametrize("fstype", ["ext4", "xfs", "btrfs"])
def test_all_is_well(rig: Rig) -> None:
    rig.mount()
    found = _check(rig, write=True)
    assert (found.ok, found.condition) == (True, "ok"), found
    assert [one.what.split()[0] for one in found.tried] == ["read", "look", "write"]
    assert rig.disk.fs_uuid in found.tried[0].said
    assert (rig.mountpoint / ".vmdk-probe").stat().st_size == 4096
    rig.umount()  # nothing of the check is left


def test_a_backup_is_all_right(rig: Rig) -> None:
    rig.unplug()
    assert (_check(rig).ok, _check(rig).condition) == (True, "standby")


def test_not_mounted(rig: Rig) -> None:
    assert (_check(rig).ok, _check(rig).condition) == (False, "unmounted")


@pytest.mark.parametrize(("fault", "write"), [("all=eio", False), ("write=eio flush=eio", True)])
def test_errors(rig: Rig, fault: str, write: bool) -> None:
    rig.mount()
    assert _check(rig, write=write).ok
    rig.fault.set(fault)
    found = _check(rig, write=write)
    assert (found.ok, found.condition) == (False, "io_error"), found
    assert "failed" in found.sentence


def test_a_hung_disk_is_told_in_time_and_not_tried_twice(rig: Rig, run_dir: Path) -> None:
    rig.mount()
    rig.state.mkdir()
    rig.fault.set("all=hang")
    began = time.monotonic()
    found = _check(rig, deadline_s=0.5, write=True)
    assert time.monotonic() - began < 1.0
    assert (found.ok, found.condition) == (False, "hung")
    pid = json.loads((rig.state / "pgdata.stuck").read_text())[0][0]
    assert children.state(pid) == "D"
    again = _check(rig, deadline_s=0.5)
    assert (again.condition, again.tried) == ("hung", ())
    assert str(pid) in again.sentence
    found = in_use(rig.resource, rig.state, deadline_s=0.5, places=rig.places)
    assert f"(pid {pid}" in found["note"]
    assert not any(f"(pid {pid})" in one for one in found["waiting"] + found["devices"])
    rig.fault.set("ok")
    wait_for(lambda: _check(rig).ok)


def test_who_uses_it(rig: Rig) -> None:
    rig.mount()
    user = rig.run(OPENER, str(rig.mountpoint))
    found = in_use(rig.resource, rig.state, places=rig.places)
    mine = next(one for one in found["processes"] if one["pid"] == user.pid)
    assert mine["has"] == "fd, cwd, map"
    assert mine["holds"][0] == f"fd 3: {rig.mountpoint}/file"
    assert "note" not in found
    assert found["namespaces"] == found["kernel"] == []


def test_who_uses_a_hung_disk(rig: Rig) -> None:
    rig.mount()
    user = rig.run(OPENER, str(rig.mountpoint))
    held = rig.run(WRITER, str(rig.mountpoint / "held"))
    rig.fault.set("all=hang")
    wait_for(lambda: children.state(held.pid) == "D")
    began = time.monotonic()
    found = in_use(rig.resource, rig.state, deadline_s=1.0, places=rig.places)
    assert time.monotonic() - began < 2.0
    states = {one["pid"]: one["state"] for one in found["processes"]}
    assert (states[user.pid], states[held.pid]) == ("S", "D")
    assert not any(f"(pid {held.pid})" in one for one in found["waiting"]), "it is listed already"


def test_who_waits_in_the_kernel(rig: Rig, tmp_path: Path) -> None:
    for pid, state, flags in ((11, "D", 0x400000), (12, "S", 0x400000), (13, "D", 0x208040)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (a) b) {state} 1 1 1 0 -1 {flags} 0 0\n")
        (tmp_path / str(pid) / "comm").write_text("touch\n")
    (tmp_path / "self").mkdir()
    places = dataclasses.replace(rig.places, proc=tmp_path)
    assert users.waiting(places) == ((11, "touch"),)  # 13 is a thread of the kernel
    rig.state.mkdir()
    assert in_use(rig.resource, rig.state, places=places)["waiting"] == ["touch (pid 11)"]


def test_a_foreign_namespace_and_a_loop_device(rig: Rig) -> None:
    rig.mount()
    image = rig.mountpoint / "inner.img"
    image.write_bytes(bytes(1 << 20))
    loop = subprocess.run(["losetup", "-f", "--show", image], check=True, capture_output=True, text=True)
    stay = "import time; print(flush=True); time.sleep(60)"
    argv = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", stay]
    away = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    rig.processes.append(away)
    try:
        assert away.stdout is not None
        assert away.stdout.readline() == "\n"
        found = in_use(rig.resource, rig.state, places=rig.places)
        assert [one["mountpoints"] for one in found["namespaces"] if one["pid"] == away.pid] == [
            [str(rig.mountpoint)]
        ]
        assert found["kernel"] == [f"{os.path.basename(loop.stdout.strip())} on {image}"]
    finally:
        subprocess.run(["losetup", "-d", loop.stdout.strip()], check=True)


# -- doctor


@dataclasses.dataclass
class Clinic:
    """A node that has nothing wrong, and the pieces to make it ill."""

    rig: Rig
    node: doctor.Node

    def severities(self, **changes: Any) -> dict[str, str]:
        """Sentence → severity of what is found with some pieces changed."""
        found = doctor.findings(dataclasses.replace(self.node, **changes))
        assert all(one.do.endswith(".") and one.what.endswith(".") for one in found)
        return {one.what: one.severity for one in found}


@pytest.fixture
def clinic(rig: Rig, run_dir: Path) -> Clinic:
    sysrq, sys_dir = run_dir / "sysrq", run_dir / "sys"
    sysrq.touch()
    places = dataclasses.replace(rig.places, sys=_sysfs(sys_dir, rig))
    rig.state.mkdir(mode=0o700)
    channel.write_config(rig.state, {"pgdata": rig.resource}, places)
    _prober_says(rig)
    pillar = {"vmdk": {"key": "00", "resources": {"pgdata": to_plain(rig.resource)}}}
    duty.sign(rig.state)
    opts = {"engines": [{"vmdk": {}}], "disable_grains": ["lvm"]}
    node = doctor.Node(opts, pillar, {"pgdata": rig.resource}, rig.state, str(sysrq), "1", places)
    return Clinic(rig, node)


def _sysfs(root: Path, rig: Rig) -> Path:
    """The kernel's directory of one SCSI disk that is well."""
    disk = root / "class/block/sdq"
    (disk / "device/scsi_disk/0:0:0:0").mkdir(parents=True)
    for path, text in {
        "dev": "65:0",
        "device/wwid": f"naa.{rig.resource.disks[0].uuid}",
        "device/timeout": "180",
        "device/scsi_disk/0:0:0:0/cache_type": "write through",
    }.items():
        (disk / path).write_text(text + "\n")
    (root / "block/sdq").mkdir(parents=True)
    return root


def _prober_says(rig: Rig, **changes: Any) -> None:
    said = {"boot_id": BOOT, "at": boot_clock(), "reports": {}, "version": "1", "sources": {}, **changes}
    memory.write(rig.state / latest.FILE, said)


def _write(clinic: Clinic, path: str, text: str) -> None:
    (clinic.node.places.sys / "class/block/sdq" / path).write_text(text + "\n")


def test_nothing_is_wrong(clinic: Clinic) -> None:
    assert clinic.severities() == {}


def _only(found: dict[str, str], words: str, severity: str) -> None:
    assert len(found) == 1, found
    sentence, level = next(iter(found.items()))
    assert words in sentence
    assert level == severity


def test_what_the_configuration_lacks(clinic: Clinic) -> None:
    _only(clinic.severities(pillar={"vmdk": {"resources": {}}}), "no signing key", "error")
    assert clinic.severities(pillar={}) == {}  # salt-call --local
    _only(clinic.severities(resources={}), "knows no resource", "hint")
    beacons = {"vmdk": [{"resources": {}}, {"disable_during_state_run": True}]}
    _only(
        clinic.severities(opts=clinic.node.opts | {"beacons": beacons}), "disable_during_state_run", "error"
    )


def test_a_service_that_is_not_there_or_that_a_boot_starts(clinic: Clinic) -> None:
    known = {"ledger"}
    salt = {"service.available": known.__contains__, "service.enabled": lambda name: name == "ledger"}
    resource = dataclasses.replace(clinic.rig.resource, services=("ledger", "gone"))
    found = clinic.severities(resources={"pgdata": resource}, salt=salt)
    assert found == {
        "pgdata: the service ledger is started by a boot, also where the disk is not.": "warning",
        "pgdata: the service gone is not known on this node.": "error",
    }
    known.add("gone")
    salt["service.enabled"] = lambda name: False
    assert clinic.severities(resources={"pgdata": resource}, salt=salt) == {}
    assert clinic.severities(resources={"pgdata": resource}, salt={}) == {}  # no init system that Salt knows


@pytest.mark.parametrize("engines", [None, [], ["reactor"], [{"reactor": {}}]])
def test_the_engine_is_not_configured(clinic: Clinic, engines: Any) -> None:
    _only(
        clinic.severities(opts=clinic.node.opts | {"engines": engines}),
        "engine vmdk is not configured",
        "hint",
    )
    assert clinic.severities(opts=clinic.node.opts | {"engines": ["vmdk"]}) == {}


def test_the_beacon_does_not_run(clinic: Clinic) -> None:
    (clinic.rig.state / "beacon.alive").unlink()
    _only(clinic.severities(), "the engine does its work", "warning")
    found = clinic.severities(opts={"disable_grains": ["lvm"]})
    assert sorted(found.values()) == ["error", "hint"]
    assert any("hears of no failure" in sentence for sentence in found)
    assert all("beacon" not in one for one in clinic.severities(resources={}))


def test_salts_own_look_at_lvm(clinic: Clinic, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    opts = {"engines": ["vmdk"]}
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/sbin/lvm")
    monkeypatch.setattr(doctor, "_LVM_DEVICES", str(tmp_path / "devices"))
    _only(clinic.severities(opts=opts), "no salt-call starts", "warning")
    assert clinic.severities() == {}
    (tmp_path / "devices").touch()
    assert clinic.severities(opts=opts) == {}
    (tmp_path / "devices").unlink()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert clinic.severities(opts=opts) == {}


@pytest.mark.parametrize("source", sorted(doctor._WHY_SOURCE))
def test_a_source_that_is_off_is_explained(clinic: Clinic, source: str) -> None:
    _prober_says(clinic.rig, sources={source: "off: Operation not permitted", "mountinfo": "live"})
    _only(clinic.severities(), f"{source} is off: Operation not permitted; ", "hint")
    _prober_says(clinic.rig, sources={source: "live"})
    assert clinic.severities() == {}


def test_pyinotify_lacks_asyncore(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(sys, "version_info", (3, 14, 0, "final", 0))
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "asyncore" else there(name, *rest)
    )
    _only(clinic.severities(), "Python 3.14 no longer has", "hint")


def test_tools_are_missing(clinic: Clinic, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(facts, "_TOOL_DIRS", (str(tmp_path),))
    found = clinic.severities()
    assert set(found.values()) == {"error"}
    assert any("fsck.ext4" in sentence for sentence in found), found


def test_the_prober_is_silent_or_old(clinic: Clinic) -> None:
    _prober_says(clinic.rig, version="0.0.1")
    _only(clinic.severities(), "version 0.0.1", "warning")
    _prober_says(clinic.rig, sources={"block_rq_error": "off: not there", "mountinfo": "live"})
    _only(clinic.severities(), "block_rq_error is off", "hint")
    _prober_says(clinic.rig, at=boot_clock() - 60)
    _only(clinic.severities(), "silent", "error")
    (clinic.rig.state / latest.FILE).unlink()
    _only(clinic.severities(), "never run", "error")


def test_pyinotify_is_missing(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyinotify", None)
    with pytest.raises(ImportError):
        __import__("pyinotify")
    monkeypatch.delitem(sys.modules, "pyinotify")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if not Path(p, "pyinotify.py").exists()])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    _only(clinic.severities(), "pyinotify is not installed", "hint")


def test_the_disk(clinic: Clinic) -> None:
    _write(clinic, "device/timeout", "30")
    _only(clinic.severities(), "sdq gives up a request after 30 s", "warning")
    _write(clinic, "device/timeout", "180")
    _write(clinic, "device/scsi_disk/0:0:0:0/cache_type", "write back")
    _only(clinic.severities(), "volatile write cache", "warning")
    _write(clinic, "device/scsi_disk/0:0:0:0/cache_type", "write through")
    _write(clinic, "device/wwid", "")
    clinic.rig.unplug()
    _only(clinic.severities(), "shows no UUID", "error")


def test_files_of_the_node(clinic: Clinic, tmp_path: Path) -> None:
    _only(clinic.severities(sysrq=str(tmp_path / "none")), "cannot halt itself", "error")
    (clinic.rig.state / channel.CONFIG).chmod(0o644)
    _only(clinic.severities(), "can be read by others", "warning")
    disk = clinic.rig.state.parent / "disk"
    disk.mkdir()
    _mount_image(clinic.rig.state.parent / "own.img", disk)
    try:
        found = clinic.severities(state_dir=disk / "state")
    finally:
        linux.umount(str(disk))
    assert any("is on ext4" in sentence for sentence in found), found


def _mount_image(image: Path, where: Path) -> None:
    with image.open("xb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, where], check=True)


def test_mount_point_and_fstab(clinic: Clinic, run_dir: Path) -> None:
    (run_dir / "fstab").write_text(f"UUID={clinic.rig.disk.fs_uuid} /x ext4 defaults 0 2\n")
    _only(clinic.severities(), "fstab has a line", "error")
    (run_dir / "fstab").write_text("")
    (clinic.rig.mountpoint / "stray").touch()
    _only(clinic.severities(), "is not empty", "error")


# -- the copy of the resources


def test_the_copy_is_used_without_a_master_and_has_no_key(clinic: Clinic) -> None:
    copy = clinic.rig.state / channel.CONFIG
    copy.chmod(0o600)
    assert known.resources({}, clinic.rig.state) == {"pgdata": clinic.rig.resource}
    assert "key" not in json.loads(copy.read_text())
    assert known.resources({"vmdk": {"resources": {}}}, clinic.rig.state) == {}
    copy.write_text("{")
    with pytest.raises(CannotObserve, match="restart the minion"):
        known.resources({}, clinic.rig.state)
    with pytest.raises(CannotObserve, match="knows no resource 'x'; known are: pgdata"):
        known.one({"pgdata": clinic.rig.resource}, "x")
    assert known.resources({}, clinic.rig.state / "none") == {}


def test_places_default() -> None:
    assert doctor.Node({}, {}, {}, Path("/run/x"), "/x", "1").places == Places()
