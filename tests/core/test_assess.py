"""What the tables ask of a node, over all raw values: only a full and current word counts as the good answer."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from tests.core.build import (
    DATA,
    MISPLACED,
    NOWHERE,
    PARTLY,
    THERE,
    UNCLEAR,
    UNREAD,
    WAL,
    active,
    gone,
    look,
    resource,
    says,
    vm,
)
from vmdk_failover.around import Around, Flaws
from vmdk_failover.judgement.assess import NodeSight
from vmdk_failover.model import (
    FAILED_CONDITIONS,
    Condition,
    Disk,
    DiskFacts,
    MountState,
    NodeFacts,
    Power,
    VmFacts,
)

PAIR = (DATA, WAL)


def sight(facts: VmFacts, word: NodeFacts | None = None, disks: tuple[Disk, ...] = (DATA,)) -> NodeSight:
    return look(resource(2, disks), (facts,), (word,)).node("db1")


@pytest.mark.parametrize(
    ("present", "power", "connected"), [*product((True, False, None), Power, (True, False, None))]
)
def test_off_known_and_running(present: bool | None, power: Power, connected: bool | None) -> None:
    one = sight(VmFacts("db1", present=present, power=power, connected=connected, disks=()))
    assert one.off is (present is False or (power is Power.OFF and connected is True))
    assert one.known is (present is False or (power is not Power.UNKNOWN and connected is True))
    assert one.running is (present is True and power is Power.ON and connected is True)
    assert not (one.off and one.running)


@pytest.mark.parametrize(
    ("where", "holds", "complete"),
    [
        (NOWHERE, False, False),
        (PARTLY, True, False),
        (THERE, True, True),
        (MISPLACED, True, False),
        (UNCLEAR, None, False),
        (UNREAD, None, False),
    ],
)
def test_holding(where: str, holds: bool | None, complete: bool) -> None:
    one = sight(vm("db1", where, PAIR), disks=PAIR)
    assert (one.holds, one.complete) == (holds, complete)


def test_a_vm_that_is_gone_holds_nothing() -> None:
    one = sight(gone("db1"))
    assert (one.holds, one.off, one.unfit()) == (False, True, ("its VM is gone from vCenter",))


@pytest.mark.parametrize(
    "other", [DiskFacts(DATA.path, "f" * 32, 1, 0, 1), DiskFacts("[ds1] other.vmdk", DATA.uuid, 1, 0, 1)]
)
def test_a_disk_that_matches_by_half_is_unknown(other: DiskFacts) -> None:
    """A clone has the path of none and the UUID of another; a restored VM the path with another UUID."""
    assert sight(VmFacts("db1", present=True, disks=(other,))).holds is None


def test_a_longer_path_is_another_disk() -> None:
    other = DiskFacts(DATA.path.replace(".vmdk", ".vmdk.vmdk"), "f" * 32, 1, 0, 1)
    assert sight(VmFacts("db1", present=True, disks=(other,))).holds is False


@pytest.mark.parametrize("condition", Condition)
def test_health(condition: Condition) -> None:
    one = sight(vm("db1", THERE), active("db1", condition=condition))
    assert one.healthy is (condition not in FAILED_CONDITIONS)
    assert one.failed is (condition in FAILED_CONDITIONS)


@pytest.mark.parametrize("state", MountState)
def test_only_fully_mounted_is_mounted(state: MountState) -> None:
    assert sight(vm("db1", THERE), says("db1", mounted=state)).mounted is (state is MountState.MOUNTED)


def test_health_needs_all_of_it() -> None:
    for facts, word in (
        (vm("db1"), active("db1")),
        (vm("db1", MISPLACED), active("db1")),
        (vm("db1", THERE, connected=False), active("db1")),
        (vm("db1", THERE, power=Power.UNKNOWN), active("db1")),
        (vm("db1", THERE), says("db1")),
        (vm("db1", THERE), None),
    ):
        assert not sight(facts, word).healthy


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (vm("db1", power=Power.OFF), "its VM is off"),
        (vm("db1", power=Power.SUSPENDED), "its VM is suspended"),
        (vm("db1", power=Power.UNKNOWN), "its VM is in an unknown power state"),
        (vm("db1", connected=False), "its VM is on a host that is not connected to vCenter"),
        (vm("db1", connected=None), "its VM is not readable in vCenter"),
        (vm("db1", controllers=((0, "pvscsi"),)), "its VM has no SCSI controller 1 (add a pvscsi one)"),
        (vm("db1", controllers=((1, "lsilogic"),)), "its SCSI controller 1 is lsilogic, recorded is pvscsi"),
        (vm("db1", slots=frozenset({(1, 0)})), "its SCSI slot 1:0 is taken by another disk"),
        (vm("db1", slots=None), "vCenter does not show its SCSI controllers"),
    ],
)
def test_why_a_node_is_not_fit(facts: VmFacts, words: str) -> None:
    assert words in sight(facts, says("db1")).unfit()


FLAW = Flaws("esx1", ("datastore ds1 is not accessible",))


def flawed(*vms: VmFacts, silent: str = "", of: int = 2, found: Flaws = FLAW) -> list[tuple[str, ...]]:
    """Why each node is not fit, where a check found something in the way of db2."""
    words = [says(one.minion) for one in vms if one.minion != silent]
    seen = look(resource(of), vms, words, around=Around(flaws={"db2": found}))
    return [node.unfit() for node in seen.nodes]


OFF = {"power": Power.OFF}


@pytest.mark.parametrize(
    "holder",
    [
        {},
        {"power": Power.SUSPENDED},
        {"power": Power.UNKNOWN},
        {"connected": False},
        {"connected": False, "power": Power.OFF},
    ],
)
def test_what_a_check_found_counts_while_the_holder_may_run(holder: dict[str, Any]) -> None:
    assert flawed(vm("db1", THERE, **holder), vm("db2"))[1] == FLAW.words


@pytest.mark.parametrize(
    "vms", [(vm("db1", THERE, **OFF), vm("db2")), (vm("db1", **OFF), vm("db2")), (gone("db1"), vm("db2"))]
)
def test_without_anything_to_stop_a_flawed_node_is_better_than_none(vms: tuple[VmFacts, ...]) -> None:
    assert flawed(*vms)[1] == ()


def test_a_flawed_node_is_not_better_than_a_fit_one() -> None:
    three = (vm("db1", THERE, **OFF), vm("db2"), vm("db3"))
    assert flawed(*three, of=3)[1:] == [FLAW.words, ()]
    assert flawed(*three, of=3, silent="db3")[1:] == [(), ("its minion gave no signed answer",)]


@pytest.mark.parametrize("where", [THERE, PARTLY, MISPLACED, UNCLEAR])
def test_a_flaw_says_nothing_of_who_may_have_the_disk(where: str) -> None:
    pair = (vm("db1", **OFF), vm("db2", where, PAIR))
    seen = look(resource(2, PAIR), pair, (says("db2"),), around=Around(flaws={"db2": FLAW}))
    assert seen.node("db2").flaws == ()


def test_a_flaw_is_of_the_host_that_it_was_found_on() -> None:
    assert flawed(vm("db1", THERE), vm("db2", host="esx2"))[1] == ()
    assert flawed(vm("db1", THERE), vm("db2", host="esx2"), found=Flaws("esx2", ("no",)))[1] == ("no",)


def test_who_already_has_the_disk_needs_no_free_slot() -> None:
    assert sight(vm("db1", THERE), says("db1")).unfit() == ()


def test_a_silent_node_is_not_fit() -> None:
    assert sight(vm("db1")).unfit() == ("its minion gave no signed answer",)


def test_a_node_that_is_none_of_the_resource_is_nothing() -> None:
    nobody = look(resource(), ()).node("")
    assert (nobody.holds, nobody.off, nobody.facts) == (False, True, None)


def test_holders_writers_unclear_and_candidates() -> None:
    seen = look(
        resource(3),
        (vm("db1", THERE, power=Power.OFF), vm("db2", THERE), vm("db3", UNCLEAR)),
        (says("db2"), says("db3")),
    )
    assert [n.minion for n in seen.holders] == ["db1", "db2"]
    assert [n.minion for n in seen.writers] == ["db2"]
    assert [n.minion for n in seen.unclear] == ["db3"]
    assert [n.minion for n in seen.candidates("db2")] == []


GIVEN, SWAPPED = "4237bbbb-1234-5678-9abc-000000000001", "bbbb3742-3412-7856-9abc-000000000001"


@pytest.mark.parametrize("said", [GIVEN, GIVEN.upper(), SWAPPED, ""])
def test_a_machine_is_known_in_either_byte_order(said: str) -> None:
    one = sight(vm("db1", THERE, smbios=GIVEN), active("db1", smbios=said))
    assert (one.healthy, one.impostor) == (True, "")


def test_another_machine_has_no_say() -> None:
    """A clone answers with the node's id and key: what it says of itself is not the node's."""
    other = GIVEN.replace("1234", "4321")
    one = sight(vm("db1", THERE, smbios=GIVEN), says("db1", released=7, smbios=other))
    assert (one.facts, one.impostor, one.healthy) == (None, other, False)
    assert other in one.unfit()[0]
