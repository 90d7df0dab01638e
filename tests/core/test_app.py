"""The product put together: what nobody has thought of ends a look, and is told all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.core.test_config import FINE
from vmdk_failover.app import App, state_dir
from vmdk_failover.channels import noticeboard


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
