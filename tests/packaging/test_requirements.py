"""The pinned list: complete, exact, and in step with what the project says of itself."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.packaging.source import ROOT

SALTS = ("3006", "3007", "3008")
LISTS = ("dev", "docs", *(f"salt-{line}" for line in SALTS))


def entries(name: str) -> list[str]:
    lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def project(entry: str) -> str:
    return re.split(r"[=<>~; ]", entry)[0].lower().replace("_", "-")


@pytest.mark.parametrize("name", LISTS)
def test_every_line_of_the_list_names_one_exact_version(name: str) -> None:
    loose = [
        line for line in entries(f"{name}.txt") if not re.match(r"^[a-z0-9-]+==[0-9][^ *]*( ; .+)?$", line)
    ]
    assert loose == []


@pytest.mark.parametrize("name", LISTS)
def test_the_list_holds_everything_that_is_asked_for(name: str) -> None:
    assert {project(one) for one in entries(f"{name}.in")} <= {project(one) for one in entries(f"{name}.txt")}


def test_the_list_has_the_versions_that_are_asked_for() -> None:
    asked = {line.split(" ")[0] for line in entries("dev.in") if "==" in line}
    assert asked <= {line.split(" ")[0] for line in entries("dev.txt")}


def test_tests_run_on_the_pyvmomi_that_the_project_promises() -> None:
    (promised,) = re.findall(
        r'^master = \["(.+)"\]$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M
    )
    assert promised in entries("dev.in")


@pytest.mark.parametrize("line", SALTS)
def test_each_line_of_salt_is_tried_with_what_the_tests_need_otherwise(line: str) -> None:
    (salt,) = set(entries(f"salt-{line}.in")) - set(entries("dev.in"))
    assert re.fullmatch(rf"salt=={line}\.\d+", salt)


def test_the_list_of_system_packages_can_be_read_by_people_and_programs() -> None:
    script = ROOT / "scripts" / "system-packages.sh"
    listed = subprocess.run(
        [script, "--list"], capture_output=True, text=True, check=True, timeout=10
    ).stdout.split()
    assert {"make", "python3-venv", "e2fsprogs", "iproute2"} <= set(listed)
    assert len(listed) == len(set(listed))
