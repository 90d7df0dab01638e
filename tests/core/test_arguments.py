"""What people type after a runner's name, and what they are told of a slip."""

from __future__ import annotations

from typing import Any

import pytest

from vmdk_failover.commands import arguments


def switchover(name: str, target: str = "", test: bool = False) -> str:
    return f"{name} to {target}"


def edit(name: str, **options: Any) -> str:
    return f"{name}: {options}"


@pytest.mark.parametrize(
    ("words", "named", "told"),
    [
        (("pgdata",), {"tarjet": "db2"}, "has no argument tarjet (did you mean target?)"),
        (("pgdata",), {"now": True}, "has no argument now"),
        ((), {}, "needs name"),
        (("pgdata", "db2", True, 4), {}, "was called with too many positional arguments"),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(
    words: tuple[Any, ...], named: dict[str, Any], told: str
) -> None:
    said = arguments.strict(str)(switchover)(*words, **named)
    assert said == f"vmdk.switchover {told}; it takes name, target, test"


def test_without_a_slip_it_is_called_and_what_salt_adds_is_left_out() -> None:
    assert arguments.strict(str)(switchover)("pgdata", target="db2", __user="ann") == "pgdata to db2"


def test_options_have_names_of_their_own() -> None:
    assert arguments.strict(str)(edit)("pgdata", tarjet=1) == "pgdata: {'tarjet': 1}"
    assert arguments.strict(str)(edit)(tarjet=1) == "vmdk.edit needs name; it takes name, options"
