"""The outputter in Salt's own hands."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import salt.config
import salt.loader
import salt.output

from tests.packaging.source import ROOT

CHECKED = {"resource": "pgdata", "ok": True, "condition": "ok", "sentence": "mounted", "tried": []}


@pytest.fixture(scope="module")
def opts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A minion's options after a sync."""
    directory = tmp_path_factory.mktemp("synced")
    for kind in ("output", "utils", "modules"):
        shutil.copytree(ROOT / f"_{kind}", directory / kind, ignore=shutil.ignore_patterns("__pycache__"))
    made: dict[str, Any] = dict(salt.config.DEFAULT_MINION_OPTS)
    made.update(dict.fromkeys(("cachedir", "extension_modules", "pki_dir", "sock_dir"), str(directory)))
    return {**made, "file_client": "local", "grains": {}, "id": "db1", "color": False}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"local": CHECKED}, "local:\n  pgdata: ok - mounted."),
        ({"db1": CHECKED, "db2": CHECKED}, "db1:\n  pgdata: ok - mounted.\ndb2:\n  pgdata: ok - mounted."),
        ({"local": "ERROR: it went wrong"}, "local:\n    ERROR: it went wrong"),
        ({"local": {"something": "else"}}, "local:\n    ----------\n    something:\n        else"),
        ({"db1": CHECKED, "db2": False}, "db1:\n  pgdata: ok - mounted.\ndb2:\n    False"),
        ("a word", "a word"),
        ("a word\nand \x1b[2Janother", "a word\nand \\x1b[2Janother"),
        ({"l\x07": {**CHECKED, "sentence": "a\x1b[2Jb\x9b"}}, "l\\x07:\n  pgdata: ok - a\\x1b[2Jb\\x9b."),
    ],
)
def test_it_lays_out_what_it_knows_and_leaves_the_rest_to_salt(
    opts: dict[str, Any], data: Any, said: str
) -> None:
    assert salt.output.out_format(data, "vmdk", opts) == said


def test_other_outputters_show_the_whole_answer(opts: dict[str, Any]) -> None:
    assert '"tried": []' in salt.output.out_format({"local": CHECKED}, "json", opts)


@pytest.mark.parametrize("function", ["status", "check", "users", "doctor"])
def test_the_functions_ask_for_it(opts: dict[str, Any], function: str) -> None:
    functions = salt.loader.minion_mods(opts)
    assert functions[f"vmdk.{function}"].__outputter__ == "vmdk"


def test_status_of_the_master_fits_the_terminal(
    opts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = {"state": "unknown", "reason": "word " * 60, "active": "", "nodes": {}, "protected": False}
    answer = {"all_well": False, "at": 1.7e9, "faults": [], "resources": {"pgdata": one}}
    monkeypatch.delenv("COLUMNS", raising=False)  # a test writes into no terminal
    wide = salt.output.out_format(answer, "vmdk", opts).splitlines()
    monkeypatch.setenv("COLUMNS", "60")
    narrow = salt.output.out_format(answer, "vmdk", opts).splitlines()
    assert 90 < max(map(len, wide)) <= 100 and max(map(len, narrow)) <= 60


def test_answers_of_a_node_fit_the_terminal(opts: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    said = salt.output.out_format({"local": {**CHECKED, "sentence": "word " * 60}}, "vmdk", opts).splitlines()
    assert max(map(len, said)) <= 60 and all(line.startswith("  ") for line in said[1:])
