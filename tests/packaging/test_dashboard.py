"""The Grafana dashboard: well-formed, and every metric in it is one that the product has."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.packaging.source import ROOT
from vmdk_failover import metrics

DASHBOARD = ROOT / "docs" / "grafana" / "vmdk.json"
ALERTS = ROOT / "docs" / "grafana" / "alerts.yml"
PANELS = {"stat", "state-timeline", "timeseries", "bargauge", "table"}
_METRIC = re.compile(r"\bvmdk_[a-z_]+")


@pytest.fixture(scope="module")
def board() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return found


def expressions(board: Mapping[str, Any]) -> list[str]:
    """All queries of a dashboard."""
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    asked += [one["expr"] for one in board["annotations"]["list"]]
    return asked + [one["definition"] for one in board["templating"]["list"] if "definition" in one]


def metrics_of(board: Mapping[str, Any]) -> set[str]:
    """Names of all metrics that a dashboard asks for."""
    return {name for one in expressions(board) for name in _METRIC.findall(one)}


def names(tmp_path: Path) -> set[str]:
    """Names of all metrics that there are, as Prometheus sees them."""
    registry = metrics.registry_of(tmp_path, lambda: ["pgdata"])
    found = set()
    for family in registry.collect():
        ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        found |= {family.name + end for end in ends}
    return found


def test_every_metric_in_it_exists(board: Mapping[str, Any], tmp_path: Path) -> None:
    assert len(metrics_of(board)) >= 12
    assert metrics_of(board) <= names(tmp_path)


def test_every_metric_in_an_alert_exists(tmp_path: Path) -> None:
    (group,) = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    asked = {name for rule in group["rules"] for name in _METRIC.findall(rule["expr"])}
    assert len(asked) >= 6 and asked <= names(tmp_path)
    assert all(rule["annotations"]["summary"] for rule in group["rules"])


def test_every_metric_is_in_the_manual(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "notification.md").read_text(encoding="utf-8")
    short = {re.sub(r"_(bucket|sum|count)$", "", name) for name in names(tmp_path)}
    assert {name for name in short if f"`{name}" not in page} == set()


def test_its_parts_are_such_as_grafana_knows(board: Mapping[str, Any]) -> None:
    assert board["schemaVersion"] >= 36 and board["uid"] and "id" not in board
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids)) > 10
    for panel in board["panels"]:
        assert panel["type"] in PANELS and panel["title"] and panel["targets"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert {"x", "y", "w", "h"} == set(panel["gridPos"])
    kinds = {one["name"]: one["type"] for one in board["templating"]["list"]}
    assert kinds == {"datasource": "datasource", "resource": "query"}


def test_no_panel_lies_on_another(board: Mapping[str, Any]) -> None:
    places = [panel["gridPos"] for panel in board["panels"]]
    assert all(one["x"] + one["w"] <= 24 for one in places)
    for a, b in itertools.combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or above, (a, b)


def test_brackets_match(board: Mapping[str, Any]) -> None:
    for one in expressions(board):
        for opening, closing in ("()", "[]", "{}"):
            assert one.count(opening) == one.count(closing), one
