"""How many calls it takes: few, and as many in a large inventory as in a small one."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from lab.hypervisor import Vcenter
from tests.vsphere.conftest import settings_for
from tests.vsphere.world import DISK, NODES, inventory, resource, vm
from vmdk_failover.model import Result
from vmdk_failover.vsphere.hypervisor import VCenter
from vmdk_failover.vsphere.session import Session

A, B = NODES


def failover(session: Session) -> list[int]:
    """Calls of a first look, a second, and of a whole failover with a fence and all looks between."""
    hypervisor, pgdata, counts = VCenter(session), resource(DISK), [session.calls]

    def note() -> None:
        counts.append(session.calls)

    hypervisor.observe(pgdata)
    note()
    facts = hypervisor.observe(pgdata)
    note()
    results = [hypervisor.power_off(pgdata, A, facts.vm("db1"))]
    facts = hypervisor.observe(pgdata)
    results.append(hypervisor.detach(pgdata, A, facts.vm("db1"), [DISK]))
    facts = hypervisor.observe(pgdata)
    results.append(hypervisor.attach(pgdata, B, facts.vm("db2"), [DISK]))
    assert hypervisor.observe(pgdata).vm("db2").lists(DISK) is True
    note()
    assert [outcome.result for outcome in results] == [Result.DONE] * 3
    return [after - before for before, after in itertools.pairwise(counts)]


@pytest.mark.parametrize("filler", [0, 300])
def test_calls_do_not_depend_on_the_inventory(program: Path, filler: int) -> None:
    with Vcenter(inventory(), binary=program, filler=filler) as running:
        session = Session(settings_for(running))
        first, second, whole = failover(session)
        sent = running.calls()["total"]
        session.close()
    assert first == 3 + 2 + 1  # versions, content, login; one search for each VM; the look
    assert second == 1
    # three writes, each with its polls, and three looks; a task may need a second poll
    assert 9 <= whole <= 12
    assert sent == first - 1 + second + whole  # the list of versions is no SOAP call


def test_a_lost_host_is_asked_for_once(program: Path) -> None:
    """However many nodes are on it."""
    fenced = replace(resource(DISK), host_fence="own.off")
    with Vcenter(inventory(vms=[vm(0), vm(1, host="esx1")]), binary=program) as running:
        session = Session(settings_for(running))
        hypervisor = VCenter(session)
        hypervisor.observe(fenced)
        running.connect_host("esx1", "notResponding")
        before = session.calls
        shown = hypervisor.observe(fenced).vms
        calls = session.calls - before
        session.close()
    assert [[name for name, _ in one.beside or ()] for one in shown] == [["db2-vm"], ["db1-vm"]]
    assert ([one.hosts for one in shown], calls) == ([(1, 2), (1, 2)], 2)


def test_a_long_task_is_polled_gently(vcenter: Vcenter, session: Session) -> None:
    hypervisor, pgdata = VCenter(session), resource(DISK)
    facts = hypervisor.observe(pgdata)
    vcenter.delays(detach=3000)
    before = session.calls
    assert hypervisor.detach(pgdata, A, facts.vm("db1"), [DISK]).result is Result.DONE
    assert session.calls - before < 15


def test_calls_are_counted_by_how_they_ended(vcenter: Vcenter, session: Session) -> None:
    hypervisor, pgdata = VCenter(session), resource(DISK)
    facts = hypervisor.observe(pgdata)
    first = session.tally()
    assert first["Login", "ok"] == 1 and {result for _, result in first} == {"ok"}
    assert session.tally() == {}
    vcenter.net("dropreply", 1, "ReconfigVM_Task")
    assert hypervisor.detach(pgdata, A, facts.vm("db1"), [DISK]).result is Result.UNKNOWN
    assert session.tally()["ReconfigVM_Task", "silent"] == 1
    vcenter.expire_sessions()
    hypervisor.observe(pgdata)
    assert any(result == "NotAuthenticated" for _, result in session.tally())
