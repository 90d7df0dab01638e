"""The documentation against the code: no setting, code, privilege or command that is missing, untrue or made up."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.packaging import pages
from tests.packaging.source import ROOT
from vmdk_failover import app
from vmdk_failover.judgement import config, entries
from vmdk_failover.resource import Resource, Timeouts
from vmdk_failover.vsphere import privileges

SETTINGS = pages.rows("configuration.md", 4)
BODY = {
    "nodes": ["db1", "db2"],
    "vm_uuids": {f"db{n}": f"5037aaaa-0000-4000-8000-00000000000{n}" for n in (1, 2)},
    "disks": [{"path": "[ds1] a/a.vmdk", "uuid": "6000c29a111122223333444455556666", "bus": 1, "unit": 0}],
    "mounts": [{"mountpoint": "/srv/a", "fs_uuid": "9f8b7c6d-1a2b-4c3d-8e4f-5a6b7c8d9e0f", "fstype": "xfs"}],
}
VCENTER = {"host": "vc.example.com", "user": "svc", "password": "x"}
#: Keys of the section that are read by nobody who configures: ``node`` is where a node's own part would stand.
_NOT_FOR_PEOPLE = {"node"}
BY_PEOPLE = [path for path in pages.salt_files() if path.parent.name in ("_runners", "_modules", "_states")]
BY_SALT = [path for path in pages.salt_files() if path not in BY_PEOPLE]


# -- settings -------------------------------------------------------------------------------------------------------


def keys() -> set[str]:
    vcenter = {f"vcenter.{key}" for key in config.VCENTER_KEYS}
    timeouts = {f"timeouts.{field.name}" for field in dataclasses.fields(Timeouts)}
    metrics = {f"metrics.{field.name}" for field in dataclasses.fields(config.Metrics)}
    return {*config.TOP_KEYS, *config.RESOURCE_KEYS, *vcenter, *timeouts, *metrics} - _NOT_FOR_PEOPLE


def test_every_setting_stands_on_the_page_and_none_is_made_up() -> None:
    assert keys() - set(SETTINGS) == set()
    assert set(SETTINGS) - keys() == set()


def test_every_setting_says_how_to_choose_it_or_what_it_is() -> None:
    plain = {"vcenter.port"}
    assert [key for key, cells in SETTINGS.items() if len(cells[2]) < 12 and key not in plain] == []


def defaults() -> dict[str, Any]:
    fields = {f.name: f.default for f in dataclasses.fields(Resource) if f.default is not dataclasses.MISSING}
    options = (*entries.NUMBERS, *entries.CHOICES, *entries.SWITCHES, *entries.FUNCTIONS)
    timeouts = {f"timeouts.{f.name}": f.default for f in dataclasses.fields(Timeouts)}
    metrics = {f"metrics.{f.name}": f.default for f in dataclasses.fields(config.Metrics)}
    return {**{key: fields[key] for key in options}, **timeouts, **metrics}


def shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:g}"
    return f"`{value}`" if value else "none"


@pytest.mark.parametrize("key", sorted(defaults()))
def test_a_default_on_the_page_is_the_default(key: str) -> None:
    assert SETTINGS[key][0] == shown(defaults()[key])


def test_the_engines_own_settings_are_on_the_page_with_their_defaults() -> None:
    arguments = pages.public(ROOT / "_engines" / "vmdk.py")["start"].args
    text = (pages.DOCS / "configuration.md").read_text(encoding="utf-8")
    for one, default in zip(arguments.args, arguments.defaults, strict=True):
        assert f"`engines: [{{vmdk: {{{one.arg}: {ast.unparse(default)}}}}}]`" in text


def test_the_ranges_on_the_page_are_the_ranges() -> None:
    said = {key: SETTINGS[key][1] for key in entries.NUMBERS}
    assert said == {
        key: f"[{low:g}–{high:g}]".replace("e+06", "") for key, (low, high) in entries.NUMBERS.items()
    }


def test_the_choices_on_the_page_are_the_choices() -> None:
    said = {key: set(re.findall(r"`(\w+)`", SETTINGS[key][1])) for key in entries.CHOICES}
    assert said == {key: set(allowed) for key, allowed in entries.CHOICES.items()}


def test_paths_that_are_taken_by_default_are_the_ones_on_the_page() -> None:
    assert SETTINGS["state_dir"][0] == f"`{app.state_dir({})}`"
    assert SETTINGS["resources_dir"][0] == f"`{app.resources_dir({})}`"


# -- codes and privileges -------------------------------------------------------------------------------------------


def test_every_code_stands_on_the_page_and_none_is_made_up() -> None:
    found, written = pages.codes(), pages.rows("codes.md", 3)
    assert {code: where for code, where in found.items() if code not in written} == {}
    assert set(written) - set(found) == set()


def test_codes_are_found_where_they_are_made() -> None:
    assert {"config", "vg_missing", "mount_stuck", "fs_check_needed", "no_permission", "already_off"} <= set(
        pages.codes()
    )


def test_the_privileges_on_the_page_are_the_ones_that_are_asked_for() -> None:
    text = (pages.DOCS / "quickstart.md").read_text(encoding="utf-8")
    table = set(re.findall(r"^\| `([A-Z]\w+(?:\.\w+)+)` \|", text, re.M))
    elsewhere = {"Datastore.Browse", "Datastore.FileManagement"}  # on the datastore, not on VMs
    assert table == {*privileges.NEEDED, *privileges.FOR_REBOOT, *elsewhere}
    (role,) = re.findall(r"govc role\.create vmdk-failover((?: \\\n|[\w. ])+)", text)
    given = set(role.replace("\\\n", " ").split())
    assert given == {*privileges.NEEDED, "Datastore.Browse"} - {"System.Read"}  # each role has that one


# -- examples -------------------------------------------------------------------------------------------------------


def yaml_blocks() -> list[Any]:
    found = []
    for path in pages.pages():
        for number, body in enumerate(pages.fences(path.read_text(encoding="utf-8"), "yaml")):
            found.append(pytest.param(body, id=f"{path.name}-{number}"))
    return found


@pytest.mark.parametrize("body", yaml_blocks())
def test_what_is_to_be_configured_is_understood(body: str) -> None:
    read = yaml.safe_load(body)
    assert isinstance(read, Mapping)
    if "nodes" in read:
        resource, faults = config.parse_resource("pgdata", read)
        assert resource is not None, [str(one) for one in faults]
    elif read.keys() <= set(config.RESOURCE_KEYS):  # some options of a resource
        resource, faults = config.parse_resource("pgdata", {**BODY, **read})
        assert resource is not None and faults == [], [str(one) for one in faults]
    elif "vmdk" in read and "engines" not in read:
        assert [str(one) for one in config.parse({"vcenter": VCENTER, **read["vmdk"]}).faults] == []
    elif "worker_pools" in read:  # Salt 3008 wants each command in one pool, and one pool for the rest
        commands = [name for pool in read["worker_pools"].values() for name in pool["commands"]]
        assert commands.count("*") == 1 and len(set(commands)) == len(commands)
    elif "vcenter" in (read.get("vmdk") or {}):
        assert [str(one) for one in config.parse(read["vmdk"]).faults] == []
        assert {"vmdk": {}} in read["engines"] and {"vmdk": {}} in read["ext_pillar"]
        assert [next(iter(one)) for one in read["reactor"]] == ["salt/beacon/*/vmdk/*", "vmdk/*/*"]
    else:
        assert read.keys() & {"engines", "reactor", "scrape_configs", "groups", "postgresql"}, (
            f"nobody checks this block:\n{body}"
        )
    for reaction in read.get("reactor", ()):
        for file in (name for names in reaction.values() for name in names):
            assert list(ROOT.glob(f"reactor/{Path(file).name}")) + list(
                pages.DOCS.glob(f"examples/*/{Path(file).name}")
            )


@pytest.mark.parametrize("path", BY_PEOPLE, ids=lambda path: path.parent.name)
def test_every_function_that_people_call_has_an_example_of_itself(path: Path) -> None:
    for name, node in pages.public(path).items():
        manual = ast.get_docstring(node) or ""
        example = manual.partition("CLI Example:")[2]
        assert ".. code-block:: " in example, f"{path}: {name} has no example"
        command, state = rf"^ +salt(-run|-call)? .*\bvmdk\.{name}\b", rf"^ +- ?vmdk\.{name}|^ +vmdk\.{name}:"
        assert re.search(f"{command}|{state}", example, re.M), f"{path}: {name} shows another"


def test_examples_of_states_name_arguments_that_are_there() -> None:
    functions = pages.public(ROOT / "_states" / "vmdk.py")
    checked = 0
    for name, node in functions.items():
        for block in re.findall(r"code-block:: yaml\n\n((?: {4}.*\n?)+)", ast.get_docstring(node) or ""):
            for state in yaml.safe_load(block).values():
                given = {key for one in state[f"vmdk.{name}"] for key in one}
                known = {one.arg for one in functions[name].args.args}
                assert given <= {
                    *known,
                    *config.RESOURCE_KEYS,
                    "require",
                    "require_in",
                    "onchanges",
                    "watch",
                    "name",
                }
                checked += 1
    assert checked


@pytest.mark.parametrize("path", BY_SALT, ids=lambda path: path.parent.name)
def test_every_function_that_salt_calls_has_a_manual(path: Path) -> None:
    manual = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    assert len(manual) > 100, path
    lacking = [
        n for n, node in pages.public(path).items() if "CLI Example:" not in (ast.get_docstring(node) or "")
    ]
    assert lacking == []


def unexplained(path: Path) -> list[str]:
    found = []
    for name, node in pages.public(path).items():
        manual = ast.get_docstring(node) or ""
        given = [one.arg for one in (*node.args.args, *node.args.kwonlyargs) if one.arg != "name"]
        found += [
            f"{path}: {name}: {one}" for one in given if not re.search(rf"^\s*[\w, ]*\b{one}\b", manual, re.M)
        ]
    return found


@pytest.mark.parametrize("path", BY_PEOPLE, ids=lambda path: path.parent.name)
def test_every_argument_is_explained(path: Path) -> None:
    assert unexplained(path) == []


# -- commands -------------------------------------------------------------------------------------------------------

_FACE = {"salt-run": "_runners", "salt-call": "_modules", "salt": "_modules"}


def commands() -> list[Any]:
    found = {command.words: command for command in pages.commands()}
    return [pytest.param(one, id=" ".join(words)[:90]) for words, one in sorted(found.items())]


@pytest.mark.parametrize("command", commands())
def test_a_command_names_what_is_there(command: pages.Command) -> None:
    program, *rest = command.words
    if program in _FACE:
        given = [word for word in rest if not word.startswith("-")]
        given = given[1:] if program == "salt" else given
        if given and "-d" not in rest:  # that shows the manual
            check_salt(_FACE[program], given, command.where)
    elif program == "make":
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
        assert {word for word in rest if "=" not in word} <= targets, command.where
    elif program in ("build/venv/bin/python", "python"):
        check_python(rest, command.where)
    else:
        its_own = {"salt-pip", "govc", "openssl", "pre-commit", "cp", "curl", "systemctl", "rm"}
        its_own |= {"install", "lsblk", "mkfs.xfs", "mkdir", "mount", "su"}
        assert program in its_own, f"nobody checks {command.where}"


def check_salt(face: str, given: list[str], where: str) -> None:
    """See that a function is there and takes these arguments; Salt's own are looked for in Salt."""
    module, _, function = given[0].partition(".")
    for example in pages.DOCS.glob(f"examples/*/{module}.py"):
        assert function in pages.public(example), where
        return
    if module != "vmdk":
        kind = "runners" if face == "_runners" else "modules"
        found = importlib.import_module(f"salt.{kind}.{module}")
        alias = {called: name for name, called in getattr(found, "__func_alias__", {}).items()}
        assert hasattr(found, alias.get(function, function)), where
        if given[0] != "state.single":
            return
        face, given = "_states", given[1:]
        function = given[0].partition(".")[2]
    functions = pages.public(ROOT / face / "vmdk.py")
    assert function in functions, f"{where}: there is no {face} vmdk.{function}"
    node = functions[function].args
    positional = [word for word in given[1:] if not re.match(r"\w+=", word)]
    named = {word.partition("=")[0] for word in given[1:]} if len(positional) < len(given) - 1 else set()
    named -= set(positional)
    known = {a.arg for a in (*node.args, *node.kwonlyargs)} | ({"test"} if face == "_states" else set())
    if node.kwarg:  # options of a resource, and what the manual names
        manual = ast.get_docstring(functions[function]) or ""
        known |= {*config.RESOURCE_KEYS, *re.findall(r"^(\w+)$", manual, re.M)}
    assert len(positional) <= len(node.args), f"{where}: too many arguments"
    assert named <= known, f"{where}: {named - known} are no arguments of {function}"


def check_python(rest: list[str], where: str) -> None:
    if rest[0] == "-m":
        assert importlib.util.find_spec(rest[1]) is not None, where
    else:
        assert (ROOT / rest[0]).is_file(), where


def test_made_up_commands_are_found() -> None:
    for bad in (
        ["vmdk.moveit", "x"],
        ["vmdk.plan", "x", "traget=db2"],
        ["vmdk.pause", "x", "y", "z", "a", "b"],
    ):
        with pytest.raises(AssertionError):
            check_salt("_runners", bad, "here")


# -- links ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", pages.pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_a_page_links_to_are_there(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    missing = [one for one in targets if "://" not in one and not (path.parent / one).exists()]
    assert missing == []


def test_the_pages_keep_to_themselves() -> None:
    strange = re.compile(rf"{re.escape(str(ROOT))}/|{re.escape(str(Path.home()))}/")
    assert [path.name for path in pages.pages() if strange.search(path.read_text(encoding="utf-8"))] == []


def test_what_runs_before_a_commit_is_there() -> None:
    read = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repo in read["repos"] for hook in repo["hooks"]]
    words = [word for hook in hooks for word in hook["entry"].split() if "/" in word]
    assert [word for word in words if not (ROOT / word).exists()] == []
    assert {"ruff", "ruff-format", "mypy", "floors"} <= {hook["id"] for hook in hooks}
