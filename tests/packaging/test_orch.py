"""The SLS files of the rolling patch, as Salt renders them; tests/integration/test_people.py plays them."""

from __future__ import annotations

from typing import Any

import pytest
import salt.config
import salt.loader
import salt.template

from tests.packaging.source import ROOT

PILLAR = {"resource": "pgdata", "home": "db1", "away": "db2", "patch": "os.patch"}


def rendered(path: str, **pillar: str) -> dict[str, Any]:
    """An SLS file through Salt's own renderers."""
    opts = {**salt.config.DEFAULT_MINION_OPTS, "grains": {}, "id": "db1", "pillar": pillar}
    renderers = salt.loader.render(opts, {}, states={})
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
    assert [next(iter(body)) for body in made.values()] == ["vmdk.active", *(
        ["salt.state", "salt.state", "vmdk.protected", "vmdk.active"] * 2
    )]  # fmt: skip
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
    assert (
        made["switch_over"]["vmdk.active"]["node"] == "db2"
        and made["switch_back"]["vmdk.active"]["node"] == "db1"
    )


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
