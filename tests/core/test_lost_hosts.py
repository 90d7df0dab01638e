"""Hosts that are lost with several nodes: which of them may be fenced, and that each is fenced once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.core.build import WAL, resource
from tests.core.test_engine import Site
from tests.core.test_hosts import crash, lose_host, say_off, with_host_fence
from tests.doubles.clock import FakeClock
from tests.doubles.guest import FakeGuest
from tests.doubles.hypervisor import FakeHypervisor, FakeVm
from tests.doubles.journal import MemoryJournal
from tests.doubles.lookout import FakeLookout
from tests.doubles.vicinity import FakeHooks
from vmdk_failover.engine import Engine
from vmdk_failover.errors import FailoverError
from vmdk_failover.lock import FileLock
from vmdk_failover.model import Crowd, Node
from vmdk_failover.presence.vicinity import FileVicinity

# -- most nodes are silent ------------------------------------------------------------------------------------


def with_most_nodes_lost(hosts: tuple[str, str, str], **options: Any) -> Site:
    """db1 and db2 of three nodes are lost with their hosts; ``hosts`` are those of all three."""
    site = Site(nodes=3, host_fence="ipmi.off", **{"host_fence_others": "stop", **options})
    for node, host in zip(site.guest.nodes.values(), hosts, strict=True):
        node.vm.host = host
    site.hypervisor._check_lock = lambda vm, disk: None  # type: ignore[method-assign]
    site.hooks.does["ipmi.off"] = lambda: crash(site.db1)
    lose_host(site.db1)
    lose_host(site.db2)
    assert site.run() == ("held", 545)
    site.clock.now += 60.0
    return site


def test_a_host_that_dies_with_most_of_the_nodes_is_fenced() -> None:
    """One failure took them all: how many they are says nothing of the master."""
    site = with_most_nodes_lost(("esx1", "esx1", "esx2"))
    assert site.run() == ("done", 70)
    assert site.acts() == ["fence_host db1", "attach db3", "mount db3"]


def other_hosts(site: Site, count: int) -> None:
    """Hosts of the cluster on which no node is."""
    site.hypervisor.vms += [FakeVm(f"other-{n}", f"web{n}", host=f"esx-of-web{n}") for n in range(count)]


def test_a_master_that_is_cut_off_with_vcenter_from_most_nodes_fences_no_host() -> None:
    site = with_most_nodes_lost(("esx1", "esx2", "esx3"))
    other_hosts(site, 6)
    assert (site.run(), site.hooks.calls) == (("held", 545), [])
    words = str(site.journal.state("pgdata").hold)
    assert "2 of 3 nodes are silent, those on esx1 and esx2, which are gone, among them" in words
    assert "vmdk.confirm_off db1" in words


def test_a_host_is_not_fenced_while_most_hosts_of_its_cluster_are_gone() -> None:
    """Only one of them has a node, so the nodes tell nothing."""
    site = with_host_fence(lambda s: crash(s.db1))
    site.guest.nodes["db2"].vm.host = "esx2"
    other_hosts(site, 2)
    for vm in site.hypervisor.vms[2:]:
        vm.connected = False
    site.run()
    site.clock.now += 60.0
    assert (site.run(), site.hooks.calls) == (("held", 545), [])
    assert "3 of the 4 hosts in the cluster of esx1 are gone" in str(site.journal.state("pgdata").hold)


def test_a_host_is_not_fenced_while_nobody_knows_how_the_others_are() -> None:
    site = with_host_fence(lambda s: crash(s.db1))
    site.hypervisor._hosts = lambda: None  # type: ignore[method-assign,assignment,return-value]
    site.run()
    site.clock.now += 60.0
    assert (site.run(), site.hooks.calls) == (("held", 545), [])


def test_a_host_on_which_another_node_answers_is_not_off() -> None:
    site = with_most_nodes_lost(("esx1", "esx1", "esx2"))
    site.db2.cut = False
    assert (site.run(), site.hooks.calls) == (("held", 545), [])
    assert "db2 on esx1 answers: esx1 is not off" in str(site.journal.state("pgdata").hold)


@pytest.mark.parametrize(
    ("others", "ends"), [(Crowd(4, 2), True), (Crowd(4, 3), False), (Crowd(4, 0, (("esx1", 30),)), True)]
)
def test_other_nodes_that_are_silent_too_spare_the_host(others: Crowd, ends: bool) -> None:
    site = with_most_nodes_lost(("esx1", "esx1", "esx2"))
    site.lookout.others = others
    assert site.run() == (("done", 70) if ends else ("held", 545))
    words = str(site.journal.state("pgdata").hold)
    assert ends or "3 of 5 nodes that are not on esx1 are silent too" in words


@pytest.mark.parametrize("fenced", [True, False])
def test_other_nodes_are_looked_at_only_if_something_rests_on_it(fenced: bool) -> None:
    """With a host die many nodes; each look of each resource would look at all of them."""
    site, looked = Site(**({"host_fence": "ipmi.off"} if fenced else {})), []
    site.lookout.crowd = lambda *of: (looked.append(of), Crowd())[1]  # type: ignore[method-assign]
    lose_host(site.db1)
    assert site.run() == ("held", 545)
    assert bool(looked) is fenced
    site.db2.silent = True
    site.run()
    assert looked


# -- one host, several moves ----------------------------------------------------------------------------------


def held_up(site: Site, at_once: bool, meanwhile: Callable[[], None] = lambda: None) -> None:
    """What happens until a move has the lock of a host, and whether it had to wait for it."""

    @contextlib.contextmanager
    def host(name: str, wait: float) -> Iterator[bool]:
        meanwhile()
        yield at_once

    site.lock.host = host  # type: ignore[method-assign,assignment]


def lost_for_long(does: Callable[[Site], FailoverError | None] = lambda s: crash(s.db1)) -> Site:
    site = with_host_fence(does)
    site.run()
    site.clock.now += 60.0
    return site


def test_a_host_that_another_move_has_got_off_is_not_fenced_again() -> None:
    site = lost_for_long()
    held_up(site, False, lambda: (crash(site.db1), say_off(site))[1])
    assert site.run() == ("done", 70)
    assert (site.acts(), site.hooks.calls) == (["fence_host db1", "attach db2", "mount db2"], [])


def test_a_host_that_another_move_could_not_get_off_is_not_asked_for_at_once() -> None:
    site = lost_for_long()
    held_up(site, False)
    assert (site.run(), site.hooks.calls) == (("held", 45), [])
    assert "another move has just called ipmi.off for esx1, in vain" in str(site.journal.state("pgdata").hold)


@pytest.mark.parametrize("elsewhere", ["", "esx2"])
def test_a_host_that_is_back_is_not_fenced(elsewhere: str) -> None:
    """Between the look and the call it was connected again, or the VM was started on another one."""
    site = lost_for_long()

    def back() -> None:
        site.db1.vm.connected, site.db1.vm.host = not elsewhere, elsewhere or "esx1"

    held_up(site, True, back)
    site.run()
    assert "esx1" not in [facts["host"] for _, facts in site.hooks.calls]
    assert "esx1 is not lost any more, or db1 is not on it" in str(site.told)


class Terrace:
    """Two resources with a node each on one host, real locks and notes, and an engine for each."""

    def __init__(self, place: Path) -> None:
        self.place, self.clock = place, FakeClock()
        nodes = tuple(Node(f"db{n}", f"00000000-0000-0000-0000-00000000005{n}") for n in (5, 6))
        options = {"host_fence": "ipmi.off", "host_fence_others": "stop"}
        self.resources = {
            "pgdata": resource(**options),
            "wal": replace(resource(disks=(WAL,), **options), name="wal", nodes=nodes),
        }
        vms = [
            FakeVm(node.vm_uuid, node.minion, host=f"esx{at}")
            for one in self.resources.values()
            for at, node in enumerate(one.nodes, 1)
        ]
        self.hypervisor, self.hooks = FakeHypervisor(vms), FakeHooks()
        self.hypervisor._check_lock = lambda vm, disk: None  # type: ignore[method-assign]
        self.guests = {n: FakeGuest.of(r, self.hypervisor, self.clock) for n, r in self.resources.items()}
        self.journal, self.came = MemoryJournal(), threading.Semaphore(0)
        self.engines = {name: self._engine(name, guest) for name, guest in self.guests.items()}
        for name, node in (("pgdata", "db1"), ("wal", "db5")):
            holder = self.guests[name].nodes[node]
            holder.vm.plug(self.resources[name].disks[0])
            holder.mounted = True
            lose_host(holder)

    def _engine(self, name: str, guest: FakeGuest) -> Engine:
        came = self.came

        class Counted(FileLock):
            """It tells who comes to the lock of a host."""

            @contextlib.contextmanager
            def host(self, name: str, wait: float) -> Iterator[bool]:
                came.release()
                with super().host(name, wait) as at_once:
                    yield at_once

        return Engine(
            self.hypervisor,
            guest,
            self.journal,
            Counted(self.place / "locks"),
            self.clock,
            budget=600.0,
            lookout=FakeLookout(guest, self.clock),
            vicinity=FileVicinity(
                self.place, lambda: self.resources, lambda name: False, self.clock.monotonic
            ),
            hooks=self.hooks,
        )

    def run(self) -> list[tuple[str, int]]:
        """A look at both at the same moment."""
        with ThreadPoolExecutor() as pool:
            ended = pool.map(lambda name: self.engines[name].run(self.resources[name]), self.resources)
            return [(one.result, one.rule) for one in ended]


def test_a_host_is_fenced_once_for_all_who_lived_there(tmp_path: Path) -> None:
    site = Terrace(tmp_path)

    def off() -> None:
        for _ in site.resources:  # the other one is at the door
            assert site.came.acquire(timeout=60.0)
        crash(site.guests["pgdata"].nodes["db1"])
        crash(site.guests["wal"].nodes["db5"])

    site.hooks.does["ipmi.off"] = off
    assert site.run() == [("held", 545)] * 2
    site.clock.now += 60.0
    assert site.run() == [("done", 70)] * 2
    assert [facts["host"] for _, facts in site.hooks.calls] == ["esx1"]
    assert sorted(path.stem for path in (tmp_path / "hosts_off").iterdir()) == ["db1", "db5"]
