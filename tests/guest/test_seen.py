"""A mount that nobody would find: behind a symbolic link, in a mount namespace of the minion's own."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lab import linux
from vmdk_failover.errors import Refused
from vmdk_failover.guest import mounts, namespace
from vmdk_failover.guest.facts import mountpoint_faults, node_facts
from vmdk_failover.guest.mounting import MountReport, mount_all
from vmdk_failover.guest.places import Places
from vmdk_failover.guest.survey import survey
from vmdk_failover.model import to_plain

from .conftest import Rig


def _mount(rig: Rig) -> MountReport:
    return mount_all(
        rig.resource,
        start_services=lambda: None,
        deadline_s=5,
        state_dir=rig.state,
        epoch=3,
        places=rig.places,
    )


def test_a_mount_point_behind_a_symbolic_link_is_told_and_not_mounted_on(rig: Rig, run_dir: Path) -> None:
    """mount(8) follows the link, and the kernel's table then has the real path alone."""
    link = run_dir / "link"
    link.symlink_to(rig.mountpoint.parent)
    where = link / rig.mountpoint.name
    rig.resource = dataclasses.replace(
        rig.resource, mounts=(dataclasses.replace(rig.resource.mounts[0], mountpoint=str(where)),)
    )
    said = node_facts(rig.resource, minion="db1", state_dir=rig.state, prober=None, places=rig.places)
    assert len(said.unready) == 1, said
    assert f"lies below, a symbolic link (it leads to {rig.mountpoint})" in said.unready[0]
    report = _mount(rig)
    assert (report.ok, report.code) == (False, "mount_failed"), report
    assert "symbolic link" in report.reason
    assert mounts.visible(mounts.of_process(), str(rig.mountpoint)) is None
    assert [step[0] for step in report.steps] == ["find disks"]
    rig.mount()  # as an administrator does, who sees no difference
    with pytest.raises(Refused, match=f"mounted at {rig.mountpoint}: use that path") as refused:
        survey(str(where), rig.places)
    assert refused.value.code == "not_mounted"


IN_A_NAMESPACE = """
import json, os, sys
from pathlib import Path
sys.path[:0] = [sys.argv[1] + "/_utils"]
from vmdk_failover.guest import doctor
from vmdk_failover.guest.facts import node_facts
from vmdk_failover.guest.mounting import mount_all
from vmdk_failover.guest.places import Places
from vmdk_failover.model import resource_from_plain, to_plain

said = json.loads(sys.argv[2])
places = Places(**{key: Path(value) for key, value in said["places"].items()})
resource, state = resource_from_plain(said["resource"]), Path(said["state"])
facts = node_facts(resource, minion="db1", state_dir=state, prober=None, places=places)
report = mount_all(
    resource, start_services=lambda: None, deadline_s=5, state_dir=state, epoch=1, places=places
)
node = doctor.Node({}, {}, {}, state, "/dev/null", "1", places=places)
found = [to_plain(one) for one in doctor.findings(node)]
print(json.dumps([to_plain(facts), to_plain(report), found]))
"""


def test_a_minion_with_mounts_of_its_own_is_unready_and_mounts_nothing(rig: Rig) -> None:
    """What it mounted nobody else would see: a service would write to the disk of the node itself."""
    given = {
        "places": {key: str(value) for key, value in dataclasses.asdict(rig.places).items()},
        "resource": to_plain(rig.resource),
        "state": str(rig.state),
    }
    root = str(Path(__file__).resolve().parents[2])
    apart = ["unshare", "--mount", "--propagation", "slave"]  # as systemd does it for PrivateTmp=
    argv = [*apart, sys.executable, "-c", IN_A_NAMESPACE, root, json.dumps(given)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    facts, report, found = json.loads(done.stdout)
    words = "salt-minion runs in a mount namespace of its own"
    assert [one for one in facts["unready"] if one.startswith(words)], facts
    assert (report["ok"], report["code"]) == (False, "mount_namespace"), report
    assert "PrivateTmp" in report["reason"]
    (told,) = (one for one in found if "mount namespace" in one["what"])
    assert (told["severity"], told["do"].partition(",")[0]) == ("error", "Take PrivateTmp")
    assert _mount(rig).ok  # in the same one as process 1


def test_what_process_1_does_not_see_counts_as_not_mounted(rig: Rig, tmp_path: Path) -> None:
    """The same namespace, and another root: the minion's paths are not those of the services."""
    table = tmp_path / "mountinfo"
    table.write_text("1 0 8:1 / / rw - ext4 /dev/sda1 rw\n")
    linux.bind(str(table), "/proc/1/mountinfo")
    try:
        report = _mount(rig)
    finally:
        linux.umount("/proc/1/mountinfo")
    assert (report.ok, report.code) == (False, "mount_failed"), report
    assert mounts.visible(mounts.of_process(), str(rig.mountpoint)) is None


def _proc(root: Path, first: str) -> Places:
    for pid, name in (("self", "mnt:[1]"), ("1", first)):
        (root / pid / "ns").mkdir(parents=True)
        if name:
            (root / pid / "ns/mnt").symlink_to(name)
    return Places(proc=root)


def test_namespaces_are_compared_and_what_cannot_be_seen_is_not_taken_for_good(tmp_path: Path) -> None:
    assert namespace.fault(_proc(tmp_path / "same", "mnt:[1]")) == ""
    assert namespace.fault(_proc(tmp_path / "other", "mnt:[2]")).startswith("salt-minion runs in")
    assert namespace.fault(_proc(tmp_path / "old kernel", "")) == ""
    hidden = _proc(tmp_path / "hidden", "")
    (hidden.proc / "1/ns/mnt").touch()  # readlink of it fails for another reason than that there is none
    assert "cannot be seen" in namespace.fault(hidden)


@pytest.mark.parametrize("depth", [0, 1])
def test_a_link_on_the_way_makes_a_mount_point_unfit(tmp_path: Path, depth: int) -> None:
    (tmp_path / "data/srv").mkdir(parents=True)
    (tmp_path / "srv").symlink_to(tmp_path / ("data/srv" if depth == 0 else "data"))
    path = str(tmp_path / ("srv" if depth == 0 else "srv/srv"))
    (fault,) = mountpoint_faults(path)
    assert f"symbolic link (it leads to {tmp_path}/data/srv)" in fault
    assert mountpoint_faults(str(tmp_path / "data/srv")) == []
    assert survey(path).unready == (fault,)
