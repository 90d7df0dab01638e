"""
The contract of the Hypervisor port. Every test runs on the real adapter with the lab's vCenter and on the double in memory, so
that what is proved on the double holds for the real thing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.vsphere.stages import FakeStage, LabStage, Stage
from tests.vsphere.world import BIOS, DISK, NODES, SECOND
from vmdk_failover.model import Disk, Outcome, Power, Resource, Result, StepKind, VmFacts
from vmdk_failover.vsphere.hypervisor import VCenter
from vmdk_failover.vsphere.session import Session

A, B = NODES


@pytest.fixture(params=["memory", "lab"])
def stage(request: pytest.FixtureRequest) -> Stage:
    """The world, with the first node holding both disks."""
    if request.param == "memory":
        return FakeStage()
    sessions: Callable[..., Session] = request.getfixturevalue("new_session")
    adapter = VCenter(sessions(read_deadline=4.0))
    return LabStage(request.getfixturevalue("vcenter"), adapter, sessions())


def look(stage: Stage, resource: Resource) -> tuple[VmFacts, VmFacts]:
    """Both nodes' facts, as seen in one look."""
    facts = stage.hypervisor.observe(resource)
    assert facts.readable, facts.reason
    return facts.vm("db1"), facts.vm("db2")


def detach(stage: Stage, resource: Resource, *disks: Disk) -> Outcome:
    """Take disks out of the first node's VM as it is now."""
    return stage.hypervisor.detach(resource, A, look(stage, resource)[0], disks or resource.disks)


def attach(stage: Stage, resource: Resource, *disks: Disk) -> Outcome:
    """Give disks to the second node's VM as it is now."""
    return stage.hypervisor.attach(resource, B, look(stage, resource)[1], disks or resource.disks)


def ended(outcome: Outcome) -> tuple[Result, str]:
    """How it ended; the sentence is for people and not part of the contract, but there must be one."""
    assert outcome.evidence
    return outcome.result, outcome.code


def test_a_look_tells_who_lists_the_disk(stage: Stage, pgdata: Resource) -> None:
    first, second = look(stage, pgdata)
    assert (first.lists(DISK), second.lists(DISK)) == (True, False)
    assert (first.present, first.power, first.connected) == (True, Power.ON, True)
    assert (first.task, first.snapshot, first.heartbeat) == ("", False, "green")
    assert first.change_version and first.boot_time and first.ref
    assert (first.name, first.host, second.host) == ("db1-vm", "esx1", "esx2")
    assert set(first.slots or ()) == {(0, 7), (1, 7), (1, 0), (1, 1)}
    assert first.controllers == ((0, "pvscsi"), (1, "pvscsi"))


def test_a_disk_moves_with_its_mode_to_the_same_slot(stage: Stage, pair: Resource) -> None:
    before = {(d.path, d.bus, d.unit, d.mode, d.sharing) for d in look(stage, pair)[0].disks or ()}
    assert ended(detach(stage, pair)) == (Result.DONE, "")
    assert look(stage, pair)[0].lists(DISK) is False
    assert ended(attach(stage, pair)) == (Result.DONE, "")
    first, second = look(stage, pair)
    assert [second.lists(disk) for disk in pair.disks] == [True, True]
    assert {(d.path, d.bus, d.unit, d.mode, d.sharing) for d in second.disks or ()} == before
    assert first.disks == ()


def test_detaching_one_disk_leaves_the_others(stage: Stage, pgdata: Resource) -> None:
    assert ended(detach(stage, pgdata, DISK)) == (Result.DONE, "")
    first = look(stage, pgdata)[0]
    assert (first.lists(DISK), first.lists(SECOND)) == (False, True)


def test_the_outcome_names_the_step(stage: Stage, pgdata: Resource) -> None:
    outcome = detach(stage, pgdata)
    assert (outcome.step.kind, outcome.step.node) == (StepKind.DETACH, "db1")
    assert outcome.took >= 0


def test_a_running_holder_keeps_the_disk(stage: Stage, pgdata: Resource) -> None:
    assert ended(attach(stage, pgdata)) == (Result.FAILED, "locked_by_stranger")
    first, second = look(stage, pgdata)
    assert (first.lists(DISK), second.lists(DISK)) == (True, False)


def test_a_vm_outside_the_resource_keeps_the_disk(stage: Stage, pgdata: Resource) -> None:
    detach(stage, pgdata)
    stage.stranger_takes(DISK)
    assert ended(attach(stage, pgdata)) == (Result.FAILED, "locked_by_stranger")


def test_an_off_holder_does_not(stage: Stage, pgdata: Resource) -> None:
    first = look(stage, pgdata)[0]
    assert ended(stage.hypervisor.power_off(pgdata, A, first)) == (Result.DONE, "")
    assert ended(attach(stage, pgdata)) == (Result.DONE, "")
    first, second = look(stage, pgdata)
    assert (first.lists(DISK), second.lists(DISK)) == (True, True)
    assert ended(stage.hypervisor.detach(pgdata, A, first, pgdata.disks)) == (Result.DONE, "")
    assert look(stage, pgdata)[0].lists(DISK) is False


def test_power_is_read_back(stage: Stage, pgdata: Resource) -> None:
    first = look(stage, pgdata)[0]
    assert not first.is_off
    stage.hypervisor.power_off(pgdata, A, first)
    assert look(stage, pgdata)[0].is_off


def test_powering_off_twice_is_done(stage: Stage, pgdata: Resource) -> None:
    first = look(stage, pgdata)[0]
    stage.hypervisor.power_off(pgdata, A, first)
    assert ended(stage.hypervisor.power_off(pgdata, A, first)) == (Result.DONE, "")


def test_a_guest_that_halts_and_boots_is_seen(stage: Stage, pgdata: Resource) -> None:
    booted = look(stage, pgdata)[0].boot_time
    stage.guest_power(A, Power.OFF)
    assert look(stage, pgdata)[0].is_off
    stage.guest_power(A, Power.ON)
    first = look(stage, pgdata)[0]
    assert first.power is Power.ON and first.boot_time != booted


def test_a_change_since_the_look_stops_a_detach(stage: Stage, pgdata: Resource) -> None:
    first = look(stage, pgdata)[0]
    stage.touch(A)
    assert ended(stage.hypervisor.detach(pgdata, A, first, [DISK])) == (Result.FAILED, "version_conflict")
    assert look(stage, pgdata)[0].lists(DISK) is True


def test_a_change_since_the_look_stops_an_attach(stage: Stage, pgdata: Resource) -> None:
    detach(stage, pgdata)
    second = look(stage, pgdata)[1]
    stage.touch(B)
    assert ended(stage.hypervisor.attach(pgdata, B, second, [DISK])) == (Result.FAILED, "version_conflict")
    assert look(stage, pgdata)[1].lists(DISK) is False


def seal(stage: Stage, resource: Resource, seen: VmFacts, epoch: int = 7) -> Outcome:
    return stage.hypervisor.seal(resource, A, seen, epoch)


def test_a_seal_makes_every_earlier_request_impossible(stage: Stage, pgdata: Resource) -> None:
    first = look(stage, pgdata)[0]
    sealed = seal(stage, pgdata, first)
    assert ended(sealed) == (Result.DONE, "")
    assert (sealed.step.kind, sealed.step.node) == (StepKind.SEAL, "db1")
    assert ended(stage.hypervisor.detach(pgdata, A, first, [DISK])) == (Result.FAILED, "version_conflict")
    after = look(stage, pgdata)[0]
    assert after.change_version != first.change_version and after.lists(DISK) is True


def test_a_second_seal_of_the_same_epoch_changes_the_version_again(stage: Stage, pgdata: Resource) -> None:
    versions = []
    for _ in range(3):
        first = look(stage, pgdata)[0]
        versions.append(first.change_version)
        assert ended(seal(stage, pgdata, first)) == (Result.DONE, "")
    assert len(set(versions)) == 3


def test_a_seal_is_guarded_itself(stage: Stage, pgdata: Resource) -> None:
    first = look(stage, pgdata)[0]
    assert seal(stage, pgdata, replace(first, change_version="")).result is Result.FAILED
    stage.touch(A)
    assert ended(seal(stage, pgdata, first)) == (Result.FAILED, "version_conflict")


def test_a_seal_whose_answer_is_lost_is_unknown_and_seen(stage: Stage, pgdata: Resource) -> None:
    first = look(stage, pgdata)[0]
    stage.lose_answer()
    assert seal(stage, pgdata, first).result is Result.UNKNOWN
    assert look(stage, pgdata)[0].change_version != first.change_version


def test_each_change_changes_the_version(stage: Stage, pgdata: Resource) -> None:
    versions = [look(stage, pgdata)[0].change_version]
    stage.touch(A)
    versions.append(look(stage, pgdata)[0].change_version)
    detach(stage, pgdata)
    versions.append(look(stage, pgdata)[0].change_version)
    assert len(set(versions)) == 3


def test_a_lost_answer_is_unknown_and_the_next_look_tells(stage: Stage, pgdata: Resource) -> None:
    first = look(stage, pgdata)[0]
    stage.lose_answer()
    outcome = stage.hypervisor.detach(pgdata, A, first, [DISK])
    assert ended(outcome) == (Result.UNKNOWN, "outcome_unknown")
    assert look(stage, pgdata)[0].lists(DISK) is False


def test_a_power_on_runs_the_vm_and_again_is_done(stage: Stage, pgdata: Resource) -> None:
    stage.guest_power(B, Power.OFF)
    for _ in range(2):
        outcome = stage.hypervisor.power_on(pgdata, B, look(stage, pgdata)[1])
        assert (ended(outcome), outcome.step.kind) == ((Result.DONE, ""), StepKind.POWER_ON)
        assert look(stage, pgdata)[1].power is Power.ON


def test_a_vm_whose_disk_runs_elsewhere_does_not_start(stage: Stage, pgdata: Resource) -> None:
    stage.guest_power(A, Power.OFF)
    stage.stranger_takes(DISK)
    outcome = stage.hypervisor.power_on(pgdata, A, look(stage, pgdata)[0])
    assert ended(outcome) == (Result.FAILED, "locked_by_stranger")
    assert look(stage, pgdata)[0].power is Power.OFF


def test_a_lost_host_is_not_believed_and_not_changed(stage: Stage, pgdata: Resource) -> None:
    before = look(stage, pgdata)[0]
    stage.connect(A, False)
    first, second = look(stage, pgdata)
    assert (first.connected, first.is_off, second.connected) == (False, False, True)
    assert (first.host_connected, second.host_connected) == (False, True)
    assert ended(stage.hypervisor.power_off(pgdata, A, before)) == (Result.FAILED, "host_not_connected")
    stage.connect(A, True)
    assert look(stage, pgdata)[0].connected is True


def test_off_on_a_lost_host_is_not_off(stage: Stage, pgdata: Resource) -> None:
    stage.guest_power(A, Power.OFF)
    stage.connect(A, False)
    first = look(stage, pgdata)[0]
    assert first.power is Power.OFF and not first.is_off


def test_a_vm_that_its_host_does_not_reach_is_not_believed_and_not_changed(
    stage: Stage, pgdata: Resource
) -> None:
    stage.guest_power(A, Power.OFF)
    stage.reach(A, False)
    first, second = look(stage, pgdata)
    assert (first.connected, first.host_connected, first.is_off) == (False, True, False)
    assert (second.connected, second.host_connected) == (True, True)
    assert ended(detach(stage, pgdata)) == (Result.FAILED, "vm_state")
    stage.reach(A, True)
    first = look(stage, pgdata)[0]
    assert (first.connected, first.is_off, first.lists(DISK)) == (True, True, True)


def test_a_suspended_vm_is_not_off_and_lets_go_of_nothing(stage: Stage, pgdata: Resource) -> None:
    stage.suspend(A)
    first = look(stage, pgdata)[0]
    assert (first.power, first.is_off) == (Power.SUSPENDED, False)
    assert ended(detach(stage, pgdata)) == (Result.FAILED, "power_state")
    assert look(stage, pgdata)[0].lists(DISK) is True
    assert ended(stage.hypervisor.power_off(pgdata, A, look(stage, pgdata)[0])) == (Result.DONE, "")
    assert look(stage, pgdata)[0].is_off
    assert ended(detach(stage, pgdata)) == (Result.DONE, "")


def test_a_suspended_vm_does_not_keep_the_disk_from_others(stage: Stage, pgdata: Resource) -> None:
    """That is why it has to be off: nothing else keeps both from writing, once it is resumed."""
    stage.suspend(A)
    assert ended(attach(stage, pgdata)) == (Result.DONE, "")


def test_a_question_is_told_with_its_kind_until_it_is_answered(stage: Stage, pgdata: Resource) -> None:
    for text, full in (("Have you moved it?", False), ("There is no more space. Retry?", True), ("", False)):
        stage.ask(A, text, full)
        first, second = look(stage, pgdata)
        assert (first.question, first.full) == (text, full)
        assert (second.question, second.full) == ("", False)


def test_each_machine_is_known_by_its_own_uuid(stage: Stage, pgdata: Resource) -> None:
    assert [vm.smbios for vm in look(stage, pgdata)] == list(BIOS)


def test_what_else_ran_on_a_lost_host_is_asked_for_where_that_host_may_be_fenced(
    stage: Stage, pgdata: Resource
) -> None:
    fenced = replace(pgdata, host_fence="own.off")
    assert [vm.beside for vm in look(stage, fenced)] == [None, None]
    stage.neighbour(A, "web1", Power.ON)
    stage.neighbour(A, "spare", Power.OFF)
    stage.connect(A, False)
    assert look(stage, pgdata)[0].beside is None
    first, second = look(stage, fenced)
    assert first.beside is not None and [name for name, _ in first.beside] == ["web1"]
    assert (first.hosts, second.beside, second.hosts) == ((1, 2), None, None)


def test_an_unreadable_vcenter_says_so(stage: Stage, pgdata: Resource) -> None:
    first = look(stage, pgdata)[0]
    stage.refuse_to_answer()
    facts = stage.hypervisor.observe(pgdata)
    assert (facts.readable, facts.vms) == (False, ())
    assert facts.reason
    assert facts.vm("db1").lists(DISK) is None
    assert stage.hypervisor.detach(pgdata, A, first, [DISK]).result is not Result.DONE


def test_a_deleted_vm_is_absent(stage: Stage, pgdata: Resource) -> None:
    look(stage, pgdata)
    stage.delete(B)
    first, second = look(stage, pgdata)
    assert (first.present, second.present, second.lists(DISK)) == (True, False, False)


def test_two_vms_with_one_uuid_are_unknown(stage: Stage, pgdata: Resource) -> None:
    stage.clone(B)
    first, second = look(stage, pgdata)
    assert (first.present, second.present, second.lists(DISK)) == (True, None, None)
    outcome = stage.hypervisor.attach(pgdata, B, second, [DISK])
    assert ended(outcome) == (Result.FAILED, "refused")


def test_another_disk_of_that_name_is_left_alone(stage: Stage, pgdata: Resource) -> None:
    impostor = replace(DISK, uuid="0" * 32)
    assert look(stage, pgdata)[0].lists(impostor) is None
    assert ended(detach(stage, pgdata, impostor)) == (Result.FAILED, "refused")
    assert look(stage, pgdata)[0].lists(DISK) is True


def test_a_taken_slot_is_refused(stage: Stage, pgdata: Resource) -> None:
    detach(stage, pgdata, DISK, SECOND)
    attach(stage, pgdata, replace(SECOND, unit=0))
    assert ended(attach(stage, pgdata, DISK)) == (Result.FAILED, "slot_taken")


def test_the_controllers_own_unit_is_refused(stage: Stage, pgdata: Resource) -> None:
    detach(stage, pgdata)
    assert ended(attach(stage, pgdata, replace(DISK, unit=7))) == (Result.FAILED, "slot_taken")


@pytest.mark.parametrize("wanted", [replace(DISK, bus=3), replace(DISK, controller="lsilogic")])
def test_a_missing_or_other_controller_is_refused(stage: Stage, pgdata: Resource, wanted: Disk) -> None:
    detach(stage, pgdata)
    assert ended(attach(stage, pgdata, wanted)) == (Result.FAILED, "controller")


def test_a_snapshot_keeps_the_disk(stage: Stage, pgdata: Resource) -> None:
    stage.snapshot(A)
    first, second = look(stage, pgdata)
    assert (first.snapshot, second.snapshot) == (True, False)
    assert ended(stage.hypervisor.detach(pgdata, A, first, [DISK])) == (Result.FAILED, "snapshot")


def test_a_snapshot_does_not_keep_an_independent_disk(stage: Stage, pgdata: Resource) -> None:
    independent = replace(pgdata, disks=(SECOND,))
    stage.snapshot(A)
    assert look(stage, independent)[0].snapshot is False
    assert ended(detach(stage, independent)) == (Result.DONE, "")


def test_a_disk_that_came_after_the_snapshot_may_leave(stage: Stage, pgdata: Resource) -> None:
    stage.snapshot(B)
    detach(stage, pgdata)
    attach(stage, pgdata)
    second = look(stage, pgdata)[1]
    assert (second.lists(DISK), second.snapshot) == (True, False)
    assert ended(stage.hypervisor.detach(pgdata, B, second, [DISK])) == (Result.DONE, "")


def test_the_heartbeat_is_passed_on(stage: Stage, pgdata: Resource) -> None:
    stage.heartbeat(A, "red")
    first, second = look(stage, pgdata)
    assert (first.heartbeat, second.heartbeat) == ("red", "green")


def test_somebodys_task_is_seen_and_not_disturbed(stage: Stage, pgdata: Resource) -> None:
    with stage.task_running(A):
        deadline = 500
        while not (first := look(stage, pgdata)[0]).task:
            assert (deadline := deadline - 1), "the task never showed"
        assert look(stage, pgdata)[1].task == ""
        assert ended(stage.hypervisor.detach(pgdata, A, first, [DISK])) == (Result.FAILED, "busy")
    assert look(stage, pgdata)[0].task == ""


def test_nothing_is_sent_without_a_look(stage: Stage, pgdata: Resource) -> None:
    never_seen = VmFacts(minion="db1")
    for act in (
        stage.hypervisor.power_off(pgdata, A, never_seen),
        stage.hypervisor.detach(pgdata, A, never_seen, [DISK]),
        stage.hypervisor.attach(pgdata, A, never_seen, [DISK]),
    ):
        assert ended(act) == (Result.FAILED, "refused")


def test_a_look_without_version_moves_nothing(stage: Stage, pgdata: Resource) -> None:
    blurred = replace(look(stage, pgdata)[0], change_version="")
    assert ended(stage.hypervisor.detach(pgdata, A, blurred, [DISK])) == (Result.FAILED, "refused")


def test_facts_of_another_node_move_nothing(stage: Stage, pgdata: Resource) -> None:
    second = look(stage, pgdata)[1]
    assert ended(stage.hypervisor.power_off(pgdata, A, second)) == (Result.FAILED, "refused")
    assert look(stage, pgdata)[1].power is Power.ON
