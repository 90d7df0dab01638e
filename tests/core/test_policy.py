"""The policy table, row by row with the sentence that an operator reads, and over its whole input space."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.core import kindred, space
from tests.core.build import (
    DATA,
    EPOCH,
    MISPLACED,
    NOWHERE,
    PARTLY,
    THERE,
    UNCLEAR,
    VOLATILE,
    WAL,
    active,
    gone,
    look,
    move,
    resource,
    says,
    vm,
)
from tests.core.invariants import believed, listing, loses, proven_off, runs
from vmdk_failover.around import NOTHING_AROUND, Ailing, Around, Complaint, Confirmed, Flaws, Tenant
from vmdk_failover.judgement import assess, protection
from vmdk_failover.judgement.assess import NodeSight, Snapshot
from vmdk_failover.judgement.failing import SETTLING
from vmdk_failover.judgement.policy import (
    POLICY,
    TARGET_TRIES,
    UNLUCKY,
    Choice,
    Decision,
    PolicyRow,
    Situation,
    Wish,
    decide,
)
from vmdk_failover.judgement.rules import Case, next_verdict
from vmdk_failover.judgement.situation import BUSY_WAIT, DOUBT_WAIT, STRANGER_WAIT
from vmdk_failover.kin import Kin
from vmdk_failover.model import (
    FAILED_CONDITIONS,
    Condition,
    Crowd,
    HypervisorFacts,
    MountState,
    Move,
    MoveKind,
    NodeFacts,
    Power,
    Signs,
    StepKind,
    VmFacts,
)

NOW = 1_800_000_000.0
OFF = {"power": Power.OFF}


def seen(
    *sights: tuple[VmFacts, NodeFacts | None],
    readable: bool = True,
    nodes: int = 0,
    around: Around = NOTHING_AROUND,
    **options: Any,
) -> Snapshot:
    of = resource(nodes or max(2, len(sights)), **options)
    return look(of, [s[0] for s in sights], [s[1] for s in sights], readable, around)


def judge(snapshot: Snapshot, **more: Any) -> Decision:
    return decide(Situation(snapshot, EPOCH, NOW, **more))


def ended(target: str, ok: bool = False, ago: float = 10.0, **more: Any) -> dict[str, Any]:
    """A finished move."""
    return {
        "target": target,
        "ok": ok,
        "ended": NOW - ago,
        "kind": "failover",
        "reason": "no luck",
        "rule": 70 if ok else 250,
        **more,
    }


HOLDS = vm("db1", THERE)
READY = (vm("db2"), says("db2"))
SILENT = (vm("db2"), None)
WELL = (HOLDS, active("db1"))
FAILING = (HOLDS, active("db1", condition=Condition.IO_ERROR, evidence="sda: lost page write"))
UNMOUNTED = (HOLDS, says("db1"))
BARRED = (HOLDS, says("db1", unready=("fsck is missing",)))
IN_USE = (HOLDS, says("db1", unready=("fsck is missing",), superblock=True))
IN_PART = (HOLDS, says("db1", unready=("fsck is missing",), mounted=MountState.PARTLY, superblock=True))
DEAD = (vm("db1", THERE, **OFF), None)


UNSEEN = seen((vm("db1"), says("db1")), (gone("db2"), None))


def silent(
    age: float | None,
    address: bool | None = False,
    heartbeat: str = "green",
    other: tuple[VmFacts, NodeFacts | None] = READY,
    crowd: Crowd = Crowd(),  # noqa: B008 – frozen
    connected: bool = True,
    around: Around = NOTHING_AROUND,
    beside: tuple[tuple[str, str], ...] | None = (),
    **options: Any,
) -> Snapshot:
    """The holder runs, or its host is gone, and it gives no answer."""
    vms = [vm("db1", THERE, heartbeat=heartbeat, connected=connected, beside=beside), other[0]]
    answers = {other[1].minion: other[1]} if other[1] else {}
    signs = {"db1": Signs(age, address)}
    facts = HypervisorFacts(True, "", tuple(vms))
    return assess.look(resource(**options), facts, answers, signs, crowd, around)


def crying(
    unanswered: float | None = 15.0,
    age: float | None = 0.5,
    said: Complaint | None = Complaint(Condition.IO_ERROR, "sda: lost page write"),  # noqa: B008 – frozen
    other: tuple[VmFacts, NodeFacts | None] = READY,
    crowd: Crowd = Crowd(),  # noqa: B008 – frozen
    around: Around = NOTHING_AROUND,
    address: bool | None = True,
    **options: Any,
) -> Snapshot:
    """The holder's heartbeats come, it says by itself that it cannot use the disk, and it answers no question."""
    answers = {other[1].minion: other[1]} if other[1] else {}
    signs = {"db1": Signs(age, address, 0.5, unanswered)}
    told = replace(around, failing={"db1": said} if said else {})
    facts = HypervisorFacts(True, "", (HOLDS, other[0]))
    return assess.look(resource(**options), facts, answers, signs, crowd, told)


def cut_off() -> Snapshot:
    """Two of three nodes of this resource are silent."""
    vms, signs = (HOLDS, SILENT[0], vm("db3")), {"db1": Signs(20.0, False), "db2": Signs(20.0, False)}
    return assess.look(resource(3), HypervisorFacts(True, "", vms), {"db3": says("db3")}, signs)


@pytest.mark.parametrize(
    ("holder", "backup", "rule"),
    [
        (False, True, 647),  # the master reaches db2, so it is not cut off: db2's agent alone is silent
        (False, False, 641),
        (False, None, 641),
        (True, True, 641),  # agents are silent everywhere: it is Salt on the master that hears nobody
        (None, True, 641),
    ],
)
def test_a_backup_whose_agent_alone_is_silent_does_not_make_the_master_cut_off(
    holder: bool | None, backup: bool | None, rule: int
) -> None:
    """Its minion was stopped long ago. When the holder dies, the third node takes the disk."""
    signs = {"db1": Signs(400.0, holder), "db2": Signs(86400.0, backup)}
    facts = HypervisorFacts(True, "", (HOLDS, SILENT[0], vm("db3")))
    snapshot = assess.look(resource(3, on_agent_silent="fence"), facts, {"db3": says("db3")}, signs)
    decision = judge(snapshot)
    assert decision.rule == rule
    assert decision.move is None or decision.move.target == "db3"
    others = replace(snapshot, crowd=Crowd(3, 3))  # so are most nodes of other resources
    assert judge(others).rule == 641


@dataclass(frozen=True)
class Example:
    """A situation, the row that decides it, and words of the sentence."""

    rule: int
    choice: Choice
    words: Sequence[str]
    seen: Snapshot
    more: Mapping[str, Any]


def beside(snapshot: Snapshot, *kin: Kin) -> Snapshot:
    """The same with other resources of its hierarchy."""
    return replace(snapshot, kin=kin)


def example(rule: int, choice: Choice, words: str, snapshot: Snapshot, **more: Any) -> Example:
    return Example(rule, choice, words.split("|"), snapshot, more)


SWITCH, FORCE = Wish(MoveKind.SWITCHOVER), Wish(MoveKind.FAILOVER)
HOLD, MOVE, REFUSE = Choice.HOLD, Choice.MOVE, Choice.REFUSE
TIRED = [ended("db1"), ended("db1")]
BUSY = [ended("db1", code="device_busy", ago=BUSY_WAIT - 1)]
CAME_ALONG = [ended("db1", True, source="db2", condition="io_error", ago=600.0)]
LEFT_BEHIND = ((vm("db1", THERE, **OFF), None), (vm("db2", THERE), active("db2")))
FENCED = Around(to_restart=frozenset({"db1"}))
DISPUTES = [active("db2", condition=c) for c in (Condition.WRONG_FILESYSTEM, Condition.LAZILY_UNMOUNTED)]
RENAMED = Around(renamed={"db1": "db1-new"})
ANY_FAULT = Complaint(Condition.IO_ERROR, "sda: lost page write")
UNSHOWN = (gone("db3"), None)
DEPARTED = [ended("db9", True)]
#: Its host is not connected, and the list that vCenter has of it is of who knows when.
OUTDATED = (vm("db3", connected=False, host="esx3"), None)
#: No VM of the resource lists the disk, and somebody says otherwise.
CONTRADICTED = (
    seen((vm("db1"), active("db1", device=True)), READY),
    seen((vm("db1"), says("db1", device=True, mounted=MountState.UNKNOWN)), READY),
    seen((vm("db1", smbios=space.MACHINE), active("db1", smbios=space.OTHER)), READY),
)
PAUSED_TENANT = Around(tenants={"db1": (Tenant("wal", True),)})
VOLATILE_TENANT = Around(tenants={"db1": (Tenant("wal", discards=True),)})
LEAVING = Around(leaving={"db1": "boot-of-db1"})
CONFIRMED = Around(confirmed={"db1": Confirmed("esx1", "", "alice said that the host esx1 is off")})
LOST = (vm("db1", THERE, connected=False), None)
FLAWED = Around(flaws={"db2": Flaws("esx1", ("datastore ds1 is not accessible",))})


def suffering(
    hosts: str = "esx2", node: str = "db7", condition: str = "io_error", store: str = "ds1"
) -> Around:
    """Another resource fails too."""
    return Around(
        ailing=(Ailing("wal", node, frozenset(hosts.split()), condition, frozenset(store.split())),)
    )


SEES = {"device": True, "epoch": EPOCH}
BLIND = seen((vm("db1"), says("db1", **SEES)), (vm("db2"), says("db2", device=False)), readable=False)
PAIR = (DATA, WAL)
HALF = look(resource(2, PAIR), (vm("db1", PARTLY, PAIR), vm("db2")), (active("db1"), says("db2")))
AGENT = {"on_agent_silent": "fence", "agent_timeout": 10.0}
DAMPED = [ended("db1", True, damped=True, ago=600.0 * i) for i in range(3)]

EXAMPLES = (
    example(510, HOLD, "paused|vmdk.resume", seen(FAILING, READY), paused=True),
    example(515, MOVE, "db1 was the last to get the disk", BLIND, recent=[ended("db1", True)]),
    example(520, HOLD, "vCenter cannot be read|no route", seen(FAILING, READY, readable=False)),
    example(525, HOLD, "newer epoch|7", seen((HOLDS, active("db1", epoch=8)), READY)),
    example(530, HOLD, "db2|another UUID|protect", seen(DEAD, (vm("db2", UNCLEAR), says("db2")))),
    example(540, HOLD, "db1 and db2|by hand", seen(FAILING, (vm("db2", THERE), says("db2")))),
    example(
        541,
        HOLD,
        "db1, which does not run|db3 was the last to have it|vmdk.clear pgdata",
        seen(DEAD, READY, UNSHOWN),
        recent=[ended("db3", True)],
    ),
    example(
        542,
        HOLD,
        f"{space.OTHER} answers as db1|{space.MACHINE}|clone",
        seen((vm("db1", THERE, smbios=space.MACHINE), says("db1", smbios=space.OTHER)), READY),
    ),
    example(543, MOVE, "host esx1 of db1 is gone|15 s", silent(20.0, connected=False, host_fence="ipmi.off")),
    example(
        545,
        HOLD,
        "db1|not current|vmdk.confirm_off db1|vSphere HA|host_fence",
        seen((vm("db1", THERE, connected=False, **OFF), None), READY),
    ),
    example(550, REFUSE, "db9|not a node|db1, db2", seen(WELL, READY), wish=Wish(MoveKind.SWITCHOVER, "db9")),
    example(555, MOVE, "switchover from db1 to db2", seen(WELL, READY), wish=SWITCH),
    example(560, MOVE, "failover from db1 to db2", seen(FAILING, READY), wish=FORCE),
    example(
        565,
        MOVE,
        "db1 has announced|on_shutdown: switchover",
        seen(WELL, READY, around=LEAVING, on_shutdown="switchover"),
    ),
    example(570, MOVE, "depends on base|goes to db2", beside(seen(WELL, READY), kindred.going())),
    example(571, MOVE, "depends on base|goes to db2", beside(seen(WELL, READY), kindred.going(clean=True))),
    example(572, MOVE, "top depends on it|db2", beside(seen(WELL, READY), kindred.going(below=False))),
    example(
        573, MOVE, "top depends on it", beside(seen(WELL, READY), kindred.going(below=False, clean=True))
    ),
    example(
        575,
        HOLD,
        "pgdata waits: base is not seen to be active",
        beside(seen(UNMOUNTED, READY), Kin("base", True)),
    ),
    example(
        577, MOVE, "base is active on db2|is on db1", beside(seen(WELL, READY), Kin("base", True, "db2"))
    ),
    example(
        578,
        HOLD,
        "base is active on db2|db2 cannot take it",
        beside(seen(WELL, SILENT), Kin("base", True, "db2")),
    ),
    example(
        594,
        HOLD,
        "db1 has pgdata mounted, but|wrong_filesystem: loop0 holds file system dead-beef|a person",
        seen(
            (
                HOLDS,
                active(
                    "db1",
                    condition=Condition.WRONG_FILESYSTEM,
                    evidence="loop0 holds file system dead-beef, not c0ffee",
                ),
            ),
            READY,
        ),
    ),
    example(595, MOVE, "active on db2; db1 is off and still lists", seen(*LEFT_BEHIND)),
    example(
        596,
        MOVE,
        "active on db2; db1 was fenced, is still off|fence_action: reboot",
        seen((vm("db1", **OFF), None), LEFT_BEHIND[1], around=FENCED),
    ),
    example(
        597,
        MOVE,
        "do not start on db1|next",
        seen((HOLDS, active("db1", services=False)), READY, on_service_failure="next"),
        recent=[ended("db1", source="db2")],
    ),
    example(
        598,
        HOLD,
        "mounted on db1|services do not run|no luck",
        seen((HOLDS, active("db1", services=False)), READY),
        recent=[ended("db1", source="db2")],
    ),
    example(600, Choice.NOTHING, "active on db1", seen(WELL, READY)),
    example(
        602, HOLD, "db1 has announced|180 s|on_shutdown: stay", seen((HOLDS, None), READY, around=LEAVING)
    ),
    example(
        603,
        HOLD,
        "no space left|db1|Retry or Cancel",
        seen((vm("db1", THERE, question="Retry or Cancel?", full=True), None), READY),
    ),
    example(
        605,
        HOLD,
        "db1|answers in vCenter|moved it?",
        seen((vm("db1", THERE, question="Have you moved it?", **OFF), None), READY),
    ),
    example(610, Choice.WAIT, "task|db1", seen((vm("db1", THERE, task="relocate", **OFF), None), READY)),
    example(
        615,
        HOLD,
        "alice said that the host esx1 is off|still open|db1|make sure",
        seen(LOST, READY, around=CONFIRMED),
        recent=[ended("db2", rule=210, code="locked_by_stranger", ago=50.0)],
    ),
    example(620, MOVE, "VM of db1 is off", seen(DEAD, READY)),
    example(630, HOLD, "VM of db1 is off|db2: its minion gave no", seen(DEAD, SILENT)),
    example(637, MOVE, "db1|io_error: sda: lost page write|no question for more than 15 s|full", crying()),
    example(638, HOLD, "db1|wal|paused|vmdk.resume", silent(400.0, around=PAUSED_TENANT)),
    example(
        639,
        HOLD,
        "minion of db1|id db1-new now|vmdk.failover pgdata",
        silent(400.0, True, around=RENAMED, on_agent_silent="fence"),
    ),
    example(640, HOLD, "db1|no signed answer|engine", silent(None)),
    example(641, HOLD, "2 of 3 running nodes|db1|cut off", cut_off()),
    example(642, Choice.WAIT, "db1|15 s", silent(6.0)),
    example(643, HOLD, "db1|15 s of silence", silent(-20.0)),
    example(644, HOLD, "agent on db1|address answers|salt-minion", silent(400.0, True)),
    example(645, HOLD, "db1|could not be found out", silent(15.0, None)),
    example(646, HOLD, "isolated|on_isolated: hold", silent(15.0, on_isolated="hold")),
    example(647, MOVE, "db1 is isolated|15 s|green", silent(15.0)),
    example(648, HOLD, "db1 is dead or frozen|red|db2: its minion", silent(15.0, False, "red", SILENT)),
    example(650, HOLD, "io_error|3 failovers|vmdk.clear", seen(FAILING, READY), recent=DAMPED),
    example(
        652,
        HOLD,
        "no space left|ENOSPC",
        seen((HOLDS, active("db1", condition=Condition.IO_ERROR, evidence="sda: write, ENOSPC")), READY),
    ),
    example(
        653,
        HOLD,
        "db1 reports io_error|db2 did before it|vmdk.clear pgdata",
        seen(FAILING, READY),
        recent=CAME_ALONG,
    ),
    example(654, HOLD, "db1 reports io_error|db7 for wal|ds1", seen(FAILING, READY, around=suffering())),
    example(660, MOVE, "db1 reports io_error: sda: lost page write", seen(FAILING, READY)),
    example(670, HOLD, "db1 reports io_error|db2: its minion", seen(FAILING, SILENT)),
    example(
        695,
        HOLD,
        "db1 lists|SCSI 0:8|recorded is 1:0",
        seen((vm("db1", MISPLACED), active("db1")), READY),
    ),
    example(700, HOLD, "unmounted on db1|e2fsck", seen((HOLDS, says("db1", busy="e2fsck (pid 3)")), READY)),
    example(705, HOLD, "unmounted on db1|exclusively", seen(UNMOUNTED, READY), recent=BUSY),
    example(710, HOLD, "something else|db1", seen((HOLDS, says("db1", mounted=MountState.FOREIGN)), READY)),
    example(720, MOVE, "could not be brought into service on db1", seen(UNMOUNTED, READY), recent=TIRED),
    example(730, HOLD, "not be brought into service on db1|no luck", seen(UNMOUNTED, SILENT), recent=TIRED),
    example(
        732, HOLD, "unmounted on db1|fsck|3 failovers|vmdk.clear pgdata", seen(BARRED, READY), recent=DAMPED
    ),
    example(735, MOVE, "unmounted on db1, which cannot take it: fsck is missing", seen(BARRED, READY)),
    example(
        740, HOLD, "unmounted on db1|fsck|no other node can take it|db2: its minion", seen(BARRED, SILENT)
    ),
    example(750, MOVE, "db1 holds the disk and has it not mounted", seen(UNMOUNTED, READY)),
    example(790, HOLD, "db2|not to be seen|vmdk.clear pgdata", UNSEEN),
    example(
        792,
        HOLD,
        "db3 was the last to have it|not current (its host esx3 is not connected)|reconnect esx3|vmdk.confirm_off db3|vmdk.clear",
        seen((vm("db1"), says("db1")), READY, OUTDATED),
        recent=[ended("db3", True)],
    ),
    example(
        793,
        HOLD,
        "db1 says that it sees it|mount point is not free (mounted)|which VM",
        seen((vm("db1"), active("db1", device=True)), READY),
    ),
    example(
        795,
        HOLD,
        "file open|never forced|backup-proxy holds it",
        seen((vm("db1", **OFF), None), READY),
        recent=[ended("db2", rule=210, code="locked_by_stranger", reason="backup-proxy holds it")],
    ),
    example(800, MOVE, "no node lists the disk", seen((vm("db1", **OFF), None), READY)),
    example(810, HOLD, "no node lists the disk|db1: its VM is off", seen((vm("db1", **OFF), None), SILENT)),
    example(900, HOLD, f"db1 has pgdata mounted|does not list {WAL.path}", HALF),
)


@pytest.mark.parametrize(
    ("snapshot", "recent", "words"),
    [
        (CONTRADICTED[0], [], "db1 says that it sees it"),
        (CONTRADICTED[1], [], "not free (unknown)"),
        (CONTRADICTED[2], [], f"SMBIOS UUID {space.OTHER} answers as db1"),
        (seen((vm("db1"), says("db1")), READY), DEPARTED, "db9 was the last to have it|vmdk.clear pgdata"),
        (seen((vm("db1"), says("db1")), READY), [*DEPARTED, ended("db2")], "db9 was the last"),
    ],
)
def test_a_disk_that_may_be_where_nobody_looks_is_not_attached(
    snapshot: Snapshot, recent: list[dict[str, Any]], words: str
) -> None:
    decision = judge(snapshot, recent=recent)
    assert (decision.rule, decision.choice) == (793, HOLD)
    assert all(part in decision.reason for part in words.split("|")), decision.reason


@pytest.mark.parametrize(
    ("snapshot", "recent"),
    [
        (seen((vm("db1"), says("db1", device=True)), READY), []),
        (seen((vm("db1", **OFF), None), READY), []),
        (seen((vm("db1"), says("db1")), READY), [ended("db9", True, forgotten=True)]),
        (seen((vm("db1"), says("db1")), READY), [ended("db9", True), ended("db1", True)]),
    ],
)
def test_a_disk_that_is_nowhere_is_attached(snapshot: Snapshot, recent: list[dict[str, Any]]) -> None:
    assert judge(snapshot, recent=recent).rule == 800


@pytest.mark.parametrize(("tries", "wait"), [(1, 20.0), (2, 40.0), (5, 320.0), (6, 600.0), (40, 600.0)])
def test_a_locked_file_is_tried_less_and_less_often(tries: int, wait: float) -> None:
    """Each try that is refused can freeze the target for as long as the refusal takes."""
    nowhere = seen((vm("db1", **OFF), None), READY)
    for ago, rule in ((wait - 1.0, 795), (wait + 1.0, 800)):
        recent = [ended("db2", rule=210, code="locked_by_stranger", ago=ago) for _ in range(tries)]
        assert judge(nowhere, recent=recent).rule == rule
        assert judge(nowhere, recent=[{**m, "forgotten": True} for m in recent]).rule == 800


@pytest.mark.parametrize(("tries", "wait"), [(2, 30.0), (3, 60.0), (4, 120.0)])
def test_what_is_out_of_service_goes_on_trying_to_join_what_it_depends_on(tries: int, wait: float) -> None:
    """And what is in service where it is stays there, until that was long ago."""
    out, there = (beside(seen(of, READY), Kin("base", True, "db2")) for of in (UNMOUNTED, WELL))
    for ago, rule in ((wait - 1.0, 578), (wait + 1.0, 577)):
        recent = [{**ended("db2", rule=150, ago=ago), "by": 577} for _ in range(tries)]
        assert judge(out, recent=recent).rule == rule
        assert judge(there, recent=recent).rule == 578


@pytest.mark.parametrize("one", EXAMPLES, ids=lambda one: str(one.rule))
def test_row(one: Example) -> None:
    decision = judge(one.seen, **one.more)
    assert (decision.rule, decision.choice) == (one.rule, one.choice), decision.reason
    assert [words for words in one.words if words not in decision.reason] == [], decision.reason
    assert (decision.move is not None) == (one.choice is Choice.MOVE)


def test_every_row_has_an_example() -> None:
    assert [one.rule for one in EXAMPLES] == [row.number for row in POLICY]


@pytest.mark.parametrize(
    ("snapshot", "more", "kind", "source", "target"),
    [
        (seen(WELL, READY), {"wish": SWITCH}, MoveKind.SWITCHOVER, "db1", "db2"),
        (seen(DEAD, READY), {}, MoveKind.FAILOVER, "db1", "db2"),
        (seen(FAILING, READY), {}, MoveKind.FAILOVER, "db1", "db2"),
        (seen(UNMOUNTED, READY), {}, MoveKind.REPAIR, "db1", "db1"),
        (seen((vm("db1"), says("db1")), READY), {}, MoveKind.START, "", "db1"),
    ],
)
def test_the_move(snapshot: Snapshot, more: Any, kind: MoveKind, source: str, target: str) -> None:
    begun = judge(snapshot, **more).move
    assert begun is not None
    assert (begun.kind, begun.source, begun.target, begun.epoch) == (kind, source, target, EPOCH + 1)
    assert begun.resource == snapshot.resource


# -- damping and unlucky targets ------------------------------------------------------------------------------


def test_an_old_or_acknowledged_rescue_does_not_damp() -> None:
    for recent in (
        [{**one, "ended": NOW - 3700.0} for one in DAMPED],
        [{**one, "damped": False} for one in DAMPED],
        DAMPED[1:],
    ):
        assert judge(seen(FAILING, READY), recent=recent).choice is Choice.MOVE


def test_a_dead_holder_is_never_damped() -> None:
    assert judge(seen(DEAD, READY), recent=DAMPED * 5).choice is Choice.MOVE


def test_an_operator_is_never_damped() -> None:
    assert judge(seen(FAILING, READY), recent=DAMPED * 5, wish=FORCE).choice is Choice.MOVE
    assert judge(seen(BARRED, READY), recent=DAMPED * 5, wish=FORCE).choice is Choice.MOVE


@pytest.mark.parametrize("holder", [IN_USE, IN_PART], ids=["users are left", "one of its mounts is left"])
def test_who_cannot_mount_it_and_may_write_is_not_left_by_itself(holder: Any) -> None:
    decision = judge(seen(holder, READY))
    assert (decision.rule, decision.choice) == (740, HOLD)
    words = "fsck is missing. Part of it is still in use there, so it is not moved by itself: 'salt-run vmdk.failover pgdata'"
    assert words in decision.reason
    assert judge(seen(holder, READY), wish=FORCE).rule == 560


def test_who_cannot_mount_it_and_shuts_down_is_not_left_for_that() -> None:
    """It leaves by row 565 if it shall; what that could not do in two tries no other row does."""
    vain = [ended("db2", rule=150, by=565, source="db1")] * 2
    shuts = seen(BARRED, READY, around=LEAVING, on_shutdown="switchover")
    assert judge(shuts).rule == 565
    assert judge(shuts, recent=vain).rule == 740
    assert judge(seen(BARRED, READY, around=LEAVING)).rule == 602


def test_who_cannot_mount_it_is_neither_halted_nor_fenced_if_it_lets_go() -> None:
    begun = judge(seen(BARRED, READY, on_error="halt")).move
    assert begun is not None and (begun.kind, begun.condition) == (MoveKind.FAILOVER, "")
    verdict = next_verdict(Case(begun, seen(BARRED, READY, on_error="halt"), (), EPOCH + 1))
    assert verdict.step is not None and verdict.step.kind is StepKind.RELEASE


def test_a_vm_that_cannot_be_seen_holds_until_a_person_says_that_it_was_deleted() -> None:
    assert judge(UNSEEN, recent=[ended("db2", True)], missing_ok=("db1",)).rule == 790
    assert judge(UNSEEN, missing_ok=("db2",)).rule == 800


#: Finished moves, and where it was seen: db3, or db9 which is no node any more, may have the disk by them, or may not.
MEMORIES: tuple[tuple[tuple[dict[str, Any], ...], dict[str, Any] | None], ...] = (
    ((ended("db3", True),), None),
    ((), None),
    ((), {"node": "db3", "epoch": 0}),
    ((), {"node": "db9", "epoch": 0}),
    ((), {"node": "db2", "epoch": 0}),
    ((ended("db3", True, epoch=3),), {"node": "db2", "epoch": 3}),
    ((ended("db2", True, epoch=3),), {"node": "db3", "epoch": 3}),
    ((ended("db2", True, epoch=3),), {"node": "db3", "epoch": 2}),
    ((ended("db3", epoch=3, given=True),), {"node": "db2", "epoch": 2}),
    ((ended("db2", epoch=3, given=True),), {"node": "db3", "epoch": 2}),
    ((ended("db2", epoch=3, taken=["db3"]),), {"node": "db3", "epoch": 2}),
    ((ended("db2", True, epoch=3, forgotten=True),), {"node": "db3", "epoch": 3}),
)


OFF_BY_WORD = Around(confirmed={"db3": Confirmed("esx3", "", "alice said that the host esx3 is off")})


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (OUTDATED, "reconnect esx3"),
        ((vm("db3", connected=False, host="esx3", **OFF), None), "reconnect esx3"),
        ((OUTDATED[0], says("db3", device=True)), "reconnect esx3 in vCenter; or,"),
        ((OUTDATED[0], says("db3")), "reconnect esx3 in vCenter; or,"),
        ((vm("db3", connected=False, host="esx3", host_connected=True), None), "orphaned"),
        ((vm("db3", connected=None, host="esx3"), None), "what the account may read"),
        ((vm("db3", power=Power.UNKNOWN, host="esx3"), None), "what the account may read"),
    ],
)
def test_an_outdated_list_of_the_last_home_is_no_proof_that_the_disk_is_free(last: Any, words: str) -> None:
    """vCenter was restored from a backup: it shows db3 as it was before it got the disk."""
    recent = [ended("db3", True)]
    for others, rule in (((vm("db1"), says("db1")), 792), (DEAD, 541)):
        for wish in (None, SWITCH, FORCE):
            decision = judge(seen(others, READY, last), recent=recent, wish=wish)
            if wish is None or rule == 541:
                assert (decision.rule, decision.choice) == (rule, HOLD)
                assert words in decision.reason
                assert ("confirm_off" in decision.reason) is (last[1] is None and words == "reconnect esx3")
            assert decision.move is None


@pytest.mark.parametrize(
    ("last", "around", "recent"),
    [
        ((vm("db3", host="esx3"), None), NOTHING_AROUND, [ended("db3", True)]),
        ((OUTDATED[0], says("db3", device=False)), NOTHING_AROUND, [ended("db3", True)]),
        (OUTDATED, OFF_BY_WORD, [ended("db3", True)]),
        (OUTDATED, NOTHING_AROUND, [ended("db3", True, forgotten=True)]),
        (OUTDATED, NOTHING_AROUND, [ended("db3", True), ended("db1", True)]),
        (OUTDATED, NOTHING_AROUND, []),
    ],
)
def test_what_is_known_of_the_last_home_or_said_by_a_person_ends_that(
    last: Any, around: Around, recent: list[dict[str, Any]]
) -> None:
    free, dead = (
        seen((vm("db1"), says("db1")), READY, last, around=around),
        seen(DEAD, READY, last, around=around),
    )
    assert [judge(one, recent=recent).rule for one in (free, dead)] == [800, 620]


@pytest.mark.parametrize(("recent", "home"), MEMORIES)
def test_what_is_remembered_of_a_disk_that_was_not_moved_since_counts_as_a_move(
    recent: Any, home: Any
) -> None:
    """It was restored to a time at which db3 had no disk: the memory of a look is worth as much as that of a move."""
    had = _had_it(Situation(seen(DEAD, READY, OUTDATED), EPOCH, NOW, False, recent, home=home))
    free = (vm("db1"), says("db1"))
    held = {"db3": 792, "db9": 793}
    wanted = next((rule for node, rule in held.items() if node in had), 800)
    assert judge(seen(free, READY, OUTDATED), recent=recent, home=home).rule == wanted
    assert judge(seen(DEAD, READY, OUTDATED), recent=recent, home=home).rule == (541 if "db3" in had else 620)
    assert judge(seen(DEAD, READY, UNSHOWN), recent=recent, home=home).rule == (541 if "db3" in had else 620)
    assert judge(seen(WELL, READY, OUTDATED), recent=recent, home=home).rule == 600


def test_who_runs_and_has_the_disk_is_not_held_for_an_outdated_last_home() -> None:
    assert judge(seen(WELL, READY, OUTDATED), recent=[ended("db3", True)]).rule == 600
    assert judge(seen(UNMOUNTED, READY, OUTDATED), recent=[ended("db3", True)]).rule == 750


@pytest.mark.parametrize(
    ("options", "unanswered", "age", "rule"),
    [
        (AGENT, 3600.0, 0.5, 647),
        (AGENT, 15.0, 0.5, 647),
        (AGENT, 14.9, 0.5, 643),  # never before node_timeout
        ({**AGENT, "agent_timeout": 300.0}, 299.0, 0.5, 643),
        ({**AGENT, "agent_timeout": 300.0}, 300.0, 0.5, 647),
        ({}, 3600.0, 0.5, 643),
        (AGENT, None, 0.5, 643),
        (AGENT, 3600.0, -150.0, 643),  # a boot excuses it
        (AGENT, 3600.0, 6.0, 642),  # heartbeats end too: it is silent soon
        (AGENT, 3600.0, None, 640),
    ],
)
def test_an_agent_that_answers_nothing_is_silent_although_heartbeats_come(
    options: dict[str, Any], unanswered: float | None, age: float | None, rule: int
) -> None:
    for address in (True, None):  # while heartbeats come, nobody asks the address
        decision = judge(crying(unanswered, age, None, address=address, **options))
        assert decision.rule == rule
        if rule == 647:
            assert "the agent on db1 has answered no question for more than" in decision.reason
            assert "its heartbeats come" in decision.reason
    assert judge(crying(unanswered, age, None, address=False, **options)).rule in (rule, 643)


@pytest.mark.parametrize(
    ("rule", "more"),
    [
        (638, {"around": PAUSED_TENANT}),
        (638, {"around": VOLATILE_TENANT}),
        (639, {"around": RENAMED}),
        (641, {"crowd": Crowd(5, 5)}),
        (648, {"other": SILENT}),
        (643, {"address": False}),
        (643, {"said": Complaint(Condition.IO_ERROR, "sda: write, ENOSPC")}),  # it would only come along
        (637, {"said": ANY_FAULT}),
    ],
)
def test_what_holds_a_silent_node_holds_one_whose_agent_is_silent(rule: int, more: dict[str, Any]) -> None:
    assert judge(crying(3600.0, **{"said": None, **more}, **AGENT)).rule == rule


@pytest.mark.parametrize(
    ("tasks", "recent", "target"),
    [
        (("VirtualMachine.relocate", ""), [], "db3"),
        ((None, ""), [], "db3"),
        (("VirtualMachine.relocate", "VirtualMachine.createSnapshot"), [], "db2"),
        (("VirtualMachine.reconfigure", ""), [], "db2"),  # another resource comes there too: seconds
        (("VirtualMachine.reconfigVm", ""), [], "db2"),
        (("VirtualMachine.relocate", ""), [ended("db3")], "db3"),
        (("VirtualMachine.relocate", ""), [ended("db3"), ended("db3")], "db2"),
        (
            ("VirtualMachine.relocate", ""),
            [{**ended("db1", True), "source": "db3", "condition": "io_error"}],
            "db2",
        ),
    ],
)
def test_a_node_on_which_a_task_may_run_for_hours_comes_after_one_that_is_free(
    tasks: tuple[str | None, str], recent: list[dict[str, Any]], target: str
) -> None:
    """Nothing is attached to a VM on which a task runs (50)."""
    others = [(vm(f"db{i}", task=task), says(f"db{i}")) for i, task in enumerate(tasks, 2)]
    decision = judge(seen(DEAD, *others), recent=recent)
    assert decision.move is not None and (decision.rule, decision.move.target) == (620, target)


@pytest.mark.parametrize(
    ("kind", "tasks", "where", "way"),
    [
        (MoveKind.FAILOVER, ("relocate", ""), NOWHERE, True),
        (MoveKind.FAILOVER, ("relocate", "createSnapshot"), NOWHERE, False),  # nobody else is free
        (MoveKind.FAILOVER, ("relocate", ""), THERE, False),  # the disk is there already
        (MoveKind.SWITCHOVER, ("relocate", ""), NOWHERE, False),
    ],
)
def test_a_task_that_the_target_got_in_mid_move_says_how_another_node_is_taken(
    kind: MoveKind, tasks: tuple[str, str], where: str, way: bool
) -> None:
    source = DEAD if where == NOWHERE else (vm("db1", **OFF), None)
    others = [
        (vm(f"db{i}", w, task=t), says(f"db{i}"))
        for i, t, w in zip((2, 3), tasks, (where, NOWHERE), strict=True)
    ]
    snapshot = seen(source, *others)
    verdict = next_verdict(Case(move(snapshot.resource, kind), snapshot, (), EPOCH))
    assert verdict.rule == 50 and verdict.reason.startswith("a task still runs on db2 (relocate)")
    assert (
        "'salt-run vmdk.clear pgdata' ends this move, and another node (db3) is taken" in verdict.reason
    ) is way
    if way:
        decision = judge(snapshot)
        assert decision.move is not None and decision.move.target == "db3"


THREE = seen(DEAD, READY, (vm("db3"), says("db3")))


@pytest.mark.parametrize(
    ("recent", "target"),
    [
        ([], "db2"),
        ([ended("db2")], "db3"),
        ([ended("db2"), ended("db3")], "db2"),
        ([ended("db2"), ended("db3"), ended("db3")], "db2"),
        ([ended("db2"), ended("db2"), ended("db3")], "db3"),
        ([ended("db2"), ended("db1", True)], "db2"),
        ([ended("db2", forgotten=True)], "db2"),
        ([ended("db2", rule=100)] * 3, "db2"),  # it had a hiccup, that is no failed try
        ([ended("db2", ago=UNLUCKY + 1)], "db2"),
        ([ended("db2", rule=210, code="locked_by_stranger", ago=90.0)] * 3, "db2"),  # another VM's fault
        (
            [ended("db3", True, source="db2", condition="io_error", ago=1000.0)],
            "db3",
        ),  # its disk failed there
        ([ended("db3", rule=100, source="db2", condition="io_error")], "db3"),
        ([ended("db3", True, source="db2", condition="io_error", ago=4000.0)], "db2"),
        ([ended("db3", True, source="db2", condition="io_error", forgotten=True)], "db2"),
    ],
)
def test_a_target_that_failed_comes_last(recent: list[dict[str, Any]], target: str) -> None:
    begun = judge(THREE, recent=recent).move
    assert begun is not None
    assert begun.target == target


def test_a_disk_that_no_node_can_mount_does_not_wander() -> None:
    recent = [ended(minion) for minion in ("db1", "db2", "db3") for _ in range(TARGET_TRIES)]
    held = judge(seen(UNMOUNTED, READY, (vm("db3"), says("db3"))), recent=recent)
    assert (held.rule, held.choice) == (730, Choice.HOLD)
    assert "db2: 2 tries failed" in held.reason
    assert "the last try failed: no luck" in held.reason


def test_a_device_in_exclusive_use_is_tried_again_and_is_nobodys_fault() -> None:
    """Somebody repairs it by hand: it is never taken away from under him."""
    later = [{**BUSY[0], "ended": NOW - (BUSY_WAIT + 1) * i} for i in (5, 4, 3, 2, 1)]
    assert judge(seen(UNMOUNTED, READY), recent=later).rule == 750
    assert judge(seen(UNMOUNTED, READY), recent=[{**BUSY[0], "forgotten": True}]).rule == 750


def test_the_order_of_nodes_is_the_order_of_preference() -> None:
    backwards = replace(THREE.resource, nodes=tuple(reversed(THREE.resource.nodes)))
    begun = judge(look(backwards, (n.vm for n in THREE.nodes), (n.facts for n in THREE.nodes))).move
    assert begun is not None
    assert begun.target == "db3"


# -- a fenced node that is to run again -----------------------------------------------------------------------

STARTED = [ended("db2", True, by=596)]
BUSY_NODE = {**OFF, "task": "relocate"}


@pytest.mark.parametrize(
    ("fenced", "around", "recent", "rule"),
    [
        (vm("db1", **OFF), FENCED, [], 596),
        (vm("db1", **OFF), NOTHING_AROUND, [], 600),
        (vm("db1", **BUSY_NODE), FENCED, [], 600),
        (vm("db1", **{**OFF, "task": None}), FENCED, [], 600),
        (vm("db1", connected=False, **OFF), FENCED, [], 600),
        (vm("db1"), FENCED, [], 600),
        (vm("db1", THERE, **OFF), FENCED, [], 595),  # the disk first
        (vm("db1", **OFF), replace(FENCED, tenants={"db1": (Tenant("wal"),)}), [], 600),
        (vm("db1", **OFF), FENCED, STARTED, 600),
        (vm("db1", **OFF), FENCED, [{**STARTED[0], "ended": NOW - UNLUCKY - 1}], 596),
        (vm("db1", **OFF), FENCED, [{**STARTED[0], "forgotten": True}], 596),
    ],
)
def test_a_fenced_node_is_started_when_nothing_is_in_the_way(
    fenced: VmFacts, around: Around, recent: list[dict[str, Any]], rule: int
) -> None:
    begun = judge(seen((fenced, None), LEFT_BEHIND[1], around=around), recent=recent)
    assert begun.rule == rule, begun.reason
    if begun.move:
        assert (begun.move.kind, begun.move.source, begun.move.target) == (MoveKind.REPAIR, "db2", "db2")


# -- what an operator asks for --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("snapshot", "wish", "words"),
    [
        (seen(WELL, READY), Wish(MoveKind.FAILOVER, "db1"), "already on db1"),
        (seen(WELL, SILENT), SWITCH, "no other node can take it"),
        (
            seen(WELL, SILENT),
            Wish(MoveKind.SWITCHOVER, "db2"),
            "db2 cannot take pgdata: its minion gave no signed",
        ),
        (seen(WELL, (vm("db2", **OFF), None)), FORCE, "its VM is off"),
        (seen(FAILING, READY), SWITCH, "not in good health on db1"),
        (seen(UNMOUNTED, READY), SWITCH, "use vmdk.failover"),
        (seen(DEAD, READY), SWITCH, "not in good health"),
        (seen((vm("db1"), says("db1")), READY), FORCE, "nobody holds the disk"),
        (seen(WELL, (vm("db2", controllers=()), says("db2"))), SWITCH, "no SCSI controller 1"),
    ],
)
def test_a_wish_is_refused_with_the_reason(snapshot: Snapshot, wish: Wish, words: str) -> None:
    decision = judge(snapshot, wish=wish)
    assert (decision.rule, decision.choice) == (550, Choice.REFUSE)
    assert words in decision.reason


@pytest.mark.parametrize(
    "one", [one for one in EXAMPLES if one.rule < 550 and one.choice is HOLD], ids=lambda one: str(one.rule)
)
def test_no_wish_gets_past_a_safety_row(one: Example) -> None:
    for wish in (SWITCH, FORCE, Wish(MoveKind.FAILOVER, "db2")):
        assert judge(one.seen, **{**one.more, "wish": wish}).rule == one.rule


def test_an_operator_may_choose_a_node_that_failed_before() -> None:
    recent = [ended("db2")] * 5
    assert judge(THREE, recent=recent, wish=Wish(MoveKind.FAILOVER, "db2")).choice is Choice.MOVE


@pytest.mark.parametrize("condition", list(Condition))
@pytest.mark.parametrize(("ago", "just"), [(SETTLING - 1, True), (SETTLING + 1, False)])
def test_a_prober_that_contradicts_the_mount_holds_but_is_given_time(
    condition: Condition, ago: float, just: bool
) -> None:
    word = active("db1", condition=condition)
    recent = [ended("db1", True, ago=ago)]
    contradicts = condition in (Condition.WRONG_FILESYSTEM, Condition.LAZILY_UNMOUNTED)
    rule = 660 if condition in FAILED_CONDITIONS else 594 if contradicts and not just else 600
    assert judge(seen((HOLDS, word), READY), recent=recent).rule == rule
    if contradicts:
        refused = judge(seen((HOLDS, word), READY), recent=recent, wish=SWITCH)
        assert (refused.rule, "see what is on the disk before" in refused.reason) == (550, True)
        assert judge(seen((HOLDS, word), READY), recent=recent, wish=FORCE).rule == 560


def test_a_disk_that_no_other_node_could_mount_is_not_protected() -> None:
    words = "the volume group pgvg has the system ID db1, so that no other node may activate it: take it away"
    situation = Situation(seen((HOLDS, active("db1", bound=(words,))), READY), EPOCH, NOW)
    assert protection.gaps(situation) == (words,)
    assert judge(situation.seen).rule == 600  # nothing moves for it


@pytest.mark.parametrize("condition", [Condition.UNKNOWN, Condition.WATCHER_SILENT])
@pytest.mark.parametrize(("ago", "just"), [(SETTLING - 1, True), (SETTLING + 1, False)])
def test_a_disk_that_nobody_watches_is_not_protected(condition: Condition, ago: float, just: bool) -> None:
    word = active("db1", condition=condition, evidence="the prober says nothing")
    recent = [ended("db1", True, ago=ago)]
    found = protection.gaps(Situation(seen((HOLDS, word), READY), EPOCH, NOW, recent=recent))
    if just:
        assert found == ()
    else:
        (said,) = found
        assert "nobody watches the disk on db1 (the prober says nothing)" in said
        assert "restart salt-minion there" in said


# -- the whole space ------------------------------------------------------------------------------------------

WISHES = (None, SWITCH, FORCE, Wish(MoveKind.FAILOVER, "db2"), Wish(MoveKind.SWITCHOVER, "db3"))
HISTORIES = ((), tuple(BUSY), tuple(TIRED), tuple(DAMPED), tuple(ended("db2") for _ in range(3)))


def every_situation() -> Iterator[Situation]:
    for snapshot in every_silence():
        yield Situation(snapshot, EPOCH, NOW)
    yield from (Situation(crying(), EPOCH, NOW, False, recent) for recent in (DAMPED, CAME_ALONG))
    for snapshot, wish, recent in product(every_strain(), (None, FORCE), ((), CAME_ALONG)):
        yield Situation(snapshot, EPOCH, NOW, False, recent, wish)
        if not recent and wish is None:
            yield Situation(snapshot, EPOCH, NOW, False, (ended("db1", source="db2"),))
            yield Situation(snapshot, EPOCH, NOW, True, (ended("db1", True, source="db2"),))
            yield Situation(snapshot, EPOCH, NOW, False, (ended("db1", True), ended("db2", True)))
    for snapshot in CONTRADICTED:
        yield Situation(snapshot, EPOCH, NOW)
    yield Situation(seen((vm("db1"), says("db1")), READY), EPOCH, NOW, False, DEPARTED)
    yield from every_memory()
    stranger = ended("db2", rule=210, code="locked_by_stranger")
    yield Situation(seen((vm("db1", **OFF), None), READY), EPOCH, NOW, False, (stranger,))
    yield Situation(seen(DEAD, READY), EPOCH, NOW, False, (stranger,))
    longer_ago = {**stranger, "ended": NOW - DOUBT_WAIT + 1}
    yield Situation(seen(LOST, READY, around=CONFIRMED), EPOCH, NOW, False, (longer_ago,))
    for snapshot, wish in product(every_kinship(), WISHES):
        yield Situation(snapshot, EPOCH, NOW, wish=wish)
    for snapshot in (UNSEEN, replace(UNSEEN, nodes=UNSEEN.nodes[::-1])):
        yield Situation(snapshot, EPOCH, NOW, recent=[ended("db2", True)])
    for snapshot in every_snapshot():
        for wish, recent in product(WISHES, HISTORIES):
            yield Situation(snapshot, EPOCH, NOW, False, recent, wish)
        yield Situation(snapshot, EPOCH, NOW, True)
        yield Situation(replace(snapshot, readable=False, reason="no route"), EPOCH, NOW)


def every_memory() -> Iterator[Situation]:
    """What is remembered of where the disk was, and that node is not to be seen as it is now."""
    free = (DEAD, (vm("db1"), says("db1")))
    for wish, last, first, known in product((None, FORCE), (UNSHOWN, OUTDATED), free, MEMORIES):
        yield Situation(seen(first, READY, last), EPOCH, NOW, False, known[0], wish, home=known[1])


def every_kinship() -> Iterator[Snapshot]:
    """Other resources of the hierarchy, and a node that shuts down."""
    holders = (WELL, UNMOUNTED, DEAD, (HOLDS, None), (vm("db1"), says("db1")))
    for holder, other, kin in product(holders, (READY, SILENT), kindred.every()):
        yield beside(seen(holder, other), *kin)
    for holder, other, way in product(holders, (READY, SILENT), ("stay", "switchover")):
        yield seen(holder, other, around=LEAVING, on_shutdown=way)


def every_strain() -> Iterator[Snapshot]:
    """Questions, hosts that are gone, neighbours, faults that are the disk's own."""
    fails = active("db1", condition=Condition.IO_ERROR)
    full = replace(fails, evidence="sda: write, ENOSPC")
    arounds = (
        NOTHING_AROUND,
        PAUSED_TENANT,
        VOLATILE_TENANT,
        CONFIRMED,
        suffering(),
        suffering("esx1"),
        suffering(store="ds2"),
        suffering(condition="hung"),
        FLAWED,
    )
    states: tuple[dict[str, Any], ...] = (
        {},
        {"question": "moved?"},
        {"question": "Retry?", "full": True},
        {"question": "moved?", **OFF},
        {"connected": False},
        {"connected": False, **OFF},
    )
    for around, state, where, word in product(
        arounds, states, (THERE, MISPLACED, VOLATILE), (None, says("db1"), active("db1"), fails, full)
    ):
        yield seen((vm("db1", where, **state), word), READY, around=around)
        yield seen((vm("db1", where, **state), word), (vm("db2", THERE, **OFF), None), around=around)
        yield look(resource(2, PAIR), (vm("db1", where, PAIR[:1], **state), READY[0]), (word, READY[1]))
    for age, address, connected, around in product(
        (None, 0.0, 400.0), (True, False, None), (True, False), arounds
    ):
        for other, crowd in product((READY, SILENT), (Crowd(), Crowd(5, 4))):
            for options in ({}, {"host_fence": "own.host"}):
                yield silent(age, address, "", other, crowd, connected, around, **options)
    for beside, others in product(((("web1", ""),), None), ("hold", "stop")):
        fenced = {"host_fence": "own.host", "host_fence_others": others}
        yield silent(400.0, False, connected=False, beside=beside, **fenced)
    yield from every_volatile()
    yield from every_lost_host()
    yield seen(*LEFT_BEHIND)
    yield from (seen(LEFT_BEHIND[0], (LEFT_BEHIND[1][0], word)) for word in DISPUTES)
    yield seen((vm("db1", **OFF), None), LEFT_BEHIND[1], around=FENCED)
    yield HALF
    for word, other, of in product(space.blind_words("db1"), space.blind_words("db2"), (EPOCH, EPOCH - 1)):
        at = replace(word, epoch=of) if word and word.epoch < EPOCH else word
        yield look(resource(), (), (at, other), readable=False)
    for word in (says("db1", smbios=space.OTHER), active("db1", smbios=space.OTHER)):
        for other in (READY, (vm("db2", smbios=space.MACHINE), says("db2", smbios=space.OTHER))):
            yield seen((vm("db1", THERE, smbios=space.MACHINE), word), other)
            yield seen((vm("db1", THERE, smbios=space.MACHINE, **OFF), word), other)
            signs = {"db1": Signs(400.0, False)}
            vms = (vm("db1", THERE, smbios=space.MACHINE), other[0])
            answers = {"db1": word, "db2": other[1]}
            yield assess.look(resource(), HypervisorFacts(True, "", vms), answers, signs)
    for services in (True, False):
        yield seen((HOLDS, active("db1", services=services)), READY, on_service_failure="next")


def every_snapshot() -> Iterator[Snapshot]:
    two, three = resource(2), resource(3)
    others = [*space.clean_targets()][::2]
    for first, second in product([*space.clean_sources(), *space.clean_targets("db1")], others):
        yield look(two, (first[0], second[0]), (first[1], second[1]))
    for first, second in product(space.dirty("db1"), [READY, SILENT, (vm("db2", THERE), active("db2"))]):
        yield look(two, (first[0], second[0]), (first[1], second[1]))
        yield look(two, (second_as(second, "db1")[0], renamed(first[0])), (second_as(second, "db1")[1], None))
    for third in space.third_nodes():
        yield look(three, (*(s[0] for s in (FAILING, READY)), third[0]), (FAILING[1], READY[1], third[1]))


def renamed(one: VmFacts, minion: str = "db2") -> VmFacts:
    return replace(one, minion=minion)


def second_as(sight: tuple[VmFacts, NodeFacts | None], minion: str) -> tuple[VmFacts, NodeFacts | None]:
    return replace(sight[0], minion=minion), replace(sight[1], minion=minion) if sight[1] else None


def wrong(s: Situation, decision: Decision) -> Iterator[str]:
    """What is wrong with a decision, told from the facts alone."""
    if not decision.reason.strip():
        yield "no reason is given"
    begun = decision.move
    if begun is None:
        return
    if not s.seen.readable:
        yield from _wrong_blind(s, begun)
        return
    target = s.seen.node(begun.target)
    if not runs(target.vm) or target.facts is None or target.facts.unready or target.flaws:
        yield "the target is not ready"
    if begun.epoch != s.epoch + 1:
        yield "not the next epoch"
    yield from _forbidden(s, begun)
    yield from _rash(s, begun)
    yield from _needless(s, begun.kind, s.seen.node(begun.source))
    if not begun.is_local and loses(s.seen.node(begun.source), s.seen.nodes, s.resource):
        yield "what was written on the node that loses the disk is lost"


def _wrong_blind(s: Situation, begun: Move) -> Iterator[str]:
    """Nothing but a remount where it was, on the word of the node that was the last to get a permit."""
    word = s.seen.node(begun.target).facts
    last = s.recent[-1] if s.recent else {}
    if (begun.kind, begun.source) != (MoveKind.REPAIR, begun.target) or s.paused or s.wish:
        yield "something is begun in the blind"
    if word is None or not word.device or word.epoch != s.epoch or word.superblock is not False:
        yield "the node does not see the disk, has it already, or was not the last to act"
    if (last.get("target"), last.get("ok")) != (begun.target, True):
        yield "another node got the disk last"
    others = (n.facts for n in s.seen.nodes if n.facts is not None and n.minion != begun.target)
    if any(
        f.device is not False or f.mounted is not MountState.UNMOUNTED or f.epoch > s.epoch for f in others
    ):
        yield "another node may have it"


def _forbidden(s: Situation, begun: Move) -> Iterator[str]:
    """What forbids any move."""
    words = [n.facts for n in s.seen.nodes if n.facts is not None]
    held = {n.minion: listing(n.vm, s.resource) for n in s.seen.nodes}
    if any(n.impostor for n in s.seen.nodes if n.minion in (begun.source, begun.target)):
        yield "a move is begun, and another VM answers under a node's name"
    writers = [
        n
        for n in s.seen.nodes
        if held[n.minion] is not False
        and not proven_off(n.vm)
        and not (held[n.minion] and believed(n, s.seen.nodes))
    ]
    forbidden = {
        "paused or blind": s.paused or not s.seen.readable,
        "a node has acted under a newer epoch": any(word.epoch > s.epoch for word in words),
        "a holder is not known": None in held.values(),
        "two nodes may write": len(writers) > 1,
        "a word is not current": any(
            n.vm.connected is not True or n.vm.power is Power.UNKNOWN for n in writers if not _is_lost(s, n)
        ),
        "the disk is at another place": begun.kind is MoveKind.REPAIR and s.seen.node(begun.target).misplaced,
        "a node is not to be seen that may hold the disk": begun.kind is MoveKind.START
        and any(n.vm.present is False and n.minion not in s.missing_ok for n in s.seen.nodes),
        "the disk is elsewhere": any(n.minion not in (begun.source, begun.target) for n in writers),
        "the disk may be where nobody looks": begun.kind is MoveKind.START and _may_be_elsewhere(s),
        "the disk may be with a node that nobody sees": not begun.is_local and _home_may_write(s, begun),
        "a locked file is tried again at once": s.wish is None and _tries_to_see(s, begun),
        "nobody knows what is on the disk": s.wish is None and _is_disputed(s, begun),
    }
    yield from (f"a move is begun, and {words}" for words, is_so in forbidden.items() if is_so)


def _rash(s: Situation, begun: Move) -> Iterator[str]:
    """A failover too many or in the midst of a task, and a mount against somebody, unless a person asks for it."""
    source, word = s.seen.node(begun.source), s.seen.node(begun.target).facts
    led = any(k.move and k.move.source == begun.source for k in s.seen.kin)
    if s.wish is None and begun.kind is MoveKind.FAILOVER and not led:
        many = sum(s.wall - m["ended"] < 3600.0 for m in s.recent if m.get("damped"))
        at_fault = source.failed or _is_barred(source) or _cries(s, source)
        if runs(source.vm) and at_fault and many >= s.resource.max_failovers_per_hour:
            yield "a node that runs loses the disk again and again within the hour"
        if source.vm.task != "" and not source.vm.host_gone:
            yield "a node loses the disk while a task runs on it"
    if s.wish is None and begun.kind is MoveKind.REPAIR and word is not None:
        if word.busy:
            yield "a device is mounted that somebody works on"
        if word.mounted is MountState.FOREIGN:
            yield "it is mounted over something else"


def _is_barred(node: NodeSight) -> bool:
    """It answers, and says itself why it could not mount the file system, of which nothing is in use there."""
    facts = node.facts
    return facts is not None and facts.mounted is MountState.UNMOUNTED and bool(facts.unready)


def _cries(s: Situation, node: NodeSight) -> bool:
    """Its heartbeats come, it says unasked that it cannot use the disk, and it has answered nothing for long enough."""
    signs = node.signs
    lives = signs.silent is not None and 0 <= signs.silent <= 3
    long = signs.unanswered is not None and signs.unanswered >= s.resource.node_timeout
    return node.facts is None and node.complaint is not None and lives and long


def _may_be_elsewhere(s: Situation) -> bool:
    """A node speaks of it that vCenter does not show with it, speaks from another VM, or is the resource's no more."""
    words = [n.facts for n in s.seen.nodes if n.facts is not None and not proven_off(n.vm)]
    contradicted = any(w.device and w.mounted is not MountState.UNMOUNTED for w in words)
    left = _had_it(s).difference(n.minion for n in s.resource.nodes)
    return contradicted or bool(left) or any(n.impostor for n in s.seen.nodes)


def _had_it(s: Situation) -> set[str]:
    """Who may have it by what is remembered, told from the first to the last of it."""
    sight = [{"sighted": s.home["node"], "epoch": s.home["epoch"] + 0.5}] if s.home else []
    have: set[str] = set()
    for one in sorted([*s.recent, *sight], key=lambda one: float(one.get("epoch", 0))):
        if one.get("sighted") or one.get("ok") or one.get("forgotten"):
            have = set() if one.get("forgotten") else {one.get("sighted") or one["target"]}
        else:
            have = have.difference(one.get("taken", ())) | ({one["target"]} if one.get("given") else set())
    return have


def _is_disputed(s: Situation, begun: Move) -> bool:
    """The node has it mounted, and its prober has seen otherwise since the last move ended there."""
    word = s.seen.node(begun.source).facts
    words = (Condition.WRONG_FILESYSTEM, Condition.LAZILY_UNMOUNTED)
    disputed = word is not None and word.mounted is MountState.MOUNTED and word.condition in words
    last = s.recent[-1] if s.recent else {}
    fresh = bool(last.get("ok")) and last.get("target") == begun.source and s.wall - last["ended"] < SETTLING
    return disputed and not fresh


def _home_may_write(s: Situation, begun: Move) -> bool:
    """
    A node that had the disk last is not shown, or not as it is, and he from whom it is taken, if there is one, does not run and
    so cannot have it open.
    """
    if begun.source and s.seen.node(begun.source).running:
        return False
    had = _had_it(s)
    home = [n for n in s.seen.nodes if n.minion in had]
    lost = bool(begun.source) and any(n.vm.present is False for n in home) and not s.missing_ok
    return lost or any(_may_have_it_unseen(s, n) for n in home)


def _may_have_it_unseen(s: Situation, node: NodeSight) -> bool:
    """Its VM lists no disk by a word that may be an old one, and neither it nor a person says that it has none."""
    current = node.vm.connected is True and node.vm.power is not Power.UNKNOWN
    old = node.vm.present is True and not current and listing(node.vm, s.resource) is False
    word = node.facts is not None and node.facts.device is False
    return old and not (word or believed(node, s.seen.nodes))


def _tries_to_see(s: Situation, begun: Move) -> bool:
    """It attaches a disk that nobody lets go of first, right after somebody had its file open: each try can freeze the target."""
    source = s.seen.node(begun.source)
    free = begun.kind is MoveKind.START or proven_off(source.vm) or believed(source, s.seen.nodes)
    last = s.recent[-1] if s.recent and not begun.is_local else {}
    wait = DOUBT_WAIT if believed(source, s.seen.nodes) else STRANGER_WAIT
    return free and last.get("code") == "locked_by_stranger" and s.wall - last["ended"] < wait


def _is_lost(s: Situation, node: NodeSight) -> bool:
    """A host that is gone may be fenced, if its node is silent in every way."""
    quiet = node.facts is None and node.vm.connected is False and not list(_hasty(s, node))
    alone = node.vm.beside == () or s.resource.host_fence_others == "stop"
    gone, hosts = node.vm.hosts or (2, 2)
    alone = alone and (gone == 1 or 2 * gone <= hosts)
    alone = alone and not any(n.facts and n.vm.host_gone and n.vm.host == node.vm.host for n in s.seen.nodes)
    return quiet and alone and bool(s.resource.host_fence) and not any(t.paused for t in node.tenants)


def _carried_along(s: Situation, source: NodeSight) -> Iterator[str]:
    """Faults that a failover would only carry along."""
    word = source.facts
    if word is None and source.complaint is not None and _cries(s, source):
        word = says(source.minion, condition=source.complaint.condition, evidence=source.complaint.evidence)
    if source.vm.question:
        yield "a node loses the disk while it waits for an answer"
    if word is None or word.condition not in FAILED_CONDITIONS:
        return
    if "ENOSPC" in word.evidence:
        yield "a full datastore is carried along"
    if any(m.get("condition") == word.condition.value and m["source"] != source.minion for m in s.recent):
        yield "the same fault is carried along"
    if any(
        a.condition == word.condition.value and "ds1" in a.datastores and "esx2" in a.hosts
        for a in s.seen.ailing
    ):
        yield "a fault of the datastore is carried along"


def _needless(s: Situation, kind: MoveKind, source: NodeSight) -> Iterator[str]:
    """A running node loses the resource only if it cannot use it, or an operator asks."""
    if s.wish is not None or kind is not MoveKind.FAILOVER:
        return
    yield from _carried_along(s, source)
    if not runs(source.vm):
        return
    word = source.facts
    if word is None:
        if any(t.paused for t in source.tenants):
            yield "a paused resource is disturbed"
        if _cries(s, source):
            yield from ("a node loses the disk that speaks under another id",) if source.renamed else ()
        else:
            yield from _hasty(s, source)
    elif word.mounted is MountState.MOUNTED and word.condition not in FAILED_CONDITIONS:
        led = any(k.move and k.move.source == source.minion and k.move.kind is kind for k in s.seen.kin)
        idle = led or (word.services is False and s.resource.on_service_failure == "next" and s.recent)
        yield from () if idle else ("a healthy node loses the disk",)


def _hasty(s: Situation, source: NodeSight) -> Iterator[str]:
    """What a silent node must not lose the disk for."""
    age, address, deaf = source.signs.silent, source.signs.address, _is_deaf(s, source)
    if not deaf and (age is None or age < s.resource.node_timeout):
        yield "a node loses the disk that was not silent for long enough"
    if (address is None and not deaf) or (
        address
        and not deaf
        and (s.resource.on_agent_silent != "fence" or age is None or age < s.resource.agent_timeout)
    ):
        yield "a node loses the disk whose address answers, or may"
    if source.renamed:
        yield "a node loses the disk that speaks under another id"
    if address is False and s.resource.on_isolated != "fence" and source.vm.heartbeat not in ("red", "gray"):
        yield "a node loses the disk that is isolated at most"
    if _most_are_silent(s):
        yield "a node loses the disk while most nodes are silent"


def _is_deaf(s: Situation, source: NodeSight) -> bool:
    """Its heartbeats come, nothing excuses it, its agent has answered nothing for as long as is given, and that may be fenced."""
    signs, of = source.signs, s.resource
    lives = signs.silent is not None and 0 <= signs.silent <= 3 and signs.address is not False
    long = signs.unanswered is not None and signs.unanswered >= max(of.agent_timeout, of.node_timeout)
    return of.on_agent_silent == "fence" and lives and long


def _most_are_silent(s: Situation) -> bool:
    """Of at least three. Who is lost with a host is not alive: one failure for one host, as many as there are for more."""
    known = [n for n in s.seen.nodes if not proven_off(n.vm) and not believed(n, s.seen.nodes)]
    lost = [n.vm.host for n in known if n.facts is None and n.vm.host_gone]
    lost += [host for host, count in s.seen.crowd.lost for _ in range(count)]
    silent = sum(n.facts is None and not n.vm.host_gone for n in known) + s.seen.crowd.silent
    heard = sum(n.facts is not None for n in known) + s.seen.crowd.running - s.seen.crowd.silent
    silent += min(len(lost), 1) if len(set(lost)) < 2 else len(lost)
    return silent + heard >= 3 and silent > heard


def every_volatile() -> Iterator[Snapshot]:
    """The disk is in a mode that discards what was written, and all that could make it go elsewhere."""
    there = vm("db1", VOLATILE)
    words = (
        active("db1"),
        says("db1"),
        says("db1", unready=("fsck is missing",)),
        active("db1", services=False),
        active("db1", condition=Condition.IO_ERROR),
    )
    for word, options in product(
        words, ({}, {"on_service_failure": "next"}, {"on_shutdown": "switchover"}, {"on_error": "halt"})
    ):
        yield seen((there, word), READY, **options)
        yield seen((there, word), READY, around=LEAVING, **options)
        yield from (beside(seen((there, word), READY, **options), *kin) for kin in kindred.every())
    for connected, options in product((True, False), ({}, {"host_fence": "own.host"})):
        vms = (vm("db1", VOLATILE, connected=connected), READY[0])
        facts, signs = HypervisorFacts(True, "", vms), {"db1": Signs(400.0, False)}
        yield assess.look(resource(**options), facts, {"db2": says("db2")}, signs)
    yield seen((vm("db1", VOLATILE, **OFF), None), READY)


def every_lost_host() -> Iterator[Snapshot]:
    """The host of the holder is gone, with more or less of the others."""
    away: dict[str, Any] = {"connected": False}
    fellows = (
        (vm("db2", **away), None),
        (vm("db2", **away), says("db2")),
        (vm("db2", host="esx2", **away), None),
        (vm("db2", host="esx2"), None),
        (vm("db2", host="esx2"), says("db2")),
    )
    crowds = (Crowd(), Crowd(4, 2), Crowd(4, 3), Crowd(4, 0, (("esx1", 9),)), Crowd(4, 0, (("esx9", 3),)))
    third = vm("db3", host="esx3")
    for (second, word), crowd, hosts in product(fellows, crowds, ((1, 3), (2, 3), (2, 4), None)):
        vms = (vm("db1", THERE, hosts=hosts, **away), second, third)
        answers = {n.minion: n for n in (word, says("db3")) if n is not None}
        signs = {"db1": Signs(400.0, False), "db2": Signs(400.0, False)}
        facts = HypervisorFacts(True, "", vms)
        yield assess.look(resource(3, host_fence="own.host"), facts, answers, signs, crowd)


#: Rows without which a node would lose the disk too soon or too often, or it would be mounted where somebody is at work; 603, 640
#: and 642 only say more than a later row, and 705 waits for somebody who is not to be seen at work.
NEEDED = frozenset(
    {
        541,
        594,
        605,
        610,
        615,
        638,
        639,
        641,
        643,
        644,
        645,
        646,
        650,
        652,
        653,
        654,
        695,
        700,
        710,
        732,
        790,
        792,
        793,
        795,
    }
)
#: It only begins a move.
BEGINS = frozenset({515, 543})


def every_silence() -> Iterator[Snapshot]:
    """A silent holder, with all that the witnesses may say."""
    ages, words = (None, -150.0, 0.0, 14.9, 15.0, 400.0), ("green", "yellow", "red", "gray", "")
    others = (READY, SILENT, (vm("db2", **OFF), None))
    crowds = (Crowd(), Crowd(1, 1), Crowd(5, 1), Crowd(5, 4))
    kept = ({}, {"on_agent_silent": "fence"}, {"on_isolated": "hold"})
    for age, address, word, other in product(ages, (True, False, None), words, others):
        for crowd, options in product(crowds, kept):
            yield silent(age, address, word, other, crowd, **options)
    for age, address, word, options in product(ages, (True, False, None), words, kept):
        yield silent(age, address, word, around=RENAMED, **options)
    yield cut_off()
    full = Complaint(Condition.IO_ERROR, "sda: write, ENOSPC")
    for unanswered, age, said, other in product(
        (None, 14.9, 15.0), (None, -150.0, 0.5, 6.0), (None, ANY_FAULT, full), (READY, SILENT)
    ):
        for around, options in product(
            (NOTHING_AROUND, PAUSED_TENANT, VOLATILE_TENANT, RENAMED, suffering()), ({}, AGENT)
        ):
            yield crying(unanswered, age, said, other, around=around, **options)
        for address, crowd in product((True, False, None), (Crowd(), Crowd(5, 5))):
            yield crying(unanswered, age, said, other, crowd, address=address, **AGENT)
        yield crying(unanswered, age, said, other, Crowd(5, 5))


def test_no_decision_is_unsafe_and_every_safety_row_is_needed() -> None:
    """One walk: without any of the first rows, some decision is wrong."""
    reached: Counter[int] = Counter()
    faults: set[str] = set()
    numbers = {row.number for row in POLICY if row.number <= 550 or row.number in NEEDED} - BEGINS
    mutants = {number: without(number) for number in numbers}
    harm: dict[int, str] = {}
    for situation in every_situation():
        decision = decide(situation)
        reached[decision.rule] += 1
        faults |= {f"row {decision.rule}: {words}" for words in wrong(situation, decision)}
        if decision.rule in mutants and decision.rule not in harm:
            found = harmed(situation, mutants[decision.rule])
            harm.update({decision.rule: found} if found else {})
    assert faults == set()
    assert {row.number for row in POLICY} - set(reached) == set()
    assert set(mutants) - set(harm) == set()
    page = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
    assert f" {reached.total():,} situations without one" in page, "scripts/rules_doc.py --write"


def without(number: int) -> tuple[PolicyRow, ...]:
    return tuple(row for row in POLICY if row.number != number)


def harmed(situation: Situation, rows: tuple[PolicyRow, ...]) -> str:
    try:
        return next(wrong(situation, decide(situation, rows)), "")
    except (IndexError, KeyError) as err:
        return f"the table breaks: {err!r}"


# -- a mode that discards what was written --------------------------------------------------------------------


def volatile(word: NodeFacts | None = None, **facts: Any) -> Snapshot:
    """The holder's disk is in such a mode; it is silent for long if it says nothing."""
    vms = (vm("db1", VOLATILE, **facts), READY[0])
    answers = {one.minion: one for one in (word, READY[1]) if one is not None}
    return assess.look(resource(), HypervisorFacts(True, "", vms), answers, {"db1": Signs(400.0, False)})


LOST_WITH_IT = "nothing takes it from db1, because [ds1] shared/pgdata.vmdk is independent_nonpersistent on the VM of db1"


@pytest.mark.parametrize(
    ("snapshot", "wish", "rule"),
    [
        (volatile(), None, 648),
        (volatile(active("db1", condition=Condition.IO_ERROR)), None, 670),
        (volatile(active("db1")), SWITCH, 550),
        (volatile(active("db1")), FORCE, 550),
        (volatile(), FORCE, 550),
    ],
)
def test_nothing_is_taken_from_where_what_was_written_would_be_lost(
    snapshot: Snapshot, wish: Wish | None, rule: int
) -> None:
    decision = judge(snapshot, wish=wish)
    assert (decision.rule, decision.move) == (rule, None)
    assert LOST_WITH_IT in decision.reason and "power the VM off by hand" in decision.reason


def test_if_that_were_not_heeded_it_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assess, "_kept", lambda sights: sights)
    found = {words for snapshot in every_volatile() for words in unsafe(Situation(snapshot, EPOCH, NOW))}
    assert any("is lost" in words for words in found)


def unsafe(situation: Situation) -> list[str]:
    return list(wrong(situation, decide(situation)))


def test_status_says_so_while_all_is_well_and_names_it_once() -> None:
    (said,) = protection.gaps(Situation(volatile(active("db1")), EPOCH, NOW))
    assert said.startswith(LOST_WITH_IT)
    assert judge(volatile(active("db1"))).rule == 600


def test_it_is_mounted_again_where_it_was_and_leaves_a_vm_that_is_off() -> None:
    assert judge(volatile(says("db1"))).rule == 750
    assert judge(volatile(power=Power.OFF)).rule == 620


def test_a_move_that_is_under_way_is_given_up_for_it() -> None:
    began = judge(seen((HOLDS, None), READY), wish=FORCE).move
    assert began is not None
    verdict = next_verdict(Case(began, volatile(), (), EPOCH + 1))
    assert verdict.step is None and "independent_nonpersistent" in verdict.reason


def test_a_disk_that_is_shared_is_told_and_holds_nothing() -> None:
    shared = replace(HOLDS, disks=tuple(replace(d, sharing="sharingMultiWriter") for d in HOLDS.disks or ()))
    (said,) = protection.gaps(Situation(seen((shared, active("db1")), READY), EPOCH, NOW))
    assert "[ds1] shared/pgdata.vmdk is shared (sharingMultiWriter) on the VM of db1" in said
    assert judge(seen((shared, active("db1", condition=Condition.IO_ERROR)), READY)).rule == 660


def test_for_a_neighbour_that_would_lose_what_was_written_nobody_is_fenced() -> None:
    decision = judge(silent(400.0, around=VOLATILE_TENANT))
    assert (decision.rule, decision.choice) == (638, HOLD)
    assert "the disk of wal there is in a mode that discards" in decision.reason
    (said,) = protection.gaps(Situation(seen(WELL, READY, around=VOLATILE_TENANT), EPOCH, NOW))
    assert said.startswith("db1 is not fenced: the disk of wal there is in a mode that discards")


# -- an address that never answers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("holder", "minion", "so"),
    [(WELL, "db1", True), (WELL, "db2", False), (FAILING, "db1", False), (UNMOUNTED, "db1", False)],
)
def test_an_address_that_does_not_answer_is_a_gap_of_the_holder(holder: Any, minion: str, so: bool) -> None:
    """Nothing but silence is judged by it, so nothing else is held for it."""
    around = Around(mute={minion: "10.0.0.1"})
    situation = Situation(seen(holder, READY, around=around), EPOCH, NOW)
    words = "the address 10.0.0.1 of db1 does not answer this master although db1 is well"
    assert [one.startswith(words) for one in protection.gaps(situation)] == ([True] if so else []) or (
        not so and not any(one.startswith(words) for one in protection.gaps(situation))
    )
    assert decide(situation).rule == judge(seen(holder, READY)).rule
