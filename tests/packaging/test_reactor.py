"""What Salt's reactor makes of an event that is, or looks like, one of the product's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import salt.config
import salt.loader
import salt.template

from tests.doubles import engine
from tests.packaging.source import ROOT
from vmdk_failover.channels import hinting

#: Each, rendered carelessly, is a reaction of its own.
HOSTILE = "x\n\nevil:\n  local.cmd.run:\n    - tgt: '*'", "{{ salt['cmd.run']('id') }}", '"}}', "pgdata"


def reaction(place: Path, event: dict[str, Any]) -> Any:
    """What the reactor is to do for an event, as it renders it on a master whose state is kept there."""
    opts = {
        **salt.config.DEFAULT_MINION_OPTS,
        "grains": {},
        "id": "master",
        "vmdk": {"state_dir": str(place)},
    }
    renderers = salt.loader.render(opts, {}, states={})
    file = str(ROOT / "reactor" / "vmdk.sls")
    return salt.template.compile_template(file, renderers, "jinja|yaml", [], [], data=event, tag="x")


@pytest.mark.parametrize("event", [{"resource": "pgdata"}, {"resource": "x", "data": {"resource": "pgdata"}}])
def test_the_engine_is_told_at_once_and_no_runner_is_called(tmp_path: Path, event: dict[str, Any]) -> None:
    with engine.running(tmp_path) as told:
        assert reaction(tmp_path, event) == {}
    assert told == ["pgdata"]


@pytest.mark.parametrize("said", [*HOSTILE, ["pgdata"], {"a": 1}, None, 1e308])
def test_without_an_engine_the_runner_is_called_and_words_stay_words(tmp_path: Path, said: Any) -> None:
    ((name, how),) = reaction(tmp_path, {"resource": said}).items()
    assert name == "vmdk_recover"
    assert how == {"runner.vmdk.recover": [{"args": [{"name": str(said)}, {"wait": False}]}]}


def test_an_event_that_names_no_resource_starts_nothing_else(tmp_path: Path) -> None:
    ((_, how),) = reaction(tmp_path, {}).items()
    assert how == {"runner.vmdk.recover": [{"args": [{"name": ""}, {"wait": False}]}]}


def test_whatever_is_wrong_with_the_library_the_runner_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("another version")

    monkeypatch.setattr(hinting, "hint", broken)
    assert "runner.vmdk.recover" in reaction(tmp_path, {"resource": "pgdata"})["vmdk_recover"]
