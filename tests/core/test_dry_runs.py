"""Whatever changes something can be tried first: it says what would be done, writes nothing, and minds every argument."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import salt.minion
from salt.utils.args import parse_input

from tests.core.build import resource
from tests.core.golden_stage import Stage
from tests.core.test_appointed import Master
from tests.core.test_looked_at_now import runner  # noqa: F401
from tests.doubles import engine
from vmdk_failover.commands import confirming, operate, rotation
from vmdk_failover.daemon import appointed
from vmdk_failover.errors import FailoverError, Refused
from vmdk_failover.model import Move, MoveKind, Outcome, Result, Step, StepKind, to_plain
from vmdk_failover.store import schedule
from vmdk_failover.views import terminal

#: Runner functions that change nothing of a resource, a node or what is recorded; and ``recover``, whose dry run is ``plan``.
HARMLESS = {"recover", "status", "watch", "plan", "history", "report", "doctor", "rules", "genuine"}


def functions(module: ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name, one in inspect.getmembers(module, inspect.isfunction):
        if not name.startswith("_") and one.__module__ == module.__name__:
            yield name, one


# -- arguments ------------------------------------------------------------------------------------------------


def typed(runner: ModuleType, name: str, *words: str) -> Any:  # noqa: F811
    """Call a function as ``salt-run`` does."""
    function = getattr(runner, name)
    arguments, keywords = salt.minion.load_args_and_kwargs(function, parse_input(words))
    return function(*arguments, **keywords)


@pytest.fixture
def bare(runner: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:  # noqa: F811
    """The runner without anything behind it: whatever gets there is an error."""

    def nothing(work: Any) -> Any:
        raise AssertionError("it was begun")

    monkeypatch.setattr(runner, "_with_app", nothing)
    runner.__dict__["__context__"] = {}
    return runner


@pytest.mark.parametrize(
    "words",
    [
        ("clear", "pgdata", "tset=True"),
        ("switchover", "pgdata", "to=db2"),
        ("failover", "pgdata", "db2", "x", "y"),
        ("confirm_off",),
        ("rotate_keys", "now=True"),
        ("status", "pgdata", "verbose=True"),
        ("pause", "pgdata", "until=ever"),
        ("recover", "pgdata", "force=True"),
        ("rules", "policy"),
    ],
)
def test_an_argument_that_is_not_known_is_a_failure(bare: ModuleType, words: tuple[str, ...]) -> None:
    """Salt by itself prints the manual and ends with 0."""
    said = typed(bare, *words)
    assert (said["ok"], said["retcode"], said["code"]) == (False, 1, "refused")
    assert said["error"].startswith(f"vmdk.{words[0]}") and "takes" in said["error"]


def test_every_function_minds_its_arguments(bare: ModuleType) -> None:
    for name, function in functions(bare):
        assert "__wrapped__" not in vars(function), name
        if name not in ("protect", "edit"):  # options of a resource are minded where they are read
            assert typed(bare, name, "no_such=1")["retcode"] == 1


def test_what_salt_adds_itself_is_no_argument(runner: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(runner, "_with_app", lambda work: "begun")
    assert runner.clear("pgdata", __pub_jid="1") == runner.pause("pgdata", __pub_jid="1") == "begun"


def test_whatever_changes_something_has_a_dry_run(runner: ModuleType) -> None:  # noqa: F811
    """By the signature behind the one that Salt sees."""
    source = Path(str(runner.__file__)).read_text(encoding="utf-8")
    for name, _ in functions(runner):
        line = source[source.index(f"\ndef {name}(") :].splitlines()[1]
        assert ("test=False" in line) is (name not in HARMLESS), name


# -- nothing is written ---------------------------------------------------------------------------------------


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Master]:
    with engine.running(tmp_path):
        yield Master(tmp_path)


@pytest.fixture
def stage() -> Iterator[Stage]:
    here = Stage([resource()], {"pgdata": "db1"})
    yield here
    here.close()


def files(place: Path) -> dict[str, bytes]:
    return {str(one): one.read_bytes() for one in sorted(place.rglob("*")) if one.is_file()}


def words(answer: Any) -> str:
    """What a person reads of it."""
    lines = terminal.lines(answer)
    assert lines is not None
    return "\n".join(lines)


def test_maintenance_and_appointments(master: Master, tmp_path: Path) -> None:
    appointed.pause(master, "web")
    schedule.write(tmp_path, "web", schedule.Plan(2e9, "db2"))
    master.keys.secret()
    before = files(tmp_path)
    dry = [
        (appointed.pause(master, "pgdata", "2h", test=True), "pgdata: would be in maintenance until "),
        (appointed.pause(master, "all", test=True), "pgdata, web: would be in maintenance;"),
        (appointed.resume(master, "web", test=True), "web: maintenance would end."),
        (appointed.resume(master, "all", test=True), "web: maintenance would end."),
        (appointed.cancel(master, "web", test=True), "web: the switchover to db2 at "),
        (appointed.plan(master, "pgdata", "db2", "22:00", test=True), "pgdata: switchover to db2 would be planned"),
        (appointed.plan(master, "web", "db2", "22:00", test=True), "web: switchover to db2 would be planned"),
        (appointed.resume(master, "pgdata", test=True), "pgdata is not in maintenance; nothing would be done."),
        (rotation.rotate_keys(master, test=True), "New keys would be made; nothing was done."),
    ]  # fmt: skip
    for answer, begins in dry:
        assert answer["test"] is True and words(answer).startswith(begins), answer
    assert "would be cancelled" in words(dry[4][0]) and dry[-1][0]["waiting_for"] == ["db1", "db2"]
    assert "\n  It would replace the one at 2033-05-18 " in words(dry[6][0])
    assert files(tmp_path) == before


def test_what_would_be_refused_is_refused_in_a_dry_run_too(
    master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong: list[Callable[[], Any]] = [
        lambda: appointed.pause(master, "pgdata", "ever", test=True),
        lambda: appointed.pause(master, "nobody", test=True),
        lambda: appointed.resume(master, "nobody", test=True),
        lambda: appointed.cancel(master, "web", test=True),
        lambda: appointed.plan(master, "pgdata", "dbx", "22:00", test=True),
        lambda: appointed.plan(master, "pgdata", "", "soon", test=True),
    ]
    for one in wrong:
        with pytest.raises(FailoverError):
            one()
    monkeypatch.setattr(Master, "bystander", "mb is the active one")
    with pytest.raises(Refused, match="mb is the active one"):
        operate.pause(master, "pgdata", test=True)


def test_clear_names_what_is_taken_as_deleted_before_it_is_written(stage: Stage) -> None:
    side = stage.sides["pgdata"]
    stage.journal.begin(Move(side.resource, MoveKind.FAILOVER, "db1", "db2", 1, "db1 was off"))
    stage.hypervisor.vms[:] = [one for one in stage.hypervisor.vms if one.name != "db2"]
    before, lines = dict(stage.journal.states), len(stage.journal.history("pgdata"))
    said = operate.clear(stage.app(side), "pgdata", test=True)
    assert said == {
        "resource": "pgdata",
        "cleared": False,
        "taken_as_deleted": ["db2"],
        "ends": "the failover to db2 under epoch 1: db1 was off",
        "test": True,
    }
    assert words(said).startswith("pgdata: failed tries and damping would be forgotten; nothing was written")
    assert (stage.journal.states, len(stage.journal.history("pgdata"))) == (before, lines)
    done = operate.clear(stage.app(side), "pgdata")
    assert {**said, "cleared": True} == {**done, "test": True} and stage.journal.states != before


def lost_attach(stage: Stage, epoch: int = 1) -> None:
    """A move of pgdata is open, and the answer to its attach was lost; so db2 may get the disk yet."""
    side = stage.sides["pgdata"]
    stage.journal.begin(Move(side.resource, MoveKind.FAILOVER, "db1", "db2", epoch, "db1 was off"))
    basis = stage.hypervisor.observe(side.resource).vm("db2").change_version
    lost = Outcome(Step(StepKind.ATTACH, "db2"), Result.UNKNOWN, "no answer", basis=basis)
    stage.journal.note("pgdata", {"outcome": to_plain(lost)})


@pytest.mark.parametrize("test", [True, False])
def test_clear_refuses_while_a_request_of_the_move_may_still_be_carried_out(stage: Stage, test: bool) -> None:
    lost_attach(stage)
    before = dict(stage.journal.states)
    with pytest.raises(
        Refused, match=r"whether the attach on db2 will still be carried out.*vmdk\.recover pgdata"
    ):
        operate.clear(stage.app(stage.sides["pgdata"]), "pgdata", test=test)
    assert stage.journal.states == before


def test_clear_judges_what_is_so_when_its_turn_has_come(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was open when it was typed; who had the lock meanwhile began a move, and died before an answer came."""
    app = stage.app(stage.sides["pgdata"])
    real = app.lock.resource

    @contextlib.contextmanager
    def late(name: str, doing: str, wait: float = 0.0) -> Iterator[None]:
        lost_attach(stage)
        with real(name, doing, wait):
            yield

    monkeypatch.setattr(app.lock, "resource", late)
    with pytest.raises(Refused, match="whether the attach on db2 will still be carried out"):
        operate.clear(app, "pgdata")
    assert stage.journal.state("pgdata").move is not None


def test_a_word_about_a_host_is_checked_and_not_believed_yet(stage: Stage) -> None:
    side = stage.sides["pgdata"]
    with pytest.raises(Refused, match="connected"):
        confirming.confirm_off(stage.app(side), "db1", test=True)
    vm = stage.node("db1")
    vm.connected, side.guest.nodes["db1"].cut = False, True
    stage.clock.now += 30.0
    before = files(Path(stage.notes.name)), dict(stage.journal.states), dict(stage.journal.lines)
    said = confirming.confirm_off(stage.app(side), "db1", test=True)
    assert said == {"host": vm.host, "confirmed": ["db1"], "resources": ["pgdata"], "test": True}
    assert words(said).splitlines()[-1].startswith("Nothing was written.")
    assert (files(Path(stage.notes.name)), stage.journal.states, stage.journal.lines) == before
    assert {**confirming.confirm_off(stage.app(side), "db1"), "test": True} == said
    assert files(Path(stage.notes.name)) != before[0]
