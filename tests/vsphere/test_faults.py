"""Faults as errors: by type and message key, in every language."""

from __future__ import annotations

from typing import Any

import pytest
from pyVmomi import vim, vmodl

from vmdk_failover.errors import LockedByStranger, OutcomeUnknown, StepFailed, VersionConflict
from vmdk_failover.vsphere.faults import error_of, sentence_of


def said(kind: Any, *messages: tuple[str, str], **other: Any) -> Any:
    """A fault with (key, text) messages."""
    return kind(
        faultMessage=[vmodl.LocalizableMessage(key=key, message=text) for key, text in messages], **other
    )


CONFIG = vim.fault.GenericVmConfigFault


@pytest.mark.parametrize(
    "fault",
    [
        vim.fault.FileLocked(file="[ds1] a.vmdk"),
        vim.fault.ResourceInUse(name="[ds1] a.vmdk"),
        said(
            vim.fault.ResourceInUse, ("", "Unable to access file [ds1] a.vmdk since it is locked"), name="a"
        ),
        said(CONFIG, ("msg.fileio.lock", "Die Datei konnte nicht gesperrt werden")),
        said(CONFIG, ("", "Failed to lock the file")),
        CONFIG(reason="Unable to access file [ds1] a.vmdk since it is locked"),
    ],
)
def test_locks(fault: Any) -> None:
    assert isinstance(error_of(fault, "attaching", ran=True), LockedByStranger)


@pytest.mark.parametrize(
    "fault",
    [
        CONFIG(reason="The block device is unlockable"),
        said(CONFIG, ("msg.disk.blocked", "blocked")),
        vim.fault.InvalidState(msg="locked"),
        said(CONFIG, ("msg.disk.hotadd.Failed", "Failed to add disk 'scsi1:0'.")),
    ],
)
def test_what_only_sounds_like_a_lock(fault: Any) -> None:
    assert type(error_of(fault, "attaching", ran=True)) is StepFailed


def test_versions() -> None:
    assert isinstance(error_of(vim.fault.ConcurrentAccess(), "attaching", ran=True), VersionConflict)


def test_a_host_that_is_known_to_be_lost_did_nothing() -> None:
    fault = vmodl.fault.HostNotConnected()
    assert error_of(fault, "fencing", ran=False).code == "host_not_connected"
    assert isinstance(error_of(fault, "fencing", ran=True), OutcomeUnknown)


@pytest.mark.parametrize(
    "kind", [vmodl.fault.HostCommunication, vmodl.fault.HostNotReachable, vmodl.fault.SystemError]
)
@pytest.mark.parametrize("ran", [False, True])
def test_faults_that_leave_it_open(kind: Any, ran: bool) -> None:
    assert isinstance(error_of(kind(), "fencing", ran=ran), OutcomeUnknown)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (vim.fault.InvalidPowerState(existingState="poweredOff"), "already_off"),
        (vim.fault.InvalidPowerState(existingState="poweredOn"), "already_on"),
        (vim.fault.InvalidPowerState(existingState="suspended"), "power_state"),
        (vim.fault.InvalidState(), "vm_state"),
        (vim.fault.InvalidHostState(), "vm_state"),
        (vim.fault.QuestionPending(text="moved?"), "vm_state"),
        (vim.fault.InvalidDatastoreState(), "datastore"),
        (vim.fault.TooManyDevices(), "device_refused"),
        (vim.fault.DeviceNotFound(), "device_refused"),
        (vim.fault.InvalidController(), "controller"),
        (vim.fault.InvalidDatastorePath(), "datastore"),
        (vim.fault.NoDiskSpace(), "no_space"),
        (vim.fault.InsufficientHostCapacityFault(), "no_resources"),
        (vim.fault.InvalidPowerState(), "power_state"),
        (vim.fault.NotAuthenticated(), "unreadable"),
        (vim.fault.NoPermission(privilegeId="x"), "no_permission"),
        (vim.fault.TaskInProgress(), "busy"),
        (vim.fault.FileNotFound(), "file_not_found"),
        (vmodl.fault.ManagedObjectNotFound(), "vm_gone"),
        (said(vim.fault.InvalidDeviceSpec, ("", "The disk is part of a snapshot")), "snapshot"),
        (
            said(CONFIG, ("", "Cannot open the disk 'a' or one of the snapshot disks it depends on.")),
            "step_failed",
        ),
        (vim.fault.InvalidDeviceSpec(), "device_refused"),
        (None, "step_failed"),
    ],
)
def test_codes(fault: Any, code: str) -> None:
    assert error_of(fault, "moving", ran=False).code == code


def test_a_sentence_is_one_line_and_says_nothing_twice() -> None:
    fault = said(
        CONFIG, ("a", "Failed to\n  lock the file."), ("b", "Failed to lock the file"), msg="It went wrong."
    )
    assert sentence_of(fault) == "It went wrong; Failed to lock the file (GenericVmConfigFault)"


def test_a_silent_fault_is_named() -> None:
    assert sentence_of(vim.fault.ConcurrentAccess()) == "ConcurrentAccess"


def test_the_missing_privilege_is_named() -> None:
    assert "VirtualMachine.Config.RemoveDisk" in sentence_of(
        vim.fault.NoPermission(privilegeId="VirtualMachine.Config.RemoveDisk")
    )
