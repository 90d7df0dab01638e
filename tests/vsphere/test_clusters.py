"""What protect and doctor find on the cluster: vSphere HA, DRS rules, and who lies on a protected datastore."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.hypervisor import Vcenter
from tests.vsphere import estate
from tests.vsphere.world import BIOS, DISK, vm
from vmdk_failover.vsphere import clusters, keepers, privileges
from vmdk_failover.vsphere.checks import Group, check_all
from vmdk_failover.vsphere.clusters import Cluster, Member
from vmdk_failover.vsphere.findings import Finding
from vmdk_failover.vsphere.keepers import Keeper, Marks
from vmdk_failover.vsphere.session import Session

Found = list[tuple[str, str, str]]


@pytest.fixture
def found(vcenter: Vcenter, session: Session) -> Callable[..., Found]:
    """Check pgdata; (severity, code, node) of what is about clusters."""

    def look(fenced: bool = False) -> Found:
        refs = {name: vcenter.vm(f"{name}-vm")["ref"] for name in ("db1", "db2")}
        told: list[Finding] = check_all(session, {"": Group(refs, "db1", (DISK,), fenced)})[""]
        return [(one.severity, one.code, one.node) for one in told if one.code != "disk_mode"]

    return look


def test_nothing_is_said_of_a_cluster_with_ha_and_without_drs(found: Callable[..., Found]) -> None:
    assert found() == []


def test_ha_that_is_off_is_told_unless_a_host_fence_is_set(
    vcenter: Vcenter, session: Session, found: Callable[..., Found]
) -> None:
    estate.switch(session, vcenter, ha=False)
    assert set(found()) == {("warning", "ha_off", "")}
    assert found(fenced=True) == []


def test_a_node_that_ha_does_not_restart_is_told(
    vcenter: Vcenter, session: Session, found: Callable[..., Found]
) -> None:
    estate.restart(session, vcenter, "db2-vm", "disabled")
    estate.restart(session, vcenter, "db1-vm", "lowest")
    assert found() == [("warning", "ha_restart", "db2")]


def test_drs_needs_a_rule_that_keeps_the_nodes_apart(
    vcenter: Vcenter, session: Session, found: Callable[..., Found]
) -> None:
    estate.switch(session, vcenter, drs=True)
    assert found() == [("hint", "drs_apart", "")]
    estate.rule(session, vcenter, "sleeps", True, "db1-vm", "db2-vm", enabled=False)
    assert found() == [("hint", "drs_apart", "")]
    estate.rule(session, vcenter, "apart", True, "db1-vm", "db2-vm")
    assert found() == []


def test_a_rule_that_brings_the_nodes_together_is_told(
    vcenter: Vcenter, session: Session, found: Callable[..., Found]
) -> None:
    estate.rule(session, vcenter, "near", False, "db1-vm", "db2-vm")
    assert found() == [("warning", "drs_together", "")]


ALONE = Cluster("domain-s1", "esx9", False, False, False, "", {}, ())
NONE = Cluster("domain-c1", "c1", True, True, True, "disabled", {"vm-1": "high"}, ())


def test_a_default_of_no_restart_counts_where_a_vm_has_no_own() -> None:
    members = [Member("db1", "db1-vm", "vm-1", "esx1", NONE), Member("db2", "db2-vm", "vm-2", "esx2", ALONE)]
    told = [(one.code, one.node, one.where) for one in clusters.judge(members, False)]
    assert told == [("ha_off", "", "esx9")]
    members[1] = Member("db2", "db2-vm", "vm-2", "esx2", NONE)
    assert ("ha_restart", "db2", "c1") in [
        (one.code, one.node, one.where) for one in clusters.judge(members, False)
    ]


def test_a_cluster_that_cannot_be_read_is_a_hint_and_nothing_else_is_made_up() -> None:
    members = [Member("db1", "db1-vm", "vm-1", "esx1", None), Member("db2", "db2-vm", "vm-2", "esx2", None)]
    assert [(one.severity, one.code) for one in clusters.judge(members, False)] == [
        ("hint", "cluster_unread")
    ]


# -- who lies on a protected datastore --------------------------------------------------------------------------------


def test_vcenter_is_found_by_its_address_and_this_master_by_its_machine(
    vcenter: Vcenter, session: Session
) -> None:
    vcenter.add_vm(
        **vm(0, name="vc", uuid="4237bbbb-0000-0000-0000-00000000000c", instance_uuid="", power="poweredOn")
    )
    vcenter.guest("vc", address="192.0.2.7")
    wanted = [Marks("vCenter", ("vc.example.com",), ("192.0.2.7",)), Marks("this master", smbios=(BIOS[1],))]
    assert {(one.who, one.name) for one in keepers.find(session, wanted)} == {
        ("vCenter", "vc"),
        ("this master", "db2-vm"),
    }
    assert keepers.find(session, [Marks("vCenter", ("elsewhere",), ("192.0.2.8",))]) == []


def test_a_keeper_on_the_protected_datastore_is_told_and_one_elsewhere_is_not(
    vcenter: Vcenter, session: Session
) -> None:
    (stores,) = keepers.stores(session, [vcenter.vm("db1-vm")["ref"]]).values()
    assert set(stores) == {"ds1", "ds2"}
    here, there = (
        Keeper("vCenter", "vc", frozenset({stores["ds1"]})),
        Keeper("this master", "m", frozenset({stores["ds2"]})),
    )
    (told,) = keepers.judge([here, there], stores, [DISK])
    assert (told.severity, told.code, "of vCenter lies on the protected datastore ds1" in told.sentence) == (
        "warning",
        "keeper",
        True,
    )


def test_a_machine_that_is_no_vm_or_whose_uuid_we_may_not_read_has_no_marks(tmp_path: Path) -> None:
    vc, master = keepers.marks("127.0.0.1", 443, tmp_path / "none")
    assert (vc.names, vc.addresses, master.addresses, master.smbios) == ((), ["127.0.0.1"], [], ())
    (tmp_path / "uuid").write_text(BIOS[0].upper() + "\n")
    assert BIOS[0] in keepers.marks("127.0.0.1", 443, tmp_path / "uuid")[1].smbios


@pytest.mark.parametrize("privilege", [*privileges.ON_DATASTORES, *privileges.FOR_CLAIMS])
def test_each_privilege_on_a_datastore_that_is_lacking_is_named(
    vcenter: Vcenter, session: Session, privilege: str
) -> None:
    from tests.vsphere.world import USER

    (stores,) = keepers.stores(session, [vcenter.vm("db1-vm")["ref"]]).values()
    needed = {**privileges.ON_DATASTORES, **privileges.FOR_CLAIMS}
    assert privileges.check_datastores(session, stores, needed) == []
    vcenter.deny(USER, privilege)
    told = privileges.check_datastores(session, {"ds1": stores["ds1"]}, needed)
    assert [f"lacks {privilege} on the datastore ds1" in one.sentence for one in told] == [True]
