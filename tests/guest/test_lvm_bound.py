"""
LVM's own programs on a loop device: a group that its metadata binds to one node or to a cluster's locks, and an ``lvm.conf`` that
leaves it out. No volume is activated, so that this needs no device-mapper; that is tried in a guest: ``lab/guest``.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from lab import loop
from vmdk_failover.errors import Refused
from vmdk_failover.guest import bonds, children, devices, doctor_storage, found_out, latest, lvm, mapped
from vmdk_failover.guest.children import Ended
from vmdk_failover.guest.places import boot_clock
from vmdk_failover.guest.steps import GiveUp
from vmdk_failover.model import Disk, Node, Resource, VolumeGroup

from .picture import UUID, Picture

_VOLUME = """
    logical_volumes { data {
        id = "aaaaaa-aaaa-aaaa-aaaa-aaaa-aaaa-aaaaaa"
        status = ["READ", "WRITE", "VISIBLE"]
        flags = []
        segment_count = 1
        segment1 { start_extent = 0 extent_count = 2 type = "striped" stripe_count = 1 stripes = ["pv0", 0] }
    } }
"""


def run(argv: Sequence[str]) -> Ended:
    return children.command(argv, 10.0)


@dataclasses.dataclass
class Group:
    """A volume group with one volume, on a loop device that LVM sees alone, under an ``lvm.conf`` of its own."""

    picture: Picture
    name: str
    number: str

    def __post_init__(self) -> None:
        self.configure()
        self.lvm("pvcreate", "-qq", f"/dev/{self.name}")
        self.lvm("vgcreate", "-qq", "pgvg", f"/dev/{self.name}")
        self.rewrite("", _VOLUME)
        shown = self.lvm("vgs", "--noheadings", "-o", "vg_uuid").stdout.splitlines()
        self.uuid = next(row.strip() for row in shown if re.fullmatch(r"\s*[\w-]{38}\s*", row))

    def configure(self, more: str = "", system_id: str = "") -> None:
        """Write LVM's configuration of the node."""
        folder = self.picture.root / "etc"
        folder.mkdir(exist_ok=True)
        only = f'["a|^/dev/{self.name}$|", "r|.*|"]'
        (folder / "lvm.conf").write_text(
            f'devices {{ use_devicesfile=0 hints="none" filter={only} global_filter={only} }}\n'
            f'global {{ locking_dir="{folder}/lock" system_id_source="{"lvmlocal" if system_id else "none"}" }}\n'
            f"backup {{ backup=0 archive=0 }}\n{more}"
        )
        (folder / "lvmlocal.conf").write_text(f'local {{ system_id="{system_id}" }}\n' if system_id else "")

    def lvm(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["lvm", *arguments], check=True, capture_output=True, text=True)

    def rewrite(self, head: str, tail: str = "") -> None:
        """Put lines into the group's metadata."""
        file = self.picture.root / "metadata"
        self.lvm("vgcfgbackup", "-f", str(file), "pgvg")
        text = file.read_text().replace("\tmax_lv = 0", f"\t{head}\n\tmax_lv = 0")
        end = text.rindex("}")
        file.write_text(text[:end] + tail + text[end:])
        self.lvm("vgcfgrestore", "-qq", "-f", str(file), "pgvg")

    def bind(self, how: str) -> None:
        if how == "db1":
            self.configure(system_id="db1")
            self.lvm("vgchange", "-y", "--systemid", "db1", "pgvg")
        else:
            self.rewrite(f'lock_type = "{how}"\n\tlock_args = "1.0.0:lvmlock"')

    @property
    def vg(self) -> VolumeGroup:
        return VolumeGroup("pgvg", self.uuid)

    @property
    def resource(self) -> Resource:
        """The resource on it; its disk is found by a link."""
        nodes = (Node("db1", "u"), Node("db2", "v"))
        return dataclasses.replace(
            Resource("pg", nodes, (Disk("[ds1] a.vmdk", UUID, 1, 0),), ()), vgs=(self.vg,)
        )

    def look(self) -> devices.Holding:
        return devices.holding(self.resource, self.picture.places)

    def activate(self, runs: lvm.Run = run) -> GiveUp:
        with pytest.raises(GiveUp) as refused:
            lvm.Lvm(runs, self.picture.places).activate([self.vg], self.look)
        return refused.value

    def bonds(self) -> list[tuple[str, str]]:
        return lvm.bound([self.vg], self.look(), run)


@pytest.fixture
def group(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Group]:
    monkeypatch.setenv("LVM_SYSTEM_DIR", str(run_dir / "picture/etc"))
    monkeypatch.setenv("LVM_SUPPRESS_FD_WARNINGS", "1")
    file = os.memfd_create("pv")
    os.ftruncate(file, 32 << 20)
    device = loop.create(file, "lvm", direct_io=False)
    try:
        number = Path(f"/sys/block/{device.name}/dev").read_text().strip()
        picture = Picture(run_dir / "picture")
        picture.add(device.name, number, UUID, f"wwn-0x{UUID}")
        (picture.places.block(device.name) / "loop").mkdir()
        yield Group(picture, device.name, number)
    finally:
        loop.release(device)
        os.close(file)


def _follow(command: str) -> None:
    subprocess.run(["lvm", *shlex.split(command)], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("how", "words"), [("db1", "the system ID db1"), ("sanlock", "the lock type sanlock")]
)
def test_a_bound_group_is_refused_and_the_command_unbinds_it(group: Group, how: str, words: str) -> None:
    assert group.bonds() == []
    group.bind(how)
    with pytest.raises(Refused) as refused:
        lvm.group(mapped.plain(group.uuid), run)
    assert refused.value.code == "vg_bound"
    assert words in refused.value.reason
    found = list(doctor_storage.volume_groups(group.resource, group.picture.root, group.picture.places))
    assert found[0][0] == "error"
    assert words in found[0][1]
    if how == "db1":  # that of a lock type needs the cluster's lvmlockd
        _follow(re.findall('run "(.+)" on', refused.value.reason)[0])
        assert group.bonds() == []
        assert lvm.group(mapped.plain(group.uuid), run).parts == (group.name,)


def test_what_it_got_later_is_in_the_nodes_word_while_the_answer_waits_for_nobody(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found out by a child; where LVM says nothing, the word before counts."""
    root, held, places = group.picture.root, group.resource, group.picture.places
    now = [100.0]
    left: list[Callable[[], object]] = []

    def told(condition: str = "ok") -> tuple[str, ...]:
        report = {"boot_id": "b1", "at": boot_clock(), "reports": {held.name: {"condition": condition}}}
        (root / latest.FILE).write_text(json.dumps(report))
        bonds.renew([held], root, "b1", lambda: now[0], left.append, places)
        while left:
            left.pop()()
        return bonds.told(held, root, "b1", now[0])

    assert told() == ()
    group.bind("db1")
    assert told() == ()  # it was asked just now
    now[0] += found_out.AGAIN_S
    for condition in ("hung", "io_error"):
        assert told(condition) == (), "nobody reads a disk that may not answer"
    (words,) = told()
    assert words.startswith(
        "the volume group pgvg has the system ID db1, so that no other node may activate it: run "
    )
    now[0] += bonds.SOON_S
    with monkeypatch.context() as slow:
        slow.setattr(children, "command", lambda *_: Ended(error="no answer in time"))
        assert told() == (words,)
    now[0] += bonds.SOON_S
    _follow(re.findall('run "(.+)" on', words)[0])
    assert told() == ()
    assert bonds.told(held, root, "another boot", now[0]) == ()


@pytest.mark.parametrize(
    ("how", "said"), [("db1", "Cannot access VG pgvg with system ID db1"), ("sanlock", "requires lvmlockd")]
)
def test_a_backup_that_may_not_activate_it_says_why(group: Group, how: str, said: str) -> None:
    group.bind(how)
    group.configure()  # a node without a system ID
    refused = group.activate()
    assert refused.code == "vg_bound", refused.reason
    assert said in refused.reason
    _follow(refused.reason.partition("run: ")[2])
    assert group.bonds() == []


def test_a_volume_list_that_leaves_it_out_does_not_keep_it_from_being_activated(group: Group) -> None:
    group.configure('activation { volume_list=["root"] }\n')
    said = []

    def trial(argv: Sequence[str]) -> Ended:
        """Nothing is really activated, and LVM says what it would do."""
        ended = run([*argv[:2], "-tv", *argv[2:]] if argv[1] == "vgchange" else argv)
        said.append(ended.output)
        return ended

    refused = group.activate(trial)
    assert "Activating logical volume pgvg/data" in said[-1]
    assert "does not pass activation filter" not in said[-1]
    # LVM has ended without an error, and nothing is active: that is told as it is
    assert refused.code == "vg_inactive"
    assert refused.reason.startswith(
        "no volume of pgvg is active although vgchange has ended without an error: "
    )
    assert '0 logical volume(s) in volume group "pgvg" now active' in refused.reason
