"""Two masters look at one resource in the same moment: it is moved once, whatever they share, and whoever dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from lab.hypervisor import Vcenter
from tests.core.build import active, says
from vmdk_failover.app import SystemClock, now
from vmdk_failover.claims import Claims
from vmdk_failover.engine import Engine, Report
from vmdk_failover.lock import FileLock
from vmdk_failover.model import Move, NodeFacts, Outcome, Resource, Result, Step, StepKind
from vmdk_failover.shared import SharedJournal
from vmdk_failover.store.shelf import FileShelf, Shelf
from vmdk_failover.vsphere.claims import DatastoreShelf
from vmdk_failover.vsphere.hypervisor import VCenter
from vmdk_failover.vsphere.session import Session
from vmdk_failover.vsphere.settings import Settings

FORK = multiprocessing.get_context("fork")


class Nodes:
    """The ``Guest`` port over a directory that both masters see: db2 answers, mounts, and counts its mounts."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def ask(self, resource: Resource, minions: Sequence[str]) -> Mapping[str, NodeFacts]:
        if "db2" not in minions:
            return {}
        epochs = self.mounts()
        if not epochs:
            return {"db2": says("db2", device=True)}
        return {"db2": active("db2", device=True, epoch=max(epochs))}

    def mount(self, move: Move, facts: NodeFacts) -> Outcome:
        time.sleep(0.2)
        with open(self.place / "mounts", "a", encoding="ascii") as file:
            file.write(f"{move.epoch}\n")
        after = active("db2", device=True, epoch=move.epoch)
        return Outcome(Step(StepKind.MOUNT, "db2"), Result.DONE, "mounted", facts=after)

    def mounts(self) -> list[int]:
        """Epochs of all mounts so far."""
        path = self.place / "mounts"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def release(self, move: Move, facts: NodeFacts) -> Outcome:
        raise AssertionError("the source is off")

    halt = release


class Site:
    """What both masters share, and how each is started."""

    def __init__(self, settings: Settings, resource: Resource, place: Path, kind: str) -> None:
        self.settings, self.resource, self.place, self.kind = settings, resource, place, kind
        self.nodes = Nodes(place)
        (place / "shared").mkdir()
        (place / "shared" / FileShelf.MARK).touch()
        self.reports: Any = FORK.Queue()

    def shelf(self, session: Session) -> Shelf:
        if self.kind == "vcenter":
            return DatastoreShelf(session, self.resource)
        return FileShelf(self.place / "shared", self.resource.name)

    def engine(self, master: str, die_in: str = "") -> Engine:
        """A master with a session, journal and lock of its own."""
        session, mine = Session(self.settings), self.place / master
        shelf = self.shelf(session)
        journal = SharedJournal(
            mine / "journal", mine / "known", now, claims=Claims(lambda name: shelf, master)
        )

        def tell(entry: Mapping[str, Any]) -> None:
            if die_in and entry.get("what") == "outcome" and entry.get("step") == die_in:
                os.kill(os.getpid(), signal.SIGKILL)

        return Engine(
            VCenter(session), self.nodes, journal, FileLock(mine / "locks"), SystemClock(), tell, 30.0
        )

    def run(self, master: str, gate: Any = None, die_in: str = "") -> None:
        engine = self.engine(master, die_in)
        if gate is not None:
            gate.wait(20)
        self.reports.put((master, asdict(engine.run(self.resource))))

    def start(self, master: str, **more: Any) -> Any:
        process = FORK.Process(target=self.run, args=(master,), kwargs=more)
        process.start()
        return process

    def report(self, master: str) -> Report:
        return self.engine(master).run(self.resource)


Make = Callable[[str], Site]


@pytest.fixture
def site(vcenter: Vcenter, settings: Settings, pgdata: Resource, tmp_path: Path) -> Make:
    """A world in which the holder is off and the backup is ready."""
    vcenter.guest_power("db1-vm", "poweredOff")
    return lambda kind: Site(settings, pgdata, tmp_path, kind)


def reconfigured(vcenter: Vcenter) -> int:
    return int(vcenter.calls()["methods"].get("ReconfigVM_Task", 0))


KINDS = pytest.mark.parametrize("kind", ["vcenter", "directory"])


@KINDS
def test_two_at_once_do_it_once(vcenter: Vcenter, site: Make, kind: str) -> None:
    here, gate = site(kind), FORK.Barrier(2)
    masters = [here.start(name, gate=gate) for name in ("ma", "mb")]
    said = dict(here.reports.get(timeout=60) for _ in masters)
    for process in masters:
        process.join(30)
    results = sorted(one["result"] for one in said.values())
    assert len(here.nodes.mounts()) <= 1
    for _ in range(3):  # both may have lost to each other; they look again with the next hint
        if not here.nodes.mounts():
            here.report("ma")
    assert len(here.nodes.mounts()) == 1, said
    assert reconfigured(vcenter) == 2  # out of db1, into db2
    assert "done" in results or results == ["busy", "busy"], said
    assert [here.report(name).result for name in ("ma", "mb")] == ["nothing", "nothing"]


@KINDS
def test_who_comes_while_another_is_at_work_waits(vcenter: Vcenter, site: Make, kind: str) -> None:
    here = site(kind)
    first = here.start("ma", die_in="detach")
    first.join(30)
    assert first.exitcode == -signal.SIGKILL
    came = here.report("mb")
    assert (came.result, reconfigured(vcenter)) == ("busy", 1)
    assert "another master, ma, is at work on pgdata under epoch 1" in came.reason
    assert "vmdk.adopt pgdata" in came.reason
    ended = here.report("ma")  # it comes back and goes on with what it had begun
    assert (ended.result, ended.epoch, here.nodes.mounts()) == ("done", 1, [1])
    assert here.report("mb").result == "nothing"


@KINDS
def test_who_knows_the_disk_under_another_name_waits_too(vcenter: Vcenter, site: Make, kind: str) -> None:
    here = site(kind)
    here.start("ma", die_in="detach").join(30)
    mine, here.resource = here.resource, replace(here.resource, name="pg")
    came = here.report("mb")
    assert (came.result, reconfigured(vcenter)) == ("busy", 1)
    assert (
        "another master, ma, is at work on pgdata under epoch 1, with a disk that is pg's now" in came.reason
    )
    here.resource = mine
    assert (here.report("ma").result, here.nodes.mounts()) == ("done", [1])


@KINDS
def test_a_person_takes_over_and_the_other_ends_its_move(vcenter: Vcenter, site: Make, kind: str) -> None:
    here = site(kind)
    here.start("ma", die_in="detach").join(30)
    mb = here.engine("mb")
    assert isinstance(mb.journal, SharedJournal)
    mb.journal.adopt("pgdata", 2, {})
    came = here.report("mb")
    assert (came.result, came.epoch, here.nodes.mounts()) == ("done", 3, [3])
    held = here.report("ma")
    assert (held.result, held.rule) == ("held", 30)
    assert here.report("ma").result == "nothing"
    assert (here.nodes.mounts(), reconfigured(vcenter)) == ([3], 2)


@KINDS
def test_maintenance_counts_for_both(site: Make, kind: str) -> None:
    here = site(kind)
    ma, mb = here.engine("ma").journal, here.engine("mb").journal
    assert isinstance(ma, SharedJournal) and isinstance(mb, SharedJournal)
    ma.pause("pgdata", {"by": "me"})
    assert (here.report("mb").result, here.nodes.mounts()) == ("held", [])
    mb.pause("pgdata", None)
    assert not ma.state("pgdata").paused
    assert here.report("ma").result == "done"


def test_claims_that_are_lost_hold(site: Make) -> None:
    """The directory is not mounted after a boot."""
    here = site("directory")
    assert here.report("ma").result == "done"
    (here.place / "shared").rename(here.place / "elsewhere")
    assert "is the directory mounted?" in here.report("ma").reason
    (here.place / "shared").mkdir()
    assert "nothing is mounted there" in here.report("ma").reason
    (here.place / "shared" / FileShelf.MARK).touch()
    assert "they are lost or elsewhere" in here.report("ma").reason
    assert here.report("ma").result == "held"
