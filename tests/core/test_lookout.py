"""What a look makes of heartbeats, boots, tasks and addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.core.build import THERE, gone, resource, says, vm
from vmdk_failover.daemon.rounds import PACE
from vmdk_failover.model import Crowd, HypervisorFacts, Power, Resource, Signs, VmFacts
from vmdk_failover.presence import heard, lookout, reachable
from vmdk_failover.presence.lookout import BOOT_GRACE, FileLookout, stream_begins_anew

BOOT = heard.master_boot()
BOOTED = "2026-01-01T00:00:00+00:00"


class Site:
    """A lookout on a state directory, with a clock that stands still."""

    def __init__(self, directory: Path) -> None:
        self.now, self.directory = 5000.0, directory
        self.resources: dict[str, Resource] = {"pgdata": resource(2)}
        self.vms: tuple[VmFacts, ...] = ()
        self.readable = True
        self.asked: list[Mapping[str, str]] = []
        self.observed: list[Resource] = []
        self.answer: bool | None = False
        self.reached(db1=True, db2=True)

    def heard(self, *, since: float = -1000.0, **ages: float) -> None:
        """The listener has just written: nodes and when they were heard, seconds ago."""
        nodes = {
            m: heard.Beat("b", 1, f"10.0.0.{m[-1]}", "1", 1.0, self.now - age) for m, age in ages.items()
        }
        heard.write(self.directory, heard.Heard(BOOT, self.now, self.now + since, nodes=nodes))

    def reached(self, **nodes: bool) -> None:
        """What was found out while the nodes were well."""
        notes = {
            m: {"address": f"10.0.0.{m[-1]}", "answers": a, "boot": BOOT, "at": 0.0} for m, a in nodes.items()
        }
        heard.write_plain(self.directory / reachable.NAME, notes)

    def observe(self, of: Resource) -> HypervisorFacts:
        """The ``Hypervisor`` port, as far as it is used."""
        self.observed.append(of)
        names = {n.minion for n in of.nodes}
        return HypervisorFacts(self.readable, "", tuple(v for v in self.vms if v.minion in names))

    def ask(self, addresses: Mapping[str, str]) -> Mapping[str, bool | None]:
        self.asked.append(addresses)
        return dict.fromkeys(addresses, self.answer)

    def lookout(self) -> FileLookout:
        """A fresh one, as each look has it."""
        hypervisor: Any = self
        return FileLookout(self.directory, hypervisor, lambda: self.resources, lambda: self.now, self.ask)

    def signs(self, *silent: str, **facts: Any) -> Mapping[str, Signs]:
        facts = {"boot_time": BOOTED, **facts}
        return self.lookout().signs(HypervisorFacts(True, "", (vm("db1", THERE, **facts), vm("db2"))), silent)

    def silence(self, **facts: Any) -> float | None:
        return self.signs("db1", **facts)["db1"].silent


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.heard(db1=0.0, db2=0.0)
    made.signs()  # the boot is known; it was heard since
    made.now += 1
    return made


def test_an_address_is_not_asked_before_anything_rests_on_it(site: Site) -> None:
    site.now += 300
    site.heard(db1=1.0, db2=0.0)
    assert site.signs("db1")["db1"] == Signs(1.0, None, 1.0, 0.0) and site.asked == []
    site.heard(db1=2.5, db2=0.0)
    assert site.signs("db1")["db1"].address is False and site.asked == [{"db1": "10.0.0.1"}]


def test_the_age_of_the_last_heartbeat(site: Site) -> None:
    site.now += 100
    site.heard(db1=17.0, db2=0.2)
    assert site.signs("db1") == {"db1": Signs(17.0, False, 17.0, 0.0)}
    assert site.asked[-1] == {"db1": "10.0.0.1"}


def test_what_excuses_silence_is_no_heartbeat(site: Site) -> None:
    site.now += 300
    site.heard(db1=60.0, db2=0.0)
    assert site.signs("db1", task="relocate")["db1"] == Signs(0.0, None, 60.0, 0.0)
    site.heard(db2=0.0)
    assert site.signs("db1", task="relocate")["db1"].heard is None
    site.heard(db1=60.0)
    site.now += heard.STALE + 1
    assert site.signs("db1")["db1"].heard == 66.0, "it was heard then, whether anybody listens now or not"


def test_an_address_behind_a_lost_host_is_asked_whatever_excuses_its_silence(site: Site) -> None:
    """A person's word that the host is off may rest on it; so may it on that of another resource's node."""
    site.now += 300
    site.heard(db1=60.0, db9=60.0)
    site.signs("db1", task="relocate")
    assert site.asked == []
    site.signs("db1", "db9", task="relocate", connected=False)
    assert site.asked == [{"db1": "10.0.0.1", "db9": "10.0.0.9"}]


def test_an_address_that_never_answered_says_nothing_by_its_silence(site: Site) -> None:
    site.now += 300
    assert site.signs("db1")["db1"].address is False
    site.reached(db1=False, db2=True)
    assert site.signs("db1")["db1"].address is None
    (site.directory / reachable.NAME).write_text("{torn")
    assert site.signs("db1")["db1"].address is None
    site.answer = True
    assert site.signs("db1")["db1"].address is True


def test_what_can_be_reached_is_found_out_while_nodes_are_well(site: Site) -> None:
    (site.directory / reachable.NAME).unlink()
    site.answer = True
    site.heard(db1=0.5, db2=60.0)
    find = partial(reachable.find_out, site.directory, site.ask, lambda: site.now)
    find()
    assert site.asked == [{"db1": "10.0.0.1"}], "a silent node is not asked: its silence would be believed"
    assert reachable.answered(site.directory, "db1", "10.0.0.1")
    assert not reachable.answered(site.directory, "db1", "10.0.0.9"), "another address is another question"
    site.now += 10
    site.heard(db1=0.5)
    find()
    assert len(site.asked) == 1, "it was asked a moment ago"
    site.now += reachable.AGAIN
    site.answer = False
    site.heard(db1=0.5)
    find()
    assert not reachable.answered(site.directory, "db1", "10.0.0.1"), "a firewall has come between"


def test_an_address_that_does_not_answer_while_the_node_is_well_is_told_after_two_tries(site: Site) -> None:
    (site.directory / reachable.NAME).unlink()
    find = partial(reachable.find_out, site.directory, site.ask, lambda: site.now)

    def told() -> Mapping[str, str]:
        return reachable.mute(site.directory, lambda: site.now)

    def try_it(answer: bool | None, after: float = reachable.AGAIN / 10) -> Mapping[str, str]:
        site.now += after
        site.answer = answer
        site.heard(db1=0.5)
        find()
        return told()

    assert (told(), try_it(False), try_it(False)) == ({}, {}, {"db1": "10.0.0.1"})
    assert try_it(None) == {"db1": "10.0.0.1"}, "what could not be tried did not answer either"
    assert try_it(True) == {}
    assert (try_it(False, reachable.AGAIN), try_it(False)) == ({}, {"db1": "10.0.0.1"})
    site.now += reachable.AGAIN
    assert told() == {}, "nobody has tried for minutes"
    for torn in ('{"db1": 3}', '{"db1": {"answers": false, "missed": "2"}}', "{torn"):
        (site.directory / reachable.NAME).write_text(torn)
        assert told() == {}


def test_nobody_is_asked_while_nobody_is_silent(site: Site) -> None:
    assert (site.signs(), site.asked) == ({}, [])


def test_where_nobody_listens_nothing_is_known(site: Site) -> None:
    site.now += heard.STALE + 1
    assert site.silence() is None
    (site.directory / heard.NAME).unlink()
    assert site.signs("db1")["db1"].silent is None


def test_a_task_restarts_the_clock_also_for_later_looks(site: Site) -> None:
    site.now += 100
    site.heard(db1=60.0)
    assert site.silence(task="relocate") == 0
    site.now += 10
    site.heard(db1=70.0)
    assert site.silence() == 10
    assert site.silence(task=None) == 0, "tasks that cannot be read may be there"


def test_a_boot_gives_time_until_it_is_heard(site: Site) -> None:
    site.now += 100
    site.heard(db1=60.0)
    again = "2026-01-01T01:00:00+00:00"
    assert site.silence(boot_time=again) == -BOOT_GRACE
    site.now += 20
    site.heard(db1=80.0)
    assert site.silence(boot_time=again) == 20 - BOOT_GRACE
    site.now += 20
    site.heard(db1=15.0)
    assert site.silence(boot_time=again) == 15


def test_a_clock_that_was_set_is_no_boot(site: Site) -> None:
    site.now += 100
    site.heard(db1=60.0)
    assert site.silence(boot_time="2026-01-01T00:00:03+00:00") == 60
    assert site.silence(boot_time="") == 60, "what cannot be read has not changed"


def test_what_was_noted_before_the_master_booted_does_not_count(site: Site) -> None:
    path = site.directory / "clocks" / "db1.json"
    heard.write_plain(path, {"boot": "before", "boot_time": BOOTED, "busy": "4999", "booted": "4999"})
    site.now += 100
    site.heard(db1=60.0)
    assert site.silence() == 60


def test_a_stream_that_comes_back_begins_anew(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.now += 100
    site.heard(db1=60.0)
    monkeypatch.setattr("vmdk_failover.presence.lookout.time.monotonic", lambda: site.now - 4)
    stream_begins_anew(site.directory)
    assert site.silence() == 4


@pytest.mark.parametrize(
    "damage",
    ["", "[]", "{", '{"boot": 1}', f'{{"boot": "{BOOT}", "busy": "soon", "booted": [], "at": {{}}}}'],
)
def test_damaged_notes_are_no_notes(site: Site, damage: str) -> None:
    for name in ("clocks/db1.json", "stream.json"):
        (site.directory / name).write_text(damage)
    site.heard(db1=60.0)
    assert site.silence() is not None


def test_an_address_that_could_not_be_tried_is_not_known(site: Site) -> None:
    site.answer = None
    assert site.signs("db1")["db1"].address is None


# -- nodes of other resources ---------------------------------------------------------------------------------


def with_others(site: Site, count: int = 4) -> None:
    """Nodes db3 … of another resource."""
    nodes = tuple(n for n in resource(2 + count).nodes if n.minion not in ("db1", "db2"))
    site.resources["wal"] = replace(resource(), name="wal", nodes=(resource().nodes[0], *nodes))
    site.vms = tuple(vm(n.minion) for n in nodes)


def test_the_crowd_is_of_other_nodes_only(site: Site) -> None:
    assert site.lookout().crowd(resource(), seen()) == Crowd()
    with_others(site)
    site.heard(db3=0.0, db4=1.0, db5=2.0, db6=10.0)
    assert site.lookout().crowd(resource(), seen()) == Crowd(4, 1)


def seen(*vms: VmFacts) -> HypervisorFacts:
    """vCenter's word about the resource's own nodes."""
    return HypervisorFacts(True, "", vms)


def test_who_is_lost_with_a_host_is_counted_apart(site: Site) -> None:
    """db3 ran beside the holder, as the look says; db4 is on another lost host; db5 is alive and silent."""
    with_others(site)
    there = {n.minion: n.vm_uuid for n in site.resources["wal"].nodes}
    gone_host = {"connected": False, "host_connected": False}
    site.vms = (vm("db4", host="esx2", **gone_host), vm("db5"), vm("db6"))
    site.heard(db3=90.0, db4=90.0, db5=90.0, db6=0.0)
    own = vm("db1", THERE, beside=(("db3", there["db3"]), ("web1", "5037")), **gone_host)
    found = site.lookout().crowd(resource(host_fence="own.off"), seen(own))
    assert found == Crowd(2, 1, (("esx1", 1), ("esx2", 1)))
    (asked,) = site.observed
    assert ([n.minion for n in asked.nodes], asked.host_fence) == (["db4", "db5"], "")


def test_what_is_stopped_is_no_part_of_the_crowd(site: Site) -> None:
    with_others(site)
    stopped = (
        vm("db3", power=Power.OFF),
        gone("db4"),
        vm("db5", power=Power.SUSPENDED),
        vm("db6", power=Power.UNKNOWN),
    )
    site.vms = stopped
    site.heard(db3=90.0, db4=90.0, db5=90.0, db6=90.0)
    assert site.lookout().crowd(resource(), seen()) == Crowd(1, 1)
    site.readable = False
    assert site.lookout().crowd(resource(), seen()) == Crowd(4, 4), "what cannot be read may be running"


def test_questions_in_vain_are_counted_anew_from_what_excuses_silence(site: Site) -> None:
    """An agent that was dead before a boot has its whole time again after it."""

    def unanswered(**facts: Any) -> float | None:
        return site.signs("db1", **facts)["db1"].unanswered

    site.signs("db1")
    site.now += 60.0
    assert unanswered() == 60.0
    assert unanswered(boot_time="2026-01-02T00:00:00+00:00") == 0.0
    site.now += 30.0
    site.heard(db1=0.5, db2=0.0)
    assert unanswered(boot_time="2026-01-02T00:00:00+00:00") == 30.0
    assert unanswered(boot_time="2026-01-02T00:00:00+00:00", task="relocate") == 0.0
    site.now += 5.0
    assert unanswered(boot_time="2026-01-02T00:00:00+00:00") == 5.0


def test_a_node_of_a_thousand_resources_is_asked_often_enough_to_count(site: Site) -> None:
    """A round of looks that nobody has asked for takes so long; ``agent_timeout`` would never be over otherwise."""
    turn = 1000 * PACE
    found = []
    for _ in range(4):
        site.heard(db1=0.5, db2=0.0)
        found.append(site.signs("db1")["db1"].unanswered)
        site.now += turn
    assert found == [0.0, turn, 2 * turn, 3 * turn]


def test_questions_in_vain_are_counted_from_the_first_of_their_row(site: Site) -> None:
    def unanswered() -> float | None:
        site.heard(db1=0.5, db2=0.0)
        return site.signs("db1")["db1"].unanswered

    assert unanswered() == 0.0
    site.now += 30.0
    assert unanswered() == 30.0
    lookout.answered(site.directory, says("db2"))
    site.now += lookout.IN_A_ROW - 1
    assert unanswered() == 30.0 + lookout.IN_A_ROW - 1
    lookout.answered(site.directory, says("db1"))
    assert unanswered() == 0.0, "it has answered meanwhile"
    site.now += lookout.IN_A_ROW
    assert unanswered() == 0.0, "nobody has asked for so long that nobody knows"
    (site.directory / "unanswered" / "db1.json").write_text('{"since": "x", "last": 1}', encoding="utf-8")
    assert unanswered() == 0.0


def test_the_answer_of_who_is_heard_and_was_asked_in_vain_may_be_late_for_a_while(site: Site) -> None:
    def late(minion: str = "db1") -> bool:
        return lookout.may_be_late(site.directory, minion, lambda: site.now)

    site.heard(db1=1.0, db2=1.0)
    assert not late(), "nothing was asked in vain"
    site.signs("db1")
    assert late() and not late("db2")
    site.heard(db1=lookout.JUST_HEARD, db2=0.0)
    assert not late(), "it is not heard, and may be dead"
    site.heard(db1=1.0, db2=0.0)
    assert late()
    lookout.answered(site.directory, says("db1"))
    assert not late(), "it has answered"
    for _ in range(3):
        site.signs("db1")
        site.now += lookout.SO_LONG / 2
        site.heard(db1=1.0, db2=0.0)
    assert not late(), "that is no line, it does not answer"
    site.now += lookout.AGAIN
    site.heard(db1=1.0, db2=0.0)
    assert late(), "nobody has asked for so long that there may be a line again"
    site.now += lookout.IN_A_ROW
    site.heard(db1=1.0, db2=0.0)
    assert not late(), "that row has ended"
    (site.directory / "unanswered" / "db1.json").write_text('{"since": "x"}', encoding="utf-8")
    assert not late()
