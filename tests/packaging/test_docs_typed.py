"""Every command that a page prints in a block is typed by a test, or it is said here why it cannot be."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.packaging import pages
from tests.packaging.source import ROOT

_QUICK = "tests/integration/test_quickstart.py"
_BUILD = "tests/packaging/test_docs_build.py::test_make_alone_lists_what_the_pages_name"
_WHEEL = "tests/packaging/test_wheel.py"
_LONG = "it takes minutes to hours; its options are tried by tests/packaging/test_docs_build.py"
_FILES = "tests/packaging/test_typed.py"
_DISK = "tests/guest/test_new_disk.py::test_a_new_disk_is_found_formatted_and_mounted_as_printed"
_ROOT = "the machine's own Salt and its package are needed; the lab starts its master with the same files where these put them"

_UNIT = "Debian's package is needed; `make examples` tries them with it, and tests/packaging/test_orch.py what they require"

#: Beginning of a command → the file or the test that types it; the longest beginning counts.
TYPED = {
    "salt-run vmdk.protect pgdata": f"{_QUICK}::test_protect_and_status_say_what_the_page_says",
    "salt-run vmdk.status": f"{_QUICK}::test_protect_and_status_say_what_the_page_says",
    "salt-run vmdk.plan pgdata": f"{_QUICK}::test_the_planned_move_of_the_page",
    "salt-run vmdk.switchover pgdata": f"{_QUICK}::test_the_planned_move_of_the_page",
    "salt-run vmdk.history pgdata": f"{_QUICK}::test_the_planned_move_of_the_page",
    "salt-run vmdk.edit pgdata": f"{_QUICK}::test_options_are_changed_as_the_page_says",
    "salt-run vmdk.edit pgdata add_mount": "tests/integration/test_people.py::test_a_mount_comes_moves_along_and_leaves",
    "salt-run vmdk.edit pgdata remove_mount": "tests/integration/test_people.py::test_a_mount_comes_moves_along_and_leaves",
    "salt-run vmdk.edit pgdata mount_options": "tests/integration/test_people.py::test_a_mount_comes_moves_along_and_leaves",
    "salt-run vmdk.report pgdata": f"{_QUICK}::test_the_report_of_the_page",
    "salt-run vmdk.watch": "tests/integration/test_people.py::test_the_live_view_tells_of_a_move_and_ends_with_ctrl_c",
    "salt-run vmdk.genuine": "tests/integration/test_observation.py::test_anybody_on_the_master_can_ask_whose_word_an_event_is",
    "salt-run vmdk.doctor": f"{_QUICK}::test_the_master_is_looked_at_before_anything_is_protected",
    "salt-run state.orchestrate orch.patch": (
        "tests/integration/test_people.py::test_both_nodes_are_patched_while_the_other_one_serves"
    ),
    "openssl s_client": f"{_BUILD.partition('::')[0]}::test_the_command_for_the_fingerprint_prints_what_the_configuration_takes",
    "make ": _BUILD,
    "build/venv/bin/python -m lab": f"{_BUILD.partition('::')[0]}::test_the_lab_has_the_commands_of_its_page",
    "build/venv/bin/python -m build": _WHEEL,
    "install ": "tests/core/test_other_user.py::test_what_the_quick_start_makes_is_enough",
    "salt-run fileserver.update": "tests/integration/test_gitfs.py::test_what_the_page_prints_brings_all_of_it",
    "salt-run saltutil.sync_all": "tests/integration/test_ways_in.py",
    "salt '*' saltutil.sync_all": "tests/integration/test_ways_in.py",
    "govc ": "tests/vsphere/test_role.py::test_the_printed_commands_make_the_role_and_give_it_to_the_account",
    "cp -r _beacons": f"{_FILES}::test_what_the_quick_start_copies_is_all_that_a_sync_needs",
    "cp notify.py": f"{_FILES}::test_what_the_example_of_a_mail_copies_is_a_runner_after_the_sync",
    "salt-run saltutil.sync_runners": f"{_FILES}::test_what_the_example_of_a_mail_copies_is_a_runner_after_the_sync",
    "lsblk ": _DISK,
    "mkfs.xfs ": _DISK,
    "mkdir -p /srv/pgdata": _DISK,
    "mount /dev/sdb": _DISK,
}
#: Beginning of a command → why no test types it.
NOT_TYPED = {
    "make demo": "a test of the lab plays the same scenario; the picture is for people",
    "make test": "this is it",
    "make format": "it changes the source",
    "make setup": "it has made the environment that this runs in",
    "make soak": _LONG,
    "make campaign": _LONG,
    "make bench": _LONG,
    "salt-pip install": "it does nothing without Salt's own package; `make corner` has the same installed by pip (noxfile.py)",
    "systemctl restart salt-master": _ROOT,
    "systemctl stop postgresql@15-main": _UNIT,
    "systemctl start postgresql@15-main": _UNIT,
    "cp -a /var/lib/postgresql": _UNIT,
    "salt -L db1,db2 state.apply postgresql.node": _UNIT,
    "su postgres -c": _UNIT,
    "salt-run state.event": "it is Salt's own and never ends; tests/integration/test_observation.py hears the same events",
}
#: Functions that no person calls → who does.
NOT_BY_HAND = {
    "vmdk.facts": "the master, at every look of every scenario",
    "vmdk.all_facts": "the master, at every status of several resources",
    "vmdk.look": "the master, at every protect",
    "vmdk.leaving": "a unit of the node at its shutdown, tests/guest/test_goodbye.py",
}


def printed() -> Iterator[tuple[str, str]]:
    """Page and command, as they are printed in console blocks."""
    for path in pages.pages():
        for body in pages.fences(path.read_text(encoding="utf-8"), "console"):
            for line in body.replace("\\\n", " ").splitlines():
                if line.startswith(("# ", "$ ")):
                    yield path.name, re.sub(r"\s+", " ", line[2:].split("   #")[0]).strip()


def beginning(command: str) -> str:
    """The longest known beginning of a command, empty if there is none."""
    return max((one for one in {**TYPED, **NOT_TYPED} if command.startswith(one)), key=len, default="")


@pytest.mark.parametrize(("page", "command"), sorted(set(printed())))
def test_a_printed_command_is_typed_or_it_is_said_why_not(page: str, command: str) -> None:
    known = beginning(command)
    assert known, f"{page}: nobody types '{command}', and nobody says why"
    assert known in NOT_TYPED or TYPED[known]


@pytest.mark.parametrize("place", sorted(set(TYPED.values())))
def test_who_types_it_is_there(place: str) -> None:
    file, _, name = place.partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    tests = {
        one.name for one in tree.body if isinstance(one, ast.FunctionDef) and one.name.startswith("test_")
    }
    assert name in tests if name else tests


def named() -> set[tuple[str, str]]:
    """Program and function of each command of the product's that a page or a sentence of the product names, in blocks or not."""
    found = set()
    for one in pages.commands():
        words = [word for word in one.words if not word.startswith("-")]
        at = {"salt-run": 1, "salt-call": 1, "salt": 2}.get(one.words[0])
        if at is not None and len(words) > at and words[at].startswith("vmdk.") and one.words[1] != "-d":
            found.add((one.words[0], words[at]))
    return found


def called() -> set[str]:
    """Functions that tests with real daemons call: in their source as a word of its own, or as a command of the quick start."""
    found = {
        command.split()[1]
        for page, command in printed()
        if page == "quickstart.md" and "vmdk." in command.split()[1:2][0]
    }
    for path in (ROOT / "tests" / "integration").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.update(re.findall(r"\A(?:salt-run )?(vmdk\.\w+)(?: .*)?\Z", node.value))
    return found


def test_what_is_named_anywhere_is_called_by_a_test_with_real_daemons() -> None:
    assert {function for _, function in named()} - called() == set(NOT_BY_HAND)
    assert len(named()) > 25 and ("salt-run", "vmdk.rules") in named()


def test_nothing_is_listed_that_no_page_prints() -> None:
    used = {beginning(command) for _, command in printed()}
    assert {*TYPED, *NOT_TYPED} - used == set()


def test_every_block_has_a_language_that_somebody_looks_at() -> None:
    """console: here. yaml: test_docs. json: the events' own test. python: an example file's own test, or it is parsed here."""
    for path in pages.pages():
        text = path.read_text(encoding="utf-8")
        strange = {one for one in re.findall(r"^ *```(\S+)$", text, re.M) if not one.startswith("{")}
        assert strange <= {"console", "yaml", "json", "python", "text"}, path.name
        for body in pages.fences(text, "python"):
            compile(body, path.name, "exec")
