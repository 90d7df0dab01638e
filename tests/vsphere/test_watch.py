"""The stream of changes: quick, narrow, and loud when it breaks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from lab.hypervisor import Vcenter
from tests.vsphere.world import DISK, NODES
from vmdk_failover.errors import CannotObserve
from vmdk_failover.model import Resource
from vmdk_failover.vsphere.hypervisor import VCenter
from vmdk_failover.vsphere.session import Session
from vmdk_failover.vsphere.watch import VmChange, Watch

Changes = list[tuple[str, VmChange]]


@pytest.fixture
def watch(session: Session, hypervisor: VCenter, pgdata: Resource) -> Iterator[Watch]:
    """A watch on both nodes' VMs."""
    refs = {vm.minion: vm.ref for vm in hypervisor.observe(pgdata).vms}
    watching = Watch(session, refs)
    yield watching
    watching.close()


def after(watch: Watch, cause: Callable[[], object], delay: float = 0.2) -> tuple[Changes, float]:
    """The next changes, and how many seconds after the end of ``cause`` they were there."""
    ended: list[float] = []

    def later() -> None:
        time.sleep(delay)
        cause()
        ended.append(time.monotonic())

    thread = threading.Thread(target=later)
    thread.start()
    changes = watch.wait(10)
    seen = time.monotonic()
    thread.join(20)
    return changes, seen - ended[0]


def test_a_power_off_is_seen_at_once(vcenter: Vcenter, watch: Watch) -> None:
    changes, late = after(watch, lambda: vcenter.guest_power("db1-vm", "poweredOff"))
    assert ("db1", VmChange("power", "poweredOff")) in changes
    assert late < 0.1
    assert {minion for minion, _change in changes} == {"db1"}


def test_nothing_new_is_told_at_first(watch: Watch) -> None:
    begin = time.monotonic()
    assert watch.wait(1) == []
    assert 0.8 < time.monotonic() - begin < 3


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (lambda lab: lab.guest("db2-vm", heartbeat="red"), VmChange("heartbeat", "red")),
        (lambda lab: lab.connect_host("esx2", "notResponding"), VmChange("connection", "disconnected")),
        (lambda lab: lab.snapshot("db2-vm", "before"), VmChange("snapshot")),
    ],
    ids=["heartbeat", "connection", "snapshot"],
)
def test_other_changes_are_seen(
    vcenter: Vcenter, watch: Watch, cause: Callable[[Vcenter], None], expected: VmChange
) -> None:
    changes, _late = after(watch, lambda: cause(vcenter))
    assert ("db2", expected) in changes


def test_a_detached_disk_is_seen(watch: Watch, hypervisor: VCenter, pgdata: Resource) -> None:
    first = hypervisor.observe(pgdata).vm("db1")
    changes, _late = after(watch, lambda: hypervisor.detach(pgdata, NODES[0], first, [DISK]))
    assert ("db1", VmChange("devices")) in changes
    assert any(change.kind == "version" and change.value for _minion, change in changes + watch.wait(1))


def test_other_vms_are_not_watched(vcenter: Vcenter, watch: Watch) -> None:
    vcenter.add_vm(
        name="other", uuid="4237bbbb-0000-4000-8000-0000000000ff", instance_uuid="", power="poweredOn"
    )
    vcenter.guest_power("other", "poweredOff")
    assert watch.wait(1) == []


def test_looking_goes_on_while_waiting(watch: Watch, hypervisor: VCenter, pgdata: Resource) -> None:
    waiting = threading.Thread(target=watch.wait, args=(3,))
    waiting.start()
    slowest = 0.0
    while waiting.is_alive():
        begin = time.monotonic()
        assert hypervisor.observe(pgdata).readable
        slowest = max(slowest, time.monotonic() - begin)
        time.sleep(0.05)
    assert slowest < 0.5


def test_a_vanished_vm_is_told(vcenter: Vcenter, session: Session, watch: Watch) -> None:
    ref = vcenter.vm("db2-vm")["ref"]
    vcenter.guest_power("db2-vm", "poweredOff")
    watch.wait(2)
    changes, _late = after(
        watch, lambda: session.write(lambda login: login.vm(ref).UnregisterVM(), "taking it out", 10)
    )
    assert ("db2", VmChange("gone")) in changes


def test_an_unknown_vm_is_not_watched_in_silence(session: Session) -> None:
    with pytest.raises(CannotObserve):
        Watch(session, {"db1": "vm-999999"})


def test_a_broken_stream_says_so(vcenter: Vcenter, watch: Watch) -> None:
    vcenter.net("drop")
    with pytest.raises(CannotObserve):
        watch.wait(1)
    vcenter.net("")


def test_an_expired_login_ends_the_stream_and_a_new_one_works(
    vcenter: Vcenter, session: Session, hypervisor: VCenter, pgdata: Resource, watch: Watch
) -> None:
    vcenter.expire_sessions()
    with pytest.raises(CannotObserve):
        watch.wait(1)
    fresh = Watch(session, {vm.minion: vm.ref for vm in hypervisor.observe(pgdata).vms})
    changes, _late = after(fresh, lambda: vcenter.guest_power("db1-vm", "poweredOff"))
    assert ("db1", VmChange("power", "poweredOff")) in changes
    # the old one must not take the new login down with it
    before = vcenter.calls()["methods"]["Login"]
    with pytest.raises(CannotObserve):
        watch.wait(1)
    assert hypervisor.observe(pgdata).readable
    assert vcenter.calls()["methods"]["Login"] == before
    fresh.close()


def test_closing_ends_a_wait(watch: Watch) -> None:
    ended: list[BaseException | None] = []

    def wait() -> None:
        try:
            watch.wait(30)
            ended.append(None)
        except CannotObserve as err:
            ended.append(err)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.3)
    watch.close()
    thread.join(10)
    assert isinstance(ended[0], CannotObserve)
