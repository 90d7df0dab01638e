"""
vCenter's faults as the product's errors. Pure.

A fault is told by its type and its message keys, which do not depend on the language; its text is only for
the sentence.
"""

from __future__ import annotations

import re
from typing import Any

from pyVmomi import vim, vmodl

from vmdk_failover.errors import (
    Busy,
    FailoverError,
    LockedByStranger,
    OutcomeUnknown,
    StepFailed,
    VersionConflict,
)

#: A task that ends with one of these may have done its work all the same: the host did it and could not say
#: so.
_UNCERTAIN = (
    vmodl.fault.HostCommunication,
    vmodl.fault.RequestCanceled,
    vmodl.fault.SystemError,
    vim.fault.Timedout,
)

#: Codes of faults that mean a plain refusal; the first that fits counts, so narrow types come first.
_CODES: tuple[tuple[Any, str], ...] = (
    (vim.fault.NotAuthenticated, "unreadable"),
    (vim.fault.NoPermission, "no_permission"),
    (vim.fault.ConcurrentAccess, VersionConflict.code),
    (vim.fault.TaskInProgress, Busy.code),
    (vmodl.fault.HostCommunication, "host_not_connected"),
    (vim.fault.InvalidPowerState, "power_state"),
    (vim.fault.InvalidDatastoreState, "datastore"),
    (vim.fault.InvalidState, "vm_state"),
    (vim.fault.InvalidController, "controller"),
    (vim.fault.InvalidDeviceSpec, "device_refused"),
    (vim.fault.TooManyDevices, "device_refused"),
    (vim.fault.InvalidDatastore, "datastore"),
    (vim.fault.NoDiskSpace, "no_space"),
    (vim.fault.InsufficientResourcesFault, "no_resources"),
    (vim.fault.FileNotFound, "file_not_found"),
    (vmodl.fault.ManagedObjectNotFound, "vm_gone"),
)

_ALREADY = {"poweredOff": "already_off", "poweredOn": "already_on"}

#: What to do about some of them.
_ADVICE = {
    LockedByStranger.code: "find the VM or backup that has the file open",
    VersionConflict.code: "the VM changed meanwhile, look again",
    Busy.code: "wait for the VM's task to end",
    "no_permission": "grant it to vCenter's account",
    "host_not_connected": "bring the host back",
    "file_not_found": "look for the file on its datastore",
    "snapshot": "remove the VM's snapshots",
    "datastore": "connect the datastore to the VM's host",
    "no_space": "make space on the datastore",
    "no_resources": "free resources for the VM, or start it by hand",
}

#: "locked", "failed to lock", the key ``msg.fileio.lock``; not "block".
_LOCK = re.compile(r"\block(ed)?\b")


def error_of(fault: Any, doing: str, ran: bool) -> FailoverError:
    """
    Translate the fault of a write.

    :param doing: what was tried, the beginning of the sentence.
    :param ran: the fault ended a task; otherwise the call itself was refused and no task began.
    :return: :class:`OutcomeUnknown` if the work may have been done, else a :class:`StepFailed` with a telling
        code.
    """
    text = f"{doing}: {sentence_of(fault)}"
    if isinstance(fault, _UNCERTAIN) and (ran or not isinstance(fault, vmodl.fault.HostNotConnected)):
        return OutcomeUnknown(text)
    code = code_of(fault)
    advised = f"{text}; {_ADVICE[code]}" if code in _ADVICE else text
    kind = next((kind for kind in (LockedByStranger, VersionConflict) if kind.code == code), StepFailed)
    return kind(advised, code)


def code_of(fault: Any) -> str:
    """The stable code of a fault that refused something."""
    if is_lock(fault):
        return LockedByStranger.code
    if is_snapshot(fault):
        return "snapshot"
    if isinstance(fault, vim.fault.InvalidPowerState):
        return _ALREADY.get(str(fault.existingState), "power_state")
    return next((code for kind, code in _CODES if isinstance(fault, kind)), StepFailed.code)


def is_lock(fault: Any) -> bool:
    """Whether another VM holds the file: said by type on files and disks, by message on a VM's configuration."""
    if isinstance(fault, (vim.fault.FileLocked, vim.fault.ResourceInUse)):
        return True
    if not isinstance(fault, (vim.fault.VmConfigFault, vim.fault.FileFault)):
        return False
    return any(_LOCK.search(word) for word in _words(fault))


def is_snapshot(fault: Any) -> bool:
    """Whether a snapshot was given as the reason."""
    return any("snapshot" in word and "one of the snapshot disks" not in word for word in _words(fault))


def sentence_of(fault: Any) -> str:
    """What vCenter said, in one line; the fault's type if it said nothing."""
    said: list[str] = []
    for text in (getattr(fault, "msg", None), getattr(fault, "reason", None), *_messages(fault)):
        line = " ".join(str(text).split()).rstrip(".") if text else ""
        if line and not any(line in earlier for earlier in said):
            said.append(line)
    kind = type(fault).__name__.rsplit(".", 1)[-1]
    missing = getattr(fault, "privilegeId", None)
    if missing:
        said.append(f"the privilege {missing} is missing")
    return f"{'; '.join(said)} ({kind})" if said else kind


def _messages(fault: Any) -> list[str]:
    return [message.message for message in getattr(fault, "faultMessage", None) or () if message.message]


def _words(fault: Any) -> list[str]:
    """All that the fault says and the keys it says it by, lower case."""
    keys = [message.key for message in getattr(fault, "faultMessage", None) or () if message.key]
    texts = [getattr(fault, "msg", None), getattr(fault, "reason", None), *_messages(fault), *keys]
    return [str(text).lower() for text in texts if text]
