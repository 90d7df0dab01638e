"""The role of docs/quickstart.md: made by the commands as they are printed, and all that the account needs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyVmomi import vim

from lab.hypervisor import Vcenter
from tests.packaging import pages
from tests.vsphere.test_editing import Desk
from tests.vsphere.test_examine import Clinic
from tests.vsphere.test_writes import attach, detach, power_off, power_on, seal
from tests.vsphere.world import DISK, PASSWORD, USER
from vmdk_failover.commands import editing, protect
from vmdk_failover.errors import FailoverError
from vmdk_failover.model import Resource, Result
from vmdk_failover.vsphere.claims import DatastoreShelf
from vmdk_failover.vsphere.hypervisor import VCenter
from vmdk_failover.vsphere.session import Login, Session

ROOT = Path(__file__).parents[2]
PAGE = (pages.DOCS / "quickstart.md").read_text(encoding="utf-8")
#: What each role has, whatever it is given.
ALWAYS = {"System.Anonymous", "System.Read", "System.View"}


def printed() -> list[list[str]]:
    """The lines of the page that begin with govc, as words."""
    blocks = [body.replace("\\\n", " ") for body in pages.fences(PAGE, "console")]
    return [shlex.split(line[2:]) for body in blocks for line in body.splitlines() if line[:7] == "$ govc "]


def role() -> set[str]:
    """The privileges that the page gives to the role."""
    (made,) = [words for words in printed() if words[1] == "role.create"]
    return set(made[3:])


def known() -> set[str]:
    """Every privilege that the lab's vCenter asks for before it does something."""
    rules = (ROOT / "lab" / "vcenter" / "rules.go").read_text(encoding="utf-8")
    return set(re.findall(r'"([A-Z]\w+(?:\.[A-Z]\w+)+)"', rules))


# -- the commands


@pytest.fixture(scope="module")
def govc() -> Path:
    """The commands of govc that the page prints, built from govc's own packages."""
    made = ["scripts/go.sh", "--build"]
    subprocess.run(made, cwd=ROOT, env={"GOFLAGS": "-p=2", **os.environ, "MODULE": "govc"}, check=True)
    return ROOT / "build" / "bin" / "lab-govc"


@pytest.fixture
def named(vcenter: Vcenter, session: Session) -> Vcenter:
    """The lab's vCenter with the names that the page uses."""

    def name(login: Login) -> None:
        (datacenter,) = login.content.rootFolder.childEntity
        (cluster,) = datacenter.hostFolder.childEntity
        datacenter.vmFolder.CreateFolder("databases")
        for one, called in ((datacenter, "DC"), (cluster, "cluster1")):
            assert isinstance(one.Rename_Task(called), vim.Task)

    session.read(name)
    return vcenter


@pytest.mark.timeout(600)  # where nothing of it has been built yet
def test_the_printed_commands_make_the_role_and_give_it_to_the_account(named: Vcenter, govc: Path) -> None:
    url = f"https://{named.host}:{named.port}/sdk"
    given = {"GOVC_URL": url, "GOVC_USERNAME": USER, "GOVC_PASSWORD": PASSWORD, "GOVC_INSECURE": "1"}

    def typed(*words: str) -> str:
        done = subprocess.run(
            [govc, *words], env={**os.environ, **given}, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    for words in printed():
        typed(*words[1:])
    assert set(typed("role.ls", "vmdk-failover").split()) == role() | ALWAYS
    for place, wanted in (
        ("/DC/vm/databases", "vmdk-failover"),
        ("/DC/datastore/ds1", "vmdk-failover"),
        ("/DC/host/cluster1", "ReadOnly"),
    ):
        mine = [row.split() for row in typed("permissions.ls", place).splitlines() if f" {USER} " in row]
        assert [(row[0], row[-1]) for row in mine] == [(wanted, "Yes")], place


# -- what the role is enough for


@pytest.fixture
def exactly(vcenter: Vcenter) -> Iterator[Vcenter]:
    """The account has the role and nothing else."""
    others = known() - role()
    assert role() <= known() and len(others) > 10
    vcenter.deny(USER, *others)
    yield vcenter
    vcenter.deny(USER)


@pytest.mark.parametrize("fenced", [False, True])
def test_it_is_enough_for_a_move(exactly: Vcenter, hypervisor: VCenter, pair: Resource, fenced: bool) -> None:
    steps = [*([power_off] if fenced else []), seal, detach, attach]
    for step in steps:
        done = step(hypervisor, pair)
        assert done.result is Result.DONE, (step.__name__, done.evidence)
    seen = hypervisor.observe(pair)
    assert seen.vm("db2").lists(DISK) is True and seen.vm("db1").disks == ()


def test_it_is_enough_for_protect(exactly: Vcenter, tmp_path: Path) -> None:
    desk = Desk(exactly, tmp_path)
    try:
        editing.unprotect(desk.app(), "pgdata")
        assert protect.protect(desk.app(), "pgdata", "db1", "/srv/pgdata", ["db2"], {})["written"]
    finally:
        desk.close()


def test_it_is_all_that_doctor_asks_for(exactly: Vcenter, tmp_path: Path) -> None:
    clinic = Clinic(exactly, tmp_path)
    try:
        assert [(one["severity"], one["code"]) for one in clinic.findings()] == [("hint", "disk_mode")]
    finally:
        clinic.close()


def test_an_option_needs_the_privilege_of_its_own_row(
    exactly: Vcenter, hypervisor: VCenter, session: Session, pgdata: Resource
) -> None:
    """Powering on, for ``fence_action: reboot``, and the folders of ``claims: vcenter``."""
    exactly.guest_power("db2-vm", "poweredOff")
    shelf = DatastoreShelf(session, pgdata)
    assert power_on(hypervisor, pgdata).code == "no_permission"
    with pytest.raises(FailoverError) as refused:
        shelf.make("1")
    assert refused.value.code == "no_permission"
    exactly.deny(USER, *known() - role() - {"VirtualMachine.Interact.PowerOn", "Datastore.FileManagement"})
    assert power_on(hypervisor, pgdata).result is Result.DONE
    assert shelf.make("1") is True
