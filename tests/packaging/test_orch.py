"""SLS files as Salt renders them: those of the rolling patch, which tests/integration/test_people.py plays, and PostgreSQL's."""

from __future__ import annotations

import re
from typing import Any

import pytest
import salt.config
import salt.loader
import salt.template
import yaml

from tests.packaging.source import ROOT

PILLAR = {"resource": "pgdata", "home": "db1", "away": "db2", "patch": "os.patch"}


def rendered(path: str, **pillar: Any) -> dict[str, Any]:
    """An SLS file through Salt's own renderers."""
    opts = {**salt.config.DEFAULT_MINION_OPTS, "grains": {}, "id": "db1", "pillar": pillar}
    renderers = salt.loader.render(opts, {"pillar.get": pillar.get}, states={})
    found: dict[str, Any] = salt.template.compile_template(
        str(ROOT / path), renderers, "jinja|yaml", [], [], "base", "x"
    )
    return {name: {what: _flat(body)} for name, states in found.items() for what, body in states.items()}


def _flat(body: list[dict[str, Any]]) -> dict[str, Any]:
    return {key: value for one in body for key, value in one.items()}


def test_each_node_is_patched_rebooted_and_looked_at_before_anything_moves_there() -> None:
    made = rendered("orch/patch.sls", **PILLAR)
    order = list(made)
    for name, before in zip(order[1:], order, strict=False):
        (body,) = made[name].values()
        assert [one for wanted in body["require"] for one in wanted.values()] == [before], name
    half = ["vmdk.drained", "salt.state", "vmdk.drained", "salt.state", "vmdk.protected", "vmdk.active"]
    assert [next(iter(body)) for body in made.values()] == ["vmdk.active", *half, *half]
    for who, node in (("backup", "db2"), ("home", "db1")):
        patch, reboot = made[f"patch_the_{who}"]["salt.state"], made[f"reboot_the_{who}"]["salt.state"]
        assert (patch["tgt"], patch["sls"], reboot["tgt"], reboot["sls"]) == (
            node,
            "os.patch",
            node,
            "orch.reboot",
        )
        assert "retry" not in patch and reboot["retry"]["attempts"] * reboot["retry"]["interval"] == 600
        assert made[f"{who}_is_ready_again"]["vmdk.protected"]["wait"] == 600
        for before, empty in (("patch", "is_empty"), ("reboot", "is_still_empty")):
            (last,) = made[f"{before}_the_{who}"]["salt.state"]["require"]
            assert made[last["vmdk"]]["vmdk.drained"]["name"] == node and last["vmdk"] == f"{who}_{empty}"
    assert (
        made["switch_over"]["vmdk.active"]["node"] == "db2"
        and made["switch_back"]["vmdk.active"]["node"] == "db1"
    )


@pytest.mark.parametrize(("given", "names"), [("pgdata", ["pgdata"]), (["pgdata", "web"], ["pgdata", "web"])])
def test_one_resource_or_several_are_brought_home(given: Any, names: list[str]) -> None:
    made = rendered("orch/patch.sls", **{**PILLAR, "resource": given})
    for one in ("at_home", "backup_is_ready_again", "switch_over", "home_is_ready_again", "switch_back"):
        (body,) = made[one].values()
        assert body["names"] == names, one


@pytest.mark.parametrize("given", ["", "molly-guard 'now'"])
def test_the_reboot_fails_until_the_machine_has_booted(given: str) -> None:
    """First the order, then the mark, then the question for it; where the order fails there is no mark, so it is tried again."""
    pillar = rendered("orch/patch.sls", **PILLAR, **({"reboot_by": given} if given else {}))
    handed = pillar["reboot_the_home"]["salt.state"]["pillar"]
    assert handed == ({"reboot_by": given} if given else {})
    made = rendered("orch/reboot.sls", **handed)
    assert [next(iter(body)) for body in made.values()] == ["cmd.run", "file.touch", "file.missing"]
    order, mark, booted = (next(iter(body.values())) for body in made.values())
    assert order["name"] == (given or "systemd-run --on-active=3 systemctl reboot")
    assert mark["name"] == booted["name"] == order["unless"].removeprefix("test -e ")
    assert mark["name"].startswith("/run/") and "/run/reboot-required" in order["onlyif"]


def test_the_example_patches_and_reboots_nothing() -> None:
    made = rendered("docs/examples/os/patch.sls")
    assert [next(iter(body)) for body in made.values()] == ["pkg.uptodate"]


def requirements(made: dict[str, Any], name: str) -> set[str]:
    """The IDs of all states that must have gone well before this one is looked at, however far."""
    (body,) = made[name].values()
    near = {one for wanted in body.get("require", ()) for one in wanted.values()}
    return near.union(*(requirements(made, one) for one in near))


def test_postgresql_is_stopped_before_its_data_is_looked_for_elsewhere() -> None:
    given = {"version": 16, "data": "/srv/db/16", "uid": 101, "gid": 104}
    made = rendered("docs/examples/postgresql/node.sls", postgresql=given)
    moved, stopped = made["its data is on the resource"], made["the cluster of the package is stopped"]
    assert list(stopped) == ["service.dead"] and stopped["service.dead"]["name"] == "postgresql@16-main"
    assert requirements(made, "its data is on the resource") == {
        "the cluster of the package is stopped",
        "postgresql is installed",
        "its user is the same everywhere",
        "its group is the same everywhere",
    }
    written, once = moved["file.replace"]["repl"], stopped["service.dead"]["unless"]
    assert written == "data_directory = '/srv/db/16'" and f'"{written}"' in once
    assert moved["file.replace"]["name"] in once  # or a highstate would stop it where it runs
    user, group = made["its user is the same everywhere"], made["its group is the same everywhere"]
    assert (user["user.present"]["uid"], user["user.present"]["gid"]) == (101, 104)
    assert group["group.present"]["gid"] == 104 and "unless" in group["group.present"]
    assert "allow_uid_change" not in user["user.present"]
    own = made["its data is its own"]["file.directory"]
    assert (own["name"], own["user"], own["group"], own["mode"]) == (
        "/srv/db/16",
        "postgres",
        "postgres",
        "0700",
    )
    assert (
        own["onlyif"] == "test -e /srv/db/16/PG_VERSION"
    )  # a folder on a bare mount point would keep it from being mounted


def test_the_page_says_the_numbers_and_places_that_the_example_has() -> None:
    page = (ROOT / "docs" / "hierarchy.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^postgresql: .*$", page, re.M)
    written = yaml.safe_load(block)["postgresql"]
    path = "docs/examples/postgresql/node.sls"
    assert rendered(path, postgresql=written) == rendered(
        path
    )  # what the pillar says is what is taken without one
    assert f"cp -a /var/lib/postgresql/{written['version']}/main {written['data']}" in page


def test_a_newer_version_is_looked_for_in_its_own_folder() -> None:
    made = rendered("docs/examples/postgresql/node.sls", postgresql={"version": 17})
    assert made["its data is its own"]["file.directory"]["name"] == "/srv/pgdata/17"
