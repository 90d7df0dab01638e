"""Every answer has the keys that docs/answers.md says, on the lab's vCenter with the real composition, and no others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from lab.hypervisor import Vcenter
from tests.packaging import answers
from tests.packaging.source import ROOT
from tests.vsphere.test_editing import Desk, Lookers
from vmdk_failover.acting import ending
from vmdk_failover.app import App
from vmdk_failover.commands import (
    adopt,
    authentic,
    confirming,
    draining,
    editing,
    examine,
    operate,
    powering,
    protect,
    report,
    rotation,
)
from vmdk_failover.daemon import appointed
from vmdk_failover.judgement.rules import Then, Verdict
from vmdk_failover.model import Move, MoveKind

#: Commands whose answers have no table, and why.
OTHERS = {
    "watch": "it answers nothing",
    "rules": "its keys are the rules' numbers",
}
FORCED = MoveKind.FAILOVER


class Busy(Lookers):
    """Nodes that answer to ``vmdk.doctor`` too."""

    def ask(
        self, minions: Sequence[str], function: str, kwargs: Mapping[str, Any], wait: float, sure: Any
    ) -> Mapping[str, Any]:
        if function in ("vmdk.doctor", "vmdk.all_facts"):
            return {}
        return super().ask(minions, function, kwargs, wait, sure)


@pytest.fixture
def desk(vcenter: Vcenter, tmp_path: Path) -> Iterator[Desk]:
    here = Desk(vcenter, tmp_path)
    busy = Busy()
    busy.keys, busy.looks = here.nodes.keys, here.lookers.looks
    here.nodes = here.lookers = busy
    yield here
    here.close()


def past(app: App) -> None:
    """A move that ended, and one that a person is asked about."""
    move = Move(app.resource("pgdata"), FORCED, "db2", "db1", 1, "db2 was off")
    app.journal.begin(move)
    ends = Verdict(70, "active on db1", then=Then.DONE)
    app.journal.finish("pgdata", ending(move, ends, [], 1.0, 1.7e9))
    app.journal.hold("pgdata", {"rule": 545, "reason": "the host is gone", "since": 1.7e9})
    app.journal.hold("pgdata", None)


def gone(desk: Desk) -> dict[str, Any]:
    """The word about a host that is gone."""
    desk.nodes.words.pop("db1", None)
    vm = desk.vcenter.vm("db1-vm")
    desk.vcenter.connect_host(vm["host"], "disconnected")
    return confirming.confirm_off(desk.app(), "db1", test=True)


Asks = list[tuple[str, Callable[[Desk], Mapping[str, Any]]]]
ASKS: Asks = [
    ("status", lambda d: operate.status(d.app())),
    ("plan", lambda d: operate.plan(d.app(), "pgdata")),
    ("switchover test=True", lambda d: operate.plan(d.app(), "pgdata", "", MoveKind.SWITCHOVER)),
    ("failover test=True", lambda d: operate.plan(d.app(), "pgdata", "db1", FORCED)),
    ("recover", lambda d: operate.recover(d.app(), "pgdata")),
    ("switchover", lambda d: operate.switchover(d.app(), "pgdata", "db1")),
    ("failover", lambda d: operate.failover(d.app(), "pgdata", "db1")),
    ("drain", lambda d: draining.drain(d.app(), "db1", lambda: nullcontext(d.app()), test=True)),
    ("drain", lambda d: draining.drain(d.app(), "db2", lambda: nullcontext(d.app()))),
    ("switchover at=…", lambda d: appointed.plan(d.app(), "pgdata", "", "22:00")),
    ("switchover at=…", lambda d: appointed.plan(d.app(), "pgdata", "", "22:00", test=True)),
    ("cancel", lambda d: appointed.cancel(d.app(), "pgdata", test=True)),
    ("pause", lambda d: appointed.pause(d.app(), "all", "2h", "ann")),
    ("pause", lambda d: appointed.pause(d.app(), "pgdata", "2h", "ann")),
    ("status", lambda d: operate.status(d.app(), "pgdata")),
    ("cancel", lambda d: appointed.cancel(d.app(), "pgdata")),
    ("pause", lambda d: appointed.pause(d.app(), "pgdata", test=True)),
    ("resume", lambda d: appointed.resume(d.app(), "pgdata")),
    ("resume", lambda d: appointed.resume(d.app(), "all", test=True)),
    ("clear", lambda d: operate.clear(d.app(), "pgdata", test=True)),
    ("clear", lambda d: operate.clear(d.app(), "pgdata")),
    ("edit", lambda d: editing.edit(d.app(), "pgdata", {"hang_timeout": 9})),
    ("edit", lambda d: editing.edit(d.app(), "pgdata", {"hang_timeout": 9}, test=True)),
    ("adopt", lambda d: adopt.adopt(d.app(), "pgdata", test=True)),
    ("adopt", lambda d: adopt.adopt(d.app(), "pgdata")),
    ("rotate_keys", lambda d: rotation.rotate_keys(d.app(), test=True)),
    ("rotate_keys", lambda d: rotation.rotate_keys(d.app())),
    ("doctor", lambda d: examine.doctor(d.app(), "", "3008")),
    ("power_off", lambda d: powering.power_off(d.app(), "db2", test=True)),
    ("history", lambda d: operate.history(d.app())),
    ("report", lambda d: report.report(d.app(), "pgdata", 1)),
    ("genuine", lambda d: authentic.answer(d.app().opts, {"what": "done", "resource": "pgdata"})),
    ("unprotect", lambda d: editing.unprotect(d.app(), "pgdata", test=True)),
]


def test_answers_are_as_documented(desk: Desk) -> None:
    past(desk.app())
    for command, ask in ASKS:
        assert answers.strange(command, ask(desk)) == [], command


def test_one_that_cannot_be_looked_at_has_the_same_keys(desk: Desk) -> None:
    """Scripts read them just then."""
    whole = set(operate.status(desk.app())["resources"]["pgdata"])
    (desk.place / "state/journal").mkdir(parents=True, exist_ok=True)
    (desk.place / "state/journal/pgdata.json").write_text("rubbish")
    lost = operate.status(desk.app())
    assert lost["resources"]["pgdata"]["state"] == "unknown"
    assert set(lost["resources"]["pgdata"]) == whole
    assert answers.strange("status", lost) == []


def test_a_resource_without_a_configuration_has_them_too(desk: Desk) -> None:
    desk.file.write_text("nodes: [")
    found = operate.status(desk.app(), "pgdata")
    assert answers.strange("status", found) == []


def test_what_protect_answers(desk: Desk) -> None:
    editing.unprotect(desk.app(), "pgdata")
    given = (desk.app(), "pgdata", "db1", "/srv/pgdata", ["db2"], {})
    for test in (True, False):
        assert answers.strange("protect", protect.protect(*given, test=test)) == []
    done = {**editing.unprotect(desk.app(), "pgdata"), "findings": []}
    assert answers.strange("unprotect", editing.tell_nodes(desk.app(), done, done["nodes"])) == []


def test_a_word_about_a_host(desk: Desk) -> None:
    assert answers.strange("confirm_off", gone(desk)) == []


def test_every_command_has_a_table_and_every_table_was_compared() -> None:
    asked = {command for command, _ in ASKS} | {"protect", "confirm_off"}
    told = {command for command, tables in answers.documented().items() if tables}
    assert told == asked
    public = {line[4:].partition("(")[0] for line in (ROOT / "_runners/vmdk.py").read_text().splitlines()
              if line.startswith("def ") and not line.startswith("def _")}  # fmt: skip
    assert public == {one.partition(" ")[0] for one in told} | set(OTHERS)
