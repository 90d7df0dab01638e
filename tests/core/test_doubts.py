"""Why it is not clear who holds the disk: each cause has a sentence of its own, true and with what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.core.build import DATA, THERE, UNREAD, active, look, resource, says, vm
from vmdk_failover.judgement import assess
from vmdk_failover.judgement.assess import Snapshot
from vmdk_failover.judgement.doubts import lost_host_words, misplaced_words, question_words, unclear_words
from vmdk_failover.judgement.policy import Choice, Situation, decide
from vmdk_failover.model import DiskFacts, HypervisorFacts, NodeFacts, Signs, VmFacts

MOVED = DiskFacts("[ds2] shared/pgdata.vmdk", DATA.uuid, 1, 0, 2000)
DELTA = DiskFacts("[ds1] shared/pgdata-000001.vmdk", DATA.uuid, 1, 0, 2000)
REPLACED = DiskFacts(DATA.path, "f" * 32, 1, 0, 2000)


def has(minion: str, disk: DiskFacts, **facts: Any) -> VmFacts:
    """A VM with this disk alone."""
    return replace(vm(minion, **facts), disks=(disk,))


def seen(first: VmFacts, second: VmFacts = vm("db2")) -> Snapshot:  # noqa: B008 – frozen
    return look(resource(), (first, second), (active("db1"), says("db2")))


@pytest.mark.parametrize("first", [True, False])
def test_a_copy_beside_the_disk_itself_is_seen_wherever_it_stands(first: bool) -> None:
    """A backup was restored to a disk of its own and given to the holder: its guest has two disks with one UUID."""
    there, copy = vm("db1", THERE), DiskFacts("[ds1] restored/pgdata.vmdk", DATA.uuid, 1, 4, 2004)
    disks = (copy, *(there.disks or ())) if first else (*(there.disks or ()), copy)
    found = decide(Situation(seen(replace(there, disks=disks)), 7, 0.0))
    assert (found.rule, found.choice) == (530, Choice.HOLD)
    assert "VM of db1 lists [ds1] restored/pgdata.vmdk" in found.reason
    assert "a copy of it: remove it from db1" in found.reason


@pytest.mark.parametrize(
    ("snapshot", "words"),
    [
        (
            seen(VmFacts("db1", present=None, copies=2)),
            ("2 VMs with the instance UUID of db1", "remove the copy"),
        ),
        (
            seen(VmFacts("db1", present=None)),
            ("VM of db1 or its devices cannot be read", "what the account may read"),
        ),
        (seen(vm("db1", UNREAD)), ("VM of db1 or its devices cannot be read",)),
        (seen(has("db1", REPLACED)), (DATA.path, "another UUID", "protect pgdata anew")),
        (
            seen(has("db1", DELTA, snapshot=True)),
            ("a snapshot that holds the disk", DELTA.path, "delete the snapshot"),
        ),
        (seen(has("db1", DELTA, snapshot=None)), ("a snapshot that holds the disk",)),
        (
            seen(has("db1", MOVED)),
            (MOVED.path, "Storage vMotion", "salt-run vmdk.adopt pgdata"),
        ),
        (
            seen(vm("db1", THERE), has("db2", MOVED)),
            ("VM of db2", MOVED.path, "a copy of it", "remove it from db2"),
        ),
    ],
)
def test_each_cause_is_told(snapshot: Snapshot, words: tuple[str, ...]) -> None:
    decision = decide(Situation(snapshot, 7, 0.0))
    assert (decision.rule, decision.choice) == (530, Choice.HOLD)
    assert decision.reason == unclear_words(snapshot)
    assert [one for one in words if one not in decision.reason] == []


def test_two_nodes_are_told_apart() -> None:
    both = seen(vm("db1", UNREAD), VmFacts("db2", present=None, copies=3))
    assert "db1" in unclear_words(both).split("; ")[0] and "3 VMs" in unclear_words(both).split("; ")[1]


def test_what_a_lost_host_means_depends_on_whether_the_node_answers() -> None:
    lost = vm("db1", THERE, connected=False, host="esx7")
    answers = look(resource(), (lost,), (active("db1"),)).node("db1")
    silent = look(resource(), (lost,), ()).node("db1")
    unread = look(resource(), (replace(lost, connected=None),), ()).node("db1")
    orphan = look(resource(), (replace(lost, host_connected=True),), ()).node("db1")
    without, fenced = resource(), resource(host_fence="own.off")
    assert "out of reach on esx7, which is connected" in lost_host_words(orphan, fenced)
    assert "reconnect esx7" in lost_host_words(answers, without)
    assert "vmdk.confirm_off" not in lost_host_words(answers, without)
    assert "vmdk.confirm_off db1" in lost_host_words(silent, without)
    assert "set host_fence" in lost_host_words(silent, without)
    assert "set host_fence" not in lost_host_words(silent, fenced)
    assert "cannot be read" in lost_host_words(unread, without)


def test_who_else_would_stop_with_a_host_is_named() -> None:
    def told(beside: tuple[tuple[str, str], ...] | None, others: str = "hold") -> str:
        lost = vm("db1", THERE, connected=False, host="esx7", beside=beside)
        of = resource(host_fence="own.off", host_fence_others=others)
        return lost_host_words(look(of, (lost,), ()).node("db1"), of)

    assert "host_fence is not called" not in told(())
    assert "web1 (host_fence_others: stop allows that)" in told((("web1", ""),))
    assert "web1, web2, web3, web4, web5 and 2 more" in told(tuple((f"web{i}", "") for i in range(1, 8)))
    assert "what else runs on esx7 cannot be read" in told(None)
    assert "host_fence is not called" not in told((("web1", ""),), "stop")


UNFIT = says("db2", unready=("mount.xfs is missing",))


@pytest.mark.parametrize(
    ("signs", "other", "words"),
    [
        (Signs(None, False), says("db2"), "nobody on the master listens for heartbeats"),
        (Signs(4.0, False), says("db2"), "db1 is given 15 s of silence first"),
        (Signs(60.0, True), says("db2"), "the address of db1 answers: esx7 is not off"),
        (Signs(60.0, None), says("db2"), "whether the address of db1 answers could not be found out"),
        (Signs(60.0, False), UNFIT, "no other node can take it (db2: mount.xfs is missing)"),
    ],
)
def test_what_keeps_the_fence_of_a_lost_host_back_is_told(signs: Signs, other: NodeFacts, words: str) -> None:
    """Whoever has set host_fence and is woken all the same reads why."""
    vms = HypervisorFacts(True, "", (vm("db1", THERE, connected=False, host="esx7"), vm("db2")))

    def told(**options: Any) -> tuple[int, str]:
        looked = assess.look(resource(**options), vms, {"db2": other}, {"db1": signs})
        decision = decide(Situation(looked, 7, 0.0))
        return decision.rule, decision.reason

    rule, reason = told(host_fence="own.off")
    assert rule == 545 and f"; host_fence is not called, because {words}" in reason
    assert "host_fence is not called" not in told()[1]


@pytest.mark.parametrize(("bus", "words"), [(0, "SCSI 0:3"), (-1, "no SCSI controller")])
def test_where_a_disk_is_and_where_it_should_be(bus: int, words: str) -> None:
    there = has("db1", DiskFacts(DATA.path, DATA.uuid, bus, 3, 2000))
    told = misplaced_words(look(resource(), (there,), ()).node("db1"))
    assert words in told and "recorded is 1:0" in told


def test_a_full_datastore_is_told_as_such() -> None:
    full = look(resource(), (vm("db1", THERE, question="Retry?", full=True),), ()).node("db1")
    assert "no space left" in question_words(full) and "Retry?" in question_words(full)
