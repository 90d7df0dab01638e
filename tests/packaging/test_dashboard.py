"""The Grafana dashboard: well-formed, and every metric in it is one that the product has."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from tests.packaging import served
from tests.packaging.source import ROOT
from vmdk_failover.daemon import metrics

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


def lost(before: Any, after: Any, place: str = "") -> set[str]:
    """What of ``before`` is not in ``after``, or is something else there; by its place."""
    if isinstance(before, dict) and isinstance(after, dict):
        gone = {f"{place}.{key}" for key in before.keys() - after.keys()}
        return gone.union(
            *(lost(before[key], after[key], f"{place}.{key}") for key in before.keys() & after.keys())
        )
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return set().union(
            *(lost(a, b, f"{place}.{n}") for n, (a, b) in enumerate(zip(before, after, strict=True)))
        )
    return set() if before == after else {place}


def test_grafanas_own_types_read_all_of_it(board: Mapping[str, Any]) -> None:
    """A misspelt key, or one that its panel does not have, is not there any more when Grafana's own library writes it again."""
    dashboard = pytest.importorskip("grafana_foundation_sdk.models.dashboard", reason="it needs Python 3.11")
    from grafana_foundation_sdk.cog import encoder, plugins

    plugins.register_default_plugins()
    written = encoder.JSONEncoder().encode(dashboard.Dashboard.from_json(board))
    # two that Grafana itself writes and reads, and the library of that version does not know
    unknown = {".annotations.list.0.titleFormat", ".templating.list.1.definition"}
    assert lost(board, json.loads(written)) == unknown


def test_no_panel_lies_on_another(board: Mapping[str, Any]) -> None:
    places = [panel["gridPos"] for panel in board["panels"]]
    assert all(one["x"] + one["w"] <= 24 for one in places)
    for a, b in itertools.combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or above, (a, b)


#: What Grafana puts in place of its variables before Prometheus sees a query.
VARIABLES = {"$resource": "pgdata", "$__rate_interval": "4m", "$__interval": "1m", "$__range": "6h"}


def filled(query: str) -> str:
    """A query as Grafana sends it: variables filled in, ``label_values(metric, label)`` as the metric that it reads."""
    if listed := re.fullmatch(r"label_values\((.+),\s*\w+\)", query):
        query = listed[1]
    for name, value in VARIABLES.items():
        query = query.replace(name, value).replace("${" + name[1:] + "}", value)
    assert "$" not in query, f"an unknown variable is in {query}"
    return query


def every_expression(board: Mapping[str, Any]) -> list[str]:
    alerts = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"][0]["rules"]
    return [filled(one) for one in expressions(board)] + [one["expr"] for one in alerts]


def test_every_expression_is_one_of_prometheus(board: Mapping[str, Any]) -> None:
    asked = every_expression(board)
    assert len(asked) > 15
    for query in asked:
        promql_parser.parse(query)  # raises where Prometheus would refuse it
    with pytest.raises(ValueError, match="paren"):
        promql_parser.parse("sum(rate(vmdk_moves_total[4m]) by (kind)")


def asked_of(query: str) -> tuple[dict[str, set[str]], set[str]]:
    """Labels by metric that a query selects by, and labels that it sorts by."""
    selected: dict[str, set[str]] = {}
    sorted_by: set[str] = set()

    def see(part: Any) -> None:
        if isinstance(part, promql_parser.VectorSelector):
            selected.setdefault(part.name, set()).update(one.name for one in part.matchers.matchers)
        elif isinstance(part, promql_parser.AggregateExpr) and part.modifier:
            sorted_by.update(part.modifier.labels)

    promql_parser.walk(promql_parser.parse(query), see)
    return selected, sorted_by


def test_every_series_and_label_that_is_asked_for_is_served(board: Mapping[str, Any], tmp_path: Path) -> None:
    there: dict[str, set[str]] = {}
    for family in served.registry(tmp_path).collect():
        for sample in family.samples:
            there.setdefault(sample.name, set()).update(sample.labels)
    for query in every_expression(board):
        selected, sorted_by = asked_of(query)
        assert selected or query == "vector(0)", query
        for name, labels in selected.items():
            assert labels <= there[name], f"{name} has no {labels - there[name]}: {query}"
        assert sorted_by <= set().union(*(there[name] for name in selected)), query
