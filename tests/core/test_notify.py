"""The example that tells people: what it answers to whoever tries it."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import ROOT

NOTIFY = ROOT / "docs/examples/notify/notify.py"


def tried(conf: dict[str, Any]) -> tuple[bool, str]:
    """What ``salt-run notify.test`` answers under this configuration, and what is logged as an error."""
    spec = importlib.util.spec_from_file_location("notify", NOTIFY)
    assert spec is not None and spec.loader is not None
    notify: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(notify)
    said: list[str] = []
    notify.__opts__ = {"notify": conf}
    notify.log = SimpleNamespace(error=lambda words, *of: said.append(words % of))
    return notify.test(), "; ".join(said)


@pytest.mark.parametrize("conf", [{}, {"mail": None, "webhook": ""}])
def test_what_is_told_to_nobody_is_not_told_well(conf: dict[str, Any]) -> None:
    done, said = tried(conf)
    assert not done and "neither notify:mail nor notify:webhook" in said


def test_a_way_that_is_dead_is_named() -> None:
    done, said = tried({"webhook": "http://127.0.0.1:1/"})
    assert not done and "no webhook was sent for notify" in said
