"""
Sending one write and following its task to the end.

The write is sent once. Its task is followed by polling two leaf properties, because ``task.info`` as a whole
cannot be parsed for every task; a poll that fails is only repeated. At the deadline the outcome is unknown;
the task is not cancelled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyVmomi import vim, vmodl

from vmdk_failover.errors import CannotObserve, OutcomeUnknown
from vmdk_failover.vsphere import faults
from vmdk_failover.vsphere.properties import Read, filter_spec, retrieve
from vmdk_failover.vsphere.session import Login, Session

FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.5

_TASK_PATHS = ("info.state", "info.error")


def run(session: Session, vm: str, doing: str, send: Callable[[Any], Any], within: float) -> None:
    """
    Send a write to a VM and wait until its task has succeeded.

    :param vm: the VM's managed object id.
    :param doing: what is done, the beginning of a sentence.
    :param send: starts the task on the VM that it is given.
    :param within: seconds for all of it.
    :raises CannotObserve: nothing was sent.
    :raises StepFailed: refused or failed, nothing has changed.
    :raises OutcomeUnknown: it may have been done or still be under way.
    """
    until = session.clock() + within
    task = session.write(lambda login: send(login.vm(vm))._GetMoId(), doing, within)
    _follow(session, task, vm, doing, until)


def _follow(session: Session, task: str, vm: str, doing: str, until: float) -> None:
    pause, question = FIRST_PAUSE, ""
    while True:
        seen, question = _poll(session, task, vm, doing, until - session.clock())
        if seen.get("info.state") == "success":
            return
        if seen.get("info.state") == "error":
            fault = seen.get("info.error")
            raise faults.error_of(fault, doing, ran=True) from fault
        if session.clock() + pause >= until:
            raise OutcomeUnknown(f"{doing}: the task is not over in time{question}")
        session.sleep(pause)
        pause = min(LONGEST_PAUSE, pause * 2)


def _poll(session: Session, task: str, vm: str, doing: str, left: float) -> tuple[Read, str]:
    """The task's state and, as the end of a sentence, the question that the VM may be waiting with."""
    paths = {vim.Task: _TASK_PATHS, vim.VirtualMachine: ("runtime.question",)}

    def ask(login: Login) -> dict[str, Read]:
        return retrieve(login, filter_spec([login.ref(vim.Task, task), login.vm(vm)], paths))

    try:
        found = session.read(ask, left)
    except (CannotObserve, vmodl.fault.ManagedObjectNotFound) as err:
        raise OutcomeUnknown(f"{doing}: the task was begun, then vCenter could not be read ({err})") from err
    if task not in found:
        raise OutcomeUnknown(f"{doing}: the task was begun, then vCenter knew it no more")
    asked = found[vm].get("runtime.question") if vm in found else None
    return found[task], f", the VM waits for an answer to: {' '.join(asked.text.split())}" if asked else ""
