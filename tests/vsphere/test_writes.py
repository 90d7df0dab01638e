"""Writes on the lab's vCenter: sent once, told apart when they fail, unknown when their answer is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from lab.hypervisor import Vcenter
from tests.vsphere.world import DISK, NODES, USER, vm
from vmdk_failover.model import Outcome, Power, Resource, Result, Timeouts
from vmdk_failover.vsphere.hypervisor import VCenter
from vmdk_failover.vsphere.session import Session

A, B = NODES
Act = Callable[[VCenter, Resource], Outcome]


def detach(hypervisor: VCenter, resource: Resource) -> Outcome:
    """Take the disks out of the first node's VM."""
    return hypervisor.detach(resource, A, hypervisor.observe(resource).vm("db1"), resource.disks)


def attach(hypervisor: VCenter, resource: Resource) -> Outcome:
    """Give the disks to the second node's VM."""
    return hypervisor.attach(resource, B, hypervisor.observe(resource).vm("db2"), resource.disks)


def power_off(hypervisor: VCenter, resource: Resource) -> Outcome:
    """Fence the first node."""
    return hypervisor.power_off(resource, A, hypervisor.observe(resource).vm("db1"))


def seal(hypervisor: VCenter, resource: Resource) -> Outcome:
    """Make every earlier request to the second node's VM impossible."""
    return hypervisor.seal(resource, B, hypervisor.observe(resource).vm("db2"), 7)


def power_on(hypervisor: VCenter, resource: Resource) -> Outcome:
    """Start the second node's VM."""
    return hypervisor.power_on(resource, B, hypervisor.observe(resource).vm("db2"))


def sent(vcenter: Vcenter, method: str) -> int:
    """How often a method was called."""
    return int(vcenter.calls()["methods"].get(method, 0))


@pytest.mark.parametrize(
    ("act", "method"),
    [(detach, "ReconfigVM_Task"), (power_off, "PowerOffVM_Task")],
    ids=["detach", "power_off"],
)
@pytest.mark.parametrize(("mode", "happened"), [("dropreply", True), ("drop", False), ("503", False)])
def test_a_lost_answer_is_unknown_and_never_repeated(
    vcenter: Vcenter, hypervisor: VCenter, pgdata: Resource, act: Act, method: str, mode: str, happened: bool
) -> None:
    hypervisor.observe(pgdata)
    vcenter.net(mode, 1, method)
    outcome = act(hypervisor, pgdata)
    assert (outcome.result, outcome.code) == (Result.UNKNOWN, "outcome_unknown")
    assert sent(vcenter, method) == (1 if happened else 0)
    first = hypervisor.observe(pgdata).vm("db1")
    assert (first.lists(DISK) is False or first.power is Power.OFF) is happened


@pytest.mark.parametrize(
    ("act", "method"),
    [(attach, "ReconfigVM_Task"), (seal, "ReconfigVM_Task"), (power_on, "PowerOnVM_Task")],
    ids=["attach", "seal", "power_on"],
)
@pytest.mark.parametrize(("mode", "happened"), [("dropreply", True), ("drop", False), ("503", False)])
def test_a_lost_answer_about_the_target_is_unknown_and_never_repeated(
    vcenter: Vcenter, hypervisor: VCenter, pgdata: Resource, act: Act, method: str, mode: str, happened: bool
) -> None:
    detach(hypervisor, pgdata)
    if act is power_on:
        vcenter.guest_power("db2-vm", "poweredOff")
    before, already = hypervisor.observe(pgdata).vm("db2"), sent(vcenter, method)
    vcenter.net(mode, 1, method)
    outcome = act(hypervisor, pgdata)
    assert (outcome.result, outcome.code) == (Result.UNKNOWN, "outcome_unknown")
    assert sent(vcenter, method) - already == (1 if happened else 0)
    after = hypervisor.observe(pgdata).vm("db2")
    done = {
        attach: after.lists(DISK) is True,
        seal: after.change_version != before.change_version,
        power_on: after.power is Power.ON,
    }
    assert done[act] is happened


def test_a_power_on_without_resources_says_so(
    vcenter: Vcenter, hypervisor: VCenter, pgdata: Resource
) -> None:
    vcenter.guest_power("db2-vm", "poweredOff")
    vcenter.fault("PowerOnVM_Task", "InsufficientHostCapacityFault", where="task")
    outcome = power_on(hypervisor, pgdata)
    assert (outcome.result, outcome.code) == (Result.FAILED, "no_resources")
    assert hypervisor.observe(pgdata).vm("db2").power is Power.OFF


def test_a_write_that_hangs_is_unknown_at_its_deadline(
    vcenter: Vcenter, hypervisor: VCenter, pgdata: Resource
) -> None:
    hurried = replace(pgdata, timeouts=Timeouts(detach=1.0))
    hypervisor.observe(pgdata)
    vcenter.net("hang", 1, "ReconfigVM_Task")
    begin = time.monotonic()
    assert detach(hypervisor, hurried).result is Result.UNKNOWN
    assert 0.9 < time.monotonic() - begin < 2


def test_a_task_that_is_not_over_is_unknown_at_its_deadline(
    vcenter: Vcenter, hypervisor: VCenter, pgdata: Resource
) -> None:
    vcenter.delays(detach=1500)
    outcome = detach(hypervisor, replace(pgdata, timeouts=Timeouts(detach=0.5)))
    assert (outcome.result, outcome.code) == (Result.UNKNOWN, "outcome_unknown")
    assert 0.3 < outcome.took < 1
    seen = hypervisor.observe(pgdata).vm("db1")
    assert seen.task and seen.lists(DISK) is True


def test_a_lost_poll_does_not_lose_the_outcome(
    vcenter: Vcenter, hypervisor: VCenter, pgdata: Resource
) -> None:
    hypervisor.observe(pgdata)
    first = hypervisor.observe(pgdata).vm("db1")
    vcenter.delays(detach=300)
    vcenter.net("drop", 1, "RetrievePropertiesEx")
    assert hypervisor.detach(pgdata, A, first, [DISK]).result is Result.DONE


def test_a_login_that_expires_meanwhile_does_not_lose_the_outcome(
    vcenter: Vcenter, hypervisor: VCenter, pgdata: Resource
) -> None:
    first = hypervisor.observe(pgdata).vm("db1")
    vcenter.fault("RetrievePropertiesEx", "NotAuthenticated")
    assert hypervisor.detach(pgdata, A, first, [DISK]).result is Result.DONE


def test_a_silent_vcenter_after_the_task_began_is_unknown(
    vcenter: Vcenter, hypervisor: VCenter, pgdata: Resource
) -> None:
    hurried = replace(pgdata, timeouts=Timeouts(detach=1.5))
    first = hypervisor.observe(pgdata).vm("db1")
    vcenter.net("503", 0, "RetrievePropertiesEx")
    outcome = hypervisor.detach(hurried, A, first, [DISK])
    assert (outcome.result, outcome.code) == (Result.UNKNOWN, "outcome_unknown")


@pytest.mark.parametrize("where", ["call", "task"])
@pytest.mark.parametrize(
    ("fault", "text", "result", "code"),
    [
        ("TaskInProgress", "", Result.FAILED, "busy"),
        ("ConcurrentAccess", "", Result.FAILED, "version_conflict"),
        ("FileLocked", "", Result.FAILED, "locked_by_stranger"),
        (
            "GenericVmConfigFault",
            "Unable to access file since it is locked",
            Result.FAILED,
            "locked_by_stranger",
        ),
        ("GenericVmConfigFault", "The block device is full", Result.FAILED, "step_failed"),
        ("InvalidState", "", Result.FAILED, "vm_state"),
        ("ResourceInUse", "", Result.FAILED, "locked_by_stranger"),
        ("TooManyDevices", "", Result.FAILED, "device_refused"),
        ("HostCommunication", "", Result.UNKNOWN, "outcome_unknown"),
        ("SystemError", "", Result.UNKNOWN, "outcome_unknown"),
        ("Timedout", "", Result.UNKNOWN, "outcome_unknown"),
        ("RequestCanceled", "", Result.UNKNOWN, "outcome_unknown"),
    ],
)
def test_faults_are_told_apart(
    vcenter: Vcenter,
    hypervisor: VCenter,
    pgdata: Resource,
    fault: str,
    text: str,
    result: Result,
    code: str,
    where: str,
) -> None:
    vcenter.fault("ReconfigVM_Task", fault, where=where, text=text)
    outcome = detach(hypervisor, pgdata)
    assert (outcome.result, outcome.code) == (result, code)
    assert "db1" in outcome.evidence and text in outcome.evidence
    assert len(outcome.evidence.splitlines()) == 1
    assert sent(vcenter, "ReconfigVM_Task") == 1


def test_a_missing_privilege_is_named(vcenter: Vcenter, hypervisor: VCenter, pgdata: Resource) -> None:
    vcenter.deny(USER, "VirtualMachine.Config.RemoveDisk")
    outcome = detach(hypervisor, pgdata)
    assert (outcome.result, outcome.code) == (Result.FAILED, "no_permission")
    assert "VirtualMachine.Config.RemoveDisk" in outcome.evidence
    assert hypervisor.observe(pgdata).vm("db1").lists(DISK) is True


def test_two_disks_move_together_or_not_at_all(vcenter: Vcenter, hypervisor: VCenter, pair: Resource) -> None:
    assert detach(hypervisor, pair).result is Result.DONE
    assert attach(hypervisor, pair).result is Result.DONE
    assert sent(vcenter, "ReconfigVM_Task") == 2
    second = hypervisor.observe(pair).vm("db2")
    assert [second.lists(disk) for disk in pair.disks] == [True, True]


def test_one_bad_disk_of_two_moves_none(hypervisor: VCenter, pair: Resource) -> None:
    detach(hypervisor, pair)
    missing = replace(DISK, path="[ds1] shared/missing.vmdk", uuid="f" * 32, unit=2)
    second = hypervisor.observe(pair).vm("db2")
    outcome = hypervisor.attach(pair, B, second, [DISK, missing])
    assert (outcome.result, outcome.code) == (Result.FAILED, "file_not_found")
    assert hypervisor.observe(pair).vm("db2").disks == ()


def test_the_file_outlives_the_detach(vcenter: Vcenter, hypervisor: VCenter, pgdata: Resource) -> None:
    for _ in range(2):
        assert detach(hypervisor, pgdata).result is Result.DONE
        assert attach(hypervisor, pgdata).result is Result.DONE
        second = hypervisor.observe(pgdata).vm("db2")
        assert hypervisor.detach(pgdata, B, second, pgdata.disks).result is Result.DONE
        first = hypervisor.observe(pgdata).vm("db1")
        assert hypervisor.attach(pgdata, A, first, pgdata.disks).result is Result.DONE
    assert hypervisor.observe(pgdata).vm("db1").lists(DISK) is True


@pytest.mark.parametrize(
    ("mode", "sharing"), [("independent_persistent", "sharingNone"), ("persistent", "sharingMultiWriter")]
)
def test_mode_and_sharing_are_kept(hypervisor: VCenter, pgdata: Resource, mode: str, sharing: str) -> None:
    detach(hypervisor, pgdata)
    wanted = replace(DISK, mode=mode, sharing=sharing)
    second = hypervisor.observe(pgdata).vm("db2")
    assert hypervisor.attach(pgdata, B, second, [wanted]).result is Result.DONE
    mine = (hypervisor.observe(pgdata).vm("db2").disks or ())[0]
    assert (mine.mode, mine.sharing) == (mode, sharing)


def test_facts_of_another_process_do_not_attach(
    session: Session, hypervisor: VCenter, pgdata: Resource
) -> None:
    detach(hypervisor, pgdata)
    second = hypervisor.observe(pgdata).vm("db2")
    outcome = VCenter(session).attach(pgdata, B, second, [DISK])
    assert (outcome.result, outcome.code) == (Result.FAILED, "refused")


def test_a_write_without_a_connection_was_not_sent(
    vcenter: Vcenter, session: Session, hypervisor: VCenter, pgdata: Resource
) -> None:
    first = hypervisor.observe(pgdata).vm("db1")
    session.read(lambda login: login.stub.DropConnections())
    vcenter.stop()
    outcome = hypervisor.detach(pgdata, A, first, [DISK])
    assert (outcome.result, outcome.code) == (Result.FAILED, "unreadable")
    assert "nothing was sent" in outcome.evidence


def test_duplicates_are_named(vcenter: Vcenter, hypervisor: VCenter, pgdata: Resource) -> None:
    vcenter.add_vm(**vm(0, name="clone"))
    first = hypervisor.observe(pgdata).vm("db1")
    assert (first.copies, first.present) == (2, None)


def test_a_suspended_vm_is_fenced(
    vcenter: Vcenter, session: Session, hypervisor: VCenter, pgdata: Resource
) -> None:
    from vmdk_failover.vsphere import tasks

    ref = vcenter.vm("db1-vm")["ref"]
    tasks.run(session, ref, "suspending", lambda vm: vm.SuspendVM_Task(), 10)
    assert hypervisor.observe(pgdata).vm("db1").power is Power.SUSPENDED
    assert power_off(hypervisor, pgdata).result is Result.DONE
    assert hypervisor.observe(pgdata).vm("db1").is_off
