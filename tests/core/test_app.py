"""The product put together: what nobody has thought of ends a look, and is told all the same."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.core.test_config import FINE
from vmdk_failover.app import App, state_dir
from vmdk_failover.channels import noticeboard
from vmdk_failover.presence import heard, lookout
from vmdk_failover.saltcall import LocalCall


class Broken:
    """A ``Hypervisor`` port with a fault of its own."""

    def observe(self, resource: Any) -> Any:
        raise RuntimeError("what nobody has thought of")


def test_a_look_that_ends_with_an_error_of_its_own_says_so_in_the_status(tmp_path: Path) -> None:
    app = App(
        {"id": "ma", "root_dir": str(tmp_path), "vmdk": {**FINE, "resources_dir": str(tmp_path)}}, client=None
    )
    app.__dict__["hypervisor"] = Broken()
    with pytest.raises(RuntimeError):
        app.run("pgdata")
    pinned = noticeboard.read(state_dir(app.opts), "pgdata")
    assert (pinned["state"], pinned["protected"]) == ("unknown", False)
    assert "RuntimeError (what nobody has thought of)" in pinned["reason"]


def test_what_the_configuration_says_now_counts(tmp_path: Path) -> None:
    section = {key: dict(value) if isinstance(value, dict) else value for key, value in FINE.items()}
    section["resources_dir"] = str(tmp_path)
    app = App({"id": "ma", "root_dir": str(tmp_path), "vmdk": section}, client=None)
    was = app.resource("pgdata")
    assert app.engine.current(was) == was
    section["resources"] = {}
    assert app.engine.current(was) is None


def test_who_says_that_it_fails_is_not_waited_for_though_it_is_heard(tmp_path: Path) -> None:
    """Row 637 judges it without an answer, and each look would take six seconds longer."""
    app = App(
        {"id": "ma", "root_dir": str(tmp_path), "vmdk": {**FINE, "resources_dir": str(tmp_path)}}, client=None
    )
    assert isinstance(app.call, LocalCall)
    place, moment = state_dir(app.opts), time.monotonic()
    note = {"boot": heard.master_boot(), "since": moment, "last": moment, "at": moment}
    beat = heard.Beat("b", 1, "10.0.0.1", "1", 1.0, moment)
    heard.write(place, heard.Heard(heard.master_boot(), moment, moment, nodes={"db1": beat}))
    heard.write_plain(place / lookout.UNANSWERED / "db1.json", note)
    assert app.call.may_be_late("db1")
    app.vicinity.complains("mail", "db1", "io_error", "reads fail")
    assert not app.call.may_be_late("db1")
