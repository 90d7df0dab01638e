"""``doctor`` on the master, with the lab's vCenter; only the nodes are doubles."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.hypervisor import Vcenter
from tests.vsphere import estate
from tests.vsphere.test_adopt import Site
from tests.vsphere.test_panorama import Many
from tests.vsphere.world import CONFIGURED, DISK, USER, resource
from vmdk_failover import __version__, app
from vmdk_failover.commands import examine, operate
from vmdk_failover.errors import ConfigError
from vmdk_failover.finding import Found
from vmdk_failover.judgement import config
from vmdk_failover.model import Resource
from vmdk_failover.presence import heard, reachable
from vmdk_failover.vsphere.privileges import NEEDED


class Doctors(Many):
    """Nodes that tell their own findings too."""

    def __init__(self, known: Mapping[str, Resource]) -> None:
        super().__init__(known)
        self.told: dict[str, Any] = {
            minion: {"ok": True, "findings": [], "version": __version__, "salt": "3008.3"}
            for minion in self.words
        }
        self.doctors_of: list[list[str]] = []

    def ask(
        self, minions: Sequence[str], function: str, kwargs: Mapping[str, Any], wait: float, sure: Any
    ) -> Mapping[str, Any]:
        if function == "vmdk.doctor":
            assert kwargs == {"fail": False}
            self.doctors_of.append([*minions])
            return {m: self.told[m] for m in minions if m in self.told}
        return super().ask(minions, function, kwargs, wait, sure)


class Clinic(Site):
    """A master that is set up well, but that nobody runs an engine."""

    def __init__(self, vcenter: Vcenter, place: Path) -> None:
        self.opts = dict(CONFIGURED)
        super().__init__(vcenter, place)
        self.doctors = Doctors(self.app().settings.resources)
        self.doctors.keys = self.nodes.keys
        self.nodes = self.doctors

    def findings(self, name: str = "") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = examine.doctor(self.app(), name, "3008.3")["findings"]
        return [one for one in found if one["code"] != "engine"]


@pytest.fixture
def clinic(vcenter: Vcenter, tmp_path: Path) -> Iterator[Clinic]:
    here = Clinic(vcenter, tmp_path)
    yield here
    here.close()


def test_where_all_is_well_only_advice_is_given(clinic: Clinic) -> None:
    assert [(one["severity"], one["code"]) for one in clinic.findings()] == [("hint", "disk_mode")]
    assert examine.doctor(clinic.app())["looked_at"].startswith("this master, 1 resource, 2 nodes, ")


def test_an_engine_that_does_not_run_is_an_error(clinic: Clinic) -> None:
    answer = examine.doctor(clinic.app())
    assert answer["ok"] is False
    assert [one["code"] for one in answer["findings"] if one["severity"] == "error"] == ["engine"]


def test_an_older_kernel_than_the_holders_is_told(clinic: Clinic) -> None:
    for older, told in (("db2", ["db2"]), ("db1", [])):  # db1 has the disk
        for minion in ("db1", "db2"):
            release = "5.10.0-28-amd64" if minion == older else "6.1.0-18-amd64"
            clinic.doctors.told[minion]["kernel"] = release
        found = [one for one in clinic.findings() if one["code"] == "kernel"]
        assert [(one["severity"], one["node"]) for one in found] == [("warning", node) for node in told]
    del clinic.doctors.told["db1"]  # who does not answer is compared with nobody
    assert not [one for one in clinic.findings() if one["code"] == "kernel"]


@pytest.mark.parametrize("privilege", sorted(NEEDED))
def test_a_lacking_privilege_is_named_with_the_command(clinic: Clinic, privilege: str) -> None:
    clinic.vcenter.deny(USER, privilege)
    found = [one for one in clinic.findings() if one["code"] == "no_permission"]
    assert [one["node"] for one in found] == ["db1", "db2"]
    assert all(f"govc role.update -a ROLE {privilege}'" in one["do"] for one in found)


def test_powering_on_is_needed_only_where_a_fence_reboots(clinic: Clinic) -> None:
    clinic.vcenter.deny(USER, "VirtualMachine.Interact.PowerOn")
    assert not [one for one in clinic.findings() if one["code"] == "no_permission"]
    reboots = dataclasses.replace(resource(DISK), fence_action="reboot")
    clinic.file.write_text(yaml.safe_dump(config.to_body(reboots)))
    assert len([one for one in clinic.findings() if one["code"] == "no_permission"]) == 2


def test_a_snapshot_is_found_with_the_command_that_removes_it(clinic: Clinic) -> None:
    clinic.vcenter.snapshot("db1-vm", "before-upgrade")
    (one,) = [one for one in clinic.findings() if one["code"] == "snapshot"]
    assert (one["severity"], one["resource"], one["node"]) == ("error", "pgdata", "db1")
    assert "govc snapshot.remove -vm db1-vm" in one["do"]


def test_browsing_is_needed_on_the_datastore_and_making_folders_for_claims(clinic: Clinic) -> None:
    clinic.vcenter.deny(USER, "Datastore.Browse", "Datastore.FileManagement")
    (one,) = [one for one in clinic.findings() if one["code"] == "no_permission"]
    assert (
        "Datastore.Browse on the datastore ds1" in one["what"]
        and "role.update -a ROLE Datastore.Browse" in one["do"]
    )
    clinic.section["claims"] = "vcenter"
    told = [one["what"] for one in clinic.findings() if one["code"] == "no_permission"]
    assert any("Datastore.FileManagement on the datastore ds1" in one for one in told)


def test_vsphere_ha_and_drs_are_told_with_the_command(clinic: Clinic) -> None:
    session = clinic.app().session
    estate.switch(session, clinic.vcenter, ha=False, drs=True)
    told = {one["code"]: one for one in clinic.findings()}
    assert (told["ha_off"]["severity"], told["ha_off"]["resource"]) == ("warning", "")
    assert "govc cluster.change -ha-enabled DC0_C0" in told["ha_off"]["do"]
    assert "-anti-affinity db1-vm db2-vm'" in told["drs_apart"]["do"]
    estate.switch(session, clinic.vcenter)
    estate.restart(session, clinic.vcenter, "db2-vm", "disabled")
    told = {one["code"]: one for one in clinic.findings()}
    assert (
        "override.change -cluster DC0_C0 -vm db2-vm -ha-restart-priority medium" in told["ha_restart"]["do"]
    )
    fenced = dataclasses.replace(resource(DISK), host_fence="ipmi.off")
    clinic.file.write_text(yaml.safe_dump(config.to_body(fenced)))
    assert "ha_restart" not in {one["code"] for one in clinic.findings()}


def test_vcenters_own_vm_on_the_protected_datastore_is_told(clinic: Clinic) -> None:
    clinic.vcenter.add_vm(name="vcsa", host="esx1")
    clinic.vcenter.guest("vcsa", address=clinic.vcenter.host)
    (one,) = [one for one in clinic.findings() if one["code"] == "keeper"]
    assert one["severity"] == "warning" and "the VM vcsa of vCenter lies on" in one["what"]
    assert "govc vm.migrate -ds OTHER vcsa" in one["do"]


def test_an_address_that_does_not_answer_is_named_with_what_lets_it_through(clinic: Clinic) -> None:
    note = {"answers": False, "missed": 2, "boot": heard.master_boot(), "at": time.monotonic()}
    notes = {f"db{n}": {**note, "address": f"10.0.0.{n}"} for n in (1, 2, 9)}
    heard.write_plain(app.state_dir(clinic.app().opts) / reachable.NAME, notes)
    found = [one for one in clinic.findings() if one["code"] == "address"]
    assert [(one["severity"], one["resource"], one["node"]) for one in found] == [
        ("error", "pgdata", "db1"),
        ("warning", "", "db2"),
    ]
    assert "10.0.0.1 of db1 does not answer" in found[0]["what"] and "port 22" in found[0]["do"]
    said = operate.status_of_all(clinic.app(), ["pgdata"])["pgdata"]
    assert not said["protected"] and "(645)" in said["not_protected_because"][0]


def test_a_silent_node_and_another_version_are_named(clinic: Clinic) -> None:
    del clinic.doctors.told["db1"]
    clinic.doctors.told["db2"].update(version="0.0.1", salt="3006.9")
    found = {(one["severity"], one["node"], one["code"]) for one in clinic.findings()}
    assert {("error", "db1", "silent"), ("error", "db2", "version"), ("warning", "db2", "version")} <= found


def test_a_node_that_is_off_is_called_off_and_not_waited_for(clinic: Clinic) -> None:
    """Its keys and its minion are well; who looked at them would lose time at night."""
    del clinic.doctors.told["db2"]
    clinic.vcenter.guest_power("db2-vm", "poweredOff")
    (one,) = [one for one in clinic.findings() if one["node"] == "db2" and one["severity"] == "error"]
    assert one["code"] == "vm_off" and "the VM of db2 (db2-vm) off" in one["what"]
    assert "Power it on in vCenter" in one["do"]
    assert clinic.doctors.doctors_of[-1] == ["db1"]


def test_what_a_node_finds_is_shown_and_rubbish_is_not(clinic: Clinic) -> None:
    good = {"severity": "warning", "what": "It is slow.", "do": "Wait."}
    clinic.doctors.told["db2"]["findings"] = [good, "rubbish", {"severity": "fatal"}, None]
    clinic.doctors.told["db1"] = ["rubbish"]
    found = clinic.findings()
    assert [one["what"] for one in found if one["code"] == "node"] == ["It is slow."]
    assert [one["node"] for one in found if one["code"] == "silent"] == ["db1"]


def test_what_a_node_has_said_of_a_resource_is_not_said_again_as_its_lack_of_protection() -> None:
    bond = "the volume group pgvg has the system ID db1"
    stands = {"pgdata": {"state": "active", "not_protected_because": [f"{bond}: run it there", "db2 is off"]}}
    lies = [Found("error", what, "", node="db1", code="node") for what in ("", ".", "p", "db2 is off.")]
    told = [*lies, Found("error", f"pgdata: {bond}.", "Run it there.", node="db1", code="node")]
    assert [one.what for one in examine._not_protected(stands, told)] == ["Not protected: db2 is off."]
    assert len(list(examine._not_protected(stands, lies))) == 2


def test_without_vcenter_that_alone_is_said_of_it(clinic: Clinic) -> None:
    clinic.vcenter.net("503")
    try:
        found = [one for one in clinic.findings() if one["severity"] == "error"]
    finally:
        clinic.vcenter.net("")
    assert [one["code"] for one in found] == ["unreadable"]


def test_vcenter_is_tried_before_anything_is_protected(clinic: Clinic) -> None:
    clinic.file.rename(clinic.file.with_name(".empty"))  # by which a person says that none is left
    told = {one["code"]: one["severity"] for one in clinic.findings()}
    assert told == {"": "hint"}  # nothing is protected yet
    clinic.section["vcenter"] = {**clinic.section["vcenter"], "password": "another"}
    (one,) = [one for one in clinic.findings() if one["severity"] == "error"]
    assert one["code"] == "unreadable" and "refuses the user" in one["what"]


@pytest.mark.parametrize(
    ("change", "severity", "words"),
    [
        ({"engines": []}, "error", "engine vmdk is not configured"),
        ({"ext_pillar": [{"cmd": "x"}]}, "error", "external pillar vmdk is not configured"),
        ({"reactor": []}, "warning", "does not listen to events like salt/beacon/"),
        ({"reactor": [{"vmdk/*/*": ["/nowhere/vmdk.sls"]}]}, "error", "/nowhere/vmdk.sls is not there"),
        ({"reactor_refresh_interval": 60}, "hint", "once a minute"),
        ({"reactor_worker_threads": 2}, "warning", "2 threads"),
        ({"auto_accept": True}, "warning", "auto_accept is on"),
    ],
)
def test_the_masters_own_settings(clinic: Clinic, change: dict[str, Any], severity: str, words: str) -> None:
    clinic.opts.update(change)
    assert any(
        one["severity"] == severity and words in one["what"] and one["do"] for one in clinic.findings()
    )


def test_a_fault_of_the_configuration_and_of_claims(clinic: Clinic) -> None:
    clinic.section["claims"] = "/nowhere/claims"
    assert any(one["code"] == "claims" for one in clinic.findings())
    clinic.file.write_text("nodes: [db1\n")
    found = clinic.findings()
    assert any(one["code"] == "config" and one["resource"] == "pgdata" for one in found)


def test_an_unknown_resource_is_refused(clinic: Clinic) -> None:
    with pytest.raises(ConfigError, match="nobody"):
        clinic.findings("nobody")
