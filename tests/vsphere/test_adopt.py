"""``vmdk.adopt`` and its kin on the lab's vCenter, with the real composition: only the nodes are doubles."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.hypervisor import Vcenter
from tests.core.build import active, says
from tests.vsphere.conftest import pin_of
from tests.vsphere.world import DISK, PASSWORD, SHOWN_UUIDS, USER, disk, inventory, resource
from vmdk_failover import signing
from vmdk_failover.app import App, names
from vmdk_failover.commands import adopt, operate, rotation
from vmdk_failover.configured import EMPTY
from vmdk_failover.errors import Busy, Refused
from vmdk_failover.judgement import config
from vmdk_failover.model import Move, MoveKind, NodeFacts, to_plain

MOVED = replace(DISK, path="[ds2] pgdata_1/pgdata.vmdk")


class Nodes:
    """Nodes that answer with what is in ``words``, signed with the key that they have."""

    def __init__(self) -> None:
        self.words: dict[str, NodeFacts] = {"db1": active("db1", device=True), "db2": says("db2")}
        self.keys: dict[str, str] = {}
        self.extra: dict[str, Any] = {}
        self.fetch: Callable[[str], str] = lambda minion: self.keys[minion]

    def ask(
        self, minions: Sequence[str], function: str, kwargs: Mapping[str, Any], wait: float, sure: Any
    ) -> Mapping[str, Any]:
        heard = [minion for minion in minions if minion in self.words]
        if function == "saltutil.refresh_pillar":
            self.keys.update({minion: self.fetch(minion) for minion in heard})
            return dict.fromkeys(heard, True)
        assert function == "vmdk.facts"
        return {
            m: signing.sign_answer(self.keys[m], {**to_plain(self.words[m]), **self.extra}, kwargs["nonce"])
            for m in heard
        }

    def state(self, *_: Any) -> None:
        raise AssertionError("nothing is to be done on any node")


class Site:
    """A master with its configuration, its state and its nodes. Nobody runs its engine."""

    #: Of the master, beside the section `vmdk`.
    opts: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, vcenter: Vcenter, place: Path) -> None:
        self.vcenter, self.place, self.nodes = vcenter, place, Nodes()
        self.section: dict[str, Any] = {
            "vcenter": {
                "host": vcenter.host,
                "port": vcenter.port,
                "user": USER,
                "password": PASSWORD,
                "sha256": pin_of(vcenter),
            },
            "resources_dir": str(place / "vmdk.d"),
            "state_dir": str(place / "state"),
        }
        (place / "vmdk.d").mkdir()
        self.file.write_text("# mine\n" + yaml.safe_dump(config.to_body(resource(DISK))))
        self.apps: list[App] = []
        here = self.app()
        self.nodes.keys = {m: here.keys.current(m) for m in ("db1", "db2")}
        self.nodes.fetch = lambda minion: here.keys.current(minion)

    @property
    def file(self) -> Path:
        return self.place / "vmdk.d/pgdata.yaml"

    def app(self) -> App:
        """A process of the master."""
        self.apps.append(App({"id": "ma", **self.opts, "vmdk": self.section}, self.nodes))
        return self.apps[-1]

    def close(self) -> None:
        for one in self.apps:
            one.close()


@pytest.fixture
def site(vcenter: Vcenter, tmp_path: Path) -> Iterator[Site]:
    here = Site(vcenter, tmp_path)
    yield here
    here.close()


def lose(site: Site) -> None:
    """The journal had a move, and is gone."""
    move = Move(resource(DISK), MoveKind.FAILOVER, "db1", "db2", 1, "once")
    site.app().journal.begin(move)
    site.app().journal.finish("pgdata", {"epoch": 1, "ok": True})
    shutil.rmtree(site.place / "state/journal")


def test_a_lost_journal_holds_until_it_is_adopted(site: Site) -> None:
    lose(site)
    site.nodes.words["db1"] = active("db1", device=True, epoch=41)
    held = operate.recover(site.app(), "pgdata")
    assert (held["result"], "vmdk.adopt pgdata" in held["reason"]) == ("held", True)
    shown = adopt.adopt(site.app(), "pgdata", test=True)
    assert (shown["adopted"], shown["epoch"], shown["active"], shown["holders"]) == (
        False,
        42,
        "db1",
        ["db1"],
    )
    assert "is lost" in shown["ended"][0] and shown["not_heard"] == [] == shown["moved"]
    assert operate.recover(site.app(), "pgdata")["result"] == "held"
    done = adopt.adopt(site.app(), "pgdata")
    assert (done["adopted"], done["epoch"]) == (True, 42)
    assert site.app().shared.state("pgdata").home == {"node": "db1", "epoch": 42}
    assert operate.recover(site.app(), "pgdata")["result"] == "nothing"
    assert operate.history(site.app(), "pgdata")["pgdata"][-1]["adopted"]["epoch"] == 42


def test_an_open_move_ends_and_what_it_asked_for_cannot_come_later(site: Site) -> None:
    here = site.app()
    here.journal.begin(Move(resource(DISK), MoveKind.FAILOVER, "db1", "db2", 1, "an operator asked"))
    before = here.hypervisor.observe(resource(DISK))
    done = adopt.adopt(site.app(), "pgdata")
    assert done["ended"] == ["the move to db2 under epoch 1: an operator asked"]
    after = here.hypervisor.observe(resource(DISK))
    for minion in ("db1", "db2"):
        assert before.vm(minion).change_version != after.vm(minion).change_version
    late = here.hypervisor.detach(resource(DISK), resource(DISK).nodes[0], before.vm("db1"), (DISK,))
    assert late.code == "version_conflict"
    assert here.journal.state("pgdata").move is None


def test_what_another_master_asked_for_cannot_come_later_either(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sleeps right before its request: its move is on the shelf and not in the journal of who takes over."""
    (site.place / "claims").mkdir()
    (site.place / "claims/vmdk-claims").touch()
    site.section["claims"] = str(site.place / "claims")
    other = App({"id": "mb", "vmdk": {**site.section, "state_dir": str(site.place / "mb")}}, site.nodes)
    site.apps.append(other)
    other.shared.state("pgdata")
    other.shared.begin(Move(resource(DISK), MoveKind.FAILOVER, "db1", "db2", 1, "db1 hangs"))
    before = other.hypervisor.observe(resource(DISK))
    here, refused = site.app(), []
    seal = here.hypervisor.seal

    def sealing(*args: Any) -> Any:
        with pytest.raises(Busy, match="taken over"):  # else it would look again and ask for more
            other.shared.note("pgdata", {"begun": {"step": {"kind": "detach", "node": "db1"}}})
        refused.append(args[1])
        return seal(*args)

    monkeypatch.setattr(here.hypervisor, "seal", sealing)
    done = adopt.adopt(here, "pgdata")
    assert done["ended"] == ["what another master, mb, is at work with under epoch 1"]
    late = other.hypervisor.detach(resource(DISK), resource(DISK).nodes[0], before.vm("db1"), (DISK,))
    assert (late.code, len(refused)) == ("version_conflict", 2)
    assert operate.recover(site.app(), "pgdata")["result"] == "nothing"


def test_a_blind_vcenter_adopts_nothing(site: Site) -> None:
    lose(site)
    site.vcenter.net("503")
    with pytest.raises(Refused, match="nothing can be adopted"):
        adopt.adopt(site.app(), "pgdata")
    site.vcenter.net("")
    assert operate.recover(site.app(), "pgdata")["result"] == "held"


def test_a_disk_whose_file_was_moved_is_found_by_its_uuid(program: Path, tmp_path: Path) -> None:
    with Vcenter(inventory(disks=[disk(MOVED, SHOWN_UUIDS[0])]), binary=program) as vcenter:
        site = Site(vcenter, tmp_path)
        assert operate.recover(site.app(), "pgdata")["result"] == "held"
        shown = adopt.adopt(site.app(), "pgdata", test=True)
        assert shown["moved"] == [{"uuid": DISK.uuid, "from": DISK.path, "to": MOVED.path}]
        assert DISK.path in site.file.read_text()
        adopt.adopt(site.app(), "pgdata")
        text = site.file.read_text()
        assert text.startswith("# mine\n") and MOVED.path in text and DISK.path not in text
        assert operate.recover(site.app(), "pgdata")["result"] == "nothing"
        site.close()


def test_claims_beside_a_disk_that_was_moved_go_along(program: Path, tmp_path: Path) -> None:
    with Vcenter(inventory(disks=[disk(MOVED, SHOWN_UUIDS[0])]), binary=program) as vcenter:
        site = Site(vcenter, tmp_path)
        site.section["claims"] = "vcenter"
        (tmp_path / "mb.d").mkdir()
        (tmp_path / "mb.d/pgdata.yaml").write_text(site.file.read_text())
        places = {"state_dir": str(tmp_path / "mb"), "resources_dir": str(tmp_path / "mb.d")}
        other = App({"id": "mb", "vmdk": {**site.section, **places}}, site.nodes)
        site.apps.append(other)
        before, begun = site.app(), Move(resource(DISK), MoveKind.FAILOVER, "db2", "db1", 1, "db2 is off")
        before.shared.state("pgdata")
        before.shared.begin(begun)
        before.shared.finish("pgdata", {"epoch": 1, "ok": True, "target": "db1"})
        operate.pause(other, "pgdata")
        done = adopt.adopt(before, "pgdata")
        assert (done["adopted"], done["epoch"] > 1) == (True, True)
        for here in (before, site.app()):
            assert operate.status(here)["resources"]["pgdata"]["state"] == "paused"
        operate.resume(site.app(), "pgdata")
        said = operate.recover(site.app(), "pgdata")
        assert (said["result"], said["rule"]) == ("nothing", 600), said
        assert other.shared.state("pgdata").epoch >= done["epoch"] - 1  # its file still has the old path
        (tmp_path / "mb.d/pgdata.yaml").write_text(site.file.read_text())
        shutil.copy(tmp_path / "state/secret", tmp_path / "mb/secret")
        other = App(dict(other.opts), site.nodes)
        site.apps.append(other)
        said = operate.recover(other, "pgdata")
        assert (said["result"], said["rule"]) == ("nothing", 600), said
        assert other.shared.state("pgdata").epoch == done["epoch"]
        site.close()


def test_a_master_at_work_where_the_disk_was_is_ended_there(program: Path, tmp_path: Path) -> None:
    with Vcenter(inventory(disks=[disk(MOVED, SHOWN_UUIDS[0])]), binary=program) as vcenter:
        site = Site(vcenter, tmp_path)
        site.section["claims"] = "vcenter"
        (tmp_path / "mb.d").mkdir()
        (tmp_path / "mb.d/pgdata.yaml").write_text(site.file.read_text())
        places = {"state_dir": str(tmp_path / "mb"), "resources_dir": str(tmp_path / "mb.d")}
        other = App({"id": "mb", "vmdk": {**site.section, **places}}, site.nodes)
        site.apps.append(other)
        other.shared.state("pgdata")
        other.shared.begin(Move(resource(DISK), MoveKind.FAILOVER, "db1", "db2", 1, "db1 hangs"))
        assert adopt.adopt(site.app(), "pgdata")["ended"]
        with pytest.raises(Busy, match="taken over"):
            other.shared.note("pgdata", {"begun": {"step": {"kind": "detach", "node": "db1"}}})
        site.close()


def test_a_place_that_cannot_be_read_any_more_is_told_with_the_way_out(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Vcenter(inventory(disks=[disk(MOVED, SHOWN_UUIDS[0])]), binary=program) as vcenter:
        site = Site(vcenter, tmp_path)
        site.section["claims"] = "vcenter"
        site.file.write_text(site.file.read_text().replace("[ds1] shared", "[gone] shared"))
        words = f"If that place is gone for good, write the new path .* into {site.file} on"
        with pytest.raises(Refused, match=words):
            adopt.adopt(site.app(), "pgdata")
        site.file.write_text(site.file.read_text().replace("[gone] shared/pgdata.vmdk", MOVED.path))
        assert adopt.adopt(site.app(), "pgdata")["adopted"]
        assert operate.recover(site.app(), "pgdata")["result"] == "nothing"
        site.close()


def test_a_snapshots_file_is_no_moved_disk(program: Path, tmp_path: Path) -> None:
    delta = replace(DISK, path="[ds1] shared/pgdata-000001.vmdk")
    with Vcenter(inventory(disks=[disk(delta, SHOWN_UUIDS[0])]), binary=program) as vcenter:
        site = Site(vcenter, tmp_path)
        with pytest.raises(Refused, match="snapshot's file"):
            adopt.adopt(site.app(), "pgdata")
        assert DISK.path in site.file.read_text()
        site.close()


def test_clear_forgets_what_was_and_not_what_is_seen_at_that_moment(site: Site) -> None:
    site.app().shared.sight("pgdata", {"node": "db2", "epoch": 0})
    assert operate.clear(site.app(), "pgdata", test=True)["cleared"] is False
    assert site.app().shared.state("pgdata").home == {"node": "db2", "epoch": 0}
    assert operate.clear(site.app(), "pgdata")["cleared"]
    assert site.app().shared.state("pgdata").home == {"node": "db1", "epoch": 0}


def test_a_master_that_is_not_the_active_one_only_watches(site: Site) -> None:
    site.section["active_master"] = "mb"
    site.vcenter.guest_power("db1-vm", "poweredOff")
    said = operate.recover(site.app(), "pgdata")
    assert (said["result"], said["ok"]) == ("refused", False) and "mb is the active one" in said["reason"]
    for act in (adopt.adopt, operate.pause, operate.resume, operate.clear):
        with pytest.raises(Refused, match="only watches"):
            act(site.app(), "pgdata")
    status = operate.status(site.app())
    assert status["resources"]["pgdata"]["state"] == "recovering" and "mb" in status["watches_only"]
    assert site.vcenter.calls()["methods"].get("ReconfigVM_Task", 0) == 0


def test_several_masters_without_a_rule_are_a_fault(site: Site) -> None:
    site.nodes.extra = {"several_masters": True}
    faults = operate.status(site.app())["faults"]
    assert len(faults) == 1 and "db1, db2 has several masters" in faults[0]
    site.section["active_master"] = "ma"
    assert operate.status(site.app())["faults"] == []


def test_claims_are_used_and_told(site: Site) -> None:
    site.section["claims"] = "vcenter"
    site.nodes.extra = {"several_masters": True}
    assert operate.recover(site.app(), "pgdata")["result"] == "nothing"
    operate.pause(site.app(), "pgdata")
    assert operate.status(site.app())["resources"]["pgdata"]["state"] == "paused"
    done = adopt.adopt(site.app(), "pgdata")
    assert site.app().shared.state("pgdata").epoch == done["epoch"] == 1


def test_a_broken_configuration_is_marked(site: Site) -> None:
    assert operate.status(site.app())["resources"]["pgdata"]["configuration"] == "current"
    site.file.write_text("{")
    status = operate.status(site.app())
    assert status["resources"]["pgdata"]["configuration"] == "last good"
    assert status["resources"]["pgdata"]["state"] == "active" and not status["all_well"]
    assert any("its last good version is used" in one for one in status["faults"])


@pytest.mark.parametrize("wrong", ["password", "port", "sha256", "url"])
def test_no_password_is_in_any_sentence(site: Site, wrong: str) -> None:
    at = site.section["vcenter"]
    secret = at["password"] = "hUsh-%s{{x}}" if wrong == "password" else PASSWORD
    at.update(
        {"port": {"port": 1}, "sha256": {"sha256": "ab" * 32}, "url": {"host": "no such host"}}.get(wrong, {})
    )
    told = []
    for act in (operate.recover, operate.status, adopt.adopt):
        here = site.app()
        try:
            told.append(repr(act(here, "pgdata")))
        except Exception as err:
            told += ["".join(traceback.format_exception(err)), repr(err)]
        told += [repr(here.settings), repr(here.session), repr(here.guest), repr(here.keys)]
        told.append(repr({key: value for key, value in vars(here).items() if key != "opts"}))
    told += [path.read_text(errors="replace") for path in (site.place / "state").rglob("*") if path.is_file()]
    text = "\n".join(told)
    assert len(text) > 2000 and secret not in text
    assert not [m for m in ("db1", "db2") if site.app().keys.current(m) in text]


def test_a_change_of_keys_ends_by_itself(site: Site) -> None:
    away = site.nodes.words.pop("db2")
    assert not rotation.rotate_keys(site.app())["changed"]
    site.nodes.words["db2"] = away
    site.nodes.keys["db2"] = site.app().keys.current("db2")  # it comes back and fetches its pillar
    operate.recover(site.app(), "pgdata")
    assert not site.app().keys.changing and operate.status(site.app())["faults"] == []


def test_keys_are_changed_while_nodes_are_silent_and_come_back(site: Site) -> None:
    away = site.nodes.words.pop("db2")
    before = dict(site.nodes.keys)
    said = rotation.rotate_keys(site.app())
    assert said == {"changed": False, "began_now": True, "waiting_for": ["db2"]}
    site.nodes.words["db2"] = away
    site.nodes.keys["db2"] = before["db2"]
    status = operate.status(site.app())
    assert status["resources"]["pgdata"]["nodes"]["db2"]["ready"]
    assert "until db2 has spoken" in status["faults"][0]
    said = rotation.rotate_keys(site.app())
    assert said == {"changed": True, "began_now": False, "waiting_for": []}
    assert all(site.nodes.keys[m] != before[m] for m in before)
    site.nodes.keys["db2"] = before["db2"]
    assert not operate.status(site.app())["resources"]["pgdata"]["nodes"]["db2"]["ready"]


def test_a_resource_that_is_edited_in_mid_move_ends_as_it_began(site: Site) -> None:
    """Also one that is taken out of the configuration, or broken in it."""
    began = resource(DISK)
    site.app().journal.begin(Move(began, MoveKind.SWITCHOVER, "db1", "db2", 1, "an operator asked"))
    edited = config.to_body(replace(began, hang_timeout=33.0))
    site.file.with_name(EMPTY).touch()  # a person takes the last one out: the folder was not lost
    for text in (yaml.safe_dump(edited), "{", None):
        site.file.write_text(text) if text is not None else site.file.unlink()
        assert site.app().resource("pgdata") == began
        assert names(site.app().opts) == {"pgdata"}
    site.app().journal.finish("pgdata", {"epoch": 1, "ok": True})
    assert names(site.app().opts) == set()
    site.file.write_text(yaml.safe_dump(edited))
    assert site.app().resource("pgdata").hang_timeout == 33.0
