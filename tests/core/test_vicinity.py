"""Notes of the master around a resource, on real files; hooks of an administrator; a person's word that a host is off."""

from __future__ import annotations

import json
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.core.build import DATA, THERE, VOLATILE, WAL, resource, vm
from tests.core.test_engine import FORCE, Site
from tests.core.test_hosts import crash, lose_host
from tests.doubles import engine
from tests.doubles.clock import FakeClock
from tests.doubles.vicinity import FakeVicinity
from vmdk_failover.app import App, state_dir
from vmdk_failover.around import Around, Confirmed, Flaws
from vmdk_failover.commands import operate
from vmdk_failover.commands.confirming import confirm_off
from vmdk_failover.commands.powering import power_off
from vmdk_failover.daemon import fitness
from vmdk_failover.errors import JournalError, OutcomeUnknown, Refused, StepFailed
from vmdk_failover.hooks import RunnerHooks
from vmdk_failover.judgement.config import Settings
from vmdk_failover.model import Condition, HypervisorFacts, Node, Power, VmFacts
from vmdk_failover.presence import heard, reachable
from vmdk_failover.presence.vicinity import FLAWED, LASTS, TO_RESTART, FileVicinity

PGDATA = resource()
PGWAL = replace(resource(disks=(WAL,)), name="wal")
WORD = Confirmed("esx1", "", "alice said that esx1 is off")
LOST = vm("db1", THERE, connected=False)
ELSEWHERE = (Node("db9", "00000000-0000-0000-0000-000000000009"),)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(now=1000.0)


@pytest.fixture
def vicinity(tmp_path: Path, clock: FakeClock) -> FileVicinity:
    return FileVicinity(
        tmp_path, lambda: {"pgdata": PGDATA, "wal": PGWAL}, lambda name: False, clock.monotonic
    )


def look(vicinity: FileVicinity, *vms: VmFacts, of: Any = PGDATA) -> Around:
    return vicinity.look(of, HypervisorFacts(True, "", vms))


# -- tenants --------------------------------------------------------------------------------------------------


def test_tenants_are_other_resources_whose_disk_a_vm_lists(vicinity: FileVicinity) -> None:
    both = vm("db1", THERE, (DATA, WAL))
    found = look(vicinity, both, vm("db2")).tenants
    assert ([t.name for t in found["db1"]], found.get("db2", ())) == (["wal"], ())


@pytest.mark.parametrize("half", [replace(WAL, uuid="f" * 32), replace(WAL, path="[ds1] moved.vmdk")])
def test_a_disk_that_matches_by_half_is_a_tenant_too(vicinity: FileVicinity, half: Any) -> None:
    found = look(vicinity, vm("db1", THERE, (half,))).tenants
    assert [t.name for t in found["db1"]] == ["wal"]


def test_a_tenant_in_a_mode_that_discards_is_told_as_one(vicinity: FileVicinity) -> None:
    both = vm("db1", VOLATILE, (DATA, WAL))
    assert [t.discards for t in look(vicinity, both).tenants["db1"]] == [True]
    mine = (*vm("db1", VOLATILE).disks, *vm("db1", THERE, (WAL,)).disks)  # type: ignore[misc]
    assert [t.discards for t in look(vicinity, replace(both, disks=mine)).tenants["db1"]] == [False]


def test_who_may_have_a_node_on_the_lost_host_is_a_tenant_too(vicinity: FileVicinity) -> None:
    known = replace(vicinity, resources=lambda: {"pgdata": PGDATA, "wal": replace(PGWAL, nodes=ELSEWHERE)})
    there = replace(LOST, beside=(("db9", ELSEWHERE[0].vm_uuid),))
    assert [t.name for t in look(known, there).tenants["db1"]] == ["wal"]
    assert look(known, replace(LOST, beside=(("web1", "5037"),))).tenants["db1"] == ()


def test_a_journal_that_cannot_be_read_counts_as_paused(vicinity: FileVicinity) -> None:
    def broken(name: str) -> bool:
        raise JournalError("the journal is damaged")

    both = vm("db1", THERE, (DATA, WAL))
    assert look(replace(vicinity, paused=broken), both).tenants["db1"][0].paused
    assert not look(vicinity, both).tenants["db1"][0].paused


# -- addresses ------------------------------------------------------------------------------------------------


def test_an_address_that_did_not_answer_is_known_around(vicinity: FileVicinity) -> None:
    assert look(vicinity, vm("db1")).mute == {}
    note = {"address": "10.0.0.1", "answers": False, "missed": 2, "boot": heard.master_boot(), "at": 990.0}
    heard.write_plain(vicinity.state_dir / reachable.NAME, {"db1": note, "db2": {**note, "missed": 1}})
    assert look(vicinity, vm("db1")).mute == {"db1": "10.0.0.1"}


# -- faults of others -----------------------------------------------------------------------------------------


def test_a_fault_is_told_to_the_others_of_the_datastore_for_a_minute(
    vicinity: FileVicinity, clock: FakeClock
) -> None:
    vicinity.ailing(PGWAL, vm("db7", host="esx7"), "io_error")
    (found,) = look(vicinity, vm("db1")).ailing
    assert (found.resource, found.node, found.condition) == ("wal", "db7", "io_error")
    assert (found.hosts, found.datastores) == ({"esx7"}, {"ds1"})
    assert look(vicinity, vm("db1"), of=PGWAL).ailing == (), "its own fault is none of another's"
    clock.now += LASTS
    assert look(vicinity, vm("db1")).ailing == ()


def test_a_fault_ends_when_it_is_taken_back_and_keeps_its_hosts_until_then(vicinity: FileVicinity) -> None:
    for host in ("esx7", "esx8"):
        vicinity.ailing(PGWAL, vm("db7", host=host), "io_error")
    assert look(vicinity, vm("db1")).ailing[0].hosts == {"esx7", "esx8"}
    vicinity.ailing(PGWAL, None, "")
    vicinity.ailing(PGWAL, None, "")
    assert look(vicinity, vm("db1")).ailing == ()


def test_another_datastore_is_another_matter(vicinity: FileVicinity) -> None:
    elsewhere = replace(PGWAL, disks=(replace(WAL, path="[ds2] shared/pgwal.vmdk"),))
    vicinity.ailing(elsewhere, vm("db7"), "io_error")
    assert look(vicinity, vm("db1")).ailing == ()


@pytest.mark.parametrize("rubbish", ["", "{", "[]", '{"at": "x"}', '{"at": 990, "boot": "other"}'])
def test_a_damaged_note_says_nothing(vicinity: FileVicinity, rubbish: str) -> None:
    vicinity.ailing(PGWAL, vm("db7"), "io_error")
    (vicinity.state_dir / "ailing" / "wal.json").write_text(rubbish)
    assert look(vicinity, vm("db1")).ailing == ()


# -- what checks found ---------------------------------------------------------------------------------------

NO_STORE = {"db2": Flaws("esx2", ("datastore ds1 is not accessible from host esx2 of db2",))}


def test_what_a_check_found_counts_until_the_next_ones_are_due(
    vicinity: FileVicinity, clock: FakeClock
) -> None:
    vicinity.find("pgdata", NO_STORE)
    assert look(vicinity, vm("db1")).flaws == NO_STORE
    assert look(vicinity, vm("db1"), of=PGWAL).flaws == {}
    clock.now += fitness.AGAIN * 2 + fitness.PAUSE
    assert look(vicinity, vm("db1")).flaws == NO_STORE, "one check may come late"
    clock.now = 1000.0 + FLAWED
    assert look(vicinity, vm("db1")).flaws == {}, "nobody checks any more"


def test_a_check_that_finds_nothing_ends_it(vicinity: FileVicinity) -> None:
    vicinity.find("pgdata", NO_STORE)
    vicinity.find("pgdata", {})
    vicinity.find("pgdata", {})
    assert look(vicinity, vm("db1")).flaws == {}


def test_what_was_found_of_what_it_depends_on_is_known_too(vicinity: FileVicinity) -> None:
    above = replace(PGDATA, depends_on=("wal",))
    vicinity.find("wal", NO_STORE)
    (below,) = replace(vicinity, resources=lambda: {"pgdata": above, "wal": PGWAL}).kin(above)
    assert (below.name, below.flaws) == ("wal", NO_STORE)
    site = Site(depends_on=("wal",))
    site.vicinity.relatives = (replace(below, resource=PGWAL),)
    (kin,) = site.engine().look(site.resource)[0].kin
    assert kin.unfit["db2"] == (), "it was found on another host"
    site.db2.vm.host = "esx2"
    site.hypervisor.vms[0].plug(WAL)
    (kin,) = site.engine().look(site.resource)[0].kin
    assert kin.unfit["db2"] == NO_STORE["db2"].words


@pytest.mark.parametrize(
    "nodes", ["[]", '"db2"', '{"db2": null}', '{"db2": {"host": "esx2"}}', '{"db2": {"words": 3, "host": 1}}']
)
def test_a_damaged_finding_is_none(vicinity: FileVicinity, nodes: str) -> None:
    vicinity.find("pgdata", NO_STORE)
    path = vicinity.state_dir / "flaws" / "pgdata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "nodes": json.loads(nodes)}))
    assert look(vicinity, vm("db1")).flaws == {}


# -- words about hosts ----------------------------------------------------------------------------------------


def words(vicinity: Any, *vms: VmFacts) -> dict[str, Confirmed]:
    """What is known of hosts, whenever it was said."""
    return {m: replace(word, ago=None) for m, word in look(vicinity, *vms).confirmed.items()}


def test_a_word_lasts_until_the_host_is_back(vicinity: FileVicinity) -> None:
    vicinity.confirm("db1", WORD)
    assert words(vicinity, LOST) == {"db1": WORD}
    assert words(vicinity, replace(LOST, connected=None)) == {"db1": WORD}
    assert words(vicinity, replace(LOST, host_connected=False)) == {"db1": WORD}
    assert words(vicinity, vm("db1", THERE)) == {}
    vicinity.confirm("db1", WORD)
    assert words(vicinity, replace(LOST, host_connected=True)) == {}
    assert words(vicinity, LOST) == {}, "it does not come back with the next loss"


def test_a_host_that_is_back_is_back_for_all_its_nodes(vicinity: FileVicinity) -> None:
    for minion in ("db1", "db9"):
        vicinity.confirm(minion, WORD)
    look(vicinity, vm("db9", host="esx2"))  # vSphere HA has restarted this one elsewhere
    assert words(vicinity, LOST) == {"db1": WORD}
    look(vicinity, vm("db9", host="esx1"))
    assert words(vicinity, LOST) == {}, "it was not looked at while its host was back"


@pytest.fixture(params=["notes", "double"])
def either(request: pytest.FixtureRequest, vicinity: FileVicinity, clock: FakeClock) -> Any:
    """The real notes, and what stands for them elsewhere."""
    if request.param == "double":
        return FakeVicinity(clock=clock.monotonic, nodes=(*PGDATA.nodes, *ELSEWHERE))
    return replace(vicinity, resources=lambda: {"pgdata": PGDATA, "wal": replace(PGWAL, nodes=ELSEWHERE)})


def test_a_word_that_was_disproved_is_void_for_the_host_until_a_new_one(
    either: Any, clock: FakeClock
) -> None:
    for minion, host in (("db1", "esx1"), ("db2", "esx2"), ("db9", "esx1")):
        either.confirm(minion, replace(WORD, host=host))
    vms = LOST, vm("db2", host="esx2", connected=False)
    assert look(either, *vms).beside == {"esx1": ELSEWHERE}
    either.refute("esx1", "db9 has answered since")
    either.refute("esx1", "db1 has answered since")
    assert {m: word.against for m, word in look(either, *vms).confirmed.items()} == {
        "db1": "db9 has answered since",
        "db2": "",
    }
    assert look(either, *vms).beside == {}
    clock.now += 5.0
    either.confirm("db1", look(either, *vms).confirmed["db1"])
    assert words(either, LOST) == {"db1": WORD}


def test_how_long_ago_a_word_was_said_is_known(either: Any, clock: FakeClock) -> None:
    either.confirm("db1", WORD)
    clock.now += 40.0
    assert look(either, LOST).confirmed["db1"].ago == 40.0


@pytest.mark.parametrize(("more", "ago"), [({}, None), ({"at": 9e9, "boot": "an earlier one"}, float("inf"))])
def test_a_word_of_an_older_release_or_boot_still_counts(
    vicinity: FileVicinity, more: dict[str, Any], ago: float | None
) -> None:
    path = vicinity.state_dir / "hosts_off" / "db1.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"host": "esx1", "boot_time": "", "words": WORD.words, **more}))
    assert look(vicinity, LOST).confirmed == {"db1": replace(WORD, ago=ago)}


def test_a_disproof_that_cannot_be_written_holds_everything(
    vicinity: FileVicinity, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, plain: Any) -> None:
        raise OSError(28, "No space left on device")

    vicinity.confirm("db1", WORD)
    monkeypatch.setattr("vmdk_failover.presence.heard.write_plain", full)
    with pytest.raises(JournalError, match="db1 has answered since: No space left on device; remove it"):
        vicinity.refute("esx1", "db1 has answered since")


def test_a_word_that_cannot_be_forgotten_holds_everything(vicinity: FileVicinity) -> None:
    (vicinity.state_dir / "hosts_off" / "db1.json").mkdir(parents=True)  # nothing that could be unlinked
    with pytest.raises(JournalError, match="cannot be removed"):
        look(vicinity, vm("db1", THERE))


def test_a_damaged_word_is_none(vicinity: FileVicinity) -> None:
    vicinity.confirm("db1", WORD)
    (vicinity.state_dir / "hosts_off" / "db1.json").write_text('{"host": "esx1"}')
    assert look(vicinity, LOST).confirmed == {}


def test_a_node_to_restart_is_remembered_until_it_runs(vicinity: FileVicinity) -> None:
    off = vm("db1", power=Power.OFF)
    vicinity.restart("db1", True)
    assert look(vicinity, off).to_restart == {"db1"}
    assert look(vicinity, vm("db1")).to_restart == frozenset()
    assert look(vicinity, off).to_restart == frozenset(), "somebody has powered it on and off again"


def test_a_node_is_not_to_be_restarted_hours_after_its_fence(
    vicinity: FileVicinity, clock: FakeClock
) -> None:
    """Somebody may have the machine in hand by then."""
    off = vm("db1", power=Power.OFF)
    vicinity.restart("db1", True)
    clock.now += TO_RESTART - 1
    assert look(vicinity, off).to_restart == {"db1"}
    clock.now += 1
    assert look(vicinity, off).to_restart == frozenset()
    assert not (vicinity.state_dir / "restart" / "db1.json").exists()


@pytest.mark.parametrize("note", ['{"wanted": true}', '{"wanted": true, "at": 990, "boot": "other"}'])
def test_a_restart_of_unknown_age_is_none(vicinity: FileVicinity, note: str) -> None:
    vicinity.restart("db1", True)
    (vicinity.state_dir / "restart" / "db1.json").write_text(note)
    assert look(vicinity, vm("db1", power=Power.OFF)).to_restart == frozenset()


# -- hooks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [True, {"off": True, "host": "esx1"}])
def test_a_hook_says_that_it_is_off(answer: Any) -> None:
    seen: list[Any] = []
    hooks = RunnerHooks(lambda function, facts: (seen.append((function, facts)), answer)[1])
    assert "own.off" in hooks.call("own.off", {"host": "esx1"}, 5.0)
    assert seen == [("own.off", {"host": "esx1"})]


@pytest.mark.parametrize("answer", [None, False, "True", 1, {"off": "yes"}, {}, [True]])
def test_any_other_answer_is_a_no(answer: Any) -> None:
    with pytest.raises(StepFailed, match="did not say"):
        RunnerHooks(lambda function, facts: answer).call("own.off", {}, 5.0)


def test_a_hook_that_raises_has_failed() -> None:
    def broken(function: str, facts: Any) -> Any:
        raise KeyError("bmc")

    with pytest.raises(StepFailed, match="KeyError"):
        RunnerHooks(broken).call("own.off", {}, 5.0)


def test_what_a_hook_raises_or_prints_is_not_passed_on_only_a_line_that_it_returns() -> None:
    argv = ["ipmitool", "-P", "s3cret", "power", "off"]

    def said(answer: Any) -> str:
        def run(function: str, facts: Any) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        with pytest.raises(StepFailed) as raised:
            RunnerHooks(run).call("own.off", {}, 5.0)
        assert raised.value.__cause__ is None
        return raised.value.reason

    cache = "see Salt's job cache, 'salt-run jobs.list_jobs search_function=runner.own.off'"
    assert said(subprocess.CalledProcessError(1, argv)) == f"own.off failed (CalledProcessError; {cache})"
    by_salt = f"Exception occurred in runner own.off: Traceback (most recent call last):\n{argv}"
    for answer in (by_salt, {"off": False, "argv": argv}, "s3cret" * 50):
        assert said(answer) == f"own.off did not say that it is off: {cache}"
    assert said("the board is dead") == "own.off did not say that it is off: the board is dead"


def test_a_hook_that_hangs_is_unknown_in_time() -> None:
    free = threading.Event()
    with pytest.raises(OutcomeUnknown, match="no answer"):
        RunnerHooks(lambda function, facts: free.wait(30)).call("own.off", {}, 0.1)
    free.set()


# -- confirm_off and status -----------------------------------------------------------------------------------


class Desk(Site):
    """A site with the real notes, and the little of the product's composition that operators' requests need."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(**options)
        self.hypervisor._check_lock = lambda vm, disk: None  # type: ignore[method-assign] # a dead host's lock runs out
        self.db2.vm.host = "esx2"
        notes = FileVicinity(folder, lambda: {"pgdata": self.resource}, lambda name: False)
        self.vicinity = notes  # type: ignore[assignment]
        self.app = App({"vmdk": {"resources_dir": str(folder)}, "root_dir": str(folder)}, client=self.guest)
        self.app.journal, self.app.lock, self.app.clock = self.journal, self.lock, self.clock  # type: ignore[assignment]
        parts = {"hypervisor": self.hypervisor, "vicinity": notes, "engine": self.engine()}
        self.app.__dict__.update(parts, settings=Settings(None, {"pgdata": self.resource}))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_confirm_off_lets_a_held_resource_go_on(desk: Desk) -> None:
    lose_host(desk.db1)
    crash(desk.db1)
    assert desk.run() == ("held", 545)
    answer = confirm_off(desk.app, "db1", "alice")
    assert (answer["host"], answer["confirmed"], answer["resources"]) == ("esx1", ["db1"], ["pgdata"])
    assert desk.run() == ("done", 70)
    assert desk.acts() == ["attach db2", "mount db2"]
    (line,) = (e["confirmed_off"] for e in desk.journal.history("pgdata") if "confirmed_off" in e)
    assert (line["nodes"], "alice said" in line["words"]) == (["db1"], True)


def test_a_lost_journal_does_not_keep_a_person_from_saying_that_a_host_is_off(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To adopt the world needs that word, and the word must not need what is to be adopted."""
    lose_host(desk.db1)

    def lost(resource: str) -> Any:
        raise JournalError("the journal of pgdata is lost")

    monkeypatch.setattr(desk.journal, "state", lost)
    assert confirm_off(desk.app, "db1", "alice")["confirmed"] == ["db1"]
    desk.db1.cut = False
    with pytest.raises(Refused, match="db1 answers"):
        confirm_off(desk.app, "db1", "alice")


def test_confirm_off_in_mid_move_lets_the_move_go_on(desk: Desk) -> None:
    desk.db1.stuck = True
    desk.hypervisor.before = lambda step: (lose_host(desk.db1), crash(desk.db1), None)[2]
    assert desk.run(FORCE) == ("held", 45)
    confirm_off(desk.app, "db1")
    assert desk.run() == ("done", 70)


@pytest.mark.parametrize("sign", ["address", "heartbeat"])
def test_a_sign_of_life_in_mid_move_keeps_the_disk_where_it_is(desk: Desk, sign: str) -> None:
    desk.db1.stuck = True
    desk.hypervisor.before = lambda step: lose_host(desk.db1)
    assert desk.run(FORCE) == ("held", 45)
    desk.clock.now += 30.0
    confirm_off(desk.app, "db1")
    desk.db1.silent, desk.db1.cut = True, sign != "address"
    if sign == "heartbeat":
        desk.lookout.last["db1"] = desk.clock.now
    before = desk.acts()
    assert (desk.run(), desk.acts()) == (("held", 45), before)
    assert "that word does not count now" in str(desk.journal.state("pgdata").hold)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("well", "connected: power db1 off there"),
        ("answers", "db1 answers"),
        ("address", "the address of db1 answers"),
        ("heartbeat", "db1 sent a signed heartbeat a moment ago"),
        ("deleted", "nothing that could be confirmed"),
    ],
)
def test_confirm_off_is_refused_while_something_lives(desk: Desk, what: str, words: str) -> None:
    if what == "deleted":
        desk.hypervisor.vms.remove(desk.db1.vm)
    elif what != "well":
        desk.db1.vm.connected = False
        desk.db1.silent, desk.db1.cut = what == "address", what == "heartbeat"
        if what == "heartbeat":
            desk.lookout.last["db1"] = desk.clock.now
    with pytest.raises(Refused, match=words):
        confirm_off(desk.app, "db1")
    assert not (desk.app.vicinity.state_dir / "hosts_off").exists()


def test_confirm_off_of_a_stranger_is_refused(desk: Desk) -> None:
    with pytest.raises(Refused, match="not a node of any resource"):
        confirm_off(desk.app, "db9")


def test_confirm_off_is_refused_when_another_node_of_that_host_lives(tmp_path: Path) -> None:
    desk = Desk(tmp_path, nodes=3)
    lose_host(desk.db1)
    desk.db2.vm.host, desk.db2.vm.connected = "esx1", False  # its agent answers
    with pytest.raises(Refused, match="db2 answers"):
        confirm_off(desk.app, "db1")


def status(desk: Desk) -> dict[str, Any]:
    found: dict[str, Any] = operate.status(desk.app, "pgdata")
    return found


def test_status_says_protected(desk: Desk) -> None:
    with engine.running(state_dir(desk.app.opts)):
        found = status(desk)
    of = found["resources"]["pgdata"]
    assert (found["all_well"], of["state"], of["protected"], of["not_protected_because"]) == (
        True,
        "active",
        True,
        [],
    )


def test_all_is_not_well_while_nobody_watches(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    found = status(desk)
    assert (found["all_well"], found["engine"], found["faults"]) == (False, False, [])
    assert found["resources"]["pgdata"]["protected"]
    with engine.running(state_dir(desk.app.opts)):
        assert (status(desk)["all_well"], status(desk)["engine"]) == (True, True)
    monkeypatch.setattr(App, "bystander", "this master only watches")  # the other one's engine counts
    assert (status(desk)["all_well"], status(desk)["engine"]) == (True, False)


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (lambda d: d.db1.vm.snapshot(), "has a snapshot"),
        (lambda d: setattr(d.db2, "silent", True), "db2: its minion gave no signed answer"),
        (lambda d: setattr(d.db2, "unready", ("mount is not installed",)), "db2: mount is not installed"),
        (lambda d: setattr(d.db2.vm, "controllers", ()), "db2: its VM has no SCSI controller 1"),
        (lambda d: d.db2.vm.turn(Power.OFF), "db2: its VM is off"),
        (lambda d: setattr(d.db1.vm, "question", "CD-ROM?"), "CD-ROM?"),
        (lambda d: setattr(d.db2.vm, "question", "CD-ROM?"), "db2: its VM waits for an answer"),
        (lambda d: d.app.vicinity.find("pgdata", NO_STORE), "db2: datastore ds1 is not accessible"),
    ],
)
def test_status_says_not_protected_beforehand(desk: Desk, trouble: Any, words: str) -> None:
    trouble(desk)
    with engine.running(state_dir(desk.app.opts)):
        found = status(desk)
    of = found["resources"]["pgdata"]
    assert (found["all_well"], of["state"], of["active"], of["protected"]) == (False, "active", "db1", False)
    assert any(words in one for one in of["not_protected_because"]), of
    assert "NOT PROTECTED" in of["reason"] and words in of["reason"]


def test_status_of_what_is_held_says_why_and_is_not_protected(desk: Desk) -> None:
    desk.db1.trouble, desk.db2.silent = Condition.IO_ERROR, True
    of = status(desk)["resources"]["pgdata"]
    assert (of["state"], of["protected"], of["rule"]) == ("held", False, 670)
    assert of["not_protected_because"] == [of["reason"]]


def test_a_note_that_cannot_be_removed_ends_no_look(vicinity: FileVicinity, tmp_path: Path) -> None:
    """As on a file system that has become read-only: there, even what is not there cannot be removed."""
    (tmp_path / "ailing").write_text("no folder")
    vicinity.ailing(PGDATA, None, "")
    assert look(vicinity, vm("db1", THERE)).ailing == ()


def test_a_node_that_a_person_powers_off_is_not_started_again(desk: Desk) -> None:
    desk.app.vicinity.restart("db2", True)  # a fence of a moment ago promised that
    assert power_off(desk.app, "db2", test=True) == {"node": "db2", "off": False, "changed": True}
    assert (desk.app.vicinity.state_dir / "restart/db2.json").exists()
    assert power_off(desk.app, "db2") == {"node": "db2", "off": True, "changed": True}
    assert not (desk.app.vicinity.state_dir / "restart/db2.json").exists()
    assert desk.run() == ("nothing", 600)
    desk.app.vicinity.restart("db2", True)
    assert power_off(desk.app, "db2") == {"node": "db2", "off": True, "changed": False}
    assert desk.run() == ("nothing", 600), "it was off already, and is to stay so"
